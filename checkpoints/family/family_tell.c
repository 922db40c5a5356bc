/* family_tell.c - warnings about what config.json leaves to its class, and what it asks of training in vain. */
#include <string.h>

#include "checkpoints/family/family_internal.h"
#include "data/corpus/json.h"

/* tell_sizes - what a class has a size for; of most, the positions alone. */
static void tell_sizes(const struct model_config *config, const json_t *text, const char *origin) {
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {
        {"max_position_embeddings", config->max_positions}, {"hidden_size", config->width},
        {"intermediate_size", config->ffn_width},           {"vocab_size", config->vocab_size},
        {"num_hidden_layers", config->num_layers},          {"num_attention_heads", config->num_heads}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (!json_find(text, sizes[i].key))
            warn("model config '%s': %s is missing, %lld is taken, the default of model_type '%s'", origin,
                 sizes[i].key, (long long)sizes[i].value, config->model_type);
}

/* tell_window - the class's, where the key is missing: it decides what a layer sees. */
static void tell_window(const struct model_config *config, const json_t *text, const char *origin) {
    if (config->window && !json_object_get(text, "sliding_window"))
        warn(
            "model config '%s': sliding_window is missing, %lld is taken, the default of model_type '%s'; null "
            "would say that there is none",
            origin, (long long)config->window, config->model_type);
}

/* tell_rope - of kinds whose frequencies depend on how long a text is: a run has one table for all of its texts. */
static void tell_rope(const struct model_config *config, const char *origin) {
    if (config->rope_kind == ROPE_DYNAMIC)
        warn(
            "model config '%s': dynamic positions are those of texts of %lld tokens (max_position_embeddings), or of "
            "the longest sequence of a run where that is longer",
            origin, (long long)config->max_positions);
    if (config->rope_kind == ROPE_LONG)
        warn(
            "model config '%s': longrope positions are those of short texts (short_factor) where the sequences of a "
            "run have at most %lld tokens, otherwise those of long ones (long_factor), for all texts of the run",
            origin, (long long)config->rope_original_positions);
}

/* tell_dropout - layers are computed whole in training, as they are in evaluation. */
static void tell_dropout(const json_t *text, const char *origin) {
    static const char *const keys[] = {"attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        double part = json_number_value(json_find(text, keys[i]));
        if (part > 0)
            warn("model config '%s': %s is %g, and nothing is dropped in training here", origin, keys[i],
                 part);
    }
}

void model_config_tell(const struct model_config *config, const char *text, const char *origin) {
    struct err err = {""};
    json_t *root = json_parse_text(text, strlen(text), origin, &err);
    const json_t *inner = json_find(root, "text_config"), *decoder = inner ? inner : root;
    if (root) {
        tell_sizes(config, decoder, origin);
        tell_window(config, decoder, origin);
        tell_rope(config, origin);
        tell_dropout(decoder, origin);
    }
    json_decref(root);
}
