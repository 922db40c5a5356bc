/* simt_wgmma.cpp - host twin of wgmma: products that are in flight from issue to wgmma_wait.
 *
 * Each warp computes its 16 of the 64 rows on its own, as the hardware's four tensor cores do.  From issue to
 * the wait that covers it, the accumulators' values are held here and the thread's registers are NaN; shared
 * operands are read at once or as late as the wait, as the seed says. */
#include <deque>

#include "row8.h"
#include "simt_internal.h"

using namespace simt;

/* The 16 x N accumulators of a warp while products on them are in flight. */
struct held {
    float *registers[WARP];
    int n, num_products;
    alignas(32) float c[16][256];
};

struct flying {
    product p;
    uint32_t a[WARP][4]; /* a register operand */
    held *target;
    bool done;
};

struct simt::warp_products {
    bool fenced; /* a batch is open */
    std::vector<std::unique_ptr<flying>> open;
    std::deque<std::vector<std::unique_ptr<flying>>> batches;
    std::map<float *, std::unique_ptr<held>> accumulators; /* by lane 0's */
    size_t num_issued;
};

/* What the warps of a warpgroup have issued: the k-th product must be the same in all four. */
struct simt::product_log {
    std::vector<product> issued;
};

/* --- Operands. */

static float element_value(const char *bytes, bool is_bf16) {
    uint16_t bits;
    memcpy(&bits, bytes, 2);
    return is_bf16 ? f32_from_bf16(bits) : f32_from_f16(bits);
}

struct operand {
    uint32_t address, leading, stride;
    int swizzle;
};

static operand decode(uint64_t descriptor) {
    static const int swizzles[] = {0, 128, 64, 32};
    operand o = {(uint32_t)(descriptor & 0x3fff) << 4, (uint32_t)(descriptor >> 16 & 0x3fff) << 4,
                 (uint32_t)(descriptor >> 32 & 0x3fff) << 4, swizzles[descriptor >> 62]};
    if (descriptor >> 49 & 7)
        fail("wgmma: a descriptor with a base offset is not supported");
    return o;
}

/* Where 16 bytes of the operand lie: for k contiguous, elements k = 8 chunk .. of row (m or n) line; for m or
 * n contiguous, elements 8 chunk .. of row (k) line. */
static uint32_t chunk_address(const operand &o, bool trans, int line, int chunk) {
    int width = o.swizzle ? o.swizzle / 16 : 1; /* 16-byte units in a row */
    uint32_t group = (uint32_t)line / 8, in_group = (uint32_t)(line % 8 * width * 16);
    uint32_t across = (uint32_t)(chunk % width) * 16, beyond = (uint32_t)(chunk / width);
    if (!trans && o.swizzle)
        return o.address + group * o.stride + in_group + (uint32_t)chunk * 16;
    if (!trans || o.swizzle)
        return o.address + group * o.stride + in_group + across + beyond * o.leading;
    return o.address + group * o.leading + in_group + beyond * o.stride;
}

static const char *chunk_bytes(const operand &o, bool trans, int line, int chunk) {
    uint32_t address = swizzle_address(chunk_address(o, trans, line, chunk), o.swizzle);
    const char *bytes = shared_pointer("wgmma", address, 16, 16);
    check_fenced(*current->block, "wgmma", address, 16);
    return bytes;
}

/* Rows first .. first + count - 1 (of m or n) of an operand, as values[k][row]. */
static void read_operand(uint64_t descriptor, const product &p, bool trans, int first, int count,
                         float (*values)[256]) {
    operand o = decode(descriptor);
    int num_lines = trans ? 16 : count, num_chunks = trans ? count / 8 : 2;
    for (int line = 0; line < num_lines; line++)
        for (int chunk = 0; chunk < num_chunks; chunk++) {
            const char *bytes =
                chunk_bytes(o, trans, trans ? line : first + line, trans ? first / 8 + chunk : chunk);
            for (int i = 0; i < 8; i++) {
                int row = trans ? chunk * 8 + i : line, k = trans ? line : chunk * 8 + i;
                values[k][row] = element_value(bytes + 2 * i, p.is_bf16);
            }
        }
}

/* A from registers: the layout of mma_16x8x16. */
static void read_registers(const flying &f, float (*values)[256]) {
    for (int lane = 0; lane < WARP; lane++)
        for (int i = 0; i < 8; i++) {
            uint16_t bits = (uint16_t)(f.a[lane][i / 2] >> i % 2 * 16);
            int row = lane / 4 + i / 2 % 2 * 8, k = lane % 4 * 2 + i / 4 * 8 + i % 2;
            values[k][row] = element_value((const char *)&bits, f.p.is_bf16);
        }
}

/* --- Execution. */

static void multiply(held &h, bool accumulate, const float (*a)[256], const float (*b)[256]) {
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < h.n; n += 8) {
            row8 sum = accumulate ? load_row8(&h.c[m][n]) : row8();
            for (int k = 0; k < 16; k++)
                multiply_add(sum, a[k][m], &b[k][n]);
            store_row8(&h.c[m][n], sum);
        }
}

static void execute(flying &f) {
    if (f.done)
        return;
    alignas(32) float a[16][256], b[16][256];
    int first_row = (int)(current->number % WARPGROUP / WARP) * 16;
    if (f.p.registers)
        read_registers(f, a);
    else
        read_operand(f.p.a, f.p, f.p.trans_a, first_row, 16, a);
    read_operand(f.p.b, f.p, f.p.trans_b, 0, f.p.n, b);
    multiply(*f.target, f.p.accumulate, a, b);
    f.done = true;
}

/* --- Accumulators between the threads' registers and the warp's matrix. */

