/* params_run.h - parameters that are updated, saved and read without a model that computes them: the test brings the gradients, a
 * function of the step and of the place in the whole tensor, so that any division among ranks gives the same bits. */
#pragma once

#include "tests/check.h"
#include "tests/tiny_run.h"
#include "train/ranks/comm.h"

static const struct config PARAMS_RUN = {
    .optimizer = {.learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}};

struct params_run {
    struct model_config config;
    struct device dev;
    struct transport link, holders; /* holders: of experts that ranks divide, each with others */
    struct params params;
};

/* params_run_open - a new model; the setup's model, optimizer and place among the ranks of comm are set here.  comm: those that
 * share the shards of each tensor; NULL: alone. */
static inline void params_run_open(struct params_run *r, const struct model_config *config, struct comm *comm,
                                   struct params_setup setup) {
    struct err err = {""};
    *r = (struct params_run){.config = *config};
    setup.model = &r->config;
    setup.optimizer = &optimizer_adamw;
    setup.trains = true;
    setup.rank = comm ? comm_rank(comm) : 0;
    setup.num_ranks = comm ? comm_num_ranks(comm) : 1;
    setup.zero_stage = setup.num_ranks > 1 ? setup.zero_stage : 0;
    device_open_cpu(&r->dev, 1);
    assert_int_equal(transport_open(&r->link, comm, &r->dev, TRANSPORT_HOST, &err), 0);
    assert_int_equal(transport_open(&r->holders, NULL, &r->dev, TRANSPORT_HOST, &err), 0);
    params_create(&r->params, &r->dev, &setup);
    params_join_experts(&r->params, &r->link, &r->holders);
    state_init(&r->params, 5);
    params_share_masters(&r->params, &r->link);
    params_refresh(&r->params, &r->link);
}

static inline void params_run_close(struct params_run *r) {
    params_free(&r->params);
    transport_close(&r->holders);
    transport_close(&r->link);
    device_close(&r->dev);
}

/* params_run_weight - of one tensor; of an expert's, its part of all that the rank has. */
static inline struct weight params_run_weight(const struct params_run *r, const struct segment *s,
                                              const struct unit_tensor *tensor) {
    struct weight first = params_weight(&r->params, s->unit, tensor->param.role);
    if (!(tensor->spec->traits & PARAM_EXPERT))
        return first;
    int64_t rows = first.value.dims[0], before = 0;
    while (tensor - before > s->tensors && tensor[-1 - before].param.role == tensor->param.role)
        before++;
    struct weight all = params_experts(&r->params, s->unit, tensor->param.role);
    all.value = tensor_rows(all.value, before * rows, rows);
    if (all.grad.data)
        all.grad = tensor_rows(all.grad, before * rows, rows);
    return all;
}

/* params_run_place - in the whole tensor, of element i of what the rank has: rows or columns of it, as their number says. */
static inline int64_t params_run_place(const struct params_run *r, struct param param, struct tensor own,
                                       int64_t i) {
    struct tensor whole = param_shape(&r->config, param);
    int64_t width = own.ndim > 1 ? own.dims[1] : 1, whole_width = own.ndim > 1 ? whole.dims[1] : 1;
    int64_t index = r->params.setup.tensor.index;
    int64_t row = i / width + (own.dims[0] < whole.dims[0] ? index * own.dims[0] : 0);
    return row * whole_width + i % width + (width < whole_width ? index * width : 0);
}

/* params_run_gradient - into one tensor's: of the first of the ranks that share it all, of the others nothing, so that the sum has
 * the same bits everywhere.  shift: the gradient of another expert (a control). */
static inline void params_run_gradient(const struct params_run *r, const struct segment *s,
                                       const struct unit_tensor *tensor, int64_t step, int shift) {
    struct weight weight = params_run_weight(r, s, tensor);
    struct param param = tensor->param;
    float *gradient = weight.grad.data; /* a CPU's memory */
    uint64_t stream =
        rng_stream(RNG_TEST, (uint64_t)((int)param.role * 1000 + param.layer * 100 + param.expert + shift));
    assert_non_null(gradient);
    for (int64_t i = 0; i < tensor_count(weight.value); i++) {
        uint64_t place = (uint64_t)params_run_place(r, param, weight.value, i);
        gradient[i] = s->shards.index ? 0 : (float)rng_normal((uint64_t)step, stream, place);
    }
}

/* params_run_step - one update by the gradients of its number. */
static inline void params_run_step(struct params_run *r, int64_t number, int shift) {
    params_grad_reset(&r->params);
    for (int unit = r->params.num_units - 1; unit >= 0; unit--) {
        params_acquire(&r->params, &r->link, unit);
        params_grad_begin(&r->params, unit);
        for (struct segment *s = NULL; (s = params_next(&r->params, s));)
            for (int t = 0; s->unit == unit && t < s->num_tensors; t++)
                params_run_gradient(r, s, &s->tensors[t], number, shift);
        params_grad_end(&r->params, &r->link, unit);
    }
    params_grad_finish(&r->params, &r->link);
    struct optimizer_step update = {.number = number,
                                    .learning_rate = PARAMS_RUN.optimizer.learning_rate,
                                    .grad_norm = 1,
                                    .loss_scale = 1};
    optimizer_update(&r->params, &r->link, &PARAMS_RUN, &update);
    params_publish(&r->params, &r->link);
}

/* params_run_load - from a checkpoint.  Collective over `all`. */
static inline void params_run_load(struct params_run *r, const char *checkpoint, struct comm *all) {
    struct err err = {""};
    int status = state_load_checkpoint(&r->params, checkpoint, &err);
    assert_true(comm_all_ok(all, status, &err));
    params_share_masters(&r->params, &r->link);
    params_refresh(&r->params, &r->link);
}

/* params_run_save - as step 2 of the run folder, all ranks of `all` together. */
static inline void params_run_save(struct params_run *r, const char *folder, struct comm *all) {
    struct state_save save = {.run_folder = folder,
                              .step = 2,
                              .source = {.config = &r->config, .max_file_bytes = 4000},
                              .state_text = "{\"step\": 2}",
                              .owns_folder = tiny_owns};
    assert_true(state_save(&r->params, all, &save));
}

/* params_run_folder - a fresh one, made by the root; freed with free().  Collective. */
static inline char *params_run_folder(const char *name, struct comm *all) {
    char *folder = comm_is_root(all) ? test_folder(name) : NULL;
    comm_broadcast_text(all, &folder);
    return folder;
}
