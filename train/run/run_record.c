/* run_record.c - RUN/run.json: whose run folder it is, checked before anything in it is touched. */
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
static const char FORMAT[] = "atelier-run 1";

static char *record_path(const char *run_folder) {
    return xasprintf("%s/run.json", run_folder);
}

/* is_record - what this program writes: a format, and texts or nulls. */
static bool is_record(const json_t *record) {
    static const char *const keys[] = {"id", "folder", "run_file", "from"};
    const char *format = json_string_value(json_object_get(record, "format"));
    bool is_right = format && strcmp(format, FORMAT) == 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(record, keys[i]);
        is_right = is_right && (!value || json_is_string(value) || json_is_null(value));
    }
    return is_right;
}

/* read_record - a new reference; NULL with an empty err where there is none, NULL with err set where what stands
 * there is none: whose run it is cannot be told then, and must not be guessed. */
static json_t *read_record(const char *run_folder, struct err *err) {
    struct err why = {""};
    char *path = record_path(run_folder);
    bool is_there = path_exists(path);
    json_t *record = is_there ? json_load_path(path, MAX_RECORD_BYTES, &why) : NULL;
    err->text[0] = '\0';
    if (record && !is_record(record)) {
        err_set(&why, "'%s' is not what this program writes", path);
        json_decref(record);
        record = NULL;
    }
    if (is_there && !record)
        err_set(
            err,
            "%.400s; it says whose run '%.200s' is, so that two run files do not share one: put it back, or "
            "remove it and name the folder in run.folder",
            why.text, run_folder);
    free(path);
    return record;
}

/* has_run - something was trained there. */
static bool has_run(const char *run_folder) {
    static const char *const names[] = {"latest", "history.jsonl", "metrics.jsonl"};
    bool has = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !has; i++) {
        char *path = xasprintf("%s/%s", run_folder, names[i]);
        has = path_exists(path);
        free(path);
    }
    return has;
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
    struct err ignored;
    json_t *there = read_record(was, &ignored);
    bool is_copy = there && strcmp(text_of(there, "id"), text_of(record, "id")) == 0;
    diagnostic_add(said, DIAGNOSTIC_NOTE,
                   is_copy ? "'%s' is a copy of '%s', which is still there: they go on apart"
                           : "'%s' was '%s' when it was last trained: it was moved",
                   run_folder, was);
    json_decref(there);
}

/* check_file - the run file is the one that the record names, or the folder was chosen by name. */
static int check_file(const struct config *config, const json_t *record, const char *folder, const char *file,
                      struct diagnostics *said, struct err *err) {
    const char *was = text_of(record, "run_file");
    if (!was[0] || !file || inside(file, folder) || same_run_file(record, folder, file))
        return 0;
    if (config->run.is_default_folder)
        return err_set(
            err,
            "'%.200s' is the run of '%.250s': the run file '%.250s' has the same name and names no "
            "run.folder; set run.folder to another folder, or to this one to go on with it",
            config->run.folder, was, file);
    return diagnostic_add(said, DIAGNOSTIC_NOTE, "the run file is '%.400s', it was '%.400s'", file, was);
}

/* without_record - of a run that was trained there nobody can tell whose it is; who names its folder says so. */
static int without_record(const struct config *config, const char *folder, const char *file,
                          struct diagnostics *said, struct err *err) {
    if (!has_run(folder) || (file && inside(file, folder)))
        return 0;
    if (config->run.is_default_folder)
        return err_set(
            err,
            "'%.200s' holds a run and no run.json, which says of which run file it is; '%.250s' names "
            "no run.folder, and another run file of the same name may have made it: set run.folder to "
            "this one to go on with it, or to another folder",
            config->run.folder, file ? file : config->origin);
    return diagnostic_add(said, DIAGNOSTIC_NOTE,
                          "'%.200s' has no run.json, which says of which run file it is: taken to be that of "
                          "'%.250s', which names the folder",
                          config->run.folder, file ? file : config->origin);
}

/* The record is judged before the folder is: what cannot be read may be another's run, and is left alone. */
int run_record_check(const struct config *config, struct diagnostics *said, struct err *err) {
    struct err why;
    json_t *record = read_record(config->run.folder, &why);
    char *folder = realpath(config->run.folder, NULL), *file = realpath(config->origin, NULL);
    int status = why.text[0] ? err_set(err, "%s", why.text) : 0;
    if (record && folder) {
        status = check_file(config, record, folder, file, said, err);
        tell_move(record, config->run.folder, folder, said);
    } else if (folder && status == 0) {
        status = without_record(config, folder, file, said, err);
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

/* make_id - of a run: by it a copy of the folder is told from one that was moved. */
static void make_id(char id[ID_ROOM]) {
    uint64_t random = 0;
    CHECK(getrandom(&random, sizeof random, 0) == sizeof random, "the system gives no random numbers");
    snprintf(id, ID_ROOM, "%016llx", (unsigned long long)random);
}

/* The id stays for as long as the folder does; all else is of the newest start. */
int run_record_write(const struct config *config, const char *from, struct err *err) {
    char id[ID_ROOM];
    struct err why;
    json_t *record = read_record(config->run.folder, &why);
    if (why.text[0])
        return err_set(err, "%s", why.text);
    char *folder = realpath(config->run.folder, NULL), *file = realpath(config->origin, NULL);
    if (!record)
        record = json_object();
    if (!text_of(record, "id")[0]) {
        make_id(id);
        put_text(record, "id", id);
    }
    put_text(record, "format", FORMAT);
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

char *run_record_id(const char *run_folder) {
    struct err why;
    json_t *record = read_record(run_folder, &why);
    const char *id = text_of(record, "id");
    char *copy = id[0] ? xstrdup(id) : NULL;
    json_decref(record);
    return copy;
}
