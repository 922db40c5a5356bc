/* stop.h - SIGTERM, SIGUSR1, SIGINT and SIGHUP (unless it is ignored, as under nohup) ask a run to save and stop; the
 * ranks agree on it at the end of a step. */
#pragma once

#include <stdbool.h>

/* stop_install - from now on these signals wait until they are looked for.  Before comm_start: the threads
 * that MPI and OpenMP start later inherit it. */
void stop_install(void);

/* stop_requested - whether this rank was signalled since stop_install; the ranks agree in control.h. */
bool stop_requested(void);
