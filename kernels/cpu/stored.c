/* stored.c - products with matrices as files hold them.
 *
 * For a few tokens reading the matrix is the cost: each row is multiplied as it is read, its values existing in registers alone.
 * For many the products are: some rows at a time become f32, which a product of matrices then reads from the cache.
 * Every output is a sum in a fixed order, whatever the number of threads. */
#include <string.h>

#include "kernels/cpu/cpu.h"

/* The loops of one kind. */
struct stored_loops {
    float (*dot)(const uint8_t *row, const float *x, const float *x_sums, int64_t width);
    void (*decode)(const uint8_t *row, int64_t width, float *values);
};

/* Which kinds have values that are more than a code times a scale. */
enum {
    HAS_LOW_f32 = 0,
    HAS_LOW_f16 = 0,
    HAS_LOW_bf16 = 0,
    HAS_LOW_q4_0 = 0,
    HAS_LOW_q4_1 = 1,
    HAS_LOW_q5_0 = 0,
    HAS_LOW_q5_1 = 1,
    HAS_LOW_q8_0 = 0,
    HAS_LOW_q4_k = 1,
    HAS_LOW_q5_k = 1,
    HAS_LOW_q6_k = 0
};

static inline uint16_t half_at(const uint8_t *at) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return half;
}

#ifdef CPU_HAS_VERSIONS
#include <immintrin.h>

#define NAME(x) x##_v4
#define TARGET __attribute__((target("arch=x86-64-v4")))
#define LANES 16
#define HALF(bits) _cvtsh_ss(bits)
#define WIDEN_bytes(at) _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(at)))
#define WIDEN_chars(at) _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(at)))
#define WIDEN_words(at) _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(at)))
#include "kernels/cpu/stored_rows.inc"

#define NAME(x) x##_v3
#define TARGET __attribute__((target("arch=x86-64-v3")))
#define LANES 8
#define HALF(bits) _cvtsh_ss(bits)
#define WIDEN_bytes(at) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(at)))
#define WIDEN_chars(at) _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(at)))
#define WIDEN_words(at) _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(at)))
#include "kernels/cpu/stored_rows.inc"
#endif

#define NAME(x) x##_generic
#define TARGET
#define LANES 4
#define HALF(bits) f32_from_f16(bits)
#define WIDEN_bytes(at)                                                                                      \
    { (at)[0], (at)[1], (at)[2], (at)[3] }
#define WIDEN_chars(at)                                                                                      \
    { (int8_t)(at)[0], (int8_t)(at)[1], (int8_t)(at)[2], (int8_t)(at)[3] }
#define WIDEN_words(at)                                                                                      \
    { half_at(at), half_at((at) + 2), half_at((at) + 4), half_at((at) + 6) }
#include "kernels/cpu/stored_rows.inc"

const struct stored_loops *stored_loops_version(int version) {
#ifdef CPU_HAS_VERSIONS
    if (version == 0)
        return CPU_IS_V4 ? LOOPS_v4 : NULL;
    if (version == 1)
        return CPU_IS_V3 ? LOOPS_v3 : NULL;
#endif
    return version == BLOCK_GEMM_VERSIONS - 1 ? LOOPS_generic : NULL;
}

/* Tokens up to which each row is multiplied as it is read; rows that a thread takes at a time; values that are f32 at a time. */
enum { MOST_BY_ROWS = 8, CHUNK_ROWS = 16, TILE_COUNT = 1 << 18 };

/* What every task of a product reads. */
struct stored_job {
    const struct stored *w;
    const struct stored_loops *loops;
    struct tensor y, x;
    const float *x_sums; /* [N, I / STORED_GROUP] */
};

/* sum_groups - of x, what the lows of blocks are multiplied by. */
static void sum_groups(float *sums, struct tensor x) {
    const float *values = x.data;
    for (int64_t g = 0; g < tensor_count(x) / STORED_GROUP; g++) {
        float sum = 0;
        for (int i = 0; i < STORED_GROUP; i++)
            sum += values[g * STORED_GROUP + i];
        sums[g] = sum;
    }
}

/* multiply_row - of a part, by every token. */
static void multiply_row(const struct stored_job *job, const struct stored_rows *part, int64_t part_first,
                         int64_t row) {
    int64_t width = part->width, place = part_first + stored_place(part, row);
    const uint8_t *bytes = part->rows + (size_t)row * stored_row_bytes(part);
    for (int64_t i = 0; i < job->x.dims[0]; i++)
        ((float *)job->y.data)[i * job->y.dims[1] + place] = job->loops[part->kind].dot(
            bytes, (const float *)job->x.data + i * width, job->x_sums + i * (width / STORED_GROUP), width);
}

