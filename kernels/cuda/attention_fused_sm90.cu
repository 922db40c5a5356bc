/* attention_fused_sm90.cu - flash attention backward on Hopper in one pass: all gradients, for heads of 128.
 *
 * As the first of two passes (attention_keys_sm90.cu: names, transposed scores), over tiles of 128 keys and, for each,
 * the blocks of 64 queries that see it, with a fifth product for the gradient of the queries:
 *
 *     dQ(block) += dS K        over all tiles of keys that the block sees; at the end  dQ *= scale, turned back
 *
 * Every tile of keys has a share of the sum of a block of queries, and the tiles are computed by blocks of threads that
 * know nothing of each other.  The sum stands in f32 in global memory, and a counter for each block of queries and head
 * says whose turn it is: tiles add in the order of their keys, whoever is ready first.  So each sum has one order, and
 * the same bits every run; the first tile stores its share, so that nothing has to be cleared.
 *
 * Why nobody waits for ever.  Blocks draw tiles in the order of their keys, heads fastest, and work on them in the order
 * of their draws; a tile waits only for tiles of the same head with smaller keys, which were drawn before it.  Take the
 * first tile in the order of draws that is not finished: whoever drew it has finished all that it drew before, and all
 * that it could wait for is finished.  This needs no other block to be resident: one multiprocessor is enough.
 *
 * Why few wait at all.  Blocks of queries are visited from the last to the first, for each all heads of the group: so
 * tiles that run at the same time meet at the blocks that all of them have, and a tile with smaller keys, which has more
 * of them, falls back behind nobody.  In causal attention from the first to the last, tiles that begin together would
 * each wait for the blocks that only the ones before it have.
 *
 * Who waits for whom.  A producer thread, two storing warps, two consumer warpgroups with 64 keys each:
 *
 *     producer   draw tile -> [assignments] ; K V -> [keys] ; for each block and head: Q dO lse2 delta -> [queries]
 *     consumer   issue S'(0), dP'(0) ; then for each block j:
 *
 *                wait for S'(j) ; P' = exponentials, rounded ; issue dV += P' dO(j)
 *                wait for dP'(j) ; dS', rounded, in registers and to shared memory ; meet the other warpgroup
 *                issue dK += dS' Q(j), dQ(j) = dS K, issue S'(j+1)
 *                wait for dQ(j), release block j ; dQ(j) -> [sums] ; issue dP'(j+1)
 *
 *     storing    of every other block: wait for [sums], for its turn ; add ; when it is written, the next one's turn
 *
 * For dQ a warpgroup takes 64 of the 128 columns and the keys of both.  It lies where dP' was: dP'(j+1) waits for its
 * way to shared memory.  The rounded dS' have two places, so that one meeting a block is enough: who writes to a place
 * again has met the other warpgroup since that waited for the product which read it. */
#include "kernels/cuda/attention_fused_sm90.cuh"

using namespace attention_sm90;

