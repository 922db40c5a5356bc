/* config_store.h - the text of one value put into the place that the table gives it. */
#pragma once

#include "configs/schema/config_table.h"

/* config_store - put text into the struct as the key's type.  False when it does not fit. */
bool config_store(const struct config_key *key, void *values, const char *text);

/* config_has_leading_zero - of a number: refused, since readers of YAML do not agree on its value. */
bool config_has_leading_zero(const char *text);

/* config_reset - the default of one key; config_reset_all - of all keys of a table. */
void config_reset(const struct config_key *key, void *values);
void config_reset_all(const struct config_table *table, void *values);

/* config_default_text - the default as config_value_text writes it, malloc'ed; NULL where the key has none. */
char *config_default_text(const struct config_key *key);

/* config_has_default - whether the key's value is its default. */
bool config_has_default(const struct config_key *key, const void *values);
