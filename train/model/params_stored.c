/* params_stored.c - parameters that are in no memory of ours: where a file has them. */
#include <stdlib.h>

#include "train/model/params.h"

void params_put_stored(struct params *params, struct param param, const struct stored_rows *rows) {
    CHECK(params->setup.num_ranks == 1 && !params->setup.trains,
          "a tensor of role %d is to be read where its file has it, in a run", (int)param.role);
    for (struct segment *s = NULL; (s = params_next(params, s));)
        for (int i = 0; s->storage == STORAGE_STORED && i < s->num_tensors; i++) {
            struct param at = s->tensors[i].param;
            if (at.role != param.role || at.layer != param.layer || at.expert != param.expert)
                continue;
            if (!s->rows)
                s->rows = xcalloc((size_t)s->num_tensors, sizeof *s->rows);
            s->rows[i] = *rows;
            return;
        }
    die("a tensor of role %d of layer %d is in memory", (int)param.role, param.layer);
}
