/* gguf_parts.c - names and shapes of the tensors that have one parameter. */
#include "checkpoints/gguf/gguf_parts.h"

#include <stdio.h>
#include <string.h>

int gguf_num_parts(const struct param_spec *spec) {
    return spec->traits & PARAM_GGUF_PAIRED ? 2 : 1;
}

const char *gguf_part_name(const struct model_config *config, struct param param, int part, char *text) {
    static const char first[] = "_gate_", second[] = "_up_";
    char rest[PARAM_NAME_ROOM];
    param_gguf_name(config, param, text);
    char *place = part > 0 ? strstr(text, first) : NULL;
    CHECK(part == 0 || place, "the name '%s' has no second part", text);
    if (place) {
        snprintf(rest, sizeof rest, "%s", place + strlen(first));
        snprintf(place, PARAM_NAME_ROOM - (size_t)(place - text), "%s%s", second, rest);
    }
    return text;
}

struct tensor gguf_one_shape(const struct model_config *config, struct param param) {
    const struct param_spec *spec = param_spec(config, param.role);
    struct tensor shape = param_shape(config, param);
    shape.dims[shape.ndim - 1] /= gguf_num_parts(spec);
    return spec->traits & PARAM_GGUF_TURNED && shape.ndim == 2
               ? tensor_2d(NULL, DTYPE_F32, shape.dims[1], shape.dims[0])
               : shape;
}

struct tensor gguf_param_shape(const struct model_config *config, struct param param) {
    struct tensor shape = gguf_one_shape(config, param);
    if (!(param_spec(config, param.role)->traits & PARAM_EXPERT))
        return shape;
    return shape.ndim == 1 ? tensor_2d(NULL, DTYPE_F32, config->num_experts, shape.dims[0])
                           : tensor_3d(NULL, DTYPE_F32, config->num_experts, shape.dims[0], shape.dims[1]);
}
