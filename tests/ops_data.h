/* ops_data.h - test data for the op tests: a tensor on a device beside the exact values it holds, and a
 * comparison with an f64 result that proves each time that it would notice a fault.
 *
 * The same cases run on every device: tensors live in its memory, and the host reads and writes them through
 * upload and download alone.  Outputs begin as NaN, so that an element nobody wrote shows; after each tensor
 * lies a guard that must not change. */
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/ops.h"
#include "kernels/rng.h"
#include "tests/check.h"

enum { GUARD_BYTES = 256, GUARD_BYTE = 0xa5 };

/* exact: what the tensor holds, after rounding to its type; of an output, what the test puts there. */
struct data {
    struct device *dev; /* borrowed */
    struct tensor t;
    double *exact;
};

/* decode, encode - one element between f64 and its bits in host memory. */
static inline double decode(const void *host, enum dtype dtype, int64_t i) {
    if (dtype == DTYPE_I32)
        return ((const int32_t *)host)[i];
    if (dtype == DTYPE_F32)
        return (double)((const float *)host)[i];
    uint16_t half = ((const uint16_t *)host)[i];
    return (double)(dtype == DTYPE_BF16 ? f32_from_bf16(half) : f32_from_f16(half));
}

static inline void encode(void *host, enum dtype dtype, int64_t i, double value) {
    if (dtype == DTYPE_I32)
        ((int32_t *)host)[i] = (int32_t)value;
    else if (dtype == DTYPE_F32)
        ((float *)host)[i] = (float)value;
    else if (dtype == DTYPE_BF16)
        ((uint16_t *)host)[i] = bf16_from_f32((float)value);
    else
        ((uint16_t *)host)[i] = f16_from_f32((float)value);
}

/* round_to - what remains of a value in a type. */
static inline double round_to(enum dtype dtype, double value) {
    uint32_t bits;
    encode(&bits, dtype, 0, value);
    return decode(&bits, dtype, 0);
}

static inline struct tensor data_element(struct data d, int64_t i) {
    return tensor_1d((char *)d.t.data + (size_t)i * dtype_bytes(d.t.dtype), d.t.dtype, 1);
}

/* data_host - a copy of what the device holds.  Freed with free(). */
static inline void *data_host(struct data d) {
    void *host = xmalloc(tensor_bytes(d.t) + 1);
    device_download(d.dev, host, d.t);
    return host;
}

/* data_get - one element as the device holds it. */
static inline double data_get(struct data d, int64_t i) {
    uint32_t bits = 0;
    device_download(d.dev, &bits, data_element(d, i));
    return decode(&bits, d.t.dtype, 0);
}

static inline void data_set(struct data d, int64_t i, double value) {
    uint32_t bits = 0;
    encode(&bits, d.t.dtype, 0, value);
    device_upload(d.dev, data_element(d, i), &bits);
    d.exact[i] = decode(&bits, d.t.dtype, 0);
}

/* data_write - the whole tensor becomes what `exact` says, rounded; so does `exact`. */
static inline void data_write(struct data d) {
    int64_t count = tensor_count(d.t);
    void *host = xmalloc(tensor_bytes(d.t) + 1);
    for (int64_t i = 0; i < count; i++) {
        encode(host, d.t.dtype, i, d.exact[i]);
        d.exact[i] = decode(host, d.t.dtype, i);
    }
    device_upload(d.dev, d.t, host);
    free(host);
}

/* data_refresh - `exact` becomes what the device holds. */
static inline void data_refresh(struct data d) {
    void *host = data_host(d);
    for (int64_t i = 0; i < tensor_count(d.t); i++)
        d.exact[i] = decode(host, d.t.dtype, i);
    free(host);
}

/* data_filled - fresh device memory for a shape (its data pointer is ignored), each byte set; data_free ends
 * it. */
static inline struct data data_filled(struct device *dev, struct tensor shape, int byte) {
    struct data d = {dev, shape, xcalloc((size_t)tensor_count(shape) + 1, sizeof(double))};
    size_t bytes = tensor_bytes(shape);
    d.t.data = device_allocate(dev, bytes + GUARD_BYTES);
    CHECK(d.t.data, "no device memory for a test of %zu bytes", bytes);
    char *host = xmalloc(bytes + GUARD_BYTES);
    memset(host, byte, bytes);
    memset(host + bytes, GUARD_BYTE, GUARD_BYTES);
    device_upload(dev, tensor_1d(d.t.data, DTYPE_F16, (int64_t)(bytes + GUARD_BYTES) / 2),
                  host); /* all of it */
    free(host);
    return d;
}

/* data_zero - zeros.  data_output - NaN in every element, for what an op must write. */
static inline struct data data_zero(struct device *dev, struct tensor shape) {
    return data_filled(dev, shape, 0);
}

static inline struct data data_output(struct device *dev, struct tensor shape) {
    return data_filled(dev, shape, 0xff);
}

static inline struct data data_random(struct device *dev, struct tensor shape, uint64_t seed) {
    struct data d = data_zero(dev, shape);
    for (int64_t i = 0; i < tensor_count(shape); i++)
        d.exact[i] = rng_normal(seed, rng_stream(RNG_TEST, 1), (uint64_t)i);
    data_write(d);
    return d;
}

static inline struct data data_copy(struct data from) {
    struct data d = data_zero(from.dev, from.t);
    device_copy(d.dev, d.t, from.t);
    memcpy(d.exact, from.exact, (size_t)tensor_count(from.t) * sizeof(double));
    return d;
}

