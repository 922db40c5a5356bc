/* tensorboard.h - a run's curves for TensorBoard (run.tensorboard): RUN/tensorboard/events.out.tfevents.*, a new file for each
 * start, as writers of such files never append.  A start that goes on after step S says so in its file, and TensorBoard leaves
 * out what earlier files have of later steps.  Trouble with the disk does not end the run. */
#pragma once

#include "train/record/metrics.h"

struct tensorboard;

/* tensorboard_open - RUN/tensorboard and this start's file.  Returns 0, or -1 with err set.  tensorboard_close - NULL is fine,
 * and so it is for all others. */
int tensorboard_open(struct tensorboard **board, const char *run_folder, int64_t first_step, struct err *err);
void tensorboard_close(struct tensorboard *board);

/* tensorboard_step, tensorboard_validation - what is not a number is left out.  Each is in the file when the call returns.
 * peak_bytes: of this process's memory, as metrics.jsonl has it. */
void tensorboard_step(struct tensorboard *board, const struct step_record *record, int64_t peak_bytes);
void tensorboard_validation(struct tensorboard *board, int64_t step, double loss,
                            const struct preference_record *preference);
/* tensorboard_sources - of a validation: its bits per byte, and of several sources "valid_loss/NAME" and "valid_bits_per_byte/NAME".
 * Names are made valid UTF-8; a name that an earlier source has gets its number. */
void tensorboard_sources(struct tensorboard *board, int64_t step, double bits_per_byte,
                         const struct source_loss *sources, int64_t num_sources);
/* tensorboard_value - a point of a curve of its own; tag is UTF-8. */
void tensorboard_value(struct tensorboard *board, int64_t step, const char *tag, double value);
