/* sampling.c - the next token from logits: temperature, top-k, top-p, and the draw. */
#include "train/model/sampling.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/error.h"
#include "kernels/rng.h"

struct candidate {
    double probability;
    int32_t token;
};

/* Most likely first; equal ones by id, so that the order is total. */
static int by_probability(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->probability != y->probability)
        return x->probability > y->probability ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

static int32_t most_likely(const float *logits, int64_t vocab_size) {
    int64_t best = 0;
    for (int64_t i = 1; i < vocab_size; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

/* draw - walk down the candidates until the drawn share of the kept mass is used up; one without probability never is. */
static int32_t draw(const struct candidate *list, int64_t count, double top_p, double uniform) {
    double kept = 0, passed = 0;
    int64_t num_kept = 0;
    while (num_kept < count && kept < top_p && list[num_kept].probability > 0)
        kept += list[num_kept++].probability;
    for (int64_t i = 0; i < num_kept; i++) {
        passed += list[i].probability;
        if (uniform * kept < passed)
            return list[i].token;
    }
    return list[num_kept - 1].token;
}

int32_t sample_token(const struct sampling *sampling, const float *logits, int64_t vocab_size,
                     int64_t index) {
    if (sampling->temperature <= 0)
        return most_likely(logits, vocab_size);
    struct candidate *list = xmalloc((size_t)vocab_size * sizeof *list);
    double peak = (double)logits[most_likely(logits, vocab_size)], sum = 0;
    for (int64_t i = 0; i < vocab_size; i++) {
        list[i].probability = exp(((double)logits[i] - peak) / sampling->temperature);
        list[i].token = (int32_t)i;
        sum += list[i].probability;
    }
    for (int64_t i = 0; i < vocab_size; i++)
        list[i].probability /= sum;
    qsort(list, (size_t)vocab_size, sizeof *list, by_probability);
    double uniform = rng_uniform((uint64_t)sampling->seed, rng_stream(RNG_SAMPLE, 0), (uint64_t)index);
    int32_t token = draw(list, vocab_size, sampling->top_p, uniform);
    free(list);
    return token;
}
