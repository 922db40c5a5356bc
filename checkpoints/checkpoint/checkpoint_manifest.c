/* checkpoint_manifest.c - manifest.json: every file of a checkpoint with its size and the XXH3-64 of each
 * 8 MiB block.  Blocks, so that ranks share the work and a fault is named by its bytes. */
#include "checkpoints/checkpoint/checkpoint_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "kernels/units.h"

enum { MAX_MANIFEST_BYTES = 256 * MIB, MAX_FILES = 65536 };

/* blocks_of - the last one may be short; an empty file has none. */
static int64_t blocks_of(int64_t size_bytes) {
    return size_bytes / CHECKPOINT_BLOCK_BYTES + (size_bytes % CHECKPOINT_BLOCK_BYTES != 0);
}

struct manifest_file *manifest_add(struct manifest *manifest, const char *name, int64_t size_bytes) {
    manifest->files = xrealloc(manifest->files, (size_t)(manifest->num_files + 1) * sizeof *manifest->files);
    struct manifest_file *file = &manifest->files[manifest->num_files++];
    *file = (struct manifest_file){
        .name = xstrdup(name), .size_bytes = size_bytes, .num_blocks = blocks_of(size_bytes)};
    return file;
}

void manifest_free(struct manifest *manifest) {
    for (int i = 0; i < manifest->num_files; i++) {
        free(manifest->files[i].name);
        free(manifest->files[i].hashes);
    }
    free(manifest->files);
    *manifest = (struct manifest){0};
}

int manifest_hash_file(const char *folder, const struct manifest_file *file, int64_t *block, int rank,
                       int num_ranks, uint64_t *hashes, struct err *err) {
    int status = 0;
    void *bytes = xmalloc(CHECKPOINT_BLOCK_BYTES);
    char *path = xasprintf("%s/%s", folder, file->name);
    int fd = file_open_read(path, NULL, err);
    if (fd < 0) {
        status = -1;
        goto done;
    }
    /* Round robin over the ranks, so that all read at the same time and each about as much. */
    for (int64_t i = 0; i < file->num_blocks && status == 0; i++) {
        if ((*block)++ % num_ranks != rank)
            continue;
        int64_t first = i * CHECKPOINT_BLOCK_BYTES, left = file->size_bytes - first;
        size_t piece = left < CHECKPOINT_BLOCK_BYTES ? (size_t)left : CHECKPOINT_BLOCK_BYTES;
        status = file_read_at(fd, path, bytes, piece, first, err);
        if (status == 0)
            hashes[i] = XXH3_64bits(bytes, piece);
    }
    close(fd);
done:
    free(path);
    free(bytes);
    return status;
}

/* has_file - a checkpoint has tens of files. */
static bool has_file(const struct manifest *manifest, const char *name) {
    for (int i = 0; i < manifest->num_files; i++)
        if (strcmp(manifest->files[i].name, name) == 0)
            return true;
    return false;
}

/* add_one - hash a small file, unless the manifest has it or it is none. */
static int add_one(struct manifest *manifest, const char *folder, const char *name, struct err *err) {
    struct stat facts;
    char *path = xasprintf("%s/%s", folder, name);
    bool regular = lstat(path, &facts) == 0 && S_ISREG(facts.st_mode);
    free(path);
    if (!regular || has_file(manifest, name) || strcmp(name, "manifest.json") == 0)
        return 0;
    int64_t block = 0;
    struct manifest_file *file = manifest_add(manifest, name, facts.st_size);
    file->hashes = xcalloc((size_t)file->num_blocks, sizeof *file->hashes);
    return manifest_hash_file(folder, file, &block, 0, 1, file->hashes, err);
}

/* Folders inside of a checkpoint: the state of the training, and the templates beside the model's own. */
static const char *const inner_folders[] = {"state/", "additional_chat_templates/"};
enum { NUM_INNER = sizeof inner_folders / sizeof *inner_folders };

