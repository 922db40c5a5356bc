/* attention_forward_sm90.cu - flash attention forward with TMA, wgmma and specialised warps.
 *
 * For a tile of query rows Q and its keys and values block after block, from the diagonal to the left:
 *
 *     S = Q K^T            m' = max(m, rowmax S)           f = 2^(c m - c m')          c = scale log2(e)
 *     P = 2^(c S - c m')   l = f l + rowsum P              O = f O + P V               m = m'
 *
 * and at the end  out = O / l,  lse = (c m + log2 l) ln 2.   Source: Dao 2023 (FlashAttention-2), algorithm
 * 1, and Shah et al. 2024 (FlashAttention-3), section 3, for the two overlaps.
 *
 * Who waits for whom.  One block is a producer warpgroup, of which one thread works, and 2 or 3 consumer
 * warpgroups with 64 rows of the tile each.
 *
 *     producer   draw tile -> [assignments] ; Q -> [queries] ; K0 ; K1 V0 ; K2 V1 ; ...  -> [keys] [values]
 *     consumer   S0, softmax, then for each further block j:
 *
 *                turn_wait | issue S(j) = Q K(j)^T, issue O += P V(j-1) | turn_pass
 *                wait for S(j), release K(j) ; softmax of S(j), while the tensor cores work on O
 *                wait for O, release V(j-1) ; P = S(j) rounded ; O = f O
 *
 * So inside a warpgroup the softmax runs under the product with V; and the turns (named barriers, a token
 * handed around) keep the warpgroups out of step, so that the softmax of one runs under both products of the
 * others. P never leaves its registers: accumulators of S, rounded, are the A operand of the product with V.
 *
 * The mask is applied only to blocks that cross the diagonal or some row's first key.  A row without any
 * visible key so far has m = -inf; it then subtracts 0 instead, so that P = 0 and not NaN.  Rows past the
 * last token hold anything: they are not stored. */
#include "kernels/cuda/attention_sm90.cuh"

using namespace attention_sm90;

