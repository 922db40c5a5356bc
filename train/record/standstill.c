/* standstill.c - the count of steps whose gradients are exactly zero, and its place in training.json. */
#include "train/record/standstill.h"

/* Steps in a row before it is told.  Gradients of a loss this small may well round to zero: there is nothing left to learn. */
enum { PATIENCE = 3 };
static const double LEARNT_LOSS = 1e-3;

/* A gradient of exactly zero is the sign: one that is only small still moves weights. */
enum standstill_news standstill_step(struct standstill *s, int64_t step, double loss, double grad_norm) {
    bool was_told = s->num_still >= PATIENCE;
    if (grad_norm == 0 && loss > LEARNT_LOSS) {
        if (s->num_still++ == 0)
            s->since = step;
        return s->num_still == PATIENCE ? STANDSTILL_BEGINS : STANDSTILL_NOTHING;
    }
    *s = (struct standstill){.num_still = 0};
    return was_told ? STANDSTILL_ENDS : STANDSTILL_NOTHING;
}

/* A run of fewer steps than the patience that never learnt anything counts as well. */
int64_t standstill_since(const struct standstill *s, int64_t updates) {
    return s->num_still >= PATIENCE || (s->num_still > 0 && s->num_still == updates) ? s->since : 0;
}

json_t *standstill_json(const struct standstill *s) {
    return json_pack("{s:I, s:I}", "num_still", (json_int_t)s->num_still, "since", (json_int_t)s->since);
}

int standstill_read(struct standstill *s, const json_t *state, int64_t step, struct err *err) {
    const json_t *object = json_object_get(state, "standstill");
    struct standstill read;
    if (!object)
        return 0;
    if (json_get_int(object, "num_still", &read.num_still, err) ||
        json_get_int(object, "since", &read.since, err))
        return err_prefix(err, "'standstill'");
    if (read.num_still < 0 || read.num_still > step || read.since < 0 || read.since > step)
        return err_set(err, "'standstill': %lld steps since step %lld, and only %lld are done",
                       (long long)read.num_still, (long long)read.since, (long long)step);
    *s = read;
    return 0;
}
