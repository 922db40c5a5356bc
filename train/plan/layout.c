/* layout.c - a layout from the run file and the grid, its memory from the arenas themselves, and whether it fits. */
#include "train/plan/layout.h"

#include <math.h>
#include <stdio.h>

#include "kernels/device_cuda.h"
#include "kernels/fp8_room.h"
#include "kernels/units.h"
#include "train/model/adapter_setup.h"
#include "train/model/context.h"
#include "train/model/joined.h"
#include "train/model/optimizer.h"
#include "train/plan/even_batches.h"
#include "train/ranks/axes_memory.h"
#include "train/ranks/rank_device.h"

/* Rows of logits at a time on a GPU: its matrix products want thousands. */
enum { HEAD_ROWS_GPU = 4096 };

/* ncclMemAlloc rounds up to the pages that CUDA recommends, 2 MiB, and has one more for what ranks tell each other. */
enum { WINDOWS_BYTES = (TRANSPORT_MAX_WINDOWS + 1) * 2 * MIB };

struct router_setup layout_router(const struct config *config, const struct model_config *model) {
    double own = model->adds_router_loss ? model->router_loss : 0;
    return (struct router_setup){
        .balance = isnan(config->objective.load_balance) ? own : config->objective.load_balance,
        .z = config->objective.router_z,
        .max_sequences = config->train.micro_sequences};
}

/* place_along - of a rank, among those of a set of axes. */
static struct divided place_along(const struct grid *grid, unsigned axes) {
    return (struct divided){grid_size(grid, axes), grid_index(grid, axes)};
}

bool layout_has_graphs(const struct config *config, const struct model_config *model) {
    bool drops = model_has_adapter(model) && model->adapter.dropout > 0;
    return config->run.graphs && config->train.reproducible == REPRODUCIBLE_OFF && !drops;
}

/* graph_ops - of a rank's CUDA graphs: of the first micro-batch of a step, those after it, and once more where two graphs take turns, or
 * for the last.  Kernels of a layer as estimate.c counts them, those of seven pairs of an adapter, some of the head and the embedding.
 * Where lists differ from one micro-batch to the next, as with experts and with ranks that share texts, all that is kept of them. */
static int64_t graph_ops(const struct config *config, const struct model_config *model,
                         const struct grid *grid) {
    enum { OPS_PER_LAYER = 29, OPS_OF_PAIRS = 56, OTHER_OPS = 32, MOST_KINDS = 3 };
    if (model->num_experts > 0 || grid->axes[AXIS_CONTEXT].size > 1)
        return CUDA_GRAPH_MAX_OPS;
    int64_t per_layer = OPS_PER_LAYER + (model_has_adapter(model) ? OPS_OF_PAIRS : 0);
    int64_t per_round = config->train.micro_sequences * grid_size(grid, grid_axes(grid, DIVIDES_SAMPLES));
    int64_t kinds = (config->train.batch_sequences + per_round - 1) / per_round;
    int64_t ops = (kinds < MOST_KINDS ? kinds : MOST_KINDS) * (per_layer * model->num_layers + OTHER_OPS);
    return ops < CUDA_GRAPH_MAX_OPS ? ops : CUDA_GRAPH_MAX_OPS;
}

/* has_windows - transfers run beside products of a GPU, by NCCL, and the run file lets it choose how. */
static bool has_windows(const struct config *config, int num_shards, bool on_gpu) {
    return on_gpu && num_shards > 1 && rank_transfers_beside(config->parallel.zero_stage) &&
           config->parallel.comm == COMM_NCCL && config->parallel.gathers == GATHERS_AUTO;
}

/* stage_of - alone in its replica, a rank divides what updates can be split between replicas, and nothing else. */
static int stage_of(const struct config *config, int num_shards, int num_replicas) {
    int stage = (int)config->parallel.zero_stage;
    if (num_shards > 1)
        return stage;
    return stage > 0 && num_replicas > 1 && config->parallel.sync_every == 0 ? 1 : 0;
}

