/* fp8_matrix.h - a matrix written as F8_E4M3 values and factors: the other way of quantised_fp8.c.
 *
 * A factor is the largest magnitude of its block over 448, rounded to the type in which it is stored; a value is the nearest
 * E4M3 of value / factor.  The matrix passes twice: to be measured, and to be written.
 * Source: DeepSeek-V3 technical report, 3.3; transformers integrations/finegrained_fp8.py. */
#pragma once

#include "checkpoints/safetensors/quantised_fp8.h"

struct fp8_matrix {
    int64_t values, scales; /* handles in the layout */
    struct fp8_factors factors;
    enum dtype type; /* of the stored factors */
    float *
        scale; /* [factors.count] the largest magnitudes of the blocks, then the factors; NULL: not measured */
};

/* fp8_matrix_like - into the layout, a matrix and its factors under the names, in the shapes and the type that matrix index
 * of files has.  Returns 0, or -1 with err set.  fp8_matrix_blocks - under a new name, F32 factors of blocks of
 * FP8_BLOCK x FP8_BLOCK in name_scale_inv. */
enum { FP8_BLOCK = 128 };
int fp8_matrix_like(struct fp8_matrix *matrix, struct st_layout *layout, const struct quantised *quantised,
                    const struct st_files *files, int64_t index, struct err *err);
void fp8_matrix_blocks(struct fp8_matrix *matrix, struct st_layout *layout, const char *name,
                       struct tensor shape);

/* fp8_matrix_measure - elements of the matrix, row-major, into the magnitudes of their blocks; the first call makes them.
 * fp8_matrix_fix - after all elements: the factors.  fp8_matrix_release - what measure made. */
void fp8_matrix_measure(struct fp8_matrix *matrix, struct quantised_range range, const float *values);
void fp8_matrix_fix(struct fp8_matrix *matrix);
void fp8_matrix_release(struct fp8_matrix *matrix);

/* fp8_matrix_write - elements as E4M3.  fp8_matrix_write_scales - the factors.  Return 0, or -1 with err set: I/O error. */
int fp8_matrix_write(const struct fp8_matrix *matrix, struct st_layout *layout, struct quantised_range range,
                     const float *values, struct err *err);
int fp8_matrix_write_scales(const struct fp8_matrix *matrix, struct st_layout *layout, struct err *err);

/* fp8_matrix_far - the first of these elements that got holds farther from values than E4M3 explains, with the factors that
 * the blocks' magnitudes make: 1/16 of the value, or half of the smallest step.  -1: none. */
int64_t fp8_matrix_far(const struct fp8_matrix *matrix, struct quantised_range range, const float *values,
                       const float *got);
