/* gguf_windows.c - which layers see a window, and the caps of scores and logits, as a GGUF file describes them.
 * Source: llama.cpp, src/models/gemma2.cpp, gemma3.cpp and olmo2.cpp. */
#include "checkpoints/gguf/gguf_settings.h"

/* read_softcaps - a file that has none has those that llama.cpp takes, which are the class's. */
static int read_softcaps(struct gguf_settings settings, struct model_config *config, struct err *err) {
    struct model_config by_class = *config;
    double scores, logits;
    family_local_defaults(&by_class);
    if (!family_has_softcaps(config))
        return 0;
    if (gguf_setting_double(settings, "attn_logit_softcapping", (double)by_class.attention_softcap, &scores,
                            err) != 0 ||
        gguf_setting_double(settings, "final_logit_softcapping", (double)by_class.logit_softcap, &logits,
                            err) != 0)
        return -1;
    if (!(scores > 0) || !(logits > 0)) /* llama.cpp would divide by it */
        return err_set(err, "'%s' caps scores at %g and logits at %g, expected positive numbers",
                       gguf_path(settings.file), scores, logits);
    config->attention_softcap = (float)scores;
    config->logit_softcap = (float)logits;
    return 0;
}

/* read_local_base - of the layers with a window; where the family has none of their own, it must be that of all. */
static int read_local_base(struct gguf_settings settings, struct model_config *config, struct err *err) {
    bool one = family_gguf_has_one_base(config) || !family_has_local_base(config);
    double theta;
    if (gguf_setting_double(settings, "rope.freq_base_swa", one ? config->rope_theta : 10000, &theta, err) !=
        0)
        return -1;
    if (one && (float)theta != (float)config->rope_theta)
        return err_set(err, "'%s' has a base of %g for layers with a window, which is not supported",
                       gguf_path(settings.file), theta);
    if (family_has_local_base(config))
        config->rope_local_theta = theta;
    return 0;
}

/* read_period - a number, or whether each layer is local, as upstream's converter writes OLMo 3's. */
static int read_period(struct gguf_settings settings, struct model_config *config, struct err *err) {
    static const char name[] = "attention.sliding_window_pattern";
    char key[FAMILY_KEY_ROOM];
    bool is_local[MODEL_MAX_LAYERS];
    const struct gguf *file = settings.file;
    int64_t index = gguf_find_key(file, family_gguf_key(config, name, key)), value;
    if (index < 0 || gguf_key_type(file, index) != GGUF_ARRAY) {
        if (gguf_setting_size(settings, name, family_gguf_period(config), &value, err) != 0)
            return -1;
        config->window_period = (int)value;
        config->window_whole = config->window_period - 1;
        return 0;
    }
    if (gguf_array_count(file, index) != config->num_layers || config->num_layers > MODEL_MAX_LAYERS)
        return err_set(err, "key '%s' of '%s' has %lld values, of %d layers", key, gguf_path(file),
                       (long long)gguf_array_count(file, index), config->num_layers);
    for (int i = 0; i < config->num_layers; i++) {
        if (gguf_get_int(file, index, i, &value, err) != 0)
            return -1;
        is_local[i] = value != 0;
    }
    int odd = family_window_pattern(config, is_local);
    return odd < 0
               ? 0
               : err_set(
                     err,
                     "key '%s' of '%s' is not periodic: layer %d breaks a period of %d, which is not supported",
                     key, gguf_path(file), odd, config->window_period);
}

/* read_local - of a family with local layers.  Without a window all layers see their whole document, whatever the period. */
int gguf_read_local(struct gguf_settings settings, struct model_config *config, struct err *err) {
    const struct gguf *file = settings.file;
    char key[FAMILY_KEY_ROOM];
    if (!family_gguf_has_windows(config))
        return 0;
    config->query_scalar = family_gguf_query_scalar(config);
    if (gguf_setting_int(file, family_gguf_key(config, "attention.sliding_window", key),
                         family_gguf_window(config), &config->window, err) != 0 ||
        read_period(settings, config, err) != 0 || read_softcaps(settings, config, err) != 0)
        return -1;
    if (!config->window) {
        config->window_period = 1;
        config->window_whole = 0;
        config->window = config->max_positions;
    }
    return read_local_base(settings, config, err);
}
