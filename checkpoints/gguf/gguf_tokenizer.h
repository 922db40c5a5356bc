/* gguf_tokenizer.h - the tokenizer in GGUF metadata: what reading and writing share, and the writing.
 * Reading is gguf_tokenizer_text of gguf_model.h. */
#pragma once

#include "checkpoints/family/family.h"
#include "checkpoints/gguf/gguf.h"
#include "data/tokenizer/tokenizer.h"

/* Token types of tokenizer.ggml.token_type. */
enum gguf_token_type {
    GGUF_TOKEN_NORMAL = 1,
    GGUF_TOKEN_UNKNOWN = 2,
    GGUF_TOKEN_CONTROL = 3,
    GGUF_TOKEN_USER_DEFINED = 4,
    GGUF_TOKEN_UNUSED = 5,
    GGUF_TOKEN_BYTE = 6
};

/* What llama.cpp does for a name under tokenizer.ggml.pre. */
struct gguf_pretokenizer {
    const char *name;
    const char *pattern; /* regular expression; "" is ByteLevel's own */
    bool splits_digits;  /* single digits come apart first */
    bool ignores_merges; /* a whole piece that is a token needs no merges */
    bool adds_bos;       /* where tokenizer.ggml.add_bos_token does not say */
    bool normalises_nfc; /* so do the models this name stands for; llama.cpp itself does not */
};

/* gguf_pretokenizer_for - the one that does what tok does, or NULL. */
const struct gguf_pretokenizer *gguf_pretokenizer_for(const struct tokenizer *tok);

/* gguf_tokenizer_write - all tokenizer.* keys but the chat template.  tokenizer_json is stored whole where
 * the keys cannot express all of it.  What the user should know is added to notes. Returns 0, or -1 with err
 * set: what GGUF or llama.cpp cannot express, more tokens than rows in the embedding. */
int gguf_tokenizer_write(struct gguf_writer *writer, const struct tokenizer *tok, const char *tokenizer_json,
                         const struct model_config *config, char **notes, struct err *err);

/* gguf_note - append a line to a malloc'ed text; *notes may be NULL at first. */
void gguf_note(char **notes, const char *fmt, ...) ATELIER_PRINTF(2, 3);