/* The one place that turns a run file into what a rank holds: `plan`, the search and the run itself start from it. */
struct layout layout_make(const struct config *config, const struct model_config *model,
                          const struct grid *grid, bool on_gpu) {
    CHECK(config->train.recompute != RECOMPUTE_AUTO && config->train.micro_sequences > 0 &&
              config->parallel.zero_stage >= 0 && config->parallel.reduce != REDUCE_AUTO &&
              config->parallel.wire != WIRE_AUTO,
          "a layout was asked for before 'auto' was replaced");
    unsigned divided = grid_axes(grid, DIVIDES_PARAMETERS);
    int num_shards = grid_num_shards(grid);
    const struct divided alone = {1, 0}, none = {0, 0}, replicas = place_along(grid, grid_replica_axes(grid)),
                         tensor = place_along(grid, grid_axes(grid, DIVIDES_TENSORS)),
                         experts = place_along(grid, grid_axes(grid, DIVIDES_EXPERTS));
    bool is_apart = config->parallel.sync_every > 0;
    bool has_teacher = objective_kind(config->objective.kind)->distance != NULL;
    return (struct layout){
        .params = {.model = model,
                   .compute = config_activations(config),
                   .optimizer = optimizer_kind(config->optimizer.kind),
                   .moments = config->optimizer.state_dtype,
                   .packs_base = config->adapter.base != BASE_COMPUTE,
                   .quantised = adapter_base_form(config->adapter.base),
                   .offloads = config->optimizer.offload,
                   .snapshots = config->checkpoint.async == ASYNC_TRUE && config->checkpoint.every_steps != 0,
                   .zero_stage = stage_of(config, num_shards, replicas.size),
                   .keeps_gradients = config->parallel.reduce == REDUCE_STEP,
                   .adds_exactly = config->train.reproducible == REPRODUCIBLE_LAYOUT,
                   .trains = true,
                   .rank = grid_index(grid, divided),
                   .num_ranks = num_shards,
                   .replica = replicas.index,
                   .wire = config->parallel.wire == WIRE_F32 ? DTYPE_F32 : config_activations(config),
                   .wire_has_codes = config->parallel.wire == WIRE_INT8,
                   .replicas = is_apart ? alone : replicas,
                   .apart = is_apart ? replicas : none,
                   .tensor = tensor,
                   .experts = experts,
                   .holders = place_along(grid, grid_holder_axes(grid))},
        .model = {.config = model,
                  .max_tokens = config->train.micro_sequences * config->data.sequence_tokens,
                  .num_context = grid->axes[AXIS_CONTEXT].size,
                  .context_rank = grid->axes[AXIS_CONTEXT].index,
                  .tensor = tensor,
                  .experts = experts,
                  .max_positions = config->data.sequence_tokens,
                  .head_rows = on_gpu ? HEAD_ROWS_GPU : 0,
                  .compute = config_activations(config),
                  .fp8 = {.is_on = config->train.compute == COMPUTE_FP8,
                          .args = {config->train.fp8_gradients, config->train.fp8_scaling},
                          .skip_layers = config->train.fp8_skip_layers},
                  .recompute = config->train.recompute,
                  .seed = (uint64_t)config->run.seed,
                  .trains = true,
                  .teacher = {.top_k = has_teacher ? config->objective.top_k : 0,
                              .temperature = (float)config->objective.temperature,
                              .share = (float)config->objective.teacher_share},
                  .router = layout_router(config, model)},
        .on_gpu = on_gpu,
        .graph_ops = on_gpu && layout_has_graphs(config, model) ? graph_ops(config, model, grid) : 0,
        .has_windows = has_windows(config, num_shards, on_gpu),
    };
}

struct device_limits layout_limits(const struct layout *layout) {
    struct model model;
    model_measure(&model, &layout->model);
    struct device_limits limits = model_limits(&model);
    model_free(&model);
    return limits;
}

/* The f32 sums of the gradient of the queries that Hopper's backward in one pass has, for heads of 128. */
static size_t one_pass_sums(const struct device_limits *limits, int gpu_arch) {
    enum { WIDTH = 128, BLOCK = 64, HOPPER = 90 };
    size_t rows = (size_t)limits->max_tokens + 2 * BLOCK;
    bool may_have_them = gpu_arch == HOPPER || gpu_arch == 0;
    return may_have_them && limits->head_dim == WIDTH
               ? rows * (size_t)limits->num_heads * WIDTH * sizeof(float)
               : 0;
}

