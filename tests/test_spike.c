/* test_spike.c - what a spike is, which batches are read where some are left out, and both in training.json. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/rng.h"
#include "tests/check.h"
#include "train/record/left_out.h"
#include "train/record/spike.h"

/* fill - a window of losses 1, 3, 1, 3, ... (mean 2) and norms ten times these. */
static void fill(struct spike *spike, const struct spike_rule *rule, int count) {
    *spike = (struct spike){.count = 0};
    for (int i = 0; i < count; i++)
        spike_add(spike, rule, i % 2 ? 3 : 1, i % 2 ? 30 : 10);
}

static void test_judged(void **state) {
    (void)state;
    const struct spike_rule rule = {.window = 8, .sigma = 3};
    struct spike spike;
    fill(&spike, &rule, 8);
    /* The deviation of a sample of four ones and four threes: sqrt(8 / 7). */
    double limit = 2 + 3 * sqrt(8.0 / 7);
    assert_int_equal(spike_judge(&spike, &rule, limit + 1e-9, 20), SPIKE_OF_LOSS);
    assert_int_equal(spike_judge(&spike, &rule, limit - 1e-9, 20), SPIKE_NONE);
    assert_int_equal(spike_judge(&spike, &rule, 2, 10 * limit + 1e-8), SPIKE_OF_NORM);
    assert_int_equal(spike_judge(&spike, &rule, 2, 10 * limit - 1e-8), SPIKE_NONE);
    assert_int_equal(spike_judge(&spike, &rule, -1e9, 0), SPIKE_NONE); /* what falls is none */
    fill(&spike, &rule, 3);                                            /* less than half a window */
    assert_int_equal(spike_judge(&spike, &rule, 1e9, 1e9), SPIKE_NONE);
    assert_int_equal(spike_judge(&spike, &rule, NAN, 1), SPIKE_NOT_FINITE);
    assert_int_equal(spike_judge(&spike, &rule, 1, INFINITY), SPIKE_NOT_FINITE);
    spike_add(&spike, &rule, 3, 30);
    assert_int_equal(spike_judge(&spike, &rule, 1e9, 1), SPIKE_OF_LOSS);
}

/* The newest of the window are what counts, also where it became shorter. */
static void test_window(void **state) {
    (void)state;
    struct spike_rule rule = {.window = 6, .sigma = 3};
    struct spike spike = {.count = 0};
    for (int i = 0; i < 20; i++)
        spike_add(&spike, &rule, i, 100 + i);
    assert_int_equal(spike.count, 6);
    for (int i = 0; i < 6; i++)
        assert_true(spike.losses[i] == 14 + i && spike.norms[i] == 114 + i);
    rule.window = 4;
    spike_add(&spike, &rule, 20, 120);
    assert_int_equal(spike.count, 4);
    assert_true(spike.losses[0] == 17 && spike.norms[3] == 120);
    rule.window = SPIKE_MOST_WINDOW;
    for (int i = 0; i < 2 * SPIKE_MOST_WINDOW; i++)
        spike_add(&spike, &rule, i, i);
    assert_int_equal(spike.count, SPIKE_MOST_WINDOW);
}

/* state_of - an object of training.json with one member, from JSON or from a value that is taken over. */
static json_t *state_of(const char *text) {
    json_t *state = json_loads(text, 0, NULL);
    assert_non_null(state);
    return state;
}

static void test_window_kept(void **state) {
    (void)state;
    struct err err = {""};
    const struct spike_rule rule = {.window = 8, .sigma = 3};
    struct spike spike, read = {.count = 0};
    fill(&spike, &rule, 7);
    spike_add(&spike, &rule, 1.2345678901234567, 0.1);
    json_t *whole = json_pack("{s:o}", "spike", spike_json(&spike));
    char *text = json_dumps(whole, 0);
    json_t *parsed = state_of(text);
    assert_int_equal(spike_read(&read, parsed, &err), 0);
    assert_int_equal(read.count, 8);
    assert_memory_equal(read.losses, spike.losses, 8 * sizeof *read.losses);
    assert_memory_equal(read.norms, spike.norms, 8 * sizeof *read.norms);
    json_decref(parsed);
    json_decref(whole);
    free(text);
    const char *const damaged[] = {"{\"spike\": 3}", "{\"spike\": {\"losses\": [1, 2]}}",
                                   "{\"spike\": {\"losses\": [1, 2], \"grad_norms\": [1]}}",
                                   "{\"spike\": {\"losses\": [1, \"x\"], \"grad_norms\": [1, 2]}}",
                                   "{\"spike\": {\"losses\": [1, null], \"grad_norms\": [1, 2]}}"};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        struct spike none = {.count = 0};
        parsed = state_of(damaged[i]);
        assert_int_equal(spike_read(&none, parsed, &err), -1);
        assert_int_equal(none.count, 0);
        json_decref(parsed);
    }
    json_t *values = json_array();
    for (int i = 0; i <= SPIKE_MOST_WINDOW; i++)
        json_array_append_new(values, json_real(1));
    parsed = json_pack("{s:{s:O, s:O}}", "spike", "losses", values, "grad_norms", values);
    assert_int_equal(spike_read(&read, parsed, &err), -1);
    json_decref(parsed);
    json_decref(values);
}

