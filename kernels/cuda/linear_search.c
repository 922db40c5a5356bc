/* linear_search.c - which of cuBLASLt's algorithms runs a product.
 *
 * The library proposes algorithms, best guess first.  Without tuning the first is taken.  With tuning the
 * first NUM_CANDIDATES are timed on the operands themselves, as real numbers draw more power, and so run
 * slower, than zeros do; a product that adds to its output is timed into a copy of its own size.  A choice is
 * remembered by the algorithm's configuration and looked up among the proposals again, so that whatever a
 * file says, only what the library itself proposes for this very product is ever run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/linear.h"

enum { NUM_CANDIDATES = 16, NUM_ROUNDS = 4 /* the first warms up */ };

/* read_config - an algorithm's configuration; what this version of the library does not know stays 0. */
static struct algorithm read_config(const cublasLtMatmulAlgo_t *algo) {
    struct algorithm algorithm = {{0}};
    for (int i = 0; i < CONFIG_LENGTH; i++) {
        int32_t value = 0; /* some are 16 bits wide: they fill the low half */
        size_t written = 0;
        if (cublasLtMatmulAlgoConfigGetAttribute(algo, (cublasLtMatmulAlgoConfigAttributes_t)i, &value,
                                                 i < CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID ? 4 : 2,
                                                 &written) == CUBLAS_STATUS_SUCCESS)
            algorithm.config[i] = value;
    }
    return algorithm;
}

const struct choice *linear_choice_find(const struct linear_state *linear, const struct product *product) {
    for (int i = 0; i < linear->num_choices; i++)
        if (memcmp(&linear->choices[i].product, product, sizeof *product) == 0)
            return &linear->choices[i];
    return NULL;
}

void linear_choice_add(struct linear_state *linear, const struct choice *choice) {
    if (linear->num_choices == MAX_CHOICES)
        return;
    if (!linear->choices)
        linear->choices = xcalloc(MAX_CHOICES, sizeof *linear->choices);
    linear->choices[linear->num_choices++] = *choice;
}

/* set_preferences - what an algorithm may count on.  Partial sums only as f32 in the workspace: added up in
 * the output they would depend on timing or be rounded to 16 bits. */
static cublasStatus_t set_preferences(cublasLtMatmulPreference_t preference, const struct matmul *matmul,
                                      uint64_t workspace_bytes) {
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        uint32_t value;
    } settings[] = {
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, (uint32_t)matmul->product.key[KEY_A_ALIGNMENT]},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, (uint32_t)matmul->product.key[KEY_B_ALIGNMENT]},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, (uint32_t)matmul->product.key[KEY_D_ALIGNMENT]},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, (uint32_t)matmul->product.key[KEY_D_ALIGNMENT]},
    };
    cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes, sizeof workspace_bytes);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0] && status == CUBLAS_STATUS_SUCCESS; i++)
        status = cublasLtMatmulPreferenceSetAttribute(preference, settings[i].attribute, &settings[i].value,
                                                      sizeof settings[i].value);
    return status;
}

/* propose - up to `wanted` algorithms, best guess first; how many.  Dies when there is none. */
static int propose(struct device *dev, struct matmul *matmul, cublasLtMatmulHeuristicResult_t *found,
                   int wanted) {
    struct linear_state *linear = linear_state_of(dev);
    cublasLtMatmulPreference_t preference = NULL;
    int num_found = 0, num_good = 0;
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&preference);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = set_preferences(preference, matmul, linear->workspace_bytes);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulAlgoGetHeuristic(linear->handle, matmul->desc, matmul->a, matmul->b, matmul->d,
                                                matmul->d, preference, wanted, found, &num_found);
    for (int i = 0; i < num_found; i++) /* a proposal may be marked as not to be used */
        if (found[i].state == CUBLAS_STATUS_SUCCESS)
            found[num_good++] = found[i];
    if (status != CUBLAS_STATUS_SUCCESS || num_good < 1)
        linear_die(dev, "no algorithm found", &matmul->product, status);
    cublasLtMatmulPreferenceDestroy(preference);
    return num_good;
}

