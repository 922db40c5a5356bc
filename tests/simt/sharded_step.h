/* sharded_step.h - the transfers of a sharded model's steps without the model: units are gathered one ahead, gradients
 * reduced behind, with mistakes to choose from. */
#pragma once

#include <string.h>

#include "tests/simt/transport_fixture.h"

enum { UNITS = 5, COUNT = 300 }; /* COUNT: f32 of one shard */

/* What the mistakes are: none; a gathered unit is used before the wait; a gradient is written over while it
 * travels. */
enum mistake { NO_MISTAKE, USES_TOO_EARLY, WRITES_TOO_EARLY };

/* Buffers of a pretended model: units gathered through two slots, gradients reduced through two. */
struct pretence {
    struct buffer shards[UNITS], seen[UNITS];   /* seen: what the forward read of a unit */
    struct buffer grads[UNITS], reduced[UNITS]; /* grads: what the backward writes into its slot */
    struct buffer gathered[2], gradient[2], landing[2];
    struct transfer gathers[2], reduces[2];
};

static inline void pretence_create(struct pretence *p, int rank, int num_ranks) {
    memset(p, 0, sizeof *p);
    for (int u = 0; u < UNITS; u++) {
        p->shards[u] = buffer_create(COUNT);
        p->seen[u] = buffer_create(COUNT * num_ranks);
        p->grads[u] = buffer_create(COUNT * num_ranks);
        p->reduced[u] = buffer_create(COUNT);
        buffer_fill(&p->grads[u], rank, 0, 50 + u);
    }
    for (int s = 0; s < 2; s++) {
        p->gathered[s] = buffer_create(COUNT * num_ranks);
        p->gradient[s] = buffer_create(COUNT * num_ranks);
        p->landing[s] = buffer_create(COUNT);
    }
}

static inline void pretence_free(struct pretence *p) {
    for (int u = 0; u < UNITS; u++) {
        buffer_free(&p->shards[u]);
        buffer_free(&p->seen[u]);
        buffer_free(&p->grads[u]);
        buffer_free(&p->reduced[u]);
    }
    for (int s = 0; s < 2; s++) {
        buffer_free(&p->gathered[s]);
        buffer_free(&p->gradient[s]);
        buffer_free(&p->landing[s]);
    }
}

static inline void prefetch(struct pretence *p, struct transport *t, int unit) {
    struct transfer *transfer = &p->gathers[unit % 2];
    transport_wait(t, transfer); /* never two into one buffer */
    transport_all_gather_start(t, p->gathered[unit % 2].device, p->shards[unit].device, COUNT * sizeof(float),
                               transfer);
}

static inline void forward(struct pretence *p, struct transport *t, enum mistake mistake) {
    prefetch(p, t, 0);
    for (int u = 0; u < UNITS; u++) {
        if (u + 1 < UNITS)
            prefetch(p, t, u + 1);
        if (mistake != USES_TOO_EARLY)
            transport_wait(t, &p->gathers[u % 2]);
        copy(p->seen[u].device, p->gathered[u % 2].device, p->seen[u].count);
    }
    for (int s = 0; s < 2; s++)
        transport_wait(t, &p->gathers[s]);
}

/* settle - a reduced gradient has arrived: put it where it belongs. */
static inline void settle(struct pretence *p, struct transport *t, int unit) {
    if (unit >= UNITS)
        return;
    transport_wait(t, &p->reduces[unit % 2]);
    copy(p->reduced[unit].device, p->landing[unit % 2].device, COUNT);
}

static inline void backward(struct pretence *p, struct transport *t, enum mistake mistake) {
    for (int u = UNITS - 1; u >= 0; u--) {
        if (mistake != WRITES_TOO_EARLY)
            settle(p, t, u + 2);
        copy(p->gradient[u % 2].device, p->grads[u].device, p->grads[u].count);
        if (mistake == WRITES_TOO_EARLY)
            settle(p, t, u + 2);
        transport_reduce_scatter_start(t, p->landing[u % 2].device, p->gradient[u % 2].device, COUNT,
                                       &p->reduces[u % 2]);
    }
    settle(p, t, 1);
    settle(p, t, 0);
}

static inline int64_t count_wrong(struct pretence *p, int rank, int num_ranks, int salt) {
    int64_t bad = 0;
    for (int u = 0; u < UNITS; u++) {
        device_download(&dev, p->seen[u].host, whole(&p->seen[u]));
        device_download(&dev, p->reduced[u].host, whole(&p->reduced[u]));
        for (int r = 0; r < num_ranks; r++)
            for (int64_t i = 0; i < COUNT; i++)
                bad += p->seen[u].host[r * COUNT + i] != term(r, i, salt + u);
        for (int64_t i = 0; i < COUNT; i++)
            bad += p->reduced[u].host[i] != sum_of_terms(num_ranks, rank * COUNT + i, 50 + u);
    }
    return bad;
}

/* run_steps - a few steps without a word from the host in between; values that are wrong at the end. */
static inline int64_t run_steps(struct comm *comm, enum transport_kind kind, enum mistake mistake) {
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    struct transport t;
    struct pretence p;
    int64_t bad = 0;
    open_link(&t, comm, kind);
    pretence_create(&p, rank, num_ranks);
    for (int step = 0; step < 3; step++) {
        for (int u = 0; u < UNITS; u++)
            buffer_fill(&p.shards[u], rank, 0,
                        10 * step + u); /* the device's own order keeps it off the gathers */
        forward(&p, &t, mistake);
        backward(&p, &t, mistake);
        if (step == 2)
            bad = count_wrong(&p, rank, num_ranks, 10 * step);
    }
    transport_close(&t);
    pretence_free(&p);
    comm_sum_i64(comm, &bad, 1);
    return bad;
}
