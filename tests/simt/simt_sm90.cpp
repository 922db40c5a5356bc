/* simt_sm90.cpp - host twins of kernels/cuda/dev_sm90.h: mbarriers, registers, clusters. */
#include "control.h"
#include "simt_internal.h"

using namespace simt;

/* --- mbarriers.  The kernel's 8 bytes hold a mark, so that stray writes to them are noticed. */

static const char MBARRIER_MARK[8] = {'m', 'b', 'a', 'r', 'r', 'i', 'e', 'r'};

simt::mbarrier &simt::find_mbarrier(block &b, const char *op, uint32_t address) {
    char *bytes = shared_pointer(b, op, address, 8, 8);
    auto found = b.mbarriers.find(address);
    if (found == b.mbarriers.end())
        fail("%s at shared offset %u: no mbarrier was initialised there", op, address - SHARED_BASE);
    if (memcmp(bytes, MBARRIER_MARK, 8) != 0)
        fail("%s at shared offset %u: something was written over the mbarrier", op, address - SHARED_BASE);
    return found->second;
}

static mbarrier &own_mbarrier(const char *op, uint32_t address) {
    return find_mbarrier(*current->block, op, address);
}

void mbarrier_init(uint32_t address, int count) {
    char *bytes = shared_pointer("mbarrier_init", address, 8, 8);
    if (count < 1 || count >= 1 << 20)
        fail("mbarrier_init for %d arrivals", count);
    memcpy(bytes, MBARRIER_MARK, 8);
    if (!current->block->mbarriers.insert({address, {count, count, 0, 0, current}}).second)
        fail("mbarrier_init at shared offset %u: there is one already", address - SHARED_BASE);
}

void mbarrier_init_fence() {
    for (auto &entry : current->block->mbarriers)
        if (entry.second.unfenced == current)
            entry.second.unfenced = nullptr;
}

void mbarrier_invalidate(uint32_t address) {
    own_mbarrier("mbarrier_invalidate", address);
    current->block->mbarriers.erase(address);
}

void simt::complete_phase(mbarrier &bar) {
    if (bar.pending || bar.bytes)
        return;
    bar.phase++;
    bar.pending = bar.count;
    wake(&bar);
}

static void arrive(const char *op, mbarrier &bar, uint32_t address) {
    if (!bar.pending)
        fail("%s at shared offset %u: all %d arrivals of the phase are in", op, address - SHARED_BASE,
             bar.count);
    bar.pending--;
    complete_phase(bar);
    yield();
}

void mbarrier_expect_bytes(uint32_t address, uint32_t bytes) {
    own_mbarrier("mbarrier_expect_bytes", address).bytes += bytes;
}

void mbarrier_arrive(uint32_t address) {
    arrive("mbarrier_arrive", own_mbarrier("mbarrier_arrive", address), address);
}

void mbarrier_arrive_expect_bytes(uint32_t address, uint32_t bytes) {
    mbarrier &bar = own_mbarrier("mbarrier_arrive_expect_bytes", address);
    bar.bytes += bytes;
    arrive("mbarrier_arrive_expect_bytes", bar, address);
}

static std::string describe_mbarrier(const thread &t) {
    const mbarrier &bar = *(const mbarrier *)t.reason.object;
    return "mbarrier at shared offset " + std::to_string(t.reason.detail - SHARED_BASE) + ", phase " +
           std::to_string(bar.phase) + " lacks " + std::to_string(bar.pending) + " of " +
           std::to_string(bar.count) + " arrivals and " + std::to_string(bar.bytes) + " bytes";
}

void mbarrier_wait(uint32_t address, uint32_t parity) {
    mbarrier &bar = own_mbarrier("mbarrier_wait", address);
    if (parity > 1)
        fail("mbarrier_wait for parity %u", parity);
    while ((bar.phase & 1) == parity)
        wait_for({&bar, "mbarrier_wait", describe_mbarrier, address});
}

void simt::finish_block_sm90(const block &b) {
    for (const auto &entry : b.mbarriers)
        if (entry.second.bytes)
            fail("block ends while its mbarrier at shared offset %u expects %lld bytes",
                 entry.first - SHARED_BASE, (long long)entry.second.bytes);
    for (const pending_copy &copy : b.cluster->in_flight)
        if (copy.issuer->block == &b)
            fail("block ends while a TMA load of thread %d is in flight", copy.issuer->number);
    finish_product_logs(b);
}

/* --- The fence between stores and wgmma or TMA. */

void fence_async_shared() {
    current->num_fences++;
    mbarrier_init_fence();
}

/* --- Registers.  The block owns what it was launched with; nothing comes from outside. */

static std::string describe_registers(const thread &t) {
    return std::to_string(t.reason.detail) + " registers a thread wanted, " +
           std::to_string(t.num_registers) + " held, " + std::to_string(t.block->free_registers) +
           " of the block's " + std::to_string(NUM_REGISTERS) + " are free";
}

