/* test_plan.c - the plan: flops against a count by hand, memory against the arenas themselves, what is chosen
 * and why; a calibration there and back; the judgement of bandwidths and of slow ranks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "train/plan/calibration.h"
#include "train/plan/hints.h"
#include "train/plan/run_plan.h"
#include "train/run/probe.h"
#include "train/run/stragglers.h"

/* Llama 3.1 8B. */
static struct model_config llama_8b(void) {
    return (struct model_config){.model_type = "llama",
                                 .width = 4096,
                                 .ffn_width = 14336,
                                 .vocab_size = 128256,
                                 .max_positions = 131072,
                                 .num_layers = 32,
                                 .num_heads = 32,
                                 .num_kv_heads = 8,
                                 .head_dim = 128,
                                 .norm_eps = 1e-5F,
                                 .rope_theta = 5e5,
                                 .dtype = DTYPE_BF16};
}

static const char RUN[] = "model: {path: nowhere, save_dtype: bf16}\n"
                          "data: {train: a.h5, sequence_tokens: 4096}\n"
                          "train: {steps: 1000, batch_sequences: 64, micro_sequences: 1, compute: bf16}\n";

static void load(struct config *config, const char *const *overrides, int num_overrides) {
    struct err err = {""};
    if (config_load_text(config, RUN, strlen(RUN), "run.yaml", overrides, num_overrides, &err) != 0)
        fail_msg("%s", err.text);
    config->parallel.reduce = REDUCE_MICRO; /* layouts are made without 'auto' */
}

static struct machine h100(void) {
    return (struct machine){.name = "H100",
                            .flops_per_s = 5e14,
                            .bytes_per_s = 3e12,
                            .link_bytes_per_s = 4e11,
                            .node_bytes_per_s = 1e11,
                            .watts = 560,
                            .on_gpu = true,
                            .memory_bytes = (size_t)80 << 30};
}

static struct grid grid_of(int replicas, int shards) {
    struct grid grid;
    const int sizes[AXIS_COUNT] = {replicas, shards, 1, 1, 1};
    grid_place(&grid, GRID_AXES, AXIS_COUNT, sizes, 0);
    return grid;
}

/* --- flops and memory --- */

static void test_flops(void **state) {
    (void)state;
    struct model_config model = llama_8b();
    /* 32 layers of q, o 4096 x 4096, k, v 1024 x 4096, three of 14336 x 4096; the head 128256 x 4096. */
    double products = 32.0 * (2 * 16777216.0 + 2 * 4194304.0 + 3 * 58720256.0) + 525336576.0;
    /* 2 (q k and p v) x 2 flops x 128 per pair; 4097 / 2 pairs per token, 32 heads, 32 layers; backward
     * twice. */
    double attention = 3 * 4 * 128.0 * 2048.5 * 32 * 32;
    struct config config;
    load(&config, NULL, 0);
    const struct model_figures figures = figures_count(&config, &model);
    config_free(&config);
    double got = estimate_flops_per_token(&figures, 4096);
    assert_true(fabs(got - (6 * products + attention)) < 1);
    assert_true(fabs(got - 48249962496.0) < 1);
    /* The control: without the head it would be a 15th less. */
    assert_true(got - (6 * (products - 525336576.0) + attention) > 3e9);
}

static void small_model(struct model_config *model) {
    *model = llama_8b();
    model->width = 64;
    model->ffn_width = 160;
    model->vocab_size = 300;
    model->num_layers = 3;
    model->num_heads = 4;
    model->num_kv_heads = 2;
    model->head_dim = 16;
}

/* check_memory - the plan of one layout is what is then allocated. */
static void check_memory(struct config *config, const struct model_config *model, const struct grid *grid) {
    struct layout layout = layout_make(config, model, grid, false);
    struct layout_memory plan = layout_memory(&layout, 0);
    struct device dev;
    struct params params;
    struct model decoder;
    device_open_cpu(&dev, 1);
    params_create(&params, &dev, &layout.params);
    model_create(&decoder, &dev, &params, &layout.model);
    size_t taken = params.arena_params.used_bytes + params.arena_grads.used_bytes +
                   params.arena_optimizer.used_bytes + params.arena_comm.used_bytes +
                   decoder.arena.used_bytes;
    assert_int_equal(plan.device, taken);
    assert_int_equal(plan.on_host, params.arena_offloaded.used_bytes);
    assert_int_equal(plan.device,
                     plan.parameters + plan.gradients + plan.optimizer + plan.transfers + plan.activations);
    /* The control: one sequence more in a forward pass is seen. */
    layout.model.max_tokens += config->data.sequence_tokens;
    assert_true(layout_memory(&layout, 0).device > taken);
    model_free(&decoder);
    params_free(&params);
    device_close(&dev);
}

