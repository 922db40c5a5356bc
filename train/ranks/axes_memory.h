/* axes_memory.h - what the groups of axes.h take of a host's memory. */
#pragma once

#include <stddef.h>

#include "train/ranks/grid.h"

/* axes_shared_bytes - a rank's part of the memory in which ranks of one host gather and add (comm_mpi_shared.h), about 1 MiB for each comm:
 * that of the run, and that of every group which axes_open makes, where all of their ranks are on one node of so many.  Pure
 * arithmetic. */
size_t axes_shared_bytes(const struct grid *grid, int ranks_per_node);
