/* estimate.c - flops, bytes and rates, and the time of a step from them. */
#include "train/plan/estimate.h"

#include <math.h>

#include "train/model/optimizer.h"
#include "train/plan/fp8_cost.h"
#include "train/plan/links.h"
#include "train/plan/product_rates.h"

/* Share of a device's memory that a plan may fill. */
static const double USABLE_MEMORY = 0.92;

/* f32: a master, a gradient or a term of a sum, and what training keeps of a value in a checkpoint beside the model. */
enum { MASTER_BYTES = sizeof(float), GRADIENT_BYTES = sizeof(float), STATE_VALUE_BYTES = sizeof(float) };

/* The backward of a matrix product is two of them; of one with a frozen matrix it is the first alone. */
enum { PRODUCTS_PER_STEP = 3 };

/* Values of a token that the ops of train/model/model.c read and write, counted from them: in a layer for each of its width
 * and of its feed-forward width, gated or plain, and at the end for each of the vocabulary. */
static const double WIDTH_TRAFFIC = 18.5, GATED_TRAFFIC = 9.0, PLAIN_TRAFFIC = 6.0;

/* The same of logits, written, read twice and overwritten by their gradient; in 16 bits beside f32 logits (train/model/head.c) these
 * count twice. */
static const double LOGIT_TRAFFIC = 4.0, LONG_LOGIT_TRAFFIC = 7.0;

/* Beside the weights: a line of metrics for a step, a checkpoint's small files, the run's own. */
enum { METRICS_LINE_BYTES = 512, SMALL_FILES_PER_CHECKPOINT = 8, SMALL_FILES = 16 };

/* Memory traffic of a byte that is sent in a sum: a term is read, and one is written where it arrives. */
static const double SUM_TRAFFIC = 2;

/* Between a GPU and the host's memory, both ways together: PCIe 4 as it is shared in a node. */
static const double OFFLOAD_BYTES_PER_S = 20e9;

size_t estimate_room_bytes(const struct machine *machine) {
    return (size_t)(USABLE_MEMORY * (double)machine->memory_bytes);
}

/* scores_per_token - query-key pairs that the causal mask lets through, over all heads and layers. */
static double scores_per_token(const struct model_config *model, int64_t sequence_tokens) {
    return 0.5 * (double)(sequence_tokens + 1) * model->num_heads * (double)model->num_layers;
}

/* ffn_sum - over the layers, of a number of those with a gate and one of those without. */
static double ffn_sum(const struct model_figures *f, double gated, double plain) {
    return f->num_gated * gated + f->num_plain * plain;
}

/* forward_flops - of one token. */
static double forward_flops(const struct model_figures *f, int64_t sequence_tokens) {
    return 2 * f->matrices + 4.0 * f->model->head_dim * scores_per_token(f->model, sequence_tokens);
}

double estimate_flops_per_token(const struct model_figures *f, int64_t sequence_tokens) {
    double frozen = (1 - f->trained_share) * 2 * f->matrices;
    double in_layers = f->matrices - (double)f->model->width * (double)f->model->vocab_size;
    double below = f->below_share * (2 * in_layers + 2 * 4.0 * f->model->head_dim *
                                                         scores_per_token(f->model, sequence_tokens));
    return PRODUCTS_PER_STEP * forward_flops(f, sequence_tokens) - frozen - below;
}

/* layers_again - of one token, beyond estimate_flops_per_token: the backward of attention always computes its
 * scores again. */