namespace {

constexpr int GROUPS = FUSED_GROUPS, THREADS = (GROUPS + 1) * WARPGROUP;
constexpr int WIDTH = FUSED_WIDTH, KEYS = FUSED_KEYS, QUERIES = FUSED_QUERIES, COLUMNS = FUSED_COLUMNS;
constexpr int STAGES =
    2; /* of Q and dO, of rounded dS' and of dQ: a block advances all, one position serves */
constexpr int EXCHANGE_BARRIER = 2; /* both warpgroups */

/* Sizes and places in shared memory: keys, values; stages of Q, dO; dS'; dQ; stages of lse2, delta.  When the last
 * product has read dS', the results go where it was. */
constexpr int PART = PANELS<WIDTH> * GROUP_PANEL_BYTES, TILE_BYTES = 2 * GROUPS * PART;
constexpr int QUERY_BYTES = PANELS<WIDTH> * QUERIES * ROW_BYTES, STATISTIC_BYTES = QUERIES * 4;
constexpr int SCORE_BYTES = KEYS * QUERIES * 2, SUM_BYTES = FUSED_SUM * 4, SUM_PART = SUM_BYTES / GROUPS;
constexpr int VALUES_AT = GROUPS * PART, QUERIES_AT = TILE_BYTES;
constexpr int SCORES_AT = QUERIES_AT + 2 * STAGES * QUERY_BYTES;
constexpr int SUMS_AT = SCORES_AT + STAGES * SCORE_BYTES;
constexpr int STATISTICS_AT = SUMS_AT + STAGES * SUM_BYTES;
constexpr int BARRIERS_AT = STATISTICS_AT + 2 * STAGES * STATISTIC_BYTES;
constexpr int BYTES = BARRIERS_AT + ring<1>::BARRIER_BYTES + ring<STAGES>::BARRIER_BYTES +
                      ring<STAGES>::BARRIER_BYTES + assignment_ring::BYTES;
static_assert(BYTES <= MAX_SHARED_BYTES, "the tiles must fit");
static_assert(PART == SCORE_BYTES && COLUMNS == PANEL,
              "results fit where dS' was, a panel of K is a warpgroup's");

struct fused_call {
    struct keys_maps maps;
    struct work_list list;
    struct keys_problem problem;
    struct query_sums sums;
};

/* Addresses in shared memory, the same for all roles. */
struct layout {
    uint32_t start;
    ring<1> keys;
    ring<STAGES> queries;
    ring<STAGES> sums; /* filled by the consumers, emptied by the storing warps */
    assignment_ring assignments;

    DEV explicit layout(uint32_t start_)
        : start(start_), keys{start_ + BARRIERS_AT}, queries{keys.first + ring<1>::BARRIER_BYTES},
          sums{queries.first + ring<STAGES>::BARRIER_BYTES},
          assignments(sums.first + ring<STAGES>::BARRIER_BYTES) {
    }
    DEV uint32_t key_part(int part) const {
        return start + (uint32_t)(part * PART);
    }
    DEV uint32_t value_part(int part) const {
        return start + (uint32_t)(VALUES_AT + part * PART);
    }
    DEV uint32_t query_tile(int stage) const {
        return start + (uint32_t)(QUERIES_AT + 2 * stage * QUERY_BYTES);
    }
    DEV uint32_t dout_tile(int stage) const {
        return query_tile(stage) + QUERY_BYTES;
    }
    DEV uint32_t scores(int stage) const { /* dS', and at the end the results of warpgroup `stage` */
        return start + (uint32_t)(SCORES_AT + stage * SCORE_BYTES);
    }
    DEV uint32_t sum(int stage) const {
        return start + (uint32_t)(SUMS_AT + stage * SUM_BYTES);
    }
    DEV uint32_t lse2(int stage) const {
        return start + (uint32_t)(STATISTICS_AT + 2 * stage * STATISTIC_BYTES);
    }
    DEV uint32_t delta(int stage) const {
        return lse2(stage) + STATISTIC_BYTES;
    }

    DEV void init() const {
        keys.init(GROUPS);
        queries.init(GROUPS);
        for (int stage = 0; stage < STAGES; stage++) {
            mbarrier_init(sums.full(stage), GROUPS * WARPS);
            mbarrier_init(sums.empty(stage), 1);
        }
        for (int stage = 0; stage < ASSIGNMENT_STAGES; stage++) {
            mbarrier_init(assignments.barriers.full(stage), 1);
            mbarrier_init(assignments.barriers.empty(stage), GROUPS * WARPS + STAGES);
        }
    }
};

/* Where in a tile's blocks of queries a role is: from the last to the first, for each all heads of the group. */
struct block_walk {
    int row, head, first_head, last_head;

