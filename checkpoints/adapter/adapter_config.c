/* adapter_config.c - the keys of adapter_config.json: what is understood, what does no harm, what is refused. */
#include "checkpoints/adapter/adapter_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_adapter.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { MAX_CONFIG_BYTES = MIB };

/* --- reading --- */

/* Keys that do not change what a saved adapter computes, or that are compared with its tensors, which tell ranks and modules
 * (adapter_coverage.h). */
static const char *const harmless[] = {"task_type",
                                       "peft_type",
                                       "auto_mapping",
                                       "peft_version",
                                       "base_model_name_or_path",
                                       "revision",
                                       "inference_mode",
                                       "r",
                                       "lora_alpha",
                                       "lora_dropout",
                                       "target_modules",
                                       "exclude_modules",
                                       "target_parameters",
                                       "layers_to_transform",
                                       "layers_pattern",
                                       "rank_pattern",
                                       "alpha_pattern",
                                       "use_rslora",
                                       "use_dora",
                                       "modules_to_save",
                                       "ensure_weight_tying",
                                       "init_lora_weights",
                                       "megatron_core",
                                       "eva_config",
                                       "loftq_config",
                                       "qalora_group_size",
                                       "runtime_config"};

static bool is_harmless(const char *key) {
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (strcmp(key, harmless[i]) == 0)
            return true;
    return false;
}

/* is_off - null, false, nothing in it, or "none": the key has no effect. */
static bool is_off(const json_t *value) {
    const char *text = json_string_value(value);
    return json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (text && (text[0] == '\0' || strcmp(text, "none") == 0));
}

/* what_it_is - of keys that are met often. */
static const char *what_it_is(const char *key) {
    static const char *const known[][2] = {
        {"trainable_token_indices", "rows of the embedding that were trained"},
        {"fan_in_fan_out", "weights stored the other way round"},
        {"bias", "biases that were trained"},
        {"lora_bias", "a bias of B"},
        {"layer_replication", "layers that are used more than once"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(key, known[i][0]) == 0)
            return known[i][1];
    return "which is not known here";
}

static int check_keys(const json_t *root, struct err *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, key, value) if (!is_harmless(key) && !is_off(value)) return err_set(
        err,
        "'%.80s' is set: %s; pairs (LoRA, DoRA) and modules trained whole are supported, merge this one with peft: "
        "merge_and_unload",
        key, what_it_is(key));
    return 0;
}

/* check_kind - LoRA, begun in a way that left the base as it is. */
static int check_kind(const json_t *root, struct err *err) {
    static const char *const inits[] = {"gaussian", "eva", "orthogonal"};
    const char *kind, *init = json_string_value(json_object_get(root, "init_lora_weights"));
    if (json_get_string(root, "peft_type", &kind, err) != 0)
        return -1;
    if (strcmp(kind, "LORA") != 0)
        return err_set(err, "peft_type is '%.40s': LORA alone is supported", kind);
    for (size_t i = 0; init && i < sizeof inits / sizeof *inits; i++)
        if (strcmp(init, inits[i]) == 0)
            return 0;
    return init
               ? err_set(
                     err,
                     "init_lora_weights is '%.40s', which may have changed the base's weights: let peft convert "
                     "it into a plain one (path_initial_model_for_weight_conversion of save_pretrained)",
                     init)
               : 0;
}

/* pattern_target - which target a key of alpha_pattern means: a module's name, with or without "self_attn." or "mlp."
 * before it; where experts have short names, theirs; of all
 * experts as one parameter a name after ".*\\.", as peft writes it itself. */
static enum adapter_target pattern_target(const char *key) {
    const char *dot = strrchr(key, '.'), *last = dot ? dot + 1 : key;
    bool is_plain = !dot || strncmp(key, ".*\\.", strlen(".*\\.")) == 0 ||
                    strncmp(key, "self_attn.", strlen("self_attn.")) == 0 ||
                    strncmp(key, "mlp.", strlen("mlp.")) == 0;
    int target = 0;
    while (target < ADAPTER_TARGET_COUNT && strcmp(last, adapter_module((enum adapter_target)target)) != 0 &&
           strcmp(last, adapter_short_module((enum adapter_target)target)) != 0)
        target++;
    return is_plain ? (enum adapter_target)target : ADAPTER_TARGET_COUNT;
}

static int check_alpha(const char *key, double alpha, struct err *err) {
    if (isfinite(alpha) && fabs(alpha) <= 1e6)
        return 0;
    return err_set(err, "'%.80s' is %g, expected a number of at most 1e6", key, alpha);
}