static void test_memory(void **state) {
    (void)state;
    static const char *const overrides[] = {"data.sequence_tokens=16", "train.compute=f32"};
    struct model_config model;
    struct config config;
    small_model(&model);
    load(&config, overrides, 2);
    for (int shards = 1; shards <= 4; shards *= 2)
        for (int zero_stage = 0; zero_stage <= 3; zero_stage++)
            for (int recompute = RECOMPUTE_NONE; recompute <= RECOMPUTE_LAYER; recompute++)
                for (int micro = 1; micro <= 2; micro++)
                    for (int replicas = 1; replicas <= 2; replicas++) {
                        struct grid grid = grid_of(replicas, shards);
                        config.parallel.zero_stage = zero_stage;
                        config.train.recompute = (enum recompute)recompute;
                        config.train.micro_sequences = micro;
                        config.optimizer.state_dtype = micro == 1 ? DTYPE_F32 : DTYPE_BF16;
                        config.optimizer.offload = replicas == 2;
                        config.parallel.reduce = recompute % 2 ? REDUCE_STEP : REDUCE_MICRO;
                        check_memory(&config, &model, &grid);
                    }
    config_free(&config);
}

/* A device must have room for the plan and for what is kept free beside it: to the byte. */
static void test_memory_check(void **state) {
    (void)state;
    const size_t gib = (size_t)1 << 30;
    struct layout_memory memory = {.parameters = 2 * gib, .optimizer = 6 * gib, .device = 8 * gib};
    struct err err = {""};
    assert_int_equal(layout_check(&memory, 0, 8 * gib, 16 * gib, &err), 0);
    assert_int_equal(layout_check(&memory, GPU_HEADROOM_BYTES, 9 * gib, 16 * gib, &err), 0);
    assert_int_equal(layout_check(&memory, GPU_HEADROOM_BYTES, 9 * gib - 1, 16 * gib, &err), -1);
    static const char *const parts[] = {"needs 8.00 GiB and 1.00 more for CUDA",
                                        "has 9.00 of 16.00 GiB free",
                                        "parameters 2.000, optimizer 6.000",
                                        "train.micro_sequences",
                                        "train.recompute: layer",
                                        "parallel.stage: 3"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!strstr(err.text, parts[i]))
            fail_msg("'%s' is not in: %s", parts[i], err.text);
    assert_int_equal(layout_check(&memory, 0, 8 * gib - 1, 16 * gib, &err), -1);
    assert_null(strstr(err.text, "more for CUDA")); /* a CPU needs none of it */
}

/* --- time --- */

static double step_s(const struct config *config, struct grid grid, int per_node,
                     const struct machine *machine) {
    struct model_config model = llama_8b();
    const struct model_figures figures = figures_count(config, &model);
    return estimate_proposal(config, &figures, &grid, per_node, machine).time.step_s;
}

static void test_time(void **state) {
    (void)state;
    struct config config;
    struct machine machine = h100(), slow = h100();
    load(&config, NULL, 0);
    double eight = step_s(&config, grid_of(1, 8), 8, &machine);
    /* All the flops of a step at the rate of all ranks, and not much more: the rest is memory. */
    double ideal = 48249962496.0 * 64 * 4096 / (8 * 5e14);
    assert_true(eight > ideal && eight < 1.6 * ideal);
    assert_true(step_s(&config, grid_of(1, 16), 8, &machine) < eight);
    slow.node_bytes_per_s = 1e9;
    assert_true(step_s(&config, grid_of(1, 16), 8, &slow) > step_s(&config, grid_of(1, 16), 8, &machine));
    /* On a slow network a replica in each node beats one over all; on one node the network does not matter.
     */
    assert_true(step_s(&config, grid_of(2, 8), 8, &slow) < step_s(&config, grid_of(1, 16), 8, &slow));
    assert_true(step_s(&config, grid_of(1, 8), 8, &slow) == eight);
    slow = h100();
    slow.flops_per_s /= 2;
    assert_true(step_s(&config, grid_of(1, 8), 8, &slow) > 1.7 * eight);
    config.train.recompute = RECOMPUTE_LAYER;
    double again = step_s(&config, grid_of(1, 8), 8, &machine);
    assert_true(again > 1.2 * eight && again < 1.4 * eight); /* a forward more: a third of the products */
    config.train.recompute = RECOMPUTE_NONE;
    config.optimizer.offload = true;
    assert_true(step_s(&config, grid_of(1, 8), 8, &machine) > eight);
    config_free(&config);
}

