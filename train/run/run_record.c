/* run_record.c - see run_record.h. */
#include "train/run/run_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { MAX_RECORD_BYTES = MIB, ID_ROOM = 17 };

static char *record_path(const char *run_folder) {
    return xasprintf("%s/run.json", run_folder);
}

/* read_record - NULL where there is none, or none that can be read: it is then written anew. */
static json_t *read_record(const char *run_folder) {
    char *path = record_path(run_folder);
    json_t *record = path_exists(path) ? json_load_path(path, MAX_RECORD_BYTES, NULL) : NULL;
    free(path);
    return record;
}

/* inside - path from the folder on, where it lies in it; else NULL. */
static const char *inside(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

/* from_common - both paths without the folders that they share, "FOLDER|FILE": the same where a project was
 * moved as a whole; malloc'ed. */
static char *from_common(const char *folder, const char *file) {
    size_t shared = 0;
    for (size_t i = 0; folder[i] && folder[i] == file[i]; i++)
        if (folder[i] == '/')
            shared = i;
    return xasprintf("%s|%s", folder + shared, file + shared);
}

static const char *text_of(const json_t *record, const char *key) {
    const char *text = json_string_value(json_object_get(record, key));
    return text ? text : "";
}

/* same_run_file - the same file, or the same place beside the run folder. */
static bool same_run_file(const json_t *record, const char *folder, const char *file) {
    if (strcmp(text_of(record, "run_file"), file) == 0)
        return true;
    char *was = from_common(text_of(record, "folder"), text_of(record, "run_file"));
    char *now = from_common(folder, file);
    bool same = strcmp(was, now) == 0;
    free(now);
    free(was);
    return same;
}

/* tell_move - the folder's place was another one. */
static void tell_move(const json_t *record, const char *run_folder, const char *folder,
                      struct diagnostics *said) {
    const char *was = text_of(record, "folder");
    if (!was[0] || strcmp(was, folder) == 0)
        return;
    json_t *there = read_record(was);
    bool is_copy = there && strcmp(text_of(there, "id"), text_of(record, "id")) == 0;
    diagnostic_add(said, DIAGNOSTIC_NOTE,
                   is_copy ? "'%s' is a copy of '%s', which is still there: they go on apart"
                           : "'%s' was '%s' when it was last trained: it was moved",
                   run_folder, was);
    json_decref(there);
}

int run_record_check(const struct config *config, struct diagnostics *said, struct err *err) {
    json_t *record = read_record(config->run.folder);
    char *folder = realpath(config->run.folder, NULL), *file = realpath(config->origin, NULL);
    int status = 0;
    if (record && folder) {
        const char *was = text_of(record, "run_file");
        bool is_other = was[0] && file && !inside(file, folder) && !same_run_file(record, folder, file);
        if (is_other && config->run.is_default_folder)
            status = err_set(
                err,
                "'%.200s' is the run of '%.250s': the run file '%.250s' has the same name and names no "
                "run.folder; set run.folder to another folder, or to this one to go on with it",
                config->run.folder, was, file);
        else if (is_other)
            diagnostic_add(said, DIAGNOSTIC_NOTE, "the run file is '%.400s', it was '%.400s'", file, was);
        tell_move(record, config->run.folder, folder, said);
    }
    free(file);
    free(folder);
    json_decref(record);
    return status;
}

static void put_text(json_t *object, const char *key, const char *text) {
    json_t *value = text ? json_string(text) : NULL;
    json_object_set_new(object, key, value ? value : json_null());
}

static void make_id(char id[ID_ROOM]) {
    uint64_t random = 0;
    CHECK(getrandom(&random, sizeof random, 0) == sizeof random, "the system gives no random numbers");
    snprintf(id, ID_ROOM, "%016llx", (unsigned long long)random);
}

int run_record_write(const struct config *config, const char *from, struct err *err) {
    char id[ID_ROOM];
    json_t *record = read_record(config->run.folder);
    char *folder = realpath(config->run.folder, NULL), *file = realpath(config->origin, NULL);
    if (!record)
        record = json_object();
    if (!text_of(record, "id")[0]) {
        make_id(id);
        put_text(record, "id", id);
    }
    put_text(record, "format", "atelier-run 1");
    put_text(record, "folder", folder);
    if (file && folder && !inside(file, folder)) /* what submit wrote into the run folder is a copy */
        put_text(record, "run_file", file);
    if (from)
        put_text(record, "from", from);
    char *text = json_dumps(record, JSON_INDENT(1)), *path = record_path(config->run.folder);
    CHECK(text, "a run's record could not be written as JSON");
    int status = file_replace(path, text, strlen(text), err);
    free(path);
    free(text);
    free(file);
    free(folder);
    json_decref(record);
    return status;
}
