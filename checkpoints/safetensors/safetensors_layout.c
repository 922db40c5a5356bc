/* safetensors_layout.c - writing: names, types and shapes -> files, offsets and headers, then ranges.
 *
 * The layout is a pure function of what was added, so that every rank computes the same offsets.  Order in
 * the files: descending element size, then name, as the reference writer does; every tensor is then aligned
 * to its element.  The header is padded with spaces (the format allows it) until the data starts on a page,
 * so that large writes are aligned for the disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "checkpoints/safetensors/safetensors.h"
#include "checkpoints/safetensors/safetensors_header.h"
#include "checkpoints/value_check.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "kernels/half.h"

enum {
    DATA_ALIGN_BYTES = 4096,
    CONVERT_COUNT = 512 << 10 /* elements converted at a time */
};

/* A tensor to be written, by handle. */
struct item {
    char *name;
    const char *dtype_text; /* static */
    enum dtype dtype;       /* DTYPE_COUNT: bytes of another type, see st_layout_add_stored */
    int64_t *shape;         /* [ndim] */
    int ndim;
    int64_t count; /* elements */
    int64_t length_bytes;
    int file;
    int64_t begin; /* from the start of the data */
};

/* A file to be written. */
struct out_file {
    char *name;         /* in the folder */
    char *header;       /* 8-byte length, JSON, padding */
    int64_t data_start; /* length of header */
    int64_t data_bytes;
    char *path;   /* while open */
    int fd;       /* -1: not open, or nothing was written yet */
    bool written; /* by this rank, since opened */
};

struct st_layout {
    char *stem;
    int64_t max_file_bytes;
    struct item *items;
    int64_t num_items;
    int64_t *order; /* handles in file order, once finished */
    struct out_file *files;
    int num_files;
};

struct st_layout *st_layout_create(const char *stem, int64_t max_file_bytes) {
    struct st_layout *layout = xcalloc(1, sizeof *layout);
    layout->stem = xstrdup(stem);
    layout->max_file_bytes = max_file_bytes;
    return layout;
}

/* add_item - takes copies of the name and of the shape. */
static int64_t add_item(struct st_layout *layout, struct item item, const char *name, const int64_t *shape) {
    CHECK(!layout->order, "layout '%s' is finished", layout->stem);
    layout->items = xrealloc(layout->items, (size_t)(layout->num_items + 1) * sizeof *layout->items);
    item.name = xstrdup(name);
    item.shape = xcalloc((size_t)item.ndim + 1, sizeof *item.shape);
    memcpy(item.shape, shape, (size_t)item.ndim * sizeof *shape);
    layout->items[layout->num_items] = item;
    return layout->num_items++;
}

int64_t st_layout_add(struct st_layout *layout, const char *name, struct tensor shape, enum dtype dtype) {
    shape.dtype = dtype;
    struct item item = {.dtype_text = st_dtype_text(dtype),
                        .dtype = dtype,
                        .ndim = shape.ndim,
                        .count = tensor_count(shape),
                        .length_bytes = (int64_t)tensor_bytes(shape)};
    return add_item(layout, item, name, shape.dims);
}

int64_t st_layout_add_stored(struct st_layout *layout, struct st_entry entry) {
    struct item item = {.dtype_text = entry.dtype_text,
                        .dtype = DTYPE_COUNT,
                        .ndim = entry.ndim,
                        .count = entry.count,
                        .length_bytes = entry.length_bytes};
    return add_item(layout, item, entry.name, entry.shape);
}

static void free_files(struct st_layout *layout) {
    for (int i = 0; i < layout->num_files; i++) {
        if (layout->files[i].fd >= 0)
            close(layout->files[i].fd);
        free(layout->files[i].name);
        free(layout->files[i].header);
        free(layout->files[i].path);
    }
    free(layout->files);
}

void st_layout_free(struct st_layout *layout) {
    if (!layout)
        return;
    for (int64_t i = 0; i < layout->num_items; i++) {
        free(layout->items[i].name);
        free(layout->items[i].shape);
    }
    free_files(layout);
    free(layout->items);
    free(layout->order);
    free(layout->stem);
    free(layout);
}

/* element_bytes - 0 where several elements share a byte. */
static int64_t element_bytes(const struct item *item) {
    if (item->dtype != DTYPE_COUNT)
        return (int64_t)dtype_bytes(item->dtype);
    return item->count > 0 ? item->length_bytes / item->count : 1;
}

/* by_size_then_name - wide elements first: each tensor then begins at a multiple of its element's size, with no bytes left
 * between. */