/* A base in four bits: beside a slow network its gathers are what is stored; on one rank restoring it is traffic of memory. */
static void test_packed_time(void **state) {
    (void)state;
    struct config config;
    struct model_config model = llama_8b();
    struct machine machine = h100(), slow = h100();
    struct grid sixteen = grid_of(1, 16), one = grid_of(1, 1);
    load(&config, NULL, 0);
    model.adapter = (struct adapter){.method = ADAPTER_LORA, .ranks[ADAPTER_QUERY] = 8};
    layer_set_add(&model.adapter.layers, 0);
    slow.node_bytes_per_s = 1e9;
    config.parallel.zero_stage = 3;
    const struct model_figures figures = figures_count(&config, &model);
    double hidden = estimate_proposal(&config, &figures, &sixteen, 8, &slow).time.exchange_s;
    double alone = estimate_proposal(&config, &figures, &one, 8, &machine).time.compute_s;
    config.adapter.base = BASE_NF4;
    double packed_hidden = estimate_proposal(&config, &figures, &sixteen, 8, &slow).time.exchange_s;
    double packed_alone = estimate_proposal(&config, &figures, &one, 8, &machine).time.compute_s;
    /* 6.98 of the 8.03 billion are matrices of layers, 4.5 bits of 16: gathered for the forward and again for the backward, but for
     * two of 32 that are there from the forward; embedding and head are gathered once. */
    double layers = 6.98 * (2 - 2.0 / 32), share = (1.05 + layers * 4.5 / 16) / (1.05 + layers);
    assert_true(packed_hidden > 0.97 * share * hidden && packed_hidden < 1.03 * share * hidden);
    assert_true(packed_alone > alone && packed_alone < 1.05 * alone);
    config_free(&config);
}

/* --- choices --- */

static void test_best(void **state) {
    (void)state;
    static const struct search_freedom ALL = {
        .replicas = true, .micro_sequences = true, .recompute = true, .zero_stage = true, .reduce = true};
    struct config config;
    struct model_config model = llama_8b();
    struct machine machine = h100(), small = h100();
    struct search_ranks ranks = {8, 8, &machine};
    struct proposal best, tight;
    load(&config, NULL, 0);
    assert_true(layout_search(&best, &config, &model, &ranks, ALL));
    assert_true(best.memory.device <= estimate_room_bytes(&machine));
    assert_int_equal(best.recompute, RECOMPUTE_NONE); /* 80 GiB hold it without */
    /* Less memory: still fits, by recomputing or splitting more, and slower. */
    small.memory_bytes = (size_t)32 << 30;
    ranks.machine = &small;
    assert_true(layout_search(&tight, &config, &model, &ranks, ALL));
    assert_true(tight.memory.device <= estimate_room_bytes(&small));
    assert_true(tight.time.step_s > best.time.step_s);
    /* What is fixed stays fixed. */
    ranks.machine = &machine;
    config.train.recompute = RECOMPUTE_LAYER;
    config.parallel.zero_stage = 2;
    assert_true(layout_search(&tight, &config, &model, &ranks,
                              (struct search_freedom){.micro_sequences = true, .reduce = true}));
    assert_true(tight.recompute == RECOMPUTE_LAYER && tight.zero_stage == 2 &&
                tight.grid.axes[AXIS_REPLICA].size == 1);
    /* Nothing fits: told, with the smallest. */
    small.memory_bytes = (size_t)8 << 30;
    ranks.machine = &small;
    assert_false(layout_search(&tight, &config, &model, &ranks, ALL));
    assert_true(!tight.fits && tight.zero_stage == 3 && tight.recompute == RECOMPUTE_LAYER &&
                tight.micro_sequences == 1 && tight.grid.axes[AXIS_REPLICA].size == 1);
    /* Replicas that do not divide the ranks: no layout at all. */
    config.parallel.replicas = 3;
    assert_false(
        layout_search(&tight, &config, &model, &ranks,
                      (struct search_freedom){
                          .micro_sequences = true, .recompute = true, .zero_stage = true, .reduce = true}));
    assert_int_equal(tight.grid.num_axes, 0);
    config_free(&config);
}

