/* test_micro_group.c - train.micro_sequences where a run file says nothing: short sequences together, as far as they fit and a rank has
 * some; long ones one at a time, without a word.  What is set stays what it is. */
#include "tests/search_fixture.h"
#include "train/plan/micro_group.h"

static const char SHORT[] = "model: {path: nowhere, save_dtype: bf16}\n"
                            "data: {train: a.h5, sequence_tokens: 128}\n"
                            "train: {steps: 10, batch_sequences: 32, compute: bf16}\n"
                            "parallel: {stage: 0}\n";

/* open_run - of the text above, with other words. */
static void open_run(struct config *config, const char *const *overrides, int num_overrides) {
    struct err err = {""};
    if (config_load_text(config, SHORT, strlen(SHORT), "run.yaml", overrides, num_overrides, &err) != 0)
        fail_msg("%s", err.text);
}

static struct machine processor(int memory_mib) {
    return (struct machine){.flops_per_s = 1e11,
                            .bytes_per_s = 1e10,
                            .link_bytes_per_s = 2e9,
                            .node_bytes_per_s = 1e9,
                            .memory_bytes = (size_t)memory_mib << 20};
}

/* chosen - how many sequences so many ranks of a machine take; why: room AUTO_LAYOUT_ROOM. */
static int64_t chosen(struct config *config, const struct machine *machine, int num_ranks, char *why) {
    const struct model_config model = llama(256, 704, 4, 4, 8192);
    const struct search_ranks ranks = {num_ranks, num_ranks, machine};
    why[0] = '\0';
    auto_layout_choose(config, &model, &ranks, why);
    return config->train.micro_sequences;
}

static void test_groups(void **state) {
    (void)state;
    static const char *const LONG[] = {"data.sequence_tokens=512"},
                             *const SET[] = {"train.micro_sequences=1"},
                             *const FASTEST[] = {"train.micro_sequences=auto"},
                             *const WORD[] = {"train.micro_sequences=group"};
    static const struct {
        const char *const *overrides;
        int num_ranks;
        int64_t want;
        const char *said; /* NULL: nothing */
    } CASES[] = {{NULL, 1, 4, "micro_sequences 4 (short ones together)"},
                 {WORD, 1, 4, "micro_sequences 4 (short ones together)"},
                 {NULL, 16, 2, "micro_sequences 2 (short ones together)"}, /* a rank has two */
                 {LONG, 1, 1, NULL},
                 {SET, 1, 1, NULL}, /* the controls: what is set, and the fastest of all */
                 {FASTEST, 1, 32, "micro_sequences 32, "}};
    const struct machine machine = processor(4096);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct config config;
        char why[AUTO_LAYOUT_ROOM];
        open_run(&config, CASES[i].overrides, CASES[i].overrides ? 1 : 0);
        assert_int_equal(chosen(&config, &machine, CASES[i].num_ranks, why), CASES[i].want);
        if (CASES[i].said ? !strstr(why, CASES[i].said) : why[0] != '\0')
            fail_msg("case %d says '%s'", (int)i, why);
        config_free(&config);
    }
}

/* A memory that has room for one sequence and not for four. */
static void test_memory(void **state) {
    (void)state;
    char why[AUTO_LAYOUT_ROOM];
    size_t bytes[2];
    for (int k = 0; k < 2; k++) {
        struct config config;
        const struct model_config model = llama(256, 704, 4, 4, 8192);
        struct grid grid;
        open_run(&config, NULL, 0);
        config.train.micro_sequences = k == 0 ? 1 : 4;
        config.parallel.reduce = REDUCE_MICRO;
        const struct machine machine = processor(4096);
        const struct model_figures figures = figures_count(&config, &model);
        assert_int_equal(grid_make(&grid, &(struct grid_shape){1, 1, 1, 1, 1, 1}, 0, NULL), 0);
        bytes[k] = estimate_proposal(&config, &figures, &grid, 1, &machine).memory.device;
        config_free(&config);
    }
    struct machine machine = processor(0);
    for (int k = 0; k < 2; k++) { /* the second is the control: room for four */
        struct config config;
        open_run(&config, NULL, 0);
        machine.memory_bytes = (size_t)((double)bytes[k] / 0.92) + ((size_t)1 << 20);
        int64_t got = chosen(&config, &machine, 1, why);
        assert_true(k == 0 ? got < 4 : got == 4);
        config_free(&config);
    }
}

/* Of other lengths, on a processor and on a GPU. */
static void test_sizes(void **state) {
    (void)state;
    static const int64_t CASES[][3] = {{64, 8, 64}, {128, 4, 32}, {300, 1, 13},
                                       {512, 1, 8}, {4096, 1, 1}, {9000, 1, 1}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct config config = {.data = {.sequence_tokens = CASES[i][0]}};
        assert_int_equal(micro_group(&config, false), CASES[i][1]);
        assert_int_equal(micro_group(&config, true), CASES[i][2]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
