/* stragglers.c - a rank whose steps take clearly longer than those of the others, told by its host. */
#include "train/run/stragglers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/ranks/rank_device.h"

enum { HOST_ROOM = 64 };
static const double SLOW_FACTOR = 1.15;

static int compare_seconds(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The factor is against the median and not the mean, which a single slow rank would draw to itself. */
int straggler_find(const double *seconds, int num_ranks, double *median, int *slowest) {
    double *sorted = xcalloc((size_t)num_ranks, sizeof *sorted);
    memcpy(sorted, seconds, (size_t)num_ranks * sizeof *sorted);
    qsort(sorted, (size_t)num_ranks, sizeof *sorted, compare_seconds);
    *median = sorted[(num_ranks - 1) / 2]; /* the lower one: of two ranks one may be a straggler */
    free(sorted);
    *slowest = 0;
    for (int r = 1; r < num_ranks; r++)
        if (seconds[r] > seconds[*slowest])
            *slowest = r;
    return seconds[*slowest] > SLOW_FACTOR * *median ? *slowest : -1;
}

/* hosts_of - the host of a rank, on every rank; returns whether there are others. */
static bool hosts_of(struct comm *comm, int rank, char host[HOST_ROOM]) {
    char own[HOST_ROOM] = "", *all = xcalloc((size_t)comm_num_ranks(comm), HOST_ROOM);
    bool has_others = false;
    snprintf(own, sizeof own, "%s", rank_node_name(comm));
    comm_gather_bytes(comm, own, HOST_ROOM, all);
    snprintf(host, HOST_ROOM, "%s", all + (size_t)rank * HOST_ROOM);
    for (int r = 0; r < comm_num_ranks(comm); r++)
        has_others = has_others || strncmp(all + (size_t)r * HOST_ROOM, host, HOST_ROOM) != 0;
    free(all);
    return has_others;
}

void straggler_advice(char *room, size_t room_bytes, const char *host, bool has_others) {
    if (has_others) /* without its node the job has another; of one node there is nothing to leave out */
        snprintf(room, room_bytes, "; if it stays so: --exclude=%s (slurm.exclude)", host);
    else
        snprintf(room, room_bytes,
                 "; what else runs on this host, and where its ranks are bound, may tell why");
}

/* Only a rank's own computing is looked at: its waiting for others would make all of them look as slow as the
 * slowest. Told once, until another rank is the slowest or none is. */
void stragglers_step(struct stragglers *stragglers, double compute_s, int64_t step, struct comm *comm,
                     struct metrics *metrics) {
    int num_ranks = comm_num_ranks(comm), slowest;
    double median, mean;
    char host[HOST_ROOM], advice[2 * HOST_ROOM + 64];
    stragglers->compute_s += compute_s;
    if (num_ranks == 1 || ++stragglers->num_steps < STRAGGLER_STEPS)
        return;
    mean = stragglers->compute_s / stragglers->num_steps;
    stragglers->compute_s = 0;
    stragglers->num_steps = 0;
    double *all = xcalloc((size_t)num_ranks, sizeof *all);
    comm_gather_f64(comm, &mean, 1, all);
    int found = straggler_find(all, num_ranks, &median, &slowest);
    bool has_others = hosts_of(comm, slowest, host);
    if (stragglers->divides_experts)
        snprintf(advice, sizeof advice,
                 "; ranks divide the experts, and the routers may send it more tokens (fullest_expert)");
    else
        straggler_advice(advice, sizeof advice, host, has_others);
    metrics_ranks(metrics, step, median, all[slowest], slowest, host);
    if (found >= 0 && found != stragglers->told_rank)
        metrics_note(metrics,
                     "step %lld: rank %d on %s computes %.2f times as long as the median of the ranks (%.3g "
                     "s a step) and all wait for it%s",
                     (long long)step, found, host, all[found] / median, median, advice);
    stragglers->told_rank = found;
    free(all);
}
