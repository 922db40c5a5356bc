/* test_layout_search.c - what 'auto' chooses is what a search over everything finds: all replicas, stages, ways
 * to recompute and micro-batches, one by one, for many models, machines and numbers of ranks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/search_fixture.h"

/* search_all - by brute force; counts the layouts. */
static struct proposal search_all(const struct config *config, const struct model_config *model,
                                  const struct search_ranks *ranks, int64_t *count) {
    struct proposal best = {.zero_stage = -1};
    struct config trial = *config;
    const struct model_figures figures = figures_count(config, model);
    int64_t share = (config->train.batch_sequences + ranks->num_ranks - 1) / ranks->num_ranks;
    *count = 0;
    for (int replicas = 1; replicas <= ranks->num_ranks; replicas++)
        for (int zero_stage = 3; zero_stage >= 0; zero_stage--)
            for (int recompute = RECOMPUTE_LAYER; recompute >= RECOMPUTE_NONE; recompute--)
                for (int64_t micro = share; micro >= 1; micro--) {
                    struct grid grid;
                    if (grid_make(&grid,
                                  &(struct grid_shape){ranks->num_ranks, ranks->per_node, replicas, 1, 1, 1},
                                  0, NULL) != 0)
                        continue;
                    trial.train.micro_sequences = micro;
                    trial.train.recompute = (enum recompute)recompute;
                    trial.parallel.zero_stage = zero_stage;
                    for (int reduce = REDUCE_STEP; reduce >= REDUCE_MICRO; reduce--) {
                        trial.parallel.reduce = (enum reduce_when)reduce;
                        struct proposal next =
                            estimate_proposal(&trial, &figures, &grid, ranks->per_node, ranks->machine);
                        ++*count;
                        if (best.zero_stage < 0 || comes_before(&next, &best))
                            best = next;
                    }
                }
    return best;
}

static void test_brute_force(void **state) {
    (void)state;
    /* Wide and shallow: a layout costs a walk through all layers, and there are 77 000. */
    const struct model_config models[] = {llama(4096, 11008, 5, 32, 32000), llama(8192, 22016, 8, 64, 32000),
                                          llama(10240, 27648, 10, 80, 128256)};
    const struct machine machines[] = {machine_with(5e14, 150, 450, 80), machine_with(1.7e14, 6, 300, 80),
                                       machine_with(1.7e14, 1, 300, 40), machine_with(5e14, 1000, 450, 24),
                                       machine_with(5e14, 0.05, 450, 1000)};
    static const int shapes[][3] = {{1, 1, 64},  {2, 2, 7},   {8, 8, 64},   {8, 4, 96},
                                    {12, 6, 40}, {16, 8, 32}, {32, 4, 512}, {24, 8, 100}};
    struct config config;
    int64_t count, most = 0;
    int num_fits = 0, num_cases = 0, num_replicated = 0;
    const size_t stride = getenv("ATELIER_TEST_FEW_STEPS") ? 2 : 1; /* sanitizers take four times as long */
    load(&config);
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++)
        for (size_t k = 0; k < sizeof machines / sizeof machines[0]; k += stride)
            for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
                const struct search_ranks ranks = {shapes[s][0], shapes[s][1], &machines[k]};
                struct proposal got, want;
                config.train.batch_sequences = shapes[s][2];
                want = search_all(&config, &models[m], &ranks, &count);
                assert_int_equal(layout_search(&got, &config, &models[m], &ranks, ALL), want.fits);
                expect_same(&got, &want);
                num_fits += want.fits;
                num_replicated += want.fits && want.grid.axes[AXIS_REPLICA].size > 1;
                num_cases++;
                most = count > most ? count : most;
            }
    /* The cases are not all of one kind, or little would be shown. */
    print_message("%d cases, %d fit, %d of them in replicas; up to %lld layouts\n", num_cases, num_fits,
                  num_replicated, (long long)most);
    assert_true(num_fits > num_cases / 2 && num_fits < num_cases && num_replicated > 5 &&
                num_replicated < num_fits);
    config_free(&config);
}

