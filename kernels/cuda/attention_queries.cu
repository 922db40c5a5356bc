/* attention_queries.cu - attention backward for Ampere, second pass: gradients of queries.
 *
 * A block of queries of one head walks the key blocks that its rows see, from right to left:
 *
 *   S = Q K^T;   P = 2^(c S - lse2);   dP = dO V^T;   dS = P (dP - delta);   dQ += dS K
 *
 * and dQ times scale in the end, turned back by its row's position (attention_rotation.cuh); with a soft-cap
 * dS has the factor 1 - tanh^2 too.  Computing S and dP a second time (the first pass had them) costs 2
 * products of 7, and saves what the fused form would need: sums of dQ in memory that many blocks add to, in
 * an order to be enforced.
 *
 * Block and warp: as in attention_forward.cu.  Shared memory: Q, dO; two stages of K and V.
 * Bound: tensor cores, 6 D flop per score.  Source: Dao 2023, algorithm 2. */
#include "kernels/cuda/attention_rotation.cuh"
#include "kernels/cuda/attention_tile.cuh"

enum { NUM_STAGES = 2 };

/* Tile sizes by head width: per warp, dQ takes D registers per 32 rows, S and dP take KEYS each.  At 128,
 * tiles of half the height let an A100 hold two blocks and an H200 three, and fit into the 99 KiB of smaller
 * GPUs. */
template <int D> struct queries_shape {
    static constexpr int ROWS = D == 128 ? 64 : 128;
    static constexpr int WARPS = D > 128 ? 8 : 4;
    static constexpr int KEYS = D <= 192 ? 32 : 16;
    static constexpr int THREADS = WARPS * WARP;
    static constexpr int BLOCKS_PER_SM = D > 128 ? 1 : D == 128 ? 3 : 2;
    static constexpr int WARP_ROWS = ROWS / WARPS;
    static constexpr int M = WARP_ROWS / MMA_EDGE, N = KEYS / 8;
    /* Shared memory, in this order. */
    static constexpr uint32_t ROW_BYTES = ROWS * tile<D>::ROW_BYTES; /* Q, then dO */
    static constexpr uint32_t KEY_BYTES = KEYS * tile<D>::ROW_BYTES; /* K, then V */
    static constexpr uint32_t STAGES_AT = 2 * ROW_BYTES;
    static constexpr uint32_t STAGE_BYTES = 2 * KEY_BYTES;
    static constexpr uint32_t SHARED_BYTES = STAGES_AT + NUM_STAGES * STAGE_BYTES;
};

/* What the kernel is given beside the problem. */
struct queries_job {
    attention_problem p;
    const char *dout;
    attention_statistics statistics;
    char *dqkv;
};

/* load_row_values - lse2 or delta of the rows whose elements this lane holds. */
template <int M> DEV void load_row_values(float (&values)[M][2], const float *rows) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            values[m][h] = rows[m * MMA_EDGE + h * 8 + lane_id() / 4];
}

/* gradient_factors - dP becomes dP - delta, with a soft-cap times its slope 1 - tanh^2 (scores hold the
 * tanh). */
template <int M, int N>
DEV void gradient_factors(float (&gradients)[M][N][4], const float (&scores)[M][N][4],
                          const float (&delta)[M][2], const attention_problem &p) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                gradients[m][n][e] -= delta[m][e / 2];
    if (p.softcap > 0.0f)
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    gradients[m][n][e] *= 1.0f - scores[m][n][e] * scores[m][n][e];
}

/* score_gradients - scores become dS. */
template <int M, int N>
DEV void score_gradients(float (&scores)[M][N][4], const float (&factors)[M][N][4], const float (&lse2)[M][2],
                         float scale_log2) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                scores[m][n][e] =
                    exp2_approx(fmaf(scores[m][n][e], scale_log2, -lse2[m][e / 2])) * factors[m][n][e];
}

/* load_keys - start copying a block of K and V. */
template <int D> DEV void load_keys(uint32_t to, const attention_problem &p, int kv_head, int first_key) {
    using shape = queries_shape<D>;
    const char *from =
        (const char *)p.qkv + ((int64_t)first_key * p.qkv_row + (p.num_heads + kv_head) * D) * 2;
    tile_load<D, shape::KEYS, shape::THREADS>(to, from, p.qkv_row * 2, p.num_rows - first_key);
    tile_load<D, shape::KEYS, shape::THREADS>(to + shape::KEY_BYTES,
                                              from + p.num_kv_heads * tile<D>::ROW_BYTES, p.qkv_row * 2,
                                              p.num_rows - first_key);
}