/* part_chunks - how many chunks a part is. */
static int64_t part_chunks(const struct stored_rows *part) {
    return (part->num_rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
}

/* multiply_chunk - rows of one part, counted through all of them. */
static void multiply_chunk(const struct stored_job *job, int64_t chunk) {
    const struct stored_rows *part = job->w->parts;
    int64_t part_first = 0;
    for (; chunk >= part_chunks(part); part++) {
        chunk -= part_chunks(part);
        part_first += part->num_rows;
    }
    int64_t end = (chunk + 1) * CHUNK_ROWS < part->num_rows ? (chunk + 1) * CHUNK_ROWS : part->num_rows;
    for (int64_t row = chunk * CHUNK_ROWS; row < end; row++)
        multiply_row(job, part, part_first, row);
}

static void multiply_by_rows(struct device *dev, struct stored_job *job) {
    float *sums = cpu_scratch(dev, (size_t)(tensor_count(job->x) / STORED_GROUP) * sizeof(float));
    int64_t num_chunks = 0;
    for (int i = 0; i < job->w->num_parts; i++)
        num_chunks += part_chunks(&job->w->parts[i]);
    sum_groups(sums, job->x);
    job->x_sums = sums;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t chunk = 0; chunk < num_chunks; chunk++)
        multiply_chunk(job, chunk);
}

/* Some rows of a part as f32, whole heads where these are in pairs. */
struct stored_tile {
    const struct stored_rows *part;
    int64_t part_first; /* row of the matrix that the part begins at */
    int64_t first, count;
    float *values; /* [count, I], in the order of the matrix */
};

/* multiply_tile - by every token at once. */
static void multiply_tile(struct device *dev, const struct stored_job *job, const struct stored_tile *tile) {
    const struct stored_rows *part = tile->part;
    size_t row_bytes = stored_row_bytes(part);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t row = tile->first; row < tile->first + tile->count; row++)
        job->loops[part->kind].decode(part->rows + (size_t)row * row_bytes, part->width,
                                      tile->values + (stored_place(part, row) - tile->first) * part->width);
    const struct column_args columns = {
        .first = tile->part_first + tile->first, .scale = 1, .write = OP_OVERWRITE};
    cpu_linear_part_forward(dev, job->y, job->x, tensor_2d(tile->values, DTYPE_F32, tile->count, part->width),
                            &columns);
}

/* most_rows - of a tile: those of a part's whole heads. */
static int64_t most_rows(const struct stored_rows *part) {
    int64_t most = TILE_COUNT / part->width + 1, head = part->pair_rows;
    return head ? (most + head - 1) / head * head : most;
}

static void multiply_by_tiles(struct device *dev, const struct stored_job *job) {
    struct stored_tile tile = {.part_first = 0};
    int64_t most = 0;
    for (int i = 0; i < job->w->num_parts; i++)
        most = most_rows(&job->w->parts[i]) > most ? most_rows(&job->w->parts[i]) : most;
    tile.values = cpu_scratch(dev, (size_t)(most * job->x.dims[1]) * sizeof(float));
    for (int i = 0; i < job->w->num_parts; i++) {
        tile.part = &job->w->parts[i];
        most = most_rows(tile.part);
        for (tile.first = 0; tile.first < tile.part->num_rows; tile.first += tile.count) {
            int64_t left = tile.part->num_rows - tile.first;
            tile.count = left < most ? left : most;
            multiply_tile(dev, job, &tile);
        }
        tile.part_first += tile.part->num_rows;
    }
}

void cpu_linear_stored(struct device *dev, struct tensor y, struct tensor x, const struct stored *w) {
    struct stored_job job = {.w = w, .loops = ((struct cpu_state *)dev->state)->stored, .y = y, .x = x};
    if (x.dims[0] <= MOST_BY_ROWS)
        multiply_by_rows(dev, &job);
    else
        multiply_by_tiles(dev, &job);
}

void cpu_embedding_stored(struct device *dev, struct tensor x, const struct stored *w, struct tensor tokens) {
    const struct stored_rows *rows = w->parts;
    const struct stored_loops *loops = ((struct cpu_state *)dev->state)->stored;
    for (int64_t i = 0; i < tokens.dims[0]; i++)
        loops[rows->kind].decode(rows->rows +
                                     (size_t)((const int32_t *)tokens.data)[i] * stored_row_bytes(rows),
                                 rows->width, (float *)x.data + i * rows->width);
}
