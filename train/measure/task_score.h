/* task_score.h - the log-probability of every choice of a set of questions, by a model, on any number of ranks. */
#pragma once

#include "data/tasks/encode.h"
#include "train/model/model.h"
#include "train/ranks/comm.h"

enum task_outcome { TASK_DONE, TASK_STOPPED, TASK_FAILED };

/* room: tokens of a forward, no fewer than the longest text and no more than the model was created for.  stops: asked by all
 * ranks between forwards, collective, whether to leave it now; NULL: never. */
struct task_scoring {
    struct model *model;
    struct transport *link; /* of the model's parameters; NULL: they are whole */
    int64_t room;
    bool (*stops)(void *user);
    void *user;
};

/* task_score_wait - tokens that task_score takes the time of on so many ranks: of the largest forward among those that the ranks make
 * side by side, summed. */
int64_t task_score_wait(const struct task_tokens *tokens, int64_t room, int num_ranks);

/* task_score - logps [num_choices]: the sum of the log-probabilities of a choice's tokens, natural logarithm; NaN where its
 * item is not scored.  Texts are put side by side under document masks, as many as fit into room, always the same ones: the
 * numbers have the same bits on any number of ranks.  TASK_STOPPED: logps hold nothing.  TASK_FAILED on all ranks where it fails
 * on one, which the root has said: a logit that is not finite, a model whose rows see what comes after them.  Collective. */
enum task_outcome task_score(const struct task_scoring *scoring, const struct task_set *set,
                             const struct task_tokens *tokens, struct comm *comm, double *logps);
