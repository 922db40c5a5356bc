/* step_message.h - what the ranks tell each other in a step, in one exchange: each has a few numbers, and all get all of them.  A sum or
 * a maximum is then taken over whatever axes divide the number, in the order of the ranks: the bits of comm_sum_f64 among them.
 *
 * It comes when the gradients are complete, before the update, which depends on their norm.  What the next step must know before
 * its first pass, how much there is to learn in its batch, goes with it: the batch is read by then. */
#pragma once

#include "train/ranks/comm.h"
#include "train/ranks/grid.h"
#include "train/run/feed.h"

/* Of a rank's gradients: the sum of squares.  Of its step: losses, flops.  Of what it has read for the next one: weights of targets,
 * tokens, units, sequences, whether that failed.  What control.h asks for. */
enum said {
    SAID_SQUARES,
    SAID_LOSS,
    SAID_FLOPS,
    SAID_WEIGHT,
    SAID_TOKENS,
    SAID_UNITS,
    SAID_SEQUENCES,
    SAID_UNREAD,
    SAID_REQUEST,
    SAID_MINUTE,
    SAID_COUNT
};

struct step_message {
    double own[SAID_COUNT];
    double *all; /* [num_ranks, SAID_COUNT], after step_message_exchange */
    int num_ranks;
};

/* step_message_read - into it, what this rank has read. */
void step_message_read(struct step_message *message, const struct feed *feed);

/* step_message_exchange - comm joins all ranks of the grid; NULL: one rank.  Collective.  step_message_release frees; harmless on a zeroed
 * struct. */
void step_message_exchange(struct step_message *message, struct comm *comm);
void step_message_release(struct step_message *message);

/* step_message_sum - over the ranks of a set of axes, those that differ from grid's own in no other axis.  step_message_most - the
 * largest of all ranks. */
double step_message_sum(const struct step_message *message, const struct grid *grid, unsigned axes,
                        enum said what);
double step_message_most(const struct step_message *message, enum said what);
