/* checkpoint_lineage.c - which checkpoint descends from which.
 *
 * Each manifest names its parent; RUN/history.jsonl has a line for each checkpoint that was saved, so that
 * the line of a run is known when most of its checkpoints are pruned.  The file only grows: a line that
 * cannot be read is passed over.  Checkpoints of versions that knew no lineage are taken as one line in the
 * order of their steps. */
#include "checkpoints/checkpoint/checkpoint_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "kernels/units.h"

enum { MAX_HISTORY_BYTES = 256 * MIB };

/* history_path - malloc'ed. */
static char *history_path(const char *run_folder) {
    return xasprintf("%s/history.jsonl", run_folder);
}

/* add_entry - a zeroed one at the end; valid until the next. */
static struct lineage_entry *add_entry(struct lineage *lineage) {
    lineage->entries = xrealloc(lineage->entries, (size_t)(lineage->count + 1) * sizeof *lineage->entries);
    struct lineage_entry *entry = &lineage->entries[lineage->count++];
    memset(entry, 0, sizeof *entry);
    return entry;
}

/* read_id - step and id of an object; false where it is not one. */
static bool read_id(const json_t *object, struct checkpoint_id *id) {
    const char *text;
    if (json_get_int(object, "step", &id->step, NULL) != 0 ||
        json_get_string(object, "id", &text, NULL) != 0 || strlen(text) >= sizeof id->id)
        return false;
    memcpy(id->id, text, strlen(text) + 1);
    return true;
}

/* take_line - one line of history.jsonl; a checkpoint that was saved again moves to the end. */
static void take_line(struct lineage *lineage, const char *line, size_t length) {
    struct lineage_entry entry = {.is_there = false};
    json_t *object = json_parse_text(line, length, "history.jsonl", NULL);
    if (object && read_id(object, &entry.self)) {
        json_t *parent = json_find(object, "parent");
        if (parent && !read_id(parent, &entry.parent))
            entry.parent = (struct checkpoint_id){0};
        *add_entry(lineage) = entry;
        lineage->num_saved = lineage->count;
    }
    json_decref(object);
}

/* read_history - line by line; a run of before this file has none, which is no error. */
static int read_history(const char *run_folder, struct lineage *lineage, struct err *err) {
    size_t length_bytes;
    char *path = history_path(run_folder), *text = NULL;
    int status = 0;
    if (path_exists(path)) {
        text = file_read_whole(path, MAX_HISTORY_BYTES, &length_bytes, err);
        status = text ? 0 : -1;
    }
    for (char *line = text; line && *line;) {
        size_t length = strcspn(line, "\n");
        take_line(lineage, line, length);
        line += length + (line[length] == '\n');
    }
    free(text);
    free(path);
    return status;
}

/* From the end: a checkpoint that was saved again has an entry there. */
int lineage_find(const struct lineage *lineage, const struct checkpoint_id *id) {
    for (int i = lineage->count - 1; i >= 0 && id->id[0]; i--)
        if (strcmp(lineage->entries[i].self.id, id->id) == 0)
            return i;
    return -1;
}

/* take_manifest - of a complete checkpoint.  before: the newest one of an older version, which had no ids. */
static void take_manifest(struct lineage *lineage, struct manifest *manifest, struct checkpoint_id *before) {
    bool is_old = !manifest->id[0];
    if (is_old) {
        manifest_make_id(manifest);
        manifest->parent = *before;
    }
    struct checkpoint_id self = {.step = manifest->step};
    memcpy(self.id, manifest->id, sizeof self.id);
    int known = lineage_find(lineage, &self);
    if (known < 0) {
        struct lineage_entry *entry = add_entry(lineage);
        entry->self = self;
        entry->parent = manifest->parent;
        known = lineage->count - 1;
    }
    lineage->entries[known].is_there = true;
    if (is_old)
        *before = self;
}

/* History first, in the order of the saves; a manifest then says which of them are there, and adds those that the history
 * misses: copied into the folder, or saved when the disk was full. */
