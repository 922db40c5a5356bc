/* pairs.c - which low-rank pairs belong to a product of the model, and the memory that they work in. */
#include "train/model/pairs.h"

#include "checkpoints/family/family_adapter.h"
#include "kernels/rng.h"
#include "train/model/divided.h"
#include "train/model/joined.h"

bool pairs_drop(const struct model_setup *setup) {
    return setup->trains && model_has_adapter(setup->config) && setup->config->adapter.dropout > 0;
}

/* dropout_of - of the pair whose A this is, in the micro-batch at hand: a stream of its own in every step. */
static struct dropout_args dropout_of(const struct model *model, struct param a) {
    const struct flight *flight = &model->flight;
    char name[PARAM_NAME_ROOM];
    if (!flight->drops)
        return (struct dropout_args){.share = 0};
    param_name(model->setup.config, a, name);
    return (struct dropout_args){.share = model->setup.config->adapter.dropout,
                                 .seed = model->setup.seed,
                                 .stream = rng_stream_named(RNG_DROPOUT, name, (uint64_t)flight->step),
                                 .places = flight_rows(flight, flight->places)};
}

/* rows_of - where the pair's forward leaves what its backward reads; none where nothing is trained. */
static struct tensor rows_of(const struct model *model, int layer, enum adapter_target target) {
    struct tensor rows = model->flight.acts[layer].pair_rows[target];
    return rows.data ? joined_rows(model, rows) : rows;
}

/* add_pair - of one part of a fused product, whose rows begin at *first_row, which moves on by them. */
static void add_pair(struct linear *linear, const struct model *model, int layer, enum tensor_role matrix,
                     int64_t *first_row) {
    const struct model_config *config = model->setup.config;
    int64_t num_rows = divided_shape(&model->params->setup, param_at(matrix, layer)).dims[0];
    if (adapter_has(config, matrix, layer)) {
        enum adapter_target target = adapter_target_of(matrix);
        linear->parts[linear->num_parts++] = (struct low_rank){
            .a = params_weight(model->params, 1 + layer, adapter_pair_role(target, ADAPTER_A)),
            .b = params_weight(model->params, 1 + layer, adapter_pair_role(target, ADAPTER_B)),
            .scale = (float)adapter_scale(config, target),
            .first_row = *first_row,
            .num_rows = num_rows,
            .dropout = dropout_of(model, param_at(adapter_pair_role(target, ADAPTER_A), layer)),
            .down = rows_of(model, layer, target)};
        if (config->adapter.method == ADAPTER_DORA)
            linear->parts[linear->num_parts - 1].lengths =
                params_weight(model->params, 1 + layer, adapter_length_role(target));
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

/* fused_rows - of the product that a target's matrix is part of. */
static int64_t fused_rows(const struct model_config *config, enum adapter_target target) {
    int64_t sum = 0;
    enum adapter_target first = target <= ADAPTER_VALUE                          ? ADAPTER_QUERY
                                : target == ADAPTER_GATE || target == ADAPTER_UP ? ADAPTER_GATE
                                                                                 : target;
    enum adapter_target last = target <= ADAPTER_VALUE  ? ADAPTER_VALUE
                               : target == ADAPTER_GATE ? ADAPTER_UP
                                                        : target;
    for (int t = (int)first; t <= (int)last; t++) {
        bool is_there = adapter_limit(config, (enum adapter_target)t) > 0;
        sum += is_there ? adapter_shape(config, (enum adapter_target)t).dims[0] : 0;
    }
    return sum;
}

int64_t pairs_bytes(const struct model_setup *setup) {
    const struct model_config *config = setup->config;
    size_t most = 0;
    for (int target = 0; target < ADAPTER_TARGET_COUNT && model_has_adapter(config); target++) {
        if (config->adapter.ranks[target] == 0 || adapter_is_of_experts(config, (enum adapter_target)target))
            continue;
        struct linear linear = {.num_parts = 1};
        struct tensor shape = adapter_shape(config, (enum adapter_target)target);
        linear.parts[0] = (struct low_rank){
            .a.value = tensor_2d(NULL, DTYPE_F32, config->adapter.ranks[target], shape.dims[1]),
            .num_rows = shape.dims[0],
            .dropout.share = pairs_drop(setup) ? config->adapter.dropout : 0};
        linear.w.value =
            tensor_2d(NULL, DTYPE_F32, fused_rows(config, (enum adapter_target)target), shape.dims[1]);
        if (config->adapter.method == ADAPTER_DORA)
            linear.parts[0].lengths.value = tensor_1d(NULL, DTYPE_F32, shape.dims[0]);
        size_t bytes = linear_scratch_bytes(&linear, model_joined_tokens(setup));
        most = bytes > most ? bytes : most;
    }
    return (int64_t)most;
}
