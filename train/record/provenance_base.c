/* provenance_base.c - which model a run started from: its files and their SHA-256, the same as sha256sum
 * prints and model hubs list.  A file is one rank's work, for SHA-256 cannot be split; large models come in
 * many files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "checkpoints/hub_name.h"
#include "checkpoints/identity.h"
#include "data/file.h"
#include "data/sha256.h"
#include "kernels/units.h"
#include "train/record/provenance.h"

enum { HASH_WORDS = 4, MAX_EARLIER_BYTES = 8 * MIB, MAX_EARLIER_DEPTH = 100 };

/* The files and their digests, HASH_WORDS numbers each, so that ranks can be summed up. */
struct base_files {
    char **paths;
    int count;
    int64_t *sizes, *hashes;
};

/* last_part - of a path: a file's name. */
static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* put_hash, get_hash - 64 hexadecimal digits as four numbers, and back. */
static void put_hash(int64_t *words, const char *hex) {
    for (int i = 0; i < HASH_WORDS; i++) {
        char part[17];
        snprintf(part, sizeof part, "%.16s", hex + 16 * i);
        words[i] = (int64_t)strtoull(part, NULL, 16);
    }
}

static const char *get_hash(const int64_t *words, char hex[SHA256_HEX_ROOM]) {
    for (int i = 0; i < HASH_WORDS; i++)
        snprintf(hex + 16 * i, 17, "%016llx", (unsigned long long)words[i]);
    return hex;
}

/* hash_file - as the weights are on the disk, header and all: what sha256sum would say. */
static int hash_file(const char *path, int64_t size_bytes, int64_t *words, struct err *err) {
    char hex[SHA256_HEX_ROOM];
    int status = file_sha256(path, size_bytes, hex, err);
    if (status == 0)
        put_hash(words, hex);
    return status;
}

/* hash_share - the sizes of all files, and the hashes of every num_ranks-th from `rank` on; the others' words are zero, so that
 * a sum brings all of them together. */
static int hash_share(struct base_files *files, int rank, int num_ranks, struct err *err) {
    int status = 0;
    files->sizes = xcalloc((size_t)files->count + 1, sizeof *files->sizes);
    files->hashes = xcalloc((size_t)files->count * HASH_WORDS + 1, sizeof *files->hashes);
    for (int i = 0; i < files->count && status == 0; i++) {
        files->sizes[i] = file_size(files->paths[i], err);
        if (files->sizes[i] < 0)
            status = -1;
        else if (i % num_ranks == rank)
            status = hash_file(files->paths[i], files->sizes[i], &files->hashes[i * HASH_WORDS], err);
    }
    return status;
}

