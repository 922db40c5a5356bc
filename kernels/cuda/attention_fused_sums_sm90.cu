/* attention_fused_sums_sm90.cu - before and after the single pass of the Hopper backward: whose turn it is to add to the
 * gradient of the queries, and what becomes of the sums. */
#include "kernels/cuda/attention_fused_sm90.cuh"

using namespace attention_sm90;

namespace {

constexpr int THREADS = WARPGROUP;

/* The first tile of keys whose blocks go past this one, for each block of queries: tiles begin and end in the order of
 * their keys. */
static __global__ void __launch_bounds__(THREADS)
    attention_first_tiles(int32_t *first_tiles, int num_blocks, const struct work_list list) {
    const int block = (int)blockIdx.x * THREADS + (int)threadIdx.x;
    if (block >= num_blocks)
        return;
    int low = 0, high = list.count - 1;
    while (low < high) {
        const int middle = (low + high) / 2;
        const struct work work = list.entries[middle];
        if (work.start / FUSED_QUERIES + work.steps > block)
            high = middle;
        else
            low = middle + 1;
    }
    first_tiles[block] = low;
}

static __global__ void __launch_bounds__(THREADS) attention_clear_turns(uint32_t *turns, int count) {
    const int i = (int)blockIdx.x * THREADS + (int)threadIdx.x;
    if (i < count)
        turns[i] = 0;
}

/* One block of queries of one head: its sums scaled, turned back, rounded and stored.  Reads 4 bytes a value, writes 2.
 * Bound: memory. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    attention_fused_finish(const __grid_constant__ tensor_map dqkv, const struct query_sums sums,
                           const struct keys_problem problem) {
    DYN_SHARED(memory);
    const int block = (int)blockIdx.x, head = (int)blockIdx.y;
    const float *values = sums.values + ((int64_t)head * sums.num_blocks + block) * FUSED_SUM;
    float dq[FUSED_WIDTH / 2];
#pragma unroll
    for (int i = 0; i < FUSED_WIDTH / 8; i++) {
        const int part = i / (FUSED_COLUMNS / 8), chunk = i % (FUSED_COLUMNS / 8);
        const vec16 four =
            load16_stream(values + part * (FUSED_SUM / FUSED_GROUPS) + sum_chunk((int)threadIdx.x, chunk));
#pragma unroll
        for (int j = 0; j < 4; j++)
            dq[4 * i + j] = bits_float(four.w[j]) * problem.scale;
    }
    if (problem.rotation.positions)
        rotate_back<FUSED_WIDTH>(dq, problem.rotation, block * FUSED_QUERIES + group_row(), problem.num_rows);
    store_tile<T, FUSED_WIDTH>(shared_address(memory), &dqkv, dq, 0, head, block * FUSED_QUERIES);
    staging_wait(0);
}

/* --- Host side. */

int blocks_of_queries(int64_t num_rows) {
    return (int)((num_rows + FUSED_QUERIES - 1) / FUSED_QUERIES) + 1;
}

dim3 threads_for(int count) {
    return dim3((unsigned)((count + THREADS - 1) / THREADS));
}

size_t turns_bytes(int64_t num_rows, int num_heads) {
    const size_t bytes = (size_t)blocks_of_queries(num_rows) * (size_t)num_heads * sizeof(uint32_t);
    return (bytes + CUDA_ALIGN_BYTES - 1) / CUDA_ALIGN_BYTES * CUDA_ALIGN_BYTES;
}

template <typename T>
void launch_finish(struct device *dev, struct tensor dqkv, const query_sums &sums,
                   const keys_problem &problem) {
    constexpr int STAGING_BYTES = PANELS<FUSED_WIDTH> * GROUP_PANEL_BYTES;
    const dim3 grid((unsigned)sums.num_blocks - 1, (unsigned)problem.num_heads);
    LAUNCH(attention_fused_finish<T>, grid, THREADS, STAGING_BYTES, cuda_stream(dev),
           map_heads(dqkv, GROUP_ROWS), sums, problem);
}

} // namespace

namespace attention_sm90 {

bool fused_applies(int head_dim) {
    return head_dim == FUSED_WIDTH;
}

size_t fused_sums_bytes(int64_t num_rows, int num_heads) {
    return turns_bytes(num_rows, num_heads) +
           (size_t)blocks_of_queries(num_rows) * (size_t)num_heads * FUSED_SUM * sizeof(float);
}

struct work_list fused_plan(struct device *dev, const struct fused_place &place,
                            struct work_list_setup setup) {
    setup.tile_rows = FUSED_KEYS;
    setup.step_rows = FUSED_QUERIES;
    setup.in_order = true;
    const struct work_list list = make_work_list(dev, place.list, setup);
    const int num_blocks = blocks_of_queries(setup.num_rows);
    if (!place.list.is_planned)
        LAUNCH(attention_first_tiles, threads_for(num_blocks), THREADS, 0, cuda_stream(dev),
               place.first_tiles, num_blocks, list);
    return list;
}

struct work_list prepare_sums(struct device *dev, const query_sums &sums, const keys_problem &problem,
                              const struct fused_place &place) {
    struct work_list_setup setup = {};
    setup.list.num_heads = problem.num_kv_heads;
    setup.col_begin = problem.col_begin;
    setup.col_end = problem.col_end;
    setup.num_rows = problem.num_rows;
    const int count = problem.num_heads * sums.num_blocks;
    LAUNCH(attention_clear_turns, threads_for(count), THREADS, 0, cuda_stream(dev), sums.turns, count);
    return fused_plan(dev, place, setup);
}

void finish_sums(struct device *dev, struct tensor dqkv, const query_sums &sums,
                 const keys_problem &problem) {
    (dqkv.dtype == DTYPE_BF16 ? launch_finish<bf16_t> : launch_finish<f16_t>)(dev, dqkv, sums, problem);
}

struct query_sums lay_sums_out(const struct fused_place &place, int num_rows, int num_heads) {
    char *values = (char *)place.sums + turns_bytes(num_rows, num_heads);
    return {(float *)values, (uint32_t *)place.sums, place.first_tiles, blocks_of_queries(num_rows)};
}

} // namespace attention_sm90
