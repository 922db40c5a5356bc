/* resume.h - going on: which checkpoint a start begins at, and whether the run file, the base model and the
 * data are still those of the run.  Nothing that matters changes without a word: what may change is said,
 * what may not is refused before anything of the run folder is touched. */
#pragma once

#include "checkpoints/checkpoint/checkpoint.h"
#include "data/tokens/loader.h"
#include "train/ranks/comm.h"
#include "train/run/resume_config.h"
#include "train/run/run_record.h"

struct resume {
    char *checkpoint;            /* folder to go on from, on all ranks; NULL: a first start */
    bool is_branch;              /* of another run: checkpoint.from */
    bool is_done;                /* all steps are done: nothing is left to do */
    int64_t step;                /* of the checkpoint */
    int64_t data_start;          /* step at which the present order of the data began */
    struct checkpoint_id parent; /* root only, like all below */
    json_t *state;               /* training.json */
    json_t *data, *valid;        /* what the token files hold; valid NULL: there are none */
    bool reads_base;             /* an adapter's is read at each start, not only at the first */
    json_t *base;                /* what lies at model.path (resume_base.h); null: nothing */
    struct diagnostics said;     /* told once the log is open */
};

/* resume_open - choose the checkpoint and compare the run file with its own.  Returns false on all ranks when
 * something is wrong (said by the root).  Collective.  resume_close - harmless on a zeroed struct. */
bool resume_open(struct resume *resume, const struct config *config, struct comm *comm);
void resume_close(struct resume *resume);

/* resume_check_data - with the token files open (valid may be NULL): what they hold, compared with the
 * checkpoint.  Returns false on all ranks when it is other data.  Collective. */
bool resume_check_data(struct resume *resume, const struct config *config, const struct loader *train,
                       const struct loader *valid, struct comm *comm);

/* resume_put_state - root: what a later start compares with, into the object of training.json. */
void resume_put_state(const struct resume *resume, const struct config *config, json_t *state);