static double layers_again(const struct model_figures *f, int64_t sequence_tokens, enum recompute recompute) {
    const struct model_config *m = f->model;
    double heads = (double)(m->num_heads + 2 * m->num_kv_heads) * m->head_dim;
    double attention = 2.0 * (double)m->width * heads * m->num_layers +
                       4.0 * m->head_dim * scores_per_token(m, sequence_tokens);
    double output = 2.0 * (double)m->width * m->num_heads * m->head_dim * m->num_layers;
    double ffn =
        (double)m->width * (double)m->ffn_width * ffn_sum(f, 4, 2); /* one product or two, to its width */
    double scores = 2.0 * m->head_dim * scores_per_token(m, sequence_tokens);
    if (m->adapter.method == ADAPTER_DORA) /* its backward asks for the outputs once more */
        scores += 2.0 * (double)m->width * heads * m->num_layers + output + ffn;
    switch (recompute) {
    case RECOMPUTE_NONE:
        return scores;
    case RECOMPUTE_ATTENTION:
        return scores + attention;
    case RECOMPUTE_FFN:
        return scores + ffn;
    case RECOMPUTE_LAYER:
        return scores + attention + output + ffn;
    case RECOMPUTE_AUTO:
        break;
    }
    return scores;
}

/* recomputed_flops - of one token: of the layers that have a backward. */
static double recomputed_flops(const struct model_figures *f, int64_t sequence_tokens,
                               enum recompute recompute) {
    return (1 - f->below_share) * layers_again(f, sequence_tokens, recompute);
}

/* objective_flops - of one token: losses before weights are a product of the head more, losses of a whole step before its first
 * gradient a forward more. */
static double objective_flops(const struct config *config, const struct model_figures *f) {
    const struct objective *objective = objective_kind(config->objective.kind);
    double head = 2 * (double)f->model->width * (double)f->model->vocab_size;
    double forward = forward_flops(f, config->data.sequence_tokens);
    return (objective->needs_losses_first ? head : 0) + (objective->needs_step_pass ? forward : 0);
}

/* element_bytes - memory traffic of norms, the rotation (2.5 of the 18.5, with a key head for four query
 * heads; its inverse costs no pass), activations and logits of one token. */
static double element_bytes(const struct config *config, const struct model_figures *f, enum dtype compute) {
    const struct model_config *m = f->model;
    bool is_long = compute != DTYPE_F32 && objective_kind(config->objective.kind) != &objective_token_mean;
    double value_bytes = (double)dtype_bytes(compute);
    return value_bytes * (m->num_layers * WIDTH_TRAFFIC * (double)m->width +
                          ffn_sum(f, GATED_TRAFFIC, PLAIN_TRAFFIC) * (double)m->ffn_width +
                          (is_long ? LONG_LOGIT_TRAFFIC : LOGIT_TRAFFIC) * (double)m->vocab_size);
}

/* num_parts - into how many the replicas split what updates a shard. */
static int num_parts(const struct params_setup *p) {
    return params_is_split(p) ? p->replicas.size : 1;
}

/* optimizer_bytes - masters and states read and written, gradient read, copy written: of what one rank owns.
 */
static double optimizer_bytes(const struct model_figures *f, const struct layout *layout) {
    const struct params_setup *p = &layout->params;
    double per_value = 2 * MASTER_BYTES + GRADIENT_BYTES + (double)dtype_bytes(p->compute);
    bool is_even = p->zero_stage > 0 && p->experts.size > 1; /* the ranks together have all experts */
    double own = is_even ? f->trained : f->own_trained, part = own / f->trained;
    return (own * per_value + 2 * part * f->state_bytes) /
           (p->zero_stage > 0 ? p->num_ranks * num_parts(p) : 1);
}

/* optimizer_products_s - of one rank: matrices that are owned whole are shared by the ranks of a replica. */
static double optimizer_products_s(const struct model_figures *f, const struct layout *layout,
                                   const struct machine *machine) {
    return f->update_flops / layout->params.num_ranks / machine->flops_per_s;
}

/* base_bytes - of what is packed: as it is stored, and as operations read it. */
struct base_bytes {
    double stored, read;
};

static struct base_bytes base_bytes(const struct params_setup *p) {
    struct params params;
    struct base_bytes bytes = {0, 0};
    if (!p->packs_base)
        return bytes;
    params_measure(&params, p);
    for (struct segment *s = NULL; (s = params_next(&params, s));)
        if (s->storage == STORAGE_QUANTISED) {
            bytes.stored += (double)s->shard_bytes * s->shards.size;
            bytes.read += (double)s->count * (double)dtype_bytes(s->compute);
        }
    params_free(&params);
    return bytes;
}

