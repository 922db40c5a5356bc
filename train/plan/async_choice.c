/* async_choice.c - see async_choice.h. */
#include "train/plan/async_choice.h"

#include <stdio.h>

#include "kernels/units.h"

static const double HOST_SHARE = 0.5;

/* fits - a layout with the copy in it. */
static bool fits(const struct layout *layout, const struct machine *machine) {
    struct device_limits limits = layout_limits(layout);
    size_t scratch = machine->on_gpu ? layout_scratch_bytes(&limits, machine->gpu_arch) : 0;
    struct layout_memory memory = layout_memory(layout, scratch);
    if (machine->on_gpu)
        return machine->host_bytes == 0 ||
               (double)(memory.on_host + memory.snapshot) <= HOST_SHARE * (double)machine->host_bytes;
    return machine->memory_bytes == 0 || memory.device <= estimate_room_bytes(machine);
}

void async_choose(struct config *config, const struct model_config *model, const struct search_ranks *ranks) {
    struct grid grid;
    if (config->checkpoint.async != ASYNC_AUTO)
        return;
    config->checkpoint.async = ASYNC_FALSE;
    const struct grid_shape shape = {ranks->num_ranks,
                                     ranks->per_node,
                                     (int)config->parallel.replicas,
                                     (int)config->parallel.context,
                                     (int)config->parallel.tensor,
                                     (int)config->parallel.expert};
    if (config->checkpoint.every_steps == 0 || /* none is written beside the training */
        grid_make(&grid, &shape, 0, NULL) != 0)
        return;
    struct config trial = *config;
    trial.checkpoint.async = ASYNC_TRUE;
    struct layout layout = layout_make(&trial, model, &grid, ranks->machine->on_gpu);
    if (fits(&layout, ranks->machine))
        config->checkpoint.async = ASYNC_TRUE;
}

const char *async_tell(const struct config *config, enum async_save asked, size_t bytes, char *text) {
    text[0] = '\0';
    if (config->checkpoint.every_steps == 0)
        return text;
    if (config->checkpoint.async == ASYNC_TRUE)
        snprintf(
            text, ASYNC_ROOM,
            "written while the training goes on, from a copy of %.3f GiB in each rank's memory (checkpoint.async), "
            "one at a time: the next one waits for the one before it",
            gib_of(bytes));
    else if (asked == ASYNC_AUTO)
        snprintf(
            text, ASYNC_ROOM,
            "the training waits while they are written: a copy to write them from does not fit into memory "
            "(checkpoint.async: auto)");
    return text;
}
