/* links.c - see links.h. */
#include "train/plan/links.h"

/* ranks_of_replica - that hold one together, in whatever way. */
static int ranks_of_replica(const struct grid *grid) {
    return grid_num_ranks(grid) / grid->axes[AXIS_REPLICA].size;
}

bool links_inside_node(const struct grid *grid, int ranks_per_node) {
    return grid_num_ranks(grid) <= ranks_per_node || ranks_per_node % ranks_of_replica(grid) == 0;
}

/* link_rate - bus bandwidth of a rank inside its replica: over the node's own links, or over the network
 * where the replica is larger than a node, or lies across the border of two: a node's network is then shared
 * by the replicas on both sides, and by as many rings as there are ranks that divide tensors.  across_rate - between replicas: as many
 * rings as the node has ranks share its network. */
static double link_rate(const struct grid *grid, int ranks_per_node, const struct machine *machine) {
    int ranks = ranks_of_replica(grid), sharers = ranks % ranks_per_node == 0 ? 1 : 2;
    if (links_inside_node(grid, ranks_per_node))
        return machine->link_bytes_per_s;
    return machine->node_bytes_per_s / (sharers * grid->axes[AXIS_TENSOR].size);
}

static double across_rate(const struct grid *grid, int ranks_per_node, const struct machine *machine) {
    int ranks = ranks_of_replica(grid);
    if (grid_axis_is_local(grid, AXIS_REPLICA, ranks_per_node))
        return machine->link_bytes_per_s;
    return machine->node_bytes_per_s / (ranks < ranks_per_node ? ranks : ranks_per_node);
}

/* take_expert_links - of ranks that divide experts. Their all-to-all is not a ring: over the network each rank of a node sends by itself. Those
 * that have the same experts are a ring for each rank that has others. */
static void take_expert_links(struct timeline_rates *rates, const struct grid *grid, int ranks_per_node,
                              const struct machine *machine) {
    int num_experts = grid->axes[AXIS_EXPERT].size;
    double inside = rates->bytes_per_s[EXCHANGE_INSIDE];
    bool is_local = grid_axis_is_local(grid, AXIS_EXPERT, ranks_per_node);
    bool ring_is_local = links_inside_node(grid, ranks_per_node);
    rates->bytes_per_s[EXCHANGE_EXPERT] =
        is_local ? machine->link_bytes_per_s : machine->node_bytes_per_s / ranks_per_node;
    rates->latency_s[EXCHANGE_EXPERT] = is_local ? machine->link_latency_s : machine->node_latency_s;
    rates->bytes_per_s[EXCHANGE_HOLDERS] =
        ring_is_local ? inside : inside / (num_experts < ranks_per_node ? num_experts : ranks_per_node);
    rates->latency_s[EXCHANGE_HOLDERS] = rates->latency_s[EXCHANGE_INSIDE];
}

void links_take(struct timeline_rates *rates, const struct grid *grid, int ranks_per_node,
                const struct machine *machine) {
    bool inside_is_local = links_inside_node(grid, ranks_per_node);
    bool across_is_local = grid_axis_is_local(grid, AXIS_REPLICA, ranks_per_node);
    double inside = link_rate(grid, ranks_per_node, machine);
    rates->bytes_per_s[EXCHANGE_INSIDE] = rates->bytes_per_s[EXCHANGE_CONTEXT] = inside;
    rates->bytes_per_s[EXCHANGE_ACROSS] = across_rate(grid, ranks_per_node, machine);
    rates->latency_s[EXCHANGE_INSIDE] = rates->latency_s[EXCHANGE_CONTEXT] =
        inside_is_local ? machine->link_latency_s : machine->node_latency_s;
    take_expert_links(rates, grid, ranks_per_node, machine);
    rates->bytes_per_s[EXCHANGE_TENSOR] = machine->link_bytes_per_s; /* on one node, by grid_make */
    rates->latency_s[EXCHANGE_TENSOR] = machine->link_latency_s;
    rates->latency_s[EXCHANGE_ACROSS] = across_is_local ? machine->link_latency_s : machine->node_latency_s;
}
