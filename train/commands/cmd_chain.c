/* cmd_chain.c - `atelier chain RUN begin`, `end CODE` and `fail REASON`: what the batch script asks before
 * and after the training.  The decisions are chain.c's; here they are carried out, and told in the job's log.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "slurm/chain.h"
#include "slurm/command_file.h"
#include "slurm/start_end.h"
#include "slurm/submit_folder.h"
#include "train/commands/commands.h"
#include "train/record/run_status.h"
#include "train/run/run_lock.h"

enum { EXIT_NOTHING_TO_DO = 3 };

/* A submission that is under way, or ranks on their way out, have the folder for some seconds. */
static const double LOCK_WAIT_S = 60;

static void say(const char *fmt, ...) ATELIER_PRINTF(1, 2);

/* say - one line of the job's log, with the time: it stands between what the ranks write. */
static void say(const char *fmt, ...) {
    char text[700], date[32];
    time_t now = time(NULL);
    struct tm parts;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    strftime(date, sizeof date, "%F %T", localtime_r(&now, &parts) ? &parts : &(struct tm){.tm_mday = 1});
    printf("[atelier %s] %s\n", date, text);
    fflush(stdout);
}

/* prologue_clear - what a job's script had left for a program that could not be started. */
static void prologue_clear(const char *run_folder) {
    char *path = xasprintf("%s/prologue.txt", run_folder);
    if (unlink(path) != 0 && errno != ENOENT)
        say("warning: cannot remove '%s': %s", path, strerror(errno));
    free(path);
}

/* read_count - from the environment of the job, or the exit code; what is no count below a million is 0. */
static int64_t read_count(const char *text) {
    char *end;
    long long value = text ? strtoll(text, &end, 10) : 0;
    return text && end != text && !*end && value >= 0 && value < 1000000 ? value : 0;
}

/* look - the moment, from the environment and the run folder. */
static struct chain_moment look(const char *run_folder) {
    struct run_status status;
    const char *id = getenv("SLURM_JOB_ID");
    struct chain_moment moment = {.job_id = id ? id : "none",
                                  .restart = read_count(getenv("SLURM_RESTART_COUNT")),
                                  .now = time(NULL),
                                  .nodes = getenv("SLURM_JOB_NODELIST"),
                                  .stop_requested = stop_mark_is_set(run_folder)};
    if (run_status_read(&status, run_folder, NULL) == 0) {
        moment.last_sign_of_life = status.last_sign_of_life;
        moment.newest_step = status.checkpoint_step;
    }
    return moment;
}

/* --- nodes that are left out --- */

/* leave_out - the node on which a start failed, from now on.  At most so many nodes are left out as the partition
 * can spare: where that is reached the oldest is let in again (chain_exclude), and told. */
static void leave_out(struct chain *chain, const struct log_end *end, const char *job_id, int64_t now) {
    struct chain_node node = {.since = now};
    char dropped[CHAIN_NODE_ROOM];
    snprintf(node.name, sizeof node.name, "%s", end->node);
    snprintf(node.why, sizeof node.why, "%s", end->why);
    snprintf(node.job, sizeof node.job, "%s", job_id);
    if (!chain_exclude(chain, &node, dropped)) {
        say("node %s failed (job %s: %s), but is not left out: the partition has no nodes to spare",
            node.name, job_id, node.why);
        return;
    }
    say("node %s is left out of the next starts: job %s failed there (%s)", node.name, job_id, node.why);
    if (dropped[0])
        say("node %s may be used again: at most %lld may be left out", dropped,
            (long long)chain->max_excluded);
}

/* check_exclusion - where Slurm says that no job could run without the nodes, the oldest are let in again. */
static void check_exclusion(struct chain *chain, const char *run_folder) {
    char *script = xasprintf("%s/job.sh", run_folder);
    while (chain->num_excluded > 0 && chain->exclusion_is_new) {
        char *list = chain_exclusion(chain), name[CHAIN_NODE_ROOM];
        struct err err = {""};
        bool cannot = slurm_cannot_exclude(script, list, &err);
        free(list);
        if (!cannot)
            break;
        chain_readmit(chain, name);
        say("node %s may be used again: no job could run without it: %s", name, err.text);
    }
    free(script);
}

