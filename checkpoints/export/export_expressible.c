/* export_expressible.c - models that llama.cpp would compute otherwise: they are not written as GGUF. */
#include "checkpoints/export/export_expressible.h"

/* refuse_yarn - what llama.cpp would compute otherwise: it rounds the two bounds, and of
 * most families takes them as they were published. */
static int refuse_yarn(const struct model_config *config, struct err *err) {
    const struct yarn *yarn = &config->yarn;
    if (config->rope_kind != ROPE_YARN)
        return 0;
    if (yarn->exact_bounds && !family_gguf_has_exact_bounds(config))
        return err_set(err,
                       "llama.cpp rounds the bounds of yarn's frequencies, and this model does not (truncate "
                       "false): export it with --to hf");
    if (!yarn->exact_bounds && family_gguf_has_exact_bounds(config))
        return err_set(
            err,
            "programs that read a '%s' take the bounds of yarn's frequencies as they are, this model "
            "rounds them (truncate true): export it with --to hf",
            config->model_type);
    if (!family_has_temperature(config) &&
        (yarn->beta_fast != YARN_BETA_FAST || yarn->beta_slow != YARN_BETA_SLOW))
        return err_set(
            err,
            "llama.cpp computes '%s' with a beta_fast of %g and a beta_slow of %g, this model has %g and "
            "%g: export it with --to hf",
            family_gguf(config), YARN_BETA_FAST, YARN_BETA_SLOW, yarn->beta_fast, yarn->beta_slow);
    return 0;
}

/* refuse_rope - what llama.cpp would compute otherwise: in a model whose local layers have a base of their own it looks at no
 * divisors of frequencies, and but for OLMo 3's yarn's multiplier would reach the local layers too. */
static int refuse_rope(const struct model_config *config, struct err *err) {
    bool stretches = family_gguf_stretches(config);
    if ((config->rope_kind == ROPE_LONG && !family_gguf_has_longrope(config)) ||
        config->rope_kind == ROPE_PROPORTIONAL)
        return err_set(
            err,
            "llama.cpp computes a '%s' without %s positions, which this model has: export it with --to hf",
            config->model_type, config->rope_kind == ROPE_LONG ? "longrope" : "proportional");
    if (family_has_local_base(config) && config->rope_kind != ROPE_PLAIN &&
        config->rope_kind != ROPE_LINEAR && config->rope_kind != ROPE_DYNAMIC &&
        !(config->rope_kind == ROPE_YARN && stretches))
        return err_set(err,
                       "llama.cpp computes a '%s' with positions that are %s, this model has "
                       "%s: export it with --to hf",
                       config->model_type, stretches ? "plain, linear or yarn" : "plain or linear",
                       config->rope_kind == ROPE_YARN ? "yarn" : "llama3");
    if (config->rope_kind == ROPE_LLAMA3 && !family_gguf_has_freqs(config))
        return err_set(
            err,
            "llama.cpp does not open a '%s' with llama3 positions, which this model has: export it with --to hf",
            config->model_type);
    if (family_gguf_has_one_base(config) && config->rope_local_theta != config->rope_theta)
        return err_set(
            err,
            "llama.cpp has one base of positions for all layers of a '%s', this model has %g and %g: "
            "export it with --to hf",
            config->model_type, config->rope_theta, config->rope_local_theta);
    return refuse_yarn(config, err);
}

/* first_dense - the first layer without experts; -1: there is none. */
static int first_dense(const struct model_config *config) {
    for (int layer = 0; layer < config->num_layers; layer++)
        if (family_layer_plan(config, layer).num_experts == 0)
            return layer;
    return -1;
}

/* refuse_experts - of a model that has some. */
static int refuse_experts(const struct model_config *config, struct err *err) {
    if (family_routes_by_sigmoid(config)) /* keys tell all of it */
        return 0;
    if (config->renormalises != family_gguf_renormalises(config))
        return err_set(err,
                       "llama.cpp computes a '%s' whose weights of a token's experts %s up to one "
                       "(norm_topk_prob), in this model they %s: export it with --to hf",
                       config->model_type, config->renormalises ? "do not add" : "add",
                       config->renormalises ? "do" : "do not");
    if (first_dense(config) >= 0)
        return err_set(
            err,
            "llama.cpp has no '%s' with layers without experts, and layer %d of this model is one: "
            "export it with --to hf",
            config->model_type, first_dense(config));
    return 0;
}

/* llama.cpp knows some things of a family without a key in the file. */
int export_check_expressible(const struct model_config *config, struct err *err) {
    if (config->num_experts > 0 && refuse_experts(config, err) != 0)
        return -1;
    if (family_gguf_has_all_keys(config) && config->num_kv_heads != config->num_heads)
        return err_set(
            err,
            "llama.cpp has no '%s' with fewer heads of keys than of queries, this model has %d and %d: "
            "export it with --to hf",
            config->model_type, config->num_kv_heads, config->num_heads);
    if (config->tied_head && family_gguf_has_head(config))
        return err_set(
            err,
            "llama.cpp has no '%s' whose head is the embedding (tie_word_embeddings): export it with --to hf",
            config->model_type);
    if (!config->tied_head && family_gguf_ties_head(config))
        return err_set(err,
                       "llama.cpp has no '%s' whose head is not the embedding (tie_word_embeddings false): "
                       "export it with --to hf",
                       config->model_type);
    if (family_has_softcaps(config) && (!(config->attention_softcap > 0) || !(config->logit_softcap > 0)))
        return err_set(
            err,
            "llama.cpp has no '%s' without caps of scores and logits, in this model they are %g and %g "
            "(0: none): export it with --to hf",
            config->model_type, (double)config->attention_softcap, (double)config->logit_softcap);
    if (family_gguf_has_windows(config) && config->window_whole != config->window_period - 1)
        return err_set(
            err,
            "llama.cpp wants the last of every %d layers to see its whole document, in this model it "
            "is number %d of them: export it with --to hf",
            config->window_period, config->window_whole + 1);
    if (family_gguf_has_one_period(config) && config->window_period != family_gguf_period(config))
        return err_set(
            err,
            "llama.cpp wants every %d-th layer of a '%s' to see its whole document, in this model it is "
            "every %d-th: export it with --to hf",
            family_gguf_period(config), config->model_type, config->window_period);
    if (config->query_scalar && config->query_scalar != family_gguf_query_scalar(config))
        return err_set(
            err,
            "llama.cpp computes a '%s' of these sizes with a query_pre_attn_scalar of %lld, this one "
            "has %lld: export it with --to hf",
            config->model_type, (long long)family_gguf_query_scalar(config), (long long)config->query_scalar);
    return refuse_rope(config, err);
}
