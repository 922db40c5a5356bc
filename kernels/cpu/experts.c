/* experts.c - rows to experts and back.  Each output is made by one thread, its sums in the order of the choices, so that the number
 * of threads changes nothing. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

/* --- the choice --- */

/* softmax - of one row, in f32, as the routers of the families do; returns logsumexp. */
static float softmax(float *p, const float *z, int64_t count) {
    float largest = z[0], sum = 0;
    for (int64_t e = 1; e < count; e++)
        largest = z[e] > largest ? z[e] : largest;
    for (int64_t e = 0; e < count; e++)
        sum += p[e] = expf(z[e] - largest);
    for (int64_t e = 0; e < count; e++)
        p[e] /= sum;
    return largest + logf(sum);
}

/* largest_left - of those not yet chosen; of equal ones the first.  A row with a NaN gets the first experts, and its weights are NaN. */
static int32_t largest_left(const float *p, int64_t count, const int32_t *chosen, int num_chosen) {
    int32_t best = -1;
    for (int32_t e = 0; e < count; e++) {
        bool taken = false;
        for (int k = 0; k < num_chosen; k++)
            taken |= chosen[k] == e;
        if (!taken && (best < 0 || p[e] > p[best]))
            best = e;
    }
    return best;
}

static float sigmoid(float z) {
    return 1 / (1 + expf(-z));
}

/* keep_groups - -infinity in place of the scores [count] of all groups but those whose two largest have the largest sums. */
static void keep_groups(float *scores, int64_t count, const struct route_args *args) {
    float sums[ROUTE_MAX_GROUPS];
    int32_t kept[ROUTE_MAX_GROUPS], best[2];
    int64_t size = count / args->num_groups;
    for (int g = 0; g < args->num_groups; g++) {
        const float *own = scores + g * size;
        best[0] = largest_left(own, size, NULL, 0);
        best[1] = largest_left(own, size, best, 1);
        sums[g] = own[best[0]] + own[best[1]];
    }
    for (int k = 0; k < args->num_groups_chosen; k++)
        kept[k] = largest_left(sums, args->num_groups, kept, k);
    for (int64_t e = 0; e < count; e++) {
        bool stays = false;
        for (int k = 0; k < args->num_groups_chosen; k++)
            stays |= kept[k] == e / size;
        scores[e] = stays ? scores[e] : -INFINITY;
    }
}

/* choose_by_sigmoid - of one row z [E], with room for as many scores. */
static void choose_by_sigmoid(const struct expert_routes *routes, int64_t row, const float *z,
                              const float *correction, float *scores, const struct route_args *args) {
    int32_t *experts = (int32_t *)routes->experts.data + row * args->num_chosen;
    float *weights = (float *)routes->weights.data + row * args->num_chosen, sum = 0;
    int64_t num_experts = routes->starts.dims[0] - 1;
    bool is_finite = isfinite(((const float *)routes->lse.data)[row]);
    for (int64_t e = 0; e < num_experts; e++)
        scores[e] = is_finite ? sigmoid(z[e]) + (correction ? correction[e] : 0) : NAN;
    if (args->num_groups > 1)
        keep_groups(scores, num_experts, args);
    for (int k = 0; k < args->num_chosen; k++) {
        experts[k] = largest_left(scores, num_experts, experts, k);
        weights[k] = is_finite ? sigmoid(z[experts[k]]) : NAN;
        sum += weights[k];
    }
    for (int k = 0; k < args->num_chosen; k++)
        weights[k] = args->scale * (args->renormalises ? weights[k] / (sum + 1e-20f) : weights[k]);
}

static void choose(const struct expert_routes *routes, int64_t row, const float *p, int64_t num_experts,
                   const struct route_args *args) {
    int32_t *experts = (int32_t *)routes->experts.data + row * args->num_chosen;
    float *weights = (float *)routes->weights.data + row * args->num_chosen, sum = 0;
    for (int k = 0; k < args->num_chosen; k++) {
        experts[k] = largest_left(p, num_experts, experts, k);
        weights[k] = p[experts[k]];
        sum += weights[k];
    }
    for (int k = 0; k < args->num_chosen && args->renormalises; k++)
        weights[k] /= sum;
}

