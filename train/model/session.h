/* session.h - a model opened to be asked: generate, eval, the check after an export.  One process, whole
 * parameters. */
#pragma once

#include "checkpoints/weights.h"
#include "data/tokenizer/tokenizer.h"
#include "train/model/model.h"

/* Where a session has its matrices.  In memory as f32: every product is that of training in f32.  Where the files have them,
 * in their own types: a token costs what is stored, and nothing is copied.  Products are in f32 of the same values either way, but
 * their sums run in another order.  What a file does not have so (an FP8 matrix, one that is merged with an adapter) is in
 * memory all the same. */
enum session_weights { SESSION_IN_MEMORY, SESSION_AS_STORED };

struct session_setup {
    struct weights_place place; /* as weights_open_any takes it */
    int64_t max_tokens;         /* per forward */
    int64_t max_positions;      /* per text; 0: what the model has */
    int num_threads;            /* 0: what OpenMP says */
    enum session_weights weights;
};

struct session {
    struct weights *weights;
    struct model_config config;
    struct device dev;
    struct params params;
    struct model model;
    struct tokenizer *tokenizer; /* NULL until session_tokenizer */
    bool is_open;
};

/* session_open - a checkpoint's weights are compared with their checksums, an adapter's base with the one it was trained on.
 * Computes in f32; DoRA is merged while it is read.
 * Returns 0, or -1 with err set: no model, damaged, or too few positions.  session_close also after a failed open.
 * session_open_verified - the same, in memory, with max_tokens positions, or all where those are fewer, and as many threads as
 * OpenMP says, for weights that the caller has compared already or has just written: the checksums, a read of the whole model, are
 * not asked for again. */
int session_open(struct session *session, const struct session_setup *setup, struct err *err);
int session_open_verified(struct session *session, struct weights_place place, int64_t max_tokens,
                          struct err *err);
void session_close(struct session *session);

/* session_tokenizer - load the model's own tokenizer; it stays NULL where the model has none.  Returns 0, or
 * -1 with err set. */
int session_tokenizer(struct session *session, struct err *err);
/* session_need_tokenizer - the same where a model without one, called name, does not do. */
int session_need_tokenizer(struct session *session, const char *name, struct err *err);
