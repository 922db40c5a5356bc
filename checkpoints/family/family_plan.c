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
                              .softcap = config->attention_softcap,
                              .branch_scale = 1};
    CHECK(layer >= 0 && layer < config->num_layers, "no layer %d in a model of %d", layer,
          config->num_layers);
    if (family->has_multipliers) {
        plan.scale = (float)config->multipliers.attention;
        plan.branch_scale = (float)config->multipliers.residual;
    }
    if (config->query_scalar)
        plan.scale = (float)(1.0 / sqrt((double)config->query_scalar));
    if (family_layer_is_local(config, layer)) {
        plan.window = config->window;
        plan.rope_scaled = !family_has_local_base(config);
        plan.rope_theta = family_has_local_base(config) ? config->rope_local_theta : config->rope_theta;
    }
    if (family->change_plan)
        family->change_plan(config, layer, &plan);
    plan.block_width =
        plan.ffn == FFN_EXPERTS ? config->num_shared * config->ffn_width : family_gated_width(config);
    CHECK(plan.num_experts == 0 || plan.num_experts == config->num_experts,
          "layer %d has %d experts, the model %d", layer, plan.num_experts, config->num_experts);
    return plan;
}

int family_leading_dense(const struct model_config *config) {
    int count = 0;
    while (count < config->num_layers && layer_set_has(&config->dense_layers, count))
        count++;
    return count;
}

int64_t family_gated_width(const struct model_config *config) {
    return family_of(config)->experts.width_key ? config->dense_width : config->ffn_width;
}

int family_expert_defaults(struct model_config *config, struct err *err) {
    const struct family *family = family_of(config);
    if (!family->experts_key && (config->num_experts > 0 || config->num_chosen > 0))
        return err_set(err, "model_type '%s' has no experts", config->model_type);
    if (!family->experts_key) {
        config->renormalises = false;
        return 0;
    }
    if (family->experts.renormalises && !config->renormalises)
        return err_set(err, "the weights of a token's experts always add up to one in model_type '%s'",
                       config->model_type);
    if (config->num_experts == 0)
        config->num_experts = family->experts.num_experts;
    if (config->num_chosen == 0)
        config->num_chosen = family->experts.num_chosen;
    config->router_loss = family->experts.router_loss;
    config->dense_width = family->experts.dense_width;
    if (!family_routes_by_sigmoid(config))
        return 0;
    config->num_shared = family->experts.num_shared;
    config->num_groups = config->num_groups_chosen = 1;
    config->route_scale = 1;
    config->dense_width =
        config->num_chosen *
        config->ffn_width; /* as much as a token takes of experts, nearly that of the published */
    for (int layer = 0; layer < family->experts.num_dense; layer++)
        layer_set_add(&config->dense_layers, layer);
    return 0;
}

struct norm_plan family_final_norm(const struct model_config *config) {
    return family_of(config)->norm;
}

bool family_has_softcaps(const struct model_config *config) {
    return family_of(config)->default_logit_softcap > 0;
}

bool family_has_multipliers(const struct model_config *config) {
    return family_of(config)->has_multipliers;
}

float family_logit_scale(const struct model_config *config) {
    return family_has_multipliers(config) ? (float)(1 / config->multipliers.logits) : 1.0f;
}

float family_embedding_scale(const struct model_config *config) {
    if (family_has_multipliers(config))
        return (float)config->multipliers.embedding;
    return family_of(config)->scales_embedding ? sqrtf((float)config->width) : 1.0f;
}
