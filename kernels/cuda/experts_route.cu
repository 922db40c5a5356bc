/* experts_route.cu - a router's choice, its gradient, and the order in which experts compute.
 *
 *                       bytes                                             bound
 *   route               4 E a row, 12 K of what it writes                 latency: four short kernels
 *   its gradient        8 E a row                                         memory
 *
 * A place is the number of choices before it that are for an earlier expert, or for its own and of an earlier row: a sort by
 * counting, in which no sum depends on which thread comes first. */
#include "kernels/cuda/experts_router.cuh"

/* ---- The choice: one warp per row ---- */

/* An expert and its probability as a number that orders alike: TAKEN of those chosen before, NOT_A_NUMBER, then the rest. */
constexpr uint32_t TAKEN = 0, NOT_A_NUMBER = 1, SMALLEST = 2;
struct pick {
    uint32_t order, expert;
};

static DEV uint32_t order_of(float p) {
    return p >= 0 ? float_bits(p) + SMALLEST : p < 0 ? TAKEN : NOT_A_NUMBER;
}

/* better - of equal ones the lower number. */
static DEV pick better(pick a, pick b) {
    return b.order > a.order || (b.order == a.order && b.expert < a.expert) ? b : a;
}

/* warp_best - of those not yet taken, the same in each lane. */
static DEV pick warp_best(uint32_t p, int n) {
    pick best = {TAKEN, ~0u};
    for (int e = (int)threadIdx.x; e < n; e += 32)
        best = better(best, {order_of(shared_load_f32(p + (uint32_t)e * 4)), (uint32_t)e});
    for (int mask = 16; mask; mask /= 2)
        best = better(best, {shfl_xor(best.order, mask), shfl_xor(best.expert, mask)});
    return best;
}

struct route_rows {
    int32_t *experts;
    float *weights, *lse;
    const float *logits;
    int64_t num_rows;
    int num_experts, num_chosen;
    bool renormalises;
};

/* Shared memory: E f32 a warp. */
static __global__ void __launch_bounds__(32 * ROUTE_WARPS) route_kernel(route_rows r) {
    DYN_SHARED(shared);
    int64_t row = (int64_t)blockIdx.x * ROUTE_WARPS + threadIdx.y;
    uint32_t p = shared_address(shared) + threadIdx.y * (uint32_t)r.num_experts * 4;
    if (row >= r.num_rows)
        return;
    int32_t *experts = r.experts + row * r.num_chosen;
    float *weights = r.weights + row * r.num_chosen, sum = 0;
    float lse = row_softmax(p, r.logits + row * r.num_experts, r.num_experts);
    if (threadIdx.x == 0)
        r.lse[row] = lse;
    for (int k = 0; k < r.num_chosen; k++) {
        pick best = warp_best(p, r.num_experts);
        float weight = bits_float(best.order == NOT_A_NUMBER ? 0x7fffffff : best.order - SMALLEST);
        sum += weight;
        if (threadIdx.x == best.expert % 32)
            shared_store_f32(p + best.expert * 4, -1);
        if ((int)threadIdx.x == k % 32)
            experts[k] = (int32_t)best.expert, weights[k] = weight;
    }
    for (int k = (int)threadIdx.x; k < r.num_chosen && r.renormalises; k += 32)
        weights[k] /= sum;
}

/* ---- The choice by sigmoids, which may have been corrected and be of either sign ---- */

static DEV float sigmoid(float z) {
    return 1 / (1 + expf(-z));
}

/* order_of_either - as order_of; a row has NaNs throughout or nowhere, and those come before what was taken, -infinity. */
static DEV uint32_t order_of_either(float s) {
    uint32_t bits = float_bits(s);
    return (bits & 0x7fffffffu) > 0x7f800000u ? ~0u : bits >> 31 ? ~bits : bits | 0x80000000u;
}

static DEV float value_of_order(uint32_t order) {
    return bits_float(order >> 31 ? order & 0x7fffffffu : ~order);
}

