/* family_parse.c - config.json of a Hugging Face model -> struct model_config.
 *
 * Both spellings are read: rope_theta with rope_scaling{rope_type|type}, or rope_parameters; torch_dtype or
 * dtype.  Whatever would change the arithmetic and is not supported is refused by name; keys that do not
 * concern the arithmetic are not looked at.
 * Source: the configuration classes' documented keys and defaults of transformers 4 and 5. */
#include <stdio.h>
#include <string.h>

#include "checkpoints/family/family_features.h"
#include "checkpoints/family/family_foreign.h"
#include "checkpoints/family/family_internal.h"
#include "checkpoints/family/family_parse.h"
#include "checkpoints/safetensors/quantised.h"

/* read_count - a size that fits in an int; finer limits are model_config_check's. */
static int read_count(const json_t *root, const char *key, int fallback, int *count, struct err *err) {
    int64_t value = fallback;
    int status = fallback > 0 ? json_get_int_or(root, key, fallback, &value, err)
                              : json_get_int(root, key, &value, err);
    if (status != 0)
        return -1;
    if (value < 1 || value > INT32_MAX)
        return err_set(err, "%s is %lld, expected a positive number of reasonable size", key,
                       (long long)value);
    *count = (int)value;
    return 0;
}

/* parse_heads - their number and width.  Without head_dim the heads share the width, unless the class has a width of its
 * own; with it (Mistral Nemo, Qwen3) H * D may differ from C. */
static int parse_heads(struct model_config *config, const struct family *family, const json_t *root,
                       struct err *err) {
    if (read_count(root, "num_attention_heads", family->default_sizes.num_heads, &config->num_heads, err) !=
        0)
        return -1;
    /* null says "as many as heads", a missing key says "the class default". */
    bool by_class = family->default_kv_heads && !json_object_get(root, "num_key_value_heads");
    int kv_heads = by_class ? family->default_kv_heads : config->num_heads;
    int head_dim =
        family->default_head_dim ? family->default_head_dim : (int)(config->width / config->num_heads);
    if (!family->default_head_dim && !json_find(root, "head_dim") && config->width % config->num_heads != 0)
        return err_set(
            err, "hidden_size %lld is not a multiple of num_attention_heads %d and head_dim is not given",
            (long long)config->width, config->num_heads);
    if (read_count(root, "num_key_value_heads", kv_heads, &config->num_kv_heads, err) != 0)
        return -1;
    return read_count(root, "head_dim", head_dim, &config->head_dim, err);
}

static double or_else(double value, double otherwise) {
    return value > 0 ? value : otherwise;
}

/* read_size - one that must be given where the class has no default (0). */
static int read_size(const json_t *root, const char *key, int64_t fallback, int64_t *size, struct err *err) {
    return fallback ? json_get_int_or(root, key, fallback, size, err) : json_get_int(root, key, size, err);
}

/* experts_key - the family's own, or the other one where a file has that instead: transformers 5 writes Qwen3's experts under the
 * name of Mixtral's. */
static const char *experts_key(const struct family *family, const json_t *root) {
    const char *other = strcmp(family->experts_key, "num_experts") == 0 ? "num_local_experts" : "num_experts";
    return !json_find(root, family->experts_key) && json_find(root, other) ? other : family->experts_key;
}

/* read_number - an integer from `least` on; finer limits are model_config_check's. */
static int read_number(const json_t *root, const char *key, int least, int *number, struct err *err) {
    int64_t value;
    if (json_get_int_or(root, key, *number, &value, err) != 0)
        return -1;
    if (value < least || value > MODEL_MAX_FFN)
        return err_set(err, "%s is %lld, expected %d or more, of reasonable size", key, (long long)value,
                       least);
    *number = (int)value;
    return 0;
}

/* parse_leading - of a family whose first layers are dense: how many. */
static int parse_leading(struct model_config *config, const struct family *family, const json_t *root,
                         struct err *err) {
    int count = family->experts.num_dense;
    config->num_further = family->experts.num_further;
    if (read_number(root, "first_k_dense_replace", 0, &count, err) != 0 ||
        read_number(root, "num_nextn_predict_layers", 0, &config->num_further, err) != 0)
        return -1;
    for (int layer = 0; layer < count && layer < config->num_layers; layer++)
        layer_set_add(&config->dense_layers, layer);
    return 0;
}

