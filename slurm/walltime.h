/* walltime.h - how long this job may still run, when it must save, and how often saving pays.
 *
 * The end of the job is asked for once, at the start; from then on the monotonic clock counts, so that a
 * clock that is set in the meantime changes nothing.  The decisions are pure functions of measured times. */
#pragma once

#include "kernels/error.h"

struct walltime {
    bool is_known;      /* false: not inside a job, no limit, or Slurm did not answer */
    double deadline_s;  /* of clock_s() */
    const char *source; /* how it is known, or why not: for one line in the log */
};

/* walltime_open - SLURM_JOB_END_TIME (Slurm 23.02 and later), else `squeue -h -j ID -o %L`, which tells the
 * time left and so does not depend on this node's clock.  Takes at most 10 s.  For one rank; the others are
 * told. */
struct walltime walltime_open(void);

/* walltime_remaining_s - until the end of the job; infinite where it is not known. */
double walltime_remaining_s(const struct walltime *walltime);

/* walltime_from_end - the pure part: a deadline for end_text (seconds since 1970), given both clocks now. */
struct walltime walltime_from_end(const char *end_text, double now_since_1970_s, double clock_now_s);

/* walltime_margin_s - the time to keep for a last save: twice the measured checkpoint, twice a step (the one
 * under way, and one that is slow), and a minute for the end of the program and of srun.
 * walltime_must_stop - whether another step would leave less. */
double walltime_margin_s(double checkpoint_s, double step_s);
bool walltime_must_stop(double remaining_s, double checkpoint_s, double step_s);

/* save_interval_s - between two checkpoints, so that saving and the work lost by failures together cost
 * least: checkpoint_s is what one save takes, mtbf_s the mean time between failures of the whole job. Source:
 * Daly 2006, "A higher order estimate of the optimum checkpoint interval", equation 37; its first term is
 * Young's sqrt(2 C M) of 1974. */
double save_interval_s(double checkpoint_s, double mtbf_s);

/* save_interval_steps - the same in steps of step_s, at least 1; node_mtbf_h is of one node, so that a job on
 * many fails that much oftener. */
int64_t save_interval_steps(double checkpoint_s, double step_s, double node_mtbf_h, int64_t num_nodes);
