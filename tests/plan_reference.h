/* plan_reference.h - what a model of given layer plans computes, in plain f64 loops and without a word of the code under
 * test: logits and loss of one micro-batch.  Weights are found by role and layer. */
#pragma once

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family.h"

enum { REFERENCE_LAYERS = 8 };

struct reference {
    struct model_config config;
    struct layer_plan plans[REFERENCE_LAYERS];
    struct norm_plan final_norm;
    double embedding_scale;
    double *weights[ROLE_COUNT][REFERENCE_LAYERS]; /* as they lie in the model; NULL: absent */
    int64_t num_tokens;
    const int32_t *tokens, *targets, *row_start, *positions;
    const float *target_weights;
    double *layer_squares; /* where the squares of every layer's output are added; or NULL */
};

/* reference_product - y [N, out] = x [N, in] w^T, malloc'ed. */
static inline double *reference_product(const double *x, const double *w, int64_t n, int64_t in,
                                        int64_t out) {
    double *y = xcalloc((size_t)(n * out), sizeof *y);
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = 0; o < out; o++)
            for (int64_t c = 0; c < in; c++)
                y[i * out + o] += x[i * in + c] * w[o * in + c];
    return y;
}

/* A norm over rows of a width. */
struct reference_norm {
    struct norm_plan plan;
    const double *w, *bias;
    int64_t width;
    double eps;
};

/* reference_normalise - rows of x, of LayerNorm less their mean, to unit mean square; times the weight, plus the bias; in
 * place. */
static inline void reference_normalise(double *x, const struct reference_norm *norm, int64_t rows) {
    int64_t width = norm->width;
    for (int64_t i = 0; i < rows; i++) {
        double mean = 0, sum = 0;
        for (int64_t c = 0; c < width && norm->plan.kind == NORM_LAYER; c++)
            mean += x[i * width + c] / (double)width;
        for (int64_t c = 0; c < width; c++)
            sum += pow(x[i * width + c] - mean, 2);
        for (int64_t c = 0; c < width; c++)
            x[i * width + c] = (x[i * width + c] - mean) / sqrt(sum / (double)width + norm->eps) *
                                   (norm->w[c] + (double)norm->plan.offset) +
                               (norm->plan.bias ? norm->bias[c] : 0);
    }
}

static inline double *reference_copy(const double *x, int64_t count) {
    double *copy = xcalloc((size_t)count, sizeof *copy);
    memcpy(copy, x, (size_t)count * sizeof *copy);
    return copy;
}

/* reference_rotate - heads [N, heads, D] by the plan's rotation: pairs (i, i + R/2). */
static inline void reference_rotate(const struct reference *r, const struct layer_plan *plan, double *x,
                                    int64_t heads) {
    int64_t dim = r->config.head_dim, half = plan->rotary_dim / 2;
    double stretch = plan->rope_scaled && r->config.rope_kind == ROPE_LINEAR ? r->config.rope_factor : 1;
    for (int64_t i = 0; i < r->num_tokens && plan->rope_theta > 0; i++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t p = 0; p < half; p++) {
                double angle = r->positions[i] * pow(plan->rope_theta, -(double)p / (double)half) / stretch;
                double *head = x + (i * heads + h) * dim, a = head[p], b = head[p + half];
                head[p] = a * cos(angle) - b * sin(angle);
                head[p + half] = b * cos(angle) + a * sin(angle);
            }
}

/* reference_temper - queries [N, heads, D] times the temperature of their positions. */
static inline void reference_temper(const struct reference *r, const struct layer_plan *plan, double *q) {
    int64_t width = (int64_t)r->config.num_heads * r->config.head_dim;
    for (int64_t i = 0; i < r->num_tokens * width && plan->temperature > 0; i++)
        q[i] *= 1 + plan->temperature *
                        log(1 + floor((double)r->positions[i / width] / (double)plan->temperature_span));
}

/* reference_sees - whether row i sees key j: of its document, and not before its window; after itself of its block. */
static inline bool reference_sees(const struct reference *r, const struct layer_plan *plan, int64_t i,
                                  int64_t j) {
    int64_t begin = r->row_start[i];
    if (r->row_start[j] != begin || (plan->window && i - j >= plan->window))
        return false;
    return j <= i || (plan->block && (i - begin) / plan->block == (j - begin) / plan->block);
}

/* What a query head sees of all rows: keys and values, num_kv_heads D apart, and its sink (NULL: none). */
struct reference_keys {
    const double *k, *v, *sink;
};

