/* ticks.c - round numbers along an axis. */
#include "train/report/ticks.h"

#include <math.h>

/* round_step - the smallest of 1, 2 and 5 times a power of ten that is not less than a positive step. */
static double round_step(double step) {
    double power = pow(10, floor(log10(step)));
    double ratio = step / power;
    return power * (ratio <= 1.0000001 ? 1 : ratio <= 2.0000001 ? 2 : ratio <= 5.0000001 ? 5 : 10);
}

/* put_ticks - multiples of step from first on. */
static void put_ticks(struct ticks *ticks, double first, double step, double end) {
    for (int i = 0; i < TICKS_MAX && first + i * step <= end + step * 1e-6; i++)
        ticks->at[ticks->count++] = first + i * step;
}

struct ticks ticks_linear(double low, double high, int wanted) {
    struct ticks ticks = {.count = 0};
    if (!(high - low > 1e-12 * fmax(fabs(low), fabs(high)))) { /* one value: room around it */
        double room = low == 0 ? 1 : fabs(low) * 0.1;
        low -= room;
        high += room;
    }
    double step = round_step((high - low) / wanted);
    ticks.low = floor(low / step + 1e-6) * step;
    ticks.high = ceil(high / step - 1e-6) * step;
    put_ticks(&ticks, ticks.low, step, ticks.high);
    ticks.num_decimals = step < 1 ? (int)ceil(-log10(step) - 1e-6) : 0;
    return ticks;
}

struct ticks ticks_log(double low, double high) {
    static const double parts[] = {1, 2, 5};
    struct ticks ticks = {.is_log = true, .low = low, .high = high};
    if (!(high > low * 1.0001)) {
        ticks.low = low / 2;
        ticks.high = high * 2;
    }
    int first = (int)floor(log10(ticks.low)), last = (int)ceil(log10(ticks.high));
    int num_parts = last - first <= 4 ? 3 : 1, stride = 1 + (last - first) / TICKS_MAX;
    for (int power = first; power <= last; power += stride)
        for (int part = 0; part < num_parts && ticks.count < TICKS_MAX; part++) {
            double at = parts[part] * pow(10, power);
            if (at >= ticks.low * 0.9999 && at <= ticks.high * 1.0001)
                ticks.at[ticks.count++] = at;
        }
    return ticks;
}

struct ticks ticks_whole(int64_t low, int64_t high, int wanted) {
    struct ticks ticks = {.low = (double)low, .high = high > low ? (double)high : (double)low + 1};
    double step = fmax(1, round_step((ticks.high - ticks.low) / wanted));
    put_ticks(&ticks, ceil(ticks.low / step) * step, step, ticks.high);
    return ticks;
}

double ticks_place(const struct ticks *ticks, double value) {
    double place = ticks->is_log ? log(fmax(value, ticks->low) / ticks->low) / log(ticks->high / ticks->low)
                                 : (value - ticks->low) / (ticks->high - ticks->low);
    return place < 0 ? 0 : place > 1 ? 1 : place;
}
