/* cmd_status.c - `atelier status RUN [--json]`: how far a run is.  Reads files, and asks squeue where there
 * is one; without an answer within a few seconds the files alone must do. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "slurm/chain.h"
#include "slurm/command_file.h"
#include "slurm/submit_folder.h"
#include "slurm/task.h"
#include "train/commands/commands.h"
#include "train/record/accounts.h"
#include "train/record/metrics_summary.h"
#include "train/record/run_status.h"
#include "train/run/run_lock.h"

enum { MAX_JOBS = 8, TEXT_ROOM = 600 };
static const double QUEUE_TIMEOUT_S = 5;

/* All that is known of a run. */
struct report {
    const char *run_folder;
    struct run_status run;
    struct chain chain;
    bool has_chain;
    struct ledger ledger;
    struct site site; /* for the CO2 factor; empty where no profile was found */
    struct queue queue;
    bool has_queue;
    char no_queue[TEXT_ROOM]; /* why not */
    const struct queued_job *jobs[MAX_JOBS];
    int num_jobs;
    char last_job[SLURM_ID_ROOM];
    int64_t now;
    bool is_held; /* a process works in the folder */
    struct run_owner owner;
    char *prologue; /* what a job's script said that could not start the program; NULL: none */
};

/* gather_accounts - the ledger, and the profile of the site the run was submitted to.  Neither run file nor profile
 * has to be readable: without them the CO2 has no factor, and all else is told. */
static int gather_accounts(struct report *report, struct err *err) {
    char *path = xasprintf("%s/run.yaml", report->run_folder);
    struct config config;
    bool has_config = config_load(&config, path, NULL, 0, NULL) == 0;
    free(path);
    if (site_profile(&report->site, has_config ? config.slurm.site : NULL, NULL) != 0)
        memset(&report->site, 0, sizeof report->site);
    config_free(&config);
    return ledger_read(&report->ledger, report->run_folder, err);
}

/* read_prologue - the reason in RUN/prologue.txt, "ID TIME REASON"; malloc'ed, NULL where there is none. */
static char *read_prologue(const char *run_folder) {
    enum { PROLOGUE_MAX_BYTES = 4096 };
    char *path = xasprintf("%s/prologue.txt", run_folder), id[SLURM_ID_ROOM] = "";
    size_t length_bytes;
    int reason_at = 0;
    char *text = file_read_whole(path, PROLOGUE_MAX_BYTES, &length_bytes, NULL), *told = NULL;
    if (text && sscanf(text, "%31s %*s %n", id, &reason_at) == 1 && reason_at > 0) {
        text[strcspn(text, "\n")] = '\0';
        told = xasprintf("job %s could not start: %s", id, text + reason_at);
    }
    free(text);
    free(path);
    return told;
}

/* gather - everything once, before anything is printed, so that all lines are of the same moment.  Only what the
 * report cannot do without fails: the run folder, a chain or a ledger that is damaged; a queue that does not answer
 * is part of the report.  Returns 0, or -1 with err set. */
static int gather(struct report *report, struct err *err) {
    struct err why = {""};
    report->has_chain = folder_has(report->run_folder, "chain.json");
    report->now = time(NULL);
    report->prologue = read_prologue(report->run_folder);
    report->is_held = run_lock_is_held(report->run_folder, &report->owner);
    if (run_status_read(&report->run, report->run_folder, err) != 0)
        return -1;
    if (report->has_chain && chain_load(&report->chain, report->run_folder, err) != 0)
        return -1;
    if (report->has_chain && report->chain.num_steps > 0)
        report->run.num_steps = report->chain.num_steps;
    if (gather_accounts(report, err) != 0)
        return -1;
    jobs_last(report->run_folder, report->last_job);
    report->has_queue =
        report->last_job[0] && jobs_ask(report->run_folder, &report->queue, QUEUE_TIMEOUT_S, &why) == 0;
    snprintf(report->no_queue, sizeof report->no_queue, "%s", why.text);
    if (report->has_queue)
        report->num_jobs = jobs_in_queue(report->run_folder, &report->queue, report->jobs, MAX_JOBS);
    return 0;
}

