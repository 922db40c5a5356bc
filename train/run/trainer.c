/* trainer.c - the loop: the file to read first.
 *
 * A step: read this rank's samples; per micro-batch forward and backward; reduce the gradients; norm, guard,
 * update; begin to publish the new weights, which the next forward takes along.  Between steps: metrics, validation,
 * checkpoints, signals.  How a run is opened is in trainer_setup.c, how it is saved in trainer_save.c, what is said at its end in
 * trainer_end.c, the model in model.c, what moves between ranks in shard.c. */
#include "train/run/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"
#include "train/model/optimizer.h"
#include "train/model/publish.h"
#include "train/model/shard.h"
#include "train/run/preference_means.h"
#include "train/run/run_phase.h"
#include "train/run/schedule.h"
#include "train/run/step_sums.h"
#include "train/run/trainer_end.h"
#include "train/run/trainer_follow.h"
#include "train/run/trainer_go_back.h"
#include "train/run/trainer_outer.h"
#include "train/run/trainer_replay.h"
#include "train/run/trainer_save.h"
#include "train/run/trainer_spike.h"
#include "train/run/trainer_state.h"
#include "train/run/trainer_tasks.h"
#include "train/run/trainer_validate.h"

/* What a step found out before its update. */
struct step_outcome {
    double own_loss;        /* sum of the losses of this rank */
    double grad_norm;       /* of the gradients as they are, loss_scale times the true ones */
    double own_norm;        /* of those that this rank updates by: the same, but where replicas learn apart */
    double learning_rate;   /* the schedule's */
    double start_s, data_s; /* when the step began; how long it read */
    const char *skipped;    /* why the weights were left as they are, or NULL */
};

/* take_next - how much there is to learn in the batch that was read, from what all ranks say of it. */
static void take_next(struct trainer *t, const struct step_message *message) {
    t->next.is_there = true;
    t->next.has_failed = step_message_most(message, SAID_UNREAD) > 0;
    step_sums_read(&t->next.sums, message, &t->rank.grid);
    if (trainer_is_apart(t))
        step_sums_apart(&t->next.sums, message, &t->rank.grid);
}

/* read_next - this rank's samples of the coming step. */
static void read_next(struct trainer *t, struct step_message *message) {
    t->next.err.text[0] = '\0';
    t->next.status = feed_step(&t->feed, &t->next.err);
    message->own[SAID_UNREAD] = t->next.status != 0;
    step_message_read(message, &t->feed);
}

/* read_first - the batch of a start's first step: those of the others are read in the step before. */
static void read_first(struct trainer *t) {
    struct step_message message = {.all = NULL};
    read_next(t, &message);
    step_message_exchange(&message, t->comm);
    take_next(t, &message);
    step_message_release(&message);
}

/* take_batch - the batch at hand, of which all ranks have their samples; the weight and the tokens of the whole of it. */
static bool take_batch(struct trainer *t, struct step_sums *sums) {
    if (!t->next.is_there)
        read_first(t);
    if (t->next.has_failed)
        return comm_all_ok(t->comm, t->next.status, &t->next.err);
    t->next.is_there = false;
    *sums = t->next.sums;
    if (t->config->train.reproducible == REPRODUCIBLE_LAYOUT)
        chain_data(&t->feed, axes_comm(&t->rank.axes, grid_axes(&t->rank.grid, DIVIDES_SAMPLES)),
                   t->batch_hash);
    return true;
}

/* pass - forward and backward of all micro-batches. */
static void pass(struct trainer *t, float grad_scale, float sequence_scale) {
    preference_reset(&t->preference);
    router_reset(&t->model, sequence_scale);
    t->distilled.loss = t->distilled.divergence = 0;
    params_grad_reset(&t->params);
    model_step_pass(&t->model, t->rank.link, t->comm, t->feed.micros, t->feed.num_micros);
    for (int64_t m = 0; m < t->feed.num_micros; m++) {
        if (m == t->feed.num_micros - 1)
            params_grad_last(&t->params);
        model_train_start(&t->model, t->rank.link, &t->feed.micros[m], grad_scale);
    }
}

/* take_losses - of the pass; returns this rank's sum.  Here the host waits for the device. */
static double take_losses(struct trainer *t) {
    double loss = 0;
    t->losses = (struct exact_sum){{0}, 0, 0};
    for (int64_t m = 0; m < t->feed.num_micros; m++) {
        double micro_loss = model_train_take(&t->model);
        exact_sum_add(&t->losses, micro_loss);
        loss += micro_loss;
    }
    return loss;
}

