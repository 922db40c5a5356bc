/* arena.h - one block of device memory per purpose, sized before the first step.
 *
 * The same code runs twice: with base NULL it only measures (takes return NULL), after arena_allocate it
 * hands out the memory.  So the plan that is printed and the memory that is used cannot disagree. */
#pragma once

#include "kernels/ops.h"

struct arena {
    const char *name;   /* "parameters", "activations", ... for the plan */
    bool on_host;       /* memory of the host that the device reaches, instead of its own */
    char *base;         /* NULL while measuring */
    size_t used_bytes;  /* taken so far */
    size_t size_bytes;  /* of the allocation */
    struct device *dev; /* whose memory it is; NULL while measuring */
    bool is_lent;       /* by arena_lend */
    uint64_t layout;    /* by which two arenas can be compared: of the sizes of all pieces so far */
};

/* arena_take - count elements, aligned to ARENA_ALIGN_BYTES, zero at first.  NULL while measuring.  Dies
 * beyond the end. */
enum { ARENA_ALIGN_BYTES = 256 };
void *arena_take(struct arena *arena, int64_t count, enum dtype dtype);

/* arena_piece_bytes - what a piece of so many bytes takes, up to where the next one may begin; also of other memory that is cut in pieces. */
static inline size_t arena_piece_bytes(size_t size_bytes) {
    return (size_bytes + ARENA_ALIGN_BYTES - 1) / ARENA_ALIGN_BYTES * ARENA_ALIGN_BYTES;
}

/* arena_take_1d, arena_take_2d, arena_take_3d - the same, as a tensor of that shape. */
struct tensor arena_take_1d(struct arena *arena, enum dtype dtype, int64_t d0);
struct tensor arena_take_2d(struct arena *arena, enum dtype dtype, int64_t d0, int64_t d1);
struct tensor arena_take_3d(struct arena *arena, enum dtype dtype, int64_t d0, int64_t d1, int64_t d2);

/* arena_allocate - allocate what was measured and start handing out.  Dies when memory is out.  arena_free
 * ends. */
void arena_allocate(struct arena *arena, struct device *dev);

/* arena_lend - the same with memory of somebody else's, at least used_bytes of it, zeroed, which outlives the arena. */
void arena_lend(struct arena *arena, struct device *dev, void *memory);
void arena_free(struct arena *arena);
