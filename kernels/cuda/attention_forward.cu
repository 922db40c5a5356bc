/* attention_forward.cu - attention forward for Ampere: mma.sync, cp.async, online softmax.
 *
 * A block of 128 queries of one head walks the key blocks that its rows see, from right to left: in
 * causal attention the diagonal comes first, and with it a maximum that rarely changes afterwards.  With c = scale log2(e), per key block:
 *
 *   S = Q K^T;   P = 2^(c S - m);   l += rowsum(P);   O += P V
 *
 * and in the end out = O / l, lse = m ln 2 + ln l.  m is any number of a row's own that keeps the power in
 * range, not its exact maximum: it follows the maximum only when that has grown by more than MAX_SLACK, and
 * only then are O and l rescaled.  The results do not depend on the choice but for rounding.
 *
 * A masked key has P = 0, whatever its score was.  A NaN in its value row still reaches the rows that share a
 * tile with it (0 times NaN), as on the CPU; one in its key row does not.
 *
 * Block: heads vary fastest, so that neighbours read the keys of the same kv head while these are in the L2
 * cache; then rows, from the last (which see the most keys in one long document) to the first.
 * Warp: whole rows, 32 or 16 of them, so that the softmax needs no other warp.
 * Shared memory: Q, one block of K, one of V.  V arrives during S = Q K^T, the next K during the rest.
 * Bound: tensor cores (4 D flop per score), beside one ex2 per score.  Source: Dao 2023, FlashAttention-2. */
#include "kernels/cuda/attention_tile.cuh"

static constexpr float MAX_SLACK = 8.0f; /* base 2: P stays below 2^8, far from the limits of bf16 and f16 */
static constexpr float NO_MAX = -1e30f;  /* finite: a row that has seen no key yet must not give inf - inf */

/* Tile sizes by head width.  Four warps of 32 rows where the accumulators of O (32 D / 32 registers) leave
 * room for S; above that eight warps of 16 rows. */
template <int D> struct forward_shape {
    static constexpr int ROWS = 128;
    static constexpr int KEYS = D == 64 ? 128 : 64;
    static constexpr int WARPS = D > 128 ? 8 : 4;
    static constexpr int THREADS = WARPS * WARP;
    static constexpr int BLOCKS_PER_SM = D > 128 ? 1 : 2;
    static constexpr int WARP_ROWS = ROWS / WARPS;
    static constexpr int M = WARP_ROWS / MMA_EDGE, N = KEYS / 8;
    static constexpr uint32_t QUERY_BYTES = ROWS * tile<D>::ROW_BYTES, KEY_BYTES = KEYS * tile<D>::ROW_BYTES;
    static constexpr uint32_t SHARED_BYTES = QUERY_BYTES + 2 * KEY_BYTES;
};

/* follow_maximum - raise m where the scores have outgrown it, and rescale what was summed with the old one.
 */
template <int M, int N, int D8>
DEV void follow_maximum(float (&m2)[M][2], float (&sum)[M][2], float (&out)[M][D8][4],
                        const float (&scores)[M][N][4], float scale_log2) {
    float largest[M][2];
    bool outgrown = false;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            largest[m][h] = scores[m][0][2 * h];
#pragma unroll
            for (int n = 0; n < N; n++)
                largest[m][h] = fmaxf(largest[m][h], fmaxf(scores[m][n][2 * h], scores[m][n][2 * h + 1]));
            largest[m][h] *= scale_log2;
            outgrown |= largest[m][h] > m2[m][h] + MAX_SLACK;
        }
    if (!warp_any(outgrown))
        return;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float raised = fmaxf(largest[m][h], shfl_xor(largest[m][h], 1));
            raised = fmaxf(m2[m][h], fmaxf(raised, shfl_xor(raised, 2)));
            const float shrink = exp2_approx(m2[m][h] - raised);
            m2[m][h] = raised;
            sum[m][h] *= shrink;
#pragma unroll
            for (int n = 0; n < D8; n++) {
                out[m][n][2 * h] *= shrink;
                out[m][n][2 * h + 1] *= shrink;
            }
        }
}

/* probabilities - scores become P; each lane sums those that it holds. */
template <int M, int N>
DEV void probabilities(float (&scores)[M][N][4], const float (&m2)[M][2], float (&sum)[M][2],
                       float scale_log2) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                scores[m][n][e] = exp2_approx(fmaf(scores[m][n][e], scale_log2, -m2[m][e / 2]));
                sum[m][e / 2] += scores[m][n][e];
            }
}

/* finish_rows - log-sum-exp to global memory; the factors 1 / l that O still needs. */
template <int M>
DEV void finish_rows(float *lse, float (&factor)[M][2], const float (&m2)[M][2], const float (&sum)[M][2],
                     const attention_problem &p, int head, int first_row) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = first_row + m * MMA_EDGE + h * 8 + lane_id() / 4;
            float total = sum[m][h] + shfl_xor(sum[m][h], 1);
            total += shfl_xor(total, 2);
            factor[m][h] = 1.0f / total;
            if (lane_id() % 4 == 0 && row < p.num_rows)
                lse[(int64_t)row * p.num_heads + head] = m2[m][h] * ATTENTION_LN2 + logf(total);
        }
}

