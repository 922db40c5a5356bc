/* resume_base.c - the files of the base model and of the tokenizer, then and now. */
#include "train/run/resume_base.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/files.h"
#include "checkpoints/weights.h"
#include "configs/schema/config_tokens.h"
#include "data/sha256.h"
#include "train/record/provenance.h"

enum { SMALL_MAX_BYTES = 256 << 20 };

/* --- what lies there --- */

static const char *const small_files[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                          "tekken.json"};

static bool ends_in(const char *name, const char *ending) {
    size_t length = strlen(name), end = strlen(ending);
    return length >= end && strcmp(name + length - end, ending) == 0;
}

static bool is_small(const char *name) {
    for (size_t i = 0; i < sizeof small_files / sizeof *small_files; i++)
        if (strcmp(name, small_files[i]) == 0)
            return true;
    return false;
}

/* put_sha256 - of a small file; none where it cannot be read. */
static void put_sha256(json_t *file, const char *path) {
    char hex[SHA256_HEX_ROOM];
    size_t length_bytes = 0;
    struct sha256 sha;
    char *text = file_read_whole(path, SMALL_MAX_BYTES, &length_bytes, NULL);
    if (!text)
        return;
    sha256_init(&sha);
    sha256_update(&sha, text, length_bytes);
    sha256_finish(&sha, hex);
    json_object_set_new(file, "sha256", json_string(hex));
    free(text);
}

/* add_file - nothing where there is no such file. */
static void add_file(json_t *files, const char *path, const char *name) {
    struct stat facts;
    json_t *text = json_string(name); /* NULL where it is not UTF-8 */
    if (text && stat(path, &facts) == 0 && S_ISREG(facts.st_mode)) {
        json_int_t mtime_ns = (json_int_t)facts.st_mtim.tv_sec * 1000000000 + facts.st_mtim.tv_nsec;
        json_t *file = json_pack("{s:O, s:I, s:I}", "name", text, "bytes", (json_int_t)facts.st_size,
                                 "mtime_ns", mtime_ns);
        if (is_small(name))
            put_sha256(file, path);
        json_array_append_new(files, file);
    }
    json_decref(text);
}

/* wanted - scandir's filter: what a base model is made of, as far as the run reads it. */
static int wanted(const struct dirent *entry) {
    return is_small(entry->d_name) || ends_in(entry->d_name, ".safetensors");
}

/* add_folder - in the order of names, whatever that of the file system is: an earlier start's list is compared. */
static void add_folder(json_t *files, const char *folder) {
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, wanted, alphasort);
    for (int i = 0; i < count; i++) {
        char *path = xasprintf("%s/%s", folder, entries[i]->d_name);
        add_file(files, path, entries[i]->d_name);
        free(path);
        free(entries[i]);
    }
    free(entries);
}

/* Weights by size and time, which costs nothing; they are hashed only where those changed (check_weights). */
json_t *resume_base_facts(const char *path) {
    struct stat facts;
    if (!path || stat(path, &facts) != 0)
        return json_null();
    json_t *files = json_array();
    char *config = xasprintf("%s/config.json", path), *latest = xasprintf("%s/latest", path);
    if (!S_ISDIR(facts.st_mode))
        add_file(files, path, "model");
    else if (path_exists(config) || !path_exists(latest))
        add_folder(files, path);
    else
        add_file(files, latest, "latest"); /* a run that trains on has other weights every hour */
    free(latest);
    free(config);
    return json_pack("{s:o}", "files", files);
}

/* --- then and now --- */

static json_t *find_file(const json_t *facts, const char *name) {
    size_t i;
    json_t *file;
    json_array_foreach(json_object_get(facts, "files"), i, file) {
        const char *own = json_string_value(json_object_get(file, "name"));
        if (own && strcmp(own, name) == 0)
            return file;
    }
    return NULL;
}

static bool same_value(const json_t *a, const json_t *b, const char *key) {
    return json_equal(json_object_get(a, key), json_object_get(b, key)) == 1;
}

