/* family_features.c - keys of config.json that would make a model something other than its family computes: windows, kinds of
 * layers, biases, activations. */
#include "checkpoints/family/family_features.h"

#include <string.h>

static bool is_word(const json_t *string, const char *word) {
    return json_string_length(string) == strlen(word) && strcmp(json_string_value(string), word) == 0;
}

/* layer_type - of one entry of layer_types: 1 for a local layer, 0 for one that sees its whole document, -1 with err set. */
static int layer_type(const json_t *types, size_t i, struct err *err) {
    const json_t *type = json_array_get(types, i);
    if (!json_is_string(type))
        return err_set(err, "layer_types[%zu] is %s, expected a string", i, json_type_name(type));
    if (is_word(type, "sliding_attention"))
        return 1;
    if (is_word(type, "full_attention"))
        return 0;
    return err_set(err, "layer_types[%zu] is '%.40s', expected sliding_attention or full_attention", i,
                   json_string_value(type));
}

/* read_pattern - from layer_types. */
static int read_pattern(struct model_config *config, const json_t *types, struct err *err) {
    int num_layers = config->num_layers;
    bool is_local[MODEL_MAX_LAYERS];
    if (!json_is_array(types) || json_array_size(types) != (size_t)num_layers)
        return err_set(err, "layer_types is %s of %zu, expected an array of num_hidden_layers, %d, strings",
                       json_type_name(types), json_array_size(types), num_layers);
    for (int i = 0; i < num_layers; i++) {
        int type = layer_type(types, (size_t)i, err);
        if (type < 0)
            return -1;
        is_local[i] = type;
    }
    int odd = family_window_pattern(config, is_local);
    return odd < 0
               ? 0
               : err_set(err,
                         "layer_types[%d] is '%s', while every %d-th layer before sees its whole "
                         "document: only periodic lists are supported",
                         odd, json_string_value(json_array_get(types, (size_t)odd)), config->window_period);
}

/* read_period - sliding_window_pattern, of the class that has it, Gemma 3's: the last of so many layers sees all. */
static int read_period(struct model_config *config, const json_t *root, struct err *err) {
    int64_t period;
    if (json_get_int_or(root, "sliding_window_pattern", config->window_period, &period, err) != 0)
        return -1;
    if (period < 1 || period > INT32_MAX)
        return err_set(err, "sliding_window_pattern is %lld, expected a positive number of reasonable size",
                       (long long)period);
    config->window_period = (int)period;
    config->window_whole = (int)period - 1;
    return 0;
}

/* read_window - its size; null says that there is none, where the class can do without. */
static int read_window(struct model_config *config, const json_t *root, struct err *err) {
    if (json_is_null(json_object_get(root, "sliding_window"))) {
        config->window = 0;
        return family_of(config)->local.may_lack
                   ? 0
                   : err_set(err, "sliding_window is null, expected a number: the layers between those of "
                                  "full attention see a window");
    }
    if (json_get_int_or(root, "sliding_window", config->window, &config->window, err) != 0)
        return -1;
    return config->window > 0 || !json_object_get(root, "sliding_window")
               ? 0
               : err_set(err, "sliding_window is %lld, expected a positive number",
                         (long long)config->window);
}

/* read_multipliers - of the class that has them. */
static int read_multipliers(struct model_config *config, const json_t *root, struct err *err) {
    struct multipliers *m = &config->multipliers;
    const struct {
        const char *key;
        double *value;
    } keys[] = {{"embedding_multiplier", &m->embedding},
                {"residual_multiplier", &m->residual},
                {"attention_multiplier", &m->attention},
                {"logits_scaling", &m->logits}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && family_has_multipliers(config); i++) {
        if (json_get_double_or(root, keys[i].key, 1, keys[i].value, err) != 0)
            return -1;
        if (!(*keys[i].value > 0) || !(*keys[i].value < 1e6))
            return err_set(err, "%s is %g, expected a number above 0, at most 1e6", keys[i].key,
                           *keys[i].value);
    }
    return 0;
}

