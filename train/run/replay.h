/* replay.h - steps of a run trained once more, to compare what its metrics.jsonl says of them: loss, gradient norm, what was read,
 * and the chain of hashes over all of it (chain_of_steps.h).  Nothing of the run is written. */
#pragma once

#include "configs/schema/config.h"
#include "train/ranks/comm.h"

enum { REPLAY_MAX_STEPS = 1000000 };

/* Which steps of which run, and where the replay may write. */
struct replay {
    const char *run_folder, *work_folder; /* work_folder is not there yet, and goes at the end */
    int64_t first, last;                  /* 1 <= first <= last */
    const char *const *overrides;         /* [num_overrides] "key=value", of the resolved run file */
    int num_overrides;
};

/* replay_config - the run file of those steps, from the checkpoint that was saved after them or before, changed to train them alone
 * from the newest checkpoint before them, or from the beginning.  Returns 0, or -1 with err set; config is then empty.  Of files alone. */
int replay_config(struct config *config, const struct replay *replay, struct err *err);

/* replay_compare - the lines of both folders for these steps.  Returns 0 where all are the same, with the last link in `link` (65
 * characters), or -1 with err set: the first step that differs, and in what, or a line that is not there. */
int replay_compare(const struct replay *replay, char *link, struct err *err);
