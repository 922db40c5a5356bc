/* axes.h - the ranks of a set of axes of the grid (grid.h) as groups that can talk: a comm for sums between
 * hosts, a transport where buffers of the devices travel.
 *
 *   along each single axis            comm and transport: what is computed along it
 *   over what divides the samples     comm: tokens and targets
 *   over what divides the loss        comm: losses
 *   over what divides the parameters  comm and transport: what the ranks of a replica have in parts
 *   over that but for the experts     comm and transport: what ranks with the same experts have in parts of them
 *   over what divides either          comm: the gradient norm, what each has of them
 *   over what divides the loss and not the parameters   comm and transport: gradients of what several hold alike
 *   over all axes                     comm: that of the run; votes, and what concerns every rank */
#pragma once

#include "train/ranks/grid.h"
#include "train/ranks/transport.h"

/* One for each axis, and the seven sets above; sets that are the same share one. */
enum { AXES_MAX_GROUPS = GRID_MAX_AXES + 7 };

/* The ranks that differ from this one in these axes alone. */
struct axis_group {
    unsigned axes;     /* a set, of AXIS_BIT */
    struct comm *comm; /* NULL: one rank alone */
    bool owns_comm;    /* made here, and not the run's own */
    bool has_transport;
    struct transport transport;
};

struct axes {
    struct axis_group groups[AXES_MAX_GROUPS];
    int num_groups;
    struct grid grid; /* as it was at open */
};

struct axes_setup {
    const struct grid *grid; /* this rank's place */
    struct device *device;   /* borrowed: must outlive the groups */
    enum transport_kind kind;
    int shard_sms; /* where parameters are shared out: multiprocessors that a transfer may occupy (transport_open_beside) */
};

/* axes_open - the groups of this rank; comm joins all ranks of the grid and must outlive them (NULL: one rank).
 * Returns true on all ranks, or false on all when a transport does not open, which the root has said.
 * Collective.
 * axes_close - also after an open that failed, and of zeroed axes; all ranks together, as with comm_join. */
bool axes_open(struct axes *axes, const struct axes_setup *setup, struct comm *comm);
void axes_close(struct axes *axes);

/* axes_comm - of this rank's group over that set, NULL for one rank alone.  axes_transport - between the
 * devices of it.  Borrowed; both die where axes_open makes no such group. */
struct comm *axes_comm(struct axes *axes, unsigned set);
struct transport *axes_transport(struct axes *axes, unsigned set);

/* axes_stood_s - in transport_stand of all transports, since they were opened. */
double axes_stood_s(const struct axes *axes);
