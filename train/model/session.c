/* session.c - a model opened to be looked at, by eval and generate: one rank, no gradients. */
#include "train/model/session.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/adapter_base.h"
#include "train/model/shard.h"
#include "train/model/state.h"

/* start - the weights are open: parameters and model, loaded. */
static int start(struct session *session, const char *path, int64_t max_tokens, int64_t max_positions,
                 int num_threads, struct err *err) {
    session->config = *weights_config(session->weights);
    if (max_positions == 0)
        max_positions = session->config.max_positions;
    if (max_positions > session->config.max_positions)
        return err_set(err, "%lld tokens were asked for, but '%s' has %lld positions",
                       (long long)max_positions, path, (long long)session->config.max_positions);
    struct params_setup params_setup = {.model = &session->config, .compute = DTYPE_F32, .num_ranks = 1};
    struct model_setup model_setup = {.config = &session->config,
                                      .max_tokens = max_tokens,
                                      .max_positions = max_positions,
                                      .compute = DTYPE_F32};
    device_open_cpu(&session->dev, num_threads);
    params_create(&session->params, &session->dev, &params_setup);
    model_create(&session->model, &session->dev, &session->params, &model_setup);
    session->is_open = true;
    return state_load_weights(&session->params, session->weights, value_type_of(DTYPE_F32), err);
}

int session_open(struct session *session, struct weights_place place, int64_t max_tokens,
                 int64_t max_positions, int num_threads, struct err *err) {
    memset(session, 0, sizeof *session);
    session->weights = weights_open_any(place, err);
    if (!session->weights || weights_verify(session->weights, err) != 0 ||
        adapter_base_check(session->weights, err) != 0)
        return -1;
    weights_tell_storage(session->weights);
    /* DoRA asks for the norms of all rows in every pass, which for a token at a time is many times the pass itself. */
    if (weights_config(session->weights)->adapter.method == ADAPTER_DORA)
        weights_merge(session->weights);
    return start(session, place.path, max_tokens, max_positions, num_threads, err);
}

int session_open_verified(struct session *session, struct weights_place place, int64_t max_tokens,
                          struct err *err) {
    memset(session, 0, sizeof *session);
    session->weights = weights_open_any(place, err);
    if (!session->weights)
        return -1;
    int64_t most = weights_config(session->weights)->max_positions;
    return start(session, place.path, max_tokens, max_tokens < most ? max_tokens : most, 0, err);
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