/* reference_head - one query head of row i over the keys that it sees; out [D] is added to. */
static inline void reference_head(const struct reference *r, const struct layer_plan *plan, const double *q,
                                  const struct reference_keys *keys, int64_t i, double *out) {
    int64_t dim = r->config.head_dim, stride = dim * r->config.num_kv_heads;
    const double *k = keys->k, *v = keys->v;
    double scores[256] = {0}, sum = keys->sink ? exp(*keys->sink) : 0;
    for (int64_t j = 0; j < r->num_tokens; j++) {
        double s = 0;
        if (!reference_sees(r, plan, i, j))
            continue;
        for (int64_t c = 0; c < dim; c++)
            s += q[c] * k[j * stride + c];
        s *= (double)plan->scale;
        if (plan->softcap > 0)
            s = (double)plan->softcap * tanh(s / (double)plan->softcap);
        scores[j] = exp(s);
        sum += scores[j];
    }
    for (int64_t j = 0; j < r->num_tokens; j++)
        for (int64_t c = 0; c < dim; c++)
            out[c] += scores[j] / sum * v[j * stride + c];
}

static inline void reference_bias(double *x, const double *bias, int64_t rows, int64_t width) {
    for (int64_t i = 0; i < rows * width; i++)
        x[i] += bias[i % width];
}

/* reference_attention - of h [N, C], before the norm after the branch; malloc'ed. */
static inline double *reference_attention(const struct reference *r, int layer, const double *h) {
    const struct layer_plan *plan = &r->plans[layer];
    int64_t n = r->num_tokens, heads = r->config.num_heads, kv = r->config.num_kv_heads,
            dim = r->config.head_dim;
    double *q = reference_product(h, r->weights[ROLE_QUERY][layer], n, r->config.width, heads * dim);
    double *k = reference_product(h, r->weights[ROLE_KEY][layer], n, r->config.width, kv * dim);
    double *v = reference_product(h, r->weights[ROLE_VALUE][layer], n, r->config.width, kv * dim);
    double *out = xcalloc((size_t)(n * heads * dim), sizeof *out);
    if (plan->qkv_bias) {
        reference_bias(q, r->weights[ROLE_QUERY_BIAS][layer], n, heads * dim);
        reference_bias(k, r->weights[ROLE_KEY_BIAS][layer], n, kv * dim);
        reference_bias(v, r->weights[ROLE_VALUE_BIAS][layer], n, kv * dim);
    }
    if (plan->qk_norm) {
        struct norm_plan plain = {NORM_RMS_ONCE, plan->norm.offset, false};
        struct reference_norm norm = {.plan = plain,
                                      .w = r->weights[ROLE_QUERY_NORM][layer],
                                      .width = dim,
                                      .eps = (double)r->config.norm_eps};
        reference_normalise(q, &norm, n * heads);
        norm.w = r->weights[ROLE_KEY_NORM][layer];
        reference_normalise(k, &norm, n * kv);
    }
    reference_rotate(r, plan, q, heads);
    reference_rotate(r, plan, k, kv);
    reference_temper(r, plan, q);
    for (int64_t i = 0; i < n; i++)
        for (int64_t head = 0; head < heads; head++) {
            int64_t group = head * kv / heads * dim;
            struct reference_keys keys = {k + group, v + group,
                                          plan->sinks ? &r->weights[ROLE_SINK][layer][head] : NULL};
            reference_head(r, plan, q + (i * heads + head) * dim, &keys, i, out + (i * heads + head) * dim);
        }
    double *y = reference_product(out, r->weights[ROLE_OUTPUT][layer], n, heads * dim, r->config.width);
    free(q), free(k), free(v), free(out);
    return y;
}

static inline double reference_gate(enum gate gate, double g) {
    if (gate == GATE_SILU)
        return g / (1 + exp(-g));
    return 0.5 * g * (1 + tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g)));
}

/* reference_act - between up and down of a layer without a gate. */
static inline double reference_act(const struct reference *r, int layer, double x) {
    if (r->plans[layer].act == ACT_RELU2)
        return pow(fmax(x, 0), 2);
    double beta = *r->weights[ROLE_XIELU_BETA][layer], eps = *r->weights[ROLE_XIELU_EPS][layer];
    double p = log(1 + exp(*r->weights[ROLE_XIELU_ALPHA_P][layer])),
           n = beta + log(1 + exp(*r->weights[ROLE_XIELU_ALPHA_N][layer]));
    return (x > 0 ? p * x * x : n * (expm1(fmin(x, eps)) - x)) + beta * x;
}

