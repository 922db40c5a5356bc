/* head.h - final norm, logits, losses and their gradients, a chunk of rows at a time. */
#pragma once

#include "train/model/model.h"

/* head_train - losses and gradients of the head; leaves the gradient of the stack's output in model->dx [N, C].
 * Collective. */
void head_train(struct model *model, struct transport *link);

/* head_losses - the losses alone, of every row.  Collective. */
void head_losses(struct model *model, struct transport *link);

/* head_logits - of rows [first, N) to the host, f32 [N - first, V].  Collective. */
void head_logits(struct model *model, struct transport *link, int64_t first, float *out);

/* head_visit - of every row, a chunk of them at a time.  Collective. */
void head_visit(struct model *model, struct transport *link, const struct logits_visitor *visitor);