/* tell_follow_up - a job that waits already leaves them out too. */
static void tell_follow_up(struct chain *chain, const char *run_folder) {
    const struct chain_job *last = &chain->jobs[chain->num_jobs - 1];
    struct err err = {""};
    if (!chain->exclusion_is_new || !last->follow_up[0])
        return;
    check_exclusion(chain, run_folder);
    char *list = chain_exclusion(chain);
    if (slurm_exclude(last->follow_up, list, &err) != 0)
        say("warning: follow-up job %s is not told to leave out '%s': %s", last->follow_up, list, err.text);
    else
        chain->exclusion_is_new = false;
    free(list);
}

/* --- jobs that follow --- */

/* submit_next - another job of the same script, to start after the last one has ended; its id goes into the record
 * of the last one.  time_s: its limit; 0: the script's. */
static int submit_next(struct chain *chain, const char *run_folder, int64_t time_s, struct err *err) {
    struct chain_job *last = &chain->jobs[chain->num_jobs - 1];
    check_exclusion(chain, run_folder);
    char *script = xasprintf("%s/job.sh", run_folder), *exclude = chain_exclusion(chain);
    const struct submission submission = {
        .script = script, .after = last->id, .time_s = time_s, .exclude = exclude};
    int status = slurm_submit(&submission, last->follow_up, err);
    if (status != 0) {
        last->follow_up[0] = '\0';
    } else {
        last->follow_limit_s = time_s;
        chain->exclusion_is_new = false;
    }
    free(exclude);
    if (status == 0 && jobs_note(run_folder, last->follow_up, err) != 0)
        say("warning: %s", err->text);
    free(script);
    return status;
}

/* save - the chain's file; where it cannot be written, limits cannot be kept, and nothing more is started. */
static int save(const struct chain *chain, const char *run_folder) {
    struct err err;
    if (chain_save(chain, run_folder, &err) == 0)
        return 0;
    say("error: the chain ends here, because its limits cannot be kept: %s", err.text);
    return -1;
}

/* other_job - one of the run's that runs beside this one, as a submission that was sent twice makes it;
 * false: there is none, or nobody can be asked. */
static bool other_job(const char *run_folder, const char *own_id, struct queued_job *other) {
    static const char *const states[] = {"RUNNING", "SUSPENDED", "STOPPED", "CONFIGURING"};
    static const double TIMEOUT_S = 10;
    struct queue queue;
    bool found = false;
    if (jobs_ask(run_folder, &queue, TIMEOUT_S, NULL) != 0)
        return false;
    for (int i = 0; i < queue.num_jobs && !found; i++)
        for (size_t s = 0; s < sizeof states / sizeof states[0] && !found; s++) {
            *other = queue.jobs[i];
            found = strcmp(other->id, own_id) != 0 && strcmp(other->state, states[s]) == 0;
        }
    queue_release(&queue);
    return found;
}

static const char *job_name(void) {
    const char *name = getenv("SLURM_JOB_NAME");
    return name ? name : "";
}

/* look_back - how the start before this one ended, where it did so without a word: one that had the time has said it
 * itself.  The log tells a preemption also where Slurm keeps no accounts. */
static void look_back(struct chain *chain, const char *run_folder, struct chain_moment *moment) {
    const struct chain_job *last = chain->num_jobs > 0 ? &chain->jobs[chain->num_jobs - 1] : NULL;
    if (!last || last->ended > 0)
        return;
    struct log_end end = start_end_look(run_folder, job_name(), last);
    bool is_again = strcmp(last->id, moment->job_id) == 0 && moment->restart > last->restart;
    moment->preempted = end.verdict == LOG_PREEMPTED || (is_again && slurm_was_preempted(moment->job_id));
    if (end.verdict == LOG_NODE && !moment->preempted)
        leave_out(chain, &end, last->id, moment->now);
}

/* begin - before the training.  The chain is saved before the follow-up is submitted, and again with its id: a job
 * that is killed in between has its start on record, and no start goes uncounted. */
static int begin(struct chain *chain, const char *run_folder) {
    struct chain_moment moment = look(run_folder);
    struct queued_job other;
    int64_t time_s;
    struct err err = {""};
    if (other_job(run_folder, moment.job_id, &other)) {
        say("nothing to do: job %s of this run is running on %s", other.id, other.nodes);
        return EXIT_NOTHING_TO_DO;
    }
    look_back(chain, run_folder, &moment);
    moment.log_bytes = start_log_bytes(run_folder, job_name(), moment.job_id);
    if (!chain_begin(chain, &moment)) {
        say("nothing to do: %s", chain->reason);
        return save(chain, run_folder) == 0 ? EXIT_NOTHING_TO_DO : EXIT_FAULT;
    }
    if (moment.preempted)
        say("the previous start was preempted: it does not count");
    prologue_clear(run_folder);
    say("job %s, start %lld of at most %lld, from step %lld of %lld", moment.job_id,
        (long long)chain_num_starts(chain), (long long)chain->max_jobs, (long long)moment.newest_step,
        (long long)chain->num_steps);
    tell_follow_up(chain, run_folder);
    if (save(chain, run_folder) != 0)
        return EXIT_FAULT;
    if (!chain_wants_follow_up(chain, &time_s))
        return EXIT_DONE;
    if (submit_next(chain, run_folder, time_s, &err) != 0)
        say("warning: no follow-up job: %s; it is tried again at the end", err.text);
    else
        say("follow-up job %s starts after this one", chain->jobs[chain->num_jobs - 1].follow_up);
    return save(chain, run_folder) == 0 ? EXIT_DONE : EXIT_FAULT;
}

