/* sum_exact.c - limbs of sums are integers, which are added between ranks as such. */
#include "train/ranks/sum_exact.h"

#include <string.h>

void sum_exact(struct comm *comm, struct exact_sum *sum) {
    int64_t values[EXACT_LIMBS + 1];
    exact_sum_settle(sum);
    if (!comm)
        return;
    memcpy(values, sum->limbs, sizeof sum->limbs);
    values[EXACT_LIMBS] = sum->num_not_finite;
    comm_sum_i64(comm, values, EXACT_LIMBS + 1); /* one exchange */
    memcpy(sum->limbs, values, sizeof sum->limbs);
    sum->num_not_finite = values[EXACT_LIMBS];
    exact_sum_settle(sum);
}
