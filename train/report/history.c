/* history.c - the lines of metrics.jsonl into series and sums. */
#include "train/report/history.h"

#include <math.h>
#include <string.h>

#include "train/report/history_events.h"

#define KEY_OF(name, key) key,
static const char *const KEYS[QUANTITY_COUNT] = {EACH_QUANTITY(KEY_OF)};
#undef KEY_OF

const char *quantity_key(enum quantity quantity) {
    return KEYS[quantity];
}

/* add_to - a sum that is NaN until something is added to it. */
static void add_to(double *sum, double value) {
    if (isfinite(value))
        *sum = isfinite(*sum) ? *sum + value : value;
}

/* number_of - a member whose name may hold a '/', which json_get_double would take for a path; NaN where there is none. */
static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* take_state - what the last step says of the whole run. */
static void take_state(struct history *h, const json_t *object) {
    int64_t none = 0;
    const char *skipped;
    if (json_get_int_or(object, "update", h->updates, &h->updates, NULL) != 0)
        h->updates = -1;
    if (json_get_int_or(object, "diverged_since", none, &h->diverged_since, NULL) != 0)
        h->diverged_since = 0;
    if (json_get_int_or(object, "still_since", none, &h->still_since, NULL) != 0)
        h->still_since = 0;
    h->diverged_before = divergence_past_take(json_object_get(object, "diverged_before"));
    if (json_get_string_or(object, "skipped", "", &skipped, NULL) == 0 && skipped[0]) {
        h->num_without_targets += strcmp(skipped, "no targets") == 0;
        h->num_overflows += strcmp(skipped, "f16 overflow") == 0;
        h->num_spikes += strcmp(skipped, "spike") == 0;
    }
}

static void take_step(struct history *h, const struct metrics_line *line) {
    h->first_step = h->num_steps++ == 0 ? line->step : h->first_step;
    h->last_step = line->step > h->last_step ? line->step : h->last_step;
    for (int q = 0; q < QUANTITY_COUNT; q++) {
        double value = number_of(line->object, KEYS[q]);
        series_add(&h->steps[q], line->step, value);
        add_to(&h->phase_s[q], value);
    }
    add_to(&h->tokens, number_of(line->object, "tokens"));
    add_to(&h->target_tokens, number_of(line->object, "target_tokens"));
    add_to(&h->seconds, number_of(line->object, "seconds"));
    take_state(h, line->object);
}

/* take_time - of the first line and of the last. */
static void take_time(struct history *h, const json_t *object) {
    const char *time;
    if (json_get_string(object, "time", &time, NULL) != 0 || strlen(time) >= sizeof h->last_time)
        return;
    memcpy(h->last_time, time, strlen(time) + 1);
    if (!h->first_time[0])
        memcpy(h->first_time, time, strlen(time) + 1);
}

/* visit - a metrics_visit. */
static void visit(void *context, const struct metrics_line *line) {
    struct history *h = context;
    h->num_lines++;
    h->num_unreadable += !line->object;
    if (!line->object)
        return;
    take_time(h, line->object);
    if (strcmp(line->event, "step") == 0 && !line->counts)
        h->num_redone++;
    else if (strcmp(line->event, "step") == 0)
        take_step(h, line);
    else if (line->counts)
        history_event(h, line);
}

int history_read(struct history *h, const struct metrics_walk *walk, const struct series_axis *axis,
                 struct err *err) {
    *h = (struct history){.stride = 1, .updates = -1, .planned_steps = walk->num_steps};
    h->tokens = h->target_tokens = h->seconds = NAN;
    h->checkpoint_bytes = h->checkpoint_s = h->best_row.loss = h->last_row.loss = NAN;
    for (int q = 0; q < QUANTITY_COUNT; q++) {
        h->steps[q] = series_open(axis);
        h->phase_s[q] = NAN;
    }
    h->validation = h->slowness = series_open(axis);
    if (metrics_walk_each(walk, visit, h, err) != 0)
        return -1;
    return h->num_unreadable > 0 && h->num_unreadable == h->num_lines
               ? err_set(err, "'%s' has no line that can be read: it is damaged, or not of a run", walk->path)
               : 0;
}

void history_close(struct history *h) {
    for (int q = 0; q < QUANTITY_COUNT; q++)
        series_close(&h->steps[q]);
    for (int s = 0; s < h->num_sources; s++)
        series_close(&h->sources[s].loss);
    json_decref(h->first_tasks);
    json_decref(h->last_tasks);
    series_close(&h->validation);
    series_close(&h->slowness);
}