/* job_in_state - the first of the run's jobs that runs, or that waits; NULL: there is none.  Whatever is not
 * PENDING counts as running: it has nodes, or is about to give them back. */
static const struct queued_job *job_in_state(const struct report *report, bool runs) {
    for (int i = 0; i < report->num_jobs; i++)
        if ((strcmp(report->jobs[i]->state, "PENDING") != 0) == runs)
            return report->jobs[i];
    return NULL;
}

/* learns - some step changed the weights, and the last ones do. */
static bool learns(const struct run_status *run) {
    return run->still_since == 0 && (run->updates > 0 || run->last_step == 0);
}

/* is_under_way - a process or a job works on the run, will do so, or nobody can tell. */
static bool is_under_way(const struct report *report) {
    return report->num_jobs > 0 || report->is_held || (report->last_job[0] && !report->has_queue);
}

/* eta_s - seconds of steps to come; negative: not known, or nobody works on them. */
static double eta_s(const struct report *report) {
    return is_under_way(report) ? run_status_eta_s(&report->run) : -1;
}

/* local_word - of a run that was never submitted and of which no process works. */
static const char *local_word(const struct report *report) {
    const struct run_status *run = &report->run;
    if (run->last_step == 0 && !run->checkpoint[0] && run->last_sign_of_life == 0)
        return "not started";
    if (run->num_steps > 0 && run->last_step >= run->num_steps)
        return run->diverged_since > 0 ? "diverged" : learns(run) ? "done" : "nothing learnt";
    return stop_mark_is_set(report->run_folder) ? "stopped" : "not running";
}

/* state_word - of the whole run.  The order decides: what is finished stays so whatever the queue says; what
 * the queue shows goes before what files say, which may be old; a folder that is held without a job is a run by
 * hand. */
static const char *state_word(const struct report *report) {
    if (report->has_chain && report->chain.state == CHAIN_DONE)
        return "done";
    if (job_in_state(report, true))
        return "running";
    if (job_in_state(report, false))
        return "waiting";
    if ((report->has_chain && report->chain.state == CHAIN_STOPPED) || report->prologue)
        return "stopped";
    if (report->is_held) /* outside the queue */
        return "running";
    if (report->last_job[0])
        return report->has_queue ? "not in the queue" : "unknown";
    return local_word(report);
}

/* reason_of - why the run is done or stopped; "" where it is neither. */
static const char *reason_of(const struct report *report) {
    if (report->prologue && (!report->has_chain || report->chain.state == CHAIN_ACTIVE))
        return report->prologue;
    return report->has_chain ? report->chain.reason : "";
}

static void print_state(const struct report *report) {
    const struct queued_job *running = job_in_state(report, true), *waiting = job_in_state(report, false);
    char text[TEXT_ROOM];
    printf("state        %s\n", state_word(report));
    if (running)
        printf("job          %s, %s on %s, %s left\n", running->id, running->state, running->nodes,
               running->left);
    if (waiting)
        printf("%s%s, waits: %s%s%s\n", running ? "next job     " : "job          ", waiting->id,
               waiting->reason, waiting->start[0] ? ", expected at " : "", waiting->start);
    if (!running && report->is_held && report->owner.user[0])
        printf("process      of %s\n", run_owner_text(&report->owner, text, sizeof text));
    if (report->last_job[0] && !report->has_queue)
        printf("queue        not known: %s\n", report->no_queue);
    if (reason_of(report)[0])
        printf("reason       %s\n", reason_of(report));
    if (report->has_chain && report->chain.state == CHAIN_ACTIVE && report->chain.fault[0])
        printf("last fault   %s\n", report->chain.fault);
    if (stop_mark_is_set(report->run_folder) && is_under_way(report))
        printf("stop         asked for: %s\n", running || report->is_held
                                                   ? "it ends after its present step, no further job follows"
                                                   : "the job ends at once when it starts, without training");
}

