/* stop.h - SIGTERM, SIGUSR1 and SIGINT ask a run to save and stop; the ranks agree on it at the end of a
 * step. */
#pragma once

#include "train/comm.h"

/* stop_install - from now on these signals wait until they are looked for.  Before comm_start: the threads
 * that MPI and OpenMP start later inherit it. */
void stop_install(void);

/* stop_agreed - true on all ranks when any of them was signalled.  Collective. */
bool stop_agreed(struct comm *comm);

/* stop_reason - "SIGTERM", "SIGUSR1", "SIGINT", or "" where this rank was not signalled. */
const char *stop_reason(void);
