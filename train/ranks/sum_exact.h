/* sum_exact.h - sums without rounding (kernels/exact_sum.h) over ranks. */
#pragma once

#include "kernels/exact_sum.h"
#include "train/ranks/comm.h"

/* sum_exact - the terms of all ranks' sums together, in place, the same on each.  comm NULL: alone.  Collective. */
void sum_exact(struct comm *comm, struct exact_sum *sum);
