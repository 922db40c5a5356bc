/* task_score.h - the log-probability of every choice of a set of questions, by a model, on any number of ranks. */
#pragma once

#include "data/tasks/encode.h"
#include "train/model/model.h"
#include "train/ranks/comm.h"

struct task_scoring {
    struct model *model;
    struct transport *link; /* of the model's parameters; NULL: they are whole */
    int64_t
        room; /* tokens per forward at most, not more than the model was created for, nor fewer than the longest text */
};

/* task_score - logps [num_choices]: the sum of the log-probabilities of a choice's tokens, natural logarithm; NaN where its
 * item is not scored.  Texts are put side by side under document masks, as many as fit into room, always the same ones: the
 * numbers have the same bits on any number of ranks.  Returns false on all ranks where it fails on one, which the root has
 * said: a logit that is not finite, a model whose rows see what comes after them.  Collective. */
bool task_score(const struct task_scoring *scoring, const struct task_set *set,
                const struct task_tokens *tokens, struct comm *comm, double *logps);
