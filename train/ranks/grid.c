/* grid.c - the table of axes, and the place of a rank on them: integers alone. */
#include "train/ranks/grid.h"

const struct axis_row GRID_AXES[AXIS_COUNT] = {
    [AXIS_REPLICA] = {"replicas", "between replicas", DIVIDES_SAMPLES | DIVIDES_LOSS},
    [AXIS_SHARD] = {"shards", "inside a replica", DIVIDES_SAMPLES | DIVIDES_LOSS | DIVIDES_PARAMETERS},
    [AXIS_EXPERT] = {"experts", "between ranks that divide experts",
                     DIVIDES_SAMPLES | DIVIDES_LOSS | DIVIDES_PARAMETERS | DIVIDES_EXPERTS},
    [AXIS_CONTEXT] = {"context", "between ranks that share texts", DIVIDES_LOSS | DIVIDES_PARAMETERS},
    [AXIS_TENSOR] = {"tensor", "between ranks that divide tensors", DIVIDES_LOSS | DIVIDES_TENSORS},
};

/* check_tensor - ranks that divide tensors exchange rows in the middle of every layer: over a node's own links alone. */
static int check_tensor(int num_tensor, int num_shards, int ranks_per_node, struct err *err) {
    if (num_shards % num_tensor != 0)
        return err_set(
            err,
            "parallel.tensor: %d rank%s cannot be split into groups of %d that divide tensors; take a divisor",
            num_shards, num_shards > 1 ? "s" : "", num_tensor);
    if (num_tensor > 1 && (ranks_per_node == 0 || ranks_per_node % num_tensor != 0))
        return err_set(
            err,
            "parallel.tensor: groups of %d ranks would lie across nodes of %d; take a divisor of the "
            "ranks of a node, and start as many on each",
            num_tensor, ranks_per_node);
    return 0;
}

/* find_replicas - how many, where that is possible. */
static int find_replicas(const struct grid_shape *shape, int *found, struct err *err) {
    int num_ranks = shape->num_ranks, per_node = shape->ranks_per_node, num_replicas = shape->num_replicas;
    if (num_replicas == 0 && (per_node <= 0 || num_ranks % per_node != 0))
        return err_set(
            err, "parallel.replicas: 0 asks for one replica per node, but the nodes have different numbers "
                 "of ranks; start as many on each, or give a number");
    if (num_replicas == 0)
        num_replicas = num_ranks / per_node;
    if (num_ranks % num_replicas != 0)
        return err_set(err,
                       "%d ranks cannot be split into %d replicas of the same size; change parallel.replicas",
                       num_ranks, num_replicas);
    *found = num_replicas;
    return 0;
}

/* check_group - whether so many ranks are a multiple of those of one group. */
static int check_group(int num_ranks, int group, const char *key, const char *what, struct err *err) {
    if (num_ranks % group == 0)
        return 0;
    return err_set(err, "%s: %d rank%s cannot be split into groups of %d that %s; take a divisor", key,
                   num_ranks, num_ranks > 1 ? "s" : "", group, what);
}

int grid_make(struct grid *grid, const struct grid_shape *shape, int rank, struct err *err) {
    int num_context = shape->num_context > 0 ? shape->num_context : 1, num_replicas = 1;
    int num_tensor = shape->num_tensor > 0 ? shape->num_tensor : 1;
    int num_expert = shape->num_expert > 0 ? shape->num_expert : 1;
    if (find_replicas(shape, &num_replicas, err) != 0)
        return -1;
    int num_shards = shape->num_ranks / num_replicas;
    if (check_group(num_shards, num_context, "parallel.context", "share texts", err) != 0)
        return -1;
    num_shards /= num_context;
    if (check_tensor(num_tensor, num_shards, shape->ranks_per_node, err) != 0)
        return -1;
    num_shards /= num_tensor;
    if (check_group(num_shards, num_expert, "parallel.expert", "divide experts", err) != 0)
        return -1;
    const int sizes[AXIS_COUNT] = {[AXIS_REPLICA] = num_replicas,
                                   [AXIS_SHARD] = num_shards / num_expert,
                                   [AXIS_EXPERT] = num_expert,
                                   [AXIS_CONTEXT] = num_context,
                                   [AXIS_TENSOR] = num_tensor};
    grid_place(grid, GRID_AXES, AXIS_COUNT, sizes, rank);
    return 0;
}

