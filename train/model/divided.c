/* divided.c - which part of each tensor a rank has, of those that divide the tensors of one replica. */
#include "train/model/divided.h"

/* num_parts - into how many a tensor is divided by its rows or columns. */
static int num_parts(const struct params_setup *setup, const struct param_spec *spec) {
    enum split split = param_split(spec);
    bool divides = (split == SPLIT_ROWS || split == SPLIT_COLUMNS) && setup->tensor.size > 1;
    if (!divides || (spec->rows == DIM_VOCAB && setup->model->vocab_size % setup->tensor.size != 0))
        return 1;
    return setup->tensor.size;
}

bool divided_is(const struct params_setup *setup, const struct param_spec *spec) {
    return num_parts(setup, spec) > 1;
}

struct tensor divided_shape(const struct params_setup *setup, struct param param) {
    const struct param_spec *spec = param_spec(setup->model, param.role);
    struct tensor shape = param_shape(setup->model, param);
    shape.dims[param_split(spec) == SPLIT_COLUMNS ? 1 : 0] /= num_parts(setup, spec);
    return shape;
}

bool divided_by_experts(const struct params_setup *setup, const struct param_spec *spec) {
    return setup->experts.size > 1 && param_split(spec) == SPLIT_EXPERTS;
}

bool divided_has(const struct params_setup *setup, struct param param) {
    return !divided_by_experts(setup, param_spec(setup->model, param.role)) ||
           param.expert * setup->experts.size / setup->model->num_experts == setup->experts.index;
}

int64_t divided_num_trained(const struct params_setup *setup) {
    struct param at = PARAM_START;
    int64_t count = 0;
    while (family_next_param(setup->model, &at))
        if (divided_has(setup, at) && param_is_trained(setup->model, at.role))
            count += tensor_count(divided_shape(setup, at));
    return count;
}

void divided_check(const struct params_setup *setup) {
    const struct model_config *model = setup->model;
    int size = setup->tensor.size;
    CHECK(size < 2 || (model->num_heads % size == 0 && model->num_kv_heads % size == 0 &&
                       model->ffn_width % size == 0),
          "%d query heads, %d key heads and a feed-forward of %lld are not divided by %d ranks",
          model->num_heads, model->num_kv_heads, (long long)model->ffn_width, size);
    for (int i = 0; setup->optimizer && size > 1 && i < setup->optimizer->num_rules; i++)
        CHECK(setup->optimizer->rules[i]->owns != OWNS_MATRICES,
              "%s works on whole matrices, not on parts of them", setup->optimizer->name);
}

void divided_place(struct unit_tensor *tensor, const struct params_setup *setup, struct tensor own) {
    int64_t parts = num_parts(setup, tensor->spec);
    bool by_columns = parts > 1 && param_split(tensor->spec) == SPLIT_COLUMNS; /* else one run */
    tensor->row_count = by_columns ? own.dims[1] : tensor->count;
    tensor->stride = by_columns ? own.dims[1] * parts : tensor->count;
    tensor->whole_first = parts > 1 ? tensor->row_count * setup->tensor.index : 0;
}

bool divided_writes(const struct params_setup *setup, const struct unit_tensor *tensor) {
    return divided_is(setup, tensor->spec) || setup->tensor.index == 0;
}
