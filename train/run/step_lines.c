/* step_lines.c - see step_lines.h. */
#include "train/run/step_lines.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "train/report/metrics_walk.h"

/* number_of - NaN where the line has none. */
static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void text_of(const json_t *object, const char *key, char *text, size_t room_bytes) {
    const char *value = json_string_value(json_object_get(object, key));
    snprintf(text, room_bytes, "%s", value ? value : "");
}

/* whole_of - -1 where the line has none. */
static int64_t whole_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

/* keep_line - of a step that counts; of several lines the last one. */
static void keep_line(void *user, const struct metrics_line *line) {
    struct step_lines *record = user;
    if (!line->object || !line->counts || strcmp(line->event, "step") != 0 || line->step < record->first ||
        line->step > record->last)
        return;
    struct step_line *to = &record->lines[line->step - record->first];
    to->is_there = true;
    to->loss = number_of(line->object, "loss");
    to->grad_norm = number_of(line->object, "grad_norm");
    to->learning_rate = number_of(line->object, "learning_rate");
    to->tokens = whole_of(line->object, "tokens");
    to->target_tokens = whole_of(line->object, "target_tokens");
    text_of(line->object, "data", to->data, sizeof to->data);
    text_of(line->object, "chain", to->link, sizeof to->link);
}

int step_lines_read(struct step_lines *record, const char *run_folder, struct err *err) {
    struct metrics_walk walk = {.path = NULL};
    record->lines = xcalloc((size_t)(record->last - record->first + 1), sizeof *record->lines);
    int status = metrics_walk_open(&walk, run_folder, err);
    if (status == 0)
        status = metrics_walk_each(&walk, keep_line, record, err);
    metrics_walk_close(&walk);
    return status;
}

/* same - of numbers, where none is the same as none. */
static bool same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

/* compare_amounts - of what was read, and the rate it was learnt with. */
static int compare_amounts(int64_t step, const struct step_line *was, const struct step_line *is,
                           struct err *err) {
    long long n = step;
    if (was->tokens != is->tokens || was->target_tokens != is->target_tokens)
        return err_set(
            err,
            "step %lld: another number of tokens: the record has %lld, of which %lld are learnt, the replay %lld and %lld",
            n, (long long)was->tokens, (long long)was->target_tokens, (long long)is->tokens,
            (long long)is->target_tokens);
    if (!same(was->learning_rate, is->learning_rate))
        return err_set(err, "step %lld: another learning rate: the record has %.9g, the replay %.9g", n,
                       was->learning_rate, is->learning_rate);
    return 0;
}

int step_line_compare(int64_t step, const struct step_line *was, const struct step_line *is,
                      struct err *err) {
    long long n = step;
    if (!was->is_there || !was->link[0])
        return err_set(err, "step %lld: metrics.jsonl has no line of it with a chain", n);
    if (!is->is_there)
        return err_set(err, "step %lld: the replay did not come to it", n);
    if (strcmp(was->data, is->data) != 0)
        return err_set(err, "step %lld: other data: the record has %s, the replay read %s", n, was->data,
                       is->data);
    if (compare_amounts(step, was, is, err) != 0)
        return -1;
    if (!same(was->loss, is->loss))
        return err_set(err, "step %lld: another loss: the record has %.17g, the replay %.17g", n, was->loss,
                       is->loss);
    if (!same(was->grad_norm, is->grad_norm))
        return err_set(err, "step %lld: another gradient norm: the record has %.17g, the replay %.17g", n,
                       was->grad_norm, is->grad_norm);
    if (strcmp(was->link, is->link) != 0)
        return err_set(err, "step %lld: another chain: the record has %s, the replay %s", n, was->link,
                       is->link);
    return 0;
}

void step_lines_release(struct step_lines *record) {
    free(record->lines);
    record->lines = NULL;
}