/* An allowance and no more: which kernels a GPU takes, and what they ask for, only the device itself knows. */
size_t layout_scratch_bytes(const struct device_limits *limits, int gpu_arch) {
    size_t rows = (size_t)limits->max_tokens;
    /* cuBLASLt's workspace on sm_90, less on older GPUs, and a router's rounded gradient. */
    size_t products = 32 * MIB + rows * (size_t)limits->num_experts * sizeof(uint16_t);
    size_t attention = rows * (2 * sizeof(float) * (size_t)limits->num_heads + sizeof(float)) +
                       one_pass_sums(limits, gpu_arch);
    size_t embedding = rows * 2 * sizeof(uint64_t);
    size_t largest = attention > embedding ? attention : embedding;
    size_t in_8_bits = products + (size_t)fp8_room_bytes(limits);
    if (limits->fp8 && in_8_bits > largest)
        largest = in_8_bits;
    return largest > products ? largest : products;
}

/* From the arenas of a model that is laid out and not allocated: what is told cannot differ from what is taken. */
struct layout_memory layout_memory(const struct layout *layout, size_t scratch_bytes) {
    struct params params;
    struct model model;
    params_measure(&params, &layout->params);
    model_measure(&model, &layout->model);
    struct layout_memory memory = {.parameters = params.arena_params.used_bytes,
                                   .gradients = params.arena_grads.used_bytes,
                                   .optimizer = params.arena_optimizer.used_bytes,
                                   .transfers = params.arena_comm.used_bytes,
                                   .activations = model.arena.used_bytes,
                                   .on_host = params.arena_offloaded.used_bytes,
                                   .snapshot = params.arena_snapshot.used_bytes,
                                   .scratch = scratch_bytes,
                                   .windows = layout->has_windows ? WINDOWS_BYTES : 0,
                                   .graphs = (size_t)layout->graph_ops * CUDA_GRAPH_OP_BYTES};
    memory.device = memory.parameters + memory.gradients + memory.optimizer + memory.transfers +
                    memory.activations + memory.scratch + memory.windows + memory.graphs +
                    (layout->on_gpu ? 0 : memory.snapshot);
    model_free(&model);
    params_free(&params);
    return memory;
}

void layout_share(struct layout_memory *memory, const struct layout *layout, const struct grid *grid,
                  int ranks_per_node) {
    memory->shared = axes_shared_bytes(grid, ranks_per_node);
    memory->device += layout->on_gpu ? 0 : memory->shared;
}

const char *layout_memory_text(const struct layout_memory *memory, char *text, size_t room_bytes) {
    const struct {
        const char *name;
        size_t bytes;
    } parts[] = {{"parameters", memory->parameters},
                 {"gradients", memory->gradients},
                 {"optimizer", memory->optimizer},
                 {"gather and reduce buffers", memory->transfers},
                 {"activations", memory->activations},
                 {"scratch", memory->scratch},
                 {"pages of NCCL's memory", memory->windows},
                 {"CUDA graphs", memory->graphs},
                 {"in host memory", memory->on_host},
                 {"copy for checkpoints", memory->snapshot},
                 {"shared with ranks of the host", memory->shared}};
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].bytes && used < room_bytes)
            used += (size_t)snprintf(text + used, room_bytes - used, "%s%s %.3f", used ? ", " : "",
                                     parts[i].name, gib_of(parts[i].bytes));
    return text;
}

/* set_number - of ranks that do something together; where it is open, one. */
static int64_t set_number(int64_t ranks) {
    return ranks > 0 ? ranks : 1;
}

/* check_context - what ranks that share texts can be asked for. */
static int check_context(const struct config *config, const struct model_config *model, struct err *err) {
    int64_t micro = config->train.micro_sequences;
    if (config->parallel.context <= 1) /* auto: whichever number passes */
        return 0;
    if (objective_kind(config->objective.kind)->coefficients)
        return err_set(
            err,
            "parallel.context: %lld ranks cannot share texts that are learnt against one another; set it to 1",
            (long long)config->parallel.context);
    if (config->eval.num_tasks > 0)
        return err_set(
            err,
            "parallel.context: eval.tasks is not computed by ranks that share texts; leave it out, and use "
            "'atelier eval --tasks' on the checkpoints");
    return context_check(model, config->parallel.context,
                         (micro > 0 ? micro : 1) * config->data.sequence_tokens, err);
}

/* check_fp8_sizes - what cuBLASLt asks of matrices in 8 bits (kernels/cuda/linear_fp8.c). */
static int check_fp8_sizes(const struct model_config *model, struct err *err) {
    enum { STEP = 16 };
    const struct {
        const char *name;
        int64_t size;
    } sizes[] = {
        {"width", model->width},
        {"feed-forward width", model->ffn_width},
        {"width of all query heads", (int64_t)model->num_heads * model->head_dim},
        {"width of all heads", (int64_t)(model->num_heads + 2 * model->num_kv_heads) * model->head_dim}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].size % STEP != 0)
            return err_set(
                err,
                "train.compute: fp8 on a GPU takes matrices whose sizes are multiples of %d, and the "
                "model's %s is %lld: set it to bf16",
                STEP, sizes[i].name, (long long)sizes[i].size);
    return 0;
}

