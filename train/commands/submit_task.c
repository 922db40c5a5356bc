/* submit_task.c - `atelier submit prepare CONFIG`, `submit eval CONFIG [MODEL] --data FILE`,
 * `submit export CONFIG [MODEL] --to ...`: one job, without a chain. */
#include "train/commands/submit_task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "slurm/submit_after.h"
#include "slurm/submit_folder.h"
#include "slurm/task.h"
#include "train/commands/surroundings.h"

enum { EXIT_DONE = 0, EXIT_FAULT = 1, EXIT_USAGE = 2 };
static const double QUEUE_TIMEOUT_S = 10;

struct task_request {
    const char *task, *config_path, *program;
    bool is_dry_run;
    const char **overrides, **words; /* words: of the command itself; words[0] is left free for the model */
    int num_overrides, num_words;
    bool has_model;
};

/* --- words --- */

/* take_option - one of submit's own; *i moves on with its value.  1: it was; 0: it is the command's; -1: err is set. */
static int take_option(struct task_request *request, int argc, char **argv, int *i, struct err *err) {
    const char *word = argv[*i];
    bool takes_value = strcmp(word, "--set") == 0 || strcmp(word, "--program") == 0;
    if (strcmp(word, "--chain") == 0)
        return err_set(err, "--chain: '%s' is one job; leave it out", request->task);
    if (takes_value && *i + 1 >= argc)
        return err_set(err, "%s needs a value", word);
    if (strcmp(word, "--dry-run") == 0)
        request->is_dry_run = true;
    else if (strcmp(word, "--set") == 0)
        request->overrides[request->num_overrides++] = argv[++*i];
    else if (strcmp(word, "--program") == 0)
        request->program = argv[++*i];
    else
        return 0;
    return 1;
}

/* read_words - the run file is the first word that is not an option; a model follows it at once. */
static int read_words(struct task_request *request, int argc, char **argv, struct err *err) {
    request->task = task_find(argv[0]);
    request->num_words = 1;
    for (int i = 1; i < argc; i++) {
        int taken = take_option(request, argc, argv, &i, err);
        if (taken < 0)
            return -1;
        if (taken > 0)
            continue;
        if (!request->config_path && argv[i][0] == '-')
            return err_set(err, "a run file is expected before '%s': atelier submit %s CONFIG", argv[i],
                           request->task);
        if (!request->config_path) {
            request->config_path = argv[i];
            request->has_model = i + 1 < argc && argv[i + 1][0] != '-';
        } else {
            request->words[request->num_words++] = argv[i];
        }
    }
    return request->config_path
               ? 0
               : err_set(err, "a run file is expected: atelier submit %s CONFIG", request->task);
}

/* check_words - as the command will read them in the job; the run's newest checkpoint where no model is named. */
static int check_words(struct task_request *request, const char *run_folder, struct task_inputs *inputs,
                       struct err *err) {
    *inputs = (struct task_inputs){NULL, NULL};
    if (strcmp(request->task, "prepare") == 0) {
        for (int i = 1; i < request->num_words; i++)
            if (strcmp(request->words[i], "--json") != 0)
                return err_set(err, "unknown word '%s' (see 'atelier submit --help')", request->words[i]);
    }
    if (strcmp(request->task, "prepare") == 0 || request->has_model) {
        request->words++;
        request->num_words--;
    } else {
        request->words[0] = run_folder;
    }
    char **words = xcalloc((size_t)request->num_words + 1, sizeof *words);
    int status = 0;
    for (int i = 0; i < request->num_words; i++)
        words[i] = (char *)(uintptr_t)request->words[i]; /* they are only read */
    if (strcmp(request->task, "eval") == 0)
        status = eval_words_check(request->num_words, words, inputs, err);
    else if (strcmp(request->task, "export") == 0)
        status = export_words_check(request->num_words, words, inputs, err);
    free(words);
    return status;
}

/* --- what is there, and what runs --- */

static void look_for(const char *what, const char *path, enum diagnostic_level level,
                     struct diagnostics *diagnostics) {
    if (path && !path_exists(path))
        diagnostic_add(diagnostics, level, "%s '%.300s' is not there", what, path);
}

/* look_for_inputs - a dry run may be of another machine's files; what a job waits for may write them. */
static void look_for_inputs(const struct job_plan *plan, const struct task_inputs *inputs,
                            enum diagnostic_level level, struct diagnostics *diagnostics) {
    const struct prepare_config *prepare = &plan->config->prepare;
    const char *run_folder = plan->facts->run_folder;
    if (strcmp(plan->task, "prepare") == 0) {
        look_for("prepare.tokenizer", prepare->tokenizer, level, diagnostics);
        for (int i = 0; i < prepare->num_sources; i++)
            look_for("prepare.sources", prepare->sources[i].path, level, diagnostics);
        return;
    }
    if (inputs->model && strcmp(inputs->model, run_folder) == 0) {
        char *latest = xasprintf("%s/latest", run_folder);
        if (!path_exists(latest))
            diagnostic_add(
                diagnostics, level,
                "the run in '%.300s' has no checkpoint yet: name a model after the run file, or wait for the run "
                "with --set 'slurm.after=[%.200s]'",
                run_folder, plan->config->run.folder);
        free(latest);
    } else {
        look_for("the model", inputs->model, level, diagnostics);
    }
    look_for("--data", inputs->data, level, diagnostics);
}

