/* fp8_matrix.c - magnitudes of blocks, their factors, and the values in eight bits. */
#include "checkpoints/safetensors/fp8_matrix.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/rounded.h"

/* Bounds of a value after the way there and back: half a step of 3 bits of fraction, or of the subnormal ones. */
static const float relative_bound = 1.001f / 16, subnormal_bound = 1.001f * 0x1p-10f, largest_e4m3 = 448;

int fp8_matrix_like(struct fp8_matrix *matrix, struct st_layout *layout, const struct quantised *quantised,
                    const struct st_files *files, int64_t index, struct err *err) {
    *matrix = (struct fp8_matrix){.scale = NULL};
    int64_t scales = fp8_find(&matrix->factors, quantised, files, index, err);
    if (scales < 0)
        return -1;
    struct st_entry entry = st_entry(files, scales);
    struct tensor shape = {.ndim = entry.ndim};
    for (int i = 0; i < entry.ndim && i < TENSOR_MAX_DIMS; i++)
        shape.dims[i] = entry.dims[i];
    if (entry.ndim > TENSOR_MAX_DIMS)
        return err_set(err, "'%.200s' has %d dimensions", entry.name, entry.ndim);
    matrix->type = entry.dtype;
    matrix->values = st_layout_add_stored(layout, st_entry(files, index));
    matrix->scales = st_layout_add(layout, entry.name, shape, entry.dtype);
    return 0;
}

void fp8_matrix_blocks(struct fp8_matrix *matrix, struct st_layout *layout, const char *name,
                       struct tensor shape) {
    char *scales = xasprintf("%s_scale_inv", name);
    struct fp8_factors factors = fp8_factors(shape, FP8_BLOCK, FP8_BLOCK);
    struct st_entry entry = {.name = name,
                             .dtype_text = "F8_E4M3",
                             .ndim = 2,
                             .shape = shape.dims,
                             .count = tensor_count(shape),
                             .length_bytes = tensor_count(shape)};
    *matrix = (struct fp8_matrix){.factors = factors, .type = DTYPE_F32};
    matrix->values = st_layout_add_stored(layout, entry);
    matrix->scales = st_layout_add(
        layout, scales, tensor_2d(NULL, DTYPE_F32, factors.count / factors.per_row, factors.per_row),
        DTYPE_F32);
    free(scales);
}

/* factor_of - which factor stands for element i of the matrix. */
static int64_t factor_of(const struct fp8_factors *factors, int64_t i) {
    int64_t row = i / factors->cols, col = i % factors->cols;
    return row / factors->block_rows * factors->per_row + col / factors->block_cols;
}

void fp8_matrix_measure(struct fp8_matrix *matrix, struct quantised_range range, const float *values) {
    if (!matrix->scale)
        matrix->scale = xcalloc((size_t)matrix->factors.count, sizeof *matrix->scale);
    for (int64_t i = 0; i < range.count; i++) {
        float *largest = &matrix->scale[factor_of(&matrix->factors, range.first + i)];
        *largest = fmaxf(*largest, fabsf(values[i]));
    }
}

/* A block of zeros has the factor 1; none is subnormal, for devices take such numbers for zero. */
void fp8_matrix_fix(struct fp8_matrix *matrix) {
    float smallest = matrix->type == DTYPE_F16 ? 0x1p-14f : 0x1p-126f;
    for (int64_t i = 0; i < matrix->factors.count; i++) {
        float scale = fmaxf(rounded_to(matrix->type, matrix->scale[i] / largest_e4m3), smallest);
        matrix->scale[i] = matrix->scale[i] > 0 ? scale : 1;
    }
}

void fp8_matrix_release(struct fp8_matrix *matrix) {
    free(matrix->scale);
    matrix->scale = NULL;
}

int fp8_matrix_write(const struct fp8_matrix *matrix, struct st_layout *layout, struct quantised_range range,
                     const float *values, struct err *err) {
    uint8_t *bytes = xmalloc((size_t)range.count);
    for (int64_t i = 0; i < range.count; i++)
        bytes[i] = e4m3_from_f32(values[i] / matrix->scale[factor_of(&matrix->factors, range.first + i)]);
    int status = st_layout_write_bytes(layout, matrix->values, range.first, range.count, bytes, err);
    free(bytes);
    return status;
}

int fp8_matrix_write_scales(const struct fp8_matrix *matrix, struct st_layout *layout, struct err *err) {
    return st_layout_write_f32(layout, matrix->scales, 0, matrix->factors.count, matrix->scale, err);
}

int64_t fp8_matrix_far(const struct fp8_matrix *matrix, struct quantised_range range, const float *values,
                       const float *got) {
    for (int64_t i = 0; i < range.count; i++) {
        float scale = matrix->scale[factor_of(&matrix->factors, range.first + i)];
        float bound = fmaxf(fabsf(values[i]) * relative_bound, scale * subnormal_bound);
        if (!(fabsf(got[i] - values[i]) <= bound))
            return range.first + i;
    }
    return -1;
}
