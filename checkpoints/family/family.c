/* family.c - the families atelier knows, and the checks of their sizes.
 * The parameters of a family are in family_NAME.c, walking through them in family_params.c, reading
 * config.json in family_parse.c, writing it in family_text.c, rotary positions in family_rope.c.
 *
 * A new family is a file with its table of parameters, and what its layers do otherwise than Llama's, and a word of
 * EACH_FAMILY. */
#include "checkpoints/family/family_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Known families are listed before they are supported, so that the refusal says what is missing and not
 * "unknown". */
static const struct family unsupported[] = {
    {.model_type = "qwen2", .reason = "query, key and value have biases"},
    {.model_type = "qwen3_moe", .reason = "mixture of experts"},
    {.model_type = "gemma2", .reason = "norms around each block, capped logits"},
    {.model_type = "gemma3_text", .reason = "norms around each block, local attention"},
    {.model_type = "olmo2", .reason = "norms after each block"},
    {.model_type = "mixtral", .reason = "mixture of experts"},
    {.model_type = "smollm3", .reason = "layers without rotary positions"},
    {.model_type = "apertus", .reason = "xIELU instead of a gated MLP"},
    {.model_type = "ministral3", .reason = "YaRN positions and a query temperature"},
};
enum { NUM_UNSUPPORTED = sizeof unsupported / sizeof unsupported[0] };

const struct family *family_find(const char *model_type) {
    for (int i = 0; i < num_families; i++)
        if (strcmp(family_list[i]->model_type, model_type) == 0)
            return family_list[i];
    for (int i = 0; i < NUM_UNSUPPORTED; i++)
        if (strcmp(unsupported[i].model_type, model_type) == 0)
            return &unsupported[i];
    return NULL;
}

/* supported_list - "llama, mistral" into the caller's buffer. */
static const char *supported_list(char *text, size_t room_bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < num_families && used < room_bytes; i++)
        used += (size_t)snprintf(text + used, room_bytes - used, "%s%s", used ? ", " : "",
                                 family_list[i]->model_type);
    return text;
}

const struct family *family_require(const char *model_type, struct err *err) {
    char list[256];
    const struct family *family = family_find(model_type);
    if (family && family->params)
        return family;
    supported_list(list, sizeof list);
    if (family)
        err_set(err, "model_type '%s' is not supported yet: %s (supported: %s)", model_type, family->reason,
                list);
    else
        err_set(err, "model_type '%.80s' is unknown (supported: %s)", model_type, list);
    return NULL;
}

int model_config_set_family(struct model_config *config, const char *model_type, struct err *err) {
    const struct family *family = family_require(model_type, err);
    if (!family)
        return -1;
    snprintf(config->model_type, sizeof config->model_type, "%s", family->model_type);
    snprintf(config->architecture, sizeof config->architecture, "%s", family->architecture);
    return 0;
}

/* check_ranges - each size by itself.  The limits keep every product below in 64 bits and are far above any
 * published model. */
static int check_ranges(const struct model_config *config, struct err *err) {
    const struct {
        const char *key;
        int64_t value, max;
    } sizes[] = {
        {"hidden_size", config->width, 1 << 20},
        {"intermediate_size", config->ffn_width, 1 << 22},
        {"vocab_size", config->vocab_size, 1 << 24},
        {"max_position_embeddings", config->max_positions, INT32_MAX},
        {"num_hidden_layers", config->num_layers, MODEL_MAX_LAYERS},
        {"num_attention_heads", config->num_heads, 1 << 14},
        {"num_key_value_heads", config->num_kv_heads, 1 << 14},
        {"head_dim", config->head_dim, 1 << 12},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].max)
            return err_set(err, "%s is %lld, expected 1 to %lld", sizes[i].key, (long long)sizes[i].value,
                           (long long)sizes[i].max);
    return 0;
}

