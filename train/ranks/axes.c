/* axes.c - a comm and a transport for every axis of the grid, and comms for the sets of axes that sums run over. */
#include "train/ranks/axes.h"

#include <string.h>

#include "train/ranks/axes_memory.h"
#include "train/ranks/comm_mpi_shared.h"

/* find - the group over exactly this set; NULL: none was made. */
static struct axis_group *find(struct axes *axes, unsigned set) {
    for (int g = 0; g < axes->num_groups; g++)
        if (axes->groups[g].axes == set)
            return &axes->groups[g];
    return NULL;
}

/* occupied - a set without the axes of one rank, which join nobody. */
static unsigned occupied(const struct grid *grid, unsigned set) {
    for (int a = 0; a < grid->num_axes; a++)
        if (grid->axes[a].size == 1)
            set &= ~AXIS_BIT(a);
    return set;
}

/* add_group - with a comm of its own. */
static struct axis_group *add_group(struct axes *axes, const struct grid *grid, struct comm *comm,
                                    unsigned set) {
    struct axis_group *group = &axes->groups[axes->num_groups++];
    *group = (struct axis_group){.axes = set, .owns_comm = comm != NULL};
    group->comm = comm ? comm_split(comm, grid_group(grid, set)) : NULL;
    return group;
}

/* add_sums - of a set that carries sums between hosts alone: where the same ranks have a comm already, that one. */
static void add_sums(struct axes *axes, const struct grid *grid, struct comm *comm, unsigned set) {
    unsigned joined = occupied(grid, set);
    struct comm *same = joined == occupied(grid, grid_all_axes(grid)) ? comm : NULL;
    if (find(axes, set))
        return;
    for (int g = 0; !same && g < axes->num_groups; g++)
        if (occupied(grid, axes->groups[g].axes) == joined)
            same = axes->groups[g].comm;
    if (!same)
        add_group(axes, grid, comm, set);
    else
        axes->groups[axes->num_groups++] = (struct axis_group){.axes = set, .comm = same};
}

/* is_inside - whether what travels along the set does so in the middle of a pass, and must not wait for gathers under way. */
static bool is_inside(const struct grid *grid, unsigned set) {
    for (int a = 0; a < grid->num_axes; a++)
        if (set == AXIS_BIT(a))
            return grid->rows[a].divides == (DIVIDES_LOSS | DIVIDES_PARAMETERS) ||
                   grid->rows[a].divides == (DIVIDES_LOSS | DIVIDES_TENSORS) ||
                   (grid->rows[a].divides & DIVIDES_EXPERTS);
    return false;
}

/* find_link - a transport between the same ranks: sets that differ in axes of one rank alone share one. */
static struct axis_group *find_link(struct axes *axes, unsigned set) {
    const struct grid *grid = &axes->grid;
    for (int g = 0; g < axes->num_groups; g++) {
        unsigned other = axes->groups[g].axes;
        if (axes->groups[g].has_transport && occupied(grid, other) == occupied(grid, set) &&
            is_inside(grid, other) == is_inside(grid, set))
            return &axes->groups[g];
    }
    return NULL;
}

/* add_link - of a set along which buffers of the devices travel.  False on all ranks of the run when it does not
 * open in one of its groups. */
static bool add_link(struct axes *axes, const struct axes_setup *setup, struct comm *comm, unsigned set) {
    struct err err = {""};
    if (find_link(axes, set))
        return true;
    struct axis_group *group = add_group(axes, setup->grid, comm, set);
    int sms = set == grid_axes(setup->grid, DIVIDES_PARAMETERS) || set == AXIS_BIT(AXIS_SHARD)
                  ? setup->shard_sms
                  : 0;
    int status = transport_open_beside(&group->transport, group->comm, setup->device, setup->kind, sms, &err);
    group->has_transport = status == 0;
    return comm ? comm_all_ok(comm, status, &err) : status == 0;
}

/* The innermost axis first, on every rank alike: making a comm is collective over the whole.  Sets that carry sums alone come
 * last, as most of them join the ranks of a group that is there already: in the usual grid they make no new comm. */
