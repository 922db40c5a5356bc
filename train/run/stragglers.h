/* stragglers.h - the rank that all others wait for: seconds of computing, waits left out, compared every few
 * steps. */
#pragma once

#include "train/ranks/comm.h"
#include "train/record/metrics.h"

enum { STRAGGLER_STEPS = 20 };

struct stragglers {
    double compute_s; /* of this rank, since the last comparison */
    int num_steps;
    int told_rank;        /* who was named last; -1: nobody */
    bool divides_experts; /* the ranks do, so that what one computes depends on the routers */
};

/* straggler_find - the slowest of the ranks' times where it is more than 1.15 times their median, else -1;
 * the median, and the slowest in any case, are stored. */
int straggler_find(const double *seconds, int num_ranks, double *median, int *slowest);

/* straggler_advice - what to do about a slow host, into room: leaving it out where the job has others. */
void straggler_advice(char *room, size_t room_bytes, const char *host, bool has_others);

/* stragglers_step - a step of which this rank computed compute_s.  Every STRAGGLER_STEPS steps the ranks
 * compare, the root writes it down, and names a straggler with its host when it is a new one.  Collective. */
void stragglers_step(struct stragglers *stragglers, double compute_s, int64_t step, struct comm *comm,
                     struct metrics *metrics);
