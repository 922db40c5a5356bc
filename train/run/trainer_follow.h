/* trainer_follow.h - after each step: whether the run still learns, goes wrong, or waits more than it computes. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_follow_gradients - whether the run learns at all, said when it does not any more and when it does again. */
void trainer_follow_gradients(struct trainer *t, double loss, double grad_norm);

/* trainer_follow_loss - whether the run goes wrong, said when it begins and when it ends; the same on all ranks. */
void trainer_follow_loss(struct trainer *t, double loss);

/* trainer_sent_inside - bytes that this rank has sent to others of its replica. */
int64_t trainer_sent_inside(const struct trainer *t);
/* trainer_follow_exchanges - whether the run waits for its exchanges more than it computes; sent: before the step, inside and across. */
void trainer_follow_exchanges(struct trainer *t, const struct step_record *record, const int64_t sent[2]);
