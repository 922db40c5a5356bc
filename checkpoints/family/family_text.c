/* family_text.c - struct model_config -> config.json.
 *
 * The source model's own object is kept, unknown keys and order included, and only the keys of the
 * descriptor are set: a loader that knows more than atelier finds what it needs.  Renamed keys are written in
 * both spellings (dtype and torch_dtype, rope_parameters and rope_theta with rope_scaling): each version of
 * the loaders ignores the other one's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_internal.h"
#include "data/corpus/json.h"

/* set_int, set_double, set_float - leave the source's own notation alone where the value is the same. */
static void set_int(json_t *root, const char *key, int64_t value) {
    const json_t *old = json_object_get(root, key);
    if (!json_is_integer(old) || json_integer_value(old) != value)
        json_object_set_new(root, key, json_integer(value));
}

static void set_double(json_t *root, const char *key, double value) {
    const json_t *old = json_object_get(root, key);
    if (!json_is_number(old) || json_number_value(old) != value)
        json_object_set_new(root, key, json_real(value));
}

/* set_float - the shortest decimal that reads back as this f32: 1e-05, not 9.99999974e-06. */
static void set_float(json_t *root, const char *key, float value) {
    char text[40];
    const json_t *old = json_object_get(root, key);
    if (json_is_number(old) && (float)json_number_value(old) == value)
        return;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    json_object_set_new(root, key, json_real(strtod(text, NULL)));
}

static const char *torch_dtype_name(enum dtype dtype) {
    if (dtype == DTYPE_BF16)
        return "bfloat16";
    return dtype == DTYPE_F16 ? "float16" : "float32";
}

/* set_dense - the layers without experts, where there are some. */
static void set_dense(json_t *root, const struct model_config *config) {
    json_t *listed = json_array();
    for (int layer = 0; layer < config->num_layers; layer++)
        if (family_layer_plan(config, layer).ffn != FFN_EXPERTS)
            json_array_append_new(listed, json_integer(layer));
    if (json_array_size(listed) > 0)
        json_object_set(root, "mlp_only_layers", listed);
    json_decref(listed);
}

/* set_router - of a family whose router's scores are sigmoids, or what else a class says of its routers.  Layers that predict further
 * tokens are not in what is written. */
static void set_router(json_t *root, const struct model_config *config) {
    const struct expert_facts *class = &family_of(config)->experts;
    if (!family_routes_by_sigmoid(config)) {
        set_float(root, "router_aux_loss_coef", (float)config->router_loss);
        if (class->may_be_dense)
            set_dense(root, config);
        if (config->adds_router_loss)
            json_object_set_new(root, "output_router_logits", json_true());
        return;
    }
    set_int(root, "n_shared_experts", config->num_shared);
    set_int(root, "n_group", config->num_groups);
    set_int(root, "topk_group", config->num_groups_chosen);
    set_double(root, "routed_scaling_factor", config->route_scale);
    set_int(root, "first_k_dense_replace", family_leading_dense(config));
    set_int(root, "num_nextn_predict_layers", 0);
}

/* set_ffn - the feed-forward block, or the experts. */
static void set_ffn(json_t *root, const struct model_config *config) {
    const struct family *family = family_of(config);
    const char *width_key = family->experts.width_key;
    set_int(root, "intermediate_size", width_key ? config->dense_width : config->ffn_width);
    if (!family->experts_key)
        return;
    if (width_key)
        set_int(root, width_key, config->ffn_width);
    set_int(root, family->experts_key, config->num_experts);
    set_int(root, "num_experts_per_tok", config->num_chosen);
    set_router(root, config);
    if (!family->experts.renormalises)
        json_object_set_new(root, "norm_topk_prob", json_boolean(config->renormalises));
}

/* set_sizes - head_dim and others are written even where the source left them to a default: one meaning for
 * all loaders. */
