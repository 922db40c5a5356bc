/* attention_keys.cu - attention backward for Ampere, first pass: gradients of keys and values.
 *
 * A block of 64 keys of one kv head meets every block of queries that sees it, of every query head of its
 * group, in order; so dK and dV are summed in registers: no atomics, the same bits every time, and no copy of
 * K and V per query head.  With scores transposed (rows are keys), per block of queries:
 *
 *   St = K Q^T;    Pt = 2^(c St - lse2);         dV += Pt dO
 *   dPt = V dO^T;  dSt = Pt (dPt - delta);       dK += dSt Q, times scale in the end
 *
 * and turned back by the keys' positions (attention_rotation.cuh); with a soft-cap dSt has the factor 1 -
 * tanh^2 too.  The two lines have one shape, and two warps share them for the same keys: the first computes
 * Pt and dV and hands Pt over in f32, the second computes dSt and dK. So a warp keeps one sum instead of two,
 * and can hold 32 keys where it could hold 16, which halves its reads of Q and dO.
 *
 * Block: kv heads (and parts of their query heads) vary fastest; keys from the first, which most queries see.
 * Shared memory: K, V; two stages of Q, dO, lse2 and delta; Pt of each pair of warps.
 * Bound: tensor cores, 8 D flop per score.  Source: Dao 2023, algorithm 2; transposed as Shah et al. 2024. */
#include "kernels/cuda/attention_rotation.cuh"
#include "kernels/cuda/attention_tile.cuh"

enum { NUM_STAGES = 2, PAIR_THREADS = 2 * WARP };

/* Tile sizes by head width: sums of dK or dV take D registers per 32 keys of a warp. */
template <int D> struct keys_shape {
    static constexpr int KEYS = ATTENTION_KEY_BLOCK;
    static constexpr int WARP_KEYS = D > 128 ? 16 : 32;
    static constexpr int ROWS = D <= 80 || D == 192 ? 64 : 32;
    static constexpr int PAIRS = KEYS / WARP_KEYS;
    static constexpr int THREADS = PAIRS * PAIR_THREADS;
    static constexpr int BLOCKS_PER_SM = D > 128 ? 1 : 2;
    static constexpr int M = WARP_KEYS / MMA_EDGE, N = ROWS / 8;
    /* Shared memory, in this order. */
    static constexpr uint32_t KEY_BYTES = KEYS * tile<D>::ROW_BYTES; /* K, then V */
    static constexpr uint32_t ROW_BYTES = ROWS * tile<D>::ROW_BYTES; /* Q, then dO */
    static constexpr uint32_t STAGE_BYTES = 2 * ROW_BYTES;
    static constexpr uint32_t EXCHANGE_BYTES = M * N * WARP * CHUNK_BYTES; /* per pair */
    static constexpr uint32_t STATISTICS_BYTES = 2 * ROWS * sizeof(float); /* lse2, then delta; per stage */
    static constexpr uint32_t STAGES_AT = 2 * KEY_BYTES;
    static constexpr uint32_t EXCHANGE_AT = STAGES_AT + NUM_STAGES * STAGE_BYTES;
    static constexpr uint32_t STATISTICS_AT = EXCHANGE_AT + PAIRS * EXCHANGE_BYTES;
    static constexpr uint32_t SHARED_BYTES = STATISTICS_AT + NUM_STAGES * STATISTICS_BYTES;
};

/* What the kernel is given beside the problem. */
struct keys_job {
    attention_problem p;
    const char *dout;
    attention_statistics statistics;
    char *dqkv;
    float *partial; /* [num_parts, N, 2 G, D] where the query heads of a group are split; else NULL */
    int num_parts;
};

/* A block of queries of one query head. */
struct query_block {
    int head, first_row;
};

/* sight_of_keys - what shows a warp's keys to queries: the mirror of sight_of_queries. */
DEV sight sight_of_keys(const keys_job &job, int first_key, int num_keys) {
    const attention_statistics &s = job.statistics;
    const int last_key = min(first_key + num_keys, job.p.num_rows) - 1;
    if (first_key >= job.p.num_rows)
        return {0, -1, 0, -1};
    return {first_row_of(s.col_begin, first_key), s.col_end[last_key] - 1,
            first_row_of(s.col_begin, last_key), s.col_end[first_key] - 1};
}

