/* probe.c - pieces sent along each axis and timed; where one is slow, the slowest node is looked for. */
#include "train/run/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"
#include "train/measure/measure.h"
#include "train/ranks/link_tell.h"

enum { FIRST_BYTES = MIB, LARGEST_BYTES = 64 * MIB };
static const double MEASURE_S = 0.8; /* one axis at most, about */
static const double SLOW_SHARE = 0.5;

/* Without an expectation nothing is slow: a profile that says nothing of its network is not a reason to stop. */
enum probe_verdict probe_judge(double bytes_per_s, double expected_bytes_per_s, double minimum) {
    if (expected_bytes_per_s <= 0)
        return PROBE_GOOD;
    double share = bytes_per_s / expected_bytes_per_s;
    if (minimum > 0 && share < minimum)
        return PROBE_REFUSED;
    return share < SLOW_SHARE ? PROBE_SLOW : PROBE_GOOD;
}

/* On processors of one node there is no network to look at; 'on' asks for it all the same. */
bool probe_is_wanted(enum probe_when when, int num_ranks, int num_nodes, bool on_gpu) {
    if (num_ranks < 2 || when == PROBE_OFF)
        return false;
    return when == PROBE_ON || on_gpu || num_nodes > 1;
}

/* By the better of its two neighbours: a good node beside a slow one has another good neighbour.  Of two nodes the
 * pair alone is measured, and -1 says so. */
int probe_slowest_node(const double *rates, int num_nodes) {
    int slowest = -1;
    double lowest = 0;
    for (int i = 0; num_nodes > 2 && i < num_nodes; i++) {
        double before = rates[(i + num_nodes - 1) % num_nodes], after = rates[i];
        double better = before > after ? before : after;
        if (slowest < 0 || better < lowest) {
            slowest = i;
            lowest = better;
        }
    }
    return slowest;
}

/* --- measuring --- */

/* transfer_rate - the slower of gather and reduce-scatter, of a size that takes a moment.  0: no memory for
 * it. */
static double transfer_rate(struct transport *transport) {
    struct measure_transfer result = {.size_bytes = FIRST_BYTES};
    for (int round = 0; round < 2; round++) {
        if (measure_transfers(transport, &result, 1, NULL) != 0)
            return 0;
        double slower = result.gather_bytes_per_s < result.reduce_scatter_bytes_per_s
                            ? result.gather_bytes_per_s
                            : result.reduce_scatter_bytes_per_s;
        if (round == 1)
            return slower;
        double affordable = slower * MEASURE_S / 24; /* six times each of three, of which one sends twice */
        if (affordable < FIRST_BYTES)
            return slower;
        result.size_bytes = affordable > LARGEST_BYTES ? LARGEST_BYTES : (size_t)affordable;
    }
    return 0;
}

static double smallest_of(const double *values, int count, int *where) {
    *where = 0;
    for (int i = 1; i < count; i++)
        if (values[i] < values[*where])
            *where = i;
    return values[*where];
}

/* ring_rates - between each node and the next: pairs that share no node at the same time, in three rounds at
 * most. */
static void ring_rates(double *rates, struct rank_device *rank, const struct places *places,
                       enum transport_kind kind, struct comm *comm) {
    int own = places->nodes[comm_rank(comm)], count = places->num_nodes;
    int num_pairs = count == 2 ? 1 : count;
    memset(rates, 0, (size_t)count * sizeof *rates);
    for (int round = 0; round < 3; round++) {
        int pair =
            -1; /* pair p joins nodes p and p + 1; even ones first, then odd ones, last an odd ring's end */
        for (int p = 0; p < num_pairs; p++) {
            bool is_end = count % 2 == 1 && p == count - 1;
            if ((is_end ? 2 : p % 2) == round && (own == p || own == (p + 1) % count))
                pair = p;
        }
        struct transport transport;
        struct comm *both = comm_split(comm, pair < 0 ? num_pairs : pair);
        double rate = 0;
        int status = pair >= 0 ? transport_open(&transport, both, &rank->dev, kind, NULL) : -1;
        if (!status) {
            rate = transfer_rate(&transport);
            transport_close(&transport);
        }
        double *all = xcalloc((size_t)count, sizeof *all);
        if (pair >= 0)
            all[pair] = rate;
        comm_max_f64(comm, all, count);
        for (int p = 0; p < count; p++)
            rates[p] = all[p] > 0 ? all[p] : rates[p];
        free(all);
        comm_join(both);
    }
}

/* --- telling --- */

/* One axis of the grid. */
struct probed {
    const char *where;
    struct transport *transport;
    int num_ranks;
    bool crosses; /* the network between nodes */
    double expected;
};

/* tell_slow - where to look, and what to do. */
static void tell_slow(const struct probed *axis, const struct places *places, int slowest_rank,
                      struct rank_device *rank, enum transport_kind kind, struct comm *comm,
                      struct metrics *metrics) {
    if (!axis->crosses) {
        metrics_note(metrics, "slowest node: %s; to do without it: --exclude=%s (slurm.exclude)",
                     places->ranks[slowest_rank].host, places->ranks[slowest_rank].host);
        return;
    }
    double *rates = xcalloc((size_t)places->num_nodes, sizeof *rates);
    ring_rates(rates, rank, places, kind, comm);
    int node = probe_slowest_node(rates, places->num_nodes);
    if (node >= 0)
        metrics_note(metrics,
                     "slowest node: %s, %.2f GB/s to its better neighbour; to do without it: --exclude=%s "
                     "(slurm.exclude)",
                     places_host(places, node),
                     (rates[node] > rates[(node + places->num_nodes - 1) % places->num_nodes]
                          ? rates[node]
                          : rates[(node + places->num_nodes - 1) % places->num_nodes]) /
                         1e9,
                     places_host(places, node));
    else
        metrics_note(metrics, "between %s and %s: which of the two is slow cannot be told",
                     places_host(places, 0), places_host(places, places->num_nodes - 1));
    free(rates);
}

