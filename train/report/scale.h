/* scale.h - in which unit a quantity is written: megabytes, milliseconds, or a power of ten. */
#pragma once

#include "train/report/chart.h"

struct scale {
    double divisor; /* the number that is written is the value over this */
    int exponent;   /* of ten, where the unit has no name for it; else 0 */
    const char *prefix, *unit;
};

/* scale_of - by the largest value that is written. */
struct scale scale_of(enum chart_unit unit, double largest, enum report_language language);

/* scale_put - "GB", "10⁻⁴, no unit". */
void scale_put(FILE *out, const struct scale *scale);
