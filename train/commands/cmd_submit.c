/* cmd_submit.c - `atelier submit CONFIG [--dry-run] [--program PATH] [--chain N] [--set KEY=VALUE]...`:
 * gathers what submit.h needs, writes the run folder, calls sbatch. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "checkpoints/hub_name.h"
#include "configs/schema/config_load.h"
#include "slurm/slurm.h"
#include "slurm/submit_after.h"
#include "slurm/submit_folder.h"
#include "slurm/task.h"
#include "train/commands/commands.h"
#include "train/commands/submit_task.h"
#include "train/commands/surroundings.h"
#include "train/plan/data_check.h"
#include "train/plan/epochs.h"
#include "train/plan/teachers_check.h"
#include "train/record/run_status.h"
#include "train/run/run_lock.h"
#include "train/run/run_record.h"

static const double QUEUE_TIMEOUT_S = 10;

static const struct option OPTIONS[] = {
    {.name = "TASK",
     .value = "prepare|eval|export",
     .help = "instead of a training: this command as one job",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct submit_words, task)},
    OPTION_CONFIG(offsetof(struct submit_words, config_path)),
    {.name = "--dry-run",
     .help =
         "print the script and what it would cost, write and submit nothing; code 2 where a job would be refused",
     .kind = OPTION_FLAG,
     .at = offsetof(struct submit_words, is_dry_run)},
    {.name = "--program",
     .value = "PATH",
     .help = "another build of atelier for the job: the one for its GPUs, build/cuda/atelier",
     .kind = OPTION_TEXT,
     .at = offsetof(struct submit_words, program)},
    {.name = "--chain",
     .value = "N",
     .help = "a follow-up job after each job until all steps are done, at most N starts",
     .kind = OPTION_INT,
     .at = offsetof(struct submit_words, chain_jobs),
     .min = 1,
     .max = 10000},
    OPTION_SET(offsetof(struct submit_words, overrides)),
    {.name = "OPTION",
     .value = "OPTION",
     .help = "of a TASK: its model, where it is not the run's newest checkpoint, and its own options",
     .kind = OPTION_REST,
     .at = offsetof(struct submit_words, task_words)},
};

/* check - words of a task's own belong to no row here; without a task they are refused as any unknown word is. */
static int check(const void *given, struct err *err) {
    const struct submit_words *words = given;
    if (words->task && words->chain_jobs > 0)
        return err_set(err, "--chain: '%s' is one job; leave it out", words->task);
    if (!words->task && words->task_words.count > 0)
        return options_refuse(OPTIONS, sizeof OPTIONS / sizeof OPTIONS[0], words->task_words.words[0], err);
    return 0;
}

/* load_config - the run file with what the command line says; --chain is a name for two keys.  Returns 0, or -1 with err
 * set. */
static int load_config(struct config *config, const struct submit_words *words, struct err *err) {
    const char *overrides[OPTION_LIST_MAX + 2];
    char max_jobs[64];
    int count = 0;
    for (; count < words->overrides.count; count++)
        overrides[count] = words->overrides.words[count];
    if (words->chain_jobs > 0) {
        snprintf(max_jobs, sizeof max_jobs, "slurm.chain.max_jobs=%lld", (long long)words->chain_jobs);
        overrides[count++] = "slurm.chain.until=done";
        overrides[count++] = max_jobs;
    }
    return config_load(config, words->config_path, overrides, count, err);
}

/* --- what the request needs to know --- */
/* look_for_files - a job that waits for hours to find that its data are missing helps nobody.  A dry run may
 * be of another machine's files. */
