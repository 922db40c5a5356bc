/* divergence.c - the bound on the loss, the steps beyond it, and its place in training.json. */
#include "train/record/divergence.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"

/* A single batch may be odd; three in a row are not.  Losses below one vary by more than their size. */
enum { NUM_FIRST = 5, PATIENCE = 3 };
static const double MOST_TIMES_THE_START = 3, LEAST_ABOVE_THE_START = 3;
/* Worse than guessing by half a nat; and what still counts as having been at the guess. */
static const double ABOVE_GUESSING = 0.5, AT_GUESSING = 0.25;

struct divergence divergence_start(int64_t vocab_size) {
    return (struct divergence){.log_vocab = log((double)(vocab_size > 1 ? vocab_size : 2)), .loss = NAN};
}

/* Three times the first losses, or three above them where they are small; and once the loss was below that of guessing among
 * all tokens, clearly worse than guessing is out of bounds too. */
double divergence_limit(const struct divergence *d) {
    double limit = INFINITY;
    if (d->num_first > 0) {
        double start = d->first_sum / (double)d->num_first;
        limit = fmax(MOST_TIMES_THE_START * start, start + LEAST_ABOVE_THE_START);
    }
    return d->was_below ? fmin(limit, d->log_vocab + ABOVE_GUESSING) : limit;
}

/* take_within - a loss within bounds: the weights that gave it are those after the step before. */
static enum divergence_news take_within(struct divergence *d, int64_t step, double loss) {
    d->num_out = 0;
    d->num_within++;
    d->was_below = d->was_below || loss <= d->log_vocab + AT_GUESSING;
    if (d->num_first < NUM_FIRST) {
        d->first_sum += loss;
        d->num_first++;
    }
    bool comes_back = d->is_diverged && d->num_within >= PATIENCE;
    d->is_diverged = d->is_diverged && !comes_back;
    if (comes_back) {
        d->past.first = d->past.times++ > 0 ? d->past.first : d->since;
        d->past.last = d->last_out;
    }
    if (!d->is_diverged)
        d->good_step = step - 1;
    return comes_back ? DIVERGENCE_ENDS : DIVERGENCE_NOTHING;
}

/* A step without targets has no loss and says nothing either way. */
enum divergence_news divergence_step(struct divergence *d, int64_t step, double loss) {
    if (isnan(loss))
        return DIVERGENCE_NOTHING;
    d->loss = loss;
    if (loss <= divergence_limit(d))
        return take_within(d, step, loss);
    d->num_within = 0;
    d->last_out = step;
    if (d->num_out++ == 0 && !d->is_diverged)
        d->since = step;
    if (d->is_diverged || d->num_out < PATIENCE)
        return DIVERGENCE_NOTHING;
    d->is_diverged = true;
    return DIVERGENCE_BEGINS;
}

/* At the end no further step can show that a single bad loss was an odd batch: the validation decides. */
bool divergence_at_end(const struct divergence *d, double valid_loss) {
    return d->is_diverged || d->num_out >= 2 || (d->num_out == 1 && valid_loss > divergence_limit(d));
}

bool divergence_is_suspect(const struct divergence *d, char *reason, size_t room_bytes) {
    bool is_suspect = d->is_diverged || d->num_out > 0;
    char loss[32] = ""; /* right after a start none is known */
    reason[0] = '\0';
    if (!isnan(d->loss))
        snprintf(loss, sizeof loss, "%.4g, ", d->loss);
    if (is_suspect)
        snprintf(reason, room_bytes, "the loss is %sout of bounds (%.4g) since step %lld", loss,
                 divergence_limit(d), (long long)d->since);
    return is_suspect;
}

const char *divergence_past_text(const struct divergence_past *past, char text[DIVERGENCE_PAST_ROOM]) {
    text[0] = '\0';
    if (past->times == 1)
        snprintf(text, DIVERGENCE_PAST_ROOM, "from step %lld to step %lld, and came back",
                 (long long)past->first, (long long)past->last);
    else if (past->times > 1)
        snprintf(text, DIVERGENCE_PAST_ROOM, "%lld times from step %lld to step %lld, and came back",
                 (long long)past->times, (long long)past->first, (long long)past->last);
    return text;
}

json_t *divergence_past_json(const struct divergence_past *past) {
    if (past->times < 1)
        return NULL;
    return json_pack("{s:I, s:I, s:I}", "from", (json_int_t)past->first, "to", (json_int_t)past->last,
                     "times", (json_int_t)past->times);
}