static int read_alphas(struct adapter_words *words, const json_t *root, struct err *err) {
    double alpha;
    const char *key;
    json_t *value, *pattern = json_object_get(root, "alpha_pattern");
    if (json_get_double(root, "lora_alpha", &alpha, err) != 0 || check_alpha("lora_alpha", alpha, err) != 0)
        return -1;
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        words->alphas[t] = alpha;
    json_object_foreach(pattern, key, value) {
        enum adapter_target target = pattern_target(key);
        if (target == ADAPTER_TARGET_COUNT || !json_is_number(value))
            return err_set(
                err,
                "alpha_pattern has '%.80s': an alpha of its own is supported for a kind of module, such as "
                "'q_proj', in all layers",
                key);
        words->alphas[target] = json_number_value(value);
        if (check_alpha(key, words->alphas[target], err) != 0)
            return -1;
    }
    return 0;
}

/* targets_text - names one after the other, or the pattern that they are; malloc'ed, NULL where nothing is said. */
static char *targets_text(const json_t *root) {
    const json_t *said = json_object_get(root, "target_modules"), *name;
    size_t i;
    char *text = json_is_string(said) ? xstrdup(json_string_value(said)) : NULL;
    json_array_foreach(said, i, name) {
        char *longer = xasprintf("%s%s%s", text ? text : "", text ? ", " : "",
                                 json_is_string(name) ? json_string_value(name) : "?");
        free(text);
        text = longer;
    }
    return text;
}

/* note_rest - what is told of an adapter and trained with, and does not change what its pairs compute. */
static void note_rest(struct adapter_words *words, const json_t *root) {
    double dropout = json_number_value(json_object_get(root, "lora_dropout"));
    words->dropout = dropout > 0 && dropout < 1 ? dropout : 0;
    words->alpha = json_number_value(json_object_get(root, "lora_alpha"));
    words->rank = json_integer_value(json_object_get(root, "r"));
    words->targets = targets_text(root);
    words->coverage = adapter_coverage_keep(root);
}

/* read_words - of a parsed file. */
static int read_words(struct adapter_words *words, const json_t *root, struct err *err) {
    const char *base;
    if (check_kind(root, err) != 0 || check_keys(root, err) != 0 ||
        json_get_bool_or(root, "use_rslora", false, &words->rank_stabilised, err) != 0 ||
        json_get_bool_or(root, "use_dora", false, &words->has_lengths, err) != 0 ||
        json_get_bool_or(root, "ensure_weight_tying", false, &words->ties_head, err) != 0 ||
        json_get_string_or(root, "base_model_name_or_path", "", &base, err) != 0 ||
        read_alphas(words, root, err) != 0)
        return -1;
    const json_t *whole = json_object_get(root, "modules_to_save");
    words->names_whole = whole && !is_off(whole);
    words->base = base[0] ? xstrdup(base) : NULL;
    note_rest(words, root);
    return 0;
}

int adapter_config_read(struct adapter_words *words, const char *folder, struct err *err) {
    char *path = xasprintf("%s/adapter_config.json", folder);
    json_t *root = json_load_path(path, MAX_CONFIG_BYTES, err);
    *words = (struct adapter_words){.base = NULL};
    int status = root ? read_words(words, root, err) : -1;
    if (root && status != 0)
        err_prefix(err, "'%s'", path);
    json_decref(root);
    free(path);
    return status;
}

void adapter_words_free(struct adapter_words *words) {
    free(words->base);
    free(words->targets);
    json_decref(words->coverage);
    words->base = words->targets = NULL;
    words->coverage = NULL;
}

/* --- writing --- */

/* number_json - a whole number as one: PEFT's alpha is an integer by its type. */
static json_t *number_json(double value) {
    return value == floor(value) ? json_integer((json_int_t)value) : json_real(value);
}

/* most_common - the value that most targets with a pair have; rank_pattern and alpha_pattern tell the others.  Of pairs on experts it is
 * gate's: where transformers has gate and up as one parameter, peft takes twice r and lora_alpha for it, whatever the patterns say. */
static double most_common(const struct model_config *config, const double *values) {
    const struct adapter *adapter = &config->adapter;
    int most = 0;
    double found = 0;
    if (adapter->ranks[ADAPTER_GATE] > 0 && adapter_is_of_experts(config, ADAPTER_GATE))
        return values[ADAPTER_GATE];
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++) {
        int count = 0;
        for (int other = 0; other < ADAPTER_TARGET_COUNT; other++)
            count += adapter->ranks[other] > 0 && values[other] == values[t];
        if (adapter->ranks[t] > 0 && count > most) {
            most = count;
            found = values[t];
        }
    }
    return found;
}

static void set_both(json_t *pattern, const char *name, const char *other, double value) {
    json_object_set_new(pattern, name, number_json(value));
    json_object_set_new(pattern, other, number_json(value));
}

/* pattern_json - of the targets that have another value than the common one.  Where experts have short names peft knows the parameter that
 * it makes of them by the longer one alone, and older ones the module by the short one. */
static json_t *pattern_json(const struct model_config *config, const double *values, double common) {
    const struct adapter *adapter = &config->adapter;
    json_t *pattern = json_object();
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        if (adapter->ranks[t] > 0 && values[t] != common)
            set_both(pattern, adapter_module_of(config, (enum adapter_target)t),
                     adapter_module((enum adapter_target)t), values[t]);
    return pattern;
}

