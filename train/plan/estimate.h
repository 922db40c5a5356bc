/* estimate.h - what a run will take before it is submitted: time, energy and money follow from sizes that are
 * exact and rates that are measured or assumed, and said to be so.  Pure arithmetic; memory is in layout.h,
 * the site in site.h.
 *
 * Time of one optimizer step of one rank [s]:
 *   compute    flops of the model / (ranks x rate) + element-wise bytes / memory bandwidth
 *              + optimizer bytes / bandwidth
 *   step       by the clock of timeline.h, which goes through the timetable of the run: compute, and how long it stands still
 *              for exchanges, at the bandwidth of the axis
 * Flops per token: 6 per parameter of a matrix (2 forward, 4 backward), 12 D per score and head that the mask
 * lets through, and what is computed twice; of a frozen matrix 4, and 2 in layers below the first that trains; of experts those that a
 * token goes to.  Source: Narayanan et al. 2021 (Megatron-LM), appendix;
 * memory traffic counted from the ops of train/model/model.c. */
#pragma once

#include "train/plan/figures.h"
#include "train/plan/machine.h"
#include "train/plan/timeline.h"

/* estimate_room_bytes - of a device's memory, what a plan may fill: the rest is the driver's, the libraries' and
 * what allocations waste.  0: the memory is not known, and everything counts as fitting. */
size_t estimate_room_bytes(const struct machine *machine);

struct step_time {
    double model_flops; /* of one step, all ranks, nothing recomputed: what utilisation is counted by */
    double compute_s;
    double exchange_s;       /* exchanges under way */
    double link_s, across_s; /* standing still for those inside a replica, and between replicas */
    double step_s;
    double tokens_per_s; /* all ranks */
    int64_t num_micros;  /* that a rank does */
    /* Of compute_s, the products with experts: counted in it as if each expert of a layer had as many rows, which is the slowest, for an
     * expert with few rows leaves a device idle; and where all rows go to the same ones. */
    double even_s, crowded_s;
};

/* estimate_micros - that a rank does in a step.  estimate_rates - what the clock goes by. */
int64_t estimate_micros(const struct config *config, const struct layout *layout, const struct grid *grid);
struct timeline_rates estimate_rates(const struct config *config, const struct model_figures *figures,
                                     const struct layout *layout, const struct grid *grid, int ranks_per_node,
                                     const struct machine *machine);

/* estimate_floor_s - no step is shorter: what is computed. */
double estimate_floor_s(const struct config *config, const struct model_figures *figures,
                        const struct layout *layout, const struct grid *grid, const struct machine *machine);

/* estimate_step - of one optimizer step; ranks_per_node decides which bandwidth an axis has. */
struct step_time estimate_step(const struct config *config, const struct model_figures *figures,
                               const struct layout *layout, const struct grid *grid, int ranks_per_node,
                               const struct machine *machine);

/* estimate_flops_per_token - forward and backward, for sequences of that length, nothing counted twice: what
 * utilisation is told by. */
double estimate_flops_per_token(const struct model_figures *figures, int64_t sequence_tokens);

/* estimate_forward_s - of one token, by all ranks together. */
double estimate_forward_s(const struct config *config, const struct model_figures *figures,
                          const struct grid *grid, const struct machine *machine);

/* estimate_validation_s - one pass over the validation sequences, forward alone; 0 where their number is not set.
 */
double estimate_validation_s(const struct config *config, const struct model_figures *figures,
                             const struct grid *grid, const struct machine *machine);

/* estimate_checkpoint_bytes - the model in its type, f32 masters and the optimizer's states; where replicas learn apart, of each of
 * num_replicas, and what the outer step keeps; what gradients that cross in 8 bits owe. */
double estimate_checkpoint_bytes(const struct config *config, const struct model_config *model,
                                 int num_replicas);

/* estimate_disk - bytes and files of the run folder: checkpoints kept plus the one being written, logs. */
struct disk_use {
    double bytes;
    int64_t files;
};
struct disk_use estimate_disk(const struct config *config, const struct model_config *model,
                              int num_replicas);

/* A proposal: a layout, its memory and its time. */
struct proposal {
    struct grid grid; /* of rank 0 */
    int64_t micro_sequences;
    enum recompute recompute;
    int zero_stage;
    enum reduce_when reduce; /* as set, or chosen; at stages 0 and 1 it is of no effect */
    enum wire_type wire;     /* likewise; of no effect at stage 0, and where there is one replica */
    struct layout_memory memory;
    struct step_time time;
    bool fits;
};

/* estimate_proposal - config's own layout on that grid; config must hold no 'auto'. */
struct proposal estimate_proposal(const struct config *config, const struct model_figures *figures,
                                  const struct grid *grid, int ranks_per_node, const struct machine *machine);

/* What layout_search may choose; the rest stays as config has it. */
struct search_freedom {
    bool replicas, micro_sequences, recompute, zero_stage, reduce, tensor, expert, wire, context;
    bool groups; /* micro_sequences no further than a group of short ones (micro_group.h) */
};

/* The ranks that a layout is for. */
struct search_ranks {
    int num_ranks;
    int per_node; /* 0: the nodes have different numbers; replicas are then not chosen, but 1 */
    const struct machine *machine;
};

/* layout_search - the fastest layout of all that fit into the device: every number of ranks that can share a text, every number of ranks of a node that can divide tensors, every
 * number of ranks that can divide experts, every number of replicas that divides the ranks, every stage, every way to recompute,
 * gradients reduced per micro-batch or per step, and between replicas in the compute type or in f32, and every number of passes
 * (of micro-batches with as many the smallest is the fastest).  Of layouts exactly as fast the one with the least memory is taken,
 * then the simplest: fewer ranks that share a text, fewer that divide tensors, fewer that divide experts, fewer replicas, a lower stage, less recomputed, fewer
 * sequences at a time, gradients reduced per micro-batch, and in the compute type.  Of a model with an adapter whose
 * adapter.resident is auto, the fastest that has all of the base on each rank, unless it does not fit or lasts 5 % longer than the
 * fastest of all.  A pure function.  Returns false when none fits; best is then the smallest one, or has no rank (a grid without
 * axes) where config's replicas do not divide the ranks. */
bool layout_search(struct proposal *best, const struct config *config, const struct model_config *model,
                   const struct search_ranks *ranks, struct search_freedom freedom);