/* data_ids - i32 values in [0, limit). */
static inline struct data data_ids(struct device *dev, int64_t count, int64_t limit, uint64_t seed) {
    struct data d = data_zero(dev, tensor_1d(NULL, DTYPE_I32, count));
    for (int64_t i = 0; i < count; i++)
        d.exact[i] = (double)rng_below(seed, rng_stream(RNG_TEST, 2), (uint64_t)i, (uint64_t)limit);
    data_write(d);
    return d;
}

/* data_free - fails when somebody wrote past the end of the tensor. */
#define data_free(d) data_free_at((d), #d, __FILE__, __LINE__)
static inline void data_free_at(struct data d, const char *what, const char *file, int line) {
    size_t bytes = tensor_bytes(d.t);
    unsigned char guard[GUARD_BYTES];
    device_download(d.dev, guard, tensor_1d((char *)d.t.data + bytes, DTYPE_F16, GUARD_BYTES / 2));
    for (int i = 0; i < GUARD_BYTES; i++)
        if (guard[i] != GUARD_BYTE) {
            print_error("%s: something was written %d bytes past its end\n", what, i);
            _fail(file, line);
        }
    device_release(d.dev, d.t.data, bytes + GUARD_BYTES);
    free(d.exact);
}

static inline bool same_bits(struct data a, struct data b) {
    void *host_a = data_host(a), *host_b = data_host(b);
    bool same = memcmp(host_a, host_b, tensor_bytes(a.t)) == 0;
    free(host_a), free(host_b);
    return same;
}

/* typical_size - root mean square: errors are judged against it, since a sum may cancel. */
static inline double typical_size(const double *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += values[i] * values[i];
    return count ? sqrt(sum / (double)count) : 0;
}

/* What a type may differ by: each element relative to its size and the typical one, and on average. */
struct tolerance {
    double element, mean;
};

/* tolerance_of - 16-bit types as their rounding demands (bf16 alone makes 1.4e-3 on average); f32 as the case
 * says.  A GPU, whose exp2, tanh and rsqrt are good to some units of the last place, not to half of one, may
 * take four times that, but no more than 1e-5 where the CPU need not either.
 */
static inline struct tolerance tolerance_of(struct data d, double f32_tolerance) {
    if (d.t.dtype == DTYPE_BF16)
        return (struct tolerance){1e-2, 2e-3};
    if (d.t.dtype == DTYPE_F16)
        return (struct tolerance){1.5e-3, 4e-4};
    if (!d.dev->ops->host_memory)
        f32_tolerance = fmin(4 * f32_tolerance, fmax(f32_tolerance, 1e-5));
    return (struct tolerance){f32_tolerance, INFINITY};
}

/* worst_ratio - largest |got - want| / (tolerance * (|want| + typical size)), index in *where; infinity when
 * many values are off by more than the mean bound. */
static inline double worst_ratio(const double *got, const double *want, int64_t count,
                                 struct tolerance tolerance, int64_t *where) {
    double size = typical_size(want, count) + 1e-30, worst = 0, sum = 0, scale = 0;
    *where = 0;
    for (int64_t i = 0; i < count; i++) {
        double error = fabs(got[i] - want[i]), ratio = error / (tolerance.element * (fabs(want[i]) + size));
        sum += error;
        scale += fabs(want[i]);
        if (!(ratio <= worst)) {
            worst = isnan(ratio) ? INFINITY : ratio;
            *where = i;
        }
    }
    return count >= 256 && sum > tolerance.mean * scale + 1e-30 ? INFINITY : worst;
}

/* assert_matches, assert_within - the tensor holds `want` within the tolerance for its type, or a given one.
 * Control: a value moved by four tolerances must be reported. */
#define assert_matches(d, want, f32_tolerance) assert_within((d), (want), tolerance_of((d), (f32_tolerance)))
#define assert_within(d, want, tolerance) check_within((d), (want), (tolerance), #d, __FILE__, __LINE__)
static inline void check_within(struct data d, const double *want, struct tolerance tolerance,
                                const char *what, const char *file, int line) {
    int64_t count = tensor_count(d.t), where;
    double *got = xmalloc((size_t)count * sizeof(double) + 1);
    void *host = data_host(d);
    for (int64_t i = 0; i < count; i++)
        got[i] = decode(host, d.t.dtype, i);
    free(host);
    double ratio = worst_ratio(got, want, count, tolerance, &where);
    if (!(ratio <= 1)) {
        char shape[128];
        print_error("%s %s: element %lld is %.9g, expected %.9g: %.3g times the tolerance\n", what,
                    tensor_shape_text(d.t, shape, sizeof shape), (long long)where, got[where], want[where],
                    ratio);
        _fail(file, line);
    }
    if (count) {
        int64_t middle = count / 2;
        got[middle] =
            want[middle] + 4 * tolerance.element * (fabs(want[middle]) + typical_size(want, count) + 1e-30);
        assert_true(worst_ratio(got, want, count, tolerance, &where) > 1);
    }
    free(got);
}

/* What a case runs with: a device, and the type of activations and weights. */
struct setting {
    struct device *dev;
    enum dtype dtype;
};

struct op_case {
    const char *name;
    void (*run)(struct setting);
};

/* run_op_cases - every case on the CPU and on the GPU where there is one, in f32, bf16 and f16; returns the
 * number of failures.  ATELIER_TEST_DEVICE=cuda, or cpu: that device alone, and it must be there.  ATELIER_TEST_TYPES=16bit: not
 * in f32; =bf16: in that type alone. */
int run_op_cases(const struct op_case *cases, size_t num_cases);
