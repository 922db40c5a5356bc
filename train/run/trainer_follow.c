/* trainer_follow.c - what a run says of itself after a step, when it changes. */
#include "train/run/trainer_follow.h"

#include <stdio.h>

#include "train/run/trainer_save.h"

void trainer_follow_gradients(struct trainer *t, double loss, double grad_norm) {
    enum standstill_news news = standstill_step(&t->standstill, t->step, loss, grad_norm);
    if (news == STANDSTILL_BEGINS)
        metrics_note(
            t->metrics,
            "warning: step %lld: the run learns nothing: the loss is %.4f and all gradients are exactly zero "
            "since step %lld; look for weights that are all zero, or compute in a type of more range",
            (long long)t->step, loss, (long long)t->standstill.since);
    else if (news == STANDSTILL_ENDS)
        metrics_note(t->metrics, "step %lld: the gradients are not zero any more", (long long)t->step);
}

void trainer_follow_loss(struct trainer *t, double loss) {
    struct divergence *d = &t->divergence;
    enum divergence_news news = divergence_step(d, t->step, loss);
    if (news == DIVERGENCE_BEGINS) {
        char back[96] = "start anew";
        if (d->good_step > 0)
            snprintf(back, sizeof back, "go back to a checkpoint of step %lld or before",
                     (long long)d->good_step);
        metrics_note(
            t->metrics,
            "warning: step %lld: the run diverges: the loss is %.4f, out of bounds (%.4f) since step "
            "%lld; lower optimizer.learning_rate and %s",
            (long long)t->step, loss, divergence_limit(d), (long long)d->since, back);
    } else if (news == DIVERGENCE_ENDS) {
        metrics_note(t->metrics, "step %lld: the loss is within bounds again: %.4f", (long long)t->step,
                     loss);
    }
    trainer_confirm(t);
}

/* rows_bytes - of the transports that carry nothing else. */
static int64_t rows_bytes(const struct rank_device *rank) {
    const struct transport *const others[] = {rank->link, rank->holders, rank->across};
    const struct transport *const links[] = {rank->context, rank->tensor, rank->expert};
    int64_t sum = 0;
    for (int i = 0; i < 3; i++) {
        bool is_counted = !links[i];
        for (int j = 0; j < 3; j++)
            is_counted = is_counted || links[i] == others[j] || (j < i && links[i] == links[j]);
        sum += is_counted ? 0 : links[i]->sent_bytes;
    }
    return sum;
}

struct exchange_marks trainer_mark_exchanges(const struct trainer *t) {
    const struct rank_device *rank = &t->rank;
    int64_t inside = rank->link->sent_bytes;
    if (rank->holders && rank->holders != rank->link)
        inside += rank->holders->sent_bytes;
    return (struct exchange_marks){.inside_bytes = inside,
                                   .across_bytes = rank->across->sent_bytes,
                                   .rows_bytes = rows_bytes(rank),
                                   .stood_s = axes_stood_s(&rank->axes)};
}

void trainer_follow_exchanges(struct trainer *t, const struct step_record *record,
                              const struct exchange_marks *before) {
    const struct params_setup *setup = &t->params.setup;
    const struct exchange_marks now = trainer_mark_exchanges(t);
    char text[EXCHANGE_WATCH_ROOM];
    const struct exchange_step step = {.waited_s = record->phase_s[PHASE_COMM],
                                       .products_s =
                                           record->phase_s[PHASE_FORWARD] + record->phase_s[PHASE_BACKWARD],
                                       .inside_bytes = now.inside_bytes - before->inside_bytes,
                                       .across_bytes = now.across_bytes - before->across_bytes,
                                       .rows_bytes = now.rows_bytes - before->rows_bytes,
                                       .stood_s = now.stood_s - before->stood_s};
    const struct exchange_ways ways = {.zero_stage = setup->zero_stage,
                                       .num_shards = setup->num_ranks,
                                       .num_replicas = setup->replicas.size,
                                       .keeps_gradients = setup->keeps_gradients,
                                       .is_apart = params_is_apart(setup),
                                       .is_f32_wire =
                                           setup->wire == DTYPE_F32 && setup->compute != DTYPE_F32};
    if (exchange_watch_step(&t->exchange_watch, &step, &ways, text))
        metrics_note(t->metrics, "warning: step %lld: %s", (long long)t->step, text);
}