/* check_fp8_tokens - what it asks of tokens where blocks have scales (kernels/cuda/linear_fp8_blocks.c). */
static int check_fp8_tokens(const struct config *config, struct err *err) {
    enum { STEP = 4 };
    int64_t tokens = config->train.micro_sequences * config->data.sequence_tokens;
    if (config->train.fp8_scaling != FP8_BLOCKS || config->data.sequence_tokens % STEP == 0 ||
        tokens % STEP == 0)
        return 0;
    return err_set(
        err,
        "train.fp8_scaling: block on a GPU takes micro-batches whose tokens are a multiple of %d, and there "
        "are %lld x %lld: set data.sequence_tokens to %lld, or fp8_scaling to tensor",
        STEP, (long long)config->train.micro_sequences, (long long)config->data.sequence_tokens,
        (long long)(config->data.sequence_tokens / STEP * STEP));
}

int layout_check_device(const struct config *config, const struct model_config *model, bool on_gpu,
                        struct err *err) {
    if (config->train.compute == COMPUTE_FP8 && on_gpu &&
        (check_fp8_sizes(model, err) != 0 || check_fp8_tokens(config, err) != 0))
        return -1;
    return 0;
}

/* check_router - what is asked of routers that are not there, or whose choices no rank sees all of. */
static int check_router(const struct config *config, const struct model_config *model, struct err *err) {
    const struct router_setup router = layout_router(config, model);
    bool has_balance = config->objective.load_balance > 0, has_z = config->objective.router_z > 0;
    if (model->num_experts == 0 && (has_balance || has_z))
        return err_set(err, "%s is set, and a model of model_type '%s' has no experts: remove it",
                       has_balance ? "objective.load_balance" : "objective.router_z", model->model_type);
    if (family_routes_by_sigmoid(model) && (has_balance || has_z))
        return err_set(
            err,
            "%s is a loss of routers whose scores are a softmax, and those of model_type '%s' are sigmoids with "
            "a correction that is kept as it is: remove it",
            has_balance ? "objective.load_balance" : "objective.router_z", model->model_type);
    if (router.balance > 0 && config->parallel.context > 1)
        return err_set(
            err,
            "the load-balance loss (objective.load_balance, or output_router_logits of the model's config.json) is of "
            "whole sequences, which %lld ranks would share: set parallel.context to 1, or objective.load_balance to 0",
            (long long)config->parallel.context);
    return 0;
}

/* check_tensor_with - what cannot be asked for beside parallel.tensor. */
static int check_tensor_with(const struct config *config, struct err *err) {
    if (objective_kind(config->objective.kind)->coefficients)
        return err_set(
            err, "parallel.tensor: ranks that divide tensors have rows of their own, and texts cannot be "
                 "learnt against one another; set it to 1");
    if (config->eval.num_tasks > 0)
        return err_set(
            err, "parallel.tensor: eval.tasks is not computed by ranks that divide tensors; leave it out, "
                 "and use 'atelier eval --tasks' on the checkpoints");
    if (config->optimizer.kind == OPTIMIZER_MUON)
        return err_set(
            err, "parallel.tensor: optimizer.kind muon works on whole matrices, which ranks divide; set "
                 "it to 1, or take adamw");
    if (config->adapter.base != BASE_COMPUTE)
        return err_set(
            err,
            "parallel.tensor: the blocks of adapter.base %s would lie across the parts of ranks; set "
            "it to 1, or take adapter.base: compute",
            adapter_base_word(config->adapter.base));
    return 0;
}

