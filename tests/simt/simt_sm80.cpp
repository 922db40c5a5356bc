/* simt_sm80.cpp - host twins of kernels/cuda/dev.h: memory, collectives, barriers, copies, matrices. */
#include "kernels/cuda/dev.h"

#include "control.h"
#include "row8.h"

/* --- Arithmetic. */

float simt::exp2_error, simt::reciprocal_error;

void simt::set_approximation_errors(float exp2, float reciprocal) {
    exp2_error = exp2;
    reciprocal_error = reciprocal;
}

using namespace simt;

/* --- Global memory. */

static void check_global(const char *op, const void *global, size_t align) {
    if ((uintptr_t)global % align)
        fail("%s at global address %p: not a multiple of %zu", op, global, align);
}

template <class T> static T load_global(const char *op, const void *global) {
    check_global(op, global, sizeof(T));
    T v;
    memcpy(&v, global, sizeof v);
    return v;
}

template <class T> static void store_global(const char *op, void *global, T v) {
    check_global(op, global, sizeof(T));
    memcpy(global, &v, sizeof v);
}

vec16 load16(const void *global) {
    return load_global<vec16>("load16", global);
}

void store16(void *global, vec16 v) {
    store_global("store16", global, v);
}

/* What it brings nearer must be there to be read: more than a GPU asks for. */
void prefetch(const void *global) {
    (void)load_global<uint8_t>("prefetch", global);
}

uint2 load8(const void *global) {
    return load_global<uint2>("load8", global);
}

void store8(void *global, uint2 v) {
    store_global("store8", global, v);
}

/* --- Shared memory. */

uint32_t shared_address(const void *pointer) {
    const block &b = *current->block;
    size_t offset = (size_t)((const char *)pointer - b.shared);
    if (offset > b.shared_bytes)
        fail("shared_address of %p, which is not in shared memory", pointer);
    return (uint32_t)offset + SHARED_BASE;
}

/* call - the place in the kernel, for the count of bank conflicts. */
template <class T> static T load_shared(const char *op, const void *call, uint32_t address) {
    T v;
    memcpy(&v, shared_pointer(op, address, sizeof v, sizeof v), sizeof v);
    note_access(op, call, address, sizeof v);
    return v;
}

template <class T> static void store_shared(const char *op, const void *call, uint32_t address, T v) {
    memcpy(shared_pointer(op, address, sizeof v, sizeof v), &v, sizeof v);
    note_write(*current->block, address, sizeof v);
    note_access(op, call, address, sizeof v);
}

#define CALL __builtin_return_address(0)

vec16 shared_load16(uint32_t address) {
    return load_shared<vec16>("shared_load16", CALL, address);
}
uint2 shared_load8(uint32_t address) {
    return load_shared<uint2>("shared_load8", CALL, address);
}
uint32_t shared_load4(uint32_t address) {
    return load_shared<uint32_t>("shared_load4", CALL, address);
}
uint16_t shared_load2(uint32_t address) {
    return load_shared<uint16_t>("shared_load2", CALL, address);
}
void shared_store16(uint32_t address, vec16 v) {
    store_shared("shared_store16", CALL, address, v);
}
void shared_store8(uint32_t address, uint2 v) {
    store_shared("shared_store8", CALL, address, v);
}
void shared_store4(uint32_t address, uint32_t v) {
    store_shared("shared_store4", CALL, address, v);
}
void shared_store2(uint32_t address, uint16_t v) {
    store_shared("shared_store2", CALL, address, v);
}

/* --- Shuffles and votes. */

struct shuffle {
    uint32_t v;
    int from; /* lane; outside of the warp: keep one's own */
    uint32_t result;
};

static void run_shuffle(void *const lanes[WARP]) {
    for (int i = 0; i < WARP; i++) {
        shuffle &mine = *(shuffle *)lanes[i];
        bool inside = mine.from >= 0 && mine.from < WARP;
        mine.result = inside ? ((shuffle *)lanes[mine.from])->v : mine.v;
    }
}

static uint32_t shuffle_from(const char *op, uint32_t v, int from) {
    shuffle args = {v, from, 0};
    warp_collective(op, &args, run_shuffle);
    return args.result;
}

static int lane() {
    return current->number % WARP;
}

