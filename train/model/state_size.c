/* state_size.c - what a checkpoint of the parameters will take on disk: of all ranks, also of what they divide among themselves. */
#include "train/model/state.h"

/* has_twin - whether the model's file has its values twice. */
static bool has_twin(const struct params *params, struct param param) {
    char name[PARAM_NAME_ROOM];
    return param_saved_twin(params->setup.model, param.role, name) != NULL;
}

/* param_bytes - of a parameter that this rule trains; NULL: it is frozen. */
static int64_t param_bytes(const struct params *params, struct param param, const struct update_rule *rule,
                           enum dtype model_dtype) {
    const struct params_setup *setup = &params->setup;
    int64_t num_copies = 1 + (rule ? rule->num_states : 0); /* f32: the masters and the states */
    int64_t num_in_model = has_twin(params, param) ? 2 : 1;
    enum dtype in_model = param_file_type(setup->model, param.role, model_dtype);
    if (!param_is_saved(setup->model, param.role))
        return 0;
    if (params_is_apart(setup))
        num_copies = num_copies * setup->apart.size + OUTER_ARRAYS;
    if (params_crosses_coded(setup))
        num_copies += rule ? 1 : 0;
    return tensor_count(param_shape(setup->model, param)) *
           (num_in_model * (int64_t)dtype_bytes(in_model) + num_copies * (int64_t)sizeof(float));
}

int64_t state_bytes(const struct params *params, enum dtype model_dtype) {
    int64_t sum = 0;
    for (struct segment *s = NULL; (s = params_next(params, s));)
        for (int i = 0; i < s->num_tensors; i++)
            sum += param_bytes(params, s->tensors[i].param, s->rule, model_dtype);
    for (int i = 0; i < params->num_elsewhere; i++)
        sum += param_bytes(params, params->elsewhere[i].param, params->elsewhere[i].rule, model_dtype);
    return sum;
}
