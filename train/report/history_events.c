/* history_events.c - validations with their sources, slow ranks, checkpoints, restarts. */
#include "train/report/history_events.h"

#include <math.h>
#include <string.h>

static const double SLOW =
    1.15; /* times the median: what the run itself calls slow (train/run/stragglers.h) */

static double real_of(const json_t *object, const char *key) {
    double value;
    return json_get_double(object, key, &value, NULL) == 0 ? value : NAN;
}

/* copy_name - cut between characters where it is too long. */
static void copy_name(char name[HISTORY_NAME_ROOM], const char *text) {
    size_t length = strlen(text);
    if (length >= HISTORY_NAME_ROOM)
        for (length = HISTORY_NAME_ROOM - 1; length > 0 && (text[length] & 0xc0) == 0x80;)
            length--;
    memcpy(name, text, length);
    name[length] = '\0';
}

/* --- validations --- */

/* keep_row - every stride-th; when there is no more room, every second of them goes. */
static void keep_row(struct history *h, const struct validation_row *row) {
    if (h->num_validations % h->stride != 0)
        return;
    if (h->num_rows == HISTORY_ROWS) {
        for (int i = 0; i < HISTORY_ROWS / 2; i++)
            h->rows[i] = h->rows[2 * i];
        h->num_rows = HISTORY_ROWS / 2;
        h->stride *= 2;
        if (h->num_validations % h->stride != 0)
            return;
    }
    h->rows[h->num_rows++] = *row;
}

/* find_source - by name, or a new one; NULL where there is no more room. */
static struct source_history *find_source(struct history *h, const char *name) {
    char wanted[HISTORY_NAME_ROOM];
    copy_name(wanted, name);
    for (int s = 0; s < h->num_sources; s++)
        if (strcmp(h->sources[s].name, wanted) == 0)
            return &h->sources[s];
    if (h->num_sources == HISTORY_SOURCES) {
        h->has_more_sources = true;
        return NULL;
    }
    struct source_history *source = &h->sources[h->num_sources++];
    memcpy(source->name, wanted, sizeof wanted);
    source->loss = series_open(&h->validation.axis);
    source->bits_per_byte = NAN;
    return source;
}

/* add_source - value: its loss, or an object that holds one. */
static void add_source(struct history *h, int64_t step, const char *name, const json_t *value) {
    double loss = json_is_number(value) ? json_number_value(value) : real_of(value, "loss");
    struct source_history *source = isfinite(loss) ? find_source(h, name) : NULL;
    if (!source)
        return;
    series_add(&source->loss, step, loss);
    source->bits_per_byte = real_of(value, "bits_per_byte");
}

/* take_sources - [{"source": NAME, "loss": ...}], or {NAME: {"loss": ...}} as `atelier eval --json` writes them. */
static void take_sources(struct history *h, int64_t step, json_t *sources) {
    const char *name;
    json_t *value;
    size_t i;
    json_object_foreach(sources, name, value) add_source(h, step, name, value);
    json_array_foreach(sources, i, value) if (json_get_string(value, "source", &name, NULL) == 0)
        add_source(h, step, name, value);
}

static void take_validation(struct history *h, const struct metrics_line *line) {
    struct validation_row row = {.step = line->step,
                                 .loss = real_of(line->object, "loss"),
                                 .bits_per_byte = real_of(line->object, "bits_per_byte")};
    if (json_get_int_or(line->object, "target_tokens", -1, &row.target_tokens, NULL) != 0)
        row.target_tokens = -1;
    take_sources(h, line->step, json_object_get(line->object, "sources"));
    if (!isfinite(row.loss))
        return; /* no target token, or a model gone wrong */
    series_add(&h->validation, line->step, row.loss);
    keep_row(h, &row);
    h->num_validations++;
    h->has_bits = h->has_bits || isfinite(row.bits_per_byte);
    h->last_row = row;
    if (!isfinite(h->best_row.loss) || row.loss <= h->best_row.loss)
        h->best_row = row;
}

/* --- ranks --- */

static struct slow_rank *find_rank(struct history *h, int64_t rank, const char *host) {
    char wanted[HISTORY_NAME_ROOM];
    copy_name(wanted, host);
    for (int i = 0; i < h->num_slow; i++)
        if (h->slow[i].rank == rank && strcmp(h->slow[i].host, wanted) == 0)
            return &h->slow[i];
    if (h->num_slow == HISTORY_RANKS)
        return NULL;
    struct slow_rank *slow = &h->slow[h->num_slow++];
    slow->rank = rank;
    memcpy(slow->host, wanted, sizeof wanted);
    return slow;
}

static void take_ranks(struct history *h, const struct metrics_line *line) {
    int64_t rank;
    const char *host;
    double ratio = real_of(line->object, "compute_slowest_s") / real_of(line->object, "compute_median_s");
    if (!isfinite(ratio) || json_get_int(line->object, "slowest_rank", &rank, NULL) != 0)
        return;
    h->num_comparisons++;
    series_add(&h->slowness, line->step, ratio);
    if (json_get_string_or(line->object, "slowest_host", "?", &host, NULL) != 0)
        host = "?";
    struct slow_rank *slow = ratio > SLOW ? find_rank(h, rank, host) : NULL;
    if (slow) {
        slow->times++;
        slow->worst = ratio > slow->worst ? ratio : slow->worst;
    }
}

/* --- the rest --- */

/* take_tasks - the first answers and the last ones. */
static void take_tasks(struct history *h, const struct metrics_line *line) {
    if (!json_is_object(json_object_get(line->object, "all")))
        return;
    if (!h->first_tasks) {
        h->first_tasks = json_incref((json_t *)(uintptr_t)line->object);
        h->first_tasks_step = line->step;
    }
    json_decref(h->last_tasks);
    h->last_tasks = json_incref((json_t *)(uintptr_t)line->object);
    h->last_tasks_step = line->step;
}

static void take_checkpoint(struct history *h, const struct metrics_line *line) {
    double bytes = real_of(line->object, "size_bytes"), seconds = real_of(line->object, "seconds");
    if (isfinite(bytes))
        h->checkpoint_bytes = isfinite(h->checkpoint_bytes) ? h->checkpoint_bytes + bytes : bytes;
    if (isfinite(seconds))
        h->checkpoint_s = isfinite(h->checkpoint_s) ? h->checkpoint_s + seconds : seconds;
    h->num_checkpoints++;
}

/* take_start - the first one is not a restart. */
static void take_start(struct history *h, const struct metrics_line *line) {
    int64_t room = (int64_t)(sizeof h->restarts / sizeof h->restarts[0]);
    if (h->num_steps == 0 && h->num_redone == 0 && h->num_restarts == 0)
        return;
    if (h->num_restarts < room)
        h->restarts[h->num_restarts] = line->step;
    h->num_restarts++;
}

void history_event(struct history *h, const struct metrics_line *line) {
    static const struct {
        const char *event;
        void (*take)(struct history *h, const struct metrics_line *line);
    } EVENTS[] = {{"validation", take_validation},
                  {"tasks", take_tasks},
                  {"ranks", take_ranks},
                  {"checkpoint", take_checkpoint},
                  {"start", take_start}};
    for (size_t i = 0; i < sizeof EVENTS / sizeof EVENTS[0]; i++)
        if (strcmp(line->event, EVENTS[i].event) == 0)
            EVENTS[i].take(h, line);
}
