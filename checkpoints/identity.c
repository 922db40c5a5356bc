/* identity.c - a model by its weights and its configuration.  See identity.h. */
#include "checkpoints/identity.h"

#include <stdlib.h>
#include <string.h>

json_t *identity_config(const struct model_config *config) {
    struct model_config computed = *config;
    computed.dtype = DTYPE_F32;
    computed.bos_id = computed.pad_id = -1;
    computed.num_eos = 0;
    computed.adapter = (struct adapter){.method = ADAPTER_NONE};
    char *text = model_config_text(&computed, NULL);
    json_t *object = json_loads(text, 0, NULL);
    CHECK(json_is_object(object), "a configuration that was written here cannot be read");
    free(text);
    return object;
}

void identity_hash(const char *weights_sha256, const struct model_config *config, char hex[SHA256_HEX_ROOM]) {
    json_t *object = identity_config(config);
    char *text = json_dumps(object, JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(17));
    struct sha256 sha;
    CHECK(text, "a configuration that was written here cannot be written again");
    sha256_init(&sha);
    sha256_update(&sha, weights_sha256, strlen(weights_sha256));
    sha256_update(&sha, text, strlen(text));
    sha256_finish(&sha, hex);
    free(text);
    json_decref(object);
}

/* fail_key - returns -1, with both values. */
static int fail_key(const char *key, const json_t *now, const json_t *then, struct err *err) {
    char *now_text = json_dumps(now, JSON_ENCODE_ANY | JSON_COMPACT),
         *then_text = json_dumps(then, JSON_ENCODE_ANY | JSON_COMPACT);
    err_set(err, "%.60s is %.120s, and was %.120s", key, now_text ? now_text : "?",
            then_text ? then_text : "?");
    free(now_text);
    free(then_text);
    return -1;
}

/* is_same - numbers by their value: 1 and 1.0 are two types of JSON. */
static bool is_same(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

int identity_check(const json_t *then, const struct model_config *config, struct err *err) {
    json_t *now = identity_config(config), *value;
    const char *key;
    int status = 0;
    json_object_foreach(now, key, value) {
        const json_t *before = json_object_get(then, key);
        if (status == 0 && before && !is_same(value, before))
            status = fail_key(key, value, before, err);
    }
    json_decref(now);
    return status;
}