int lineage_read(const char *run_folder, struct lineage *lineage, struct err *err) {
    struct step_list list;
    struct checkpoint_id before = {.step = 0};
    *lineage = (struct lineage){.count = 0};
    if (step_list_read(run_folder, &list, err) != 0)
        return -1;
    int status = read_history(run_folder, lineage, err);
    for (int i = 0; i < list.count && status == 0; i++) {
        struct manifest manifest;
        enum step_state state = list.steps[i].state;
        if (state != STEP_COMPLETE && state != STEP_REPLACED)
            continue;
        char *path = step_path(run_folder, list.steps[i].step, state);
        if (step_is_complete(path, &manifest, NULL)) {
            take_manifest(lineage, &manifest, &before);
            manifest_free(&manifest);
        }
        free(path);
    }
    free(list.steps);
    return status;
}

void lineage_release(struct lineage *lineage) {
    free(lineage->entries);
    *lineage = (struct lineage){.count = 0};
}

bool lineage_leads(const struct lineage *lineage, int from, int to) {
    /* A parent is older than its child; the count bounds the walk where a file tells otherwise. */
    for (int left = lineage->count; to >= 0 && left > 0; left--) {
        if (to == from || strcmp(lineage->entries[to].self.id, lineage->entries[from].self.id) == 0)
            return true;
        to = lineage_find(lineage, &lineage->entries[to].parent);
    }
    return false;
}

/* Without a history the lines of checkpoints that the user put together may have no common end: then nobody can tell. */
int lineage_tip(const struct lineage *lineage) {
    if (lineage->num_saved > 0)
        return lineage->num_saved - 1;
    for (int tip = 0; tip < lineage->count; tip++) {
        bool all_lead = true;
        for (int i = 0; i < lineage->count && all_lead; i++)
            all_lead = lineage_leads(lineage, i, tip);
        if (all_lead)
            return tip;
    }
    return -1;
}

/* One write, so that a line is whole or absent; a half line of a full disk is passed over when it is read. */
int lineage_append(const char *run_folder, const struct manifest *manifest, struct err *err) {
    char now[32], *path = history_path(run_folder);
    struct tm parts;
    time_t seconds = time(NULL);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &parts));
    json_t *parent =
        manifest->parent.id[0]
            ? json_pack("{s:I, s:s}", "step", (json_int_t)manifest->parent.step, "id", manifest->parent.id)
            : json_null();
    json_t *root = json_pack("{s:I, s:s, s:o, s:s}", "step", (json_int_t)manifest->step, "id", manifest->id,
                             "parent", parent, "time", now);
    char *text = json_dumps(root, 0), *line = xasprintf("%s\n", text ? text : "");
    int status = file_check_regular(path, err), fd = -1; /* a FIFO would be waited on */
    if (status == 0)
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (status == 0 && fd < 0)
        status = err_set(err, "cannot open '%s': %s", path, strerror(errno));
    else if (fd >= 0 && write(fd, line, strlen(line)) != (ssize_t)strlen(line))
        status = err_set(err, "cannot write '%s': %s", path, strerror(errno));
    if (fd >= 0 && file_sync_close(fd, path, status == 0 ? err : NULL) != 0)
        status = -1;
    free(line);
    free(text);
    json_decref(root);
    free(path);
    return status;
}

int checkpoint_identity(const char *checkpoint_folder, struct checkpoint_id *id, struct err *err) {
    struct manifest manifest;
    if (!step_is_complete(checkpoint_folder, &manifest, err))
        return -1;
    if (!manifest.id[0])
        manifest_make_id(&manifest);
    *id = (struct checkpoint_id){.step = manifest.step};
    memcpy(id->id, manifest.id, sizeof id->id);
    manifest_free(&manifest);
    return 0;
}

int checkpoint_last_saved(const char *run_folder, struct checkpoint_id *id, struct err *err) {
    struct lineage lineage;
    *id = (struct checkpoint_id){.step = 0};
    if (lineage_read(run_folder, &lineage, err) != 0) {
        lineage_release(&lineage);
        return -1;
    }
    if (lineage.num_saved > 0)
        *id = lineage.entries[lineage.num_saved - 1].self;
    lineage_release(&lineage);
    return 0;
}
