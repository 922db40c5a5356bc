/* chain.c - the decisions of a chain.  Reading and writing the file is in chain_file.c. */
#include "slurm/chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"

/* Exit codes of the training that a chain treats apart; every other one is a fault. */
enum { CODE_DONE = 0, CODE_CONFIG = 2, CODE_AGAIN = 75 };

/* A job shorter than its own signal and this would save at once and have done nothing. */
enum { SHORTEST_WORK_S = 120 };

void chain_stop(struct chain *chain, enum chain_state state, const char *fmt, ...) {
    va_list args;
    chain->state = state;
    va_start(args, fmt);
    vsnprintf(chain->reason, sizeof chain->reason, fmt, args);
    va_end(args);
}

const char *chain_state_name(enum chain_state state) {
    return state == CHAIN_ACTIVE ? "active" : state == CHAIN_DONE ? "done" : "stopped";
}

/* last_job - the newest start, of this submission or an earlier one; NULL: none. */
static struct chain_job *last_job(const struct chain *chain) {
    return chain->num_jobs > 0 ? &chain->jobs[chain->num_jobs - 1] : NULL;
}

/* job_hours - GPU-hours of one start; one without an end counts up to now. */
static double job_hours(const struct chain_job *job, int64_t now) {
    int64_t ended = job->ended > 0 ? job->ended : now;
    if (job->limit_s > 0 && ended > job->started + job->limit_s)
        ended = job->started + job->limit_s; /* Slurm ended it there, whatever the clock says now */
    return ended > job->started ? (double)(ended - job->started) / HOUR_S * job->billed_gpus : 0;
}

double chain_spent_hours(const struct chain *chain, int64_t now) {
    double hours = 0;
    for (int i = 0; i < chain->num_jobs; i++)
        hours += job_hours(&chain->jobs[i], now);
    return hours;
}

/* recorded_hours - of the records that are closed. */
static double recorded_hours(const struct chain *chain) {
    double hours = 0;
    for (int i = 0; i < chain->num_jobs; i++)
        if (chain->jobs[i].ended > 0)
            hours += job_hours(&chain->jobs[i], 0);
    return hours;
}

/* Records that are open are reserved_hours' business: while a job runs its whole time may yet be spent, afterwards only what
 * it took. */
int64_t chain_next_time(const struct chain *chain, double reserved_hours) {
    if (chain->budget_hours <= 0 || chain->billed_gpus <= 0)
        return chain->time_s;
    double left_hours = chain->budget_hours - recorded_hours(chain) - reserved_hours;
    double left_s = left_hours / chain->billed_gpus * HOUR_S;
    if (left_s >= (double)chain->time_s)
        return chain->time_s;
    int64_t time_s = left_s > 0 ? (int64_t)left_s / MINUTE_S * MINUTE_S : 0;
    return time_s >= chain->signal_lead_s + SHORTEST_WORK_S ? time_s : 0;
}

/* stop_by_budget, stop_by_count, stop_stuck - the end of the chain with its reason, as `atelier status` shows it. */
static void stop_by_budget(struct chain *chain) {
    chain_stop(chain, CHAIN_STOPPED,
               "the budget is reached: %.2f of %g GPU-hours are used, too little is left for another job",
               recorded_hours(chain), chain->budget_hours);
}

int64_t chain_num_starts(const struct chain *chain) {
    int64_t count = 0;
    for (int64_t i = chain->first_job; i < chain->num_jobs; i++)
        count += !chain->jobs[i].preempted;
    return count;
}

/* has_starts_left - for another one. */
static bool has_starts_left(const struct chain *chain) {
    return chain_num_starts(chain) < chain->max_jobs;
}

static void stop_by_count(struct chain *chain) {
    chain_stop(chain, CHAIN_STOPPED, "%lld of at most %lld starts are used (slurm.chain.max_jobs)",
               (long long)chain_num_starts(chain), (long long)chain->max_jobs);
}

/* is_stuck - the last two starts left no new checkpoint: a third would do no better. */
static bool is_stuck(const struct chain *chain) {
    int num_ended = 0;
    for (int i = chain->num_jobs - 1; i >= chain->first_job && num_ended < 2; i--) {
        const struct chain_job *job = &chain->jobs[i];
        if (job->preempted) /* it is not the run's fault */
            continue;
        if (job->ended == 0 || job->last_step > job->first_step)
            return false;
        num_ended++;
    }
    return num_ended == 2;
}

static void stop_stuck(struct chain *chain) {
    chain_stop(chain, CHAIN_STOPPED,
               "two starts in a row left no new checkpoint: look at the logs before you submit again%s%.200s",
               chain->fault[0] ? "; " : "", chain->fault);
}

