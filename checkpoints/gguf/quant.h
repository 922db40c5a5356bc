/* quant.h - the tensor types of GGUF: how values are packed into blocks, and back to f32.
 *
 * Every type is a sequence of blocks of a fixed number of values; plain types have blocks of one value.
 * Decoding repeats the reference's f32 arithmetic operation by operation, so the results agree bit for bit
 * (the build forbids fused multiply-add).  Encoding: F32, F16, BF16, Q8_0.
 * Source: ggml-org/ggml, the block layouts of ggml-common.h and the reference functions of ggml-quants.c. */
#pragma once

#include "kernels/error.h"

/* Tensor types by their number in the file. */
enum ggml_type {
    GGML_F32 = 0,
    GGML_F16 = 1,
    GGML_Q4_0 = 2,
    GGML_Q4_1 = 3,
    GGML_Q5_0 = 6,
    GGML_Q5_1 = 7,
    GGML_Q8_0 = 8,
    GGML_Q4_K = 12,
    GGML_Q5_K = 13,
    GGML_Q6_K = 14,
    GGML_BF16 = 30,
    GGML_MXFP4 = 39
};

enum { QUANT_MAX_BLOCK = 256 }; /* values in the largest block */

struct quant_format {
    const char *name;    /* "Q4_K" */
    int64_t block_count; /* values of one block */
    size_t block_bytes;
};

/* quant_format - NULL for a type that cannot be decoded. */
const struct quant_format *quant_format(int type);

/* quant_type_name - "Q4_K"; also for the types of ggml that are only recognised; "?" for a number without a
 * name. */
const char *quant_type_name(int type);

/* quant_decode - num_blocks blocks to num_blocks * block_count values.  Dies on an unknown type. */
void quant_decode(int type, const uint8_t *blocks, int64_t num_blocks, float *out);

/* quant_encode - count values, a multiple of block_count, to blocks.  F16 and BF16 round to nearest even;
 * Q8_0 follows ggml's reference.  Dies on a type that is not F32, F16, BF16 or Q8_0. */
void quant_encode(int type, const float *values, int64_t count, uint8_t *blocks);
