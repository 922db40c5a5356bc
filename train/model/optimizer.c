/* optimizer.c - the list of optimizers, the gradient norm, and one update rule after the other.  The optimizers are in
 * optimizer_NAME.c. */
#include "train/model/optimizer.h"

#include <math.h>
#include <string.h>

#include "train/model/exact_grads.h"
#include "train/model/shard.h"

const struct optimizer_kind *optimizer_kind(enum optimizer_id id) {
#define OPTIMIZER_ROW(NAME, name) [OPTIMIZER_##NAME] = &optimizer_##name,
    static const struct optimizer_kind *const kinds[OPTIMIZER_COUNT] = {EACH_OPTIMIZER(OPTIMIZER_ROW)};
    CHECK(id < OPTIMIZER_COUNT, "optimizer %d", (int)id);
    return kinds[id];
}

int optimizer_num_states(const struct optimizer_kind *kind, const char *names[MAX_RULES * MAX_STATES]) {
    int count = 0;
    for (int r = 0; r < kind->num_rules; r++)
        for (int i = 0; i < kind->rules[r]->num_states; i++) {
            const char *name = kind->rules[r]->states[i].name;
            int known = 0;
            while (known < count && strcmp(names[known], name) != 0)
                known++;
            if (known == count)
                names[count++] = name;
        }
    return count;
}

/* next_trained - family_next_param, past what is frozen. */
static bool next_trained(const struct model_config *model, struct param *at) {
    bool found = family_next_param(model, at);
    while (found && !param_is_trained(model, at->role))
        found = family_next_param(model, at);
    return found;
}

int64_t optimizer_state_values(const struct optimizer_kind *kind, const struct model_config *model) {
    int64_t sum = 0;
    struct param at = PARAM_START;
    while (next_trained(model, &at))
        sum += tensor_count(param_shape(model, at)) * kind->rule_of(param_spec(model, at.role))->num_states;
    return sum;
}

double optimizer_state_bytes(const struct optimizer_kind *kind, const struct model_config *model,
                             enum dtype moments) {
    double sum = 0;
    struct param at = PARAM_START;
    while (next_trained(model, &at)) {
        const struct update_rule *rule = kind->rule_of(param_spec(model, at.role));
        double count = (double)tensor_count(param_shape(model, at));
        for (int i = 0; i < rule->num_states; i++)
            sum += count * (double)dtype_bytes(rule->states[i].type == STATE_AS_SET ? moments : DTYPE_F32);
    }
    return sum;
}

double optimizer_flops(const struct optimizer_kind *kind, const struct model_config *model) {
    double sum = 0;
    struct param at = PARAM_START;
    while (next_trained(model, &at)) {
        const struct update_rule *rule = kind->rule_of(param_spec(model, at.role));
        sum += rule->flops ? rule->flops(param_shape(model, at)) : 0;
    }
    return sum;
}

double optimizer_matrix_values(const struct optimizer_kind *kind, const struct model_config *model) {
    double sum = 0;
    struct param at = PARAM_START;
    while (next_trained(model, &at))
        if (kind->rule_of(param_spec(model, at.role))->owns == OWNS_MATRICES)
            sum += (double)tensor_count(param_shape(model, at));
    return sum;
}

/* joined - the ranks that own the gradient together: at stage 0 every rank has summed all of its part of the tensors, or of its
 * experts, already. */
static struct comm *joined(const struct params *params, struct comm *comm) {
    if (params->setup.zero_stage > 0)
        return comm;
    if (params->setup.experts.size > 1)
        return params->experts->comm;
    return params->along ? params->along->comm : NULL;
}

/* is_anothers - whether another rank counts the segment, which has the same of it. */
static bool is_anothers(const struct params_setup *setup, const struct segment *s) {
    bool is_alike = setup->zero_stage == 0 && setup->experts.size > 1 && !s->is_experts;
    return (s->is_alike && setup->tensor.index > 0) || (is_alike && setup->experts.index > 0);
}

/* f64, as millions of squares are added. */
double optimizer_grad_squares(struct params *params) {
    double sum = 0;
    params->dev->section = SECTION_UPDATE;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));) {
        if (is_anothers(&params->setup, s))
            continue;
        sum += op_sum_squares(params->dev, tensor_1d(params_own_grad(params, s), DTYPE_F32, s->own_count));
    }
    params->dev->section = SECTION_OTHER;
    return sum;
}

unsigned optimizer_norm_axes(const struct params *params, const struct grid *grid) {
    unsigned all =
        params_is_apart(&params->setup) ? grid_axes(grid, DIVIDES_PARAMETERS) : grid_update_axes(grid);
    return params->setup.zero_stage > 0 ? all
                                        : grid_axes(grid, DIVIDES_TENSORS) | grid_axes(grid, DIVIDES_EXPERTS);
}

/* Each rank's squares are those of what it owns; they add up to the whole, padding being zero. */
double optimizer_grad_norm(struct params *params, struct comm *comm) {
    if (params->setup.adds_exactly) {
        params->dev->section = SECTION_UPDATE;
        double norm = exact_grads_norm(params, comm);
        params->dev->section = SECTION_OTHER;
        return norm;
    }
    double sum = optimizer_grad_squares(params);
    if (joined(params, comm))
        comm_sum_f64(joined(params, comm), &sum, 1);
    return sqrt(sum);
}

/* One factor for clipping and for undoing the loss scale: the gradient is read once. */
void optimizer_update(struct params *params, struct transport *link, const struct config *config,
                      const struct optimizer_step *step) {
    const struct optimizer_kind *kind = params->setup.optimizer;
    double clip = config->train.grad_clip, norm = step->grad_norm / step->loss_scale;
    double scale = clip > 0 && norm > clip ? clip / norm : 1.0;
    struct update update = {.config = config,
                            .link = link,
                            .number = step->number,
                            .learning_rate = (float)step->learning_rate,
                            .grad_scale = (float)(scale / step->loss_scale)};
    params->dev->section = SECTION_UPDATE;
    for (int i = 0; i < kind->num_rules; i++)
        kind->rules[i]->update(params, &update);
    params->dev->section = SECTION_OTHER;
}