/* weights_touched - a file of weights came, went, or has another size or time than then. */
static bool weights_touched(const json_t *was, const json_t *now) {
    size_t i;
    json_t *file;
    size_t num_was = json_array_size(json_object_get(was, "files"));
    if (num_was != json_array_size(json_object_get(now, "files")))
        return true;
    json_array_foreach(json_object_get(now, "files"), i, file) {
        const char *name = json_string_value(json_object_get(file, "name"));
        const json_t *then = name ? find_file(was, name) : NULL;
        if (!then ||
            (!is_small(name) && !(same_value(then, file, "bytes") && same_value(then, file, "mtime_ns"))))
            return true;
    }
    return false;
}

/* tell_small - files that the run does not read any more, and that hold something else now. */
static void tell_small(struct resume *r, const char *path, const json_t *was, const json_t *now) {
    for (size_t i = 0; i < sizeof small_files / sizeof *small_files; i++) {
        const json_t *then = find_file(was, small_files[i]), *file = find_file(now, small_files[i]);
        if (then && !file)
            diagnostic_add(&r->said, DIAGNOSTIC_WARNING,
                           "'%.300s/%s' is gone since the run began: it keeps the one it began with", path,
                           small_files[i]);
        else if (file && !(then && same_value(then, file, "sha256")))
            diagnostic_add(&r->said, DIAGNOSTIC_WARNING, "'%.300s/%s' has changed since the run began: %s",
                           path, small_files[i],
                           r->reads_base && strcmp(small_files[i], "config.json") == 0
                               ? "the base is read anew, and as it says now"
                               : "it keeps the one it began with");
    }
}

/* is_kept_first - files that the run read when it began, and never again. */
static bool is_kept_first(const json_t *file) {
    const char *name = json_string_value(json_object_get(file, "name"));
    return name && (is_small(name) || strcmp(name, "latest") == 0);
}

static void append_files(json_t *to, const json_t *facts, bool kept_first) {
    size_t i;
    json_t *file;
    json_array_foreach(json_object_get(facts, "files"), i, file) if (is_kept_first(file) == kept_first)
        json_array_append(to, file);
}

/* keep_first - the next checkpoint says of the small files what lay there when the run began, so that each later start
 * is compared with that; of the weights, which are the same, how they lie there now. */
static void keep_first(struct resume *r, const json_t *was) {
    json_t *files = json_array();
    append_files(files, was, true);
    append_files(files, r->base, false);
    json_decref(r->base);
    r->base = json_pack("{s:o}", "files", files);
}

/* --- the tokenizer of a new model --- */

static struct resume_facts facts_of(const struct resume *r) {
    return (struct resume_facts){.state = r->state, .checkpoint = r->checkpoint, .is_branch = r->is_branch};
}

/* tokenizer_text - of a file, or of the folder that holds it; malloc'ed, or NULL. */
static char *tokenizer_text(const char *path, struct err *err) {
    struct tokenizer_files files;
    if (tokenizer_files_read(&files, path, err) != 0)
        return NULL;
    char *text = files.json;
    files.json = NULL;
    if (!text)
        err_set(err, "'%s' holds neither tokenizer.json nor tekken.json", path);
    tokenizer_files_release(&files);
    return text;
}

/* grown_text - the same with what the run file adds to it, as the checkpoints have it. */
static char *grown_text(const struct config *config, struct err *err) {
    struct tokenizer_files files = {.json = tokenizer_text(config->model.tokenizer, err),
                                    .origin = config->model.tokenizer}; /* lent */
    struct new_ids ids;
    if (files.json && config_grow_tokenizer(config, &files, 0, &ids, err) != 0) {
        free(files.json);
        files.json = NULL;
    }
    free(files.config);
    return files.json;
}

/* compare_tokenizer - both texts are there.  was, now: model.tokenizer as it was written, in quotes. */
static int compare_tokenizer(struct resume *r, bool is_same_path, const char *was, const char *now,
                             bool is_same_text, struct err *err) {
    struct resume_facts facts = facts_of(r);
    if (is_same_text && !is_same_path)
        return diagnostic_add(&r->said, DIAGNOSTIC_NOTE,
                              "model.tokenizer: %.300s is now %.300s, the same tokenizer",
                              was ? was : "nothing", now);
    if (is_same_text)
        return 0;
    if (!is_same_path)
        return resume_refuse(&facts, "model.tokenizer", was, now, err);
    return err_set(
        err,
        "model.tokenizer %.300s does not hold the tokenizer that '%.300s' was trained with, which is kept "
        "there: put it back, or choose another run.folder",
        now, r->checkpoint);
}

