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
#include "kernels/cuda/attention_keys_pass_sm90.cuh"

using namespace attention_sm90;

namespace {

template <typename T, int WIDTH, int QUERIES, int STAGES, bool CAP>
struct variant : keys_sizes<T, WIDTH, QUERIES, STAGES, CAP, 2, 2> {};

/* One tile, in a warpgroup.  The ring positions go on from tile to tile. */
template <typename V> struct consumer : key_scores<V> {
    using T = typename V::T;
    using scores = key_scores<V>;
    using scores::call, scores::shared, scores::query_at, scores::s, scores::dp;
    int group;
    float dk[V::WIDTH / 2], dv[V::WIDTH / 2];

    DEV consumer(const keys_call &call_, const keys_layout<V> &shared_, int group_)
        : scores(call_, shared_, group_), group(group_) {
    }

    DEV void tile(struct assignment work, ring_position<1> key_at) {
        const int first_row = work.first_row + group * GROUP_ROWS,
                  num_blocks = work.steps * call.problem.group;
        const key_rows rows = describe_keys(call.problem, first_row);
        block_walk<V> walk(work.start, work.steps);
        uint32_t p[V::QUERIES / DEPTH][4], ds[V::QUERIES / DEPTH][4];
        shared.keys.wait_full(key_at);
        shared.queries.wait_full(query_at);
        scores::issue_scores();
        scores::issue_dp();
#pragma unroll 1
        for (int block = 0;; block++) {
            wgmma_wait<1>();
            pin(s);
            scores::make_probabilities(p, rows, walk.row);
            wgmma_fence();
            product_columns<T, V::WIDTH, V::QUERIES>(dv, p, shared.dout_tile(query_at.stage), block > 0);
            wgmma_wait<1>();
            pin(dp);
            scores::make_gradients(ds);
            wgmma_fence();
            product_columns<T, V::WIDTH, V::QUERIES>(dk, ds, shared.query_tile(query_at.stage), block > 0);
            if (block + 1 == num_blocks)
                break;
            scores::go_on(walk);
            scores::issue_dp();
        }
        wgmma_wait<0>();
        pin(dk);
        pin(dv);
        shared.queries.release(query_at);
        query_at.advance();
        shared.keys.release(key_at);
        scores::store_values(dv, shared.staging(group), group, first_row, work.head);
        scores::store_keys(dk, shared.staging(group), group, first_row, work.head);
    }
};

template <typename V> DEV void consume(const keys_call &call, const keys_layout<V> &shared, int group) {
    consumer<V> me(call, shared, group);
    consume_tiles(me, shared.assignments, group);
}

template <typename V>
static __global__ void __launch_bounds__(KEYS_THREADS, 1)
    attention_keys_sm90(const __grid_constant__ keys_call call) {
    DYN_SHARED(memory);
    const keys_layout<V> shared(shared_address(memory));
    split_roles<KEYS_GROUPS>([&] { init_for_keys(shared); }, [&] { produce_for_keys<V>(call, shared); },
                             [&](int group) { consume<V>(call, shared, group); });
}

/* --- Host side. */

template <typename V>
void launch(struct device *dev, const backward_tensors &t, struct list_place place, keys_call call) {
    map_keys_call<V>(dev, t, place, call);
    LAUNCH(attention_keys_sm90<V>, work_list_blocks(dev, &call.list), KEYS_THREADS, V::BYTES,
           cuda_stream(dev), call);
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
void choose(struct device *dev, const backward_tensors &t, struct list_place place, int width,
            const keys_call &call) {
    with_variant<T, CAP>(width, [&](auto v) { launch<decltype(v)>(dev, t, place, call); });
}

} // namespace

struct list_shape attention_sm90::keys_list(int head_dim) {
    struct list_shape shape = {0, 0};
    with_variant<bf16_t, false>(head_dim, [&](auto v) { shape = {decltype(v)::KEYS, decltype(v)::QUERIES}; });
    return shape;
}

void attention_sm90::keys_backward(struct device *dev, const struct backward_tensors &tensors,
                                   const struct attention_problem &problem, bool cap,
                                   struct list_place place) {
    keys_call call = {};
    call.problem = describe_keys_problem(problem, tensors.statistics);
    if (tensors.qkv.dtype == DTYPE_BF16)
        (cap ? choose<bf16_t, true> : choose<bf16_t, false>)(dev, tensors, place, problem.head_dim, call);
    else
        (cap ? choose<f16_t, true> : choose<f16_t, false>)(dev, tensors, place, problem.head_dim, call);
}