/* Each part that is fixed stays, and the rest is the best with it. */
static void test_fixed_parts(void **state) {
    (void)state;
    const struct model_config model = llama(4096, 11008, 32, 32, 32000);
    const struct machine machine = machine_with(1.7e14, 6, 300, 80);
    const struct search_ranks ranks = {16, 8, &machine};
    struct config config;
    struct proposal all, fixed;
    load(&config);
    assert_true(layout_search(&all, &config, &model, &ranks, ALL));
    config.parallel.replicas = 4;
    assert_true(
        layout_search(&fixed, &config, &model, &ranks,
                      (struct search_freedom){
                          .micro_sequences = true, .recompute = true, .zero_stage = true, .reduce = true}));
    assert_true(fixed.grid.axes[AXIS_REPLICA].size == 4 && fixed.time.step_s >= all.time.step_s);
    config.parallel.replicas = 0; /* one in each node */
    assert_true(
        layout_search(&fixed, &config, &model, &ranks,
                      (struct search_freedom){
                          .micro_sequences = true, .recompute = true, .zero_stage = true, .reduce = true}));
    assert_int_equal(fixed.grid.axes[AXIS_REPLICA].size, 2);
    config.train.recompute = RECOMPUTE_FFN;
    assert_true(
        layout_search(&fixed, &config, &model, &ranks,
                      (struct search_freedom){.micro_sequences = true, .zero_stage = true, .reduce = true}));
    assert_int_equal(fixed.recompute, RECOMPUTE_FFN);
    config.parallel.zero_stage = 2;
    assert_true(layout_search(&fixed, &config, &model, &ranks,
                              (struct search_freedom){.micro_sequences = true, .reduce = true}));
    assert_int_equal(fixed.zero_stage, 2);
    config_free(&config);
}

/* A batch of 3 sequences a rank in one pass: micro-batches of 2 would compute 4. */
static void test_no_padding(void **state) {
    (void)state;
    const struct model_config model = llama(2048, 5632, 22, 32, 32000);
    const struct machine machine = machine_with(5e14, 150, 450, 80);
    const struct search_ranks ranks = {16, 8, &machine};
    struct config config;
    struct proposal best;
    load(&config);
    config.train.batch_sequences = 48;
    assert_true(layout_search(&best, &config, &model, &ranks, ALL));
    assert_true(best.micro_sequences == 1 || best.micro_sequences == 3);
    config_free(&config);
}

/* A replica that lies across the border of two nodes does not have the node's own links. */
static void test_straddling(void **state) {
    (void)state;
    const struct model_config model = llama(4096, 11008, 32, 32, 32000);
    const struct machine machine = machine_with(5e14, 10, 450, 80);
    struct config config;
    load(&config);
    config.train.micro_sequences = 1;
    config.train.recompute = RECOMPUTE_NONE;
    config.parallel.zero_stage = 3;
    /* 12 ranks on nodes of 6: replicas of 4 straddle, those of 3 do not. */
    struct grid four, three;
    assert_int_equal(grid_make(&four, &(struct grid_shape){12, 6, 3, 1, 1, 1}, 0, NULL) |
                         grid_make(&three, &(struct grid_shape){12, 6, 4, 1, 1, 1}, 0, NULL),
                     0);
    const struct model_figures figures = figures_count(&config, &model);
    struct proposal across = estimate_proposal(&config, &figures, &four, 6, &machine);
    struct proposal inside = estimate_proposal(&config, &figures, &three, 6, &machine);
    assert_true(across.time.link_s > 20 * inside.time.link_s);
    /* Control: on one node of 12 neither does. */
    across = estimate_proposal(&config, &figures, &four, 12, &machine);
    inside = estimate_proposal(&config, &figures, &three, 12, &machine);
    assert_true(across.time.link_s < 2 * inside.time.link_s);
    config_free(&config);
}

/* Ranks of a node that divide tensors: their rows go over its own links, and what each of them exchanges with its like in other
 * nodes shares the node's network with the others.  Control: without them one ring has all of it. */
static void test_tensor_links(void **state) {
    (void)state;
    const struct model_config model = llama(4096, 11008, 32, 32, 32000);
    const struct machine machine = machine_with(5e14, 40, 450, 80);
    struct config config;
    struct timeline_rates rates[2];
    load(&config);
    config.train.micro_sequences = 1;
    config.train.recompute = RECOMPUTE_NONE;
    config.parallel.zero_stage = 3;
    for (int i = 0; i < 2; i++) {
        struct grid grid;
        config.parallel.tensor = i ? 4 : 1;
        assert_int_equal(
            grid_make(&grid, &(struct grid_shape){16, 4, 1, 1, (int)config.parallel.tensor, 1}, 0, NULL), 0);
        const struct model_figures figures = figures_count(&config, &model);
        struct layout layout = layout_make(&config, &model, &grid, true);
        rates[i] = estimate_rates(&config, &figures, &layout, &grid, 4, &machine);
    }
    assert_true(rates[0].bytes_per_s[EXCHANGE_INSIDE] == 40e9);
    assert_true(rates[1].bytes_per_s[EXCHANGE_INSIDE] == 10e9);
    assert_true(rates[1].bytes_per_s[EXCHANGE_TENSOR] == 450e9);
    assert_true(fabs(rates[1].update_s / rates[0].update_s - 1) < 0.01); /* each a sixteenth, but for norms */
    config_free(&config);
}

