/* attention_queries_sm90.cu - flash attention backward on Hopper, second pass: gradients of queries.
 *
 * For a tile of queries Q with the gradients dO of its outputs, over the blocks of keys K and values V that
 * it sees, from the diagonal to the left (names as in attention_keys_sm90.cu, but queries as rows):
 *
 *     S = Q K^T     P = 2^(c S - lse2)     dP = dO V^T     dS = P (dP - delta)     dQ += dS K
 *
 * and at the end  dQ *= scale, turned back by its row's position (attention_rotation.cuh).  dS stays in
 * registers as the A operand of the product with K.
 *
 * Who waits for whom.  A producer thread, and two consumer warpgroups with 64 queries each:
 *
 *     producer   draw tile -> [assignments] ; Q dO -> [queries] ; K0 V0 ; K1 V1 ; ...  -> [keys] [values]
 *     consumer   issue S(0), dP(0) ; then for each block j:
 *
 *                wait for S(j) ; P = exponentials
 *                wait for dP(j), release V(j) ; dS, rounded ; issue dQ += dS K(j), issue S(j+1)
 *                wait for dQ, release K(j) ; issue dP(j+1)
 *
 * As in the first pass, dP waits for dQ for the sake of registers, with S(j+1) between to keep the tensor
 * cores busy.  Where two stages of keys and values do not fit, at a width of 256, values have one: V(j+1) lands
 * while the tensor cores work on dQ and S(j+1). */
#include "kernels/cuda/attention_rotation.cuh"
#include "kernels/cuda/attention_sm90.cuh"

using namespace attention_sm90;

