/* timeline.c - the simulated clock of a step. */
#include "train/plan/timeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- the clock --- */

/* Layers that have a backward, of a timetable's first micro-batch. */
static int num_backward_layers(const struct timetable *table) {
    int count = 0;
    for (int64_t i = 0; i < table->num_events; i++) {
        const struct event *e = &table->events[i];
        bool is_layer = e->unit >= 1 && e->unit <= table->num_layers;
        count += e->kind == EVENT_COMPUTE && e->part == PART_BACKWARD && e->micro == 0 && is_layer;
    }
    return count;
}

/* duration_s - of what is computed at an event; the embedding's are counted with the layers. */
static double duration_s(const struct event *e, const struct timetable *table,
                         const struct timeline_rates *rates, int num_backward) {
    bool is_layer = e->unit >= 1 && e->unit <= table->num_layers;
    if (e->part == PART_UPDATE)
        return rates->update_s;
    if (e->part == PART_FORWARD)
        return is_layer ? rates->forward_s / table->num_layers : 0;
    return is_layer ? rates->backward_s / num_backward : rates->head_s;
}

/* However many exchanges are under way, a product keeps this share of its speed: products are chosen for what is left of a GPU's
 * multiprocessors only where that is half of them or more (kernels/cuda/beside.c). */
static const double LEAST_SPEED = 0.5;

/* num_busy - axes along which something slows computing at a time; first_s: the first of them that is over. */
static int num_busy(const double slows_until_s[EXCHANGE_AXES], double now_s, double *first_s) {
    int count = 0;
    for (int axis = 0; axis < EXCHANGE_AXES; axis++) {
        if (slows_until_s[axis] <= now_s)
            continue;
        *first_s = count == 0 ? slows_until_s[axis] : fmin(*first_s, slows_until_s[axis]);
        count++;
    }
    return count;
}

/* computing_s - of what takes work_s alone: slower until the exchanges that have begun and slow it are over, of which
 * those of an axis follow each other without a gap; gathers by copy engines before one count as slow, too.  Each axis has a
 * transport of its own, which takes its own multiprocessors. */
static double computing_s(double work_s, double now_s, const double slows_until_s[EXCHANGE_AXES],
                          double beside) {
    double begin_s = now_s, until_s = 0;
    for (int busy = 0; beside > 0 && (busy = num_busy(slows_until_s, now_s, &until_s)) > 0; now_s = until_s) {
        double speed = fmax(1 - busy * beside, LEAST_SPEED), done_s = speed * (until_s - now_s);
        if (done_s >= work_s)
            return now_s + work_s / speed - begin_s;
        work_s -= done_s;
    }
    return now_s + work_s - begin_s;
}

/* slows - whether an exchange takes multiprocessors from what computes. */
static bool slows(const struct event *e, const struct timeline_rates *rates) {
    bool gathers = e->what == EXCHANGE_WEIGHTS || e->what == EXCHANGE_VALUES;
    return !(rates->engines && gathers && e->axis == EXCHANGE_INSIDE);
}

/* When the micro-batches begin, and what had been computed by then. */
struct begins {
    double now_s[3], compute_s[3];
};

/* note_micro - the middle one lasts from the second to the third. */
static void note_micro(struct begins *begins, const struct event *e, double now_s, double compute_s) {
    if (e->part != PART_FORWARD || e->micro >= 3 || !isnan(begins->now_s[e->micro]))
        return;
    begins->now_s[e->micro] = now_s;
    begins->compute_s[e->micro] = compute_s;
}

/* end_micro - what is known of the middle one. */
static void end_micro(struct timeline *line, const struct begins *begins) {
    if (isnan(begins->now_s[2]))
        return;
    line->micro_s = begins->now_s[2] - begins->now_s[1];
    line->micro_compute_s = begins->compute_s[2] - begins->compute_s[1];
}

