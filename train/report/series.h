/* series.h - one quantity over the steps of a run, in bounded memory: as many buckets as a chart can show, each with its
 * smallest, largest and mean value, so that a spike of one step among millions is still seen. */
#pragma once

#include "kernels/error.h"

enum { SERIES_BUCKETS = 480 }; /* about one for each point of a chart's width */

struct series_bucket {
    int64_t count;     /* values in it; 0: the other fields mean nothing */
    double steps, sum; /* sums of steps and of values */
    double low, high;
};

struct series {
    int64_t first_step, last_step;
    struct series_bucket *buckets; /* [SERIES_BUCKETS]; NULL: no value yet */
    int64_t count;
    double first, last, low, high; /* of all values; NaN: none */
    int64_t first_at, last_at, low_at, high_at;
};

/* series_open - for steps first_step to last_step; series_close frees; harmless on a zeroed struct. */
struct series series_open(int64_t first_step, int64_t last_step);
void series_close(struct series *series);

/* series_add - a value, in the order of the steps.  What is not finite, or too large to be drawn (1e30), and steps outside are
 * left out. */
void series_add(struct series *series, int64_t step, double value);

/* series_mean, series_step - of a bucket that has values. */
double series_mean(const struct series_bucket *bucket);
double series_step(const struct series_bucket *bucket);
