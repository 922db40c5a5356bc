/* tree.h - members of the JSON tree that describes a file.  Texts come from files that are hostile: they are cut to a readable
 * length and made valid UTF-8.  Out of memory ends the program. */
#pragma once

#include <jansson.h>

#include "kernels/error.h"

/* tree_put, tree_append - take the reference.  tree_int, tree_text - a value of their own. */
void tree_put(json_t *object, const char *key, json_t *value);
void tree_int(json_t *object, const char *key, int64_t value);
void tree_text(json_t *object, const char *key, const char *text);
void tree_append(json_t *array, json_t *value);

/* tree_text_value - of bytes that need not be NUL-terminated; those that are no UTF-8 become '?'. */
json_t *tree_text_value(const char *text, size_t length_bytes);

/* tree_kind - an object with the first two members of every tree. */
json_t *tree_kind(const char *kind, const char *path);