/* compute_gradients - of the whole batch; returns this rank's sum of losses. */
static double compute_gradients(struct trainer *t, const struct step_sums *sums) {
    /* The loss is a mean over the target tokens, or the pairs, of the whole batch, whoever computes them: each gradient is
     * scaled by the same number, so neither ranks nor micro-batches nor packing change the result.  Where replicas learn
     * apart the batch is a replica's own. */
    float grad_scale = (float)(t->loss_scale.value / sums->own_means),
          sequence_scale = (float)(t->loss_scale.value / sums->own_sequences);
    struct comm *all = axes_comm(&t->rank.axes, grid_axes(&t->rank.grid, DIVIDES_LOSS));
    bool repeats;
    double loss;
    do {
        pass(t, grad_scale, sequence_scale);
        repeats = params_grad_repeats(&t->params, all, feed_num_filled(&t->feed));
        if (!repeats)
            params_grad_finish(&t->params, t->rank.link);
        loss = take_losses(t);
    } while (repeats);
    return loss;
}

/* all_finite - guard before the update: the weights are still good.  Names the documents of the rank whose
 * own loss went wrong; a gradient that overflowed is seen by all. */
static bool all_finite(struct trainer *t, double loss, double own_loss, double grad_norm) {
    struct err err = {""};
    char documents[600];
    int status = 0;
    if (isfinite(loss) && isfinite(grad_norm)) /* and so it is on all ranks */
        return true;
    if (!isfinite(own_loss) || !isfinite(grad_norm)) {
        t->met_no_number = true;
        feed_documents(&t->feed, t->data.train, t->config->data.train, t->step - t->resume.data_start,
                       documents, sizeof documents);
        status = err_set(
            &err,
            "step %lld: %s is not finite; no update was made; lower optimizer.learning_rate or look at "
            "the data: %s",
            (long long)t->step + 1, isfinite(own_loss) ? "the gradient norm" : "the loss", documents);
    }
    return comm_all_ok(t->comm, status, &err);
}

/* flops_since - of this rank. */
static double flops_since(const struct trainer *t, const struct op_counts *before) {
    double flops = 0;
    for (int op = 0; op < OP_COUNT; op++)
        flops += t->rank.dev.counts.flops[op] - before->flops[op];
    return flops;
}

/* fill_phases - where the time of the step went: ops by what they were for, and waits for other ranks.  A
 * device that goes on by itself counts both on its own time line. */
static void fill_phases(const struct trainer *t, struct step_record *record, const struct op_counts *before,
                        double data_s, double stood_s) {
    const struct op_counts *now = &t->rank.dev.counts;
    bool on_host = t->rank.dev.ops->host_memory;
    record->phase_s[PHASE_DATA] = data_s;
    record->phase_s[PHASE_FORWARD] =
        now->section_seconds[SECTION_FORWARD] - before->section_seconds[SECTION_FORWARD];
    record->phase_s[PHASE_BACKWARD] =
        now->section_seconds[SECTION_BACKWARD] - before->section_seconds[SECTION_BACKWARD];
    record->phase_s[PHASE_COMM] =
        on_host ? t->params.comm_s + stood_s : now->seconds[OP_TRANSFER] - before->seconds[OP_TRANSFER];
    record->phase_s[PHASE_OPTIMIZER] =
        now->section_seconds[SECTION_UPDATE] - before->section_seconds[SECTION_UPDATE];
}

/* update - new weights from the gradients, on all ranks.  Gradients that overflowed f16 cost this update and
 * halve the loss scale, a spike costs it and its batch; returns false on all ranks when there are too many of these, or
 * anything else is not finite. */
static bool update(struct trainer *t, double loss, struct step_outcome *outcome) {
    double grad_norm = outcome->grad_norm / t->loss_scale.value;
    bool skips = !isfinite(outcome->grad_norm) && loss_scale_overflowed(&t->loss_scale);
    enum spike_kind spike = skips && isfinite(loss) ? SPIKE_NONE : trainer_spike_judge(t, loss, grad_norm);
    if (spike != SPIKE_NONE) {
        outcome->skipped = "spike";
        return trainer_spike_leave_out(t, spike, loss, grad_norm);
    }
    if (!all_finite(t, loss, outcome->own_loss, skips ? 0 : outcome->grad_norm))
        return false;
    if (skips) {
        metrics_note(t->metrics, "step %lld: a gradient overflowed f16; no update, the loss scale is now %g",
                     (long long)t->step + 1, t->loss_scale.value);
        outcome->skipped = "f16 overflow";
        return true;
    }
    struct optimizer_step step = {++t->updates, outcome->learning_rate, outcome->own_norm,
                                  t->loss_scale.value};
    optimizer_update(&t->params, t->rank.link, t->config, &step);
    loss_scale_succeeded(&t->loss_scale);
    if (trainer_outer_due(t))
        trainer_outer_step(t);
    params_publish_start(&t->params, t->rank.link); /* the next forward takes them along */
    return true;
}