/* sort_places - by expert, then by row: two passes over the choices. */
static void sort_places(const struct expert_routes *routes) {
    const int32_t *experts = routes->experts.data;
    int32_t *starts = routes->starts.data, *places = routes->places.data, *sources = routes->sources.data;
    int64_t num_experts = routes->starts.dims[0] - 1, count = tensor_count(routes->experts);
    memset(starts, 0, tensor_bytes(routes->starts));
    for (int64_t i = 0; i < count; i++)
        starts[experts[i] + 1]++;
    for (int64_t e = 0; e < num_experts; e++)
        starts[e + 1] += starts[e];
    for (int64_t i = 0; i < count; i++) { /* starts[e] runs to the end of e, which is where e + 1 begins */
        places[i] = starts[experts[i]]++;
        sources[places[i]] = (int32_t)i;
    }
    memmove(starts + 1, starts, (size_t)num_experts * sizeof *starts);
    starts[0] = 0;
}

void cpu_route(struct device *dev, const struct expert_routes *routes, struct tensor logits,
               struct tensor correction, const struct route_args *args) {
    int64_t num_rows = logits.dims[0], num_experts = logits.dims[1];
    float *room = cpu_scratch(dev, (size_t)(dev->num_threads * num_experts) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < num_rows; i++) {
        float *p = room + cpu_thread() * num_experts;
        const float *z = (const float *)logits.data + i * num_experts;
        ((float *)routes->lse.data)[i] = softmax(p, z, num_experts);
        if (args->score == ROUTER_SIGMOID)
            choose_by_sigmoid(routes, i, z, correction.data, p, args);
        else
            choose(routes, i, p, num_experts, args);
    }
    sort_places(routes);
}

/* route_row_backward - dz of row i; z has been made p. */
static void route_row_backward(struct tensor dlogits, const float *p, struct tensor dweights,
                               const struct expert_routes *routes, int64_t i, const struct route_args *args) {
    int64_t num_experts = dlogits.dims[1], first = i * args->num_chosen;
    const int32_t *experts = (const int32_t *)routes->experts.data + first;
    const float *weights = (const float *)routes->weights.data + first,
                *dw = (const float *)dweights.data + first;
    float dot = 0, *dz = (float *)dlogits.data + i * num_experts;
    for (int k = 0; k < args->num_chosen; k++)
        dot += weights[k] * dw[k];
    for (int64_t e = 0; e < num_experts; e++)
        dz[e] = args->renormalises ? 0 : -p[e] * dot;
    for (int k = 0; k < args->num_chosen; k++)
        dz[experts[k]] += weights[k] * (args->renormalises ? dw[k] - dot : dw[k]);
}

/* sigmoid_row_backward - the same of z itself. */
static void sigmoid_row_backward(struct tensor dlogits, const float *z, struct tensor dweights,
                                 const struct expert_routes *routes, int64_t i,
                                 const struct route_args *args) {
    int64_t num_experts = dlogits.dims[1], first = i * args->num_chosen;
    const int32_t *experts = (const int32_t *)routes->experts.data + first;
    const float *weights = (const float *)routes->weights.data + first,
                *dw = (const float *)dweights.data + first;
    float dot = 0, *dz = (float *)dlogits.data + i * num_experts;
    for (int k = 0; k < args->num_chosen && args->renormalises; k++)
        dot += weights[k] * dw[k] / args->scale;
    memset(dz, 0, (size_t)num_experts * sizeof *dz);
    for (int k = 0; k < args->num_chosen; k++)
        dz[experts[k]] = weights[k] * sigmoid(-z[experts[k]]) * (dw[k] - dot);
}

void cpu_route_backward(struct device *dev, struct tensor dlogits, struct tensor dweights,
                        struct tensor logits, const struct expert_routes *routes,
                        const struct route_args *args) {
    int64_t num_rows = logits.dims[0], num_experts = logits.dims[1];
    float *room = cpu_scratch(dev, (size_t)(dev->num_threads * num_experts) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < num_rows; i++) {
        float *p = room + cpu_thread() * num_experts;
        const float *z = (const float *)logits.data + i * num_experts;
        if (args->score == ROUTER_SIGMOID) {
            sigmoid_row_backward(dlogits, z, dweights, routes, i, args);
            continue;
        }
        if (!args->renormalises)
            softmax(p, z, num_experts);
        route_row_backward(dlogits, p, dweights, routes, i, args);
    }
}

/* --- what routers are held to --- */

/* Rows whose probabilities are at hand at a time: a column of them is added up in f64 before it goes into a sum in f32. */
enum { COUNTED_ROWS = 256 };

struct counted {
    const int32_t *sequences; /* [count] of these rows */
    const float *values;      /* [count, width] */
    int64_t count, width;
};

