/* comm_guard.h - a limit for what cannot be asked how far it is: the start and the end of MPI, making groups
 * of ranks. A thread waits beside it; after COMM_TELL_S it says for which rank, and at the limit it ends the
 * process, which makes mpirun or srun end the others. */
#pragma once

#include "train/ranks/comm.h"
#include "train/ranks/comm_marks.h"

struct guard;

/* guard_begin - what: for messages, a literal; the ranks that have reached the stage have come; phase is
 * copied, marks borrowed.  guard_end - it is over in time; frees.  Neither communicates. */
struct guard *guard_begin(struct marks *marks, const char *what, enum mark_stage stage,
                          const struct comm_phase *phase);
void guard_end(struct guard *guard);