static int row_of(int lane, int i) {
    return lane / 4 + i / 2 % 2 * 8;
}
static int column_of(int lane, int i) {
    return i / 4 * 8 + lane % 4 * 2 + i % 2;
}

static void take_registers(held &h) {
    for (int lane = 0; lane < WARP; lane++) {
        for (int i = 0; i < h.n / 2; i++)
            h.c[row_of(lane, i)][column_of(lane, i)] = h.registers[lane][i];
        memset(h.registers[lane], 0xff, (size_t)h.n / 2 * sizeof(float));
    }
}

static void return_registers(const held &h) {
    for (int lane = 0; lane < WARP; lane++)
        for (int i = 0; i < h.n / 2; i++) {
            float &target = h.registers[lane][i];
            if (bits_from_f32(target) != 0xffffffffu)
                fail("wgmma: accumulator %d was written while a product on it was in flight", i);
            target = h.c[row_of(lane, i)][column_of(lane, i)];
        }
}

/* --- Issue. */

struct issue_args {
    float *accumulators;
    const product *p;
};

static warp_products &products_of(warp &w) {
    if (!w.products)
        w.products = std::make_shared<warp_products>();
    return *w.products;
}

static bool same_product(const product &x, const product &y) {
    return x.n == y.n && x.is_bf16 == y.is_bf16 && x.trans_a == y.trans_a && x.trans_b == y.trans_b &&
           x.accumulate == y.accumulate && x.a == y.a && x.b == y.b && !x.registers == !y.registers;
}

/* The four warps need not be there together, but they issue the same products in the same order. */
static void log_product(const product &p, size_t number) {
    block &b = *current->block;
    size_t group = (size_t)current->number / WARPGROUP;
    if ((int)(group + 1) * WARPGROUP > b.num_threads)
        fail("wgmma in an incomplete warpgroup: the block has %d threads", b.num_threads);
    auto &log = b.product_logs[group];
    if (!log)
        log = std::make_shared<product_log>();
    if (number == log->issued.size())
        log->issued.push_back(p);
    else if (!same_product(log->issued[number], p))
        fail("wgmma number %zu differs between the warps of a warpgroup", number);
}

static held &hold(warp_products &w, void *const lanes[WARP], int n) {
    auto &slot = w.accumulators[((issue_args *)lanes[0])->accumulators];
    if (slot) {
        if (slot->n != n)
            fail("wgmma of %d columns on accumulators that a product of %d columns is using", n, slot->n);
        return *slot;
    }
    slot = std::make_unique<held>();
    slot->n = n;
    slot->num_products = 0;
    for (int lane = 0; lane < WARP; lane++)
        slot->registers[lane] = ((issue_args *)lanes[lane])->accumulators;
    take_registers(*slot);
    return *slot;
}

static void execute_all(warp_products &w) {
    for (auto &batch : w.batches)
        for (auto &f : batch)
            execute(*f);
    for (auto &f : w.open)
        execute(*f);
}

static void run_issue(void *const lanes[WARP]) {
    warp_products &w = products_of(*current->warp);
    const product &p = *((issue_args *)lanes[0])->p;
    if (!w.fenced)
        fail("wgmma without wgmma_fence since the last batch");
    log_product(p, w.num_issued++);
    auto f = std::make_unique<flying>();
    f->p = p;
    f->done = false;
    for (int lane = 0; lane < WARP; lane++) {
        const product &mine = *((issue_args *)lanes[lane])->p;
        if (!same_product(mine, p))
            fail("wgmma: lane %d has other descriptors than lane 0", lane);
        if (mine.registers)
            memcpy(f->a[lane], mine.registers, sizeof f->a[lane]);
    }
    f->target = &hold(w, lanes, p.n);
    f->target->num_products++;
    w.open.push_back(std::move(f));
    if (lands_now(PRODUCT))
        execute_all(w);
}

void simt::wgmma(float *accumulators, const product &p) {
    issue_args args = {accumulators, &p};
    warp_collective("wgmma", &args, run_issue);
}

/* --- Batches. */

void wgmma_fence() {
    warp_collective("wgmma_fence", nullptr, [](void *const *) { products_of(*current->warp).fenced = true; });
}

void wgmma_commit() {
    warp_collective("wgmma_commit", nullptr, [](void *const *) {
        warp_products &w = products_of(*current->warp);
        w.batches.push_back(std::move(w.open));
        w.open.clear();
        w.fenced = false;
    });
}

static void finish_batch(warp_products &w) {
    for (auto &f : w.batches.front()) {
        execute(*f);
        held &h = *f->target;
        if (--h.num_products == 0) {
            return_registers(h);
            w.accumulators.erase(h.registers[0]);
        }
    }
    w.batches.pop_front();
}

void simt::wgmma_wait(int num_in_flight) {
    struct wait_args {
        int num_in_flight;
    } args = {num_in_flight};
    warp_collective("wgmma_wait", &args, [](void *const *lanes) {
        warp_products &w = products_of(*current->warp);
        while ((int)w.batches.size() > ((wait_args *)lanes[0])->num_in_flight)
            finish_batch(w);
    });
}

/* --- Ends. */

void simt::finish_products(const warp &w) {
    if (w.products && (!w.products->open.empty() || !w.products->batches.empty()))
        fail("thread returns with wgmma in flight: %zu batches not waited for, %zu products not committed",
             w.products->batches.size(), w.products->open.size());
}

void simt::finish_product_logs(const block &b) {
    for (const warp &w : b.warps) {
        const auto &log = b.product_logs[(size_t)(&w - b.warps.data()) * WARP / WARPGROUP];
        size_t issued = w.products ? w.products->num_issued : 0;
        if (log && issued != log->issued.size())
            fail("warp %d has issued %zu of its warpgroup's %zu products", (int)(&w - b.warps.data()), issued,
                 log->issued.size());
    }
}