bool axes_open(struct axes *axes, const struct axes_setup *setup, struct comm *comm) {
    const struct grid *grid = setup->grid;
    memset(axes, 0, sizeof *axes);
    axes->grid = *grid;
    CHECK(grid_num_ranks(grid) == (comm ? comm_num_ranks(comm) : 1), "a grid of %d ranks for %d",
          grid_num_ranks(grid), comm ? comm_num_ranks(comm) : 1);
    for (int a = grid->num_axes - 1; a >= 0; a--)
        if (!add_link(axes, setup, comm, AXIS_BIT(a)))
            return false;
    if (!add_link(axes, setup, comm, grid_axes(grid, DIVIDES_PARAMETERS)) ||
        !add_link(axes, setup, comm, grid_holder_axes(grid)) ||
        !add_link(axes, setup, comm, grid_replica_axes(grid)))
        return false;
    add_sums(axes, grid, comm, grid_axes(grid, DIVIDES_SAMPLES));
    add_sums(axes, grid, comm, grid_axes(grid, DIVIDES_LOSS));
    add_sums(axes, grid, comm, grid_axes(grid, DIVIDES_PARAMETERS));
    add_sums(axes, grid, comm, grid_update_axes(grid));
    add_sums(axes, grid, comm, grid_all_axes(grid));
    return true;
}

/* Transports before the comms that they use, each in the reverse order of its opening. */
void axes_close(struct axes *axes) {
    for (int g = axes->num_groups - 1; g >= 0; g--)
        if (axes->groups[g].has_transport)
            transport_close(&axes->groups[g].transport);
    for (int g = axes->num_groups - 1; g >= 0; g--)
        if (axes->groups[g].owns_comm)
            comm_join(axes->groups[g].comm);
    memset(axes, 0, sizeof *axes);
}

struct comm *axes_comm(struct axes *axes, unsigned set) {
    struct axis_group *group = find(axes, set);
    CHECK(group, "there is no group of ranks over the axes %#x", set);
    return group->comm;
}

struct transport *axes_transport(struct axes *axes, unsigned set) {
    struct axis_group *group = find_link(axes, set);
    CHECK(group, "there is no transport over the axes %#x", set);
    return &group->transport;
}

double axes_stood_s(const struct axes *axes) {
    double sum = 0;
    for (int g = 0; g < axes->num_groups; g++)
        sum += axes->groups[g].transport.stood_s;
    return sum;
}

/* made_before - whether one of the sets made has the same ranks, and travels in the same way where both are links. */
static bool made_before(const struct grid *grid, const unsigned *made, int count, unsigned set,
                        bool is_link) {
    for (int i = 0; i < count; i++)
        if (occupied(grid, made[i]) == occupied(grid, set) &&
            (!is_link || is_inside(grid, made[i]) == is_inside(grid, set)))
            return true;
    return false;
}

/* made_sets - those for which axes_open makes a comm; returns how many. */
static int made_sets(const struct grid *grid, unsigned made[AXES_MAX_GROUPS]) {
    const unsigned pairs[] = {grid_axes(grid, DIVIDES_PARAMETERS), grid_holder_axes(grid),
                              grid_replica_axes(grid)};
    const unsigned sums[] = {grid_axes(grid, DIVIDES_SAMPLES), grid_axes(grid, DIVIDES_LOSS),
                             grid_axes(grid, DIVIDES_PARAMETERS), grid_update_axes(grid)};
    unsigned all = occupied(grid, grid_all_axes(grid));
    int count = 0;
    for (int a = grid->num_axes - 1; a >= 0; a--)
        if (!made_before(grid, made, count, AXIS_BIT(a), true))
            made[count++] = AXIS_BIT(a);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (!made_before(grid, made, count, pairs[i], true))
            made[count++] = pairs[i];
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
        if (occupied(grid, sums[i]) != all && !made_before(grid, made, count, sums[i], false))
            made[count++] = sums[i];
    return count;
}

/* is_on_one_node - the ranks of a set; the first and the last of them are the farthest apart. */
static bool is_on_one_node(const struct grid *grid, unsigned set, int ranks_per_node) {
    int first[GRID_MAX_AXES], last[GRID_MAX_AXES];
    for (int a = 0; a < grid->num_axes; a++) {
        bool is_in = set & AXIS_BIT(a);
        first[a] = is_in ? 0 : grid->axes[a].index;
        last[a] = is_in ? grid->axes[a].size - 1 : grid->axes[a].index;
    }
    return ranks_per_node > 0 &&
           grid_rank(grid, first) / ranks_per_node == grid_rank(grid, last) / ranks_per_node;
}

size_t axes_shared_bytes(const struct grid *grid, int ranks_per_node) {
    unsigned made[AXES_MAX_GROUPS + 1];
    int count = made_sets(grid, made);
    size_t sum = 0;
    made[count++] = grid_all_axes(grid); /* the run's own */
    for (int i = 0; i < count; i++) {
        int num_ranks = grid_size(grid, made[i]);
        if (is_on_one_node(grid, made[i], ranks_per_node))
            sum += shared_bytes(num_ranks) / (size_t)num_ranks;
    }
    return sum;
}
