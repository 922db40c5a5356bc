/* checkpoint_choose.c - which checkpoint a run goes on from.  `latest` says it; where it does not, the line
 * of the run does, or the user: no start goes to another line, or back to the beginning, by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint_internal.h"
#include "checkpoints/files.h"
#include "data/corpus/json.h"

enum { MAX_LATEST_BYTES = 256, MAX_CHOICES = 6, CHOICES_ROOM = 420 };

/* What the file `latest` is. */
enum latest_state { LATEST_ABSENT, LATEST_UNREADABLE, LATEST_NAMES };

/* end_of_name - where the white space begins that ends the text of `latest`. */
static size_t end_of_name(const char *text, size_t length_bytes) {
    while (length_bytes > 0 && strchr(" \r\n", text[length_bytes - 1]) && text[length_bytes - 1])
        length_bytes--;
    return length_bytes;
}

/* read_latest - what the file `latest` names, if it is a proper name and nothing else: with more text it may have
 * been written in part, or by hand and wrongly. */
static enum latest_state read_latest(const char *run_folder, int64_t *step) {
    size_t length_bytes;
    struct step named;
    char *path = xasprintf("%s/latest", run_folder);
    enum latest_state state = path_exists(path) ? LATEST_UNREADABLE : LATEST_ABSENT;
    char *text = state == LATEST_ABSENT ? NULL : file_read_whole(path, MAX_LATEST_BYTES, &length_bytes, NULL);
    if (text) {
        size_t length = end_of_name(text, length_bytes);
        bool is_text = strlen(text) >= length; /* no zero byte in the name */
        text[length] = '\0';
        if (is_text && step_parse(text, &named) && named.state == STEP_COMPLETE) {
            state = LATEST_NAMES;
            *step = named.step;
        }
    }
    free(text);
    free(path);
    return state;
}

/* list_choices - "step-000010 (the run's own line), step-000012 (an abandoned line)": the complete ones, the
 * youngest first.  Returns how many there are. */
static int list_choices(const struct lineage *lineage, char *text, int64_t *first) {
    int count = 0, tip = lineage_tip(lineage);
    size_t used = 0;
    text[0] = '\0';
    for (int i = lineage->count - 1; i >= 0; i--) {
        const struct lineage_entry *entry = &lineage->entries[i];
        if (!entry->is_there)
            continue;
        if (count++ == 0)
            *first = entry->self.step;
        if (count > MAX_CHOICES)
            continue;
        const char *line = tip < 0                          ? ""
                           : lineage_leads(lineage, i, tip) ? " (the run's own line)"
                                                            : " (an abandoned line)";
        int length = snprintf(text + used, CHOICES_ROOM - used, "%sstep-%06lld%s", used ? ", " : "",
                              (long long)entry->self.step, line);
        used += length > 0 && (size_t)length < CHOICES_ROOM - used ? (size_t)length : 0;
    }
    if (count > MAX_CHOICES)
        snprintf(text + used, CHOICES_ROOM - used, " and %d more", count - MAX_CHOICES);
    return count;
}

/* refuse - what is wrong, and what there is to choose from. */
static void refuse(const char *run_folder, const struct lineage *lineage, const char *what, struct err *err) {
    char choices[CHOICES_ROOM];
    int64_t first = 0;
    if (list_choices(lineage, choices, &first) == 0) {
        err_set(err,
                "%.300s, and no checkpoint of '%.120s' is complete: put one back, or start anew with another "
                "run.folder or with checkpoint.resume: never",
                what, run_folder);
        return;
    }
    err_set(
        err,
        "%.340s; complete are %s: choose one by its name (echo step-%06lld > %.100s/latest), or start a new "
        "line from it with another run.folder and checkpoint.from: %.100s@%lld",
        what, choices, (long long)first, run_folder, run_folder, (long long)first);
}

/* without_latest - the newest complete checkpoint of the line that was saved last. */
static char *without_latest(const char *run_folder, const struct lineage *lineage, int64_t *step,
                            struct err *err) {
    int tip = lineage_tip(lineage), best = -1;
    for (int i = 0; i < lineage->count && tip >= 0; i++)
        if (lineage->entries[i].is_there && lineage_leads(lineage, i, tip) &&
            (best < 0 || lineage->entries[i].self.step > lineage->entries[best].self.step))
            best = i;
    char *path = best >= 0 ? step_complete_path(run_folder, lineage->entries[best].self.step, err) : NULL;
    if (path) {
        *step = lineage->entries[best].self.step;
        warn("'%s/latest' is missing: '%s' is taken, the newest complete checkpoint of the run's own line",
             run_folder, path);
        return path;
    }
    char *what =
        xasprintf("'%.120s/latest' is missing, and which line the run is on cannot be told", run_folder);
    refuse(run_folder, lineage, what, err);
    free(what);
    return NULL;
}

