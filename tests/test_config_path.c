/* test_config_path.c - environment variables in the paths of a run file: which texts, which keys, what is
 * recorded, and that nothing is ever silently another path. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config.h"
#include "configs/schema/config_path.h"
#include "tests/check.h"

static void set_up(void) {
    setenv("ATELIER_A", "/lustre/me", 1);
    setenv("ATELIER_B", "x$ATELIER_A", 1); /* what a variable holds is not read again */
    setenv("ATELIER_EMPTY", "", 1);
    unsetenv("ATELIER_NOT");
}

static void test_texts(void **state) {
    (void)state;
    static const struct {
        const char *text, *path, *message; /* path NULL: refused */
    } cases[] = {
        {"$ATELIER_A/run", "/lustre/me/run", NULL},
        {"${ATELIER_A}run", "/lustre/merun", NULL},
        {"a/$ATELIER_A/${ATELIER_A}", "a//lustre/me//lustre/me", NULL},
        {"$ATELIER_B", "x$ATELIER_A", NULL},
        {"plain/path", "plain/path", NULL},
        {"", "", NULL},
        {"$$ATELIER_A", "$ATELIER_A", NULL},
        {"$$$ATELIER_A", "$/lustre/me", NULL},
        {"$${ATELIER_A}", "${ATELIER_A}", NULL},
        {"$(touch x) $1 a$", "$(touch x) $1 a$", NULL},
        {"$ATELIER_NOT/x", NULL, "the environment variable 'ATELIER_NOT' is not set here"},
        {"${ATELIER_NOT}", NULL, "'ATELIER_NOT' is not set"},
        {"$ATELIER_EMPTY/x", NULL, "'ATELIER_EMPTY' is empty here"},
        {"$ATELIER_Ax", NULL, "'ATELIER_Ax' is not set"},
        {"${ATELIER_A", NULL, "'${ATELIER_A' is not the name of an environment variable in braces"},
        {"${}", NULL, "is not the name"},
        {"${A:-b}", NULL, "is not the name"},
        {"${1}", NULL, "is not the name"},
    };
    set_up();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {""};
        char *path = config_path_expand(cases[i].text, &err);
        if (!path != !cases[i].path || (path && strcmp(path, cases[i].path) != 0) ||
            (!path && !strstr(err.text, cases[i].message)))
            fail_msg("'%s' gives '%s' (%s)", cases[i].text, path ? path : "nothing", err.text);
        if (path) { /* what is recorded reads back as the same path */
            char *escaped = config_path_escape(path), *back = config_path_expand(escaped, &err);
            assert_string_equal(back, path);
            free(back);
            free(escaped);
        }
        free(path);
    }
}

static const char RUN_FILE[] =
    "run: {folder: $ATELIER_A/run, gemm_choices: \"$ATELIER_A/c\"}\n"
    "model: {path: '${ATELIER_A}/m', tokenizer: $ATELIER_A/t}\n"
    "data:\n  train: [$ATELIER_A/a.h5, {path: $ATELIER_A/b.h5, weight: 2}]\n"
    "  valid: $ATELIER_A/v.h5\n"
    "prepare: {tokenizer: $ATELIER_A/k, output: $ATELIER_A/o.h5, "
    "sources: [{path: $ATELIER_A/s, name: $ATELIER_A, licence: $ATELIER_NOT}]}\n"
    "slurm: {job_name: $ATELIER_A, environment: [{name: V, value: $ATELIER_NOT}]}\n";

static void check_paths(const struct config *config) {
    assert_string_equal(config->run.folder, "/lustre/me/run");
    assert_string_equal(config->run.gemm_choices, "/lustre/me/c");
    assert_string_equal(config->model.path, "/lustre/me/m");
    assert_string_equal(config->model.tokenizer, "/lustre/me/t");
    assert_string_equal(config->data.train[0].path, "/lustre/me/a.h5");
    assert_string_equal(config->data.train[1].path, "/lustre/me/b.h5");
    assert_string_equal(config->data.valid[0].path, "/lustre/me/v.h5");
    assert_string_equal(config->prepare.tokenizer, "/lustre/me/k");
    assert_string_equal(config->prepare.output, "/lustre/me/o.h5");
    assert_string_equal(config->prepare.sources[0].path, "/lustre/me/s");
    /* Other texts are as they are written. */
    assert_string_equal(config->prepare.sources[0].name, "$ATELIER_A");
    assert_string_equal(config->prepare.sources[0].licence, "$ATELIER_NOT");
    assert_string_equal(config->slurm.job_name, "$ATELIER_A");
    assert_string_equal(config->slurm.environment[0].value, "$ATELIER_NOT");
}

static void test_keys(void **state) {
    (void)state;
    struct config config, again;
    struct err err = {""};
    set_up();
    if (config_load_text(&config, RUN_FILE, strlen(RUN_FILE), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    check_paths(&config);
    assert_null(strstr(config.text, "$ATELIER_A/")); /* recorded are the paths */
    setenv("ATELIER_A", "/elsewhere", 1);
    if (config_load_text(&again, config.text, strlen(config.text), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    check_paths(&again);
    assert_string_equal(again.text, config.text);
    config_free(&again);
    config_free(&config);
    set_up();
    const char *overrides[] = {"run.folder=$ATELIER_A/$$x", "data.train=[$ATELIER_A/n.h5]"};
    if (config_load_text(&config, RUN_FILE, strlen(RUN_FILE), "run.yaml", overrides, 2, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(config.run.folder, "/lustre/me/$x");
    assert_string_equal(config.data.train[0].path, "/lustre/me/n.h5");
    if (config_load_text(&again, config.text, strlen(config.text), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(again.run.folder, "/lustre/me/$x");
    config_free(&again);
    config_free(&config);
    unsetenv("ATELIER_A");
    assert_int_equal(config_load_text(&config, RUN_FILE, strlen(RUN_FILE), "run.yaml", NULL, 0, &err), -1);
    if (!strstr(err.text,
                "config 'run.yaml' line 1 column 7: 'run.folder' is '$ATELIER_A/run': the environment "
                "variable 'ATELIER_A' is not set here"))
        fail_msg("%s", err.text);
}

/* A shell does not replace the ~ of --set run.folder=~/runs. */
static void test_tilde(void **state) {
    (void)state;
    static const char *const wrong[] = {"~", "~/runs", "~you/runs"}, *const right[] = {"a~", "./~/runs",
                                                                                       "~backup", "a/~/b"};
    struct err err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(config_path_expand(wrong[i], &err));
        assert_non_null(strstr(err.text, "write $HOME"));
    }
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        char *path = config_path_expand(right[i], &err);
        assert_string_equal(path, right[i]);
        free(path);
    }
    setenv("ATELIER_A", "~/x", 1); /* a path that would be recorded must be one that reads back */
    assert_null(config_path_expand("$ATELIER_A/run", &err));
    struct config config;
    const char *override = "run.folder=~/runs";
    assert_int_equal(config_load_text(&config, "", 0, "run.yaml", &override, 1, &err), -1);
    assert_non_null(
        strstr(err.text,
               "option '--set run.folder=~/runs': 'run.folder' is '~/runs': '~' is replaced by the shell"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_tilde),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
