/* shared.cpp - shared memory: checked addresses, and which stores wgmma and TMA must not see yet. */
#include "fibers.h"

namespace simt {

char *shared_pointer(const char *op, uint32_t address, size_t size_bytes, size_t align) {
    return shared_pointer(*current->block, op, address, size_bytes, align);
}

char *shared_pointer(const block &b, const char *op, uint32_t address, size_t size_bytes, size_t align) {
    if (address < SHARED_BASE || address - SHARED_BASE + size_bytes > b.shared_bytes)
        fail("%s of %zu bytes at shared offset %lld: outside of the block's %zu bytes", op, size_bytes,
             (long long)address - SHARED_BASE, b.shared_bytes);
    if (address % align)
        fail("%s at shared offset %u: not a multiple of %zu", op, address - SHARED_BASE, align);
    return b.shared + (address - SHARED_BASE);
}

/* A word's writer: the thread's number in its cluster, from 1, over the count of its fences at that time. The
 * write is fenced when the count has moved on.  0: written by nobody, or by TMA. */
enum { FENCE_BITS = 18, FENCE_MASK = (1 << FENCE_BITS) - 1 };

void note_write(block &b, uint32_t address, size_t size_bytes) {
    uint32_t number = (uint32_t)(current - b.cluster->threads.data()) + 1;
    uint32_t mark = number << FENCE_BITS | (current->num_fences & FENCE_MASK);
    for (size_t word = (address - SHARED_BASE) / 4; word <= (address - SHARED_BASE + size_bytes - 1) / 4;
         word++)
        b.writers[word] = mark;
}

void check_fenced(const block &b, const char *op, uint32_t address, size_t size_bytes) {
    for (size_t word = (address - SHARED_BASE) / 4; word <= (address - SHARED_BASE + size_bytes - 1) / 4;
         word++) {
        uint32_t mark = b.writers[word];
        if (!mark)
            continue;
        const thread &writer = b.cluster->threads[(mark >> FENCE_BITS) - 1];
        if ((writer.num_fences & FENCE_MASK) == (mark & FENCE_MASK))
            fail("%s at shared offset %zu: thread %d of block rank %d wrote there without fence_async_shared",
                 op, word * 4, writer.number, writer.block->rank);
    }
}

void forget_writes(block &b, uint32_t address, size_t size_bytes) {
    for (size_t word = (address - SHARED_BASE) / 4; word <= (address - SHARED_BASE + size_bytes - 1) / 4;
         word++)
        b.writers[word] = 0;
}

} // namespace simt
