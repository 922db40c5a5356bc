/* adapter_pattern.c - modules by their names.  The expression is PCRE2's, through the seam of the tokenizers: what Python's re and it
 * read alike is all that such patterns are made of. */
#include "train/model/adapter_pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_adapter.h"
#include "data/tokenizer/tokenizer_regex.h"

bool adapter_pattern_is(const char *word) {
    return strpbrk(word, ".*+?[](){}|^$\\") != NULL;
}

/* A target's matrices in a layer: one, or one for each expert. */
struct modules {
    enum adapter_target target;
    int layer;
};

static int num_modules(const struct model_config *model, struct modules of) {
    if (!adapter_in_layer(model, of.target, of.layer))
        return 0;
    return adapter_is_of_experts(model, of.target) ? model->num_experts : 1;
}

/* module_name - what transformers calls a matrix, without ".weight"; into text, which has PARAM_NAME_ROOM bytes. */
static const char *module_name(const struct model_config *model, struct modules of, int expert, char *text) {
    struct model_config modules = *model;
    struct param param = {adapter_target_role(model, of.target), of.layer, expert};
    modules.text_names = model->wrapper_type[0] ? TEXT_NAMES_INNER : TEXT_NAMES_PLAIN;
    param_name(&modules, param, text);
    char *end = strrchr(text, '.');
    CHECK(end && strcmp(end, ".weight") == 0, "'%s' is not a matrix of a module", text);
    *end = '\0';
    return text;
}

void adapter_pattern_add(const struct model_config *model, enum adapter_target target,
                         struct module_set *set) {
    for (int layer = 0; layer < model->num_layers; layer++)
        if (adapter_in_layer(model, target, layer))
            layer_set_add(&set->layers[target], layer);
}

/* matches - the whole of a name.  A line end goes before both, so that a pattern which would also match nothing
 * can be compiled, and ^ still matches where the name begins. */
static int matches(const struct regex *regex, const char *name, struct err *err) {
    struct text_span found;
    char text[PARAM_NAME_ROOM + 1];
    int length = snprintf(text, sizeof text, "\n%s", name);
    struct regex_state *state = regex_state_create();
    regex_state_begin(state, (size_t)length);
    int status = regex_next(regex, state, (struct text_span){text, (size_t)length}, 0, &found, err);
    regex_state_free(state);
    return status;
}

/* match_modules - of a target in a layer; returns how many hit, -1 with err set: an error, or some of the experts alone. */
static int match_modules(const struct model_config *model, const struct regex *regex, struct modules of,
                         struct err *err) {
    char name[PARAM_NAME_ROOM];
    int count = 0, all = num_modules(model, of);
    for (int expert = 0; expert < all; expert++) {
        int found = matches(regex, module_name(model, of, expert, name), err);
        if (found < 0)
            return -1;
        count += found > 0;
    }
    if (count == 0 || count == all)
        return count;
    return err_set(err,
                   "it matches %d of the %d experts of layer %d: all experts of a layer have pairs, or none",
                   count, all, of.layer);
}

/* match_all - every module that there is; returns how many hit, -1 with err set. */
static int64_t match_all(const struct model_config *model, const struct regex *regex, struct module_set *set,
                         bool hits[ADAPTER_TARGET_COUNT], struct err *err) {
    int64_t count = 0;
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        for (int layer = 0; layer < model->num_layers; layer++) {
            struct modules of = {(enum adapter_target)t, layer};
            int found = adapter_limit(model, of.target) > 0 ? match_modules(model, regex, of, err) : 0;
            if (found < 0)
                return -1;
            if (found == 0)
                continue;
            layer_set_add(&set->layers[t], layer);
            hits[t] = true;
            count += found;
        }
    return count;
}

/* first_modules - of the first layer that has some of a target. */
static struct modules first_modules(const struct model_config *model, enum adapter_target target) {
    struct modules of = {target, 0};
    while (of.layer + 1 < model->num_layers && num_modules(model, of) == 0)
        of.layer++;
    return of;
}

/* hits_nothing - with the names that there are: of the first layer, and the number of layers. */
static int hits_nothing(const struct model_config *model, const char *pattern, struct err *err) {
    char text[600] = "", name[PARAM_NAME_ROOM];
    size_t used = 0;
    for (int t = 0; t < ADAPTER_TARGET_COUNT && used < sizeof text; t++)
        if (adapter_limit(model, (enum adapter_target)t) > 0)
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? ", " : "",
                                 module_name(model, first_modules(model, (enum adapter_target)t), 0, name));
    return err_set(
        err,
        "adapter.targets: the pattern '%.200s' matches the whole name of no matrix of this model's layers; there "
        "are %s, and so on to layer %d",
        pattern, text, model->num_layers - 1);
}

/* tell_fault - in `why`, of the pattern by itself: what it was compiled with is not the user's. */
static void tell_fault(const char *pattern, struct err *why) {
    struct err said = {""};
    struct regex *plain = regex_compile(pattern, strlen(pattern), false, &said);
    if (!plain)
        *why = said;
    regex_free(plain);
}

int adapter_pattern_match(const struct model_config *model, const char *pattern, struct module_set *set,
                          bool hits[ADAPTER_TARGET_COUNT], struct err *err) {
    struct err why = {""};
    char *own = xasprintf("\n%s", pattern), *whole = xasprintf("\\A\n(?:%s)\\z", pattern);
    struct regex *alone = regex_compile(own, strlen(own), false, &why); /* its brackets are its own */
    struct regex *regex = alone ? regex_compile(whole, strlen(whole), false, &why) : NULL;
    int64_t count = regex ? match_all(model, regex, set, hits, &why) : -1;
    if (!regex)
        tell_fault(pattern, &why);
    regex_free(alone);
    regex_free(regex);
    free(own);
    free(whole);
    if (count < 0)
        return err_set(err, "adapter.targets: '%.200s' cannot be used as a pattern: %s", pattern, why.text);
    return count > 0 ? 0 : hits_nothing(model, pattern, err);
}

/* check_alike - a layer that has pairs has them on every kind of module that has some anywhere. */
static int check_alike(const struct model_config *model, const struct module_set *set, int layer,
                       struct err *err) {
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        if (model->adapter.ranks[t] > 0 && !layer_set_has(&set->layers[t], layer) &&
            adapter_in_layer(model, (enum adapter_target)t, layer))
            return err_set(
                err,
                "adapter.targets: layer %d has pairs, but not on '%s', which has them in another layer: all kinds of "
                "matrices have pairs in the same layers here; write the pattern so, or leave '%s' out",
                layer, adapter_module((enum adapter_target)t), adapter_module((enum adapter_target)t));
    return 0;
}

int adapter_pattern_layers(struct model_config *model, const struct module_set *set, struct err *err) {
    for (int layer = 0; layer < model->num_layers; layer++) {
        bool has_some = false;
        for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
            has_some = has_some || layer_set_has(&set->layers[t], layer);
        if (!has_some)
            continue;
        if (check_alike(model, set, layer, err) != 0)
            return -1;
        layer_set_add(&model->adapter.layers, layer);
    }
    return 0;
}
