/* weights_stored.c - where a tensor is in the files, and its values as they hold it. */
#include "checkpoints/weights_internal.h"

int64_t weights_find(const struct weights *w, struct param param) {
    char name[PARAM_NAME_ROOM];
    return quantised_find(&w->quantised, w->files, param_name(&w->config, param, name));
}

int weights_read_stored(const struct weights *w, struct param param, int64_t first, int64_t count, float *out,
                        struct err *err) {
    char name[PARAM_NAME_ROOM];
    if (w->gguf)
        return gguf_model_read(w->gguf, &w->config, param, first, count, out, err);
    int64_t index = weights_find(w, param);
    CHECK(index >= 0, "tensor '%s' is not part of this model", param_name(&w->config, param, name));
    if (quantised_holds(&w->quantised, st_entry(w->files, index)))
        return quantised_read(&w->quantised, w->files, index, (struct quantised_range){first, count}, out,
                              err);
    return st_read_f32(w->files, index, param_file_first(&w->config, param) + first, count, out, err);
}
