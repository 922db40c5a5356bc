/* attention.cuh - what the attention files of the CUDA device share; private to kernels/cuda/attention*.
 *
 *   attention.cu            the ops themselves: which path a call takes; preparation of the backward; scratch
 *   attention_forward.cu    flash path (mma.sync, sm_80 and later): 16-bit types, head widths 64, 80, 96, 128, 192, 256
 *   attention_keys.cu       the same, backward: gradients of keys and values
 *   attention_queries.cu    the same, backward: gradients of queries
 *   attention_tile.cuh      device functions of these three
 *   attention_rotation.cuh  the backward's results turned back by their positions, on their way out
 *   attention_plain.cu      any type, any even head width up to 256: plain loops
 *   attention_cached.cu     decoding with a cache of keys and values
 *   attention_sm70.cu, .cuh Volta path (mma.m8n8k4): f16, the widths of the flash path
 *   attention*_sm90.*       Hopper path (TMA, wgmma)
 *
 * Exponentials are taken in base 2: with c = scale * log2(e), P = 2^(c s - c max), so that scaling and the
 * exponential cost one fused multiply-add and one ex2. */
#pragma once

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/dev.h"

#define ATTENTION_LOG2E 1.44269504088896341f
#define ATTENTION_LN2 0.693147180559945309f

/* Rows of the statistics arrays are counted in multiples of ATTENTION_ROW_UNIT, so that no tile of queries
 * reaches past the end of its head's row.  ATTENTION_KEY_BLOCK: keys of one block of the flash path's keys
 * pass. */
enum { ATTENTION_ROW_UNIT = 128, ATTENTION_KEY_BLOCK = 64 };

/* What the backward turns the gradients of queries and keys back by (struct rotation). */
struct attention_rotation {
    const float *cos, *sin;   /* [num_positions, D/2] */
    const int32_t *positions; /* [N]; NULL: nothing turns */
    int64_t num_positions;
    enum rope_layout layout;
};

/* Pointers, sizes and factors of one call, as the kernels take them (by value). */
struct attention_problem {
    const void *qkv;          /* [N, H + 2 G, D] */
    const int32_t *first_key; /* of the mask, [N] */
    const int32_t *last_key;  /* [N]; NULL: the row itself; read by last_key_of */
    int num_rows, num_heads, num_kv_heads, head_dim;
    int group;                   /* query heads per kv head */
    int qkv_row, out_row;        /* elements from one token to the next, in qkv and in out */
    float scale, scale_log2;     /* scale_log2 = scale * log2(e), or cap * log2(e) with a soft-cap */
    float softcap, cap_inverse;  /* cap_inverse = scale / cap; 0 without a soft-cap */
    attention_rotation rotation; /* of the backward */
};

/* last_key_of - the last key that a row sees, row < N. */
DEV int last_key_of(const int32_t *last_key, int row) {
    return last_key ? last_key[row] : row;
}

struct attention_problem attention_describe(struct tensor qkv, const struct attention_mask *mask,
                                            const struct attention_args *args);

/* attention_describe_rotation - of NULL: nothing turns.  attention_rotation_aligned - whether the kernels
 * with tensor cores, which read the tables by two values, can take it. */
struct attention_rotation attention_describe_rotation(const struct rotation *rotation);
bool attention_rotation_aligned(const struct rotation *rotation);

/* attention_expect_width - dies unless the head width is even and at most 256: what the plain kernels hold in
 * registers; no known model asks for more. */
void attention_expect_width(const struct attention_args *args);

/* What the backward kernels of every path read beside the tensors.  Rows past N have lse2 = +infinity and
 * delta = 0: their probabilities vanish, whatever the tile holds. */
struct attention_statistics {
    float *lse2;  /* [H, padded_rows], lse * log2(e) */
    float *delta; /* [H, padded_rows], sum over D of dout * out */
    /* The rows that see key j, none where the two are equal; neither ever decreases. */
    const int32_t *col_begin; /* [N]; NULL: from row j on; read by first_row_of */
    const int32_t *col_end;   /* [N], one past the last */
    int64_t padded_rows;      /* N rounded up to ATTENTION_ROW_UNIT */
};

