/* trainer_validate.c - a validation: all of its rounds, in the files' own order. */
#include "train/run/trainer_validate.h"

#include <math.h>

#include "kernels/clock.h"
#include "train/run/preference_means.h"
#include "train/run/step_sums.h"
#include "train/run/trainer_best.h"

/* What a pass over the validation's samples adds up; the sums of an objective that needs them first, or the loss. */
struct round_sums {
    double loss, objective[OBJECTIVE_MAX_SUMS];
    struct exact_sum losses;
    struct step_sums own; /* num_means and target_weight of this rank */
    bool is_cut_short;
};

/* add_round - of the micro-batches at hand. */
typedef void add_round(struct trainer *t, struct round_sums *sums);

/* is_cut_short - a validation, said in the log: it may take longer than the time that is left to save. */
static bool is_cut_short(struct trainer *t) {
    enum request request = control_cuts_short(&t->control, t->comm);
    if (request == REQUEST_NOTHING)
        return false;
    metrics_note(t->metrics, "step %lld: the validation is cut short, because of %s", (long long)t->step,
                 request_name(request));
    t->valid_loss = NAN;
    return true;
}

static void add_objective_sums(struct trainer *t, struct round_sums *sums) {
    for (int64_t m = 0; m < t->valid_feed.num_micros; m++) {
        const struct batch *batch = &t->valid_feed.micros[m];
        model_evaluate(&t->model, t->rank.link, batch);
        t->objective.kind->step_losses(t->objective.state, batch, t->model.flight.host_losses,
                                       sums->objective);
    }
}

static void add_losses(struct trainer *t, struct round_sums *sums) {
    struct feed *feed = &t->valid_feed;
    for (int64_t m = 0; m < feed->num_micros; m++) {
        double sum = model_evaluate(&t->model, t->rank.link, &feed->micros[m]);
        double loss = objective_loss(&t->objective, &feed->micros[m], t->model.flight.host_losses, sum);
        exact_sum_add(&sums->losses, loss);
        sums->loss += loss;
        valid_sources_add(&t->valid_sources, feed, m, t->model.flight.host_losses);
    }
    sums->own.target_weight += feed->target_weight;
    sums->own.num_means += feed->num_units > 0 ? feed->num_units : feed->target_weight;
}

/* pass - over all samples.  Returns false on all ranks on a read error. */
static bool pass(struct trainer *t, add_round *add, struct round_sums *sums) {
    int64_t num_samples = t->valid_sources.num_windows;
    for (int64_t first = 0; first < num_samples; first += t->valid_feed.batch_sequences) {
        struct err err = {""};
        sums->is_cut_short = is_cut_short(t);
        if (sums->is_cut_short)
            return true;
        int status = feed_eval(&t->valid_feed, t->data.valid, first, num_samples, &err);
        if (!comm_all_ok(t->comm, status, &err))
            return false;
        add(t, sums);
    }
    return true;
}

/* prepare - what the objective has to know of all samples before it can say a loss. */
static bool prepare(struct trainer *t, struct round_sums *sums) {
    if (!t->objective.kind->needs_step_pass)
        return true;
    if (!pass(t, add_objective_sums, sums))
        return false;
    comm_sum_f64(t->comm, sums->objective, OBJECTIVE_MAX_SUMS);
    if (!sums->is_cut_short)
        t->objective.kind->step_sums(t->objective.state, sums->objective);
    return true;
}

bool trainer_validate(struct trainer *t) {
    double start = clock_s();
    struct step_sums all = {0};
    struct round_sums sums = {0};
    if (!t->data.valid)
        return true;
    preference_reset(&t->preference);
    valid_sources_begin(&t->valid_sources, &t->valid_feed);
    bool is_read = prepare(t, &sums) && (sums.is_cut_short || pass(t, add_losses, &sums));
    valid_sources_leave(&t->valid_feed);
    if (!is_read)
        return false;
    if (sums.is_cut_short)
        return true;
    valid_sources_end(&t->valid_sources, &t->rank);
    step_sums_evaluated(&all, sums.loss, &sums.own, &t->rank);
    if (t->config->train.reproducible == REPRODUCIBLE_LAYOUT)
        step_sums_exactly(&all, &sums.losses, &t->rank);
    struct preference_record preference = preference_means(&t->preference, t->objective.kind, &t->rank);
    t->valid_s = clock_s() - start;
    t->valid_loss = all.loss;
    patience_validation(&t->patience, t->step, t->valid_loss);
    metrics_bits_per_byte(t->metrics, t->valid_sources.bits_per_byte);
    metrics_sources(t->metrics, t->valid_sources.losses, t->valid_sources.num_sources);
    metrics_validation(t->metrics, t->step, t->valid_loss, (int64_t)all.target_weight, t->valid_s,
                       &preference);
    return trainer_best_validated(t);
}
