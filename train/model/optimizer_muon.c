/* optimizer_muon.c - Muon: the matrices of the layers move along their momentum made orthogonal, everything else
 * (embedding, head, norms) by AdamW's rule.  Of a matrix [M, N], query, key and value each their own:
 *
 *   g = grad_scale dw;  m = momentum m + (1 - momentum) g;  u = momentum m + (1 - momentum) g      (Nesterov)
 *   o = five Newton-Schulz steps from u / |u|, which bring its singular values near 1
 *   w = w (1 - rate decay) - rate 0.2 sqrt(max(M, N)) o
 *
 * The factor gives o the root mean square that updates of AdamW have, so that one learning rate serves both.  m is
 * f32, the products are in the compute type.
 *
 * Momentum and weights stay where they are, by elements; the work on a matrix is its owner's.  Layers are taken in
 * rounds of as many as there are ranks, in which every rank has about the same work and memory for about a layer:
 * the ranks' u are gathered, each rank keeps the matrices that it owns, works on them, and gives each rank its part.
 *
 * Sources: Jordan et al. 2024 (Muon); Liu et al. 2025, "Muon is scalable for LLM training" (the factor). */
#include <math.h>

#include "train/model/optimizer.h"
#include "train/model/shard.h"

static const struct update_rule muon_rule;

enum { STATE_MOMENTUM };
enum { NUM_STEPS = 5 };
static const float NS_A = 3.4445f, NS_B = -4.7750f, NS_C = 2.0315f; /* x -> a x + b x^3 + c x^5 */
static const double MIN_NORM = 1e-7, ADAMW_RMS = 0.2;

/* What params.work holds: of the largest segment, of what one rank owns of a round, of the largest matrix. */
enum {
    WORK_WHOLE, /* f32 [count] u of a segment, then its o */
    WORK_OWNED, /* f32, the matrices of a round that this rank owns, one after the other */
    WORK_X,     /* compute type [M, N] */
    WORK_Y,     /* compute type [M, N] */
    WORK_GRAM,  /* f32 [K, K], K = min(M, N) */
    WORK_A      /* compute type [K, K] */
};

/* As many segments as there are ranks, from the first on. */
struct round {
    struct segment *first, *next; /* next: where the following round begins; NULL: there is none */
};

static struct round round_from(const struct params *params, struct segment *first) {
    struct round round = {first, first};
    for (int i = 0; round.next && i < params->setup.num_ranks; i++)
        round.next = params_next_trained(params, round.next, &muon_rule);
    return round;
}

static struct segment *next_in(const struct params *params, const struct round *round,
                               struct segment *segment) {
    struct segment *next = segment ? params_next_trained(params, segment, &muon_rule) : round->first;
    return next == round->next ? NULL : next;
}

/* larger - the larger of two counts. */
static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* owned_count - elements of a round that a rank owns. */
static int64_t owned_count(const struct params *params, const struct round *round, int rank) {
    int64_t sum = 0;
    for (struct segment *s = NULL; (s = next_in(params, round, s));)
        for (int i = 0; i < s->num_tensors; i++)
            sum += s->tensors[i].owner == rank ? s->tensors[i].count : 0;
    return sum;
}

/* largest_owned - of any rank in any round: all ranks take the same memory. */
static int64_t largest_owned(const struct params *params) {
    struct round round = {NULL, params_next_trained(params, NULL, &muon_rule)};
    int64_t most = 0;
    while (round.next) {
        round = round_from(params, round.next);
        for (int r = 0; r < params->setup.num_ranks; r++)
            most = larger(most, owned_count(params, &round, r));
    }
    return most;
}

