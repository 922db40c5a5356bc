/* model_memory.c - the activations, taken from one arena that is measured before it is allocated. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_adapter.h"
#include "train/model/expert_pairs.h"
#include "train/model/experts_sent.h"
#include "train/model/fp8_layers.h"
#include "train/model/joined.h"
#include "train/model/kept.h"
#include "train/model/layer.h"
#include "train/model/norm.h"
#include "train/model/pairs.h"
#include "train/model/tables.h"
#include "train/model/vocab.h"

/* Rows of logits computed at a time on a CPU: enough for an efficient product, small beside the weights. */
enum { HEAD_CHUNK_ROWS = 256 };

struct tensor model_rows(const struct model *model, struct tensor t) {
    return flight_rows(&model->flight, t);
}

static struct tensor take_rows(struct model *model, int64_t width) {
    return arena_take_2d(&model->arena, model->setup.compute, model_own_tokens(&model->setup), width);
}

/* take_joined - rows of all ranks that divide tensors. */
static struct tensor take_joined(struct model *model, int64_t width) {
    return arena_take_2d(&model->arena, model->setup.compute, model_joined_tokens(&model->setup), width);
}

static void place_qk_norm(struct model *model, struct layer_acts *a) {
    struct layer_part part = joined_part(&model->setup);
    int64_t n = model_joined_tokens(&model->setup), heads = part.num_heads + part.num_kv_heads;
    a->raw_heads =
        arena_take_3d(&model->arena, model->setup.compute, n, heads, model->setup.config->head_dim);
    a->head_rstd = arena_take_2d(&model->arena, DTYPE_F32, n, heads);
}

static void place_attention(struct model *model, const struct layer_setup *own, struct layer_acts *a) {
    const struct model_config *c = model->setup.config;
    const struct layer_plan *plan = &own->plan;
    struct layer_part part = joined_part(&model->setup);
    int64_t joined = model_joined_tokens(&model->setup), all = model->setup.max_tokens,
            parts = model->flight.num_context;
    enum dtype type = model->setup.compute;
    if (plan->place != NORM_POST) {
        if (own->kept & KEPT_NORM1)
            a->norm1 = take_rows(model, c->width);
        a->stats1 = norm_stats_take(&model->arena, &plan->norm, model_own_tokens(&model->setup));
    }
    a->qkv = arena_take_3d(&model->arena, type, all, (part.num_heads + 2 * part.num_kv_heads) / parts,
                           c->head_dim);
    if (plan->qk_norm)
        place_qk_norm(model, a);
    a->attended = arena_take_3d(&model->arena, type, joined, part.num_heads, c->head_dim);
    if (parts > 1)
        a->attended_heads = arena_take_3d(&model->arena, type, all, part.num_heads / parts, c->head_dim);
    a->lse = arena_take_2d(&model->arena, DTYPE_F32, all, part.num_heads / parts);
}

static void place_middle(struct model *model, const struct layer_setup *own, struct layer_acts *a) {
    const struct layer_plan *plan = &own->plan;
    if (plan->place != NORM_PRE) {
        a->attention_out = take_rows(model, model->setup.config->width);
        a->attention_stats = norm_stats_take(&model->arena, &plan->norm, model_own_tokens(&model->setup));
    }
    if (own->kept & KEPT_MIDDLE)
        a->middle = take_rows(model, model->setup.config->width);
}

static void place_ffn(struct model *model, const struct layer_setup *own, struct layer_acts *a) {
    const struct model_config *c = model->setup.config;
    const struct layer_plan *plan = &own->plan;
    int64_t n = model_own_tokens(&model->setup), width = joined_block(&model->setup, plan);
    if (plan->place != NORM_POST) {
        if (own->kept & KEPT_NORM2)
            a->norm2 = take_rows(model, c->width);
        a->stats2 = norm_stats_take(&model->arena, &plan->norm, n);
    }
    if (plan->num_experts > 0)
        experts_take(model, plan, a);
    if (width > 0) {
        a->gate_up = take_joined(model, (plan->ffn == FFN_PLAIN ? 1 : 2) * width);
        if (own->kept & KEPT_HIDDEN)
            a->hidden = take_joined(model, width);
    }
    if (plan->place != NORM_PRE) {
        a->ffn_out = take_rows(model, c->width);
        a->ffn_stats = norm_stats_take(&model->arena, &plan->norm, n);
    }
}

