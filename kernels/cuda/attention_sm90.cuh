/* attention_sm90.cuh - what the Hopper attention kernels share: tiles, rings, work lists, matrix products.
 *
 * Tiles.  A tile is some tokens (rows) of one head.  The copy engine (TMA) cuts it into panels of 64 columns:
 * 128 bytes a row, the widest swizzle; [panels][rows][64].  A head width that is not a multiple of 64 is filled
 * up with zeros by the engine, which also answers rows before the first and past the last token with zeros
 * and drops what is stored there.  So no tile needs edge code; only the mask knows about edges.
 *
 * Rings.  A producer thread fills the stages of a ring in turn, consumer warps empty them in the same order.
 * Each stage has two mbarriers: `full` (all bytes have landed) and `empty` (every consumer warp has let go):
 *
 *     producer   wait empty[i] -> announce bytes on full[i], start the copies
 *     consumer   wait full[i] -> wgmma reads the stage -> wgmma_wait -> each warp arrives on empty[i]
 *
 * Work lists.  Blocks stay on their multiprocessor and draw tiles from one counter, those with most steps
 * first: they end together whatever the lengths of the documents, and a block that starts late, because a
 * collective holds its multiprocessor, finds less to do instead of delaying all.  Which block computes a tile
 * changes no bit of it.  Heads run fastest, so that the query heads that share keys meet them in the L2
 * cache. */
#pragma once

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/dev_sm90.h"