/* Digits of a number, the last axis the least: what is left over in the end would be a rank beyond the grid. */
void grid_place(struct grid *grid, const struct axis_row *rows, int num_axes, const int *sizes, int rank) {
    CHECK(num_axes <= GRID_MAX_AXES, "a grid of %d axes, at most %d are possible", num_axes, GRID_MAX_AXES);
    *grid = (struct grid){.rows = rows, .num_axes = num_axes};
    for (int a = num_axes - 1; a >= 0; a--) {
        CHECK(sizes[a] > 0, "the axis '%s' of the grid has size %d", rows[a].name, sizes[a]);
        grid->axes[a].size = sizes[a];
        grid->axes[a].index = rank % sizes[a];
        rank /= sizes[a];
    }
    CHECK(rank == 0, "a rank lies outside of its grid");
}

int grid_rank(const struct grid *grid, const int *indices) {
    int rank = 0;
    for (int a = 0; a < grid->num_axes; a++)
        rank = rank * grid->axes[a].size + indices[a];
    return rank;
}

unsigned grid_axes(const struct grid *grid, unsigned divides) {
    unsigned axes = 0;
    for (int a = 0; a < grid->num_axes; a++)
        if ((grid->rows[a].divides & divides) == divides)
            axes |= AXIS_BIT(a);
    return axes;
}

unsigned grid_replica_axes(const struct grid *grid) {
    unsigned apart = grid_axes(grid, DIVIDES_PARAMETERS) | grid_axes(grid, DIVIDES_TENSORS);
    return grid_axes(grid, DIVIDES_LOSS) & ~apart;
}

unsigned grid_update_axes(const struct grid *grid) {
    return grid_axes(grid, DIVIDES_LOSS) | grid_axes(grid, DIVIDES_PARAMETERS);
}

unsigned grid_holder_axes(const struct grid *grid) {
    return grid_axes(grid, DIVIDES_PARAMETERS) & ~grid_axes(grid, DIVIDES_EXPERTS);
}

unsigned grid_all_axes(const struct grid *grid) {
    return AXIS_BIT(grid->num_axes) - 1;
}

int grid_size(const struct grid *grid, unsigned axes) {
    int size = 1;
    for (int a = 0; a < grid->num_axes; a++)
        if (axes & AXIS_BIT(a))
            size *= grid->axes[a].size;
    return size;
}

int grid_num_shards(const struct grid *grid) {
    return grid_size(grid, grid_axes(grid, DIVIDES_PARAMETERS));
}

int grid_num_ranks(const struct grid *grid) {
    return grid_size(grid, grid_all_axes(grid));
}

int grid_index(const struct grid *grid, unsigned axes) {
    int index = 0;
    for (int a = 0; a < grid->num_axes; a++)
        if (axes & AXIS_BIT(a))
            index = index * grid->axes[a].size + grid->axes[a].index;
    return index;
}

/* Ranks of a set differ in its axes alone: what they have in common, and no other set of the kind has, is the place on all
 * other axes. */
int grid_group(const struct grid *grid, unsigned axes) {
    return grid_index(grid, grid_all_axes(grid) & ~axes);
}

int grid_stride(const struct grid *grid, int axis) {
    int stride = 1;
    for (int a = axis + 1; a < grid->num_axes; a++)
        stride *= grid->axes[a].size;
    return stride;
}

/* Blocks of all ranks that share the outer indices follow each other; a set along the axis spans one of them. */
bool grid_axis_is_local(const struct grid *grid, int axis, int ranks_per_node) {
    int block = grid_stride(grid, axis) * grid->axes[axis].size;
    return grid->axes[axis].size == 1 || grid_num_ranks(grid) <= ranks_per_node ||
           ranks_per_node % block == 0;
}
