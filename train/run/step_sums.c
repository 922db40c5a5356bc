/* step_sums.c - what a step adds up over the ranks, each sum over the axes that share it out. */
#include "train/run/step_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/ranks/sum_exact.h"

/* sum_over - of the ranks along the axes that divide that; comm NULL: one rank. */
static void sum_over(struct rank_device *rank, unsigned divides, double *values, int count) {
    struct comm *comm = axes_comm(&rank->axes, grid_axes(&rank->grid, divides));
    if (comm)
        comm_sum_f64(comm, values, count);
}

/* set_mean - NaN where there was no target: a mean over nothing. */
static void set_mean(struct step_sums *sums, double loss) {
    sums->loss = sums->target_weight > 0 ? loss / sums->num_means : NAN;
}

/* Before the gradients: their scale is made of the weight of the whole batch. */
void step_sums_read(struct step_sums *sums, const struct step_message *message, const struct grid *grid) {
    unsigned divided = grid_axes(grid, DIVIDES_SAMPLES);
    double units = step_message_sum(message, grid, divided, SAID_UNITS);
    sums->target_weight = step_message_sum(message, grid, divided, SAID_WEIGHT);
    sums->filled_tokens = step_message_sum(message, grid, divided, SAID_TOKENS);
    sums->num_means = sums->own_means = units > 0 ? units : sums->target_weight;
    sums->num_sequences = sums->own_sequences = step_message_sum(message, grid, divided, SAID_SEQUENCES);
    sums->router = (struct router_record){.is_there = false};
}

void step_sums_apart(struct step_sums *sums, const struct step_message *message, const struct grid *grid) {
    unsigned divided = grid_axes(grid, DIVIDES_SAMPLES) & ~AXIS_BIT(AXIS_REPLICA);
    double own = step_message_sum(message, grid, divided, SAID_WEIGHT);
    double sequences = step_message_sum(message, grid, divided, SAID_SEQUENCES);
    sums->own_means = own > 0 ? own : 1;
    sums->own_sequences = sequences > 0 ? sequences : 1;
}

void step_sums_computed(struct step_sums *sums, const struct step_message *message, const struct grid *grid) {
    unsigned divided = grid_axes(grid, DIVIDES_LOSS);
    set_mean(sums, step_message_sum(message, grid, divided, SAID_LOSS));
    /* Ranks along the other axes do as much. */
    int alike = grid_num_ranks(grid) / grid_size(grid, divided);
    sums->flops = step_message_sum(message, grid, divided, SAID_FLOPS) * alike;
}

void step_sums_exactly(struct step_sums *sums, const struct exact_sum *own_losses, struct rank_device *rank) {
    struct exact_sum all = *own_losses;
    sum_exact(axes_comm(&rank->axes, grid_axes(&rank->grid, DIVIDES_LOSS)), &all);
    set_mean(sums, exact_sum_value(&all));
}

void step_sums_taught(struct step_sums *sums, const struct distilled_sums *own, struct rank_device *rank) {
    double values[2] = {own->loss, own->divergence};
    sum_over(rank, DIVIDES_LOSS, values, 2);
    bool has_targets = sums->target_weight > 0;
    sums->cross_entropy = has_targets ? values[0] / sums->target_weight : NAN;
    sums->divergence = has_targets ? values[1] / sums->target_weight : NAN;
}

/* mean_over_sequences - of all ranks' sums, the same bits whichever had which sequence. */
static double mean_over_sequences(const struct step_sums *sums, const struct exact_sum *own,
                                  struct rank_device *rank) {
    struct exact_sum all = *own;
    sum_exact(axes_comm(&rank->axes, grid_axes(&rank->grid, DIVIDES_LOSS)), &all);
    return exact_sum_value(&all) / sums->num_sequences;
}

/* find_extremes - of the experts of a layer, as shares of what the layer gave out. */
static void find_extremes(struct router_record *router, const double *load, int64_t num_experts) {
    double all = 0;
    for (int64_t e = 0; e < num_experts; e++)
        all += load[e];
    for (int64_t e = 0; e < num_experts && all > 0; e++) {
        router->fullest = fmax(router->fullest, load[e] / all);
        router->emptiest = fmin(router->emptiest, load[e] / all);
    }
}

void step_sums_routed(struct step_sums *sums, const struct model *model, struct rank_device *rank) {
    const struct router *own = &model->router;
    const struct router_setup *setup = &model->setup.router;
    if (!own->sums.load || sums->target_weight == 0)
        return;
    int64_t count = tensor_count(own->load), num_experts = own->load.dims[1];
    double *load = xmalloc((size_t)count * sizeof *load);
    memcpy(load, own->sums.load, (size_t)count * sizeof *load);
    sum_over(rank, DIVIDES_LOSS, load, (int)count);
    struct router_record *router = &sums->router;
    *router = (struct router_record){.is_there = true,
                                     .has_losses = !family_routes_by_sigmoid(model->setup.config),
                                     .num_experts = num_experts,
                                     .balance = mean_over_sequences(sums, &own->sums.balance, rank),
                                     .z = mean_over_sequences(sums, &own->sums.z, rank),
                                     .fullest = 0,
                                     .emptiest = 1};
    for (int64_t at = 0; at < count; at += num_experts)
        find_extremes(router, load + at, num_experts);
    free(load);
    if (setup->balance > 0)
        sums->loss += setup->balance * router->balance;
    if (setup->z > 0)
        sums->loss += setup->z * router->z;
}

void step_sums_evaluated(struct step_sums *sums, double own_loss, const struct step_sums *own,
                         struct rank_device *rank) {
    double values[2] = {own->target_weight, own->num_means};
    sum_over(rank, DIVIDES_SAMPLES, values, 2);
    sum_over(rank, DIVIDES_LOSS, &own_loss, 1);
    sums->target_weight = values[0];
    sums->num_means = values[1];
    set_mean(sums, own_loss);
}

void step_sums_by_source(double *losses, double *counts, int count, struct rank_device *rank) {
    sum_over(rank, DIVIDES_LOSS, losses, count);
    sum_over(rank, DIVIDES_SAMPLES, counts, 2 * count);
}
