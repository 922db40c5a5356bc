/* run_source.h - what a run starts from: the weights of a checkpoint or of a base model, or a new model; the texts of its
 * tokenizer; what the conversations among its data teach. */
#pragma once

#include "checkpoints/weights.h"
#include "train/run/resume.h"
#include "train/run/run_chat.h"
#include "train/run/run_data.h"

struct run_source {
    struct weights *weights;                 /* base model or checkpoint; NULL: a new model */
    char *tokenizer_json, *tokenizer_config; /* root only: texts, or NULL */
    struct tokenizer *tokenizer;             /* root only: what they mean, or NULL */
    struct run_chat chat;                    /* root only */
    const char *head_note;                   /* what this start made of the head, or NULL */
    char *vocabulary_note; /* root only: what this start added to tokenizer and embedding, or NULL */
};

/* run_source_open - the checkpoint to resume, the base model, or the configuration's architecture; model gets the
 * architecture and the type of the model files.  A checkpoint is verified, each rank a share; the tokenizer is read, what
 * model.add_tokens lists is added to it and, unless a checkpoint is gone on from, to the model; all tokens must have a row in the
 * embedding.  Returns true on all ranks, or false on all when something cannot be read or
 * does not fit, which the root has said.  Collective. */
bool run_source_open(struct run_source *source, struct model_config *model, const struct config *config,
                     const struct resume *resume, struct comm *comm);

/* run_source_match - the token files were made with the model's tokenizer, and there is something to learn; model gets
 * what a new one takes from its tokenizer (vocabulary, special tokens) and the end token of conversations.  Returns as
 * above.  Collective.  run_source_close - harmless on a zeroed struct. */
bool run_source_match(struct run_source *source, struct model_config *model, const struct config *config,
                      const struct run_data *data, struct comm *comm);
void run_source_close(struct run_source *source);
