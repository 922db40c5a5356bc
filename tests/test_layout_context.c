/* test_layout_context.c - parallel.context: auto takes the best of every number of ranks that can share a text, set by hand: more than one
 * where nothing else fits, one where all fits already, over slow links, and where the model's heads cannot be shared. */
#include "tests/search_fixture.h"

/* by_hand - the best layout of all numbers that may be set. */
static struct proposal by_hand(const struct config *config, const struct model_config *model,
                               const struct search_ranks *ranks) {
    struct config trial = *config;
    struct proposal best = {.zero_stage = -1}, next;
    for (int context = 1; context <= ranks->num_ranks; context++) {
        trial.parallel.context = context;
        if (ranks->num_ranks % context != 0 || layout_check_sizes(&trial, model, ranks->num_ranks, NULL) != 0)
            continue;
        layout_search(&next, &trial, model, ranks, ALL);
        if (best.zero_stage < 0 || comes_before(&next, &best))
            best = next;
    }
    return best;
}

static void test_best(void **state) {
    (void)state;
    static const struct {
        int64_t sequence_tokens;
        double node_gb_s, link_gb_s;
        int memory_gib, heads;
        bool shares;
    } CASES[] = {
        {65536, 150, 450, 32, 64, true},  /* a text does not fit into a rank */
        {4096, 150, 450, 80, 64, false},  /* the controls: it does; */
        {65536, 1, 0.5, 400, 64, false},  /* rows would cross slow links; */
        {65536, 150, 450, 32, 63, false}, /* heads that no number divides */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct model_config model = llama(4096, 11008, 4, 64, 32000);
        const struct machine machine =
            machine_with(5e14, CASES[i].node_gb_s, CASES[i].link_gb_s, CASES[i].memory_gib);
        const struct search_ranks ranks = {8, 4, &machine};
        struct search_freedom freedom = ALL;
        struct config config;
        struct proposal got;
        load(&config);
        model.num_heads = model.num_kv_heads = CASES[i].heads;
        config.data.sequence_tokens = CASES[i].sequence_tokens;
        config.train.batch_sequences = 16;
        const struct proposal want = by_hand(&config, &model, &ranks);
        config.parallel.context = AUTO_CONTEXT;
        freedom.context = true;
        assert_int_equal(layout_search(&got, &config, &model, &ranks, freedom), want.fits);
        expect_same(&got, &want);
        int size = got.grid.axes[AXIS_CONTEXT].size;
        print_message("case %d: %d ranks share a text, %.4g s, fits: %d\n", (int)i, size, got.time.step_s,
                      got.fits);
        assert_int_equal(size, want.grid.axes[AXIS_CONTEXT].size);
        assert_int_equal(size > 1, CASES[i].shares);
        config_free(&config);
    }
}

/* What is chosen stands in the configuration, and is told. */
static void test_told(void **state) {
    (void)state;
    const struct model_config model = llama(4096, 11008, 4, 64, 32000);
    const struct machine machine = machine_with(5e14, 150, 450, 32);
    const struct search_ranks ranks = {8, 4, &machine};
    struct config config;
    char why[AUTO_LAYOUT_ROOM] = "", said[32];
    load(&config);
    config.data.sequence_tokens = 65536;
    config.parallel.context = AUTO_CONTEXT;
    auto_layout_choose(&config, &model, &ranks, why);
    snprintf(said, sizeof said, "context %lld, ", (long long)config.parallel.context);
    assert_true(config.parallel.context > 1 && strncmp(why, said, strlen(said)) == 0);
    config_free(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
