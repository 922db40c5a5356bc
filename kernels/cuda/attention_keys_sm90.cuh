/* attention_keys_sm90.cuh - what the kernels share that go over tiles of keys on Hopper: the first of two passes
 * (attention_keys_pass_sm90.cuh) and the single one (attention_fused_sm90.cu).  Scores stand transposed, keys as rows. */
#pragma once

#include "kernels/cuda/attention_rotation.cuh"
#include "kernels/cuda/attention_sm90.cuh"

namespace attention_sm90 {

/* Sizes and factors of a backward over tiles of keys, as the kernels take them. */
struct keys_problem {
    const int32_t *col_begin, *col_end;
    int num_rows, num_heads, num_kv_heads, group;
    float scale, scale_log2, cap_inverse;
    attention_rotation rotation;
};

/* What the copy engine reads and writes: parts of 64 rows of heads, and of dqkv; blocks of queries with their dO and statistics. */
struct keys_maps {
    tensor_map heads, queries, dout, dqkv, lse2, delta;
};

DEV void prefetch_maps(const keys_maps &maps) {
    tensor_map_prefetch(&maps.heads);
    tensor_map_prefetch(&maps.queries);
    tensor_map_prefetch(&maps.dout);
    tensor_map_prefetch(&maps.dqkv);
    tensor_map_prefetch(&maps.lse2);
    tensor_map_prefetch(&maps.delta);
}

/* load_keys - keys and values of a tile of PARTS x 64 rows.  load_queries - a block of queries of a head.  L: where they go. */
template <int WIDTH, int PARTS, class L>
DEV void load_keys(const keys_maps &maps, const keys_problem &problem, const L &shared,
                   struct assignment tile) {
    const uint32_t full = shared.keys.full(0);
    const int key_head = problem.num_heads + tile.head, value_head = key_head + problem.num_kv_heads;
    mbarrier_arrive_expect_bytes(full, 2 * PARTS * PANELS<WIDTH> * GROUP_PANEL_BYTES);
    for (int part = 0; part < PARTS; part++) {
        const int row = tile.first_row + part * GROUP_ROWS;
        load_tile<WIDTH>(shared.key_part(part), &maps.heads, full, GROUP_ROWS, key_head, row);
        load_tile<WIDTH>(shared.value_part(part), &maps.heads, full, GROUP_ROWS, value_head, row);
    }
}

template <int WIDTH, int QUERIES, class L>
DEV void load_queries(const keys_maps &maps, const L &shared, int stage, int head, int row) {
    const uint32_t full = shared.queries.full(stage);
    mbarrier_arrive_expect_bytes(full, 2 * (PANELS<WIDTH> * QUERIES * ROW_BYTES + QUERIES * 4));
    load_tile<WIDTH>(shared.query_tile(stage), &maps.queries, full, QUERIES, head, row);
    tma_load_2d(shared.lse2(stage), &maps.lse2, full, row, head);
    load_tile<WIDTH>(shared.dout_tile(stage), &maps.dout, full, QUERIES, head, row);
    tma_load_2d(shared.delta(stage), &maps.delta, full, row, head);
}

/* A thread's two keys: queries from the first row that sees them to before `end` do.  Blocks need no mask when they begin
 * at or past last_begin, the first row that sees the warpgroup's last key, and end before any of its keys drops out. */
struct key_rows {
    int key, end[2], last_begin, first_end;
};

/* The first row that sees a key; of a key past the last, which has no end either: any. */
DEV int rows_begin(const keys_problem &call, int key) {
    return key < call.num_rows ? first_row_of(call.col_begin, key) : key;
}

DEV struct key_rows describe_keys(const keys_problem &call, int first_row) {
    key_rows rows;
    rows.key = first_row + group_row();
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int key = rows.key + 8 * half;
        rows.end[half] = key < call.num_rows ? call.col_end[key] : 0;
    }
    rows.last_begin = rows_begin(call, first_row + GROUP_ROWS - 1);
    rows.first_end = first_row < call.num_rows ? call.col_end[first_row] : 0;
    return rows;
}