/* probe_axis - returns what becomes of the run, the same on all ranks. */
static enum probe_verdict probe_axis(const struct probed *axis, const struct places *places,
                                     const struct config *config, struct rank_device *rank, struct comm *comm,
                                     struct metrics *metrics) {
    if (axis->num_ranks < 2)
        return PROBE_GOOD;
    enum transport_kind kind = rank->dev.ops->host_memory          ? TRANSPORT_HOST
                               : config->parallel.comm == COMM_MPI ? TRANSPORT_STAGED
                                                                   : TRANSPORT_NCCL;
    double own = transfer_rate(axis->transport), *all = xcalloc((size_t)places->num_ranks, sizeof *all);
    int where;
    comm_gather_f64(comm, &own, 1, all);
    double slowest = smallest_of(all, places->num_ranks, &where);
    free(all);
    enum probe_verdict verdict = probe_judge(slowest, axis->expected, config->fabric.minimum);
    char expected[64] = "";
    if (axis->expected > 0)
        snprintf(expected, sizeof expected, ", %.2f are expected", axis->expected / 1e9);
    metrics_note(
        metrics, "bandwidth %s: %.2f GB/s%s%s", axis->where, slowest / 1e9, expected,
        verdict != PROBE_GOOD && kind == TRANSPORT_NCCL ? "; NCCL_DEBUG=INFO tells which way it takes" : "");
    if (config->fabric.minimum > 0 && axis->expected <= 0)
        metrics_note(
            metrics,
            "warning: fabric.minimum asks for a part of what the site's profile expects %s, and no profile says that: "
            "nothing was compared (slurm.site; intra_gb_s, inter_gb_s)",
            axis->where);
    if (verdict != PROBE_GOOD && places->num_nodes > 1)
        tell_slow(axis, places, where, rank, kind, comm, metrics);
    return verdict;
}

/* probe_axes - all of the grid, innermost first; the worst verdict of them. */
static enum probe_verdict probe_axes(const struct auto_layout *auto_layout, const struct places *places,
                                     struct rank_device *rank, struct comm *comm, struct metrics *metrics) {
    const struct machine *machine = &auto_layout->facts.machine;
    const struct grid *grid = &rank->grid;
    int per_node = places->num_ranks / places->num_nodes;
    double intra = auto_layout->facts.intra_gb_s > 0 ? machine->link_bytes_per_s : 0;
    double inter = auto_layout->facts.inter_gb_s > 0 ? machine->node_bytes_per_s : 0;
    enum probe_verdict worst = PROBE_GOOD;
    for (int a = grid->num_axes - 1; a >= 0; a--) {
        int stride = grid_stride(grid, a), sharing = stride < per_node ? stride : per_node;
        bool crosses = !grid_axis_is_local(grid, a, per_node);
        const struct probed axis = {.where = grid->rows[a].where,
                                    .transport = axes_transport(&rank->axes, AXIS_BIT(a)),
                                    .num_ranks = grid->axes[a].size,
                                    .crosses = crosses,
                                    /* as many rings at the same time share a node's network */
                                    .expected = crosses ? inter / sharing : intra};
        enum probe_verdict verdict = probe_axis(&axis, places, &auto_layout->config, rank, comm, metrics);
        worst = verdict > worst ? verdict : worst;
    }
    return worst;
}

/* --- links --- */

static void note_link(void *metrics, bool is_warning, const char *text) {
    metrics_note(metrics, "%s%s", is_warning ? "warning: " : "", text);
}

/* tell_links - of the nodes that this run lies on, beside what the profile says of such a node. */
static void tell_links(const struct places *places, const struct site_facts *facts, struct metrics *metrics) {
    const struct link_expectation expected = {.num_links = facts->num_links,
                                              .gb_s = facts->inter_gb_s,
                                              .network = facts->fabric == FABRIC_OMNI_PATH    ? "omni_path"
                                                         : facts->fabric == FABRIC_INFINIBAND ? "infiniband"
                                                                                              : NULL};
    const struct link_listener listener = {note_link, metrics};
    struct link_table table;
    link_table_make(&table, places);
    link_tell(&table, &expected, &listener);
    link_table_free(&table);
}

/* The slowest rank counts, and it is the same number on all: so is the verdict. */
bool probe_run(const struct auto_layout *auto_layout, struct rank_device *rank, struct comm *comm,
               struct metrics *metrics) {
    const struct config *config = &auto_layout->config;
    struct places places;
    struct err err = {""};
    places_gather(&places, rank, comm);
    enum probe_verdict worst = PROBE_GOOD;
    bool is_wanted = probe_is_wanted(config->fabric.probe, places.num_ranks, places.num_nodes,
                                     !rank->dev.ops->host_memory);
    if (is_wanted && places.num_nodes > 1)
        tell_links(&places, &auto_layout->facts, metrics);
    if (is_wanted)
        worst = probe_axes(auto_layout, &places, rank, comm, metrics);
    places_free(&places);
    if (worst == PROBE_REFUSED)
        err_set(&err,
                "the bandwidth between the ranks is below fabric.minimum (%g of what the site's profile "
                "expects); set "
                "it to 0 to train all the same",
                config->fabric.minimum);
    return comm_all_ok(comm, worst == PROBE_REFUSED ? -1 : 0, &err);
}
