/* fibers.h - the engine of the shim: CUDA threads as fibers, grouped into warps, blocks and clusters.
 *
 * A cluster (one block, unless launched otherwise) is one set of fibers on one OS thread; clusters are spread
 * over OS threads.  A fiber runs until it waits for something; then the next one is picked as the seed says.
 *
 * seed % 3, who runs next:
 *     0   in order
 *     1   any ready thread, often the one that has just been woken
 *     2   one warp as far ahead of the others as it can
 *
 * seed / 3 % 3, when asynchronous work is done:
 *     0   copies into shared memory land as late as is legal; wgmma and TMA stores read at once
 *     1   the other way round
 *     2   each kind late, at once or by coin, as each cluster draws it
 *
 * All of these are legal on a GPU, so a correct kernel gives the same bits under seeds 0 to 8.  When no fiber
 * can run and nothing is in flight, that is a deadlock: the report says who waits for what. */
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {
    }
};

namespace simt {

enum {
    WARP = 32,
    WARPGROUP = 128,
    SHARED_BASE = 1024,
    NUM_BARRIERS = 16,
    MAX_SHARED_BYTES = 232448,
    NUM_REGISTERS = 65536
};

enum order { IN_ORDER, ANY_READY, WARP_AHEAD };
enum landing { LAND_LATE, LAND_EARLY, LAND_BY_COIN };
enum async_kind { COPY, LOAD, STORE, PRODUCT, NUM_ASYNC_KINDS }; /* cp.async, TMA load, TMA store, wgmma */
enum state : uint8_t { READY, WAITING, FINISHED };

/* A cp.async in flight: 16 bytes, or zeros where from is NULL. */
struct async_copy {
    uint32_t to;
    const void *from;
    bool landed;
};

struct block;
struct warp;
struct cluster;
struct pending_store; /* simt_tma.cpp */
struct warp_products; /* simt_wgmma.cpp */
struct product_log;   /* the same */
struct access_log;    /* conflicts.cpp */

/* What a waiting thread waits for, for wake-ups (object) and for the report (the rest). */
struct wait_reason {
    const void *object;
    const char *what;
    std::string (*describe)(const struct thread &);
    uint32_t detail;
};

struct thread {
    void *stack_pointer;
    void *collective_args;
    struct block *block;
    struct warp *warp;
    wait_reason reason;
    dim3 index; /* threadIdx */
    int number; /* in its block */
    state run_state;
    bool has_started, waits_for_cluster;
    uint32_t cluster_phase;              /* of its last cluster_barrier_arrive */
    uint32_t num_fences;                 /* fence_async_shared calls */
    int num_registers;                   /* registers_raise and _lower */
    std::vector<async_copy> open_copies; /* not yet committed */
    std::vector<std::vector<async_copy>> copy_groups;
    std::vector<std::shared_ptr<pending_store>> open_stores;
    std::vector<std::vector<std::shared_ptr<pending_store>>> store_groups;
};

struct warp {
    thread *first;
    int num_lanes, num_finished, num_arrived;
    const char *op; /* the collective its lanes are gathering for */
    std::shared_ptr<warp_products> products;
    std::shared_ptr<access_log> accesses;
};

struct barrier {
    int expected; /* 0: nobody has arrived */
    int arrived;
};

struct mbarrier {
    int count, pending; /* arrivals */
    int64_t bytes;      /* expected and not yet landed */
    uint32_t phase;
    thread *unfenced; /* who initialised it, until mbarrier_init_fence */
};

struct block {
    struct cluster *cluster;
    dim3 index; /* blockIdx */
    int rank, num_threads, num_finished;
    thread *first;
    std::vector<warp> warps;
    char *shared;
    size_t shared_bytes;
    barrier barriers[NUM_BARRIERS];
    std::map<uint32_t, mbarrier> mbarriers;
    std::vector<uint32_t> writers; /* of each shared word, by plain stores: see note_write */
    int free_registers;
    std::vector<std::shared_ptr<product_log>> product_logs; /* one a warpgroup */
};

/* A copy of the TMA engine that has not landed yet. */
struct pending_copy {
    thread *issuer;
    std::function<void()> land;
};

struct launch_shape {
    const char *kernel;
    dim3 grid, block;
    int cluster_blocks;
    size_t shared_bytes;
};

struct cluster {
    const launch_shape *shape;
    const std::function<void()> *body;
    enum order order;
    enum landing landing[NUM_ASYNC_KINDS];
    thread *woken; /* the last one to be woken */
    std::vector<block> blocks;
    std::vector<thread> threads; /* block by block */
    int num_finished;
    std::vector<pending_copy> in_flight;
    int barrier_arrived;    /* at the cluster barrier */
    uint32_t barrier_phase; /* how often it has opened */
    void *host_stack_pointer;
    uint32_t random;
    std::string failure; /* not empty: the cluster was abandoned */
};

/* The fiber that runs on this OS thread; NULL outside kernels. */
extern __thread thread *current;

/* random_below - 0 .. limit-1 from the cluster's own sequence: a function of the seed and the cluster alone.
 */
uint32_t random_below(uint32_t limit);

/* lands_now - whether an asynchronous operation that starts now also does its work now: reads and writes. */
bool lands_now(async_kind kind);

/* fail - a bug in the kernel: report it with kernel, block and thread, then abort, or throw simt::failure
 * from the launch where a test asked for it. */
[[noreturn]] void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* report - the same without a place.  report_deadlock - nothing can run any more. */
[[noreturn]] void report(const std::string &message);
[[noreturn]] void report_deadlock(const cluster &c);

/* wait_for - give way until some thread calls wake(reason.object).  yield - give way as the seed says. */
void wait_for(const wait_reason &reason);
void wake(const void *object);
void yield();

/* warp_collective - leave args and wait; the last of 32 lanes runs the operation for all of them. */
void warp_collective(const char *op, void *args, void (*run)(void *const lanes[WARP]));

/* shared_pointer - the host byte behind a shared address of the calling thread's block (or of b); fails
 * outside of the block's memory, or when address is not a multiple of align. */
char *shared_pointer(const char *op, uint32_t address, size_t size_bytes, size_t align);
char *shared_pointer(const block &b, const char *op, uint32_t address, size_t size_bytes, size_t align);

/* note_write - the calling thread has written shared bytes by a plain store.
 * check_fenced - wgmma or TMA is about to touch these bytes: fails when a plain store to one of them was not
 * followed by its writer's fence_async_shared.  forget_writes - they have been overwritten by TMA. */
void note_write(block &b, uint32_t address, size_t size_bytes);
void check_fenced(const block &b, const char *op, uint32_t address, size_t size_bytes);
void forget_writes(block &b, uint32_t address, size_t size_bytes);

/* prepare_stack - make the thread a fiber that starts at the kernel, on the stack that ends at top.
 * run_fibers - run the cluster's fibers until all have returned, or one has failed. */
void prepare_stack(thread &t, char *top);
void run_fibers(cluster &c);

/* kernel_name - without the parentheses that LAUNCH needs around templates. */
std::string kernel_name(const char *text);

/* env_number - the value of an environment variable. */
uint32_t env_number(const char *name, uint32_t otherwise);

/* run_grid - run all blocks of a launch, on SIMT_THREADS OS threads. */
void run_grid(const launch_shape &shape, const std::function<void()> &body);

/* note_access - count the access of this lane, made at that place of the program, towards bank conflicts. */
void note_access(const char *op, const void *call, uint32_t address, size_t size_bytes);

/* start_in_flight - an asynchronous copy of the calling thread: lands now or later, as the seed says. */
void start_in_flight(std::function<void()> land);

/* What a thread, a warp and a block must have completed when they end. */
void finish_copies(const thread &t);
void finish_stores(thread &t);
void finish_products(const warp &w);
void finish_accesses(warp &w);
void finish_block_sm90(const block &b);

} // namespace simt