int resume_check_tokenizer(struct resume *r, const struct config *config, struct err *err) {
    struct resume_facts facts = facts_of(r);
    struct err why = {""};
    const char *path = config->model.tokenizer;
    if (!path)
        return 0;
    char *was = resume_value(&facts, "model.tokenizer"), *quoted = xasprintf("\"%s\"", path);
    bool is_same_path = was && strcmp(was, quoted) == 0;
    char *now =
        is_same_path && config->model.path ? NULL : grown_text(config, &why); /* a base brings its own */
    char *then = tokenizer_text(r->checkpoint, NULL);
    int status = 0;
    if (now && then)
        status = compare_tokenizer(r, is_same_path, was, quoted, strcmp(now, then) == 0, err);
    else if (!is_same_path)
        status = resume_refuse(&facts, "model.tokenizer", was, quoted, err);
    else if (!now && !config->model.path)
        diagnostic_add(
            &r->said, DIAGNOSTIC_NOTE,
            "model.tokenizer cannot be read any more (%.400s): the run goes on with the one of its checkpoint",
            why.text);
    free(then);
    free(now);
    free(quoted);
    free(was);
    return status;
}

/* --- the base model --- */

/* base_was - model.path at the checkpoint as a bare path, malloc'ed; "" for a new model. */
static char *base_was(const struct resume *r) {
    struct resume_facts facts = facts_of(r);
    char *text = resume_value(&facts, "model.path");
    size_t length = text ? strlen(text) : 0;
    if (length < 2 || strcspn(text, "\\") != length) /* quotes around it; escapes are compared as they are */
        return text ? text : xstrdup("");
    memmove(text, text + 1, length - 2);
    text[length - 2] = '\0';
    return text;
}

/* same_path - as they are written, or where both lead. */
static bool same_path(const char *a, const char *b) {
    char *x = realpath(a, NULL), *y = realpath(b, NULL);
    bool same = strcmp(a, b) == 0 || (x && y && strcmp(x, y) == 0);
    free(y);
    free(x);
    return same;
}

enum look { LOOK_NOT, LOOK_TOUCHED, LOOK_MOVED };

/* keep_earlier - of a base that is gone or cannot be read the next checkpoint says what lay there before. */
static void keep_earlier(struct resume *r) {
    json_t *was = json_find(r->state, "base");
    json_decref(r->base);
    r->base = was ? json_incref(was) : json_null();
}

/* look - root: whether the weights must be compared, and whether for another path.  Of a base that is gone, what lay
 * there then is kept for the next checkpoint. */
static enum look look(struct resume *r, const char *was_path, const char *now_path) {
    const json_t *was = json_find(r->state, "base");
    if (strcmp(now_path, was_path) != 0 && !same_path(was_path, now_path))
        return LOOK_MOVED;
    if (!now_path[0])
        return LOOK_NOT;
    if (json_is_null(r->base) && r->reads_base)
        return LOOK_NOT; /* whoever opens it says so */
    if (json_is_null(r->base)) {
        diagnostic_add(
            &r->said, DIAGNOSTIC_NOTE,
            "model.path '%.300s' is not there any more: it is not needed, the run goes on from its checkpoint",
            now_path);
        keep_earlier(r);
        return LOOK_NOT;
    }
    const json_t *latest = find_file(r->base, "latest");
    bool has_moved = latest && was && !json_equal(latest, find_file(was, "latest"));
    if (has_moved && r->reads_base)
        return LOOK_TOUCHED; /* the base under an adapter is read at each start: another checkpoint is another base */
    if (has_moved)
        diagnostic_add(
            &r->said, DIAGNOSTIC_NOTE,
            "the run '%.300s' of model.path has other checkpoints by now: this run goes on from its own",
            now_path);
    bool is_touched = !latest && (!was || weights_touched(was, r->base));
    if (was && !latest)
        tell_small(r, now_path, was, r->base);
    if (was)
        keep_first(r, was);
    return is_touched ? LOOK_TOUCHED : LOOK_NOT;
}

/* refuse_base - the weights are others, or cannot be compared. */
static int refuse_base(struct resume *r, enum look why, const char *was, const char *now, struct err *err) {
    struct resume_facts facts = facts_of(r);
    if (why == LOOK_MOVED)
        return resume_refuse(&facts, "model.path", was[0] ? was : NULL, now[0] ? now : NULL, err);
    return err_set(
        err,
        "model.path '%.300s' holds other weights than those that '%.300s' was trained from: it would be "
        "another run; put them back, or choose another run.folder to train from the new ones",
        now, r->checkpoint);
}

