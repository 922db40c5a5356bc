/* gguf.c - reading GGUF: header, metadata and tensor directory, checked whole before anything is believed.
 *
 * Everything before the tensor data is read once, front to back, into one block of memory that grows as the
 * parser asks for more; values stay in that block as they are in the file and are decoded on demand.  Only
 * array elements of type string, which have no fixed place, get an index. No count in the file is trusted:
 * before anything is allocated, the bytes it stands for must be in the file. */
#include "checkpoints/gguf/gguf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/file.h"
#include "kernels/units.h"

enum { MAX_NAME_BYTES = 63, MAX_DIMS = 4, FIRST_READ_BYTES = MIB };
static const uint64_t max_head_bytes = GIB;
static const uint64_t max_alignment = GIB;

/* --- bytes --- */

/* want - make sure that the next bytes are in memory. */
static int want(struct gguf *file, uint64_t bytes, const char *what, struct err *err) {
    if (bytes > file->file_bytes - file->at)
        return err_set(err, "cannot read '%s': %s at byte %llu is longer than the file; is it truncated?",
                       file->path, what, (unsigned long long)file->at);
    uint64_t end = file->at + bytes;
    if (end <= file->head_bytes)
        return 0;
    if (end > max_head_bytes)
        return err_set(err, "cannot read '%s': more than 1 GiB of metadata", file->path);
    uint64_t room = file->head_bytes ? 2 * file->head_bytes : FIRST_READ_BYTES;
    room = room < end ? end : room;
    room = room > file->file_bytes ? file->file_bytes : room;
    file->head = xrealloc(file->head, room);
    if (file_read_at(file->fd, file->path, file->head + file->head_bytes, room - file->head_bytes,
                     (int64_t)file->head_bytes, err) != 0)
        return -1;
    file->head_bytes = room;
    return 0;
}

/* take - the next bytes into value, which may be unaligned in the file. */
static int take(struct gguf *file, void *value, size_t bytes, const char *what, struct err *err) {
    if (want(file, bytes, what, err) != 0)
        return -1;
    memcpy(value, file->head + file->at, bytes);
    file->at += bytes;
    return 0;
}

static int take_u32(struct gguf *file, uint32_t *value, const char *what, struct err *err) {
    return take(file, value, sizeof *value, what, err);
}

static int take_u64(struct gguf *file, uint64_t *value, const char *what, struct err *err) {
    return take(file, value, sizeof *value, what, err);
}

/* skip_string - step over one and check that it lies in the file. */
static int skip_string(struct gguf *file, const char *what, struct err *err) {
    uint64_t bytes;
    if (take_u64(file, &bytes, what, err) != 0 || want(file, bytes, what, err) != 0)
        return -1;
    file->at += bytes;
    return 0;
}

/* take_name - a key or a tensor's name: a copy, not empty, no control characters, so that it can be printed.
 */
static char *take_name(struct gguf *file, const char *what, struct err *err) {
    uint64_t start = file->at;
    if (skip_string(file, what, err) != 0)
        return NULL;
    struct gguf_string name = gguf_string_at(file, start);
    bool clean = name.length_bytes > 0 && name.length_bytes <= UINT16_MAX;
    for (size_t i = 0; clean && i < name.length_bytes; i++)
        clean = (uint8_t)name.text[i] >= ' ' && name.text[i] != 127;
    if (!clean) {
        err_set(err, "cannot read '%s': %s at byte %llu is empty, too long or not text", file->path, what,
                (unsigned long long)start);
        return NULL;
    }
    return xstrndup(name.text, name.length_bytes);
}

/* --- metadata --- */

/* index_strings - where each of count strings starts.  The smallest string is 8 bytes of length, so the index
 * is no larger than what the file holds. */
static int index_strings(struct gguf *file, struct gguf_entry *entry, struct err *err) {
    entry->string_at = xmalloc((size_t)entry->count * sizeof *entry->string_at);
    for (int64_t i = 0; i < entry->count; i++) {
        entry->string_at[i] = file->at;
        if (skip_string(file, "a string", err) != 0)
            return err_prefix(err, "key '%s'", entry->key);
    }
    return 0;
}

