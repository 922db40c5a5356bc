/* checkpoint.h - a checkpoint is a model folder, complete or absent; of a training with an adapter, a PEFT folder: then model is
 * adapter_model, config.json is adapter_config.json, and the state is the adapter's alone.
 *
 *   RUN/step-000500/                model*.safetensors, config.json, tokenizer files: transformers loads it as it
 *                                   is; README.md and provenance.json: what it was made of, text of the caller
 *   RUN/step-000500/state/          master *.safetensors (f32, the same names), one file for each state of the
 *                                   optimizer (AdamW: adam_m, adam_v), training.json; of replicas that learn apart
 *                                   also outer_anchor, outer_momentum, and NAME_replicaR of each but the first;
 *                                   of gradients that cross in 8 bits also wire_feedback
 *   RUN/step-000500/manifest.json   every file with its size and the XXH3 of each 8 MiB block
 *   RUN/latest                      text: the name of the checkpoint to go on from
 *   RUN/best                        link to the checkpoint of the lowest validation loss, where one is kept
 *
 * Written to step-000500.partial, synced, checksummed, renamed; then latest moves.  Deleting: rename to
 * step-000500.deleting first, then unlink.  All ranks write their own ranges of the same files.
 * No MPI here: the caller puts a barrier between the phases and agrees on errors.
 *   root: checkpoint_begin                                                          | barrier
 *   all:  checkpoint_open_ranges, checkpoint_write..., checkpoint_close_ranges      | barrier
 *   all:  checkpoint_hash_blocks                                                    | sum over ranks
 *   root: checkpoint_commit                                                         | barrier */
#pragma once

#include "checkpoints/family/family.h"
#include "checkpoints/model_chat.h"
#include "checkpoints/safetensors/carried.h"

/* Which copy of a tensor is meant: the model's, the f32 master, or PART_STATE + i: state i of the optimizer. */
enum checkpoint_part { PART_MODEL, PART_MASTER, PART_STATE };

/* What training keeps beside the model: state/NAME.safetensors, f32. */
struct checkpoint_state {
    const char *name;  /* "master", or as the optimizer's table says: "adam_m" */
    const bool *holds; /* [param_num_slots] which tensors have it, borrowed; NULL: all */
};

struct checkpoint; /* one being written */

enum { CHECKPOINT_ID_ROOM = 17 };

/* Which checkpoint is meant, whatever folder it lies in. */
struct checkpoint_id {
    int64_t step;
    char id[CHECKPOINT_ID_ROOM]; /* 16 hexadecimal digits; "": none */
};

/* Checkpoints that should go and cannot: each is told once, not at every save. */
enum { CHECKPOINT_MAX_STUCK = 16 };
struct checkpoint_stuck {
    int64_t steps[CHECKPOINT_MAX_STUCK];
    int count; /* further ones are not told */
};

/* What the model folder is made of besides the weights.  All borrowed; NULL where there is none. */
struct checkpoint_source {
    const struct model_config *config; /* dtype: of PART_MODEL */
    const char *base_config_text;      /* config.json of the base model */
    const char *quantization_text;     /* quantization_config of what is written; NULL: it is not quantised */
    const char *base_path;             /* of an adapter: where its base is */
    const char *tokenizer_json;        /* text */
    const char *tokenizer_config;      /* text */
    bool adds_tokens;                  /* tokenizer_json has tokens that the files of base_folder lack */
    const struct learnt_chat *chat;    /* what training on conversations changed in the small files */
    int64_t max_file_bytes;            /* of one model file; a longer model is split */
    const struct checkpoint_state *states; /* [num_states] of the optimizer */
    int num_states;
    const struct carried *carried; /* tensors beside the model's that go into its files as they are */
    const char *base_folder; /* its other small files are copied: generation_config.json, templates, ... */
    const char *card;        /* README.md; NULL: base_folder's.  With it comes provenance.json: */
    const char *provenance;
    bool card_is_of_base; /* base_folder's README.md describes another model: it becomes README.base.md */
    const struct checkpoint_id *parent; /* the checkpoint that the state descends from; NULL: none */
    int keep_count;                     /* complete checkpoints of this line to keep; 0: all */
    int64_t good_step;                  /* beside them, the newest one at or before this step; 0: none */
    bool is_best;                       /* `best` moves to it, after `latest` */
    struct checkpoint_stuck *stuck; /* those that could not be deleted and were told; NULL: told each time */
};

