/* chain.h - the jobs of one run: how often it may start, what it may cost, when it ends.
 *
 * RUN/chain.json holds the limits and one record for each start of a job.  It is written by `atelier submit`,
 * then only by the jobs themselves, which never run at the same time (each waits for the one before it).
 * The decisions are pure functions of that file and of the moment; cmd_chain.c carries them out.
 * `atelier stop` leaves RUN/stop, which no job removes: it ends the chain however far that has come. */
#pragma once

#include "kernels/error.h"

/* Whether another start may come. */
enum chain_state { CHAIN_ACTIVE, CHAIN_DONE, CHAIN_STOPPED };

enum {
    CHAIN_ID_ROOM = 32,
    CHAIN_REASON_ROOM = 320,
    CHAIN_NODE_ROOM = 64,
    CHAIN_WHY_ROOM = 160,
    CHAIN_NODES_ROOM = 512,
    CHAIN_MOST_EXCLUDED = 8 /* nodes, whatever the size of the partition */
};

/* One start of a job. */
struct chain_job {
    char id[CHAIN_ID_ROOM];        /* Slurm's */
    char follow_up[CHAIN_ID_ROOM]; /* the job that waits for its end; "" none */
    int64_t restart;               /* Slurm's count for a requeued job */
    int64_t started, ended;        /* seconds since 1970; ended 0: it runs, or ended without a word */
    int64_t limit_s;               /* its time limit */
    int64_t follow_limit_s;        /* that of the follow-up */
    int64_t first_step, last_step; /* newest checkpoint before and after */
    int64_t code;                  /* of the training; -1: it ended without a word */
    bool preempted;                /* Slurm ended it for another job: it does not count in max_jobs */
    double billed_gpus;
    char nodes[CHAIN_NODES_ROOM]; /* "n[0-3]", as Slurm writes it; "" not known, or too long */
    int64_t log_bytes;            /* length of the job's log when it began */
};

/* A node that is left out of the next starts, for one failed on it. */
struct chain_node {
    char name[CHAIN_NODE_ROOM];
    char why[CHAIN_WHY_ROOM];
    char job[CHAIN_ID_ROOM]; /* the job that failed there */
    int64_t since;           /* seconds since 1970 */
};

struct chain {
    bool follows;        /* a follow-up starts after each job; else the job is requeued */
    bool requeues;       /* without follow-ups: start again after a time limit */
    int64_t max_jobs;    /* starts since the submission */
    int64_t first_job;   /* index of the first start of this submission; those before are of earlier ones */
    double budget_hours; /* GPU-hours of the whole run folder; 0: no limit */
    double billed_gpus;
    int64_t time_s, signal_lead_s; /* of a job */
    int64_t num_steps;             /* train.steps */
    enum chain_state state;
    char reason[CHAIN_REASON_ROOM]; /* why it is done or stopped */
    char fault[CHAIN_REASON_ROOM];  /* what went wrong before the training of the last start; "" nothing */
    struct chain_job *jobs;
    int num_jobs;
    char *exclude;                                   /* slurm.exclude of the submission; NULL: none */
    struct chain_node excluded[CHAIN_MOST_EXCLUDED]; /* besides; the oldest first */
    int num_excluded;
    int64_t max_excluded;  /* see chain_max_excluded */
    bool exclusion_is_new; /* jobs that wait, and this one if requeued, do not know it yet */
};

/* What a job knows when it asks. */
struct chain_moment {
    const char *job_id;
    int64_t restart;
    int64_t now;
    int64_t last_sign_of_life; /* when the run last wrote something; 0: never */
    int64_t newest_step;       /* of the newest complete checkpoint; 0: none */
    bool stop_requested;       /* RUN/stop is there */
    bool preempted;            /* at a begin: the start before, without a word, was; at an end: this one is */
    const char *fault;         /* at an end: why the training did not start; NULL: it did */
    const char *nodes;         /* at a begin: of this job; NULL: not known */
    int64_t log_bytes;         /* at a begin: length of this job's log */
};

/* What follows on the end of a start. */
enum chain_next {
    CHAIN_NEXT_NOTHING,
    CHAIN_NEXT_FOLLOW_UP, /* it waits already */
    CHAIN_NEXT_SUBMIT,    /* a new job, with chain_next_time */
    CHAIN_NEXT_REQUEUE,
    CHAIN_NEXT_ELSEWHERE /* another job's business: this one has no open record, or another started since */
};

/* chain_begin - a job has started: may it work?  Records of earlier jobs that ended without a word are
 * closed. True: its own record was added.  False: chain->state and reason say why not. */
bool chain_begin(struct chain *chain, const struct chain_moment *moment);

/* chain_wants_follow_up - whether the job that just began should queue one, if its own whole time is spent.
 * time_s: the limit to give it, shorter than the others' where the budget ends. */
bool chain_wants_follow_up(const struct chain *chain, int64_t *time_s);

/* chain_end - the training of the moment's job ended with this code, which is booked on its own record: what
 * comes next.  Sets state and reason where nothing does. */
enum chain_next chain_end(struct chain *chain, const struct chain_moment *moment, int64_t code);

/* chain_next_time - limit of another job within the budget as it stands, in whole minutes; 0: too little is
 * left for one.  reserved_hours: GPU-hours to count as spent besides. */
int64_t chain_next_time(const struct chain *chain, double reserved_hours);

/* chain_spent_hours - GPU-hours of all records; those of a job that runs are counted up to now. */
double chain_spent_hours(const struct chain *chain, int64_t now);

/* chain_num_starts - of this submission, preempted ones left out. */
int64_t chain_num_starts(const struct chain *chain);

/* chain_max_excluded - how many nodes may be left out of a partition of so many nodes (0: not known) by jobs that need
 * job_nodes: two, or a tenth where that is more, but never one that the jobs need. */
int64_t chain_max_excluded(int64_t partition_nodes, int64_t job_nodes);

/* chain_exclude - leave a node out from now on; known ones are renewed.  dropped: the name of the oldest one, which may
 * be used again, where max_excluded is passed; else "".  False: none may be left out. */
bool chain_exclude(struct chain *chain, const struct chain_node *node, char dropped[CHAIN_NODE_ROOM]);

/* chain_readmit - the oldest node that was left out may be used again; there must be one. */
void chain_readmit(struct chain *chain, char name[CHAIN_NODE_ROOM]);

/* chain_exclusion - what the next jobs exclude, "n7,n1": slurm.exclude and the nodes that failed; malloc'ed, "" none. */
char *chain_exclusion(const struct chain *chain);

/* chain_stop - the state with its reason. */
void chain_stop(struct chain *chain, enum chain_state state, const char *fmt, ...) ATELIER_PRINTF(3, 4);

/* chain_state_name - "active", "done" or "stopped", as chain.json has it. */
const char *chain_state_name(enum chain_state state);

/* chain_load - RUN/chain.json.  Returns 0, or -1 with err set: not there, not JSON, or a number out of range; *chain is then
 * empty.  chain_save - by a rename, so that a job that is killed leaves the old file or the new one.  Returns 0, or -1 with
 * err set.  chain_release in any case. */
int chain_load(struct chain *chain, const char *run_folder, struct err *err);
int chain_save(const struct chain *chain, const char *run_folder, struct err *err);
void chain_release(struct chain *chain);
