/* trainer_spike.c - what a spike does to a run.  Whether it is one: train/record/spike.c. */
#include "train/run/trainer_spike.h"

#include <stdlib.h>
#include <string.h>

#include "train/run/trainer_go_back.h"
#include "train/run/trainer_save.h"

static struct spike_rule rule_of(const struct config *config) {
    return (struct spike_rule){.window = config->train.spike_window, .sigma = config->train.spike_sigma};
}

enum spike_kind trainer_spike_judge(struct trainer *t, double loss, double grad_norm) {
    struct spike_rule rule = rule_of(t->config);
    double told[2] = {loss, grad_norm};
    if (t->config->train.spike == SPIKE_OFF)
        return SPIKE_NONE;
    comm_broadcast(t->comm, told, sizeof told);
    enum spike_kind kind = spike_judge(&t->spike, &rule, told[0], told[1]);
    if (kind == SPIKE_NONE)
        spike_add(&t->spike, &rule, told[0], told[1]);
    return kind;
}

/* is_over - as many batches are left out as may be, and this is one more. */
static bool is_over(struct trainer *t, const char *why) {
    struct err err = {""};
    int64_t limit = t->config->train.spike_limit;
    if (t->left_out.count < limit)
        return false;
    t->met_spikes = true;
    int status = err_set(
        &err,
        "step %lld: %s: a spike, and %lld batch%s left out already (train.spike_limit); no update was made; lower "
        "optimizer.learning_rate, look at the data, or raise the limit",
        (long long)t->step + 1, why, (long long)limit, limit == 1 ? " is" : "es are");
    comm_all_ok(t->comm, comm_is_root(t->comm) ? status : 0, &err);
    return true;
}

/* name_documents - of the whole batch, as one rank that had all of it would; root alone. */
static void name_documents(struct trainer *t, char *text, size_t room_bytes) {
    int64_t count = t->feed.batch_sequences, *all = xcalloc((size_t)count, sizeof *all);
    for (int64_t s = 0; s < count; s++)
        all[s] = s;
    struct feed whole = t->feed;
    whole.own = all;
    whole.num_own = count;
    feed_documents(&whole, t->data.train, t->config->data.train, t->step - t->resume.data_start, text,
                   room_bytes);
    free(all);
}

/* tell - which batch, why, and what becomes of the run. */
static void tell(struct trainer *t, const struct left_out_batch *batch, const char *why,
                 const char *passed_over) {
    char documents[300], next[GO_BACK_TEXT_ROOM + 80] = "no update";
    if (!comm_is_root(t->comm))
        return;
    name_documents(t, documents, sizeof documents);
    if (t->back_to.path)
        snprintf(next, sizeof next, "the run goes back to step %lld%s%s", (long long)t->back_to.id.step,
                 passed_over[0] ? ", as " : "", passed_over);
    else if (t->config->train.spike == SPIKE_ROLLBACK)
        snprintf(next, sizeof next, "no update, as there is no checkpoint yet to go back to");
    metrics_note(t->metrics,
                 "step %lld: %s: a spike; batch %lld is left out (%lld of at most %lld), %s; it held %s",
                 (long long)batch->step, why, (long long)batch->batch, (long long)t->left_out.count,
                 (long long)t->config->train.spike_limit, next, documents);
}

/* has_aim - a run that goes back has a sound checkpoint, or none yet at all.  Another ends here: what it would go on from is as bad as
 * what it has. */
static bool has_aim(struct trainer *t, const char *why, char passed_over[GO_BACK_TEXT_ROOM]) {
    struct err err = {""};
    enum go_back_found found = trainer_go_back_aim(t, passed_over);
    if (found != GO_BACK_NO_SOUND)
        return found != GO_BACK_UNREADABLE;
    t->met_no_sound = true;
    int status = err_set(
        &err,
        "step %lld: %s: a spike, and no checkpoint to go back to is sound: %s; no update was made; start anew with a "
        "lower optimizer.learning_rate and another run.folder, or go on from here with train.spike: skip",
        (long long)t->step + 1, why, passed_over);
    comm_all_ok(t->comm, comm_is_root(t->comm) ? status : 0, &err);
    return false;
}

bool trainer_spike_leave_out(struct trainer *t, enum spike_kind kind, double loss, double grad_norm) {
    char why[SPIKE_TEXT_ROOM], passed_over[GO_BACK_TEXT_ROOM] = "";
    bool is_rollback = t->config->train.spike == SPIKE_ROLLBACK;
    spike_text(&t->spike, kind, loss, grad_norm, why);
    if (is_over(t, why))
        return false;
    /* Where the run goes back to must not depend on how fast a disk is. */
    if (is_rollback && (!trainer_save_end(t) || !has_aim(t, why, passed_over)))
        return false;
    struct left_out_batch batch = {
        .batch = left_out_batch_of(&t->left_out, t->step - t->resume.data_start),
        .step = t->step + 1,
        .by = t->back_to.path ? LEFT_OUT_ROLLBACK : LEFT_OUT_SKIP,
        .loss = loss,
        .grad_norm = grad_norm,
    };
    left_out_add(&t->left_out, batch);
    tell(t, &batch, why, passed_over);
    return true;
}