/* mask_rows - minus infinity where a query may not see the key: outside col_begin[key] .. col_end[key] - 1. */
template <int M, int N>
DEV void mask_rows(float (&scores)[M][N][4], const keys_job &job, int first_key, int first_row) {
    const int own_key = min(first_key + lane_id() % (M * MMA_EDGE), job.p.num_rows - 1);
    const uint32_t begins = (uint32_t)first_row_of(job.statistics.col_begin, own_key);
    const uint32_t spans = (uint32_t)job.statistics.col_end[own_key] - begins;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int lane = m * MMA_EDGE + h * 8 + lane_id() / 4;
            const uint32_t span = shfl(spans, lane);
            const uint32_t row = (uint32_t)(first_row + lane_id() % 4 * 2) - shfl(begins, lane);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    if (row + (uint32_t)(n * 8 + e) >= span)
                        scores[m][n][2 * h + e] = -INFINITY;
        }
}

/* Statistics of the two queries whose columns this lane holds in the n-th pair. */
struct pair_statistics {
    float of[2];
};

DEV pair_statistics load_statistics(uint32_t address, int n) {
    const uint2 bits = shared_load8(address + (uint32_t)(n * 8 + lane_id() % 4 * 2) * 4);
    return {{bits_float(bits.x), bits_float(bits.y)}};
}

/* exchange_* - the accumulators of one warp of a pair, lane by lane, for the same lane of the other. */
template <int N> DEV uint32_t exchange_slot(uint32_t exchange, int m, int n) {
    return exchange + (uint32_t)(((m * N + n) * WARP + lane_id()) * CHUNK_BYTES);
}

DEV void exchange_store(uint32_t slot, const float (&x)[4]) {
    shared_store16(slot, vec16{{float_bits(x[0]), float_bits(x[1]), float_bits(x[2]), float_bits(x[3])}});
}

DEV void exchange_load(float (&x)[4], uint32_t slot) {
    const vec16 v = shared_load16(slot);
#pragma unroll
    for (int e = 0; e < 4; e++)
        x[e] = bits_float(v.w[e]);
}

/* store_slopes - with a soft-cap, d(capped score) / d(score) = 1 - tanh^2, taken before the mask (after it
 * the tanh is gone); the slot is this lane's own until the probabilities are in it. */
template <int M, int N> DEV void store_slopes(uint32_t exchange, const float (&tanhs)[M][N][4]) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++) {
            float slope[4];
#pragma unroll
            for (int e = 0; e < 4; e++)
                slope[e] = 1.0f - tanhs[m][n][e] * tanhs[m][n][e];
            exchange_store(exchange_slot<N>(exchange, m, n), slope);
        }
}

/* store_probabilities - scores become Pt; what the other warp needs, Pt times the slope, goes to the
 * exchange. */
template <int M, int N>
DEV void store_probabilities(uint32_t exchange, float (&scores)[M][N][4], uint32_t lse2,
                             const attention_problem &p) {
#pragma unroll
    for (int n = 0; n < N; n++) {
        const pair_statistics lse = load_statistics(lse2, n);
#pragma unroll
        for (int m = 0; m < M; m++) {
            float slope[4] = {1.0f, 1.0f, 1.0f, 1.0f};
            if (p.softcap > 0.0f)
                exchange_load(slope, exchange_slot<N>(exchange, m, n));
#pragma unroll
            for (int e = 0; e < 4; e++) {
                scores[m][n][e] = exp2_approx(fmaf(scores[m][n][e], p.scale_log2, -lse.of[e % 2]));
                slope[e] *= scores[m][n][e];
            }
            exchange_store(exchange_slot<N>(exchange, m, n), slope);
        }
    }
}

/* score_gradients - dPt becomes dSt. */
template <int M, int N>
DEV void score_gradients(float (&gradients)[M][N][4], uint32_t exchange, uint32_t delta_address) {
#pragma unroll
    for (int n = 0; n < N; n++) {
        const pair_statistics delta = load_statistics(delta_address, n);
#pragma unroll
        for (int m = 0; m < M; m++) {
            float probabilities[4];
            exchange_load(probabilities, exchange_slot<N>(exchange, m, n));
#pragma unroll
            for (int e = 0; e < 4; e++)
                gradients[m][n][e] = probabilities[e] * (gradients[m][n][e] - delta.of[e % 2]);
        }
    }
}

