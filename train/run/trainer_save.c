/* trainer_save.c - a checkpoint of the present state: its type, its card, its place among the others.  The phases of
 * writing are in state.c and checkpoints/checkpoint/checkpoint.h. */
#include "train/run/trainer_save.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/model_folder.h"
#include "kernels/clock.h"
#include "train/model/feedback.h"
#include "train/model/snapshot.h"
#include "train/model/state_save.h"
#include "train/record/card.h"
#include "train/record/metrics_summary.h"
#include "train/record/provenance.h"
#include "train/run/run_phase.h"
#include "train/run/trainer_best.h"
#include "train/run/trainer_outer.h"
#include "train/run/trainer_state.h"

/* Agreed on before anything else is done with the answer: the others cannot see what the root's lock says.  Once it is lost
 * it stays so, or a folder that came back would get files of two runs. */
bool trainer_owns_folder(struct trainer *t) {
    struct err err = {""};
    int status = comm_is_root(t->comm) ? run_lock_check(&t->lock, &err) : 0;
    if (t->lost_folder)
        return false;
    t->lost_folder = !comm_all_ok(t->comm, status, &err);
    if (t->lost_folder)
        metrics_leave(t->metrics);
    return !t->lost_folder;
}

/* describe - root: provenance.json and the model card of the present state, NULL elsewhere; both malloc'ed.
 */
static void describe(struct trainer *t, char **provenance, char **card) {
    int64_t *source_tokens = xcalloc((size_t)t->feed.num_sources + 1, sizeof *source_tokens);
    memcpy(source_tokens, t->feed.source_tokens, (size_t)t->feed.num_sources * sizeof *source_tokens);
    unsigned divided = grid_axes(&t->rank.grid, DIVIDES_SAMPLES);
    comm_sum_i64(axes_comm(&t->rank.axes, divided), source_tokens, t->feed.num_sources);
    *provenance = *card = NULL;
    if (comm_is_root(t->comm)) {
        struct provenance_facts facts = {.config = t->config,
                                         .model = &t->model_config,
                                         .loader = t->data.train,
                                         .source_tokens = source_tokens,
                                         .step = t->step,
                                         .tokens_seen = t->tokens_seen,
                                         .updates = t->updates,
                                         .diverged_since =
                                             t->divergence.is_diverged ? t->divergence.since : 0,
                                         .diverged_before = t->divergence.past,
                                         .still_since = standstill_since(&t->standstill, t->updates),
                                         .left_out = &t->left_out,
                                         .best = t->best,
                                         .totals = metrics_totals(t->metrics),
                                         .accounts = &t->accounts,
                                         .device = t->rank.dev.ops->name,
                                         .num_ranks = comm_num_ranks(t->comm)};
        json_t *root = provenance_json(&t->provenance, &facts);
        *provenance = json_dumps(root, JSON_INDENT(2));
        *card = card_text(root, CARD_ENGLISH);
        json_decref(root);
        CHECK(*provenance, "provenance could not be written as JSON");
    }
    free(source_tokens);
}

/* small_files_folder - where a checkpoint takes its small files from: the newest one, for the one that was
 * resumed may be deleted by now; the base model at first. */
static const char *small_files_folder(const struct trainer *t) {
    return t->last_saved ? t->last_saved : t->source.weights ? weights_folder(t->source.weights) : NULL;
}

/* first_reason - of the lowest rank that has one, on all ranks; "" when none has.  Collective. */
static void first_reason(struct comm *comm, const struct err *mine, char *text, size_t room_bytes) {
    enum { ROOM = 320 };
    int num_ranks = comm_num_ranks(comm);
    char own[ROOM] = "", *all = xcalloc((size_t)num_ranks, ROOM);
    snprintf(own, sizeof own, "%.*s", ROOM - 1, mine->text);
    comm_gather_bytes(comm, own, ROOM, all);
    text[0] = '\0';
    for (int r = 0; r < num_ranks && !text[0]; r++)
        snprintf(text, room_bytes, "%s", all + (size_t)r * ROOM);
    free(all);
}

/* choose_type - training may have carried weights beyond the range of the type of the model files.  The state
 * must not be lost for that in the night, and infinity must not be written: the model files are f32 from here
 * on, and it is said. Returns false on all ranks where weights are not finite: such a state is not worth the
 * place of a good one. */