/* has_steps - any folder with a checkpoint's name, complete or not, but leftovers. */
static bool has_steps(const char *run_folder, struct err *why) {
    struct step_list list;
    bool has = false;
    if (step_list_read(run_folder, &list, NULL) != 0)
        return false;
    for (int i = 0; i < list.count; i++)
        if (list.steps[i].state == STEP_COMPLETE) {
            char *path = step_path(run_folder, list.steps[i].step, STEP_COMPLETE);
            step_is_complete(path, NULL, why);
            free(path);
            has = true;
        }
    free(list.steps);
    return has;
}

/* nothing_complete - a run that never saved has no checkpoint; any other must not start anew unasked. */
static void nothing_complete(const char *run_folder, const struct lineage *lineage, struct err *err) {
    struct err why = {""};
    if (has_steps(run_folder, &why))
        err_set(err,
                "no checkpoint of '%.200s' is complete, start anew with another run.folder or with "
                "checkpoint.resume: never: %.500s",
                run_folder, why.text);
    else if (lineage->num_saved > 0)
        err_set(err,
                "'%.200s' saved step %lld and none of its checkpoints is left: put one back, or start anew "
                "with another run.folder or with checkpoint.resume: never",
                run_folder, (long long)lineage->entries[lineage->num_saved - 1].self.step);
}

/* any_is_there - some checkpoint of the run is complete, of whichever line. */
static bool any_is_there(const struct lineage *lineage) {
    for (int i = 0; i < lineage->count; i++)
        if (lineage->entries[i].is_there)
            return true;
    return false;
}

/* A `latest` that names something complete is obeyed, and nothing else is looked at: the user may have set it by hand. */
char *checkpoint_latest(const char *run_folder, int64_t *step, struct err *err) {
    struct lineage lineage;
    struct err why = {""};
    int64_t named = 0;
    if (err)
        err->text[0] = '\0';
    enum latest_state state = read_latest(run_folder, &named);
    char *path = state == LATEST_NAMES ? step_complete_path(run_folder, named, &why) : NULL;
    if (path) {
        *step = named;
        return path;
    }
    if (lineage_read(run_folder, &lineage, err) != 0) {
        lineage_release(&lineage);
        return NULL;
    }
    if (state == LATEST_ABSENT) {
        if (any_is_there(&lineage))
            path = without_latest(run_folder, &lineage, step, err);
        else
            nothing_complete(run_folder, &lineage, err);
    } else {
        char *advice = strstr(why.text, ": take an earlier checkpoint");
        if (advice)
            *advice = '\0'; /* the choices say it better */
        char *what = state == LATEST_NAMES
                         ? xasprintf("'%.100s/latest' names step-%06lld, which is %s%.200s", run_folder,
                                     (long long)named, why.text[0] ? "not complete: " : "not there", why.text)
                         : xasprintf("'%.100s/latest' is damaged: it does not name a checkpoint", run_folder);
        refuse(run_folder, &lineage, what, err);
        free(what);
    }
    lineage_release(&lineage);
    return path;
}

/* not_of_step - err: why there is none of this step, and which there are. */
static void not_of_step(const char *run_folder, int64_t step, const char *why, struct err *err) {
    struct lineage lineage;
    char choices[CHOICES_ROOM];
    int64_t first = 0;
    bool has_some =
        lineage_read(run_folder, &lineage, NULL) == 0 && list_choices(&lineage, choices, &first) > 0;
    err_set(err, "'%.200s' has no complete checkpoint of step %lld%s%.500s%s%s", run_folder, (long long)step,
            why[0] ? ": " : "", why, has_some ? "; complete are " : "", has_some ? choices : "");
    lineage_release(&lineage);
}

char *checkpoint_of_step(const char *run_folder, int64_t step, struct err *err) {
    struct err why = {""};
    char *path = step_complete_path(run_folder, step, &why);
    if (!path)
        not_of_step(run_folder, step, why.text, err);
    return path;
}

/* A parent is older than its child; the count bounds the walk where a file tells otherwise. */
char *checkpoint_ancestor(const char *run_folder, struct checkpoint_id *id, struct err *err) {
    struct lineage lineage;
    struct err why = {""};
    char *path = NULL;
    err->text[0] = '\0';
    int status = lineage_read(run_folder, &lineage, err);
    int at = status == 0 ? lineage_find(&lineage, id) : -1;
    for (int left = lineage.count; at >= 0 && left > 0 && !path; left--) {
        at = lineage_find(&lineage, &lineage.entries[at].parent);
        if (at >= 0 && lineage.entries[at].is_there)
            path = step_complete_path(run_folder, lineage.entries[at].self.step, &why);
        if (path)
            *id = lineage.entries[at].self;
    }
    lineage_release(&lineage);
    return path;
}
