/* family_windows.c - which layers of a family see a window, and which all of their document. */
#include "checkpoints/family/family_internal.h"

bool family_has_local_layers(const struct model_config *config) {
    return family_of(config)->local.period > 0;
}

bool family_has_local_base(const struct model_config *config) {
    return family_of(config)->local.has_base;
}

bool family_may_lack_window(const struct model_config *config) {
    return family_of(config)->local.may_lack;
}

bool family_layer_is_local(const struct model_config *config, int layer) {
    return config->window && layer % config->window_period != config->window_whole;
}

void family_local_defaults(struct model_config *config) {
    const struct local_layers *local = &family_of(config)->local;
    config->window = local->window;
    config->window_period = local->period;
    config->window_whole = local->period ? local->period - 1 : 0;
    config->rope_local_theta = local->theta;
    config->query_scalar = family_of(config)->default_query_scalar;
    if (family_of(config)->has_multipliers)
        config->multipliers = (struct multipliers){1, 1, 1, 1};
    config->attention_softcap = family_of(config)->default_attention_softcap;
    config->logit_softcap = family_of(config)->default_logit_softcap;
}

/* period_of - the shortest period that the layers which see their whole document, `first` and then `second` (or L: there is
 * none), can have.  One such layer alone is the last of its period where it can be, as it is in most families. */
static int period_of(int first, int second, int num_layers) {
    if (first == num_layers)
        return EVERY_LAYER_LOCAL;
    if (second < num_layers)
        return second - first;
    return num_layers < 2 * first + 2 ? first + 1 : num_layers;
}

int family_window_pattern(struct model_config *config, const bool *is_local) {
    int num_layers = config->num_layers, first = num_layers, second = num_layers;
    for (int i = num_layers - 1; i >= 0; i--) {
        second = is_local[i] ? second : first;
        first = is_local[i] ? first : i;
    }
    config->window_period = period_of(first, second, num_layers);
    config->window_whole = first == num_layers ? EVERY_LAYER_LOCAL - 1 : first % config->window_period;
    for (int i = 0; i < num_layers; i++)
        if (is_local[i] != (i % config->window_period != config->window_whole))
            return i;
    return -1;
}
