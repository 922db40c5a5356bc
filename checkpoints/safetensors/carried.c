/* carried.c - copying tensors by pieces, so that none is held whole. */
#include "checkpoints/safetensors/carried.h"

#include <stdlib.h>

#include "kernels/units.h"

enum { PIECE_BYTES = 4 * MIB };

void carried_add(const struct carried *carried, struct st_layout *layout, int64_t **handles) {
    int64_t count = carried ? carried->count : 0;
    *handles = xcalloc((size_t)count + 1, sizeof **handles);
    for (int64_t i = 0; i < count; i++)
        (*handles)[i] = st_layout_add_stored(layout, st_entry(carried->files, carried->indices[i]));
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
    for (int64_t i = rank; carried && i < carried->count; i += num_ranks)
        if (copy_tensor(carried, carried->indices[i], layout, handles[i], err) != 0)
            return -1;
    return 0;
}

int64_t carried_bytes(const struct carried *carried) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < carried->count; i++)
        bytes += st_entry(carried->files, carried->indices[i]).length_bytes;
    return bytes;
}