/* take_elements - numbers are stepped over in one go, strings one by one: where they are decides what a later read costs. */
static int take_elements(struct gguf *file, struct gguf_entry *entry, uint64_t count, struct err *err) {
    int size = gguf_type_bytes(entry->element_type);
    uint64_t least = size ? (uint64_t)size : 8;
    if (count > (file->file_bytes - file->at) / least)
        return err_set(err, "cannot read '%s': key '%s' says it has %llu elements, more than the file holds",
                       file->path, entry->key, (unsigned long long)count);
    entry->count = (int64_t)count;
    entry->at = file->at;
    if (!size)
        return index_strings(file, entry, err);
    if (want(file, count * least, "a value", err) != 0)
        return err_prefix(err, "key '%s'", entry->key);
    file->at += count * least;
    return 0;
}

/* take_entry - an array of arrays is allowed by the format; none of the known writers makes one. */
static int take_entry(struct gguf *file, struct gguf_entry *entry, struct err *err) {
    uint32_t type;
    uint64_t count = 1;
    entry->key = take_name(file, "a key", err);
    if (!entry->key || take_u32(file, &type, "a type", err) != 0)
        return -1;
    entry->type = (enum gguf_type)type;
    if (type == GGUF_ARRAY && (take_u32(file, &type, "an array's type", err) != 0 ||
                               take_u64(file, &count, "an array's length", err) != 0))
        return -1;
    if (type == GGUF_ARRAY)
        return err_set(err, "cannot read '%s': key '%s' is an array of arrays", file->path, entry->key);
    if (gguf_type_bytes(type) < 0)
        return err_set(err, "cannot read '%s': key '%s' has the unknown type %u", file->path, entry->key,
                       type);
    entry->element_type = (enum gguf_type)type;
    return take_elements(file, entry, count, err);
}

/* --- names --- */

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct gguf_named *)a)->name, ((const struct gguf_named *)b)->name);
}

/* sort_names - for look-ups; also finds duplicates. */
static int sort_names(const struct gguf *file, struct gguf_named *names, int64_t count, const char *what,
                      struct err *err) {
    qsort(names, (size_t)count, sizeof *names, compare_names);
    for (int64_t i = 1; i < count; i++)
        if (strcmp(names[i - 1].name, names[i].name) == 0)
            return err_set(err, "cannot read '%s': %s '%s' occurs twice", file->path, what, names[i].name);
    return 0;
}

static int64_t find_name(const struct gguf_named *names, int64_t count, const char *name) {
    struct gguf_named wanted = {name, 0};
    const struct gguf_named *found =
        count ? bsearch(&wanted, names, (size_t)count, sizeof *names, compare_names) : NULL;
    return found ? found->index : -1;
}

int64_t gguf_find_key(const struct gguf *file, const char *key) {
    return find_name(file->key_names, file->num_entries, key);
}

int64_t gguf_find_tensor(const struct gguf *file, const char *name) {
    return find_name(file->tensor_names, file->num_tensors, name);
}

/* --- the directory --- */

/* tensor_sizes - element count and bytes; the file's dimensions may be anything. */
static int tensor_sizes(const struct gguf *file, struct gguf_tensor *tensor, struct err *err) {
    tensor->count = 1;
    for (int d = 0; d < tensor->ndim; d++)
        if (tensor->dims[d] <= 0 || __builtin_mul_overflow(tensor->count, tensor->dims[d], &tensor->count))
            return err_set(err, "cannot read '%s': tensor '%s' has an impossible shape", file->path,
                           tensor->name);
    const struct quant_format *format = quant_format(tensor->type);
    if (!format)
        return 0;
    if (tensor->dims[0] % format->block_count)
        return err_set(err,
                       "cannot read '%s': tensor '%s' has rows of %lld values, but %s packs %lld at a time",
                       file->path, tensor->name, (long long)tensor->dims[0], format->name,
                       (long long)format->block_count);
    if (__builtin_mul_overflow(tensor->count / format->block_count, (int64_t)format->block_bytes,
                               &tensor->size_bytes))
        return err_set(err, "cannot read '%s': tensor '%s' has an impossible shape", file->path,
                       tensor->name);
    return 0;
}

