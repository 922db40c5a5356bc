/* layout_search.c - the search over all layouts that a run may have. */
#include "train/plan/estimate.h"
#include "train/plan/even_batches.h"
#include "train/plan/micro_group.h"

/* A base that each rank has is taken where its step lasts at most so many times one that gathers it, whose gathers are counted as
 * if computing hid them to the last byte. */
static const double NEARLY_AS_FAST = 1.05;

/* The search so far. */
struct search {
    struct config trial; /* only its numbers are looked at */
    struct model_figures figures;
    const struct search_ranks *ranks;
    struct search_freedom freedom;
    struct proposal best;
    bool found;
};

/* compare_simplicity - below 0: a is the simpler layout.  Different layouts never compare as equal. */
static int compare_simplicity(const struct proposal *a, const struct proposal *b) {
    if (a->grid.axes[AXIS_CONTEXT].size != b->grid.axes[AXIS_CONTEXT].size)
        return a->grid.axes[AXIS_CONTEXT].size < b->grid.axes[AXIS_CONTEXT].size ? -1 : 1;
    if (a->grid.axes[AXIS_TENSOR].size != b->grid.axes[AXIS_TENSOR].size)
        return a->grid.axes[AXIS_TENSOR].size < b->grid.axes[AXIS_TENSOR].size ? -1 : 1;
    if (a->grid.axes[AXIS_EXPERT].size != b->grid.axes[AXIS_EXPERT].size)
        return a->grid.axes[AXIS_EXPERT].size < b->grid.axes[AXIS_EXPERT].size ? -1 : 1;
    if (a->grid.axes[AXIS_REPLICA].size != b->grid.axes[AXIS_REPLICA].size)
        return a->grid.axes[AXIS_REPLICA].size < b->grid.axes[AXIS_REPLICA].size ? -1 : 1;
    if (a->zero_stage != b->zero_stage)
        return a->zero_stage < b->zero_stage ? -1 : 1;
    if (a->recompute != b->recompute)
        return a->recompute < b->recompute ? -1 : 1;
    if (a->micro_sequences != b->micro_sequences)
        return a->micro_sequences < b->micro_sequences ? -1 : 1;
    if (a->reduce != b->reduce)
        return a->reduce < b->reduce ? -1 : 1;
    return (int)a->wire - (int)b->wire;
}

/* better - one that fits before one that does not; of those that fit the faster, else the smaller. */
static bool better(const struct proposal *a, const struct proposal *b) {
    if (a->fits != b->fits)
        return a->fits;
    if (a->fits && a->time.step_s != b->time.step_s)
        return a->time.step_s < b->time.step_s;
    if (a->memory.device != b->memory.device)
        return a->memory.device < b->memory.device;
    return compare_simplicity(a, b) < 0;
}

/* cannot_win - a slower layout than one that fits: its memory need not be counted. */
static bool cannot_win(const struct search *search, const struct grid *grid, int per_node) {
    const struct machine *machine = search->ranks->machine;
    if (!search->found || !search->best.fits)
        return false;
    struct layout layout = layout_make(&search->trial, search->figures.model, grid, machine->on_gpu);
    if (estimate_floor_s(&search->trial, &search->figures, &layout, grid, machine) > search->best.time.step_s)
        return true; /* before its exchanges are looked at, which takes a hundred times as long */
    struct step_time time = estimate_step(&search->trial, &search->figures, &layout, grid, per_node, machine);
    return time.step_s > search->best.time.step_s;
}

/* try_layout - time first, which costs microseconds; memory, for which a model is laid out, only of what could win. */
static void try_layout(struct search *search, const struct grid *grid) {
    int per_node = search->ranks->per_node > 0 ? search->ranks->per_node : search->ranks->num_ranks;
    if (cannot_win(search, grid, per_node))
        return;
    struct proposal next =
        estimate_proposal(&search->trial, &search->figures, grid, per_node, search->ranks->machine);
    if (!search->found || better(&next, &search->best))
        search->best = next;
    search->found = true;
}

/* Stages from first to last. */
struct stages {
    int first, last;
};

/* stages_of - those that are free to choose: alone in its replica a rank splits nothing but its updates, and the base of an adapter may have
 * to be in memory, or not. */
