/* ticks.h - where an axis has its marks, and what unit its numbers are in. */
#pragma once

#include "kernels/error.h"

enum { TICKS_MAX = 16 };

/* An axis from low to high, both among its ticks where it is linear. */
struct ticks {
    bool is_log;
    double low, high; /* of the axis; low < high, and 0 < low where it is logarithmic */
    double at[TICKS_MAX];
    int count;
    int num_decimals; /* that tell its ticks apart; of a logarithmic axis each tick has its own */
};

/* ticks_linear - an axis that holds low to high (finite, low <= high), with steps of 1, 2 or 5 times a power of ten, about
 * `wanted` of them (2 to 8).  ticks_log - from 0 < low on, with marks at 1, 2 and 5 times powers of ten, or at powers alone.
 * ticks_whole - of numbers that are counted, such as steps: the axis ends where the values do, ticks are whole numbers. */
struct ticks ticks_linear(double low, double high, int wanted);
struct ticks ticks_log(double low, double high);
struct ticks ticks_whole(int64_t low, int64_t high, int wanted);

/* ticks_place - where a value lies on the axis: 0 at low, 1 at high; outside of it the nearer end. */
double ticks_place(const struct ticks *ticks, double value);
