/* submit_task.c - `atelier submit prepare CONFIG`, `submit eval CONFIG [MODEL] --data FILE` (or `--tasks FILE`),
 * `submit export CONFIG [MODEL] --to ...`: one job, without a chain. */
#include "train/commands/submit_task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "slurm/submit_after.h"
#include "slurm/submit_folder.h"
#include "slurm/task.h"
#include "train/commands/commands.h"
#include "train/commands/surroundings.h"

static const double QUEUE_TIMEOUT_S = 10;

/* The task's own words as they stand in the job's script, and what they name; all borrowed. */
struct task_inputs {
    const char *words[OPTION_LIST_MAX + 1];
    int num_words;
    const char *model, *data; /* NULL: the task has none */
    struct option_list tasks; /* files of questions with choices */
};

/* --- words --- */

/* command_of - by the name of a task: the choices of TASK, in cmd_submit.c. */
static const struct command *command_of(const char *task) {
    static const struct command *const commands[] = {&COMMAND_prepare, &COMMAND_eval, &COMMAND_export};
    int at = 0;
    while (strcmp(commands[at]->name, task) != 0)
        at++;
    return commands[at];
}

/* task_text - of the row of that name in what the task's command read; NULL: it has no such row. */
static const char *task_text(const struct command *command, const char *words, const char *name) {
    for (int i = 0; i < command->num_options; i++)
        if (strcmp(command->options[i].name, name) == 0)
            return *(const char *const *)(words + command->options[i].at);
    return NULL;
}

/* task_list - the same of a row that may be given again and again; nothing where there is no such row. */
static struct option_list task_list(const struct command *command, const char *words, const char *name) {
    struct option_list list = {.count = 0};
    for (int i = 0; i < command->num_options; i++)
        if (strcmp(command->options[i].name, name) == 0)
            memcpy(&list, words + command->options[i].at, sizeof list);
    return list;
}

/* check_words - as the command will read them in the job; the run's newest checkpoint where no model is named.  The
 * words are kept as they were typed, for the job's script; of what the command reads only the files that it needs
 * are kept, to be looked for.  Returns 0, or -1 with err set. */
static int check_words(struct task_inputs *inputs, const struct submit_words *asked, const char *run_folder,
                       struct err *err) {
    const struct command *command = command_of(asked->task);
    const struct option_list *given = &asked->task_words;
    bool has_config = strcmp(asked->task, "prepare") == 0; /* the job's script names its own */
    bool has_model = given->count > 0 && given->words[0][0] != '-';
    char *argv[OPTION_LIST_MAX + 2];
    int argc = 0;
    *inputs = (struct task_inputs){.num_words = 0};
    if (!has_config && !has_model)
        inputs->words[inputs->num_words++] = run_folder;
    for (int i = 0; i < given->count; i++)
        inputs->words[inputs->num_words++] = given->words[i];
    if (has_config)
        argv[argc++] = (char *)(uintptr_t)asked->config_path; /* they are only read */
    for (int i = 0; i < inputs->num_words; i++)
        argv[argc++] = (char *)(uintptr_t)inputs->words[i];
    char *words = xcalloc(1, command->words_bytes);
    int status = command_read(command, words, argc, argv, err);
    inputs->model = task_text(command, words, "MODEL");
    inputs->data = task_text(command, words, "--data");
    inputs->tasks = task_list(command, words, "--tasks");
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
static void look_for_inputs(const struct job_request *request, const struct task_inputs *inputs,
                            enum diagnostic_level level, struct diagnostics *diagnostics) {
    const struct prepare_config *prepare = &request->config->prepare;
    const char *run_folder = request->facts->run_folder;
    if (strcmp(request->task, "prepare") == 0) {
        look_for("prepare.tokenizer", prepare->tokenizer, level, diagnostics);
        for (int i = 0; i < prepare->num_sources; i++)
            look_for("prepare.sources", prepare->sources[i].path, level, diagnostics);
        return;
    }
    if (inputs->model && strcmp(inputs->model, run_folder) == 0) {
        if (!folder_has(run_folder, "latest"))
            diagnostic_add(
                diagnostics, level,
                "the run in '%.300s' has no checkpoint yet: name a model after the run file, or wait for the run "
                "with --set 'slurm.after=[%.200s]'",
                run_folder, request->config->run.folder);
    } else {
        look_for("the model", inputs->model, level, diagnostics);
    }
    look_for("--data", inputs->data, level, diagnostics);
    for (int i = 0; i < inputs->tasks.count; i++)
        look_for("--tasks", inputs->tasks.words[i], level, diagnostics);
}

/* look_at_queue - the same task of this folder, waiting or running: two would write the same files. */
static void look_at_queue(const struct job_request *request, struct diagnostics *diagnostics) {
    struct task_record record;
    struct queue queue;
    bool has_answer;
    if (!task_read(&record, request->facts->run_folder, request->task) || record.has_ended)
        return;
    const struct queued_job *job = task_job(&record, &queue, QUEUE_TIMEOUT_S, &has_answer);
    if (!has_answer)
        diagnostic_add(diagnostics, DIAGNOSTIC_WARNING,
                       "squeue does not answer: whether job %s ('%s' of this run) still runs is not known",
                       record.id, request->task);
    if (job)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "job %s ('%s' of this run, user '%s') is in the queue (%s): wait for it, end it with 'scancel %s', or "
            "choose another run.folder",
            job->id, request->task, job->user, job->state, job->id);
    queue_release(&queue);
}