static void look_for_files(const struct config *config, enum diagnostic_level level,
                           struct diagnostics *diagnostics) {
    if (config->model.path && !path_exists(config->model.path))
        diagnostic_add(diagnostics, level, "model.path '%.300s' is not there%s", config->model.path,
                       hub_note(config->model.path));
    for (int i = 0; i < config->data.num_train; i++)
        if (!path_exists(config->data.train[i].path))
            diagnostic_add(diagnostics, level, "data.train '%.300s' is not there",
                           config->data.train[i].path);
    for (int i = 0; i < config->data.num_valid; i++)
        if (!path_exists(config->data.valid[i].path))
            diagnostic_add(diagnostics, level, "data.valid '%.300s' is not there",
                           config->data.valid[i].path);
}

/* look_into_data - what the training would refuse of the token files that are there; one that another job of slurm.after makes may
 * be an older one by now. */
static void look_into_data(const struct config *config, enum diagnostic_level level,
                           struct diagnostics *diagnostics) {
    struct err err = {""};
    if (data_check_plan(config, "", 0, &err) != 0 || teachers_check_plan(config, &err) != 0)
        diagnostic_add(diagnostics, level, "%s", err.text);
}

/* look_at_jobs - another job of this run, whoever submitted it.  Without an answer of squeue another's run is
 * left alone; one's own is for Slurm, and for the lock of its training, to judge. */
static void look_at_jobs(const struct job_request *request, struct diagnostics *diagnostics) {
    struct queue queue;
    struct err err;
    char own[64], submitter[64];
    submit_user(own, sizeof own);
    if (jobs_ask_patiently(request->facts->run_folder, &queue, QUEUE_TIMEOUT_S, &err) != 0) {
        bool is_others = submit_submitter(request->facts->run_folder, submitter, sizeof submitter) &&
                         strcmp(submitter, own) != 0;
        diagnostic_add(diagnostics, is_others ? DIAGNOSTIC_ERROR : DIAGNOSTIC_WARNING,
                       "the queue was not looked at: %s%s%s%s", err.text,
                       is_others ? "; the jobs in this run.folder are of user '" : "",
                       is_others ? submitter : "",
                       is_others ? "': try again later, or choose another run.folder" : "");
        return;
    }
    const struct queued_job *job = queue.num_jobs > 0 ? &queue.jobs[0] : NULL;
    if (job && job->user[0] && strcmp(job->user, own) != 0)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'%.300s' belongs to user '%s' (job %s, %s%s%s%s%s): wait for it, or choose another run.folder",
            request->config->run.folder, job->user, job->id, job->state, job->nodes[0] ? " on " : "",
            job->nodes, job->start[0] ? ", started " : "", job->start);
    else if (job)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "job %s of this run is in the queue (%s): wait for it, end it with 'atelier stop %.200s', or "
            "choose another run.folder",
            job->id, job->state, request->config->run.folder);
    queue_release(&queue);
}

/* look_at_limits - how many jobs the QoS lets this user have.  No answer is no reason to refuse: sbatch will. */
static void look_at_limits(const struct job_request *request, struct diagnostics *diagnostics) {
    struct queue queue;
    if (!request->qos || queue_ask(&queue, QUEUE_TIMEOUT_S, NULL) != 0)
        return;
    submit_check_queue(request, queue_count_qos(&queue, request->qos->name), diagnostics);
    queue_release(&queue);
}

/* --- telling --- */

static void tell(const struct job_request *request, const char *id) {
    const struct slurm_config *asked = &request->config->slurm;
    char cost[160];
    printf("job          %s\n", id);
    if (request->after_ok)
        printf(
            "waits        for job %s to end well (slurm.after); where it does not, this one is cancelled\n",
            request->after_ok);
    printf("cost         %s\n", submit_cost_text(request, cost, sizeof cost));
    if (request->chains)
        printf("starts       up to %lld: a follow-up job starts after each, until all %lld steps are done\n",
               (long long)asked->chain.max_jobs, (long long)request->config->train.steps);
    else if (asked->requeue && asked->chain.max_jobs > 1)
        printf("starts       up to %lld, each at that cost: requeued where the time limit stops it "
               "(slurm.chain.max_jobs, slurm.requeue)\n",
               (long long)asked->chain.max_jobs);
    if (asked->chain.budget_gpu_hours > 0)
        printf("budget       %g GPU-hours: no job is started beyond\n", asked->chain.budget_gpu_hours);
    printf("log          %s/logs/%s-%s.out\n", request->facts->run_folder, request->job_name, id);
    printf("look at it   atelier status %s\n", request->config->run.folder);
    printf("end it       atelier stop %s\n", request->config->run.folder);
}