/* parse_dense - which layers of a model with experts have none: the listed ones, and those that decoder_sparse_step passes over. */
static int parse_dense(struct model_config *config, const struct family *family, const json_t *root,
                       struct err *err) {
    const json_t *listed = json_find(root, "mlp_only_layers");
    int64_t step;
    if (config->num_layers > ADAPTER_MAX_LAYERS) /* refused by model_config_check */
        return 0;
    if (family->experts.score == ROUTER_SIGMOID)
        return parse_leading(config, family, root, err);
    if (!family->experts.may_be_dense)
        return 0;
    if (json_get_int_or(root, "decoder_sparse_step", 1, &step, err) != 0)
        return -1;
    if (step < 1 || (listed && !json_is_array(listed)))
        return err_set(
            err,
            "decoder_sparse_step is %lld and mlp_only_layers %s, expected a positive number and an array",
            (long long)step, listed ? json_type_name(listed) : "missing");
    for (size_t i = 0; i < json_array_size(listed); i++) {
        const json_t *layer = json_array_get(listed, i);
        int64_t number = json_is_integer(layer) ? json_integer_value(layer) : -1;
        if (number < 0 || number >= config->num_layers)
            return err_set(err, "mlp_only_layers[%zu] is not a layer, expected 0 to %d", i,
                           config->num_layers - 1);
        layer_set_add(&config->dense_layers, (int)number);
    }
    for (int layer = 0; layer < config->num_layers; layer++)
        if ((layer + 1) % step != 0)
            layer_set_add(&config->dense_layers, layer);
    return 0;
}

/* parse_sigmoids - of a family whose router's scores are sigmoids; its class adds no loss of them. */
static int parse_sigmoids(struct model_config *config, const struct expert_facts *class, const json_t *root,
                          struct err *err) {
    config->num_shared = class->num_shared;
    config->num_groups = config->num_groups_chosen = 1;
    if (read_number(root, "n_shared_experts", 1, &config->num_shared, err) != 0 ||
        read_number(root, "n_group", 1, &config->num_groups, err) != 0 ||
        read_number(root, "topk_group", 1, &config->num_groups_chosen, err) != 0)
        return -1;
    return json_get_double_or(root, "routed_scaling_factor", 1, &config->route_scale, err);
}

/* parse_losses - what a class adds to the loss of its routers. */
static int parse_losses(struct model_config *config, const struct expert_facts *class, const json_t *root,
                        struct err *err) {
    if (json_get_double_or(root, "router_aux_loss_coef", class->router_loss, &config->router_loss, err) != 0)
        return -1;
    return json_get_bool_or(root, "output_router_logits", false, &config->adds_router_loss, err);
}

/* parse_experts - of a family that has some.  Returns 0, or -1 with err set. */
static int parse_experts(struct model_config *config, const struct family *family, const json_t *root,
                         struct err *err) {
    const struct expert_facts *class = &family->experts;
    if (!family->experts_key)
        return 0;
    config->renormalises = class->renormalises;
    if (read_count(root, experts_key(family, root), class->num_experts, &config->num_experts, err) != 0 ||
        read_count(root, "num_experts_per_tok", class->num_chosen, &config->num_chosen, err) != 0 ||
        (class->score == ROUTER_SIGMOID ? parse_sigmoids : parse_losses)(config, class, root, err) != 0)
        return -1;
    if (!class->renormalises && json_get_bool_or(root, "norm_topk_prob", class->renormalises_by_class,
                                                 &config->renormalises, err) != 0)
        return -1;
    return class->width_key ? read_size(root, class->width_key, class->width, &config->ffn_width, err) : 0;
}

/* parse_attention - what a class leaves to its keys. */
static int parse_attention(struct model_config *config, const struct family *family, const json_t *root,
                           struct err *err) {
    if (!family->chooses_attention)
        return 0;
    if (json_get_bool_or(root, "attention_bias", false, &config->qkv_bias, err) != 0)
        return -1;
    return json_get_bool_or(root, "use_qk_norm", false, &config->head_norms, err);
}

/* parse_sizes - what has no sensible default must be given; the defaults are those of the family's class. */
static int parse_sizes(struct model_config *config, const struct family *family, const json_t *root,
                       struct err *err) {
    double eps, deviation;
    const struct class_sizes *class = &family->default_sizes;
    int64_t *ffn_width = family->experts.width_key ? &config->dense_width : &config->ffn_width;
    int64_t dense_width = family->experts.dense_width ? family->experts.dense_width : class->ffn_width;
    if (parse_experts(config, family, root, err) != 0 ||
        read_size(root, "hidden_size", class->width, &config->width, err) != 0 ||
        read_size(root, "intermediate_size", dense_width, ffn_width, err) != 0 ||
        read_size(root, "vocab_size", class->vocab_size, &config->vocab_size, err) != 0 ||
        json_get_int_or(root, "max_position_embeddings", family->default_positions, &config->max_positions,
                        err) != 0 ||
        read_count(root, "num_hidden_layers", class->num_layers, &config->num_layers, err) != 0 ||
        parse_heads(config, family, root, err) != 0 ||
        json_get_double_or(root, family_eps_key(family), or_else(family->default_eps, 1e-6), &eps, err) !=
            0 ||
        json_get_double_or(root, "initializer_range", or_else(family->default_deviation, 0.02), &deviation,
                           err) != 0)
        return -1;
    if (parse_dense(config, family, root, err) != 0 || parse_attention(config, family, root, err) != 0)
        return -1;
    config->norm_eps = (float)eps;
    config->initializer_range = (float)deviation;
    return 0;
}

