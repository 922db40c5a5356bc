/* fp8_layer.h - what the tests of products in 8 bits share: the tensors of a layer, products in f64, and values that codes leave, found by
 * trying all of them. */
#pragma once

#include "checkpoints/safetensors/safetensors.h"
#include "tests/ops_data.h"

static const double LARGEST[] = {[FP8_E4M3] = 448, [FP8_E5M2] = 57344};

static inline double *doubles(int64_t count) {
    return xcalloc((size_t)count, sizeof(double));
}

static inline uint8_t code_of(float value, enum fp8_format format) {
    return format == FP8_E4M3 ? e4m3_from_f32(value) : e5m2_from_f32(value);
}

/* value_of - the definition in f64, of codes that are numbers. */
static inline double value_of(int code, enum fp8_format format) {
    int bits = format == FP8_E4M3 ? 3 : 2, bias = format == FP8_E4M3 ? 7 : 15;
    int exponent = (code & 127) >> bits, fraction = code & ((1 << bits) - 1);
    double magnitude =
        exponent ? ldexp((1 << bits) + fraction, exponent - bias - bits) : ldexp(fraction, 1 - bias - bits);
    return code & 128 ? -magnitude : magnitude;
}

static inline int last_code(enum fp8_format format) {
    return format == FP8_E4M3 ? 0x7e : 0x7b;
}

/* nearest - to a scaled value, of two the one of the even code. */
static inline double nearest(double value, enum fp8_format format) {
    int best = 0;
    for (int code = 0; code <= last_code(format); code++) {
        double distance = fabs(fabs(value) - value_of(code, format)),
               least = fabs(fabs(value) - value_of(best, format));
        if (distance < least || (distance == least && code % 2 == 0))
            best = code;
    }
    return copysign(value_of(best, format), value);
}

/* The file of torch's numbers. */
static inline struct st_files *golden_open(void) {
    struct err err = {""};
    struct st_files *files = st_open("tests/golden/fp8/expected.safetensors", &err);
    assert_non_null(files);
    return files;
}

/* golden - one tensor of it, malloc'ed; *count: its elements. */
static inline double *golden(const struct st_files *files, const char *name, int64_t *count) {
    struct err err = {""};
    int64_t index = st_find(files, name);
    assert_true(index >= 0);
    *count = st_entry(files, index).count;
    float *values = xmalloc((size_t)*count * sizeof *values);
    double *exact = doubles(*count);
    assert_int_equal(st_read_f32(files, index, 0, *count, values, &err), 0);
    for (int64_t i = 0; i < *count; i++)
        exact[i] = (double)values[i];
    free(values);
    return exact;
}

/* left - what 8 bits leave of a tensor, by trying scales and codes. */
static inline double *left(struct data d, enum fp8_format format) {
    int64_t count = tensor_count(d.t);
    double largest = 0, scale = 0x1p60, *values = doubles(count);
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(d.exact[i]));
    while (largest * scale > LARGEST[format])
        scale /= 2;
    for (int64_t i = 0; i < count; i++)
        values[i] = nearest(d.exact[i] * scale, format) / scale;
    return values;
}

/* The tensors of one layer. */
struct layer {
    struct data x, w, dy, y, dx, dw;
    int64_t rows, in, out;
};

static inline struct tensor shape_2d(enum dtype dtype, int64_t rows, int64_t cols) {
    return tensor_2d(NULL, dtype, rows, cols);
}

static inline struct layer layer_make(struct device *dev, const int64_t shape[3]) {
    int64_t rows = shape[0], in = shape[1], out = shape[2];
    struct layer l = {data_random(dev, shape_2d(DTYPE_BF16, rows, in), 1),
                      data_random(dev, shape_2d(DTYPE_BF16, out, in), 2),
                      data_random(dev, shape_2d(DTYPE_BF16, rows, out), 3),
                      data_output(dev, shape_2d(DTYPE_BF16, rows, out)),
                      data_output(dev, shape_2d(DTYPE_BF16, rows, in)),
                      data_output(dev, shape_2d(DTYPE_F32, out, in)),
                      rows,
                      in,
                      out};
    return l;
}

static inline void layer_free(struct layer l) {
    data_free(l.x), data_free(l.w), data_free(l.dy), data_free(l.y), data_free(l.dx), data_free(l.dw);
}

/* product - c[i, j] += sum over k of a[i, k] b[k, j], each by its two strides. */
static inline void product(double *c, const double *a, const int64_t a_strides[2], const double *b,
                           const int64_t b_strides[2], const int64_t mnk[3]) {
    for (int64_t i = 0; i < mnk[0]; i++)
        for (int64_t j = 0; j < mnk[1]; j++)
            for (int64_t k = 0; k < mnk[2]; k++)
                c[i * mnk[1] + j] +=
                    a[i * a_strides[0] + k * a_strides[1]] * b[k * b_strides[0] + j * b_strides[1]];
}

static inline struct fp8_backward backward_of(struct layer l, enum op_write write) {
    return (struct fp8_backward){l.dx.t, l.dw.t, write, write, l.dy.t, l.x.t, l.w.t};
}

static inline bool differs(struct data got, const double *want) {
    int64_t where;
    data_refresh(got);
    return worst_ratio(got.exact, want, tensor_count(got.t), tolerance_of(got, 2e-6), &where) > 1;
}

/* fill - with a tensor of the file, rounded to its type. */
static inline void fill(struct data d, const struct st_files *files, const char *name) {
    int64_t count;
    double *values = golden(files, name, &count);
    assert_int_equal(count, tensor_count(d.t));
    memcpy(d.exact, values, (size_t)count * sizeof *values);
    data_write(d);
    free(values);
}