static struct stages stages_of(const struct search *search, const struct grid *grid) {
    enum adapter_resident resident = search->trial.adapter.resident;
    int set = (int)search->trial.parallel.zero_stage;
    if (!search->freedom.zero_stage)
        return (struct stages){set, set};
    if (grid_num_shards(grid) == 1)
        return (struct stages){0, grid->axes[AXIS_REPLICA].size > 1 ? 1 : 0};
    return (struct stages){resident == RESIDENT_NEVER ? 3 : 0, resident == RESIDENT_ALWAYS ? 2 : 3};
}

/* try_wires - in the compute type, and in f32 where that differs: between replicas that divide the updates, of 16-bit types. */
static void try_wires(struct search *search, const struct grid *grid) {
    bool differs = search->trial.parallel.zero_stage > 0 && grid->axes[AXIS_REPLICA].size > 1 &&
                   config_activations(&search->trial) != DTYPE_F32;
    if (!search->freedom.wire) {
        try_layout(search, grid);
        return;
    }
    search->trial.parallel.wire = WIRE_COMPUTE;
    try_layout(search, grid);
    search->trial.parallel.wire = WIRE_F32;
    if (differs)
        try_layout(search, grid);
    search->trial.parallel.wire = WIRE_AUTO;
}

/* try_reduce - per micro-batch, and per step where that differs: with whole gradients at stages 2 and 3. */
static void try_reduce(struct search *search, const struct grid *grid) {
    bool differs = search->trial.parallel.zero_stage >= 2 && grid_num_shards(grid) > 1;
    enum reduce_when reduce = search->trial.parallel.reduce;
    if (search->freedom.reduce)
        search->trial.parallel.reduce = REDUCE_MICRO;
    try_wires(search, grid);
    if (search->freedom.reduce && differs) {
        search->trial.parallel.reduce = REDUCE_STEP;
        try_wires(search, grid);
    }
    search->trial.parallel.reduce = reduce;
}

/* try_stages - the stages and all ways to recompute. */
static void try_stages(struct search *search, const struct grid *grid) {
    int64_t zero_stage = search->trial.parallel.zero_stage;
    enum recompute recompute = search->trial.train.recompute;
    struct stages stages = stages_of(search, grid);
    for (int s = stages.first; s <= stages.last; s++)
        for (int r = RECOMPUTE_NONE; r <= RECOMPUTE_LAYER; r++) {
            if (!search->freedom.recompute && r != (int)recompute)
                continue;
            search->trial.parallel.zero_stage = s;
            search->trial.train.recompute = (enum recompute)r;
            try_reduce(search, grid);
        }
    search->trial.parallel.zero_stage = zero_stage;
    search->trial.train.recompute = recompute;
}

/* fewest_passes - of a rank's share: one, or as many as groups of short sequences make. */
static int64_t fewest_passes(const struct search *search, int64_t share) {
    int64_t group = micro_group(&search->trial, search->ranks->machine->on_gpu);
    return search->freedom.groups ? (share + group - 1) / group : 1;
}

/* try_grid - a rank's share in one pass, in two, and so on: each time the smallest micro-batch that does. */
static void try_grid(struct search *search, const struct grid *grid) {
    int64_t micro = search->trial.train.micro_sequences,
            ranks = grid_size(grid, grid_axes(grid, DIVIDES_SAMPLES));
    int64_t share = (search->trial.train.batch_sequences + ranks - 1) / ranks, last = 0;
    if (ranks > search->trial.train.batch_sequences) /* some would have nothing to do */
        return;
    if (!search->freedom.micro_sequences) {
        try_stages(search, grid);
        return;
    }
    for (int64_t passes = fewest_passes(search, share); passes <= share; passes++) {
        search->trial.train.micro_sequences = (share + passes - 1) / passes;
        if (search->trial.train.micro_sequences != last &&
            even_batches(&search->trial, search->ranks->num_ranks))
            try_stages(search, grid);
        last = search->trial.train.micro_sequences;
    }
    search->trial.train.micro_sequences = micro;
}

/* try_replicas - every number of them, with the trial's ranks that share texts and divide tensors. */
static void try_replicas(struct search *search) {
    const struct search_ranks *ranks = search->ranks;
    bool is_even = ranks->per_node > 0 && ranks->num_ranks % ranks->per_node == 0;
    int first = search->freedom.replicas ? 1 : (int)search->trial.parallel.replicas, last = first;
    if (search->freedom.replicas && is_even)
        last = ranks->num_ranks;
    for (int replicas = first; replicas <= last; replicas++) {
        struct grid grid;
        const struct grid_shape shape = {ranks->num_ranks,
                                         ranks->per_node,
                                         replicas,
                                         (int)search->trial.parallel.context,
                                         (int)search->trial.parallel.tensor,
                                         (int)search->trial.parallel.expert};
        if (grid_make(&grid, &shape, 0, NULL) == 0)
            try_grid(search, &grid);
    }
}