/* load_pair - a thread's pair of a statistic that lies in shared memory, for the columns of group i. */
DEV void load_pair(uint32_t statistic, int i, float (&pair)[2]) {
    const uint2 bits = shared_load8(statistic + (uint32_t)(8 * i + lane_column()) * 4);
    pair[0] = bits_float(bits.x);
    pair[1] = bits_float(bits.y);
}

/* probabilities - scores s of the block at query row `row` to P, rounded, in p.  s keeps P; with a soft-cap, the tanh. */
template <typename T, int QUERIES, bool CAP>
DEV void probabilities(uint32_t (&p)[QUERIES / DEPTH][4], float (&s)[QUERIES / 2], const keys_problem &call,
                       const key_rows &rows, int row, uint32_t lse2_at) {
    if (CAP)
        soft_cap(s, call.cap_inverse);
    if (row < rows.last_begin || row + QUERIES > rows.first_end) {
        const int low[2] = {rows_begin(call, rows.key) - row, rows_begin(call, rows.key + 8) - row};
        const int high[2] = {rows.end[0] - row, rows.end[1] - row};
        mask_columns<QUERIES>(s, low, high, -INFINITY);
    }
#pragma unroll
    for (int i = 0; i < QUERIES / 8; i++) {
        float lse2[2];
        load_pair(lse2_at, i, lse2);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float *x = s + 4 * i + 2 * half;
            const float p0 = exp2_approx(fmaf(x[0], call.scale_log2, -lse2[0]));
            const float p1 = exp2_approx(fmaf(x[1], call.scale_log2, -lse2[1]));
            p[i / 2][i % 2 * 2 + half] = pack2<T>(p0, p1);
            if (!CAP) {
                x[0] = p0;
                x[1] = p1;
            }
        }
    }
}

/* Where a block's statistics of queries lie in shared memory. */
struct statistics_at {
    uint32_t lse2, delta;
};

/* score_gradients - what probabilities left in s to dS, from dp. */
template <int QUERIES, bool CAP>
DEV void score_gradients(float (&s)[QUERIES / 2], const float (&dp)[QUERIES / 2], float scale_log2,
                         struct statistics_at at) {
#pragma unroll
    for (int i = 0; i < QUERIES / 8; i++) {
        float delta[2], lse2[2];
        load_pair(at.delta, i, delta);
        if (CAP)
            load_pair(at.lse2, i, lse2);
#pragma unroll
        for (int j = 4 * i; j < 4 * i + 4; j++) {
            float p = s[j];
            if (CAP) /* s is the tanh, see cap_gradient */
                p = cap_gradient(exp2_approx(fmaf(s[j], scale_log2, -lse2[j % 2])), s[j]);
            s[j] = p * (dp[j] - delta[j % 2]);
        }
    }
}

/* --- Host side. */

inline struct keys_problem describe_keys_problem(const struct attention_problem &problem,
                                                 const struct attention_statistics &statistics) {
    return {statistics.col_begin, statistics.col_end, problem.num_rows, problem.num_heads,
            problem.num_kv_heads, problem.group,      problem.scale,    problem.scale_log2,
            problem.cap_inverse,  problem.rotation};
}

inline struct keys_maps map_keys(const backward_tensors &t, int num_heads, int queries) {
    const int64_t padded_rows = t.statistics.padded_rows;
    return {map_heads(t.qkv, GROUP_ROWS),
            map_heads(t.qkv, queries),
            map_heads(t.dout, queries),
            map_heads(t.dqkv, GROUP_ROWS),
            map_statistic(t.statistics.lse2, padded_rows, num_heads, queries),
            map_statistic(t.statistics.delta, padded_rows, num_heads, queries)};
}

} // namespace attention_sm90