static void print_standstill(const struct run_status *run) {
    if (run->still_since > 0)
        printf("learnt       nothing since step %lld: all gradients are exactly zero\n",
               (long long)run->still_since);
    else
        printf("learnt       nothing: no step made an update\n");
}

/* print_progress - lines for what is known alone: a run without metrics has no loss, one at its first step no
 * speed. */
static void print_progress(const struct report *report) {
    const struct run_status *run = &report->run;
    char text[64], past[DIVERGENCE_PAST_ROOM];
    if (run->last_step == 0 && run->last_sign_of_life > 0 && !is_under_way(report)) {
        printf("step         none: the last start ended before its first step, %s ago\n",
               duration_text((double)(report->now - run->last_sign_of_life), text, sizeof text));
    } else if (run->last_step == 0) {
        printf("step         none yet%s\n", run->num_steps > 0 ? "" : ", or no metrics.jsonl");
    } else if (run->num_steps > 0) {
        printf("step         %lld/%lld (%.1f %%)", (long long)run->last_step, (long long)run->num_steps,
               100.0 * (double)run->last_step / (double)run->num_steps);
        printf(", %s ago\n",
               duration_text((double)(report->now - run->last_sign_of_life), text, sizeof text));
    } else {
        printf("step         %lld\n", (long long)run->last_step);
    }
    if (run->last_step > run->updates)
        printf("updates      %lld: the other steps left the weights as they were\n", (long long)run->updates);
    if (run->diverged_since > 0)
        printf("diverged     since step %lld: the loss is out of bounds\n", (long long)run->diverged_since);
    if (divergence_past_text(&run->diverged_before, past)[0])
        printf("had diverged %s\n", past);
    if (!learns(run))
        print_standstill(run);
    if (isfinite(run->loss))
        printf("loss         %.4f\n", run->loss);
    if (isfinite(run->valid_loss))
        printf("validation   %.4f\n", run->valid_loss);
    if (run->step_s > 0)
        printf("speed        %.0f tokens/s, %.3g s a step\n", run->tokens_per_s, run->step_s);
    if (eta_s(report) > 0)
        printf("ETA          %s of steps, without waiting in the queue\n",
               duration_text(eta_s(report), text, sizeof text));
    if (run->checkpoint[0])
        printf("checkpoint   %s%s%s\n", run->checkpoint, run->suspect[0] ? ", suspect: " : "", run->suspect);
    else
        printf("checkpoint   none yet\n");
    if (run->best_step > 0)
        printf("best one     step-%06lld, by its validation loss: %s/best\n", (long long)run->best_step,
               report->run_folder);
}

static void print_excluded(const struct chain_node *node) {
    char date[32] = "";
    struct tm parts;
    time_t since = (time_t)node->since;
    if (localtime_r(&since, &parts))
        strftime(date, sizeof date, "%F %R", &parts);
    printf("left out     %s since %s: job %s failed there (%s)\n", node->name, date, node->job, node->why);
}

static void print_chain(const struct report *report) {
    const struct chain *chain = &report->chain;
    if (!report->has_chain)
        return;
    if (chain->billed_gpus > 0) {
        printf("GPU-hours    %.2f used", chain_spent_hours(chain, report->now));
        if (chain->budget_hours > 0)
            printf(" of %g", chain->budget_hours);
        putchar('\n');
    }
    int64_t num_starts = chain_num_starts(chain),
            num_preempted = chain->num_jobs - chain->first_job - num_starts;
    printf("starts       %lld of at most %lld", (long long)num_starts, (long long)chain->max_jobs);
    if (num_preempted > 0)
        printf(", and %lld that were preempted", (long long)num_preempted);
    putchar('\n');
    for (int i = 0; i < chain->num_excluded; i++)
        print_excluded(&chain->excluded[i]);
}

