/* session.h - a model opened to be asked: generate, eval, the check after an export.  One process, whole
 * parameters. */
#pragma once

#include "checkpoints/weights.h"
#include "data/tokenizer/tokenizer.h"
#include "train/model/model.h"

/* What a session computes with.  STORED: products in f32 with matrices where the files have them, in their own types: a token costs what
 * is stored, and nothing is copied; of processors alone.  What a file does not have so (an FP8 matrix, one that is merged with an
 * adapter) is in memory as f32.  The others: all in memory in that type, and products of it.  Values of STORED are those of F32,
 * sums run in another order. */
enum session_type { SESSION_F32, SESSION_BF16, SESSION_F16, SESSION_STORED };
enum session_device { SESSION_CPU, SESSION_CUDA };

struct session_way {
    enum session_type type;
    enum session_device device;
};

/* session_way_of - by the words of --device and --type; type NULL: usual on a processor, f32 on a GPU.  Returns 0, or -1 with err
 * set: stored on a GPU. */
int session_way_of(struct session_way *way, const char *device, const char *type, enum session_type usual,
                   struct err *err);

struct session_setup {
    struct weights_place place; /* as weights_open_any takes it */
    int64_t max_tokens;         /* per forward */
    int64_t max_positions;      /* per text; 0: what the model has */
    int num_threads;            /* 0: what OpenMP says */
    int gpu;                    /* of a GPU: which, as the process counts them */
    struct session_way way;
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
 * DoRA is merged while it is read.
 * Returns 0, or -1 with err set: no model, damaged, too few positions, no such device.  session_close also after a failed open.
 * session_open_verified - the same with max_tokens positions, or all where those are fewer, for weights that the caller has
 * compared already or has just written: the checksums, a read of the whole model, are not asked for again. */
int session_open(struct session *session, const struct session_setup *setup, struct err *err);
int session_open_verified(struct session *session, const struct session_setup *setup, struct err *err);
void session_close(struct session *session);

/* session_tokenizer - load the model's own tokenizer; it stays NULL where the model has none.  Returns 0, or
 * -1 with err set. */
int session_tokenizer(struct session *session, struct err *err);
/* session_need_tokenizer - the same where a model without one, called name, does not do. */
int session_need_tokenizer(struct session *session, const char *name, struct err *err);