/* best_of - of the scores [first, end) but number `not_this`; lane e % 32 reads e, the same in each lane (warp). */
static DEV pick best_of(uint32_t scores, int first, int end, int not_this) {
    pick best = {TAKEN, ~0u};
    for (int e = first + (((int)threadIdx.x - first) & 31); e < end; e += 32)
        if (e != not_this)
            best = better(best, {order_of_either(shared_load_f32(scores + (uint32_t)e * 4)), (uint32_t)e});
    for (int mask = 16; mask; mask /= 2)
        best = better(best, {shfl_xor(best.order, mask), shfl_xor(best.expert, mask)});
    return best;
}

struct sigmoid_rows {
    route_rows rows;
    const float *correction; /* NULL: zeros */
    int num_groups, num_groups_chosen;
    float scale;
};

/* keep_groups - -infinity in place of the scores of all groups but the chosen ones.  Group g's sum is lane g's (warp). */
static DEV void keep_groups(uint32_t scores, const sigmoid_rows &r) {
    const int size = r.rows.num_experts / r.num_groups, lane = (int)threadIdx.x;
    uint32_t own = TAKEN, kept = 0;
    for (int g = 0; g < r.num_groups; g++) {
        pick first = best_of(scores, g * size, (g + 1) * size, -1);
        pick second = best_of(scores, g * size, (g + 1) * size, (int)first.expert);
        if (lane == g)
            own = order_of_either(value_of_order(first.order) + value_of_order(second.order));
    }
    for (int k = 0; k < r.num_groups_chosen; k++) {
        pick best = {own, (uint32_t)lane};
        for (int mask = 16; mask; mask /= 2)
            best = better(best, {shfl_xor(best.order, mask), shfl_xor(best.expert, mask)});
        kept |= 1u << best.expert;
        own = lane == (int)best.expert ? TAKEN : own;
    }
    for (int e = lane; e < r.rows.num_experts; e += 32)
        if (!(kept >> e / size & 1))
            shared_store_f32(scores + (uint32_t)e * 4, -INFINITY);
}

/* Shared memory: E f32 a warp. */
static __global__ void __launch_bounds__(32 * ROUTE_WARPS) route_sigmoid_kernel(sigmoid_rows s) {
    DYN_SHARED(shared);
    const route_rows &r = s.rows;
    int64_t row = (int64_t)blockIdx.x * ROUTE_WARPS + threadIdx.y;
    uint32_t scores = shared_address(shared) + threadIdx.y * (uint32_t)r.num_experts * 4;
    if (row >= r.num_rows)
        return;
    const float *z = r.logits + row * r.num_experts;
    int32_t *experts = r.experts + row * r.num_chosen;
    float *weights = r.weights + row * r.num_chosen, sum = 0;
    float lse = row_softmax(scores, z, r.num_experts); /* whose probabilities make room */
    float none = lse - lse;                            /* 0, or NaN */
    if (threadIdx.x == 0)
        r.lse[row] = lse;
    for (int e = (int)threadIdx.x; e < r.num_experts; e += 32)
        shared_store_f32(scores + (uint32_t)e * 4,
                         sigmoid(z[e]) + (s.correction ? s.correction[e] : 0) + none);
    if (s.num_groups > 1)
        keep_groups(scores, s);
    for (int k = 0; k < r.num_chosen; k++) {
        pick best = best_of(scores, 0, r.num_experts, -1);
        float weight = sigmoid(z[best.expert]) + none;
        sum += weight;
        if (threadIdx.x == best.expert % 32)
            shared_store_f32(scores + best.expert * 4, -INFINITY);
        if ((int)threadIdx.x == k % 32)
            experts[k] = (int32_t)best.expert, weights[k] = weight;
    }
    for (int k = (int)threadIdx.x; k < r.num_chosen; k += 32)
        weights[k] = s.scale * (r.renormalises ? weights[k] / (sum + 1e-20f) : weights[k]);
}

