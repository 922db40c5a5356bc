/* optimizer.c - see optimizer.h. */
#include "train/optimizer.h"

#include <math.h>

#include "train/shard.h"

double optimizer_grad_norm(struct params *params, struct comm *comm, struct device *dev) {
    double sum = 0;
    for (int u = 0; u < params->num_units; u++)
        sum +=
            op_sum_squares(dev, tensor_1d(params_own_grad(params, u), DTYPE_F32, params->units[u].own_count));
    if (params->setup.stage > 0) /* at stage 0 every rank has summed the whole gradient already */
        comm_sum_f64(comm, &sum, 1);
    return sqrt(sum);
}

struct update {
    struct params *params;
    struct device *dev;
    struct adamw_args args;
    float weight_decay;
};

/* update_piece - tensors of one unit differ in their decay only. */
static int update_piece(void *user, int unit, const struct unit_tensor *tensor, int64_t tensor_first,
                        int64_t at, int64_t count) {
    struct update *update = user;
    const struct unit *u = &update->params->units[unit];
    (void)tensor_first;
    update->args.weight_decay = tensor->decays ? update->weight_decay : 0.0f;
    op_adamw(update->dev, tensor_1d(u->master + at, DTYPE_F32, count), tensor_1d(u->m + at, DTYPE_F32, count),
             tensor_1d(u->v + at, DTYPE_F32, count),
             tensor_1d(params_own_grad(update->params, unit) + at, DTYPE_F32, count), &update->args);
    return 0;
}

void optimizer_update(struct params *params, struct device *dev, const struct config *config, int64_t step,
                      double learning_rate, double grad_norm) {
    double clip = config->train.grad_clip;
    struct update update = {
        .params = params,
        .dev = dev,
        .args = {.learning_rate = (float)learning_rate,
                 .beta1 = (float)config->optimizer.beta1,
                 .beta2 = (float)config->optimizer.beta2,
                 .eps = (float)config->optimizer.eps,
                 .grad_scale = clip > 0 && grad_norm > clip ? (float)(clip / grad_norm) : 1.0f,
                 .step = step},
        .weight_decay = (float)config->optimizer.weight_decay,
    };
    for (int u = 0; u < params->num_units; u++)
        params_each_piece(params, u, params->units[u].own_first, params->units[u].own_count, update_piece,
                          &update);
}
