/* carried.c - copying tensors by pieces, so that none is held whole. */
#include "checkpoints/safetensors/carried.h"

#include <stdlib.h>

#include "checkpoints/value_check.h"
#include "kernels/units.h"

enum { PIECE_BYTES = 4 * MIB, PIECE_VALUES = PIECE_BYTES / sizeof(float) };

bool carried_is_restored(const struct carried *carried, int64_t i) {
    return carried->quantised && quantised_is_matrix(carried->quantised, carried->files, carried->indices[i]);
}

int64_t carried_num_restored(const struct carried *carried) {
    int64_t count = 0;
    for (int64_t i = 0; i < carried->count; i++)
        count += carried_is_restored(carried, i);
    return count;
}

/* restored_shape - of a matrix that was checked when its folder was opened. */
static struct tensor restored_shape(const struct carried *carried, int64_t i) {
    struct tensor shape = {.ndim = 0};
    struct err err = {""};
    CHECK(quantised_shape(carried->quantised, carried->files, carried->indices[i], &shape, &err) == 0, "%s",
          err.text);
    return shape;
}

/* add_restored - under the matrix's own name. */
static int64_t add_restored(const struct carried *carried, int64_t i, struct st_layout *layout) {
    char *name = quantised_matrix_name(carried->quantised, carried->files, carried->indices[i]);
    int64_t handle = st_layout_add(layout, name, restored_shape(carried, i), DTYPE_BF16);
    free(name);
    return handle;
}

void carried_add(const struct carried *carried, struct st_layout *layout, int64_t **handles) {
    int64_t count = carried ? carried->count : 0;
    *handles = xcalloc((size_t)count + 1, sizeof **handles);
    for (int64_t i = 0; i < count; i++)
        (*handles)[i] = carried_is_restored(carried, i)
                            ? add_restored(carried, i, layout)
                            : st_layout_add_stored(layout, st_entry(carried->files, carried->indices[i]));
}

/* restore_tensor - a quantised matrix, as bf16; layout NULL: it is looked at, and not written. */
static int restore_tensor(const struct carried *carried, int64_t i, struct st_layout *layout, int64_t handle,
                          struct err *err) {
    const char *name = st_entry(carried->files, carried->indices[i]).name;
    int64_t count = tensor_count(restored_shape(carried, i));
    int64_t piece = count < PIECE_VALUES ? count : PIECE_VALUES;
    float *values = xmalloc((size_t)piece * sizeof *values);
    int status = 0;
    for (int64_t done = 0; done < count && status == 0; done += piece) {
        struct quantised_range range = {done, count - done < piece ? count - done : piece};
        status = quantised_read(carried->quantised, carried->files, carried->indices[i], range, values, err);
        if (status == 0)
            status =
                layout ? st_layout_write_f32(layout, handle, range.first, range.count, values, err)
                       : value_check(name, value_type_of(DTYPE_BF16), values, range.first, range.count, err);
    }
    free(values);
    return status;
}

int carried_check(const struct carried *carried, int rank, int num_ranks, struct err *err) {
    int status = 0;
    for (int64_t i = rank; carried && i < carried->count && status == 0; i += num_ranks)
        if (carried_is_restored(carried, i))
            status = restore_tensor(carried, i, NULL, -1, err);
    return status;
}

static int copy_tensor(const struct carried *carried, int64_t index, struct st_layout *layout, int64_t handle,
                       struct err *err) {
    int64_t length_bytes = st_entry(carried->files, index).length_bytes;
    int64_t piece = length_bytes < PIECE_BYTES ? length_bytes : PIECE_BYTES;
    char *bytes = xmalloc((size_t)piece + 1);
    int status = 0;
    for (int64_t done = 0; done < length_bytes && status == 0; done += piece) {
        int64_t now = length_bytes - done < piece ? length_bytes - done : piece;
        status = st_read_bytes(carried->files, index, done, now, bytes, err);
        if (status == 0)
            status = st_layout_write_bytes(layout, handle, done, now, bytes, err);
    }
    free(bytes);
    return status;
}

int carried_write(const struct carried *carried, struct st_layout *layout, const int64_t *handles, int rank,
                  int num_ranks, struct err *err) {
    int status = 0;
    for (int64_t i = rank; carried && i < carried->count && status == 0; i += num_ranks)
        status = carried_is_restored(carried, i)
                     ? restore_tensor(carried, i, layout, handles[i], err)
                     : copy_tensor(carried, carried->indices[i], layout, handles[i], err);
    return status;
}

int64_t carried_bytes(const struct carried *carried) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < carried->count; i++)
        bytes += carried_is_restored(carried, i)
                     ? tensor_count(restored_shape(carried, i)) * (int64_t)dtype_bytes(DTYPE_BF16)
                     : st_entry(carried->files, carried->indices[i]).length_bytes;
    return bytes;
}