namespace {

constexpr int STAGES = 2; /* of keys and of values */

/* Sizes of one variant: GROUPS x 64 query rows, KEYS keys a step, heads of WIDTH; CAP: soft-cap. */
template <typename T_, int WIDTH_, int GROUPS_, int KEYS_, bool CAP_> struct variant {
    using T = T_;
    static constexpr int WIDTH = WIDTH_, GROUPS = GROUPS_, KEYS = KEYS_;
    static constexpr bool CAP = CAP_;
    static constexpr int ROWS = GROUPS * GROUP_ROWS, THREADS = (GROUPS + 1) * WARPGROUP;
    /* Bytes of a warpgroup's part of the queries, of all, and of a stage of keys or values. */
    static constexpr int PART = PANELS<WIDTH> * GROUP_PANEL_BYTES;
    static constexpr int QUERY_BYTES = GROUPS * PART, KEY_BYTES = PANELS<WIDTH> * KEYS * ROW_BYTES;
    /* Results are staged in memory of their own, so that the next queries can land meanwhile; where that does
     * not fit, in the place of the queries. */
    static constexpr bool OWN_STAGING = 2 * QUERY_BYTES + 2 * STAGES * KEY_BYTES + 1024 <= MAX_SHARED_BYTES;
    /* Places in shared memory. */
    static constexpr int KEYS_AT = QUERY_BYTES, VALUES_AT = KEYS_AT + STAGES * KEY_BYTES;
    static constexpr int TILES_END = VALUES_AT + STAGES * KEY_BYTES;
    static constexpr int STAGING_AT = OWN_STAGING ? TILES_END : 0;
    static constexpr int BARRIERS_AT = TILES_END + (OWN_STAGING ? QUERY_BYTES : 0);
    static constexpr int BYTES =
        BARRIERS_AT + ring<1>::BARRIER_BYTES + 2 * ring<STAGES>::BARRIER_BYTES + assignment_ring::BYTES;
    static_assert(BYTES <= MAX_SHARED_BYTES, "the tiles must fit");
};

struct forward_call {
    tensor_map queries, keys, out;
    struct work_list list;
    const int32_t *first_key, *last_key;
    float *lse;
    int num_rows, num_heads, num_kv_heads, group;
    float scale_log2, cap_inverse;
};

/* Addresses in shared memory, the same for both roles. */
template <typename V> struct layout {
    uint32_t start;
    ring<1> queries;
    ring<STAGES> keys, values;
    assignment_ring assignments;

    DEV explicit layout(uint32_t start_)
        : start(start_), queries{start_ + V::BARRIERS_AT}, keys{queries.first + ring<1>::BARRIER_BYTES},
          values{keys.first + ring<STAGES>::BARRIER_BYTES},
          assignments(values.first + ring<STAGES>::BARRIER_BYTES) {
    }
    DEV uint32_t query_part(int part) const {
        return start + (uint32_t)(part * V::PART);
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

/* --- The producer. */

template <typename V>
DEV void load_block(const forward_call &call, const ring<STAGES> &ring, ring_position<STAGES> &at,
                    uint32_t tile, int head, int first_row) {
    ring.wait_empty(at);
    mbarrier_arrive_expect_bytes(ring.full(at.stage), V::KEY_BYTES);
    load_tile<V::WIDTH>(tile, &call.keys, ring.full(at.stage), V::KEYS, head, first_row);
    at.advance();
}

template <typename V> DEV void produce(const forward_call &call, const layout<V> &shared) {
    tensor_map_prefetch(&call.queries);
    tensor_map_prefetch(&call.keys);
    tensor_map_prefetch(&call.out);
    ring_position<STAGES> key_at, value_at;
#pragma unroll 1
    for (uint32_t count = 0;; count++) {
        const struct assignment tile = draw(call.list);
        shared.assignments.send(count, tile);
        if (!tile.steps)
            return;
        shared.queries.wait_empty(ring_position<1>(count));
        mbarrier_arrive_expect_bytes(shared.queries.full(0), V::QUERY_BYTES);
        for (int part = 0; part < V::GROUPS; part++)
            load_tile<V::WIDTH>(shared.query_part(part), &call.queries, shared.queries.full(0), GROUP_ROWS,
                                tile.head, tile.first_row + part * GROUP_ROWS);
        const int key_head = call.num_heads + tile.head / call.group,
                  value_head = key_head + call.num_kv_heads;
        int block = tile.start;
#pragma unroll 1
        for (int step = 0; step <= tile.steps; step++, block -= V::KEYS) { /* in the order of release */
            if (step < tile.steps)
                load_block<V>(call, shared.keys, key_at, shared.key_tile(key_at.stage), key_head,
                              block - V::KEYS);
            if (step > 0)
                load_block<V>(call, shared.values, value_at, shared.value_tile(value_at.stage), value_head,
                              block);
        }
    }
}

/* --- The consumers. */

template <typename V> DEV void turn_wait(int group) {
    named_barrier(TURN_BARRIER + group, 2 * WARPGROUP);
}
template <typename V> DEV void turn_pass(int group) {
    named_barrier_arrive(TURN_BARRIER + (group + 1 < V::GROUPS ? group + 1 : 0), 2 * WARPGROUP);
}

/* A thread's two rows (half 0: row, half 1: row + 8) and the running state of their softmax.  `sum` covers
 * this thread's columns only; four threads share a row and add up at the end. */
struct softmax_rows {
    int row, first_key[2];
    float maximum[2], sum[2];
};

/* Which blocks of keys need the mask: those that end past first_end, the last key of the warpgroup's first row, or
 * begin before last_start, the first key of its last row. */
struct mask_bounds {
    int first_end, last_start;
};

DEV struct mask_bounds describe_rows(softmax_rows &rows, const forward_call &call, int first_row) {
    rows.row = first_row + group_row();
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = rows.row + 8 * half;
        rows.first_key[half] = row < call.num_rows ? call.first_key[row] : call.num_rows;
        rows.maximum[half] = -INFINITY;
        rows.sum[half] = 0;
    }
    return {last_key_of(call.last_key, min(first_row, call.num_rows - 1)),
            call.first_key[min(first_row + GROUP_ROWS, call.num_rows) - 1]};
}

/* Scores to exponentials in place; factor: what the older sums and outputs shrink by. */
template <typename V>
DEV void softmax_step(float (&s)[V::KEYS / 2], softmax_rows &rows, float (&factor)[2], float scale_log2) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float maximum = rows.maximum[half];
#pragma unroll
        for (int i = 2 * half; i < V::KEYS / 2; i += 4)
            maximum = fmaxf(maximum, fmaxf(s[i], s[i + 1]));
        maximum = fmaxf(maximum, shfl_xor(maximum, 1));
        maximum = fmaxf(maximum, shfl_xor(maximum, 2));
        const float shift = maximum == -INFINITY ? 0.0f : maximum * scale_log2;
        factor[half] = exp2_approx(fmaf(rows.maximum[half], scale_log2, -shift));
        rows.maximum[half] = maximum;
        float sum = rows.sum[half] * factor[half];
#pragma unroll
        for (int i = 2 * half; i < V::KEYS / 2; i += 4) {
            s[i] = exp2_approx(fmaf(s[i], scale_log2, -shift));
            s[i + 1] = exp2_approx(fmaf(s[i + 1], scale_log2, -shift));
            sum += s[i] + s[i + 1];
        }
        rows.sum[half] = sum;
    }
}