uint32_t shfl(uint32_t v, int from) {
    return shuffle_from("shfl", v, from & (WARP - 1));
}
uint32_t shfl_xor(uint32_t v, int mask) {
    return shuffle_from("shfl_xor", v, lane() ^ mask);
}
uint32_t shfl_down(uint32_t v, int distance) {
    return shuffle_from("shfl_down", v, lane() + distance);
}
uint32_t shfl_up(uint32_t v, int distance) {
    return shuffle_from("shfl_up", v, lane() - distance);
}

struct vote_args {
    bool vote;
    uint32_t result;
};

static void run_ballot(void *const lanes[WARP]) {
    uint32_t votes = 0;
    for (int i = 0; i < WARP; i++)
        votes |= (uint32_t)((vote_args *)lanes[i])->vote << i;
    for (int i = 0; i < WARP; i++)
        ((vote_args *)lanes[i])->result = votes;
}

uint32_t warp_ballot(bool vote) {
    vote_args args = {vote, 0};
    warp_collective("warp_ballot", &args, run_ballot);
    return args.result;
}

void warp_barrier() {
    warp_collective("warp_barrier", nullptr, [](void *const *) {});
}

/* --- Barriers. */

static std::string describe_barrier(const thread &t) {
    const barrier &bar = t.block->barriers[t.reason.detail];
    return "barrier " + std::to_string(t.reason.detail) + ", " + std::to_string(bar.arrived) + " of " +
           std::to_string(bar.expected) + " threads have arrived";
}

static void check_barrier(const char *op, int id, int num_threads) {
    const block &b = *current->block;
    if (id < 0 || id >= NUM_BARRIERS || num_threads < 1 ||
        num_threads > (b.num_threads + WARP - 1) / WARP * WARP)
        fail("%s(%d, %d): no such barrier in a block of %d threads", op, id, num_threads, b.num_threads);
    const barrier &bar = b.barriers[id];
    if (bar.expected && bar.expected != num_threads)
        fail("%s(%d, %d): %d threads are there already and expect %d", op, id, num_threads, bar.arrived,
             bar.expected);
}

/* True when this arrival opened the barrier. */
static bool arrive(const char *op, int id, int num_threads) {
    check_barrier(op, id, num_threads);
    barrier &bar = current->block->barriers[id];
    bar.expected = num_threads;
    if (++bar.arrived < num_threads)
        return false;
    bar = {0, 0};
    wake(&bar);
    return true;
}

static void arrive_and_wait(const char *op, int id, int num_threads) {
    if (arrive(op, id, num_threads))
        yield();
    else
        wait_for({&current->block->barriers[id], op, describe_barrier, (uint32_t)id});
}

void block_barrier() {
    arrive_and_wait("block_barrier", 0, current->block->num_threads);
}

static void check_named(const char *op, int id, int num_threads) {
    if (id == 0)
        fail("%s(0, %d): barrier 0 is block_barrier's", op, num_threads);
    if (num_threads % WARP)
        fail("%s(%d, %d): not a multiple of 32 threads", op, id, num_threads);
}

void named_barrier(int id, int num_threads) {
    check_named("named_barrier", id, num_threads);
    arrive_and_wait("named_barrier", id, num_threads);
}

void named_barrier_arrive(int id, int num_threads) {
    check_named("named_barrier_arrive", id, num_threads);
    arrive("named_barrier_arrive", id, num_threads);
    yield();
}

/* --- Asynchronous copies: landed at once, or not before the wait. */

static void land(async_copy &copy) {
    if (copy.landed)
        return;
    copy.landed = true;
    char *to = shared_pointer("cp_async16", copy.to, 16, 16);
    if (copy.from)
        memcpy(to, copy.from, 16);
    else
        memset(to, 0, 16);
    note_write(*current->block, copy.to, 16);
}

void cp_async16(uint32_t address, const void *global, bool valid) {
    shared_pointer("cp_async16", address, 16, 16);
    check_global("cp_async16", global, sizeof(vec16));
    note_access("cp_async16", CALL, address, 16);
    async_copy copy = {address, valid ? global : nullptr, false};
    if (lands_now(COPY))
        land(copy);
    current->open_copies.push_back(copy);
}

void cp_async_commit() {
    current->copy_groups.push_back(std::move(current->open_copies));
    current->open_copies.clear();
}

