/* launch.cpp - a launch: stacks, the clusters of a grid, OS threads. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "control.h"
#include "gpu.h"
#include "kernels/cuda/dev.h"

namespace simt {

/* --- Stacks.  Kept between launches: their pages stay warm.  Their tops lie at different offsets of cache
 * and page, or the hot ends of all stacks would fight for the same few cache lines. */

enum : size_t { GUARD_BYTES = 4096, STACK_BYTES = 260 * 1024, COLOUR_BYTES = 448 };

struct stack_set {
    char *base;
    size_t count;
};

static std::mutex stacks_mutex;
static std::vector<stack_set> &free_stacks() {
    static std::vector<stack_set> list;
    return list;
}

static stack_set acquire_stacks(size_t count) {
    {
        std::lock_guard<std::mutex> lock(stacks_mutex);
        auto &list = free_stacks();
        for (size_t i = 0; i < list.size(); i++)
            if (list[i].count >= count) {
                stack_set found = list[i];
                list.erase(list.begin() + (ptrdiff_t)i);
                return found;
            }
    }
    void *base = mmap(nullptr, count * STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        fprintf(stderr, "simt: no memory for %zu stacks\n", count);
        abort();
    }
    for (size_t i = 0; i < count; i++) /* an overflow hits this page instead of the neighbour */
        mprotect((char *)base + i * STACK_BYTES, GUARD_BYTES, PROT_NONE);
    return {(char *)base, count};
}

static void release_stacks(stack_set stacks) {
    std::lock_guard<std::mutex> lock(stacks_mutex);
    free_stacks().push_back(stacks);
}

/* --- Preparing a cluster. */

/* What a kernel with __launch_bounds__(num_threads, 1) that uses setmaxnreg is given. */
static int initial_registers(int num_threads) {
    return std::min(NUM_REGISTERS / num_threads, 240) / 8 * 8;
}

static void prepare_thread(thread &t, int number, block &b, const dim3 &dims) {
    unsigned n = (unsigned)number;
    t.run_state = READY;
    t.index = dim3(n % dims.x, n / dims.x % dims.y, n / (dims.x * dims.y));
    t.number = number;
    t.block = &b;
    t.warp = &b.warps[n / WARP];
    t.open_copies.clear();
    t.copy_groups.clear();
    t.open_stores.clear();
    t.store_groups.clear();
    t.num_fences = 0;
    t.num_registers = initial_registers(b.num_threads);
    t.has_started = t.waits_for_cluster = false;
}

static void prepare_warps(block &b) {
    for (size_t i = 0; i < b.warps.size(); i++) {
        warp &w = b.warps[i];
        w.first = b.first + i * WARP;
        w.num_lanes = std::min<int>(WARP, b.num_threads - (int)i * WARP);
        w.num_finished = w.num_arrived = 0;
        w.products.reset();
        w.accesses.reset();
    }
}

/* Block number rank of the cluster; shared memory starts as NaN whatever its type. */
static void prepare_block(cluster &c, int rank, size_t number) {
    block &b = c.blocks[(size_t)rank];
    const dim3 &grid = c.shape->grid;
    size_t linear = number * c.blocks.size() + (size_t)rank;
    b.cluster = &c;
    b.index = dim3((unsigned)(linear % grid.x), (unsigned)(linear / grid.x % grid.y),
                   (unsigned)(linear / grid.x / grid.y));
    b.rank = rank;
    b.num_finished = 0;
    memset(b.barriers, 0, sizeof b.barriers);
    memset(b.shared, 0xff, b.shared_bytes);
    b.writers.assign((b.shared_bytes + 3) / 4, 0);
    b.mbarriers.clear();
    b.free_registers = 0;
    b.product_logs.assign((size_t)(b.num_threads + WARPGROUP - 1) / WARPGROUP, nullptr);
    prepare_warps(b);
    for (int i = 0; i < b.num_threads; i++)
        prepare_thread(b.first[i], i, b, c.shape->block);
}

static void allocate_cluster(cluster &c, const launch_shape &shape) {
    size_t num_threads = (size_t)shape.block.x * shape.block.y * shape.block.z;
    c.shape = &shape;
    c.blocks = std::vector<block>((size_t)shape.cluster_blocks);
    c.threads = std::vector<thread>(num_threads * c.blocks.size());
    for (size_t i = 0; i < c.blocks.size(); i++) {
        block &b = c.blocks[i];
        b.num_threads = (int)num_threads;
        b.first = &c.threads[i * num_threads];
        b.warps = std::vector<warp>((num_threads + WARP - 1) / WARP);
        b.shared_bytes = shape.shared_bytes;
        b.shared = (char *)aligned_alloc(1024, (b.shared_bytes + 1024) / 1024 * 1024);
    }
}

static char *stack_top(stack_set stacks, size_t i) {
    return stacks.base + (i + 1) * STACK_BYTES - i * COLOUR_BYTES % 4096;
}