/* load_stage - start copying Q, dO, lse2 and delta of a block of queries. */
template <int D>
DEV void load_stage(uint32_t shared_start, int stage, const keys_job &job, query_block block) {
    using shape = keys_shape<D>;
    const attention_problem &p = job.p;
    const uint32_t to = shared_start + shape::STAGES_AT + (uint32_t)stage * shape::STAGE_BYTES;
    const int valid_rows = p.num_rows - block.first_row;
    tile_load<D, shape::ROWS, shape::THREADS>(
        to, (const char *)p.qkv + ((int64_t)block.first_row * p.qkv_row + block.head * D) * 2, p.qkv_row * 2,
        valid_rows);
    tile_load<D, shape::ROWS, shape::THREADS>(
        to + shape::ROW_BYTES, job.dout + ((int64_t)block.first_row * p.out_row + block.head * D) * 2,
        p.out_row * 2, valid_rows);
    constexpr int CHUNKS = shape::ROWS * (int)sizeof(float) / CHUNK_BYTES; /* of each of the two arrays */
    const int chunk = (int)threadIdx.x % CHUNKS;
    const float *from = (int)threadIdx.x < CHUNKS ? job.statistics.lse2 : job.statistics.delta;
    if ((int)threadIdx.x < 2 * CHUNKS)
        cp_async16(shared_start + shape::STATISTICS_AT + (uint32_t)stage * shape::STATISTICS_BYTES +
                       threadIdx.x * CHUNK_BYTES,
                   from + block.head * job.statistics.padded_rows + block.first_row + chunk * 4, true);
}

/* store_partial - sums times the factor, in f32, where another block has the rest of the group's query heads.
 */
template <int D, int M>
DEV void store_partial(float *to, int64_t row_floats, int valid_rows, const float (&sums)[M][D / 8][4],
                       float factor) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * MMA_EDGE + h * 8 + lane_id() / 4;
            float *pairs = to + row * row_floats + lane_id() % 4 * 2;
            if (row < valid_rows)
#pragma unroll
                for (int n = 0; n < D / 8; n++)
                    store8(pairs + n * 8, make_uint2(float_bits(sums[m][n][2 * h] * factor),
                                                     float_bits(sums[m][n][2 * h + 1] * factor)));
        }
}

/* load_keys - start copying a block's keys and values. */
template <int D> DEV void load_keys(uint32_t to, const attention_problem &p, int kv_head, int first_key) {
    using shape = keys_shape<D>;
    const int row_bytes = p.qkv_row * 2, valid_rows = p.num_rows - first_key;
    const char *from = (const char *)p.qkv + (int64_t)first_key * row_bytes +
                       (int64_t)(p.num_heads + kv_head) * tile<D>::ROW_BYTES;
    tile_load<D, shape::KEYS, shape::THREADS>(to, from, row_bytes, valid_rows);
    tile_load<D, shape::KEYS, shape::THREADS>(
        to + shape::KEY_BYTES, from + (int64_t)p.num_kv_heads * tile<D>::ROW_BYTES, row_bytes, valid_rows);
}

/* The keys of a warp, which of the two lines it computes, and the queries that see the keys. */
struct warp_keys {
    int first;
    bool has_scores;
    sight seen;
};

/* probabilities - scores of the block of queries from first_row on become Pt, and go to the exchange too. */
template <int M, int N>
DEV void probabilities(float (&x)[M][N][4], const keys_job &job, const warp_keys &own, int first_row,
                       uint32_t exchange, uint32_t lse2) {
    if (job.p.softcap > 0.0f) {
        cap_scores(x, job.p.cap_inverse);
        store_slopes(exchange, x);
    }
    if (!own.seen.all(first_row, min(N * 8, job.p.num_rows - first_row)))
        mask_rows(x, job, own.first, first_row);
    store_probabilities(exchange, x, lse2, job.p);
}

/* store_sums - dK or dV of a warp to dqkv, or to its part of the scratch.  Parts of dK turn too: their sum is what their
 * turned sum would be. */
