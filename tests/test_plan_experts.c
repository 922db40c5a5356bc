/* test_plan_experts.c - the plan of a model with experts, by hand: what a token multiplies by, and what experts take with equal shares of
 * tokens and with all tokens on the same ones. */
#include <math.h>
#include <string.h>

#include "tests/check.h"
#include "train/plan/estimate.h"
#include "train/plan/links.h"
#include "train/plan/timetable.h"

static const char RUN[] =
    "model: {path: nowhere}\n"
    "data: {train: a.h5, sequence_tokens: 4096}\n"
    "train: {steps: 10, batch_sequences: 64, micro_sequences: 1, compute: bf16, recompute: none}\n"
    "parallel: {stage: 3, reduce: micro}\n";

/* Mixtral 8x7B. */
static struct model_config mixtral(void) {
    return (struct model_config){.model_type = "mixtral",
                                 .width = 4096,
                                 .ffn_width = 14336,
                                 .vocab_size = 32000,
                                 .max_positions = 32768,
                                 .num_layers = 32,
                                 .num_heads = 32,
                                 .num_kv_heads = 8,
                                 .head_dim = 128,
                                 .num_experts = 8,
                                 .num_chosen = 2,
                                 .renormalises = true,
                                 .norm_eps = 1e-5F,
                                 .rope_theta = 1e6,
                                 .dtype = DTYPE_BF16};
}

/* In the matrices of the layers: two experts of three 14336 x 4096 each. */
static const double IN_EXPERTS = 32.0 * 2 * 3 * 4096 * 14336;

