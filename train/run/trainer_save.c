/* trainer_save.c - a checkpoint of the present state: its type, its card, its place among the others.  The phases of
 * writing are in state.c and checkpoints/checkpoint/checkpoint.h. */
#include "train/run/trainer_save.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/model_folder.h"
#include "kernels/clock.h"
#include "train/model/state_save.h"
#include "train/record/card.h"
#include "train/record/metrics_summary.h"
#include "train/record/provenance.h"
#include "train/run/run_phase.h"
#include "train/run/trainer_best.h"
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
static bool choose_type(struct trainer *t) {
    struct err err = {""};
    char reason[320];
    state_check_values(&t->params, STATE_NOW, model_saved_type(&t->model_config), &err);
    first_reason(t->comm, &err, reason, sizeof reason);
    if (!reason[0])
        return true;
    if (!comm_all_ok(t->comm, state_check_values(&t->params, STATE_NOW, DTYPE_F32, &err), &err))
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

/* Nothing is pruned while losses are out of bounds: the older checkpoint may be the one to go back to. */
void trainer_confirm(struct trainer *t) {
    if (!t->has_to_prune || t->divergence.num_out > 0 || t->divergence.good_step < t->parent.step)
        return;
    if (run_lock_owns(&t->lock)) /* what stands there may be another's; control_ask says so */
        checkpoint_prune(t->config->run.folder, &t->parent, (int)t->config->checkpoint.keep, &t->stuck);
    t->has_to_prune = false;
}

/* note_saved - a checkpoint of this step is complete: the next one descends from it, and takes its small files from it. */
static void note_saved(struct trainer *t, double took_s) {
    char name[64];
    snprintf(name, sizeof name, "step-%06lld", (long long)t->step);
    metrics_checkpoint(t->metrics, t->step, name, state_bytes(&t->params, model_saved_type(&t->model_config)),
                       took_s);
    free(t->last_saved);
    t->last_saved = xasprintf("%s/%s", t->config->run.folder, name);
    if (comm_is_root(t->comm) && checkpoint_identity(t->last_saved, &t->parent, NULL) != 0)
        warn("'%s' is gone as soon as it was saved", t->last_saved);
    t->has_to_prune = comm_is_root(t->comm) && t->config->checkpoint.keep > 0;
    if (t->best_is_new)
        trainer_best_saved(t);
}

/* save_state - the model card is the base model's own only until the first checkpoint has one of this run. */
static bool save_state(struct trainer *t) {
    double start = clock_s();
    bool carries = t->model_config.wrapper_type[0] && !model_has_adapter(&t->model_config);
    char *state_text = trainer_state_text(t), *provenance, *card;
    const char *folder = small_files_folder(t);
    bool has_other_card =
        folder && !t->last_saved && (!t->resume.checkpoint || model_folder_card_is_of_base(folder));
    accounts_update(&t->accounts, t->step, t->tokens_seen - t->tokens_before, t->comm);
    describe(t, &provenance, &card);
    struct state_save save = {
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
                   .card = card,
                   .provenance = provenance,
                   .card_is_of_base = has_other_card,
                   .parent = t->parent.id[0] ? &t->parent : NULL,
                   .keep_count = (int)t->config->checkpoint.keep,
                   .good_step = step_to_spare(t),
                   .is_best = t->best_is_new,
                   .stuck = &t->stuck},
        .state_text = state_text,
        .carried_from = carries ? t->last_saved : NULL,
        .carried_begin = carries ? t->source.weights : NULL,
        .owns_folder = run_lock_owns,
        .owner = &t->lock,
    };
    bool done = state_save(&t->params, t->comm, &save);
    free(state_text);
    free(provenance);
    free(card);
    if (done) {
        note_saved(t, clock_s() - start);
        control_saved(&t->control, t->step, clock_s() - start, t->comm);
    }
    return done;
}

bool trainer_save(struct trainer *t) {
    /* A disk may be slow for one rank and not for another: the others wait longer around a checkpoint. */
    struct comm_phase before = *comm_phase(t->comm);
    run_phase_enter(t->comm, t->config, RUN_SAVING);
    bool done = choose_type(t) && trainer_owns_folder(t) && save_state(t);
    if (!done)
        trainer_owns_folder(t); /* it may have gone while it was saved, and then that is why */
    comm_set_phase(t->comm, &before);
    return done;
}
