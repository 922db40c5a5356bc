/* weights_stored.c - where a tensor is in the files, and its values as they hold it. */
#include "checkpoints/weights_internal.h"

#include <stdlib.h>

int64_t weights_find(const struct weights *w, struct param param) {
    char name[PARAM_NAME_ROOM];
    return quantised_find(&w->quantised, w->files, param_name(&w->config, param, name));
}

struct tensor weights_turned_shape(const struct weights *w, struct param param) {
    struct tensor shape = param_shape(&w->config, param);
    return tensor_2d(NULL, DTYPE_F32, w->config.num_experts * shape.dims[shape.ndim - 1], shape.dims[0]);
}

/* read_turned - elements of an expert's matrix [R, K] from a stack of [K, R]: of each of K stored rows what the range needs. */
static int read_turned(const struct weights *w, int64_t index, struct param param,
                       struct quantised_range range, float *out, struct err *err) {
    struct tensor shape = param_shape(&w->config, param);
    int64_t rows = shape.dims[0], cols = shape.dims[1], first = range.first / cols;
    int64_t count = range.count > 0 ? (range.first + range.count - 1) / cols - first + 1 : 0;
    float *line = xmalloc((size_t)count * sizeof *line);
    int status = 0;
    for (int64_t k = 0; k < cols && count > 0 && status == 0; k++) {
        struct quantised_range part = {(param.expert * cols + k) * rows + first, count};
        status = quantised_read(&w->quantised, w->files, index, part, line, err);
        for (int64_t r = 0; r < count && status == 0; r++) {
            int64_t at = (first + r) * cols + k - range.first;
            if (at >= 0 && at < range.count)
                out[at] = line[r];
        }
    }
    free(line);
    return status;
}

int weights_read_stored(const struct weights *w, struct param param, int64_t first, int64_t count, float *out,
                        struct err *err) {
    char name[PARAM_NAME_ROOM];
    if (w->gguf)
        return gguf_model_read(w->gguf, &w->config, param, first, count, out, err);
    int64_t index = weights_find(w, param);
    CHECK(index >= 0, "tensor '%s' is not part of this model", param_name(&w->config, param, name));
    struct quantised_range range = {first, count};
    bool is_quantised = quantised_holds(&w->quantised, st_entry(w->files, index));
    if (is_quantised && param_spec(&w->config, param.role)->traits & PARAM_STACKED)
        return read_turned(w, index, param, range, out, err);
    if (is_quantised)
        return quantised_read(&w->quantised, w->files, index, range, out, err);
    return st_read_f32(w->files, index, param_file_first(&w->config, param) + first, count, out, err);
}