/* take_tensor - one line of the directory; offset stays relative to the data for now. */
static int take_tensor(struct gguf *file, struct gguf_tensor *tensor, struct err *err) {
    uint32_t ndim, type;
    tensor->name = take_name(file, "a tensor's name", err);
    if (!tensor->name || take_u32(file, &ndim, "a tensor's rank", err) != 0)
        return -1;
    if (strlen(tensor->name) > MAX_NAME_BYTES)
        return err_set(err, "cannot read '%s': tensor name '%.64s...' is longer than %d bytes", file->path,
                       tensor->name, MAX_NAME_BYTES);
    if (ndim < 1 || ndim > MAX_DIMS)
        return err_set(err, "cannot read '%s': tensor '%s' has %u dimensions, expected 1 to 4", file->path,
                       tensor->name, ndim);
    tensor->ndim = (int)ndim;
    for (int d = 0; d < MAX_DIMS; d++) {
        uint64_t dim = 1;
        if (d < tensor->ndim && take_u64(file, &dim, "a dimension", err) != 0)
            return -1;
        tensor->dims[d] = dim <= INT64_MAX ? (int64_t)dim : -1;
    }
    uint64_t offset;
    if (take_u32(file, &type, "a tensor's type", err) != 0 || take_u64(file, &offset, "an offset", err) != 0)
        return -1;
    tensor->type = type <= INT32_MAX ? (int)type : -1;
    if (offset > file->file_bytes)
        return err_set(err, "cannot read '%s': tensor '%s' lies after the end of the file; is it truncated?",
                       file->path, tensor->name);
    tensor->offset = (int64_t)offset;
    return tensor_sizes(file, tensor, err);
}

