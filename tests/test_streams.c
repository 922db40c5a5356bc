/* test_streams.c - random numbers belong to a tensor by its name: a model with more layers, or with a head of
 * its own, gives every tensor that both have the same new weights, and the same stochastic rounding of its
 * moments. */
#include "tests/tiny_run.h"

/* A model after one update whose gradients are the weights themselves. */
struct trained {
    struct model_config model;
    struct device dev;
    struct params params;
};

static void trained_open(struct trained *t, int num_layers, bool tied, int64_t seed) {
    static const struct config config = {
        .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}};
    t->model = tiny_config(tied);
    t->model.num_layers = num_layers;
    device_open_cpu(&t->dev, 1);
    struct params_setup setup = {.model = &t->model,
                                 .compute = DTYPE_F32,
                                 .optimizer = &optimizer_adamw,
                                 .moments = DTYPE_BF16,
                                 .trains = true,
                                 .num_ranks = 1};
    params_create(&t->params, &t->dev, &setup);
    state_init(&t->params, seed);
    for (struct segment *s = NULL; (s = params_next(&t->params, s));)
        memcpy(params_own_grad(&t->params, s), s->master, (size_t)s->own_count * sizeof(float));
    struct optimizer_step step = {.number = 1, .learning_rate = 1e-3, .grad_norm = 1, .loss_scale = 1};
    optimizer_update(&t->params, NULL, &config, &step);
}

static void trained_close(struct trained *t) {
    params_free(&t->params);
    device_close(&t->dev);
}

/* find - a tensor by its role and layer; its segment to *segment.  NULL: this model has none. */
static const struct unit_tensor *find(const struct params *params, struct param param,
                                      const struct segment **segment) {
    for (*segment = NULL; (*segment = params_next(params, *segment));)
        for (int i = 0; i < (*segment)->num_tensors; i++) {
            const struct unit_tensor *tensor = &(*segment)->tensors[i];
            if (tensor->param.role == param.role && tensor->param.layer == param.layer)
                return tensor;
        }
    return NULL;
}

/* same_bf16 - count values of two arrays, from an element on. */
static bool same_bf16(const uint16_t *a, int64_t a_first, const uint16_t *b, int64_t b_first, size_t count) {
    return memcmp(a + a_first, b + b_first, count * sizeof *a) == 0;
}

/* num_different - of the tensors that both models have: how many differ in weights or moments. */
static int num_different(const struct trained *a, const struct trained *b, int *num_shared) {
    struct param at = PARAM_START;
    int different = 0;
    *num_shared = 0;
    while (family_next_param(&a->model, &at)) {
        const struct segment *u, *v;
        const struct unit_tensor *x = find(&a->params, at, &u), *y = find(&b->params, at, &v);
        if (!y)
            continue;
        size_t count = (size_t)x->count;
        bool same = memcmp(u->master + x->offset, v->master + y->offset, count * sizeof(float)) == 0 &&
                    same_bf16(u->states[0], x->offset, v->states[0], y->offset, count) &&
                    same_bf16(u->states[1], x->offset, v->states[1], y->offset, count);
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

/* What a new model's vectors hold: norms that are kept less one begin at zero, as biases do, and others at one. */
static void test_new_vectors(void **state) {
    (void)state;
    for (int nemotron = 0; nemotron < 2; nemotron++) {
        struct model_config model = tiny_config(false);
        model.num_layers = 2;
        struct device dev;
        struct params params;
        int num_vectors = 0;
        assert_int_equal(model_config_set_family(&model, nemotron ? "nemotron" : "llama", NULL), 0);
        device_open_cpu(&dev, 1);
        struct params_setup setup = {.model = &model, .compute = DTYPE_F32, .num_ranks = 1};
        params_create(&params, &dev, &setup);
        state_init(&params, 5);
        for (const struct segment *s = NULL; (s = params_next(&params, s));)
            for (int t = 0; t < s->num_tensors; t++) {
                const float *values = (const float *)s->full + s->tensors[t].offset;
                bool vector = s->tensors[t].spec->cols == DIM_NONE;
                for (int64_t i = 0; i < s->tensors[t].count && vector; i++)
                    assert_true(values[i] == (nemotron ? 0.0f : 1.0f));
                assert_true(vector || (values[0] != 0 && values[0] != 1)); /* the control */
                num_vectors += vector;
            }
        assert_int_equal(num_vectors, nemotron ? 2 * 4 + 2 : 2 * 2 + 1);
        params_free(&params);
        device_close(&dev);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_other_models),
                                       cmocka_unit_test(test_new_vectors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
