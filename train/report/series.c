/* series.c - values into buckets. */
#include "train/report/series.h"

#include <math.h>
#include <stdlib.h>

static const double LARGEST_DRAWN = 1e30;

struct series series_open(const struct series_axis *axis) {
    struct series series = {.axis = *axis, .first = NAN, .last = NAN, .low = NAN, .high = NAN};
    if (series.axis.last_step <= series.axis.first_step)
        series.axis.last_step = series.axis.first_step + 1;
    return series;
}

void series_close(struct series *series) {
    free(series->buckets);
    *series = (struct series){.buckets = NULL};
}

/* add_extremes - of the whole. */
static void add_extremes(struct series *series, int64_t step, double value) {
    if (series->count++ == 0) {
        series->first = series->low = series->high = value;
        series->first_at = series->low_at = series->high_at = step;
    }
    if (value < series->low) {
        series->low = value;
        series->low_at = step;
    }
    if (value > series->high) {
        series->high = value;
        series->high_at = step;
    }
    series->last = value;
    series->last_at = step;
}

void series_add(struct series *series, int64_t step, double value) {
    const struct series_axis *axis = &series->axis;
    if (!isfinite(value) || fabs(value) > LARGEST_DRAWN || step < axis->first_step || step > axis->last_step)
        return;
    if (!series->buckets)
        series->buckets = xcalloc((size_t)axis->num_buckets, sizeof *series->buckets);
    double share = (double)(step - axis->first_step) / (double)(axis->last_step - axis->first_step + 1);
    struct series_bucket *bucket = &series->buckets[(int)(share * axis->num_buckets)];
    bucket->low = bucket->count == 0 || value < bucket->low ? value : bucket->low;
    bucket->high = bucket->count == 0 || value > bucket->high ? value : bucket->high;
    bucket->steps += (double)step;
    bucket->sum += value;
    bucket->count++;
    add_extremes(series, step, value);
}

double series_mean(const struct series_bucket *bucket) {
    return bucket->sum / (double)bucket->count;
}

double series_step(const struct series_bucket *bucket) {
    return bucket->steps / (double)bucket->count;
}