/* pass_over - a batch without targets (chats that are all question) has nothing to learn from: a mean over
 * nothing is not a number, and weight decay alone would only shrink the weights.  The batch was read, so the
 * step counts; the update does not.  Told the first, second, fourth, eighth... time. */
static void pass_over(struct trainer *t, struct step_outcome *outcome) {
    int64_t count = ++t->steps_without_targets;
    *outcome = (struct step_outcome){.grad_norm = NAN,
                                     .learning_rate = outcome->learning_rate,
                                     .start_s = outcome->start_s,
                                     .skipped = "no targets"};
    if ((count & (count - 1)) == 0)
        metrics_note(t->metrics,
                     "step %lld: the batch has no target token; no update (%lld such step%s so far)",
                     (long long)t->step + 1, (long long)count, count > 1 ? "s" : "");
}

/* leave_out - a step without an update: replicas that learn apart meet all the same. */
static bool leave_out(struct trainer *t) {
    if (!trainer_outer_due(t))
        return true;
    trainer_outer_step(t);
    params_publish_start(&t->params, t->rank.link);
    return true;
}

/* is_last_step - the step at hand: no batch comes after it. */
static bool is_last_step(const struct trainer *t) {
    int64_t until = t->config->train.replay_until;
    return t->step + 1 == (until > 0 ? until : t->config->train.steps);
}

/* root_of_sum - of squares over a set of axes. */
static double root_of_sum(const struct trainer *t, const struct step_message *message, unsigned axes) {
    return sqrt(step_message_sum(message, &t->rank.grid, axes, SAID_SQUARES));
}

/* take_norms - of the gradients of the step; of replicas that learn apart the root of the mean of the squares of their norms. */
static void take_norms(struct trainer *t, const struct step_message *message, struct step_outcome *outcome) {
    unsigned axes = optimizer_norm_axes(&t->params, &t->rank.grid);
    int num_apart = t->params.setup.apart.size;
    if (outcome->skipped || t->params.setup.adds_exactly)
        return;
    outcome->grad_norm = outcome->own_norm = root_of_sum(t, message, axes);
    if (num_apart > 1)
        outcome->grad_norm = root_of_sum(t, message, axes | AXIS_BIT(AXIS_REPLICA)) / sqrt(num_apart);
}

/* tell - the step's message: what came of the gradients, and what there is to learn in the next batch. */
static void tell(struct trainer *t, struct step_sums *sums, struct step_message *message,
                 struct step_outcome *outcome) {
    feed_count(&t->feed);
    double start = clock_s();
    if (!is_last_step(t))
        read_next(t, message);
    outcome->data_s = clock_s() - start;
    control_say(&t->control, start - outcome->start_s, t->comm, &message->own[SAID_REQUEST]);
    step_message_exchange(message, t->comm);
    const double heard[2] = {step_message_most(message, SAID_REQUEST),
                             step_message_most(message, SAID_MINUTE)};
    control_heard(&t->control, heard, t->comm);
    step_sums_computed(sums, message, &t->rank.grid);
    take_norms(t, message, outcome);
    if (!is_last_step(t))
        take_next(t, message);
}

/* compute - gradients of the batch at hand, and what this rank says of them. */
static void compute(struct trainer *t, const struct step_sums *sums, struct step_message *message,
                    struct step_outcome *outcome) {
    outcome->own_loss = compute_gradients(t, sums);
    if (t->params.setup.adds_exactly)
        outcome->grad_norm = outcome->own_norm =
            optimizer_grad_norm(&t->params, axes_comm(&t->rank.axes, grid_update_axes(&t->rank.grid)));
    else
        message->own[SAID_SQUARES] = optimizer_grad_squares(&t->params);
}

/* learn - gradients and the update.  Returns false on all ranks when the run must end. */
static bool learn(struct trainer *t, struct step_sums *sums, struct step_outcome *outcome) {
    struct op_counts before = t->rank.dev.counts;
    struct step_message message = {.all = NULL};
    outcome->learning_rate = schedule_rate(t->config, t->step + 1);
    if (sums->target_weight > 0)
        compute(t, sums, &message, outcome);
    else
        pass_over(t, outcome);
    message.own[SAID_LOSS] = outcome->own_loss;
    message.own[SAID_FLOPS] = flops_since(t, &before);
    tell(t, sums, &message, outcome);
    step_message_release(&message);
    if (t->config->train.reproducible == REPRODUCIBLE_LAYOUT)
        step_sums_exactly(sums, &t->losses, &t->rank);
    if (t->objective.kind->distance)
        step_sums_taught(sums, &t->distilled, &t->rank);
    step_sums_routed(sums, &t->model, &t->rank);
    return outcome->skipped ? leave_out(t) : update(t, sums->loss, outcome);
}