/* restore_bytes - memory traffic of one micro-batch: what is packed is read and written out for the forward and again for the
 * backward. */
static double restore_bytes(const struct params_setup *p) {
    struct base_bytes base = base_bytes(p);
    return 2 * (base.stored + base.read);
}

/* reduced_bytes - of the sums of a step inside a replica, which also pass through the rank's memory. */
static double reduced_bytes(const struct model_figures *f, const struct params_setup *p, double num_micros) {
    double share = (double)(p->num_ranks - 1) / p->num_ranks;
    double scatter = share * f->own_trained * GRADIENT_BYTES;
    return p->zero_stage == 0 || params_has_whole_gradients(p) ? scatter : num_micros * scatter;
}

/* attention_flops - of one token, as estimate_flops_per_token and recomputed_flops count them: the scores' forward and backward,
 * the scores again in the backward, and the forward again. */
static double attention_flops(const struct model_figures *f, int64_t sequence_tokens,
                              enum recompute recompute) {
    bool again = recompute == RECOMPUTE_ATTENTION || recompute == RECOMPUTE_LAYER;
    double below = f->below_share;
    double per_score = 12 - 8 * below + (1 - below) * (again ? 6 : 2);
    return per_score * f->model->head_dim * scores_per_token(f->model, sequence_tokens);
}

/* gradient_bytes - memory traffic of the products that make gradients of matrices, in a step: each micro-batch writes them, and
 * reads what others left where they stay whole. */
static double gradient_bytes(const struct model_figures *f, const struct params_setup *p, double num_micros) {
    double passes = params_has_whole_gradients(p) ? 2 * num_micros - 1 : num_micros;
    return passes * (p->experts.size > 1 ? f->own_trained : f->trained) * GRADIENT_BYTES;
}

/* crossing_bytes - memory traffic of gradients that cross between replicas, in a step.  Where they are rounded first: of each value of a
 * rank's shard the rounding, in 8 bits with what it still owes (f32 read, owed read and written, a byte written), in 16 f32 read and 2
 * bytes written; then, as many values come from the others, each is widened and added in f32.  Else the sums themselves. */
static double crossing_bytes(const struct model_figures *f, const struct params_setup *p) {
    const double widened = 4, added = 12, rounded = params_crosses_coded(p) ? 13 : 6,
                 came = params_crosses_coded(p) ? 1 : 2;
    double own = f->own_trained / p->num_ranks, num_replicas = p->replicas.size;
    if (!params_is_split(p))
        return 0;
    return own * (params_crosses_rounded(p)
                      ? rounded + came + widened + added
                      : SUM_TRAFFIC * GRADIENT_BYTES * (num_replicas - 1) / num_replicas);
}

/* Micro-batches that the clock goes through: those in the middle are alike. */
enum { SIMULATED_MICROS = 3 };

/* How a layer's rows lie on its experts. */
enum expert_load { LOAD_EVEN, LOAD_CROWDED };

/* expert_flops - of one token, of all its flops. */
static double expert_flops(const struct model_figures *f, double flops, double attention) {
    return (flops - attention) * f->in_experts / f->matrices;
}

/* experts_s - of so many flops in products with experts, of micro-batches of the rates' rows: each expert has as many, or a few have all.
 * One with few rows takes longer for each, one without none.  Ranks that divide experts send each other's experts as many rows as
 * they take away, and where a few have all, one rank computes what all ranks would while these wait. */
static double experts_s(const struct product_rates *rates, const struct layout *layout, double flops,
                        enum expert_load load) {
    const struct model_config *model = layout->model.config;
    double ranks = layout->model.experts.size > 1 ? layout->model.experts.size : 1;
    double places = ranks * rates->rows * model->num_chosen;
    double of_one = load == LOAD_CROWDED ? ranks * rates->rows : places / fmin(model->num_experts, places);
    double done = load == LOAD_CROWDED ? ranks * flops : flops;
    return flops > 0 ? done / product_rates_of_experts(rates, of_one) : 0;
}