/* From raw scores of the block of keys that begins at `block` to exponentials. */
template <typename V>
DEV void scores_step(float (&s)[V::KEYS / 2], softmax_rows &rows, float (&factor)[2],
                     const forward_call &call, struct mask_bounds bounds, int block) {
    if (V::CAP)
        soft_cap(s, call.cap_inverse);
    if (block + V::KEYS > bounds.first_end + 1 || block < bounds.last_start) {
        const int low[2] = {rows.first_key[0] - block, rows.first_key[1] - block};
        const int high[2] = {keys_end(call.last_key, rows.row, call.num_rows) - block,
                             keys_end(call.last_key, rows.row + 8, call.num_rows) - block};
        mask_columns<V::KEYS>(s, low, high, -INFINITY);
    }
    softmax_step<V>(s, rows, factor, call.scale_log2);
}

template <int COUNT> DEV void scale_rows(float (&acc)[COUNT], const float (&factor)[2]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        acc[i] *= factor[i / 2 % 2];
}

/* The last step: 1 / l into factor, lse to memory. */
DEV void finish_rows(const softmax_rows &rows, float (&factor)[2], const forward_call &call, int head) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = rows.sum[half] + shfl_xor(rows.sum[half], 1);
        sum += shfl_xor(sum, 2);
        factor[half] = reciprocal_approx(sum);
        const int row = rows.row + 8 * half;
        if (lane_column() == 0 && row < call.num_rows)
            call.lse[(int64_t)row * call.num_heads + head] =
                fmaf(rows.maximum[half], call.scale_log2 * ATTENTION_LN2, logf(sum));
    }
}

/* One tile, in a warpgroup.  The ring positions go on from tile to tile. */
template <typename V> struct consumer {
    using T = typename V::T;
    const forward_call &call;
    const layout<V> &shared;
    int group;
    ring_position<STAGES> key_at, value_at;

    float s[V::KEYS / 2], o[V::WIDTH / 2];
    uint32_t p[V::KEYS / DEPTH][4];

    DEV consumer(const forward_call &call_, const layout<V> &shared_, int group_)
        : call(call_), shared(shared_), group(group_) {
    }

    DEV void issue_scores() {
        wgmma_fence();
        product_rows<T, V::KEYS, V::WIDTH, GROUP_ROWS>(s, shared.query_part(group),
                                                       shared.key_tile(key_at.stage));
    }
    DEV void issue_output(bool accumulate) {
        wgmma_fence();
        product_columns<T, V::WIDTH, V::KEYS>(o, p, shared.value_tile(value_at.stage), accumulate);
    }
    DEV void finish_scores() {
        pin(s);
        shared.keys.release(key_at);
        key_at.advance();
    }

    DEV void tile(struct assignment work, ring_position<1> query_at) {
        const int first_row = work.first_row + group * GROUP_ROWS;
        int block = work.start - V::KEYS;
        softmax_rows rows;
        float factor[2];
        const struct mask_bounds bounds = describe_rows(rows, call, first_row);
        shared.queries.wait_full(query_at);
        shared.keys.wait_full(key_at);
        issue_scores();
        wgmma_wait<0>();
        finish_scores();
        scores_step<V>(s, rows, factor, call, bounds, block);
        round_fragments<T>(p, s);
        shared.values.wait_full(value_at);
#pragma unroll 1
        for (int step = 1; step < work.steps; step++) {
            shared.keys.wait_full(key_at);
            turn_wait<V>(group);
            issue_scores();
            issue_output(step > 1);
            turn_pass<V>(group);
            wgmma_wait<1>();
            finish_scores();
            block -= V::KEYS;
            scores_step<V>(s, rows, factor, call, bounds, block);
            /* The wait for the next values stands here on purpose: the branch in it keeps the compiler from
             * moving the wait for O, below, up before the exponentials. */
            const ring_position<STAGES> done = value_at;
            value_at.advance();
            shared.values.wait_full(value_at);
            wgmma_wait<0>();
            pin(o);
            shared.values.release(done);
            round_fragments<T>(p, s);
            scale_rows(o, factor);
        }
        if (V::OWN_STAGING)
            shared.queries.release(query_at);
        issue_output(work.steps > 1);
        wgmma_wait<0>();
        pin(o);
        shared.values.release(value_at);
        value_at.advance();
        finish_rows(rows, factor, call, work.head);
        scale_rows(o, factor);
        store_tile<T, V::WIDTH>(shared.staging(group), &call.out, o, group, work.head, first_row);
        if (!V::OWN_STAGING) {
            staging_wait(group);
            shared.queries.release(query_at);
        }
    }
};