static void set_sizes(json_t *root, const struct model_config *config) {
    set_int(root, "hidden_size", config->width);
    set_ffn(root, config);
    set_int(root, "vocab_size", config->vocab_size);
    set_int(root, "max_position_embeddings", config->max_positions);
    set_int(root, "num_hidden_layers", config->num_layers);
    set_int(root, "num_attention_heads", config->num_heads);
    set_int(root, "num_key_value_heads", config->num_kv_heads);
    set_int(root, "head_dim", config->head_dim);
    if (family_of(config)->chooses_attention) {
        json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
        json_object_set_new(root, "use_qk_norm", json_boolean(config->head_norms));
    }
    set_float(root, family_eps_key(family_of(config)), config->norm_eps);
    set_float(root, "initializer_range", config->initializer_range);
    json_object_set_new(root, "tie_word_embeddings", json_boolean(config->tied_head));
}

/* rotary_part - the number that gives dim elements of a head when it is cut as the class cuts it: 30 / 44 would give 29. */
static double rotary_part(int dim, int head_dim) {
    double part = (double)dim / head_dim;
    while ((int)(head_dim * part) < dim)
        part = nextafter(part, 2);
    return part;
}

/* set_rotary_part - of families that have the key; left alone where it says the same. */
static void set_rotary_part(json_t *object, const struct model_config *config) {
    const json_t *old = json_object_get(object, "partial_rotary_factor");
    int dim = model_rotary_dim(config);
    if (family_of(config)->default_rotary_part > 0 &&
        !(json_is_number(old) && (int)(config->head_dim * json_number_value(old)) == dim))
        json_object_set_new(object, "partial_rotary_factor", json_real(rotary_part(dim, config->head_dim)));
}

/* set_yarn - what is not given is not written. */
static void set_yarn(json_t *rope, const struct model_config *config) {
    const struct yarn *yarn = &config->yarn;
    set_int(rope, "original_max_position_embeddings", config->rope_original_positions);
    set_double(rope, "beta_fast", yarn->beta_fast);
    set_double(rope, "beta_slow", yarn->beta_slow);
    if (yarn->mscale != 0)
        set_double(rope, "mscale", yarn->mscale);
    if (yarn->mscale_all_dim != 0)
        set_double(rope, "mscale_all_dim", yarn->mscale_all_dim);
    if (yarn->attention_factor > 0)
        set_double(rope, "attention_factor", yarn->attention_factor);
    if (yarn->exact_bounds)
        json_object_set_new(rope, "truncate", json_false());
}

/* factor_list - each the shortest decimal that reads back as this f32. */
static json_t *factor_list(const float *factors, int count) {
    json_t *list = json_array(), *one = json_object();
    for (int i = 0; i < count; i++) {
        set_float(one, "factor", factors[i]);
        json_array_append(list, json_object_get(one, "factor"));
        json_object_clear(one);
    }
    json_decref(one);
    return list;
}

static void set_longrope(json_t *rope, const struct model_config *config) {
    const struct longrope *longrope = &config->longrope;
    set_int(rope, "original_max_position_embeddings", config->rope_original_positions);
    json_object_set_new(rope, "short_factor", factor_list(longrope->short_factors, longrope->num_pairs));
    json_object_set_new(rope, "long_factor", factor_list(longrope->long_factors, longrope->num_pairs));
    if (config->yarn.attention_factor > 0)
        set_double(rope, "attention_factor", config->yarn.attention_factor);
}

/* set_temperature - the class computes with both keys whatever the type of positions, and without them not at all. */
static void set_temperature(json_t *rope, const struct model_config *config) {
    set_double(rope, "llama_4_scaling_beta", config->query_temperature);
    if (!json_object_get(rope, "original_max_position_embeddings"))
        set_int(rope, "original_max_position_embeddings", config->max_positions);
}

/* rope_object - {"rope_type": ...} with what that type needs. */
static json_t *rope_object(const struct model_config *config) {
    static const char *const names[NUM_ROPE_KINDS] = {[ROPE_PLAIN] = "default",
                                                      [ROPE_LINEAR] = "linear",
                                                      [ROPE_LLAMA3] = "llama3",
                                                      [ROPE_YARN] = "yarn",
                                                      [ROPE_DYNAMIC] = "dynamic",
                                                      [ROPE_LONG] = "longrope",
                                                      [ROPE_PROPORTIONAL] = "proportional"};
    json_t *rope = json_pack("{s:s}", "rope_type", names[config->rope_kind]);
    if (config->rope_kind != ROPE_PLAIN)
        set_double(rope, "factor", config->rope_factor);
    if (config->rope_kind == ROPE_LLAMA3) {
        set_double(rope, "low_freq_factor", config->rope_low_freq);
        set_double(rope, "high_freq_factor", config->rope_high_freq);
        set_int(rope, "original_max_position_embeddings", config->rope_original_positions);
    }
    if (config->rope_kind == ROPE_YARN)
        set_yarn(rope, config);
    if (config->rope_kind == ROPE_LONG)
        set_longrope(rope, config);
    if (config->rope_kind == ROPE_PROPORTIONAL)
        set_double(rope, "partial_rotary_factor", rotary_part(2 * config->rope_pairs, config->head_dim));
    if (family_has_temperature(config))
        set_temperature(rope, config);
    return rope;
}

