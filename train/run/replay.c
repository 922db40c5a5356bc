/* replay.c - the run file of a replay, where it ends, and what comes of it beside the run's own record. */
#include "train/run/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "configs/schema/config_load.h"
#include "data/corpus/json.h"
#include "train/run/step_lines.h"

/* state_of - training.json of a checkpoint; NULL with err set. */
static json_t *state_of(const char *folder, struct err *err) {
    char *text = checkpoint_state_text(folder, err);
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", err) : NULL;
    free(text);
    return state;
}

/* kept_config - as a checkpoint has it, with overrides; and what its links are made of. */
static int kept_config(struct config *config, struct replay *replay, int64_t step, struct err *err) {
    char *folder = checkpoint_of_step(replay->run_folder, step, err);
    json_t *state = folder ? state_of(folder, err) : NULL;
    const char *kept;
    int status = state && json_get_string(state, "config", &kept, err) == 0
                     ? config_load_kept_with(config, kept, "training.json", replay->overrides,
                                             replay->num_overrides, err)
                     : -1;
    const json_t *format = json_object_get(json_object_get(state, "reproducible"), "chain_format");
    replay->end.chain_format = json_integer_value(format) == CHAIN_NOW ? CHAIN_NOW : CHAIN_FIRST;
    json_decref(state);
    free(folder);
    return status;
}

/* --- how many replicas --- */

/* is_set_anew - a key among the overrides. */
static bool is_set_anew(const struct replay *replay, const char *key) {
    size_t length = strlen(key);
    for (int i = 0; i < replay->num_overrides; i++)
        if (strncmp(replay->overrides[i], key, length) == 0 && replay->overrides[i][length] == '=')
            return true;
    return false;
}

static int64_t largest_divisor(int64_t a, int64_t b) {
    return b == 0 ? a : largest_divisor(b, a % b);
}

/* fit_replicas - to other ranks than the run's. */
static void fit_replicas(struct config *config, struct replay *replay) {
    int64_t replicas = config->parallel.replicas;
    replay->replicas_were = 0;
    if (replicas < 1 || replay->num_ranks % replicas == 0 || is_set_anew(replay, "parallel.replicas"))
        return;
    config->parallel.replicas = largest_divisor(replicas, replay->num_ranks);
    replay->replicas_were = replicas;
}

/* --- the end --- */

/* has_link - a checkpoint is of the line that the record tells of: it has the link that is recorded of its step. */
static bool has_link(const char *folder, const char *link) {
    struct err ignored;
    json_t *state = state_of(folder, &ignored);
    const char *kept = json_string_value(json_object_get(json_object_get(state, "reproducible"), "chain"));
    bool has = kept && strcmp(kept, link) == 0;
    json_decref(state);
    return has;
}

/* choose_end - the checkpoint of the last step, or one step more, or neither.  One with another link is none of this record,
 * which is a difference.  Returns 0, or -1 with err set where there is no record. */
static int choose_end(struct replay *replay, int64_t num_steps, struct err *err) {
    struct step_lines lines = {.first = replay->last, .last = replay->last + 1};
    struct err ignored;
    replay->until = replay->last;
    replay->end.checkpoint = NULL;
    replay->end.difference.text[0] = '\0';
    if (step_lines_read(&lines, replay->run_folder, err) != 0)
        return -1;
    char *folder = checkpoint_of_step(replay->run_folder, replay->last, &ignored);
    bool is_other = folder && lines.lines[0].is_there && !has_link(folder, lines.lines[0].link);
    if (is_other)
        err_set(
            &replay->end.difference,
            "'%.300s' has another link of the chain than metrics.jsonl has: one of them was changed, or it was left by steps that the "
            "run went back over; move it away to compare without it",
            folder);
    else if (folder)
        replay->end.checkpoint = xstrdup(folder);
    else if (lines.lines[1].is_there && (num_steps == 0 || replay->last < num_steps))
        replay->until++;
    free(folder);
    step_lines_release(&lines);
    return 0;
}

