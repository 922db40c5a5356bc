/* trainer_replay.c - what the last step of a replay made of the weights, beside the run's own checkpoint. */
#include "train/run/trainer_replay.h"

#include <stdlib.h>

#include "train/model/publish.h"
#include "train/model/state_compare.h"
#include "train/run/replay.h"

/* first_fault - of the lowest rank that has one, on all. */
static void first_fault(struct comm *comm, const struct err *own, struct err *first) {
    int num_ranks = comm_num_ranks(comm);
    struct err *all = xcalloc((size_t)num_ranks, sizeof *all);
    comm_gather_bytes(comm, own, sizeof *own, all);
    first->text[0] = '\0';
    for (int r = 0; r < num_ranks && !first->text[0]; r++)
        *first = all[r];
    free(all);
}

void trainer_replay_end(struct trainer *t) {
    struct replay_end *end = t->given->train.replay_end;
    struct err err = {""};
    if (!end || !end->checkpoint)
        return;
    params_publish_finish(&t->params, t->rank.link);
    checkpoint_verify(end->checkpoint, comm_rank(t->comm), comm_num_ranks(t->comm), &err);
    first_fault(t->comm, &err, &end->difference);
    if (end->difference.text[0])
        return;
    state_compare(&t->params, end->checkpoint, t->config->model.path, &err);
    first_fault(t->comm, &err, &end->difference);
}
