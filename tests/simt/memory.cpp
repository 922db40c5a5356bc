/* memory.cpp - first-fit allocation in one protected region. */
#include "memory.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "gpu.h"

namespace {

enum : size_t { ALIGN = 256, BAND = 512, HUGE_PAGE = 2 << 20 };
enum { POISON = 0xff };                 /* bytes of new memory: NaN as f32, bf16 and f16, -1 as an integer */
enum : uint16_t { BAND_MARK = 0xfffe }; /* another NaN, so that a read past the end is NaN as well */

struct region {
    char *base = nullptr;
    size_t total_bytes = 0, used_bytes = 0;
    size_t touched_bytes = 0; /* what protection has to cover: up to the highest address handed out */
    int depth = 0;            /* how many times open */
    std::map<char *, size_t> allocations; /* start -> bytes asked for */
    struct sigaction old_handler;
};

size_t round_up(size_t value, size_t unit) {
    return (value + unit - 1) / unit * unit;
}

/* footprint - an allocation with the band after it; the band of its neighbour stands before it. */
size_t footprint(size_t size_bytes) {
    return round_up(size_bytes, ALIGN) + BAND;
}

void fill_band(char *start, size_t size_bytes) {
    for (size_t i = 0; i < size_bytes; i++)
        start[i] = (char)(i % 2 ? BAND_MARK >> 8 : BAND_MARK & 0xff);
}

void on_fault(int, siginfo_t *info, void *);

/* region_create - reserve the addresses; the band before the first allocation is there from the start. */
region *region_create() {
    region *r = new region;
    r->total_bytes = (size_t)gpu_number("SIMT_MEMORY_BYTES", 4L << 30);
    size_t reserved_bytes = round_up(r->total_bytes, HUGE_PAGE);
    void *address = mmap(nullptr, reserved_bytes + HUGE_PAGE, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) {
        perror("simt: cannot reserve the device memory");
        abort();
    }
    /* Aligned to huge pages: opening and closing then changes one page table entry for 2 MiB. */
    r->base = (char *)round_up((size_t)address, HUGE_PAGE);
    madvise(r->base, reserved_bytes, MADV_HUGEPAGE);
    r->touched_bytes = HUGE_PAGE;
    /* All that will be touched: where a part of a huge page is writable alone, small pages are taken, and stay. */
    mprotect(r->base, r->touched_bytes, PROT_READ | PROT_WRITE);
    fill_band(r->base, BAND);
    mprotect(r->base, r->touched_bytes, PROT_NONE);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &r->old_handler);
    return r;
}

region &the_region() {
    static region *r = region_create();
    return *r;
}

/* on_fault - say what the address was, then let the fault take its course with the handler before ours. */
void on_fault(int, siginfo_t *info, void *) {
    region &r = the_region();
    if (memory_is_device(info->si_addr)) {
        char line[160];
        int length = snprintf(line, sizeof line, "simt: %s touched device memory at offset %zu; %s\n",
                              r.depth ? "device work" : "the host", (size_t)((char *)info->si_addr - r.base),
                              r.depth ? "nothing was ever allocated there" : "only kernels and copies may");
        ssize_t written = write(STDERR_FILENO, line, (size_t)length);
        (void)written;
    }
    sigaction(SIGSEGV, &r.old_handler, nullptr);
}

void protect(int protection) {
    region &r = the_region();
    if (r.touched_bytes && mprotect(r.base, r.touched_bytes, protection)) {
        perror("simt: mprotect");
        abort();
    }
}

bool band_is_whole(const char *start, size_t size_bytes) {
    for (size_t i = 0; i < size_bytes; i++)
        if (start[i] != (char)(i % 2 ? BAND_MARK >> 8 : BAND_MARK & 0xff))
            return false;
    return true;
}

/* check_one - the bytes between the end of an allocation and whatever comes next. */
void check_one(char *start, size_t size_bytes) {
    size_t slack = footprint(size_bytes) - round_up(size_bytes, 2);
    if (band_is_whole(start + round_up(size_bytes, 2), slack))
        return;
    fprintf(stderr,
            "simt: device work wrote past the end of an allocation of %zu bytes (or before the next one)\n",
            size_bytes);
    abort();
}

/* find_room - the first gap between allocations that is large enough, or NULL. */
char *find_room(size_t wanted_bytes) {
    region &r = the_region();
    char *start = r.base + BAND;
    for (auto &[other, size_bytes] : r.allocations) {
        if ((size_t)(other - start) >= wanted_bytes)
            return start;
        start = other + footprint(size_bytes);
    }
    return (size_t)(r.base + r.total_bytes - start) >= wanted_bytes ? start : nullptr;
}

} // namespace

void *memory_allocate(size_t size_bytes) {
    region &r = the_region();
    if (size_bytes > r.total_bytes)
        return nullptr;
    char *start = find_room(footprint(size_bytes));
    if (!start)
        return nullptr;
    size_t end_bytes = (size_t)(start - r.base) + footprint(size_bytes);
    r.touched_bytes = std::max(r.touched_bytes, round_up(end_bytes, HUGE_PAGE));
    memory_open();
    memset(start, POISON, round_up(size_bytes, 2));
    fill_band(start + round_up(size_bytes, 2), footprint(size_bytes) - round_up(size_bytes, 2));
    memory_close();
    r.allocations[start] = size_bytes;
    r.used_bytes += footprint(size_bytes);
    return start;
}

bool memory_free(void *data) {
    region &r = the_region();
    auto found = r.allocations.find((char *)data);
    if (found == r.allocations.end())
        return false;
    memory_check();
    memory_open();
    memset(data, POISON, found->second);
    memory_close();
    r.used_bytes -= footprint(found->second);
    r.allocations.erase(found);
    return true;
}

bool memory_contains(const void *data, size_t size_bytes) {
    region &r = the_region();
    auto next = r.allocations.upper_bound((char *)data);
    if (next == r.allocations.begin())
        return false;
    --next;
    size_t offset = (size_t)((const char *)data - next->first);
    return offset <= next->second && size_bytes <= next->second - offset;
}

bool memory_is_device(const void *address) {
    region &r = the_region();
    return r.base && (const char *)address >= r.base && (const char *)address < r.base + r.total_bytes;
}

size_t memory_free_bytes() {
    region &r = the_region();
    return r.total_bytes - std::min(r.total_bytes, r.used_bytes + BAND);
}

size_t memory_total_bytes() {
    return the_region().total_bytes;
}

void memory_check() {
    region &r = the_region();
    memory_open();
    if (!band_is_whole(r.base, BAND)) {
        fprintf(stderr, "simt: device work wrote before the first allocation\n");
        abort();
    }
    for (auto &[start, size_bytes] : r.allocations)
        check_one(start, size_bytes);
    memory_close();
}

void memory_open() {
    if (the_region().depth++ == 0)
        protect(PROT_READ | PROT_WRITE);
}

void memory_close() {
    if (--the_region().depth == 0)
        protect(PROT_NONE);
}