/* drop_follow_up - the job that waits is no longer needed. */
static void drop_follow_up(struct chain *chain) {
    struct chain_job *last = &chain->jobs[chain->num_jobs - 1];
    struct err err;
    if (!last->follow_up[0])
        return;
    if (slurm_cancel(last->follow_up, &err) == 0)
        say("follow-up job %s is cancelled", last->follow_up);
    else /* it will look for itself, and end at once */
        say("warning: follow-up job %s is not cancelled: %s", last->follow_up, err.text);
}

/* requeue - this job starts anew.  Where that succeeds Slurm ends this process: what is to be said of it is
 * said in the seconds that it leaves, and not before it is so. */
static int requeue(struct chain *chain, const char *run_folder) {
    const struct chain_job *last = &chain->jobs[chain->num_jobs - 1];
    struct err err = {""};
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGUSR1);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    if (slurm_requeue(last->id, &err) == 0) {
        say("saved after step %lld of %lld; job %s is requeued", (long long)last->last_step,
            (long long)chain->num_steps, last->id);
        return 0;
    }
    chain_stop(chain, CHAIN_STOPPED, "job %s could not be requeued: %.200s; 'atelier submit' goes on",
               last->id, err.text);
    say("error: %s", chain->reason);
    return save(chain, run_folder) == 0 ? EXIT_SAVED : EXIT_FAULT;
}

/* go_on - what chain_end decided; returns the exit code of the job.  The chain is saved before the requeue, which
 * may end this process.  A job that saved and has a follow-up ends with 0: the run is not at fault. */
static int go_on(struct chain *chain, const char *run_folder, enum chain_next next, int code) {
    struct chain_job *last = &chain->jobs[chain->num_jobs - 1];
    struct err err = {""};
    int status = 0;
    if (next == CHAIN_NEXT_SUBMIT) {
        status = submit_next(chain, run_folder, chain_next_time(chain, 0), &err);
        if (status != 0)
            say("warning: no follow-up job: %s; requeueing this one", err.text);
    } else if (next == CHAIN_NEXT_FOLLOW_UP) {
        tell_follow_up(chain, run_folder);
    }
    if (save(chain, run_folder) != 0)
        return EXIT_FAULT;
    if (next == CHAIN_NEXT_REQUEUE || status != 0)
        return requeue(chain, run_folder);
    say("saved after step %lld of %lld; job %s goes on", (long long)last->last_step,
        (long long)chain->num_steps, last->follow_up);
    return code == EXIT_SAVED ? 0 : code;
}

/* what_follows - after the end of a start; returns the exit code of the job. */
static int what_follows(struct chain *chain, const char *run_folder, const struct chain_moment *moment,
                        int code) {
    enum chain_next next = chain_end(chain, moment, code);
    if (next == CHAIN_NEXT_ELSEWHERE) {
        say("job %s has no start that is open, or another has started since: nothing follows from its code "
            "%d",
            moment->job_id, code);
        return save(chain, run_folder) == 0 ? code : EXIT_FAULT;
    }
    if (moment->preempted)
        say("job %s is preempted: this start does not count", moment->job_id);
    if (chain->budget_hours > 0)
        say("%.2f of %g GPU-hours are used", chain_spent_hours(chain, moment->now), chain->budget_hours);
    if (next != CHAIN_NEXT_NOTHING)
        return go_on(chain, run_folder, next, code);
    say("the end: %s", chain->reason);
    drop_follow_up(chain);
    if (save(chain, run_folder) != 0)
        return EXIT_FAULT;
    /* A run that the user stopped is not a failure of the job. */
    return code == EXIT_SAVED && moment->stop_requested ? 0 : code;
}