/* add_folder - the files of folder/below ("", or one of the above), in the order of their names. */
static int add_folder(struct manifest *manifest, const char *folder, const char *below, struct err *err) {
    struct dirent **entries;
    int status = 0;
    char *path = xasprintf("%s/%s", folder, below);
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0 && errno != ENOENT)
        status = err_set(err, "cannot list '%s': %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char *name = xasprintf("%s%s", below, entries[i]->d_name);
        if (status == 0)
            status = add_one(manifest, folder, name, err);
        free(name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    free(path);
    return status;
}

/* Whatever is in the folder is covered, also files that a later version adds. */
int manifest_add_small(struct manifest *manifest, const char *folder, struct err *err) {
    int status = add_folder(manifest, folder, "", err);
    for (int i = 0; i < NUM_INNER && status == 0; i++)
        status = add_folder(manifest, folder, inner_folders[i], err);
    return status;
}

/* From content alone, and the parent's id: two runs that reach the same step on different ways do not share an id, and a
 * copy of a checkpoint keeps it. */
void manifest_make_id(struct manifest *manifest) {
    XXH3_state_t *state = XXH3_createState();
    CHECK(state && XXH3_64bits_reset(state) == XXH_OK, "out of memory while hashing");
    XXH3_64bits_update(state, &manifest->step, sizeof manifest->step);
    XXH3_64bits_update(state, manifest->parent.id, strlen(manifest->parent.id));
    for (int i = 0; i < manifest->num_files; i++)
        XXH3_64bits_update(state, manifest->files[i].hashes,
                           (size_t)manifest->files[i].num_blocks * sizeof *manifest->files[i].hashes);
    snprintf(manifest->id, sizeof manifest->id, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(state));
    XXH3_freeState(state);
}

static json_t *parent_json(const struct checkpoint_id *parent) {
    return parent->id[0] ? json_pack("{s:I, s:s}", "step", (json_int_t)parent->step, "id", parent->id)
                         : json_null();
}

/* The last file that is written: a folder with a manifest is a checkpoint whose files were all there. */
int manifest_write(const struct manifest *manifest, const char *folder, struct err *err) {
    json_t *files = json_array();
    for (int i = 0; i < manifest->num_files; i++) {
        const struct manifest_file *file = &manifest->files[i];
        json_t *hashes = json_array();
        for (int64_t block = 0; block < file->num_blocks; block++)
            json_array_append_new(hashes, json_sprintf("%016" PRIx64, file->hashes[block]));
        json_array_append_new(files, json_pack("{s:s, s:I, s:o}", "name", file->name, "bytes",
                                               (json_int_t)file->size_bytes, "xxh3", hashes));
    }
    json_t *root = json_pack("{s:s, s:s, s:I, s:s, s:o, s:i, s:o}", "format", "atelier-checkpoint-1",
                             "program", "atelier " ATELIER_VERSION, "step", (json_int_t)manifest->step, "id",
                             manifest->id, "parent", parent_json(&manifest->parent), "block_bytes",
                             (int)CHECKPOINT_BLOCK_BYTES, "files", files);
    char *text = json_dumps(root, JSON_INDENT(1));
    CHECK(text, "out of memory while writing a manifest");
    char *path = xasprintf("%s/manifest.json", folder);
    int status = file_replace(path, text, strlen(text), err);
    free(path);
    free(text);
    json_decref(root);
    return status;
}

/* good_name - "file", "state/file" and the like: a manifest must not lead elsewhere. */
static bool good_name(const char *name) {
    for (int i = 0; i < NUM_INNER; i++)
        if (strncmp(name, inner_folders[i], strlen(inner_folders[i])) == 0) {
            name += strlen(inner_folders[i]);
            break;
        }
    return name[0] && name[0] != '.' && !strchr(name, '/');
}

/* read_hashes - as many as the size needs: a manifest may be damaged like any other file. */
static int read_hashes(struct manifest_file *file, const json_t *hashes, struct err *err) {
    if ((int64_t)json_array_size(hashes) != file->num_blocks)
        return err_set(err, "file '%.200s' of %lld bytes has %zu checksums", file->name,
                       (long long)file->size_bytes, json_array_size(hashes));
    file->hashes = xcalloc((size_t)file->num_blocks, sizeof *file->hashes);
    for (int64_t i = 0; i < file->num_blocks; i++) {
        const char *text = json_string_value(json_array_get(hashes, (size_t)i));
        if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
            return err_set(err, "file '%.200s': checksum %lld is not 16 hexadecimal digits", file->name,
                           (long long)i);
        file->hashes[i] = strtoull(text, NULL, 16);
    }
    return 0;
}

/* read_file - one entry of "files". */
static int read_file(struct manifest *manifest, const json_t *entry, struct err *err) {
    const char *name;
    int64_t size_bytes;
    json_t *hashes;
    if (json_get_string(entry, "name", &name, err) != 0 ||
        json_get_int(entry, "bytes", &size_bytes, err) != 0 ||
        json_get_array(entry, "xxh3", &hashes, err) != 0)
        return -1;
    if (!good_name(name) || size_bytes < 0 || has_file(manifest, name))
        return err_set(err, "file '%.200s' of %lld bytes is listed twice or is not a file of a checkpoint",
                       name, (long long)size_bytes);
    return read_hashes(manifest_add(manifest, name, size_bytes), hashes, err);
}

/* read_id - 16 hexadecimal digits, or "" where the member is absent. */
static int read_id(const json_t *object, char id[CHECKPOINT_ID_ROOM], struct err *err) {
    const char *text;
    if (json_get_string_or(object, "id", "", &text, err) != 0)
        return -1;
    if (text[0] &&
        (strlen(text) != CHECKPOINT_ID_ROOM - 1 || strspn(text, "0123456789abcdef") != strlen(text)))
        return err_set(err, "id '%.40s' is not 16 hexadecimal digits", text);
    memcpy(id, text, strlen(text) + 1);
    return 0;
}

/* read_ids - absent in manifests of older versions. */
static int read_ids(struct manifest *manifest, const json_t *root, struct err *err) {
    const json_t *parent = json_find(root, "parent");
    if (read_id(root, manifest->id, err) != 0)
        return -1;
    if (!parent)
        return 0;
    return json_get_int(parent, "step", &manifest->parent.step, err) == 0
               ? read_id(parent, manifest->parent.id, err)
               : -1;
}

/* read_files - the head of the manifest, then its entries.  A later format gets a new name, not a guess. */
static int read_files(struct manifest *manifest, const json_t *root, struct err *err) {
    const char *format;
    int64_t block_bytes;
    json_t *files;
    if (json_get_string(root, "format", &format, err) != 0 ||
        json_get_int(root, "step", &manifest->step, err) != 0 || read_ids(manifest, root, err) != 0 ||
        json_get_int(root, "block_bytes", &block_bytes, err) != 0 ||
        json_get_array(root, "files", &files, err) != 0)
        return -1;
    if (strcmp(format, "atelier-checkpoint-1") != 0 || block_bytes != CHECKPOINT_BLOCK_BYTES)
        return err_set(err, "format '%.40s' with blocks of %lld bytes is not known to this version", format,
                       (long long)block_bytes);
    if (json_array_size(files) > MAX_FILES)
        return err_set(err, "%zu files, at most %d are expected", json_array_size(files), (int)MAX_FILES);
    for (size_t i = 0; i < json_array_size(files); i++)
        if (read_file(manifest, json_array_get(files, i), err) != 0)
            return -1;
    return 0;
}

int manifest_read(struct manifest *manifest, const char *folder, struct err *err) {
    *manifest = (struct manifest){0};
    char *path = xasprintf("%s/manifest.json", folder);
    json_t *root = json_load_path(path, MAX_MANIFEST_BYTES, err);
    int status = -1;
    if (root && (status = read_files(manifest, root, err)) != 0)
        err_prefix(err, "'%s'", path);
    json_decref(root);
    free(path);
    if (status != 0)
        manifest_free(manifest);
    return status;
}

/* Sizes are asked for in no time, and find what was cut off; the checksums take as long as reading everything. */
int manifest_check_sizes(const struct manifest *manifest, const char *folder, struct err *err) {
    for (int i = 0; i < manifest->num_files; i++) {
        const struct manifest_file *file = &manifest->files[i];
        char *path = xasprintf("%s/%s", folder, file->name);
        int64_t size_bytes = file_size(path, err);
        if (size_bytes >= 0 && size_bytes != file->size_bytes)
            size_bytes = err_set(err, "'%s' has %lld bytes, %lld were written: take an earlier checkpoint",
                                 path, (long long)size_bytes, (long long)file->size_bytes);
        free(path);
        if (size_bytes < 0)
            return -1;
    }
    return 0;
}

/* verify_file - this rank's blocks against what is on the disk now. */
static int verify_file(const char *folder, const struct manifest_file *file, int64_t *block, int rank,
                       int num_ranks, struct err *err) {
    uint64_t *now = xmalloc((size_t)file->num_blocks * sizeof *now);
    memcpy(now, file->hashes, (size_t)file->num_blocks * sizeof *now);
    int status = manifest_hash_file(folder, file, block, rank, num_ranks, now, err);
    for (int64_t i = 0; i < file->num_blocks && status == 0; i++) {
        int64_t first = i * CHECKPOINT_BLOCK_BYTES, end = first + CHECKPOINT_BLOCK_BYTES;
        if (now[i] != file->hashes[i])
            status = err_set(err,
                             "'%s/%s' was damaged after it was written: its bytes %lld to %lld do not match "
                             "their checksum, take an earlier checkpoint",
                             folder, file->name, (long long)first,
                             (long long)(end < file->size_bytes ? end : file->size_bytes) - 1);
    }
    free(now);
    return status;
}

/* holds_weights - of the model itself, not of the training's state. */
static bool holds_weights(const struct manifest_file *file) {
    return name_ends_with(file->name, ".safetensors") && !strchr(file->name, '/');
}

/* Which files of a checkpoint are compared with their checksums. */
enum verified { ALL_FILES, WEIGHTS_ALONE, STATE_TEXT_ALONE };

static bool is_wanted(const struct manifest_file *file, enum verified which) {
    return which == ALL_FILES || (which == WEIGHTS_ALONE && holds_weights(file)) ||
           (which == STATE_TEXT_ALONE && strcmp(file->name, "state/training.json") == 0);
}

/* verify - the files' sizes first, where all are meant: a truncated checkpoint is then refused before anything is read. */
static int verify(const char *folder, enum verified which, int rank, int num_ranks, struct err *err) {
    struct manifest manifest;
    int64_t block = 0;
    if (manifest_read(&manifest, folder, err) != 0)
        return -1;
    int status = which == ALL_FILES ? manifest_check_sizes(&manifest, folder, err) : 0;
    for (int i = 0; i < manifest.num_files && status == 0; i++)
        if (is_wanted(&manifest.files[i], which))
            status = verify_file(folder, &manifest.files[i], &block, rank, num_ranks, err);
    manifest_free(&manifest);
    return status;
}

int checkpoint_verify(const char *checkpoint_folder, int rank, int num_ranks, struct err *err) {
    return verify(checkpoint_folder, ALL_FILES, rank, num_ranks, err);
}

int checkpoint_verify_weights(const char *model_folder, int rank, int num_ranks, struct err *err) {
    if (!folder_has(model_folder, "manifest.json"))
        return 0;
    return verify(model_folder, WEIGHTS_ALONE, rank, num_ranks, err);
}

int checkpoint_verify_state_text(const char *checkpoint_folder, struct err *err) {
    return verify(checkpoint_folder, STATE_TEXT_ALONE, 0, 1, err);
}
