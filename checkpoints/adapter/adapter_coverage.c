/* adapter_coverage.c - see adapter_coverage.h. */
#include "checkpoints/adapter/adapter_coverage.h"

#include <stdio.h>
#include <string.h>

json_t *adapter_coverage_keep(const json_t *root) {
    static const char *const keys[] = {
        "r", "rank_pattern", "target_modules", "exclude_modules", "layers_to_transform", "target_parameters"};
    json_t *kept = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(root, keys[i]);
        if (value && !json_is_null(value))
            json_object_set(kept, keys[i], value);
    }
    return kept;
}

/* module_of - the name of the module that a tensor is for. */
static int module_of(const char *tensor, const char **module) {
    static const char before[] = "base_model.model.";
    *module = strncmp(tensor, before, strlen(before)) == 0 ? tensor + strlen(before) : tensor;
    const char *end = strstr(*module, ".lora_");
    return (int)(end ? (size_t)(end - *module) : strlen(*module));
}

/* is_meant - a name is the module's whole one, or what it ends with after a point. */
static bool is_meant(const char *tensor, const char *name) {
    const char *module;
    size_t length = (size_t)module_of(tensor, &module), name_length = strlen(name);
    if (name_length > length || memcmp(module + length - name_length, name, name_length) != 0)
        return false;
    return name_length == length || module[length - name_length - 1] == '.';
}

static bool list_means(const json_t *list, const char *tensor) {
    const json_t *name;
    size_t i;
    json_array_foreach(list, i, name) if (json_is_string(name) &&
                                          is_meant(tensor, json_string_value(name))) return true;
    return false;
}

/* has_layer - in a list of numbers, or as the only one. */
static bool has_layer(const json_t *said, int layer) {
    const json_t *number;
    size_t i;
    json_array_foreach(said, i, number) if (json_integer_value(number) == layer) return true;
    return json_is_integer(said) && json_integer_value(said) == layer;
}

/* is_name - no pattern, but for the points of a name. */
static bool is_name(const char *key) {
    return key[strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")] == '\0';
}

/* rank_key - the first key of rank_pattern that means the module, or "r"; NULL where a pattern may be meant. */
static const char *rank_key(const json_t *ranks, const char *tensor) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)ranks, key, value) {
        if (!is_name(key))
            return NULL;
        if (is_meant(tensor, key))
            return key;
    }
    return "r";
}

static int check_rank(const json_t *said, const struct adapter_pair *pair, struct err *err) {
    const json_t *ranks = json_object_get(said, "rank_pattern");
    const char *key = rank_key(ranks, pair->tensor);
    const json_t *rank = !key                    ? NULL
                         : strcmp(key, "r") == 0 ? json_object_get(said, "r")
                                                 : json_object_get(ranks, key);
    if (!rank || (json_is_integer(rank) && json_integer_value(rank) == pair->rank))
        return 0;
    return err_set(
        err,
        "the rank by '%.80s' is not that of tensor '%.200s', %lld: peft does not load such an adapter; take "
        "the adapter_config.json that was saved with it",
        key, pair->tensor, (long long)pair->rank);
}

static int not_named(const char *key, const char *says, const struct adapter_pair *pair, struct err *err) {
    return err_set(err,
                   "%s %s the module of tensor '%.200s': peft would compute without that pair; take the "
                   "adapter_config.json that was saved with it",
                   key, says, pair->tensor);
}

int adapter_coverage_check(const json_t *said, const struct adapter_pair *pair, struct err *err) {
    const json_t *targets = json_object_get(said, "target_modules"),
                 *excluded = json_object_get(said, "exclude_modules"),
                 *layers = json_object_get(said, "layers_to_transform");
    if (list_means(excluded, pair->tensor))
        return not_named("exclude_modules", "names", pair, err);
    if (json_is_array(targets) && !list_means(targets, pair->tensor))
        return not_named("target_modules", "does not name", pair, err);
    bool has_layers = json_is_integer(layers) || json_array_size(layers) > 0;
    if (has_layers && !has_layer(layers, pair->layer))
        return not_named("layers_to_transform", "does not have the layer of", pair, err);
    return check_rank(said, pair, err);
}

int adapter_coverage_check_parameter(const json_t *said, const char *parameter, struct err *err) {
    const json_t *targets = json_object_get(said, "target_parameters"), *name;
    size_t i, length = strlen(parameter);
    json_array_foreach(targets, i, name) {
        const char *text = json_is_string(name) ? json_string_value(name) : "", *dot = strrchr(text, '.');
        if (strncmp(dot ? dot + 1 : text, parameter, length + 1) == 0)
            return 0;
    }
    return err_set(
        err,
        "target_parameters does not name '%s', of which there are pairs: peft would compute without "
        "them; take the adapter_config.json that was saved with them",
        parameter);
}
