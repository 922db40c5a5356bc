/* config_unknown.h - keys that no table has: all that a file and the overrides hold are told at once, each
 * with the key that was probably meant. */
#pragma once

#include "configs/schema/config_load.h"
#include "configs/schema/config_yaml.h"

/* config_unknown_add - name, as written at node or in the override that is being read; list: of whose entries
 * it is one, or NULL. */
void config_unknown_add(struct loading *loading, const struct config_node *node, const char *name,
                        const struct config_key *list);

/* config_unknown_end - status: what reading came to so far, with loading->err.  Returns it where all keys
 * were known; else -1, and loading->err tells the unknown ones first.  Frees the list. */
int config_unknown_end(struct loading *loading, int status);

/* config_unknown_add_value - name, of a section, has a value where its keys are expected ("adapter: lora"): told with the
 * unknown keys, for files of other programs hold both. */
void config_unknown_add_value(struct loading *loading, const struct config_node *node, const char *name);