namespace {

constexpr int GROUPS = 2, THREADS = (GROUPS + 1) * WARPGROUP;
constexpr int ROWS = GROUPS * GROUP_ROWS; /* queries of a tile */
constexpr int STAGES = 2;                 /* of keys */

/* Sizes of one variant: KEYS a step, for heads of WIDTH; CAP: soft-cap. */
template <typename T_, int WIDTH_, int KEYS_, bool CAP_> struct variant {
    using T = T_;
    static constexpr int WIDTH = WIDTH_, KEYS = KEYS_;
    static constexpr bool CAP = CAP_;
    static constexpr int PART = PANELS<WIDTH> * GROUP_PANEL_BYTES; /* queries, or dO, of one warpgroup */
    static constexpr int TILE_BYTES = 2 * GROUPS * PART, KEY_BYTES = PANELS<WIDTH> * KEYS * ROW_BYTES;
    static constexpr int VALUE_STAGES =
        TILE_BYTES + 2 * STAGES * KEY_BYTES + 1024 <= MAX_SHARED_BYTES ? STAGES : 1;
    /* Places in shared memory: Q, dO; stages of keys, of values; staging of results, of its own where that fits, so that
     * the next queries can land meanwhile, else in the place of the queries. */
    static constexpr int DOUT_AT = GROUPS * PART, KEYS_AT = TILE_BYTES;
    static constexpr int VALUES_AT = KEYS_AT + STAGES * KEY_BYTES;
    static constexpr int TILES_END = VALUES_AT + VALUE_STAGES * KEY_BYTES;
    static constexpr bool OWN_STAGING = TILES_END + GROUPS * PART + 1024 <= MAX_SHARED_BYTES;
    static constexpr int STAGING_AT = OWN_STAGING ? TILES_END : 0;
    static constexpr int BARRIERS_AT = TILES_END + (OWN_STAGING ? GROUPS * PART : 0);
    static constexpr int BYTES = BARRIERS_AT + ring<1>::BARRIER_BYTES + ring<STAGES>::BARRIER_BYTES +
                                 ring<VALUE_STAGES>::BARRIER_BYTES + assignment_ring::BYTES;
    static_assert(BYTES <= MAX_SHARED_BYTES, "the tiles must fit");
};

struct queries_call {
    tensor_map queries, dout, keys, dqkv;
    struct work_list list;
    const int32_t *first_key, *last_key;
    const float *lse2, *delta; /* [H, padded_rows] */
    int64_t padded_rows;
    int num_rows, num_heads, num_kv_heads, group;
    float scale, scale_log2, cap_inverse;
    attention_rotation rotation;
};

/* Addresses in shared memory, the same for both roles. */
template <typename V> struct layout {
    uint32_t start;
    ring<1> queries;
    ring<STAGES> keys;
    ring<V::VALUE_STAGES> values;
    assignment_ring assignments;

    DEV explicit layout(uint32_t start_)
        : start(start_), queries{start_ + V::BARRIERS_AT}, keys{queries.first + ring<1>::BARRIER_BYTES},
          values{keys.first + ring<STAGES>::BARRIER_BYTES},
          assignments(values.first + ring<V::VALUE_STAGES>::BARRIER_BYTES) {
    }
    DEV uint32_t query_part(int part) const {
        return start + (uint32_t)(part * V::PART);
    }
    DEV uint32_t dout_part(int part) const {
        return start + (uint32_t)(V::DOUT_AT + part * V::PART);
    }
    DEV uint32_t staging(int part) const {
        return start + (uint32_t)(V::STAGING_AT + part * V::PART);
    }
    DEV uint32_t key_tile(int stage) const {
        return start + (uint32_t)(V::KEYS_AT + stage * V::KEY_BYTES);
    }
    DEV uint32_t value_tile(int stage) const {
        return start + (uint32_t)(V::VALUES_AT + stage * V::KEY_BYTES);
    }
};

/* values_at - where the values are whose keys are at `at`: one stage turns its phase with every step, as the stage of the
 * keys does. */
template <typename V> DEV ring_position<V::VALUE_STAGES> values_at(ring_position<STAGES> at) {
    ring_position<V::VALUE_STAGES> values;
    values.stage = V::VALUE_STAGES == 1 ? 0 : at.stage;
    values.parity = V::VALUE_STAGES == 1 ? (uint32_t)at.stage : at.parity;
    return values;
}

/* --- The producer. */

template <typename V>
DEV void load_queries(const queries_call &call, const layout<V> &shared, struct assignment tile) {
    const uint32_t full = shared.queries.full(0);
    mbarrier_arrive_expect_bytes(full, V::TILE_BYTES);
    for (int part = 0; part < GROUPS; part++) {
        const int row = tile.first_row + part * GROUP_ROWS;
        load_tile<V::WIDTH>(shared.query_part(part), &call.queries, full, GROUP_ROWS, tile.head, row);
        load_tile<V::WIDTH>(shared.dout_part(part), &call.dout, full, GROUP_ROWS, tile.head, row);
    }
}

template <typename V, int STAGES_OF_IT>
DEV void load_block(const queries_call &call, const ring<STAGES_OF_IT> &ring, ring_position<STAGES_OF_IT> at,
                    uint32_t tile, int head, int first_row) {
    ring.wait_empty(at);
    mbarrier_arrive_expect_bytes(ring.full(at.stage), V::KEY_BYTES);
    load_tile<V::WIDTH>(tile, &call.keys, ring.full(at.stage), V::KEYS, head, first_row);
}

template <typename V> DEV void produce(const queries_call &call, const layout<V> &shared) {
    tensor_map_prefetch(&call.queries);
    tensor_map_prefetch(&call.dout);
    tensor_map_prefetch(&call.keys);
    tensor_map_prefetch(&call.dqkv);
    ring_position<STAGES> at; /* of keys; values go in step */
#pragma unroll 1
    for (uint32_t count = 0;; count++) {
        const struct assignment tile = draw(call.list);
        shared.assignments.send(count, tile);
        if (!tile.steps)
            return;
        shared.queries.wait_empty(ring_position<1>(count));
        load_queries<V>(call, shared, tile);
        const int key_head = call.num_heads + tile.head / call.group,
                  value_head = key_head + call.num_kv_heads;
        int block = tile.start - V::KEYS;
#pragma unroll 1
        for (int step = 0; step < tile.steps; step++, block -= V::KEYS) {
            load_block<V>(call, shared.keys, at, shared.key_tile(at.stage), key_head, block);
            const ring_position<V::VALUE_STAGES> values = values_at<V>(at);
            load_block<V>(call, shared.values, values, shared.value_tile(values.stage), value_head, block);
            at.advance();
        }
    }
}

/* --- The consumers. */

/* A thread's two rows (half 0: row, half 1: row + 8); blocks need the mask when they end past first_end, the last key of
 * the warpgroup's first row, or begin before last_start, the first key of its last row. */
struct query_rows {
    int row, first_key[2], first_end, last_start;
    float lse2[2], delta[2];
};

/* The first key that a row sees; rows past the last see none. */
DEV int keys_begin(const queries_call &call, int row) {
    return row < call.num_rows ? call.first_key[row] : call.num_rows;
}

DEV struct query_rows describe_queries(const queries_call &call, int first_row, int head) {
    query_rows rows;
    rows.row = first_row + group_row();
    rows.first_end = last_key_of(call.last_key, min(first_row, call.num_rows - 1));
    rows.last_start = call.first_key[min(first_row + GROUP_ROWS, call.num_rows) - 1];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = rows.row + 8 * half; /* rows past the last have statistics that make P and dS zero */
        const int64_t at = head * call.padded_rows + row;
        rows.first_key[half] = keys_begin(call, row);
        rows.lse2[half] = call.lse2[at];
        rows.delta[half] = call.delta[at];
    }
    return rows;
}

