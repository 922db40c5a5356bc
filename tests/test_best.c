/* test_best.c - which validation is the best, its place in training.json, and RUN/best among checkpoints that are pruned. */
#include <math.h>
#include <unistd.h>

#include "tests/checkpoint_fixture.h"
#include "train/record/best.h"

static void test_counts(void **state) {
    (void)state;
    const double losses[] = {NAN, 3, 2, 2, NAN, INFINITY, 2.5, 1.5, 1.6};
    const int64_t best_step[] = {0, 2, 3, 3, 3, 3, 3, 8, 8};
    struct best best = best_start();
    for (int i = 0; i < 9; i++) {
        bool is_new = best_validation(&best, i + 1, losses[i]);
        assert_int_equal(best.step, best_step[i]);
        assert_int_equal(is_new, best_step[i] == i + 1);
    }
    assert_true(best.loss == 1.5);
}

/* reads - a text of training.json after 10 steps. */
static int reads(const char *text, struct best *best, struct err *err) {
    json_t *state = json_loads(text, 0, NULL);
    assert_non_null(state);
    *best = best_start();
    int status = best_read(best, state, 10, err);
    json_decref(state);
    return status;
}

static void test_remembered(void **state) {
    (void)state;
    struct err err = {""};
    struct best none = best_start(), best = {.loss = 1.2345678901234567, .step = 7}, read;
    assert_null(best_json(&none));
    json_t *root = json_pack("{s:o}", "best", best_json(&best));
    char *text = json_dumps(root, 0);
    assert_int_equal(reads(text, &read, &err), 0);
    assert_true(read.loss == best.loss && read.step == 7);
    free(text);
    json_decref(root);
    assert_int_equal(reads("{}", &read, &err), 0);
    assert_true(isnan(read.loss) && read.step == 0);
    const char *const damaged[] = {
        "{\"best\": {\"step\": 11, \"loss\": 1.5}}", "{\"best\": {\"step\": 0, \"loss\": 1.5}}",
        "{\"best\": {\"step\": 3, \"loss\": \"x\"}}", "{\"best\": {\"loss\": 1.5}}", "{\"best\": 3}"};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        assert_int_equal(reads(damaged[i], &read, &err), -1);
        assert_int_equal(read.step, 0);
    }
}

/* assert_steps - the checkpoints that are there, of the first 20 steps. */
static void assert_steps(const char *run, const char *want) {
    char there[200] = "";
    size_t used = 0;
    for (int step = 1; step <= 20; step++) {
        char *path = checkpoint_of_step(run, step, NULL);
        if (path)
            used += (size_t)snprintf(there + used, sizeof there - used, "%s%d", used ? " " : "", step);
        free(path);
    }
    assert_string_equal(there, want);
}

/* The best one is beside the newest two; one among them takes no place of its own, and one that was the best goes. */
static void test_pruned(void **state) {
    (void)state;
    char *run = test_folder("best_pruned");
    struct model_config config = small_config(64);
    struct checkpoint_source source = source_of(&config, NULL), best = source;
    best.is_best = true;
    save(run, &source, 1, 2);
    save(run, &best, 2, 2);
    save(run, &source, 3, 2);
    assert_steps(run, "2 3");
    save(run, &source, 4, 2);
    save(run, &source, 5, 2);
    assert_steps(run, "2 4 5");
    save(run, &best, 6, 2);
    assert_steps(run, "5 6");
    for (int step = 7; step <= 9; step++)
        save(run, &source, step, 2);
    assert_steps(run, "6 8 9");
    int64_t step;
    struct err err;
    char *path = checkpoint_best(run, &step, &err);
    assert_non_null(path);
    assert_int_equal(step, 6);
    assert_true(holds_step(path, 6, 1));
    free(path);
    path = path_of(run, "best"); /* the path that a user gives */
    assert_true(holds_step(path, 6, 1));
    free(path);

    struct checkpoint_source sound =
        source; /* the last good one and the best: each its own place, or one for both */
    sound.good_step = 8;
    save(run, &sound, 10, 1);
    assert_steps(run, "6 8 10");
    sound.good_step = 7;
    save(run, &sound, 11, 1);
    assert_steps(run, "6 11");
    drop(run);
}

/* Control: without is_best the same saves delete it. */
static void test_not_kept(void **state) {
    (void)state;
    char *run = test_folder("best_not_kept");
    struct model_config config = small_config(64);
    struct checkpoint_source source = source_of(&config, NULL);
    int64_t step;
    struct err err;
    for (int s = 1; s <= 5; s++)
        save(run, &source, s, 2);
    assert_steps(run, "4 5");
    assert_null(checkpoint_best(run, &step, &err));
    assert_string_equal(err.text, "");
    drop(run);
}

/* What is not a link to a step beside it is neither read, nor replaced, nor pruned by. */
static void test_hostile(void **state) {
    (void)state;
    const char *const targets[] = {
        "/etc",
        "../x/step-000002",
        "step-000002/",
        "step-2",
        "step-000002.partial",
        "a/very/long/path/that/is/cut/in/the/buffer/and/is/no/step/of/this/run/step-000002"};
    struct model_config config = small_config(64);
    struct checkpoint_source source = source_of(&config, NULL);
    int64_t step;
    struct err err;
    for (size_t i = 0; i <= sizeof targets / sizeof targets[0]; i++) {
        char *run = test_folder("best_hostile"), *link = path_of(run, "best");
        save(run, &source, 1, 1);
        if (i < sizeof targets / sizeof targets[0])
            assert_int_equal(symlink(targets[i], link), 0);
        else
            put(run, "best", "step-000001\n");
        assert_null(checkpoint_best(run, &step, &err));
        assert_non_null(strstr(err.text, "is not a link to a checkpoint beside it"));
        assert_int_equal(checkpoint_set_best(run, 1, &err), -1);
        save(run, &source, 2, 1);
        assert_steps(run, "1 2"); /* nobody knows which one is the best: all stay */
        free(link);
        drop(run);
    }
    char *run = test_folder("best_gone"), *link = path_of(run, "best");
    save(run, &source, 1, 1);
    assert_int_equal(symlink("step-000007", link), 0);
    assert_null(checkpoint_best(run, &step, &err));
    assert_non_null(strstr(err.text, "names step-000007, which is not there"));
    assert_int_equal(checkpoint_set_best(run, 1, &err), 0);
    char *path = checkpoint_best(run, &step, &err);
    assert_non_null(path);
    free(path);
    free(link);
    drop(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_remembered),
                                       cmocka_unit_test(test_pruned), cmocka_unit_test(test_not_kept),
                                       cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
