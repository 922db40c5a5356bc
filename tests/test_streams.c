/* test_streams.c - random numbers belong to a tensor by its name: a model with more layers, or with a head of
 * its own, gives every tensor that both have the same new weights, and the same stochastic rounding of its
 * moments. */
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "train/model/shard.h"
#include "train/model/state.h"
#include "train/run/optimizer.h"

static struct model_config model_of(int num_layers, bool tied) {
    return (struct model_config){.model_type = "llama",
                                 .width = 24,
                                 .ffn_width = 40,
                                 .vocab_size = 61,
                                 .max_positions = 64,
                                 .num_layers = num_layers,
                                 .num_heads = 4,
                                 .num_kv_heads = 2,
                                 .head_dim = 6,
                                 .norm_eps = 1e-5f,
                                 .tied_head = tied,
                                 .initializer_range = 0.15f,
                                 .rope_theta = 10000.0};
}

/* A model after one update whose gradients are the weights themselves. */
struct trained {
    struct model_config model;
    struct device dev;
    struct params params;
};

static void trained_open(struct trained *t, int num_layers, bool tied, int64_t seed) {
    static const struct config config = {
        .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}};
    t->model = model_of(num_layers, tied);
    device_open_cpu(&t->dev, 1);
    struct params_setup setup = {
        .model = &t->model, .compute = DTYPE_F32, .moments = DTYPE_BF16, .trains = true, .num_ranks = 1};
    params_create(&t->params, &t->dev, &setup);
    state_init(&t->params, seed);
    for (int u = 0; u < t->params.num_units; u++)
        memcpy(params_own_grad(&t->params, u), t->params.units[u].master,
               (size_t)t->params.units[u].own_count * sizeof(float));
    struct optimizer_step step = {.number = 1, .learning_rate = 1e-3, .grad_norm = 1, .loss_scale = 1};
    optimizer_update(&t->params, &config, &step);
}

static void trained_close(struct trained *t) {
    params_free(&t->params);
    device_close(&t->dev);
}

/* find - a tensor by its role and layer; its unit to *unit.  NULL: this model has none. */
static const struct unit_tensor *find(const struct params *params, struct param param, int *unit) {
    for (*unit = 0; *unit < params->num_units; (*unit)++)
        for (int i = 0; i < params->units[*unit].num_tensors; i++) {
            const struct unit_tensor *tensor = &params->units[*unit].tensors[i];
            if (tensor->param.role == param.role && tensor->param.layer == param.layer)
                return tensor;
        }
    return NULL;
}

/* num_different - of the tensors that both models have: how many differ in weights or moments. */
static int num_different(const struct trained *a, const struct trained *b, int *num_shared) {
    struct param at = PARAM_START;
    int different = 0;
    *num_shared = 0;
    while (family_next_param(&a->model, &at)) {
        int unit_a, unit_b;
        const struct unit_tensor *x = find(&a->params, at, &unit_a), *y = find(&b->params, at, &unit_b);
        if (!y)
            continue;
        const struct unit *u = &a->params.units[unit_a], *v = &b->params.units[unit_b];
        size_t count = (size_t)x->count;
        bool same = memcmp(u->master + x->offset, v->master + y->offset, count * sizeof(float)) == 0 &&
                    memcmp((uint16_t *)u->m + x->offset, (uint16_t *)v->m + y->offset, count * 2) == 0 &&
                    memcmp((uint16_t *)u->v + x->offset, (uint16_t *)v->v + y->offset, count * 2) == 0;
        different += !same;
        ++*num_shared;
    }
    return different;
}

static void test_other_models(void **state) {
    (void)state;
    struct trained base, deeper, untied, other_seed;
    int shared;
    trained_open(&base, 2, true, 5);
    trained_open(&deeper, 3, true, 5);
    trained_open(&untied, 2, false, 5);
    trained_open(&other_seed, 2, true, 6);
    assert_int_equal(num_different(&base, &deeper, &shared), 0);
    assert_int_equal(shared, 2 + 2 * 9);
    assert_int_equal(num_different(&base, &untied, &shared), 0);
    assert_int_equal(shared, 2 + 2 * 9);
    assert_int_equal(num_different(&base, &other_seed, &shared), 1 + 2 * 7); /* the control: all but norms */
    trained_close(&base), trained_close(&deeper), trained_close(&untied), trained_close(&other_seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_other_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