static void load(struct config *config) {
    struct err err = {""};
    if (config_load_text(config, RUN, strlen(RUN), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
}

static void test_flops(void **state) {
    (void)state;
    struct config config;
    struct model_config model = mixtral();
    load(&config);
    const struct model_figures figures = figures_count(&config, &model);
    /* 32 layers of q, o 4096 x 4096, k, v 1024 x 4096, a router of 8 x 4096; the head. */
    double products = 32.0 * (2 * 16777216.0 + 2 * 4194304.0 + 8 * 4096) + IN_EXPERTS + 32000.0 * 4096;
    double attention = 3 * 4 * 128.0 * 2048.5 * 32 * 32;
    assert_true(fabs(estimate_flops_per_token(&figures, 4096) - (6 * products + attention)) < 1);
    assert_true(figures.in_experts == IN_EXPERTS);
    model.num_chosen = 8; /* the control: all of them */
    const struct model_figures all = figures_count(&config, &model);
    assert_true(fabs(all.in_experts - 4 * IN_EXPERTS) < 1);
    config_free(&config);
}

/* A rank's 8 micro-batches of 4096 tokens: 1024 rows of each expert of a layer, or 4096 of two of them. */
static void test_shares(void **state) {
    (void)state;
    const int sizes[AXIS_COUNT] = {
        [AXIS_REPLICA] = 1, [AXIS_SHARD] = 8, [AXIS_EXPERT] = 1, [AXIS_CONTEXT] = 1, [AXIS_TENSOR] = 1};
    struct grid grid;
    struct config config;
    struct model_config model = mixtral();
    struct machine machine = {.name = "GPU",
                              .flops_per_s = 5e14,
                              .bytes_per_s = 3e12,
                              .link_bytes_per_s = 4e11,
                              .node_bytes_per_s = 1e11,
                              .on_gpu = true};
    load(&config);
    grid_place(&grid, GRID_AXES, AXIS_COUNT, sizes, 0);
    const struct model_figures figures = figures_count(&config, &model);
    struct layout layout = layout_make(&config, &model, &grid, true);
    double at_full = 8 * 4096 * 6 * IN_EXPERTS / machine.flops_per_s;
    struct step_time time = estimate_step(&config, &figures, &layout, &grid, 8, &machine);
    assert_int_equal(time.num_micros, 8);
    assert_true(fabs(time.even_s / at_full - (1024 + 512) / 1024.0) < 1e-6); /* 512 rows: half of the rate */
    assert_true(fabs(time.crowded_s / at_full - (4096 + 512) / 4096.0) < 1e-6);
    assert_true(time.even_s < time.compute_s);
    machine.experts_flops_per_s = 2e14; /* kernels of their own: half of a tile of 128 rows is empty */
    time = estimate_step(&config, &figures, &layout, &grid, 8, &machine);
    assert_true(fabs(time.even_s / at_full * 2e14 / 5e14 - (1024 + 64) / 1024.0) < 1e-6);
    assert_true(fabs(time.crowded_s / at_full * 2e14 / 5e14 - (4096 + 64) / 4096.0) < 1e-6);
    machine.experts_flops_per_s = 0;
    layout.model.experts.size =
        4; /* as many rows of four ranks, on each expert; or all of them on one rank's */
    time = estimate_step(&config, &figures, &layout, &grid, 8, &machine);
    assert_true(fabs(time.even_s / at_full - (4096 + 512) / 4096.0) < 1e-6);
    assert_true(fabs(time.crowded_s / at_full - 4 * (16384 + 512) / 16384.0) < 1e-6);
    layout.model.experts.size = 1;
    machine.on_gpu = false; /* where 32 rows have half of the rate the two ends come together */
    time = estimate_step(&config, &figures, &layout, &grid, 8, &machine);
    assert_true(time.even_s / time.crowded_s > 1 && time.even_s / time.crowded_s < 1.05);
    config_free(&config);
}

/* Ranks that divide experts: parameters that each has, and rows that it sends. */
static void test_divided(void **state) {
    (void)state;
    struct config config;
    struct model_config model = mixtral();
    struct layout_memory memory[2];
    struct timetable table;
    load(&config);
    config.parallel.zero_stage = 2;
    for (int divides = 0; divides < 2; divides++) {
        struct grid grid;
        const struct grid_shape shape = {8, 8, 1, 1, 1, divides ? 4 : 1};
        assert_int_equal(grid_make(&grid, &shape, 0, NULL), 0);
        struct layout layout = layout_make(&config, &model, &grid, true);
        memory[divides] = layout_memory(&layout, 0);
        timetable_make(&table, &layout, 1);
        /* five times a layer three quarters of the 8192 places' rows, of 4096 values in 16 bits */
        assert_int_equal(table.sent_bytes[EXCHANGE_EXPERT], divides ? 32LL * 5 * 3 * 2048 * 4096 * 2 : 0);
        timetable_free(&table);
    }
    /* 6 of the 8 experts less, in bf16: 32 layers of three 14336 x 4096 matrices; masters are an eighth in either case */
    double less = (double)memory[0].parameters - (double)memory[1].parameters;
    assert_true(fabs(less - 32.0 * 6 * 3 * 14336 * 4096 * 2) < 1e6);
    assert_true(memory[1].activations > memory[0].activations);
    config_free(&config);
}

/* flops_with_pairs - of a token, with pairs of rank 16 on the experts, of which the model has so many. */
static double flops_with_pairs(const struct config *config, int num_experts) {
    struct model_config model = mixtral();
    model.num_experts = num_experts;
    model.adapter.method = ADAPTER_LORA;
    for (int layer = 0; layer < model.num_layers; layer++)
        layer_set_add(&model.adapter.layers, layer);
    for (int target = ADAPTER_GATE; target <= ADAPTER_DOWN; target++) {
        model.adapter.ranks[target] = 16;
        model.adapter.alphas[target] = 16;
    }
    const struct model_figures figures = figures_count(config, &model);
    return estimate_flops_per_token(&figures, 4096);
}

/* Pairs on experts that a token does not go to cost it nothing: more experts are a wider router, frozen, whose products are the forward and
 * the gradient of what it read. */
static void test_pairs(void **state) {
    (void)state;
    struct config config;
    load(&config);
    double few = flops_with_pairs(&config, 8), many = flops_with_pairs(&config, 128);
    assert_true(fabs(many - few - 4 * 32.0 * 120 * 4096) < 1);
    config_free(&config);
}

/* links_of - of 16 ranks, four to a node, of which so many divide the experts. */
static struct timeline_rates links_of(int num_expert) {
    const struct machine machine = {.link_bytes_per_s = 3e11, .node_bytes_per_s = 1e11};
    const struct grid_shape shape = {16, 4, 1, 1, 1, num_expert};
    struct timeline_rates rates = {.forward_s = 0};
    struct grid grid;
    assert_int_equal(grid_make(&grid, &shape, 0, NULL), 0);
    links_take(&rates, &grid, 4, &machine);
    return rates;
}

/* Experts inside a node use its links, and the rings of those that have the same ones share its network; experts over all nodes leave
 * one shard, and nothing of it is inside a node for that. */
static void test_links(void **state) {
    (void)state;
    const struct timeline_rates near = links_of(4), far = links_of(16);
    assert_true(near.bytes_per_s[EXCHANGE_EXPERT] == 3e11 && far.bytes_per_s[EXCHANGE_EXPERT] == 1e11 / 4);
    assert_true(near.bytes_per_s[EXCHANGE_HOLDERS] == 1e11 / 4);
    assert_true(near.bytes_per_s[EXCHANGE_INSIDE] == 1e11 && far.bytes_per_s[EXCHANGE_INSIDE] == 1e11);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flops), cmocka_unit_test(test_shares), cmocka_unit_test(test_divided),
        cmocka_unit_test(test_pairs), cmocka_unit_test(test_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
