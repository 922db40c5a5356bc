/* walltime.c - the end of the job asked for, the margin before it, and Daly's interval between saves. */
#include "slurm/walltime.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/clock.h"
#include "kernels/units.h"
#include "slurm/slurm_text.h"
#include "slurm/subprocess.h"

static const double ASK_TIMEOUT_S = 10;
/* A job that has ended, or that ends in ten years, is a clock or a text gone wrong. */
static const double LONGEST_LEFT_S = 10 * 365.0 * DAY_S;

/* unknown - no reason to refuse to train: the run then saves by its interval alone. */
static struct walltime unknown(const char *why) {
    return (struct walltime){.is_known = false, .deadline_s = 0, .source = why};
}

/* The end is a time of day, which an administrator or NTP may set anew; the run counts by a clock that nobody sets. */
struct walltime walltime_from_end(const char *end_text, double now_since_1970_s, double clock_now_s) {
    char *rest;
    double end_s = strtod(end_text, &rest), left_s = end_s - now_since_1970_s;
    if (rest == end_text || *rest || !(left_s > 0 && left_s < LONGEST_LEFT_S))
        return unknown("SLURM_JOB_END_TIME is not a time to come");
    return (struct walltime){
        .is_known = true, .deadline_s = clock_now_s + left_s, .source = "SLURM_JOB_END_TIME"};
}

/* ask_squeue - the time left of this job.  Slurm before 23.02 sets no SLURM_JOB_END_TIME. */
static struct walltime ask_squeue(const char *job_id) {
    const char *const argv[] = {"squeue", "-h", "-j", job_id, "-o", "%L", NULL};
    struct err err;
    char *text = subprocess_ask(argv, ASK_TIMEOUT_S, &err);
    if (!text)
        return unknown("squeue did not answer");
    text[strcspn(text, "\n")] = '\0';
    int64_t left_s = slurm_time_left(text);
    free(text);
    if (left_s <= 0)
        return unknown("the job has no time limit");
    return (struct walltime){.is_known = true, .deadline_s = clock_s() + (double)left_s, .source = "squeue"};
}

struct walltime walltime_open(void) {
    const char *job_id = getenv("SLURM_JOB_ID"), *end_text = getenv("SLURM_JOB_END_TIME");
    if (!job_id)
        return unknown("not inside a Slurm job");
    if (end_text) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        struct walltime known =
            walltime_from_end(end_text, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec, clock_s());
        if (known.is_known)
            return known;
    }
    return ask_squeue(job_id);
}

double walltime_remaining_s(const struct walltime *walltime) {
    return walltime->is_known ? walltime->deadline_s - clock_s() : INFINITY;
}

/* The step under way has to end and be saved, each up to twice as slow as last time; the minute is for the program's own
 * end, before Slurm kills what is left. */
double walltime_margin_s(double checkpoint_s, double step_s) {
    return 2 * checkpoint_s + 2 * step_s + MINUTE_S;
}

bool walltime_must_stop(double remaining_s, double checkpoint_s, double step_s) {
    return remaining_s < walltime_margin_s(checkpoint_s, step_s);
}

/* Daly's optimum: saving more often costs more than it rescues, saving less often loses more at each failure.  The
 * series holds while a save is short against the time between failures; beyond, his answer is the time between
 * failures itself. */
double save_interval_s(double checkpoint_s, double mtbf_s) {
    if (!(checkpoint_s > 0))
        return 0;
    if (checkpoint_s >= 2 * mtbf_s)
        return mtbf_s;
    double ratio = checkpoint_s / (2 * mtbf_s);
    return sqrt(2 * checkpoint_s * mtbf_s) * (1 + sqrt(ratio) / 3 + ratio / 9) - checkpoint_s;
}

int64_t save_interval_steps(double checkpoint_s, double step_s, double node_mtbf_h, int64_t num_nodes) {
    /* Any node's failure ends the job: with n nodes it fails n times as often. */
    double mtbf_s = node_mtbf_h * HOUR_S / (double)(num_nodes > 0 ? num_nodes : 1);
    double steps = step_s > 0 ? save_interval_s(checkpoint_s, mtbf_s) / step_s : 1;
    if (!(steps >= 1))
        return 1;
    return steps < 1e12 ? (int64_t)(steps + 0.5) : (int64_t)1e12;
}
