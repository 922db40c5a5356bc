/* series.h - one quantity over the steps of a run, in bounded memory: as many buckets as a chart can show, each with its
 * smallest, largest and mean value, so that a spike of one step among millions is still seen. */
#pragma once

#include "kernels/error.h"

enum { SERIES_BUCKETS = 480 }; /* at most: about one for each point of a chart's width */

/* The steps that all runs of a page have together, and into how many buckets they go. */
struct series_axis {
    int64_t first_step, last_step;
    int num_buckets; /* at most SERIES_BUCKETS */
};

struct series_bucket {
    int64_t count;     /* values in it; 0: the other fields mean nothing */
    double steps, sum; /* sums of steps and of values */
    double low, high;
};

struct series {
    struct series_axis axis;
    struct series_bucket *buckets; /* [axis.num_buckets]; NULL: no value yet */
    int64_t count;
    double first, last, low, high; /* of all values; NaN: none */
    int64_t first_at, last_at, low_at, high_at;
};

/* series_open - no value yet; series_close frees; harmless on a zeroed struct. */
struct series series_open(const struct series_axis *axis);
void series_close(struct series *series);

/* series_add - a value, in the order of the steps.  What is not finite, or too large to be drawn (1e30), and steps outside are
 * left out. */
void series_add(struct series *series, int64_t step, double value);

/* series_mean, series_step - of a bucket that has values. */
double series_mean(const struct series_bucket *bucket);
double series_step(const struct series_bucket *bucket);