/* muon_place - room for the largest of each kind, taken once: rounds come one after the other. */
static void muon_place(struct params *params) {
    struct arena *arena = &params->arena_optimizer;
    enum dtype compute = params->setup.compute;
    int64_t segment = 0, matrix = 0, square = 0;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, &muon_rule));) {
        segment = larger(segment, s->count);
        for (int i = 0; i < s->num_tensors; i++) {
            struct tensor shape = param_shape(params->setup.model, s->tensors[i].param);
            int64_t side = shape.dims[0] < shape.dims[1] ? shape.dims[0] : shape.dims[1];
            matrix = larger(matrix, s->tensors[i].count);
            square = larger(square, side * side);
        }
    }
    params->work[WORK_WHOLE] = arena_take(arena, segment, DTYPE_F32);
    params->work[WORK_OWNED] = arena_take(arena, largest_owned(params), DTYPE_F32);
    params->work[WORK_X] = arena_take(arena, matrix, compute);
    params->work[WORK_Y] = arena_take(arena, matrix, compute);
    params->work[WORK_GRAM] = arena_take(arena, square, DTYPE_F32);
    params->work[WORK_A] = arena_take(arena, square, compute);
}

/* --- one matrix --- */

/* iterate - y = a x + (b (x x') + c (x x')^2) x, or the same from the right where x is tall: the smaller of both
 * squares.  gram and square: [K, K], f32 and compute type. */
static void iterate(struct device *dev, struct tensor y, struct tensor x, struct tensor gram,
                    struct tensor square) {
    bool is_tall = x.dims[0] > x.dims[1];
    if (is_tall)
        op_linear_backward_weight(dev, gram, x, x, OP_OVERWRITE); /* x' x */
    else
        op_linear_forward(dev, gram, x, x); /* x x' */
    op_cast(dev, square, gram);
    op_linear_forward(dev, gram, square, square); /* it is symmetric */
    op_axpby(dev, square, gram, NS_C, NS_B);
    if (is_tall)
        op_linear_forward(dev, y, x, square);
    else
        op_linear_backward_input(dev, y, square, x, OP_OVERWRITE);
    op_axpby(dev, y, x, NS_A, 1.0f);
}

/* orthogonalise - u, f32 [M, N], in place, times the factor of its size. */
static void orthogonalise(struct params *params, struct tensor u) {
    struct device *dev = params->dev;
    enum dtype compute = params->setup.compute;
    int64_t rows = u.dims[0], cols = u.dims[1], side = rows < cols ? rows : cols;
    struct tensor x = tensor_2d(params->work[WORK_X], compute, rows, cols);
    struct tensor y = tensor_2d(params->work[WORK_Y], compute, rows, cols);
    struct tensor gram = tensor_2d(params->work[WORK_GRAM], DTYPE_F32, side, side);
    struct tensor square = tensor_2d(params->work[WORK_A], compute, side, side);
    double norm = sqrt(op_sum_squares(dev, u));
    op_axpby(dev, x, u, (float)(1 / fmax(norm, MIN_NORM)), 0.0f);
    for (int step = 0; step < NUM_STEPS; step++) {
        iterate(dev, y, x, gram, square);
        struct tensor newer = y;
        y = x;
        x = newer;
    }
    op_axpby(dev, u, x, (float)(ADAMW_RMS * sqrt((double)(rows > cols ? rows : cols))), 0.0f);
}

/* --- one round --- */

/* floats - f32 values as the ops take them. */
static struct tensor floats(float *data, int64_t count) {
    return tensor_1d(data, DTYPE_F32, count);
}

/* advance - the momentum of what this rank holds of a segment, and u of all of it. */
static void advance(struct params *params, const struct update *update, const struct segment *s) {
    struct device *dev = params->dev;
    float beta = (float)update->config->optimizer.momentum, rest = (1 - beta) * update->grad_scale;
    float *whole = params->work[WORK_WHOLE];
    struct tensor grad = floats(params_own_grad(params, s), s->own_count);
    struct tensor momentum = floats(s->states[STATE_MOMENTUM], s->own_count);
    struct tensor own = floats(whole + s->own_first, s->own_count);
    op_axpby(dev, momentum, grad, rest, beta);
    op_axpby(dev, own, grad, rest, 0.0f);
    op_axpby(dev, own, momentum, beta, 1.0f);
    params_gather_own(params, update->link, s, whole);
}