/* reference_ffn - of h [N, C]; malloc'ed. */
static inline double *reference_ffn(const struct reference *r, int layer, const double *h) {
    int64_t n = r->num_tokens, width = r->config.width, ffn = r->config.ffn_width;
    bool gated = r->plans[layer].ffn == FFN_GATED;
    double *gate = gated ? reference_product(h, r->weights[ROLE_GATE][layer], n, width, ffn) : NULL;
    double *up = reference_product(h, r->weights[ROLE_UP][layer], n, width, ffn);
    for (int64_t i = 0; i < n * ffn; i++)
        up[i] =
            gated ? up[i] * reference_gate(r->plans[layer].gate, gate[i]) : reference_act(r, layer, up[i]);
    double *y = reference_product(up, r->weights[ROLE_DOWN][layer], n, ffn, width);
    free(gate), free(up);
    return y;
}

/* reference_branch - x += norm_after(branch(norm_before(x))), with the norms that the plan asks for. */
static inline void reference_branch(const struct reference *r, int layer, double *x, bool attention) {
    enum norm_place place = r->plans[layer].place;
    int64_t n = r->num_tokens, width = r->config.width;
    double *h = reference_copy(x, n * width);
    struct reference_norm before = {
        r->plans[layer].norm, r->weights[attention ? ROLE_ATTENTION_NORM : ROLE_FFN_NORM][layer],
        r->weights[attention ? ROLE_ATTENTION_NORM_BIAS : ROLE_FFN_NORM_BIAS][layer], width,
        (double)r->config.norm_eps};
    struct reference_norm after = before;
    after.w = r->weights[attention ? ROLE_ATTENTION_POST_NORM : ROLE_FFN_POST_NORM][layer];
    after.bias = r->weights[attention ? ROLE_ATTENTION_POST_NORM_BIAS : ROLE_FFN_POST_NORM_BIAS][layer];
    if (place != NORM_POST)
        reference_normalise(h, &before, n);
    double *y = attention ? reference_attention(r, layer, h) : reference_ffn(r, layer, h);
    if (place != NORM_PRE)
        reference_normalise(y, &after, n);
    for (int64_t i = 0; i < n * width; i++)
        x[i] += (double)r->plans[layer].branch_scale * y[i];
    free(h), free(y);
}

/* reference_logits - [N, V], malloc'ed. */
static inline double *reference_logits(const struct reference *r) {
    int64_t n = r->num_tokens, width = r->config.width;
    double *x = xcalloc((size_t)(n * width), sizeof *x);
    for (int64_t i = 0; i < n * width; i++)
        x[i] = r->embedding_scale * r->weights[ROLE_EMBEDDING][0][r->tokens[i / width] * width + i % width];
    for (int layer = 0; layer < r->config.num_layers; layer++) {
        reference_branch(r, layer, x, true);
        reference_branch(r, layer, x, false);
        for (int64_t i = 0; i < n * width && r->layer_squares; i++)
            *r->layer_squares += x[i] * x[i];
    }
    struct reference_norm final = {r->final_norm, r->weights[ROLE_FINAL_NORM][0],
                                   r->weights[ROLE_FINAL_NORM_BIAS][0], width, (double)r->config.norm_eps};
    reference_normalise(x, &final, n);
    const double *head = r->weights[r->config.tied_head ? ROLE_EMBEDDING : ROLE_HEAD][0];
    double *logits = reference_product(x, head, n, width, r->config.vocab_size);
    free(x);
    return logits;
}

/* reference_token_loss - of a target of row i, from the logits. */
static inline double reference_token_loss(const struct reference *r, const double *logits, int64_t i,
                                          int32_t target) {
    const double *row = logits + i * r->config.vocab_size;
    double sum = 0;
    for (int64_t v = 0; v < r->config.vocab_size; v++)
        sum += exp(row[v]);
    return log(sum) - row[target];
}

/* reference_loss - sum of weights * losses. */
static inline double reference_loss(const struct reference *r) {
    double *logits = reference_logits(r), sum = 0;
    for (int64_t i = 0; i < r->num_tokens; i++)
        sum += (double)r->target_weights[i] * reference_token_loss(r, logits, i, r->targets[i]);
    free(logits);
    return sum;
}