/* end_start - after the training.  Where it did not come to its end the log is asked: was it the node, or a
 * preemption, which are not the run's fault? */
static int end_start(struct chain *chain, const char *run_folder, int code) {
    struct chain_moment moment = look(run_folder);
    const struct chain_job *last = chain->num_jobs > 0 ? &chain->jobs[chain->num_jobs - 1] : NULL;
    if (code == EXIT_DONE || !last || strcmp(last->id, moment.job_id) != 0)
        return what_follows(chain, run_folder, &moment, code);
    struct log_end end = start_end_look(run_folder, job_name(), last);
    moment.preempted = end.verdict == LOG_PREEMPTED || slurm_is_preempted(moment.job_id);
    if (end.verdict == LOG_NODE && code != EXIT_SAVED && !moment.preempted) {
        leave_out(chain, &end, last->id, moment.now);
        code = EXIT_FAULT; /* a GPU that fails at the start looks like a configuration that is refused */
    }
    return what_follows(chain, run_folder, &moment, code);
}

/* failed - the script ended before the training: a start that was none.  It is counted by chain_begin all the same,
 * so that a script which can never start does not start for ever. */
static int failed(struct chain *chain, const char *run_folder, const char *reason) {
    struct chain_moment moment = look(run_folder);
    struct queued_job other;
    if (other_job(run_folder, moment.job_id, &other) || !chain_begin(chain, &moment)) {
        say("job %s could not start: %s", moment.job_id, reason);
        save(chain, run_folder);
        return EXIT_FAULT;
    }
    say("job %s, start %lld of at most %lld, could not start: %s", moment.job_id,
        (long long)chain_num_starts(chain), (long long)chain->max_jobs, reason);
    prologue_clear(run_folder);
    moment.fault = reason;
    return what_follows(chain, run_folder, &moment, EXIT_FAULT);
}

/* --- the command --- */

struct chain_words {
    const char *run_folder, *event, *value;
};

static const struct option OPTIONS[] = {
    {.name = "RUN",
     .help = "the run folder",
     .kind = OPTION_TEXT,
     .at = offsetof(struct chain_words, run_folder),
     .is_required = true},
    {.name = "EVENT",
     .value = "begin|end|fail",
     .help = "what happens to the job",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct chain_words, event),
     .is_required = true},
    {.name = "VALUE",
     .help = "of 'end' the exit code of the training, of 'fail' the reason",
     .kind = OPTION_TEXT,
     .at = offsetof(struct chain_words, value)},
};

/* check - 'begin' takes nothing, the others one value. */
static int check(const void *given, struct err *err) {
    const struct chain_words *words = given;
    bool begins = strcmp(words->event, "begin") == 0;
    if (begins == (words->value != NULL))
        return err_set(err, "expected: atelier chain RUN begin, RUN end CODE, or RUN fail REASON");
    return 0;
}

/* run - 'begin' without the lock would start a training that another may have started.  The others go on without
 * it: what a training has done must be written down. */
static int run(int argc, char **argv) {
    struct chain_words words;
    struct chain chain;
    struct err err = {""};
    struct run_lock lock;
    if (!command_words(&COMMAND_chain, &words, argc, argv))
        return EXIT_USAGE;
    bool begins = strcmp(words.event, "begin") == 0;
    if (run_lock_take(&lock, words.run_folder, RUN_WORK_CHAIN, LOCK_WAIT_S, &err) != RUN_LOCK_TAKEN) {
        say("%s: %s", begins ? "error" : "warning", err.text);
        if (begins)
            return EXIT_FAULT;
    }
    int code = EXIT_FAULT;
    if (chain_load(&chain, words.run_folder, &err) != 0)
        fprintf(stderr, "error: %s\n", err.text);
    else if (strcmp(words.event, "fail") == 0)
        code = failed(&chain, words.run_folder, words.value);
    else if (begins)
        code = begin(&chain, words.run_folder);
    else
        code = end_start(&chain, words.run_folder, (int)read_count(words.value));
    run_lock_release(&lock);
    chain_release(&chain);
    return code;
}

const struct command COMMAND_chain = {
    .name = "chain",
    .summary = "used by batch scripts: may this job work, what comes next",
    .text =
        "Called before and after the training by the script that 'atelier submit' wrote.  'begin' records the start and "
        "queues the follow-up job of a chain; exit code 3: there is nothing to do.  'end CODE' takes the training's exit "
        "code, and requeues the job, lets the follow-up start, or ends the chain; 'fail REASON' does so where the training "
        "could not be started.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct chain_words),
    .check = check,
    .run = run,
};
