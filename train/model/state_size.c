/* state_size.c - what a checkpoint of the parameters will take on disk. */
#include "train/model/state.h"

/* has_twin - whether the model's file has its values twice. */
static bool has_twin(const struct params *params, const struct unit_tensor *tensor) {
    char name[PARAM_NAME_ROOM];
    return param_saved_twin(params->setup.model, tensor->param.role, name) != NULL;
}

int64_t state_bytes(const struct params *params, enum dtype model_dtype) {
    int64_t sum = 0;
    for (struct segment *s = NULL; (s = params_next(params, s));) {
        int num_copies = 1 + (s->rule ? s->rule->num_states : 0); /* f32: the masters and the states */
        if (params_is_apart(&params->setup))
            num_copies = num_copies * params->setup.apart.size + OUTER_ARRAYS;
        if (params_crosses_coded(&params->setup))
            num_copies += s->rule ? 1 : 0;
        int64_t per_value = (int64_t)dtype_bytes(model_dtype) + num_copies * (int64_t)sizeof(float);
        for (int i = 0; i < s->num_tensors; i++)
            if (param_is_saved(params->setup.model, s->tensors[i].param.role))
                sum +=
                    s->tensors[i].count *
                    (per_value + (has_twin(params, &s->tensors[i]) ? (int64_t)dtype_bytes(model_dtype) : 0));
    }
    return sum;
}
