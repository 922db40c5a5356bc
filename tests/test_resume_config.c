/* test_resume_config.c - the run file of a start held against the checkpoint's, where the two versions write numbers otherwise. */
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "train/run/resume_config.h"

static const char RUN_FILE[] = "run: {folder: runs/x, timeout_s: 60}\nmodel: {path: m}\ndata: {train: a.h5}\n"
                               "train: {steps: 20, grad_clip: 10}\noptimizer: {learning_rate: 1e-4}\n";

/* compared - with one key as the checkpoint has it; the number of differences that are said. */
static int compared(const char *key, const char *was) {
    struct config config;
    struct err err = {""};
    struct diagnostics said = {NULL, 0, 0};
    assert_int_equal(config_load_text(&config, RUN_FILE, strlen(RUN_FILE), "run.yaml", NULL, 0, &err), 0);
    json_t *keys = resume_keys_json(&config);
    json_object_set_new(keys, key, json_string(was));
    json_t *state = json_pack("{s:o}", "keys", keys);
    const struct resume_facts facts = {state, "runs/x/step-000004", false};
    assert_int_equal(resume_compare_config(&facts, &config, &said, &err), 0);
    int count = said.count;
    diagnostics_release(&said);
    json_decref(state);
    config_free(&config);
    return count;
}

static void test_numbers(void **state) {
    (void)state;
    struct config config;
    struct err err = {""};
    assert_int_equal(config_load_text(&config, RUN_FILE, strlen(RUN_FILE), "run.yaml", NULL, 0, &err), 0);
    assert_non_null(strstr(config.text, "\n  timeout_s: 60\n")); /* never 6e+01 */
    assert_non_null(strstr(config.text, "\n  grad_clip: 10\n"));
    assert_non_null(strstr(config.text, "\n  learning_rate: 0.0001\n"));
    config_free(&config);
    assert_int_equal(compared("run.timeout_s", "60"), 0);
    assert_int_equal(compared("run.timeout_s", "6e+01"), 0); /* as versions up to 0.2.0 wrote it */
    assert_int_equal(compared("train.grad_clip", "1e+01"), 0);
    assert_int_equal(compared("run.timeout_s", "6.1e+01"), 1); /* the control */
    assert_int_equal(compared("run.timeout_s", "6e+01 "), 1);
    assert_true(compared("train.grad_clip", "1e+00") > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
