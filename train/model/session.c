/* session.c - a model opened to be looked at, by eval and generate: one rank, no gradients. */
#include "train/model/session.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/adapter_base.h"
#include "kernels/device_cuda.h"
#include "train/model/shard.h"
#include "train/model/state.h"

/* The matrices that products read where the files have them. */
struct stored_plan {
    enum storage *storage;    /* [param_num_slots] */
    struct stored_rows *rows; /* likewise */
    bool has_layers;          /* all matrices of all layers */
};

/* is_product - a matrix that only products and look-ups read, by one row of a kind. */
static bool is_product(const struct model_config *config, struct param param) {
    return param_shape(config, param).ndim == 2 && !role_is_pair(param.role) &&
           !(param_spec(config, param.role)->traits & PARAM_EXPERT);
}

/* map_matrices - those of the layers all or none: what is one product is then in one place. */
static void map_matrices(const struct session *session, struct stored_plan *plan) {
    const struct model_config *config = &session->config;
    struct param at = PARAM_START;
    plan->has_layers = true;
    while (family_next_param(config, &at)) {
        int64_t slot = param_slot(config, at);
        bool is_mapped = is_product(config, at) && weights_map(session->weights, at, &plan->rows[slot]);
        plan->storage[slot] = is_mapped ? STORAGE_STORED : STORAGE_FROZEN;
        if (is_product(config, at) && param_spec(config, at.role)->place == PLACE_LAYER)
            plan->has_layers &= is_mapped;
    }
    at = PARAM_START;
    while (!plan->has_layers && family_next_param(config, &at))
        if (param_spec(config, at.role)->place == PLACE_LAYER)
            plan->storage[param_slot(config, at)] = STORAGE_FROZEN;
}

/* stored_plan_open - what stays in the files; nothing, where the setup wants it in memory. */
static void stored_plan_open(struct stored_plan *plan, const struct session *session,
                             enum session_type type) {
    int64_t num_slots = param_num_slots(&session->config);
    *plan = (struct stored_plan){.storage = xcalloc((size_t)num_slots, sizeof *plan->storage),
                                 .rows = xcalloc((size_t)num_slots, sizeof *plan->rows)};
    for (int64_t i = 0; i < num_slots; i++)
        plan->storage[i] = STORAGE_FROZEN;
    if (type == SESSION_STORED)
        map_matrices(session, plan);
}

static void stored_plan_close(struct stored_plan *plan) {
    free(plan->storage);
    free(plan->rows);
}

/* put_stored - to the parameters; nobody reads these values before they are used, so they are looked at here. */
static int put_stored(struct session *session, const struct stored_plan *plan, struct err *err) {
    struct param at = PARAM_START;
    while (family_next_param(&session->config, &at)) {
        int64_t slot = param_slot(&session->config, at);
        if (plan->storage[slot] != STORAGE_STORED)
            continue;
        if (!stored_all_finite(&plan->rows[slot]) &&
            weights_check_fit(session->weights, at, value_type_of(DTYPE_F32), err) != 0)
            return -1;
        params_put_stored(&session->params, at, &plan->rows[slot]);
    }
    return 0;
}

/* compute_type - of activations, and of what is in memory. */
static enum dtype compute_type(enum session_type type) {
    return type == SESSION_BF16 ? DTYPE_BF16 : type == SESSION_F16 ? DTYPE_F16 : DTYPE_F32;
}

/* open_device - a GPU, or processors. */
static int open_device(struct session *session, const struct session_setup *setup, struct err *err) {
    if (setup->way.device == SESSION_CPU) {
        device_open_cpu(&session->dev, setup->num_threads);
        return 0;
    }
    if (device_open_cuda(&session->dev, setup->gpu, err) != 0)
        return err_prefix(err, "--device cuda");
    if (cuda_check_compute(&session->dev, compute_type(setup->way.type), "--type", err) != 0) {
        device_close(&session->dev);
        return -1;
    }
    cuda_time_ops(&session->dev, false);
    return 0;
}

/* create - parameters and model, on a device that is open. */
static void create(struct session *session, const struct session_setup *setup,
                   const struct stored_plan *plan) {
    enum dtype compute = compute_type(setup->way.type);
    struct params_setup params_setup = {
        .model = &session->config, .compute = compute, .storage = plan->storage, .num_ranks = 1};
    struct model_setup model_setup = {.config = &session->config,
                                      .max_tokens = setup->max_tokens,
                                      .max_positions = setup->max_positions,
                                      .compute = compute};
    params_create(&session->params, &session->dev, &params_setup);
    model_create(&session->model, &session->dev, &session->params, &model_setup);
    session->is_open = true;
}

