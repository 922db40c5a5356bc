/* pairs.c - which low-rank pairs belong to a product of the model, and the memory that they work in. */
#include "train/model/pairs.h"

/* add_pair - of one part of a fused product, whose rows begin at *first_row, which moves on by them. */
static void add_pair(struct linear *linear, const struct model *model, int layer, enum tensor_role matrix,
                     int64_t *first_row) {
    const struct model_config *config = model->setup.config;
    int64_t num_rows = param_shape(config, param_at(matrix, layer)).dims[0];
    if (adapter_has(config, matrix, layer)) {
        enum adapter_target target = adapter_target_of(matrix);
        linear->parts[linear->num_parts++] = (struct low_rank){
            .a = params_weight(model->params, 1 + layer, adapter_pair_role(target, ADAPTER_A)),
            .b = params_weight(model->params, 1 + layer, adapter_pair_role(target, ADAPTER_B)),
            .scale = (float)adapter_scale(config, target),
            .first_row = *first_row,
            .num_rows = num_rows};
        linear->scratch = model->pairs.data;
    }
    *first_row += num_rows;
}

void pairs_add(struct linear *linear, const struct model *model, int layer, enum tensor_role first,
               enum tensor_role last) {
    int64_t row = 0;
    for (int role = (int)first; role <= (int)last; role++)
        add_pair(linear, model, layer, (enum tensor_role)role, &row);
}

int64_t pairs_bytes(const struct model_config *config, int64_t num_rows) {
    size_t most = 0;
    for (int target = 0; target < ADAPTER_TARGET_COUNT && model_has_adapter(config); target++) {
        if (config->adapter.ranks[target] == 0)
            continue;
        struct linear linear = {.num_parts = 1};
        struct param matrix = param_at(adapter_target_role((enum adapter_target)target), 0);
        linear.parts[0] =
            (struct low_rank){.a.value = tensor_1d(NULL, DTYPE_F32, config->adapter.ranks[target]),
                              .num_rows = param_shape(config, matrix).dims[0]};
        size_t bytes = linear_scratch_bytes(&linear, num_rows);
        most = bytes > most ? bytes : most;
    }
    return (int64_t)most;
}