static void tell_dry(const struct job_request *request, const char *script) {
    char cost[160];
    fprintf(stderr, "note: nothing was submitted; a job costs %s\n",
            submit_cost_text(request, cost, sizeof cost));
    fputs(script, stdout);
}

/* --- doing --- */

/* send - folder, sbatch, id.  The id is noted for `status` and `stop`; where that fails the job is submitted all
 * the same, so it is a warning. */
static int send(const struct job_request *request, const char *script) {
    struct err err = {""};
    char id[SLURM_ID_ROOM];
    int status = submit_write_folder(request, script, &err);
    if (status == 0) {
        char *path = xasprintf("%s/job.sh", request->facts->run_folder);
        const struct submission submission = {.script = path, .after_ok = request->after_ok};
        status = slurm_submit(&submission, id, &err);
        free(path);
    }
    if (status != 0) {
        fprintf(stderr, "error: nothing was submitted: %s\n", err.text);
        return EXIT_FAULT;
    }
    if (jobs_note(request->facts->run_folder, id, &err) != 0)
        warn("%s", err.text);
    tell(request, id);
    return EXIT_DONE;
}

/* look_and_send - with the run folder locked: nobody else submits or trains there meanwhile.  A lock that another
 * has is not told at once: the queue may name the job that has it, which says more. */
static int look_and_send(const struct job_request *request, struct diagnostics *diagnostics) {
    struct run_lock lock;
    struct err err = {""};
    enum run_lock_answer answer = run_lock_take(&lock, request->facts->run_folder, RUN_WORK_SUBMIT, 0, &err);
    if (answer == RUN_LOCK_FAILED) {
        diagnostics_print(diagnostics);
        fprintf(stderr, "error: nothing was submitted: %s\n", err.text);
        return EXIT_FAULT;
    }
    look_at_jobs(request, diagnostics); /* a job says more than the process that has the lock */
    if (answer == RUN_LOCK_REFUSED && diagnostics->num_errors == 0)
        diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "nothing was submitted: %s", err.text);
    look_at_limits(request, diagnostics);
    if (diagnostics->num_errors == 0 && run_record_check(request->config, diagnostics, &err) != 0)
        diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "nothing was submitted: %s", err.text);
    diagnostics_print(diagnostics);
    int code = EXIT_USAGE;
    if (diagnostics->num_errors == 0) {
        if (run_record_write(request->config, NULL, &err) != 0) /* whose folder it is from now on */
            warn("%s", err.text);
        char *script = submit_script(request);
        code = send(request, script);
        free(script);
    }
    run_lock_release(&lock);
    return code;
}

/* say_the_rest - what is worth saying beside the request. */
static void say_the_rest(const struct submit_words *words, const struct job_request *request,
                         struct diagnostics *diagnostics) {
    const char *version = request->facts->build->version;
    bool may_come = words->is_dry_run || request->config->slurm.num_after > 0; /* what the others write */
    enum diagnostic_level level = may_come ? DIAGNOSTIC_WARNING : DIAGNOSTIC_ERROR;
    look_for_files(request->config, level, diagnostics);
    look_into_data(request->config, level, diagnostics);
    if (!request->config->slurm.mpi && !request->site->mpi && !request->facts->mpi)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_NOTE,
            "what srun's --mpi should be was not found out: the site's default is used (slurm.mpi sets it)");
    if (strcmp(version, ATELIER_VERSION) != 0)
        diagnostic_add(diagnostics, DIAGNOSTIC_WARNING, "'%.300s' is version %s, this is " ATELIER_VERSION,
                       request->facts->program, version);
}

