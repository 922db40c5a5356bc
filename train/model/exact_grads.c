/* exact_grads.c - gradients as integers: added on a rank, between ranks, and rounded once to f32. */
#include "train/model/exact_grads.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/exact_sum.h"
#include "train/model/publish.h"
#include "train/ranks/sum_exact.h"

void exact_grads_reset(struct params *params) {
    params->is_not_finite = false;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        for (int i = 0; i < s->num_tensors; i++) {
            s->tensors[i].unit_exponent = s->tensors[i].next_exponent;
            s->tensors[i].largest_term = 0;
        }
}

/* --- a micro-batch --- */

/* add_segment - from the slot into sums [count], tensor by tensor, as each has its unit; the last takes the padding along, which
 * is zero. */
static void add_segment(struct params *params, struct segment *s, const struct unit_slot *slot, int64_t *sums,
                        enum op_write write) {
    float *grad = (float *)slot->data + s->grad_first;
    for (int i = 0; i < s->num_tensors; i++) {
        struct unit_tensor *t = &s->tensors[i];
        int64_t end = i + 1 < s->num_tensors ? t->offset + t->count : s->count;
        struct tensor values = tensor_1d(grad + t->offset, DTYPE_F32, end - t->offset);
        float largest = op_fixed_add(params->dev, sums + t->offset, values, t->unit_exponent, write);
        if (isnan(largest) || largest > t->largest_term) /* what is not a number stays */
            t->largest_term = largest;
    }
}

/* landing - where the sum of this rank's part lands: in its own place in what is sent. */
static int64_t *landing(const struct unit_slot *slot, const struct segment *s) {
    return slot->fixed + s->grad_first + s->shards.index * s->shard_count;
}

void exact_grads_add(struct params *params, struct transport *link, struct unit_slot *slot) {
    bool is_whole = params_has_whole_gradients(&params->setup);
    struct unit *u = &params->units[slot->unit];
    for (int i = 0; i < u->num_segments; i++) {
        struct segment *s = &u->segments[i];
        if (s->storage != STORAGE_TRAINED)
            continue;
        if (is_whole) {
            add_segment(params, s, slot, s->sums, slot->adds ? OP_ACCUMULATE : OP_OVERWRITE);
            continue;
        }
        int64_t *sent = slot->fixed + s->grad_first;
        add_segment(params, s, slot, sent, OP_OVERWRITE);
        transport_reduce_scatter_i64_start(link, slot->adds ? landing(slot, s) : s->sums, sent,
                                           s->shard_count, slot_transfer(slot, i, link));
    }
}

void exact_grads_land(struct params *params, const struct unit_slot *slot, const struct segment *segment) {
    op_fixed_join(params->dev, segment->sums, landing(slot, segment), segment->shard_count);
}

/* own_shard - of whole sums, or all there is. */
static int64_t *own_shard(const struct params *params, const struct segment *s) {
    bool is_whole = params_has_whole_gradients(&params->setup);
    return is_whole ? s->sums + s->shards.index * s->shard_count : s->sums;
}

void exact_grads_send(struct params *params, struct transport *link, struct unit_slot *slot) {
    struct unit *u = &params->units[slot->unit];
    for (int i = 0; i < u->num_segments; i++) {
        struct segment *s = &u->segments[i];
        if (s->storage == STORAGE_TRAINED)
            transport_reduce_scatter_i64_start(link, own_shard(params, s), s->sums, s->shard_count,
                                               slot_transfer(slot, i, link));
    }
}

/* --- the units --- */

/* largest_terms - of each tensor over all ranks, malloc'ed. */
static double *largest_terms(struct params *params, struct comm *comm) {
    double *largest = NULL;
    int count = 0;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));) {
        largest = xrealloc(largest, (size_t)(count + s->num_tensors) * sizeof *largest);
        for (int i = 0; i < s->num_tensors; i++)
            largest[count++] = s->tensors[i].largest_term;
    }
    if (comm && count > 0)
        comm_max_f64(comm, largest, count);
    return largest;
}

/* judge_tensor - choose the unit that suits its largest term; returns whether the one in use does not.  A gradient of zeros suits
 * every unit. */
static bool judge_tensor(struct unit_tensor *tensor, double largest, double most_units) {
    int exponent;
    if (largest == 0)
        return false;
    frexp(largest, &exponent); /* largest < 2^exponent */
    tensor->next_exponent = exponent - EXACT_TARGET_BITS;
    double units = ldexp(largest, -tensor->unit_exponent);
    return units > most_units || units < ldexp(1, EXACT_LEAST_BITS);
}

