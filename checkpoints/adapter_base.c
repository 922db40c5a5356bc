/* adapter_base.c - what a checkpoint of an adapter says of its base, held against the files that are there. */
#include "checkpoints/adapter_base.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/files.h"
#include "checkpoints/identity.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "data/sha256.h"
#include "kernels/units.h"

enum { MAX_JSON_BYTES = 64 * MIB };

/* load - folder/name, or NULL: what is not there or damaged says nothing. */
static json_t *load(const char *folder, const char *name) {
    char *path = xasprintf("%s/%s", folder, name);
    json_t *root = json_load_path(path, MAX_JSON_BYTES, NULL);
    free(path);
    return root;
}

/* find_file - the entry of a list of files with that name; borrowed, or NULL. */
static const json_t *find_file(const json_t *list, const char *name) {
    size_t i;
    json_t *file;
    json_array_foreach(list, i, file) {
        const char *own = json_string_value(json_object_get(file, "name"));
        if (own && strcmp(own, name) == 0)
            return file;
    }
    return NULL;
}

/* is_untouched - size and time of a file are those of when the checkpoint was written. */
static bool is_untouched(const json_t *file, const char *path) {
    struct stat facts;
    if (!file || stat(path, &facts) != 0)
        return false;
    json_int_t mtime_ns = (json_int_t)facts.st_mtim.tv_sec * 1000000000 + facts.st_mtim.tv_nsec;
    return json_integer_value(json_object_get(file, "bytes")) == (json_int_t)facts.st_size &&
           json_integer_value(json_object_get(file, "mtime_ns")) == mtime_ns;
}

/* hash_file - what sha256sum would say of it. */
static int hash_file(const char *path, char hex[SHA256_HEX_ROOM], struct err *err) {
    int64_t size_bytes = file_size(path, err);
    return size_bytes < 0 ? -1 : file_sha256(path, size_bytes, hex, err);
}

/* check_file - one file of the base, then: as the training read it, of a model with so many files. */
static int check_file(const json_t *then, const json_t *times, const char *path, const char *adapter,
                      struct err *err) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    bool is_single = json_array_size(then) == 1; /* may be called otherwise by now */
    const json_t *file = is_single ? json_array_get(then, 0) : find_file(then, name);
    const char *want = json_string_value(json_object_get(file, "sha256"));
    char hex[SHA256_HEX_ROOM];
    if (want && is_untouched(find_file(times, name), path))
        return 0;
    if (want && hash_file(path, hex, err) != 0)
        return -1;
    if (want && strcmp(want, hex) == 0)
        return 0;
    return err_set(
        err,
        "'%.300s' is not the file that adapter '%.300s' was trained on (its SHA-256 is another): an adapter "
        "means nothing on another model; put the model back, or say where it is with --base",
        path, adapter);
}

/* check_files - all of the base's against the list of then. */
static int check_files(const struct weights *weights, const json_t *then, const json_t *times,
                       struct err *err) {
    char **paths;
    const char *adapter = weights_adapter_path(weights);
    int count = weights_files(weights, &paths), status = 0;
    if ((size_t)count != json_array_size(then))
        status = err_set(err, "the base of adapter '%.300s' has %d files, it was trained on one of %zu",
                         adapter, count, json_array_size(then));
    for (int i = 0; i < count; i++) {
        if (status == 0)
            status = check_file(then, times, paths[i], adapter, err);
        free(paths[i]);
    }
    free(paths);
    return status;
}

/* check_config - what the base's configuration computes. */
static int check_config(const struct weights *weights, const json_t *then, struct err *err) {
    struct err why = {""};
    if (identity_check(then, weights_config(weights), &why) == 0)
        return 0;
    return err_set(
        err,
        "the base of adapter '%.300s' has the weights that it was trained on, and another configuration: %s; put its "
        "config.json back, or say where the model is with --base",
        weights_adapter_path(weights), why.text);
}

int adapter_base_check(const struct weights *weights, struct err *err) {
    const char *folder = weights_adapter_path(weights);
    if (!folder)
        return 0;
    json_t *provenance = load(folder, "provenance.json"), *state = load(folder, "state/training.json");
    const json_t *then = json_find(provenance, "base_model/files");
    int status = json_is_array(then) ? check_files(weights, then, json_find(state, "base/files"), err) : 0;
    if (status == 0)
        status = check_config(weights, json_find(provenance, "base_model/config"), err);
    json_decref(provenance);
    json_decref(state);
    return status;
}
