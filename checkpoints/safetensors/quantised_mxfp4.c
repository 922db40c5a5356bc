/* quantised_mxfp4.c - X_blocks: values of four bits, 32 of them in 16 bytes, the first of each two in the low half; X_scales: a
 * power of two for each 32. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/safetensors/quantised_schemes.h"
#include "data/file.h"

enum { GROUP = 32, GROUP_BYTES = GROUP / 2, SCALE_BIAS = 127, SCALE_NAN = 255 };

/* One bit of sign, two of exponent, one of fraction. */
static const float e2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/* find_scales - of the tensor of blocks.  Returns its index, or -1 with err set. */
static int64_t find_scales(const struct st_files *files, int64_t index, struct err *err) {
    struct st_entry entry = st_entry(files, index);
    int stem_bytes =
        (int)(strlen(entry.name) - (name_ends_with(entry.name, "_blocks") ? strlen("_blocks") : 0));
    char *name = xasprintf("%.*s_scales", stem_bytes, entry.name);
    int64_t scales = st_find(files, name);
    free(name);
    if (scales < 0)
        return err_set(err, "'..._scales' is missing");
    struct st_entry found = st_entry(files, scales);
    if (strcmp(found.dtype_text, "U8") != 0 || found.ndim != 2 || found.dims[0] != entry.dims[0] ||
        found.dims[1] != entry.dims[1])
        return err_set(err, "'%.200s' is %s of %d dimensions, first %lld x %lld: not a byte for each block",
                       found.name, found.dtype_text, found.ndim, (long long)found.dims[0],
                       (long long)found.dims[1]);
    return scales;
}

int mxfp4_shape(const struct st_files *files, int64_t index, struct tensor *shape, struct err *err) {
    struct st_entry entry = st_entry(files, index);
    if (entry.ndim != 3 || entry.dims[2] != GROUP_BYTES || entry.count < 1)
        return err_set(
            err,
            "%d dimensions, %lld x %lld x %lld: a matrix is stored as rows x blocks x %d bytes, and stacks of "
            "them are not read",
            entry.ndim, (long long)entry.dims[0], (long long)entry.dims[1], (long long)entry.dims[2],
            (int)GROUP_BYTES);
    *shape = tensor_2d(NULL, DTYPE_F32, entry.dims[0], entry.dims[1] * GROUP);
    return 0;
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
    int64_t scales = find_scales(files, index, err);
    if (scales < 0)
        return -1;
    is_known[scales] = true;
    return 0;
}

/* A byte of 255 is no number: the standard keeps it for what is not one. */
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
    int64_t scales_index = find_scales(files, index, err);
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
            e2m1[i % 2 ? byte >> 4 : byte & 15] * scale_of(scales[i / GROUP - first_group]);
    }
    free(scales);
    free(bytes);
    return status;
}
