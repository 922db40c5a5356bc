/* schedule.c - the learning rate of a step: warm-up, then constant, linear, cosine or wsd. */
#include "train/run/schedule.h"

#include <math.h>

/* decayed - from 1 to final_ratio as progress goes from 0 to 1. */
static double decayed(double progress, double final_ratio, bool cosine) {
    double left = cosine ? 0.5 * (1.0 + cos(acos(-1.0) * progress)) : 1.0 - progress;
    return final_ratio + (1.0 - final_ratio) * left;
}

/* Step 1 is the first: with a warm-up it has 1/warmup of the peak, not 0, and the last step the final ratio
 * exactly. wsd (warm-up, stable, decay: Hu et al. 2024, MiniCPM) falls in a straight line over the last
 * decay_steps, a tenth of the run where they are not given. */
double schedule_rate(const struct config *config, int64_t step) {
    double peak = config->optimizer.learning_rate, final_ratio = config->schedule.final_ratio;
    int64_t warmup = config->schedule.warmup_steps, last = config->train.steps, decay_from = warmup;
    if (step <= warmup)
        return peak * (double)step / (double)warmup;
    if (config->schedule.kind == SCHEDULE_CONSTANT)
        return peak;
    if (config->schedule.kind == SCHEDULE_WSD) {
        int64_t decay_steps =
            config->schedule.decay_steps > 0 ? config->schedule.decay_steps : (last + 9) / 10;
        decay_from = last - decay_steps > warmup ? last - decay_steps : warmup;
    }
    if (step <= decay_from)
        return peak;
    double progress = step >= last ? 1.0 : (double)(step - decay_from) / (double)(last - decay_from);
    return peak * decayed(progress, final_ratio, config->schedule.kind == SCHEDULE_COSINE);
}
