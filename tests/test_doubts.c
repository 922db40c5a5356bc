/* test_doubts.c - the margin of a plan: each thing that was not measured widens it, by what the same clock says of other rates; what
 * plays no part does not.  The margin is put together here once more, from what is told. */
#include "tests/check.h"

#include <math.h>
#include <string.h>

#include "train/plan/doubts.h"

static const char RUN[] = "run: {threads: 1}\n"
                          "model: {tokenizer: tokenizer.json}\n"
                          "data: {train: train.h5, sequence_tokens: 4096}\n"
                          "parallel: {replicas: 1, stage: 3, tensor: 1, reduce: step}\n"
                          "train: {steps: 10, batch_sequences: 16, micro_sequences: 1, compute: bf16, "
                          "recompute: none}\n";

static struct model_config llama(void) {
    return (struct model_config){.model_type = "llama",
                                 .width = 4096,
                                 .ffn_width = 14336,
                                 .vocab_size = 128256,
                                 .max_positions = 8192,
                                 .num_layers = 32,
                                 .num_heads = 32,
                                 .num_kv_heads = 8,
                                 .head_dim = 128,
                                 .norm_eps = 1e-5f,
                                 .rope_theta = 500000.0};
}

static struct machine measured_machine(void) {
    return (struct machine){.name = "GPU",
                            .flops_per_s = 4e14,
                            .bytes_per_s = 2e12,
                            .link_bytes_per_s = 2e11,
                            .node_bytes_per_s = 2e10,
                            .on_gpu = true,
                            .measured = true,
                            .link_measured = true,
                            .node_measured = true};
}

/* A plan of so many ranks, 4 on a node. */
struct plan {
    struct config config;
    struct model_config model;
    struct model_figures figures;
    struct grid grid;
};

