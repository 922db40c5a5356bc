/* experts_counts.cu - how the rows of each sequence were routed, and the gradient of the losses of it.
 *
 *                       bytes                                             bound
 *   count               4 E a row, and 4 (1 + E / 32) for each sequence   latency: one kernel
 *   losses' gradient    12 E a row                                        memory
 *
 * A sequence's sums have an order of their own: each warp takes every COUNT_WARPS-th 32 rows, those of its sequence in their order, and
 * the warps are added one after the other. */
#include "kernels/cuda/experts_router.cuh"

enum { COUNT_WARPS = 16, COUNT_BATCH = 8 };

struct counting {
    int32_t *chosen;
    uint32_t *load;
    float *shares, *squares;
    const float *logits, *lse;
    const int32_t *sequences, *sources, *starts;
    int64_t num_rows;
    int num_experts, num_chosen;
};

/* A lane's share of its expert, and of the squares, which are the same in each lane. */
struct row_sums {
    float share, square;
};

/* add_rows - the rows from `first` on whose bit is set, for expert `e` (warp).  E: none, what is added to the share means nothing. */
static DEV void add_rows(row_sums &sums, const counting &c, int64_t first, uint32_t mine, int e) {
    int64_t own = first + threadIdx.x;
    float lse = own < c.num_rows ? c.lse[own] : 0;
    for (int from = 0; from < 32; from += COUNT_BATCH) {
        float z[COUNT_BATCH];
#pragma unroll
        for (int i = 0; i < COUNT_BATCH; i++)
            z[i] = mine >> (from + i) & 1 && e < c.num_experts
                       ? c.logits[(first + from + i) * c.num_experts + e]
                       : 0;
#pragma unroll
        for (int i = 0; i < COUNT_BATCH; i++) {
            float of_row = shfl(lse, from + i);
            bool is_mine = mine >> (from + i) & 1;
            sums.share += is_mine ? expf(z[i] - of_row) : 0;
            sums.square += is_mine ? of_row * of_row : 0;
        }
    }
}

/* count_places - those of expert e whose row is of sequence s (warp). */
static DEV uint32_t count_places(const counting &c, int e, int s) {
    uint32_t count = 0;
    for (int first = c.starts[e]; first < c.starts[e + 1]; first += 32) {
        int place = first + (int)threadIdx.x;
        bool is_mine = place < c.starts[e + 1] && c.sequences[c.sources[place] / c.num_chosen] == s;
        count += bit_count(ballot(is_mine));
    }
    return count;
}

/* Blocks: x is the sequence, y 32 experts, a lane's each; of the places a warp's.  Shared memory: two f32 a thread. */
static __global__ void __launch_bounds__(32 * COUNT_WARPS) route_count_kernel(counting c) {
    DYN_SHARED(shared);
    const int lane = (int)threadIdx.x, warp = (int)threadIdx.y, s = (int)blockIdx.x;
    const int first_expert = (int)blockIdx.y * 32, own = first_expert + lane;
    const uint32_t slots = shared_address(shared), slot = slots + (uint32_t)(warp * 32 + lane) * 8;
    row_sums sums = {};
    for (int64_t first = warp * 32; first < c.num_rows; first += COUNT_WARPS * 32) {
        uint32_t mine = ballot(first + lane < c.num_rows && c.sequences[first + lane] == s);
        if (mine)
            add_rows(sums, c, first, mine, own);
    }
    shared_store8(slot, make_uint2(float_bits(sums.share), float_bits(sums.square)));
    block_barrier();
    for (int w = 1; w < COUNT_WARPS && warp == 0; w++) {
        uint2 more = shared_load8(slot + (uint32_t)w * 32 * 8);
        sums.share += bits_float(more.x);
        sums.square += bits_float(more.y);
    }
    if (warp == 0 && own < c.num_experts)
        c.shares[(int64_t)s * c.num_experts + own] += sums.share;
    if (warp == 0 && own == 0)
        c.squares[s] += sums.square;
    for (int e = first_expert + warp; e < first_expert + 32 && e < c.num_experts; e += COUNT_WARPS) {
        uint32_t count = count_places(c, e, s);
        if (lane == 0 && count) {
            c.chosen[(int64_t)s * c.num_experts + e] += (int32_t)count;
            atomic_add(c.load + e, count);
        }
    }
}

extern "C" void cuda_route_count(struct device *dev, const struct route_counts *counts, struct tensor logits,
                                 const struct expert_routes *routes, struct tensor sequences) {
    counting c = {(int32_t *)counts->chosen.data,
                  (uint32_t *)counts->load.data,
                  (float *)counts->shares.data,
                  (float *)counts->squares.data,
                  (const float *)logits.data,
                  (const float *)routes->lse.data,
                  (const int32_t *)sequences.data,
                  (const int32_t *)routes->sources.data,
                  (const int32_t *)routes->starts.data,
                  logits.dims[0],
                  (int)logits.dims[1],
                  (int)routes->places.dims[1]};
    dim3 grid((unsigned)counts->chosen.dims[0], (unsigned)divide_up(c.num_experts, 32));
    if (c.num_rows > 0)
        LAUNCH(route_count_kernel, grid, dim3(32, COUNT_WARPS), COUNT_WARPS * 32 * 2 * sizeof(float),
               cuda_stream(dev), c);
}

/* ---- The gradient: one warp per row ---- */

struct losses_gradient {
    float *dlogits;
    const float *logits, *factors;
    const int32_t *chosen, *sequences;
    int64_t num_rows;
    int num_experts;
};

/* Shared memory: E f32 a warp. */
static __global__ void __launch_bounds__(32 * ROUTE_WARPS) route_losses_backward_kernel(losses_gradient g) {
    DYN_SHARED(shared);
    int64_t row = (int64_t)blockIdx.x * ROUTE_WARPS + threadIdx.y;
    uint32_t p = shared_address(shared) + threadIdx.y * (uint32_t)g.num_experts * 4;
    if (row >= g.num_rows || g.sequences[row] < 0)
        return;
    const int32_t *chosen = g.chosen + (int64_t)g.sequences[row] * g.num_experts;
    const float balance = g.factors[2 * (int64_t)g.sequences[row]],
                z = g.factors[2 * (int64_t)g.sequences[row] + 1];
    float lse = row_softmax(p, g.logits + row * g.num_experts, g.num_experts), mean = 0;
    for (int e = (int)threadIdx.x; e < g.num_experts; e += 32)
        mean += shared_load_f32(p + (uint32_t)e * 4) * (float)chosen[e];
    mean = warp_sum(mean);
    for (int e = (int)threadIdx.x; e < g.num_experts; e += 32)
        g.dlogits[row * g.num_experts + e] +=
            shared_load_f32(p + (uint32_t)e * 4) * (balance * ((float)chosen[e] - mean) + 2 * z * lse);
}

extern "C" void cuda_route_losses_backward(struct device *dev, struct tensor dlogits, struct tensor logits,
                                           struct tensor chosen, struct tensor sequences,
                                           struct tensor factors) {
    losses_gradient g = {
        (float *)dlogits.data,        (const float *)logits.data,      (const float *)factors.data,
        (const int32_t *)chosen.data, (const int32_t *)sequences.data, logits.dims[0],
        (int)logits.dims[1]};
    if (g.num_rows > 0)
        LAUNCH(route_losses_backward_kernel, dim3((unsigned)divide_up(g.num_rows, ROUTE_WARPS)),
               dim3(32, ROUTE_WARPS), ROUTE_WARPS * (size_t)g.num_experts * sizeof(float), cuda_stream(dev),
               g);
}