static int by_size_then_name(const void *a, const void *b, void *items_pointer) {
    const struct item *items = items_pointer;
    const struct item *x = &items[*(const int64_t *)a], *y = &items[*(const int64_t *)b];
    int64_t x_bytes = element_bytes(x), y_bytes = element_bytes(y);
    if (x_bytes != y_bytes)
        return x_bytes > y_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* place_items - walks `order`: the handles that callers hold are indices of items and must not move.  Files
 * are filled in order; a tensor larger than the limit has a file of its own. */
static void place_items(struct st_layout *layout) {
    int64_t used = 0;
    int file = 0;
    for (int64_t i = 0; i < layout->num_items; i++) {
        struct item *item = &layout->items[layout->order[i]];
        int64_t bytes = item->length_bytes;
        if (used > 0 && used + bytes > layout->max_file_bytes) {
            file++;
            used = 0;
        }
        item->file = file;
        item->begin = used;
        used += bytes;
    }
    layout->num_files = file + 1;
}

/* item_entry - {"dtype", "shape", "data_offsets"}. */
static json_t *item_entry(const struct item *item) {
    json_t *shape = json_array();
    for (int i = 0; i < item->ndim; i++)
        json_array_append_new(shape, json_integer(item->shape[i]));
    json_int_t begin = item->begin, end = item->begin + item->length_bytes;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", item->dtype_text, "shape", shape, "data_offsets", begin,
                     end);
}

/* make_header - length, JSON and padding of one file, and how much data follows. */
static void make_header(const struct st_layout *layout, int file, struct out_file *out) {
    json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    for (int64_t i = 0; i < layout->num_items; i++) {
        const struct item *item = &layout->items[layout->order[i]];
        if (item->file != file)
            continue;
        CHECK(json_object_set_new(root, item->name, item_entry(item)) == 0, "tensor name '%s'", item->name);
        out->data_bytes = item->begin + item->length_bytes;
    }
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    CHECK(text, "out of memory while writing a safetensors header");
    size_t text_bytes = strlen(text);
    size_t total = (8 + text_bytes + DATA_ALIGN_BYTES - 1) / DATA_ALIGN_BYTES * DATA_ALIGN_BYTES;
    CHECK(total <= ST_MAX_HEADER_BYTES, "a safetensors header of %zu bytes", total);
    /* The padding is part of the header, so that there is no hole in the data. */
    uint64_t length = total - 8;
    out->header = xmalloc(total);
    memset(out->header, ' ', total);
    memcpy(out->header, &length, sizeof length);
    memcpy(out->header + 8, text, text_bytes);
    out->data_start = (int64_t)total;
    free(text);
}

void st_layout_finish(struct st_layout *layout) {
    layout->order = xmalloc((size_t)layout->num_items * sizeof *layout->order);
    for (int64_t i = 0; i < layout->num_items; i++)
        layout->order[i] = i;
    if (layout->num_items > 0)
        qsort_r(layout->order, (size_t)layout->num_items, sizeof *layout->order, by_size_then_name,
                layout->items);
    for (int64_t i = 1; i < layout->num_items; i++)
        CHECK(by_size_then_name(&layout->order[i - 1], &layout->order[i], layout->items) != 0,
              "tensor '%s' was added twice", layout->items[layout->order[i]].name);
    place_items(layout);
    layout->files = xcalloc((size_t)layout->num_files, sizeof *layout->files);
    for (int i = 0; i < layout->num_files; i++) {
        struct out_file *file = &layout->files[i];
        file->fd = -1;
        file->name = layout->num_files == 1
                         ? xasprintf("%s.safetensors", layout->stem)
                         : xasprintf("%s-%05d-of-%05d.safetensors", layout->stem, i + 1, layout->num_files);
        make_header(layout, i, file);
    }
}

int st_layout_num_files(const struct st_layout *layout) {
    return layout->num_files;
}

const char *st_layout_file(const struct st_layout *layout, int file, int64_t *size_bytes) {
    CHECK(file >= 0 && file < layout->num_files, "file %d of %d", file, layout->num_files);
    *size_bytes = layout->files[file].data_start + layout->files[file].data_bytes;
    return layout->files[file].name;
}

/* index_text - of the index file, or NULL where one file holds all. */
static char *index_text(const struct st_layout *layout) {
    if (layout->num_files == 1)
        return NULL;
    json_int_t total_bytes = 0;
    json_t *map = json_object();
    for (int64_t i = 0; i < layout->num_items; i++) {
        const struct item *item = &layout->items[layout->order[i]];
        total_bytes += (json_int_t)item->length_bytes;
        json_object_set_new(map, item->name, json_string(layout->files[item->file].name));
    }
    json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", total_bytes, "weight_map", map);
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    CHECK(text, "out of memory while writing a safetensors index");
    return text;
}

/* write_header - create one file; its fsync comes with st_layout_close, after the ranges. */
static int write_header(struct out_file *file, const char *folder, struct err *err) {
    char *path = xasprintf("%s/%s", folder, file->name);
    int status = -1;
    int fd = file_create_sized(path, file->data_start + file->data_bytes, err);
    if (fd >= 0) {
        status = file_write_at(fd, path, file->header, (size_t)file->data_start, 0, err);
        close(fd);
        file->written = true;
    }
    free(path);
    return status;
}

int st_layout_write_headers(struct st_layout *layout, const char *folder, struct err *err) {
    for (int i = 0; i < layout->num_files; i++)
        if (write_header(&layout->files[i], folder, err) != 0)
            return -1;
    char *index = index_text(layout);
    if (!index)
        return 0;
    char *path = xasprintf("%s/%s.safetensors.index.json", folder, layout->stem);
    int status = file_create(path, index, strlen(index), err);
    free(path);
    free(index);
    return status;
}

