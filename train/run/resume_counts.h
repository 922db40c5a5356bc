/* resume_counts.h - the counters of training.json, checked before any is computed with: a checkpoint whose
 * checksums are right may still come from anybody. */
#pragma once

#include <jansson.h>

#include "kernels/error.h"

struct resume_counts {
    int64_t step;        /* done, the same that the manifest says */
    int64_t updates;     /* of these steps, 0 to step; all of them where an older checkpoint does not say */
    int64_t data_start;  /* step at which the present order of the data began, 0 to step */
    int64_t tokens_seen; /* 0 to 2^53 */
};

/* resume_counts_read - of the text of training.json; step: what the checkpoint's manifest says.  Returns 0, or
 * -1 with err set: a counter is missing, not an integer or out of its range. */
int resume_counts_read(struct resume_counts *counts, const json_t *state, int64_t step, struct err *err);

/* resume_check_count - value is 0 to highest, else -1 with err set. */
int resume_check_count(const char *name, int64_t value, int64_t highest, struct err *err);