/* set_parameters - rope_parameters: one object, or one for each type of layer. */
static void set_parameters(json_t *root, const struct model_config *config) {
    json_t *parameters = rope_object(config);
    set_double(parameters, "rope_theta", config->rope_theta);
    set_rotary_part(parameters, config);
    if (family_has_local_base(config))
        parameters = json_pack("{s:o,s:{s:s,s:f}}", "full_attention", parameters, "sliding_attention",
                               "rope_type", "default", "rope_theta", config->rope_local_theta);
    json_object_set_new(root, "rope_parameters", parameters);
}

/* set_softcap - a missing key would be the class's. */
static void set_softcap(json_t *root, const char *key, float cap) {
    if (cap > 0)
        set_float(root, key, cap);
    else
        json_object_set_new(root, key, json_null());
}

/* set_windows - sliding_window and layer_types.  A list where all are local, as the class has it, would make a Mistral something
 * else to some programs.  Where the class does not run without a window, a model without one gets one that no layer has. */
static void set_windows(json_t *root, const struct model_config *config) {
    const struct local_layers *local = &family_of(config)->local;
    bool unused = !config->window && local->needs_window;
    bool by_class = !unused && local->period == EVERY_LAYER_LOCAL &&
                    (!config->window || config->window_period == EVERY_LAYER_LOCAL);
    if (config->window || unused)
        set_int(root, "sliding_window", unused ? config->max_positions : config->window);
    else
        json_object_set_new(root, "sliding_window", json_null());
    if (by_class) {
        json_object_del(root, "layer_types");
        return;
    }
    json_t *types = json_array();
    for (int layer = 0; layer < config->num_layers; layer++)
        json_array_append_new(types, json_string(family_layer_plan(config, layer).window ? "sliding_attention"
                                                                                         : "full_attention"));
    json_object_set_new(root, "layer_types", types);
}

/* set_local - of a family with local layers. */
static void set_local(json_t *root, const struct model_config *config) {
    set_windows(root, config);
    if (family_of(config)->local.theta > 0) {
        if (config->window_whole == config->window_period - 1)
            set_int(root, "sliding_window_pattern", config->window_period);
        set_double(root, "rope_local_base_freq", config->rope_local_theta);
    }
    if (config->query_scalar)
        set_int(root, "query_pre_attn_scalar", config->query_scalar);
    if (family_has_softcaps(config)) {
        set_softcap(root, "attn_logit_softcapping", config->attention_softcap);
        set_softcap(root, "final_logit_softcapping", config->logit_softcap);
    }
}

/* set_rope - the old spelling at the top level, the new one in an object that also holds theta. */
static void set_rope(json_t *root, const struct model_config *config) {
    set_double(root, "rope_theta", config->rope_theta);
    json_object_set_new(root, "rope_scaling",
                        config->rope_kind == ROPE_PLAIN ? json_null() : rope_object(config));
    set_rotary_part(root, config);
    if (family_of(config)->default_original && config->rope_original_positions)
        set_int(root, "original_max_position_embeddings", config->rope_original_positions);
    set_parameters(root, config);
}

static void set_id(json_t *root, const char *key, int32_t id) {
    if (id >= 0)
        set_int(root, key, id);
    else if (!json_object_get(root, key)) /* a source that names an id outside its vocabulary keeps it */
        json_object_set_new(root, key, json_null());
}

