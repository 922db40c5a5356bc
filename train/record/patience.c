/* patience.c - see patience.h. */
#include "train/record/patience.h"

#include <math.h>

struct patience patience_start(void) {
    return (struct patience){.best = NAN};
}

void patience_validation(struct patience *patience, int64_t step, double loss) {
    if (isfinite(loss) && !(loss >= patience->best)) { /* also the first one */
        *patience = (struct patience){.best = loss, .best_step = step};
        return;
    }
    patience->num_worse++;
}

bool patience_is_over(const struct patience *patience, int64_t limit) {
    return limit > 0 && patience->num_worse >= limit;
}

json_t *patience_json(const struct patience *patience) {
    return json_pack("{s:o, s:I, s:I}", "best",
                     isfinite(patience->best) ? json_real(patience->best) : json_null(), "best_step",
                     (json_int_t)patience->best_step, "num_worse", (json_int_t)patience->num_worse);
}

int patience_read(struct patience *patience, const json_t *state, int64_t step, struct err *err) {
    const json_t *object = json_object_get(state, "patience");
    struct patience read = patience_start();
    if (!object)
        return 0;
    if (json_get_int(object, "best_step", &read.best_step, err) != 0 ||
        json_get_int(object, "num_worse", &read.num_worse, err) != 0 ||
        (json_find(object, "best") && json_get_double(object, "best", &read.best, err) != 0))
        return err_prefix(err, "'patience'");
    if (read.best_step < 0 || read.best_step > step || read.num_worse < 0 || read.num_worse > step + 1)
        return err_set(err, "'patience': %lld validations since step %lld, and only %lld steps are done",
                       (long long)read.num_worse, (long long)read.best_step, (long long)step);
    *patience = read;
    return 0;
}