static void test_auto(void **state) {
    (void)state;
    static const char *const overrides[] = {"train.micro_sequences=auto", "train.recompute=auto",
                                            "parallel.stage=auto", "parallel.replicas=auto"};
    struct config config, same;
    struct model_config model = llama_8b();
    struct machine machine = h100();
    struct search_ranks ranks = {16, 8, &machine};
    char why[AUTO_LAYOUT_ROOM] = "", again[AUTO_LAYOUT_ROOM] = "";
    load(&config, overrides, 4);
    assert_non_null(strstr(config.text, "micro_sequences: auto"));
    assert_non_null(strstr(config.text, "stage: auto"));
    same = config;
    assert_true(auto_layout_choose(&config, &model, &ranks, why));
    assert_true(config.train.micro_sequences >= 1 && config.parallel.zero_stage >= 0 &&
                config.train.recompute != RECOMPUTE_AUTO && config.parallel.replicas >= 1);
    assert_non_null(strstr(why, "replicas "));
    assert_non_null(strstr(why, "micro_sequences "));
    /* A network of next to nothing: what goes over it is one sum in a step; a fast one: no need of it. */
    struct machine slow = h100();
    struct config other = same;
    slow.node_bytes_per_s = 5e9;
    ranks.machine = &slow;
    assert_true(auto_layout_choose(&other, &model, &ranks, again));
    assert_int_equal(other.parallel.replicas, 2);
    /* Nodes that differ: one replica, and why. */
    other = same;
    again[0] = '\0';
    ranks.per_node = 0;
    assert_true(auto_layout_choose(&other, &model, &ranks, again));
    assert_int_equal(other.parallel.replicas, 1);
    assert_non_null(strstr(again, "one replica, because the nodes have different numbers of ranks"));
    /* What is given is left alone, and nothing is said. */
    again[0] = '\0';
    struct config given = config;
    ranks.num_ranks = 32;
    assert_true(auto_layout_choose(&given, &model, &ranks, again));
    assert_true(given.parallel.replicas == config.parallel.replicas &&
                given.train.micro_sequences == config.train.micro_sequences);
    assert_string_equal(again, "");
    config_free(&same);
}

static void test_auto_layout_machine(void **state) {
    (void)state;
    struct site_facts facts = {.is_known = true, .machine = h100()};
    /* Two boards of a kind report a little less than their name, each its own: the same answer. */
    struct machine one = auto_layout_machine(&facts, true, (size_t)(79.1 * 0x1p30)),
                   other = auto_layout_machine(&facts, true, (size_t)(79.6 * 0x1p30));
    assert_int_equal(one.memory_bytes, other.memory_bytes);
    assert_int_equal(one.memory_bytes, facts.machine.memory_bytes);
    /* Another kind of board is not mistaken for it. */
    assert_int_equal(auto_layout_machine(&facts, true, (size_t)40 << 30).memory_bytes, (size_t)40 << 30);
    assert_false(auto_layout_machine(&facts, false, (size_t)64 << 30).on_gpu);
}

/* What is decided by the longest sequence of a run is said where short documents are in it, and of no other model. */
static void test_positions_hint(void **state) {
    (void)state;
    const struct {
        enum rope_kind kind;
        int64_t original;
        bool is_said;
    } cases[] = {
        {ROPE_LONG, 4095, true}, {ROPE_LONG, 4096, false}, {ROPE_PLAIN, 0, false}, {ROPE_YARN, 64, false}};
    struct config config;
    load(&config, NULL, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[HINT_ROOM], hints[MAX_HINTS][HINT_ROOM];
        struct model_config model = llama_8b();
        model.rope_kind = cases[i].kind;
        model.rope_original_positions = cases[i].original;
        hint_positions(&config, &model, text);
        assert_int_equal(strstr(text, "4096: beyond 4095, longrope's long_factor") != NULL, cases[i].is_said);
        assert_int_equal(text[0] != '\0', cases[i].is_said);
        assert_true(strlen(text) + 1 < HINT_ROOM);
        assert_int_equal(plan_hints(&config, &model, hints), cases[i].is_said);
    }
    config_free(&config);
}

