/* checkpoint_steps.c - the names in a run folder, which say what is complete.
 *
 *   step-000500             complete: it got this name by one rename, after everything was synced
 *   step-000500.partial     being written, or what a crash left of it
 *   step-000500.deleting    being removed
 *   step-000500.replaced    complete, on its way out: a new step-000500 is taking its place
 *   latest                  text: the name of the checkpoint to go on from
 *
 *   step-000500.line-ID     complete, of an abandoned line: a checkpoint of the same step took its name
 *   history.jsonl           what was saved, and from what (checkpoint_lineage.c)
 *
 * `latest` decides, not the highest number: whoever goes back to an earlier step and trains on writes lower
 * numbers than the ones abandoned.  How it is read: checkpoint_choose.c. */
#include "checkpoints/checkpoint/checkpoint_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"

static const char *const suffixes[STEP_STATE_COUNT] = {"", ".partial", ".deleting", ".replaced"};

char *step_path(const char *run_folder, int64_t step, enum step_state state) {
    return xasprintf("%s/step-%06lld%s", run_folder, (long long)step, suffixes[state]);
}

/* Only what step_path would write: "step-500" or "step-000500.partial.bak" may be anybody's, and is left alone. */
bool step_parse(const char *name, struct step *step) {
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

/* by_step - of qsort, ascending. */
static int by_step(const void *a, const void *b) {
    const struct step *x = a, *y = b;
    return (x->step > y->step) - (x->step < y->step);
}

int step_list_read(const char *run_folder, struct step_list *list, struct err *err) {
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

/* Sizes alone, which takes no time; checksums are compared by who reads the bytes anyway (checkpoint_verify). */
bool step_is_complete(const char *path, struct manifest *manifest, struct err *err) {
    struct manifest own;
    if (manifest_read(&own, path, err) != 0)
        return false;
    bool complete = manifest_check_sizes(&own, path, err) == 0;
    if (complete && manifest)
        *manifest = own;
    else
        manifest_free(&own);
    return complete;
}

/* A crash between the two renames of step_install leaves the old one as .replaced: it is as good as ever. */
char *step_complete_path(const char *run_folder, int64_t step, struct err *err) {
    static const enum step_state names[] = {STEP_COMPLETE, STEP_REPLACED};
    for (int i = 0; i < 2; i++) {
        char *path = step_path(run_folder, step, names[i]);
        if (path_exists(path) && step_is_complete(path, NULL, err))
            return path;
        free(path);
    }
    return NULL;
}

/* Rename first: a half-removed folder must not look complete.  One that is protected keeps its
 * name: that is looked at before, and where the look was wrong and nothing is gone yet, it gets it back. */
int step_remove(const char *run_folder, struct step step, struct err *err) {
    char *path = step_path(run_folder, step.step, step.state);
    char *deleting = step_path(run_folder, step.step, STEP_DELETING);
    int status = folder_check_removable(path, err);
    if (status == 0 && step.state != STEP_DELETING) {
        status = folder_remove(deleting, err); /* of an earlier crash */
        if (status == 0)
            status = file_rename(path, deleting, err);
    }
    if (status == 0 && (status = folder_remove(deleting, err)) != 0 && step.state != STEP_DELETING &&
        step_is_complete(deleting, NULL, NULL))
        file_rename(deleting, path, NULL);
    free(path);
    free(deleting);
    return status;
}

/* settle_replaced - its successor arrived: remove it; did not: put it back. */
static int settle_replaced(const char *run_folder, struct step step, struct err *err) {
    char *path = step_path(run_folder, step.step, STEP_REPLACED);
    char *successor = step_path(run_folder, step.step, STEP_COMPLETE);
    int status = !path_exists(successor) && step_is_complete(path, NULL, NULL)
                     ? file_rename(path, successor, err)
                     : step_remove(run_folder, step, err);
    free(path);
    free(successor);
    return status;
}

/* Only the root of a run calls this: another run in the same folder would lose its .partial. */
int step_clean(const char *run_folder, struct err *err) {
    struct step_list list;
    int status = step_list_read(run_folder, &list, err);
    for (int i = 0; i < list.count && status == 0; i++) {
        struct err why;
        int done = 0;
        if (list.steps[i].state == STEP_REPLACED)
            done = settle_replaced(run_folder, list.steps[i], &why);
        else if (list.steps[i].state != STEP_COMPLETE)
            done = step_remove(run_folder, list.steps[i], &why);
        if (done != 0)
            warn("what an earlier start left stays: %s", why.text);
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

/* keep_other - what stands under the name of a new checkpoint: the same one makes room as .replaced; one of
 * another line stays, under a name that no later save takes. */
static int keep_other(const char *run_folder, int64_t step, const char *id, struct err *err) {
    struct manifest manifest;
    char *final = step_path(run_folder, step, STEP_COMPLETE);
    bool is_complete = step_is_complete(final, &manifest, NULL);
    if (is_complete && !manifest.id[0])
        manifest_make_id(&manifest);
    char *kept = xasprintf("%s.line-%s", final, is_complete ? manifest.id : "damaged");
    char *replaced = step_path(run_folder, step, STEP_REPLACED);
    bool is_same = (is_complete && strcmp(manifest.id, id) == 0) || path_exists(kept);
    int status = file_rename(final, is_same ? replaced : kept, err);
    if (status == 0 && !is_same)
        warn("'%s' was of another line of this run: it is kept as '%s'", final, kept);
    if (is_complete)
        manifest_free(&manifest);
    free(replaced);
    free(kept);
    free(final);
    return status;
}

/* Three moments a crash may hit: before the renames `latest` names an older checkpoint, between them the same or the .replaced
 * one, after them the new one.  Each of these loads; what is left over goes with the next step_clean. */
int step_install(const char *run_folder, int64_t step, const char *id, struct err *err) {
    char *partial = step_path(run_folder, step, STEP_PARTIAL);
    char *final = step_path(run_folder, step, STEP_COMPLETE);
    char *replaced = step_path(run_folder, step, STEP_REPLACED);
    struct err why;
    int status = 0;
    /* A step saved a second time (the run went back): between these two renames the old one is still found,
     * as .replaced. */
    if (path_exists(final))
        status = keep_other(run_folder, step, id, err);
    if (status == 0)
        status = file_rename(partial, final, err);
    if (status == 0)
        status = move_latest(run_folder, step, err);
    if (status == 0 && path_exists(replaced) &&
        step_remove(run_folder, (struct step){step, STEP_REPLACED}, &why) != 0)
        warn("a replaced checkpoint stays: %s", why.text);
    free(partial);
    free(final);
    free(replaced);
    return status;
}

int checkpoint_around(const char *run_folder, int64_t step, int64_t *newest, int64_t *later,
                      struct err *err) {
    struct step_list list;
    *newest = *later = -1;
    if (step_list_read(run_folder, &list, err) != 0)
        return -1;
    for (int i = 0; i < list.count; i++) {
        const struct step *at = &list.steps[i];
        if (at->state == STEP_COMPLETE && at->step <= step)
            *newest = at->step;
        else if (at->state == STEP_COMPLETE && *later < 0)
            *later = at->step;
    }
    free(list.steps);
    return 0;
}
