/* checkpoint_steps.c - the names in a run folder, which say what is complete.
 *
 *   step-000500             complete: it got this name by one rename, after everything was synced
 *   step-000500.partial     being written, or what a crash left of it
 *   step-000500.deleting    being removed
 *   step-000500.replaced    complete, on its way out: a new step-000500 is taking its place
 *   latest                  text: the name of the checkpoint to go on from
 *
 * `latest` decides, not the highest number: whoever goes back to an earlier step and trains on writes lower
 * numbers than the ones abandoned.  Where it is missing or names nothing complete, the highest complete step
 * is taken. */
#include "checkpoints/checkpoint_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "data/json.h"

static const char *const suffixes[STEP_STATE_COUNT] = {"", ".partial", ".deleting", ".replaced"};

enum { MAX_LATEST_BYTES = 256 };

/* One entry of a run folder. */
struct step {
    int64_t step;
    enum step_state state;
};

struct step_list {
    struct step *steps; /* ascending */
    int count;
};

char *step_path(const char *run_folder, int64_t step, enum step_state state) {
    return xasprintf("%s/step-%06lld%s", run_folder, (long long)step, suffixes[state]);
}

/* step_parse - a name as step_path makes it, and no other spelling. */
static bool step_parse(const char *name, struct step *step) {
    char *end;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9')
        return false;
    errno = 0;
    step->step = strtoll(name + 5, &end, 10);
    if (errno != 0)
        return false;
    for (int state = 0; state < STEP_STATE_COUNT; state++)
        if (strcmp(end, suffixes[state]) == 0) {
            step->state = (enum step_state)state;
            char *proper = step_path("", step->step, step->state);
            bool same = strcmp(proper + 1, name) == 0;
            free(proper);
            return same;
        }
    return false;
}

static int by_step(const void *a, const void *b) {
    const struct step *x = a, *y = b;
    return (x->step > y->step) - (x->step < y->step);
}

/* list_steps - all entries that belong to checkpoints; an absent run folder has none. */
static int list_steps(const char *run_folder, struct step_list *list, struct err *err) {
    *list = (struct step_list){0};
    DIR *folder = opendir(run_folder);
    if (!folder && errno == ENOENT)
        return 0;
    if (!folder)
        return err_set(err, "cannot list '%s': %s", run_folder, strerror(errno));
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        struct step step;
        if (!step_parse(entry->d_name, &step))
            continue;
        list->steps = xrealloc(list->steps, (size_t)(list->count + 1) * sizeof *list->steps);
        list->steps[list->count++] = step;
    }
    closedir(folder);
    if (list->count > 0)
        qsort(list->steps, (size_t)list->count, sizeof *list->steps, by_step);
    return 0;
}

/* is_complete - the manifest is there and every file is as long as it says. */
static bool is_complete(const char *path, struct err *err) {
    struct manifest manifest;
    if (manifest_read(&manifest, path, err) != 0)
        return false;
    bool complete = manifest_check_sizes(&manifest, path, err) == 0;
    manifest_free(&manifest);
    return complete;
}

/* remove_step - rename first: a half-removed folder must not look complete. */
static int remove_step(const char *run_folder, struct step step, struct err *err) {
    char *path = step_path(run_folder, step.step, step.state);
    char *deleting = step_path(run_folder, step.step, STEP_DELETING);
    int status = 0;
    if (step.state != STEP_DELETING) {
        status = folder_remove(deleting, err); /* of an earlier crash */
        if (status == 0)
            status = file_rename(path, deleting, err);
    }
    if (status == 0)
        status = folder_remove(deleting, err);
    free(path);
    free(deleting);
    return status;
}

/* settle_replaced - its successor arrived: remove it; did not: put it back. */
static int settle_replaced(const char *run_folder, struct step step, struct err *err) {
    char *path = step_path(run_folder, step.step, STEP_REPLACED);
    char *successor = step_path(run_folder, step.step, STEP_COMPLETE);
    int status = !path_exists(successor) && is_complete(path, NULL) ? file_rename(path, successor, err)
                                                                    : remove_step(run_folder, step, err);
    free(path);
    free(successor);
    return status;
}

