/* attention_keys_wide_sm90.cu - flash attention backward on Hopper, first pass: gradients of keys and values of heads that are
 * wider than 128.
 *
 * Formulas and names are those of attention_keys_sm90.cu.  A warpgroup has registers for one sum of 64 rows of such heads, not
 * for two: a tile is 64 keys, and of the two consumer warpgroups one has their dV, the other their dK. Both compute S':
 *
 *     values    issue S'(0) ; then for each block j:
 *               wait for S'(j) ; P' = exponentials, rounded ; issue dV += P' dO(j), issue S'(j+1)
 *               wait for dV, release block j
 *
 *     keys      issue S'(0), dP'(0) ; then for each block j:
 *               wait for S'(j) ; P' = exponentials
 *               wait for dP'(j) ; dS', rounded ; issue dK += dS' Q(j), issue S'(j+1)
 *               wait for dK, release block j ; issue dP'(j+1)
 *
 * So there are five products where the narrow form has four, and the warpgroups do not wait for each other but through the
 * ring of blocks.  P' through shared memory would save that product, for two barriers a block and 16 KiB that are not there
 * at a width of 256.
 *
 * dV is staged in a place of its own; dK where the values lie, which its warpgroup alone reads. */
#include "kernels/cuda/attention_keys_pass_sm90.cuh"

using namespace attention_sm90;

namespace {

enum role { OF_VALUES, OF_KEYS }; /* of a consumer warpgroup, by its number */

constexpr int STAGES = 2;

template <typename T, int WIDTH, bool CAP> struct variant : keys_sizes<T, WIDTH, 64, STAGES, CAP, 1, 1> {};

/* One tile, in a warpgroup.  The ring positions go on from tile to tile. */
template <typename V> struct values_consumer : key_scores<V> {
    using scores = key_scores<V>;
    using scores::call, scores::shared, scores::query_at, scores::s;
    float dv[V::WIDTH / 2];

    DEV values_consumer(const keys_call &call_, const keys_layout<V> &shared_) : scores(call_, shared_, 0) {
    }

    DEV void tile(struct assignment work, ring_position<1> key_at) {
        const int num_blocks = work.steps * call.problem.group;
        const key_rows rows = describe_keys(call.problem, work.first_row);
        block_walk<V> walk(work.start, work.steps);
        uint32_t p[V::QUERIES / DEPTH][4];
        shared.keys.wait_full(key_at);
        shared.queries.wait_full(query_at);
        scores::issue_scores();
#pragma unroll 1
        for (int block = 0;; block++) {
            wgmma_wait<0>();
            pin(s);
            scores::make_probabilities(p, rows, walk.row);
            wgmma_fence();
            product_columns<typename V::T, V::WIDTH, V::QUERIES>(dv, p, shared.dout_tile(query_at.stage),
                                                                 block > 0);
            if (block + 1 == num_blocks)
                break;
            scores::go_on(walk);
        }
        wgmma_wait<0>();
        pin(dv);
        shared.queries.release(query_at);
        query_at.advance();
        shared.keys.release(key_at);
        scores::store_values(dv, shared.staging(0), OF_VALUES, work.first_row, work.head);
    }
};

template <typename V> struct keys_consumer : key_scores<V> {
    using scores = key_scores<V>;
    using scores::call, scores::shared, scores::query_at, scores::s, scores::dp;
    float dk[V::WIDTH / 2];

    DEV keys_consumer(const keys_call &call_, const keys_layout<V> &shared_) : scores(call_, shared_, 0) {
    }

    DEV void tile(struct assignment work, ring_position<1> key_at) {
        const int num_blocks = work.steps * call.problem.group;
        const key_rows rows = describe_keys(call.problem, work.first_row);
        block_walk<V> walk(work.start, work.steps);
        uint32_t p[V::QUERIES / DEPTH][4]; /* P' itself stays in s */
        uint32_t ds[V::QUERIES / DEPTH][4];
        shared.keys.wait_full(key_at);
        shared.queries.wait_full(query_at);
        scores::issue_scores();
        scores::issue_dp();
#pragma unroll 1
        for (int block = 0;; block++) {
            wgmma_wait<1>();
            pin(s);
            scores::make_probabilities(p, rows, walk.row);
            wgmma_wait<0>();
            pin(dp);
            scores::make_gradients(ds);
            wgmma_fence();
            product_columns<typename V::T, V::WIDTH, V::QUERIES>(dk, ds, shared.query_tile(query_at.stage),
                                                                 block > 0);
            if (block + 1 == num_blocks)
                break;
            scores::go_on(walk);
            scores::issue_dp();
        }
        wgmma_wait<0>();
        pin(dk);
        shared.queries.release(query_at);
        query_at.advance();
        scores::store_keys(dk, shared.value_part(0), OF_KEYS, work.first_row, work.head);
        staging_wait(OF_KEYS);
        shared.keys.release(key_at);
    }
};

template <typename V> DEV void consume(const keys_call &call, const keys_layout<V> &shared, int group) {
    if (group == OF_VALUES) {
        values_consumer<V> me(call, shared);
        consume_tiles(me, shared.assignments, group);
    } else {
        keys_consumer<V> me(call, shared);
        consume_tiles(me, shared.assignments, group);
    }
}

template <typename V>
static __global__ void __launch_bounds__(KEYS_THREADS, 1)
    attention_keys_wide_sm90(const __grid_constant__ keys_call call) {
    DYN_SHARED(memory);
    const keys_layout<V> shared(shared_address(memory));
    split_roles<KEYS_GROUPS>([&] { init_for_keys(shared); }, [&] { produce_for_keys<V>(call, shared); },
                             [&](int group) { consume<V>(call, shared, group); });
}

/* --- Host side. */

template <typename V>
void launch(struct device *dev, const backward_tensors &t, struct list_place place, keys_call call) {
    map_keys_call<V>(dev, t, place, call);
    LAUNCH(attention_keys_wide_sm90<V>, work_list_blocks(dev, &call.list), KEYS_THREADS, V::BYTES,
           cuda_stream(dev), call);
}

template <typename T, bool CAP>
void choose(struct device *dev, const backward_tensors &t, struct list_place place, int width,
            const keys_call &call) {
    (width == 192 ? launch<variant<T, 192, CAP>> : launch<variant<T, 256, CAP>>)(dev, t, place, call);
}

} // namespace

struct list_shape attention_sm90::keys_wide_list() {
    using any = variant<bf16_t, 256, false>;
    return {any::KEYS, any::QUERIES};
}

void attention_sm90::keys_wide_backward(struct device *dev, const struct backward_tensors &tensors,
                                        const struct attention_problem &problem, bool cap,
                                        struct list_place place) {
    keys_call call = {};
    call.problem = describe_keys_problem(problem, tensors.statistics);
    if (tensors.qkv.dtype == DTYPE_BF16)
        (cap ? choose<bf16_t, true> : choose<bf16_t, false>)(dev, tensors, place, problem.head_dim, call);
    else
        (cap ? choose<f16_t, true> : choose<f16_t, false>)(dev, tensors, place, problem.head_dim, call);
}