void timeline_make(struct timeline *line, const struct timetable *table, const struct timeline_rates *rates) {
    double now_s = 0, free_s[EXCHANGE_AXES] = {0}, slows_until_s[EXCHANGE_AXES] = {0};
    struct begins begins = {.now_s = {NAN, NAN, NAN}};
    int num_backward = num_backward_layers(table);
    *line = (struct timeline){.begin_s = xcalloc((size_t)table->num_events, sizeof *line->begin_s),
                              .end_s = xcalloc((size_t)table->num_events, sizeof *line->end_s)};
    for (int64_t i = 0; i < table->num_events; i++) {
        const struct event *e = &table->events[i];
        note_micro(&begins, e, now_s, line->compute_s);
        line->begin_s[i] = now_s;
        if (e->kind == EVENT_COMPUTE) {
            double lasts_s =
                computing_s(duration_s(e, table, rates, num_backward), now_s, slows_until_s, rates->beside);
            line->compute_s += lasts_s;
            now_s += lasts_s;
        } else if (e->kind == EVENT_WAIT) {
            double until_s = fmax(now_s, line->end_s[e->begun]);
            line->waited_s[e->axis] += until_s - now_s;
            now_s = until_s;
        } else {
            line->begin_s[i] = fmax(now_s, free_s[e->axis]);
            double lasts_s = rates->latency_s[e->axis] + (double)e->bytes / rates->bytes_per_s[e->axis];
            line->end_s[i] = free_s[e->axis] = line->begin_s[i] + lasts_s;
            line->busy_s[e->axis] += lasts_s;
            if (slows(e, rates))
                slows_until_s[e->axis] = line->end_s[i];
        }
        if (e->kind != EVENT_START)
            line->end_s[i] = now_s;
    }
    line->step_s = now_s;
    end_micro(line, &begins);
}

void timeline_free(struct timeline *line) {
    free(line->begin_s);
    free(line->end_s);
    *line = (struct timeline){.begin_s = NULL};
}

double timeline_hidden(const struct timeline *line) {
    double busy_s = 0, waited_s = 0;
    for (int axis = 0; axis < EXCHANGE_AXES; axis++) {
        busy_s += line->busy_s[axis];
        waited_s += line->waited_s[axis];
    }
    return busy_s > 0 ? 1 - waited_s / busy_s : 1;
}

/* --- a picture --- */

enum { MOST_COLUMNS = 200 };

/* paint - the columns from begin to end; what lasts a moment is seen as one. */
static void paint(char *row, int num_columns, double begin, double end, char sign) {
    int first = (int)(begin * num_columns), last = (int)ceil(end * num_columns);
    for (int c = first; c < (last > first ? last : first + 1) && c < num_columns; c++)
        row[c] = sign;
}

/* sign_of - what computes. */
static char sign_of(enum step_part part) {
    static const char signs[PART_COUNT] = {'F', 'B', '.', 'U'};
    return signs[part];
}

void timeline_draw(const struct timeline *line, const struct timetable *table, int num_columns, FILE *out) {
    char rows[1 + EXCHANGE_AXES][MOST_COLUMNS + 1];
    CHECK(num_columns > 0 && num_columns <= MOST_COLUMNS, "a picture of %d columns", num_columns);
    for (int r = 0; r <= EXCHANGE_AXES; r++) {
        memset(rows[r], r == 0 ? '.' : ' ', (size_t)num_columns);
        rows[r][num_columns] = '\0';
    }
    for (int64_t i = 0; i < table->num_events && line->step_s > 0; i++) {
        const struct event *e = &table->events[i];
        double begin = line->begin_s[i] / line->step_s, end = line->end_s[i] / line->step_s;
        if (e->kind == EVENT_COMPUTE && end > begin)
            paint(rows[0], num_columns, begin, end, sign_of(e->part));
        else if (e->kind == EVENT_START)
            paint(rows[1 + e->axis], num_columns, begin, end, '=');
    }
    fprintf(out, "%-8s |%s| %.3g s\n", "computes", rows[0], line->step_s);
    for (int axis = 0; axis < EXCHANGE_AXES; axis++)
        if (line->busy_s[axis] > 0)
            fprintf(out, "%-8s |%s| %.3g s, waited for %.3g s\n",
                    timetable_axis_name((enum exchange_axis)axis), rows[1 + axis], line->busy_s[axis],
                    line->waited_s[axis]);
}