/* first_row_of - the first row that sees a key, key < N. */
DEV int first_row_of(const int32_t *col_begin, int key) {
    return col_begin ? col_begin[key] : key;
}

/* The lists of the forward, and of the backward's passes over keys and queries. */
enum attention_list { FORWARD_LIST, KEYS_LIST, QUERIES_LIST };

/* Where a plan's parts are in its memory (struct attention_plan): the rows that see each key, and for the Hopper path three lists of
 * tiles. */
struct attention_plan_parts {
    int32_t *col_end, *col_begin; /* [N]; col_begin NULL: from row j on */
    char *lists[3]; /* by enum attention_list; of the single pass, QUERIES_LIST holds first tiles */
};

/* attention_parts_of - of a mask that has a plan.  attention_is_planned - whether it has one, for these args. */
struct attention_plan_parts attention_parts_of(const struct attention_mask *mask);
bool attention_is_planned(const struct attention_mask *mask, const struct attention_args *args);

/* attention_prepare_backward - lay the statistics out in `memory` (256-byte aligned, at least
 * attention_statistics_bytes) and enqueue the kernels that fill them. */
size_t attention_statistics_bytes(int64_t num_rows, int num_heads);
struct attention_statistics attention_prepare_backward(struct device *dev, void *memory, struct tensor dout,
                                                       struct tensor out, struct tensor lse,
                                                       const struct attention_mask *mask,
                                                       const struct attention_args *args);

/* The Hopper path.  Each returns false, having enqueued nothing, when it does not apply (architecture, type,
 * head width, alignment, soft-cap ...): the caller then takes another path.  Its scratch: the most that its
 * backward asks of cuda_scratch, the statistics included.  Its plan: the lists of tiles, when the path may apply. */
bool cuda_attention_sm90_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                                 const struct attention_mask *mask, const struct attention_args *args);
bool cuda_attention_sm90_backward(struct device *dev, struct tensor dqkv, struct tensor dout,
                                  struct tensor out, struct tensor lse, struct tensor qkv,
                                  const struct attention_mask *mask, const struct attention_args *args,
                                  const struct rotation *rotation);
void cuda_attention_sm90_plan(struct device *dev, const struct attention_mask *mask,
                              const struct attention_args *args);
size_t cuda_attention_sm90_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t attention_sm90_list_bytes(int64_t num_rows);

/* The sm_80 path: 16-bit types, widths 64, 80, 96, 128, 192, 256, 16-byte aligned rows, scale > 0. */
void attention_flash_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                             const struct attention_mask *mask, const struct attention_args *args);

/* attention_flash_keys - the key and value part of dqkv; attention_flash_queries - the query part.  Both read
 * what attention_prepare_backward made.  partial: attention_keys_partial_bytes of scratch (may be 0). */
void attention_flash_keys(struct device *dev, struct tensor dqkv, struct tensor dout,
                          const struct attention_problem *problem,
                          const struct attention_statistics *statistics, void *partial);
size_t attention_keys_partial_bytes(int64_t num_rows, int num_heads, int num_kv_heads, int head_dim);
void attention_flash_queries(struct device *dev, struct tensor dqkv, struct tensor dout,
                             const struct attention_problem *problem,
                             const struct attention_statistics *statistics);

/* The Volta path: f16, the widths of the sm_80 path, 16-byte aligned rows, scale > 0, 85 KiB of shared memory. */
void attention_sm70_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                            const struct attention_mask *mask, const struct attention_args *args);
void attention_sm70_backward(struct device *dev, struct tensor dqkv, struct tensor dout,
                             const struct attention_problem *problem,
                             const struct attention_statistics *statistics);

/* The plain path; the backward reads the statistics too. */
void attention_plain_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                             const struct attention_mask *mask, const struct attention_args *args);
void attention_plain_backward(struct device *dev, struct tensor dqkv, struct tensor dout,
                              const struct attention_problem *problem,
                              const struct attention_statistics *statistics);
