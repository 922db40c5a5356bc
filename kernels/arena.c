/* arena.c - see arena.h.  Memory comes from mmap: zero pages that cost nothing until touched. */
#include "kernels/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { ARENA_ALIGN_BYTES = 64 };

void *arena_take(struct arena *arena, int64_t count, enum dtype dtype) {
    size_t bytes = (size_t)count * dtype_bytes(dtype);
    size_t start = arena->used_bytes;
    arena->used_bytes = start + (bytes + ARENA_ALIGN_BYTES - 1) / ARENA_ALIGN_BYTES * ARENA_ALIGN_BYTES;
    if (!arena->base)
        return NULL;
    CHECK(arena->used_bytes <= arena->size_bytes, "arena '%s' is too small: %zu of %zu bytes", arena->name,
          arena->used_bytes, arena->size_bytes);
    return arena->base + start;
}

void arena_allocate(struct arena *arena) {
    arena->size_bytes = arena->used_bytes;
    arena->used_bytes = 0;
    if (!arena->size_bytes)
        arena->size_bytes = ARENA_ALIGN_BYTES;
    void *base = mmap(NULL, arena->size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(base != MAP_FAILED,
          "out of memory: %.2f GiB for %s: %s; use more ranks, a higher parallel.stage or "
          "train.recompute: layer",
          (double)arena->size_bytes / (1 << 30), arena->name, strerror(errno));
    arena->base = base;
}

void arena_free(struct arena *arena) {
    if (arena->base)
        munmap(arena->base, arena->size_bytes);
    arena->base = NULL;
}