/* products_s - of the products and the attention of so many tokens; flops: of a token. */
static double products_s(const struct model_figures *f, const struct layout *layout,
                         const struct machine *machine, double tokens, double flops,
                         int64_t sequence_tokens) {
    const struct product_rates rates = product_rates_make(machine, f, layout);
    double attention = attention_flops(f, sequence_tokens, layout->model.recompute);
    double experts = expert_flops(f, flops, attention);
    double in_layers = 1 - (double)f->model->width * (double)f->model->vocab_size / f->matrices;
    double products = (flops - attention - experts) * fp8_product_time(layout, in_layers);
    return tokens * (products / product_rates_of_all(&rates) + experts_s(&rates, layout, experts, LOAD_EVEN) +
                     attention / product_rates_of_attention(&rates));
}

/* passes_s - of all micro-batches of the slowest rank, for each of its tokens; flops: of a token, what is computed twice included.
 * Ranks that divide tensors do parts of the products of all their tokens, so many rows at a time, which are as many. */
static double passes_s(const struct config *config, const struct model_figures *f,
                       const struct layout *layout, const struct machine *machine, double num_micros,
                       double flops) {
    const struct params_setup *p = &layout->params;
    double tokens = num_micros * (double)model_own_tokens(&layout->model); /* padding included */
    double bytes = tokens * element_bytes(config, f, p->compute) + num_micros * restore_bytes(p) +
                   fp8_cast_bytes(layout, num_micros) + gradient_bytes(f, p, num_micros) +
                   SUM_TRAFFIC * reduced_bytes(f, p, num_micros) + crossing_bytes(f, p);
    double seconds = products_s(f, layout, machine, tokens, flops, config->data.sequence_tokens) +
                     num_micros * p->model->num_layers * machine->launches_s + bytes / machine->bytes_per_s;
    int num_replicas = params_is_apart(p) ? p->apart.size : p->replicas.size;
    return seconds / gpu_slowest_share(machine->uneven, p->num_ranks * num_replicas);
}

/* update_s - by one rank, of what it owns. */
static double update_s(const struct model_figures *f, const struct layout *layout,
                       const struct machine *machine) {
    return optimizer_products_s(f, layout, machine) +
           optimizer_bytes(f, layout) /
               (layout->params.offloads ? OFFLOAD_BYTES_PER_S : machine->bytes_per_s);
}

/* run_clock - a step of that many micro-batches: those in the middle are alike.  What crosses between replicas does so once in
 * across_every steps. */
static void run_clock(struct step_time *time, const struct layout *layout, int64_t num_micros,
                      const struct timeline_rates *rates, double across_every) {
    int64_t simulated = num_micros < SIMULATED_MICROS ? num_micros : SIMULATED_MICROS;
    struct timetable table;
    struct timeline line;
    timetable_make(&table, layout, simulated);
    timeline_make(&line, &table, rates);
    double stalled_s = line.micro_s - line.micro_compute_s; /* in each of the others */
    double rest = (double)(num_micros - simulated);
    for (int axis = 0; axis < EXCHANGE_AXES; axis++)
        time->exchange_s += line.busy_s[axis] / (axis == EXCHANGE_ACROSS ? across_every : 1);
    time->exchange_s *= (double)num_micros / (double)simulated;
    time->compute_s = line.compute_s + rest * line.micro_compute_s;
    time->across_s = line.waited_s[EXCHANGE_ACROSS] / across_every;
    for (int axis = 0; axis < EXCHANGE_AXES; axis++)
        time->link_s += axis == EXCHANGE_ACROSS ? 0 : line.waited_s[axis];
    if (rest > 0)
        time->link_s += rest * fmax(0, stalled_s);
    time->step_s = time->compute_s + time->link_s + time->across_s;
    timeline_free(&line);
    timetable_free(&table);
}