/* read_query_scalar - of the classes that have it. */
static int read_query_scalar(struct model_config *config, const json_t *root, struct err *err) {
    if (config->query_scalar == 0)
        return 0;
    if (json_get_int_or(root, "query_pre_attn_scalar", config->query_scalar, &config->query_scalar, err) != 0)
        return -1;
    return config->query_scalar > 0
               ? 0
               : err_set(err, "query_pre_attn_scalar is %lld, expected a positive number",
                         (long long)config->query_scalar);
}

/* read_softcap - null says that there is none. */
static int read_softcap(const json_t *root, const char *key, float *cap, struct err *err) {
    double value = (double)*cap;
    if (json_is_null(json_object_get(root, key)))
        value = 0;
    else if (json_get_double_or(root, key, value, &value, err) != 0)
        return -1;
    else if (!(value > 0) || !(value < 1e6))
        return err_set(err, "%s is %g, expected a number above 0, at most 1e6, or null", key, value);
    *cap = (float)value;
    return 0;
}

/* read_softcaps - of the classes that have them. */
static int read_softcaps(struct model_config *config, const json_t *root, struct err *err) {
    if (!family_has_softcaps(config))
        return 0;
    if (read_softcap(root, "attn_logit_softcapping", &config->attention_softcap, err) != 0)
        return -1;
    return read_softcap(root, "final_logit_softcapping", &config->logit_softcap, err);
}

/* settle_pattern - one way to say it, whatever said it: a period longer than the model is that of no layer, and a window that
 * no layer has is none, where the family can do without. */
static void settle_pattern(struct model_config *config) {
    bool is_local[MODEL_MAX_LAYERS], any = !family_may_lack_window(config);
    for (int layer = 0; layer < config->num_layers; layer++)
        any = any || family_layer_is_local(config, layer);
    config->window = any ? config->window : 0;
    for (int layer = 0; layer < config->num_layers; layer++)
        is_local[layer] = !config->window || family_layer_is_local(config, layer);
    family_window_pattern(config, is_local);
}

/* check_types - a list that read_pattern took, against the window. */
static int check_types(const struct model_config *config, const json_t *types, struct err *err) {
    for (int layer = 0; types && layer < config->num_layers; layer++) {
        bool is_local = layer_type(types, (size_t)layer, NULL);
        if (is_local && !config->window)
            return err_set(err, "layer_types[%d] is 'sliding_attention', and sliding_window is null", layer);
        if (!is_local && config->window && family_of(config)->local.ignores_types)
            return err_set(
                err,
                "layer_types[%d] is 'full_attention', which transformers does not read of model_type "
                "'%s': all layers have its sliding_window, %lld; remove the list, or set "
                "sliding_window to null",
                layer, config->model_type, (long long)config->window);
    }
    return 0;
}

int family_parse_local(struct model_config *config, const json_t *root, struct err *err) {
    const json_t *types = json_find(root, "layer_types");
    family_local_defaults(config);
    if (read_multipliers(config, root, err) != 0)
        return -1;
    if (!family_has_local_layers(config) ||
        config->num_layers > MODEL_MAX_LAYERS) /* which model_config_check refuses */
        return 0;
    if (read_window(config, root, err) != 0 || read_query_scalar(config, root, err) != 0 ||
        read_softcaps(config, root, err) != 0 ||
        (family_of(config)->local.theta > 0 && read_period(config, root, err) != 0) ||
        (types && read_pattern(config, types, err) != 0) || check_types(config, types, err) != 0)
        return -1;
    settle_pattern(config);
    return 0;
}

/* refuse_window - a window shorter than the model; one at least as long never masks anything. */
static int refuse_window(const struct model_config *config, const struct family *family, const json_t *root,
                         struct err *err) {
    bool uses_window;
    int64_t window;
    if (json_get_int_or(root, "sliding_window", 0, &window, err) != 0 ||
        json_get_bool_or(root, "use_sliding_window", !family->window_has_switch, &uses_window, err) != 0)
        return -1;
    /* null says "no window", a missing key says "the class default". */
    if (!json_object_get(root, "sliding_window"))
        window = family->default_window;
    if (family->window_has_switch && !uses_window)
        window = 0;
    if (window > 0 && window < config->max_positions)
        return err_set(err,
                       "sliding_window %lld is not supported yet for model_type '%s' (null, or at least "
                       "max_position_embeddings %lld, is)",
                       (long long)window, config->model_type, (long long)config->max_positions);
    return 0;
}

