/* writer.h - a text that a session goes on with: its tokens, the caches of their keys and values, what was told of it. */
#pragma once

#include "train/model/sampling.h"
#include "train/model/session.h"

/* Tokens that one forward reads: bounds the memory of the activations; a session for a writer is opened with it. */
enum { WRITER_CHUNK_TOKENS = 256 };

struct writer {
    struct session *session; /* borrowed */
    const char *name;        /* of the model, for messages; borrowed */
    struct kv_cache *caches; /* [L] */
    struct arena arena;
    struct batch batch;
    float *logits;
    bool *is_token; /* [V] a token of the tokenizer has this row of the embedding */
    struct token_list tokens;
    int64_t room;          /* tokens that a text may have: the model's positions */
    int64_t past;          /* tokens in the caches */
    int64_t prompt_tokens; /* before what is written now */
    size_t told_bytes;     /* of the text after them */
    int64_t num_drawn;     /* of all texts: the place in the sequence of random numbers */
};

/* How a text goes on. */
struct writing {
    struct sampling sampling;
    int64_t max_tokens;
    bool ignores_end;
    int32_t turn_end; /* a token that ends it as the model's own ends do; -1: none */
    /* write - the next bytes, whole characters.  stops - asked before each token; NULL: never. */
    void (*write)(void *user, const char *bytes, size_t length_bytes);
    bool (*stops)(void *user);
    void *user;
};

/* writer_open - for the session's model, which has a tokenizer.  writer_close frees. */
void writer_open(struct writer *writer, struct session *session, const char *name);
void writer_close(struct writer *writer);

/* writer_begin - these are the tokens so far; what the caches hold of the same beginning is not computed again.  Returns 0, or
 * -1 with err set: no token, one that the model lacks, more than it has positions for. */
int writer_begin(struct writer *writer, const struct token_list *tokens, struct err *err);

/* writer_go_on - until an end of the model's, or one of writing's.  Returns 0, or -1 with err set: logits that are not finite. */
int writer_go_on(struct writer *writer, const struct writing *writing, struct err *err);

/* writer_text - what was written since writer_begin, malloc'ed and NUL-terminated. */
char *writer_text(const struct writer *writer, size_t *length_bytes);
