/* traffic.c - the transfers of a step, counted over the units of a layout that is measured and not allocated: the order is that
 * of train/model/model.c, what each moves that of train/model/shard.c. */
#include "train/plan/traffic.h"

#include "train/model/kept.h"

/* The ranks of a replica at work on one step, without their memory. */
struct walk {
    struct params params;
    int64_t others; /* ranks of the replica but this one */
    int in_slot[SLOT_COUNT];
    int64_t inside;
};

/* gather - a unit is asked for: all of what it stores comes, unless its slot holds it. */
static void gather(struct walk *walk, int unit) {
    int slot = params_slot_index(&walk->params, unit);
    if (walk->params.setup.zero_stage < 3 || walk->in_slot[slot] == unit)
        return;
    walk->in_slot[slot] = unit;
    for (int i = 0; i < walk->params.units[unit].num_segments; i++)
        walk->inside += walk->others * (int64_t)walk->params.units[unit].segments[i].shard_bytes;
}

/* pass - forward and backward of one micro-batch, without what becomes of the gradients. */
static void pass(struct walk *walk, int first_backward) {
    int num_layers = walk->params.setup.model->num_layers;
    for (int unit = 0; unit <= num_layers; unit++)
        gather(walk, unit);
    gather(walk, params_head_unit(&walk->params));
    for (int unit = num_layers; unit > first_backward; unit--)
        gather(walk, unit);
}

/* add_sums - of a segment's gradients, so often as they are reduced, and of its new values. */
static void add_sums(struct walk *walk, const struct segment *s, int64_t num_micros) {
    const struct params_setup *setup = &walk->params.setup;
    int64_t sum_bytes = walk->others * s->shard_count * (int64_t)sizeof(float);
    if (setup->zero_stage == 0) {
        walk->inside += 2 * sum_bytes;
        return;
    }
    walk->inside += sum_bytes * (params_has_whole_gradients(setup) ? 1 : num_micros);
    if (setup->zero_stage < 3) /* they are published */
        walk->inside += walk->others * (int64_t)s->shard_bytes;
}

/* add_matrices - of a segment whose rule owns whole ones: they go to their owners, and what these made of them comes back. */
static void add_matrices(struct walk *walk, const struct segment *s) {
    if (s->rule->owns == OWNS_MATRICES)
        walk->inside += 2 * walk->others * s->shard_count * (int64_t)sizeof(float);
}

/* across_bytes - of a segment, between replicas: a sum for all at stage 0; else the gradients of the shard to those who update them,
 * and the new values back. */
static int64_t across_bytes(const struct params_setup *setup, const struct segment *s) {
    int64_t others = setup->replicas.size - 1, sum_bytes = s->own_count * (int64_t)sizeof(float);
    if (setup->replicas.size < 2)
        return 0;
    if (!params_is_split(setup))
        return 2 * others * sum_bytes / setup->replicas.size;
    int64_t bytes = s->own_count * (int64_t)(dtype_bytes(setup->wire) + dtype_bytes(s->stored));
    if (s->rule->owns == OWNS_MATRICES)
        bytes += sum_bytes;
    return others * bytes;
}

struct traffic traffic_of(const struct layout *layout, int64_t num_micros) {
    struct walk walk = {.others = layout->params.num_ranks - 1, .in_slot = {-1, -1, -1}};
    struct traffic traffic = {0, 0};
    params_measure(&walk.params, &layout->params);
    for (int64_t m = 0; m < num_micros; m++)
        pass(&walk, kept_first(&layout->model));
    for (struct segment *s = NULL; (s = params_next_trained(&walk.params, s, NULL));) {
        add_sums(&walk, s, num_micros);
        add_matrices(&walk, s);
        traffic.across += across_bytes(&layout->params, s);
    }
    traffic.inside = walk.inside;
    params_free(&walk.params);
    return traffic;
}
