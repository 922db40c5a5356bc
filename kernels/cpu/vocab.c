/* vocab.c - what touches the vocabulary on the CPU: token embedding and cross-entropy. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/logits.h"

/* Rows are copied as bytes: both have the same type, and nothing is computed. */
void cpu_embedding_forward(struct device *dev, struct tensor x, struct tensor w, struct tensor tokens) {
    size_t row_bytes = (size_t)x.dims[1] * dtype_bytes(x.dtype);
    const int32_t *ids = tokens.data;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (x.dims[0] > 1)
    for (int64_t i = 0; i < x.dims[0]; i++)
        memcpy((char *)x.data + (size_t)i * row_bytes, (const char *)w.data + (size_t)ids[i] * row_bytes,
               row_bytes);
}

/* add_columns - dw[tokens[i]] += dx[i] for the channels [first, first + count), in the order of i. */
static void add_columns(struct tensor dw, struct tensor dx, const int32_t *tokens, int64_t first,
                        int64_t count) {
    float buffer[16];
    int64_t width = dx.dims[1];
    for (int64_t i = 0; i < dx.dims[0]; i++) {
        const float *from = row_open(dx, i * width + first, count, buffer);
        float *to = (float *)dw.data + tokens[i] * width + first;
        for (int64_t c = 0; c < count; c++)
            to[c] += from[c];
    }
}

/* Two tokens may be the same word, so threads share out the channels and not the tokens: every element of dw
 * is summed by one thread in the order of i, whatever the number of threads. */
void cpu_embedding_backward(struct device *dev, struct tensor dw, struct tensor dx, struct tensor tokens) {
    enum { CHANNELS = 16 }; /* one cache line of f32 */
    int64_t width = dx.dims[1];
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t first = 0; first < width; first += CHANNELS)
        add_columns(dw, dx, tokens.data, first, width - first < CHANNELS ? width - first : CHANNELS);
}

/* loss_row - the loss of one row of logits; with a gradient factor, its gradient goes to dlogits, which may
 * be the logits themselves.  The sum of the exponentials is f32 within pieces and f64 over them: rows reach
 * 250 000 terms. */
static float loss_row(float *dlogits, const float *logits, int64_t vocabulary, int64_t target, float weight,
                      float grad_scale) {
    enum { PIECE = 4096 };
    float max = logits_max(logits, vocabulary), target_logit = logits[target];
    double sum = 0;
    for (int64_t first = 0; first < vocabulary; first += PIECE) {
        int64_t count = vocabulary - first < PIECE ? vocabulary - first : PIECE;
        sum += (double)logits_exp_sum(dlogits ? dlogits + first : NULL, logits + first, count, max);
    }
    if (dlogits) {
        logits_multiply(dlogits, vocabulary, (float)((double)grad_scale * (double)weight / sum));
        dlogits[target] -= grad_scale * weight;
    }
    return (float)((double)weight * (log(sum) + (double)max - (double)target_logit));
}

/* zero_row - a row without weight has no gradient. */
static void zero_row(struct tensor t, int64_t row) {
    size_t row_bytes = (size_t)t.dims[1] * dtype_bytes(t.dtype);
    memset((char *)t.data + (size_t)row * row_bytes, 0, row_bytes);
}

void cpu_cross_entropy(struct device *dev, struct tensor losses, struct tensor dlogits, struct tensor logits,
                       struct tensor targets, struct tensor weights, const struct loss_args *args) {
    int64_t vocabulary = logits.dims[1];
    bool shaped = args->logit_scale != 1 || args->softcap > 0;
    float grad_scale = args->grad_scale == 0 ? 0 : loss_grad_scale(args);
    /* One buffer per thread serves rows of 16-bit logits, of 16-bit gradients, or of both: logits_exp_sum may work
     * in place.  It stays untouched where both are f32.  A second one holds z where that is not the logits. */
    int64_t room = vocabulary * (shaped ? 2 : 1);
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * room) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < logits.dims[0]; i++) {
        float weight = ((const float *)weights.data)[i], loss = 0;
        float *buffer = scratch + cpu_thread() * room, *z = buffer + vocabulary, *gradient = NULL;
        if (weight != 0) {
            const float *row = row_open(logits, i * vocabulary, vocabulary, buffer);
            if (shaped)
                logits_shape(z, row, vocabulary, args);
            if (grad_scale != 0)
                gradient = row_target(dlogits, i * vocabulary, buffer);
            loss = loss_row(gradient, shaped ? z : row, vocabulary, ((const int32_t *)targets.data)[i],
                            weight, grad_scale);
            if (gradient && shaped)
                logits_slope(gradient, z, vocabulary, args);
            if (gradient)
                row_commit(dlogits, i * vocabulary, vocabulary, gradient);
        } else if (grad_scale != 0) {
            zero_row(dlogits, i);
        }
        ((float *)losses.data)[i] = loss;
    }
}
