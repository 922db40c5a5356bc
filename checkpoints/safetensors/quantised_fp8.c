/* quantised_fp8.c - F8_E4M3 values and their factors, read. */
#include "checkpoints/safetensors/quantised_fp8.h"

#include <stdlib.h>

#include "checkpoints/safetensors/quantised_schemes.h"
#include "kernels/half.h"

static int64_t divide_up(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

struct fp8_factors fp8_factors(struct tensor shape, int64_t block_rows, int64_t block_cols) {
    int64_t per_row = divide_up(shape.dims[1], block_cols);
    return (struct fp8_factors){shape.dims[0], shape.dims[1], block_rows,
                                block_cols,    per_row,       divide_up(shape.dims[0], block_rows) * per_row};
}

/* find_scales - the tensor of the factors, of a type that is read.  Returns its index, or -1 with err set. */
static int64_t find_scales(const struct st_files *files, int64_t index, struct err *err) {
    int64_t inverse = st_find_beside(files, index, "_scale_inv"),
            plain = st_find_beside(files, index, "_scale");
    if ((inverse < 0) == (plain < 0))
        return err_set(err, "%s of its scales, '..._scale_inv' and '..._scale', %s there",
                       inverse < 0 ? "none" : "both", inverse < 0 ? "is" : "are");
    int64_t scales = inverse < 0 ? plain : inverse;
    struct st_entry entry = st_entry(files, scales);
    if (entry.dtype != DTYPE_F32 && entry.dtype != DTYPE_BF16 && entry.dtype != DTYPE_F16)
        return err_set(err, "'%.200s' is %s: scales are read as F32, BF16 or F16", entry.name,
                       entry.dtype_text);
    return scales;
}

int64_t fp8_find(struct fp8_factors *factors, const struct quantised *quantised, const struct st_files *files,
                 int64_t index, struct err *err) {
    struct st_entry matrix = st_entry(files, index);
    int64_t rows = matrix.dims[0], cols = matrix.dims[1], scales = find_scales(files, index, err);
    int64_t block_rows = quantised->block_rows, block_cols = quantised->block_cols;
    if (scales < 0)
        return -1;
    struct tensor shape = tensor_2d(NULL, DTYPE_F32, rows, cols);
    struct st_entry entry = st_entry(files, scales);
    if (entry.count == 1) {
        *factors = fp8_factors(shape, rows, cols);
    } else if (entry.count == rows && (entry.ndim == 1 || (entry.ndim == 2 && entry.dims[1] == 1))) {
        *factors = fp8_factors(shape, 1, cols);
    } else if (block_rows > 0 && entry.ndim == 2 && entry.dims[0] == divide_up(rows, block_rows) &&
               entry.dims[1] == divide_up(cols, block_cols)) {
        *factors = fp8_factors(shape, block_rows, block_cols);
    } else {
        return err_set(
            err,
            "'%.200s' holds %lld scales, first sizes %lld x %lld: neither one, nor one for each of %lld rows, "
            "nor one for each block of weight_block_size (%lld x %lld)",
            entry.name, (long long)entry.count, (long long)(entry.ndim > 0 ? entry.dims[0] : 1),
            (long long)(entry.ndim > 1 ? entry.dims[1] : 1), (long long)rows, (long long)block_rows,
            (long long)block_cols);
    }
    return scales;
}

int fp8_shape(const struct st_files *files, int64_t index, struct tensor *shape, struct err *err) {
    struct st_entry entry = st_entry(files, index);
    if (entry.ndim != 2 || entry.count < 1)
        return err_set(err, "%d dimensions and %lld values: only matrices can be quantised", entry.ndim,
                       (long long)entry.count);
    *shape = tensor_2d(NULL, DTYPE_F32, entry.dims[0], entry.dims[1]);
    return 0;
}

int fp8_check(const struct quantised *quantised, const struct st_files *files, int64_t index,
              struct tensor want, bool *is_known, struct err *err) {
    struct st_entry entry = st_entry(files, index);
    struct fp8_factors factors;
    char want_text[64];
    if (entry.ndim != 2 || entry.dims[0] != want.dims[0] || entry.dims[1] != want.dims[1])
        return err_set(err, "%d dimensions, first %lld x %lld; config.json asks for %s", entry.ndim,
                       (long long)entry.dims[0], (long long)entry.dims[1],
                       tensor_shape_text(want, want_text, sizeof want_text));
    int64_t scales = fp8_find(&factors, quantised, files, index, err);
    if (scales < 0)
        return -1;
    is_known[scales] = true;
    return 0;
}

/* dequantise_row - values [first, first + count) of a row; row_factors are those that the row goes through. */
static void dequantise_row(const struct fp8_factors *factors, const float *row_factors, const uint8_t *bytes,
                           struct quantised_range range, float *out) {
    for (int64_t i = 0; i < range.count; i++)
        out[i] = f32_from_e4m3(bytes[i]) * row_factors[(range.first + i) / factors->block_cols];
}

/* read_factors - those of rows [rows[0], rows[1]], out of tensor index, malloc'ed; NULL with err set. */
static float *read_factors(const struct fp8_factors *factors, const struct st_files *files, int64_t index,
                           const int64_t rows[2], struct err *err) {
    int64_t first = rows[0], last = rows[1];
    int64_t begin = first / factors->block_rows * factors->per_row;
    int64_t count = (last / factors->block_rows + 1) * factors->per_row - begin;
    float *values = xmalloc((size_t)count * sizeof *values);
    if (st_read_f32(files, index, begin, count, values, err) == 0)
        return values;
    free(values);
    return NULL;
}

int fp8_read(const struct quantised *quantised, const struct st_files *files, int64_t index,
             struct quantised_range range, float *out, struct err *err) {
    struct fp8_factors factors;
    int64_t cols = st_entry(files, index).dims[1], end = range.first + range.count;
    if (range.count == 0)
        return 0;
    int64_t holder = fp8_find(&factors, quantised, files, index, err);
    if (holder < 0)
        return -1;
    int64_t first_row = range.first / cols; /* a range may begin and end inside of a row */
    float *scales = read_factors(&factors, files, holder, (int64_t[2]){first_row, (end - 1) / cols}, err);
    uint8_t *bytes = xmalloc((size_t)range.count);
    int status = scales ? st_read_bytes(files, index, range.first, range.count, bytes, err) : -1;
    for (int64_t at = range.first; at < end && status == 0;) {
        int64_t row = at / cols, col = at % cols, now = cols - col < end - at ? cols - col : end - at;
        const float *row_scales =
            scales + (row / factors.block_rows - first_row / factors.block_rows) * factors.per_row;
        dequantise_row(&factors, row_scales, bytes + (at - range.first), (struct quantised_range){col, now},
                       out + (at - range.first));
        at += now;
    }
    free(bytes);
    free(scales);
    return status;
}