static void plan_open(struct plan *plan, int num_ranks, struct model_config model) {
    struct err err = {""};
    const int sizes[AXIS_COUNT] = {[AXIS_REPLICA] = 1,
                                   [AXIS_SHARD] = num_ranks,
                                   [AXIS_EXPERT] = 1,
                                   [AXIS_CONTEXT] = 1,
                                   [AXIS_TENSOR] = 1};
    plan->model = model;
    if (config_load_text(&plan->config, RUN, strlen(RUN), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    grid_place(&plan->grid, GRID_AXES, AXIS_COUNT, sizes, 0);
    plan->figures = figures_count(&plan->config, &plan->model);
}

static struct doubts doubts_of(const struct plan *plan, const struct machine *machine) {
    struct doubts doubts;
    double less = 0, more = 0;
    doubts_find(&doubts, &plan->config, &plan->figures, &plan->grid, 4, machine);
    struct layout layout = layout_make(&plan->config, &plan->model, &plan->grid, true);
    double step_s = estimate_step(&plan->config, &plan->figures, &layout, &plan->grid, 4, machine).step_s;
    for (int i = 0; i < doubts.count; i++) {
        less += pow(doubts.all[i].less_s / step_s, 2);
        more += pow(doubts.all[i].more_s / step_s, 2);
    }
    assert_true(fabs(doubts.high - 1 - sqrt(more)) < 1e-9);
    assert_true(fabs(doubts.low - fmax(0.1, 1 - sqrt(less))) < 1e-9);
    return doubts;
}

static double step_of(const struct plan *plan, const struct machine *machine) {
    struct layout layout = layout_make(&plan->config, &plan->model, &plan->grid, true);
    return estimate_step(&plan->config, &plan->figures, &layout, &plan->grid, 4, machine).step_s;
}

static void expect_wider(const struct doubts *wide, const struct doubts *narrow) {
    assert_true(wide->high > narrow->high + 1e-6 && wide->low < narrow->low);
}

/* One GPU: rates measured, of data sheets, of nobody; its links do not matter. */
static void test_rates(void **state) {
    (void)state;
    struct plan plan;
    struct machine machine = measured_machine();
    plan_open(&plan, 1, llama());
    struct doubts measured = doubts_of(&plan, &machine);
    assert_int_equal(measured.count, 1);
    assert_true(fabs(measured.low - 0.85) < 1e-9 && fabs(measured.high - 1.2) < 1e-9);
    machine.link_measured = machine.node_measured = false; /* the control */
    assert_int_equal(doubts_of(&plan, &machine).count, 1);
    machine.measured = false;
    struct doubts assumed = doubts_of(&plan, &machine);
    expect_wider(&assumed, &measured);
    machine.guessed = true;
    struct doubts guessed = doubts_of(&plan, &machine);
    expect_wider(&guessed, &assumed);
    config_free(&plan.config);
}

/* Two nodes: what the network may cost is what the clock says at half of it. */
static void test_links(void **state) {
    (void)state;
    struct plan plan;
    struct machine machine = measured_machine(), half = machine;
    plan_open(&plan, 8, llama());
    struct doubts known = doubts_of(&plan, &machine);
    machine.node_measured = false;
    struct doubts unknown = doubts_of(&plan, &machine);
    expect_wider(&unknown, &known);
    assert_int_equal(unknown.count, known.count + 1);
    half.node_bytes_per_s /= 2;
    double more_s = step_of(&plan, &half) - step_of(&plan, &machine);
    assert_true(more_s > 0 && fabs(unknown.all[unknown.count - 1].more_s - more_s) < 1e-9 * more_s);
    machine.link_measured = false; /* the control: all of the exchange is between nodes */
    assert_int_equal(doubts_of(&plan, &machine).count, unknown.count);
    config_free(&plan.config);
    plan_open(&plan, 4, llama()); /* on one node it is the other way round */
    machine.link_bytes_per_s = 1e10;
    struct doubts inside = doubts_of(&plan, &machine);
    assert_int_equal(inside.count, 2);
    assert_non_null(strstr(inside.all[1].what, "inside"));
    config_free(&plan.config);
}

/* What would be told as 0 % of a step is not told: links of a node so fast that half of their rate is nothing.  Control: slower ones. */
static void test_little(void **state) {
    (void)state;
    struct plan plan;
    struct machine machine = measured_machine();
    plan_open(&plan, 4, llama());
    machine.link_measured = false;
    machine.link_bytes_per_s = 1e13;
    struct doubts fast = doubts_of(&plan, &machine);
    machine.link_bytes_per_s = 1e10;
    struct doubts slow = doubts_of(&plan, &machine);
    assert_int_equal(fast.count, 1);
    assert_int_equal(slow.count, 2);
    assert_true(slow.all[1].more_s > 0.005 * step_of(&plan, &machine));
    config_free(&plan.config);
}

/* Of a kind of GPU that nothing was published of, the slowest are as much slower as of the others: the largest share of the table. */
static void test_usual_uneven(void **state) {
    (void)state;
    struct plan plan;
    struct machine machine = measured_machine();
    plan_open(&plan, 4, llama());
    assert_true(gpu_usual_uneven() == gpu_rates_of("H100 SXM5")->uneven && gpu_rates_of("V100")->uneven == 0);
    machine.measured = false;
    struct doubts unknown = doubts_of(&plan, &machine);
    machine.uneven = gpu_usual_uneven();
    struct doubts known = doubts_of(&plan, &machine);
    const struct doubt *a = &unknown.all[unknown.count - 1], *b = &known.all[known.count - 1];
    double lost = 1 - gpu_slowest_share(gpu_usual_uneven(), 4);
    assert_string_equal(a->what, b->what);
    assert_true(lost > 0.03 && fabs(a->less_s * (1 / (1 - lost)) - b->less_s) < 0.05 * b->less_s);
    config_free(&plan.config);
}

/* Experts, whose kernels' rate is a prediction, products in 8 bits, and the slowest of many GPUs. */
static void test_products(void **state) {
    (void)state;
    struct plan plan;
    struct machine machine = measured_machine();
    struct model_config model = llama();
    plan_open(&plan, 4, model);
    struct doubts before = doubts_of(&plan, &machine);
    machine.uneven = 0.02;
    struct doubts uneven = doubts_of(&plan, &machine);
    expect_wider(&uneven, &before);
    machine.measured = false;
    struct doubts assumed = doubts_of(&plan, &machine);
    machine.uneven = 0; /* nothing was published: as of the others */
    struct doubts unpublished = doubts_of(&plan, &machine);
    assert_int_equal(unpublished.count, assumed.count);
    assert_non_null(strstr(unpublished.all[unpublished.count - 1].what, "slowest"));
    config_free(&plan.config);
    snprintf(model.model_type, sizeof model.model_type, "mixtral");
    model.num_experts = 8;
    model.num_chosen = 2;
    machine = measured_machine();
    plan_open(&plan, 4, model);
    struct doubts experts = doubts_of(&plan, &machine);
    machine.experts_flops_per_s = 2e14;
    struct doubts predicted = doubts_of(&plan, &machine);
    assert_true(predicted.high > experts.high && predicted.count > experts.count);
    config_free(&plan.config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),        cmocka_unit_test(test_links),    cmocka_unit_test(test_little),
        cmocka_unit_test(test_usual_uneven), cmocka_unit_test(test_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