/* rows_sent - to ranks that share texts with this one, since the start. */
static int64_t rows_sent(const struct trainer *t) {
    return t->config->parallel.context > 1 ? t->rank.context->sent_bytes : 0;
}

/* link_step - of a reproducible run: its chain of hashes. */
static void link_step(struct trainer *t, struct step_record *record) {
    if (t->config->train.reproducible == REPRODUCIBLE_OFF)
        return;
    const struct chain_facts facts = {.format = t->chain_format,
                                      .step = record->step,
                                      .tokens = record->tokens,
                                      .target_tokens = record->target_tokens,
                                      .loss = record->loss,
                                      .grad_norm = record->grad_norm,
                                      .learning_rate = record->learning_rate,
                                      .data = t->batch_hash};
    chain_step(t->link, &facts);
    record->chain = t->link;
    record->data = t->batch_hash;
}

/* train_step - one step of the schedule.  Returns false on all ranks when the run must end. */
static bool train_step(struct trainer *t) {
    struct step_sums sums;
    struct op_counts before = t->rank.dev.counts;
    const struct exchange_marks marks = trainer_mark_exchanges(t);
    int64_t rows_before = rows_sent(t);
    double start = clock_s();
    t->params.comm_s = 0;
    if (!take_batch(t, &sums))
        return false;
    double data_done = clock_s();

    struct step_outcome outcome = {.start_s = start};
    double loss_scale = t->loss_scale.value;
    if (!learn(t, &sums, &outcome))
        return false;

    t->step++;
    t->tokens_seen += (int64_t)sums.filled_tokens;
    if (!outcome.skipped)
        trainer_follow_gradients(t, sums.loss, outcome.grad_norm);
    trainer_follow_loss(t, outcome.skipped && strcmp(outcome.skipped, "spike") == 0
                               ? NAN
                               : sums.loss); /* of the data, not the weights */
    struct step_record record = {.step = t->step,
                                 .loss = sums.loss,
                                 .grad_norm = outcome.grad_norm / loss_scale,
                                 .learning_rate = outcome.learning_rate,
                                 .update = t->updates,
                                 .skipped = outcome.skipped,
                                 .still_since = standstill_since(&t->standstill, t->updates),
                                 .diverged_since = t->divergence.is_diverged ? t->divergence.since : 0,
                                 .diverged_before = t->divergence.past,
                                 .tokens = (int64_t)sums.filled_tokens,
                                 .target_tokens = (int64_t)sums.target_weight,
                                 .seconds = clock_s() - start,
                                 .flops = sums.flops,
                                 .is_taught = t->objective.kind->distance != NULL,
                                 .cross_entropy = sums.cross_entropy,
                                 .divergence = sums.divergence,
                                 .router = sums.router,
                                 .shares_rows = t->config->parallel.context > 1,
                                 .rows_bytes = rows_sent(t) - rows_before,
                                 .preference = preference_means(&t->preference, t->objective.kind, &t->rank)};
    link_step(t, &record);
    fill_phases(t, &record, &before, data_done - start + outcome.data_s,
                axes_stood_s(&t->rank.axes) - marks.stood_s);
    metrics_step(t->metrics, &record);
    trainer_follow_exchanges(t, &record, &marks);
    stragglers_step(&t->stragglers, record.phase_s[PHASE_FORWARD] + record.phase_s[PHASE_BACKWARD], t->step,
                    t->comm, t->metrics);
    double step_s = clock_s() - start;
    control_took(&t->control, step_s);
    trainer_outer_took(t, step_s);
    return true;
}

static bool is_due(int64_t step, int64_t every) {
    return every > 0 && step % every == 0;
}

/* save - where one is asked for, or is the best so far, it is waited for; one that is due may be written beside the next steps. */
static bool save(struct trainer *t, enum request request) {
    if (request != REQUEST_NOTHING || t->best_is_new)
        return trainer_save(t);
    return trainer_save_look(t) && (!control_save_is_due(&t->control, t->step) || trainer_save_beside(t));
}

/* between_steps - a checkpoint where one is due or asked for, the accounts once a minute; after an evaluation, which may take long, it is
 * asked once more.  Returns -1 to go on, or the exit code. */