/* kept_type - what the values must fit into, by the word that asked for it. */
static struct value_type kept_type(enum session_type type) {
    struct value_type kept = value_type_of(compute_type(type));
    if (compute_type(type) != DTYPE_F32)
        kept.name = type == SESSION_BF16 ? "--type bf16" : "--type f16";
    return kept;
}

/* start - the weights are open: parameters and model, loaded. */
static int start(struct session *session, struct session_setup setup, struct err *err) {
    struct stored_plan plan;
    session->config = *weights_config(session->weights);
    if (setup.max_positions == 0)
        setup.max_positions = session->config.max_positions;
    if (setup.max_positions > session->config.max_positions)
        return err_set(err, "%lld tokens were asked for, but '%s' has %lld positions",
                       (long long)setup.max_positions, setup.place.path,
                       (long long)session->config.max_positions);
    if (open_device(session, &setup, err) != 0)
        return -1;
    stored_plan_open(&plan, session, setup.way.type);
    create(session, &setup, &plan);
    int status = put_stored(session, &plan, err);
    if (status == 0)
        status = state_load_weights(&session->params, session->weights, kept_type(setup.way.type), err);
    stored_plan_close(&plan);
    return status;
}

int session_open(struct session *session, const struct session_setup *setup, struct err *err) {
    memset(session, 0, sizeof *session);
    session->weights = weights_open_any(setup->place, err);
    if (!session->weights || weights_verify(session->weights, err) != 0 ||
        adapter_base_check(session->weights, err) != 0)
        return -1;
    weights_tell_storage(session->weights);
    /* DoRA asks for the norms of all rows in every pass, which for a token at a time is many times the pass itself. */
    if (weights_config(session->weights)->adapter.method == ADAPTER_DORA)
        weights_merge(session->weights);
    return start(session, *setup, err);
}

int session_open_verified(struct session *session, const struct session_setup *setup, struct err *err) {
    struct session_setup whole = *setup;
    memset(session, 0, sizeof *session);
    session->weights = weights_open_any(setup->place, err);
    if (!session->weights)
        return -1;
    int64_t most = weights_config(session->weights)->max_positions;
    whole.max_positions = setup->max_tokens < most ? setup->max_tokens : most;
    return start(session, whole, err);
}

int session_way_of(struct session_way *way, const char *device, const char *type, enum session_type usual,
                   struct err *err) {
    static const char *const names[] = {
        [SESSION_F32] = "f32", [SESSION_BF16] = "bf16", [SESSION_F16] = "f16", [SESSION_STORED] = "stored"};
    way->device = strcmp(device, "cuda") == 0 ? SESSION_CUDA : SESSION_CPU;
    way->type = way->device == SESSION_CUDA ? SESSION_F32 : usual;
    for (int i = 0; type && i <= SESSION_STORED; i++)
        if (strcmp(type, names[i]) == 0)
            way->type = (enum session_type)i;
    if (way->device != SESSION_CUDA || way->type != SESSION_STORED)
        return 0;
    return err_set(err, "'stored' is for processors: a GPU computes in f32, bf16 or f16");
}

void session_close(struct session *session) {
    if (session->is_open) {
        model_free(&session->model);
        params_free(&session->params);
        device_close(&session->dev);
    }
    if (session->tokenizer)
        tokenizer_free(session->tokenizer);
    if (session->weights)
        weights_close(session->weights);
    memset(session, 0, sizeof *session);
}

int session_tokenizer(struct session *session, struct err *err) {
    char *json = NULL, *config = NULL;
    if (weights_tokenizer_text(session->weights, &json, &config, err))
        return -1;
    if (!json)
        return 0;
    const char *folder = weights_folder(session->weights);
    char *origin = folder ? xasprintf("%s/tokenizer.json", folder) : xstrdup("tokenizer of the model");
    session->tokenizer = tokenizer_parse(json, strlen(json), config, origin, err);
    free(origin);
    free(json);
    free(config);
    if (!session->tokenizer || !folder)
        return session->tokenizer ? 0 : -1;
    return tokenizer_read_template(session->tokenizer, folder, err);
}

int session_need_tokenizer(struct session *session, const char *name, struct err *err) {
    if (session_tokenizer(session, err) != 0)
        return -1;
    if (session->tokenizer)
        return 0;
    return err_set(err, "'%s' has neither tokenizer.json nor tekken.json: it cannot read or write text",
                   name);
}
