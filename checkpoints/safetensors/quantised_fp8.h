/* quantised_fp8.h - the factors of an F8_E4M3 matrix: how many values each stands for, and where it is stored.
 *
 * A factor stands for a block of block_rows x block_cols values; the last blocks of a row and of a column may be smaller.
 * One factor for the matrix and one for each row are blocks of that size. */
#pragma once

#include "checkpoints/safetensors/quantised.h"

struct fp8_factors {
    int64_t rows, cols; /* of the matrix */
    int64_t block_rows, block_cols;
    int64_t per_row; /* factors that a row of values goes through */
    int64_t count;
};

/* fp8_factors - of blocks of that size. */
struct fp8_factors fp8_factors(struct tensor shape, int64_t block_rows, int64_t block_cols);

/* fp8_find - of matrix index, as it is stored; which blocks they are follows from the shape of the factors.  Returns the
 * index of the tensor that holds them, or -1 with err set. */
int64_t fp8_find(struct fp8_factors *factors, const struct quantised *quantised, const struct st_files *files,
                 int64_t index, struct err *err);
