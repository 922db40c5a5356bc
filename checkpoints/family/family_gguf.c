/* family_gguf.c - what GGUF files call a family, and their keys that begin with it. */
#include <stdio.h>
#include <string.h>

#include "checkpoints/family/family_internal.h"

int family_set_gguf(struct model_config *config, const char *name, size_t length_bytes) {
    for (int i = 0; i < num_families; i++) { /* the first of those that share a name: llama before mistral */
        const struct family *family = family_list[i];
        if (strlen(family->gguf) != length_bytes || memcmp(family->gguf, name, length_bytes) != 0)
            continue;
        return model_config_set_family(config, family->model_type, NULL);
    }
    return -1;
}

void family_set_gguf_experts(struct model_config *config) {
    for (int i = 0; i < num_families; i++)
        if (strcmp(family_list[i]->gguf, family_gguf(config)) == 0 && family_list[i]->experts_key)
            model_config_set_family(config, family_list[i]->model_type, NULL);
}

bool family_has_experts(const struct model_config *config) {
    return family_of(config)->experts_key != NULL;
}

bool family_gguf_renormalises(const struct model_config *config) {
    return family_of(config)->in_gguf.renormalises;
}

bool family_gguf_has_one_period(const struct model_config *config) {
    return family_of(config)->in_gguf.one_period;
}

bool family_gguf_has_exact_bounds(const struct model_config *config) {
    return family_of(config)->in_gguf.exact_bounds;
}

bool family_gguf_has_all_keys(const struct model_config *config) {
    return family_of(config)->in_gguf.has_all_keys;
}

bool family_has_expert_width(const struct model_config *config) {
    return family_of(config)->experts.width_key != NULL;
}

void family_set_gguf_windows(struct model_config *config) {
    for (int i = 0; i < num_families; i++)
        if (strcmp(family_list[i]->gguf, family_gguf(config)) == 0 && family_list[i]->in_gguf.has_windows)
            model_config_set_family(config, family_list[i]->model_type, NULL);
}

const char *family_gguf_names(char *text, size_t room_bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < num_families && used < room_bytes; i++)
        if (!strstr(text, family_list[i]->gguf))
            used += (size_t)snprintf(text + used, room_bytes - used, "%s%s", used ? ", " : "",
                                     family_list[i]->gguf);
    return text;
}

const char *family_gguf(const struct model_config *config) {
    return family_of(config)->gguf;
}

const char *family_gguf_key(const struct model_config *config, const char *key, char *text) {
    snprintf(text, FAMILY_KEY_ROOM, "%s.%s", family_gguf(config), key);
    return text;
}

const char *family_gguf_eps_key(const struct model_config *config) {
    return family_of(config)->norm.kind == NORM_LAYER ? "attention.layer_norm_epsilon"
                                                      : "attention.layer_norm_rms_epsilon";
}

bool family_gguf_rotates_part(const struct model_config *config) {
    return family_of(config)->default_rotary_part > 0;
}

bool family_has_temperature(const struct model_config *config) {
    return family_of(config)->has_temperature;
}

int64_t family_gguf_query_scalar(const struct model_config *config) {
    if (!family_of(config)->default_query_scalar)
        return 0;
    return config->num_layers == family_of(config)->in_gguf.layers_of_27b ? config->width / config->num_heads
                                                                          : config->head_dim;
}

bool family_gguf_has_head(const struct model_config *config) {
    return family_of(config)->in_gguf.has_head;
}

bool family_gguf_has_windows(const struct model_config *config) {
    return family_of(config)->in_gguf.has_windows;
}

bool family_gguf_has_one_base(const struct model_config *config) {
    return family_of(config)->in_gguf.one_base;
}

bool family_gguf_stretches(const struct model_config *config) {
    return family_of(config)->in_gguf.stretches;
}

bool family_gguf_has_freqs(const struct model_config *config) {
    return family_of(config)->in_gguf.has_freqs;
}

bool family_gguf_has_longrope(const struct model_config *config) {
    return family_of(config)->in_gguf.has_longrope;
}

bool family_gguf_ties_head(const struct model_config *config) {
    return family_of(config)->in_gguf.ties_head;
}

int64_t family_gguf_window(const struct model_config *config) {
    return family_of(config)->in_gguf.window;
}

int family_gguf_period(const struct model_config *config) {
    return family_of(config)->local.period;
}

int64_t family_gguf_positions(const struct model_config *config) {
    bool unknown = config->window && config->window_period > 1 && !family_gguf_has_windows(config);
    return unknown && config->window < config->max_positions ? config->window : config->max_positions;
}
