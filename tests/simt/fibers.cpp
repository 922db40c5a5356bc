/* fibers.cpp - the threads of a cluster as fibers: switching, scheduling, waiting, warp collectives. */
#include "fibers.h"

#include <cstdlib>
#include <cstring>

#include "control.h"

/* simt_switch - save this stack's callee-saved registers and pointer, continue on the other stack. */
extern "C" void simt_switch(void **save, void *load);
asm(".text\n"
    ".globl simt_switch\n"
    ".type simt_switch, @function\n"
    "simt_switch:\n"
    "    push %rbp\n    push %rbx\n    push %r12\n    push %r13\n    push %r14\n    push %r15\n"
    "    mov %rsp, (%rdi)\n"
    "    mov %rsi, %rsp\n"
    "    pop %r15\n    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbx\n    pop %rbp\n"
    "    ret\n" /* predicted well: fibers mostly stop in the same function */
    ".size simt_switch, . - simt_switch\n");

namespace simt {

__thread thread *current;

/* --- What the seed decides. */

uint32_t random_below(uint32_t limit) {
    uint32_t &random = current->block->cluster->random;
    random = random * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)random * limit >> 32);
}

bool lands_now(async_kind kind) {
    landing when = current->block->cluster->landing[kind];
    return when == LAND_EARLY || (when == LAND_BY_COIN && random_below(2) == 0);
}

static void draw_landings(cluster &c) {
    uint32_t mode = seed() / 3 % 3;
    for (int kind = 0; kind < NUM_ASYNC_KINDS; kind++) {
        bool writes_shared = kind == COPY || kind == LOAD;
        landing extreme = writes_shared == (mode == 1) ? LAND_EARLY : LAND_LATE;
        c.landing[kind] = mode == 2 ? (landing)random_below(3) : extreme;
    }
}

/* --- Copies of the TMA engine in flight. */

/* Failures are the issuer's, whoever runs when the copy lands. */
static void land_as_issuer(const pending_copy &copy) {
    thread *here = current;
    current = copy.issuer;
    copy.land();
    current = here;
}

static bool land_one(cluster &c) {
    if (c.in_flight.empty())
        return false;
    size_t i = c.order == IN_ORDER ? 0 : random_below((uint32_t)c.in_flight.size());
    pending_copy copy = c.in_flight[i];
    c.in_flight.erase(c.in_flight.begin() + (ptrdiff_t)i);
    land_as_issuer(copy);
    return true;
}

void start_in_flight(std::function<void()> land) {
    if (lands_now(LOAD))
        land();
    else
        current->block->cluster->in_flight.push_back({current, std::move(land)});
}

/* --- Scheduling. */

static thread *first_ready(cluster &c, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++)
        if (c.threads[i].run_state == READY)
            return &c.threads[i];
    return nullptr;
}

static thread *next_ready(cluster &c, size_t from) {
    if (from + 1 < c.threads.size() && c.threads[from + 1].run_state == READY &&
        c.threads[from].run_state != READY)
        return &c.threads[from + 1]; /* the usual case: a warp gathers lane by lane */
    thread *found = first_ready(c, from, c.threads.size());
    return found ? found : first_ready(c, 0, from);
}

static thread *pick_ready(cluster &c) {
    size_t here = (size_t)(current - c.threads.data());
    if (c.order == IN_ORDER)
        return next_ready(c, here);
    size_t start = random_below((uint32_t)c.threads.size());
    if (c.order == ANY_READY) /* who waited may be next: as good a race as any */
        return c.woken && c.woken->run_state == READY && start % 2 ? c.woken : next_ready(c, start);
    const warp &mine = *current->warp;
    size_t begin = (size_t)(mine.first - c.threads.data());
    thread *found = first_ready(c, begin, begin + (size_t)mine.num_lanes);
    return found ? found : next_ready(c, start);
}

/* Leave the current fiber, whose state says whether it may come back.  Copies land late: when nothing else
 * can happen; or, by the toss of a coin, at any time. */
