/* trainer_outer.c - see trainer_outer.h. */
#include "train/run/trainer_outer.h"

#include <stdlib.h>
#include <string.h>

#include "train/model/outer.h"

bool trainer_is_apart(const struct trainer *t) {
    return t->given->parallel.sync_every > 0;
}

void trainer_outer_warn(const struct trainer *t) {
    if (trainer_is_apart(t) && t->rank.grid.axes[AXIS_REPLICA].size == 1 && comm_is_root(t->comm))
        warn(
            "parallel.sync_every is %lld, and there is one replica (parallel.replicas): nothing is sent less often, and the "
            "outer steps change what is learnt",
            (long long)t->config->parallel.sync_every);
}

/* What decides whose samples are whose (train/run/feed.h). */
struct dealing {
    const char *name, *set_by;
    int64_t now;
};
enum { NUM_DEALINGS = 3 };

static void dealings(const struct trainer *t, struct dealing facts[NUM_DEALINGS]) {
    facts[0] = (struct dealing){"replicas", "parallel.replicas", t->rank.grid.axes[AXIS_REPLICA].size};
    facts[1] = (struct dealing){"ranks", "the number of ranks", comm_num_ranks(t->comm)};
    facts[2] = (struct dealing){"micro_sequences", "train.micro_sequences", t->config->train.micro_sequences};
}

void trainer_outer_put(const struct trainer *t, json_t *state) {
    struct dealing facts[NUM_DEALINGS];
    if (!trainer_is_apart(t))
        return;
    json_t *kept = json_object();
    dealings(t, facts);
    for (int i = 0; i < NUM_DEALINGS; i++)
        json_object_set_new(kept, facts[i].name, json_integer((json_int_t)facts[i].now));
    json_object_set_new(state, "apart", kept);
}

/* compare - returns 0, or -1 with err set. */
static int compare(const struct trainer *t, const json_t *state, struct err *err) {
    struct dealing facts[NUM_DEALINGS];
    json_t *kept;
    if (json_get_object(state, "apart", &kept, err) != 0)
        return -1;
    dealings(t, facts);
    for (int i = 0; i < NUM_DEALINGS; i++) {
        int64_t then;
        if (json_get_int(kept, facts[i].name, &then, err) != 0)
            return -1;
        if (then != facts[i].now)
            return err_set(
                err,
                "'%s' was trained with parallel.sync_every and %s: %lld, and there are %lld now: each replica has "
                "samples and an optimizer of its own; go on with as many: set %s to %lld",
                t->resume.checkpoint, facts[i].name, (long long)then, (long long)facts[i].now,
                facts[i].set_by, (long long)then);
    }
    return 0;
}

int trainer_outer_read(const struct trainer *t, struct err *err) {
    if (!trainer_is_apart(t) || !t->resume.checkpoint)
        return 0;
    char *text = checkpoint_state_text(t->resume.checkpoint, err);
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", err) : NULL;
    int status = state ? compare(t, state, err) : -1;
    json_decref(state);
    free(text);
    return status ? err_prefix(err, "cannot resume") : 0;
}

/* meets_after - whether the replicas of a run that has some apart are due to meet after that many steps. */
static bool meets_after(const struct trainer *t, int64_t step) {
    return step % t->config->parallel.sync_every == 0;
}

bool trainer_outer_due(const struct trainer *t) {
    int64_t step = t->step + 1;
    return trainer_is_apart(t) && (meets_after(t, step) || step == t->config->train.steps);
}

bool trainer_has_one_model(const struct trainer *t) {
    if (!trainer_is_apart(t) || meets_after(t, t->step))
        return true;
    metrics_note(
        t->metrics,
        "no validation before the first step: after step %lld the replicas are apart (parallel.sync_every)",
        (long long)t->step);
    return false;
}

void trainer_outer_saved(const struct trainer *t, int64_t step) {
    if (trainer_is_apart(t) && !meets_after(t, step) && step != t->config->train.steps)
        metrics_note(
            t->metrics,
            "the checkpoint of step %lld lies between two outer steps (parallel.sync_every): its model is that of "
            "the first replica, as it has learnt by itself; the run goes on from it with the same bits",
            (long long)step);
}

void trainer_outer_took(struct trainer *t, double step_s) {
    bool has_met = trainer_is_apart(t) && meets_after(t, t->step);
    if (has_met && t->control.meeting_s < step_s)
        t->control.meeting_s = step_s;
}

void trainer_outer_step(struct trainer *t) {
    const struct outer_args args = {t->config->parallel.outer_learning_rate,
                                    t->config->parallel.outer_momentum};
    outer_step(&t->params, t->rank.across, &args);
}
