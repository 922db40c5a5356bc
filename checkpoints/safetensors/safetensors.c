/* safetensors.c - reading: opening a file or a set of files, looking tensors up, reading ranges as f32.
 * The header's rules are checked in safetensors_header.c; writing is safetensors_layout.c.
 *
 * Files stay open and, but for st_map, unmapped: a rank that owns a thousandth of a model reads a thousandth of the bytes. */
#include "checkpoints/safetensors/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "checkpoints/safetensors/safetensors_header.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "kernels/half.h"
#include "kernels/units.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian, and so is this code");

enum {
    MAX_FILES = 4096,
    MAX_INDEX_BYTES = 256 * MIB,
    CONVERT_COUNT = 512 << 10 /* elements converted at a time: 1 MiB reads suit parallel file systems */
};

struct st_file {
    char *path;
    int fd;
    int64_t data_start;    /* first byte after the header */
    const uint8_t *mapped; /* all of it, once st_map was called */
    size_t mapped_bytes;
};

struct st_files {
    struct st_file *files;
    int num_files;
    struct st_tensor *tensors; /* sorted by name */
    int64_t num_tensors;
};

/* read_header - its text, malloc'ed, and what the file holds after it. */
static char *read_header(const struct st_file *file, uint64_t *length_bytes, int64_t *data_bytes,
                         struct err *err) {
    struct stat facts;
    uint64_t length = 0;
    if (fstat(file->fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        err_set(err, "cannot read '%s': not a regular file", file->path);
        return NULL;
    }
    if (facts.st_size < 8) {
        err_set(err, "cannot read '%s': %lld bytes, too short for a safetensors file", file->path,
                (long long)facts.st_size);
        return NULL;
    }
    if (file_read_at(file->fd, file->path, &length, sizeof length, 0, err) != 0)
        return NULL;
    if (length > ST_MAX_HEADER_BYTES) {
        err_set(
            err,
            "cannot read '%s': its header says %llu bytes, the format allows %d; it is not a safetensors file",
            file->path, (unsigned long long)length, ST_MAX_HEADER_BYTES);
        return NULL;
    }
    if ((int64_t)length > (int64_t)facts.st_size - 8) {
        err_set(err, "cannot read '%s': its header of %llu bytes is larger than the file of %lld", file->path,
                (unsigned long long)length, (long long)facts.st_size);
        return NULL;
    }
    char *text = xmalloc(length);
    if (file_read_at(file->fd, file->path, text, length, 8, err) != 0) {
        free(text);
        return NULL;
    }
    *length_bytes = length;
    *data_bytes = (int64_t)facts.st_size - 8 - (int64_t)length;
    return text;
}

/* append_tensors - takes the names over. */
static void append_tensors(struct st_files *set, struct st_tensor *tensors, int64_t count, int file) {
    set->tensors = xrealloc(set->tensors, (size_t)(set->num_tensors + count) * sizeof *tensors);
    for (int64_t i = 0; i < count; i++) {
        tensors[i].file = file;
        set->tensors[set->num_tensors++] = tensors[i];
    }
    free(tensors);
}

/* add_file - open one file and take its tensors in.  On failure the set is left for st_close. */
static int add_file(struct st_files *set, const char *path, struct err *err) {
    struct st_tensor *tensors;
    uint64_t header_bytes;
    int64_t data_bytes;
    int fd = file_open_read(path, NULL, err);
    if (fd < 0)
        return -1;
    set->files = xrealloc(set->files, (size_t)(set->num_files + 1) * sizeof *set->files);
    struct st_file *file = &set->files[set->num_files++];
    *file = (struct st_file){.path = xstrdup(path), .fd = fd};
    char *text =
        file_refuse_pointer(fd, path, err) == 0 ? read_header(file, &header_bytes, &data_bytes, err) : NULL;
    if (!text)
        return -1;
    file->data_start = 8 + (int64_t)header_bytes;
    int64_t count = st_header_parse(text, header_bytes, data_bytes, path, &tensors, err);
    free(text);
    if (count < 0)
        return -1;
    append_tensors(set, tensors, count, set->num_files - 1);
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct st_tensor *)a)->name, ((const struct st_tensor *)b)->name);
}

/* sort_names - for st_find; one name in two files would make the model depend on luck. */
static int sort_names(struct st_files *set, struct err *err) {
    if (set->num_tensors > 0)
        qsort(set->tensors, (size_t)set->num_tensors, sizeof *set->tensors, by_name);
    for (int64_t i = 1; i < set->num_tensors; i++) {
        const struct st_tensor *a = &set->tensors[i - 1], *b = &set->tensors[i];
        if (strcmp(a->name, b->name) == 0)
            return err_set(err, "tensor '%.200s' is in '%s' and in '%s'", a->name, set->files[a->file].path,
                           set->files[b->file].path);
    }
    return 0;
}

