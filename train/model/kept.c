/* kept.c - one table: which operation of a layer's backward reads what of its forward.  Always read, and therefore not in it, are
 * queries, keys, values and what attention made of them (its backward), heads before their norm (QK-norm's), the input of the gate
 * or activation (its own), and what a norm after a branch read (that norm's). */
#include "train/model/kept.h"

#include "checkpoints/family/family_adapter.h"

/* learns - whether one of the matrices first to last, which are one product, or a pair on one, is trained. */
static bool learns(const struct model_setup *setup, int layer, enum tensor_role first,
                   enum tensor_role last) {
    for (int role = (int)first; role <= (int)last; role++)
        if (adapter_has(setup->config, (enum tensor_role)role, layer) ||
            param_is_trained(setup->config, (enum tensor_role)role))
            return true;
    return false;
}

static bool learns_qkv(const struct model_setup *setup, const struct layer_plan *plan, int layer) {
    (void)plan;
    return learns(setup, layer, ROLE_QKV, ROLE_QKV) || learns(setup, layer, ROLE_QUERY, ROLE_VALUE);
}

static bool learns_gate_up(const struct model_setup *setup, const struct layer_plan *plan, int layer) {
    (void)plan;
    return learns(setup, layer, ROLE_GATE_UP, ROLE_GATE_UP) || learns(setup, layer, ROLE_GATE, ROLE_UP);
}

static bool learns_shared(const struct model_setup *setup, const struct layer_plan *plan, int layer) {
    return plan->ffn == FFN_EXPERTS && learns(setup, layer, ROLE_SHARED_GATE, ROLE_SHARED_UP);
}

static bool learns_experts(const struct model_setup *setup, const struct layer_plan *plan, int layer) {
    return plan->ffn == FFN_EXPERTS && learns(setup, layer, ROLE_ROUTER, ROLE_EXPERT_DOWN);
}

static bool learns_down(const struct model_setup *setup, const struct layer_plan *plan, int layer) {
    return learns(setup, layer, ROLE_DOWN, ROLE_DOWN) ||
           (plan->ffn == FFN_EXPERTS && learns(setup, layer, ROLE_SHARED_DOWN, ROLE_SHARED_DOWN));
}

static bool has_norm_before(const struct model_setup *setup, const struct layer_plan *plan, int layer) {
    (void)setup, (void)layer;
    return plan->place != NORM_POST;
}

static bool attends_again(const struct model_setup *setup, const struct layer_plan *plan, int layer) {
    (void)plan, (void)layer;
    return setup->recompute == RECOMPUTE_ATTENTION || setup->recompute == RECOMPUTE_LAYER;
}

static bool feeds_again(const struct model_setup *setup, const struct layer_plan *plan, int layer) {
    (void)plan, (void)layer;
    return setup->recompute == RECOMPUTE_FFN;
}

static bool has_term(const struct model_setup *setup, const struct layer_plan *plan, int layer) {
    (void)plan, (void)layer;
    return setup->objective.kind && setup->objective.kind->layer_loss;
}

/* An operation of the backward, and what it reads: in a layer with norms before its branches, and in one without, whose branches
 * read the residual stream itself. */
static const struct reader {
    bool (*is_there)(const struct model_setup *setup, const struct layer_plan *plan, int layer);
    unsigned reads, reads_bare;
} readers[] = {
    {has_norm_before, KEPT_INPUT | KEPT_MIDDLE, 0}, /* the gradient of a norm's input */
    {learns_qkv, KEPT_NORM1, KEPT_INPUT},           /* the gradients of weights: what their product read */
    {learns_gate_up, KEPT_NORM2, KEPT_MIDDLE},
    {learns_down, KEPT_HIDDEN, KEPT_HIDDEN},
    {learns_experts, KEPT_NORM2, KEPT_MIDDLE},
    {learns_shared, KEPT_NORM2, KEPT_MIDDLE},
    {attends_again, KEPT_INPUT, KEPT_INPUT}, /* where what is computed again begins */
    {feeds_again, KEPT_MIDDLE, KEPT_MIDDLE},
    {has_term, KEPT_ALL, KEPT_ALL}, /* the objective's, of each layer's output */
};

unsigned kept_of(const struct model_setup *setup, int layer) {
    struct layer_plan plan = family_layer_plan(setup->config, layer);
    unsigned kept = 0;
    if (!setup->trains)
        return KEPT_ALL;
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (readers[i].is_there(setup, &plan, layer))
            kept |= plan.place == NORM_POST ? readers[i].reads_bare : readers[i].reads;
    return kept;
}

int kept_first(const struct model_setup *setup) {
    const struct model_config *config = setup->config;
    struct param at = PARAM_START;
    int first = config->num_layers;
    if (!setup->trains || has_term(setup, NULL, 0))
        return 0;
    while (first > 0 && family_next_param(config, &at)) {
        enum param_place place = param_spec(config, at.role)->place;
        if (!param_is_trained(config, at.role) || (place != PLACE_LAYER && place != PLACE_INPUT))
            continue;
        int layer = place == PLACE_INPUT ? 0 : at.layer;
        first = layer < first ? layer : first;
    }
    return first;
}