/* One tile, in a warpgroup.  The ring position goes on from tile to tile. */
template <typename V> struct consumer {
    using T = typename V::T;
    const queries_call &call;
    const layout<V> &shared;
    int group;
    ring_position<STAGES> at; /* of keys; values go in step */

    float s[V::KEYS / 2], dp[V::KEYS / 2], dq[V::WIDTH / 2];

    DEV consumer(const queries_call &call_, const layout<V> &shared_, int group_)
        : call(call_), shared(shared_), group(group_) {
    }

    DEV void issue_scores() {
        wgmma_fence();
        product_rows<T, V::KEYS, V::WIDTH, GROUP_ROWS>(s, shared.query_part(group),
                                                       shared.key_tile(at.stage));
    }
    DEV void issue_dp() {
        const ring_position<V::VALUE_STAGES> values = values_at<V>(at);
        shared.values.wait_full(values);
        wgmma_fence();
        product_rows<T, V::KEYS, V::WIDTH, GROUP_ROWS>(dp, shared.dout_part(group),
                                                       shared.value_tile(values.stage));
    }

    /* Of the row of that half.  Where registers are short, at a width of 256, it is looked up when a mask is needed. */
    DEV int first_key(const query_rows &rows, int half) const {
        return V::WIDTH > 192 ? keys_begin(call, rows.row + 8 * half) : rows.first_key[half];
    }

    /* Scores of the block of keys that begins at `block` to P in place; with a soft-cap, to the tanh. */
    DEV void probabilities(const query_rows &rows, int block) {
        if (V::CAP)
            soft_cap(s, call.cap_inverse);
        if (block + V::KEYS > rows.first_end + 1 || block < rows.last_start) {
            const int low[2] = {first_key(rows, 0) - block, first_key(rows, 1) - block};
            const int high[2] = {keys_end(call.last_key, rows.row, call.num_rows) - block,
                                 keys_end(call.last_key, rows.row + 8, call.num_rows) - block};
            mask_columns<V::KEYS>(s, low, high, -INFINITY);
        }
        if (!V::CAP)
#pragma unroll
            for (int i = 0; i < V::KEYS / 2; i++)
                s[i] = exp2_approx(fmaf(s[i], call.scale_log2, -rows.lse2[i / 2 % 2]));
    }

    DEV float score_gradient(const query_rows &rows, int i) const {
        float p = s[i];
        if (V::CAP)
            p = cap_gradient(exp2_approx(fmaf(p, call.scale_log2, -rows.lse2[i / 2 % 2])), p);
        return p * (dp[i] - rows.delta[i / 2 % 2]);
    }

    DEV void tile(struct assignment work, ring_position<1> query_at) {
        const int first_row = work.first_row + group * GROUP_ROWS;
        const query_rows rows = describe_queries(call, first_row, work.head);
        int block = work.start - V::KEYS;
        uint32_t ds[V::KEYS / DEPTH][4];
        shared.queries.wait_full(query_at);
        shared.keys.wait_full(at);
        issue_scores();
        issue_dp();
#pragma unroll 1
        for (int step = 0;; step++, block -= V::KEYS) {
            wgmma_wait<1>();
            pin(s);
            probabilities(rows, block);
            /* The wait for the next keys stands here on purpose: the branch in it keeps the compiler from
             * moving the wait for dP up before all exponentials.  19 of 64 come after it all the same: ptxas
             * moves them down, past a pin of s, too (kernels/cuda/SASS, column `late`). */
            ring_position<STAGES> next = at;
            next.advance();
            const bool last = step + 1 == work.steps;
            if (!last)
                shared.keys.wait_full(next);
            wgmma_wait<0>();
            pin(dp);
            shared.values.release(values_at<V>(at));
#pragma unroll
            for (int i = 0; i < V::KEYS / 4; i++)
                ds[i / 4][i % 4] = pack2<T>(score_gradient(rows, 2 * i), score_gradient(rows, 2 * i + 1));
            wgmma_fence();
            product_columns<T, V::WIDTH, V::KEYS>(dq, ds, shared.key_tile(at.stage), step > 0);
            if (last)
                break;
            const ring_position<STAGES> done = at;
            at = next;
            issue_scores();
            wgmma_wait<1>();
            shared.keys.release(done);
            issue_dp();
        }
        wgmma_wait<0>();
        pin(dq);
        shared.keys.release(at);
        at.advance();
        if (V::OWN_STAGING)
            shared.queries.release(query_at);
#pragma unroll
        for (int i = 0; i < V::WIDTH / 2; i++)
            dq[i] *= call.scale;
        if (call.rotation.positions)
            rotate_back<V::WIDTH>(dq, call.rotation, rows.row, call.num_rows);
        store_tile<T, V::WIDTH>(shared.staging(group), &call.dqkv, dq, group, work.head, first_row);
        if (!V::OWN_STAGING) {
            staging_wait(group);
            shared.queries.release(query_at);
        }
    }
};