/* --- doing --- */

static void tell(const struct job_request *request, const char *id) {
    char cost[160];
    printf("job          %s\n", id);
    if (request->after_ok)
        printf(
            "waits        for job %s to end well (slurm.after); where it does not, this one is cancelled\n",
            request->after_ok);
    printf("cost         %s\n", submit_cost_text(request, cost, sizeof cost));
    printf("log          %s/logs/%s-%s.out\n", request->facts->run_folder, request->job_name, id);
    printf("look at it   atelier status %s\n", request->config->run.folder);
    printf("end it       scancel %s\n", id);
}

/* send - script into the run folder, sbatch, and the id into the task's record, by which the next look finds the
 * job. */
static int send(const struct job_request *request) {
    struct err err = {""};
    char id[SLURM_ID_ROOM];
    char *script = submit_script(request),
         *path = xasprintf("%s/job-%s.sh", request->facts->run_folder, request->task);
    const struct submission submission = {.script = path, .after_ok = request->after_ok};
    int status = task_write_folder(request, script, &err);
    if (status == 0)
        status = slurm_submit(&submission, id, &err);
    free(script);
    free(path);
    if (status != 0) {
        fprintf(stderr, "error: nothing was submitted: %s\n", err.text);
        return EXIT_FAULT;
    }
    if (task_note(request->facts->run_folder, request->task, id, &err) != 0)
        warn("%s", err.text);
    tell(request, id);
    return EXIT_DONE;
}

/* show - the script to standard output alone, so that it can be written to a file. */
static int show(const struct job_request *request) {
    char cost[160], *script = submit_script(request);
    fprintf(stderr, "note: nothing was submitted; a job costs %s\n",
            submit_cost_text(request, cost, sizeof cost));
    fputs(script, stdout);
    free(script);
    return EXIT_DONE;
}

/* submit - 'inputs' was checked, and 'here' looked at.  The run folder is not locked: a task runs beside the
 * training of the same folder. */
static int submit(const struct submit_words *asked, const struct task_inputs *inputs,
                  const struct config *config, const struct site *site, const struct surroundings *here) {
    struct diagnostics diagnostics = {NULL, 0, 0};
    struct job_request request = {NULL};
    struct config copy;
    const struct task_overrides overrides = {asked->overrides.words, asked->overrides.count};
    const struct task_words words = {asked->task, inputs->words, inputs->num_words};
    int code = EXIT_USAGE;
    if (site->scheduler == SCHEDULER_NONE) {
        diagnostic_add(&diagnostics, DIAGNOSTIC_ERROR, "site '%s' has no scheduler: call 'atelier %s' here",
                       site->name, asked->task);
    } else if (task_config(&copy, config, site, asked->task, &overrides, &diagnostics) == 0) {
        submit_request_task(&request, &words, &copy, site, &here->facts, &diagnostics);
        request.after_ok =
            submit_after(config, &(struct after_asker){here->run_folder, asked->task}, &diagnostics);
        bool may_come = asked->is_dry_run || request.after_ok;
        look_for_inputs(&request, inputs, may_come ? DIAGNOSTIC_WARNING : DIAGNOSTIC_ERROR, &diagnostics);
        if (diagnostics.num_errors == 0 && !asked->is_dry_run)
            look_at_queue(&request, &diagnostics);
    }
    diagnostics_print(&diagnostics);
    if (request.has_script && asked->is_dry_run)
        code = show(&request);
    else if (diagnostics.num_errors == 0)
        code = send(&request);
    if (diagnostics.num_errors > 0)
        code = EXIT_USAGE;
    diagnostics_release(&diagnostics);
    submit_request_release(&request);
    return code;
}

int submit_task(const struct submit_words *words) {
    const struct option_list *overrides = &words->overrides;
    struct task_inputs inputs;
    struct config config = {.text = NULL};
    struct site site = {.name = NULL};
    struct surroundings here = {.run_folder = NULL};
    const struct surroundings_asked asked = {words->config_path, words->program};
    struct err err = {""};
    int code = EXIT_USAGE;
    int status = config_load(&config, words->config_path, overrides->words, overrides->count, &err);
    if (status == 0 && strcmp(words->task, "prepare") == 0)
        status = config_need_prepare(&config, &err);
    if (status != 0 || site_open(&site, config.slurm.site, &err) != 0 ||
        surroundings_look(&here, &asked, &config, &site, &err) != 0 ||
        check_words(&inputs, words, here.run_folder, &err) != 0)
        fprintf(stderr, "error: %s\n", err.text);
    else
        code = submit(words, &inputs, &config, &site, &here);
    surroundings_release(&here);
    site_release(&site);
    config_free(&config);
    return code;
}