void simt::registers_change(int num_registers, bool raise) {
    const char *op = raise ? "registers_raise" : "registers_lower";
    warp_collective(op, nullptr, [](void *const *) {});
    int more = num_registers - current->num_registers;
    if (raise ? more < 0 : more > 0)
        fail("%s<%d> while the thread has %d registers", op, num_registers, current->num_registers);
    block &b = *current->block;
    while (b.free_registers < more)
        wait_for({&b.free_registers, op, describe_registers, (uint32_t)num_registers});
    b.free_registers -= more;
    current->num_registers = num_registers;
    if (!raise)
        wake(&b.free_registers);
}

/* --- One lane of a warp: any, but always the same. */

bool elect_one() {
    warp_collective("elect_one", nullptr, [](void *const *) {});
    return current->number % WARP == (int)(seed() * 13 % WARP);
}

/* --- Clusters.  An address of another block carries its rank, from 1, in the top bits. */

enum { RANK_SHIFT = 24, ADDRESS_MASK = (1 << RANK_SHIFT) - 1 };

uint32_t cluster_rank() {
    return (uint32_t)current->block->rank;
}

static std::string describe_cluster(const thread &t) {
    const cluster &c = *t.block->cluster;
    return std::to_string(c.barrier_arrived) + " of " + std::to_string(c.threads.size()) +
           " threads of the cluster have arrived";
}

void cluster_barrier_arrive() {
    cluster &c = *current->block->cluster;
    if (current->waits_for_cluster)
        fail("cluster_barrier_arrive twice without cluster_barrier_wait");
    warp_collective("cluster_barrier_arrive", nullptr, [](void *const *) {});
    current->waits_for_cluster = true;
    current->cluster_phase = c.barrier_phase;
    if (++c.barrier_arrived == (int)c.threads.size()) {
        c.barrier_arrived = 0;
        c.barrier_phase++;
        wake(&c.barrier_phase);
    }
    yield();
}

void cluster_barrier_wait() {
    cluster &c = *current->block->cluster;
    if (!current->waits_for_cluster)
        fail("cluster_barrier_wait without cluster_barrier_arrive");
    while (c.barrier_phase == current->cluster_phase)
        wait_for({&c.barrier_phase, "cluster_barrier_wait", describe_cluster, 0});
    current->waits_for_cluster = false;
}

uint32_t map_shared_rank(uint32_t address, uint32_t rank) {
    const cluster &c = *current->block->cluster;
    if (rank >= c.blocks.size())
        fail("map_shared_rank to rank %u of a cluster of %zu blocks", rank, c.blocks.size());
    if (address >> RANK_SHIFT)
        fail("map_shared_rank of an address that is mapped already");
    return address | (rank + 1) << RANK_SHIFT;
}

static block &mapped_block(const char *op, uint32_t mapped) {
    cluster &c = *current->block->cluster;
    uint32_t rank = (mapped >> RANK_SHIFT) - 1;
    if (rank >= c.blocks.size())
        fail("%s: not an address of map_shared_rank", op);
    block &b = c.blocks[rank];
    bool has_started =
        std::any_of(b.first, b.first + b.num_threads, [](const thread &t) { return t.has_started; });
    if (!has_started)
        fail("%s: block rank %u may not have started: cluster barrier missing", op, rank);
    if (b.num_finished == b.num_threads)
        fail("%s: block rank %u has ended, its shared memory is gone: cluster barrier missing", op, rank);
    return b;
}

template <class T> static T load_mapped(const char *op, uint32_t mapped) {
    T v;
    const block &b = mapped_block(op, mapped);
    memcpy(&v, shared_pointer(b, op, mapped & ADDRESS_MASK, sizeof v, sizeof v), sizeof v);
    return v;
}

template <class T> static void store_mapped(const char *op, uint32_t mapped, T v) {
    block &b = mapped_block(op, mapped);
    memcpy(shared_pointer(b, op, mapped & ADDRESS_MASK, sizeof v, sizeof v), &v, sizeof v);
    note_write(b, mapped & ADDRESS_MASK, sizeof v);
}

vec16 cluster_load16(uint32_t mapped) {
    return load_mapped<vec16>("cluster_load16", mapped);
}
uint32_t cluster_load4(uint32_t mapped) {
    return load_mapped<uint32_t>("cluster_load4", mapped);
}
void cluster_store16(uint32_t mapped, vec16 v) {
    store_mapped("cluster_store16", mapped, v);
}
void cluster_store4(uint32_t mapped, uint32_t v) {
    store_mapped("cluster_store4", mapped, v);
}

void mbarrier_arrive_cluster(uint32_t mapped) {
    const char *op = "mbarrier_arrive_cluster";
    uint32_t address = mapped & ADDRESS_MASK;
    mbarrier &bar = find_mbarrier(mapped_block(op, mapped), op, address);
    if (bar.unfenced)
        fail("%s at shared offset %u: initialised without mbarrier_init_fence", op, address - SHARED_BASE);
    arrive(op, bar, address);
}
