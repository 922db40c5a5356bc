/* submit_after.c - from an entry of slurm.after to the job it means: an id, a run's newest job, or a task of a run. */
#include "slurm/submit_after.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "slurm/chain.h"
#include "slurm/submit_folder.h"
#include "slurm/task.h"

/* is_id - a job's number, and not a folder's name. */
static bool is_id(const char *text) {
    return text[0] && strlen(text) < SLURM_ID_ROOM && strspn(text, "0123456789") == strlen(text);
}

/* job_of_task - the newest job of a task into id; "" where it is done.  Returns 0, or -1 after an error. */
static int job_of_task(const char *folder, const char *task, char id[SLURM_ID_ROOM],
                       struct diagnostics *diagnostics) {
    struct task_record record;
    if (!task_read(&record, folder, task))
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'slurm.after' waits for '%s' of '%.200s', which was not submitted: 'atelier submit %s' first",
            task, folder, task);
    memcpy(id, record.id, SLURM_ID_ROOM);
    if (!record.has_ended)
        return 0;
    id[0] = '\0';
    if (record.code != 0)
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'slurm.after' waits for '%s' of '%.200s', whose job %s ended with code %lld: look at its log, "
            "and submit it again",
            task, folder, record.id, (long long)record.code);
    diagnostic_add(diagnostics, DIAGNOSTIC_NOTE,
                   "'%s' of '%.200s' (slurm.after) is done: nothing to wait for", task, folder);
    return 0;
}

/* newest_task - of those that were submitted from the folder, by their jobs' numbers; NULL: none. */
static const char *newest_task(const char *folder) {
    const char *newest = NULL;
    long long newest_id = -1;
    for (int i = 0; i < NUM_TASKS; i++) {
        struct task_record record;
        if (task_read(&record, folder, task_name(i)) && atoll(record.id) > newest_id) {
            newest = task_name(i);
            newest_id = atoll(record.id);
        }
    }
    return newest;
}

/* no_job - of what is neither a number nor a folder from which something was submitted.  Returns -1. */
static int no_job(const char *folder, struct diagnostics *diagnostics) {
    struct stat facts;
    bool begins_as_number = folder[0] >= '0' && folder[0] <= '9';
    if (stat(folder, &facts) != 0)
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'slurm.after' names '%.200s', which is neither the number of a job%s nor a folder that "
            "is there: give the job's number, or the run.folder of a submitted run",
            folder, begins_as_number ? " (digits alone)" : "");
    return diagnostic_add(
        diagnostics, DIAGNOSTIC_ERROR,
        "'slurm.after' names '%.200s', which has no submitted job: submit that run first, or give the number of a job",
        folder);
}

/* job_of_run - the newest job of a run folder into id; "" where it is done.  Returns 0, or -1 after an error. */
static int job_of_run(const char *folder, char id[SLURM_ID_ROOM], struct diagnostics *diagnostics) {
    struct chain chain;
    struct err err = {""};
    jobs_last(folder, id);
    const char *task = id[0] ? NULL : newest_task(folder);
    if (task)
        return job_of_task(folder, task, id, diagnostics);
    if (!id[0])
        return no_job(folder, diagnostics);
    if (chain_load(&chain, folder, &err) != 0)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'slurm.after' names '%.200s': %.300s", folder,
                              err.text);
    int status = 0;
    if (chain.state == CHAIN_DONE) {
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE, "'%.200s' of slurm.after is done: nothing to wait for",
                       folder);
        id[0] = '\0';
    } else if (chain.state == CHAIN_STOPPED) {
        status =
            diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                           "'%.200s' of slurm.after has not come to its end: %.200s", folder, chain.reason);
    } else if (chain.follows) {
        status = diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'%.200s' of slurm.after is a chain, whose last job is not submitted yet: wait until it is "
            "done, or submit that run without --chain, so that it is requeued under one number",
            folder);
    }
    chain_release(&chain);
    return status;
}

/* is_same_folder - though one is relative, or a link. */
static bool is_same_folder(const char *one, const char *other) {
    struct stat one_stat, other_stat;
    return strcmp(one, other) == 0 ||
           (stat(one, &one_stat) == 0 && stat(other, &other_stat) == 0 &&
            one_stat.st_dev == other_stat.st_dev && one_stat.st_ino == other_stat.st_ino);
}

/* task_of_entry - "FOLDER:prepare" is taken apart: what is after the ':' where it is a task, else NULL. */
static const char *task_of_entry(char *entry) {
    char *colon = strrchr(entry, ':');
    const char *task = colon ? task_find(colon + 1) : NULL;
    if (task)
        *colon = '\0';
    return task;
}

/* job_of_entry - of a folder, with or without its task. */
static int job_of_entry(const char *text, const struct after_asker *asker, char id[SLURM_ID_ROOM],
                        struct diagnostics *diagnostics) {
    char *folder = xstrdup(text);
    const char *task = task_of_entry(folder);
    bool is_own = is_same_folder(folder, asker->run_folder),
         is_prepare = asker->task && strcmp(asker->task, "prepare") == 0;
    bool is_itself = task && asker->task && strcmp(task, asker->task) == 0;
    int status = 0;
    id[0] = '\0';
    if (is_own && !asker->task && !task)
        task = "prepare"; /* a training does not wait for itself */
    if (is_own && (is_prepare || is_itself))
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE,
                       "'%.200s' of slurm.after is not waited for: it is this job's own folder", text);
    else if (task)
        status = job_of_task(folder, task, id, diagnostics);
    else
        status = job_of_run(folder, id, diagnostics);
    free(folder);
    return status;
}

/* All entries are looked at, so that each wrong one is told. */
char *submit_after(const struct config *config, const struct after_asker *asker,
                   struct diagnostics *diagnostics) {
    const struct slurm_config *asked = &config->slurm;
    char *ids = NULL;
    int status = 0;
    for (int i = 0; i < asked->num_after; i++) {
        char id[SLURM_ID_ROOM] = "";
        const char *entry = asked->after[i].text;
        if (is_id(entry))
            memcpy(id, entry, strlen(entry) + 1);
        else
            status |= job_of_entry(entry, asker, id, diagnostics);
        if (!id[0])
            continue;
        char *longer = ids ? xasprintf("%s:%s", ids, id) : xstrdup(id);
        free(ids);
        ids = longer;
    }
    if (status == 0)
        return ids;
    free(ids);
    return NULL;
}
