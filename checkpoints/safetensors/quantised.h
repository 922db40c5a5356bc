/* quantised.h - published folders that store matrices in fewer bits, with what restores them in tensors beside them.
 *
 * Here they are read, into f32; checkpoints are never stored so, and FP8 is written by fp8_matrix.h alone.  A scheme is one row of the table in quantised.c:
 *   fp8  F8_E4M3 values times X_scale_inv or X_scale (both multiply): one factor for the matrix, one per row, or one per
 *        block of weight_block_size.  quant_method fp8, fbgemm_fp8, compressed-tensors with format float-quantized
 *   nf4  four bits that index quant_map, times the absmax of their block, which may be in 8 bits itself (double
 *        quantisation).  quant_method bitsandbytes with load_in_4bit
 *   mxfp4  E2M1 values, two in a byte, the first in its low half, times 2^(byte - 127) for each 32 along a row; X lies in
 *        X_blocks [rows, cols / 32, 16] and X_scales [rows, cols / 32], or of several matrices with one dimension more before these.
 *        quant_method mxfp4.  Or in X_packed [rows, cols / 2] and X_scale: quant_method
 *        compressed-tensors with format mxfp4-pack-quantized
 * Source: transformers integrations/finegrained_fp8.py, mxfp4.py and quantizers; OCP Microscaling
 * Formats (MX) v1.0; bitsandbytes functional.py (QuantState). */
#pragma once

#include "checkpoints/safetensors/safetensors.h"
#include "data/corpus/json.h"

enum quantised_kind { QUANTISED_NONE, QUANTISED_FP8, QUANTISED_NF4, QUANTISED_MXFP4, QUANTISED_MXFP4_PACKED };

struct quantised {
    enum quantised_kind kind;
    int64_t block_rows, block_cols; /* of weight_block_size; 0: not given */
};

/* quantised_parse - what quantization_config of a config.json says; without one, QUANTISED_NONE.
 * Returns 0, or -1 with err set: a scheme that cannot be read, by name. */
int quantised_parse(struct quantised *quantised, const json_t *root, struct err *err);

/* quantised_find - the tensor that holds a matrix of that name, stored either way; -1: absent.  quantised_matrix_name - which
 * matrix tensor index, for which quantised_holds, is; malloc'ed. */
int64_t quantised_find(const struct quantised *quantised, const struct st_files *files, const char *name);
char *quantised_matrix_name(const struct quantised *quantised, const struct st_files *files, int64_t index);

/* quantised_holds - the tensor is stored in the scheme's way, and not as plain values. */
bool quantised_holds(const struct quantised *quantised, struct st_entry entry);

/* quantised_is_matrix - a tensor of any name is a matrix of the scheme: its type is, and what makes it one lies beside it.
 * quantised_shape - of such a tensor, or of one for which quantised_holds: [rows, cols] of the values.  Returns 0, or -1 with err
 * set: a type of the scheme that is no matrix, sizes that do not fit. */
bool quantised_is_matrix(const struct quantised *quantised, const struct st_files *files, int64_t index);
int quantised_shape(const struct quantised *quantised, const struct st_files *files, int64_t index,
                    struct tensor *shape, struct err *err);

/* quantised_check - tensor index, for which quantised_holds, is a matrix of shape `want` [rows, cols], and what restores it is there and
 * fits; those tensors are marked in is_known [st_num_tensors].  Returns 0, or -1 with err set. */
int quantised_check(const struct quantised *quantised, const struct st_files *files, int64_t index,
                    struct tensor want, bool *is_known, struct err *err);

/* quantised_read - elements [first, first + count) of a matrix that was checked, row-major, as f32.
 * Returns 0, or -1 with err set: I/O error, short file. */
struct quantised_range {
    int64_t first, count;
};
int quantised_read(const struct quantised *quantised, const struct st_files *files, int64_t index,
                   struct quantised_range range, float *out, struct err *err);

/* quantised_serves - a tensor that only a server of the quantised model uses: scales of its activations and of its
 * key-value cache. */
bool quantised_serves(const struct quantised *quantised, const char *name);

/* quantised_name - "FP8 (E4M3)", "NF4", "MXFP4". */
const char *quantised_name(const struct quantised *quantised);
