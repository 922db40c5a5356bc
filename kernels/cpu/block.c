/* block.c - the pieces that attention's forward and backward share: a small matrix product for data in cache,
 * packing of heads into dense blocks, the mask.
 * The product is written with vector types rather than left to the auto-vectoriser, which does not keep a
 * block of sums in registers; multiply-adds are fused here (and only here) on processors that have them. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

#define FOLD_F32(sum, a, b) ((sum) += (a) * (b))

#ifdef CPU_HAS_VERSIONS
#include <immintrin.h>
#define TARGET __attribute__((target("arch=x86-64-v4"), optimize("fp-contract=fast")))
#define NAME block_gemm_v4
#define VECTOR_TYPE vector_v4
#define LANES 16
#define ROWS 8
#define ELEMENT float
#define FOLD FOLD_F32
#include "kernels/cpu/block_gemm.inc"

#define TARGET __attribute__((target("arch=x86-64-v3"), optimize("fp-contract=fast")))
#define NAME block_gemm_v3
#define VECTOR_TYPE vector_v3
#define LANES 8
#define ROWS 4
#define ELEMENT float
#define FOLD FOLD_F32
#include "kernels/cpu/block_gemm.inc"

/* Two bf16, however they were written. */
typedef uint32_t bf16_pair __attribute__((may_alias));

#define TARGET __attribute__((target("avx512bw,avx512dq,avx512vl,avx512bf16")))
#define NAME block_gemm_pairs_v4
#define VECTOR_TYPE vector_pairs
#define LANES 16
#define ROWS 8
#define ELEMENT bf16_pair
#define FOLD(sum, a, b)                                                                                      \
    ((sum) = _mm512_dpbf16_ps((sum), (__m512bh)_mm512_set1_epi32((int)(a)), (__m512bh)(b)))
#include "kernels/cpu/block_gemm.inc"
#endif

#define TARGET
#define NAME block_gemm_generic
#define VECTOR_TYPE vector_generic
#define LANES 4
#define ROWS 4
#define ELEMENT float
#define FOLD FOLD_F32
#include "kernels/cpu/block_gemm.inc"

/* Pointers chosen once rather than target_clones: the versions differ in vector type and tile, not only in
 * flags. */
block_gemm_fn *block_gemm_version(int version) {
#ifdef CPU_HAS_VERSIONS
    if (version == 0)
        return CPU_IS_V4 ? block_gemm_v4 : NULL;
    if (version == 1)
        return CPU_IS_V3 ? block_gemm_v3 : NULL;
#endif
    return version == BLOCK_GEMM_VERSIONS - 1 ? block_gemm_generic : NULL;
}

block_gemm_fn *block_gemm_pairs(void) {
#ifdef CPU_HAS_VERSIONS
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") ? block_gemm_pairs_v4
                                                                                      : NULL;
#else
    return NULL;
#endif
}

/* mask_keys - the same with the first and the last visible key of each query given. */
CPU_CLONES
static void mask_keys(float *restrict scores, int32_t first_key, const int32_t *restrict start,
                      const int32_t *restrict last) {
    for (int k = 0; k < BLOCK; k++)
        for (int q = 0; q < BLOCK; q++) {
            bool hidden = (first_key + k > last[q]) | (first_key + k < start[q]);
            scores[k * BLOCK + q] = select_f32(hidden, -INFINITY, scores[k * BLOCK + q]);
        }
}

void mask_block(float *scores, int64_t key_block, int64_t query_block, const struct row_keys *keys) {
    int64_t first_key = key_block * BLOCK, first_query = query_block * BLOCK;
    int32_t start[BLOCK], last[BLOCK];
    if (first_key + BLOCK - 1 <= row_last_key(keys, first_query) &&
        first_key >= keys->first[block_last_row(keys, query_block)])
        return;
    for (int64_t q = 0; q < BLOCK; q++) {
        bool inside = first_query + q < keys->num_rows;
        /* Rows past the end see all keys from the first: finite numbers that nobody reads. */
        start[q] = inside ? keys->first[first_query + q] : 0;
        last[q] = (int32_t)row_last_key(keys, first_query + q);
    }
    mask_keys(scores, (int32_t)first_key, start, last);
}

CPU_CLONES
float dot_f32(const float *restrict a, const float *restrict b, int64_t count) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* scale_into - to = scale * from; the two may be the same row (bf16 input was converted in place). */
CPU_CLONES
static void scale_into(float *to, const float *from, int64_t count, float scale) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        to[i] = from[i] * scale;
}

void pack_block(float *rows, struct tensor t, int64_t first, int64_t head, int64_t width, float scale) {
    int64_t num_heads = t.dims[1], head_dim = t.dims[2];
    for (int64_t i = 0; i < BLOCK; i++) {
        float *row = rows + i * width;
        int64_t filled = first + i < t.dims[0] ? head_dim : 0;
        if (filled) {
            int64_t offset = ((first + i) * num_heads + head) * head_dim;
            scale_into(row, row_open(t, offset, head_dim, row), head_dim, scale);
        }
        memset(row + filled, 0, (size_t)(width - filled) * sizeof(float));
    }
}

/* Writes run along the destination: columns are what the block product reads next. */
void transpose_block(void *columns, const void *rows, int64_t width, int64_t depth) {
    typedef uint32_t element __attribute__((may_alias));
    element *to = columns;
    const element *from = rows;
    for (int64_t d = 0; d < depth; d++)
        for (int64_t i = 0; i < BLOCK; i++)
            to[d * BLOCK + i] = from[i * width + d];
}

void pack_pairs(uint16_t *rows, struct tensor t, int64_t first, int64_t head, int64_t width) {
    int64_t num_heads = t.dims[1], head_dim = t.dims[2];
    for (int64_t i = 0; i < BLOCK; i++) {
        int64_t filled = first + i < t.dims[0] ? head_dim : 0;
        const uint16_t *from = (const uint16_t *)t.data + ((first + i) * num_heads + head) * head_dim;
        memcpy(rows + i * width, from, (size_t)filled * sizeof *rows);
        memset(rows + i * width + filled, 0, (size_t)(width - filled) * sizeof *rows);
    }
}

CPU_CLONES
void round_block(uint16_t *restrict rows, const float *restrict from) {
    for (int i = 0; i < BLOCK * BLOCK; i++)
        rows[i] = bf16_from_f32(from[i]);
}

CPU_CLONES
void pair_rows(uint32_t *restrict pairs, const uint16_t *restrict rows, int64_t width) {
    for (int64_t i = 0; i < BLOCK / 2; i++)
        for (int64_t d = 0; d < width; d++)
            pairs[i * width + d] = rows[2 * i * width + d] | (uint32_t)rows[(2 * i + 1) * width + d] << 16;
}

CPU_CLONES
void scale_scores(float *scores, float scale) {
    for (int i = 0; i < BLOCK * BLOCK; i++)
        scores[i] *= scale;
}