/* Against the definition: count the batches one by one, without those that the run went back for. */
static void test_order(void **state) {
    (void)state;
    enum { BATCHES = 40 };
    for (int round = 0; round < 200; round++) {
        struct left_out list = {.count = 0};
        bool is_out[BATCHES] = {false};
        for (int i = 0; i < round % 12; i++) {
            int batch = (int)(rng_bits((uint64_t)round, 0, (uint64_t)i) % BATCHES);
            bool skips = rng_bits((uint64_t)round, 1, (uint64_t)i) % 3 == 0;
            left_out_add(&list, (struct left_out_batch){.batch = batch,
                                                        .step = 1,
                                                        .by = skips ? LEFT_OUT_SKIP : LEFT_OUT_ROLLBACK});
            is_out[batch] = !skips;
        }
        for (int64_t i = 1; i < list.count; i++)
            assert_true(list.batches[i - 1].batch < list.batches[i].batch);
        int64_t n = 0;
        for (int64_t batch = 0; batch < BATCHES; batch++)
            if (!is_out[batch])
                assert_int_equal(left_out_batch_of(&list, n++), batch);
        left_out_release(&list);
    }
}

static void test_going_back(void **state) {
    (void)state;
    struct left_out list = {.count = 0};
    left_out_add(&list, (struct left_out_batch){.batch = 4, .step = 5, .by = LEFT_OUT_SKIP});
    left_out_add(&list, (struct left_out_batch){.batch = 9, .step = 10, .by = LEFT_OUT_SKIP});
    left_out_add(&list, (struct left_out_batch){.batch = 11, .step = 12, .by = LEFT_OUT_ROLLBACK});
    left_out_go_back(&list, 8);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.batches[0].batch, 4);
    assert_int_equal(list.batches[1].batch, 11);
    left_out_release(&list);
}

static void test_list_kept(void **state) {
    (void)state;
    struct err err = {""};
    struct left_out list = {.count = 0}, read = {.count = 0};
    assert_null(left_out_json(&list));
    left_out_add(&list, (struct left_out_batch){17, 18, LEFT_OUT_ROLLBACK, 9.125, INFINITY});
    left_out_add(&list, (struct left_out_batch){3, 4, LEFT_OUT_SKIP, NAN, 2.5});
    json_t *whole = json_pack("{s:o}", "left_out", left_out_json(&list));
    assert_int_equal(left_out_read(&read, whole, &err), 0);
    assert_int_equal(read.count, 2);
    assert_true(read.batches[0].batch == 3 && read.batches[0].step == 4 &&
                read.batches[0].by == LEFT_OUT_SKIP);
    assert_true(isnan(read.batches[0].loss) && read.batches[0].grad_norm == 2.5);
    assert_true(read.batches[1].batch == 17 && read.batches[1].by == LEFT_OUT_ROLLBACK &&
                read.batches[1].loss == 9.125);
    left_out_release(&read);
    left_out_release(&list);
    json_decref(whole);
    const char *const damaged[] = {
        "{\"left_out\": 3}",
        "{\"left_out\": [3]}",
        "{\"left_out\": [{\"batch\": 3, \"step\": 4, \"by\": \"hand\", \"loss\": 1, \"grad_norm\": 1}]}",
        "{\"left_out\": [{\"batch\": -1, \"step\": 4, \"by\": \"skip\", \"loss\": 1, \"grad_norm\": 1}]}",
        "{\"left_out\": [{\"batch\": 3, \"step\": 0, \"by\": \"skip\", \"loss\": 1, \"grad_norm\": 1}]}",
        "{\"left_out\": [{\"batch\": 3, \"step\": 4, \"by\": \"skip\", \"loss\": \"x\", \"grad_norm\": 1}]}",
        "{\"left_out\": [{\"batch\": 3, \"step\": 4, \"by\": \"skip\", \"loss\": 1, \"grad_norm\": 1},"
        " {\"batch\": 3, \"step\": 5, \"by\": \"skip\", \"loss\": 1, \"grad_norm\": 1}]}"};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        json_t *parsed = state_of(damaged[i]);
        assert_int_equal(left_out_read(&read, parsed, &err), -1);
        assert_int_equal(read.count, 0);
        json_decref(parsed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_judged),      cmocka_unit_test(test_window),
                                       cmocka_unit_test(test_window_kept), cmocka_unit_test(test_order),
                                       cmocka_unit_test(test_going_back),  cmocka_unit_test(test_list_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
