/* owners.h - which rank works on which matrix, where an optimizer owns whole matrices: a map, the same on all ranks. */
#pragma once

/* owners_assign - owners[i] in [0, num_ranks) for `count` pieces of work of the given costs: the most costly first,
 * each to the rank that has the least so far.  No rank has more than the mean and one piece.  Local. */
void owners_assign(const double *costs, int count, int num_ranks, int *owners);
