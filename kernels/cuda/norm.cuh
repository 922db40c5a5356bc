/* norm.cuh - the arithmetic of norms on packs of elements, and the sum of a weight's gradient over blocks: what the norms of rows
 * (norm.cu) and of heads (qk_norm.cu) share. */
#pragma once

#include "kernels/cuda/vector.cuh"

/* normalise - by the kind: less the mean, times rstd, rounded to the type of x, times the weight. */
template <enum norm_kind KIND, int N, class P>
DEV void normalise(float (&values)[N], const P &x, const P &w, float mean, float rstd, float offset) {
    float weights[N];
    pack_values(values, x);
    pack_values(weights, w);
    for (int i = 0; i < N; i++)
        values[i] = (KIND == NORM_LAYER ? values[i] - mean : values[i]) * rstd;
    if (KIND == NORM_RMS)
        pack_values(values, pack_of<typename P::element>(values));
    for (int i = 0; i < N; i++)
        values[i] *= KIND == NORM_RMS ? weights[i] : weights[i] + offset;
}

/* add_squares - of the elements, less the mean. */
template <enum norm_kind KIND, class T, int N>
DEV float add_squares(const pack<T, N> &x, float mean, float total) {
    float values[N];
    pack_values(values, x);
    for (int i = 0; i < N; i++) {
        float value = KIND == NORM_LAYER ? values[i] - mean : values[i];
        total += value * value;
    }
    return total;
}

/* add_packs - a + b rounded to T, as the op "add" does. */
template <class T, int N> DEV pack<T, N> add_packs(const pack<T, N> &a, const pack<T, N> &b) {
    float x[N], y[N];
    pack_values(x, a);
    pack_values(y, b);
    for (int i = 0; i < N; i++)
        x[i] += y[i];
    return pack_of<T>(x);
}

/* add_values - total + the elements. */
template <class T, int N> DEV float add_values(const pack<T, N> &x, float total) {
    float values[N];
    pack_values(values, x);
    for (int i = 0; i < N; i++)
        total += values[i];
    return total;
}

/* What the backward knows of a row: its statistics, and the means of g and of g n over it.  mean and mean_g of LayerNorm
 * alone. */
struct row_known {
    float rstd, mean, mean_g, mean_gn;
};

/* backward_pack - with n = (x - mean) rstd and g = dy w: dx += rstd (g - mean(g) - n mean(g n)), and dw += dy n. */
template <bool LAYER, class T, int N>
DEV pack<T, N> backward_pack(float (&dw)[N], const pack<T, N> &dx, const pack<T, N> &dy, const pack<T, N> &x,
                             const pack<T, N> &w, const row_known &row, float offset) {
    float out[N], gradient[N], values[N], weights[N];
    pack_values(out, dx);
    pack_values(gradient, dy);
    pack_values(values, x);
    pack_values(weights, w);
    for (int i = 0; i < N; i++) {
        float normalised = (LAYER ? values[i] - row.mean : values[i]) * row.rstd;
        float g = gradient[i] * (weights[i] + offset);
        out[i] += row.rstd * ((LAYER ? g - row.mean_g : g) - normalised * row.mean_gn);
        dw[i] += gradient[i] * normalised;
    }
    return pack_of<T>(out);
}

/* dot_packs - dot + the sum of g (x - mean). */
template <bool LAYER, class T, int N>
DEV float dot_packs(const pack<T, N> &dy, const pack<T, N> &w, const pack<T, N> &x, float mean, float offset,
                    float dot) {
    float gradient[N], weights[N], values[N];
    pack_values(gradient, dy);
    pack_values(weights, w);
    pack_values(values, x);
    for (int i = 0; i < N; i++)
        dot += gradient[i] * (weights[i] + offset) * (LAYER ? values[i] - mean : values[i]);
    return dot;
}

/* add_slopes - sum + that of g. */
template <class T, int N>
DEV float add_slopes(const pack<T, N> &dy, const pack<T, N> &w, float offset, float sum) {
    float gradient[N], weights[N];
    pack_values(gradient, dy);
    pack_values(weights, w);
    for (int i = 0; i < N; i++)
        sum += gradient[i] * (weights[i] + offset);
    return sum;
}

/* add_to_shared - row[0 .. N) += values, or = for the first team; four floats per access. */
template <int N> DEV void add_to_shared(uint32_t row, const float (&values)[N], bool first) {
    for (int i = 0; i < N; i += 4) {
        float sums[4];
        pack<float, 4> p;
        vec16 before = first ? vec16{} : shared_load16(row + (uint32_t)i * 4);
        for (int j = 0; j < 4; j++)
            p.words[j] = before.w[j];
        pack_values(sums, p);
        for (int j = 0; j < 4; j++)
            sums[j] += values[i + j];
        p = pack_of<float>(sums);
        shared_store16(row + (uint32_t)i * 4, vec16{{p.words[0], p.words[1], p.words[2], p.words[3]}});
    }
}

/* swap_slots - two sets in turn: see team_sum. */
DEV void swap_slots(struct team &team, uint32_t &other) {
    uint32_t used = team.slots;
    team.slots = other;
    other = used;
}

/* norm_reduce - dw [C] += the rows of partial [num_partials, C], in order; dw without data: nothing. */
void norm_reduce(struct device *dev, struct tensor dw, const float *partial, int num_partials);
