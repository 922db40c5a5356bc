/* joined.c - see joined.h. */
#include "train/model/joined.h"

/* check_whole - a matrix of several kinds of heads, or of gate and up, cannot be cut into runs of rows. */
static int check_whole(const struct model_config *config, struct err *err) {
    if (param_spec(config, ROLE_QKV) || param_spec(config, ROLE_GATE_UP))
        return err_set(
            err,
            "parallel.tensor: model_type '%s' has queries, keys and values, or gate and up, as one "
            "matrix, which ranks cannot divide; set it to 1",
            config->model_type);
    if (config->num_experts > 0)
        return err_set(
            err,
            "parallel.tensor: model_type '%s' has experts, which ranks do not divide by rows; set it to 1, and "
            "take parallel.expert",
            config->model_type);
    for (int layer = 0; layer < config->num_layers; layer++)
        if (family_layer_plan(config, layer).qk_norm == QK_NORM_ROWS)
            return err_set(
                err,
                "parallel.tensor: model_type '%s' normalises the queries of all heads together, which "
                "ranks cannot divide; set it to 1",
                config->model_type);
    return 0;
}

/* check_adapter - what hangs on the divided matrices. */
static int check_adapter(const struct model_config *config, struct err *err) {
    if (config->adapter.method == ADAPTER_DORA)
        return err_set(err, "parallel.tensor: adapter.method dora works with whole rows, which ranks divide; "
                            "set it to 1, or take lora");
    if (model_has_adapter(config) && config->adapter.dropout > 0)
        return err_set(err, "parallel.tensor: adapter.dropout is not computed by ranks that divide tensors; "
                            "set one to 1, or the other to 0");
    return 0;
}

int joined_check(const struct model_config *config, int64_t ranks, struct err *err) {
    if (ranks <= 1)
        return 0;
    if (config->num_kv_heads % ranks != 0 || config->num_heads % ranks != 0 || config->ffn_width % ranks != 0)
        return err_set(
            err,
            "parallel.tensor: %lld ranks cannot divide %d heads with %d keys and a feed-forward of %lld: take a "
            "divisor of all",
            (long long)ranks, config->num_heads, config->num_kv_heads, (long long)config->ffn_width);
    if (check_whole(config, err) != 0)
        return -1;
    return check_adapter(config, err);
}

static int num_parts(const struct model_setup *setup) {
    return setup->tensor.size > 1 ? setup->tensor.size : 1;
}

struct layer_part joined_part(const struct model_setup *setup) {
    const struct model_config *c = setup->config;
    int parts = num_parts(setup);
    return (struct layer_part){c->num_heads / parts, c->num_kv_heads / parts, family_gated_width(c) / parts};
}

int64_t joined_block(const struct model_setup *setup, const struct layer_plan *plan) {
    return plan->block_width / num_parts(setup);
}

struct tensor joined_rows(const struct model *model, struct tensor t) {
    return tensor_rows(t, 0, model->flight.num_joined);
}

static bool is_shared(const struct model *model) {
    return num_parts(&model->setup) > 1;
}

struct tensor joined_gather(struct model *model, struct transport *along, struct tensor rows) {
    struct transfer transfer = {.number = 0};
    if (!is_shared(model) || !rows.data)
        return rows;
    struct tensor joined = tensor_rows(model->joined, 0, rows.dims[0] * model->setup.tensor.size);
    transport_all_gather_start(along, joined.data, rows.data, tensor_bytes(rows), &transfer);
    transport_stand(along, &transfer);
    return joined;
}

struct tensor joined_partial(const struct model *model, struct tensor rows) {
    return is_shared(model) ? tensor_rows(model->partial, 0, rows.dims[0] * model->setup.tensor.size) : rows;
}

/* sum_rounded - through f32; the ranks' terms arrive where rows were joined. */
static void sum_rounded(struct model *model, struct transport *along, struct tensor rows) {
    struct transfer transfer = {.number = 0};
    int64_t count = tensor_count(rows);
    struct sum_rounded sum = {.shard = model->summed.data,
                              .full = model->partial.data,
                              .dtype = rows.dtype,
                              .shard_count = count,
                              .terms = model->joined.data,
                              .widened = (float *)model->summed.data + count};
    transport_sum_rounded_start(along, &sum, &transfer);
    transport_stand(along, &transfer);
    op_cast(model->dev, tensor_1d(rows.data, rows.dtype, count),
            tensor_1d(model->summed.data, DTYPE_F32, count));
}

void joined_sum(struct model *model, struct transport *along, struct tensor rows) {
    struct transfer transfer = {.number = 0};
    if (!is_shared(model))
        return;
    if (rows.dtype != DTYPE_F32) {
        sum_rounded(model, along, rows);
        return;
    }
    transport_reduce_scatter_start(along, rows.data, model->partial.data, tensor_count(rows), &transfer);
    transport_stand(along, &transfer);
}