/* compare_offsets - of two at one place the smaller first: an empty tensor may lie where another begins. */
static int compare_offsets(const void *a, const void *b) {
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a,
                             *y = *(const struct gguf_tensor *const *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

/* refuse_overlap - two tensors in the same bytes: a file that is damaged, or made to be misread. */
static int refuse_overlap(const struct gguf *file, struct err *err) {
    const struct gguf_tensor **order = xmalloc((size_t)file->num_tensors * sizeof(*order));
    int status = 0;
    for (int64_t i = 0; i < file->num_tensors; i++)
        order[i] = &file->tensors[i];
    qsort(order, (size_t)file->num_tensors, sizeof(*order), compare_offsets);
    for (int64_t i = 1; i < file->num_tensors && status == 0; i++)
        if (order[i - 1]->offset + order[i - 1]->size_bytes > order[i]->offset)
            status = err_set(err, "cannot read '%s': tensors '%s' and '%s' overlap", file->path,
                             order[i - 1]->name, order[i]->name);
    free(order);
    return status;
}

/* place_tensors - offsets become absolute, and every tensor must lie alone inside the file. */
static int place_tensors(struct gguf *file, uint64_t alignment, struct err *err) {
    uint64_t data_at = (file->at + alignment - 1) / alignment * alignment;
    for (int64_t i = 0; i < file->num_tensors; i++) {
        struct gguf_tensor *tensor = &file->tensors[i];
        if ((uint64_t)tensor->offset % alignment)
            return err_set(err, "cannot read '%s': tensor '%s' is not aligned to %llu bytes", file->path,
                           tensor->name, (unsigned long long)alignment);
        uint64_t at = data_at + (uint64_t)tensor->offset;
        if (at > file->file_bytes || (uint64_t)tensor->size_bytes > file->file_bytes - at)
            return err_set(err,
                           "cannot read '%s': tensor '%s' lies after the end of the file; is it truncated?",
                           file->path, tensor->name);
        tensor->offset = (int64_t)at;
    }
    return refuse_overlap(file, err);
}

/* find_alignment - 32 where the file does not say it, as the format has it. */
static int find_alignment(const struct gguf *file, uint64_t *alignment, struct err *err) {
    int64_t index = gguf_find_key(file, "general.alignment"), value = 32;
    if (index >= 0 && gguf_get_int(file, index, 0, &value, err) != 0)
        return -1;
    if (value < 1 || (uint64_t)value > max_alignment || (value & (value - 1)))
        return err_set(err, "cannot read '%s': alignment %lld is not a power of two up to 1 GiB", file->path,
                       (long long)value);
    *alignment = (uint64_t)value;
    return 0;
}

/* --- opening --- */

/* take_header - version 1 had other widths of its counts, and a big-endian file has its version in the upper bytes. */
static int take_header(struct gguf *file, uint64_t *num_tensors, uint64_t *num_entries, struct err *err) {
    uint32_t magic, version;
    if (file->file_bytes < 24)
        return err_set(err, "'%s' is not a GGUF file: it has only %llu bytes", file->path,
                       (unsigned long long)file->file_bytes);
    if (take_u32(file, &magic, "the magic number", err) != 0 ||
        take_u32(file, &version, "the version", err) != 0)
        return -1;
    if (magic != 0x46554747) /* "GGUF" */
        return err_set(err, "'%s' is not a GGUF file: it does not begin with 'GGUF'", file->path);
    if (version != 2 && version != 3)
        return err_set(err, "cannot read '%s': GGUF version %u%s, expected 2 or 3", file->path, version,
                       version & 0xffff ? "" : " (a big-endian file)");
    return take_u64(file, num_tensors, "the number of tensors", err) ||
                   take_u64(file, num_entries, "the number of keys", err)
               ? -1
               : 0;
}

/* parse_entries - the smallest one is a key of one character with a one-byte value: 14 bytes. */
static int parse_entries(struct gguf *file, uint64_t count, struct err *err) {
    if (count > file->file_bytes / 14)
        return err_set(err, "cannot read '%s': it says it has %llu keys, more than the file holds",
                       file->path, (unsigned long long)count);
    file->entries = xcalloc((size_t)count, sizeof *file->entries);
    while ((uint64_t)file->num_entries < count)
        if (take_entry(file, &file->entries[file->num_entries++], err) != 0)
            return -1;
    file->key_names = xmalloc((size_t)count * sizeof *file->key_names);
    for (int64_t i = 0; i < file->num_entries; i++)
        file->key_names[i] = (struct gguf_named){file->entries[i].key, i};
    return sort_names(file, file->key_names, file->num_entries, "key", err);
}

/* parse_tensors - the smallest line has a name of one character and one dimension: 33 bytes. */
static int parse_tensors(struct gguf *file, uint64_t count, struct err *err) {
    if (count > file->file_bytes / 33)
        return err_set(err, "cannot read '%s': it says it has %llu tensors, more than the file holds",
                       file->path, (unsigned long long)count);
    file->tensors = xcalloc((size_t)count, sizeof *file->tensors);
    while ((uint64_t)file->num_tensors < count)
        if (take_tensor(file, &file->tensors[file->num_tensors++], err) != 0)
            return -1;
    file->tensor_names = xmalloc((size_t)count * sizeof *file->tensor_names);
    for (int64_t i = 0; i < file->num_tensors; i++)
        file->tensor_names[i] = (struct gguf_named){file->tensors[i].name, i};
    return sort_names(file, file->tensor_names, file->num_tensors, "tensor", err);
}

/* open_file - the descriptor stays open: tensors are read when they are wanted. */
static int open_file(struct gguf *file, struct err *err) {
    int64_t size_bytes = 0;
    file->fd = file_open_read(file->path, &size_bytes, err);
    file->file_bytes = (uint64_t)size_bytes;
    return file->fd < 0 ? -1 : 0;
}

/* Metadata before the directory, as in the file; the alignment is a key of the metadata, and offsets are by it. */
struct gguf *gguf_open(const char *path, struct err *err) {
    struct gguf *file = xcalloc(1, sizeof *file);
    uint64_t num_tensors = 0, num_entries = 0, alignment = 0;
    file->path = xstrdup(path);
    if (open_file(file, err) != 0 || take_header(file, &num_tensors, &num_entries, err) != 0 ||
        parse_entries(file, num_entries, err) != 0 || parse_tensors(file, num_tensors, err) != 0 ||
        find_alignment(file, &alignment, err) != 0 || place_tensors(file, alignment, err) != 0) {
        gguf_close(file);
        return NULL;
    }
    return file;
}

const uint8_t *gguf_map_tensor(struct gguf *file, int64_t tensor) {
    struct gguf_tensor facts = gguf_tensor(file, tensor);
    if (!file->mapped)
        file->mapped = file_map(file->fd, &file->mapped_bytes);
    bool is_whole = file->mapped && (uint64_t)facts.offset + (uint64_t)facts.size_bytes <= file->mapped_bytes;
    return is_whole ? file->mapped + facts.offset : NULL;
}

void gguf_close(struct gguf *file) {
    if (!file)
        return;
    file_unmap(file->mapped, file->mapped_bytes);
    for (int64_t i = 0; i < file->num_entries; i++) {
        free(file->entries[i].key);
        free(file->entries[i].string_at);
    }
    for (int64_t i = 0; i < file->num_tensors; i++)
        free((char *)(uintptr_t)file->tensors[i].name); /* ours; const for the callers */
    free(file->entries);
    free(file->tensors);
    free(file->key_names);
    free(file->tensor_names);
    free(file->head);
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    free(file);
}