/* add_column - column c of the rows, in their order, to the sums [S, stride] of their sequences. */
static void add_column(float *sums, int64_t stride, const struct counted *rows, int64_t c) {
    double sum = 0;
    for (int64_t i = 0; i < rows->count; i++) {
        int32_t s = rows->sequences[i];
        sum += (double)rows->values[i * rows->width + c];
        if (i + 1 < rows->count && rows->sequences[i + 1] == s)
            continue;
        if (s >= 0)
            sums[s * stride] += (float)sum;
        sum = 0;
    }
}

/* count_choices - of the rows, one by one. */
static void count_choices(const struct route_counts *counts, const struct expert_routes *routes,
                          const int32_t *sequences) {
    int32_t *chosen = counts->chosen.data, *load = counts->load.data;
    const int32_t *experts = routes->experts.data;
    int64_t num_rows = routes->experts.dims[0], num_chosen = routes->experts.dims[1],
            num_experts = counts->load.dims[0];
    for (int64_t i = 0; i < num_rows * num_chosen; i++) {
        int32_t s = sequences[i / num_chosen];
        if (s < 0)
            continue;
        chosen[s * num_experts + experts[i]]++;
        load[experts[i]]++;
    }
}

/* The last column of a row in the room is the square of its logsumexp. */
void cpu_route_count(struct device *dev, const struct route_counts *counts, struct tensor logits,
                     const struct expert_routes *routes, struct tensor sequences) {
    int64_t num_rows = logits.dims[0], num_experts = logits.dims[1], width = num_experts + 1;
    float *room = cpu_scratch(dev, (size_t)(COUNTED_ROWS * width) * sizeof(float));
    for (int64_t first = 0; first < num_rows; first += COUNTED_ROWS) {
        int64_t left = num_rows - first;
        struct counted rows = {(const int32_t *)sequences.data + first, room,
                               left < COUNTED_ROWS ? left : COUNTED_ROWS, width};
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
        for (int64_t i = 0; i < rows.count; i++) {
            const float *z = (const float *)logits.data + (first + i) * num_experts;
            float *p = room + i * width, lse = ((const float *)routes->lse.data)[first + i];
            for (int64_t e = 0; e < num_experts; e++)
                p[e] = expf(z[e] - lse);
            p[num_experts] = lse * lse;
        }
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
        for (int64_t e = 0; e < num_experts; e++)
            add_column((float *)counts->shares.data + e, num_experts, &rows, e);
        add_column(counts->squares.data, 1, &rows, num_experts);
    }
    count_choices(counts, routes, sequences.data);
}

void cpu_route_losses_backward(struct device *dev, struct tensor dlogits, struct tensor logits,
                               struct tensor chosen, struct tensor sequences, struct tensor factors) {
    int64_t num_rows = logits.dims[0], num_experts = logits.dims[1];
    const int32_t *of_row = sequences.data;
    float *room = cpu_scratch(dev, (size_t)(dev->num_threads * num_experts) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < num_rows; i++) {
        if (of_row[i] < 0)
            continue;
        float *p = room + cpu_thread() * num_experts, *dz = (float *)dlogits.data + i * num_experts;
        const int32_t *n = (const int32_t *)chosen.data + of_row[i] * num_experts;
        const float *factor = (const float *)factors.data + of_row[i] * 2;
        float lse = softmax(p, (const float *)logits.data + i * num_experts, num_experts), mean = 0;
        for (int64_t e = 0; e < num_experts; e++)
            mean += p[e] * (float)n[e];
        for (int64_t e = 0; e < num_experts; e++)
            dz[e] += p[e] * (factor[0] * ((float)n[e] - mean) + 2 * factor[1] * lse);
    }
}

/* --- there and back --- */

void cpu_spread(struct device *dev, struct tensor y, struct tensor x, const struct expert_routes *routes) {
    const int32_t *sources = routes->sources.data;
    int64_t chosen = routes->places.dims[1], count = y.dims[0];
    size_t row_bytes = (size_t)x.dims[1] * dtype_bytes(x.dtype);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t p = 0; p < count; p++)
        memcpy((char *)y.data + (size_t)p * row_bytes,
               (char *)x.data + (size_t)(sources[p] / chosen) * row_bytes, row_bytes);
}

