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
    uint32_t *largest;   /* [1]: room for the largest magnitude, if nobody else has any */
    float *inverse;      /* [1]: what codes are multiplied by */
    struct fp8_magnitude magnitude;
};

/* cuda_fp8_cast - the largest magnitude, unless it is known, then the codes. */
void cuda_fp8_cast(struct device *dev, const struct fp8_cast *cast);

/* cuda_put_largest - the largest magnitude of a tensor of bf16, by a pass of its own. */
void cuda_put_largest(struct device *dev, uint32_t *largest, struct tensor t);

/* A cast with a scale for each block: SQUARES, in E4M3, or the other two together, rows with blocks along them and columns likewise.
 * Inverse scales stand where cuBLASLt looks for them (CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F, ..._BLK128x128_32F). */
struct fp8_blocks {
    struct tensor from;      /* [N, C] bf16, C a multiple of 16 */
    enum fp8_grain grain;    /* SQUARES, or any other */
    enum fp8_format format;  /* of SQUARES E4M3 */
    uint8_t *rows, *columns; /* as above */
    int64_t padded_rows;     /* as above */
    float *row_inverses,
        *column_inverses; /* [C / 128, N rounded up to 4], [N / 128, C]; of squares [N / 128, C / 128] and [C / 128, N / 128], where
                                              the last is rounded up to 4; fp8_scales_bytes of room (kernels/fp8_room.h) */
};

/* cuda_fp8_cast_blocks - one kernel.  cuda_fp8_blocks_forward, cuda_fp8_blocks_backward - the products of such casts. */
void cuda_fp8_cast_blocks(struct device *dev, const struct fp8_blocks *cast);
void cuda_fp8_blocks_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w);
void cuda_fp8_blocks_backward(struct device *dev, const struct fp8_backward *at, enum fp8_format gradients);

#ifdef __cplusplus
}
#endif
