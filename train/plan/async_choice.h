/* async_choice.h - checkpoint.async: whether the copy that checkpoints are written from fits beside what the run holds; the
 * same for `plan` and for the run. */
#pragma once

#include "train/plan/auto_layout.h"

/* async_choose - true or false in place of 'auto', when the layout is chosen: a copy is never paid for with a slower step.  Where
 * the memory is not known it counts as fitting.  On a GPU's node it may take half of what the host has for each rank, with
 * what optimizer.offload keeps there: the rest is for the files on their way to the disk. */
void async_choose(struct config *config, const struct model_config *model, const struct search_ranks *ranks);

/* async_tell - the sentence about it, for the log and the plan, in the caller's buffer of ASYNC_ROOM bytes; "" where there is
 * nothing to say.  asked: as the run file has it; bytes: of the copy. */
enum { ASYNC_ROOM = 260 };
const char *async_tell(const struct config *config, enum async_save asked, size_t bytes, char *text);