static bool choose_type(struct trainer *t, enum state_source source) {
    struct err err = {""};
    char reason[320];
    state_check_values(&t->params, source, model_saved_type(&t->model_config), &err);
    first_reason(t->comm, &err, reason, sizeof reason);
    if (!reason[0])
        return true;
    if (!comm_all_ok(t->comm, state_check_values(&t->params, source, DTYPE_F32, &err), &err))
        return false;
    metrics_note(t->metrics, "warning: step %lld: %s; the model files of this run are f32 from here on",
                 (long long)t->step, reason);
    if (model_has_adapter(&t->model_config))
        t->model_config.adapter.dtype = DTYPE_F32;
    else
        t->model_config.dtype = DTYPE_F32;
    return true;
}

/* step_to_spare - beside the newest checkpoints the last good one stays: one whose weights gave a loss within
 * bounds in the step after it.  With two to keep, while the losses are within bounds, it is among them.  With
 * one, it stays until the next loss has shown that the new one is sound (trainer_confirm); at the end of the
 * run none will. */
static int64_t step_to_spare(const struct trainer *t) {
    char reason[DIVERGENCE_REASON_ROOM];
    bool is_last = trainer_is_at_end(t);
    if (divergence_is_suspect(&t->divergence, reason, sizeof reason))
        return t->divergence.good_step;
    return t->config->checkpoint.keep == 1 && !is_last ? t->divergence.good_step : 0;
}

/* Nothing is pruned while losses are out of bounds: the older checkpoint may be the one to go back to; nor while a thread
 * works in the folder, which prunes itself. */
void trainer_confirm(struct trainer *t) {
    if (t->saving.beside || !t->has_to_prune || t->divergence.num_out > 0 ||
        t->divergence.good_step < t->parent.step)
        return;
    if (run_lock_owns(&t->lock)) /* what stands there may be another's; control_ask says so */
        checkpoint_prune(t->config->run.folder, &t->parent, (int)t->config->checkpoint.keep, &t->stuck);
    t->has_to_prune = false;
}

/* note_saved - a checkpoint is complete: the next one descends from it, and takes its small files from it. */
static void note_saved(struct trainer *t, const struct checkpoint_record *record) {
    char name[64];
    snprintf(name, sizeof name, "step-%06lld", (long long)record->step);
    metrics_checkpoint(t->metrics, record, name);
    trainer_outer_saved(t, record->step);
    free(t->last_saved);
    t->last_saved = xasprintf("%s/%s", t->config->run.folder, name);
    if (comm_is_root(t->comm) && checkpoint_identity(t->last_saved, &t->parent, NULL) != 0)
        warn("'%s' is gone as soon as it was saved", t->last_saved);
    t->has_to_prune = comm_is_root(t->comm) && t->config->checkpoint.keep > 0;
    if (t->best_is_new &&
        record->step == t->step) /* and not one from before, which was still being written */
        trainer_best_saved(t);
    control_saved(&t->control, record->step, record->seconds, t->comm);
}

/* end_saving - what the checkpoint was made of goes. */
static void end_saving(struct trainer *t) {
    free(t->saving.state_text);
    free(t->saving.provenance);
    free(t->saving.card);
    t->saving = (struct trainer_saving){.beside = NULL};
}

/* describe_save - of the present state; the texts are in t->saving.  The model card is the base model's own only until the
 * first checkpoint has one of this run.  Collective. */
static struct state_save describe_save(struct trainer *t) {
    bool carries = t->model_config.wrapper_type[0] && !model_has_adapter(&t->model_config);
    const char *folder = small_files_folder(t);
    bool has_other_card =
        folder && !t->last_saved && (!t->resume.checkpoint || model_folder_card_is_of_base(folder));
    t->saving.step = t->step;
    t->saving.state_text = trainer_state_text(t);
    accounts_update(&t->accounts, t->step, t->tokens_seen - t->tokens_before, t->comm);
    describe(t, &t->saving.provenance, &t->saving.card);
    return (struct state_save){
        .run_folder = t->config->run.folder,
        .step = t->step,
        .source = {.config = &t->model_config,
                   .base_config_text = t->source.weights ? weights_config_text(t->source.weights) : NULL,
                   .base_path = t->config->model.path,
                   .tokenizer_json = t->source.tokenizer_json,
                   .tokenizer_config = t->source.tokenizer_config,
                   .adds_tokens = t->source.vocabulary_note != NULL,
                   .chat = t->source.chat.is_there ? &t->source.chat.learnt : NULL,
                   .max_file_bytes = t->config->checkpoint.max_file_bytes,
                   .base_folder = folder,
                   .card = t->saving.card,
                   .provenance = t->saving.provenance,
                   .card_is_of_base = has_other_card,
                   .parent = t->parent.id[0] ? &t->parent : NULL,
                   .keep_count = (int)t->config->checkpoint.keep,
                   .good_step = step_to_spare(t),
                   .is_best = t->best_is_new,
                   .stuck = &t->stuck},
        .state_text = t->saving.state_text,
        .carried_from = carries ? t->last_saved : NULL,
        .carried_begin = carries ? t->source.weights : NULL,
        .owns_folder = run_lock_owns,
        .owner = &t->lock,
    };
}

