/* replay.c - the run file of a replay, and its lines beside those of the run. */
#include "train/run/replay.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "configs/schema/config_load.h"
#include "data/corpus/json.h"
#include "train/report/metrics_walk.h"
#include "train/run/chain_of_steps.h"

/* --- the run file --- */

/* kept_config - as a checkpoint has it, with overrides. */
static int kept_config(struct config *config, const struct replay *replay, int64_t step, struct err *err) {
    char *folder = checkpoint_of_step(replay->run_folder, step, err);
    char *text = folder ? checkpoint_state_text(folder, err) : NULL;
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", err) : NULL;
    const char *kept;
    int status = state && json_get_string(state, "config", &kept, err) == 0
                     ? config_load_kept_with(config, kept, "training.json", replay->overrides,
                                             replay->num_overrides, err)
                     : -1;
    json_decref(state);
    free(text);
    free(folder);
    return status;
}

/* aim - no validation, no questions, nothing saved, and an end after the last step. */
static void aim(struct config *config, const struct replay *replay, int64_t from) {
    free(config->run.folder);
    config->run.folder = xstrdup(replay->work_folder);
    free(config->checkpoint.from);
    config->checkpoint.from = from >= 0 ? xasprintf("%s@%lld", replay->run_folder, (long long)from) : NULL;
    config->checkpoint.resume = RESUME_AUTO;
    config->checkpoint.every_steps = 0;
    config->checkpoint.keep_best = false;
    config->train.early_stop = 0;
    config->train.stop_after_s = 0;
    config->train.replay_until = replay->last;
    config->run.tensorboard = false;
    for (int i = 0; i < config->data.num_valid; i++)
        free(config->data.valid[i].path);
    config->data.num_valid = config->eval.every_steps = config->valid.every_steps = 0;
    for (int i = 0; i < config->eval.num_tasks; i++)
        free(config->eval.tasks[i].text);
    config->eval.num_tasks = 0;
    free(config->text);
    config->text = config_resolved_text(config);
}

int replay_config(struct config *config, const struct replay *replay, struct err *err) {
    int64_t newest, later;
    memset(config, 0, sizeof *config);
    if (checkpoint_around(replay->run_folder, replay->first - 1, &newest, &later, err) != 0)
        return -1;
    if (newest < 0 && later < 0)
        return err_set(err, "'%.300s' has no checkpoint, which says how it was trained", replay->run_folder);
    if (kept_config(config, replay, later >= 0 ? later : newest, err) != 0)
        return -1;
    if (config->train.reproducible == REPRODUCIBLE_OFF) {
        config_free(config);
        memset(config, 0, sizeof *config);
        return err_set(
            err,
            "'%.300s' was trained without train.reproducible: layout: another start need not have its bits, "
            "and metrics.jsonl has no chain to compare",
            replay->run_folder);
    }
    int64_t steps = config->train.steps;
    if (steps > 0 && replay->last > steps) {
        config_free(config);
        memset(config, 0, sizeof *config);
        return err_set(err, "step %lld is beyond the run's last one, %lld", (long long)replay->last,
                       (long long)steps);
    }
    aim(config, replay, newest);
    return 0;
}

/* --- the lines --- */

struct line {
    bool is_there;
    double loss, grad_norm;
    char data[CHAIN_DATA_ROOM], link[CHAIN_LINK_ROOM];
};

/* Lines of the steps [first, last] of one folder. */
struct record {
    int64_t first, last;
    struct line *lines; /* [last - first + 1] */
};

/* number_of - NaN where the line has none. */
static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void text_of(const json_t *object, const char *key, char *text, size_t room_bytes) {
    const char *value = json_string_value(json_object_get(object, key));
    snprintf(text, room_bytes, "%s", value ? value : "");
}

/* keep_line - of a step that counts; of several lines the last one. */
static void keep_line(void *user, const struct metrics_line *line) {
    struct record *record = user;
    if (!line->object || !line->counts || strcmp(line->event, "step") != 0 || line->step < record->first ||
        line->step > record->last)
        return;
    struct line *to = &record->lines[line->step - record->first];
    to->is_there = true;
    to->loss = number_of(line->object, "loss");
    to->grad_norm = number_of(line->object, "grad_norm");
    text_of(line->object, "data", to->data, sizeof to->data);
    text_of(line->object, "chain", to->link, sizeof to->link);
}

static int read_record(struct record *record, const char *run_folder, const struct replay *replay,
                       struct err *err) {
    struct metrics_walk walk = {.path = NULL};
    record->first = replay->first;
    record->last = replay->last;
    record->lines = xcalloc((size_t)(replay->last - replay->first + 1), sizeof *record->lines);
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

/* compare_line - the recorded one with the replayed one. */
static int compare_line(int64_t step, const struct line *was, const struct line *is, struct err *err) {
    long long n = step;
    if (!was->is_there || !was->link[0])
        return err_set(err, "step %lld: metrics.jsonl has no line of it with a chain", n);
    if (!is->is_there)
        return err_set(err, "step %lld: the replay did not come to it", n);
    if (strcmp(was->data, is->data) != 0)
        return err_set(err, "step %lld: other data: the record has %s, the replay read %s", n, was->data,
                       is->data);
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

int replay_compare(const struct replay *replay, char *link, struct err *err) {
    struct record was = {.lines = NULL}, is = {.lines = NULL};
    int status = read_record(&was, replay->run_folder, replay, err);
    if (status == 0)
        status = read_record(&is, replay->work_folder, replay, err);
    for (int64_t i = 0; status == 0 && i <= replay->last - replay->first; i++)
        status = compare_line(replay->first + i, &was.lines[i], &is.lines[i], err);
    if (status == 0)
        memcpy(link, is.lines[replay->last - replay->first].link, CHAIN_LINK_ROOM);
    free(was.lines);
    free(is.lines);
    return status;
}