/* look_at_queue - the same task of this folder, waiting or running: two would write the same files. */
static void look_at_queue(const struct job_plan *plan, struct diagnostics *diagnostics) {
    struct task_record record;
    struct queue queue;
    bool has_answer;
    if (!task_read(&record, plan->facts->run_folder, plan->task) || record.has_ended)
        return;
    const struct queued_job *job = task_job(&record, &queue, QUEUE_TIMEOUT_S, &has_answer);
    if (!has_answer)
        diagnostic_add(diagnostics, DIAGNOSTIC_WARNING,
                       "squeue does not answer: whether job %s ('%s' of this run) still runs is not known",
                       record.id, plan->task);
    if (job)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "job %s ('%s' of this run, user '%s') is in the queue (%s): wait for it, end it with 'scancel %s', or "
            "choose another run.folder",
            job->id, plan->task, job->user, job->state, job->id);
    queue_release(&queue);
}

/* --- doing --- */

static void tell(const struct job_plan *plan, const char *id) {
    char cost[160];
    printf("job          %s\n", id);
    if (plan->after_ok)
        printf(
            "waits        for job %s to end well (slurm.after); where it does not, this one is cancelled\n",
            plan->after_ok);
    printf("cost         %s\n", submit_cost_text(plan, cost, sizeof cost));
    printf("log          %s/logs/%s-%s.out\n", plan->facts->run_folder, plan->job_name, id);
    printf("look at it   atelier status %s\n", plan->config->run.folder);
    printf("end it       scancel %s\n", id);
}

static int send(const struct job_plan *plan) {
    struct err err = {""};
    char id[SLURM_ID_ROOM];
    char *script = submit_script(plan),
         *path = xasprintf("%s/job-%s.sh", plan->facts->run_folder, plan->task);
    const struct submission submission = {.script = path, .after_ok = plan->after_ok};
    int status = task_write_folder(plan, script, &err);
    if (status == 0)
        status = slurm_submit(&submission, id, &err);
    free(script);
    free(path);
    if (status != 0) {
        fprintf(stderr, "error: nothing was submitted: %s\n", err.text);
        return EXIT_FAULT;
    }
    if (task_note(plan->facts->run_folder, plan->task, id, &err) != 0)
        warn("%s", err.text);
    tell(plan, id);
    return EXIT_DONE;
}

static int show(const struct job_plan *plan) {
    char cost[160], *script = submit_script(plan);
    fprintf(stderr, "note: nothing was submitted; a job costs %s\n",
            submit_cost_text(plan, cost, sizeof cost));
    fputs(script, stdout);
    free(script);
    return EXIT_DONE;
}

static int submit_task(const struct task_request *request, const struct config *config,
                       const struct site *site, const struct surroundings *here,
                       const struct task_inputs *inputs) {
    struct diagnostics diagnostics = {NULL, 0, 0};
    struct job_plan plan = {NULL};
    struct config copy;
    const struct task_overrides overrides = {request->overrides, request->num_overrides};
    const struct task_words words = {request->task, request->words, request->num_words};
    int code = EXIT_USAGE;
    if (site->scheduler == SCHEDULER_NONE) {
        diagnostic_add(&diagnostics, DIAGNOSTIC_ERROR, "site '%s' has no scheduler: call 'atelier %s' here",
                       site->name, request->task);
    } else if (task_config(&copy, config, site, request->task, &overrides, &diagnostics) == 0) {
        submit_plan_task(&plan, &words, &copy, site, &here->facts, &diagnostics);
        plan.after_ok =
            submit_after(config, &(struct after_asker){here->run_folder, request->task}, &diagnostics);
        bool may_come = request->is_dry_run || plan.after_ok;
        look_for_inputs(&plan, inputs, may_come ? DIAGNOSTIC_WARNING : DIAGNOSTIC_ERROR, &diagnostics);
        if (diagnostics.num_errors == 0 && !request->is_dry_run)
            look_at_queue(&plan, &diagnostics);
    }
    diagnostics_print(&diagnostics);
    if (plan.has_script && request->is_dry_run)
        code = show(&plan);
    else if (diagnostics.num_errors == 0)
        code = send(&plan);
    if (diagnostics.num_errors > 0)
        code = EXIT_USAGE;
    diagnostics_release(&diagnostics);
    submit_plan_release(&plan);
    return code;
}

int command_submit_task(int argc, char **argv) {
    const char **words = xcalloc((size_t)argc + 1, sizeof *words);
    const char **overrides = xcalloc((size_t)argc + 1, sizeof *overrides);
    struct task_request request = {.words = words, .overrides = overrides};
    struct config config = {.text = NULL};
    struct site site = {.name = NULL};
    struct surroundings here = {.run_folder = NULL};
    struct task_inputs inputs;
    struct err err = {""};
    int code = EXIT_USAGE;
    int status = read_words(&request, argc, argv, &err);
    const struct surroundings_asked asked = {request.config_path, request.program};
    if (status == 0)
        status = config_load(&config, request.config_path, request.overrides, request.num_overrides, &err);
    if (status == 0 && strcmp(request.task, "prepare") == 0)
        status = config_need_prepare(&config, &err);
    if (status != 0 || site_open(&site, config.slurm.site, &err) != 0 ||
        surroundings_look(&here, &asked, &config, &site, &err) != 0 ||
        check_words(&request, here.run_folder, &inputs, &err) != 0)
        fprintf(stderr, "error: %s\n", err.text);
    else
        code = submit_task(&request, &config, &site, &here, &inputs);
    surroundings_release(&here);
    site_release(&site);
    config_free(&config);
    free(words);
    free(overrides);
    return code;
}
