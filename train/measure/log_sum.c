/* log_sum.c - see log_sum.h. */
#include "train/measure/log_sum.h"

#include <math.h>

double log_sum(const float *x, int64_t count, double temperature) {
    double sum = 0, max = -INFINITY;
    for (int64_t i = 0; i < count; i++)
        max = (double)x[i] > max ? (double)x[i] : max;
    for (int64_t i = 0; i < count; i++)
        sum += exp(((double)x[i] - max) / temperature);
    return log(sum) + max / temperature;
}