/* apply - o of all of a segment, complete in its owners' parts, to what this rank holds of it. */
static void apply(struct params *params, const struct update *update, const struct segment *s) {
    float *whole = params->work[WORK_WHOLE], rate = update->learning_rate;
    double decay = update->config->optimizer.weight_decay;
    struct tensor master = floats(s->master, s->own_count);
    void *copy = params_own_copy(params, s);
    params_sum_own(params, update->link, s, whole);
    op_axpby(params->dev, master, floats(whole + s->own_first, s->own_count), -rate,
             (float)(1.0 - (double)rate * decay));
    if (copy)
        op_cast(params->dev, tensor_1d(copy, s->stored, s->own_count), master);
}

/* each_owned - call visit for the matrices of a segment that this rank owns; at: where each lies in the memory of
 * the round.  Returns the place after the last. */
static int64_t each_owned(struct params *params, const struct segment *s, int64_t at,
                          void (*visit)(struct params *, const struct unit_tensor *, float *owned)) {
    float *owned = params->work[WORK_OWNED];
    for (int i = 0; i < s->num_tensors; i++)
        if (s->tensors[i].owner == params->setup.rank) {
            visit(params, &s->tensors[i], owned + at);
            at += s->tensors[i].count;
        }
    return at;
}

/* in_whole, keep, work, give - what is done to a matrix that this rank owns: where it lies in the gathered segment; a copy of
 * its u; o in its place; o back into the segment, whose other parts stay zero, so that the sum over the ranks puts it
 * together. */
static struct tensor in_whole(struct params *params, const struct unit_tensor *tensor) {
    return floats((float *)params->work[WORK_WHOLE] + tensor->offset, tensor->count);
}

static void keep(struct params *params, const struct unit_tensor *tensor, float *owned) {
    device_copy(params->dev, floats(owned, tensor->count), in_whole(params, tensor));
}

static void work(struct params *params, const struct unit_tensor *tensor, float *owned) {
    struct tensor shape = param_shape(params->setup.model, tensor->param);
    orthogonalise(params, tensor_2d(owned, DTYPE_F32, shape.dims[0], shape.dims[1]));
}

static void give(struct params *params, const struct unit_tensor *tensor, float *owned) {
    device_copy(params->dev, in_whole(params, tensor), floats(owned, tensor->count));
}

/* update_round - three walks over the same segments: the memory for whole ones is that of one. */
static void update_round(struct params *params, const struct update *update, const struct round *round) {
    int64_t at = 0;
    for (struct segment *s = NULL; (s = next_in(params, round, s));) {
        advance(params, update, s);
        at = each_owned(params, s, at, keep);
    }
    at = 0;
    for (struct segment *s = NULL; (s = next_in(params, round, s));)
        at = each_owned(params, s, at, work);
    at = 0;
    for (struct segment *s = NULL; (s = next_in(params, round, s));) {
        device_zero(params->dev, floats(params->work[WORK_WHOLE], s->count));
        at = each_owned(params, s, at, give);
        apply(params, update, s);
    }
}

/* muon_update - all matrices, a round at a time. */
static void muon_update(struct params *params, const struct update *update) {
    struct round round = {NULL, params_next_trained(params, NULL, &muon_rule)};
    while (round.next) {
        round = round_from(params, round.next);
        update_round(params, update, &round);
    }
}

/* muon_flops - of the products of one update of a matrix. */
static double muon_flops(struct tensor shape) {
    double m = (double)shape.dims[0], n = (double)shape.dims[1], k = m < n ? m : n;
    return NUM_STEPS * (2 * 2 * m * n * k + 2 * k * k * k);
}

static const struct update_rule muon_rule = {
    .owns = OWNS_MATRICES,
    .num_states = 1,
    .states = {[STATE_MOMENTUM] = {"momentum", STATE_F32}},
    .place = muon_place,
    .update = muon_update,
    .flops = muon_flops,
};

/* rule_of - matrices of the layers; they all decay. */
static const struct update_rule *rule_of(const struct param_spec *spec) {
    bool is_matrix = spec->place == PLACE_LAYER && spec->cols != DIM_NONE && spec->traits & PARAM_DECAYS;
    return is_matrix ? &muon_rule : &adamw_rule;
}

const struct optimizer_kind optimizer_muon = {
    .name = "Muon", .num_rules = 2, .rules = {&muon_rule, &adamw_rule}, .rule_of = rule_of};
