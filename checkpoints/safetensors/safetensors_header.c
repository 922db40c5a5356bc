/* safetensors_header.c - parsing and checking a header.  The file is hostile until every rule has been checked:
 * afterwards each tensor's bytes lie inside the file, belong to it alone and fit its shape. */
#include "checkpoints/safetensors/safetensors_header.h"

#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"

/* Every type of the format; sizes in bits because three of them are smaller than a byte. */
static const struct {
    const char *text;
    int bits;
    enum dtype dtype;
} types[] = {
    {"F32", 32, DTYPE_F32},          {"BF16", 16, DTYPE_BF16},    {"F16", 16, DTYPE_F16},
    {"I32", 32, DTYPE_I32},          {"F64", 64, DTYPE_COUNT},    {"I64", 64, DTYPE_COUNT},
    {"U64", 64, DTYPE_COUNT},        {"C64", 64, DTYPE_COUNT},    {"U32", 32, DTYPE_COUNT},
    {"I16", 16, DTYPE_COUNT},        {"U16", 16, DTYPE_COUNT},    {"I8", 8, DTYPE_COUNT},
    {"U8", 8, DTYPE_COUNT},          {"BOOL", 8, DTYPE_COUNT},    {"F8_E4M3", 8, DTYPE_COUNT},
    {"F8_E5M2", 8, DTYPE_COUNT},     {"F8_E8M0", 8, DTYPE_COUNT}, {"F8_E4M3FNUZ", 8, DTYPE_COUNT},
    {"F8_E5M2FNUZ", 8, DTYPE_COUNT}, {"F6_E2M3", 6, DTYPE_COUNT}, {"F6_E3M2", 6, DTYPE_COUNT},
    {"F4", 4, DTYPE_COUNT},
};

enum { NUM_TYPES = sizeof types / sizeof types[0] };

const char *st_dtype_text(enum dtype dtype) {
    for (int i = 0; i < NUM_TYPES; i++)
        if (types[i].dtype == dtype && dtype != DTYPE_COUNT)
            return types[i].text;
    die("type %d has no name in safetensors", (int)dtype);
}

/* parse_shape - dims and their product.  Returns 0, or -1 with err set. */
static int parse_shape(struct st_tensor *tensor, const json_t *shape, struct err *err) {
    if (!json_is_array(shape) || json_array_size(shape) > INT16_MAX)
        return err_set(err, "shape is not a list of sizes");
    tensor->ndim = (int)json_array_size(shape);
    tensor->count = 1;
    tensor->shape = xcalloc((size_t)tensor->ndim + 1, sizeof *tensor->shape);
    /* A zero anywhere makes the tensor empty, also where the other sizes would overflow. */
    bool overflow = false, empty = false;
    for (int i = 0; i < tensor->ndim; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return err_set(err, "shape is not a list of sizes");
        int64_t dim = json_integer_value(size);
        tensor->shape[i] = dim;
        if (i < TENSOR_MAX_DIMS)
            tensor->dims[i] = dim;
        empty |= dim == 0;
        overflow |= __builtin_mul_overflow(tensor->count, dim, &tensor->count);
    }
    if (empty)
        tensor->count = 0;
    else if (overflow)
        return err_set(err, "the product of its shape does not fit in 64 bits");
    return 0;
}

/* check_extent - the offsets are in order, inside the data, and exactly as long as the shape needs. */
static int check_extent(const struct st_tensor *tensor, int bits, int64_t data_bytes, struct err *err) {
    int64_t need_bits;
    if (tensor->begin < 0 || tensor->end < tensor->begin)
        return err_set(err, "its offsets [%lld, %lld] are not in order", (long long)tensor->begin,
                       (long long)tensor->end);
    if (tensor->end > data_bytes)
        return err_set(err, "its data ends at byte %lld, the file's data has %lld", (long long)tensor->end,
                       (long long)data_bytes);
    if (__builtin_mul_overflow(tensor->count, (int64_t)bits, &need_bits))
        return err_set(err, "its %lld elements do not fit in 64 bits", (long long)tensor->count);
    if (need_bits % 8 != 0 || need_bits / 8 != tensor->end - tensor->begin)
        return err_set(err, "its shape needs %lld bits, its offsets hold %lld bytes", (long long)need_bits,
                       (long long)(tensor->end - tensor->begin));
    return 0;
}