/* union_setup - everything that any layer needs: for activations that layers share. */
static struct layer_setup union_setup(const struct model *model) {
    struct layer_setup shared = model->layers[0];
    struct layer_plan *all = &shared.plan;
    for (int layer = 1; layer < model->setup.config->num_layers; layer++) {
        const struct layer_plan *plan = &model->layers[layer].plan;
        if (plan->qk_norm != QK_NORM_NONE)
            all->qk_norm = plan->qk_norm;
        if (plan->norm.kind == NORM_LAYER)
            all->norm = plan->norm;
        if (plan->num_experts > 0) {
            all->num_experts = plan->num_experts;
            all->route = plan->route;
        }
        if (plan->ffn == FFN_GATED || (plan->ffn == FFN_PLAIN && all->ffn == FFN_EXPERTS))
            all->ffn = plan->ffn;
        if (plan->block_width > all->block_width)
            all->block_width = plan->block_width;
        if (plan->place != all->place)
            all->place = NORM_SANDWICH;
        if (plan->branch_scale != 1)
            all->branch_scale = plan->branch_scale;
        shared.kept |= model->layers[layer].kept;
    }
    return shared;
}

/* holder_of - the layer whose activations serve others as well: the first that has a backward.  Those below it are done when it
 * begins; what is computed again needs one layer's at a time. */
static int holder_of(const struct model *model) {
    int last = model->setup.config->num_layers - 1;
    return model->first_backward < last ? model->first_backward : last;
}

/* place_layer - memory of its own for what is kept until the backward; the holder's serves all others
 * where it is recomputed, and those below it in any case, which keep nothing. */
static void place_layer(struct model *model, int layer) {
    struct layer_acts *a = &model->flight.acts[layer];
    enum recompute recompute = model->setup.recompute;
    bool is_holder = layer == holder_of(model);
    bool shares_attention = recompute == RECOMPUTE_ATTENTION || recompute == RECOMPUTE_LAYER;
    bool shares_ffn = recompute == RECOMPUTE_FFN || recompute == RECOMPUTE_LAYER;
    struct layer_setup all = union_setup(model), own = model->layers[layer];
    if (is_holder && layer > 0)
        own.plan = all.plan;
    *a = model->flight.acts[holder_of(model)];
    if (is_holder || !shares_attention)
        place_attention(model, shares_attention ? &all : &own, a);
    if (is_holder || recompute != RECOMPUTE_LAYER)
        place_middle(model, recompute == RECOMPUTE_LAYER ? &all : &own, a);
    if (is_holder || !shares_ffn)
        place_ffn(model, shares_ffn ? &all : &own, a);
}

/* place_layers - the holder's own first; layers below it take no memory. */
static void place_layers(struct model *model) {
    int holder = holder_of(model);
    for (int layer = holder; layer < model->setup.config->num_layers; layer++)
        place_layer(model, layer);
    for (int layer = 0; layer < holder; layer++)
        model->flight.acts[layer] = model->flight.acts[holder];
}

/* place_inputs - of the layers that keep theirs, and what leaves the stack.  Without a backward two take turns. */
static void place_inputs(struct model *model) {
    int num_layers = model->setup.config->num_layers;
    struct tensor *inputs = model->flight.inputs;
    for (int i = 0; i <= num_layers; i++)
        if (!model->setup.trains && i >= 2)
            inputs[i] = inputs[i - 2];
        else if (i == num_layers || model->layers[i].kept & KEPT_INPUT)
            inputs[i] = take_rows(model, model->setup.config->width);
}

/* lend - to a layer, for what it does not keep: buffers of the backward, which are idle until the forward has ended, and which it
 * does not fill before the layer's own operation has read them.  Without a backward all layers keep all. */
static void lend(struct model *model, int layer) {
    struct layer_acts *a = &model->flight.acts[layer];
    unsigned kept = model->layers[layer].kept;
    if (!(kept & KEPT_INPUT))
        model->flight.inputs[layer] = model->dx;
    if (!(kept & KEPT_NORM1))
        a->norm1 = model->dnorm;
    if (!(kept & KEPT_MIDDLE))
        a->middle = model->middle;
    if (!(kept & KEPT_NORM2))
        a->norm2 = model->dnorm;
    if (!(kept & KEPT_HIDDEN) && model->dhidden.ndim)
        a->hidden = model->dhidden;
}

