/* trainer_tasks.h - questions with choices (eval.tasks), asked of the present weights in the middle of a run. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_tasks_open - reads and encodes the files on all ranks, by the run's tokenizer; an item may have data.sequence_tokens.
 * Nothing where there are none.  Returns false on all ranks when something is wrong, which the root has said.  Collective.
 * trainer_tasks_tell - root: what is left out, in the log.  trainer_tasks_close - harmless on zeros. */
bool trainer_tasks_open(struct trainer *t);
void trainer_tasks_tell(struct trainer *t);
void trainer_tasks_close(struct trainer *t);

/* trainer_tasks - shares of right choices into metrics.jsonl and the log.  Nothing where there are no tasks; cut short, said in the
 * log, where the run must end.  Returns false on all ranks when it failed.  Collective. */
bool trainer_tasks(struct trainer *t);
