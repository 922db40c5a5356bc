/* tokenizer_nfc.h - Unicode normalisation form C, fast on text that is already in it. */
#pragma once

#include "data/corpus/text.h"

/* One bit per code point: a starter that NFC neither changes nor joins to what stands before it. */
struct nfc_table;

/* nfc_table_create - from utf8proc's data, once for all threads.  nfc_table_free - frees. */
struct nfc_table *nfc_table_create(void);
void nfc_table_free(struct nfc_table *table);

/* nfc_apply - NFC of valid UTF-8.  Returns false and leaves out alone when text is in NFC already by the
 * quick check; otherwise true, and out (emptied first) holds the result. */
bool nfc_apply(const struct nfc_table *table, struct text_span text, struct text *out);

/* nfkc_apply - the same for form KC, with a quick check for ASCII only. */
bool nfkc_apply(struct text_span text, struct text *out);
