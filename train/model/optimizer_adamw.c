/* optimizer_adamw.c - AdamW: decoupled weight decay, element by element.  The arithmetic is op_adamw's. */
#include "checkpoints/family/family_adapter.h"
#include "kernels/rng.h"
#include "train/model/optimizer.h"
#include "train/model/shard.h"

enum { STATE_M, STATE_V };

/* An update under way. */
struct adamw_update {
    struct params *params;
    struct adamw_args args;
    float weight_decay;
};

/* view - elements [at, at + count) of an array of the owned range; NULL stays NULL. */
static struct tensor view(void *own, enum dtype dtype, int64_t at, int64_t count) {
    char *data = own ? (char *)own + (size_t)at * dtype_bytes(dtype) : NULL;
    return tensor_1d(data, dtype, count);
}

/* update_run - elements [at, at + count) of what this rank owns of a segment. */
static void update_run(struct params *params, const struct segment *s, const struct adamw_args *args,
                       int64_t at, int64_t count) {
    op_adamw(params->dev, view(s->master, DTYPE_F32, at, count),
             view(s->states[STATE_M], params_state_type(params, s, STATE_M), at, count),
             view(s->states[STATE_V], params_state_type(params, s, STATE_V), at, count),
             view(params_own_copy(params, s), s->stored, at, count),
             view(params_own_grad(params, s), DTYPE_F32, at, count), args);
}

/* update_piece - the part of one tensor that this rank owns.  Random numbers are the tensor's own. */
static int update_piece(void *user, const struct piece *piece) {
    struct adamw_update *update = user;
    struct params *params = update->params;
    struct adamw_args args = update->args;
    char name[PARAM_NAME_ROOM];
    args.weight_decay = piece->tensor->spec->traits & PARAM_DECAYS ? update->weight_decay : 0.0f;
    args.stream = rng_stream_named(RNG_ROUND, param_own_name(params->setup.model, piece->tensor->param, name),
                                   (uint64_t)args.step);
    for (int64_t row = 0; row < piece->num_rows; row++) {
        args.first = piece->whole_first + row * piece->stride;
        update_run(params, piece->segment, &args, piece->at + row * piece->count, piece->count);
    }
    return 0;
}

/* update_rule - the segments of one rule, of what this rank owns; nothing is communicated.  Tensor by tensor and not segment by
 * segment, as weight decay and the random numbers of rounding are a tensor's own. */
static void update_rule(struct params *params, const struct update *update, const struct update_rule *rule,
                        double rate_ratio) {
    const struct config *config = update->config;
    struct adamw_update job = {
        .params = params,
        .args = {.learning_rate = (float)((double)update->learning_rate * rate_ratio),
                 .beta1 = (float)config->optimizer.beta1,
                 .beta2 = (float)config->optimizer.beta2,
                 .eps = (float)config->optimizer.eps,
                 .grad_scale = update->grad_scale,
                 .step = update->number,
                 .seed = (uint64_t)config->run.seed},
        .weight_decay = (float)config->optimizer.weight_decay,
    };
    for (struct segment *s = NULL; (s = params_next_trained(params, s, rule));)
        params_each_piece(s, s->own_first, s->own_count, update_piece, &job);
}

static void adamw_update(struct params *params, const struct update *update) {
    update_rule(params, update, &adamw_rule, 1);
}

/* pair_b_update - B of a low-rank pair, whose learning rate may be a multiple of A's.
 * Source: Hayou et al. 2024, "LoRA+: Efficient Low Rank Adaptation of Large Models". */
static void pair_b_update(struct params *params, const struct update *update) {
    update_rule(params, update, &adamw_pair_b_rule, update->config->adapter.b_rate_ratio);
}

const struct update_rule adamw_rule = {
    .owns = OWNS_ELEMENTS,
    .num_states = 2,
    .states = {[STATE_M] = {"adam_m", STATE_AS_SET}, [STATE_V] = {"adam_v", STATE_AS_SET}},
    .update = adamw_update,
};

const struct update_rule adamw_pair_b_rule = {
    .owns = OWNS_ELEMENTS,
    .num_states = 2,
    .states = {[STATE_M] = {"adam_m", STATE_AS_SET}, [STATE_V] = {"adam_v", STATE_AS_SET}},
    .update = pair_b_update,
};

/* rule_of - one for all but the halves of pairs with a rate of their own; which tensors decay is not a matter of rules here. */
static const struct update_rule *rule_of(const struct param_spec *spec) {
    bool is_b =
        role_is_pair(spec->role) && spec->role == adapter_pair_role(adapter_target_of(spec->role), ADAPTER_B);
    return is_b ? &adamw_pair_b_rule : &adamw_rule;
}

const struct optimizer_kind optimizer_adamw = {
    .name = "AdamW", .num_rules = 2, .rules = {&adamw_rule, &adamw_pair_b_rule}, .rule_of = rule_of};
