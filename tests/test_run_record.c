/* test_run_record.c - whose run folder it is: a second run file of the same name is refused by default, a named
 * folder is taken, a folder or a project that was moved is the same one; a record that is damaged or gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "tests/check.h"
#include "train/run/run_record.h"

/* The folder of a project with two run files of one name, and a run. */
struct project {
    char *root, *run, *one, *two;
};

static char *below(const char *folder, const char *name) {
    return xasprintf("%s/%s", folder, name);
}

static void put(const char *path) {
    assert_int_equal(file_replace(path, "run:\n", 5, NULL), 0);
}

static struct project project_at(char *root) {
    return (struct project){root, below(root, "runs/same"), below(root, "one/same.yaml"),
                            below(root, "two/same.yaml")};
}

static struct project project_make(const char *name) {
    struct project p = project_at(test_folder(name));
    char *one = below(p.root, "one"), *two = below(p.root, "two");
    assert_int_equal(folder_create(one, NULL) | folder_create(two, NULL) | folder_create(p.run, NULL), 0);
    put(p.one);
    put(p.two);
    free(one);
    free(two);
    return p;
}

static void project_free(struct project *p) {
    assert_int_equal(folder_remove(p->root, NULL), 0);
    free(p->root);
    free(p->run);
    free(p->one);
    free(p->two);
}

static struct config config_of(char *folder, char *file, bool is_default) {
    struct config config = {.origin = file};
    config.run.folder = folder;
    config.run.is_default_folder = is_default;
    return config;
}

/* check - the status; the diagnostics (the last one) and the error into text. */
static int check(const struct config *config, char text[1024]) {
    struct err err = {""};
    struct diagnostics said = {NULL, 0, 0};
    int status = run_record_check(config, &said, &err);
    snprintf(text, 1024, "%s%s", err.text, said.count ? said.items[said.count - 1].text : "");
    diagnostics_release(&said);
    return status;
}

static void test_two_files(void **state) {
    (void)state;
    char text[1024];
    struct project p = project_make("record_two");
    struct config one = config_of(p.run, p.one, true), two = config_of(p.run, p.two, true);
    assert_int_equal(check(&one, text), 0); /* a folder that nobody has */
    assert_string_equal(text, "");
    assert_int_equal(run_record_write(&one, NULL, NULL), 0);
    assert_int_equal(check(&one, text), 0);
    assert_string_equal(text, "");
    assert_int_equal(check(&two, text), -1);
    assert_non_null(strstr(text, "one/same.yaml"));
    assert_non_null(strstr(text, "two/same.yaml"));
    assert_non_null(strstr(text, "set run.folder"));
    two.run.is_default_folder = false; /* control: named, it is taken, and said */
    assert_int_equal(check(&two, text), 0);
    assert_non_null(strstr(text, "the run file is "));
    project_free(&p);
}

/* What submit writes into the run folder is a copy of the run file, not another one. */
static void test_copy_in_the_run(void **state) {
    (void)state;
    char text[1024];
    struct project p = project_make("record_copy");
    char *copy = below(p.run, "run.yaml");
    put(copy);
    struct config one = config_of(p.run, p.one, true), job = config_of(p.run, copy, false);
    assert_int_equal(run_record_write(&one, NULL, NULL), 0);
    assert_int_equal(check(&job, text), 0);
    assert_string_equal(text, "");
    assert_int_equal(run_record_write(&job, NULL, NULL), 0);
    struct config two = config_of(p.run, p.two, true);
    assert_int_equal(check(&two, text), -1); /* still the first one's */
    free(copy);
    project_free(&p);
}

static void test_moved(void **state) {
    (void)state;
    char text[1024];
    struct project p = project_make("record_moved");
    struct config one = config_of(p.run, p.one, true);
    assert_int_equal(run_record_write(&one, NULL, NULL), 0);
    /* The run alone, to a folder that the run file names. */
    char *elsewhere = below(p.root, "elsewhere");
    assert_int_equal(file_rename(p.run, elsewhere, NULL), 0);
    struct config named = config_of(elsewhere, p.one, false);
    assert_int_equal(check(&named, text), 0);
    assert_non_null(strstr(text, "when it was last trained: it was moved"));
    assert_int_equal(file_rename(elsewhere, p.run, NULL), 0);
    assert_int_equal(check(&one, text), 0);
    assert_string_equal(text, "");
    /* The project as a whole: its run file is the same one in its new place. */
    char *root = xasprintf("%s-moved", p.root);
    assert_int_equal(file_rename(p.root, root, NULL), 0);
    struct project there = project_at(root);
    struct config moved = config_of(there.run, there.one, true),
                  other = config_of(there.run, there.two, true);
    assert_int_equal(check(&moved, text), 0);
    assert_int_equal(check(&other, text), -1); /* control */
    project_free(&there);
    free(elsewhere);
    free(p.root);
    free(p.run);
    free(p.one);
    free(p.two);
}

/* Without a record that can be read nobody can tell whose run it is: refused, but where the folder is named. */
static void test_lost(void **state) {
    (void)state;
    static const char *const damaged[] = {"", "{", "[]", "{\"format\": \"other\"}",
                                          "{\"format\": \"atelier-run 1\", \"run_file\": 7}"};
    char text[1024];
    struct project p = project_make("record_lost");
    struct config one = config_of(p.run, p.one, true), named = config_of(p.run, p.two, false);
    char *record = below(p.run, "run.json"), *latest = below(p.run, "latest"),
         *copy = below(p.run, "run.yaml");
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        assert_int_equal(file_replace(record, damaged[i], strlen(damaged[i]), NULL), 0);
        assert_int_equal(check(&one, text), -1);
        assert_non_null(strstr(text, "/run.json'"));
        assert_non_null(strstr(text, "it says whose run '"));
        assert_int_equal(check(&named, text), -1);
        assert_int_equal(run_record_write(&one, NULL, NULL), -1); /* it stays as it was found */
    }
    assert_int_equal(unlink(record), 0);
    assert_int_equal(check(&one, text), 0); /* nothing was trained there */
    assert_string_equal(text, "");
    put(latest);
    put(copy);
    assert_int_equal(check(&one, text), -1);
    assert_non_null(strstr(text, "holds a run and no run.json"));
    assert_non_null(strstr(text, "one/same.yaml' names no run.folder"));
    assert_int_equal(check(&named, text), 0);
    assert_non_null(strstr(text, "has no run.json, which says of which run file it is: taken to be that of"));
    struct config job = config_of(p.run, copy, false); /* what submit wrote there is the run's own */
    assert_int_equal(check(&job, text), 0);
    assert_string_equal(text, "");
    assert_int_equal(run_record_write(&named, NULL, NULL), 0);
    assert_int_equal(check(&one, text), -1); /* control: it is the other one's now */
    assert_non_null(strstr(text, "is the run of '"));
    free(copy);
    free(latest);
    free(record);
    project_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_files),
        cmocka_unit_test(test_copy_in_the_run),
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