static int between_steps(struct trainer *t, bool has_evaluated) {
    bool is_last = trainer_is_at_end(t);
    enum request request = is_last         ? REQUEST_SAVE
                           : has_evaluated ? control_ask(&t->control, t->comm)
                                           : t->control.heard;
    if (request == REQUEST_FOLDER_LOST) {
        trainer_owns_folder(t); /* says it */
        return EXIT_FAULT;
    }
    if (request_ends(request))
        metrics_note(t->metrics, "step %lld: save and stop, because of %s", (long long)t->step,
                     request_name(request));
    if (!save(t, request))
        return EXIT_FAULT;
    if (t->control.minute_is_over || is_last || request_ends(request))
        accounts_update(&t->accounts, t->step, t->tokens_seen - t->tokens_before, t->comm);
    if (is_last && t->step < t->config->train.steps)
        return EXIT_DONE;
    return request_ends(request) ? EXIT_REQUEUE : -1;
}

/* train_loop - steps until the last one, a stop or a fault; returns the exit code. */
static int train_loop(struct trainer *t) {
    bool is_replay = t->config->train.replay_until > 0;
    int64_t last = is_replay ? t->config->train.replay_until : t->config->train.steps;
    bool has_validated = false, failed = false;
    if ((!t->resume.checkpoint || t->resume.is_branch) && trainer_has_one_model(t) &&
        !(trainer_validate(t) && trainer_tasks(t)))
        return EXIT_FAULT;
    if (t->best_is_unknown && !trainer_validate(t))
        return EXIT_FAULT;
    while (t->step < last) {
        error_set_step(t->step + 1);
        if (!train_step(t))
            return EXIT_FAULT;
        if (t->back_to.path) {
            if (!trainer_go_back(t))
                return EXIT_FAULT;
            continue;
        }
        if (is_replay) {
            if (request_ends(t->control.heard))
                return EXIT_REQUEUE;
            run_phase_enter(t->comm, t->config, RUN_TRAINING);
            continue;
        }
        /* The last validation goes into the last checkpoint's model card, unless the job might end before the
         * save; what was trained is saved even where it fails. */
        has_validated = t->step == last ? control_has_time(&t->control, t->valid_s, t->comm)
                                        : is_due(t->step, t->config->valid.every_steps);
        failed = has_validated && !trainer_validate(t);
        bool has_answered = !failed && t->step < last && is_due(t->step, t->config->eval.every_steps);
        failed = failed || (has_answered && !trainer_tasks(t));
        if (failed && t->step < last)
            return EXIT_FAULT;
        int code = between_steps(t, has_validated || has_answered);
        if (code == EXIT_DONE) /* early, and validated a moment ago */
            break;
        if (code >= 0)
            return code;
        run_phase_enter(t->comm, t->config, RUN_TRAINING); /* the first step may be slow, the others not */
    }
    if (is_replay) {
        trainer_replay_end(t);
        return EXIT_DONE;
    }
    if (!has_validated)
        failed = !trainer_validate(t);
    if (!failed && control_has_time(&t->control, t->tasks.seconds, t->comm))
        failed = !trainer_tasks(t);
    char reason[TRAINER_REASON_ROOM];
    bool went_wrong = divergence_at_end(&t->divergence, t->valid_loss) || !trainer_learns(t, reason);
    return failed || went_wrong ? EXIT_FAULT : EXIT_DONE;
}

int trainer_run(const struct config *config, struct comm *comm) {
    struct trainer trainer;
    int code = EXIT_USAGE;
    run_phase_enter(comm, config, RUN_STARTING);
    if (trainer_open(&trainer, config, comm)) {
        char cost[400], outcome[300];
        bool at_once = trainer.step < config->train.steps && control_stops_at_once(comm);
        code = at_once ? EXIT_REQUEUE : train_loop(&trainer);
        params_publish_finish(&trainer.params, trainer.rank.link);
        if (!trainer_save_end(&trainer)) /* of a run that a fault ended: what was good until then is kept */
            code = EXIT_FAULT;
        if (config->train.replay_until == 0) /* the ledger does not count what is trained again */
            metrics_cost(trainer.metrics, accounts_text(&trainer.accounts, cost, sizeof cost));
        metrics_close(trainer.metrics, at_once
                                           ? "stopped by a signal before its first step; start it again"
                                           : trainer_outcome_text(&trainer, code, outcome, sizeof outcome));
    }
    if (trainer.ends_early != REQUEST_NOTHING)
        code = trainer_leave_early(&trainer);
    run_phase_enter(comm, config, RUN_ENDING);
    if (trainer.resume.is_done)
        code = trainer_tell_done(&trainer);
    trainer_close(&trainer);
    return code;
}
