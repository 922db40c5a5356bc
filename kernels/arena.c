/* arena.c - memory that is sized first and handed out afterwards: the same calls do both. */
#include "kernels/arena.h"
#include "kernels/units.h"

/* note_piece - by the steps of FNV-1a, a piece at a time. */
static uint64_t note_piece(uint64_t layout, size_t size_bytes) {
    return (layout ^ size_bytes) * 0x100000001b3u;
}

/* Padded after each piece, so that all begin as aligned as the block itself. */
void *arena_take(struct arena *arena, int64_t count, enum dtype dtype) {
    size_t start = arena->used_bytes;
    arena->layout = note_piece(arena->layout, (size_t)count * dtype_bytes(dtype));
    arena->used_bytes = start + arena_piece_bytes((size_t)count * dtype_bytes(dtype));
    if (!arena->base)
        return NULL;
    CHECK(arena->used_bytes <= arena->size_bytes, "arena '%s' is too small: %zu of %zu bytes", arena->name,
          arena->used_bytes, arena->size_bytes);
    return arena->base + start;
}

struct tensor arena_take_1d(struct arena *arena, enum dtype dtype, int64_t d0) {
    return tensor_1d(arena_take(arena, d0, dtype), dtype, d0);
}

struct tensor arena_take_2d(struct arena *arena, enum dtype dtype, int64_t d0, int64_t d1) {
    return tensor_2d(arena_take(arena, d0 * d1, dtype), dtype, d0, d1);
}

struct tensor arena_take_3d(struct arena *arena, enum dtype dtype, int64_t d0, int64_t d1, int64_t d2) {
    return tensor_3d(arena_take(arena, d0 * d1 * d2, dtype), dtype, d0, d1, d2);
}

/* used_bytes begins anew: the second round of the same calls must end where the first did. */
static void begin_anew(struct arena *arena, struct device *dev) {
    arena->size_bytes = arena->used_bytes ? arena->used_bytes : ARENA_ALIGN_BYTES;
    arena->used_bytes = 0;
    arena->layout = 0;
    arena->dev = dev;
}

void arena_lend(struct arena *arena, struct device *dev, void *memory) {
    begin_anew(arena, dev);
    arena->base = memory;
    arena->is_lent = true;
}

void arena_allocate(struct arena *arena, struct device *dev) {
    begin_anew(arena, dev);
    arena->base = arena->on_host ? device_allocate_host(dev, arena->size_bytes)
                                 : device_allocate(dev, arena->size_bytes);
    CHECK(arena->base,
          "out of memory: %.2f GiB for %s; use more ranks, a higher parallel.stage or train.recompute: layer",
          gib_of(arena->size_bytes), arena->name);
}

void arena_free(struct arena *arena) {
    if (arena->base && arena->is_lent)
        arena->is_lent = false;
    else if (arena->base && arena->on_host)
        device_release_host(arena->dev, arena->base, arena->size_bytes);
    else if (arena->base)
        device_release(arena->dev, arena->base, arena->size_bytes);
    arena->base = NULL;
}