/* best_of_each - of every number of ranks of a node that divides tensors, set by hand, the best. */
static struct proposal best_of_each(struct config config, const struct model_config *model,
                                    const struct search_ranks *ranks) {
    struct proposal best = {.zero_stage = -1}, next;
    for (int tensor = 1; tensor <= ranks->per_node; tensor *= 2) {
        config.parallel.tensor = tensor;
        layout_search(&next, &config, model, ranks, ALL);
        if (best.zero_stage < 0 || comes_before(&next, &best))
            best = next;
    }
    return best;
}

/* Ranks that divide tensors where they are free to choose: the best of all numbers; none over slow links; some where nothing else
 * fits; and where the model's heads cannot be divided, one. */
static void test_tensor(void **state) {
    (void)state;
    static const struct search_freedom FREE = {.replicas = true,
                                               .micro_sequences = true,
                                               .recompute = true,
                                               .zero_stage = true,
                                               .reduce = true,
                                               .tensor = true};
    struct model_config model = llama(8192, 22016, 8, 64, 32000);
    const struct machine machines[] = {machine_with(5e14, 150, 450, 80), machine_with(5e14, 150, 0.5, 80),
                                       machine_with(5e14, 150, 450, 24)};
    struct proposal got[3];
    struct config config;
    load(&config);
    config.data.sequence_tokens = 32768;
    config.train.batch_sequences = 16;
    for (int k = 0; k < 3; k++) {
        const struct search_ranks ranks = {16, 8, &machines[k]};
        struct proposal want = best_of_each(config, &model, &ranks);
        assert_int_equal(layout_search(&got[k], &config, &model, &ranks, FREE), want.fits);
        expect_same(&got[k], &want);
        assert_int_equal(got[k].grid.axes[AXIS_TENSOR].size, want.grid.axes[AXIS_TENSOR].size);
    }
    assert_int_equal(got[1].grid.axes[AXIS_TENSOR].size, 1);
    assert_true(got[2].fits && got[2].grid.axes[AXIS_TENSOR].size > 1);
    const struct search_ranks ranks = {16, 8, &machines[2]};
    struct proposal alone;
    assert_false(layout_search(&alone, &config, &model, &ranks, ALL));
    model.num_heads = model.num_kv_heads = 63;
    layout_search(&alone, &config, &model, &ranks, FREE);
    assert_int_equal(alone.grid.axes[AXIS_TENSOR].size, 1);
    config_free(&config);
}

/* best_of_experts - of every number of ranks that divides experts, set by hand, the best. */
static struct proposal best_of_experts(struct config config, const struct model_config *model,
                                       const struct search_ranks *ranks) {
    struct proposal best = {.zero_stage = -1}, next;
    for (int expert = 1; expert <= ranks->num_ranks; expert++) {
        config.parallel.expert = expert;
        if (ranks->num_ranks % expert != 0 || layout_check_expert(&config, model, NULL) != 0)
            continue;
        layout_search(&next, &config, model, ranks, ALL);
        if (best.zero_stage < 0 || comes_before(&next, &best))
            best = next;
    }
    return best;
}

/* Ranks that divide experts where they are free to choose: the best of all numbers; more than one where the network between them is
 * what takes time; a divisor of the experts alone; and one where the model has none. */
static void test_expert(void **state) {
    (void)state;
    static const struct search_freedom FREE = {.replicas = true,
                                               .micro_sequences = true,
                                               .recompute = true,
                                               .zero_stage = true,
                                               .reduce = true,
                                               .expert = true};
    struct model_config model = llama(2048, 6144, 4, 16, 32000);
    const struct machine machines[] = {machine_with(5e14, 150, 450, 80), machine_with(5e14, 5, 450, 24)};
    static const int num_experts[] = {6, 16};
    struct config config;
    struct proposal got;
    int most = 1;
    load(&config);
    snprintf(model.model_type, sizeof model.model_type, "mixtral");
    model.num_chosen = 2;
    for (int k = 0; k < 4; k++) {
        const struct search_ranks ranks = {16, 8, &machines[k / 2]};
        model.num_experts = num_experts[k % 2];
        struct proposal want = best_of_experts(config, &model, &ranks);
        assert_int_equal(layout_search(&got, &config, &model, &ranks, FREE), want.fits);
        expect_same(&got, &want);
        int size = got.grid.axes[AXIS_EXPERT].size;
        assert_int_equal(size, want.grid.axes[AXIS_EXPERT].size);
        assert_int_equal(model.num_experts % size, 0);
        print_message("%d experts: %d ranks divide them, %.4g s\n", model.num_experts, size, got.time.step_s);
        most = size > most ? size : most;
    }
    assert_true(most > 1);
    const struct search_ranks ranks = {16, 8, &machines[1]};
    model = llama(2048, 6144, 4, 16, 32000);
    layout_search(&got, &config, &model, &ranks, FREE);
    assert_int_equal(got.grid.axes[AXIS_EXPERT].size, 1);
    config_free(&config);
}