/* checkpoint_create - the layout of a checkpoint of that step, the same on every rank; nothing is touched on the disk.  source
 * is copied, what it points to must stay until checkpoint_free.  with_state false: the model alone (a final export). */
struct checkpoint *checkpoint_create(const char *run_folder, int64_t step,
                                     const struct checkpoint_source *source, bool with_state);
/* checkpoint_free - memory alone: what is on the disk stays, committed or not. */
void checkpoint_free(struct checkpoint *cp);

/* The phases below run in this order; each returns 0, or -1 with err set, and all ranks leave together when one fails.
 *
 * checkpoint_begin - root: remove what crashes left in the run folder (of any step), make the .partial
 * folder, the files at their full size (a full disk shows here) with their headers, and the small files.
 * Where the disk has no room for them, older checkpoints of the line go before the save and not after it, as
 * far as keep_count allows: the parent always stays. */
int checkpoint_begin(struct checkpoint *cp, struct err *err);
/* checkpoint_abandon - root, once all ranks know that a phase failed and have closed: remove what was written
 * so far.  begin does so itself when it fails, and commit before its rename. */
void checkpoint_abandon(struct checkpoint *cp);
/* checkpoint_open_ranges - every rank: the files, for writing.  checkpoint_close_ranges - fsync and close. */
int checkpoint_open_ranges(struct checkpoint *cp, struct err *err);
/* checkpoint_write - elements [first, first + count) of one tensor from f32, rounded to the type of the part's files.  Every
 * element is to be written by exactly one rank; between open_ranges and close_ranges. */
int checkpoint_write(struct checkpoint *cp, enum checkpoint_part part, struct param param, int64_t first,
                     int64_t count, const float *data, struct err *err);
/* checkpoint_write_carried - every num_ranks-th of the carried tensors, from `rank` on. */
int checkpoint_write_carried(struct checkpoint *cp, int rank, int num_ranks, struct err *err);
int checkpoint_close_ranges(struct checkpoint *cp, struct err *err);
/* checkpoint_num_blocks - how many 8 MiB blocks all big files have together; checkpoint_hash_blocks fills
 * hashes[b] for the blocks b with b % num_ranks == rank and leaves the others 0, reading back what is on
 * disk. */
int64_t checkpoint_num_blocks(const struct checkpoint *cp);
int checkpoint_hash_blocks(const struct checkpoint *cp, int rank, int num_ranks, uint64_t *hashes,
                           struct err *err);
/* checkpoint_commit - root: training.json (state_text), manifest, fsync, rename, move latest, a line in
 * history.jsonl; then of the line that leads to this checkpoint delete all but the newest keep_count (and what stays beside
 * them).  The
 * same checkpoint (its id) is replaced, until the new one stands the old one is found; one of another line
 * with the same step is kept under another name. */
int checkpoint_commit(struct checkpoint *cp, const uint64_t *hashes, const char *state_text, struct err *err);

/* checkpoint_latest - path of the checkpoint to go on from (malloc'ed): the one that `latest` names.  Where
 * there is no `latest`, the newest complete one of the line that was saved last, which is warned about.
 * Complete: every file of the manifest is there with its size.  Leftovers (.partial, .deleting) are never
 * taken.  Returns NULL with an empty err->text where nothing was ever saved, NULL with a message that names
 * the choices where `latest` names nothing complete, where the line cannot be told, or where all that was
 * saved is gone: a run must neither jump to another line nor start anew by itself. */
char *checkpoint_latest(const char *run_folder, int64_t *step, struct err *err);

