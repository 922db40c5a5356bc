/* export_hf.c - a model as a Hugging Face folder: config.json, safetensors, tokenizer, chat template,
 * generation settings.  transformers, vLLM and TGI load it as it is.
 *
 * The folder is written under another name and renamed when it is complete and on the disk. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/export/export.h"
#include "checkpoints/files.h"
#include "checkpoints/model_folder.h"
#include "checkpoints/safetensors/safetensors.h"

enum { CHUNK_VALUES = 1 << 22 };
static const int64_t max_shard_bytes = 5000000000; /* what transformers has long used */

/* write_small_files - a note on the tokenizer's class goes to *notes, where notes is not NULL. */
static int write_small_files(const struct weights *weights, const struct model_config *config,
                             const char *folder, char **notes, struct err *err) {
    struct checkpoint_source source = {.config = config,
                                       .base_config_text = weights_config_text(weights),
                                       .base_folder = weights_folder(weights)};
    source.card_is_of_base = source.base_folder && model_folder_card_is_of_base(source.base_folder);
    char *json = NULL, *config_text = NULL;
    if (weights_tokenizer_text(weights, &json, &config_text, err) != 0)
        return -1;
    source.tokenizer_json = json;
    source.tokenizer_config = config_text;
    int status = model_folder_write(folder, &source, err);
    char *note = status == 0 && json && notes ? model_folder_class_note(config_text) : NULL;
    if (note)
        *notes = xasprintf("%s\n", note);
    free(note);
    free(json);
    free(config_text);
    return status;
}

/* A tensor of the folder and its number in the layout. */
struct placed {
    struct param param;
    int64_t handle;
};

/* place_tensors - all tensors of the model into the layout; the caller frees the list. */
static struct placed *place_tensors(const struct model_config *config, struct st_layout *layout,
                                    int64_t *count) {
    struct placed *list = xmalloc((size_t)param_num_slots(config) * sizeof *list);
    struct param at = PARAM_START;
    char name[PARAM_NAME_ROOM];
    *count = 0;
    while (family_next_param(config, &at)) {
        int64_t handle =
            st_layout_add(layout, param_name(config, at, name), param_shape(config, at), config->dtype);
        list[(*count)++] = (struct placed){at, handle};
    }
    return list;
}

/* write_tensor - in pieces, so that the largest matrix does not decide how much memory an export needs. */
static int write_tensor(const struct weights *weights, const struct model_config *config,
                        struct st_layout *layout, const struct placed *placed, struct err *err) {
    int64_t count = tensor_count(param_shape(config, placed->param));
    int64_t chunk = count < CHUNK_VALUES ? count : CHUNK_VALUES;
    float *values = xmalloc((size_t)chunk * sizeof *values);
    int status = 0;
    for (int64_t first = 0; first < count && status == 0; first += chunk) {
        int64_t now = count - first < chunk ? count - first : chunk;
        status =
            weights_read_fit(weights, placed->param,
                             (struct weights_range){first, now, value_type_of(config->dtype)}, values, err);
        if (status == 0)
            status = st_layout_write_f32(layout, placed->handle, first, now, values, err);
    }
    free(values);
    return status;
}

/* write_weights - the headers of all files first, which fixes every tensor's place; then the values, and what a
 * wrapper holds beside its text decoder. */
static int write_weights(const struct weights *weights, const struct model_config *config, const char *folder,
                         struct err *err) {
    int64_t count, *carried_handles;
    const struct carried *carried = weights_carried(weights);
    struct st_layout *layout = st_layout_create("model", max_shard_bytes);
    struct placed *list = place_tensors(config, layout, &count);
    carried_add(carried, layout, &carried_handles);
    st_layout_finish(layout);
    int status = st_layout_write_headers(layout, folder, err);
    if (status == 0)
        status = st_layout_open(layout, folder, err);
    if (status == 0) {
        for (int64_t i = 0; i < count && status == 0; i++)
            status = write_tensor(weights, config, layout, &list[i], err);
        if (status == 0)
            status = carried_write(carried, layout, carried_handles, 0, 1, err);
        /* Closed in any case; the first failure is the one that is told. */
        int closed = st_layout_close(layout, status == 0 ? err : NULL);
        status = status == 0 ? closed : status;
    }
    free(carried_handles);
    free(list);
    st_layout_free(layout);
    return status;
}

/* A slash at the end of path is left off: the partial folder stands beside the final one, not in it. */
int export_hf(const struct weights *weights, const char *path, enum export_type type, char **notes,
              struct err *err) {
    if (notes)
        *notes = NULL;
    struct model_config config = *weights_config(weights);
    if (type == EXPORT_Q8_0)
        return err_set(
            err, "cannot export to '%s': a Hugging Face folder holds f32, f16 or bf16; q8_0 is for gguf",
            path);
    if (path_exists(path))
        return err_set(err, "cannot export to '%s': it exists already", path);
    config.dtype = type == EXPORT_F32 ? DTYPE_F32 : type == EXPORT_F16 ? DTYPE_F16 : DTYPE_BF16;
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    char *folder = xstrndup(path, bytes), *partial = xasprintf("%s.partial", folder);
    int status = folder_remove(partial, err); /* left by an export that was killed */
    if (status == 0) {
        if (folder_create(partial, err) != 0 ||
            write_small_files(weights, &config, partial, notes, err) != 0 ||
            write_weights(weights, &config, partial, err) != 0 || folder_sync(partial, err) != 0 ||
            file_rename(partial, folder, err) != 0)
            status = -1;
        if (status != 0)
            folder_remove(partial, NULL);
    }
    if (status != 0) {
        err_prefix(err, "cannot export to '%s'", path);
        if (notes) {
            free(*notes);
            *notes = NULL;
        }
    }
    free(folder);
    free(partial);
    return status;
}