template <class T, int D>
static __global__ void __launch_bounds__(queries_shape<D>::THREADS, queries_shape<D>::BLOCKS_PER_SM)
    attention_queries(queries_job job) {
    using shape = queries_shape<D>;
    constexpr int M = shape::M, N = shape::N, ROWS = shape::ROWS, KEYS = shape::KEYS,
                  THREADS = shape::THREADS;
    DYN_SHARED(memory);
    const uint32_t start = shared_address(memory), lane = tile_lane<D>(start);
    const attention_problem &p = job.p;
    const int head = (int)blockIdx.x, first_row = (int)(gridDim.y - 1 - blockIdx.y) * ROWS;
    const int own_rows = (int)(threadIdx.x / WARP) * shape::WARP_ROWS, warp_row = first_row + own_rows;

    const int left_key = p.first_key[first_row] / KEYS * KEYS;
    int first_key = last_key_of(p.last_key, min(first_row + ROWS, p.num_rows) - 1) / KEYS * KEYS;
    tile_load<D, ROWS, THREADS>(start, (const char *)p.qkv + ((int64_t)first_row * p.qkv_row + head * D) * 2,
                                p.qkv_row * 2, p.num_rows - first_row);
    tile_load<D, ROWS, THREADS>(start + shape::ROW_BYTES,
                                job.dout + ((int64_t)first_row * p.out_row + head * D) * 2, p.out_row * 2,
                                p.num_rows - first_row);
    load_keys<D>(start + shape::STAGES_AT, p, head / p.group, first_key);
    cp_async_commit();

    float sums[M][D / 8][4], lse2[M][2], delta[M][2];
    clear(sums);
    load_row_values(lse2, job.statistics.lse2 + head * job.statistics.padded_rows + warp_row);
    load_row_values(delta, job.statistics.delta + head * job.statistics.padded_rows + warp_row);
    const uint32_t own_at = (uint32_t)own_rows * tile<D>::ROW_BYTES;
    const sight seen = sight_of_queries(p, warp_row, shape::WARP_ROWS);
    for (uint32_t keys_at = shape::STAGES_AT; first_key >= left_key; first_key -= KEYS) {
        const operand keys = {lane, keys_at};
        cp_async_wait<0>();
        block_barrier(); /* these keys have landed, and no warp reads the other stage any more */
        keys_at = 2 * shape::STAGES_AT + shape::STAGE_BYTES - keys_at;
        if (first_key > left_key)
            load_keys<D>(start + keys_at, p, head / p.group, first_key - KEYS);
        cp_async_commit();
        if (!seen.any(first_key, KEYS))
            continue;
        float scores[M][N][4], gradients[M][N][4];
        product_rows<T, D>(scores, operand{lane, own_at}, keys);
        if (p.softcap > 0.0f)
            cap_scores(scores, p.cap_inverse);
        product_rows<T, D>(gradients, operand{lane, own_at + shape::ROW_BYTES},
                           operand{lane, keys.at + shape::KEY_BYTES});
        gradient_factors(gradients, scores, delta, p);
        if (!seen.all(first_key, KEYS))
            mask_keys(scores, p, warp_row, first_key);
        score_gradients(scores, gradients, lse2, p.scale_log2);
        product_columns<T, D>(sums, scores, keys);
    }

    if (p.rotation.positions)
#pragma unroll
        for (int m = 0; m < M; m++)
            rotate_back<D>(&sums[m][0][0], p.rotation, warp_row + m * MMA_EDGE + lane_id() / 4, p.num_rows);
    float factor[M][2];
    fill(factor, p.scale);
    write_rows<T, D>(job.dqkv + ((int64_t)warp_row * p.qkv_row + head * D) * 2, p.qkv_row * 2,
                     p.num_rows - warp_row, start + own_at, sums, factor);
}

template <class T, int D> static void launch_queries(struct device *dev, const queries_job &job) {
    using shape = queries_shape<D>;
    const unsigned num_blocks = (unsigned)((job.p.num_rows + shape::ROWS - 1) / shape::ROWS);
    LAUNCH((attention_queries<T, D>), dim3((unsigned)job.p.num_heads, num_blocks), dim3(shape::THREADS),
           shape::SHARED_BYTES, cuda_stream(dev), job);
}

template <class T> static void queries_by_width(struct device *dev, const queries_job &job) {
    switch (job.p.head_dim) {
    case 64:
        return launch_queries<T, 64>(dev, job);
    case 80:
        return launch_queries<T, 80>(dev, job);
    case 96:
        return launch_queries<T, 96>(dev, job);
    case 128:
        return launch_queries<T, 128>(dev, job);
    case 192:
        return launch_queries<T, 192>(dev, job);
    default:
        return launch_queries<T, 256>(dev, job);
    }
}

void attention_flash_queries(struct device *dev, struct tensor dqkv, struct tensor dout,
                             const struct attention_problem *problem,
                             const struct attention_statistics *statistics) {
    const queries_job job = {*problem, (const char *)dout.data, *statistics, (char *)dqkv.data};
    if (dqkv.dtype == DTYPE_BF16)
        queries_by_width<bf16_t>(dev, job);
    else
        queries_by_width<f16_t>(dev, job);
}