/* parse_token_id - an id or null; negative ids mean none in old files. */
static int parse_token_id(const json_t *root, const char *key, int32_t *id, struct err *err) {
    int64_t value;
    if (json_get_int_or(root, key, -1, &value, err) != 0)
        return -1;
    if (value > INT32_MAX)
        return err_set(err, "%s %lld is outside any vocabulary", key, (long long)value);
    *id = value < 0 ? -1 : (int32_t)value;
    return 0;
}

/* parse_eos - one id, a list (chat models stop at several), or none. */
static int parse_eos(struct model_config *config, const json_t *root, struct err *err) {
    const json_t *eos = json_find(root, "eos_token_id");
    if (!json_is_array(eos)) {
        if (parse_token_id(root, "eos_token_id", &config->eos_ids[0], err) != 0)
            return -1;
        config->num_eos = config->eos_ids[0] >= 0;
        return 0;
    }
    if (json_array_size(eos) > MODEL_MAX_EOS)
        return err_set(err, "eos_token_id lists %zu tokens, at most %d are supported", json_array_size(eos),
                       MODEL_MAX_EOS);
    config->num_eos = (int)json_array_size(eos);
    for (int i = 0; i < config->num_eos; i++) {
        const json_t *id = json_array_get(eos, (size_t)i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return err_set(err, "eos_token_id lists %s, expected token ids", json_type_name(id));
        config->eos_ids[i] = (int32_t)json_integer_value(id);
    }
    return 0;
}

/* take_class_ids - where a key is missing and not null, in a vocabulary that has them. */
static void take_class_ids(struct model_config *config, const json_t *root) {
    const struct class_ids *ids = family_of(config)->default_ids;
    if (!ids || config->vocab_size <= ids->bos || config->vocab_size <= ids->eos ||
        config->vocab_size <= ids->pad)
        return;
    if (!json_object_get(root, "bos_token_id"))
        config->bos_id = ids->bos;
    if (!json_object_get(root, "pad_token_id"))
        config->pad_id = ids->pad;
    if (!json_object_get(root, "eos_token_id")) {
        config->eos_ids[0] = ids->eos;
        config->num_eos = 1;
    }
}

/* parse_token_ids - a missing id is none where the family has no defaults: id 2 ends a sequence only in some vocabularies. */
static int parse_token_ids(struct model_config *config, const json_t *root, struct err *err) {
    if (parse_token_id(root, "bos_token_id", &config->bos_id, err) != 0 ||
        parse_token_id(root, "pad_token_id", &config->pad_id, err) != 0)
        return -1;
    /* Some published models name a padding token they never added.  atelier packs and never pads. */
    if (config->pad_id >= config->vocab_size)
        config->pad_id = -1;
    if (parse_eos(config, root, err) != 0)
        return -1;
    take_class_ids(config, root);
    return 0;
}

/* parse_dtype - a missing type and "auto" read as f32; weights_open corrects it by what the file holds.  Old
 * files write "torch.bfloat16". */
static int parse_dtype(struct model_config *config, const json_t *root, struct err *err) {
    const char *name;
    const char *key = json_find(root, "dtype") ? "dtype" : "torch_dtype";
    if (json_get_string_or(root, key, "float32", &name, err) != 0)
        return -1;
    if (strncmp(name, "torch.", 6) == 0)
        name += 6;
    if (strcmp(name, "float32") == 0 || strcmp(name, "auto") == 0)
        config->dtype = DTYPE_F32;
    else if (strcmp(name, "bfloat16") == 0)
        config->dtype = DTYPE_BF16;
    else if (strcmp(name, "float16") == 0)
        config->dtype = DTYPE_F16;
    else
        return err_set(err, "%s '%.40s' is not supported (supported: float32, bfloat16, float16, auto)", key,
                       name);
    return 0;
}

/* text_of - the object that describes the text decoder: of a wrapper its text_config, else all of config.json. */
static const json_t *text_of(const json_t *root) {
    const json_t *text = json_find(root, "text_config");
    return text ? text : root;
}

/* check_architecture - architectures, where it is given, is the class that is meant. */
static int check_architecture(const json_t *root, const char *model_type, const char *expected,
                              struct err *err) {
    const json_t *first = json_array_get(json_find(root, "architectures"), 0);
    if (!first || (json_is_string(first) && strcmp(json_string_value(first), expected) == 0))
        return 0;
    return err_set(err, "architecture '%.80s' is not supported for model_type '%s' (supported: %s)",
                   json_is_string(first) ? json_string_value(first) : json_type_name(first), model_type,
                   expected);
}

/* refuse_wrapper - with what is known of its text decoder.  Returns -1 with err set. */
static int refuse_wrapper(const char *model_type, const json_t *text, struct err *err) {
    const char *text_type = json_string_value(json_find(text, "model_type"));
    const struct family *family = text_type ? family_find(text_type) : NULL;
    const char *reason = family && family->reason ? family->reason : NULL;
    return err_set(
        err, "model_type '%.80s' has a text_config: this model of text and images is not supported yet%s%s",
        model_type, reason ? "; its text decoder has " : "", reason ? reason : "");
}

/* parse_wrapper - of a config.json with a text_config: what stands around the text decoder. */
static int parse_wrapper(struct model_config *config, const json_t *root, const char *model_type,
                         struct err *err) {
    const struct wrapper *wrapper = wrapper_find(model_type);
    if (!json_is_object(text_of(root)))
        return err_set(err, "text_config is %s, expected an object", json_type_name(text_of(root)));
    if (!wrapper)
        return refuse_wrapper(model_type, text_of(root), err);
    snprintf(config->wrapper_type, sizeof config->wrapper_type, "%s", wrapper->model_type);
    snprintf(config->wrapper_architecture, sizeof config->wrapper_architecture, "%s", wrapper->architecture);
    config->text_names = TEXT_NAMES_INNER;
    return check_architecture(root, model_type, wrapper->architecture, err);
}

/* parse_family - model_type and architectures; the first thing to look at, since it decides what other keys
 * mean. */
static const struct family *parse_family(struct model_config *config, const json_t *root, struct err *err) {
    const char *model_type;
    const json_t *text = text_of(root);
    if (json_get_string(root, "model_type", &model_type, err) != 0 ||
        (text != root && parse_wrapper(config, root, model_type, err) != 0))
        return NULL;
    if (text != root && json_get_string_or(text, "model_type", wrapper_find(config->wrapper_type)->text_type,
                                           &model_type, err) != 0) {
        err_prefix(err, "text_config");
        return NULL;
    }
    const struct family *family = family_require(model_type, err);
    if (!family || (text == root && check_architecture(root, model_type, family->architecture, err) != 0))
        return NULL;
    model_config_set_family(config, model_type, NULL);
    return family;
}

/* parse_tied - a wrapper may say it outside of text_config, inside of it, or both. */
static int parse_tied(struct model_config *config, const json_t *root, struct err *err) {
    const json_t *text = text_of(root);
    bool outside;
    bool by_class = family_of(config)->default_tied;
    if (json_get_bool_or(text, "tie_word_embeddings", by_class, &config->tied_head, err) != 0 ||
        json_get_bool_or(root, "tie_word_embeddings", config->tied_head, &outside, err) != 0)
        return -1;
    if (json_find(text, "tie_word_embeddings") && outside != config->tied_head)
        return err_set(err, "tie_word_embeddings is %s, and %s in text_config: remove one",
                       outside ? "true" : "false", outside ? "false" : "true");
    config->tied_head = outside;
    return 0;
}

/* holder - of a key that a wrapper has inside of text_config or outside. */
static const json_t *holder(const json_t *root, const char *key) {
    return json_find(text_of(root), key) ? text_of(root) : root;
}

/* parse_text - the text decoder.  Returns 0, or -1 with err set. */
static int parse_text(struct model_config *config, const struct family *family, const json_t *root,
                      struct err *err) {
    const json_t *text = text_of(root);
    struct quantised quantised; /* whether it can be read; weights.c reads it */
    if (parse_sizes(config, family, text, err) != 0 || family_parse_local(config, text, err) != 0 ||
        family_parse_rope(config, text, err) != 0 ||
        parse_token_ids(config, holder(root, "eos_token_id"), err) != 0 ||
        family_refuse_features(config, family, text, err) != 0 ||
        family_refuse_foreign(config, text, err) != 0)
        return text == root ? -1 : err_prefix(err, "text_config");
    return parse_tied(config, root, err) == 0 && parse_dtype(config, holder(root, "dtype"), err) == 0 &&
                   quantised_parse(&quantised, root, err) == 0
               ? 0
               : -1;
}

int model_config_parse(struct model_config *config, const char *text, size_t length_bytes, const char *origin,
                       struct err *err) {
    json_t *root = json_parse_text(text, length_bytes, origin, err);
    if (!root)
        return -1;
    /* All bytes, padding too: descriptors are compared and broadcast as bytes. */
    memset(config, 0, sizeof *config);
    const struct family *family = parse_family(config, root, err);
    int status = family ? parse_text(config, family, root, err) : -1;
    if (status != 0)
        err_prefix(err, "model config '%s'", origin);
    json_decref(root);
    return status == 0 ? model_config_check(config, origin, err) : -1;
}
