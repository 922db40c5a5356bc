/* token_places.h - where the documents of a token file stand in the files that they were read from, so that a user finds them
 * there. */
#pragma once

#include "data/tokens/tokens.h"

struct token_places;

/* token_places_open - of an open token file, which must stay open.  NULL where it has none (an older file, or another program's), with
 * an empty err->text, or they cannot be read, with a message: who tells of a document then tells less.  token_places_close - NULL is
 * fine. */
struct token_places *token_places_open(const struct token_file *file, struct err *err);
void token_places_close(struct token_places *places);

/* token_places_text - "'corpus.jsonl' line 17", or "'LEGI/a.xml'" where the file is the document; malloc'ed.  NULL: not known,
 * also of places NULL.  token_place_text - the same of one document alone. */
char *token_places_text(const struct token_places *places, int64_t document);
char *token_place_text(const struct token_file *file, int64_t document);

/* token_place_note - " ('corpus.jsonl' line 17)" to stand after a document's number in a message, in the caller's buffer; of a long
 * path the end; "" where the place is not known.  place: as above, or NULL. */
enum { TOKEN_PLACE_ROOM = 160 };
const char *token_place_note(const char *place, char note[TOKEN_PLACE_ROOM]);
