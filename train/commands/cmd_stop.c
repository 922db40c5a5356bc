/* cmd_stop.c - `atelier stop RUN [--save] [--now]`: files in the run folder tell the job what to do; it looks
 * for them between two steps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "slurm/chain.h"
#include "slurm/command_file.h"
#include "slurm/submit_folder.h"
#include "train/commands/commands.h"
#include "train/record/run_status.h"
#include "train/run/run_lock.h"

static const double QUEUE_TIMEOUT_S = 5;

/* What there is to stop. */
struct target {
    const char *run_folder;
    struct run_status run;
    struct chain chain;
    bool has_chain, is_held, has_queue;
    struct run_owner owner;
    struct queue queue;
    struct err no_queue; /* why it was not asked */
    int num_running, num_waiting;
};

static bool is_waiting(const struct queued_job *job) {
    return strcmp(job->state, "PENDING") == 0;
}

/* look - returns 0, or -1 with err set: no run folder, a chain that cannot be read. */
static int look(struct target *target, struct err *err) {
    if (run_status_read(&target->run, target->run_folder, err) != 0)
        return -1;
    target->has_chain = folder_has(target->run_folder, "chain.json");
    if (target->has_chain && chain_load(&target->chain, target->run_folder, err) != 0)
        return -1;
    target->is_held = run_lock_is_held(target->run_folder, &target->owner);
    target->has_queue = jobs_ask(target->run_folder, &target->queue, QUEUE_TIMEOUT_S, &target->no_queue) == 0;
    for (int i = 0; i < target->queue.num_jobs; i++) {
        target->num_waiting += is_waiting(&target->queue.jobs[i]);
        target->num_running += !is_waiting(&target->queue.jobs[i]);
    }
    return 0;
}

/* has_begun - a step was done or a checkpoint is there: something to go on from. */
static bool has_begun(const struct target *target) {
    return target->run.last_step > 0 || target->run.checkpoint[0];
}

static bool is_done(const struct target *target) {
    int64_t num_steps = target->has_chain ? target->chain.num_steps : target->run.num_steps;
    return num_steps > 0 && (target->run.last_step >= num_steps || target->run.checkpoint_step >= num_steps);
}

/* tell_jobs - the ranks of running jobs are signalled, jobs that wait are cancelled.  Returns 0, or -1 with
 * err set. */
static int tell_jobs(const struct target *target, struct err *err) {
    int status = 0;
    for (int i = 0; i < target->queue.num_jobs && status == 0; i++) {
        const struct queued_job *job = &target->queue.jobs[i];
        status = is_waiting(job) ? slurm_cancel(job->id, err) : slurm_signal(job->id, err);
        if (status == 0)
            printf("job %s  %s\n", job->id, is_waiting(job) ? "was cancelled" : "was signalled");
    }
    if (target->queue.num_jobs == 0)
        printf("no job of this run is in the queue\n");
    return status;
}

/* close_chain - nothing is left that would do it: the chain is over, and its file says why. */
static int close_chain(struct target *target, struct err *err) {
    if (!target->has_chain || target->chain.state != CHAIN_ACTIVE)
        return 0;
    chain_stop(&target->chain, CHAIN_STOPPED, "stopped by 'atelier stop' after step %lld",
               (long long)target->run.checkpoint_step);
    return chain_save(&target->chain, target->run_folder, err);
}

/* say_waiting - of a job that waits, while none runs. */
static void say_waiting(const struct target *target) {
    printf("job %s waits (%s): when it starts it ends at once, without training; --now cancels it; 'atelier "
           "submit' goes on\n",
           target->queue.jobs[0].id, target->queue.jobs[0].reason);
}

/* stop - the mark first: a job that ends in between must not be followed by another.  The mark keeps jobs from
 * training when they start, the command ends the one that trains; only what Slurm alone can do is asked of it, with
 * --now, or where nothing has begun and cancelling costs nothing. */
