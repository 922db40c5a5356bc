/* metrics_walk.c - two readings of metrics.jsonl: for its starts, then line by line. */
#include "train/report/metrics_walk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "kernels/units.h"

enum { MAX_LINE_BYTES = 64 * KIB, MAX_STARTS = 100000 };
static const int64_t LARGEST_STEP = 1000000000000000; /* 1e15 */

/* A file that is read by lines. */
struct lines {
    FILE *file;
    char text[MAX_LINE_BYTES + 1];
    size_t length_bytes;
    int64_t offset, end; /* not read beyond */
};

/* next_line - without its end; false at the end of the file.  A line that is too long comes out empty, a last one without its
 * end is still being written and does not come. */
static bool next_line(struct lines *lines) {
    int c;
    size_t length = 0;
    while (lines->offset < lines->end && (c = getc_unlocked(lines->file)) != EOF) {
        lines->offset++;
        if (c == '\n') {
            lines->length_bytes = length <= MAX_LINE_BYTES ? length : 0;
            lines->text[lines->length_bytes] = '\0';
            return true;
        }
        if (length < MAX_LINE_BYTES)
            lines->text[length] = (char)c;
        length++;
    }
    return false;
}

/* open_lines - malloc'ed, NULL with err set; closed with close_lines. */
static struct lines *open_lines(const char *path, int64_t end, struct err *err) {
    FILE *file = file_open_stream(path, err);
    if (!file)
        return NULL;
    struct lines *lines = xcalloc(1, sizeof *lines);
    lines->file = file;
    lines->end = end;
    return lines;
}

static void close_lines(struct lines *lines) {
    fclose(lines->file);
    free(lines);
}

/* --- the starts --- */

/* step_of - the step that a line of our own names; -1: none.  Quicker than to parse what is parsed later. */
static int64_t step_of(const char *line) {
    const char *at = strstr(line, "\"step\":");
    if (!at)
        return -1;
    long long step = strtoll(at + strlen("\"step\":"), NULL, 10);
    return step >= 0 && step <= LARGEST_STEP ? step : -1;
}

/* is_step - one that a run can have; a larger one would make an axis of nothing. */
static bool is_step(int64_t step) {
    return step >= 0 && step <= LARGEST_STEP;
}

/* take_steps - of a start: the newest counts, and the most that any had is the bound of what was done. */
static void take_steps(struct metrics_walk *walk, int64_t num_steps) {
    walk->num_steps = num_steps;
    walk->most_steps = num_steps > walk->most_steps ? num_steps : walk->most_steps;
}

/* largest_step - that a record of the run can have. */
static int64_t largest_step(const struct metrics_walk *walk) {
    return walk->most_steps > 0 ? walk->most_steps : LARGEST_STEP;
}

static int add_start(struct metrics_walk *walk, const struct lines *lines, struct err *err) {
    json_t *object = json_parse_text(lines->text, lines->length_bytes, "metrics.jsonl", NULL);
    int64_t after_step = -1;
    int status = 0;
    if (object && json_get_int(object, "after_step", &after_step, NULL) == 0 && is_step(after_step)) {
        if (walk->num_starts == MAX_STARTS) {
            status = err_set(err, "'%s' has more than %d starts: it is not the record of a run", walk->path,
                             MAX_STARTS);
        } else {
            walk->starts = xrealloc(walk->starts, (size_t)(walk->num_starts + 1) * sizeof *walk->starts);
            walk->starts[walk->num_starts++] = (struct metrics_start){after_step, LARGEST_STEP};
            int64_t num_steps;
            if (json_get_int(object, "steps", &num_steps, NULL) == 0 && is_step(num_steps))
                take_steps(walk, num_steps);
        }
    }
    json_decref(object);
    return status;
}

/* find_limits - of each start the least step at which a later one went on; one that began anew leaves all. */
static void find_limits(struct metrics_walk *walk) {
    int64_t limit = LARGEST_STEP;
    for (int i = walk->num_starts - 1; i >= 0; i--) {
        walk->starts[i].last_step = limit;
        int64_t after_step = walk->starts[i].after_step > 0 ? walk->starts[i].after_step : -1;
        limit = after_step < limit ? after_step : limit;
    }
}

int metrics_walk_open(struct metrics_walk *walk, const char *run_folder, struct err *err) {
    *walk = (struct metrics_walk){.path = xasprintf("%s/metrics.jsonl", run_folder)};
    int status = 0;
    struct lines *lines = open_lines(walk->path, INT64_MAX, err);
    while (lines && status == 0 && next_line(lines)) {
        int64_t step = step_of(lines->text);
        walk->last_step = step > walk->last_step && step <= largest_step(walk) ? step : walk->last_step;
        if (strstr(lines->text, "\"after_step\""))
            status = add_start(walk, lines, err);
        walk->size_bytes = lines->offset;
    }
    find_limits(walk);
    if (walk->last_step > largest_step(walk)) /* of a line before the first start */
        walk->last_step = largest_step(walk);
    if (!lines)
        return -1;
    close_lines(lines);
    return status;
}

