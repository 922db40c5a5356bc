/* gguf_settings.c - single values of a GGUF file's metadata. */
#include "checkpoints/gguf/gguf_settings.h"

#include <string.h>

int gguf_setting_int(const struct gguf *file, const char *key, int64_t fallback, int64_t *value,
                     struct err *err) {
    int64_t index = gguf_find_key(file, key);
    *value = fallback;
    if (index < 0)
        return fallback >= 0 ? 0 : err_set(err, "'%s' has no key '%s'", gguf_path(file), key);
    if (gguf_key_type(file, index) == GGUF_ARRAY)
        return err_set(err, "key '%s' of '%s' differs from layer to layer, which is not supported", key,
                       gguf_path(file));
    return gguf_get_int(file, index, 0, value, err);
}

int gguf_setting_size(struct gguf_settings settings, const char *name, int64_t fallback, int64_t *value,
                      struct err *err) {
    char key[FAMILY_KEY_ROOM];
    const struct gguf *file = settings.file;
    family_gguf_key(settings.config, name, key);
    if (gguf_setting_int(file, key, fallback, value, err) != 0)
        return -1;
    if (*value < 1 || *value > INT32_MAX)
        return err_set(err, "key '%s' of '%s' is %lld, out of range", key, gguf_path(file),
                       (long long)*value);
    return 0;
}

int gguf_setting_double(struct gguf_settings settings, const char *name, double fallback, double *value,
                        struct err *err) {
    char key[FAMILY_KEY_ROOM];
    int64_t index = gguf_find_key(settings.file, family_gguf_key(settings.config, name, key));
    *value = fallback;
    return index < 0 ? 0 : gguf_get_double(settings.file, index, 0, value, err);
}

bool gguf_setting_is(const struct gguf *file, const char *key, const char *text) {
    struct gguf_string value;
    int64_t index = gguf_find_key(file, key);
    return index >= 0 && gguf_get_string(file, index, 0, &value, NULL) == 0 &&
           value.length_bytes == strlen(text) && memcmp(value.text, text, value.length_bytes) == 0;
}
