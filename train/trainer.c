/* trainer.c - the loop: the file to read first.
 *
 * A step: read this rank's samples; per micro-batch forward and backward; reduce the gradients; norm, guard,
 * update; publish the new weights.  Between steps: metrics, validation, checkpoints, signals.  How a run is
 * opened is in trainer_setup.c, the model in model.c, what moves between ranks in shard.c. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "train/clock.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/shard.h"
#include "train/state.h"
#include "train/stop.h"
#include "train/trainer_setup.h"

enum { EXIT_DONE = 0, EXIT_FAULT = 1, EXIT_USAGE = 2, EXIT_REQUEUE = 75 };

/* A disk may be slow for one rank and not for another: the others wait longer around a checkpoint. */
enum { SAVE_TIMEOUT_S = 3600 };

/* What a step adds up over the ranks. */
struct step_sums {
    double target_weight, filled_tokens, loss, flops;
};

/* read_batch - this rank's samples; the weight and the tokens of the whole batch. */
static bool read_batch(struct trainer *t, struct step_sums *sums) {
    struct err err = {""};
    int status = feed_step(&t->feed, &err);
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    double values[2] = {t->feed.target_weight, (double)t->feed.filled_tokens};
    comm_sum_f64(t->comm, values, 2);
    sums->target_weight = values[0];
    sums->filled_tokens = values[1];
    return true;
}

/* compute_gradients - forward and backward of all micro-batches; returns this rank's sum of losses. */
static double compute_gradients(struct trainer *t, double target_weight) {
    /* The loss is a mean over the target tokens of the whole batch, whoever computes them: each gradient is
     * scaled by the same number, so neither ranks nor micro-batches nor packing change the result.  A batch
     * without targets (chats that are all question) has weights of zero, and so gradients of zero. */
    float grad_scale = target_weight > 0 ? (float)(1.0 / target_weight) : 1.0f;
    double loss = 0;
    params_grad_zero(&t->params);
    for (int64_t m = 0; m < t->feed.num_micros; m++)
        loss += model_train(&t->model, t->comm, &t->feed.micros[m], grad_scale);
    params_grad_finish(&t->params, t->comm);
    return loss;
}

/* all_finite - guard before the update: the weights are still good.  Names the documents of the rank whose
 * own loss went wrong; a gradient that overflowed is seen by all. */
static bool all_finite(struct trainer *t, double own_loss, double grad_norm) {
    struct err err = {""};
    char documents[600];
    int status = 0;
    if (!isfinite(own_loss) || !isfinite(grad_norm)) {
        feed_documents(&t->feed, t->train_data, t->config->data.train, t->step, documents, sizeof documents);
        status = err_set(
            &err,
            "step %lld: %s is not finite; no update was made; lower optimizer.learning_rate or look at "
            "the data: %s",
            (long long)t->step + 1, isfinite(own_loss) ? "the gradient norm" : "the loss", documents);
    }
    return comm_all_ok(t->comm, status, &err);
}

static double total_flops(const struct device *dev) {
    double sum = 0;
    for (int op = 0; op < OP_COUNT; op++)
        sum += dev->counts.flops[op];
    return sum;
}

/* add_up - losses and flops over the ranks. */
static void add_up(struct trainer *t, double own_loss, double flops_before, struct step_sums *sums) {
    double values[2] = {own_loss, total_flops(&t->dev) - flops_before};
    comm_sum_f64(t->comm, values, 2);
    sums->loss = sums->target_weight > 0 ? values[0] / sums->target_weight : 0;
    sums->flops = values[1];
}

/* fill_phases - where the time of the step went.  Waits for transfers are taken out of forward and backward.
 */
static void fill_phases(const struct trainer *t, struct step_record *record, double data_s,
                        double optimizer_s) {
    record->phase_s[PHASE_DATA] = data_s;
    record->phase_s[PHASE_FORWARD] = t->model.forward_s;
    record->phase_s[PHASE_BACKWARD] = t->model.backward_s;
    record->phase_s[PHASE_COMM] = t->params.comm_s;
    record->phase_s[PHASE_OPTIMIZER] = optimizer_s;
}

/* train_step - one update.  Returns false on all ranks when the run must end. */
static bool train_step(struct trainer *t) {
    struct step_sums sums;
    double start = clock_s(), flops_before = total_flops(&t->dev);
    t->model.forward_s = t->model.backward_s = t->params.comm_s = 0;
    if (!read_batch(t, &sums))
        return false;
    double data_done = clock_s();

    double own_loss = compute_gradients(t, sums.target_weight);
    double grad_norm = optimizer_grad_norm(&t->params, t->comm, &t->dev);
    add_up(t, own_loss, flops_before, &sums);
    if (!all_finite(t, own_loss, grad_norm))
        return false;

    double update_start = clock_s();
    double learning_rate = schedule_rate(t->config, t->step + 1);
    optimizer_update(&t->params, &t->dev, t->config, t->step + 1, learning_rate, grad_norm);
    double update_done = clock_s();
    params_publish(&t->params, t->comm, &t->dev);

    t->step++;
    t->tokens_seen += (int64_t)sums.filled_tokens;
    struct step_record record = {.step = t->step,
                                 .loss = sums.loss,
                                 .grad_norm = grad_norm,
                                 .learning_rate = learning_rate,
                                 .tokens = (int64_t)sums.filled_tokens,
                                 .target_tokens = (int64_t)sums.target_weight,
                                 .seconds = clock_s() - start,
                                 .flops = sums.flops};
    fill_phases(t, &record, data_done - start, update_done - update_start);
    metrics_step(t->metrics, &record);
    return true;
}

