/* show_part.h - the beginning of each corpus as a token file that nobody keeps: what a run would learn, seen before all of it
 * is tokenised. */
#pragma once

#include "train/measure/show.h"

/* show_part_open - what `prepare` would write, of each source as much as a fair look at num_samples takes; open for show_print,
 * its file removed already.  totals says whether all was read.  Returns 0, or -1 with err set, as prepare_run and show_open;
 * show_close either way. */
int show_part_open(struct show *show, const struct config *config, const struct tokenizer *tok,
                   int64_t num_samples, struct prepare_totals *totals, struct err *err);