    DEV block_walk(const keys_problem &problem, const assignment &tile)
        : row(tile.start + (tile.steps - 1) * QUERIES), head(tile.head * problem.group), first_head(head),
          last_head(head + problem.group - 1) {
    }
    DEV void advance() {
        if (head++ == last_head) {
            head = first_head;
            row -= QUERIES;
        }
    }
};

/* --- The producer. */

DEV void produce(const fused_call &call, const layout &shared) {
    prefetch_maps(call.maps);
    ring_position<STAGES> query_at;
#pragma unroll 1
    for (uint32_t count = 0;; count++) {
        const struct assignment tile = draw(call.list);
        shared.assignments.send(count, tile);
        if (!tile.steps)
            return;
        shared.keys.wait_empty(ring_position<1>(count));
        load_keys<WIDTH, GROUPS>(call.maps, call.problem, shared, tile);
        block_walk walk(call.problem, tile);
#pragma unroll 1
        for (int left = tile.steps * call.problem.group; left; left--, walk.advance()) {
            shared.queries.wait_empty(query_at);
            load_queries<WIDTH, QUERIES>(call.maps, shared, query_at.stage, walk.head, walk.row);
            query_at.advance();
        }
    }
}

/* --- The storing warps. */

/* Adds a tile's share, which lies in shared memory, when it is its turn, and gives the turn to the next tile; by one
 * thread.  `at`: the block of queries of a head; empty: who waits for the shared memory. */
DEV void add_share(const query_sums &sums, uint32_t share, int at, uint32_t turn, uint32_t empty) {
    uint32_t *turns = sums.turns + at;
    float *values = sums.values + (int64_t)at * FUSED_SUM;
    while (counter_load(turns) != turn) {
    }
    fence_async_global(); /* what others' bulk stores wrote is there for this one */
    if (turn == 0)
        bulk_store(values, share, SUM_BYTES);
    else
        bulk_add_f32(values, share, SUM_BYTES);
    tma_store_commit();
    tma_store_wait_read<0>();
    mbarrier_arrive(empty);
    tma_store_wait<0>();
    counter_store(turns, turn + 1);
}

/* Warp `mine` of the STAGES storing ones has the blocks of that stage. */
DEV void store_sums(const fused_call &call, const layout &shared, int mine) {
    uint32_t uses = 0; /* of all stages */
#pragma unroll 1
    for (uint32_t count = 0;; count++) {
        const struct assignment tile = shared.assignments.receive(count);
        if (!tile.steps)
            return;
        const int first_block = tile.start / QUERIES;
#pragma unroll 1
        for (int block = first_block + tile.steps - 1; block >= first_block; block--)
#pragma unroll 1
            for (int head = 0; head < call.problem.group; head++, uses++) {
                const ring_position<STAGES> at(uses);
                if (at.stage != mine || lane_index())
                    continue;
                shared.sums.wait_full(at);
                add_share(call.sums, shared.sum(mine),
                          (tile.head * call.problem.group + head) * call.sums.num_blocks + block,
                          (uint32_t)(tile.first_row / KEYS - call.sums.first_tiles[block]),
                          shared.sums.empty(mine));
            }
    }
}

/* --- The consumers. */

/* dS', rounded, of this warpgroup's keys (rows) to shared memory: 128 rows of QUERIES, swizzled. */
template <int STEPS> DEV void store_scores(uint32_t to, const uint32_t (&ds)[STEPS][4], int group) {
    const int swizzle = lane_index() / 4; /* row modulo 8 */
    const uint32_t row = to + (uint32_t)((group * GROUP_ROWS + group_row()) * ROW_BYTES + lane_column() * 2);
#pragma unroll
    for (int i = 0; i < QUERIES / 8; i++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            shared_store4(row + (uint32_t)(half * 8 * ROW_BYTES + (i ^ swizzle) * 16),
                          ds[i / 2][i % 2 * 2 + half]);
}

/* dq[64 queries, COLUMNS] = dS K over all keys of the tile: dS' lies with keys as rows, K too, so both operands are
 * read transposed. */
template <typename T>
DEV void product_queries(float (&dq)[COLUMNS / 2], uint32_t scores, const layout &shared, int group) {
    const uint64_t from_scores = matrix_descriptor(scores, 16, ATOM_BYTES, ROW_BYTES);
    const uint64_t from_keys = matrix_descriptor(shared.key_part(0) + (uint32_t)(group * GROUP_PANEL_BYTES),
                                                 16, ATOM_BYTES, ROW_BYTES);
#pragma unroll
    for (int k = 0; k < KEYS; k += DEPTH)
        wgmma<COLUMNS, T, true, true>(
            dq, descriptor_move(from_scores, k * ROW_BYTES),
            descriptor_move(from_keys, k / GROUP_ROWS * PART + k % GROUP_ROWS * ROW_BYTES), k > 0);
    wgmma_commit();
}

/* One tile, in a warpgroup.  The ring positions go on from tile to tile. */
template <typename T, bool CAP> struct consumer {
    const fused_call &call;
    const layout &shared;
    int group;
    ring_position<STAGES> query_at;

    float dk[WIDTH / 2], dv[WIDTH / 2];
    float s[QUERIES / 2], dp[QUERIES / 2]; /* dp: dQ, too */

    DEV consumer(const fused_call &call_, const layout &shared_, int group_)
        : call(call_), shared(shared_), group(group_) {
    }

    DEV void issue_scores() {
        wgmma_fence();
        product_rows<T, QUERIES, WIDTH, GROUP_ROWS>(s, shared.key_part(group),
                                                    shared.query_tile(query_at.stage));
    }
    DEV void issue_dp() {
        wgmma_fence();
        product_rows<T, QUERIES, WIDTH, GROUP_ROWS>(dp, shared.value_part(group),
                                                    shared.dout_tile(query_at.stage));
    }

    /* dV += P' dO, then, when dS' of both warpgroups is in shared memory, dQ = dS K and dK += dS' Q.  dV is issued no
     * earlier, under the work on dS', for the sake of registers: P' and dS' would both stand in some of their own. */
    DEV void issue_gradients(const uint32_t (&p)[QUERIES / DEPTH][4],
                             const uint32_t (&ds)[QUERIES / DEPTH][4], bool accumulate) {
        wgmma_fence();
        product_columns<T, WIDTH, QUERIES>(dv, p, shared.dout_tile(query_at.stage), accumulate);
        store_scores(shared.scores(query_at.stage), ds, group);
        fence_async_shared();
        named_barrier(EXCHANGE_BARRIER, GROUPS * WARPGROUP);
        wgmma_fence();
        product_queries<T>(dp, shared.scores(query_at.stage), shared, group);
        wgmma_fence();
        product_columns<T, WIDTH, QUERIES>(dk, ds, shared.query_tile(query_at.stage), accumulate);
    }

    /* dQ, which has come to dp, on its way. */
    DEV void send_sum() {
        pin(dp);
        const uint32_t to = shared.sum(query_at.stage) + (uint32_t)(group * SUM_PART);
#pragma unroll
        for (int i = 0; i < QUERIES * COLUMNS / WARPGROUP / 4; i++)
            shared_store16(to + (uint32_t)(4 * sum_chunk((int)threadIdx.x % WARPGROUP, i)),
                           {{float_bits(dp[4 * i]), float_bits(dp[4 * i + 1]), float_bits(dp[4 * i + 2]),
                             float_bits(dp[4 * i + 3])}});
        fence_async_shared();
        warp_barrier();
        if (lane_index() == 0)
            mbarrier_arrive(shared.sums.full(query_at.stage));
    }

    DEV void tile(struct assignment work, ring_position<1> key_at) {
        const int first_row = work.first_row + group * GROUP_ROWS;
        const int num_blocks = work.steps * call.problem.group;
        const key_rows rows = describe_keys(call.problem, first_row);
        block_walk walk(call.problem, work);
        uint32_t p[QUERIES / DEPTH][4], ds[QUERIES / DEPTH][4];
        shared.keys.wait_full(key_at);
        shared.queries.wait_full(query_at);
        issue_scores();
        issue_dp();
        results_left();
#pragma unroll 1
        for (int block = 0;; block++) {
            wgmma_wait<1>();
            pin(s);
            probabilities<T, QUERIES, CAP>(p, s, call.problem, rows, walk.row, shared.lse2(query_at.stage));
            /* The wait for the place of dQ stands here on purpose: a branch keeps the compiler from moving the wait for dP
             * up before the exponentials. */
            shared.sums.wait_empty(query_at);
            wgmma_wait<0>();
            pin(dp);
            score_gradients<QUERIES, CAP>(s, dp, call.problem.scale_log2,
                                          {shared.lse2(query_at.stage), shared.delta(query_at.stage)});
            round_fragments<T>(ds, s);
            issue_gradients(p, ds, block > 0);
            wgmma_wait<1>();
            send_sum();
            if (block + 1 == num_blocks)
                break;
            const ring_position<STAGES> done = query_at;
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

    /* The copies of the last tile's results have read shared memory, those of both warpgroups: dS' may go there. */
    DEV void results_left() {
        if (group_leader())
            tma_store_wait_read<0>();
        named_barrier(EXCHANGE_BARRIER, GROUPS * WARPGROUP);
    }

    DEV void store_results(int first_row, int key_head) {
        const int value_head = key_head + call.problem.num_kv_heads;
        named_barrier(EXCHANGE_BARRIER, GROUPS * WARPGROUP); /* the other's last product has read dS' */
        store_tile<T, WIDTH>(shared.scores(group), &call.maps.dqkv, dv, group, value_head, first_row);
#pragma unroll
        for (int i = 0; i < WIDTH / 2; i++)
            dk[i] *= call.problem.scale;
        if (call.problem.rotation.positions)
            rotate_back<WIDTH>(dk, call.problem.rotation, first_row + group_row(), call.problem.num_rows);
        store_tile<T, WIDTH>(shared.scores(group), &call.maps.dqkv, dk, group, key_head, first_row);
    }
};

template <typename T, bool CAP>
static __global__ void __launch_bounds__(THREADS, 1)
    attention_fused_sm90(const __grid_constant__ fused_call call) {
    DYN_SHARED(memory);
    const layout shared(shared_address(memory));
    if (threadIdx.x == 0) {
        shared.init();
        mbarrier_init_fence();
    }
    block_barrier();
    const int role = group_index();
    if (role == 0) { /* roles: see split_roles */
        registers_lower<PRODUCER_REGISTERS<GROUPS>>();
        const int warp = (int)shfl((uint32_t)threadIdx.x / WARP, 0);
        if (threadIdx.x == 0)
            produce(call, shared);
        else if (warp >= 1 && warp <= STAGES)
            store_sums(call, shared, warp - 1);
    } else {
        registers_raise<CONSUMER_REGISTERS<GROUPS>>();
        consumer<T, CAP> me(call, shared, role - 1);
        consume_tiles(me, shared.assignments, role - 1);
    }
}

/* --- Host side. */

template <typename T, bool CAP>
void launch(struct device *dev, const struct backward_tensors &t, fused_call &call) {
    call.maps = map_keys(t, call.problem.num_heads, QUERIES);
    LAUNCH((attention_fused_sm90<T, CAP>), work_list_blocks(dev, &call.list), THREADS, BYTES,
           cuda_stream(dev), call);
    finish_sums(dev, t.dqkv, call.sums, call.problem);
}

} // namespace

namespace attention_sm90 {

void fused_backward(struct device *dev, const struct backward_tensors &tensors,
                    const struct attention_problem &problem, bool cap, const struct fused_place &place) {
    fused_call call = {};
    call.problem = describe_keys_problem(problem, tensors.statistics);
    call.sums = lay_sums_out(place, problem.num_rows, problem.num_heads);
    call.list = prepare_sums(dev, call.sums, call.problem, place);
    if (tensors.qkv.dtype == DTYPE_BF16)
        (cap ? launch<bf16_t, true> : launch<bf16_t, false>)(dev, tensors, call);
    else
        (cap ? launch<f16_t, true> : launch<f16_t, false>)(dev, tensors, call);
}

} // namespace attention_sm90