struct route_gradient {
    float *dlogits;
    const float *dweights;
    route_rows rows;
};

/* softmax(z) is asked for where the weights are not renormalised: by the lse that the choice left. */
static __global__ void __launch_bounds__(32 * ROUTE_WARPS) route_backward_kernel(route_gradient g) {
    const route_rows &r = g.rows;
    int64_t row = (int64_t)blockIdx.x * ROUTE_WARPS + threadIdx.y;
    if (row >= r.num_rows)
        return;
    const int32_t *experts = r.experts + row * r.num_chosen;
    const float *weights = r.weights + row * r.num_chosen, *dw = g.dweights + row * r.num_chosen;
    float dot = 0, lse = r.lse[row];
    for (int k = 0; k < r.num_chosen; k++)
        dot += weights[k] * dw[k];
    for (int e = (int)threadIdx.x; e < r.num_experts; e += 32) {
        float dz = r.renormalises ? 0 : -expf(r.logits[row * r.num_experts + e] - lse) * dot;
        for (int k = 0; k < r.num_chosen; k++)
            if (experts[k] == e)
                dz += weights[k] * (r.renormalises ? dw[k] - dot : dw[k]);
        g.dlogits[row * r.num_experts + e] = dz;
    }
}

struct sigmoid_gradient {
    float *dlogits;
    const float *dweights;
    sigmoid_rows rows;
};

static __global__ void __launch_bounds__(32 * ROUTE_WARPS) route_sigmoid_backward_kernel(sigmoid_gradient g) {
    const route_rows &r = g.rows.rows;
    int64_t row = (int64_t)blockIdx.x * ROUTE_WARPS + threadIdx.y;
    if (row >= r.num_rows)
        return;
    const int32_t *experts = r.experts + row * r.num_chosen;
    const float *weights = r.weights + row * r.num_chosen, *dw = g.dweights + row * r.num_chosen;
    float dot = 0;
    for (int k = 0; k < r.num_chosen && r.renormalises; k++)
        dot += weights[k] * dw[k] / g.rows.scale;
    for (int e = (int)threadIdx.x; e < r.num_experts; e += 32) {
        float dz = 0;
        for (int k = 0; k < r.num_chosen; k++)
            if (experts[k] == e)
                dz = weights[k] * sigmoid(-r.logits[row * r.num_experts + e]) * (dw[k] - dot);
        g.dlogits[row * r.num_experts + e] = dz;
    }
}

/* ---- The places: choices in runs of RUN, one warp for each ----
 *
 * counts [E, runs]: how many of a run are for an expert; then how many of the runs before it. */

enum { RUN_GROUPS = 8, RUN = 32 * RUN_GROUPS, SORT_WARPS = 4, SCAN_EACH = 8 };

struct sorting {
    int32_t *places, *sources, *starts;
    const int32_t *experts;
    uint32_t *counts, *totals; /* [E, runs], [E] */
    int64_t count;
    int num_experts, num_runs, num_bits; /* bits of num_experts */
};

/* peers - bit l: lane l has the same expert (warp). */
static DEV uint32_t peers(uint32_t expert, int num_bits) {
    uint32_t same = ~0u;
    for (int bit = 0; bit < num_bits; bit++) {
        bool own = expert >> bit & 1;
        uint32_t with = ballot(own);
        same &= own ? with : ~with;
    }
    return same;
}

/* take_place - of choice i: what the table [E + 1] says of its expert, and one more for each lane before it; the table goes on by
 * them all.  Lanes after the last choice have expert E (warp). */
static DEV uint32_t take_place(uint32_t table, const sorting &s, int64_t i) {
    uint32_t expert = i < s.count ? (uint32_t)s.experts[i] : (uint32_t)s.num_experts;
    uint32_t same = peers(expert, s.num_bits), before = bit_count(same & ((1u << threadIdx.x) - 1));
    uint32_t next = shared_load4(table + expert * 4);
    warp_barrier();
    if (before == 0)
        shared_store4(table + expert * 4, next + bit_count(same));
    warp_barrier();
    return next + before;
}