namespace attention_sm90 {

constexpr int WARP = 32, WARPGROUP = 128;  /* threads */
constexpr int WARPS = WARPGROUP / WARP;    /* of a warpgroup */
constexpr int GROUP_ROWS = 64;             /* rows of a warpgroup's wgmma */
constexpr int PANEL = 64, ROW_BYTES = 128; /* columns of a panel; bytes of its rows */
constexpr int GROUP_PANEL_BYTES = GROUP_ROWS * ROW_BYTES;
constexpr int ATOM_BYTES = 8 * ROW_BYTES;    /* eight rows, within which the swizzle permutes */
constexpr int DEPTH = 16;                    /* of one wgmma, in 16-bit elements */
constexpr int MAX_SHARED_BYTES = 227 * 1024; /* of a block on sm_90 */

template <int WIDTH> constexpr int PANELS = (WIDTH + PANEL - 1) / PANEL;

/* Named barriers (0 is the block's): turns of the warpgroups at the tensor cores; threads of a warpgroup. */
constexpr int TURN_BARRIER = 1, GROUP_BARRIER = 4;

/* Registers of a thread.  A block starts with an equal share for each thread; the producer gives up exactly
 * what the consumers take, else they would wait for ever: 3 x 168 becomes 24 + 2 x 240, and 4 x 128 becomes
 * 32 + 3 x 160. */
template <int GROUPS> constexpr int PRODUCER_REGISTERS = GROUPS == 2 ? 24 : 32;
template <int GROUPS> constexpr int CONSUMER_REGISTERS = GROUPS == 2 ? 240 : 160;

/* group_index - which warpgroup of the block this thread is in.  Taken through a shuffle so that the compiler
 * knows the value to be the same in a whole warp: descriptors then stay in uniform registers. */
DEV int group_index() {
    return (int)shfl((uint32_t)threadIdx.x / WARPGROUP, 0);
}
DEV int lane_index() {
    return (int)threadIdx.x % WARP;
}

/* What a thread holds of a warpgroup's [64, n] accumulators: rows group_row() and group_row() + 8 (half 0,
 * 1), columns lane_column() + 8 i and the next one, in acc[4 i + 2 half] and the next one. */
DEV int group_row() {
    return (int)threadIdx.x % WARPGROUP / WARP * 16 + lane_index() / 4;
}
DEV int lane_column() {
    return lane_index() % 4 * 2;
}

/* --- Rings. */

template <int STAGES> struct ring_position {
    int stage = 0;
    uint32_t parity = 0; /* of the phase that the next use of the stage completes */

    DEV ring_position() {
    }
    /* After `uses` advances, for 1 or 2 stages: one count may serve several rings, which saves registers. */
    DEV explicit ring_position(uint32_t uses) : stage((int)(uses % STAGES)), parity(uses / STAGES % 2) {
        static_assert(STAGES <= 2, "division by other numbers costs");
    }

    DEV void advance() {
        stage++;
        if (stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

/* The barriers of a ring; `first` is the address of the first one. */
template <int STAGES> struct ring {
    static constexpr int BARRIER_BYTES = 2 * STAGES * 8;
    uint32_t first;

    DEV uint32_t full(int stage) const {
        return first + 8 * (uint32_t)stage;
    }
    DEV uint32_t empty(int stage) const {
        return first + 8 * (uint32_t)(STAGES + stage);
    }
    DEV void init(int consumer_groups) const {
        for (int stage = 0; stage < STAGES; stage++) {
            mbarrier_init(full(stage), 1);
            mbarrier_init(empty(stage), consumer_groups * WARPS);
        }
    }
    /* A fresh barrier passes for one that has completed a phase of parity 1: all stages begin empty. */
    DEV void wait_empty(ring_position<STAGES> at) const {
        mbarrier_wait(empty(at.stage), at.parity ^ 1);
    }
    DEV void wait_full(ring_position<STAGES> at) const {
        mbarrier_wait(full(at.stage), at.parity);
    }
    /* The calling warp is done with the stage. */
    DEV void release(ring_position<STAGES> at) const {
        if (lane_index() == 0)
            mbarrier_arrive(empty(at.stage));
    }
};

/* --- Work lists. */

/* One tile of rows, the number of steps of its loop (for each head, at least one), and where they start: for a tile of
 * queries, which goes to the left, one past the last key that it sees; for a tile of keys the first query. */
struct work {
    int32_t first_row, steps, start;
};

struct work_list {
    struct work *entries; /* by falling steps, or by their rows */
    uint32_t *next;       /* tiles drawn so far; 0 again after the last draw of a launch */
    int count, num_heads;
};

/* What the producer tells the consumers; steps 0 ends the kernel. */
struct assignment {
    int first_row, steps, start, head;
};
constexpr int ASSIGNMENT_BYTES = 16, ASSIGNMENT_STAGES = 2;

/* Each block draws until there is nothing left: the last to find that out leaves the list as it was, for the next launch. */
DEV struct assignment draw(const struct work_list &list) {
    const int tile = (int)atomic_add(list.next, 1), rank = tile / list.num_heads;
    if (rank >= list.count) {
        if (tile == list.count * list.num_heads + (int)gridDim.x - 1)
            *list.next = 0;
        return {0, 0, 0, 0};
    }
    const struct work entry = list.entries[rank];
    return {entry.first_row, entry.steps, entry.start, tile % list.num_heads};
}

/* The way of assignments from producer to consumers: a ring of its own.  tile: how many went before. */
struct assignment_ring {
    ring<ASSIGNMENT_STAGES> barriers;
    uint32_t slots;

    static constexpr int BYTES =
        ring<ASSIGNMENT_STAGES>::BARRIER_BYTES + ASSIGNMENT_STAGES * ASSIGNMENT_BYTES;

    DEV explicit assignment_ring(uint32_t address)
        : barriers{address}, slots(address + ring<ASSIGNMENT_STAGES>::BARRIER_BYTES) {
    }
    DEV void send(uint32_t tile, struct assignment next) const {
        const ring_position<ASSIGNMENT_STAGES> at(tile);
        const uint32_t slot = slots + (uint32_t)(at.stage * ASSIGNMENT_BYTES);
        barriers.wait_empty(at);
        shared_store4(slot, (uint32_t)next.first_row);
        shared_store4(slot + 4, (uint32_t)next.steps);
        shared_store4(slot + 8, (uint32_t)next.start);
        shared_store4(slot + 12, (uint32_t)next.head);
        mbarrier_arrive(barriers.full(at.stage));
    }
    DEV struct assignment receive(uint32_t tile) const {
        const ring_position<ASSIGNMENT_STAGES> at(tile);
        const uint32_t slot = slots + (uint32_t)(at.stage * ASSIGNMENT_BYTES);
        barriers.wait_full(at);
        /* through shuffles: uniform in the warp, see group_index */
        const struct assignment next = {
            (int)shfl(shared_load4(slot), 0), (int)shfl(shared_load4(slot + 4), 0),
            (int)shfl(shared_load4(slot + 8), 0), (int)shfl(shared_load4(slot + 12), 0)};
        barriers.release(at); /* all lanes have read: the shuffles came after their loads */
        return next;
    }
};

/* --- Roles. */

/* split_roles - after one thread has initialised the barriers: warpgroup 0 gives up registers and one thread
 * of it runs produce(); the others take them and run consume(number of the consumer warpgroup). Each role is
 * one branch of a single if: else the compiler ignores the change of registers. */
template <int GROUPS, class Init, class Produce, class Consume>
DEV void split_roles(Init init, Produce produce, Consume consume) {
    if (threadIdx.x == 0) {
        init();
        mbarrier_init_fence();
    }
    block_barrier();
    const int role = group_index();
    if (role == 0) {
        registers_lower<PRODUCER_REGISTERS<GROUPS>>();
        if (threadIdx.x == 0)
            produce();
    } else {
        registers_raise<CONSUMER_REGISTERS<GROUPS>>();
        consume(role - 1);
    }
}

/* --- Copies. */

/* Loads one panel-by-panel tile of box_rows rows, the map's own number. */
template <int WIDTH>
DEV void load_tile(uint32_t tile, const tensor_map *map, uint32_t barrier, int box_rows, int head,
                   int first_row) {
#pragma unroll
    for (int panel = 0; panel < PANELS<WIDTH>; panel++)
        tma_load_3d(tile + (uint32_t)(panel * box_rows * ROW_BYTES), map, barrier, panel * PANEL, head,
                    first_row);
}

/* Writes a warpgroup's accumulators, rounded, through its staging tile [panels][64][64] to 64 rows of a
 * tensor. The copy runs on; its reads of the tile are awaited by the next call, or by staging_wait. */
DEV bool group_leader() {
    return threadIdx.x % WARPGROUP == 0;
}
DEV void staging_wait(int group) {
    if (group_leader())
        tma_store_wait_read<0>();
    named_barrier(GROUP_BARRIER + group, WARPGROUP);
}

/* consume_tiles - in a consumer warpgroup: consumer.tile() for every tile that the producer drew, in its order. */
template <class Consumer>
DEV void consume_tiles(Consumer &consumer, const assignment_ring &assignments, int group) {
#pragma unroll 1
    for (uint32_t count = 0;; count++) {
        const struct assignment work = assignments.receive(count);
        if (!work.steps)
            break;
        consumer.tile(work, ring_position<1>(count));
    }
    staging_wait(group); /* shared memory must outlive the copies that read it */
}
template <typename T, int WIDTH>
DEV void store_tile(uint32_t staging, const tensor_map *map, const float (&acc)[WIDTH / 2], int group,
                    int head, int first_row) {
    staging_wait(group);
    const uint32_t row = staging + (uint32_t)(group_row() * ROW_BYTES + lane_column() * 2);
    const int swizzle = lane_index() / 4; /* row modulo 8 */
#pragma unroll
    for (int i = 0; i < WIDTH / 8; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int at = i / 8 * GROUP_PANEL_BYTES + half * 8 * ROW_BYTES + (i % 8 ^ swizzle) * 16;
            shared_store4(row + (uint32_t)at, pack2<T>(acc[4 * i + 2 * half], acc[4 * i + 2 * half + 1]));
        }
    fence_async_shared();
    named_barrier(GROUP_BARRIER + group, WARPGROUP);
    if (group_leader()) {
#pragma unroll
        for (int panel = 0; panel < PANELS<WIDTH>; panel++)
            tma_store_3d(map, staging + (uint32_t)(panel * GROUP_PANEL_BYTES), panel * PANEL, head,
                         first_row);
        tma_store_commit();
    }
}

/* pin - accumulators that a wgmma_wait has just finished: the compiler must not read them above the wait. */
template <int COUNT> DEV void pin(float (&acc)[COUNT]) {
    wgmma_pin<COUNT>(acc);
}

/* --- Matrix products of one warpgroup, each one wgmma group; the caller fences before and waits after.
 * A descriptor names a tile in shared memory; adding bytes / 16 moves its start. */

DEV uint64_t descriptor_move(uint64_t descriptor, int bytes) {
    return descriptor + (uint64_t)(bytes / 16);
}

/* acc[64, N] = a[64, WIDTH] b[N, WIDTH]^T: the sum runs along the rows; tiles of A_ROWS and N rows. */
template <typename T, int N, int WIDTH, int A_ROWS>
DEV void product_rows(float (&acc)[N / 2], uint32_t a, uint32_t b) {
    const uint64_t from_a = matrix_descriptor(a, 16, ATOM_BYTES, ROW_BYTES);
    const uint64_t from_b = matrix_descriptor(b, 16, ATOM_BYTES, ROW_BYTES);
#pragma unroll
    for (int k = 0; k < WIDTH; k += DEPTH) {
        const int panel = k / PANEL, in_row = k % PANEL * 2;
        wgmma<N, T, false, false>(acc, descriptor_move(from_a, panel * A_ROWS * ROW_BYTES + in_row),
                                  descriptor_move(from_b, panel * N * ROW_BYTES + in_row), k > 0);
    }
    wgmma_commit();
}

/* acc[64, WIDTH] (+)= p[64, K] b[K, WIDTH]: p in registers, the sum runs down the rows of b. */
template <typename T, int WIDTH, int K>
DEV void product_columns(float (&acc)[WIDTH / 2], const uint32_t (&p)[K / DEPTH][4], uint32_t b,
                         bool accumulate) {
    const uint64_t from_b = matrix_descriptor(b, K * ROW_BYTES, ATOM_BYTES, ROW_BYTES);
#pragma unroll
    for (int k = 0; k < K; k += DEPTH)
        wgmma_registers<WIDTH, T, true>(acc, p[k / DEPTH], descriptor_move(from_b, k * ROW_BYTES),
                                        accumulate || k > 0);
    wgmma_commit();
}

/* round_fragments - accumulators [64, 16 STEPS] as A operands: the layouts agree, so nothing moves. */
template <typename T, int STEPS>
DEV void round_fragments(uint32_t (&p)[STEPS][4], const float (&acc)[8 * STEPS]) {
#pragma unroll
    for (int i = 0; i < 4 * STEPS; i++)
        p[i / 4][i % 4] = pack2<T>(acc[2 * i], acc[2 * i + 1]);
}

/* --- Scores. */

/* keys_end - one past the last key that a row sees; of rows past the last, which nobody stores: any. */
DEV int keys_end(const int32_t *last_key, int row, int num_rows) {
    return (last_key && row < num_rows ? last_key[row] : row) + 1;
}

/* mask_columns - acc[row, column] = value unless low[half] <= column < high[half], columns of this tile. */
template <int N>
DEV void mask_columns(float (&acc)[N / 2], const int (&low)[2], const int (&high)[2], float value) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int from = low[half] - lane_column(), to = high[half] - lane_column();
#pragma unroll
        for (int i = 0; i < N / 8; i++)
#pragma unroll
            for (int next = 0; next < 2; next++)
                if (8 * i + next < from || 8 * i + next >= to)
                    acc[4 * i + 2 * half + next] = value;
    }
}

/* tanh by one exponential and one reciprocal, absolute error below 1e-6; NaN stays.  (A plain division is a
 * subroutine call in its rare cases, and a call would make the compiler serialise the wgmma around it.) */
DEV float tanh_fast(float x) {
    return 1.0f - 2.0f * reciprocal_approx(1.0f + exp2_approx(x * (2 * ATTENTION_LOG2E)));
}
template <int COUNT> DEV void soft_cap(float (&s)[COUNT], float cap_inverse) {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        s[i] = tanh_fast(s[i] * cap_inverse);
}

/* cap_gradient - x times the derivative of the soft-cap; t is the tanh, or -inf where masked: x is 0 there,
 * and the factor has to be finite. */
DEV float cap_gradient(float x, float t) {
    const float finite = fmaxf(t, -1.0f);
    return x * (1.0f - finite * finite);
}

/* --- Host side (attention_sm90.cu). */

/* applies - architecture, types, alignment and scale are such that these kernels can be used. */
bool applies(const struct device *dev, struct tensor qkv, struct tensor out,
             const struct attention_args *args);

/* map_heads - tensor map of [rows, heads, width], 16-bit, for tiles of box_rows rows of one head.
 * map_statistic - of [heads, padded_rows] f32, for box_rows values of one head. */
tensor_map map_heads(struct tensor t, int box_rows);
tensor_map map_statistic(const float *values, int64_t padded_rows, int num_heads, int box_rows);

/* How a work list is made: tiles of tile_rows queries or keys, steps of step_rows keys or queries. */
struct work_list_setup {
    struct work_list list;
    const int32_t *first_key, *last_key; /* of the mask: for tiles of queries */
    const int32_t *col_begin, *col_end;  /* of the statistics: for tiles of keys; col_end NULL: of queries */
    int num_rows, tile_rows, step_rows;
    bool in_order =
        false; /* by their rows instead of by falling steps, and steps begin at multiples of step_rows */
};

/* Where a list is laid out: attention_sm90_list_bytes of memory, in which a plan has it already or not. */
struct list_place {
    void *memory;
    bool is_planned;
};

/* Rows of a tile, and keys or queries of a step; 0: there is no such kernel. */
struct list_shape {
    int tile_rows, step_rows;
};

/* make_work_list - lay the list out, and enqueue the kernel that fills it where no plan has; of setup.list, only num_heads counts.
 * work_list_blocks - how many blocks to launch for a list. */
struct work_list make_work_list(struct device *dev, struct list_place place, struct work_list_setup setup);
int work_list_blocks(const struct device *dev, const struct work_list *list);

/* forward_list, keys_list, queries_list - of the lists that the three kernels read, by head width and soft-cap. */
struct list_shape forward_list(int head_dim, bool cap);
struct list_shape keys_list(int head_dim);
struct list_shape queries_list(int head_dim);

/* What a backward pass reads and writes. */
struct backward_tensors {
    struct tensor dqkv, dout, qkv;
    const struct attention_statistics &statistics;
};

/* The single pass (attention_fused_sm90.cu), for the head width that fused_applies accepts.  Its list of tiles, in
 * attention_sm90_list_bytes; what belongs to it, planned or not as it is, in as many; and
 * fused_sums_bytes of scratch. */
struct fused_place {
    struct list_place list;
    int32_t *first_tiles;
    void *sums;
};

/* fused_applies - the one place that chooses between one pass and two; both have kernels for heads of 128. */
bool fused_applies(int head_dim);
size_t fused_sums_bytes(int64_t num_rows, int num_heads);
void fused_backward(struct device *dev, const struct backward_tensors &tensors,
                    const struct attention_problem &problem, bool cap, const struct fused_place &place);

/* fused_plan - lay the list out, and enqueue what fills it and the first tiles unless they are planned.  Of setup, the
 * columns, the rows and list.num_heads count. */
struct work_list fused_plan(struct device *dev, const struct fused_place &place,
                            struct work_list_setup setup);

/* The two passes of the backward, for head widths that backward_applies accepts; the first has another form for those that
 * are_wide, whose keys_list is keys_wide_list. */
bool backward_applies(int head_dim);
bool are_wide(int head_dim);
struct list_shape keys_wide_list();
void keys_wide_backward(struct device *dev, const struct backward_tensors &tensors,
                        const struct attention_problem &problem, bool cap, struct list_place place);
void keys_backward(struct device *dev, const struct backward_tensors &tensors,
                   const struct attention_problem &problem, bool cap, struct list_place place);
void queries_backward(struct device *dev, const struct backward_tensors &tensors,
                      const struct attention_problem &problem, bool cap, struct list_place place);

} // namespace attention_sm90