void replay_release(struct replay *replay) {
    free(replay->end.checkpoint);
    replay->end.checkpoint = NULL;
}

/* --- the run file --- */

/* aim - no validation, no questions, nothing saved, and an end after the last step. */
static void aim(struct config *config, struct replay *replay) {
    free(config->run.folder);
    config->run.folder = xstrdup(replay->work_folder);
    if (replay->from >= 0) { /* else a branch begins where it did */
        free(config->checkpoint.from);
        config->checkpoint.from = xasprintf("%s@%lld", replay->run_folder, (long long)replay->from);
    }
    config->checkpoint.resume = RESUME_AUTO;
    config->checkpoint.every_steps = 0;
    config->checkpoint.keep_best = false;
    config->train.early_stop = 0;
    config->train.stop_after_s = 0;
    config->train.replay_until = replay->until;
    config->train.replay_end = &replay->end;
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

/* refuse - a run that cannot be replayed. */
static int refuse(const struct config *config, const struct replay *replay, struct err *err) {
    int64_t steps = config->train.steps;
    if (config->train.reproducible == REPRODUCIBLE_OFF)
        return err_set(
            err,
            "'%.300s' was trained without train.reproducible: layout: another start need not have its bits, "
            "and metrics.jsonl has no chain to compare",
            replay->run_folder);
    if (steps > 0 && replay->last > steps)
        return err_set(err, "step %lld is beyond the run's last one, %lld", (long long)replay->last,
                       (long long)steps);
    return 0;
}

int replay_config(struct config *config, struct replay *replay, struct err *err) {
    int64_t later;
    memset(config, 0, sizeof *config);
    if (checkpoint_around(replay->run_folder, replay->first - 1, &replay->from, &later, err) != 0)
        return -1;
    if (replay->from < 0 && later < 0)
        return err_set(err, "'%.300s' has no checkpoint, which says how it was trained", replay->run_folder);
    if (kept_config(config, replay, later >= 0 ? later : replay->from, err) != 0)
        return -1;
    if (refuse(config, replay, err) != 0 || choose_end(replay, config->train.steps, err) != 0) {
        config_free(config);
        memset(config, 0, sizeof *config);
        return -1;
    }
    replay->is_branch = replay->from < 0 && config->checkpoint.from && config->checkpoint.from[0];
    fit_replicas(config, replay);
    aim(config, replay);
    return 0;
}

/* --- what came of it --- */

/* tell_step_after - the difference is of the step after those that were asked for.  Returns -1. */
static int tell_step_after(const struct replay *replay, struct err *err) {
    struct err difference = *err;
    return err_set(
        err,
        "%.700s; this is the step after the window, which shows what step %lld made of the weights, unless it was "
        "trained with other settings: the steps before it are as recorded",
        difference.text, (long long)replay->last);
}

int replay_compare(const struct replay *replay, char *link, struct err *err) {
    struct step_lines was = {.first = replay->first, .last = replay->until}, is = was;
    int status = step_lines_read(&was, replay->run_folder, err);
    if (status == 0)
        status = step_lines_read(&is, replay->work_folder, err);
    for (int64_t i = 0; status == 0 && i <= replay->until - replay->first; i++)
        if (step_line_compare(replay->first + i, &was.lines[i], &is.lines[i], err) != 0)
            status = replay->first + i > replay->last ? tell_step_after(replay, err) : -1;
    if (status == 0)
        memcpy(link, is.lines[replay->last - replay->first].link, CHAIN_LINK_ROOM);
    if (status == 0 && replay->end.difference.text[0])
        status = err_set(err, "step %lld: another state than the checkpoint's: %.800s",
                         (long long)replay->last, replay->end.difference.text);
    step_lines_release(&was);
    step_lines_release(&is);
    return status;
}
