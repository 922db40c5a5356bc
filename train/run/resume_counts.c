/* resume_counts.c - the counters of training.json, each within its range. */
#include "train/run/resume_counts.h"

#include "data/corpus/json.h"

/* The most steps that train.steps takes; tokens that a double still counts. */
static const int64_t MAX_STEPS = 1000000000000, MAX_TOKENS = (int64_t)1 << 53;

int resume_check_count(const char *name, int64_t value, int64_t highest, struct err *err) {
    if (value >= 0 && value <= highest)
        return 0;
    return err_set(err,
                   "training.json: '%s' is %lld, expected 0 to %lld: the file is damaged or was edited, take "
                   "another checkpoint",
                   name, (long long)value, (long long)highest);
}

/* All or nothing: *counts is written when every number is in range.  Checkpoints of older versions have no
 * "updates", as each step made one, and no "data_start". */
int resume_counts_read(struct resume_counts *counts, const json_t *state, int64_t step, struct err *err) {
    struct resume_counts read = {.step = 0};
    if (json_get_int(state, "step", &read.step, err) != 0 ||
        resume_check_count("step", read.step, MAX_STEPS, err) != 0)
        return -1;
    if (read.step != step)
        return err_set(err,
                       "training.json: 'step' is %lld, the manifest says %lld: the file is damaged or was "
                       "edited, take another checkpoint",
                       (long long)read.step, (long long)step);
    if (json_get_int_or(state, "updates", read.step, &read.updates, err) != 0 ||
        resume_check_count("updates", read.updates, read.step, err) != 0 ||
        json_get_int_or(state, "data_start", 0, &read.data_start, err) != 0 ||
        resume_check_count("data_start", read.data_start, read.step, err) != 0 ||
        json_get_int(state, "tokens_seen", &read.tokens_seen, err) != 0 ||
        resume_check_count("tokens_seen", read.tokens_seen, MAX_TOKENS, err) != 0)
        return -1;
    *counts = read;
    return 0;
}
