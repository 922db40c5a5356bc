/* attention_reference.h - problems for the trials of attention on the host, and its definition with the gradient in
 * f64, also with the mistakes that must be noticed. */
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "attention_mask.h"
#include "kernels/half.h"
#include "kernels/ops.h"
#include "kernels/rng.h"
#include "turned.h"

struct problem {
    int num_rows, num_heads, num_kv_heads, width;
    enum mask_kind mask;
    float softcap;
    enum dtype dtype;
    int num_seeds;
    bool sharp; /* scores in the tens: the softmax is nearly a choice, and maxima grow as keys are visited */
    enum turn turn;
};

inline float scale_of(const problem &p) {
    return (p.sharp ? 5 : 1) / std::sqrt((float)p.width);
}

/* --- Values of a tensor: what its elements hold, exactly. */

typedef std::vector<double> values;

inline double decode(enum dtype dtype, const void *data, size_t i) {
    if (dtype == DTYPE_F32)
        return ((const float *)data)[i];
    const uint16_t bits = ((const uint16_t *)data)[i];
    return dtype == DTYPE_BF16 ? f32_from_bf16(bits) : f32_from_f16(bits);
}

inline void encode(enum dtype dtype, void *data, size_t i, double value) {
    if (dtype == DTYPE_F32)
        ((float *)data)[i] = (float)value;
    else
        ((uint16_t *)data)[i] =
            dtype == DTYPE_BF16 ? bf16_from_f32((float)value) : f16_from_f32((float)value);
}

/* random_values - normal, rounded to the type. */
inline values random_values(enum dtype dtype, size_t count, uint64_t seed) {
    values v(count);
    for (size_t i = 0; i < count; i++) {
        uint32_t element = 0;
        encode(dtype, &element, 0, rng_normal(seed, rng_stream(RNG_TEST, 1), i));
        v[i] = decode(dtype, &element, 0);
    }
    return v;
}

/* --- Problems. */

struct inputs {
    values qkv, dout;
    mask_keys mask;
};

inline inputs make_inputs(const problem &p, uint64_t seed) {
    const size_t rows = (size_t)p.num_rows * (size_t)p.width;
    return {random_values(p.dtype, rows * (size_t)(p.num_heads + 2 * p.num_kv_heads), seed),
            random_values(p.dtype, rows * (size_t)p.num_heads, seed + 1), make_mask(p.mask, p.num_rows)};
}

/* --- The definition, in f64. */

struct results {
    values out, lse, dqkv;
};

/* What the controls get wrong. */
struct mistake {
    int skew;     /* keys that every row misses at its beginning, where it has more */
    double scale; /* factor on the scale */
    int cut;      /* keys that every row misses at its end, where it has more */
};

class reference {
  public:
    reference(const problem &p_, const inputs &in_, mistake wrong_) : p(p_), in(in_), wrong(wrong_) {
        heads = p.num_heads + 2 * p.num_kv_heads;
    }

    /* stored_out: what the forward wrote.  The backward starts from it, as the op does: rounded to 16 bits it
     * shifts delta. */
    results run(const values &stored_out) const {
        results r;
        r.out.assign(in.dout.size(), 0);
        r.lse.assign((size_t)(p.num_rows * p.num_heads), 0);
        r.dqkv.assign(in.qkv.size(), 0);
        values prob((size_t)p.num_rows), slope((size_t)p.num_rows);
        for (int i = 0; i < p.num_rows; i++)
            for (int h = 0; h < p.num_heads; h++) {
                forward_row(r, i, h, prob, slope);
                backward_row(r, stored_out, i, h, prob, slope);
            }
        return r;
    }

  private:
    const problem &p;
    const inputs &in;
    mistake wrong;
    int heads;

    size_t at(int row, int head) const {
        return (size_t)(row * heads + head) * (size_t)p.width;
    }
    int key_head(int h) const {
        return p.num_heads + h * p.num_kv_heads / p.num_heads;
    }
    int first(int row) const {
        return std::min(in.mask.first[(size_t)row] + wrong.skew, last_seen(row));
    }
    int last(int row) const {
        return std::max(last_seen(row) - wrong.cut, in.mask.first[(size_t)row]);
    }
    int last_seen(int row) const {
        return in.mask.last.empty() ? row : in.mask.last[(size_t)row];
    }
    double dot(const double *a, const double *b) const {
        double sum = 0;
        for (int d = 0; d < p.width; d++)
            sum += a[d] * b[d];
        return sum;
    }

    void forward_row(results &r, int i, int h, values &prob, values &slope) const {
        const size_t row = (size_t)(i * p.num_heads + h);
        double most = -INFINITY, sum = 0;
        for (int j = first(i); j <= last(i); j++) {
            const double s = wrong.scale * scale_of(p) * dot(&in.qkv[at(i, h)], &in.qkv[at(j, key_head(h))]);
            const double t = p.softcap > 0 ? std::tanh(s / p.softcap) : 0;
            slope[(size_t)j] = 1 - t * t;
            prob[(size_t)j] = p.softcap > 0 ? p.softcap * t : s;
            most = std::max(most, prob[(size_t)j]);
        }
        for (int j = first(i); j <= last(i); j++)
            sum += prob[(size_t)j] = std::exp(prob[(size_t)j] - most);
        r.lse[row] = most + std::log(sum);
        for (int j = first(i); j <= last(i); j++) {
            prob[(size_t)j] /= sum;
            for (int d = 0; d < p.width; d++)
                r.out[row * (size_t)p.width + (size_t)d] +=
                    prob[(size_t)j] * in.qkv[at(j, key_head(h) + p.num_kv_heads) + (size_t)d];
        }
    }

    void backward_row(results &r, const values &stored_out, int i, int h, const values &prob,
                      const values &slope) const {
        const size_t row = (size_t)(i * p.num_heads + h) * (size_t)p.width;
        const double *dout = &in.dout[row], delta = dot(dout, &stored_out[row]);
        for (int j = first(i); j <= last(i); j++) {
            const size_t q = at(i, h), k = at(j, key_head(h)), v = at(j, key_head(h) + p.num_kv_heads);
            const double dp = dot(dout, &in.qkv[v]);
            const double ds = wrong.scale * scale_of(p) * prob[(size_t)j] * (dp - delta) * slope[(size_t)j];
            for (size_t d = 0; d < (size_t)p.width; d++) {
                r.dqkv[q + d] += ds * in.qkv[k + d];
                r.dqkv[k + d] += ds * in.qkv[q + d];
                r.dqkv[v + d] += prob[(size_t)j] * dout[d];
            }
        }
    }
};
