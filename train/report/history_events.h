/* history_events.h - the lines of metrics.jsonl that are not steps: validations, ranks compared, checkpoints, starts. */
#pragma once

#include "train/report/history.h"

/* history_event - one that counts; of kinds that are not known nothing is taken. */
void history_event(struct history *history, const struct metrics_line *line);
