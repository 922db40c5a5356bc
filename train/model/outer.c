/* outer.c - see outer.h.  The gradient of what a rank updates is read by then, and its memory is free for the difference. */
#include "train/model/outer.h"

#include "kernels/clock.h"
#include "train/model/shard.h"

/* own - values of the owned range of a segment. */
static struct tensor own(const struct segment *segment, float *values) {
    return tensor_1d(values, DTYPE_F32, segment->own_count);
}

void outer_start(struct params *params) {
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));) {
        op_axpby(params->dev, own(s, s->anchor), own(s, s->master), 1, 0);
        device_zero(params->dev, own(s, s->velocity));
    }
}

/* differ - the sum over the replicas of what each has changed of a segment. */
static struct tensor differ(struct params *params, struct transport *across, const struct segment *s) {
    struct tensor difference = own(s, params_own_grad(params, s));
    op_axpby(params->dev, difference, own(s, s->anchor), 1, 0);
    op_axpby(params->dev, difference, own(s, s->master), -1, 1);
    double start = clock_s();
    if (params->setup.apart.size > 1)
        transport_sum_f32(across, difference.data, s->own_count);
    params->comm_s += clock_s() - start;
    return difference;
}

/* renew - the anchor, from the sum of differences; then weights and what the forward reads of them. */
static void renew(struct params *params, const struct segment *s, struct tensor sum,
                  const struct outer_args *args) {
    struct device *dev = params->dev;
    struct tensor anchor = own(s, s->anchor), velocity = own(s, s->velocity), master = own(s, s->master);
    double share = 1.0 / params->setup.apart.size;
    void *copy = params_own_copy(params, s);
    op_axpby(dev, velocity, sum, (float)share, (float)args->momentum);
    op_axpby(dev, anchor, sum, (float)(-args->learning_rate * share), 1);
    op_axpby(dev, anchor, velocity, (float)(-args->learning_rate * args->momentum), 1);
    op_axpby(dev, master, anchor, 1, 0);
    if (copy)
        op_cast(dev, tensor_1d(copy, s->stored, s->own_count), master);
}

void outer_step(struct params *params, struct transport *across, const struct outer_args *args) {
    params->dev->section = SECTION_UPDATE;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        renew(params, s, differ(params, across, s), args);
    params->dev->section = SECTION_OTHER;
}
