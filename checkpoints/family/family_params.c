/* family_params.c - the parameters of a model, from the table of its family: walking through them, their
 * names, shapes and numbers. */
#include <stdio.h>

#include "checkpoints/family/family_internal.h"

const struct family *family_of(const struct model_config *config) {
    const struct family *family = family_find(config->model_type);
    CHECK(family && family->params, "no table of parameters for model_type '%s'", config->model_type);
    return family;
}

static bool has(const struct model_config *config, const struct param_spec *spec) {
    return !((spec->traits & PARAM_UNTIED) && config->tied_head);
}

/* row_of - where in the table a kind is described; num_params: nowhere. */
static int row_of(const struct family *family, enum tensor_role role) {
    int row = 0;
    while (row < family->num_params && family->params[row].role != role)
        row++;
    return row;
}

const struct param_spec *param_spec(const struct model_config *config, enum tensor_role role) {
    const struct family *family = family_of(config);
    int row = row_of(family, role);
    return row < family->num_params && has(config, &family->params[row]) ? &family->params[row] : NULL;
}

bool family_next_param(const struct model_config *config, struct param *at) {
    const struct family *family = family_of(config);
    int row = -1;
    if (at->layer >= 0) { /* not at the start */
        row = row_of(family, at->role);
        if (family->params[row].place == PLACE_LAYER && at->layer + 1 < config->num_layers) {
            at->layer++;
            return true;
        }
    }
    do {
        row++;
    } while (row < family->num_params && !has(config, &family->params[row]));
    if (row == family->num_params)
        return false;
    *at = (struct param){family->params[row].role, 0};
    return true;
}

/* required - the row of a parameter that the model must have. */
static const struct param_spec *required(const struct model_config *config, struct param param) {
    const struct param_spec *spec = param_spec(config, param.role);
    CHECK(spec && param.layer >= 0 && param.layer < config->num_layers,
          "no parameter of role %d in layer %d of model_type '%s'", (int)param.role, param.layer,
          config->model_type);
    return spec;
}

const char *param_name(const struct model_config *config, struct param param, char *text) {
    const struct param_spec *spec = required(config, param);
    if (spec->place == PLACE_LAYER)
        snprintf(text, PARAM_NAME_ROOM, "model.layers.%d.%s", param.layer, spec->hf);
    else
        snprintf(text, PARAM_NAME_ROOM, "%s", spec->hf);
    return text;
}

const char *param_gguf_name(const struct model_config *config, struct param param, char *text) {
    const struct param_spec *spec = required(config, param);
    if (spec->place == PLACE_LAYER)
        snprintf(text, PARAM_NAME_ROOM, "blk.%d.%s", param.layer, spec->gguf);
    else
        snprintf(text, PARAM_NAME_ROOM, "%s", spec->gguf);
    return text;
}

static int64_t dim_size(const struct model_config *config, enum dim dim) {
    switch (dim) {
    case DIM_NONE:
        return 1;
    case DIM_WIDTH:
        return config->width;
    case DIM_VOCAB:
        return config->vocab_size;
    case DIM_QUERY:
        return (int64_t)config->num_heads * config->head_dim;
    case DIM_KEY:
        return (int64_t)config->num_kv_heads * config->head_dim;
    case DIM_FFN:
        return config->ffn_width;
    case DIM_HEAD:
        return config->head_dim;
    }
    die("no dimension has the number %d", (int)dim);
}

struct tensor param_shape(const struct model_config *config, struct param param) {
    const struct param_spec *spec = required(config, param);
    int64_t rows = dim_size(config, spec->rows), cols = dim_size(config, spec->cols);
    return spec->cols == DIM_NONE ? tensor_1d(NULL, DTYPE_F32, rows) : tensor_2d(NULL, DTYPE_F32, rows, cols);
}

int64_t param_slot(const struct model_config *config, struct param param) {
    return (int64_t)required(config, param)->role * config->num_layers + param.layer;
}

int64_t param_num_slots(const struct model_config *config) {
    return (int64_t)ROLE_COUNT * config->num_layers;
}

int64_t model_num_parameters(const struct model_config *config) {
    struct param at = PARAM_START;
    int64_t count = 0;
    while (family_next_param(config, &at))
        count += tensor_count(param_shape(config, at));
    return count;
}