template <class T, int D, int M>
DEV void store_sums(const keys_job &job, float (&sums)[M][D / 8][4], const warp_keys &own, uint32_t staging) {
    const attention_problem &p = job.p;
    const int kv_head = (int)blockIdx.x / job.num_parts;
    const int head = kv_head + (own.has_scores ? p.num_kv_heads : 0); /* as K and V lie in qkv */
    const int valid_rows = p.num_rows - own.first;
    const float scale = own.has_scores ? 1.0f : p.scale;
    if (!own.has_scores && p.rotation.positions)
#pragma unroll
        for (int m = 0; m < M; m++)
            rotate_back<D>(&sums[m][0][0], p.rotation, own.first + m * MMA_EDGE + lane_id() / 4, p.num_rows);
    if (job.num_parts > 1) {
        const int64_t row_floats = (int64_t)2 * p.num_kv_heads * D;
        const int64_t row = (int64_t)((int)blockIdx.x % job.num_parts) * p.num_rows + own.first;
        store_partial<D>(job.partial + row * row_floats + head * D, row_floats, valid_rows, sums, scale);
    } else {
        float factor[M][2];
        fill(factor, scale);
        write_rows<T, D>(job.dqkv + ((int64_t)own.first * p.qkv_row + (p.num_heads + head) * D) * 2,
                         p.qkv_row * 2, valid_rows, staging, sums, factor);
    }
}

template <class T, int D>
static __global__ void __launch_bounds__(keys_shape<D>::THREADS, keys_shape<D>::BLOCKS_PER_SM)
    attention_keys(keys_job job) {
    using shape = keys_shape<D>;
    constexpr int M = shape::M, N = shape::N, ROWS = shape::ROWS, KEYS = shape::KEYS;
    DYN_SHARED(memory);
    const uint32_t start = shared_address(memory), lane = tile_lane<D>(start);
    const attention_problem &p = job.p;
    const int kv_head = (int)blockIdx.x / job.num_parts, first_key = (int)blockIdx.y * KEYS;
    const int pair = (int)(threadIdx.x / WARP) % shape::PAIRS, own_keys = pair * shape::WARP_KEYS;
    const bool has_scores = (int)(threadIdx.x / WARP) < shape::PAIRS;
    const int part_heads = p.group / job.num_parts;

    /* The blocks of queries: from the first that sees the first key to the last that sees the last key. */
    const int last_key = min(first_key + KEYS, p.num_rows) - 1;
    const int first_block = first_row_of(job.statistics.col_begin, first_key) / ROWS,
              blocks_per_head = (job.statistics.col_end[last_key] - 1) / ROWS - first_block + 1;
    const int num_steps = blocks_per_head * part_heads;
    const int first_head = kv_head * p.group + (int)blockIdx.x % job.num_parts * part_heads;
    query_block next = {first_head, first_block * ROWS};

    load_keys<D>(start, p, kv_head, first_key);
    load_stage<D>(start, 0, job, next);
    cp_async_commit();

    float sums[M][D / 8][4];
    clear(sums);
    const uint32_t exchange = start + shape::EXCHANGE_AT + (uint32_t)pair * shape::EXCHANGE_BYTES;
    const uint32_t own_at = (has_scores ? 0 : shape::KEY_BYTES) + (uint32_t)own_keys * tile<D>::ROW_BYTES;
    const warp_keys own = {first_key + own_keys, has_scores,
                           sight_of_keys(job, first_key + own_keys, shape::WARP_KEYS)};
    for (int step = 0; step < num_steps; step++) {
        const int first_row = next.first_row, stage = step % NUM_STAGES;
        cp_async_wait<0>();
        block_barrier(); /* this stage has landed; no warp reads the other one, or the exchange, any more */
        next.first_row += ROWS;
        if ((step + 1) % blocks_per_head == 0)
            next = {next.head + 1, first_block * ROWS};
        if (step + 1 < num_steps)
            load_stage<D>(start, (step + 1) % NUM_STAGES, job, next);
        cp_async_commit();
        if (!own.seen.any(first_row, ROWS))
            continue;
        const uint32_t queries_at = shape::STAGES_AT + (uint32_t)stage * shape::STAGE_BYTES;
        const uint32_t douts_at = queries_at + shape::ROW_BYTES;
        const uint32_t statistics = start + shape::STATISTICS_AT + (uint32_t)stage * shape::STATISTICS_BYTES;
        float x[M][N][4];
        product_rows<T, D>(x, operand{lane, own_at}, operand{lane, has_scores ? queries_at : douts_at});
        if (has_scores) {
            probabilities(x, job, own, first_row, exchange, statistics);
            named_barrier_arrive(1 + pair, PAIR_THREADS);
        } else {
            named_barrier(1 + pair, PAIR_THREADS);
            score_gradients(x, exchange, statistics + ROWS * (uint32_t)sizeof(float));
        }
        product_columns<T, D>(sums, x, operand{lane, has_scores ? douts_at : queries_at});
    }

    store_sums<T, D>(job, sums, own, start + own_at);
}

