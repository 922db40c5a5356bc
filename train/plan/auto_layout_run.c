/* auto_layout_run.c - the choice inside a run: the same facts and the smallest memory on all ranks. */
#include "train/plan/auto_layout_run.h"

#include <string.h>

#include "kernels/units.h"
#include "train/measure/doctor.h"
#include "train/plan/async_choice.h"

/* The profile is a file: the root reads it, and all choose by the same facts. */
void auto_layout_begin(struct auto_layout *auto_layout, const struct config *config, struct comm *comm) {
    memset(auto_layout, 0, sizeof *auto_layout);
    auto_layout->config = *config;
    auto_layout->ranks_per_node = rank_num_per_node(comm);
    if (comm_is_root(comm))
        auto_layout->facts = site_facts_read(config, auto_layout->ranks_per_node);
    comm_broadcast(comm, &auto_layout->facts, sizeof auto_layout->facts);
}

/* host_share - of the host's memory for each of its ranks, the smallest of all hosts. */
static size_t host_share(struct comm *comm) {
    double total_gb, available_gb;
    doctor_memory(&total_gb, &available_gb);
    int64_t smallest = -(int64_t)(total_gb * GIGA / comm_num_local_ranks(comm));
    comm_max_i64(comm, &smallest, 1);
    return (size_t)-smallest;
}

/* The smallest memory of any rank: all have the same layout.  Ranks of a host share its memory, GPUs do not. */
void auto_layout_finish(struct auto_layout *auto_layout, const struct model_config *model,
                        struct rank_device *rank, struct comm *comm) {
    size_t total_bytes;
    bool on_gpu = !rank->dev.ops->host_memory;
    device_memory_free(&rank->dev, &total_bytes);
    int64_t smallest = -(int64_t)(on_gpu ? total_bytes : total_bytes / (size_t)comm_num_local_ranks(comm));
    comm_max_i64(comm, &smallest, 1);
    struct machine machine = auto_layout_machine(&auto_layout->facts, on_gpu, (size_t)-smallest);
    if (on_gpu && machine.host_bytes == 0)
        machine.host_bytes = host_share(comm);
    const struct search_ranks ranks = {comm_num_ranks(comm), auto_layout->ranks_per_node, &machine};
    auto_layout_choose(&auto_layout->config, model, &ranks, auto_layout->why);
    async_choose(&auto_layout->config, model, &ranks);
}
