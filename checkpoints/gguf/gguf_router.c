/* gguf_router.c - see gguf_router.h.
 * Source: llama.cpp, gguf-py/gguf/constants.py, conversion/glm.py, src/llama-arch.h (LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID). */
#include "checkpoints/gguf/gguf_router.h"

#include <stdio.h>
#include <string.h>

enum { GATING_SIGMOID = 2 };

bool gguf_is_router_key(const char *key) {
    static const char *const keys[] = {
        "expert_shared_count",  "expert_group_count",        "expert_group_used_count",
        "expert_weights_scale", "expert_weights_norm",       "expert_gating_func",
        "nextn_predict_layers", "leading_dense_block_count", "expert_shared_feed_forward_length"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

/* read_count - an integer from 0 on that a file may lack. */
static int read_count(struct gguf_settings settings, const char *name, int64_t fallback, int *count,
                      struct err *err) {
    char key[FAMILY_KEY_ROOM];
    int64_t value;
    if (gguf_setting_int(settings.file, family_gguf_key(settings.config, name, key), fallback, &value, err) !=
        0)
        return -1;
    if (value < 0 || value > INT32_MAX)
        return err_set(err, "key '%s' of '%s' is %lld, out of range", key, gguf_path(settings.file),
                       (long long)value);
    *count = (int)value;
    return 0;
}

/* read_layers - which are dense, and which predict further tokens. */
static int read_layers(struct gguf_settings settings, struct model_config *config, struct err *err) {
    int num_dense;
    if (read_count(settings, "leading_dense_block_count", 0, &num_dense, err) != 0 ||
        read_count(settings, "nextn_predict_layers", 0, &config->num_further, err) != 0)
        return -1;
    if (num_dense >= config->num_layers - config->num_further || config->num_layers > MODEL_MAX_LAYERS)
        return err_set(err, "'%s' has %d layers, of which %d are dense and %d predict further tokens",
                       gguf_path(settings.file), config->num_layers, num_dense, config->num_further);
    config->num_layers -= config->num_further;
    memset(&config->dense_layers, 0, sizeof config->dense_layers);
    for (int layer = 0; layer < num_dense; layer++)
        layer_set_add(&config->dense_layers, layer);
    return 0;
}

/* read_attention - of which the tensors alone tell. */
static void read_attention(const struct gguf *file, struct model_config *config) {
    config->qkv_bias = gguf_find_tensor(file, "blk.0.attn_q.bias") >= 0;
    config->head_norms = gguf_find_tensor(file, "blk.0.attn_q_norm.weight") >= 0;
}

int gguf_read_router(struct gguf_settings settings, struct model_config *config, struct err *err) {
    int gating = GATING_SIGMOID, renormalises = 0;
    if (!family_routes_by_sigmoid(config))
        return 0;
    if (read_layers(settings, config, err) != 0 ||
        read_count(settings, "expert_gating_func", GATING_SIGMOID, &gating, err) != 0 ||
        read_count(settings, "expert_weights_norm", 0, &renormalises, err) != 0 ||
        read_count(settings, "expert_shared_count", 0, &config->num_shared, err) != 0 ||
        read_count(settings, "expert_group_count", 1, &config->num_groups, err) != 0 ||
        read_count(settings, "expert_group_used_count", 1, &config->num_groups_chosen, err) != 0 ||
        gguf_setting_double(settings, "expert_weights_scale", 1, &config->route_scale, err) != 0)
        return -1;
    if (gating != GATING_SIGMOID)
        return err_set(err, "'%s' has an expert_gating_func of %d, and only sigmoids (%d) are computed",
                       gguf_path(settings.file), gating, GATING_SIGMOID);
    config->renormalises = renormalises;
    if (config->num_groups <= 1)
        config->num_groups = config->num_groups_chosen = 1;
    read_attention(settings.file, config);
    return 0;
}

static void set_size(struct gguf_writer *writer, const struct model_config *config, const char *name,
                     int64_t value) {
    char key[FAMILY_KEY_ROOM];
    gguf_set_u32(writer, family_gguf_key(config, name, key), (uint32_t)value);
}

/* Where rows find their experts in all groups there are none, and llama.cpp asks for fewer than all. */
void gguf_set_router(struct gguf_writer *writer, const struct model_config *config) {
    char key[FAMILY_KEY_ROOM];
    if (!family_routes_by_sigmoid(config))
        return;
    set_size(writer, config, "expert_gating_func", GATING_SIGMOID);
    set_size(writer, config, "expert_shared_count", config->num_shared);
    set_size(writer, config, "leading_dense_block_count", family_leading_dense(config));
    set_size(writer, config, "nextn_predict_layers", 0);
    gguf_set_f32(writer, family_gguf_key(config, "expert_weights_scale", key), (float)config->route_scale);
    gguf_set_bool(writer, family_gguf_key(config, "expert_weights_norm", key), config->renormalises);
    if (config->num_groups_chosen == config->num_groups)
        return;
    set_size(writer, config, "expert_group_count", config->num_groups);
    set_size(writer, config, "expert_group_used_count", config->num_groups_chosen);
}

bool gguf_is_further(const struct model_config *config, const char *name) {
    char before[PARAM_NAME_ROOM];
    for (int i = 0; i < config->num_further; i++) {
        int length = snprintf(before, sizeof before, "blk.%d.", config->num_layers + i);
        if (strncmp(name, before, (size_t)length) == 0)
            return true;
    }
    return false;
}

int64_t gguf_model_num_further(const struct gguf *file, const struct model_config *config) {
    int64_t count = 0;
    for (int64_t i = 0; i < gguf_num_tensors(file); i++)
        count += gguf_is_further(config, gguf_tensor(file, i).name);
    return count;
}