void simt::cp_async_wait(int num_in_flight) {
    auto &groups = current->copy_groups;
    while ((int)groups.size() > num_in_flight) {
        for (async_copy &copy : groups.front())
            land(copy);
        groups.erase(groups.begin());
    }
}

void simt::finish_copies(const thread &t) {
    if (!t.open_copies.empty())
        fail("thread returns with %zu copies neither committed nor waited for", t.open_copies.size());
    for (const auto &group : t.copy_groups)
        if (!group.empty())
            fail("thread returns with %zu copies that it has not waited for", group.size());
}

/* --- Matrices. */

struct matrix_load {
    uint32_t *r;
    uint32_t address;
};

static uint16_t matrix_element(const char *const rows[8], int row, int column) {
    uint16_t bits;
    memcpy(&bits, rows[row] + 2 * column, 2);
    return bits;
}

/* Each matrix is one part of a request: what 8 lanes address. */
static void note_rows(const char *op, const void *call, uint32_t address, int num_rows) {
    if (current->number % WARP < num_rows)
        note_access(op, call, address, 16);
}

template <int COUNT, bool TRANS> static void run_ldmatrix(void *const lanes[WARP]) {
    for (int i = 0; i < COUNT; i++) {
        const char *rows[8];
        for (int r = 0; r < 8; r++)
            rows[r] = shared_pointer("ldmatrix", ((matrix_load *)lanes[8 * i + r])->address, 16, 16);
        for (int l = 0; l < WARP; l++) {
            int row = l / 4, column = l % 4 * 2;
            uint32_t lo = TRANS ? matrix_element(rows, column, row) : matrix_element(rows, row, column);
            uint32_t hi =
                TRANS ? matrix_element(rows, column + 1, row) : matrix_element(rows, row, column + 1);
            ((matrix_load *)lanes[l])->r[i] = lo | hi << 16;
        }
    }
}

void ldmatrix4(uint32_t r[4], uint32_t address) {
    matrix_load args = {r, address};
    note_rows("ldmatrix4", CALL, address, 32);
    warp_collective("ldmatrix4", &args, run_ldmatrix<4, false>);
}
void ldmatrix4_trans(uint32_t r[4], uint32_t address) {
    matrix_load args = {r, address};
    note_rows("ldmatrix4_trans", CALL, address, 32);
    warp_collective("ldmatrix4_trans", &args, run_ldmatrix<4, true>);
}
void ldmatrix2(uint32_t r[2], uint32_t address) {
    matrix_load args = {r, address};
    note_rows("ldmatrix2", CALL, address, 16);
    warp_collective("ldmatrix2", &args, run_ldmatrix<2, false>);
}
void ldmatrix2_trans(uint32_t r[2], uint32_t address) {
    matrix_load args = {r, address};
    note_rows("ldmatrix2_trans", CALL, address, 16);
    warp_collective("ldmatrix2_trans", &args, run_ldmatrix<2, true>);
}

struct mma_args {
    float *c;
    const uint32_t *a, *b;
};

template <class T> static void run_mma(void *const lanes[WARP]) {
    float a[16][16], b[16][8], c[16][8];
    for (int l = 0; l < WARP; l++) {
        const mma_args &args = *(const mma_args *)lanes[l];
        int g = l / 4, t = l % 4 * 2;
        for (int i = 0; i < 4; i++) {
            float *pair = &a[g + i % 2 * 8][t + i / 2 * 8];
            unpack2<T>(args.a[i], pair, pair + 1);
            c[g + i / 2 * 8][t + i % 2] = args.c[i];
        }
        for (int i = 0; i < 2; i++)
            unpack2<T>(args.b[i], &b[t + i * 8][g], &b[t + i * 8 + 1][g]);
    }
    for (int m = 0; m < 16; m++) {
        row8 sum = load_row8(c[m]);
        for (int k = 0; k < 16; k++)
            multiply_add(sum, a[m][k], b[k]);
        store_row8(c[m], sum);
    }
    for (int l = 0; l < WARP; l++)
        for (int i = 0; i < 4; i++)
            ((mma_args *)lanes[l])->c[i] = c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
}

void simt::mma(float c[4], const uint32_t a[4], const uint32_t b[2], bool is_bf16) {
    mma_args args = {c, a, b};
    warp_collective("mma_16x8x16", &args, is_bf16 ? run_mma<bf16_t> : run_mma<f16_t>);
}