bool exact_grads_judge(struct params *params, struct comm *comm, int64_t num_terms) {
    double *largest = largest_terms(params, comm);
    double most_units = fmin(ldexp(1, EXACT_MOST_BITS), ldexp(1, EXACT_SUM_BITS) / (double)num_terms);
    bool repeats = false;
    int at = 0;
    CHECK(num_terms <= EXACT_MAX_TERMS, "%lld micro-batches are added as integers, at most %d can be",
          (long long)num_terms, (int)EXACT_MAX_TERMS);
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        for (int i = 0; i < s->num_tensors; i++, at++)
            if (!isfinite(largest[at]))
                params->is_not_finite = true;
            else if (judge_tensor(&s->tensors[i], largest[at], most_units))
                repeats = true;
    free(largest);
    return repeats && !params->is_not_finite;
}

/* --- the end of a step --- */

/* sum_inside - of whole sums, this rank's shard becomes the sum over the ranks of its replica. */
static void sum_inside(struct params *params, struct transport *link, struct segment *s, int64_t *shard) {
    struct transfer transfer = {0};
    if (params->units[s->unit].sent || !params_has_whole_gradients(&params->setup))
        return;
    transport_reduce_scatter_i64_start(link, shard, s->sums, s->shard_count, &transfer);
    transport_wait(link, &transfer);
}

/* sum_for_all - of every replica's shard: each has the sum. */
static void sum_for_all(struct params *params, int64_t *shard, int64_t count) {
    struct transfer transfer = {0};
    transport_all_gather_start(params->across, params->fixed_terms, shard, (size_t)count * sizeof *shard,
                               &transfer);
    transport_wait(params->across, &transfer);
    for (int r = 0; r < params->setup.replicas.size; r++)
        if (r != params->setup.replicas.index)
            op_fixed_join(params->dev, shard, params->fixed_terms + r * count, count);
}

/* sum_across - this rank's part of its shard, at stage 0 all of the shard, becomes the sum over the replicas. */
static void sum_across(struct params *params, const struct segment *s, int64_t *shard) {
    struct transfer transfer = {0};
    if (params->setup.replicas.size < 2)
        return;
    if (!params_is_split(&params->setup)) {
        sum_for_all(params, shard, s->shard_count);
        return;
    }
    transport_reduce_scatter_i64_start(params->across, shard + params_own_in_shard(params, s), shard,
                                       s->own_count, &transfer);
    transport_wait(params->across, &transfer);
}

/* Where a range of sums is rounded to. */
struct reading {
    struct params *params;
    float *grad;
    const int64_t *sums;
};

static int read_piece(void *user, const struct piece *piece) {
    struct reading *reading = user;
    struct tensor values = tensor_1d(reading->grad + piece->at, DTYPE_F32, piece->count * piece->num_rows);
    op_fixed_read(reading->params->dev, values, reading->sums + piece->at, piece->tensor->unit_exponent);
    return 0;
}

/* read_own - in f32 what this rank updates; at stage 0, where that is everything, its shard, and the others' from them. */
static void read_own(struct params *params, struct transport *link, struct segment *s, const int64_t *shard) {
    const struct params_setup *setup = &params->setup;
    bool is_all = setup->zero_stage == 0;
    int64_t first = is_all ? setup->rank * s->shard_count : s->own_first;
    int64_t count = is_all ? s->shard_count : s->own_count;
    struct reading reading = {params, is_all ? s->grad + first : s->grad,
                              shard + params_own_in_shard(params, s)};
    struct transfer transfer = {0};
    device_zero(params->dev, tensor_1d(reading.grad, DTYPE_F32, count)); /* the padding stays so */
    params_each_piece(s, first, count, read_piece, &reading);
    if (!is_all || setup->num_ranks == 1)
        return;
    transport_all_gather_start(link, s->grad, reading.grad, (size_t)count * sizeof *s->grad, &transfer);
    transport_wait(link, &transfer);
}

void exact_grads_finish(struct params *params, struct transport *link) {
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));) {
        int64_t *shard = own_shard(params, s);
        sum_inside(params, link, s, shard);
        sum_across(params, s, shard);
        read_own(params, link, s, shard);
    }
}

double exact_grads_norm(struct params *params, struct comm *comm) {
    struct exact_sum sum = {{0}, 0, 0};
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        op_exact_squares(params->dev, &sum, tensor_1d(s->grad, DTYPE_F32, s->own_count));
    if (params->setup.zero_stage > 0 && comm) /* at stage 0 every rank has all of it */
        sum_exact(comm, &sum);
    return params->is_not_finite ? NAN : sqrt(exact_sum_value(&sum));
}
