/* conformance.h - what the probes of conformance_sm70.cu to conformance_sm90.cu share.
 *
 * A probe launches a tiny kernel around one wrapper of kernels/cuda/dev.h, dev_sm89.h or dev_sm90.h, and compares the
 * words it wrote with words that plain C computes from the wrapper's documentation.  The same probes run on
 * the host (tests/simt/test_conformance.cpp, every schedule) and on a GPU (conformance.cu), so that what the
 * host takes an instruction to do is held against what it does.  With a file name, all words are also written
 * there as text: one run per machine, and diff compares the two. */
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "kernels/cuda/dev.h"

struct conformance {
    FILE *dump; /* NULL: none */
    int num_probes, num_failed;
    bool quiet; /* print failures only */
};

/* probe_sm70, probe_sm80, probe_sm89, probe_sm90 - run all probes of a kind of GPU; those of sm_70 and sm_89 do on all. */
void probe_sm70(conformance *run);
void probe_sm80(conformance *run);
void probe_sm89(conformance *run);
void probe_sm90(conformance *run);

#define CONFORMANCE_CUDA(call)                                                                               \
    do {                                                                                                     \
        cudaError_t status_ = (call);                                                                        \
        if (status_ != cudaSuccess)                                                                          \
            cuda_die(__FILE__, __LINE__, #call, status_);                                                    \
    } while (0)

/* Elements in device memory, filled from the host; all ones where nothing is given. */
template <class T> struct device_array {
    T *data;
    size_t count;

    explicit device_array(size_t count_) : data(nullptr), count(count_) {
        CONFORMANCE_CUDA(cudaMalloc((void **)&data, bytes()));
        CONFORMANCE_CUDA(cudaMemset(data, 0xff, bytes()));
    }
    explicit device_array(const std::vector<T> &values) : device_array(values.size()) {
        CONFORMANCE_CUDA(cudaMemcpy(data, values.data(), bytes(), cudaMemcpyHostToDevice));
    }
    device_array(const device_array &) = delete;
    ~device_array() {
        cudaFree(data);
    }
    size_t bytes() const {
        return count * sizeof(T);
    }
    std::vector<T> download() const {
        std::vector<T> values(count);
        CONFORMANCE_CUDA(cudaDeviceSynchronize());
        CONFORMANCE_CUDA(cudaMemcpy(values.data(), data, bytes(), cudaMemcpyDeviceToHost));
        return values;
    }
};

typedef device_array<uint32_t> words;

static inline uint32_t word_of(float x) {
    uint32_t word;
    memcpy(&word, &x, sizeof word);
    return word;
}
static inline float float_of(uint32_t word) {
    float x;
    memcpy(&x, &word, sizeof x);
    return x;
}

/* Words that a probe expects of a float array. */
static inline std::vector<uint32_t> words_of(const std::vector<float> &values) {
    std::vector<uint32_t> bits;
    for (float x : values)
        bits.push_back(word_of(x));
    return bits;
}

static inline void conclude(conformance *run, const char *name, bool ok, size_t at, uint32_t got,
                            uint32_t want) {
    run->num_probes++;
    run->num_failed += !ok;
    if (!ok)
        printf("FAILED  %s: word %zu is %08x (%g), expected %08x (%g)\n", name, at, got,
               (double)float_of(got), want, (double)float_of(want));
    else if (!run->quiet)
        printf("ok      %s\n", name);
}

/* expect_words - the probe's output is exactly this. */
static inline void expect_words(conformance *run, const char *name, const device_array<uint32_t> &output,
                                const std::vector<uint32_t> &want) {
    std::vector<uint32_t> got = output.download();
    size_t at = 0;
    while (at < got.size() && at < want.size() && got[at] == want[at])
        at++;
    for (size_t i = 0; run->dump && i < got.size(); i++)
        fprintf(run->dump, "%s %zu %08x\n", name, i, got[i]);
    bool ok = at == got.size() && at == want.size();
    conclude(run, name, ok, at, at < got.size() ? got[at] : 0, at < want.size() ? want[at] : 0);
}

/* expect_floats - the probe's output is within max_ulp units in the last place; NaN where NaN.  Not dumped:
 * such results may differ between machines. */
static inline void expect_floats(conformance *run, const char *name, const device_array<uint32_t> &output,
                                 const std::vector<float> &want, float max_ulp) {
    std::vector<uint32_t> got = output.download();
    size_t at = 0;
    for (; at < got.size(); at++) {
        float x = float_of(got[at]), y = want[at];
        float ulp = nextafterf(fabsf(y), INFINITY) - fabsf(y);
        bool same = word_of(x) == word_of(y) || (isnan(x) && isnan(y)) || fabsf(x - y) <= max_ulp * ulp;
        if (!same)
            break;
    }
    bool ok = at == got.size();
    conclude(run, name, ok, at, ok ? 0 : got[at], ok ? 0 : word_of(want[at]));
}

/* small_integer - -4 .. 4, different for neighbours: sums of products are exact in f32. */
static inline float small_integer(size_t i, size_t j) {
    return (float)((i * 7 + j * 3 + i * j) % 9) - 4.0f;
}