/* --- the whole plan --- */

static void test_run_plan(void **state) {
    (void)state;
    struct config config;
    struct model_config model = llama_8b();
    struct run_place place = {.nodes = 1,
                              .ranks_per_node = 4,
                              .time_s = 3600,
                              .lead_s = 300,
                              .billed_gpus = 4,
                              .machine = h100(),
                              .facts = {.is_known = true, .machine = h100()}};
    struct run_plan plan, twice;
    const struct tasks_plan none = {.num_items = 0};
    struct err err = {""};
    load(&config, NULL, 0);
    assert_int_equal(run_plan_make(&plan, &config, &model, &place, &none, &err), 0);
    assert_true(plan.proposal.fits && plan.wall_s > 1000 * plan.proposal.time.step_s);
    assert_int_equal(plan.num_jobs, (int64_t)ceil(plan.wall_s / (3600 - 300 - 180)));
    assert_true(plan.billed_hours > 4 * plan.wall_s / 3600 && plan.billed_hours < 4.6 * plan.wall_s / 3600);
    /* Of 8.03e9 values three quarters are sent in each of 16 micro-batches: gradients in f32, and twice in bf16 what is
     * gathered, but the head and two layers each way, which lie there from before, and the embedding, which no backward reads. */
    double inside = 0.75 * 16 * (8.03e9 * (4 + 2 * 2) - 2 * (4 * 0.218e9 + 2 * 0.525e9));
    assert_true(plan.sent_bytes[EXCHANGE_ACROSS] == 0 &&
                fabs((double)plan.sent_bytes[EXCHANGE_INSIDE] - inside) < 0.005 * inside);
    /* kWh: 560 W a GPU for as long as it is paid. */
    assert_true(fabs(plan.kwh - 0.56 * plan.billed_hours) < 1e-6 * plan.kwh);
    config.train.steps *= 2;
    assert_int_equal(run_plan_make(&twice, &config, &model, &place, &none, &err), 0);
    assert_true(twice.wall_s > 1.8 * plan.wall_s && twice.num_jobs > plan.num_jobs);
    /* One GPU of 80 GiB does not hold it: that is said, with ways out that fit. */
    place.ranks_per_node = 1;
    char name[] = "p";
    struct site_partition partition = {.name = name};
    place.partition = &partition;
    assert_int_equal(run_plan_make(&plan, &config, &model, &place, &none, &err), 0);
    assert_false(plan.proposal.fits);
    assert_true(plan.num_advice > 0);
    for (int i = 0; i < plan.num_advice; i++)
        assert_true(plan.advice[i].proposal.fits && strncmp(plan.advice[i].change, "--set ", 6) == 0);
    /* More ranks than sequences: refused. */
    place.ranks_per_node = 65;
    assert_int_equal(run_plan_make(&plan, &config, &model, &place, &none, &err), -1);
    assert_non_null(strstr(err.text, "batch_sequences"));
    config_free(&config);
}

/* --- calibration --- */

