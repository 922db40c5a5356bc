/* attention_keys_sm90.cu - flash attention backward on Hopper, first pass: gradients of keys and values.
 *
 * For a tile of keys K and values V of one kv head, over every query head of its group and, from the first (in
 * causal attention on the diagonal) down, every block of queries Q that sees the tile.  All scores stand
 * transposed, keys as rows:
 *
 *     S' = K Q^T          P' = 2^(c S' - lse2)                      c = scale log2(e), lse2 = lse log2(e)
 *     dP' = V dO^T        dS' = P' (dP' - delta)                    delta = rowsum(dO O)
 *     dV += P' dO         dK += dS' Q                               at the end  dK *= scale, turned back
 *                                                                   by its row (attention_rotation.cuh)
 *
 * With a soft-cap, t = tanh(scale S' / cap) stands for S', and dS' gains the factor 1 - t^2.
 * Source: Dao 2023 (FlashAttention-2), algorithm 2, without its product for dQ.
 *
 * Transposed, P' and dS' are where the products for dV and dK need them: in registers, as A operands.  Sums
 * run in one warpgroup's registers over all heads and blocks in a fixed order: same bits every run.
 *
 * Who waits for whom.  A producer thread, and two consumer warpgroups with 64 keys each:
 *
 *     producer   draw tile -> [assignments] ; K V -> [keys] ; for each head and block: Q dO lse2 delta ->
 * [queries] consumer   issue S'(0), dP'(0) ; then for each block j:
 *
 *                wait for S'(j) ; P' = exponentials, rounded ; issue dV += P' dO(j)
 *                wait for dP'(j) ; dS', rounded ; issue dK += dS' Q(j), issue S'(j+1)
 *                wait for dK, release block j ; issue dP'(j+1)
 *
 * So the exponentials run under dP', the next S' and the other warpgroup's products.  dP' is issued only when
 * dK is done, for the sake of registers: until then the rounded dS' live where it will go; S' keeps the
 * tensor cores busy meanwhile. */
#include "kernels/cuda/attention_keys_sm90.cuh"

using namespace attention_sm90;