/* place_lent - for all layers; the middle has no buffer of the backward that is idle as long. */
static void place_lent(struct model *model) {
    int num_layers = model->setup.config->num_layers;
    unsigned all_keep = KEPT_ALL;
    for (int layer = 0; layer < num_layers; layer++)
        all_keep &= model->layers[layer].kept;
    if (!(all_keep & KEPT_MIDDLE))
        model->middle = take_rows(model, model->setup.config->width);
    for (int layer = 0; layer < num_layers; layer++)
        lend(model, layer);
}

static void place_batch(struct model *model) {
    int64_t n = model_own_tokens(&model->setup), all = model->setup.max_tokens;
    model->flight.tokens = arena_take_1d(&model->arena, DTYPE_I32, n);
    model->flight.targets = arena_take_2d(&model->arena, DTYPE_I32, model->flight.num_entries, n);
    for (int m = 0; m < model->flight.num_masks; m++) {
        struct mask *mask = &model->flight.masks[m];
        mask->first_key = arena_take_1d(&model->arena, DTYPE_I32, all);
        if (mask->block)
            mask->last_key = arena_take_1d(&model->arena, DTYPE_I32, all);
        mask->plan.memory = arena_take_1d(&model->arena, DTYPE_I32, attention_plan_count(all));
    }
    model->flight.positions = arena_take_1d(&model->arena, DTYPE_I32, model_joined_tokens(&model->setup));
    if (model->flight.num_context > 1)
        model->flight.whole_positions = arena_take_1d(&model->arena, DTYPE_I32, all);
    if (pairs_drop(&model->setup))
        model->flight.places = arena_take_1d(&model->arena, DTYPE_I32, n);
    model->flight.weights = arena_take_2d(&model->arena, DTYPE_F32, model->flight.num_entries, n);
    model->flight.grad_scale = arena_take_1d(&model->arena, DTYPE_F32, 1);
}

/* place_teacher - what it says of a batch, and how far the rows are from it. */
static void place_teacher(struct model *model) {
    int64_t n = model_own_tokens(&model->setup), k = model->setup.teacher.top_k;
    model->flight.top_k = k;
    if (k == 0)
        return;
    model->flight.teacher_ids = arena_take_2d(&model->arena, DTYPE_I32, n, k);
    model->flight.teacher_logps = arena_take_2d(&model->arena, DTYPE_F32, n, k);
    model->flight.divergences = arena_take_1d(&model->arena, DTYPE_F32, n);
}

/* has_short_logits - those that gradients are made of have the compute type.  A mean over tokens bears their rounding; differences
 * between the losses of two texts, or from a teacher, do not.  Ranks that divide the vocabulary exchange them in f32. */
static bool has_short_logits(const struct model_setup *setup) {
    return setup->trains && setup->compute != DTYPE_F32 && setup->teacher.top_k == 0 &&
           setup->objective.kind == &objective_token_mean && !vocab_is_divided(setup);
}

/* Of short logits twice as many rows: the head's gradient, which each chunk after the first is added to, is read and written
 * half as often, and the room is the same. */
int64_t model_head_rows(const struct model_setup *setup) {
    int64_t own = model_own_tokens(setup), rows = HEAD_CHUNK_ROWS * (has_short_logits(setup) ? 2 : 1);
    rows = setup->head_rows ? setup->head_rows : rows;
    if (vocab_is_divided(setup)) /* as many of all ranks together */
        rows = (rows + setup->tensor.size - 1) / setup->tensor.size;
    return own < rows ? own : rows;
}

/* place_logits - of chunk rows.  Short ones lie where f32 logits of half as many rows do, which serve between gradients. */
static void place_logits(struct model *model, int64_t chunk, int64_t vocab_size) {
    enum dtype type = model->setup.compute;
    bool is_short = has_short_logits(&model->setup);
    model->logits = arena_take_2d(&model->arena, DTYPE_F32, is_short ? (chunk + 1) / 2 : chunk, vocab_size);
    model->grad_logits = model->dlogits = model->logits;
    if (is_short)
        model->grad_logits = model->dlogits = tensor_2d(model->logits.data, type, chunk, vocab_size);
    else if (model->setup.trains && type != DTYPE_F32)
        model->dlogits = arena_take_2d(&model->arena, type, chunk, vocab_size);
}

static void place_head(struct model *model) {
    const struct model_config *c = model->setup.config;
    int64_t n = model_own_tokens(&model->setup), chunk = model_head_rows(&model->setup);
    enum dtype type = model->setup.compute;
    model->flight.final = arena_take_2d(&model->arena, type, n, c->width);
    struct norm_plan norm = family_final_norm(c);
    model->flight.final_stats = norm_stats_take(&model->arena, &norm, n);
    model->flight.losses = arena_take_2d(&model->arena, DTYPE_F32, model->flight.num_entries, n);
    place_logits(model, chunk, c->vocab_size);
    vocab_take(model, chunk);
}