struct timeline_rates estimate_rates(const struct config *config, const struct model_figures *f,
                                     const struct layout *layout, const struct grid *grid, int ranks_per_node,
                                     const struct machine *machine) {
    int64_t sequence = config->data.sequence_tokens, num_micros = estimate_micros(config, layout, grid);
    double per_token = estimate_flops_per_token(f, sequence);
    double again = recomputed_flops(f, sequence, layout->model.recompute) + objective_flops(config, f);
    double micro_s =
        passes_s(config, f, layout, machine, (double)num_micros, per_token + again) / (double)num_micros;
    double head = (double)f->model->width * (double)f->model->vocab_size / f->matrices;
    double forward = per_token / PRODUCTS_PER_STEP / (per_token + again);
    struct timeline_rates rates = {.head_s = head * micro_s,
                                   .forward_s = (1 - head) * forward * micro_s,
                                   .backward_s = (1 - head) * (1 - forward) * micro_s,
                                   .update_s = update_s(f, layout, machine),
                                   .beside = machine->beside,
                                   .engines = machine->engines};
    links_take(&rates, grid, ranks_per_node, machine);
    return rates;
}

int64_t estimate_micros(const struct config *config, const struct layout *layout, const struct grid *grid) {
    int64_t micro = layout->model.max_tokens / config->data.sequence_tokens;
    int64_t round = micro * grid_size(grid, grid_axes(grid, DIVIDES_SAMPLES));
    return (config->train.batch_sequences + round - 1) / round;
}

double estimate_floor_s(const struct config *config, const struct model_figures *f,
                        const struct layout *layout, const struct grid *grid, const struct machine *machine) {
    double again = recomputed_flops(f, config->data.sequence_tokens, layout->model.recompute) +
                   objective_flops(config, f);
    double flops = estimate_flops_per_token(f, config->data.sequence_tokens) + again;
    return passes_s(config, f, layout, machine, (double)estimate_micros(config, layout, grid), flops) +
           update_s(f, layout, machine);
}

/* The slowest rank's step: every rank does as many micro-batches as the one with the most samples. */
/* take_experts - what experts take of a rank's step, at the two ends. */
static void take_experts(struct step_time *time, const struct config *config, const struct model_figures *f,
                         const struct layout *layout, const struct machine *machine) {
    int64_t sequence = config->data.sequence_tokens;
    enum recompute recompute = layout->model.recompute;
    const struct product_rates rates = product_rates_make(machine, f, layout);
    double tokens = (double)time->num_micros * (double)model_own_tokens(&layout->model);
    double flops = estimate_flops_per_token(f, sequence) + recomputed_flops(f, sequence, recompute) +
                   objective_flops(config, f);
    double experts = tokens * expert_flops(f, flops, attention_flops(f, sequence, recompute));
    double share =
        gpu_slowest_share(machine->uneven, layout->params.num_ranks * layout->params.replicas.size);
    time->crowded_s = experts_s(&rates, layout, experts, LOAD_CROWDED) / share;
    time->even_s = experts_s(&rates, layout, experts, LOAD_EVEN) / share;
}

struct step_time estimate_step(const struct config *config, const struct model_figures *f,
                               const struct layout *layout, const struct grid *grid, int ranks_per_node,
                               const struct machine *machine) {
    double tokens = (double)(config->train.batch_sequences * config->data.sequence_tokens);
    struct step_time time = {.step_s = 0};
    struct timeline_rates rates = estimate_rates(config, f, layout, grid, ranks_per_node, machine);
    time.model_flops = estimate_flops_per_token(f, config->data.sequence_tokens) * tokens;
    time.num_micros = estimate_micros(config, layout, grid);
    run_clock(&time, layout, time.num_micros, &rates, (double)config_across_every(config));
    take_experts(&time, config, f, layout, machine);
    time.tokens_per_s = tokens / time.step_s;
    return time;
}

double estimate_forward_s(const struct config *config, const struct model_figures *f, const struct grid *grid,
                          const struct machine *machine) {
    return forward_flops(f, config->data.sequence_tokens) / machine->flops_per_s / grid_num_ranks(grid);
}

double estimate_validation_s(const struct config *config, const struct model_figures *f,
                             const struct grid *grid, const struct machine *machine) {
    double tokens = (double)config->valid.sequences * (double)config->data.sequence_tokens;
    double seconds = tokens * estimate_forward_s(config, f, grid, machine);
    return config->data.num_valid == 0 ? 0 : seconds;
}

