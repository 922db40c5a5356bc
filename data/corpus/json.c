/* json.c - parsing with jansson, and getters by path that say what they found.  jansson bounds the nesting itself
 * (2,048 levels) and seeds its hash tables at random, so that neither deep documents nor chosen keys hurt. */
#include "data/corpus/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/file.h"

/* A copy of text in which integers beyond 64 bits are written as reals ("1000...0" -> "1000...0.0");
 * transformers writes such a one into every tokenizer_config.json.  Freed with free(). */
static char *widen_integers(const char *text, size_t length_bytes, size_t *widened_bytes) {
    enum { SAFE_DIGITS = 18 };
    char *copy = xmalloc(2 * length_bytes + 1);
    size_t count = 0, num_digits = 0;
    bool in_string = false, is_real = false;
    for (size_t i = 0; i <= length_bytes; i++) {
        char c = i < length_bytes ? text[i] : 0;
        bool is_digit = c >= '0' && c <= '9';
        if (in_string) {
            if (c == '\\' && i + 1 < length_bytes)
                copy[count++] = text[i++];
            else if (c == '"')
                in_string = false;
        } else if (is_digit) {
            num_digits++;
        } else if (c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-') {
            is_real |= num_digits > 0;
        } else { /* what cannot be part of a number */
            if (num_digits > SAFE_DIGITS && !is_real) {
                copy[count++] = '.';
                copy[count++] = '0';
            }
            num_digits = 0;
            is_real = false;
            in_string = c == '"';
        }
        if (i < length_bytes)
            copy[count++] = text[i];
    }
    *widened_bytes = count;
    return copy;
}

/* Read once as it stands; only a number that overflowed costs the second reading. */
json_t *json_parse_text(const char *text, size_t length_bytes, const char *origin, struct err *err) {
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_error_t why;
    json_t *root = json_loadb(text, length_bytes, flags, &why);
    if (!root && json_error_code(&why) == json_error_numeric_overflow) {
        char *widened = widen_integers(text, length_bytes, &length_bytes);
        root = json_loadb(widened, length_bytes, flags, &why);
        free(widened);
    }
    if (!root)
        err_set(err, "cannot read '%s' as JSON: line %d column %d: %s", origin, why.line, why.column,
                why.text);
    return root;
}

char *file_read_whole(const char *path, size_t max_bytes, size_t *length_bytes, struct err *err) {
    char *text = NULL;
    int64_t size_bytes = 0;
    int fd = file_open_read(path, &size_bytes, err);
    if (fd < 0)
        return NULL;
    if ((uint64_t)size_bytes > max_bytes) {
        err_set(err, "cannot read '%s': %lld bytes, more than the %zu allowed", path, (long long)size_bytes,
                max_bytes);
    } else {
        text = xmalloc((size_t)size_bytes + 1);
        text[size_bytes] = 0;
        *length_bytes = (size_t)size_bytes;
        if (file_read_at(fd, path, text, (size_t)size_bytes, 0, err) != 0) {
            free(text);
            text = NULL;
        }
    }
    close(fd);
    return text;
}

json_t *json_load_path(const char *path, size_t max_bytes, struct err *err) {
    size_t length_bytes = 0;
    char *text = file_read_whole(path, max_bytes, &length_bytes, err);
    if (!text)
        return NULL;
    json_t *root = json_parse_text(text, length_bytes, path, err);
    free(text);
    return root;
}

/* A member that is null counts as absent: files write null for what they do not set. */
json_t *json_find(const json_t *object, const char *key) {
    const json_t *at = object;
    for (const char *name = key; at;) {
        size_t name_bytes = strcspn(name, "/");
        at = json_is_object(at) ? json_object_getn(at, name, name_bytes) : NULL;
        if (!name[name_bytes])
            break;
        name += name_bytes + 1;
    }
    /* jansson's getters take const and return non-const; the tree itself is never const. */
    return at && !json_is_null(at) ? (json_t *)(uintptr_t)at : NULL;
}

const char *json_type_name(const json_t *value) {
    if (!value)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        return "null";
    }
    return "an unknown value";
}

/* wrong_type - says what was found in its place.  Returns -1. */
static int wrong_type(const char *key, const char *wanted, const json_t *found, struct err *err) {
    if (!found)
        return err_set(err, "key '%s' is missing, expected %s", key, wanted);
    return err_set(err, "key '%s' is %s, expected %s", key, json_type_name(found), wanted);
}

int json_get_int(const json_t *object, const char *key, int64_t *value, struct err *err) {
    const json_t *found = json_find(object, key);
    if (!json_is_integer(found))
        return wrong_type(key, "an integer", found, err);
    *value = json_integer_value(found);
    return 0;
}

int json_get_double(const json_t *object, const char *key, double *value, struct err *err) {
    const json_t *found = json_find(object, key);
    if (!json_is_number(found))
        return wrong_type(key, "a number", found, err);
    *value = json_number_value(found);
    return 0;
}

int json_get_bool(const json_t *object, const char *key, bool *value, struct err *err) {
    const json_t *found = json_find(object, key);
    if (!json_is_boolean(found))
        return wrong_type(key, "true or false", found, err);
    *value = json_is_true(found);
    return 0;
}

int json_get_text(const json_t *object, const char *key, const char **value, size_t *length_bytes,
                  struct err *err) {
    const json_t *found = json_find(object, key);
    if (!json_is_string(found))
        return wrong_type(key, "a string", found, err);
    *value = json_string_value(found);
    *length_bytes = json_string_length(found);
    return 0;
}

int json_get_string(const json_t *object, const char *key, const char **value, struct err *err) {
    size_t length_bytes = 0;
    if (json_get_text(object, key, value, &length_bytes, err) != 0)
        return -1;
    if (strlen(*value) != length_bytes)
        return err_set(err, "key '%s' holds a NUL character", key);
    return 0;
}

int json_get_object(const json_t *object, const char *key, json_t **value, struct err *err) {
    json_t *found = json_find(object, key);
    if (!json_is_object(found))
        return wrong_type(key, "an object", found, err);
    *value = found;
    return 0;
}

int json_get_array(const json_t *object, const char *key, json_t **value, struct err *err) {
    json_t *found = json_find(object, key);
    if (!json_is_array(found))
        return wrong_type(key, "an array", found, err);
    *value = found;
    return 0;
}

int json_get_int_or(const json_t *object, const char *key, int64_t fallback, int64_t *value,
                    struct err *err) {
    *value = fallback;
    return json_find(object, key) ? json_get_int(object, key, value, err) : 0;
}

int json_get_double_or(const json_t *object, const char *key, double fallback, double *value,
                       struct err *err) {
    *value = fallback;
    return json_find(object, key) ? json_get_double(object, key, value, err) : 0;
}

int json_get_bool_or(const json_t *object, const char *key, bool fallback, bool *value, struct err *err) {
    *value = fallback;
    return json_find(object, key) ? json_get_bool(object, key, value, err) : 0;
}

int json_get_string_or(const json_t *object, const char *key, const char *fallback, const char **value,
                       struct err *err) {
    *value = fallback;
    return json_find(object, key) ? json_get_string(object, key, value, err) : 0;
}