static bool hash_files(struct base_files *files, struct comm *comm) {
    struct err err = {""};
    int status = hash_share(files, comm_rank(comm), comm_num_ranks(comm), &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    comm_sum_i64(comm, files->hashes, (int64_t)files->count * HASH_WORDS);
    return true;
}

/* whole_hash - of one file its own; of several that of the list, as `sha256sum *.safetensors | sha256sum`
 * gives it. */
static void whole_hash(const struct base_files *files, char hex[SHA256_HEX_ROOM]) {
    char one[SHA256_HEX_ROOM];
    struct sha256 sha;
    sha256_init(&sha);
    for (int i = 0; i < files->count; i++) {
        char *line =
            xasprintf("%s  %s\n", get_hash(&files->hashes[i * HASH_WORDS], one), last_part(files->paths[i]));
        sha256_update(&sha, line, strlen(line));
        free(line);
    }
    sha256_finish(&sha, hex);
    if (files->count == 1)
        get_hash(files->hashes, hex);
}

static json_t *files_json(const struct base_files *files) {
    char hex[SHA256_HEX_ROOM];
    json_t *list = json_array();
    for (int i = 0; i < files->count; i++)
        json_array_append_new(list, json_pack("{s:o, s:I, s:s}", "name",
                                              provenance_string(last_part(files->paths[i])), "bytes",
                                              (json_int_t)files->sizes[i], "sha256",
                                              get_hash(&files->hashes[i * HASH_WORDS], hex)));
    return list;
}

char *provenance_repository(const char *path) {
    static const char mark[] = "models--";
    const char *at = strstr(path, mark);
    if (!at || (at != path && at[-1] != '/'))
        return NULL;
    at += strlen(mark);
    char *name = xstrndup(at, strcspn(at, "/")), *between = strstr(name, "--");
    if (between) {
        *between = '/';
        memmove(between + 1, between + 2, strlen(between + 2) + 1);
    }
    if (between && hub_is_name(name))
        return name;
    free(name);
    return NULL;
}

/* base_name - the last part of a path that says something: not the revision folder of the Hub's cache. */
static char *base_name(const char *path) {
    char *repository = provenance_repository(path);
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    char *trimmed = xstrndup(path, bytes), *name = xstrdup(last_part(repository ? repository : trimmed));
    free(trimmed);
    free(repository);
    return name;
}

/* depth_of - of a tree: a model trained from a model trained from a model carries all their provenance. */
static int depth_of(const json_t *value) {
    int deepest = 0;
    size_t i;
    const char *key;
    json_t *member;
    json_array_foreach(value, i, member) {
        int depth = depth_of(member);
        deepest = depth > deepest ? depth : deepest;
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member) {
        int depth = depth_of(member);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

/* earlier_provenance - a base model that was trained here tells what it was made of; one that tells nonsense
 * is not believed, and one that tells too much would make each of our checkpoints as large. */
static json_t *earlier_provenance(const char *folder) {
    char *path = xasprintf("%s/provenance.json", folder);
    struct err why = {""};
    int64_t size_bytes = path_exists(path) ? file_size(path, &why) : -1;
    if (size_bytes >= MAX_EARLIER_BYTES)
        err_set(&why, "'%s' has %lld bytes, at most %d are read", path, (long long)size_bytes,
                MAX_EARLIER_BYTES);
    bool is_small = size_bytes >= 0 && size_bytes < MAX_EARLIER_BYTES;
    json_t *earlier = is_small ? provenance_load(folder, &why) : NULL;
    if (earlier && depth_of(earlier) > MAX_EARLIER_DEPTH) {
        err_set(&why, "'%s' nests deeper than %d", path, MAX_EARLIER_DEPTH);
        json_decref(earlier);
        earlier = NULL;
    }
    if (!earlier && path_exists(path))
        warn("the provenance of the base model is left out: %s", why.text);
    free(path);
    json_object_del(earlier, "config"); /* of another run: only its outcome matters here */
    return earlier;
}

/* base_json - the root's; the licence is what the model's own card or header states, unchecked. */
static json_t *base_json(const struct base_files *files, const struct weights *source, const char *path) {
    char hex[SHA256_HEX_ROOM], *name = base_name(path), *repository = provenance_repository(path);
    char *licence = weights_licence(source);
    const char *folder = weights_folder(source);
    json_t *base = json_object();
    whole_hash(files, hex);
    json_object_set_new(base, "path", provenance_string(path));
    json_object_set_new(base, "name", provenance_string(name));
    json_object_set_new(base, "repository", repository ? json_string(repository) : json_null());
    json_object_set_new(base, "model_type", provenance_string(weights_config(source)->model_type));
    json_object_set_new(base, "format", json_string(folder ? "safetensors" : "gguf"));
    json_object_set_new(base, "licence", licence ? provenance_string(licence) : json_null());
    json_object_set_new(base, "sha256", json_string(hex));
    json_object_set_new(base, "files", files_json(files));
    json_object_set_new(base, "config", identity_config(weights_config(source)));
    json_t *earlier = folder ? earlier_provenance(folder) : NULL;
    if (earlier)
        json_object_set_new(base, "provenance", earlier);
    free(licence);
    free(repository);
    free(name);
    return base;
}

static void release(struct base_files *files) {
    for (int i = 0; i < files->count; i++)
        free(files->paths[i]);
    free(files->paths);
    free(files->sizes);
    free(files->hashes);
}

bool provenance_base(json_t **base, struct comm *comm, const struct weights *source, const char *path) {
    struct base_files files = {0};
    *base = json_null();
    if (!source || !path)
        return true;
    files.count = weights_files(source, &files.paths);
    bool done = hash_files(&files, comm);
    if (done && comm_is_root(comm))
        *base = base_json(&files, source, path);
    release(&files);
    return done;
}

int provenance_sha256(const struct weights *source, char hex[SHA256_HEX_ROOM], struct err *err) {
    struct base_files files = {0};
    files.count = weights_files(source, &files.paths);
    int status = hash_share(&files, 0, 1, err);
    if (status == 0)
        whole_hash(&files, hex);
    release(&files);
    return status;
}
