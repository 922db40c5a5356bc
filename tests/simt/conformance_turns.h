/* conformance_turns.h - a probe of bulk_store, bulk_add_f32, counter_load and counter_store: blocks that add to one line of f32
 * values in turn, where another order gives other sums.  Included by conformance_sm90.cu alone. */
#pragma once

#include "conformance.h"
#include "kernels/cuda/dev_sm90.h"

enum { TURN_BLOCKS = 24, TURN_VALUES = 256 };

/* counters: tickets drawn, turns taken.  A block's turn is its ticket: whoever is waited for has begun. */
static __global__ void turns_kernel(uint32_t *counters, float *sum, const float *values) {
    DYN_SHARED(memory);
    const uint32_t line = shared_address(memory), ticket_at = line + TURN_VALUES * 4;
    if (threadIdx.x == 0)
        shared_store4(ticket_at, atomic_add(counters, 1));
    block_barrier();
    const uint32_t ticket = shared_load4(ticket_at);
    for (uint32_t i = threadIdx.x; i < TURN_VALUES; i += blockDim.x)
        shared_store_f32(line + 4 * i, values[ticket * TURN_VALUES + i]);
    fence_async_shared();
    block_barrier();
    if (threadIdx.x == 0) {
        while (counter_load(counters + 1) != ticket) {
        }
        fence_async_global();
        if (ticket == 0)
            bulk_store(sum, line, TURN_VALUES * 4);
        else
            bulk_add_f32(sum, line, TURN_VALUES * 4);
        tma_store_commit();
        tma_store_wait_read<0>();
        tma_store_wait<0>();
        counter_store(counters + 1, ticket + 1);
    }
}

/* What is added in the order of tickets, or in the other one. */
static inline std::vector<float> sums_in_turn(const std::vector<float> &values, bool backwards) {
    std::vector<float> sums(TURN_VALUES, 0.0f);
    for (size_t turn = 0; turn < TURN_BLOCKS; turn++)
        for (size_t i = 0; i < TURN_VALUES; i++)
            sums[i] += values[(backwards ? TURN_BLOCKS - 1 - turn : turn) * TURN_VALUES + i];
    return sums;
}

static inline void probe_turns(conformance *run) {
    std::vector<float> values;
    for (size_t i = 0; i < TURN_BLOCKS * TURN_VALUES; i++)
        values.push_back((float)(i * 2654435761u % 1000003) / (float)(i % 7 * i % 11 * 97 + 3));
    device_array<float> in(values);
    words sum(TURN_VALUES), counters(std::vector<uint32_t>(2, 0));
    LAUNCH(turns_kernel, TURN_BLOCKS, 64, TURN_VALUES * 4 + 16, 0, counters.data, (float *)sum.data, in.data);
    expect_words(run, "bulk stores that add in turn", sum, words_of(sums_in_turn(values, false)));
    const bool other = words_of(sums_in_turn(values, true)) != words_of(sums_in_turn(values, false));
    conclude(run, "another order gives other sums", other, 0, 0, 1);
}