/* Only the root of a run calls this: another run in the same folder would lose its .partial. */
int step_clean(const char *run_folder, struct err *err) {
    struct step_list list;
    int status = list_steps(run_folder, &list, err);
    for (int i = 0; i < list.count && status == 0; i++) {
        if (list.steps[i].state == STEP_REPLACED)
            status = settle_replaced(run_folder, list.steps[i], err);
        else if (list.steps[i].state != STEP_COMPLETE)
            status = remove_step(run_folder, list.steps[i], err);
    }
    free(list.steps);
    return status;
}

/* move_latest - by a rename, so that readers see the old name or the new one. */
static int move_latest(const char *run_folder, int64_t step, struct err *err) {
    char *path = xasprintf("%s/latest", run_folder);
    char *text = xasprintf("step-%06lld\n", (long long)step);
    int status = file_replace(path, text, strlen(text), err);
    free(text);
    free(path);
    return status;
}

int step_install(const char *run_folder, int64_t step, struct err *err) {
    char *partial = step_path(run_folder, step, STEP_PARTIAL);
    char *final = step_path(run_folder, step, STEP_COMPLETE);
    char *replaced = step_path(run_folder, step, STEP_REPLACED);
    int status = 0;
    /* A step saved a second time (the run went back): between these two renames the old one is still found,
     * as .replaced. */
    if (path_exists(final))
        status = file_rename(final, replaced, err);
    if (status == 0)
        status = file_rename(partial, final, err);
    if (status == 0)
        status = move_latest(run_folder, step, err);
    if (status == 0 && path_exists(replaced))
        status = remove_step(run_folder, (struct step){step, STEP_REPLACED}, err);
    free(partial);
    free(final);
    free(replaced);
    return status;
}

void step_prune(const char *run_folder, int64_t keep_step, int keep_count) {
    struct step_list list;
    struct err err;
    int complete = 0;
    if (list_steps(run_folder, &list, &err) != 0)
        warn("%s", err.text);
    for (int i = 0; i < list.count; i++)
        complete += list.steps[i].state == STEP_COMPLETE;
    /* Ascending: the oldest go first, and an undeletable one does not make a newer one go in its place. */
    for (int i = 0; i < list.count && complete > keep_count; i++) {
        if (list.steps[i].state != STEP_COMPLETE || list.steps[i].step == keep_step)
            continue;
        if (remove_step(run_folder, list.steps[i], &err) != 0)
            warn("an old checkpoint stays: %s", err.text);
        complete--;
    }
    free(list.steps);
}

/* read_latest - what the file `latest` names, if it is a proper name. */
static bool read_latest(const char *run_folder, struct step *step) {
    size_t length_bytes;
    char *path = xasprintf("%s/latest", run_folder);
    char *text = file_read_whole(path, MAX_LATEST_BYTES, &length_bytes, NULL);
    bool good = false;
    if (text) {
        text[strcspn(text, " \r\n")] = '\0';
        good = step_parse(text, step) && step->state == STEP_COMPLETE;
    }
    free(text);
    free(path);
    return good;
}

/* complete_path - its path if it is complete under its own name or as .replaced, else NULL with err set. */
static char *complete_path(const char *run_folder, int64_t step, struct err *err) {
    static const enum step_state names[] = {STEP_COMPLETE, STEP_REPLACED};
    for (int i = 0; i < 2; i++) {
        char *path = step_path(run_folder, step, names[i]);
        if (path_exists(path) && is_complete(path, err))
            return path;
        free(path);
    }
    return NULL;
}

char *checkpoint_latest(const char *run_folder, int64_t *step, struct err *err) {
    struct step_list list;
    struct step named;
    struct err why = {""};
    char *path = NULL;
    if (err)
        err->text[0] = '\0';
    if (list_steps(run_folder, &list, err) != 0)
        return NULL;
    if (read_latest(run_folder, &named) && (path = complete_path(run_folder, named.step, &why)))
        *step = named.step;
    for (int i = list.count - 1; i >= 0 && !path; i--) {
        if (list.steps[i].state != STEP_COMPLETE && list.steps[i].state != STEP_REPLACED)
            continue;
        why.text[0] = '\0';
        path = complete_path(run_folder, list.steps[i].step, &why);
        if (path)
            *step = list.steps[i].step;
        else if (why.text[0])
            warn("a checkpoint is passed over: %s", why.text);
    }
    /* Starting anew beside a checkpoint that is only damaged would replace it. */
    if (!path && why.text[0])
        err_set(err, "no checkpoint of '%s' is complete, remove them to start anew: %s", run_folder,
                why.text);
    free(list.steps);
    return path;
}