/* fix_device - what the job trains by says that it computes on GPUs: on a node without them it ends at once, where
 * 'auto' would take the processors.  The resolved text, which the job reads, is made again. */
static void fix_device(struct config *config, const struct job_request *request) {
    if (request->gpus_per_node == 0 || config->run.device != DEVICE_AUTO)
        return;
    config->run.device = DEVICE_CUDA;
    free(config->text);
    config->text = config_resolved_text(config);
}

/* show - the script of a dry run, also where the job would be refused. */
static void show(const struct job_request *request) {
    char *script = submit_script(request);
    tell_dry(request, script);
    free(script);
}

/* submit - all complaints are gathered before any is told, so that one look mends the run file.  The exit code:
 * EXIT_USAGE where a job would be refused, in a dry run, too. */
static int submit(const struct submit_words *words, struct config *config, const struct site *site,
                  const struct surroundings *here) {
    struct job_request request;
    struct diagnostics diagnostics = {NULL, 0, 0};
    int code = EXIT_USAGE;
    submit_request(&request, config, site, &here->facts, &diagnostics);
    submit_check_device(&request, &diagnostics);
    fix_device(config, &request);
    request.after_ok = submit_after(config, &(struct after_asker){here->run_folder, NULL}, &diagnostics);
    if (site->scheduler == SCHEDULER_SLURM)
        say_the_rest(words, &request, &diagnostics);
    if (diagnostics.num_errors == 0 && !words->is_dry_run) {
        code = look_and_send(&request, &diagnostics);
    } else {
        diagnostics_print(&diagnostics);
        if (request.has_script && words->is_dry_run)
            show(&request);
        if (diagnostics.num_errors == 0)
            code = EXIT_DONE;
    }
    diagnostics_release(&diagnostics);
    submit_request_release(&request);
    return code;
}

static int run(int argc, char **argv) {
    struct submit_words words;
    struct config config = {.text = NULL};
    struct site site = {.name = NULL};
    struct surroundings here = {.run_folder = NULL};
    struct err err = {""};
    int code = EXIT_USAGE;
    if (!command_words(&COMMAND_submit, &words, argc, argv))
        return EXIT_USAGE;
    if (words.task)
        return submit_task(&words);
    const struct surroundings_asked asked = {words.config_path, words.program};
    if (load_config(&config, &words, &err) != 0 || config_need_train(&config, &err) != 0 ||
        epochs_resolve(&config, &err) != 0 || site_open(&site, config.slurm.site, &err) != 0 ||
        surroundings_look(&here, &asked, &config, &site, &err) != 0)
        fprintf(stderr, "error: %s\n", err.text);
    else
        code = submit(&words, &config, &site, &here);
    surroundings_release(&here);
    site_release(&site);
    config_free(&config);
    return code;
}

const struct command COMMAND_submit = {
    .name = "submit",
    .summary = "a Slurm job for a run file: checked, submitted, chained",
    .text =
        "Checks what the 'slurm:' section of CONFIG asks for against the site's profile, writes the batch script to "
        "run.folder and submits it.  The site is found out, or named by slurm.site (slurm/sites holds the profiles).\n"
        "With a TASK: that command as one job on a node without GPUs, beside the training of the same run folder:\n"
        "  submit prepare CONFIG\n"
        "  submit eval CONFIG [MODEL] --data FILE.h5 [OPTION]...\n"
        "  submit export CONFIG [MODEL] --to hf|gguf --output PATH [OPTION]...\n"
        "MODEL left out: the run's newest checkpoint.  Partition: the run file's where it has no GPUs, else the site's first "
        "without; --set slurm.partition=NAME names one.  In slurm.after RUN:prepare is such a job.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct submit_words),
    .check = check,
    .run = run,
};
