/* auto_layout.c - what the site's profile knows, the machine that layouts are compared on, and the choice with its
 * reason. */
#include "train/plan/auto_layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"
#include "train/plan/micro_group.h"

const char *recompute_name(enum recompute recompute) {
    static const char *const names[] = {"none", "attention", "mlp", "layer", "auto"};
    return names[recompute];
}

static void add(char *why, const char *fmt, ...) ATELIER_PRINTF(2, 3);

/* add - to the sentence that says what was chosen, as far as there is room. */
static void add(char *why, const char *fmt, ...) {
    size_t used = strlen(why);
    va_list args;
    va_start(args, fmt);
    vsnprintf(why + used, AUTO_LAYOUT_ROOM - used, fmt, args);
    va_end(args);
}

/* --- what is known of the nodes --- */

struct site_facts site_facts_of(const struct config *config, const struct site_partition *partition,
                                int ranks_per_node) {
    return (struct site_facts){.is_known = true,
                               .fabric = partition->fabric,
                               .intra_gb_s = partition->intra_gb_s,
                               .inter_gb_s = partition->inter_gb_s,
                               .num_links = partition->num_links,
                               .machine = machine_of_partition(partition, config->slurm.constraint,
                                                               config_activations(config), ranks_per_node)};
}

/* Without a profile, or without the partition, nothing is known: the layout is then chosen by guessed rates. */
struct site_facts site_facts_read(const struct config *config, int ranks_per_node) {
    struct site_facts facts = {.is_known = false};
    struct site site;
    struct err err;
    if (site_profile(&site, config->slurm.site, &err) != 0)
        return facts;
    const char *name = config->slurm.partition ? config->slurm.partition : site.default_partition;
    const struct site_partition *partition = name ? site_partition(&site, name, &err) : NULL;
    if (!name && site.num_partitions == 1)
        partition = &site.partitions[0];
    if (partition)
        facts = site_facts_of(config, partition, ranks_per_node > 0 ? ranks_per_node : 1);
    site_release(&site);
    return facts;
}

/* The profile's rates hold only for the device that it describes: one whose memory is clearly another is another board. */
struct machine auto_layout_machine(const struct site_facts *facts, bool on_gpu, size_t device_bytes) {
    static const double NEAR = 0.05;
    double expected = (double)facts->machine.memory_bytes, difference = fabs((double)device_bytes - expected);
    if (facts->is_known && facts->machine.on_gpu == on_gpu && (!on_gpu || difference <= NEAR * expected))
        return facts->machine;
    return machine_unknown(on_gpu, device_bytes);
}

/* --- choosing --- */

/* may_split - stage or reduction are open, and make a difference: a rank is not alone, and where the stage is set, gradients of
 * several micro-batches are split. */
static bool may_split(const struct config *config, const struct search_ranks *ranks) {
    const struct config *c = config;
    int64_t tensor = c->parallel.tensor, readers = ranks->num_ranks / (c->parallel.context * tensor);
    bool has_micros = c->train.batch_sequences > c->train.micro_sequences * readers;
    if (ranks->num_ranks == 1)
        return false;
    if (c->parallel.zero_stage == AUTO_STAGE)
        return true;
    return c->parallel.replicas * tensor != ranks->num_ranks && c->parallel.reduce == REDUCE_AUTO &&
           c->parallel.zero_stage >= 2 && has_micros;
}

/* may_cross - the wire is open, and gradients of 16 bits may cross between replicas that divide the updates. */
static bool may_cross(const struct config *config, const struct search_ranks *ranks) {
    return config->parallel.wire == WIRE_AUTO && ranks->num_ranks > 1 && config->parallel.replicas != 1 &&
           config->parallel.zero_stage != 0 && config_activations(config) != DTYPE_F32;
}

/* settle - numbers for what makes no difference. */
static void settle(struct config *config) {
    if (config->parallel.zero_stage == AUTO_STAGE)
        config->parallel.zero_stage = 0;
    if (config->parallel.reduce == REDUCE_AUTO)
        config->parallel.reduce = REDUCE_MICRO;
    if (config->parallel.wire == WIRE_AUTO)
        config->parallel.wire = WIRE_COMPUTE;
}

/* freedom_of - what the run file leaves open. */
static struct search_freedom freedom_of(const struct config *config) {
    return (struct search_freedom){.replicas = config->parallel.replicas == AUTO_REPLICAS,
                                   .micro_sequences = config->train.micro_sequences <= 0,
                                   .groups = config->train.micro_sequences == GROUP_MICRO_SEQUENCES,
                                   .recompute = config->train.recompute == RECOMPUTE_AUTO,
                                   .zero_stage = config->parallel.zero_stage == AUTO_STAGE,
                                   .reduce = config->parallel.reduce == REDUCE_AUTO,
                                   .tensor = config->parallel.tensor == AUTO_TENSOR,
                                   .expert = config->parallel.expert == AUTO_EXPERT,
                                   .context = config->parallel.context == AUTO_CONTEXT,
                                   .wire = config->parallel.wire == WIRE_AUTO};
}