template <typename V> DEV void consume(const forward_call &call, const layout<V> &shared, int group) {
    consumer<V> me(call, shared, group);
    if (group == V::GROUPS - 1)
        turn_pass<V>(group); /* the first turn is warpgroup 0's */
    consume_tiles(me, shared.assignments, group);
    if (group == 0)
        turn_wait<V>(group); /* the token that is left */
}

template <typename V>
static __global__ void __launch_bounds__(V::THREADS, 1)
    attention_forward_sm90(const __grid_constant__ forward_call call) {
    DYN_SHARED(memory);
    const layout<V> shared(shared_address(memory));
    split_roles<V::GROUPS>(
        [&] {
            shared.queries.init(V::GROUPS);
            shared.keys.init(V::GROUPS);
            shared.values.init(V::GROUPS);
            shared.assignments.barriers.init(V::GROUPS);
        },
        [&] { produce<V>(call, shared); }, [&](int group) { consume<V>(call, shared, group); });
}

/* --- Host side. */

struct forward_tensors {
    struct tensor out, qkv;
    struct list_place place;
};

template <typename V> void launch(struct device *dev, const forward_tensors &t, forward_call call) {
    call.list = make_work_list(dev, t.place,
                               {{nullptr, nullptr, 0, call.num_heads},
                                call.first_key,
                                call.last_key,
                                nullptr,
                                nullptr,
                                call.num_rows,
                                V::ROWS,
                                V::KEYS});
    call.queries = map_heads(t.qkv, GROUP_ROWS);
    call.keys = map_heads(t.qkv, V::KEYS);
    call.out = map_heads(t.out, GROUP_ROWS);
    LAUNCH(attention_forward_sm90<V>, work_list_blocks(dev, &call.list), V::THREADS, V::BYTES,
           cuda_stream(dev), call);
}

/* with_variant - use(the variant of that width); false: there is none. */
template <typename T, bool CAP, class Use> bool with_variant(int width, Use use) {
    switch (width) {
    case 64:
        use(variant < T, 64, CAP ? 2 : 3, 128, CAP > ());
        return true;
    case 80:
        use(variant<T, 80, 2, 128, CAP>());
        return true;
    case 96:
        use(variant<T, 96, 2, 128, CAP>());
        return true;
    case 128:
        use(variant<T, 128, 2, 128, CAP>());
        return true;
    case 192:
        use(variant<T, 192, 2, 96, CAP>());
        return true;
    case 256:
        use(variant < T, 256, 2, CAP ? 64 : 80, CAP > ());
        return true;
    default:
        return false;
    }
}

template <typename T, bool CAP>
bool choose(struct device *dev, const forward_tensors &t, int width, const forward_call &call) {
    return with_variant<T, CAP>(width, [&](auto v) { launch<decltype(v)>(dev, t, call); });
}

template <bool CAP> struct list_shape shape_of(int width) {
    struct list_shape shape = {0, 0};
    with_variant<bf16_t, CAP>(width, [&](auto v) { shape = {decltype(v)::ROWS, decltype(v)::KEYS}; });
    return shape;
}

} // namespace

struct list_shape attention_sm90::forward_list(int head_dim, bool cap) {
    return cap ? shape_of<true>(head_dim) : shape_of<false>(head_dim);
}

bool cuda_attention_sm90_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                                 const struct attention_mask *mask, const struct attention_args *args) {
    if (!applies(dev, qkv, out, args))
        return false;
    const struct attention_problem problem = attention_describe(qkv, mask, args);
    forward_call call = {};
    call.first_key = problem.first_key;
    call.last_key = problem.last_key;
    call.lse = (float *)lse.data;
    call.num_rows = problem.num_rows;
    call.num_heads = problem.num_heads;
    call.num_kv_heads = problem.num_kv_heads;
    call.group = problem.group;
    call.scale_log2 = problem.scale_log2;
    call.cap_inverse = problem.cap_inverse;
    const bool cap = args->softcap > 0, is_planned = attention_is_planned(mask, args);
    void *memory = is_planned ? attention_parts_of(mask).lists[FORWARD_LIST]
                              : cuda_scratch(dev, attention_sm90_list_bytes(call.num_rows));
    const forward_tensors t = {out, qkv, {memory, is_planned}};
    if (qkv.dtype == DTYPE_BF16)
        return cap ? choose<bf16_t, true>(dev, t, args->head_dim, call)
                   : choose<bf16_t, false>(dev, t, args->head_dim, call);
    return cap ? choose<f16_t, true>(dev, t, args->head_dim, call)
               : choose<f16_t, false>(dev, t, args->head_dim, call);
}