/* clean_stacks - fibers end without returning, and leave the red zones of their last frames to the next;
 * after a failure those of the frames that it unwound, too. */
static void clean_stacks(const cluster &c, stack_set stacks) {
#ifdef __SANITIZE_ADDRESS__
    for (size_t i = 0; i < c.threads.size(); i++) {
        char *lowest = c.failure.empty() ? (char *)c.threads[i].stack_pointer
                                         : stacks.base + i * STACK_BYTES + GUARD_BYTES;
        __asan_unpoison_memory_region(lowest, (size_t)(stack_top(stacks, i) - lowest));
    }
#else
    (void)c;
    (void)stacks;
#endif
}

static void run_cluster(cluster &c, stack_set stacks, size_t number) {
    c.num_finished = 0;
    c.barrier_arrived = 0;
    c.barrier_phase = 0;
    c.in_flight.clear();
    c.random = (seed() + 1) * 2654435761u ^ (uint32_t)number * 2246822519u;
    c.woken = nullptr;
    for (size_t rank = 0; rank < c.blocks.size(); rank++)
        prepare_block(c, (int)rank, number);
    for (size_t i = 0; i < c.threads.size(); i++)
        prepare_stack(c.threads[i], stack_top(stacks, i));
    run_fibers(c);
    clean_stacks(c, stacks);
}

/* --- Running a grid. */

struct grid_run {
    const launch_shape &shape;
    const std::function<void()> &body;
    std::atomic<size_t> next{0};
    std::mutex mutex{};
    std::string failure{};
};

static void run_share(grid_run &run) {
    cluster c = {};
    allocate_cluster(c, run.shape);
    c.body = &run.body;
    c.order = (order)(seed() % 3);
    stack_set stacks = acquire_stacks(c.threads.size());
    const dim3 &grid = run.shape.grid;
    size_t count = (size_t)grid.x * grid.y * grid.z / c.blocks.size();
    for (size_t i; c.failure.empty() && (i = run.next++) < count;)
        run_cluster(c, stacks, c.order == IN_ORDER ? i : count - 1 - i);
    if (!c.failure.empty()) {
        std::lock_guard<std::mutex> lock(run.mutex);
        run.failure = c.failure;
        run.next = count;
    }
    release_stacks(stacks);
    for (block &b : c.blocks)
        free(b.shared);
}

void run_grid(const launch_shape &shape, const std::function<void()> &body) {
    grid_run run = {shape, body};
    size_t num_clusters = (size_t)shape.grid.x * shape.grid.y * shape.grid.z / (size_t)shape.cluster_blocks;
    size_t num_threads = std::min<size_t>(std::max(env_number("SIMT_THREADS", 2), 1u), num_clusters);
    std::vector<std::thread> others;
    for (size_t i = 1; i < num_threads; i++)
        others.emplace_back(run_share, std::ref(run));
    run_share(run);
    for (std::thread &other : others)
        other.join();
    if (!run.failure.empty())
        throw failure(run.failure);
}

/* LAUNCH writes templates in parentheses. */
std::string kernel_name(const char *text) {
    std::string name = text;
    return name.size() > 2 && name.front() == '(' && name.back() == ')' ? name.substr(1, name.size() - 2)
                                                                        : name;
}

static void refuse(const launch_shape &shape, const char *why) {
    report(std::string("simt: launch of ") + kernel_name(shape.kernel) + " refused: " + why);
}

void check_launch(const launch_shape &s) {
    size_t num_threads = (size_t)s.block.x * s.block.y * s.block.z;
    if (!num_threads || num_threads > 1024 || s.block.z > 64)
        refuse(s, "a block has 1 to 1024 threads");
    if (!s.grid.x || !s.grid.y || !s.grid.z || s.grid.x > 0x7fffffffu || s.grid.y > 65535 || s.grid.z > 65535)
        refuse(s, "a grid has 1 to 2^31-1 by 65535 by 65535 blocks");
    if (s.cluster_blocks < 1 || s.cluster_blocks > 8 || s.grid.x % (unsigned)s.cluster_blocks)
        refuse(s, "a cluster has 1 to 8 blocks and divides the grid's x axis");
    if (s.shared_bytes > simt_block_shared_bytes())
        refuse(s, "more shared memory than a block of this GPU can have");
}

} // namespace simt

/* --- Used where tests/simt/runtime.cpp is not linked: no streams, work runs at once. */

__attribute__((weak)) void simt_submit(cudaStream_t, std::function<void()> work) {
    work();
}

__attribute__((weak)) size_t simt_block_shared_bytes() {
    return simt::MAX_SHARED_BYTES;
}

extern "C" __attribute__((weak)) cudaError_t cudaGetLastError() {
    return cudaSuccess;
}

extern "C" __attribute__((weak)) void cuda_die(const char *file, int line, const char *what,
                                               cudaError_t status) {
    fprintf(stderr, "simt: %s: CUDA error %d (%s:%d)\n", what, (int)status, file, line);
    abort();
}