/* eos_value - null, an id, or a list, as parse_eos reads it. */
static json_t *eos_value(const struct model_config *config) {
    if (config->num_eos == 0)
        return json_null();
    if (config->num_eos == 1)
        return json_integer(config->eos_ids[0]);
    json_t *list = json_array();
    for (int i = 0; i < config->num_eos; i++)
        json_array_append_new(list, json_integer(config->eos_ids[i]));
    return list;
}

/* dump_shortest - jansson writes all reals with one precision: take the lowest that reads back the same. */
static char *dump_shortest(json_t *root) {
    for (int digits = 15;; digits++) {
        char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        CHECK(text, "out of memory while writing a model config");
        json_t *again = json_loads(text, JSON_ALLOW_NUL, NULL);
        bool same = again && json_equal(root, again);
        json_decref(again);
        if (same || digits == 17)
            return text;
        free(text);
    }
}

/* set_text - all keys of the text decoder. */
static void set_text(json_t *text, const struct model_config *config) {
    json_object_set_new(text, "model_type", json_string(config->model_type));
    json_object_set_new(text, "dtype", json_string(torch_dtype_name(config->dtype)));
    json_object_set_new(text, "torch_dtype", json_string(torch_dtype_name(config->dtype)));
    set_sizes(text, config);
    set_rope(text, config);
    set_id(text, "bos_token_id", config->bos_id);
    set_id(text, "pad_token_id", config->pad_id);
    json_object_set_new(text, "eos_token_id", eos_value(config));
    json_object_del(text, "quantization_config"); /* what is written is not quantised */
    const char *activation = family_of(config)->activation;
    const char *activation_key = family_activation_key(family_of(config));
    if (!json_object_get(text, activation_key))
        json_object_set_new(text, activation_key, json_string(activation ? activation : "silu"));
    if (family_has_local_layers(config))
        set_local(text, config);
    if (family_has_multipliers(config)) {
        set_double(text, "embedding_multiplier", config->multipliers.embedding);
        set_double(text, "residual_multiplier", config->multipliers.residual);
        set_double(text, "attention_multiplier", config->multipliers.attention);
        set_double(text, "logits_scaling", config->multipliers.logits);
    }
}

/* set_wrapper - the text decoder in its text_config; outside of it only what must agree with it. */
static void set_wrapper(json_t *root, const struct model_config *config) {
    json_t *text = json_object_get(root, "text_config");
    if (!json_is_object(text)) {
        text = json_object();
        json_object_set_new(root, "text_config", text);
    }
    set_text(text, config);
    json_object_del(root, "quantization_config");
    json_object_set_new(root, "model_type", json_string(config->wrapper_type));
    json_object_set_new(root, "dtype", json_string(torch_dtype_name(config->dtype)));
    json_object_set_new(root, "torch_dtype", json_string(torch_dtype_name(config->dtype)));
    json_object_set_new(root, "tie_word_embeddings", json_boolean(config->tied_head));
    if (json_object_get(root, "eos_token_id"))
        json_object_set_new(root, "eos_token_id", eos_value(config));
}

/* config_object - what is written, but for quantization_config. */
static json_t *config_object(const struct model_config *config, const char *base_text) {
    json_t *root = base_text ? json_parse_text(base_text, strlen(base_text), "base config", NULL) : NULL;
    bool is_wrapped = config->wrapper_type[0];
    if (!json_is_object(root)) { /* a base is checked when it is loaded; a broken one carries nothing over */
        json_decref(root);
        root = json_object();
    }
    json_object_set_new(root, "architectures",
                        json_pack("[s]", is_wrapped ? config->wrapper_architecture : config->architecture));
    if (is_wrapped)
        set_wrapper(root, config);
    else
        set_text(root, config);
    return root;
}

char *model_config_text(const struct model_config *config, const char *base_text) {
    json_t *root = config_object(config, base_text);
    char *text = dump_shortest(root);
    json_decref(root);
    return text;
}

char *model_config_text_quantised(const struct model_config *config, const char *base_text,
                                  const char *quantization_text) {
    json_t *root = config_object(config, base_text);
    json_t *scheme =
        json_parse_text(quantization_text, strlen(quantization_text), "quantization_config", NULL);
    CHECK(scheme, "quantization_config is not JSON");
    json_object_set_new(root, "quantization_config", scheme);
    char *text = dump_shortest(root);
    json_decref(root);
    return text;
}
