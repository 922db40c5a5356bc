/* objective.h - what a step minimises: from the losses of tokens to the weight that each has in the backward.
 *
 * The backward is always that of sum(weight * loss of the target); an objective chooses the weights, and may add a term of
 * each layer's output.  One whose gradient is known token by token needs no more.  One that has to see losses before it can
 * say weights asks for them first: those of the micro-batch (a second pass of the head), or of the whole step (a second
 * pass of the whole forward).  Every rank asks its own objective about its own rows; what all must know are sums. */
#pragma once

#include "configs/schema/config.h"
#include "train/model/flight.h"

enum { OBJECTIVE_MAX_SUMS = 8 };

/* The output of one layer, for a term of the objective. */
struct layer_output {
    struct device *dev;
    int layer;
    struct tensor x;  /* [N, C] */
    struct tensor dx; /* [N, C]: gradients are added, times scale */
    float scale;      /* as model_train was told */
};

/* `state` is the objective's own; learns_from says what the documents of its batches are, and needs_reference that each brings
 * what a reference model says of it.  Functions that are not needed are NULL. */
struct objective {
    const char *name;
    int num_entries;         /* targets of each row, K: batch targets and weights are [K, N] */
    bool needs_losses_first; /* coefficients is given losses */
    bool needs_step_pass;    /* step_losses sees every micro-batch before the first gradient of the step */
    enum token_preference learns_from;
    bool needs_reference;

    /* step_losses - add what is needed of a micro-batch to sums [OBJECTIVE_MAX_SUMS], 0 at first; losses [K, N] are
     * weight * loss.  step_sums - the sums over all micro-batches and ranks; the gradients of the step come next. */
    void (*step_losses)(void *state, const struct batch *batch, const float *losses, double *sums);
    void (*step_sums)(void *state, const double *sums);

    /* coefficients - the weights [K, N] of the backward; at first those of the batch.  losses [K, N]: weight * loss by the
     * batch's weights; NULL unless needs_losses_first. */
    void (*coefficients)(void *state, const struct batch *batch, const float *losses, float *weights);

    /* loss - what is minimised, of a micro-batch: losses [K, N] as coefficients is given them, weights not needed.  NULL: the
     * sum of weight * loss. */
    double (*loss)(void *state, const struct batch *batch, const float *losses);

    /* distance - of one that learns from a teacher: what is minimised, from the sums of the losses and of the divergences of a
     * micro-batch's rows.  NULL: there is no teacher. */
    double (*distance)(void *state, double loss, double divergence);

    /* layer_loss - add the gradient of a term of this layer's output to dx; returns the term. */
    double (*layer_loss)(void *state, const struct layer_output *output);
};

struct objective_use {
    const struct objective *kind;
    void *state;
};

/* objective_kind - what a run file names.  objective_loss - of a micro-batch whose losses [K, N] and their sum are known. */
const struct objective *objective_kind(enum objective_id id);
double objective_loss(const struct objective_use *use, const struct batch *batch, const float *losses,
                      double sum);

/* Of pairs and labelled completions, each in objective_NAME.c; their state is a struct preference (objective_preference.h). */
extern const struct objective objective_dpo, objective_orpo, objective_simpo, objective_kto;

/* objective_distill.c: cross-entropy and distance from a teacher, as mixed by struct distillation; its state is a struct
 * distilled_sums (objective_distill.h). */
extern const struct objective objective_distill;

/* objective_token_mean.c: the mean over the target tokens, by the weights that the batch has. */
extern const struct objective objective_token_mean;