static void test_calibration(void **state) {
    (void)state;
    char *folder = test_folder("plan-calibration"), *path = xasprintf("%s/c.json", folder);
    struct calibration made = {.kind = "NVIDIA H100",
                               .partition = "gpu_p6",
                               .host = "r1",
                               .date = "2026-01-02",
                               .on_gpu = true,
                               .flops_16 = 7.5e14,
                               .flops_32 = 5e13,
                               .copy_bytes_per_s = 2.9e12},
                       read;
    struct err err = {""};
    struct machine machine = h100(), before = machine;
    assert_int_equal(calibration_write(&made, path, &err), 0);
    assert_int_equal(calibration_read(&read, path, &err), 0);
    assert_memory_equal(&made, &read, sizeof made);
    calibration_apply(&machine, &read, DTYPE_BF16, 4);
    assert_true(machine.measured && machine.flops_per_s > 5e14 && machine.flops_per_s < 7.5e14);
    assert_true(machine.bytes_per_s == 2.9e12);
    assert_true(machine.link_bytes_per_s == before.link_bytes_per_s); /* not measured: the profile's stays */
    assert_int_equal(machine.memory_bytes, before.memory_bytes);
    /* The control: of a processor, it says nothing about a GPU. */
    read.on_gpu = false;
    machine = before;
    calibration_apply(&machine, &read, DTYPE_BF16, 4);
    assert_true(!machine.measured && machine.flops_per_s == before.flops_per_s);
    static const char *const BAD[] = {
        "",
        "{}",
        "[1]",
        "{\"made_by\": \"x\", \"on_gpu\": 3}",
        "{\"made_by\": \"x\", \"on_gpu\": true, \"flops_16\": -1}",
        "{\"made_by\": \"x\", \"on_gpu\": true, \"copy_bytes_per_s\": \"fast\"}"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(BAD[i], file);
        fclose(file);
        assert_int_equal(calibration_read(&read, path, &err), -1);
    }
    free(path);
    free(folder);
}

/* --- probe and stragglers --- */

static void test_probe(void **state) {
    (void)state;
    assert_int_equal(probe_judge(60e9, 100e9, 0), PROBE_GOOD);
    assert_int_equal(probe_judge(49e9, 100e9, 0), PROBE_SLOW);
    assert_int_equal(probe_judge(1e9, 100e9, 0), PROBE_SLOW); /* minimum 0: never refused */
    assert_int_equal(probe_judge(1e9, 100e9, 0.1), PROBE_REFUSED);
    assert_int_equal(probe_judge(60e9, 100e9, 0.8), PROBE_REFUSED);
    assert_int_equal(probe_judge(1, 0, 1), PROBE_GOOD); /* nothing is known */
    assert_true(probe_is_wanted(PROBE_AUTO, 4, 1, true));
    assert_true(probe_is_wanted(PROBE_AUTO, 4, 2, false));
    assert_false(probe_is_wanted(PROBE_AUTO, 4, 1, false));
    assert_true(probe_is_wanted(PROBE_ON, 4, 1, false));
    assert_false(probe_is_wanted(PROBE_OFF, 4, 2, true));
    assert_false(probe_is_wanted(PROBE_ON, 1, 1, true));
    const double third_slow[] = {10, 1.1, 1.0, 10, 10}, first_slow[] = {1, 10, 10, 1.2}, pair[] = {1, 1};
    assert_int_equal(probe_slowest_node(third_slow, 5), 2);
    assert_int_equal(probe_slowest_node(first_slow, 4), 0);
    assert_int_equal(probe_slowest_node(pair, 2), -1);
}

static void test_stragglers(void **state) {
    (void)state;
    double median;
    int slowest;
    const double even[] = {1.0, 1.1, 0.95, 1.05}, one[] = {1.0, 1.0, 1.2, 1.0}, two[] = {1.0, 1.3},
                 alone[] = {3.0};
    assert_int_equal(straggler_find(even, 4, &median, &slowest), -1);
    assert_int_equal(slowest, 1);
    assert_int_equal(straggler_find(one, 4, &median, &slowest), 2);
    assert_true(median == 1.0);
    assert_int_equal(straggler_find(two, 2, &median, &slowest), 1);
    assert_int_equal(straggler_find(alone, 1, &median, &slowest), -1);
    char advice[200];
    straggler_advice(advice, sizeof advice, "n1", true);
    assert_non_null(strstr(advice, "--exclude=n1"));
    straggler_advice(advice, sizeof advice, "n1", false); /* its only node: the job would have none */
    assert_null(strstr(advice, "--exclude"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flops),          cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_check),   cmocka_unit_test(test_time),
        cmocka_unit_test(test_packed_time),    cmocka_unit_test(test_best),
        cmocka_unit_test(test_auto),           cmocka_unit_test(test_auto_layout_machine),
        cmocka_unit_test(test_positions_hint), cmocka_unit_test(test_run_plan),
        cmocka_unit_test(test_calibration),    cmocka_unit_test(test_probe),
        cmocka_unit_test(test_stragglers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