static DEV uint32_t table_of(const char *shared, const sorting &s) {
    return shared_address(shared) + threadIdx.y * (uint32_t)(s.num_experts + 1) * 4;
}

/* Shared memory: E + 1 numbers a warp. */
static __global__ void __launch_bounds__(32 * SORT_WARPS) count_kernel(sorting s) {
    DYN_SHARED(shared);
    uint32_t table = table_of(shared, s);
    int run = (int)(blockIdx.x * SORT_WARPS + threadIdx.y), lane = (int)threadIdx.x;
    if (run >= s.num_runs)
        return;
    for (int e = lane; e <= s.num_experts; e += 32)
        shared_store4(table + (uint32_t)e * 4, 0);
    warp_barrier();
    for (int group = 0; group < RUN_GROUPS; group++)
        take_place(table, s, (int64_t)run * RUN + group * 32 + lane);
    for (int e = lane; e < s.num_experts; e += 32)
        s.counts[(int64_t)e * s.num_runs + run] = shared_load4(table + (uint32_t)e * 4);
}

/* One warp per expert, SCAN_EACH runs a lane. */
static __global__ void __launch_bounds__(32) scan_kernel(sorting s) {
    uint32_t *counts = s.counts + (int64_t)blockIdx.x * s.num_runs, total = 0;
    for (int first = 0; first < s.num_runs; first += 32 * SCAN_EACH) {
        uint32_t own[SCAN_EACH], sum = 0;
        int run = first + (int)threadIdx.x * SCAN_EACH;
#pragma unroll
        for (int i = 0; i < SCAN_EACH; i++)
            sum += own[i] = run + i < s.num_runs ? counts[run + i] : 0;
        uint32_t sums = warp_sums(sum), before = total + sums - sum;
#pragma unroll
        for (int i = 0; i < SCAN_EACH; i++) {
            if (run + i < s.num_runs)
                counts[run + i] = before;
            before += own[i];
        }
        total += shfl(sums, 31);
    }
    if (threadIdx.x == 0)
        s.totals[blockIdx.x] = total;
}

/* fill_table - where the run's first place of each expert is; the first run says where experts begin. */
static DEV void fill_table(uint32_t table, const sorting &s, int run) {
    uint32_t before = 0;
    for (int first = 0; first < s.num_experts; first += 32) {
        int e = first + (int)threadIdx.x;
        uint32_t count = e < s.num_experts ? s.totals[e] : 0, sums = warp_sums(count);
        if (e < s.num_experts) {
            uint32_t start = before + sums - count;
            shared_store4(table + (uint32_t)e * 4, start + s.counts[(int64_t)e * s.num_runs + run]);
            if (run == 0)
                s.starts[e] = (int32_t)start;
        }
        before += shfl(sums, 31);
    }
    if (threadIdx.x == 0) {
        shared_store4(table + (uint32_t)s.num_experts * 4, 0);
        if (run == 0)
            s.starts[s.num_experts] = (int32_t)before;
    }
    warp_barrier();
}

static __global__ void __launch_bounds__(32 * SORT_WARPS) place_kernel(sorting s) {
    DYN_SHARED(shared);
    uint32_t table = table_of(shared, s);
    int run = (int)(blockIdx.x * SORT_WARPS + threadIdx.y);
    if (run >= s.num_runs)
        return;
    fill_table(table, s, run);
    for (int group = 0; group < RUN_GROUPS; group++) {
        int64_t i = (int64_t)run * RUN + group * 32 + threadIdx.x;
        uint32_t place = take_place(table, s, i);
        if (i < s.count) {
            s.places[i] = (int32_t)place;
            s.sources[place] = (int32_t)i;
        }
    }
}

static size_t sort_bytes(int64_t num_choices, int64_t num_experts) {
    return (size_t)((divide_up(num_choices, RUN) + 1) * num_experts) * sizeof(uint32_t);
}