/* sum_parts - dK and dV from their parts, added in order.  One thread per pair of elements; memory bound. */
template <class T>
static __global__ void __launch_bounds__(256)
    attention_sum_parts(char *dqkv, const float *partial, int num_parts, int64_t num_rows, int row_pairs,
                        int qkv_row) {
    const int64_t index = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, count = num_rows * row_pairs;
    if (index >= count)
        return;
    float lo = 0.0f, hi = 0.0f;
    for (int part = 0; part < num_parts; part++) {
        lo += partial[2 * (part * count + index)];
        hi += partial[2 * (part * count + index) + 1];
    }
    const int64_t row = index / row_pairs, column = qkv_row - 2 * row_pairs + index % row_pairs * 2;
    *(uint32_t *)(dqkv + (row * qkv_row + column) * 2) = pack2<T>(lo, hi);
}

/* num_parts_of - into how many parts the query heads of a group are split, so that few keys and few kv heads
 * still give every multiprocessor work.  By sizes alone, not by the GPU: the same bits everywhere. */
static int num_parts_of(int64_t num_rows, int num_kv_heads, int group) {
    enum { ENOUGH_BLOCKS = 256 };
    const int64_t blocks = (num_rows + ATTENTION_KEY_BLOCK - 1) / ATTENTION_KEY_BLOCK * num_kv_heads;
    int parts = 1;
    while (parts < group && (blocks * parts < ENOUGH_BLOCKS || group % parts))
        parts++;
    return parts;
}

size_t attention_keys_partial_bytes(int64_t num_rows, int num_heads, int num_kv_heads, int head_dim) {
    int parts = num_parts_of(num_rows, num_kv_heads, num_heads / num_kv_heads);
    return parts > 1
               ? (size_t)parts * (size_t)num_rows * (size_t)(2 * num_kv_heads * head_dim) * sizeof(float)
               : 0;
}

template <class T, int D> static void launch_keys(struct device *dev, const keys_job &job) {
    using shape = keys_shape<D>;
    const attention_problem &p = job.p;
    const unsigned num_blocks = (unsigned)((p.num_rows + shape::KEYS - 1) / shape::KEYS);
    LAUNCH((attention_keys<T, D>), dim3((unsigned)(p.num_kv_heads * job.num_parts), num_blocks),
           dim3(shape::THREADS), shape::SHARED_BYTES, cuda_stream(dev), job);
    if (job.num_parts == 1)
        return;
    const int row_pairs = p.num_kv_heads * D;
    const int64_t count = (int64_t)p.num_rows * row_pairs;
    LAUNCH(attention_sum_parts<T>, dim3((unsigned)((count + 255) / 256)), dim3(256), 0, cuda_stream(dev),
           job.dqkv, job.partial, job.num_parts, p.num_rows, row_pairs, p.qkv_row);
}

template <class T> static void keys_by_width(struct device *dev, const keys_job &job) {
    switch (job.p.head_dim) {
    case 64:
        return launch_keys<T, 64>(dev, job);
    case 80:
        return launch_keys<T, 80>(dev, job);
    case 96:
        return launch_keys<T, 96>(dev, job);
    case 128:
        return launch_keys<T, 128>(dev, job);
    case 192:
        return launch_keys<T, 192>(dev, job);
    default:
        return launch_keys<T, 256>(dev, job);
    }
}

void attention_flash_keys(struct device *dev, struct tensor dqkv, struct tensor dout,
                          const struct attention_problem *problem,
                          const struct attention_statistics *statistics, void *partial) {
    keys_job job = {*problem, (const char *)dout.data, *statistics, (char *)dqkv.data, (float *)partial, 0};
    job.num_parts = num_parts_of(problem->num_rows, problem->num_kv_heads, problem->group);
    if (dqkv.dtype == DTYPE_BF16)
        keys_by_width<bf16_t>(dev, job);
    else
        keys_by_width<f16_t>(dev, job);
}
