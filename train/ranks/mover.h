/* mover.h - messages beside the ops of a processor.  MPI moves messages inside its own calls alone, and while a thread computes
 * nobody makes any.  A mover is a second thread that does, and the rule by which the two are never inside comm.h together: it is the
 * first one's but for the length of an op. */
#pragma once

#include "kernels/ops.h"
#include "train/ranks/comm.h"

struct mover;

/* mover_open - not collective: for the transfers of comm, its whole and that one's groups, beside the ops of a device whose ops are over when they
 * return, from the thread that gives them to it; takes the device's before_op and after_op.  From here on only that thread calls
 * comm.h, and outside of ops.  mover_close - when no transfer is under way. */
struct mover *mover_open(struct comm *comm, struct device *device);
void mover_close(struct mover *mover);