template <typename V> DEV void consume(const queries_call &call, const layout<V> &shared, int group) {
    consumer<V> me(call, shared, group);
    consume_tiles(me, shared.assignments, group);
}

template <typename V>
static __global__ void __launch_bounds__(THREADS, 1)
    attention_queries_sm90(const __grid_constant__ queries_call call) {
    DYN_SHARED(memory);
    const layout<V> shared(shared_address(memory));
    split_roles<GROUPS>(
        [&] {
            shared.queries.init(GROUPS);
            shared.keys.init(GROUPS);
            shared.values.init(GROUPS);
            shared.assignments.barriers.init(GROUPS);
        },
        [&] { produce<V>(call, shared); }, [&](int group) { consume<V>(call, shared, group); });
}

/* --- Host side. */

template <typename V>
void launch(struct device *dev, const backward_tensors &t, struct list_place place, queries_call call) {
    call.list = make_work_list(dev, place,
                               {{nullptr, nullptr, 0, call.num_heads},
                                call.first_key,
                                call.last_key,
                                nullptr,
                                nullptr,
                                call.num_rows,
                                ROWS,
                                V::KEYS});
    call.queries = map_heads(t.qkv, GROUP_ROWS);
    call.dout = map_heads(t.dout, GROUP_ROWS);
    call.keys = map_heads(t.qkv, V::KEYS);
    call.dqkv = map_heads(t.dqkv, GROUP_ROWS);
    LAUNCH(attention_queries_sm90<V>, work_list_blocks(dev, &call.list), THREADS, V::BYTES, cuda_stream(dev),
           call);
}

/* with_variant - use(the variant of that width). */
template <typename T, bool CAP, class Use> void with_variant(int width, Use use) {
    if (width == 64)
        use(variant<T, 64, 128, CAP>());
    else if (width == 80)
        use(variant<T, 80, 128, CAP>());
    else if (width == 96)
        use(variant<T, 96, 128, CAP>());
    else if (width == 128)
        use(variant<T, 128, 128, CAP>());
    else if (width == 192)
        use(variant<T, 192, 64, CAP>());
    else
        use(variant<T, 256, 64, CAP>());
}

template <typename T, bool CAP>
void choose(struct device *dev, const backward_tensors &t, struct list_place place, int width,
            const queries_call &call) {
    with_variant<T, CAP>(width, [&](auto v) { launch<decltype(v)>(dev, t, place, call); });
}

} // namespace

struct list_shape attention_sm90::queries_list(int head_dim) {
    struct list_shape shape = {0, 0};
    with_variant<bf16_t, false>(head_dim, [&](auto v) { shape = {ROWS, decltype(v)::KEYS}; });
    return shape;
}

void attention_sm90::queries_backward(struct device *dev, const struct backward_tensors &tensors,
                                      const struct attention_problem &problem, bool cap,
                                      struct list_place place) {
    const struct attention_statistics &statistics = tensors.statistics;
    queries_call call = {};
    call.first_key = problem.first_key;
    call.last_key = problem.last_key;
    call.lse2 = statistics.lse2;
    call.delta = statistics.delta;
    call.padded_rows = statistics.padded_rows;
    call.num_rows = problem.num_rows;
    call.num_heads = problem.num_heads;
    call.num_kv_heads = problem.num_kv_heads;
    call.group = problem.group;
    call.scale = problem.scale;
    call.scale_log2 = problem.scale_log2;
    call.cap_inverse = problem.cap_inverse;
    call.rotation = problem.rotation;
    if (tensors.qkv.dtype == DTYPE_BF16)
        (cap ? choose<bf16_t, true> : choose<bf16_t, false>)(dev, tensors, place, problem.head_dim, call);
    else
        (cap ? choose<f16_t, true> : choose<f16_t, false>)(dev, tensors, place, problem.head_dim, call);
}
