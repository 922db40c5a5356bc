/* ops_data.h - test data for the op tests: a tensor beside the exact values it holds, and a comparison with
 * an f64 result that proves each time that it would notice a fault. */
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/ops.h"
#include "kernels/rng.h"
#include "tests/check.h"

/* exact: what the tensor holds, after rounding to its type. */
struct data {
    struct tensor t;
    double *exact;
};

static inline double data_value(struct tensor t, int64_t i) {
    if (t.dtype == DTYPE_I32)
        return ((const int32_t *)t.data)[i];
    if (t.dtype == DTYPE_F32)
        return (double)((const float *)t.data)[i];
    uint16_t half = ((const uint16_t *)t.data)[i];
    return (double)(t.dtype == DTYPE_BF16 ? f32_from_bf16(half) : f32_from_f16(half));
}

static inline void data_set(struct data d, int64_t i, double value) {
    if (d.t.dtype == DTYPE_I32)
        ((int32_t *)d.t.data)[i] = (int32_t)value;
    else if (d.t.dtype == DTYPE_F32)
        ((float *)d.t.data)[i] = (float)value;
    else if (d.t.dtype == DTYPE_BF16)
        ((uint16_t *)d.t.data)[i] = bf16_from_f32((float)value);
    else
        ((uint16_t *)d.t.data)[i] = f16_from_f32((float)value);
    d.exact[i] = data_value(d.t, i);
}

/* data_zero, data_random - fresh memory for a shape (its data pointer is ignored); freed by data_free. */
static inline struct data data_zero(struct tensor shape) {
    struct data d = {shape, xcalloc((size_t)tensor_count(shape), sizeof(double))};
    d.t.data = xcalloc(tensor_bytes(shape), 1);
    return d;
}

static inline struct data data_random(struct tensor shape, uint64_t seed) {
    struct data d = data_zero(shape);
    for (int64_t i = 0; i < tensor_count(shape); i++)
        data_set(d, i, rng_normal(seed, rng_stream(RNG_TEST, 1), (uint64_t)i));
    return d;
}

static inline struct data data_copy(struct data from) {
    struct data d = data_zero(from.t);
    memcpy(d.t.data, from.t.data, tensor_bytes(from.t));
    memcpy(d.exact, from.exact, (size_t)tensor_count(from.t) * sizeof(double));
    return d;
}

/* data_ids - i32 values in [0, limit). */
static inline struct data data_ids(int64_t count, int64_t limit, uint64_t seed) {
    struct data d = data_zero(tensor_1d(NULL, DTYPE_I32, count));
    for (int64_t i = 0; i < count; i++)
        data_set(d, i, (double)rng_below(seed, rng_stream(RNG_TEST, 2), (uint64_t)i, (uint64_t)limit));
    return d;
}

static inline void data_free(struct data d) {
    free(d.t.data);
    free(d.exact);
}

static inline bool same_bits(struct data a, struct data b) {
    return memcmp(a.t.data, b.t.data, tensor_bytes(a.t)) == 0;
}

/* typical_size - root mean square: errors are judged against it, since a sum may cancel. */
static inline double typical_size(const double *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += values[i] * values[i];
    return count ? sqrt(sum / (double)count) : 0;
}

/* worst_ratio - largest |got - want| / (tolerance * (|want| + typical size)), index in *where; also fails
 * (infinity) when many bf16 values are off by more than 2e-3 on average (rounding alone makes 1.4e-3). */
static inline double worst_ratio(const double *got, const double *want, int64_t count, enum dtype dtype,
                                 double tolerance, int64_t *where) {
    double size = typical_size(want, count) + 1e-30, worst = 0, sum = 0, scale = 0;
    *where = 0;
    for (int64_t i = 0; i < count; i++) {
        double error = fabs(got[i] - want[i]), ratio = error / (tolerance * (fabs(want[i]) + size));
        sum += error;
        scale += fabs(want[i]);
        if (!(ratio <= worst)) {
            worst = isnan(ratio) ? INFINITY : ratio;
            *where = i;
        }
    }
    return dtype == DTYPE_BF16 && count >= 256 && sum > 2e-3 * scale + 1e-30 ? INFINITY : worst;
}

/* assert_matches - the tensor holds `want` within the tolerance for its type: f32 as given, bf16 1e-2.
 * Control: a value moved by four tolerances must be reported. */
#define assert_matches(d, want, f32_tolerance)                                                               \
    check_matches((d), (want), (f32_tolerance), #d, __FILE__, __LINE__)
static inline void check_matches(struct data d, const double *want, double f32_tolerance, const char *what,
                                 const char *file, int line) {
    int64_t count = tensor_count(d.t), where;
    double tolerance = d.t.dtype == DTYPE_F32 ? f32_tolerance : 1e-2;
    double *got = xmalloc((size_t)count * sizeof(double) + 1);
    for (int64_t i = 0; i < count; i++)
        got[i] = data_value(d.t, i);
    double ratio = worst_ratio(got, want, count, d.t.dtype, tolerance, &where);
    if (ratio > 1) {
        char shape[128];
        print_error("%s %s: element %lld is %.9g, expected %.9g: %.3g times the tolerance\n", what,
                    tensor_shape_text(d.t, shape, sizeof shape), (long long)where, got[where], want[where],
                    ratio);
        _fail(file, line);
    }
    if (count) {
        int64_t middle = count / 2;
        got[middle] = want[middle] + 4 * tolerance * (fabs(want[middle]) + typical_size(want, count) + 1e-30);
        assert_true(worst_ratio(got, want, count, d.t.dtype, tolerance, &where) > 1);
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

/* One case on one device in one type, as cmocka's state. */
struct op_run {
    const struct op_case *op_case;
    struct setting setting;
};

static inline void run_one_case(void **state) {
    const struct op_run *run = *state;
    run->op_case->run(run->setting);
}

/* run_op_cases - every case on every device, in f32 and bf16; returns cmocka's count of failures.  Another
 * device joins by a line in the list (its memory must be readable here). */
static inline int run_op_cases(const struct op_case *cases, size_t num_cases) {
    static const struct {
        const char *name;
        void (*open)(struct device *, int);
    } devices[] = {{"cpu", device_open_cpu}};
    enum { NUM_DEVICES = sizeof devices / sizeof devices[0], NUM_TYPES = 2, THREADS = 2 };
    int failed = 0;
    for (size_t d = 0; d < NUM_DEVICES; d++) {
        struct device dev;
        size_t num_runs = NUM_TYPES * num_cases;
        struct CMUnitTest *tests = xcalloc(num_runs, sizeof *tests);
        struct op_run *runs = xcalloc(num_runs, sizeof *runs);
        devices[d].open(&dev, THREADS);
        for (size_t i = 0; i < num_runs; i++) {
            enum dtype dtype = i < num_cases ? DTYPE_F32 : DTYPE_BF16;
            runs[i] = (struct op_run){&cases[i % num_cases], {&dev, dtype}};
            tests[i].name = xasprintf("%s %s %s", runs[i].op_case->name, devices[d].name, dtype_name(dtype));
            tests[i].test_func = run_one_case;
            tests[i].initial_state = &runs[i];
        }
        failed += _cmocka_run_group_tests(devices[d].name, tests, num_runs, NULL, NULL);
        device_close(&dev);
        for (size_t i = 0; i < num_runs; i++)
            free((void *)(uintptr_t)tests[i].name);
        free(tests);
        free(runs);
    }
    return failed;
}
