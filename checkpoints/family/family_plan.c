/* family_plan.c - what each layer computes: Llama's plan, and what the family changes in it. */
#include <math.h>

#include "checkpoints/family/family_internal.h"

struct layer_plan family_layer_plan(const struct model_config *config, int layer) {
    const struct family *family = family_of(config);
    struct layer_plan plan = {.place = NORM_PRE,
                              .norm = family->norm,
                              .rope_theta = config->rope_theta,
                              .rope_scaled = true,
                              .rotary_dim = model_rotary_dim(config),
                              .ffn = FFN_GATED,
                              .gate = GATE_SILU,
                              .scale = 1.0f / sqrtf((float)config->head_dim),
                              .softcap = config->attention_softcap};
    CHECK(layer >= 0 && layer < config->num_layers, "no layer %d in a model of %d", layer,
          config->num_layers);
    if (config->query_scalar)
        plan.scale = (float)(1.0 / sqrt((double)config->query_scalar));
    if (family_layer_is_local(config, layer)) {
        plan.window = config->window;
        plan.rope_scaled = !family_has_local_base(config);
        plan.rope_theta = family_has_local_base(config) ? config->rope_local_theta : config->rope_theta;
    }
    if (family->change_plan)
        family->change_plan(config, layer, &plan);
    return plan;
}

struct norm_plan family_final_norm(const struct model_config *config) {
    return family_of(config)->norm;
}

bool family_has_local_layers(const struct model_config *config) {
    return family_of(config)->local.period > 0;
}

bool family_has_local_base(const struct model_config *config) {
    return family_of(config)->local.theta > 0;
}

bool family_may_lack_window(const struct model_config *config) {
    return family_of(config)->local.may_lack;
}

bool family_layer_is_local(const struct model_config *config, int layer) {
    return config->window && layer % config->window_period != config->window_whole;
}

bool family_has_softcaps(const struct model_config *config) {
    return family_of(config)->default_logit_softcap > 0;
}

void family_local_defaults(struct model_config *config) {
    const struct local_layers *local = &family_of(config)->local;
    config->window = local->window;
    config->window_period = local->period;
    config->window_whole = local->period ? local->period - 1 : 0;
    config->rope_local_theta = local->theta;
    config->query_scalar = family_of(config)->default_query_scalar;
    config->attention_softcap = family_of(config)->default_attention_softcap;
    config->logit_softcap = family_of(config)->default_logit_softcap;
}

float family_embedding_scale(const struct model_config *config) {
    return family_of(config)->scales_embedding ? sqrtf((float)config->width) : 1.0f;
}