static void pass_on() {
    cluster &c = *current->block->cluster;
    if (c.landing[LOAD] == LAND_BY_COIN && !c.in_flight.empty() && random_below(8) == 0)
        land_one(c);
    thread *next;
    while (!(next = pick_ready(c)))
        if (!land_one(c))
            report_deadlock(c);
    thread *me = current;
    if (next == me)
        return;
    current = next;
    simt_switch(&me->stack_pointer, next->stack_pointer);
}

void wait_for(const wait_reason &reason) {
    current->reason = reason;
    current->run_state = WAITING;
    pass_on();
}

void wake(const void *object) {
    for (thread &t : current->block->cluster->threads)
        if (t.run_state == WAITING && t.reason.object == object) {
            t.run_state = READY;
            t.block->cluster->woken = &t;
        }
}

void yield() {
    if (current->block->cluster->order != IN_ORDER)
        pass_on();
}

/* --- Collectives. */

static std::string describe_warp(const thread &t) {
    return std::to_string(t.warp->num_arrived) + " of 32 lanes have arrived";
}

static void check_collective(const warp &w, const char *op) {
    if (w.num_lanes < WARP)
        fail("%s in a warp of %d threads: collectives need full warps", op, w.num_lanes);
    if (w.num_finished)
        fail("%s after %d lanes of the warp have returned", op, w.num_finished);
    if (w.num_arrived && w.op != op && strcmp(w.op, op) != 0)
        fail("divergent collective: %s while %d lanes of the warp are in %s", op, w.num_arrived, w.op);
}

void warp_collective(const char *op, void *args, void (*run)(void *const lanes[WARP])) {
    warp &w = *current->warp;
    check_collective(w, op);
    w.op = op;
    current->collective_args = args;
    if (++w.num_arrived < WARP) {
        wait_for({&w, op, describe_warp, 0});
        return;
    }
    w.num_arrived = 0;
    void *lanes[WARP];
    for (int i = 0; i < WARP; i++)
        lanes[i] = w.first[i].collective_args;
    run(lanes);
    for (int i = 0; i < WARP; i++)
        w.first[i].run_state = READY;
    yield();
}

/* --- A fiber's life. */

static void finish_block(const block &b) {
    for (const barrier &bar : b.barriers)
        if (bar.expected)
            fail("block ends with barrier %d half full: %d of %d threads arrived", (int)(&bar - b.barriers),
                 bar.arrived, bar.expected);
    finish_block_sm90(b);
}

static void finish_thread() {
    thread &me = *current;
    warp &w = *me.warp;
    if (w.num_arrived)
        fail("thread returns while %d lanes of its warp are in %s", w.num_arrived, w.op);
    finish_copies(me);
    finish_stores(me);
    finish_products(w);
    me.run_state = FINISHED;
    if (++w.num_finished == w.num_lanes)
        finish_accesses(w);
    if (++me.block->num_finished == me.block->num_threads)
        finish_block(*me.block);
}

static void fiber_main() {
    cluster &c = *current->block->cluster;
    current->has_started = true;
    try {
        (*c.body)();
        finish_thread();
        if (++c.num_finished < (int)c.threads.size())
            pass_on();
    } catch (const failure &caught) {
        c.failure = caught.what();
    }
    simt_switch(&current->stack_pointer, c.host_stack_pointer); /* for good */
    abort();
}

/* A new fiber's stack looks as if simt_switch had been called from fiber_main's first instruction. */
void prepare_stack(thread &t, char *top) {
    void **sp = (void **)top;
    *--sp = nullptr; /* keeps the stack 16-byte aligned at the entry, as after a call */
    *--sp = (void *)fiber_main;
    sp -= 6; /* the callee-saved registers */
    memset(sp, 0, 6 * sizeof *sp);
    t.stack_pointer = sp;
}

void run_fibers(cluster &c) {
    current = c.threads.data();
    draw_landings(c);
    current = pick_ready(c);
    simt_switch(&c.host_stack_pointer, current->stack_pointer);
    current = nullptr;
}

} // namespace simt