static void place_gradients(struct model *model) {
    const struct model_config *c = model->setup.config;
    struct layer_part part = joined_part(&model->setup);
    int64_t n = model_own_tokens(&model->setup), joined = model_joined_tokens(&model->setup);
    enum dtype type = model->setup.compute;
    model->dx = arena_take_2d(&model->arena, type, n, c->width);
    model->dnorm = arena_take_2d(&model->arena, type, n, c->width);
    struct layer_plan all = union_setup(model).plan;
    if (all.place != NORM_PRE || all.branch_scale != 1)
        model->dbranch = arena_take_2d(&model->arena, type, n, c->width);
    model->dattended = arena_take_3d(&model->arena, type, joined, part.num_heads, c->head_dim);
    model->dqkv =
        arena_take_3d(&model->arena, type, joined, part.num_heads + 2 * part.num_kv_heads, c->head_dim);
    if (all.block_width > 0)
        model->dhidden = take_joined(model, joined_block(&model->setup, &all));
}

static void place_rotation(struct model *model, int r) {
    struct rotation *rotation = &model->rotations[r];
    int64_t half = model->layers[tables_first_layer(model, r)].plan.rotary_dim / 2;
    rotation->cos = arena_take_2d(&model->arena, DTYPE_F32, model->setup.max_positions, half);
    rotation->sin = arena_take_2d(&model->arena, DTYPE_F32, model->setup.max_positions, half);
    rotation->layout = ROPE_HALVES; /* as all families that are read come */
    struct layer_part part = joined_part(&model->setup);
    rotation->num_rotated = part.num_heads + part.num_kv_heads;
}

static void place_temperature(struct model *model) {
    const struct model_config *c = model->setup.config;
    struct rotation *temperature = &model->temperature;
    if (tables_tempered_layer(model) < 0)
        return;
    temperature->cos = arena_take_2d(&model->arena, DTYPE_F32, model->setup.max_positions, c->head_dim / 2);
    temperature->sin = arena_take_2d(&model->arena, DTYPE_F32, model->setup.max_positions, c->head_dim / 2);
    temperature->layout = ROPE_HALVES;
    temperature->num_rotated = joined_part(&model->setup).num_heads;
}

/* place_pieces - what goes to the ranks that share the rows and comes from them, and where products put it. */
static void place_pieces(struct model *model) {
    struct layer_part part = joined_part(&model->setup);
    for (int i = 0; i < 2 && model->flight.num_context > 1; i++)
        model->pieces[i] =
            arena_take_3d(&model->arena, model->setup.compute, model_joined_tokens(&model->setup),
                          part.num_heads + 2 * part.num_kv_heads, model->setup.config->head_dim);
}

/* place_joined - rows on their way between the ranks that divide tensors. */
static void place_joined(struct model *model) {
    int64_t width = model->setup.config->width;
    if (model->flight.num_tensor == 1)
        return;
    model->joined = take_joined(model, width);
    model->partial = take_joined(model, width);
    if (model->setup.compute != DTYPE_F32)
        model->summed = arena_take_2d(&model->arena, DTYPE_F32, 2 * model_own_tokens(&model->setup), width);
}

/* place_rows_of_pair - of the pairs of experts, one for each place. */
static void place_rows_of_pair(struct model *model, int layer, enum adapter_target target) {
    const struct model_config *config = model->setup.config;
    struct tensor *rows = &model->flight.acts[layer].pair_rows[target];
    if (!adapter_has(config, adapter_target_role(config, target), layer) ||
        !adapter_in_layer(config, target, layer))
        return;
    if (adapter_is_of_experts(config, target))
        *rows = expert_pairs_take(model, target);
    else
        *rows = take_joined(model, config->adapter.ranks[target]);
}

/* place_pair_rows - of every pair its own, for layers compute nothing of it again: with a rank of 16 they are small beside x. */
static void place_pair_rows(struct model *model) {
    const struct model_config *config = model->setup.config;
    for (int layer = 0; layer < config->num_layers && model_has_adapter(config); layer++)
        for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
            place_rows_of_pair(model, layer, (enum adapter_target)t);
}