/* find_file - among those opened; a set has tens of files, a list is enough. */
static int find_file(const struct st_files *set, const char *path) {
    for (int i = 0; i < set->num_files; i++)
        if (strcmp(set->files[i].path, path) == 0)
            return i;
    return -1;
}

/* add_indexed_files - every file that the index names, once.  A name that leaves the folder is refused. */
static int add_indexed_files(struct st_files *set, const char *folder, json_t *map, struct err *err) {
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) {
        const char *file = json_string_value(value);
        if (!file || !file[0] || file[0] == '.' || strchr(file, '/') ||
            strlen(file) != json_string_length(value))
            return err_set(err, "tensor '%.200s' is not mapped to a file name of the same folder", name);
        char *path = xasprintf("%s/%s", folder, file);
        int status = 0;
        if (find_file(set, path) < 0)
            status = set->num_files < MAX_FILES
                         ? add_file(set, path, err)
                         : err_set(err, "more than %d files are named", (int)MAX_FILES);
        free(path);
        if (status != 0)
            return -1;
    }
    return 0;
}

/* check_index - each name is in the file that the index says.  The sorted names are needed. */
static int check_index(const struct st_files *set, json_t *map, struct err *err) {
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) {
        int64_t index = st_find(set, name);
        const char *path = index < 0 ? NULL : set->files[set->tensors[index].file].path;
        if (!path || strcmp(strrchr(path, '/') + 1, json_string_value(value)) != 0)
            return err_set(err, "tensor '%.200s' is not in '%.200s'", name, json_string_value(value));
    }
    return 0;
}

/* open_index - the index is checked against the files in both directions that matter: no name twice, and each
 * name where it is said to be. */
static int open_index(struct st_files *set, const char *folder, const char *index_path, struct err *err) {
    json_t *map;
    json_t *root = json_load_path(index_path, MAX_INDEX_BYTES, err);
    if (!root)
        return -1;
    int status = json_get_object(root, "weight_map", &map, err) == 0 &&
                         add_indexed_files(set, folder, map, err) == 0 && sort_names(set, err) == 0 &&
                         check_index(set, map, err) == 0
                     ? 0
                     : err_prefix(err, "index '%s'", index_path);
    json_decref(root);
    return status;
}

/* fail_absent - a folder of older files, which are programs for Python's pickle and are not read, is told the way out.  -1. */
static int fail_absent(const char *folder, const char *stem, struct err *err) {
    static const char *const older[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                        "adapter_model.bin"};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof older / sizeof older[0] && !found; i++) {
        char *path = xasprintf("%s/%s", folder, older[i]);
        found = path_exists(path) ? older[i] : NULL;
        free(path);
    }
    err_set(err, "cannot open '%s': it holds neither %s.safetensors nor %s.safetensors.index.json", folder,
            stem, stem);
    if (!found)
        return -1;
    char *why = xstrdup(err->text);
    err_set(err,
            "%s; %s is not read, for it may run any program: load it with transformers (or PEFT), and "
            "save_pretrained('FOLDER') writes safetensors",
            why, found);
    free(why);
    return -1;
}

struct st_files *st_open_stem(const char *folder, const char *stem, struct err *err) {
    struct st_files *set = xcalloc(1, sizeof *set);
    char *single = xasprintf("%s/%s.safetensors", folder, stem);
    char *index = xasprintf("%s/%s.safetensors.index.json", folder, stem);
    int status;
    /* A whole file wins over an index beside it, as in transformers. */
    if (path_exists(single))
        status = add_file(set, single, err) == 0 ? sort_names(set, err) : -1;
    else if (path_exists(index))
        status = open_index(set, folder, index, err);
    else
        status = fail_absent(folder, stem, err);
    free(single);
    free(index);
    if (status == 0)
        return set;
    st_close(set);
    return NULL;
}

struct st_files *st_open(const char *path, struct err *err) {
    struct stat facts;
    if (stat(path, &facts) == 0 && S_ISDIR(facts.st_mode))
        return st_open_stem(path, "model", err);
    struct st_files *set = xcalloc(1, sizeof *set);
    if (add_file(set, path, err) == 0 && sort_names(set, err) == 0)
        return set;
    st_close(set);
    return NULL;
}

void st_close(struct st_files *set) {
    if (!set)
        return;
    for (int i = 0; i < set->num_files; i++) {
        file_unmap(set->files[i].mapped, set->files[i].mapped_bytes);
        close(set->files[i].fd);
        free(set->files[i].path);
    }
    st_tensors_free(set->tensors, set->num_tensors);
    free(set->files);
    free(set);
}

int64_t st_num_tensors(const struct st_files *set) {
    return set->num_tensors;
}

