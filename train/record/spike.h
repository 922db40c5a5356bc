/* spike.h - whether a step's loss or gradient norm is a spike: further above the mean of the steps before it than so many standard
 * deviations.  The rule and its numbers are those of OLMo-core's SkipStepOptimizer (128 steps, 6 deviations, judged from half a
 * window on); values that were spikes do not enter the window here, so that one does not hide the next. */
#pragma once

#include "data/corpus/json.h"

enum { SPIKE_MOST_WINDOW = 1024 };

/* Which of the two it is; the loss is looked at first. */
enum spike_kind { SPIKE_NONE, SPIKE_OF_LOSS, SPIKE_OF_NORM, SPIKE_NOT_FINITE };

struct spike_rule {
    int64_t window; /* steps */
    double sigma;   /* standard deviations */
};

/* The last steps that were none, the oldest first. */
struct spike {
    int64_t count;
    double losses[SPIKE_MOST_WINDOW], norms[SPIKE_MOST_WINDOW];
};

/* spike_judge - a step, by those before it; what is not finite always is one.  spike_add - one that was none. */
enum spike_kind spike_judge(const struct spike *spike, const struct spike_rule *rule, double loss,
                            double grad_norm);
void spike_add(struct spike *spike, const struct spike_rule *rule, double loss, double grad_norm);

/* spike_text - "the loss is 9.1240, and the last 64 steps have 2.3100, deviation 0.1200", in the caller's buffer. */
enum { SPIKE_TEXT_ROOM = 200 };
const char *spike_text(const struct spike *spike, enum spike_kind kind, double loss, double grad_norm,
                       char text[SPIKE_TEXT_ROOM]);

/* spike_json, spike_read - of training.json ("spike"); a checkpoint without it begins anew.  spike_read returns 0, or -1 with err
 * set. */
json_t *spike_json(const struct spike *spike);
int spike_read(struct spike *spike, const json_t *state, struct err *err);
