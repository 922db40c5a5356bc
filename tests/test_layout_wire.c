/* test_layout_wire.c - parallel.wire: auto takes what the same clock says is faster, of both types set by hand. */
#include "tests/search_fixture.h"

/* wired - the best layout with that wire. */
static struct proposal wired(const struct config *config, const struct model_config *model,
                             const struct search_ranks *ranks, enum wire_type wire) {
    struct config trial = *config;
    struct search_freedom freedom = ALL;
    struct proposal best;
    trial.parallel.wire = wire;
    freedom.wire = wire == WIRE_AUTO;
    layout_search(&best, &trial, model, ranks, freedom);
    return best;
}

/* The wire between replicas where it is free: the faster of both set by hand.  A slow network takes 16 bits; a fast one beside a slow
 * memory f32, which rounds nothing and adds no widened copies; what computes in f32, and one rank, have nothing to choose. */
static void test_wire(void **state) {
    (void)state;
    struct model_config model = llama(4096, 11008, 5, 32, 32000);
    struct machine machines[] = {machine_with(5e14, 2, 450, 80), machine_with(5e14, 100000, 100000, 80)};
    static const enum wire_type EXPECTED[] = {WIRE_COMPUTE, WIRE_F32};
    struct config config;
    load(&config);
    config.train.compute = COMPUTE_BF16;
    config.parallel.replicas = 2; /* on each of two nodes */
    config.parallel.zero_stage = 1;
    machines[1].bytes_per_s = 2e11;
    for (int k = 0; k < 2; k++) {
        const struct search_ranks ranks = {16, 8, &machines[k]};
        struct search_freedom freedom = {.micro_sequences = true, .recompute = true, .wire = true};
        struct proposal by[2], got;
        for (int wire = WIRE_COMPUTE; wire <= WIRE_F32; wire++) {
            config.parallel.wire = (enum wire_type)wire;
            layout_search(&by[wire], &config, &model, &ranks,
                          (struct search_freedom){.micro_sequences = true, .recompute = true});
        }
        config.parallel.wire = WIRE_AUTO;
        assert_true(layout_search(&got, &config, &model, &ranks, freedom));
        print_message("16 bits %.4g s, f32 %.4g s\n", by[WIRE_COMPUTE].time.step_s, by[WIRE_F32].time.step_s);
        assert_int_equal(got.wire, EXPECTED[k]);
        expect_same(&got, &by[EXPECTED[k]]);
        assert_true(by[EXPECTED[k]].time.step_s < by[1 - EXPECTED[k]].time.step_s);
        config.train.compute = COMPUTE_F32; /* the control: one type */
        assert_true(layout_search(&got, &config, &model, &ranks, freedom));
        assert_int_equal(got.wire, WIRE_COMPUTE);
        config.train.compute = COMPUTE_BF16;
    }
    config.parallel.replicas = AUTO_REPLICAS;
    config.parallel.zero_stage = AUTO_STAGE;
    for (int k = 0; k < 2; k++) { /* with all else open it is the best of both */
        const struct search_ranks ranks = {16, 8, &machines[k]};
        struct proposal compute = wired(&config, &model, &ranks, WIRE_COMPUTE),
                        f32 = wired(&config, &model, &ranks, WIRE_F32),
                        got = wired(&config, &model, &ranks, WIRE_AUTO);
        expect_same(&got, comes_before(&f32, &compute) ? &f32 : &compute);
    }
    config_free(&config);
}

/* What was chosen for the wire is told with what the other would take, and settled without a word where nothing crosses. */
static void test_wire_told(void **state) {
    (void)state;
    struct model_config model = llama(4096, 11008, 5, 32, 32000);
    const struct machine machine = machine_with(5e14, 2, 450, 80);
    const struct search_ranks ranks = {16, 8, &machine}, alone = {1, 1, &machine};
    struct config config, given;
    char why[AUTO_LAYOUT_ROOM] = "", silent[AUTO_LAYOUT_ROOM] = "";
    load(&config);
    config.train.compute = COMPUTE_BF16;
    config.train.recompute = RECOMPUTE_NONE;
    config.train.micro_sequences = 1;
    config.parallel.replicas = 2;
    config.parallel.zero_stage = 1;
    config.parallel.wire = WIRE_AUTO;
    given = config;
    assert_true(auto_layout_choose(&config, &model, &ranks, why));
    assert_int_equal(config.parallel.wire, WIRE_COMPUTE);
    if (!strstr(why, "wire compute, ") || !strstr(why, "gradients cross in bf16: in f32 a step would take "))
        fail_msg("%s", why);
    given.parallel.replicas = 1;
    assert_true(auto_layout_choose(&given, &model, &alone, silent));
    assert_int_equal(given.parallel.wire, WIRE_COMPUTE);
    assert_string_equal(silent, "");
    config_free(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire),
        cmocka_unit_test(test_wire_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
