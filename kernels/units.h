/* units.h - units of memory, as sizes and limits are written: 64 * MIB. */
#pragma once

#include <stddef.h>

enum { KIB = 1 << 10, MIB = 1 << 20, GIB = 1 << 30 };

static inline double gib_of(size_t size_bytes) {
    return (double)size_bytes / GIB;
}
