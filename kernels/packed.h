/* packed.h - weights in fewer bits than ops compute with: blocks of codes with scales, as the frozen base of an adapter is kept.
 *
 *   NF4         four bits that index the 16 quantiles of a normal distribution, times the largest magnitude of 64 values
 *   NF4_DOUBLE  the same; the magnitudes less an offset of their tensor are in 8 bits themselves, times the largest of 256
 *   FP8         E4M3 times a scale for 128 values
 *   INT8        -127..127 times a scale for 128 values
 *
 * A blob holds `count` values, a multiple of the form's align: codes, then scales, then what the scales are made of.  Values
 * that are divided among ranks are one blob for each rank, so that a gather of bytes puts them together.
 * Sources: Dettmers et al. 2023 (QLoRA), section 3 and appendix E; bitsandbytes functional.py for the order in memory and the map
 * of 8 bits (Dettmers et al. 2022, 8-bit optimizers, section 2.2). */
#pragma once

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum packed_kind { PACKED_NF4, PACKED_NF4_DOUBLE, PACKED_FP8, PACKED_INT8, PACKED_KINDS };

enum { PACKED_NF4_BLOCK = 64, PACKED_BYTE_BLOCK = 128, PACKED_NESTED_BLOCK = 256, PACKED_NESTED_CODES = 256 };

/* What op_dequantise reads: the values from `first` on, counted through all blobs. */
struct packed {
    enum packed_kind kind;
    const void *blobs;  /* on the device, 256-byte aligned */
    int64_t blob_count; /* values of each */
    int64_t first;      /* a multiple of the block */
    const float
        *nested_map;     /* NF4_DOUBLE: [PACKED_NESTED_CODES] on the device, as packed_nested_map makes it */
    float nested_offset; /* NF4_DOUBLE: of the tensor that the values are of */
};

/* packed_name - "nf4", ...  packed_block - values that share a scale.  packed_align - values that a tensor and a blob begin at
 * multiples of: a block, or one of the scales' blocks. */
const char *packed_name(enum packed_kind kind);
int64_t packed_block(enum packed_kind kind);
int64_t packed_align(enum packed_kind kind);

/* Where things are in a blob of `count` values, in bytes; codes come first. */
struct packed_places {
    size_t scales; /* f32 for each block; NF4_DOUBLE: a code for each block */
    size_t nested; /* NF4_DOUBLE: f32 for each PACKED_NESTED_BLOCK blocks */
    size_t total;  /* with padding, a multiple of 256 */
};
struct packed_places packed_places_of(enum packed_kind kind, int64_t count);
/* packed_codes_bytes - of the codes of `count` values. */
size_t packed_codes_bytes(enum packed_kind kind, int64_t count);

/* packed_encode - values [count], a multiple of the block, into codes, and scales [count / block]; of NF4_DOUBLE the largest
 * magnitudes themselves.  In host memory. */
void packed_encode(enum packed_kind kind, const float *values, int64_t count, uint8_t *codes, float *scales);

/* The second level of NF4_DOUBLE.  packed_nested_map - the 256 values that a code stands for, ascending.  packed_nested_mean - the
 * offset of a tensor with these scales.  packed_nested_encode - scales [count] of one tensor, from a multiple of
 * PACKED_NESTED_BLOCK on, into codes [count] and nested [count / PACKED_NESTED_BLOCK, rounded up]. */
void packed_nested_map(float map[PACKED_NESTED_CODES]);
float packed_nested_mean(const float *scales, int64_t count);
void packed_nested_encode(const float *scales, int64_t count, float offset, uint8_t *codes, float *nested);

/* packed_nf4_map - the 16 quantiles, ascending. */
extern const float packed_nf4_map[16];

#ifdef __cplusplus
}
#endif