/* validate - mean loss over the validation files' target tokens.  Returns false on all ranks on a read error.
 */
static bool validate(struct trainer *t) {
    double start = clock_s(), sums[2] = {0, 0};
    if (!t->valid_data)
        return true;
    int64_t num_samples = loader_num_eval_samples(t->valid_data);
    if (t->config->valid.sequences > 0 && t->config->valid.sequences < num_samples)
        num_samples = t->config->valid.sequences;
    for (int64_t first = 0; first < num_samples; first += t->valid_feed.batch_sequences) {
        struct err err = {""};
        int status = feed_eval(&t->valid_feed, t->valid_data, first, num_samples, &err);
        if (!comm_all_ok(t->comm, status, &err))
            return false;
        for (int64_t m = 0; m < t->valid_feed.num_micros; m++)
            sums[0] += model_evaluate(&t->model, t->comm, &t->valid_feed.micros[m]);
        sums[1] += t->valid_feed.target_weight;
    }
    comm_sum_f64(t->comm, sums, 2);
    metrics_validation(t->metrics, t->step, sums[1] > 0 ? sums[0] / sums[1] : 0, (int64_t)sums[1],
                       clock_s() - start);
    return true;
}

/* save - a checkpoint of the present state.  Returns false on all ranks when it could not be written. */
static bool save(struct trainer *t) {
    double start = clock_s();
    char *state_text = trainer_state_text(t);
    comm_set_timeout(t->comm, SAVE_TIMEOUT_S);
    struct state_save save = {
        .run_folder = t->config->run.folder,
        .step = t->step,
        .source = {.config = &t->model_config,
                   .base_config_text = t->source ? weights_config_text(t->source) : NULL,
                   .tokenizer_json = t->tokenizer_json,
                   .tokenizer_config = t->tokenizer_config,
                   .max_file_bytes = t->config->checkpoint.max_file_bytes,
                   .base_folder = t->source ? weights_folder(t->source) : NULL},
        .state_text = state_text,
        .keep_count = (int)t->config->checkpoint.keep,
    };
    bool done = state_save(&t->params, t->comm, &save);
    free(state_text);
    if (done) {
        char name[64];
        snprintf(name, sizeof name, "step-%06lld", (long long)t->step);
        metrics_checkpoint(t->metrics, t->step, name, state_bytes(&t->params, t->model_config.dtype),
                           clock_s() - start);
    }
    return done;
}

static bool is_due(int64_t step, int64_t every) {
    return every > 0 && step % every == 0;
}

/* wants_stop - a signal on any rank, or the time that the configuration allows is over. */
static bool wants_stop(struct trainer *t) {
    double limit = t->config->train.stop_after_s, elapsed = clock_s() - t->started_s;
    if (limit > 0) {
        comm_max_f64(t->comm, &elapsed, 1);
        if (elapsed >= limit)
            return true;
    }
    return stop_agreed(t->comm);
}

/* train_loop - steps until the last one, a stop or a fault; returns the exit code. */
static int train_loop(struct trainer *t) {
    int64_t last = t->config->train.steps;
    if (!t->resumed_from && !validate(t))
        return EXIT_FAULT;
    while (t->step < last) {
        error_set_step(t->step + 1);
        if (!train_step(t))
            return EXIT_FAULT;
        if (is_due(t->step, t->config->valid.every_steps) && t->step < last && !validate(t))
            return EXIT_FAULT;
        bool stop = t->step < last && wants_stop(t);
        if ((stop || t->step == last || is_due(t->step, t->config->checkpoint.every_steps)) && !save(t))
            return EXIT_FAULT;
        if (stop)
            return EXIT_REQUEUE;
        comm_set_timeout(t->comm, t->config->run.timeout_s); /* the first step may be slow, the others not */
    }
    return validate(t) ? EXIT_DONE : EXIT_FAULT;
}

int trainer_run(const struct config *config, struct comm *comm) {
    struct trainer trainer;
    int code = EXIT_USAGE;
    if (trainer_open(&trainer, config, comm)) {
        code = train_loop(&trainer);
        metrics_close(trainer.metrics, code == EXIT_DONE ? "done"
                                       : code == EXIT_REQUEUE
                                           ? "stopped after a checkpoint; start it again to go on"
                                           : "ended by a fault");
    }
    trainer_close(&trainer);
    return code;
}
