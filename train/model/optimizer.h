/* optimizer.h - gradient norm, clipping, and one step of the optimizer over what this rank owns. */
#pragma once

#include "configs/schema/config.h"
#include "train/model/params.h"
#include "train/ranks/grid.h"

/* Every optimizer's table, each in its file. */
#define OPTIMIZER_DECLARE(NAME, name) extern const struct optimizer_kind optimizer_##name;
EACH_OPTIMIZER(OPTIMIZER_DECLARE)

/* AdamW's rule, which other optimizers use for what is not theirs; and that of B of low-rank pairs, the same with
 * adapter.b_learning_rate_ratio times the learning rate. */
extern const struct update_rule adamw_rule, adamw_pair_b_rule;

/* optimizer_kind - the table of an optimizer. */
const struct optimizer_kind *optimizer_kind(enum optimizer_id id);

/* optimizer_num_states - different names of states, which are files of a checkpoint; into names, [MAX_RULES *
 * MAX_STATES].  The next four count what is trained alone.  optimizer_state_values - how many values all states of a model have.  optimizer_state_bytes - in
 * memory, over all ranks of a replica; moments: the type of those that are kept as set. */
int optimizer_num_states(const struct optimizer_kind *kind, const char *names[MAX_RULES * MAX_STATES]);
int64_t optimizer_state_values(const struct optimizer_kind *kind, const struct model_config *model);
double optimizer_state_bytes(const struct optimizer_kind *kind, const struct model_config *model,
                             enum dtype moments);

/* optimizer_flops - products of one update of the whole model.  optimizer_matrix_values - values in matrices that are
 * owned whole, which are gathered and given back in each update. */
double optimizer_flops(const struct optimizer_kind *kind, const struct model_config *model);
double optimizer_matrix_values(const struct optimizer_kind *kind, const struct model_config *model);

/* optimizer_grad_squares - of the reduced gradients, of what this rank owns: those of optimizer_norm_axes add up to the square of
 * the global norm.  Not where they are added exactly.  Not collective. */
double optimizer_grad_squares(struct params *params);
unsigned optimizer_norm_axes(const struct params *params, const struct grid *grid);

/* optimizer_grad_norm - global L2 norm of the reduced gradients, the same bits on every rank.  comm joins the
 * ranks that an update is split over (grid_update_axes).  Collective. */
double optimizer_grad_norm(struct params *params, struct comm *comm);

/* One update.  number counts the updates made, from 1: the corrections of the moments' bias depend on it, and
 * a step that made no update (no target, gradients that overflowed f16) does not count.  grad_norm is that of
 * the gradients as they are, which hold loss_scale times the true ones. */
struct optimizer_step {
    int64_t number;
    double learning_rate, grad_norm, loss_scale;
};

/* What a rule's update gets. */
struct update {
    const struct config *config;
    struct transport *link; /* joins the ranks that share a replica; NULL: there is one */
    int64_t number;
    float learning_rate;
    float grad_scale; /* the gradient is multiplied by this first: clipping and loss scaling */
};

/* optimizer_update - one update of the owned masters, and of the copies that the forward reads, by the optimizer of
 * the setup.  The gradient is scaled by grad_clip / norm where the norm is larger.  Weight decay applies to
 * matrices, not to norms.  Collective. */
void optimizer_update(struct params *params, struct transport *link, const struct config *config,
                      const struct optimizer_step *step);
