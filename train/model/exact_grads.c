/* exact_grads.c - gradients as integers: added on a rank, between ranks, and rounded once to f32. */
#include "train/model/exact_grads.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/exact_sum.h"
#include "train/model/publish.h"
#include "train/ranks/sum_exact.h"

/* zero_sums - [count]. */
static void zero_sums(struct params *params, int64_t *sums, int64_t count) {
    device_zero(params->dev, tensor_1d(sums, DTYPE_I32, count * 2));
}

void exact_grads_reset(struct params *params) {
    bool is_whole = params_has_whole_gradients(&params->setup);
    params->is_not_finite = false;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));) {
        zero_sums(params, s->sums, is_whole ? s->count : s->shard_count);
        for (int i = 0; i < s->num_tensors; i++) {
            s->tensors[i].unit_exponent = s->tensors[i].next_exponent;
            s->tensors[i].largest_term = 0;
        }
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

/* exchange_start - of each rank's sent [num_ranks, count] the row of every rank goes to it. */
static void exchange_start(struct transport *way, const int64_t *sent, int64_t *terms, int64_t count,
                           struct transfer *transfer) {
    int num_ranks = way->comm ? comm_num_ranks(way->comm) : 1;
    size_t *piece_bytes = xcalloc((size_t)num_ranks, sizeof *piece_bytes);
    for (int r = 0; r < num_ranks; r++)
        piece_bytes[r] = (size_t)count * sizeof *sent;
    const struct comm_pieces pieces = {sent, terms, piece_bytes, piece_bytes};
    transport_all_to_all_start(way, &pieces, transfer);
    free(piece_bytes);
}

void exact_grads_add(struct params *params, struct transport *link, int unit) {
    struct unit_slot *slot = params_slot(params->gradient, params, unit);
    bool is_whole = params_has_whole_gradients(&params->setup);
    struct unit *u = &params->units[unit];
    for (int i = 0; i < u->num_segments; i++) {
        struct segment *s = &u->segments[i];
        if (s->storage != STORAGE_TRAINED)
            continue;
        if (is_whole) {
            add_segment(params, s, slot, s->sums, OP_ACCUMULATE);
            continue;
        }
        int64_t *sent = slot->fixed + s->grad_first, *terms = slot->fixed_terms + s->grad_first;
        add_segment(params, s, slot, sent, OP_OVERWRITE);
        exchange_start(link, sent, terms, s->shard_count, slot_transfer(slot, i, link));
    }
}

/* join_terms - sums [count] += each of the ranks' rows. */
static void join_terms(struct params *params, int64_t *sums, const int64_t *terms, int64_t count, int rows) {
    for (int r = 0; r < rows; r++)
        op_fixed_join(params->dev, sums, terms + r * count, count);
}

void exact_grads_land(struct params *params, const struct unit_slot *slot) {
    struct unit *u = &params->units[slot->unit];
    for (int i = 0; i < u->num_segments; i++) {
        struct segment *s = &u->segments[i];
        if (s->storage == STORAGE_TRAINED)
            join_terms(params, s->sums, slot->fixed_terms + s->grad_first, s->shard_count,
                       params->setup.num_ranks);
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
    int num_ranks = params->setup.num_ranks;
    struct transfer transfer = {0};
    if (num_ranks == 1 || !params_has_whole_gradients(&params->setup))
        return;
    exchange_start(link, s->sums, params->fixed_terms, s->shard_count, &transfer);
    transport_wait(link, &transfer);
    zero_sums(params, shard, s->shard_count);
    join_terms(params, shard, params->fixed_terms, s->shard_count, num_ranks);
}

/* sum_across - this rank's part of its shard, at stage 0 all of the shard, becomes the sum over the replicas. */
static void sum_across(struct params *params, const struct segment *s, int64_t *shard) {
    const struct params_setup *setup = &params->setup;
    int num_replicas = setup->replicas.size;
    bool is_split = params_is_split(setup);
    int64_t count = is_split ? s->own_count : s->shard_count;
    int64_t *own = is_split ? shard + params_own_in_shard(params, s) : shard;
    struct transfer transfer = {0};
    if (num_replicas < 2)
        return;
    if (is_split)
        exchange_start(params->across, shard, params->fixed_terms, count, &transfer);
    else
        transport_all_gather_start(params->across, params->fixed_terms, shard, (size_t)count * sizeof *shard,
                                   &transfer);
    transport_wait(params->across, &transfer);
    zero_sums(params, own, count);
    join_terms(params, own, params->fixed_terms, count, num_replicas);
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
    bool is_whole = params_has_whole_gradients(&params->setup);
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));) {
        int64_t *shard = is_whole ? s->sums + params->setup.rank * s->shard_count : s->sums;
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