int layout_check_tensor(const struct config *config, const struct model_config *model, struct err *err) {
    int64_t ranks = config->parallel.tensor, sharing = ranks * set_number(config->parallel.context);
    int64_t micro = config->train.micro_sequences > 0 ? config->train.micro_sequences : 1;
    if (ranks <= 1) /* auto: whichever number passes */
        return 0;
    if (check_tensor_with(config, err) != 0 || joined_check(model, ranks, err) != 0)
        return -1;
    if (micro * config->data.sequence_tokens % sharing != 0)
        return err_set(
            err,
            "parallel.tensor: %lld ranks cannot share the %lld tokens of a micro-batch: take a multiple in "
            "data.sequence_tokens",
            (long long)sharing, (long long)(micro * config->data.sequence_tokens));
    if (model->num_kv_heads % sharing != 0 || model->num_heads % sharing != 0)
        return err_set(
            err,
            "parallel.tensor: %lld ranks, with parallel.context %lld, cannot divide %d heads with %d keys: "
            "take less of one",
            (long long)sharing, (long long)set_number(config->parallel.context), model->num_heads,
            model->num_kv_heads);
    return 0;
}

int layout_check_expert(const struct config *config, const struct model_config *model, struct err *err) {
    int64_t ranks = config->parallel.expert;
    if (ranks <= 1) /* auto: whichever number passes */
        return 0;
    if (model->num_experts == 0)
        return err_set(err, "parallel.expert is %lld, and model_type '%s' has no experts: set it to 1",
                       (long long)ranks, model->model_type);
    if (model->num_experts % ranks != 0)
        return err_set(err, "parallel.expert: %lld ranks cannot divide %d experts: take a divisor",
                       (long long)ranks, model->num_experts);
    if (config->optimizer.kind == OPTIMIZER_MUON)
        return err_set(err, "parallel.expert: optimizer.kind muon was not proven with ranks that divide "
                            "experts; set it to 1, or take adamw");
    return 0;
}

/* check_fp8 - what only the model can tell of train.compute: fp8. */
static int check_fp8(const struct config *config, const struct model_config *model, struct err *err) {
    int64_t skipped = config->train.fp8_skip_layers;
    if (config->train.compute != COMPUTE_FP8)
        return 0;
    if (model->num_experts > 0)
        return err_set(err,
                       "train.compute: fp8 has no products of experts, and the model has %d: set it to bf16",
                       model->num_experts);
    if (2 * skipped >= model->num_layers)
        return err_set(
            err,
            "train.fp8_skip_layers: %lld of the first and of the last layers, and the model has %d: no "
            "product would be in 8 bits; take less, or train.compute: bf16",
            (long long)skipped, model->num_layers);
    return 0;
}

int layout_check_sizes(const struct config *config, const struct model_config *model, int64_t num_ranks,
                       struct err *err) {
    bool is_open = config->parallel.context == AUTO_CONTEXT || config->parallel.tensor == AUTO_TENSOR;
    int64_t sharing = set_number(config->parallel.context) * set_number(config->parallel.tensor);
    int64_t num_readers = num_ranks / sharing;
    if (check_context(config, model, err) != 0 || layout_check_tensor(config, model, err) != 0 ||
        layout_check_expert(config, model, err) != 0 || check_fp8(config, model, err) != 0 ||
        check_router(config, model, err) != 0)
        return -1;
    if (config->data.sequence_tokens > model->max_positions)
        return err_set(err, "data.sequence_tokens is %lld, but the model has %lld positions",
                       (long long)config->data.sequence_tokens, (long long)model->max_positions);
    if (!is_open && num_readers > config->train.batch_sequences)
        return err_set(
            err,
            "%lld ranks for train.batch_sequences %lld: some ranks would have nothing to do; take fewer "
            "ranks or nodes, or raise train.batch_sequences",
            (long long)num_ranks, (long long)config->train.batch_sequences);
    return even_batches_check(config, num_ranks, err);
}

int layout_check(const struct layout_memory *memory, size_t headroom_bytes, size_t available_bytes,
                 size_t total_bytes, struct err *err) {
    char text[300], headroom[80] = "";
    if (memory->device + headroom_bytes <= available_bytes)
        return 0;
    if (headroom_bytes > 0)
        snprintf(headroom, sizeof headroom, " and %.2f more for CUDA, NCCL and cuBLASLt",
                 gib_of(headroom_bytes));
    return err_set(
        err,
        "a rank needs %.2f GiB%s, its device has %.2f of %.2f GiB free; in GiB: %s; to shrink: lower "
        "train.micro_sequences, set train.recompute: layer, or split over more ranks with "
        "parallel.stage: 3 (also: optimizer.state_dtype: bf16, optimizer.offload: true%s)",
        gib_of(memory->device), headroom, gib_of(available_bytes), gib_of(total_bytes),
        layout_memory_text(memory, text, sizeof text), memory->graphs ? ", run.graphs: false" : "");
}
