/* optimizer.c - see optimizer.h. */
#include "train/run/optimizer.h"

#include <math.h>

#include "kernels/rng.h"
#include "train/model/shard.h"

double optimizer_grad_norm(struct params *params, struct comm *comm) {
    double sum = 0;
    for (int u = 0; u < params->num_units; u++)
        sum += op_sum_squares(params->dev,
                              tensor_1d(params_own_grad(params, u), DTYPE_F32, params->units[u].own_count));
    if (params->setup.stage > 0 && comm) /* at stage 0 every rank has summed the whole gradient already */
        comm_sum_f64(comm, &sum, 1);
    return sqrt(sum);
}

/* An update under way. */
struct update {
    struct params *params;
    struct adamw_args args;
    float weight_decay;
};

/* view - elements [at, at + count) of an array of the owned range; NULL stays NULL. */
static struct tensor view(void *own, enum dtype dtype, int64_t at, int64_t count) {
    char *data = own ? (char *)own + (size_t)at * dtype_bytes(dtype) : NULL;
    return tensor_1d(data, dtype, count);
}

/* update_piece - the part of one tensor that this rank owns.  Random numbers are the tensor's own. */
static int update_piece(void *user, int unit, const struct unit_tensor *tensor, int64_t tensor_first,
                        int64_t at, int64_t count) {
    struct update *update = user;
    struct params *params = update->params;
    const struct unit *u = &params->units[unit];
    enum dtype moments = params->setup.moments, compute = params->setup.compute;
    struct adamw_args args = update->args;
    char name[PARAM_NAME_ROOM];
    args.weight_decay = tensor->spec->traits & PARAM_DECAYS ? update->weight_decay : 0.0f;
    args.stream = rng_stream_named(RNG_ROUND, param_name(params->setup.model, tensor->param, name),
                                   (uint64_t)args.step);
    args.first = tensor_first;
    op_adamw(params->dev, view(u->master, DTYPE_F32, at, count), view(u->m, moments, at, count),
             view(u->v, moments, at, count), view(params_own_copy(params, unit), compute, at, count),
             view(params_own_grad(params, unit), DTYPE_F32, at, count), &args);
    return 0;
}

void optimizer_update(struct params *params, const struct config *config, const struct optimizer_step *step) {
    double clip = config->train.grad_clip, norm = step->grad_norm / step->loss_scale;
    double scale = clip > 0 && norm > clip ? clip / norm : 1.0;
    struct update update = {
        .params = params,
        .args = {.learning_rate = (float)step->learning_rate,
                 .beta1 = (float)config->optimizer.beta1,
                 .beta2 = (float)config->optimizer.beta2,
                 .eps = (float)config->optimizer.eps,
                 .grad_scale = (float)(scale / step->loss_scale),
                 .step = step->number,
                 .seed = (uint64_t)config->run.seed},
        .weight_decay = (float)config->optimizer.weight_decay,
    };
    for (int u = 0; u < params->num_units; u++) {
        const struct unit *unit = &params->units[u];
        params_each_piece(params, u, unit->own_first, unit->own_count, update_piece, &update);
    }
}
