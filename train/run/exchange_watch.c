/* exchange_watch.c - waits for exchanges against the products that they could travel beside. */
#include "train/run/exchange_watch.h"

#include <stdio.h>

#include "kernels/units.h"

/* Of a step, below which nobody minds: tiny models wait for messages, not for bytes. */
static const double MOMENT_S = 0.25;

/* remedy - the first that is left to this run. */
static const char *remedy(const struct exchange_ways *ways, const struct exchange_step *sum) {
    bool is_inside = sum->inside_bytes >= sum->across_bytes;
    int64_t others = is_inside ? sum->inside_bytes : sum->across_bytes;
    if (sum->rows_bytes > others || sum->stood_s > sum->waited_s / 2)
        return "a smaller parallel.tensor, parallel.context or parallel.expert exchanges fewer rows in the middle of passes, where the "
               "memory allows";
    if (is_inside && ways->zero_stage >= 2 && !ways->keeps_gradients)
        return "parallel.reduce: step sends gradients once a step, where the memory allows";
    if (is_inside && ways->num_shards > 1 && ways->zero_stage == 3)
        return "a lower parallel.stage gathers no weights, more parallel.replicas keeps the gathers inside a node";
    if (!is_inside && ways->is_apart)
        return "a larger parallel.sync_every sends between replicas less often";
    if (!is_inside && ways->is_f32_wire)
        return "parallel.wire: compute sends half as much between replicas";
    if (!is_inside && ways->zero_stage == 0)
        return "parallel.stage: 1 sends gradients beside the last backward";
    return "a larger train.batch_sequences exchanges as much for more samples";
}

bool exchange_watch_step(struct exchange_watch *watch, const struct exchange_step *step,
                         const struct exchange_ways *ways, char *text) {
    struct exchange_step *sum = &watch->sum;
    if (watch->num_steps > EXCHANGE_WATCH_STEPS)
        return false;
    if (watch->num_steps++ == 0)
        return false;
    sum->waited_s += step->waited_s;
    sum->products_s += step->products_s;
    sum->inside_bytes += step->inside_bytes;
    sum->across_bytes += step->across_bytes;
    sum->rows_bytes += step->rows_bytes;
    sum->stood_s += step->stood_s;
    if (watch->num_steps <= EXCHANGE_WATCH_STEPS || sum->waited_s <= sum->products_s ||
        sum->waited_s < MOMENT_S * EXCHANGE_WATCH_STEPS)
        return false;
    const double count = EXCHANGE_WATCH_STEPS;
    snprintf(
        text, EXCHANGE_WATCH_ROOM,
        "the exchange is longer than the products that it could hide beside: in a step %.3g s of waiting and %.3g s of "
        "forward and backward (%.3g GB sent inside a replica, %.3g GB between replicas, %.3g GB in the middle of passes); %s; "
        "'atelier plan' compares",
        sum->waited_s / count, sum->products_s / count, (double)sum->inside_bytes / count / GIGA,
        (double)sum->across_bytes / count / GIGA, (double)sum->rows_bytes / count / GIGA, remedy(ways, sum));
    return true;
}