template <class T, int D>
static __global__ void __launch_bounds__(forward_shape<D>::THREADS, forward_shape<D>::BLOCKS_PER_SM)
    attention_forward(attention_problem p, char *out, float *lse) {
    using shape = forward_shape<D>;
    constexpr int M = shape::M, N = shape::N, THREADS = shape::THREADS, KEYS = shape::KEYS;
    DYN_SHARED(memory);
    const uint32_t queries = shared_address(memory), keys = queries + shape::QUERY_BYTES;
    const uint32_t values = keys + shape::KEY_BYTES, lane = tile_lane<D>(queries);
    const int head = (int)blockIdx.x, first_row = (int)(gridDim.y - 1 - blockIdx.y) * shape::ROWS;
    const int own_rows = (int)(threadIdx.x / WARP) * shape::WARP_ROWS, warp_row = first_row + own_rows;
    const int row_bytes = p.qkv_row * 2;
    const char *const heads = (const char *)p.qkv;
    const char *const key_rows = heads + (int64_t)(p.num_heads + head / p.group) * tile<D>::ROW_BYTES;

    const int left_key = p.first_key[first_row] / KEYS * KEYS;
    int first_key = last_key_of(p.last_key, min(first_row + shape::ROWS, p.num_rows) - 1) / KEYS * KEYS;
    tile_load<D, shape::ROWS, THREADS>(queries,
                                       heads + (int64_t)first_row * row_bytes + head * tile<D>::ROW_BYTES,
                                       row_bytes, p.num_rows - first_row);
    tile_load<D, KEYS, THREADS>(keys, key_rows + (int64_t)first_key * row_bytes, row_bytes,
                                p.num_rows - first_key);
    cp_async_commit();

    float sums[M][D / 8][4], m2[M][2], sum[M][2];
    clear(sums);
    fill(m2, NO_MAX);
    fill(sum, 0.0f);
    const sight seen = sight_of_queries(p, warp_row, shape::WARP_ROWS);
    const operand own_queries = {lane, (uint32_t)own_rows * tile<D>::ROW_BYTES};
    for (; first_key >= left_key; first_key -= KEYS) {
        float scores[M][N][4];
        cp_async_wait<0>();
        block_barrier(); /* these keys have landed, and no warp reads the previous values any more */
        tile_load<D, KEYS, THREADS>(
            values, key_rows + p.num_kv_heads * tile<D>::ROW_BYTES + (int64_t)first_key * row_bytes,
            row_bytes, p.num_rows - first_key);
        cp_async_commit();
        if (seen.any(first_key, KEYS))
            product_rows<T, D>(scores, own_queries, operand{lane, shape::QUERY_BYTES});
        cp_async_wait<0>();
        block_barrier(); /* the values have landed, and no warp reads these keys any more */
        if (first_key > left_key)
            tile_load<D, KEYS, THREADS>(keys, key_rows + (int64_t)(first_key - KEYS) * row_bytes, row_bytes,
                                        KEYS);
        cp_async_commit();
        if (seen.any(first_key, KEYS)) {
            if (p.softcap > 0.0f)
                cap_scores(scores, p.cap_inverse);
            if (!seen.all(first_key, KEYS))
                mask_keys(scores, p, warp_row, first_key);
            follow_maximum(m2, sum, sums, scores, p.scale_log2);
            probabilities(scores, m2, sum, p.scale_log2);
            product_columns<T, D>(sums, scores, operand{lane, shape::QUERY_BYTES + shape::KEY_BYTES});
        }
    }

    float factor[M][2];
    finish_rows(lse, factor, m2, sum, p, head, warp_row);
    write_rows<T, D>(out + ((int64_t)warp_row * p.out_row + head * D) * 2, p.out_row * 2,
                     p.num_rows - warp_row, queries + (uint32_t)own_rows * tile<D>::ROW_BYTES, sums, factor);
}

template <class T, int D>
static void launch_forward(struct device *dev, const attention_problem &problem, void *out, float *lse) {
    using shape = forward_shape<D>;
    const unsigned num_blocks = (unsigned)((problem.num_rows + shape::ROWS - 1) / shape::ROWS);
    LAUNCH((attention_forward<T, D>), dim3((unsigned)problem.num_heads, num_blocks), dim3(shape::THREADS),
           shape::SHARED_BYTES, cuda_stream(dev), problem, (char *)out, lse);
}

template <class T>
static void forward_by_width(struct device *dev, const attention_problem &problem, void *out, float *lse) {
    switch (problem.head_dim) {
    case 64:
        return launch_forward<T, 64>(dev, problem, out, lse);
    case 80:
        return launch_forward<T, 80>(dev, problem, out, lse);
    case 96:
        return launch_forward<T, 96>(dev, problem, out, lse);
    case 128:
        return launch_forward<T, 128>(dev, problem, out, lse);
    case 192:
        return launch_forward<T, 192>(dev, problem, out, lse);
    default:
        return launch_forward<T, 256>(dev, problem, out, lse);
    }
}

void attention_flash_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                             const struct attention_mask *mask, const struct attention_args *args) {
    const attention_problem problem = attention_describe(qkv, mask, args);
    if (qkv.dtype == DTYPE_BF16)
        forward_by_width<bf16_t>(dev, problem, out.data, (float *)lse.data);
    else
        forward_by_width<f16_t>(dev, problem, out.data, (float *)lse.data);
}
