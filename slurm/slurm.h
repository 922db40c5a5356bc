/* slurm.h - what is asked of Slurm's programs, and what they are told.  They may be missing, slow or wrong:
 * every call has a time limit, every answer is checked. */
#pragma once

#include "kernels/error.h"

/* Of a job's id as text, its 0 included. */
enum { SLURM_ID_ROOM = 32 };

/* A waiting or running job. */
struct queued_job {
    char id[SLURM_ID_ROOM];
    char state[24];  /* PENDING, RUNNING, ... */
    char reason[64]; /* why it waits */
    char start[24];  /* when it started, or is expected to; "" not known */
    char left[24];   /* of its time limit */
    char qos[64];
    char nodes[128];
    char user[64]; /* whose it is; "" not known */
};

struct queue {
    struct queued_job *jobs;
    int num_jobs;
};

/* queue_read - lines "id|state|reason|start|left|qos|nodes|user" as squeue writes them for queue_ask, the
 * user may be absent.  Others are left out. */
void queue_read(struct queue *queue, const char *text);

/* queue_ask - the jobs of this user, within timeout_s.  Returns 0, or -1 with err set: no squeue, no answer.
 */
int queue_ask(struct queue *queue, double timeout_s, struct err *err);

/* queue_ask_jobs - those of the jobs "12,13" that are in the queue, whoever's they are; none is not an error.  Returns 0, or
 * -1 with err set.  queue_release - what a queue holds, also after one that was not answered. */
int queue_ask_jobs(struct queue *queue, const char *ids, double timeout_s, struct err *err);
void queue_release(struct queue *queue);

/* queue_find - by id, or NULL. */
const struct queued_job *queue_find(const struct queue *queue, const char *id);
/* queue_count_qos - how many of the jobs run or wait under that QoS. */
int queue_count_qos(const struct queue *queue, const char *qos);

/* slurm_parse_id - the id in what `sbatch --parsable` wrote ("123", "123;cluster").  Returns 0, or -1 with
 * err set: nothing, or no number.  At a QoS limit sbatch has been seen to end with 0 and say nothing. */
int slurm_parse_id(const char *output, char id[SLURM_ID_ROOM], struct err *err);

/* What is submitted. */
struct submission {
    const char *script;
    const char *after;    /* id of the job to wait for, however that ends; NULL: none */
    int64_t time_s;       /* in place of the script's time limit; 0: as there */
    const char *exclude;  /* nodes, in place of the script's; NULL or "": as there */
    const char *after_ok; /* ids between ':' that must end well, or the job is cancelled; NULL: none */
};

/* slurm_patience_s - how long a call is repeated while the controller cannot be reached: ten minutes, or
 * ATELIER_SLURM_PATIENCE_S.  slurm_is_passing - whether a failure of sbatch, scontrol or squeue is of that
 * kind; one that Slurm decided is not.  queue_ask_patiently (as queue_ask_jobs), slurm_submit and
 * slurm_requeue repeat, and say so once. */
double slurm_patience_s(void);
bool slurm_is_passing(const char *failure);
int queue_ask_patiently(struct queue *queue, const char *ids, double timeout_s, struct err *err);

/* slurm_submit - sbatch.  Returns 0 with the id, or -1 with err set: sbatch's own words. */
int slurm_submit(const struct submission *submission, char id[SLURM_ID_ROOM], struct err *err);

/* slurm_requeue - a running job starts anew; where it is the caller's own job, this process ends with it.
 * slurm_cancel - a job, waiting or running.  slurm_signal - SIGUSR1 to the ranks of a running job.  A job that has ended
 * meanwhile is fine for both.
 * Return 0, or -1 with err set. */
int slurm_requeue(const char *id, struct err *err);
int slurm_cancel(const char *id, struct err *err);
int slurm_signal(const char *id, struct err *err);

/* slurm_exclude - a waiting job leaves out these nodes ("n1,n2", "": none).  Returns 0, or -1 with err set.
 * slurm_cannot_exclude - whether Slurm says that the script could never run without them ('sbatch --test-only'), with its
 * words in err; where it does not answer, or has other objections, it does not say so. */
int slurm_exclude(const char *id, const char *nodes, struct err *err);
bool slurm_cannot_exclude(const char *script, const char *nodes, struct err *err);

/* slurm_is_preempted - whether Slurm ends a running job for another one: it said when, in `scontrol show
 * job`. slurm_was_preempted - whether an earlier start of the job ended so: by the accounts, where there are
 * any, or by what scontrol still knows.  slurm_says_preempted - the pure part, of either's answer. */
bool slurm_is_preempted(const char *id);
bool slurm_was_preempted(const char *id);
bool slurm_says_preempted(const char *answer);

/* slurm_mpi_plugin - what to give to srun's --mpi so that Open MPI starts: pmix where srun has it. malloc'ed,
 * or NULL: leave it to the site's default (no pmix, or srun did not answer). */
char *slurm_mpi_plugin(void);

/* slurm_choose_mpi - the pure part: from what `srun --mpi=list` wrote. */
const char *slurm_choose_mpi(const char *list);
