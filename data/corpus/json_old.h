/* json_old.h - what jansson 2.14 added and older releases lack (Ubuntu 22.04 has 2.13): keys by their length.  Only for json.h.
 * jansson refuses a NUL in a key when it parses, so keys are plain strings here. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/error.h"

#if JANSSON_VERSION_HEX < 0x020e00

static inline json_t *json_object_getn(const json_t *object, const char *key, size_t key_bytes) {
    char *text = memchr(key, 0, key_bytes) ? NULL : xstrndup(key, key_bytes);
    json_t *value = text ? json_object_get(object, text) : NULL;
    free(text);
    return value;
}

static inline int json_object_setn_new(json_t *object, const char *key, size_t key_bytes, json_t *value) {
    char *text = memchr(key, 0, key_bytes) ? NULL : xstrndup(key, key_bytes);
    int status = text ? json_object_set_new(object, text, value) : -1;
    if (!text)
        json_decref(value);
    free(text);
    return status;
}

#define json_object_keylen_foreach(object, key, key_bytes, value)                                            \
    for ((key) = json_object_iter_key(json_object_iter(object));                                             \
         (key) && ((value) = json_object_iter_value(json_object_key_to_iter(key))) &&                        \
         ((key_bytes) = strlen(key), true);                                                                  \
         (key) = json_object_iter_key(json_object_iter_next(object, json_object_key_to_iter(key))))

#endif