struct divergence_past divergence_past_take(const json_t *object) {
    struct divergence_past past = {0};
    if (!json_is_object(object) || json_get_int(object, "from", &past.first, NULL) != 0 ||
        json_get_int(object, "to", &past.last, NULL) != 0 ||
        json_get_int(object, "times", &past.times, NULL) != 0 || past.first < 1 || past.last < past.first ||
        past.times < 1)
        return (struct divergence_past){0};
    return past;
}

/* suspect_state - training.json and why it is marked suspect, inside of it; NULL: it is not.  What cannot be read is not suspect
 * here: who loads it will say what is wrong. */
static json_t *suspect_state(const char *checkpoint_folder, const char **reason) {
    char *text = checkpoint_state_text(checkpoint_folder, NULL);
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", NULL) : NULL;
    free(text);
    if (state && json_get_string(state, "suspect", reason, NULL) == 0)
        return state;
    json_decref(state);
    return NULL;
}

char *divergence_suspect(const char *checkpoint_folder) {
    const char *reason = NULL;
    json_t *state = suspect_state(checkpoint_folder, &reason);
    char *copy = state ? xstrdup(reason) : NULL;
    json_decref(state);
    return copy;
}

int64_t divergence_sound_until(const char *checkpoint_folder) {
    const char *reason;
    int64_t step = INT64_MAX;
    json_t *state = suspect_state(checkpoint_folder, &reason);
    if (state && json_get_int(json_object_get(state, "divergence"), "good_step", &step, NULL) != 0)
        step = 0;
    json_decref(state);
    return step;
}

json_t *divergence_json(const struct divergence *d) {
    json_t *object = json_pack("{s:f, s:I, s:b, s:I, s:I, s:b, s:I, s:I, s:I}", "first_sum", d->first_sum,
                               "num_first", (json_int_t)d->num_first, "was_below", d->was_below, "num_out",
                               (json_int_t)d->num_out, "num_within", (json_int_t)d->num_within, "is_diverged",
                               d->is_diverged, "since", (json_int_t)d->since, "good_step",
                               (json_int_t)d->good_step, "last_out", (json_int_t)d->last_out);
    json_t *past = divergence_past_json(&d->past);
    if (past)
        json_object_set_new(object, "diverged_before", past);
    return object;
}

/* check_read - counters of steps within those done, and the sum of a few losses. */
static int check_read(const struct divergence *d, int64_t step, struct err *err) {
    const struct {
        const char *name;
        int64_t value, highest;
    } counts[] = {{"num_first", d->num_first, NUM_FIRST},
                  {"num_out", d->num_out, step},
                  {"num_within", d->num_within, step},
                  {"since", d->since, step},
                  {"good_step", d->good_step, step},
                  {"last_out", d->last_out, step},
                  {"to", d->past.last, step},
                  {"times", d->past.times, step}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].value < 0 || counts[i].value > counts[i].highest)
            return err_set(err, "'%s' is %lld, expected 0 to %lld", counts[i].name,
                           (long long)counts[i].value, (long long)counts[i].highest);
    return isfinite(d->first_sum) ? 0 : err_set(err, "'first_sum' is not finite");
}

/* Absent in checkpoints of older versions: the bound is then made of the losses from here on. */
int divergence_read(struct divergence *d, const json_t *state, int64_t step, struct err *err) {
    const json_t *object = json_object_get(state, "divergence");
    const json_t *before = json_object_get(object, "diverged_before");
    if (!object)
        return 0;
    struct divergence read = {.log_vocab = d->log_vocab, .loss = NAN, .past = divergence_past_take(before)};
    if (before && read.past.times < 1)
        return err_set(err, "'divergence': 'diverged_before' is not {from, to, times} of steps");
    if (json_get_double(object, "first_sum", &read.first_sum, err) ||
        json_get_int(object, "num_first", &read.num_first, err) ||
        json_get_bool(object, "was_below", &read.was_below, err) ||
        json_get_int(object, "num_out", &read.num_out, err) ||
        json_get_int(object, "num_within", &read.num_within, err) ||
        json_get_bool(object, "is_diverged", &read.is_diverged, err) ||
        json_get_int(object, "since", &read.since, err) ||
        json_get_int(object, "good_step", &read.good_step, err) ||
        json_get_int_or(object, "last_out", read.since, &read.last_out, err) || check_read(&read, step, err))
        return err_prefix(err, "'divergence'");
    *d = read;
    return 0;
}
