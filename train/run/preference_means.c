/* preference_means.c - sums over the ranks, and means from them. */
#include "train/run/preference_means.h"

#include <math.h>
#include <string.h>

/* mean - NaN of nothing. */
static double mean(double sum, double count) {
    return count > 0 ? sum / count : NAN;
}

struct preference_record preference_means(const struct preference *preference,
                                          const struct objective *objective, struct rank_device *rank) {
    double sums[PREFERENCE_SUMS];
    bool are_pairs = objective->learns_from == PREFERENCE_PAIRS;
    struct comm *comm = axes_comm(&rank->axes, grid_axes(&rank->grid, DIVIDES_SAMPLES));
    if (objective->learns_from == PREFERENCE_NONE)
        return (struct preference_record){.is_there = false};
    memcpy(sums, preference->sums, sizeof sums);
    if (comm)
        comm_sum_f64(comm, sums, PREFERENCE_SUMS);
    double log_ratio = mean(sums[PREFERENCE_KL], sums[PREFERENCE_NUM_KL]);
    struct preference_record record = {
        .is_there = true,
        .chosen = mean(sums[PREFERENCE_CHOSEN], sums[PREFERENCE_NUM_CHOSEN]),
        .rejected = mean(sums[PREFERENCE_REJECTED], sums[PREFERENCE_NUM_REJECTED]),
        .accuracy = are_pairs ? mean(sums[PREFERENCE_CORRECT], sums[PREFERENCE_NUM_CHOSEN]) : NAN,
        .chosen_logp = mean(sums[PREFERENCE_CHOSEN_LOGP], sums[PREFERENCE_NUM_CHOSEN]),
        .rejected_logp = mean(sums[PREFERENCE_REJECTED_LOGP], sums[PREFERENCE_NUM_REJECTED]),
        .kl = are_pairs ? NAN : fmax(log_ratio, 0),
        .log_ratio = are_pairs && objective->needs_reference ? log_ratio : NAN};
    record.margin = record.chosen - record.rejected;
    return record;
}
