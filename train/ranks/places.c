/* places.c - see places.h. */
#include "train/ranks/places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* place_read - of this rank.  A rank that Slurm or mpirun has bound to processors is bound by its affinity. */
static void place_read(struct place *place, const struct rank_device *rank, const struct comm *comm) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    sched_getaffinity(0, sizeof cpus, &cpus);
    const struct rank_seat seat = {
        .root = sysfs_root(), .gpu_bus = rank->gpu_bus, .cpus = &cpus, .uses_nccl = rank->uses_nccl};
    memset(place, 0, sizeof *place);
    snprintf(place->host, sizeof place->host, "%s", rank_node_name(comm));
    rank_links_read(&place->links, &seat);
}

/* number_nodes - by the first rank of each host's name. */
static void number_nodes(struct places *places) {
    for (int r = 0; r < places->num_ranks; r++) {
        int before = 0;
        while (before < r && strcmp(places->ranks[before].host, places->ranks[r].host) != 0)
            before++;
        places->nodes[r] = before < r ? places->nodes[before] : places->num_nodes++;
    }
}

void places_gather(struct places *places, const struct rank_device *rank, struct comm *comm) {
    struct place own;
    *places = (struct places){.num_ranks = comm_num_ranks(comm)};
    places->ranks = xcalloc((size_t)places->num_ranks, sizeof *places->ranks);
    places->nodes = xcalloc((size_t)places->num_ranks, sizeof *places->nodes);
    place_read(&own, rank, comm);
    comm_gather_bytes(comm, &own, sizeof own, places->ranks);
    number_nodes(places);
}

void places_free(struct places *places) {
    free(places->ranks);
    free(places->nodes);
}

int places_first_rank(const struct places *places, int node) {
    int r = 0;
    while (places->nodes[r] != node)
        r++;
    return r;
}

const char *places_host(const struct places *places, int node) {
    return places->ranks[places_first_rank(places, node)].host;
}
