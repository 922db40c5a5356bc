/* quantised_mxfp4.c - X_blocks: values of four bits, 32 of them in 16 bytes, the first of each two in the low half; X_scales: a
 * power of two for each 32.  In X_packed and X_scale the same bytes have other shapes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/e2m1.h"
#include "checkpoints/safetensors/quantised_schemes.h"
#include "data/file.h"

enum { GROUP = 32, GROUP_BYTES = GROUP / 2, SCALE_BIAS = 127, SCALE_NAN = 255 };

/* The two ways to call and to shape them. */
static const struct {
    const char *values, *scales; /* endings */
    int ndim;                    /* of the values */
} ways[] = {{"_blocks", "_scales", 3}, {"_packed", "_scale", 2}};

/* way_of - by the name of the tensor; one that has neither ending is shaped as X_blocks is. */
static int way_of(struct st_entry entry) {
    return name_ends_with(entry.name, ways[1].values) ? 1 : 0;
}

int mxfp4_shape(const struct st_files *files, int64_t index, struct tensor *shape, struct err *err) {
    struct st_entry entry = st_entry(files, index);
    int way = way_of(entry);
    bool is_stack = way == 0 && entry.ndim == ways[way].ndim + 1; /* of matrices, one below the other */
    int64_t last = entry.ndim > 0 && entry.ndim <= TENSOR_MAX_DIMS ? entry.dims[entry.ndim - 1] : 0;
    if ((entry.ndim != ways[way].ndim && !is_stack) || entry.count < 1 || last % GROUP_BYTES != 0 ||
        (way == 0 && last != GROUP_BYTES))
        return err_set(err, "%d dimensions, %lld x %lld x %lld: a matrix is stored as rows x %s bytes",
                       entry.ndim, (long long)entry.dims[0], (long long)entry.dims[1],
                       (long long)entry.dims[2], way == 0 ? "blocks x 16" : "a multiple of 16");
    int64_t rows = is_stack ? entry.dims[0] * entry.dims[1] : entry.dims[0];
    *shape = tensor_2d(NULL, DTYPE_F32, rows, entry.count / rows * 2);
    return 0;
}

/* find_scales - of a tensor whose shape was taken.  Returns its index, or -1 with err set. */
static int64_t find_scales(const struct st_files *files, int64_t index, struct tensor shape,
                           struct err *err) {
    struct st_entry entry = st_entry(files, index);
    int way = way_of(entry);
    size_t ending_bytes = name_ends_with(entry.name, ways[way].values) ? strlen(ways[way].values) : 0;
    char *name = xasprintf("%.*s%s", (int)(strlen(entry.name) - ending_bytes), entry.name, ways[way].scales);
    int64_t scales = st_find(files, name);
    free(name);
    if (scales < 0)
        return err_set(err, "'...%s' is missing", ways[way].scales);
    struct st_entry found = st_entry(files, scales);
    bool is_stack = entry.ndim == ways[0].ndim + 1;
    int64_t rows = is_stack ? found.dims[0] * found.dims[1] : found.dims[0];
    if (strcmp(found.dtype_text, "U8") != 0 || found.ndim != (is_stack ? 3 : 2) || rows != shape.dims[0] ||
        found.count != rows * (shape.dims[1] / GROUP))
        return err_set(err, "'%.200s' is %s of %d dimensions, first %lld x %lld: not a byte for each block",
                       found.name, found.dtype_text, found.ndim, (long long)found.dims[0],
                       (long long)found.dims[1]);
    return scales;
}

int mxfp4_check(const struct quantised *quantised, const struct st_files *files, int64_t index,
                struct tensor want, bool *is_known, struct err *err) {
    struct tensor shape = {.ndim = 0};
    char want_text[64];
    (void)quantised; /* all is said by the shapes */
    if (mxfp4_shape(files, index, &shape, err) != 0)
        return -1;
    if (shape.dims[0] != want.dims[0] || shape.dims[1] != want.dims[1])
        return err_set(err, "a shape of %lld x %lld; config.json asks for %s", (long long)shape.dims[0],
                       (long long)shape.dims[1], tensor_shape_text(want, want_text, sizeof want_text));
    int64_t scales = find_scales(files, index, shape, err);
    if (scales < 0)
        return -1;
    is_known[scales] = true;
    return 0;
}

/* A byte of 255 is not a scale: the standard keeps it for NaN. */
static float scale_of(uint8_t byte) {
    return byte == SCALE_NAN ? NAN : ldexpf(1, byte - SCALE_BIAS);
}

int mxfp4_read(const struct quantised *quantised, const struct st_files *files, int64_t index,
               struct quantised_range range, float *out, struct err *err) {
    (void)quantised;
    if (range.count == 0)
        return 0;
    int64_t last = range.first + range.count - 1, first_byte = range.first / 2,
            num_bytes = last / 2 - first_byte + 1;
    int64_t first_group = range.first / GROUP, num_groups = last / GROUP - first_group + 1;
    struct tensor shape = {.ndim = 0};
    if (mxfp4_shape(files, index, &shape, err) != 0)
        return -1;
    int64_t scales_index = find_scales(files, index, shape, err);
    if (scales_index < 0)
        return -1;
    uint8_t *bytes = xmalloc((size_t)num_bytes), *scales = xmalloc((size_t)num_groups);
    int status = st_read_bytes(files, index, first_byte, num_bytes, bytes, err) ||
                         st_read_bytes(files, scales_index, first_group, num_groups, scales, err)
                     ? -1
                     : 0;
    for (int64_t i = range.first; i <= last && status == 0; i++) {
        uint8_t byte = bytes[i / 2 - first_byte];
        out[i - range.first] =
            E2M1_VALUES[i % 2 ? byte >> 4 : byte & 15] * scale_of(scales[i / GROUP - first_group]);
    }
    free(scales);
    free(bytes);
    return status;
}