/* save_now - and wait for it. */
static bool save_now(struct trainer *t) {
    double start = clock_s();
    struct state_save save = describe_save(t);
    bool done = state_save(&t->params, t->comm, &save);
    end_saving(t);
    if (done) {
        double took_s = clock_s() - start;
        struct checkpoint_record record = {
            t->step, state_bytes(&t->params, model_saved_type(&t->model_config)), took_s, took_s};
        note_saved(t, &record);
        control_obeyed(&t->control, t->comm);
    }
    return done;
}

/* begin_beside - from a snapshot of the present state. */
static bool begin_beside(struct trainer *t, double start) {
    struct state_save save = describe_save(t);
    t->saving.beside = saving_begin(&t->params, t->comm, &save);
    if (!t->saving.beside) {
        end_saving(t);
        return false;
    }
    control_saving(&t->control, t->step);
    t->saving.waited_s = clock_s() - start;
    return true;
}

/* end_beside - wait for the rest of it.  Collective. */
static bool end_beside(struct trainer *t, double start) {
    struct checkpoint_record record = {
        .step = t->saving.step, .size_bytes = state_bytes(&t->params, model_saved_type(&t->model_config))};
    bool done = saving_end(t->saving.beside, &record.seconds);
    record.waited_s = t->saving.waited_s + clock_s() - start;
    end_saving(t);
    if (done)
        note_saved(t, &record);
    return done;
}

/* What is done to save, between two steps.  Collective. */
typedef bool (*save_part)(struct trainer *t, double start);

/* in_phase - a disk may be slow for one rank and not for another: the others wait longer around a checkpoint.  Where the folder
 * has gone while it was saved, that is why it failed, and it is said. */
static bool in_phase(struct trainer *t, save_part part) {
    struct comm_phase before = *comm_phase(t->comm);
    run_phase_enter(t->comm, t->config, RUN_SAVING);
    bool done = part(t, clock_s());
    if (!done)
        trainer_owns_folder(t);
    comm_set_phase(t->comm, &before);
    return done;
}

static bool save_part_now(struct trainer *t, double start) {
    if (t->saving.beside && !end_beside(t, start))
        return false;
    feedback_join(&t->params);
    return choose_type(t, STATE_NOW) && trainer_owns_folder(t) && save_now(t);
}

/* end_before - the checkpoint that is still being written when the next one is due: one at a time, as there is one snapshot.  Told once. */
static bool end_before(struct trainer *t, double start) {
    int64_t before = t->saving.step;
    if (!end_beside(t, start))
        return false;
    if (!t->has_told_wait)
        metrics_note(
            t->metrics,
            "step %lld: the training waited %.2f s for the checkpoint of step %lld, still being written "
            "when this one was due: one is written at a time (checkpoint.async); with a larger "
            "checkpoint.every_steps it need not wait; further waits are not told",
            (long long)t->step, clock_s() - start, (long long)before);
    t->has_told_wait = true;
    return true;
}

static bool save_part_begin(struct trainer *t, double start) {
    if (t->saving.beside && !end_before(t, start))
        return false;
    feedback_join(&t->params);
    snapshot_take(&t->params);
    return choose_type(t, STATE_SNAPSHOT) && trainer_owns_folder(t) && begin_beside(t, start);
}

static bool save_part_look(struct trainer *t, double start) {
    double limit_s = run_phase_limit_s(t->config, RUN_SAVING);
    if (saving_is_over(t->saving.beside, limit_s))
        return end_beside(t, start);
    t->saving.waited_s += clock_s() - start;
    return true;
}

bool trainer_save(struct trainer *t) {
    return in_phase(t, save_part_now);
}

bool trainer_save_beside(struct trainer *t) {
    bool waits = t->config->checkpoint.async != ASYNC_TRUE;
    return in_phase(t, waits ? save_part_now : save_part_begin);
}

bool trainer_save_look(struct trainer *t) {
    return !t->saving.beside || in_phase(t, save_part_look);
}

bool trainer_save_end(struct trainer *t) {
    return !t->saving.beside || in_phase(t, end_beside);
}
