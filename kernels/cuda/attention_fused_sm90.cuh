/* attention_fused_sm90.cuh - the sums of the gradient of the queries, as the single pass of the Hopper backward
 * (attention_fused_sm90.cu) and what goes before and after it (attention_fused_sums_sm90.cu) know them. */
#pragma once

#include "kernels/cuda/attention_keys_sm90.cuh"

namespace attention_sm90 {

constexpr int FUSED_GROUPS = 2, FUSED_WIDTH = 128;                        /* consumer warpgroups; of a head */
constexpr int FUSED_KEYS = FUSED_GROUPS * GROUP_ROWS, FUSED_QUERIES = 64; /* of a tile; of a block */
constexpr int FUSED_COLUMNS = FUSED_WIDTH / FUSED_GROUPS; /* of dQ that a warpgroup computes */
constexpr int FUSED_SUM = FUSED_QUERIES * FUSED_WIDTH;    /* values of a block and head */

/* The sums of dQ in global memory and whose turn each is; blocks of queries are counted from row 0. */
struct query_sums {
    float *values;              /* [H, num_blocks, FUSED_SUM], in the order of sum_chunk */
    uint32_t *turns;            /* [H, num_blocks] tiles that have added */
    const int32_t *first_tiles; /* [num_blocks] the first tile of keys that adds to a block */
    int num_blocks;             /* one more than the rows fill: keys that nobody sees may end there */
};

/* sum_chunk - where thread `thread` of a warpgroup has its accumulators 4 i to 4 i + 3 of dQ, in floats, in the
 * warpgroup's half of a sum: the same in shared and in global memory, which nobody else reads. */
DEV int sum_chunk(int thread, int i) {
    return (i * WARPGROUP + thread) * 4;
}

/* --- Host side. */

/* prepare_sums - the list of tiles, and for each block its first tile, unless they are planned; the turns at 0.
 * finish_sums - after the pass: the sums scaled, turned back, rounded and stored as the gradient of the queries. */
struct work_list prepare_sums(struct device *dev, const query_sums &sums, const keys_problem &problem,
                              const struct fused_place &place);
void finish_sums(struct device *dev, struct tensor dqkv, const query_sums &sums, const keys_problem &problem);

/* lay_sums_out - in fused_sums_bytes of memory. */
struct query_sums lay_sums_out(const struct fused_place &place, int num_rows, int num_heads);

} // namespace attention_sm90