/* place_pairs - what the pairs of one product at a time work in. */
static void place_pairs(struct model *model) {
    int64_t bytes = pairs_bytes(&model->setup);
    if (bytes > 0)
        model->pairs = arena_take_1d(&model->arena, DTYPE_F32, bytes / (int64_t)sizeof(float));
}

static void place_all(struct model *model) {
    place_batch(model);
    place_layers(model);
    fp8_layers_take(model);
    place_inputs(model);
    model->branch = take_rows(model, model->setup.config->width);
    experts_take_shared(model);
    expert_pairs_take_shared(model);
    router_take(model);
    for (int r = 0; r < model->num_rotations; r++)
        place_rotation(model, r);
    place_temperature(model);
    place_head(model);
    place_teacher(model);
    if (model->setup.trains) {
        place_gradients(model);
        place_pair_rows(model);
    }
    place_lent(model);
    place_pieces(model);
    place_joined(model);
    place_pairs(model);
}

void model_measure(struct model *model, const struct model_setup *setup) {
    memset(model, 0, sizeof *model);
    model->setup = *setup;
    if (!setup->trains)
        model->setup.recompute = RECOMPUTE_LAYER; /* one layer's activations serve all */
    if (!setup->objective.kind)
        model->setup.objective.kind = &objective_token_mean;
    model->flight.num_entries = model->setup.objective.kind->num_entries;
    model->flight.num_context = setup->num_context > 1 ? setup->num_context : 1;
    model->flight.context_rank = setup->context_rank;
    model->flight.always_heads = setup->always_heads;
    struct layer_part part = joined_part(&model->setup);
    model->flight.heads = (struct halo_heads){part.num_heads, part.num_kv_heads, setup->config->head_dim,
                                              dtype_bytes(setup->compute)};
    model->flight.num_tensor = setup->tensor.size > 1 ? setup->tensor.size : 1;
    model->flight.tensor_rank = setup->tensor.index;
    model->arena.name = "activations";
    layers_set_up(model);
    model->flight.acts = xcalloc((size_t)setup->config->num_layers, sizeof *model->flight.acts);
    model->flight.inputs = xcalloc((size_t)setup->config->num_layers + 1, sizeof *model->flight.inputs);
    place_all(model);
}

struct device_limits model_limits(const struct model *model) {
    const struct model_config *c = model->setup.config;
    struct layer_part part = joined_part(&model->setup);
    return (struct device_limits){.max_tokens = model->setup.max_tokens,
                                  .width = c->width,
                                  .ffn_width = part.ffn_width > c->ffn_width ? part.ffn_width : c->ffn_width,
                                  .vocab_size = c->vocab_size,
                                  .chunk_rows = model->dlogits.dims[0],
                                  .num_heads = part.num_heads / model->flight.num_context,
                                  .num_kv_heads = part.num_kv_heads / model->flight.num_context,
                                  .head_dim = c->head_dim,
                                  .num_experts = c->num_experts,
                                  .num_chosen = c->num_chosen,
                                  .fp8 = model->setup.fp8.is_on,
                                  .fp8_blocks =
                                      model->setup.fp8.is_on && model->setup.fp8.args.scaling == FP8_BLOCKS};
}

void model_create(struct model *model, struct device *dev, struct params *params,
                  const struct model_setup *setup) {
    model_measure(model, setup);
    model->dev = dev;
    model->params = params;
    model->flight.host_first_key = xcalloc((size_t)setup->max_tokens, sizeof *model->flight.host_first_key);
    model->flight.host_last_key = xcalloc((size_t)setup->max_tokens, sizeof *model->flight.host_last_key);
    size_t num_losses = (size_t)setup->max_tokens * (size_t)model->flight.num_entries;
    model->flight.host_losses = xcalloc(num_losses, sizeof *model->flight.host_losses);
    model->flight.host_weights = xcalloc(num_losses, sizeof *model->flight.host_weights);
    router_create(model);
    experts_sent_create(model);
    arena_allocate(&model->arena, dev);
    place_all(model);
    tables_upload(model);
    struct device_limits limits = model_limits(model);
    device_reserve(dev, &limits);
}

void model_free(struct model *model) {
    arena_free(&model->arena);
    free(model->flight.acts);
    free(model->flight.inputs);
    free(model->layers);
    free(model->flight.host_first_key);
    free(model->flight.host_last_key);
    free(model->flight.host_losses);
    free(model->flight.host_weights);
    router_free(&model->router);
    readback_free(model);
    experts_sent_free(model);
}