/* stop_if_over - whether the run is done or was stopped. */
static bool stop_if_over(struct chain *chain, const struct chain_moment *moment) {
    if (chain->state != CHAIN_ACTIVE)
        return true;
    if (moment->newest_step >= chain->num_steps)
        chain_stop(chain, CHAIN_DONE, "all %lld steps are done", (long long)chain->num_steps);
    else if (moment->stop_requested)
        chain_stop(chain, CHAIN_STOPPED, "stopped by 'atelier stop' after step %lld",
                   (long long)moment->newest_step);
    return chain->state != CHAIN_ACTIVE;
}

/* close_records - of jobs that were killed, or lost with their node: they lasted until the run last wrote. */
static void close_records(struct chain *chain, const struct chain_moment *moment) {
    for (int i = 0; i < chain->num_jobs; i++) {
        struct chain_job *job = &chain->jobs[i];
        if (job->ended > 0)
            continue;
        job->ended = moment->last_sign_of_life > job->started ? moment->last_sign_of_life : job->started + 1;
        if (job->limit_s > 0 && job->ended > job->started + job->limit_s)
            job->ended = job->started + job->limit_s;
        job->last_step = moment->newest_step;
        job->code = -1;
        job->preempted = moment->preempted && job == last_job(chain);
    }
}

/* add_record - of the start that begins now.  Its time limit is not the script's where it is a follow-up with a shorter one. */
static void add_record(struct chain *chain, const struct chain_moment *moment) {
    const struct chain_job *before = last_job(chain);
    struct chain_job job = {.restart = moment->restart,
                            .started = moment->now,
                            .limit_s = chain->time_s,
                            .first_step = moment->newest_step,
                            .last_step = moment->newest_step,
                            .code = -1,
                            .billed_gpus = chain->billed_gpus,
                            .log_bytes = moment->log_bytes};
    snprintf(job.id, sizeof job.id, "%s", moment->job_id);
    if (moment->nodes && strlen(moment->nodes) < sizeof job.nodes)
        snprintf(job.nodes, sizeof job.nodes, "%s", moment->nodes);
    if (before && strcmp(before->follow_up, job.id) == 0 && before->follow_limit_s > 0)
        job.limit_s = before->follow_limit_s;
    /* A requeued job finds its follow-up still waiting. */
    if (before && strcmp(before->id, job.id) == 0) {
        snprintf(job.follow_up, sizeof job.follow_up, "%s", before->follow_up);
        job.follow_limit_s = before->follow_limit_s;
        job.limit_s = before->limit_s;
    }
    chain->jobs = xrealloc(chain->jobs, (size_t)(chain->num_jobs + 1) * sizeof *chain->jobs);
    chain->jobs[chain->num_jobs++] = job;
}

/* The records of earlier starts are closed first: what they did decides whether this one may work. */
bool chain_begin(struct chain *chain, const struct chain_moment *moment) {
    close_records(chain, moment);
    if (stop_if_over(chain, moment))
        return false;
    if (!has_starts_left(chain))
        stop_by_count(chain);
    else if (is_stuck(chain))
        stop_stuck(chain);
    else if (chain_next_time(chain, 0) == 0)
        stop_by_budget(chain);
    if (chain->state != CHAIN_ACTIVE)
        return false;
    add_record(chain, moment);
    return true;
}

/* It is queued at the beginning of a job and not at its end: a job that is killed could not queue it any more. */
bool chain_wants_follow_up(const struct chain *chain, int64_t *time_s) {
    const struct chain_job *job = last_job(chain);
    if (!chain->follows || !job || job->follow_up[0] || !has_starts_left(chain))
        return false;
    *time_s = chain_next_time(chain, (double)job->limit_s / HOUR_S * job->billed_gpus);
    return *time_s > 0;
}

/* again - another start, in the way that this chain has. */
static enum chain_next again(struct chain *chain, const struct chain_job *job) {
    if (is_stuck(chain)) {
        stop_stuck(chain);
        return CHAIN_NEXT_NOTHING;
    }
    if (job->follow_up[0])
        return CHAIN_NEXT_FOLLOW_UP;
    if (!has_starts_left(chain)) {
        stop_by_count(chain);
        return CHAIN_NEXT_NOTHING;
    }
    int64_t time_s = chain_next_time(chain, 0);
    if (time_s == 0) {
        stop_by_budget(chain);
        return CHAIN_NEXT_NOTHING;
    }
    /* A requeued job keeps its limit and its nodes: where the budget ends, or a node is left out, another one has to be
     * submitted. */
    bool is_another = chain->follows || time_s < job->limit_s || chain->exclusion_is_new;
    return is_another ? CHAIN_NEXT_SUBMIT : CHAIN_NEXT_REQUEUE;
}

/* --- nodes that are left out --- */