static enum dtype saved_type(const struct config *config, const struct model_config *model) {
    return config->model.save_dtype == DTYPE_COUNT ? model_saved_type(model) : config->model.save_dtype;
}

/* num_owed - arrays of what gradients in 8 bits owe (train/model/feedback.h). */
static int num_owed(const struct config *config, int num_replicas) {
    return config->parallel.wire == WIRE_INT8 && num_replicas > 1 ? 1 : 0;
}

double estimate_checkpoint_bytes(const struct config *config, const struct model_config *model,
                                 int num_replicas) {
    const struct optimizer_kind *kind = optimizer_kind(config->optimizer.kind);
    double values = (double)model_num_trained(model) + (double)optimizer_state_values(kind, model);
    if (config->parallel.sync_every > 0)
        values = values * num_replicas + OUTER_ARRAYS * (double)model_num_trained(model);
    values += num_owed(config, num_replicas) * (double)model_num_trained(model);
    return (double)model_num_trained(model) * (double)dtype_bytes(saved_type(config, model)) +
           STATE_VALUE_BYTES * values;
}

/* One more checkpoint than is kept: a new one is complete before an old one goes. */
struct disk_use estimate_disk(const struct config *config, const struct model_config *model,
                              int num_replicas) {
    double parameters = (double)model_num_trained(model);
    enum dtype saved = saved_type(config, model);
    const struct optimizer_kind *kind = optimizer_kind(config->optimizer.kind);
    const char *names[MAX_RULES * MAX_STATES];
    double checkpoint = estimate_checkpoint_bytes(config, model, num_replicas);
    double limit = (double)config->checkpoint.max_file_bytes;
    int64_t saves =
        config->checkpoint.every_steps > 0 ? config->train.steps / config->checkpoint.every_steps + 1 : 1;
    bool keeps_best = config->checkpoint.keep_best && config->valid.every_steps > 0;
    if (keeps_best) /* at most: each validation may be the best so far */
        saves += config->train.steps / config->valid.every_steps;
    int64_t keep = config->checkpoint.keep + keeps_best;
    int64_t kept = config->checkpoint.keep > 0 && keep < saves ? keep : saves;
    int64_t num_parts = 1 + optimizer_num_states(kind, names);
    if (config->parallel.sync_every > 0)
        num_parts = num_parts * num_replicas + OUTER_ARRAYS;
    num_parts += num_owed(config, num_replicas);
    int64_t files = num_parts * (int64_t)ceil(parameters * STATE_VALUE_BYTES / limit) +
                    (int64_t)ceil(parameters * (double)dtype_bytes(saved) / limit) +
                    SMALL_FILES_PER_CHECKPOINT;
    return (struct disk_use){.bytes = checkpoint * (double)(kept + 1) +
                                      METRICS_LINE_BYTES * (double)config->train.steps,
                             .files = files * (kept + 1) + SMALL_FILES};
}

struct proposal estimate_proposal(const struct config *config, const struct model_figures *f,
                                  const struct grid *grid, int ranks_per_node,
                                  const struct machine *machine) {
    struct layout layout = layout_make(config, f->model, grid, machine->on_gpu);
    struct device_limits limits = layout_limits(&layout);
    struct proposal proposal = {
        .grid = *grid,
        .micro_sequences = config->train.micro_sequences,
        .recompute = config->train.recompute,
        .zero_stage = layout.params.zero_stage,
        .reduce = config->parallel.reduce,
        .wire = config->parallel.wire,
        .memory =
            layout_memory(&layout, machine->on_gpu ? layout_scratch_bytes(&limits, machine->gpu_arch) : 0),
        .time = estimate_step(config, f, &layout, grid, ranks_per_node, machine)};
    layout_share(&proposal.memory, &layout, grid, ranks_per_node);
    proposal.fits = machine->memory_bytes == 0 || proposal.memory.device <= estimate_room_bytes(machine);
    return proposal;
}