/* tell_moved - the same weights at another path. */
static void tell_moved(struct resume *r, const char *was, const char *now) {
    const json_t *first = json_find(r->state, "base");
    diagnostic_add(&r->said, DIAGNOSTIC_NOTE, "model.path: '%.300s' is now '%.300s', the same model", was,
                   now);
    if (!find_file(first, "config.json") || !find_file(r->base, "config.json"))
        return; /* not two folders of a model */
    tell_small(r, now, first, r->base);
    keep_first(r, first);
}

/* compare_base - root: base, as it lies there now, with the base of the checkpoint's provenance. */
static int compare_base(struct resume *r, enum look why, const char *was, const char *now, const json_t *base,
                        struct err *err) {
    json_t *earlier = provenance_load(r->checkpoint, NULL);
    const char *before = json_string_value(json_find(earlier, "base_model/sha256"));
    const char *sha256 = json_string_value(json_find(base, "sha256"));
    bool is_same = before && sha256 && strcmp(before, sha256) == 0;
    int status = 0;
    if (!before && why == LOOK_TOUCHED)
        diagnostic_add(
            &r->said, DIAGNOSTIC_NOTE,
            "whether model.path '%.300s' is still the model that the run began with cannot be told: '%.300s' "
            "keeps no checksum of it",
            now, r->checkpoint);
    else if (!is_same)
        status = refuse_base(r, why, was, now, err);
    else if (why == LOOK_MOVED)
        tell_moved(r, was, now);
    json_decref(earlier);
    return status;
}

/* open_base - the weights that are to be hashed; NULL on all ranks where one of them cannot open them. */
static struct weights *open_base(const char *path, struct comm *comm, struct err *why) {
    struct weights *weights = path[0] ? weights_open(path, why) : NULL;
    int64_t failed = !weights;
    comm_max_i64(comm, &failed, 1);
    if (failed && weights)
        weights_close(weights);
    return failed ? NULL : weights;
}

/* tell_unreadable - root: at the same path the run does not need it. */
static void tell_unreadable(struct resume *r, const struct err *why) {
    keep_earlier(r);
    diagnostic_add(&r->said, DIAGNOSTIC_WARNING,
                   "model.path cannot be read any more (%.500s): it is not needed, the run goes on from its "
                   "checkpoint",
                   why->text[0] ? why->text : "on another rank");
}

/* check_weights - what look found touched or moved: opened on all ranks, hashed, compared. */
static bool check_weights(struct resume *r, enum look why, const char *was, const char *now,
                          struct comm *comm) {
    struct err err = {""}, reason = {""};
    struct weights *weights = open_base(now, comm, &reason);
    json_t *base = NULL;
    int status = 0;
    bool is_open = weights != NULL, is_hashed = is_open && provenance_base(&base, comm, weights, now);
    if (is_open)
        weights_close(weights);
    if (comm_is_root(comm) && is_hashed)
        status = compare_base(r, why, was, now, base, &err);
    else if (comm_is_root(comm) && !is_open && r->reads_base)
        status = err_set(
            &err, "model.path cannot be read, and the base of an adapter is read at each start: %.400s",
            reason.text[0] ? reason.text : "on another rank");
    else if (comm_is_root(comm) && !is_open && why == LOOK_TOUCHED)
        tell_unreadable(r, &reason);
    else if (comm_is_root(comm) && !is_open)
        status = refuse_base(r, why, was, now, &err);
    json_decref(base);
    return (is_hashed || !is_open) && comm_all_ok(comm, status, &err);
}

/* The root looks, all hash: what it found decides for every rank whether there is anything to hash. */
bool resume_check_base(struct resume *r, const struct config *config, struct comm *comm) {
    char *was = comm_is_root(comm) ? base_was(r) : NULL;
    const char *now = config->model.path ? config->model.path : "";
    int64_t why = comm_is_root(comm) ? look(r, was, now) : LOOK_NOT;
    comm_broadcast(comm, &why, sizeof why);
    bool goes_on = why == LOOK_NOT || check_weights(r, (enum look)why, was, now, comm);
    free(was);
    return goes_on;
}
