/* task.c - the files of a task in the run folder, and its configuration: one node without GPUs. */
#include "slurm/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"

static const char *const NAMES[NUM_TASKS] = {"prepare", "eval", "export"};

const char *task_name(int index) {
    return NAMES[index];
}

const char *task_find(const char *word) {
    for (int i = 0; i < NUM_TASKS; i++)
        if (strcmp(word, NAMES[i]) == 0)
            return NAMES[i];
    return NULL;
}

/* --- files --- */

/* read_line - RUN/job-TASK.KIND into room; false: it is not there. */
static bool read_line(const char *run_folder, const char *task, const char *kind, char room[128]) {
    size_t length_bytes;
    char *path = xasprintf("%s/job-%s.%s", run_folder, task, kind);
    char *text = path_exists(path) ? file_read_whole(path, 4096, &length_bytes, NULL) : NULL;
    snprintf(room, 128, "%s", text ? text : "");
    free(text);
    free(path);
    return room[0];
}

/* An end counts only with the id of the newest start: the file of an earlier one stays until it is overwritten. */
bool task_read(struct task_record *record, const char *run_folder, const char *task) {
    char line[128], ended[SLURM_ID_ROOM] = "";
    long long code = 0;
    *record = (struct task_record){.code = 0};
    if (!read_line(run_folder, task, "id", line) || sscanf(line, "%31[0-9]", record->id) != 1)
        return false;
    record->has_ended = read_line(run_folder, task, "end", line) &&
                        sscanf(line, "%31[0-9] %lld", ended, &code) == 2 && strcmp(ended, record->id) == 0;
    record->code = record->has_ended ? code : 0;
    return true;
}

const struct queued_job *task_job(const struct task_record *record, struct queue *queue, double timeout_s,
                                  bool *has_answer) {
    *queue = (struct queue){NULL, 0};
    *has_answer = queue_ask_jobs(queue, record->id, timeout_s, NULL) == 0;
    return *has_answer ? queue_find(queue, record->id) : NULL;
}

static int write_text(const char *run_folder, const char *task, const char *kind, const char *text,
                      struct err *err) {
    char *path = xasprintf("%s/job-%s.%s", run_folder, task, kind);
    int status = file_replace(path, text, strlen(text), err);
    free(path);
    return status;
}

/* The configuration is written for 'prepare' alone: the other tasks read no run file. */
int task_write_folder(const struct job_request *request, const char *script, struct err *err) {
    const char *folder = request->facts->run_folder;
    char *logs = xasprintf("%s/logs", folder);
    int status = folder_create(logs, err);
    if (status == 0 && strcmp(request->task, "prepare") == 0)
        status = write_text(folder, request->task, "yaml", request->config->text, err);
    if (status == 0)
        status = write_text(folder, request->task, "sh", script, err);
    free(logs);
    return status;
}

int task_note(const char *run_folder, const char *task, const char *id, struct err *err) {
    char *line = xasprintf("%s %lld\n", id, (long long)time(NULL));
    int status = write_text(run_folder, task, "id", line, err);
    free(line);
    return status;
}

/* --- what it asks for --- */

static bool is_overridden(const struct task_overrides *overrides, const char *key) {
    size_t length = strlen(key);
    for (int i = 0; i < overrides->count; i++)
        if (strncmp(overrides->words[i], key, length) == 0 && overrides->words[i][length] == '=')
            return true;
    return false;
}

/* find_partition - of the site, without GPUs: its default, else the first; NULL: there is none. */
static const struct site_partition *find_partition(const struct site *site) {
    const struct site_partition *found = NULL;
    for (int i = site->num_partitions - 1; i >= 0; i--) {
        const struct site_partition *one = &site->partitions[i];
        bool is_default = site->default_partition && strcmp(one->name, site->default_partition) == 0;
        if (one->gpus_per_node == 0 && is_default)
            return one;
        found = one->gpus_per_node == 0 ? one : found;
    }
    return found;
}

/* drop - a key of the training's partition, unless it was given for this job; its name is added to the list. */
static bool drop(const struct task_overrides *overrides, const char *key, bool is_set, char list[200]) {
    if (!is_set || is_overridden(overrides, key))
        return false;
    size_t used = strlen(list);
    snprintf(list + used, 200 - used, ", %s", key);
    return true;
}

/* move - to another partition than the training's. */
static void move(struct slurm_config *asked, const struct site_partition *partition, const char *task,
                 const struct task_overrides *overrides, struct diagnostics *diagnostics) {
    char dropped[200] = "";
    asked->partition = partition->name;
    if (drop(overrides, "slurm.qos", asked->qos, dropped))
        asked->qos = NULL;
    if (drop(overrides, "slurm.constraint", asked->constraint, dropped))
        asked->constraint = NULL;
    if (drop(overrides, "slurm.mem", asked->mem, dropped))
        asked->mem = NULL;
    if (drop(overrides, "slurm.cpus_per_rank", asked->cpus_per_rank > 0, dropped))
        asked->cpus_per_rank = 0;
    if (drop(overrides, "slurm.options", asked->num_options > 0, dropped))
        asked->num_options = 0;
    if (drop(overrides, "slurm.exclude", asked->exclude, dropped))
        asked->exclude = NULL;
    diagnostic_add(
        diagnostics, DIAGNOSTIC_NOTE,
        "'%s' computes on processors: partition '%s' is taken; --set slurm.partition=NAME chooses another%s%s",
        task, partition->name, dropped[0] ? "; not used, as the training's: " : "",
        dropped[0] ? dropped + 2 : "");
}

/* The run file describes the training; what it says of ranks and GPUs is left out for a task.  Only where that was given for this very
 * job is it refused. */
int task_config(struct config *copy, const struct config *config, const struct site *site, const char *task,
                const struct task_overrides *overrides, struct diagnostics *diagnostics) {
    *copy = *config;
    struct slurm_config *asked = &copy->slurm;
    if (is_overridden(overrides, "slurm.nodes") && asked->nodes > 1)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.nodes' is %lld, but '%s' is one process on one node: leave it out",
                              (long long)asked->nodes, task);
    if (is_overridden(overrides, "slurm.ranks_per_node") && asked->ranks_per_node > 1)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.ranks_per_node' is %lld, but '%s' is one process: leave it out",
                              (long long)asked->ranks_per_node, task);
    if (is_overridden(overrides, "slurm.gpus_per_node") && asked->gpus_per_node > 0)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.gpus_per_node' is %lld, but '%s' computes on processors: leave it out",
                              (long long)asked->gpus_per_node, task);
    asked->nodes = asked->ranks_per_node = 1;
    asked->gpus_per_node = 0;
    asked->chain.until = CHAIN_UNTIL_TIME;
    asked->chain.budget_gpu_hours = 0;
    const char *name = asked->partition ? asked->partition : site->default_partition;
    const struct site_partition *own = name ? site_partition(site, name, NULL) : NULL;
    bool is_named = is_overridden(overrides, "slurm.partition");
    if (is_named || (asked->partition && !own) || (own && own->gpus_per_node == 0))
        return 0; /* an unknown one is refused by submit_request */
    const struct site_partition *partition = find_partition(site);
    if (!partition)
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'%s' computes on processors, but site '%s' has no partition without GPUs: name one with "
            "--set slurm.partition=NAME; its GPUs are not asked for",
            task, site->name);
    move(asked, partition, task, overrides, diagnostics);
    return 0;
}