/* has_all_layers - whether every layer of the model has pairs. */
static bool has_all_layers(const struct model_config *config) {
    for (int layer = 0; layer < config->num_layers; layer++)
        if (!layer_set_has(&config->adapter.layers, layer))
            return false;
    return true;
}

/* pattern_text - a regular expression for the modules of a wrapper's text decoder, malloc'ed: by their last names alone those of
 * its parts for images would be meant too. */
static char *pattern_text(const struct model_config *config) {
    char *text = NULL;
    size_t length = 0;
    const char *between = "";
    FILE *out = open_memstream(&text, &length);
    CHECK(out, "out of memory for a pattern");
    fputs(".*language_model\\.layers\\.(", out);
    if (has_all_layers(config))
        fputs("\\d+", out);
    else
        for (int layer = 0; layer < config->num_layers; layer++)
            if (layer_set_has(&config->adapter.layers, layer)) {
                fprintf(out, "%s%d", between, layer);
                between = "|";
            }
    fputs(")\\.(self_attn|mlp)\\.(", out);
    between = "";
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        if (config->adapter.ranks[t] > 0) {
            fprintf(out, "%s%s", between, adapter_module((enum adapter_target)t));
            between = "|";
        }
    fputs(")", out);
    CHECK(fclose(out) == 0, "out of memory for a pattern");
    return text;
}

static json_t *modules_json(const struct model_config *config) {
    if (config->wrapper_type[0]) {
        char *text = pattern_text(config);
        json_t *pattern = json_string(text);
        free(text);
        return pattern;
    }
    json_t *list = json_array();
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        if (config->adapter.ranks[t] > 0)
            json_array_append_new(list, json_string(adapter_module_of(config, (enum adapter_target)t)));
    return list;
}

/* layers_json - null: all of them, or told by the pattern of the modules, beside which PEFT takes no list. */
static json_t *layers_json(const struct model_config *config) {
    if (config->wrapper_type[0] || has_all_layers(config))
        return json_null();
    json_t *list = json_array();
    for (int layer = 0; layer < config->num_layers; layer++)
        if (layer_set_has(&config->adapter.layers, layer))
            json_array_append_new(list, json_integer(layer));
    return list;
}

/* add_module - the name of a module by its parameter's, once: the last part, which PEFT finds at the end of whole names, but of the
 * final norm "model.norm", as all norms may end like it. */
static void add_module(json_t *list, const struct param_spec *spec) {
    const char *end = strrchr(spec->hf, '.'), *first = spec->hf;
    size_t i;
    json_t *other;
    if (spec->place != PLACE_OUTPUT)
        for (const char *dot = strchr(first, '.'); dot && dot < end; dot = strchr(first, '.'))
            first = dot + 1;
    json_t *name = json_stringn(first, (size_t)(end - first));
    json_array_foreach(list, i, other) if (json_equal(other, name)) {
        json_decref(name);
        return;
    }
    json_array_append_new(list, name);
}

/* whole_json - the modules that are trained whole; null: none. */
static json_t *whole_json(const struct model_config *config) {
    if (config->adapter.whole == 0)
        return json_null();
    json_t *list = json_array();
    struct param at = PARAM_START;
    while (family_next_param(config, &at))
        if (!role_is_pair(at.role) && param_is_saved(config, at.role))
            add_module(list, param_spec(config, at.role));
    if (config->tied_head &&
        (config->adapter.whole & ADAPTER_EMBEDDING)) /* the same values twice: param_saved_twin */
        json_array_append_new(list, json_string("lm_head"));
    return list;
}

char *adapter_config_text(const struct model_config *config, const char *base) {
    const struct adapter *adapter = &config->adapter;
    double ranks[ADAPTER_TARGET_COUNT];
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        ranks[t] = (double)adapter->ranks[t];
    double rank = most_common(config, ranks), alpha = most_common(config, adapter->alphas);
    json_t *root = json_pack(
        "{s:s, s:s, s:s?, s:n, s:b, s:o, s:o, s:f, s:o, s:s, s:b, s:o, s:o, s:n, s:o, s:o, s:b, s:b, s:b}",
        "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", base, "revision",
        "inference_mode", 1, "r", number_json(rank), "lora_alpha", number_json(alpha), "lora_dropout",
        adapter->dropout, "target_modules", modules_json(config), "bias", "none", "fan_in_fan_out", 0,
        "modules_to_save", whole_json(config), "layers_to_transform", layers_json(config), "layers_pattern",
        "rank_pattern", pattern_json(config, ranks, rank), "alpha_pattern",
        pattern_json(config, adapter->alphas, alpha), "use_rslora", adapter->rank_stabilised, "use_dora",
        adapter->method == ADAPTER_DORA, "init_lora_weights", 1);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    CHECK(text, "adapter_config.json could not be written");
    json_decref(root);
    return text;
}