/* refuse_layer_types - a layer of any kind but full attention; programs that read the list compute as it says, whatever
 * the family and the window. */
static int refuse_layer_types(const struct model_config *config, const json_t *root, struct err *err) {
    const json_t *types = json_find(root, "layer_types");
    if (!types)
        return 0;
    if (!json_is_array(types))
        return err_set(err, "key 'layer_types' is %s, expected an array", json_type_name(types));
    for (size_t i = 0; i < json_array_size(types); i++) {
        const json_t *type = json_array_get(types, i);
        if (!json_is_string(type))
            return err_set(err, "layer_types[%zu] is %s, expected a string", i, json_type_name(type));
        if (!is_word(type, "full_attention"))
            return err_set(err, "layer_types[%zu] is '%.40s': only full attention is computed", i,
                           json_string_value(type));
    }
    if (json_array_size(types) != (size_t)config->num_layers)
        return err_set(err, "layer_types lists %zu layers, num_hidden_layers is %d", json_array_size(types),
                       config->num_layers);
    return 0;
}

/* refuse_no_rope - layers without rotary positions other than the family's plan has them: 1 in no_rope_layers means that
 * the layer rotates. */
static int refuse_no_rope(const struct model_config *config, const json_t *root, struct err *err) {
    const json_t *layers = json_find(root, "no_rope_layers");
    int64_t interval;
    if (json_get_int_or(root, "no_rope_layer_interval", INT32_MAX, &interval, err) != 0)
        return -1;
    if (config->num_layers > MODEL_MAX_LAYERS) /* which model_config_check refuses */
        return 0;
    if (interval < 1)
        return err_set(err, "no_rope_layer_interval is %lld, expected at least 1", (long long)interval);
    if (layers && !json_is_array(layers))
        return err_set(err, "key 'no_rope_layers' is %s, expected an array", json_type_name(layers));
    if (layers && json_array_size(layers) != (size_t)config->num_layers)
        return err_set(err, "no_rope_layers lists %zu layers, num_hidden_layers is %d",
                       json_array_size(layers), config->num_layers);
    for (int layer = 0; layer < config->num_layers; layer++) {
        bool planned = family_layer_plan(config, layer).rope_theta > 0, asked = planned;
        const json_t *given = json_array_get(layers, (size_t)layer);
        if (given && !json_is_integer(given))
            return err_set(err, "no_rope_layers[%d] is %s, expected 0 or 1", layer, json_type_name(given));
        if (given)
            asked = json_integer_value(given) != 0;
        else if (json_find(root, "no_rope_layer_interval"))
            asked = (layer + 1) % interval != 0;
        if (asked != planned)
            return err_set(
                err, "%s: layer %d %s rotary positions there, which model_type '%s' is not computed with",
                layers ? "no_rope_layers" : "no_rope_layer_interval", layer, asked ? "has" : "has no",
                config->model_type);
    }
    return 0;
}

int family_refuse_features(const struct model_config *config, const struct family *family, const json_t *root,
                           struct err *err) {
    bool attention_bias, mlp_bias;
    const char *activation, *known = family->activation ? family->activation : "silu";
    const char *key = family_activation_key(family);
    if (json_get_bool_or(root, "attention_bias", family->attention_bias, &attention_bias, err) != 0 ||
        json_get_bool_or(root, "mlp_bias", false, &mlp_bias, err) != 0 ||
        json_get_string_or(root, key, known, &activation, err) != 0)
        return -1;
    if (attention_bias != family->attention_bias && !family->chooses_attention)
        return err_set(err, "attention_bias %s is not supported for model_type '%s'",
                       attention_bias ? "true" : "false", config->model_type);
    if (mlp_bias)
        return err_set(err, "mlp_bias true is not supported");
    if (strcmp(activation, known) != 0 && (family->activation || strcmp(activation, "swish") != 0))
        return err_set(err, "%s '%.40s' is not supported (supported: %s)", key, activation, known);
    if (refuse_no_rope(config, root, err) != 0)
        return -1;
    if (family_has_local_layers(config))
        return 0;
    return refuse_window(config, family, root, err) == 0 ? refuse_layer_types(config, root, err) : -1;
}
