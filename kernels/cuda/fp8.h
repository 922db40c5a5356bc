/* fp8.h - casts to 8 bits on the GPU, for the products of linear_fp8.c.  Private to kernels/cuda. */
#pragma once

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a cast reads and writes, all in device memory.  Columns are what products need whose sum runs over the rows: Hopper's read
 * both operands along it. */
struct fp8_cast {
    struct tensor from; /* [N, C] bf16, C a multiple of 16 */
    enum fp8_format format;
    enum fp8_scaling scaling;
    uint8_t *rows;       /* [N, C] codes; NULL: not wanted */
    uint8_t *columns;    /* [C, padded_rows] codes, zeros after N; NULL: not wanted */
    int64_t padded_rows; /* a multiple of 16, at least N */
    uint32_t *largest;   /* [FP8_LARGEST_BLOCKS], where the largest magnitudes of parts go */
    float *inverse;      /* [1]: what codes are multiplied by */
};
enum { FP8_LARGEST_BLOCKS = 512 };

/* cuda_fp8_cast - two kernels: the largest magnitude, then the codes. */
void cuda_fp8_cast(struct device *dev, const struct fp8_cast *cast);

#ifdef __cplusplus
}
#endif
