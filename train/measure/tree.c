/* tree.c - see tree.h. */
#include "train/measure/tree.h"

#include <string.h>

enum { LONGEST_TEXT_BYTES = 120 };

void tree_put(json_t *object, const char *key, json_t *value) {
    CHECK(value && json_object_set_new(object, key, value) == 0, "out of memory for '%s'", key);
}

void tree_int(json_t *object, const char *key, int64_t value) {
    tree_put(object, key, json_integer((json_int_t)value));
}

void tree_append(json_t *array, json_t *value) {
    CHECK(value && json_array_append_new(array, value) == 0, "out of memory");
}

/* Cut between two characters. */
json_t *tree_text_value(const char *text, size_t length_bytes) {
    char shown[LONGEST_TEXT_BYTES + 4];
    size_t kept = length_bytes < LONGEST_TEXT_BYTES ? length_bytes : LONGEST_TEXT_BYTES;
    while (kept < length_bytes && kept > 0 && ((unsigned char)text[kept] & 0xc0) == 0x80)
        kept--; /* not in the middle of a character */
    memcpy(shown, text, kept);
    memcpy(shown + kept, "...", 4);
    if (kept == length_bytes)
        shown[kept] = '\0';
    size_t shown_bytes = kept + (kept < length_bytes ? 3 : 0);
    json_t *value = json_stringn(shown, shown_bytes);
    for (size_t i = 0; !value && i < kept; i++)
        if ((unsigned char)shown[i] >= 0x80)
            shown[i] = '?';
    return value ? value : json_stringn(shown, shown_bytes);
}

void tree_text(json_t *object, const char *key, const char *text) {
    tree_put(object, key, tree_text_value(text, strlen(text)));
}

json_t *tree_kind(const char *kind, const char *path) {
    json_t *object = json_object();
    tree_text(object, "kind", kind);
    tree_text(object, "path", path);
    return object;
}
