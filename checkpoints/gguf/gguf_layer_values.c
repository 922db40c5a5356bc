/* gguf_layer_values.c - parameters that GGUF has in its metadata, each kind an array of one number for each layer. */
#include "checkpoints/gguf/gguf_layer_values.h"

/* check_value - a parameter that is metadata: a number for each layer, or one for all. */
static int check_value(const struct gguf *file, const struct model_config *config, struct param param,
                       struct err *err) {
    char key[PARAM_NAME_ROOM];
    double value;
    int64_t index = gguf_find_key(file, param_gguf_name(config, param, key));
    if (index < 0)
        return err_set(err, "'%s' has no key '%s'", gguf_path(file), key);
    int64_t count = gguf_array_count(file, index);
    if (count != config->num_layers && gguf_key_type(file, index) == GGUF_ARRAY)
        return err_set(err, "key '%s' of '%s' has %lld values, expected one for each of %d layers", key,
                       gguf_path(file), (long long)count, config->num_layers);
    return gguf_get_double(file, index, count == 1 ? 0 : param.layer, &value, err);
}

int gguf_layer_values_check(const struct gguf *file, const struct model_config *config, struct err *err) {
    struct param at = PARAM_START;
    int status = 0;
    while (status == 0 && family_next_param(config, &at))
        if (param_spec(config, at.role)->traits & PARAM_METADATA)
            status = check_value(file, config, at, err);
    return status;
}

int gguf_layer_value_read(const struct gguf *file, const struct model_config *config, struct param param,
                          float *out, struct err *err) {
    char key[PARAM_NAME_ROOM];
    double value = 0;
    int64_t index = gguf_find_key(file, param_gguf_name(config, param, key));
    CHECK(index >= 0, "no key '%s': the file was not checked", key);
    int64_t element = gguf_array_count(file, index) == 1 ? 0 : param.layer;
    int status = gguf_get_double(file, index, element, &value, err);
    *out = (float)value;
    return status;
}
