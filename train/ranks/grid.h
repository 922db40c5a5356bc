/* grid.h - the ranks as a grid of named axes: which of them do the same work, and which divide it.  Pure integers;
 * axes.h makes groups that can talk out of it.
 *
 *   rank = (((replica * num_shards + shard) * num_expert + expert) * num_context + context) * num_tensor + tensor
 *                                                                      the last axis of the table is the innermost
 *
 * Neighbouring ranks share a replica, so with the block placement of Slurm and mpirun a replica of as many
 * ranks as a node has lies inside that node: parameters are gathered over the node's own links, and what
 * crosses the network is one sum of gradients per step.
 *
 * A set of axes is a mask of AXIS_BIT: the ranks of a set are those that differ from this one in no other axis.
 * Sums name the set they run over, by what its axes divide (grid_axes), so that they need not know which axes
 * there are: another one is a row of GRID_AXES, its size in grid_make, and whatever is computed along it. */
#pragma once

#include "kernels/error.h"

enum axis_id { AXIS_REPLICA, AXIS_SHARD, AXIS_EXPERT, AXIS_CONTEXT, AXIS_TENSOR, AXIS_COUNT };
#define AXIS_BIT(axis) (1u << (axis))

/* What the ranks along an axis divide among themselves.  What they do not divide, each of them has whole. */
enum axis_divides {
    DIVIDES_SAMPLES = 1,    /* each reads other samples: tokens and targets are counted over such axes */
    DIVIDES_LOSS = 2,       /* each computes other terms of the loss: losses and gradients are added */
    DIVIDES_PARAMETERS = 4, /* each holds or updates another part: squares of the gradient norm are added */
    DIVIDES_TENSORS =
        8, /* each computes with a part of its own of the tensors that can be divided, as if it were all */
    DIVIDES_EXPERTS = 16, /* each has experts of its own, to which the others send their rows */
};

/* An axis: its row in a table. */
struct axis_row {
    const char *name;  /* for messages: "replicas" */
    const char *where; /* the ranks along it stand to each other: "between replicas" */
    unsigned divides;  /* of enum axis_divides */
};

/* The axes that a run file can ask for: [AXIS_COUNT], in the order of enum axis_id. */
extern const struct axis_row GRID_AXES[AXIS_COUNT];

enum { GRID_MAX_AXES = 6 };

/* A place in the grid: that of one rank. */
struct grid {
    const struct axis_row *rows; /* [num_axes], borrowed */
    int num_axes;
    struct {
        int size, index;
    } axes[GRID_MAX_AXES];
};

/* How many ranks, and how a run file divides them. */
struct grid_shape {
    int num_ranks, ranks_per_node; /* 0: the nodes have different numbers */
    int num_replicas;              /* 0: one for each node, which all must have as many ranks */
    int num_context;               /* ranks that share the rows of a micro-batch; 0 as 1 */
    int num_tensor;                /* ranks that divide the tensors of a layer, all on one node; 0 as 1 */
    int num_expert;                /* ranks that divide the experts of a layer; 0 as 1 */
};

/* grid_make - the grid of a run and this rank's place.  Returns 0, or -1 with err set: the ranks cannot be split so. */
int grid_make(struct grid *grid, const struct grid_shape *shape, int rank, struct err *err);

/* grid_place - of a rank, in a grid of these axes and sizes [num_axes], whose product is the number of ranks.
 * grid_rank - the other way: of the rank with these indices [num_axes]. */
void grid_place(struct grid *grid, const struct axis_row *rows, int num_axes, const int *sizes, int rank);
int grid_rank(const struct grid *grid, const int *indices);

/* grid_axes - the set of axes that divide all of that.  grid_all_axes - every one. */
unsigned grid_axes(const struct grid *grid, unsigned divides);
unsigned grid_all_axes(const struct grid *grid);

/* grid_replica_axes - the set along which ranks hold the same parameters and compute other terms of the loss: their gradients
 * are added, and what updates the parameters can be split.  grid_update_axes - all ranks that an update is split over. */
unsigned grid_replica_axes(const struct grid *grid);
unsigned grid_update_axes(const struct grid *grid);

/* grid_holder_axes - the set, inside a replica, along which ranks have the same experts: those that hold them together. */
unsigned grid_holder_axes(const struct grid *grid);

/* grid_size - how many ranks a set of axes joins; grid_num_ranks - all.  grid_index - this rank's place among
 * those of a set, in the order of the ranks.  grid_group - which of the sets of that kind this rank is in:
 * the same number on its ranks, another on all others. */
int grid_size(const struct grid *grid, unsigned axes);
int grid_num_ranks(const struct grid *grid);
int grid_index(const struct grid *grid, unsigned axes);
int grid_group(const struct grid *grid, unsigned axes);

/* grid_num_shards - ranks that hold one replica of the model together, or of each one's part of its tensors. */
int grid_num_shards(const struct grid *grid);

/* grid_stride - how far apart neighbours along that axis are, in ranks. */
int grid_stride(const struct grid *grid, int axis);

/* grid_axis_is_local - whether each set along that axis lies inside a node, where every node has so many
 * neighbouring ranks. */
bool grid_axis_is_local(const struct grid *grid, int axis, int ranks_per_node);
