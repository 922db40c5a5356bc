/* test_model_routers.c - the controls of the families with experts: computed with one part of a router otherwise, or left out, the loss of
 * a golden model is another one, and that is the one that was computed beside transformers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model_fixture.h"

static const char *const VARIANTS[] = {"glm4_moe",  "glm4_moe_air",    "gpt_oss", "mixtral",
                                       "qwen3_moe", "qwen3_moe_dense", "olmoe"};

/* num_variants - on the kernels' stand-in, where each takes ten seconds, the first, but for WHOLE=1. */
static size_t num_variants(void) {
    return getenv("SIMT_ARCH") && !getenv("WHOLE") ? 1 : sizeof VARIANTS / sizeof *VARIANTS;
}

/* What a router of sigmoids could be computed without. */
static void leave_out_correction(struct fixture *f, int layer) {
    struct weight correction = params_weight(&f->params, 1 + layer, ROLE_ROUTER_CORRECTION);
    device_zero(&f->dev, correction.value);
}

static void leave_out_groups(struct fixture *f, int layer) {
    f->model.layers[layer].plan.route.num_groups = 1;
}

static void leave_out_scale(struct fixture *f, int layer) {
    f->model.layers[layer].plan.route.scale = 1;
}

static void leave_out_shared(struct fixture *f, int layer) {
    f->model.layers[layer].plan.block_width = 0;
}

static const struct mistake {
    const char *key;
    void (*make)(struct fixture *f, int layer);
} MISTAKES[] = {{"wrong/no_correction", leave_out_correction},
                {"wrong/no_groups", leave_out_groups},
                {"wrong/no_scale", leave_out_scale},
                {"wrong/no_shared_experts", leave_out_shared}};

/* check_mistake - the loss with one part left out is another one, and that is the one that was computed beside transformers. */
static void check_mistake(const char *variant, const struct mistake *mistake) {
    struct fixture f;
    fixture_open(&f, variant, RECOMPUTE_NONE, 0);
    bool has_groups = f.config.num_groups > 1;
    if (mistake->make != leave_out_groups || has_groups) {
        for (int layer = 0; layer < f.config.num_layers; layer++)
            if (f.model.layers[layer].plan.ffn == FFN_EXPERTS)
                mistake->make(&f, layer);
        double loss = gradients(&f), want = number(&f, mistake->key);
        print_message("%-14s %s: loss %.9f, expected %.9f\n", variant, mistake->key, loss, want);
        assert_true(fabs(loss - want) < 1e-5 * want);
        assert_true(fabs(loss - number(&f, "loss")) > 1e-3 * want);
    }
    fixture_close(&f);
}

static void test_mistakes(void **state) {
    (void)state;
    for (size_t m = 0; m < sizeof MISTAKES / sizeof *MISTAKES; m++)
        check_mistake("glm4_moe", &MISTAKES[m]);
    for (size_t m = 0; m < sizeof MISTAKES / sizeof *MISTAKES && num_variants() > 1; m++)
        check_mistake("glm4_moe_air", &MISTAKES[m]);
}

/* other_way - the loss with the routers' weights renormalised where they are not, or not where they are. */
static double other_way(struct fixture *f) {
    for (int layer = 0; layer < f->config.num_layers; layer++)
        f->model.layers[layer].plan.route.renormalises ^= 1;
    return gradients(f);
}

/* The control of the families with experts: the other way the loss is another one, and that is the one that was computed beside
 * transformers. */
static void test_renormalised(void **state) {
    (void)state;
    for (size_t v = 0, count = num_variants(); v < count; v++) {
        struct fixture f;
        fixture_open(&f, VARIANTS[v], RECOMPUTE_NONE, 0);
        double loss = other_way(&f), want = number(&f, "wrong/other_renormalisation");
        assert_true(fabs(loss - want) < 1e-5 * want);
        assert_true(fabs(loss - number(&f, "loss")) > 1e-3 * want);
        fixture_close(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mistakes), cmocka_unit_test(test_renormalised)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