void cpu_collect(struct device *dev, struct tensor y, struct tensor x, struct tensor weights,
                 const struct expert_routes *routes) {
    const int32_t *places = routes->places.data;
    const float *factors = weights.data;
    int64_t chosen = routes->places.dims[1], width = y.dims[1], num_rows = y.dims[0];
    float *room = cpu_scratch(dev, (size_t)(2 * dev->num_threads * width) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < num_rows; i++) {
        float *buffer = room + 2 * cpu_thread() * width;
        float *sum = row_target(y, i * width, buffer + width);
        memset(sum, 0, (size_t)width * sizeof *sum);
        for (int64_t k = i * chosen; k < (i + 1) * chosen; k++)
            row_add(sum, row_open(x, places[k] * width, width, buffer), width, factors ? factors[k] : 1);
        row_commit(y, i * width, width, sum);
    }
}

/* One row of x and dx at a time, for they may be one. */
void cpu_collect_backward(struct device *dev, struct tensor dx, struct tensor dweights, struct tensor dy,
                          struct tensor x, const struct expert_routes *routes) {
    const int32_t *sources = routes->sources.data;
    const float *weights = routes->weights.data;
    float *dw = dweights.data;
    int64_t chosen = routes->places.dims[1], width = dy.dims[1], count = x.dims[0];
    float *room = cpu_scratch(dev, (size_t)(3 * dev->num_threads * width) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t p = 0; p < count; p++) {
        float *buffer = room + 3 * cpu_thread() * width;
        const float *of_y = row_open(dy, sources[p] / chosen * width, width, buffer);
        dw[sources[p]] = dot_f32(of_y, row_open(x, p * width, width, buffer + width), width);
        float *to = row_target(dx, p * width, buffer + 2 * width);
        row_scale(to, of_y, width, weights[sources[p]]);
        row_commit(dx, p * width, width, to);
    }
}

/* --- products --- */

/* The places of one expert, and its matrix. */
struct group {
    int64_t first, count, expert;
};

/* next_group - of those that have places; false after the last. */
static bool next_group(struct tensor starts, struct group *group) {
    const int32_t *at = starts.data;
    while (++group->expert < starts.dims[0] - 1) {
        group->first = at[group->expert];
        group->count = at[group->expert + 1] - group->first;
        if (group->count > 0)
            return true;
    }
    return false;
}

static struct tensor places_of(struct tensor t, const struct group *group) {
    return tensor_rows(t, group->first, group->count);
}

static struct tensor matrix_of(struct tensor w, struct tensor starts, int64_t expert) {
    int64_t rows = w.dims[0] / (starts.dims[0] - 1);
    return tensor_rows(w, expert * rows, rows);
}

void cpu_grouped_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                         struct tensor starts, const struct column_args *args) {
    for (struct group g = {.expert = -1}; next_group(starts, &g);)
        cpu_linear_part_forward(dev, places_of(y, &g), places_of(x, &g), matrix_of(w, starts, g.expert),
                                args);
}

void cpu_grouped_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                                struct tensor starts, const struct column_args *args) {
    for (struct group g = {.expert = -1}; next_group(starts, &g);)
        linear_part_input(dev, places_of(dx, &g), places_of(dy, &g), matrix_of(w, starts, g.expert), args);
}

/* An expert without places has a gradient of zero. */
void cpu_grouped_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                 struct tensor starts, const struct column_args *args) {
    if (args->write == OP_OVERWRITE)
        memset(dw.data, 0, tensor_bytes(dw));
    for (struct group g = {.expert = -1}; next_group(starts, &g);)
        cpu_linear_part_backward_weight(dev, matrix_of(dw, starts, g.expert), places_of(dy, &g),
                                        places_of(x, &g), args);
}

/* --- biases --- */

/* bias_of - that of one expert. */
static struct tensor bias_of(struct tensor b, struct tensor starts, int64_t expert) {
    int64_t count = b.dims[0] / (starts.dims[0] - 1);
    return tensor_1d((char *)b.data + (size_t)(expert * count) * dtype_bytes(b.dtype), b.dtype, count);
}

void cpu_grouped_bias_forward(struct device *dev, struct tensor y, struct tensor b, struct tensor starts) {
    const struct column_args whole = {.scale = 1, .write = OP_ACCUMULATE};
    for (struct group g = {.expert = -1}; next_group(starts, &g);)
        cpu_put_columns(dev, places_of(y, &g), bias_of(b, starts, g.expert), &whole);
}

void cpu_grouped_bias_backward(struct device *dev, struct tensor db, struct tensor dy, struct tensor starts) {
    for (struct group g = {.expert = -1}; next_group(starts, &g);)
        cpu_column_sums(dev, bias_of(db, starts, g.expert), places_of(dy, &g));
}