static void sort_places(struct device *dev, const struct expert_routes *routes, int num_experts) {
    int64_t count = tensor_count(routes->experts);
    sorting s = {};
    s.places = (int32_t *)routes->places.data;
    s.sources = (int32_t *)routes->sources.data;
    s.starts = (int32_t *)routes->starts.data;
    s.experts = (const int32_t *)routes->experts.data;
    s.totals = (uint32_t *)cuda_scratch(dev, sort_bytes(count, num_experts));
    s.counts = s.totals + num_experts;
    s.count = count;
    s.num_experts = num_experts;
    s.num_runs = (int)divide_up(count, RUN);
    while (num_experts >> s.num_bits)
        s.num_bits++;
    dim3 grid((unsigned)divide_up(s.num_runs, SORT_WARPS)), block(32, SORT_WARPS);
    size_t tables = SORT_WARPS * (size_t)(num_experts + 1) * sizeof(uint32_t);
    LAUNCH(count_kernel, grid, block, tables, cuda_stream(dev), s);
    LAUNCH(scan_kernel, dim3((unsigned)num_experts), dim3(32), 0, cuda_stream(dev), s);
    LAUNCH(place_kernel, grid, block, tables, cuda_stream(dev), s);
}

extern "C" size_t cuda_experts_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    (void)dev;
    return sort_bytes(limits->max_tokens * limits->num_chosen, limits->num_experts);
}

static route_rows rows_of(const struct expert_routes *routes, struct tensor logits,
                          const struct route_args *args) {
    return {(int32_t *)routes->experts.data,
            (float *)routes->weights.data,
            (float *)routes->lse.data,
            (const float *)logits.data,
            logits.dims[0],
            (int)logits.dims[1],
            args->num_chosen,
            args->renormalises};
}

static sigmoid_rows sigmoids_of(const route_rows &rows, struct tensor correction,
                                const struct route_args *args) {
    return {rows, (const float *)correction.data, args->num_groups, args->num_groups_chosen, args->scale};
}

extern "C" void cuda_route(struct device *dev, const struct expert_routes *routes, struct tensor logits,
                           struct tensor correction, const struct route_args *args) {
    route_rows rows = rows_of(routes, logits, args);
    if (rows.num_rows == 0) {
        cuda_zero(dev, routes->starts.data, tensor_bytes(routes->starts));
        return;
    }
    dim3 grid((unsigned)divide_up(rows.num_rows, ROUTE_WARPS)), block(32, ROUTE_WARPS);
    size_t shared_bytes = ROUTE_WARPS * (size_t)rows.num_experts * sizeof(float);
    if (args->score == ROUTER_SIGMOID)
        LAUNCH(route_sigmoid_kernel, grid, block, shared_bytes, cuda_stream(dev),
               sigmoids_of(rows, correction, args));
    else
        LAUNCH(route_kernel, grid, block, shared_bytes, cuda_stream(dev), rows);
    sort_places(dev, routes, rows.num_experts);
}

extern "C" void cuda_route_backward(struct device *dev, struct tensor dlogits, struct tensor dweights,
                                    struct tensor logits, const struct expert_routes *routes,
                                    const struct route_args *args) {
    route_gradient g = {(float *)dlogits.data, (const float *)dweights.data, rows_of(routes, logits, args)};
    if (g.rows.num_rows == 0)
        return;
    dim3 grid((unsigned)divide_up(g.rows.num_rows, ROUTE_WARPS)), block(32, ROUTE_WARPS);
    struct tensor none = {};
    sigmoid_gradient by_sigmoid = {g.dlogits, g.dweights, sigmoids_of(g.rows, none, args)};
    if (args->score == ROUTER_SIGMOID)
        LAUNCH(route_sigmoid_backward_kernel, grid, block, 0, cuda_stream(dev), by_sigmoid);
    else
        LAUNCH(route_backward_kernel, grid, block, 0, cuda_stream(dev), g);
}