void metrics_walk_close(struct metrics_walk *walk) {
    free(walk->starts);
    free(walk->path);
    *walk = (struct metrics_walk){.path = NULL};
}

/* --- every line --- */

/* is_number - of a member: one that is not less than `least`, null where it was not finite, or none. */
static bool is_number(const json_t *object, const char *key, double least) {
    const json_t *value = json_object_get(object, key);
    return !value || json_is_null(value) || (json_is_number(value) && json_number_value(value) >= least);
}

/* is_time - of the member "time": as train/record/metrics.c writes it, 2026-11-29T08:15:30.125Z, or none. */
static bool is_time(const json_t *object) {
    static const char form[] =
        "9999-19-39T29:59:69.999Z"; /* of each place the largest digit, or the sign itself */
    const json_t *value = json_object_get(object, "time");
    const char *time = json_string_value(value);
    if (!value || !time || json_string_length(value) != strlen(form))
        return !value;
    for (size_t i = 0; form[i]; i++) {
        bool is_digit = form[i] >= '0' && form[i] <= '9';
        if (is_digit ? time[i] < '0' || time[i] > form[i] : time[i] != form[i])
            return false;
    }
    return atoi(time + 5) >= 1 && atoi(time + 5) <= 12 && atoi(time + 8) >= 1 && atoi(time + 8) <= 31 &&
           atoi(time + 11) <= 23;
}

/* least_loss - a divergence may round to a little less than nothing, and the robust loss of pairs, which have rewards, may be less. */
static double least_loss(const json_t *object) {
    return json_object_get(object, "rewards/chosen") ? -INFINITY : -1e-3;
}

/* is_step_of - of a member: one that the run can have, or none. */
static bool is_step_of(const struct metrics_walk *walk, const json_t *object, const char *key) {
    const json_t *step = json_object_get(object, key);
    return !step || (json_is_integer(step) && json_integer_value(step) >= 0 &&
                     json_integer_value(step) <= largest_step(walk));
}

/* is_possible - a record that a run can have written: the step is one of its own, its time one, and what
 * is summed are numbers, none of them negative. */
static bool is_possible(const struct metrics_walk *walk, const json_t *object) {
    static const char *const numbers[] = {"grad_norm", "learning_rate", "tokens", "target_tokens", "seconds"};
    const json_t *event = json_object_get(object, "event");
    if (!is_step_of(walk, object, "step") || !is_step_of(walk, object, "after_step") ||
        (event && !json_is_string(event)) || !is_time(object) ||
        !is_number(object, "loss", least_loss(object)))
        return false;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!is_number(object, numbers[i], 0))
            return false;
    return true;
}

/* take - of an object what every line has; false: it is none of ours. */
static bool take(struct metrics_line *line, const json_t *object) {
    line->object = object;
    if (json_get_int(object, "after_step", &line->step, NULL) == 0)
        line->event = "start";
    else if (json_get_int(object, "step", &line->step, NULL) != 0 ||
             json_get_string_or(object, "event", "step", &line->event, NULL) != 0)
        return false;
    return is_step(line->step);
}

/* last_step_of - a file whose beginning was lost has records before its first start line: they count as a start's before it. */
static int64_t last_step_of(const struct metrics_walk *walk, int start) {
    if (start >= 0)
        return walk->starts[start].last_step;
    if (walk->num_starts == 0)
        return LARGEST_STEP;
    int64_t after_step = walk->starts[0].after_step > 0 ? walk->starts[0].after_step : -1;
    return after_step < walk->starts[0].last_step ? after_step : walk->starts[0].last_step;
}

int metrics_walk_each(const struct metrics_walk *walk, metrics_visit *visit, void *context, struct err *err) {
    struct metrics_line line;
    int start = -1;
    struct lines *lines = open_lines(walk->path, walk->size_bytes, err);
    if (!lines)
        return -1;
    while (next_line(lines)) {
        json_t *object = json_parse_text(lines->text, lines->length_bytes, "metrics.jsonl", NULL);
        if (!json_is_object(object) || !is_possible(walk, object)) {
            visit(context, &(struct metrics_line){.object = NULL});
        } else if (take(&line, object)) {
            bool is_start = strcmp(line.event, "start") == 0;
            if (is_start && start + 1 < walk->num_starts)
                start++;
            line.counts = is_start || line.step <= last_step_of(walk, start);
            visit(context, &line);
        }
        json_decref(object);
    }
    close_lines(lines);
    return 0;
}