struct st_entry st_entry(const struct st_files *set, int64_t index) {
    CHECK(index >= 0 && index < set->num_tensors, "tensor %lld of %lld", (long long)index,
          (long long)set->num_tensors);
    const struct st_tensor *tensor = &set->tensors[index];
    struct st_entry entry = {.name = tensor->name,
                             .dtype_text = tensor->dtype_text,
                             .dtype = tensor->dtype,
                             .ndim = tensor->ndim,
                             .count = tensor->count,
                             .shape = tensor->shape,
                             .length_bytes = tensor->end - tensor->begin,
                             .file = set->files[tensor->file].path};
    memcpy(entry.dims, tensor->dims, sizeof entry.dims);
    return entry;
}

int64_t st_find(const struct st_files *set, const char *name) {
    int64_t low = 0, high = set->num_tensors;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(set->tensors[middle].name, name);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

int64_t st_find_beside(const struct st_files *set, int64_t index, const char *ending) {
    char *name = xasprintf("%s%s", st_entry(set, index).name, ending);
    int64_t beside = st_find(set, name);
    free(name);
    return beside;
}

/* read_halves - bf16 or f16 through a buffer of its own: the file's bytes are half as many. */
static int read_halves(const struct st_file *file, enum dtype dtype, int64_t offset, int64_t count,
                       float *out, struct err *err) {
    int64_t room = count < CONVERT_COUNT ? count : CONVERT_COUNT;
    uint16_t *halves = xmalloc((size_t)room * sizeof *halves);
    int status = 0;
    for (int64_t done = 0; done < count && status == 0; done += room) {
        int64_t piece = count - done < room ? count - done : room;
        status = file_read_at(file->fd, file->path, halves, (size_t)piece * sizeof *halves,
                              offset + done * (int64_t)sizeof *halves, err);
        if (status != 0)
            break;
        if (dtype == DTYPE_BF16)
            for (int64_t i = 0; i < piece; i++)
                out[done + i] = f32_from_bf16(halves[i]);
        else
            for (int64_t i = 0; i < piece; i++)
                out[done + i] = f32_from_f16(halves[i]);
    }
    free(halves);
    return status;
}

int st_read_f32(const struct st_files *set, int64_t index, int64_t first, int64_t count, float *out,
                struct err *err) {
    CHECK(index >= 0 && index < set->num_tensors, "tensor %lld of %lld", (long long)index,
          (long long)set->num_tensors);
    const struct st_tensor *tensor = &set->tensors[index];
    const struct st_file *file = &set->files[tensor->file];
    CHECK(first >= 0 && count >= 0 && count <= tensor->count && first <= tensor->count - count,
          "elements %lld + %lld of '%s', which has %lld", (long long)first, (long long)count, tensor->name,
          (long long)tensor->count);
    if (tensor->dtype != DTYPE_F32 && tensor->dtype != DTYPE_BF16 && tensor->dtype != DTYPE_F16)
        return err_set(err, "tensor '%.200s' of '%s' is %s: only F32, BF16 and F16 weights can be read",
                       tensor->name, file->path, tensor->dtype_text);
    int64_t offset = file->data_start + tensor->begin + first * (int64_t)dtype_bytes(tensor->dtype);
    if (tensor->dtype == DTYPE_F32)
        return file_read_at(file->fd, file->path, out, (size_t)count * sizeof *out, offset, err);
    return read_halves(file, tensor->dtype, offset, count, out, err);
}

int st_read_bytes(const struct st_files *set, int64_t index, int64_t first, int64_t count, void *out,
                  struct err *err) {
    CHECK(index >= 0 && index < set->num_tensors, "tensor %lld of %lld", (long long)index,
          (long long)set->num_tensors);
    const struct st_tensor *tensor = &set->tensors[index];
    const struct st_file *file = &set->files[tensor->file];
    int64_t size_bytes = tensor->end - tensor->begin;
    CHECK(first >= 0 && count >= 0 && count <= size_bytes && first <= size_bytes - count,
          "bytes %lld + %lld of '%s', which has %lld", (long long)first, (long long)count, tensor->name,
          (long long)size_bytes);
    return file_read_at(file->fd, file->path, out, (size_t)count, file->data_start + tensor->begin + first,
                        err);
}

const uint8_t *st_map(struct st_files *set, int64_t index) {
    CHECK(index >= 0 && index < set->num_tensors, "tensor %lld of %lld", (long long)index,
          (long long)set->num_tensors);
    const struct st_tensor *tensor = &set->tensors[index];
    struct st_file *file = &set->files[tensor->file];
    if (!file->mapped)
        file->mapped = file_map(file->fd, &file->mapped_bytes);
    bool is_whole = file->mapped && (size_t)(file->data_start + tensor->end) <= file->mapped_bytes;
    return is_whole ? file->mapped + file->data_start + tensor->begin : NULL;
}
