/* trainer_follow.h - after each step: whether the run still learns, goes wrong, or waits more than it computes. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_follow_gradients - whether the run learns at all, said when it does not any more and when it does again. */
void trainer_follow_gradients(struct trainer *t, double loss, double grad_norm);

/* trainer_follow_loss - whether the run goes wrong, said when it begins and when it ends; the same on all ranks. */
void trainer_follow_loss(struct trainer *t, double loss);

/* What a rank had sent and stood for [s] before a step; rows: of texts, layers and experts that ranks share, where they go another way than
 * what is sent inside a replica does. */
struct exchange_marks {
    int64_t inside_bytes, across_bytes, rows_bytes;
    double stood_s;
};

/* trainer_mark_exchanges - before a step.  trainer_follow_exchanges - after it: whether the run waits for its exchanges more than it
 * computes. */
struct exchange_marks trainer_mark_exchanges(const struct trainer *t);
void trainer_follow_exchanges(struct trainer *t, const struct step_record *record,
                              const struct exchange_marks *before);
