/* units.h - units as sizes, limits and rates are written: 64 * MIB, seconds / HOUR_S, bytes / GIGA. */
#pragma once

#include <stddef.h>

/* Binary: memory, buffers, files that are read whole. */
enum { KIB = 1 << 10, MIB = 1 << 20, GIB = 1 << 30 };

/* Decimal: what makers, sites and quotas count in, and operations. */
static const double MEGA = 1e6, GIGA = 1e9, TERA = 1e12;

enum { MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400 };

static const double JOULES_PER_KWH = 3.6e6, KG_PER_GRAM = 1e-3;

static inline double gib_of(size_t size_bytes) {
    return (double)size_bytes / GIB;
}