int64_t chain_max_excluded(int64_t partition_nodes, int64_t job_nodes) {
    int64_t most = partition_nodes / 10 > 2 ? partition_nodes / 10 : 2, spare = partition_nodes - job_nodes;
    if (most > CHAIN_MOST_EXCLUDED)
        most = CHAIN_MOST_EXCLUDED;
    if (partition_nodes > 0 && most > spare)
        most = spare;
    return most > 0 ? most : 0;
}

/* remove_excluded - by its index; the jobs that wait have to be told. */
static void remove_excluded(struct chain *chain, int index) {
    memmove(&chain->excluded[index], &chain->excluded[index + 1],
            (size_t)(chain->num_excluded - index - 1) * sizeof chain->excluded[0]);
    chain->num_excluded--;
    chain->exclusion_is_new = true;
}

void chain_readmit(struct chain *chain, char name[CHAIN_NODE_ROOM]) {
    memcpy(name, chain->excluded[0].name, CHAIN_NODE_ROOM);
    remove_excluded(chain, 0);
}

bool chain_exclude(struct chain *chain, const struct chain_node *node, char dropped[CHAIN_NODE_ROOM]) {
    dropped[0] = '\0';
    if (chain->max_excluded < 1 || chain->max_excluded > CHAIN_MOST_EXCLUDED)
        return false;
    for (int i = 0; i < chain->num_excluded; i++)
        if (strcmp(chain->excluded[i].name, node->name) == 0)
            remove_excluded(chain, i--);
    if (chain->num_excluded >= chain->max_excluded)
        chain_readmit(chain, dropped);
    struct chain_node *added = &chain->excluded[chain->num_excluded++];
    *added = *node;
    for (char *c = added->why; *c; c++) /* from a log: any bytes */
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
            *c = '?';
    chain->exclusion_is_new = true;
    return true;
}

char *chain_exclusion(const struct chain *chain) {
    char *list = xstrdup(chain->exclude ? chain->exclude : "");
    for (int i = 0; i < chain->num_excluded; i++) {
        char *longer = xasprintf("%s%s%s", list, list[0] ? "," : "", chain->excluded[i].name);
        free(list);
        list = longer;
    }
    return list;
}

/* --- the end of a start --- */

/* open_record - of that job, the newest; NULL: it has none. */
static struct chain_job *open_record(const struct chain *chain, const char *id) {
    for (int i = chain->num_jobs - 1; i >= 0; i--)
        if (chain->jobs[i].ended == 0 && strcmp(chain->jobs[i].id, id) == 0)
            return &chain->jobs[i];
    return NULL;
}

/* A code that came late, after another start has begun, is booked and decides nothing: the newer one does.  A fault ends the
 * chain unless follow-ups are wanted, as a requeue would meet the same fault at once; with follow-ups is_stuck bounds it. */
enum chain_next chain_end(struct chain *chain, const struct chain_moment *moment, int64_t code) {
    struct chain_job *job = open_record(chain, moment->job_id);
    if (!job)
        return CHAIN_NEXT_ELSEWHERE;
    job->ended = moment->now > job->started ? moment->now : job->started + 1;
    job->code = code;
    job->last_step = moment->newest_step;
    job->preempted = moment->preempted;
    if (job != last_job(chain))
        return CHAIN_NEXT_ELSEWHERE;
    chain->fault[0] = '\0';
    if (moment->fault)
        snprintf(chain->fault, sizeof chain->fault, "job %s could not start: %.250s", job->id, moment->fault);
    if (code == CODE_DONE && moment->newest_step < chain->num_steps)
        chain_stop(chain, CHAIN_DONE, "done after step %lld of %lld (train.early_stop)",
                   (long long)moment->newest_step, (long long)chain->num_steps);
    else if (code == CODE_DONE)
        chain_stop(chain, CHAIN_DONE, "all %lld steps are done", (long long)chain->num_steps);
    else if (code == CODE_CONFIG)
        chain_stop(chain, CHAIN_STOPPED,
                   "the configuration was refused (code 2): another start would end the same");
    if (stop_if_over(chain, moment))
        return CHAIN_NEXT_NOTHING;
    if (code == CODE_AGAIN || chain->follows) {
        if (chain->follows || chain->requeues)
            return again(chain, job);
        chain_stop(chain, CHAIN_STOPPED,
                   "saved after step %lld; slurm.requeue is false: 'atelier submit' goes on",
                   (long long)moment->newest_step);
        return CHAIN_NEXT_NOTHING;
    }
    if (chain->fault[0]) {
        chain_stop(chain, CHAIN_STOPPED, "%s", chain->fault);
        return CHAIN_NEXT_NOTHING;
    }
    chain_stop(chain, CHAIN_STOPPED, "ended by a fault (code %lld); the newest checkpoint is of step %lld",
               (long long)code, (long long)moment->newest_step);
    return CHAIN_NEXT_NOTHING;
}