static int stop(struct target *target, bool now, struct err *err) {
    bool only_waits = target->num_running == 0 && target->num_waiting > 0 && !target->is_held;
    bool cancels = only_waits && !has_begun(target);
    if (stop_mark_set(target->run_folder, err) != 0 ||
        command_file_write(target->run_folder, RUN_COMMAND_STOP, err) != 0)
        return -1;
    if (now && !target->has_queue)
        return err_set(err, "%s", target->no_queue.text);
    if ((now || cancels) && tell_jobs(target, err) != 0)
        return -1;
    if (cancels)
        printf("nothing had begun: the job that waited is cancelled; 'atelier submit' starts it again\n");
    else if (only_waits && !now)
        say_waiting(target);
    else if (!target->has_queue)
        printf("the queue was not asked (%s): a job that runs saves and ends, one that waits ends at once "
               "when it "
               "starts; 'atelier submit' goes on\n",
               target->no_queue.text);
    else if (target->num_running > 0 || target->is_held)
        printf("the run saves a checkpoint after its present step and ends; no further job follows; 'atelier "
               "submit' "
               "goes on\n");
    else
        printf("no job of this run is in the queue: nothing runs, and nothing follows; 'atelier submit' goes "
               "on\n");
    bool is_over = target->has_queue && target->num_running == 0 && !target->is_held &&
                   (target->num_waiting == 0 || now || cancels);
    return is_over ? close_chain(target, err) : 0;
}

/* save - and go on: only a run that is under way can. */
static int save(const struct target *target, struct err *err) {
    bool may_run = target->is_held || target->num_running > 0 || !target->has_queue;
    if (!may_run && target->num_waiting > 0)
        return err_set(err, "job %s of this run waits (%s): there is nothing to save",
                       target->queue.jobs[0].id, target->queue.jobs[0].reason);
    if (!may_run)
        return err_set(err, "no run is under way in '%s': there is nothing to save", target->run_folder);
    if (command_file_write(target->run_folder, RUN_COMMAND_SAVE, err) != 0)
        return -1;
    printf("the run saves a checkpoint after its present step and goes on\n");
    return 0;
}

/* obey - a run that is over, or never was, gets no mark and no command: the user is told so.  Returns 0, or -1 with
 * err set. */
static int obey(struct target *target, bool saves, bool now, struct err *err) {
    bool is_idle = target->has_queue && target->queue.num_jobs == 0 && !target->is_held;
    bool is_active = target->has_chain && target->chain.state == CHAIN_ACTIVE;
    if (saves)
        return save(target, err);
    if (is_idle && !has_begun(target) && !target->has_chain)
        return err_set(err, "'%s' holds no run: there is nothing to stop", target->run_folder);
    if (is_idle && is_done(target)) {
        printf("the run is done, all %lld steps: there is nothing to stop\n",
               (long long)(target->has_chain ? target->chain.num_steps : target->run.num_steps));
        return 0;
    }
    if (is_idle && !is_active) {
        printf("no run is under way in '%s' (%lld steps are done): there is nothing to stop\n",
               target->run_folder, (long long)target->run.last_step);
        return 0;
    }
    return stop(target, now, err);
}

struct stop_words {
    const char *run_folder;
    bool saves, now;
};

static const struct option OPTIONS[] = {
    {.name = "RUN",
     .help = "the run folder",
     .kind = OPTION_TEXT,
     .at = offsetof(struct stop_words, run_folder),
     .is_required = true},
    {.name = "--save",
     .help = "save, and go on training",
     .kind = OPTION_FLAG,
     .at = offsetof(struct stop_words, saves)},
    {.name = "--now",
     .help = "tell it through Slurm as well, and cancel the jobs that wait",
     .kind = OPTION_FLAG,
     .at = offsetof(struct stop_words, now)},
};

static int check(const void *given, struct err *err) {
    const struct stop_words *words = given;
    if (words->saves && words->now)
        return err_set(err, "--save lets the run go on, --now ends it: give one of them");
    return 0;
}

static int run(int argc, char **argv) {
    struct stop_words words;
    struct err err = {""};
    if (!command_words(&COMMAND_stop, &words, argc, argv))
        return EXIT_USAGE;
    struct target target = {.run_folder = words.run_folder};
    int status = look(&target, &err);
    if (status == 0)
        status = obey(&target, words.saves, words.now, &err);
    if (status != 0)
        fprintf(stderr, "error: %s\n", err.text);
    queue_release(&target.queue);
    chain_release(&target.chain);
    return status == 0 ? EXIT_DONE : EXIT_FAULT;
}

const struct command COMMAND_stop = {
    .name = "stop",
    .summary = "tells a running job to save and end",
    .text =
        "Leaves a command in the run folder RUN; the job saves after its present step and ends, and no further job of its "
        "chain follows.  'atelier submit' goes on from there.  Where nothing has begun a job that waits is cancelled.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct stop_words),
    .check = check,
    .run = run,
};
