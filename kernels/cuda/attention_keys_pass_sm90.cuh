/* attention_keys_pass_sm90.cuh - what the two forms of the first of two backward passes on Hopper share: sizes, the producer, the
 * products that make scores and their gradients, the host's side.  Names and formulas: attention_keys_sm90.cu. */
#pragma once

#include "kernels/cuda/attention_keys_sm90.cuh"

namespace attention_sm90 {

/* Two consumer warpgroups; PARTS of 64 keys in a tile. */
constexpr int KEYS_GROUPS = 2, KEYS_THREADS = (KEYS_GROUPS + 1) * WARPGROUP;

/* Sizes of one variant: QUERIES a step, STAGES of them in flight, for heads of WIDTH; CAP: soft-cap; STAGINGS: places of a
 * part's size where results are staged. */
template <typename T_, int WIDTH_, int QUERIES_, int STAGES_, bool CAP_, int PARTS_, int STAGINGS>
struct keys_sizes {
    using T = T_;
    static constexpr int WIDTH = WIDTH_, QUERIES = QUERIES_, STAGES = STAGES_;
    static constexpr bool CAP = CAP_;
    static constexpr int PARTS = PARTS_, KEYS = PARTS * GROUP_ROWS; /* of a tile */
    static constexpr int PART = PANELS<WIDTH> * GROUP_PANEL_BYTES;  /* 64 keys, or values */
    static constexpr int TILE_BYTES = 2 * PARTS * PART;
    static constexpr int QUERY_BYTES = PANELS<WIDTH> * QUERIES * ROW_BYTES, STATISTIC_BYTES = QUERIES * 4;
    /* Places in shared memory: keys, values; stages of Q, dO; staging of results; stages of lse2, delta. */
    static constexpr int VALUES_AT = PARTS * PART, QUERIES_AT = TILE_BYTES;
    static constexpr int STAGING_AT = QUERIES_AT + 2 * STAGES * QUERY_BYTES;
    static constexpr int STATISTICS_AT = STAGING_AT + STAGINGS * PART;
    static constexpr int BARRIERS_AT = STATISTICS_AT + 2 * STAGES * STATISTIC_BYTES;
    static constexpr int BYTES =
        BARRIERS_AT + ring<1>::BARRIER_BYTES + ring<STAGES>::BARRIER_BYTES + assignment_ring::BYTES;
    static_assert(BYTES <= MAX_SHARED_BYTES, "the tiles must fit");
};

struct keys_call {
    struct keys_maps maps;
    struct work_list list;
    struct keys_problem problem;
};

/* Addresses in shared memory, the same for both roles. */
template <typename V> struct keys_layout {
    uint32_t start;
    ring<1> keys;
    ring<V::STAGES> queries;
    assignment_ring assignments;

    DEV explicit keys_layout(uint32_t start_)
        : start(start_), keys{start_ + V::BARRIERS_AT}, queries{keys.first + ring<1>::BARRIER_BYTES},
          assignments(queries.first + ring<V::STAGES>::BARRIER_BYTES) {
    }
    DEV uint32_t key_part(int part) const {
        return start + (uint32_t)(part * V::PART);
    }
    DEV uint32_t value_part(int part) const {
        return start + (uint32_t)(V::VALUES_AT + part * V::PART);
    }
    DEV uint32_t staging(int part) const {
        return start + (uint32_t)(V::STAGING_AT + part * V::PART);
    }
    DEV uint32_t query_tile(int stage) const {
        return start + (uint32_t)(V::QUERIES_AT + 2 * stage * V::QUERY_BYTES);
    }
    DEV uint32_t dout_tile(int stage) const {
        return query_tile(stage) + V::QUERY_BYTES;
    }
    DEV uint32_t lse2(int stage) const {
        return start + (uint32_t)(V::STATISTICS_AT + 2 * stage * V::STATISTIC_BYTES);
    }
    DEV uint32_t delta(int stage) const {
        return lse2(stage) + V::STATISTIC_BYTES;
    }
};

/* --- The producer. */

template <typename V> DEV void produce_for_keys(const keys_call &call, const keys_layout<V> &shared) {
    prefetch_maps(call.maps);
    ring_position<V::STAGES> query_at;
#pragma unroll 1
    for (uint32_t count = 0;; count++) {
        const struct assignment tile = draw(call.list);
        shared.assignments.send(count, tile);
        if (!tile.steps)
            return;
        shared.keys.wait_empty(ring_position<1>(count));
        load_keys<V::WIDTH, V::PARTS>(call.maps, call.problem, shared, tile);
#pragma unroll 1
        for (int head = tile.head * call.problem.group; head < (tile.head + 1) * call.problem.group; head++)
#pragma unroll 1
            for (int step = 0; step < tile.steps; step++) {
                shared.queries.wait_empty(query_at);
                load_queries<V::WIDTH, V::QUERIES>(call.maps, shared, query_at.stage, head,
                                                   tile.start + step * V::QUERIES);
                query_at.advance();
            }
    }
}

/* --- The consumers. */

/* Where in the tile's list of blocks a warpgroup is: `left` blocks of this head, then the next head's. */
template <typename V> struct block_walk {
    int first, steps, row, left;

    DEV block_walk(int first_row, int steps_)
        : first(first_row), steps(steps_), row(first_row), left(steps_) {
    }
    DEV void advance() {
        row += V::QUERIES;
        if (--left == 0) {
            left = steps;
            row = first;
        }
    }
};

/* What a consumer warpgroup makes of a block of queries for its 64 keys: scores and their gradients. */
template <typename V> struct key_scores {
    using T = typename V::T;
    const keys_call &call;
    const keys_layout<V> &shared;
    int part; /* of the tile's keys */
    ring_position<V::STAGES> query_at;

    float s[V::QUERIES / 2], dp[V::QUERIES / 2];

    DEV key_scores(const keys_call &call_, const keys_layout<V> &shared_, int part_)
        : call(call_), shared(shared_), part(part_) {
    }

    DEV void issue_scores() {
        wgmma_fence();
        product_rows<T, V::QUERIES, V::WIDTH, GROUP_ROWS>(s, shared.key_part(part),
                                                          shared.query_tile(query_at.stage));
    }
    DEV void issue_dp() {
        wgmma_fence();
        product_rows<T, V::QUERIES, V::WIDTH, GROUP_ROWS>(dp, shared.value_part(part),
                                                          shared.dout_tile(query_at.stage));
    }

    /* Scores of the block at query row `row` to P, rounded, in p.  s keeps P; with a soft-cap, the tanh. */
    DEV void make_probabilities(uint32_t (&p)[V::QUERIES / DEPTH][4], const key_rows &rows, int row) {
        probabilities<T, V::QUERIES, V::CAP>(p, s, call.problem, rows, row, shared.lse2(query_at.stage));
    }

    /* dS, rounded, from what is left in s and from dp. */
    DEV void make_gradients(uint32_t (&ds)[V::QUERIES / DEPTH][4]) {
        score_gradients<V::QUERIES, V::CAP>(s, dp, call.problem.scale_log2,
                                            {shared.lse2(query_at.stage), shared.delta(query_at.stage)});
        round_fragments<T>(ds, s);
    }

    /* On to the next block: its scores are issued, the product before them is awaited, and the block that it read let go. */
    DEV void go_on(block_walk<V> &walk) {
        const ring_position<V::STAGES> done = query_at;
        query_at.advance();
        walk.advance();
        shared.queries.wait_full(query_at);
        issue_scores();
        wgmma_wait<1>();
        shared.queries.release(done);
    }

    /* The gradients of the values, or of the keys, through a place of a part's size. */
    DEV void store_values(float (&dv)[V::WIDTH / 2], uint32_t staging, int group, int first_row,
                          int kv_head) {
        store_tile<T, V::WIDTH>(staging, &call.maps.dqkv, dv, group,
                                call.problem.num_heads + call.problem.num_kv_heads + kv_head, first_row);
    }
    DEV void store_keys(float (&dk)[V::WIDTH / 2], uint32_t staging, int group, int first_row, int kv_head) {
#pragma unroll
        for (int i = 0; i < V::WIDTH / 2; i++)
            dk[i] *= call.problem.scale;
        if (call.problem.rotation.positions)
            rotate_back<V::WIDTH>(dk, call.problem.rotation, first_row + group_row(), call.problem.num_rows);
        store_tile<T, V::WIDTH>(staging, &call.maps.dqkv, dk, group, call.problem.num_heads + kv_head,
                                first_row);
    }
};

/* init_for_keys - the barriers of a block. */
template <typename V> DEV void init_for_keys(const keys_layout<V> &shared) {
    shared.keys.init(KEYS_GROUPS);
    shared.queries.init(KEYS_GROUPS);
    shared.assignments.barriers.init(KEYS_GROUPS);
}

/* --- Host side. */

/* map_keys_call - what depends on the variant: list and tensor maps. */
template <typename V>
void map_keys_call(struct device *dev, const backward_tensors &t, struct list_place place, keys_call &call) {
    call.list = make_work_list(dev, place,
                               {{nullptr, nullptr, 0, call.problem.num_kv_heads},
                                nullptr,
                                nullptr,
                                call.problem.col_begin,
                                call.problem.col_end,
                                call.problem.num_rows,
                                V::KEYS,
                                V::QUERIES});
    call.maps = map_keys(t, call.problem.num_heads, V::QUERIES);
}

} // namespace attention_sm90
