/* cpu.h - what the files of the CPU device share; private to kernels/cpu/.
 *
 * How a loop gets fast here: the loop body is a function of its own, marked CPU_CLONES, so that gcc compiles
 * it for SSE2, AVX2 and AVX-512 and the loader picks one (one binary runs on any x86-64).  The OpenMP loop
 * around it stays generic: gcc does not clone the functions that it outlines from a parallel region.
 * Activations may be bf16: rows are converted to f32 in a small buffer, worked on, converted back.
 * CPU_CLONES_FUSED also lets multiply-adds be fused: loops around exp_f32 run twice as fast for it.
 * No -ffast-math anywhere; sums that should vectorise say so with "omp simd reduction". */
#pragma once

#include "kernels/half.h"
#include "kernels/ops.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CPU_HAS_VERSIONS 1
#if __GNUC__ >= 12
#define CPU_IS_V3 __builtin_cpu_supports("x86-64-v3")
#define CPU_IS_V4 __builtin_cpu_supports("x86-64-v4")
#define CPU_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else /* gcc 11 knows the levels as targets, and cannot ask the processor for them */
#define CPU_IS_V3                                                                                            \
    (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
#define CPU_IS_V4                                                                                            \
    (CPU_IS_V3 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&                \
     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
#define CPU_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#endif
#define CPU_CLONES_FUSED CPU_CLONES __attribute__((optimize("fp-contract=fast")))
#else
#define CPU_CLONES
#define CPU_CLONES_FUSED
#endif

/* Edge of the square blocks of attention, in queries and in keys. */
enum { BLOCK = 64 };

/* c [BLOCK, cols] = a [BLOCK, depth] b [depth, cols], or += with accumulate.  Element (i, p) of a is
 * a[i * a_row + p * a_col], so a may be transposed; b and c are dense; cols is a multiple of 32.  Elements of a and b
 * are floats, or pairs of bf16, neighbours along the depth, which then counts pairs (block_gemm_pairs). */
struct block_product {
    float *c;
    const void *a, *b;
    int a_row, a_col;
    int depth, cols;
    enum op_write write;
};
typedef void block_gemm_fn(const struct block_product *);

struct linear_cache;
struct stored_loops;

struct cpu_state {
    struct linear_cache *linear;
    block_gemm_fn *block_gemm;         /* the fastest that this processor runs */
    block_gemm_fn *block_gemm_pairs;   /* NULL: this processor has none */
    const struct stored_loops *stored; /* likewise, [STORED_KINDS] */
    char *scratch;                     /* one block, used by one op at a time; grows, never shrinks */
    size_t scratch_bytes;
    uint16_t *casts; /* of a product in 8 bits (fp8.c); grows, never shrinks */
    int64_t casts_count;
};

/* cpu_scratch - memory for the op that is running, 64-byte aligned, contents undefined.  One call per op:
 * the next call returns the same bytes.  Allocates only when an op needs more than any op before it. */
void *cpu_scratch(struct device *dev, size_t size_bytes);

/* cpu_thread - number of the calling thread in its team: picks its part of the scratch. */
int64_t cpu_thread(void);

/* row_open - elements [first, first + count) of t as f32: in place for an f32 tensor, else converted into
 * the buffer.  row_target - the same place for writing, nothing read.  row_commit - after writing: convert
 * the values back where the tensor is not f32. */
float *row_open(struct tensor t, int64_t first, int64_t count, float *buffer);
float *row_target(struct tensor t, int64_t first, float *buffer);
void row_commit(struct tensor t, int64_t first, int64_t count, const float *values);

/* row_scale, row_add - y = scale x, y += scale x, of rows in f32 that do not overlap. */
void row_scale(float *restrict y, const float *restrict x, int64_t count, float scale);
void row_add(float *restrict y, const float *restrict x, int64_t count, float scale);

/* rotate_row - rotate the heads of one row of qkv in place, or back for sign -1.  buffer: room for a row. */
void rotate_row(struct tensor qkv, int64_t row, const struct rotation *rotation, float sign, float *buffer);

/* linear_cache_create, linear_cache_free - the oneDNN engine and its compiled products (linear.c). */
struct linear_cache *linear_cache_create(void);
void linear_cache_free(struct linear_cache *cache);

/* linear_part_input - op_linear_part_backward_input, which adds to dx where args say so; 16-bit values are not scaled. */
void linear_part_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                       const struct column_args *args);

/* block_gemm_version - the block product for AVX-512 (0), AVX2 (1) or any processor (2); NULL where this
 * processor or compiler cannot run it (block.c). */
enum { BLOCK_GEMM_VERSIONS = 3 };
block_gemm_fn *block_gemm_version(int version);

/* block_gemm_pairs - the block product of pairs of bf16, two sums of products a lane at a time in f32; NULL where this
 * processor or compiler has none.  Numbers below 2^-126 count as zero. */
block_gemm_fn *block_gemm_pairs(void);

/* stored_loops_version - the loops over stored rows, [STORED_KINDS], of the same versions (stored.c). */
const struct stored_loops *stored_loops_version(int version);

/* The keys that each of num_rows rows sees (struct attention_mask).  Read it by the functions below. */
struct row_keys {
    const int32_t *first, *last; /* last NULL: the row itself */
    int64_t num_rows;
};

/* row_keys_of - the mask's.  row_last_key - of a row; of rows past the end: of the last one.  block_last_row - of a block
 * of rows. */
static inline struct row_keys row_keys_of(const struct attention_mask *mask) {
    return (struct row_keys){mask->first_key.data, mask->last_key.data, mask->first_key.dims[0]};
}
static inline int64_t row_last_key(const struct row_keys *keys, int64_t row) {
    int64_t inside = row < keys->num_rows ? row : keys->num_rows - 1;
    return keys->last ? keys->last[inside] : inside;
}
static inline int64_t block_last_row(const struct row_keys *keys, int64_t block) {
    return (block + 1) * BLOCK < keys->num_rows ? (block + 1) * BLOCK - 1 : keys->num_rows - 1;
}

/* mask_block - set the scores [keys, queries] of two blocks that a query may not see to minus infinity; nothing where all
 * see all (block.c). */
void mask_block(float *scores, int64_t key_block, int64_t query_block, const struct row_keys *keys);

/* pack_block - rows [first, first + BLOCK) of head `head` of t [N, heads, D] as dense f32 rows of `width`
 * floats times scale; rows past the end and columns past D are zero.  transpose_block - [BLOCK, depth] with
 * rows of `width` elements of 32 bits to [depth, BLOCK] (block.c). */
void pack_block(float *rows, struct tensor t, int64_t first, int64_t head, int64_t width, float scale);
void transpose_block(void *columns, const void *rows, int64_t width, int64_t depth);

/* The same for pairs of bf16.  pack_pairs - rows of a bf16 tensor as pack_block has them, in their type: read as 32 bits, pairs
 * along a row.  round_block - [BLOCK, BLOCK] of f32 to such rows.  pair_rows - rows 2i and 2i + 1 of [BLOCK, width] as pairs
 * [BLOCK / 2, width].  scale_scores - [BLOCK, BLOCK] times scale: bf16 queries are not scaled, which would round them. */
void pack_pairs(uint16_t *rows, struct tensor t, int64_t first, int64_t head, int64_t width);
void round_block(uint16_t *rows, const float *from);
void pair_rows(uint32_t *pairs, const uint16_t *rows, int64_t width);
void scale_scores(float *scores, float scale);

/* dot_f32 - sum of a[i] b[i] in f32 (block.c). */
float dot_f32(const float *a, const float *b, int64_t count);

/* padded_width - floats per packed row of head width D: the next multiple of 32. */
static inline int64_t padded_width(int64_t head_dim) {
    return (head_dim + 31) / 32 * 32;
}

/* select_f32 - yes or no, by bits: gcc turns "condition ? a : b" on floats into branches, which it then
 * duplicates and vectorises badly. */
static inline __attribute__((always_inline)) float select_f32(bool condition, float yes, float no) {
    uint32_t mask = 0u - (uint32_t)condition;
    return f32_from_bits((bits_from_f32(yes) & mask) | (bits_from_f32(no) & ~mask));
}

/* exp_f32 - e^x by range reduction and a polynomial, in a form that the compiler vectorises.
 * Relative error below 1.5e-7 for -86.9 <= x <= 88.72; 0 below -87 (true value under 1.7e-38); infinity above
 * 88.73; NaN for NaN.
 *   x = n ln 2 + r, |r| <= 0.347; ln 2 is split in two so that n ln 2 is exact enough.
 *   e^r = 1 + r + r^2 q(r), q fitted for the smallest relative error (3e-9 before rounding).
 *   2^n goes into the exponent bits as 2^(n-1) times 2, since n reaches 128; the lower bound gives n = -126,
 *   whose exponent bits are 0: the result is then 0 without a branch.
 * Comparisons with NaN are false, so NaN passes the bounds. */
static inline __attribute__((always_inline)) float exp_f32(float x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    float bounded = select_f32(x > 89.0f, 89.0f, select_f32(x < -87.4f, -87.4f, x));
    float shifted = bounded * 1.44269504f + shift;
    float n = shifted - shift;
    float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
    float q = 1.3814560e-3f;
    q = q * r + 8.3687356e-3f;
    q = q * r + 4.1668390e-2f;
    q = q * r + 1.66665205e-1f;
    q = q * r + 4.9999993e-1f;
    float p = (q * r) * r + r + 1.0f;
    float scale = f32_from_bits((bits_from_f32(shifted) << 23) + (126u << 23));
    return (p * scale) * 2.0f;
}

/* tanh_f32 - tanh(x) in a form that the compiler vectorises; relative error below 3e-7, NaN for NaN.
 * Below 0.55 an odd polynomial, x + x z q(z) with z = x^2 and q fitted for the smallest relative error (1e-9
 * before rounding): there 1 - 2 / (e^2x + 1) would cancel.  Above, that formula of |x|, with the sign of x.
 */
static inline __attribute__((always_inline)) float tanh_f32(float x) {
    float size = f32_from_bits(bits_from_f32(x) & 0x7fffffffu), z = x * x;
    float q = -6.274239440e-3f;
    q = q * z + 2.107167896e-2f;
    q = q * z - 5.385230987e-2f;
    q = q * z + 1.333258614e-1f;
    q = q * z - 3.333331756e-1f;
    float near = x + x * z * q;
    float far = 1.0f - 2.0f / (exp_f32(2.0f * size) + 1.0f);
    far = f32_from_bits(bits_from_f32(far) | (bits_from_f32(x) & 0x80000000u));
    return select_f32(size < 0.55f, near, far);
}

/* cpu_largest - the largest magnitude of a tensor of bf16 (struct fp8_magnitude).  cpu_put_largest - to where an op is asked for it; NULL:
 * nowhere. */
uint16_t cpu_largest(struct device *dev, struct tensor t);
void cpu_put_largest(struct device *dev, uint32_t *largest, struct tensor t);

/* cpu_fp8_cast_blocks - what 8 bits leave of a matrix [R, C] bf16 with a scale for each block, in memory of `to`, which may not overlap it. */
struct tensor cpu_fp8_cast_blocks(struct device *dev, void *to, struct tensor t, enum fp8_format format,
                                  enum fp8_grain grain);

/* The ops themselves; kernels/ops.h says what each does. */
#define CPU_OP(name) name##_fn cpu_##name;
EACH_OP(CPU_OP)
EACH_HOST_OP(CPU_OP)