/* time_one - milliseconds of one run; infinity when the algorithm refuses. */
static float time_one(struct device *dev, const struct matmul *matmul, const cublasLtMatmulAlgo_t *algo,
                      const struct operands *operands, cudaEvent_t begin, cudaEvent_t end) {
    float ms = INFINITY;
    CUDA_CHECK(cudaEventRecord(begin, cuda_stream(dev)));
    if (linear_multiply(dev, matmul, algo, operands) != CUBLAS_STATUS_SUCCESS)
        return ms;
    CUDA_CHECK(cudaEventRecord(end, cuda_stream(dev)));
    cuda_wait_event(dev, end);
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin, end));
    return ms;
}

/* time_all - index of the fastest candidate by its best round, and that time.  Rounds go over all candidates
 * in turn, so that a clock that changes meanwhile wrongs none of them. */
static int time_all(struct device *dev, const struct matmul *matmul,
                    const cublasLtMatmulHeuristicResult_t *found, int num_found,
                    const struct operands *operands, float *best_ms) {
    float best[NUM_CANDIDATES];
    cudaEvent_t begin, end;
    int fastest = 0;
    CUDA_CHECK(cudaEventCreate(&begin));
    CUDA_CHECK(cudaEventCreate(&end));
    for (int round = 0; round < NUM_ROUNDS; round++)
        for (int i = 0; i < num_found; i++) {
            float ms = time_one(dev, matmul, &found[i].algo, operands, begin, end);
            best[i] = round < 2 || ms < best[i] ? ms : best[i];
        }
    for (int i = 1; i < num_found; i++)
        if (best[i] < best[fastest])
            fastest = i;
    CUDA_CHECK(cudaEventDestroy(begin));
    CUDA_CHECK(cudaEventDestroy(end));
    *best_ms = best[fastest];
    return fastest;
}

/* time_copy - time_all of a product that adds to its output, into a copy of it.  Where there is no room for
 * one, the library's guess stays. */
static int time_copy(struct device *dev, const struct matmul *matmul,
                     const cublasLtMatmulHeuristicResult_t *found, int num_found,
                     const struct operands *operands, float *best_ms) {
    struct operands trial = *operands;
    const int64_t *key = matmul->product.key;
    int64_t leading = key[KEY_D_LEADING] ? key[KEY_D_LEADING] : key[KEY_M];
    size_t size_bytes = (size_t)(leading * key[KEY_N]) * dtype_bytes((enum dtype)key[KEY_OUT]);
    char *copy = cuda_allocate(dev, size_bytes + CUDA_ALIGN_BYTES);
    if (!copy)
        return 0;
    /* Aligned as the real output is, no better: algorithms are chosen by it. */
    trial.d = copy + (uintptr_t)operands->d % CUDA_ALIGN_BYTES;
    int fastest = time_all(dev, matmul, found, num_found, &trial, best_ms);
    cuda_release(dev, copy, 0);
    return fastest;
}

/* tune - the fastest candidate, remembered as a choice.  So is the guess that could not be measured: a later
 * run with more room would otherwise choose anew, and compute other bits. */
static int tune(struct device *dev, const struct matmul *matmul, const cublasLtMatmulHeuristicResult_t *found,
                int num_found, const struct operands *operands) {
    struct choice choice = {.product = matmul->product};
    int fastest = matmul->product.key[KEY_WRITE] == OP_ACCUMULATE
                      ? time_copy(dev, matmul, found, num_found, operands, &choice.ms)
                      : time_all(dev, matmul, found, num_found, operands, &choice.ms);
    choice.algorithm = read_config(&found[fastest].algo);
    linear_choice_add(linear_state_of(dev), &choice);
    return fastest;
}

void linear_choose(struct device *dev, struct matmul *matmul, const struct operands *operands) {
    struct linear_state *linear = linear_state_of(dev);
    const struct choice *choice = linear_choice_find(linear, &matmul->product);
    cublasLtMatmulHeuristicResult_t found[NUM_CANDIDATES];
    int num_found = propose(dev, matmul, found, choice || linear->tune ? NUM_CANDIDATES : 1), chosen = 0;
    for (int i = 0; choice && i < num_found; i++) {
        struct algorithm algorithm = read_config(&found[i].algo);
        if (memcmp(&algorithm, &choice->algorithm, sizeof algorithm) == 0) {
            matmul->algo = found[i].algo;
            return;
        }
    }
    if (!choice && linear->tune && num_found > 1)
        chosen = tune(dev, matmul, found, num_found, operands);
    matmul->algo = found[chosen].algo;
}
