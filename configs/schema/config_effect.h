/* config_effect.h - keys that are read only where another key has a certain value (config_table.h, key_condition).
 * Asked for elsewhere they would be passed over without a word: refused, with both keys. */
#pragma once

#include "configs/schema/config_load.h"

/* config_check_effects - every key that the file or an override sets, to another value than its default, is read.
 * Before config_complete: what follows from other values was asked by nobody.  Returns 0, or -1 with err set. */
int config_check_effects(const struct loading *loading);

/* config_is_idle - the key has another value than its default, and nothing reads it. */
bool config_is_idle(const struct config_table *table, const struct config_key *key, const void *values);

/* config_condition_text - "with schedule.kind: linear, cosine or wsd", "with data.valid", "where an entry of
 * prepare.sources has chat: true"; malloc'ed. */
char *config_condition_text(const struct key_condition *needs);