/* close_files - sync what this rank wrote, close all; the first failure is the one reported. */
static int close_files(struct st_layout *layout, struct err *err) {
    int status = 0;
    for (int i = 0; i < layout->num_files; i++) {
        struct out_file *file = &layout->files[i];
        if (file->fd >= 0 && file->written && status == 0)
            status = file_sync_close(file->fd, file->path, err);
        else if (file->fd >= 0)
            close(file->fd);
        free(file->path);
        file->fd = -1;
        file->path = NULL;
        file->written = false;
    }
    return status;
}

int st_layout_open(struct st_layout *layout, const char *folder, struct err *err) {
    for (int i = 0; i < layout->num_files; i++) {
        struct out_file *file = &layout->files[i];
        CHECK(!file->path, "'%s' is open already", file->name);
        file->path = xasprintf("%s/%s", folder, file->name);
        if (path_exists(file->path))
            continue;
        err_set(err, "cannot open '%s': %s", file->path, strerror(ENOENT));
        close_files(layout, NULL);
        return -1;
    }
    return 0;
}

/* open_file - of a layout that is open: by the first write, as a rank writes into few of the files of many replicas. */
static int open_file(struct out_file *file, struct err *err) {
    CHECK(file->path, "'%s' is not open", file->name);
    if (file->fd < 0)
        file->fd = open(file->path, O_WRONLY | O_CLOEXEC);
    return file->fd >= 0 ? 0 : err_set(err, "cannot open '%s': %s", file->path, strerror(errno));
}

/* write_halves - converted through a small buffer; the caller's values stay as they are. */
static int write_halves(const struct out_file *file, enum dtype dtype, int64_t offset, int64_t count,
                        const float *data, struct err *err) {
    int64_t room = count < CONVERT_COUNT ? count : CONVERT_COUNT;
    uint16_t *halves = xmalloc((size_t)room * sizeof *halves);
    int status = 0;
    for (int64_t done = 0; done < count && status == 0; done += room) {
        int64_t piece = count - done < room ? count - done : room;
        if (dtype == DTYPE_BF16)
            for (int64_t i = 0; i < piece; i++)
                halves[i] = bf16_from_f32(data[done + i]);
        else
            for (int64_t i = 0; i < piece; i++)
                halves[i] = f16_from_f32(data[done + i]);
        status = file_write_at(file->fd, file->path, halves, (size_t)piece * sizeof *halves,
                               offset + done * (int64_t)sizeof *halves, err);
    }
    free(halves);
    return status;
}

/* Any rank may write any range: places were fixed by st_layout_finish, and no two ranges overlap. */
int st_layout_write_f32(struct st_layout *layout, int64_t handle, int64_t first, int64_t count,
                        const float *data, struct err *err) {
    CHECK(handle >= 0 && handle < layout->num_items, "handle %lld of %lld", (long long)handle,
          (long long)layout->num_items);
    const struct item *item = &layout->items[handle];
    int64_t room = item->count;
    CHECK(first >= 0 && count >= 0 && count <= room && first <= room - count,
          "elements %lld + %lld of '%s', which has %lld", (long long)first, (long long)count, item->name,
          (long long)room);
    CHECK(item->dtype != DTYPE_COUNT, "f32 values for '%s', which is %s", item->name, item->dtype_text);
    if (value_check(item->name, value_type_of(item->dtype), data, first, count, err) != 0)
        return -1;
    struct out_file *file = &layout->files[item->file];
    if (open_file(file, err) != 0)
        return -1;
    enum dtype dtype = item->dtype;
    int64_t offset = file->data_start + item->begin + first * (int64_t)dtype_bytes(dtype);
    file->written |= count > 0;
    /* f32 goes out straight from the caller's memory: this is most of a checkpoint. */
    if (dtype == DTYPE_F32)
        return file_write_at(file->fd, file->path, data, (size_t)count * sizeof *data, offset, err);
    CHECK(dtype == DTYPE_BF16 || dtype == DTYPE_F16, "f32 values for '%s', which is %s", item->name,
          dtype_name(dtype));
    return write_halves(file, dtype, offset, count, data, err);
}

int st_layout_write_bytes(struct st_layout *layout, int64_t handle, int64_t first, int64_t count,
                          const void *data, struct err *err) {
    CHECK(handle >= 0 && handle < layout->num_items, "handle %lld of %lld", (long long)handle,
          (long long)layout->num_items);
    const struct item *item = &layout->items[handle];
    CHECK(first >= 0 && count >= 0 && count <= item->length_bytes && first <= item->length_bytes - count,
          "bytes %lld + %lld of '%s', which has %lld", (long long)first, (long long)count, item->name,
          (long long)item->length_bytes);
    struct out_file *file = &layout->files[item->file];
    if (open_file(file, err) != 0)
        return -1;
    file->written |= count > 0;
    return file_write_at(file->fd, file->path, data, (size_t)count, file->data_start + item->begin + first,
                         err);
}

int st_layout_close(struct st_layout *layout, struct err *err) {
    return close_files(layout, err);
}