namespace {

constexpr int GROUPS = 2, THREADS = (GROUPS + 1) * WARPGROUP;
constexpr int KEYS = GROUPS * GROUP_ROWS; /* of a tile */

/* Sizes of one variant: QUERIES a step, STAGES of them in flight, for heads of WIDTH; CAP: soft-cap. */
template <typename T_, int WIDTH_, int QUERIES_, int STAGES_, bool CAP_> struct variant {
    using T = T_;
    static constexpr int WIDTH = WIDTH_, QUERIES = QUERIES_, STAGES = STAGES_;
    static constexpr bool CAP = CAP_;
    static constexpr int PART = PANELS<WIDTH> * GROUP_PANEL_BYTES; /* keys, or values, of one warpgroup */
    static constexpr int TILE_BYTES = 2 * GROUPS * PART;
    static constexpr int QUERY_BYTES = PANELS<WIDTH> * QUERIES * ROW_BYTES, STATISTIC_BYTES = QUERIES * 4;
    /* Places in shared memory: keys, values; stages of Q, dO; staging of results; stages of lse2, delta. */
    static constexpr int VALUES_AT = GROUPS * PART, QUERIES_AT = TILE_BYTES;
    static constexpr int STAGING_AT = QUERIES_AT + 2 * STAGES * QUERY_BYTES;
    static constexpr int STATISTICS_AT = STAGING_AT + GROUPS * PART;
    static constexpr int BARRIERS_AT = STATISTICS_AT + 2 * STAGES * STATISTIC_BYTES;
    static constexpr int BYTES =
        BARRIERS_AT + ring<1>::BARRIER_BYTES + ring<STAGES>::BARRIER_BYTES + assignment_ring::BYTES;
    static_assert(BYTES <= MAX_SHARED_BYTES, "the tiles must fit");
};

struct keys_call {
    tensor_map heads, queries, dout, dqkv, lse2, delta; /* heads: parts of 64 rows; queries: QUERIES rows */
    struct work_list list;
    struct keys_problem problem;
};

/* Addresses in shared memory, the same for both roles. */
template <typename V> struct layout {
    uint32_t start;
    ring<1> keys;
    ring<V::STAGES> queries;
    assignment_ring assignments;

    DEV explicit layout(uint32_t start_)
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

template <typename V>
DEV void load_keys(const keys_call &call, const layout<V> &shared, struct assignment tile) {
    const uint32_t full = shared.keys.full(0);
    const int key_head = call.problem.num_heads + tile.head,
              value_head = key_head + call.problem.num_kv_heads;
    mbarrier_arrive_expect_bytes(full, V::TILE_BYTES);
    for (int part = 0; part < GROUPS; part++) {
        const int row = tile.first_row + part * GROUP_ROWS;
        load_tile<V::WIDTH>(shared.key_part(part), &call.heads, full, GROUP_ROWS, key_head, row);
        load_tile<V::WIDTH>(shared.value_part(part), &call.heads, full, GROUP_ROWS, value_head, row);
    }
}

template <typename V>
DEV void load_queries(const keys_call &call, const layout<V> &shared, int stage, int head, int row) {
    const uint32_t full = shared.queries.full(stage);
    mbarrier_arrive_expect_bytes(full, 2 * (V::QUERY_BYTES + V::STATISTIC_BYTES));
    load_tile<V::WIDTH>(shared.query_tile(stage), &call.queries, full, V::QUERIES, head, row);
    tma_load_2d(shared.lse2(stage), &call.lse2, full, row, head);
    load_tile<V::WIDTH>(shared.dout_tile(stage), &call.dout, full, V::QUERIES, head, row);
    tma_load_2d(shared.delta(stage), &call.delta, full, row, head);
}

template <typename V> DEV void produce(const keys_call &call, const layout<V> &shared) {
    tensor_map_prefetch(&call.heads);
    tensor_map_prefetch(&call.queries);
    tensor_map_prefetch(&call.dout);
    tensor_map_prefetch(&call.dqkv);
    tensor_map_prefetch(&call.lse2);
    tensor_map_prefetch(&call.delta);
    ring_position<V::STAGES> query_at;
#pragma unroll 1
    for (uint32_t count = 0;; count++) {
        const struct assignment tile = draw(call.list);
        shared.assignments.send(count, tile);
        if (!tile.steps)
            return;
        shared.keys.wait_empty(ring_position<1>(count));
        load_keys<V>(call, shared, tile);
#pragma unroll 1
        for (int head = tile.head * call.problem.group; head < (tile.head + 1) * call.problem.group; head++)
#pragma unroll 1
            for (int step = 0; step < tile.steps; step++) {
                shared.queries.wait_empty(query_at);
                load_queries<V>(call, shared, query_at.stage, head, tile.start + step * V::QUERIES);
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

/* One tile, in a warpgroup.  The ring positions go on from tile to tile. */
template <typename V> struct consumer {
    using T = typename V::T;
    const keys_call &call;
    const layout<V> &shared;
    int group;
    ring_position<V::STAGES> query_at;

    float dk[V::WIDTH / 2], dv[V::WIDTH / 2];
    float s[V::QUERIES / 2], dp[V::QUERIES / 2];

    DEV consumer(const keys_call &call_, const layout<V> &shared_, int group_)
        : call(call_), shared(shared_), group(group_) {
    }

    DEV void issue_scores() {
        wgmma_fence();
        product_rows<T, V::QUERIES, V::WIDTH, GROUP_ROWS>(s, shared.key_part(group),
                                                          shared.query_tile(query_at.stage));
    }
    DEV void issue_dp() {
        wgmma_fence();
        product_rows<T, V::QUERIES, V::WIDTH, GROUP_ROWS>(dp, shared.value_part(group),
                                                          shared.dout_tile(query_at.stage));
    }

    DEV void tile(struct assignment work, ring_position<1> key_at) {
        const int first_row = work.first_row + group * GROUP_ROWS,
                  num_blocks = work.steps * call.problem.group;
        const key_rows rows = describe_keys(call.problem, first_row);
        block_walk<V> walk(work.start, work.steps);
        uint32_t p[V::QUERIES / DEPTH][4], ds[V::QUERIES / DEPTH][4];
        shared.keys.wait_full(key_at);
        shared.queries.wait_full(query_at);
        issue_scores();
        issue_dp();
#pragma unroll 1
        for (int block = 0;; block++) {
            wgmma_wait<1>();
            pin(s);
            probabilities<T, V::QUERIES, V::CAP>(p, s, call.problem, rows, walk.row,
                                                 shared.lse2(query_at.stage));
            wgmma_fence();
            product_columns<T, V::WIDTH, V::QUERIES>(dv, p, shared.dout_tile(query_at.stage), block > 0);
            wgmma_wait<1>();
            pin(dp);
            score_gradients<V::QUERIES, V::CAP>(s, dp, call.problem.scale_log2,
                                                {shared.lse2(query_at.stage), shared.delta(query_at.stage)});
            round_fragments<T>(ds, s);
            wgmma_fence();
            product_columns<T, V::WIDTH, V::QUERIES>(dk, ds, shared.query_tile(query_at.stage), block > 0);
            if (block + 1 == num_blocks)
                break;
            const ring_position<V::STAGES> done = query_at;
            query_at.advance();
            walk.advance();
            shared.queries.wait_full(query_at);
            issue_scores();
            wgmma_wait<1>();
            shared.queries.release(done);
            issue_dp();
        }
        wgmma_wait<0>();
        pin(dk);
        pin(dv);
        shared.queries.release(query_at);
        query_at.advance();
        shared.keys.release(key_at);
        store_results(first_row, call.problem.num_heads + work.head);
    }

    DEV void store_results(int first_row, int key_head) {
        const int value_head = key_head + call.problem.num_kv_heads;
        store_tile<T, V::WIDTH>(shared.staging(group), &call.dqkv, dv, group, value_head, first_row);
#pragma unroll
        for (int i = 0; i < V::WIDTH / 2; i++)
            dk[i] *= call.problem.scale;
        if (call.problem.rotation.positions)
            rotate_back<V::WIDTH>(dk, call.problem.rotation, first_row + group_row(), call.problem.num_rows);
        store_tile<T, V::WIDTH>(shared.staging(group), &call.dqkv, dk, group, key_head, first_row);
    }
};

template <typename V> DEV void consume(const keys_call &call, const layout<V> &shared, int group) {
    consumer<V> me(call, shared, group);
    consume_tiles(me, shared.assignments, group);
}

template <typename V>
static __global__ void __launch_bounds__(THREADS, 1)
    attention_keys_sm90(const __grid_constant__ keys_call call) {
    DYN_SHARED(memory);
    const layout<V> shared(shared_address(memory));
    split_roles<GROUPS>(
        [&] {
            shared.keys.init(GROUPS);
            shared.queries.init(GROUPS);
            shared.assignments.barriers.init(GROUPS);
        },
        [&] { produce<V>(call, shared); }, [&](int group) { consume<V>(call, shared, group); });
}

/* --- Host side. */

struct backward_tensors {
    struct tensor dqkv, dout, qkv;
    const struct attention_statistics &statistics;
    struct list_place place;
};

template <typename V> void launch(struct device *dev, const backward_tensors &t, keys_call call) {
    const int64_t padded_rows = t.statistics.padded_rows;
    call.list = make_work_list(dev, t.place,
                               {{nullptr, nullptr, 0, call.problem.num_kv_heads},
                                nullptr,
                                nullptr,
                                call.problem.col_begin,
                                call.problem.col_end,
                                call.problem.num_rows,
                                KEYS,
                                V::QUERIES});
    call.heads = map_heads(t.qkv, GROUP_ROWS);
    call.queries = map_heads(t.qkv, V::QUERIES);
    call.dout = map_heads(t.dout, V::QUERIES);
    call.dqkv = map_heads(t.dqkv, GROUP_ROWS);
    call.lse2 = map_statistic(t.statistics.lse2, padded_rows, call.problem.num_heads, V::QUERIES);
    call.delta = map_statistic(t.statistics.delta, padded_rows, call.problem.num_heads, V::QUERIES);
    LAUNCH(attention_keys_sm90<V>, work_list_blocks(dev, &call.list), THREADS, V::BYTES, cuda_stream(dev),
           call);
}

/* with_variant - use(the variant of that width). */
template <typename T, bool CAP, class Use> void with_variant(int width, Use use) {
    if (width == 64)
        use(variant<T, 64, 96, 3, CAP>());
    else if (width == 80)
        use(variant<T, 80, 64, 3, CAP>());
    else if (width == 96)
        use(variant<T, 96, 64, 3, CAP>());
    else
        use(variant<T, 128, 64, 3, CAP>());
}

template <typename T, bool CAP>
void choose(struct device *dev, const backward_tensors &t, int width, const keys_call &call) {
    with_variant<T, CAP>(width, [&](auto v) { launch<decltype(v)>(dev, t, call); });
}

} // namespace

struct list_shape attention_sm90::keys_list(int head_dim) {
    struct list_shape shape = {0, 0};
    with_variant<bf16_t, false>(head_dim, [&](auto v) { shape = {KEYS, decltype(v)::QUERIES}; });
    return shape;
}

void attention_sm90::keys_backward(struct device *dev, struct tensor dqkv, struct tensor dout,
                                   struct tensor qkv, const struct attention_problem &problem,
                                   const struct attention_statistics &statistics, bool cap,
                                   struct list_place place) {
    const backward_tensors t = {dqkv, dout, qkv, statistics, place};
    keys_call call = {};
    call.problem = describe_keys_problem(problem, statistics);
    if (qkv.dtype == DTYPE_BF16)
        (cap ? choose<bf16_t, true> : choose<bf16_t, false>)(dev, t, problem.head_dim, call);
    else
        (cap ? choose<f16_t, true> : choose<f16_t, false>)(dev, t, problem.head_dim, call);
}
