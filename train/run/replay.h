/* replay.h - steps of a run trained once more, to compare what its metrics.jsonl says of them: loss, gradient norm, learning rate, what
 * was read and how much, and the chain of hashes over all of it (chain_of_steps.h); and what the last of them made of weights and
 * optimizer state with the run's checkpoint of that step, or, where it has none, with the loss of the step after it.  Nothing of the
 * run is written. */
#pragma once

#include "configs/schema/config.h"
#include "train/run/chain_of_steps.h"

enum { REPLAY_MAX_STEPS = 1000000 };

/* What a replay looks at when it is over; the run file has a pointer to it (config.train.replay_end). */
struct replay_end {
    enum chain_format chain_format; /* of the run, where the replay begins with its first step */
    char *checkpoint;               /* malloc'ed, of the last step; NULL: the run has none of it */
    struct err difference;          /* out: what of it is not the same, or ""; the same on all ranks */
};

/* Which steps of which run, and where the replay may write. */
struct replay {
    const char *run_folder, *work_folder; /* work_folder is not there yet, and goes at the end */
    int64_t first, last;                  /* 1 <= first <= last */
    const char *const *overrides;         /* [num_overrides] "key=value", of the resolved run file */
    int num_overrides;
    int num_ranks; /* that train the steps again */

    /* What replay_config finds out. */
    int64_t from;   /* the checkpoint to begin with is of this step; -1: the beginning */
    bool is_branch; /* it begins with the run's own checkpoint.from */
    int64_t until;  /* last, or last + 1, whose loss shows what step `last` made of the weights */
    int64_t
        replicas_were; /* parallel.replicas of the run, where it does not divide num_ranks and is another one here; else 0 */
    struct replay_end end;
};

/* replay_config - the run file of those steps, from the checkpoint that was saved after them or before, changed to train them alone
 * from the newest checkpoint before them, or from the beginning; a fixed parallel.replicas that does not divide the ranks, and was not
 * set anew, becomes the largest number that divides both, which changes no bit.  Returns 0, or -1 with err set; config is then empty.
 * Of files alone.  replay_release - what it took, after the config is of no use any more. */
int replay_config(struct config *config, struct replay *replay, struct err *err);
void replay_release(struct replay *replay);

/* replay_compare - the lines of both folders for these steps, and what was looked at in the end.  Returns 0 where all are the same, with
 * the link after step `last` in `link` (65 characters), or -1 with err set: the first step that differs, and in what, or a line that is
 * not there. */
int replay_compare(const struct replay *replay, char *link, struct err *err);
