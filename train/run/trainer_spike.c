/* trainer_spike.c - what a spike does to a run.  Whether it is one: train/record/spike.c. */
#include "train/run/trainer_spike.h"

#include <stdlib.h>
#include <string.h>

#include "train/model/publish.h"
#include "train/model/shard.h"
#include "train/model/state.h"
#include "train/run/run_phase.h"
#include "train/run/trainer_exact.h"
#include "train/run/trainer_save.h"
#include "train/run/trainer_state.h"

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

/* last_checkpoint - the last one that this start has saved, or begun with; NULL: none. */
static const char *last_checkpoint(const struct trainer *t) {
    return t->last_saved ? t->last_saved : t->resume.checkpoint;
}

/* tell - which batch, why, and what becomes of the run. */
static void tell(struct trainer *t, const struct left_out_batch *batch, const char *why) {
    char documents[300], next[120] = "no update";
    if (!comm_is_root(t->comm))
        return;
    name_documents(t, documents, sizeof documents);
    if (t->goes_back)
        snprintf(next, sizeof next, "the run goes back to step %lld", (long long)t->control.saved_step);
    else if (t->config->train.spike == SPIKE_ROLLBACK)
        snprintf(next, sizeof next, "no update, as there is no checkpoint yet to go back to");
    metrics_note(t->metrics,
                 "step %lld: %s: a spike; batch %lld is left out (%lld of at most %lld), %s; it held %s",
                 (long long)batch->step, why, (long long)batch->batch, (long long)t->left_out.count,
                 (long long)t->config->train.spike_limit, next, documents);
}

bool trainer_spike_leave_out(struct trainer *t, enum spike_kind kind, double loss, double grad_norm) {
    char why[SPIKE_TEXT_ROOM];
    spike_text(&t->spike, kind, loss, grad_norm, why);
    if (is_over(t, why))
        return false;
    /* Where the run goes back to must not depend on how fast a disk is. */
    if (t->config->train.spike == SPIKE_ROLLBACK && !trainer_save_end(t))
        return false;
    t->goes_back = t->config->train.spike == SPIKE_ROLLBACK && last_checkpoint(t);
    struct left_out_batch batch = {
        .batch = left_out_batch_of(&t->left_out, t->step - t->resume.data_start),
        .step = t->step + 1,
        .by = t->goes_back ? LEFT_OUT_ROLLBACK : LEFT_OUT_SKIP,
        .loss = loss,
        .grad_norm = grad_norm,
    };
    left_out_add(&t->left_out, batch);
    tell(t, &batch, why);
    return true;
}

/* --- going back --- */

/* read_checkpoint - its counters and course, but for the list of what is left out, which is longer by now. */
static int read_checkpoint(struct trainer *t, struct err *err) {
    struct left_out list = t->left_out;
    t->left_out = (struct left_out){.count = 0};
    t->step = t->resume.step;
    t->spike = (struct spike){.count = 0};
    t->patience = patience_start();
    t->best = best_start();
    int status = trainer_state_read(t, err);
    left_out_release(&t->left_out);
    t->left_out = list;
    left_out_go_back(&t->left_out, t->resume.step);
    return status;
}

/* aim - the checkpoint that this start has saved last takes the place of the one that it began with. */
static void aim(struct trainer *t) {
    if (!t->last_saved)
        return;
    free(t->resume.checkpoint);
    t->resume.checkpoint = xstrdup(t->last_saved);
    t->resume.step = t->control.saved_step;
    t->resume.is_branch = false;
}

/* load - masters, states, and the weights that all ranks compute with. */
static bool load(struct trainer *t) {
    struct err err = {""};
    params_publish_finish(&t->params, t->rank.link); /* it reads what is about to be loaded */
    int status = read_checkpoint(t, &err);
    if (!status)
        status = state_load_checkpoint(&t->params, t->resume.checkpoint, &err);
    if (!status)
        status = trainer_exact_read(t, &err);
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    params_share_masters(&t->params, t->rank.link);
    params_refresh(&t->params, t->rank.link);
    return true;
}

/* reopen_provenance - the tokens of each corpus up to there; those that were read after it are read again. */
static bool reopen_provenance(struct trainer *t) {
    struct provenance_setup setup = {.resumed_from = t->resume.checkpoint, .tokens_seen = t->tokens_seen};
    provenance_close(&t->provenance);
    return provenance_open(&t->provenance, t->comm, &setup);
}

/* Ranks wait for each other as long as when a run starts: the same files are read. */
bool trainer_go_back(struct trainer *t) {
    struct comm_phase before = *comm_phase(t->comm);
    int64_t from = t->step;
    t->goes_back = false;
    if (!trainer_save_end(t)) /* the newest checkpoint may still be in the making */
        return false;
    run_phase_enter(t->comm, t->config, RUN_STARTING);
    aim(t);
    if (!load(t) || !reopen_provenance(t))
        return false;
    trainer_feed_again(t);
    metrics_go_back(t->metrics, t->step, from);
    comm_set_phase(t->comm, &before);
    return true;
}
