/* sum_exact.c - limbs of sums are integers, which are added between ranks as such. */
#include "train/ranks/sum_exact.h"

void sum_exact(struct comm *comm, struct exact_sum *sum) {
    exact_sum_settle(sum);
    if (comm) {
        comm_sum_i64(comm, sum->limbs, EXACT_LIMBS);
        comm_sum_i64(comm, &sum->num_not_finite, 1);
        exact_sum_settle(sum);
    }
}
