/* export_hf.c - a model as a Hugging Face folder: config.json, safetensors, tokenizer, chat template,
 * generation settings.  transformers, vLLM and TGI load it as it is.
 *
 * The folder is written under another name and renamed when it is complete and on the disk. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/export.h"
#include "checkpoints/files.h"
#include "checkpoints/safetensors.h"
#include "data/json.h"

enum { CHUNK_VALUES = 1 << 22, MAX_SMALL_FILE_BYTES = 512 << 20, MAX_TENSOR_NAME = 160 };
static const int64_t max_shard_bytes = 5000000000; /* what transformers has long used */

static int write_text(const char *folder, const char *name, const char *text, size_t bytes, struct err *err) {
    char *path = xasprintf("%s/%s", folder, name);
    int status = file_replace(path, text, bytes, err);
    free(path);
    return status;
}

/* read_if_there - the text of a file of the source folder, or NULL with *status untouched where there is
 * none. */
static char *read_if_there(const char *source, const char *name, size_t *bytes, int *status,
                           struct err *err) {
    char *path = source ? xasprintf("%s/%s", source, name) : NULL, *text = NULL;
    if (path && path_exists(path)) {
        text = file_read_whole(path, MAX_SMALL_FILE_BYTES, bytes, err);
        if (!text)
            *status = -1;
    }
    free(path);
    return text;
}

/* copy_small_files - what the source has besides config, weights and the two files of the tokenizer. */
static int copy_small_files(const char *source, const char *folder, struct err *err) {
    static const char *const names[] = {"generation_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "chat_template.json",
                                        "tokenizer.model",
                                        "vocab.json",
                                        "merges.txt",
                                        "LICENSE",
                                        "NOTICE"};
    int status = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == 0; i++) {
        size_t bytes = 0;
        char *text = read_if_there(source, names[i], &bytes, &status, err);
        if (text)
            status = write_text(folder, names[i], text, bytes, err);
        free(text);
    }
    return status;
}

/* write_generation_config - where the source has none (GGUF): the ids that begin and end generation. */
static int write_generation_config(const struct model_config *config, const char *folder, struct err *err) {
    json_t *tree = json_object(), *ends = json_array();
    for (int i = 0; i < config->num_eos; i++)
        json_array_append_new(ends, json_integer(config->eos_ids[i]));
    if (config->bos_id >= 0)
        json_object_set_new(tree, "bos_token_id", json_integer(config->bos_id));
    if (config->num_eos)
        json_object_set(tree, "eos_token_id", config->num_eos == 1 ? json_array_get(ends, 0) : ends);
    if (config->pad_id >= 0)
        json_object_set_new(tree, "pad_token_id", json_integer(config->pad_id));
    char *text = json_dumps(tree, JSON_INDENT(2));
    CHECK(text, "out of memory while writing generation_config.json");
    int status = write_text(folder, "generation_config.json", text, strlen(text), err);
    free(text);
    json_decref(ends);
    json_decref(tree);
    return status;
}

/* write_template - older programs read the chat template in tokenizer_config.json, newer ones prefer a file
 * of its own; both get it.  *config_text is replaced where the template has to be added to it. */
static int write_template(const char *source, const char *folder, char **config_text, struct err *err) {
    int status = 0;
    size_t bytes = 0;
    json_t *config = *config_text
                         ? json_parse_text(*config_text, strlen(*config_text), "tokenizer_config.json", err)
                         : json_object();
    if (!config)
        return -1;
    char *file_text = read_if_there(source, "chat_template.jinja", &bytes, &status, err);
    json_t *member = json_object_get(config, "chat_template");
    if (file_text && !member) {
        json_object_set_new(config, "chat_template", json_stringn(file_text, bytes));
        free(*config_text);
        *config_text = json_dumps(config, JSON_INDENT(2));
    }
    if (file_text)
        status = write_text(folder, "chat_template.jinja", file_text, bytes, err);
    else if (status == 0 && json_is_string(member))
        status = write_text(folder, "chat_template.jinja", json_string_value(member),
                            json_string_length(member), err);
    free(file_text);
    json_decref(config);
    return status;
}

static int write_tokenizer(const struct weights *weights, const char *folder, struct err *err) {
    char *json = NULL, *config_text = NULL;
    if (weights_tokenizer_text(weights, &json, &config_text, err) != 0)
        return -1;
    int status = write_template(weights_folder(weights), folder, &config_text, err);
    if (status == 0 && json)
        status = write_text(folder, "tokenizer.json", json, strlen(json), err);
    if (status == 0 && config_text)
        status = write_text(folder, "tokenizer_config.json", config_text, strlen(config_text), err);
    free(json);
    free(config_text);
    return status;
}

static int write_small_files(const struct weights *weights, const struct model_config *config,
                             const char *folder, struct err *err) {
    const char *source = weights_folder(weights);
    char *text = model_config_text(config, weights_config_text(weights));
    int status = write_text(folder, "config.json", text, strlen(text), err);
    free(text);
    if (status != 0 || write_tokenizer(weights, folder, err) != 0)
        return -1;
    if (source && copy_small_files(source, folder, err) != 0)
        return -1;
    char *generation = xasprintf("%s/generation_config.json", folder);
    if (!path_exists(generation))
        status = write_generation_config(config, folder, err);
    free(generation);
    return status;
}

/* --- weights --- */

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
