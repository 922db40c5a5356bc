/* test_async_choice.c - checkpoint.async: auto is true where the copy fits beside the rest, false where one byte is missing; what
 * is asked for stays.  The copy is counted in the plan as it is taken: 12 bytes for each parameter with AdamW. */
#include "train/plan/async_choice.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"
#include "tests/check.h"

/* A rank of one, or of several at stage 1, of a small model. */
static const struct model_config MODEL = {.model_type = "llama",
                                          .width = 64,
                                          .ffn_width = 128,
                                          .vocab_size = 1000,
                                          .max_positions = 64,
                                          .num_layers = 2,
                                          .num_heads = 4,
                                          .num_kv_heads = 4,
                                          .head_dim = 16,
                                          .norm_eps = 1e-5f,
                                          .rope_theta = 10000.0};

static void load(struct config *config, const char *more) {
    char text[400];
    struct err err;
    snprintf(
        text, sizeof text,
        "run: {folder: r}\ndata: {sequence_tokens: 16}\nmodel: {path: base}\n"
        "train: {batch_sequences: 4, micro_sequences: 1, recompute: none}\nparallel: {stage: 1, replicas: 1}\n"
        "checkpoint: {%s}\n",
        more);
    if (config_load_text(config, text, strlen(text), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    config->parallel.reduce = REDUCE_MICRO; /* as the search has it at this stage */
}

/* chosen - on so many ranks of a machine with that memory for each. */
static enum async_save chosen(const char *more, int num_ranks, struct machine machine) {
    struct config config;
    load(&config, more);
    const struct search_ranks ranks = {num_ranks, num_ranks, &machine};
    async_choose(&config, &MODEL, &ranks);
    enum async_save async = config.checkpoint.async;
    config_free(&config);
    return async;
}

/* memory_of - of the first of num_ranks. */
static struct layout_memory memory_of(const char *more, int num_ranks, enum async_save async) {
    struct config config;
    struct grid grid;
    load(&config, more);
    config.checkpoint.async = async;
    assert_int_equal(grid_make(&grid, &(struct grid_shape){num_ranks, num_ranks, 1, 1, 1, 1}, 0, NULL), 0);
    struct layout layout = layout_make(&config, &MODEL, &grid, false);
    struct layout_memory memory = layout_memory(&layout, 0);
    config_free(&config);
    return memory;
}

static void test_copy_is_counted(void **state) {
    (void)state;
    int64_t parameters = model_num_parameters(&MODEL), padding = 64 * KIB;
    for (int ranks = 1; ranks <= 4; ranks *= 2) {
        struct layout_memory with = memory_of("every_steps: 5", ranks, ASYNC_TRUE),
                             without = memory_of("every_steps: 5", ranks, ASYNC_FALSE);
        int64_t copy = (int64_t)with.snapshot, share = 12 * parameters / ranks;
        assert_true(copy >= share && copy <= share + padding);
        assert_int_equal(without.snapshot, 0);
        assert_int_equal(with.device, without.device + with.snapshot);
        assert_int_equal(memory_of("every_steps: 0", ranks, ASYNC_TRUE).snapshot, 0);
    }
}

/* machine_with - a processor of which room_bytes may be filled, by less than a page. */
static struct machine machine_with(size_t room_bytes) {
    size_t low = room_bytes, high = 2 * room_bytes + GIB;
    while (low + 1 < high) { /* the least memory whose room is no smaller */
        size_t middle = low + (high - low) / 2;
        struct machine trial = machine_unknown(false, middle);
        *(estimate_room_bytes(&trial) >= room_bytes ? &high : &low) = middle;
    }
    return machine_unknown(false, high);
}

static void test_auto(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 2; ranks++) {
        size_t wanted = memory_of("every_steps: 5", ranks, ASYNC_TRUE).device;
        assert_int_equal(chosen("every_steps: 5", ranks, machine_with(wanted)), ASYNC_TRUE);
        assert_int_equal(chosen("every_steps: 5", ranks, machine_with(wanted - 1024)), ASYNC_FALSE);
        assert_int_equal(chosen("every_steps: 5", ranks, machine_unknown(false, 0)), ASYNC_TRUE);
        assert_int_equal(chosen("every_steps: 0", ranks, machine_with(2 * wanted)), ASYNC_FALSE);
        assert_int_equal(chosen("every_steps: 5, async: true", ranks, machine_with(1024)), ASYNC_TRUE);
        assert_int_equal(chosen("every_steps: 5, async: false", ranks, machine_with(2 * wanted)),
                         ASYNC_FALSE);
    }
}

/* Beside a GPU the copy lies in the host's memory, of which it may have half. */
static void test_auto_on_gpus(void **state) {
    (void)state;
    size_t copy = memory_of("every_steps: 5", 1, ASYNC_TRUE).snapshot;
    struct machine machine = machine_unknown(true, (size_t)80 << 30);
    machine.host_bytes = 2 * copy;
    assert_int_equal(chosen("every_steps: 5", 1, machine), ASYNC_TRUE);
    machine.host_bytes = 2 * copy - 4;
    assert_int_equal(chosen("every_steps: 5", 1, machine), ASYNC_FALSE);
    machine.host_bytes = 0; /* not known */
    assert_int_equal(chosen("every_steps: 5", 1, machine), ASYNC_TRUE);
}

static void test_told(void **state) {
    (void)state;
    char text[ASYNC_ROOM];
    struct config config = {.checkpoint = {.every_steps = 5, .async = ASYNC_TRUE}};
    assert_non_null(strstr(async_tell(&config, ASYNC_AUTO, GIB, text), "a copy of 1.000 GiB"));
    assert_non_null(strstr(text, "the next one waits for the one before it"));
    config.checkpoint.async = ASYNC_FALSE;
    assert_non_null(strstr(async_tell(&config, ASYNC_AUTO, 0, text), "does not fit into memory"));
    assert_string_equal(async_tell(&config, ASYNC_FALSE, 0, text), ""); /* as it was asked for */
    config.checkpoint.every_steps = 0;
    assert_string_equal(async_tell(&config, ASYNC_AUTO, 0, text), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy_is_counted),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_auto_on_gpus),
        cmocka_unit_test(test_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