/* parse_tensor - one entry of the header; other keys than the three are not looked at. */
static int parse_tensor(struct st_tensor *tensor, const json_t *entry, int64_t data_bytes, struct err *err) {
    const char *dtype;
    if (!json_is_object(entry))
        return err_set(err, "it is %s, expected an object", json_type_name(entry));
    if (json_get_string(entry, "dtype", &dtype, err) != 0 ||
        parse_shape(tensor, json_find(entry, "shape"), err) != 0)
        return -1;
    int type = 0;
    while (type < NUM_TYPES && strcmp(types[type].text, dtype) != 0)
        type++;
    if (type == NUM_TYPES)
        return err_set(err, "unknown type '%.20s'", dtype);
    tensor->dtype_text = types[type].text;
    tensor->dtype = types[type].dtype;
    const json_t *offsets = json_find(entry, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return err_set(err, "data_offsets is not a pair of integers");
    tensor->begin = json_integer_value(begin);
    tensor->end = json_integer_value(end);
    return check_extent(tensor, types[type].bits, data_bytes, err);
}

/* check_metadata - a flat map of texts by the format; its contents do not matter here. */
static int check_metadata(json_t *metadata, struct err *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return err_set(err, "__metadata__ is %s, expected an object", json_type_name(metadata));
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return err_set(err, "__metadata__ '%.80s' is %s, expected a string", key, json_type_name(value));
    }
    return 0;
}

/* by_offset - empty tensors come before the one that starts where they stand. */
static int by_offset(const void *a, const void *b) {
    const struct st_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* check_chain - no hole, no overlap, nothing after the last one. */
static int check_chain(const struct st_tensor *tensors, int64_t count, int64_t data_bytes, struct err *err) {
    int64_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        if (tensors[i].begin != at)
            return err_set(err, "tensor '%.200s' starts at byte %lld, the one before it ends at %lld (%s)",
                           tensors[i].name, (long long)tensors[i].begin, (long long)at,
                           tensors[i].begin < at ? "they overlap" : "a hole");
        at = tensors[i].end;
    }
    if (at != data_bytes)
        return err_set(err, "the tensors end at byte %lld of %lld of data", (long long)at,
                       (long long)data_bytes);
    return 0;
}

/* parse_all - the entries in file order; *count is right at any time, so that the caller can free them. */
static int parse_all(json_t *root, int64_t data_bytes, struct st_tensor *tensors, int64_t *count,
                     struct err *err) {
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            if (check_metadata(entry, err) != 0)
                return -1;
            continue;
        }
        struct st_tensor *tensor = &tensors[*count];
        tensor->name = xstrdup(name);
        (*count)++;
        if (parse_tensor(tensor, entry, data_bytes, err) != 0)
            return err_prefix(err, "tensor '%.200s'", name);
    }
    qsort(tensors, (size_t)*count, sizeof *tensors, by_offset);
    return check_chain(tensors, *count, data_bytes, err);
}

int64_t st_header_parse(const char *text, size_t length_bytes, int64_t data_bytes, const char *path,
                        struct st_tensor **tensors, struct err *err) {
    if (length_bytes == 0 || text[0] != '{')
        return err_set(
            err, "cannot read '%s': its header does not start with '{', it is not a safetensors file", path);
    json_t *root = json_parse_text(text, length_bytes, path, err);
    if (!root)
        return -1;
    int64_t count = 0;
    *tensors = xcalloc(json_object_size(root), sizeof **tensors);
    if (parse_all(root, data_bytes, *tensors, &count, err) != 0) {
        err_prefix(err, "cannot read '%s'", path);
        st_tensors_free(*tensors, count);
        *tensors = NULL;
        count = -1;
    }
    json_decref(root);
    return count;
}

void st_tensors_free(struct st_tensor *tensors, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        free(tensors[i].name);
        free(tensors[i].shape);
    }
    free(tensors);
}
