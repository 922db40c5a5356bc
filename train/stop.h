/* stop.h - SIGTERM, SIGUSR1 and SIGINT set a flag; the ranks agree on it at the end of a step. */
#pragma once

#include "train/comm.h"

/* stop_install - handlers that only set the flag.  A second SIGINT ends the program at once. */
void stop_install(void);

/* stop_agreed - true on all ranks when any of them was signalled.  Collective. */
bool stop_agreed(struct comm *comm);

/* stop_reason - "SIGTERM", "SIGUSR1", "SIGINT", or "" where this rank was not signalled. */
const char *stop_reason(void);
