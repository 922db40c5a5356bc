/* json.h - reading JSON that may be hostile: a thin checked layer over jansson.
 *
 * Documents are bounded in size and depth, duplicate keys are refused, and every getter reports the key and
 * what was found in its place.  A key may be a path of member names separated by '/' ("rope_scaling/factor");
 * for members whose names are data (tensor names, tokens) use jansson's own json_object_get or
 * json_object_foreach. Values are borrowed from the tree; the root is released with json_decref. */
#pragma once

#include <jansson.h>

#include "data/corpus/json_old.h"
#include "kernels/error.h"

/* json_parse_text - a document in memory, which need not be NUL-terminated; origin names it in messages.
 * json_load_path  - a document in a file of at most max_bytes.
 * Both return a new reference, or NULL with err set: unreadable, too large, malformed (line and column are
 * named), duplicate key, or neither an object nor an array at the top. */
json_t *json_parse_text(const char *text, size_t length_bytes, const char *origin, struct err *err);
json_t *json_load_path(const char *path, size_t max_bytes, struct err *err);

/* file_read_whole - the bytes of a regular file, NUL-terminated, freed with free().  Returns NULL with err
 * set: unreadable, or more than max_bytes. */
char *file_read_whole(const char *path, size_t max_bytes, size_t *length_bytes, struct err *err);

/* json_find - the member at a path, or NULL where it is absent or null.  Borrowed. */
json_t *json_find(const json_t *object, const char *key);

/* Typed getters.  Return 0 and store, or -1 with err set: absent, null, or of another type.  A double may be
 * written as an integer; an integer may not be written as a real.  json_get_string refuses a string with a
 * NUL inside, json_get_text gives its length instead.  json_get_object and json_get_array check the type
 * only. */
int json_get_int(const json_t *object, const char *key, int64_t *value, struct err *err);
int json_get_double(const json_t *object, const char *key, double *value, struct err *err);
int json_get_bool(const json_t *object, const char *key, bool *value, struct err *err);
int json_get_string(const json_t *object, const char *key, const char **value, struct err *err);
int json_get_text(const json_t *object, const char *key, const char **value, size_t *length_bytes,
                  struct err *err);
int json_get_object(const json_t *object, const char *key, json_t **value, struct err *err);
int json_get_array(const json_t *object, const char *key, json_t **value, struct err *err);

/* The same with a default for a member that is absent or null.  -1 only for another type. */
int json_get_int_or(const json_t *object, const char *key, int64_t fallback, int64_t *value, struct err *err);
int json_get_double_or(const json_t *object, const char *key, double fallback, double *value,
                       struct err *err);
int json_get_bool_or(const json_t *object, const char *key, bool fallback, bool *value, struct err *err);
int json_get_string_or(const json_t *object, const char *key, const char *fallback, const char **value,
                       struct err *err);

/* json_type_name - "an object", "a string", "nothing" (NULL): for messages. */
const char *json_type_name(const json_t *value);