/* checkpoint_best - path of the complete checkpoint that `best` names (malloc'ed).  Returns NULL with an empty err->text where
 * there is no `best`, NULL with a message where it is not a link to a complete checkpoint beside it.
 * checkpoint_set_best - root: move `best` to a complete checkpoint.  Returns 0, or -1 with err set: something else stands
 * there, or the link cannot be made. */
char *checkpoint_best(const char *run_folder, int64_t *step, struct err *err);
int checkpoint_set_best(const char *run_folder, int64_t step, struct err *err);

/* checkpoint_of_step - path of a complete checkpoint of this step (malloc'ed), or NULL with err set. */
char *checkpoint_of_step(const char *run_folder, int64_t step, struct err *err);

/* checkpoint_ancestor - path of the newest complete checkpoint in the run folder that the one of this id descends from (malloc'ed),
 * whose id then stands in *id.  Returns NULL with an empty err->text where there is none, NULL with a message where the folder
 * cannot be read. */
char *checkpoint_ancestor(const char *run_folder, struct checkpoint_id *id, struct err *err);

/* checkpoint_around - the newest complete checkpoint of a step up to this one, and the oldest of a later one, of any line; -1: none.
 * Returns 0, or -1 with err set. */
int checkpoint_around(const char *run_folder, int64_t step, int64_t *newest, int64_t *later, struct err *err);

/* checkpoint_prune - root: of the line that leads to last, delete all but the newest keep_count and the best one. */
void checkpoint_prune(const char *run_folder, const struct checkpoint_id *last, int keep_count,
                      struct checkpoint_stuck *stuck);

/* checkpoint_identity - of a complete checkpoint, by its manifest.  checkpoint_last_saved - of the one that a
 * run saved last, there or not; its id is "" where there is no history.  Return 0, or -1 with err set. */
int checkpoint_identity(const char *checkpoint_folder, struct checkpoint_id *id, struct err *err);
int checkpoint_last_saved(const char *run_folder, struct checkpoint_id *id, struct err *err);

/* checkpoint_verify - sizes of all files against the manifest, and the checksums of blocks b % num_ranks ==
 * rank. Returns 0, or -1 with err set naming file and byte range. */
int checkpoint_verify(const char *checkpoint_folder, int rank, int num_ranks, struct err *err);

/* checkpoint_verify_state_text - the checksum of state/training.json alone, before anything in it is believed.  Returns 0, or
 * -1 with err set. */
int checkpoint_verify_state_text(const char *checkpoint_folder, struct err *err);
/* checkpoint_state_text - state/training.json, malloc'ed; NULL with err set. */
char *checkpoint_state_text(const char *checkpoint_folder, struct err *err);

/* checkpoint_has_state - whether a checkpoint has a state of that name, in one file or in several. */
bool checkpoint_has_state(const char *checkpoint_folder, const char *name);

/* Masters or a state of the optimizer, open to be read back by ranges; the model is read through weights.h. */
struct checkpoint_reader;

/* checkpoint_reader_open - every tensor that the state holds must be there, f32 with the model's shape; state->holds is read
 * here alone.  Local: each rank opens it for itself.  Returns NULL with err set: a file or tensor that is missing or has
 * another shape.  checkpoint_reader_close - NULL is fine.
 * checkpoint_read - elements [first, first + count) of a tensor of it, into out.  Returns 0, or -1 with err set. */
struct checkpoint_reader *checkpoint_reader_open(const char *checkpoint_folder,
                                                 const struct checkpoint_state *state,
                                                 const struct model_config *config, struct err *err);
void checkpoint_reader_close(struct checkpoint_reader *reader);
int checkpoint_read(const struct checkpoint_reader *reader, struct param param, int64_t first, int64_t count,
                    float *out, struct err *err);

/* checkpoint_verify_weights - the same for the weights alone, of a folder that is used as a model: what else lies there may
 * have been edited or left out.  A folder that is not a checkpoint has no checksums and passes. */
int checkpoint_verify_weights(const char *model_folder, int rank, int num_ranks, struct err *err);
