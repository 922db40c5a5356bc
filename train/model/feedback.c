/* feedback.c - see feedback.h. */
#include "train/model/feedback.h"

#include "kernels/clock.h"

static struct tensor values(float *data, int64_t count) {
    return tensor_1d(data, DTYPE_F32, count);
}

void feedback_reset(struct params *params) {
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        if (s->lost)
            device_zero(params->dev, values(s->lost, s->shard_count));
}

/* join - the sum lands in this rank's own part, where it stays. */
static void join(struct params *params, const struct segment *s) {
    struct transfer transfer = {.number = 0};
    int64_t before = params_own_in_shard(params, s), after = s->shard_count - before - s->own_count;
    transport_reduce_scatter_start(params->across, s->own_lost, s->lost, s->own_count, &transfer);
    transport_wait(params->across, &transfer);
    if (before > 0)
        device_zero(params->dev, values(s->lost, before));
    if (after > 0)
        device_zero(params->dev, values(s->own_lost + s->own_count, after));
}

void feedback_join(struct params *params) {
    double start = clock_s();
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        if (s->lost)
            join(params, s);
    params->comm_s += clock_s() - start;
}