/* can_divide - whether so many ranks of a node can divide the model's tensors, beside what else is asked for. */
static bool can_divide(const struct search *search, const struct model_config *model, int tensor) {
    struct config trial = search->trial;
    trial.parallel.tensor = tensor;
    return search->ranks->per_node % tensor == 0 && layout_check_tensor(&trial, model, NULL) == 0;
}

/* can_divide_experts - likewise, whole experts over ranks of any nodes. */
static bool can_divide_experts(const struct search *search, const struct model_config *model, int expert) {
    struct config trial = search->trial;
    trial.parallel.expert = expert;
    return search->ranks->num_ranks % expert == 0 && layout_check_expert(&trial, model, NULL) == 0;
}

/* try_experts - every number of ranks that divide experts, with the trial's that divide tensors. */
static void try_experts(struct search *search, const struct model_config *model) {
    int set = (int)search->trial.parallel.expert, first = search->freedom.expert ? 1 : set,
        last = search->freedom.expert ? search->ranks->num_ranks : set;
    for (int expert = first; expert <= last; expert++) {
        if (search->freedom.expert && !can_divide_experts(search, model, expert))
            continue;
        search->trial.parallel.expert = expert;
        search->figures = figures_count(&search->trial, model);
        try_replicas(search);
    }
    search->trial.parallel.expert = set;
}

/* can_share - whether so many ranks can share a text, beside what else is asked for. */
static bool can_share(const struct search *search, const struct model_config *model, int context) {
    struct config trial = search->trial;
    trial.parallel.context = context;
    return search->ranks->num_ranks % context == 0 &&
           layout_check_sizes(&trial, model, search->ranks->num_ranks, NULL) == 0;
}

/* try_tensors - every number of ranks that divide tensors, with the trial's that share texts. */
static void try_tensors(struct search *search, const struct model_config *model) {
    int set = (int)search->trial.parallel.tensor, first = search->freedom.tensor ? 1 : set,
        last = search->freedom.tensor && search->ranks->per_node > 1 ? search->ranks->per_node : first;
    for (int tensor = first; tensor <= last; tensor++) {
        if (search->freedom.tensor && !can_divide(search, model, tensor))
            continue;
        search->trial.parallel.tensor = tensor;
        try_experts(search, model);
    }
    search->trial.parallel.tensor = set;
}

/* search_grids - of all axes; false where none fits. */
static bool search_grids(struct proposal *best, const struct config *config, const struct model_config *model,
                         const struct search_ranks *ranks, struct search_freedom freedom) {
    struct search search = {.trial = *config, .ranks = ranks, .freedom = freedom};
    int first = freedom.context ? 1 : (int)config->parallel.context,
        last = freedom.context ? ranks->num_ranks : first;
    for (int context = first; context <= last; context++) {
        if (context > 1 && freedom.context && !can_share(&search, model, context))
            continue;
        search.trial.parallel.context = context;
        try_tensors(&search, model);
    }
    *best = search.best;
    return search.found && search.best.fits;
}

/* search_base - beside an adapter, with all of the base on each rank, and gathered. */
static bool search_base(struct proposal *best, const struct config *config, const struct model_config *model,
                        const struct search_ranks *ranks, struct search_freedom freedom) {
    struct config resident = *config, gathered = *config;
    struct proposal other;
    resident.adapter.resident = RESIDENT_ALWAYS;
    gathered.adapter.resident = RESIDENT_NEVER;
    bool fits = search_grids(best, &resident, model, ranks, freedom),
         other_fits = search_grids(&other, &gathered, model, ranks, freedom);
    bool keeps = fits && (!other_fits || best->time.step_s <= NEARLY_AS_FAST * other.time.step_s);
    if (!keeps && (other_fits || other.memory.device < best->memory.device))
        *best = other;
    return fits || other_fits;
}

bool layout_search(struct proposal *best, const struct config *config, const struct model_config *model,
                   const struct search_ranks *ranks, struct search_freedom freedom) {
    bool chooses =
        freedom.zero_stage && model_has_adapter(model) && config->adapter.resident == RESIDENT_AUTO;
    return chooses ? search_base(best, config, model, ranks, freedom)
                   : search_grids(best, config, model, ranks, freedom);
}
