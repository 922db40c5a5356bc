/* metrics_history.c - what stands in metrics.jsonl of earlier starts.  The file only grows: a start line says
 * after which step a start went on, and the records of later steps before it belong to a line that was left.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "data/file.h"
#include "train/record/metrics_summary.h"

void run_totals_validation(struct run_totals *t, int64_t step, double loss) {
    if (!isfinite(loss)) /* no target token, or a model gone wrong */
        return;
    if (t->num_validations++ == 0)
        t->first_valid_loss = t->best_valid_loss = loss;
    t->last_valid_loss = loss;
    t->last_valid_step = step;
    if (loss <= t->best_valid_loss) {
        t->best_valid_loss = loss;
        t->best_valid_step = step;
    }
}

/* The records that are still the run's. */
struct recalled {
    struct {
        int64_t step;
        double loss;
    } * validations;
    int count;
    int64_t first_step; /* of first_loss */
    double first_loss;  /* NaN: none yet */
};

/* go_back - a start after this step: what came later is left. */
static void go_back(struct recalled *r, int64_t step) {
    if (step == 0 || r->first_step > step)
        r->first_loss = NAN;
    while (r->count > 0 && (step == 0 || r->validations[r->count - 1].step > step))
        r->count--;
}

/* take - a loss of null, which was not finite, is not taken. */
static void take(struct recalled *r, const json_t *object, int64_t step) {
    const char *event;
    double loss;
    if (json_get_string_or(object, "event", "step", &event, NULL) != 0 ||
        json_get_double(object, "loss", &loss, NULL) != 0)
        return;
    if (strcmp(event, "validation") == 0) {
        r->validations = xrealloc(r->validations, (size_t)(r->count + 1) * sizeof *r->validations);
        r->validations[r->count].step = step;
        r->validations[r->count++].loss = loss;
    } else if (!isfinite(r->first_loss)) { /* the first step that had one */
        r->first_loss = loss;
        r->first_step = step;
    }
}

int metrics_recall(struct run_totals *t, struct err *err) {
    struct recalled r = {.first_loss = NAN};
    char *path = xasprintf("%s/metrics.jsonl", t->folder), *line = NULL;
    size_t room = 0;
    ssize_t length;
    int64_t step;
    FILE *file = file_open_stream(path, err);
    while (file && (length = getline(&line, &room, file)) > 0) {
        if (line[length - 1] != '\n')
            break; /* half-written */
        json_t *object = json_parse_text(line, (size_t)length, "metrics.jsonl", NULL);
        if (object && json_get_int(object, "after_step", &step, NULL) == 0) /* a start line */
            go_back(&r, step);
        else if (object && json_get_int(object, "step", &step, NULL) == 0)
            take(&r, object, step);
        json_decref(object);
    }
    go_back(&r, t->first_step);
    t->first_loss = r.first_loss;
    for (int i = 0; i < r.count; i++)
        run_totals_validation(t, r.validations[i].step, r.validations[i].loss);
    int status = file ? 0 : -1;
    if (file)
        fclose(file);
    free(r.validations);
    free(line);
    free(path);
    return status;
}