/* settle_all - the least of everything that is open, where no grid can be: it is refused by name after that. */
static void settle_all(struct config *config, struct search_freedom freedom) {
    settle(config);
    if (freedom.micro_sequences)
        config->train.micro_sequences = 1;
    if (freedom.recompute)
        config->train.recompute = RECOMPUTE_NONE;
    if (freedom.replicas)
        config->parallel.replicas = 1;
    if (freedom.context)
        config->parallel.context = 1;
    if (freedom.tensor)
        config->parallel.tensor = 1;
    if (freedom.expert)
        config->parallel.expert = 1;
}

/* take - what was found, in place of what was open. */
static void take(struct config *config, const struct proposal *best, struct search_freedom freedom) {
    config->train.micro_sequences = best->micro_sequences;
    config->train.recompute = best->recompute;
    if (freedom.reduce)
        config->parallel.reduce = best->reduce;
    if (freedom.replicas)
        config->parallel.replicas = best->grid.axes[AXIS_REPLICA].size;
    if (freedom.zero_stage)
        config->parallel.zero_stage = best->zero_stage;
    if (freedom.wire)
        config->parallel.wire = best->wire;
    config->parallel.context = best->grid.axes[AXIS_CONTEXT].size;
    config->parallel.tensor = best->grid.axes[AXIS_TENSOR].size;
    config->parallel.expert = best->grid.axes[AXIS_EXPERT].size;
}

/* tell - each of it, with a comma after it. */
static void tell(char *why, const struct proposal *best, struct search_freedom freedom) {
    if (freedom.context)
        add(why, "context %d, ", best->grid.axes[AXIS_CONTEXT].size);
    if (freedom.tensor)
        add(why, "tensor %d, ", best->grid.axes[AXIS_TENSOR].size);
    if (freedom.expert)
        add(why, "expert %d, ", best->grid.axes[AXIS_EXPERT].size);
    if (freedom.replicas)
        add(why, "replicas %d, ", best->grid.axes[AXIS_REPLICA].size);
    if (freedom.zero_stage)
        add(why, "stage %d, ", best->zero_stage);
    if (freedom.micro_sequences)
        add(why, "micro_sequences %lld%s, ", (long long)best->micro_sequences,
            freedom.groups && best->micro_sequences > 1 ? " (short ones together)" : "");
    if (freedom.recompute)
        add(why, "recompute %s, ", recompute_name(best->recompute));
    if (freedom.reduce && best->zero_stage >= 2)
        add(why, "reduce %s, ", best->reduce == REDUCE_STEP ? "step" : "micro");
    if (freedom.wire)
        add(why, "wire %s, ", best->wire == WIRE_F32 ? "f32" : "compute");
}

/* tell_wire - what the other one would cost, of a configuration that holds no 'auto'. */
static void tell_wire(char *why, const struct config *config, const struct model_config *model,
                      const struct search_ranks *ranks, const struct proposal *best) {
    struct config trial = *config;
    bool is_f32 = best->wire == WIRE_F32;
    int per_node = ranks->per_node > 0 ? ranks->per_node : ranks->num_ranks;
    trial.parallel.wire = is_f32 ? WIRE_COMPUTE : WIRE_F32;
    trial.parallel.zero_stage = best->zero_stage;
    struct layout layout = layout_make(&trial, model, &best->grid, ranks->machine->on_gpu);
    const struct model_figures figures = figures_count(&trial, model);
    double other_s = estimate_step(&trial, &figures, &layout, &best->grid, per_node, ranks->machine).step_s;
    if (other_s == best->time.step_s)
        add(why, "; another wire would make no difference");
    else
        add(why, "; gradients cross in %s: in %s a step would take %.4g s in place of %.4g",
            is_f32 ? "f32" : dtype_name(config_activations(config)),
            is_f32 ? dtype_name(config_activations(config)) : "f32", other_s, best->time.step_s);
}

/* What the run file says is not touched; what it leaves to 'auto' is chosen together, as stage, recompute and micro-batch
 * depend on each other. */
bool auto_layout_choose(struct config *config, const struct model_config *model,
                        const struct search_ranks *ranks, char *why) {
    if (config->train.micro_sequences == GROUP_MICRO_SEQUENCES &&
        (micro_group(config, ranks->machine->on_gpu) == 1 || config->train.batch_sequences == 1))
        config->train.micro_sequences = 1; /* nothing to group, and nothing to say */
    const struct search_freedom freedom = freedom_of(config);
    struct proposal best;
    bool split_alone = !freedom.replicas && !freedom.micro_sequences && !freedom.recompute &&
                       !freedom.tensor && !freedom.expert && !freedom.context;
    if (split_alone && !may_split(config, ranks) && !may_cross(config, ranks)) { /* nothing to say */
        settle(config);
        return true;
    }
    bool fits = layout_search(&best, config, model, ranks, freedom);
    if (best.grid.num_axes == 0) { /* no grid: told by whoever makes it */
        settle_all(config, freedom);
        return false;
    }
    take(config, &best, freedom);
    tell(why, &best, freedom);
    add(why,
        fits ? "the fastest expected of what fits: %.2f of %.2f GiB"
             : "the smallest, though it does not fit: %.2f of %.2f GiB",
        gib_of(best.memory.device), gib_of(estimate_room_bytes(ranks->machine)));
    if (freedom.wire)
        tell_wire(why, config, model, ranks, &best);
    if (freedom.replicas && ranks->per_node <= 0)
        add(why, "; one replica, because the nodes have different numbers of ranks");
    return fits;
}