/* check_rope - the numbers that the tables divide by.  Written so that NaN fails. */
static int check_rope(const struct model_config *config, struct err *err) {
    if (!(config->rope_theta > 0) || !isfinite(config->rope_theta))
        return err_set(err, "rope_theta is %g, expected a positive number", config->rope_theta);
    if (config->rope_kind == ROPE_PLAIN)
        return 0;
    if (!(config->rope_factor > 0) || !isfinite(config->rope_factor))
        return err_set(err, "the rope scaling factor is %g, expected a positive number", config->rope_factor);
    if (config->rope_kind == ROPE_LINEAR)
        return 0;
    if (!(config->rope_low_freq > 0) || !(config->rope_high_freq > config->rope_low_freq) ||
        !isfinite(config->rope_high_freq))
        return err_set(err,
                       "llama3 rope scaling has low_freq_factor %g and high_freq_factor %g, expected "
                       "0 < low < high",
                       config->rope_low_freq, config->rope_high_freq);
    if (config->rope_original_positions < 1)
        return err_set(err,
                       "llama3 rope scaling has original_max_position_embeddings %lld, expected at "
                       "least 1",
                       (long long)config->rope_original_positions);
    return 0;
}

/* check_token_ids - an id beyond the vocabulary would read past the end of the embedding; -1 means none. */
static int check_token_ids(const struct model_config *config, struct err *err) {
    if (config->num_eos < 0 || config->num_eos > MODEL_MAX_EOS)
        return err_set(err, "%d end-of-sequence tokens, at most %d are supported", config->num_eos,
                       MODEL_MAX_EOS);
    for (int i = 0; i < config->num_eos; i++)
        if (config->eos_ids[i] < 0 || config->eos_ids[i] >= config->vocab_size)
            return err_set(err, "eos_token_id %d is outside the vocabulary of %lld tokens",
                           config->eos_ids[i], (long long)config->vocab_size);
    if (config->bos_id < -1 || config->bos_id >= config->vocab_size)
        return err_set(err, "bos_token_id %d is outside the vocabulary of %lld tokens", config->bos_id,
                       (long long)config->vocab_size);
    if (config->pad_id < -1 || config->pad_id >= config->vocab_size)
        return err_set(err, "pad_token_id %d is outside the vocabulary of %lld tokens", config->pad_id,
                       (long long)config->vocab_size);
    return 0;
}

/* check_relations - sizes against each other, and the numbers that have no key of their own above. */
static int check_relations(const struct model_config *config, struct err *err) {
    if (config->num_heads % config->num_kv_heads != 0)
        return err_set(err, "num_attention_heads %d is not a multiple of num_key_value_heads %d",
                       config->num_heads, config->num_kv_heads);
    if (config->head_dim % 2 != 0)
        return err_set(err, "head_dim is %d, expected an even number (rotary positions turn pairs)",
                       config->head_dim);
    if (!(config->norm_eps > 0) || !(config->norm_eps < 1))
        return err_set(err, "rms_norm_eps is %g, expected a number between 0 and 1",
                       (double)config->norm_eps);
    if (!(config->initializer_range > 0) || !(config->initializer_range < 10))
        return err_set(err, "initializer_range is %g, expected a number between 0 and 10",
                       (double)config->initializer_range);
    if (config->dtype != DTYPE_F32 && config->dtype != DTYPE_BF16 && config->dtype != DTYPE_F16)
        return err_set(err, "the weights' type must be f32, bf16 or f16");
    /* By the ranges above a layer has less than 2^49 parameters: the sum cannot overflow, training's
     * 16 bytes each could. */
    if (model_num_parameters(config) > INT64_MAX / 64)
        return err_set(err, "the model would have %lld parameters, too many to address",
                       (long long)model_num_parameters(config));
    return 0;
}

int model_config_check(const struct model_config *config, const char *origin, struct err *err) {
    if (family_require(config->model_type, err) && check_ranges(config, err) == 0 &&
        check_relations(config, err) == 0 && check_rope(config, err) == 0 &&
        check_token_ids(config, err) == 0)
        return 0;
    return err_prefix(err, "model config '%s'", origin);
}
