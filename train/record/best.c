/* best.c - see best.h. */
#include "train/record/best.h"

#include <math.h>

struct best best_start(void) {
    return (struct best){.loss = NAN};
}

bool best_validation(struct best *best, int64_t step, double loss) {
    if (!isfinite(loss) || loss >= best->loss) /* false with NaN: the first one is the best */
        return false;
    *best = (struct best){loss, step};
    return true;
}

json_t *best_json(const struct best *best) {
    return best->step > 0 ? json_pack("{s:I, s:f}", "step", (json_int_t)best->step, "loss", best->loss)
                          : NULL;
}

int best_read(struct best *best, const json_t *state, int64_t step, struct err *err) {
    const json_t *object = json_object_get(state, "best");
    struct best read = best_start();
    if (!object)
        return 0;
    if (json_get_int(object, "step", &read.step, err) != 0 ||
        json_get_double(object, "loss", &read.loss, err) != 0)
        return err_prefix(err, "'best'");
    if (read.step < 1 || read.step > step)
        return err_set(err, "'best': of step %lld, and only %lld steps are done", (long long)read.step,
                       (long long)step);
    *best = read;
    return 0;
}