/* task_text - how the newest job of a task stands; false: none was submitted.  The queue is asked only about a job
 * whose script has not written how it ended. */
static bool task_text(const struct report *report, const char *task, char *text, size_t room_bytes) {
    struct task_record record;
    struct queue queue = {NULL, 0};
    bool has_answer = true;
    if (!task_read(&record, report->run_folder, task))
        return false;
    const struct queued_job *job =
        record.has_ended ? NULL : task_job(&record, &queue, QUEUE_TIMEOUT_S, &has_answer);
    if (record.has_ended && record.code == 0)
        snprintf(text, room_bytes, "done, job %s", record.id);
    else if (record.has_ended)
        snprintf(text, room_bytes, "failed with code %lld, job %s: its log is in logs/",
                 (long long)record.code, record.id);
    else if (job && strcmp(job->state, "PENDING") == 0)
        snprintf(text, room_bytes, "job %s, waits: %s", job->id, job->reason);
    else if (job)
        snprintf(text, room_bytes, "job %s, %s on %s, %s left", job->id, job->state, job->nodes, job->left);
    else
        snprintf(text, room_bytes, "job %s, %s", record.id,
                 has_answer ? "ended without a word: cancelled, killed, or lost with its node"
                            : "the queue is not known");
    queue_release(&queue);
    return true;
}

static void print_tasks(const struct report *report) {
    char text[TEXT_ROOM];
    for (int i = 0; i < NUM_TASKS; i++)
        if (task_text(report, task_name(i), text, sizeof text))
            printf("%-12s %s\n", task_name(i), text);
}

static void print_ledger(const struct report *report) {
    char text[TEXT_ROOM];
    struct ledger_totals totals = ledger_totals(&report->ledger);
    struct carbon_factor factor = site_carbon(&report->site);
    if (totals.num_entries > 0)
        printf("accounts     %s\n", ledger_text(&totals, &factor, text, sizeof text));
}

/* --- for programs --- */

static void set(json_t *root, const char *key, json_t *value) {
    CHECK(json_object_set_new(root, key, value ? value : json_null()) == 0, "'%s' could not be set", key);
}

static json_t *real_or_null(double value, bool is_known) {
    return is_known && isfinite(value) ? json_real(value) : NULL;
}

static json_t *job_object(const struct queued_job *job) {
    return job ? json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", job->id, "state", job->state, "reason",
                           job->reason, "left", job->left, "nodes", job->nodes)
               : NULL;
}

/* tasks_object - "prepare": how it stands. */
static json_t *tasks_object(const struct report *report) {
    json_t *root = json_object();
    char text[TEXT_ROOM];
    CHECK(root, "out of memory");
    for (int i = 0; i < NUM_TASKS; i++)
        if (task_text(report, task_name(i), text, sizeof text))
            set(root, task_name(i), json_string(text));
    return root;
}

static json_t *excluded_array(const struct chain *chain) {
    json_t *list = json_array();
    CHECK(list, "out of memory");
    for (int i = 0; i < chain->num_excluded; i++)
        CHECK(json_array_append_new(list, json_string(chain->excluded[i].name)) == 0,
              "node '%s' could not be set", chain->excluded[i].name);
    return list;
}

/* print_json - all keys in every report, null for what is not known, but for those of a chain or a ledger that the
 * run has not. */
