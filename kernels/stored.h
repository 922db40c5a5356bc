/* stored.h - matrices as the files of a model hold them: products and look-ups read them in place, and what they compute with is
 * f32 all the same.  A row is a sequence of blocks of values; plain types have no blocks.  Host memory alone.
 * Source: ggml-org/ggml, the block layouts of ggml-common.h; the pictures of the blocks are in checkpoints/gguf/quant.c. */
#pragma once

#include "kernels/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every kind with the values of its block, the bytes of that, and how many values in a row share a scale. */
/* clang-format off */
#define EACH_STORED(KIND)                                                                                    \
    KIND(f32, 1, 4, 32) KIND(f16, 1, 2, 32) KIND(bf16, 1, 2, 32) KIND(q4_0, 32, 18, 32)                      \
    KIND(q4_1, 32, 20, 32) KIND(q5_0, 32, 22, 32) KIND(q5_1, 32, 24, 32) KIND(q8_0, 32, 34, 32)              \
    KIND(q4_k, 256, 144, 32) KIND(q5_k, 256, 176, 32) KIND(q6_k, 256, 210, 16)
/* clang-format on */
#define STORED_ENUM(name, block, bytes, group) STORED_##name,
enum stored_kind { EACH_STORED(STORED_ENUM) STORED_KINDS };

/* Rows are a multiple of this many values: no kind has a tail. */
enum { STORED_GROUP = 32 };

/* Some rows of a matrix, one tensor of a file. */
struct stored_rows {
    enum stored_kind kind;
    const uint8_t *rows; /* num_rows of stored_row_bytes each, of any alignment; borrowed, read-only */
    int64_t num_rows;
    int64_t width; /* values of a row: a multiple of STORED_GROUP and of the kind's block */
    int64_t
        pair_rows; /* D: the rows of each D are in rotary pairs, (0, D/2), (1, D/2 + 1), ... as GGUF has them; 0: as they are */
};

/* A matrix [O, I] of one tensor, or of several one below the other. */
struct stored {
    const struct stored_rows *parts; /* [num_parts], of the same width; borrowed */
    int num_parts;
};

/* stored_row_bytes - of a row.  stored_count - rows of all parts.  stored_place - which row of the matrix its row `row` in the
 * file is.  stored_name - "q4_1", ... */
size_t stored_row_bytes(const struct stored_rows *rows);
int64_t stored_count(const struct stored *matrix);
int64_t stored_place(const struct stored_rows *rows, int64_t row);
const char *stored_name(enum stored_kind kind);

/* stored_all_finite - no value is infinite or not a number: of blocks, no scale is. */
bool stored_all_finite(const struct stored_rows *rows);

#ifdef __cplusplus
}
#endif
