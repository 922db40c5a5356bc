/* adapter_pattern.h - targets of an adapter by a pattern over the names of modules, as PEFT's target_modules has it where it is a text:
 * a regular expression that must match the whole name, "model.layers.3.self_attn.q_proj".
 * Source: huggingface/peft, src/peft/utils/other.py, match_target_against_key (re.fullmatch). */
#pragma once

#include "checkpoints/family/family.h"

/* Some of the matrices of the layers: of each kind the layers. */
struct module_set {
    struct layer_set layers[ADAPTER_TARGET_COUNT];
};

/* adapter_pattern_is - whether a word of adapter.targets is a pattern and not a name: something in it has a meaning to regular
 * expressions. */
bool adapter_pattern_is(const char *word);

/* adapter_pattern_match - adds to the set what the pattern matches, and says in hits which kinds.  Returns 0, or -1 with err set: it
 * does not compile, or matches nothing of this model, with the names that there are. */
int adapter_pattern_match(const struct model_config *model, const char *pattern, struct module_set *set,
                          bool hits[ADAPTER_TARGET_COUNT], struct err *err);

/* adapter_pattern_add - all layers of one kind, for targets that are named beside patterns. */
void adapter_pattern_add(const struct model_config *model, enum adapter_target target,
                         struct module_set *set);

/* adapter_pattern_layers - the adapter's layers from the set.  Returns 0, or -1 with err set: kinds of modules that have other layers
 * than others, which an adapter cannot have here. */
int adapter_pattern_layers(struct model_config *model, const struct module_set *set, struct err *err);
