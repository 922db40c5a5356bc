/* test_patience.c - the count of validations that are no better, and its place in training.json. */
#include <math.h>
#include <stdlib.h>

#include "tests/check.h"
#include "train/record/patience.h"

static void test_counts(void **state) {
    (void)state;
    const double losses[] = {3, 2, 2, NAN, 1.5, 1.6, 1.7, 1.8};
    const int64_t worse[] = {0, 0, 1, 2, 0, 1, 2, 3};
    struct patience patience = patience_start();
    for (int i = 0; i < 8; i++) {
        patience_validation(&patience, i, losses[i]);
        assert_int_equal(patience.num_worse, worse[i]);
        assert_int_equal(patience_is_over(&patience, 3), i == 7);
        assert_false(patience_is_over(&patience, 0));
    }
    assert_true(patience.best == 1.5);
    assert_int_equal(patience.best_step, 4);
}

/* reads - a text of training.json after 10 steps. */
static int reads(const char *text, struct patience *patience, struct err *err) {
    json_t *state = json_loads(text, 0, NULL);
    assert_non_null(state);
    *patience = patience_start();
    int status = patience_read(patience, state, 10, err);
    json_decref(state);
    return status;
}

static void test_kept(void **state) {
    (void)state;
    struct err err = {""};
    struct patience patience = {.best = 1.25, .best_step = 7, .num_worse = 2}, read;
    json_t *root = json_pack("{s:o}", "patience", patience_json(&patience));
    char *text = json_dumps(root, 0);
    assert_int_equal(reads(text, &read, &err), 0);
    assert_true(read.best == 1.25 && read.best_step == 7 && read.num_worse == 2);
    free(text);
    json_decref(root);
    assert_int_equal(reads("{}", &read, &err), 0); /* of an older version, or without train.early_stop */
    assert_true(isnan(read.best) && read.num_worse == 0);
    const char *const damaged[] = {"{\"patience\": {\"best\": 1.5, \"best_step\": 11, \"num_worse\": 0}}",
                                   "{\"patience\": {\"best\": 1.5, \"best_step\": 1, \"num_worse\": 12}}",
                                   "{\"patience\": {\"best\": 1.5, \"best_step\": -1, \"num_worse\": 0}}",
                                   "{\"patience\": {\"best\": \"x\", \"best_step\": 1, \"num_worse\": 0}}",
                                   "{\"patience\": {\"best\": 1.5}}",
                                   "{\"patience\": 3}"};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        assert_int_equal(reads(damaged[i], &read, &err), -1);
        assert_true(isnan(read.best) && read.num_worse == 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
