/* test_resume_counts.c - every counter of training.json below, at and above its bounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "train/run/resume_counts.h"

enum { STEP = 7 };

static const char *const NAMES[] = {"step", "updates", "data_start", "tokens_seen"};
enum { NUM_NAMES = sizeof NAMES / sizeof NAMES[0] };

static json_t *good_state(void) {
    return json_pack("{s:i, s:i, s:i, s:i}", "step", STEP, "updates", 6, "data_start", 3, "tokens_seen", 100);
}

/* read_with - the good state with one value set; NULL: left out. */
static int read_with(const char *name, json_t *value, struct resume_counts *counts, struct err *err) {
    json_t *state = good_state();
    if (value)
        json_object_set_new(state, name, value);
    else
        json_object_del(state, name);
    *err = (struct err){""};
    int status = resume_counts_read(counts, state, STEP, err);
    json_decref(state);
    return status;
}

static void test_good(void **state) {
    (void)state;
    struct resume_counts counts;
    struct err err;
    assert_int_equal(read_with("step", json_integer(STEP), &counts, &err), 0);
    assert_int_equal(counts.step, STEP);
    assert_int_equal(counts.updates, 6);
    assert_int_equal(counts.data_start, 3);
    assert_int_equal(counts.tokens_seen, 100);
    for (int i = 1; i < NUM_NAMES; i++)
        assert_int_equal(read_with(NAMES[i], json_integer(0), &counts, &err), 0);
    for (int i = 1; i < 3; i++)
        assert_int_equal(read_with(NAMES[i], json_integer(STEP), &counts, &err), 0);
    assert_int_equal(read_with("tokens_seen", json_integer((json_int_t)1 << 53), &counts, &err), 0);
    assert_int_equal(read_with("updates", NULL, &counts, &err), 0); /* older checkpoints */
    assert_int_equal(counts.updates, STEP);
    assert_int_equal(read_with("data_start", NULL, &counts, &err), 0);
    assert_int_equal(counts.data_start, 0);
}

static void test_out_of_range(void **state) {
    (void)state;
    const json_int_t values[] = {INT64_MIN, -1, STEP + 1, ((json_int_t)1 << 53) + 1, INT64_MAX};
    struct resume_counts counts = {.step = -3};
    struct err err;
    for (int i = 0; i < NUM_NAMES; i++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            char *wanted = xasprintf("'%s' is %lld", NAMES[i], (long long)values[v]);
            if (strcmp(NAMES[i], "tokens_seen") == 0 && values[v] == STEP + 1) /* a good one for tokens */
                assert_int_equal(
                    read_with(NAMES[i], json_integer(values[v]), &(struct resume_counts){0}, &err), 0);
            else if (read_with(NAMES[i], json_integer(values[v]), &counts, &err) != -1 ||
                     !strstr(err.text, wanted))
                fail_msg("expected \"%s\", got \"%s\"", wanted, err.text);
            free(wanted);
        }
    assert_int_equal(counts.step, -3); /* untouched */
    assert_int_equal(read_with("step", json_integer(STEP - 1), &counts, &err), -1);
    assert_non_null(strstr(err.text, "the manifest says 7"));
}

static void test_wrong_type(void **state) {
    (void)state;
    struct resume_counts counts;
    struct err err;
    for (int i = 0; i < NUM_NAMES; i++) {
        assert_int_equal(read_with(NAMES[i], json_string("7"), &counts, &err), -1);
        assert_non_null(strstr(err.text, NAMES[i]));
        assert_int_equal(read_with(NAMES[i], json_real(7.5), &counts, &err), -1);
    }
    assert_int_equal(read_with("step", NULL, &counts, &err), -1);
    assert_int_equal(read_with("tokens_seen", NULL, &counts, &err), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_out_of_range),
        cmocka_unit_test(test_wrong_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
