/* owners.c - which rank updates which whole matrix: the largest first, each to the rank with the least so far. */
#include "train/model/owners.h"

#include <stdlib.h>

#include "kernels/error.h"

/* Something to be dealt out. */
struct piece {
    double cost;
    int index;
};

/* by_cost - the most costly first; equal ones in their order. */
static int by_cost(const void *a, const void *b) {
    const struct piece *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? 1 : -1;
    return x->index - y->index;
}

/* least_loaded - the first of equals, so that all ranks come to the same map. */
static int least_loaded(const double *loads, int num_ranks) {
    int least = 0;
    for (int r = 1; r < num_ranks; r++)
        if (loads[r] < loads[least])
            least = r;
    return least;
}

void owners_assign(const double *costs, int count, int num_ranks, int *owners) {
    struct piece *pieces = xcalloc((size_t)count + 1, sizeof *pieces);
    double *loads = xcalloc((size_t)num_ranks, sizeof *loads);
    for (int i = 0; i < count; i++)
        pieces[i] = (struct piece){costs[i], i};
    qsort(pieces, (size_t)count, sizeof *pieces, by_cost);
    for (int i = 0; i < count; i++) {
        int rank = least_loaded(loads, num_ranks);
        owners[pieces[i].index] = rank;
        loads[rank] += pieces[i].cost;
    }
    free(pieces);
    free(loads);
}