static void print_json(const struct report *report) {
    const struct run_status *run = &report->run;
    json_t *root = json_object();
    CHECK(root, "out of memory");
    set(root, "state", json_string(state_word(report)));
    set(root, "queue_known", json_boolean(report->has_queue));
    set(root, "job", job_object(job_in_state(report, true)));
    set(root, "next_job", job_object(job_in_state(report, false)));
    set(root, "step", json_integer(run->last_step));
    set(root, "steps", run->num_steps > 0 ? json_integer(run->num_steps) : NULL);
    set(root, "updates", json_integer(run->updates));
    set(root, "loss", real_or_null(run->loss, true));
    set(root, "validation_loss", real_or_null(run->valid_loss, true));
    set(root, "tokens_per_s", real_or_null(run->tokens_per_s, run->step_s > 0));
    set(root, "eta_s", real_or_null(eta_s(report), eta_s(report) >= 0));
    set(root, "last_sign_of_life", run->last_sign_of_life > 0 ? json_integer(run->last_sign_of_life) : NULL);
    set(root, "diverged_since", run->diverged_since > 0 ? json_integer(run->diverged_since) : NULL);
    set(root, "diverged_before", divergence_past_json(&run->diverged_before));
    set(root, "still_since", run->still_since > 0 ? json_integer(run->still_since) : NULL);
    set(root, "suspect", run->suspect[0] ? json_string(run->suspect) : NULL);
    set(root, "best_step", run->best_step > 0 ? json_integer(run->best_step) : NULL);
    set(root, "checkpoint", run->checkpoint[0] ? json_string(run->checkpoint) : NULL);
    if (report->ledger.num_entries > 0) {
        struct ledger_totals totals = ledger_totals(&report->ledger);
        set(root, "hours", json_real(totals.hours));
        set(root, "kwh", real_or_null(totals.kwh, totals.counted > 0));
        set(root, "tokens", json_integer(totals.tokens));
    }
    if (report->has_chain) {
        const struct chain *chain = &report->chain;
        set(root, "chain", json_string(chain_state_name(chain->state)));
        set(root, "reason", json_string(reason_of(report)));
        set(root, "fault", chain->fault[0] ? json_string(chain->fault) : NULL);
        set(root, "starts", json_integer(chain_num_starts(chain)));
        set(root, "preempted", json_integer(chain->num_jobs - chain->first_job - chain_num_starts(chain)));
        set(root, "max_jobs", json_integer(chain->max_jobs));
        set(root, "excluded_nodes", excluded_array(chain));
        set(root, "gpu_hours", json_real(chain_spent_hours(chain, report->now)));
        set(root, "budget_gpu_hours", real_or_null(chain->budget_hours, chain->budget_hours > 0));
    }
    set(root, "tasks", tasks_object(report));
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

static void print(const struct report *report) {
    printf("run          %s\n", report->run_folder);
    print_state(report);
    print_progress(report);
    print_chain(report);
    print_tasks(report);
    print_ledger(report);
}

struct status_words {
    const char *run_folder;
    bool as_json;
};

static const struct option OPTIONS[] = {
    {.name = "RUN",
     .help = "the run folder",
     .kind = OPTION_TEXT,
     .at = offsetof(struct status_words, run_folder),
     .is_required = true},
    {.name = "--json", .help = "as JSON", .kind = OPTION_FLAG, .at = offsetof(struct status_words, as_json)},
};

static int run(int argc, char **argv) {
    struct status_words words;
    struct err err = {""};
    if (!command_words(&COMMAND_status, &words, argc, argv))
        return EXIT_USAGE;
    struct report report = {.run_folder = words.run_folder};
    int status = gather(&report, &err);
    if (status != 0)
        fprintf(stderr, "error: %s\n", err.text);
    else if (words.as_json)
        print_json(&report);
    else
        print(&report);
    free(report.prologue);
    ledger_close(&report.ledger);
    site_release(&report.site);
    queue_release(&report.queue);
    chain_release(&report.chain);
    return status == 0 ? EXIT_DONE : EXIT_FAULT;
}

const struct command COMMAND_status = {
    .name = "status",
    .summary = "how far a run is: queue, step, loss, speed, hours",
    .text = "Reads the files of the run folder RUN, and asks squeue where there is one.  Changes nothing.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct status_words),
    .run = run,
};