/* Thousands of layouts in a moment: a plan is asked for again and again. */
static void test_quick(void **state) {
    (void)state;
    const struct model_config model = llama(4096, 11008, 32, 32, 32000);
    const struct machine machine = machine_with(1.7e14, 6, 300, 80);
    const struct search_ranks ranks = {512, 8, &machine};
    struct config config;
    struct proposal best;
    struct timespec from, to;
    load(&config);
    config.train.batch_sequences = 4096;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    assert_true(layout_search(&best, &config, &model, &ranks, ALL));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    double seconds = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    print_message("512 ranks: chosen in %.1f ms\n", 1e3 * seconds);
    assert_true(seconds < 2); /* of processor time, and under a sanitizer */
    config_free(&config);
}

/* chosen_stage - for an adapter on q of a model of 12.6 GiB, on 4 ranks; *fits says whether it fits. */
static int chosen_stage(int memory_gib, enum adapter_resident resident, bool *fits) {
    struct model_config model = llama(4096, 11008, 32, 32, 32000);
    const struct machine machine = machine_with(5e14, 150, 450, memory_gib);
    const struct search_ranks ranks = {4, 4, &machine};
    struct config config;
    struct proposal best;
    load(&config);
    config.parallel.replicas = 1;
    config.adapter.resident = resident;
    model.adapter = (struct adapter){.method = ADAPTER_LORA, .ranks[ADAPTER_QUERY] = 8};
    for (int layer = 0; layer < model.num_layers; layer++)
        layer_set_add(&model.adapter.layers, layer);
    *fits =
        layout_search(&best, &config, &model, &ranks,
                      (struct search_freedom){
                          .micro_sequences = true, .recompute = true, .zero_stage = true, .reduce = true});
    config_free(&config);
    return best.zero_stage;
}

/* The base of an adapter is whole on each rank where there is room, else shared; the key decides otherwise. */
static void test_resident(void **state) {
    (void)state;
    bool fits;
    assert_true(chosen_stage(80, RESIDENT_AUTO, &fits) < 3 && fits);
    assert_true(chosen_stage(14, RESIDENT_AUTO, &fits) == 3 && fits);
    assert_true(chosen_stage(80, RESIDENT_NEVER, &fits) == 3 && fits);
    assert_true(chosen_stage(14, RESIDENT_ALWAYS, &fits) < 3 && !fits);
}

/* flops_of - of a token of 4096, with pairs on q from layer `first` to `last`. */
static double flops_of(int first, int last) {
    struct model_config model = llama(4096, 11008, 32, 32, 32000);
    model.adapter = (struct adapter){.method = ADAPTER_LORA, .ranks[ADAPTER_QUERY] = 8};
    for (int layer = first; layer <= last; layer++)
        layer_set_add(&model.adapter.layers, layer);
    struct config config;
    load(&config);
    const struct model_figures figures = figures_count(&config, &model);
    config_free(&config);
    return estimate_flops_per_token(&figures, 4096);
}

/* Layers below the first with a pair have no backward: neither a product with their matrices nor attention's.  Control: a pair in
 * the first layer makes all of them have one. */
static void test_layers_below(void **state) {
    (void)state;
    double products = 2 * (4 * 4096.0 * 4096.0 + 3 * 4096.0 * 11008.0), attention = 8 * 128.0 * 2048.5 * 32;
    double pairs = 6 * 8 * 8192.0; /* of a layer, trained */
    double saved = flops_of(0, 31) - flops_of(16, 31);
    assert_true(fabs(saved / (16 * (products + attention + pairs)) - 1) < 1e-3);
    assert_true(fabs(flops_of(0, 0) / flops_of(0, 31) - 1) < 1e-3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brute_force),  cmocka_unit_test(test_fixed_parts),
        cmocka_unit_test(test_no_padding),   cmocka_unit_test(test_straddling),
        cmocka_unit_test(test_quick),        cmocka_unit_test(test_resident),
        cmocka_unit_test(test_layers_below), cmocka_unit_test(test_tensor_links),
        cmocka_unit_test(test_tensor),       cmocka_unit_test(test_expert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
