/* optimizer.c - see optimizer.h. */
#include "train/optimizer.h"

#include <math.h>

#include "train/shard.h"

double optimizer_grad_norm(struct params *params, struct comm *comm) {
    double sum = 0;
    for (int u = 0; u < params->num_units; u++)
        sum += op_sum_squares(params->dev,
                              tensor_1d(params_own_grad(params, u), DTYPE_F32, params->units[u].own_count));
    if (params->setup.stage > 0 && comm) /* at stage 0 every rank has summed the whole gradient already */
        comm_sum_f64(comm, &sum, 1);
    return sqrt(sum);
}

/* An update under way: a run of elements of one unit that are treated alike. */
struct update {
    struct params *params;
    struct adamw_args args;
    float weight_decay;
    int64_t at, count;
    bool decays;
};

/* view - elements [at, at + count) of an array of the owned range; NULL stays NULL. */
static struct tensor view(void *own, enum dtype dtype, const struct update *update) {
    char *data = own ? (char *)own + (size_t)update->at * dtype_bytes(dtype) : NULL;
    return tensor_1d(data, dtype, update->count);
}

/* flush - update the run that has been collected. */
static void flush(struct update *update, int unit) {
    struct params *params = update->params;
    const struct unit *u = &params->units[unit];
    enum dtype moments = params->setup.moments;
    if (update->count == 0)
        return;
    update->args.weight_decay = update->decays ? update->weight_decay : 0.0f;
    update->args.first = u->first + u->own_first + update->at;
    op_adamw(params->dev, view(u->master, DTYPE_F32, update), view(u->m, moments, update),
             view(u->v, moments, update), view(params_own_copy(params, unit), params->setup.compute, update),
             view(params_own_grad(params, unit), DTYPE_F32, update), &update->args);
    update->count = 0;
}

/* update_piece - neighbours with the same decay make one run: a unit is one or two calls. */
static int update_piece(void *user, int unit, const struct unit_tensor *tensor, int64_t tensor_first,
                        int64_t at, int64_t count) {
    struct update *update = user;
    (void)tensor_first;
    bool decays = tensor->spec->traits & PARAM_DECAYS;
    if (update->count > 0 && decays != update->decays)
        flush(update, unit);
    if (update->count == 0)
        update->at = at;
    update->decays = decays;
    update->count += count;
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
        flush(&update, u);
    }
}
