/* auto_layout_run.c - the choice inside a run: the same facts and the smallest memory on all ranks. */
#include "train/plan/auto_layout_run.h"

#include <string.h>

void chosen_begin(struct chosen *chosen, const struct config *config, struct comm *comm) {
    memset(chosen, 0, sizeof *chosen);
    chosen->config = *config;
    chosen->ranks_per_node = rank_num_per_node(comm);
    if (comm_is_root(comm))
        chosen->facts = site_facts_read(config, chosen->ranks_per_node);
    comm_broadcast(comm, &chosen->facts, sizeof chosen->facts);
}

void chosen_finish(struct chosen *chosen, const struct model_config *model, struct rank_device *rank,
                   struct comm *comm) {
    size_t total_bytes;
    bool on_gpu = !rank->dev.ops->host_memory;
    device_memory_free(&rank->dev, &total_bytes);
    int64_t smallest = -(int64_t)(on_gpu ? total_bytes : total_bytes / (size_t)comm_num_local_ranks(comm));
    comm_max_i64(comm, &smallest, 1);
    struct machine machine = choose_machine(&chosen->facts, on_gpu, (size_t)-smallest);
    const struct plan_ranks ranks = {comm_num_ranks(comm), chosen->ranks_per_node, &machine};
    choose_layout(&chosen->config, model, &ranks, chosen->why);
}
