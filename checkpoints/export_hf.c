/* export_hf.c - a model as a Hugging Face folder: config.json, safetensors, tokenizer, chat template,
 * generation settings.  transformers, vLLM and TGI load it as it is.
 *
 * The folder is written under another name and renamed when it is complete and on the disk. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/export.h"
#include "checkpoints/files.h"
#include "checkpoints/model_folder.h"
#include "checkpoints/safetensors.h"

enum { CHUNK_VALUES = 1 << 22, MAX_TENSOR_NAME = 160 };
static const int64_t max_shard_bytes = 5000000000; /* what transformers has long used */

static int write_small_files(const struct weights *weights, const struct model_config *config,
                             const char *folder, struct err *err) {
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
    free(json);
    free(config_text);
    return status;
}

struct slot {
    enum tensor_role role;
    int layer;
    int64_t handle; /* in the layout */
};

/* plan_tensors - all tensors of the model into the layout; the caller frees the list. */
static struct slot *plan_tensors(const struct model_config *config, struct st_layout *layout,
                                 int64_t *num_slots) {
    struct slot *slots = xmalloc(((size_t)config->num_layers + 1) * ROLE_COUNT * sizeof *slots);
    char name[MAX_TENSOR_NAME];
    *num_slots = 0;
    for (int r = 0; r < ROLE_COUNT; r++) {
        enum tensor_role role = (enum tensor_role)r;
        int num_layers = role < ROLE_FIRST_IN_LAYER ? 1 : config->num_layers;
        for (int layer = 0; layer < num_layers && model_has_role(config, role); layer++) {
            model_role_name(config, role, layer, name, sizeof name);
            int64_t handle = st_layout_add(layout, name, model_role_tensor(config, role), config->dtype);
            slots[(*num_slots)++] = (struct slot){role, layer, handle};
        }
    }
    st_layout_finish(layout);
    return slots;
}

static int write_tensor(const struct weights *weights, const struct model_config *config,
                        struct st_layout *layout, const struct slot *slot, struct err *err) {
    char name[MAX_TENSOR_NAME];
    int64_t count = tensor_count(model_role_tensor(config, slot->role));
    int64_t chunk = count < CHUNK_VALUES ? count : CHUNK_VALUES;
    float *values = xmalloc((size_t)chunk * sizeof *values);
    int status = 0;
    model_role_name(config, slot->role, slot->layer, name, sizeof name);
    for (int64_t first = 0; first < count && status == 0; first += chunk) {
        int64_t now = count - first < chunk ? count - first : chunk;
        status = weights_read(weights, slot->role, slot->layer, first, now, values, err);
        if (status == 0)
            status = export_check_values(name, config->dtype == DTYPE_F16, values, now, err);
        if (status == 0)
            status = st_layout_write_f32(layout, slot->handle, first, now, values, err);
    }
    free(values);
    return status;
}

static int write_weights(const struct weights *weights, const struct model_config *config, const char *folder,
                         struct err *err) {
    int64_t num_slots;
    struct st_layout *layout = st_layout_create("model", max_shard_bytes);
    struct slot *slots = plan_tensors(config, layout, &num_slots);
    int status = st_layout_write_headers(layout, folder, err);
    if (status == 0)
        status = st_layout_open(layout, folder, err);
    if (status == 0) {
        for (int64_t i = 0; i < num_slots && status == 0; i++)
            status = write_tensor(weights, config, layout, &slots[i], err);
        int closed = st_layout_close(layout, status == 0 ? err : NULL);
        status = status == 0 ? closed : status;
    }
    free(slots);
    st_layout_free(layout);
    return status;
}

int export_hf(const struct weights *weights, const char *path, enum export_type type, struct err *err) {
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
        if (folder_create(partial, err) != 0 || write_small_files(weights, &config, partial, err) != 0 ||
            write_weights(weights, &config, partial, err) != 0 || folder_sync(partial, err) != 0 ||
            file_rename(partial, folder, err) != 0)
            status = -1;
        if (status != 0)
            folder_remove(partial, NULL);
    }
    if (status != 0)
        err_prefix(err, "cannot export to '%s'", path);
    free(folder);
    free(partial);
    return status;
}
