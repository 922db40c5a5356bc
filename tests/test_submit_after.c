/* test_submit_after.c - slurm.after: numbers are taken as they are, run folders stand for their newest job; what can never
 * be waited for is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "slurm/chain.h"
#include "slurm/submit_after.h"
#include "slurm/submit_folder.h"
#include "slurm/task.h"
#include "tests/check.h"

/* run_with - a run folder whose jobs are 7 and 12, with a chain in that state; malloc'ed. */
static char *run_with(const char *root, const char *name, enum chain_state state, bool follows) {
    struct err err = {""};
    char *folder = xasprintf("%s/%s", root, name);
    struct chain chain = {.state = state, .follows = follows, .max_jobs = 3, .num_steps = 10};
    snprintf(chain.reason, sizeof chain.reason, "a fault");
    if (folder_create(folder, &err) != 0 || jobs_note(folder, "7", &err) != 0 ||
        jobs_note(folder, "12", &err) != 0 || chain_save(&chain, folder, &err) != 0)
        fail_msg("%s", err.text);
    return folder;
}

/* Who asks: set before expect_after. */
static const char *own_folder = "/nowhere", *own_task = NULL;

/* expect_after - what sbatch is told (NULL: nothing), and a text among the diagnostics (NULL: there are none). */
static void expect_after(const char *const *entries, int count, const char *wanted, const char *said,
                         int num_errors) {
    struct config config = {.slurm.num_after = count};
    struct text_entry list[4];
    struct diagnostics diagnostics = {NULL, 0, 0};
    for (int i = 0; i < count; i++)
        list[i].text = xstrdup(entries[i]);
    config.slurm.after = list;
    const struct after_asker asker = {own_folder, own_task};
    char *got = submit_after(&config, &asker, &diagnostics);
    assert_int_equal(diagnostics.num_errors, num_errors);
    if (wanted)
        assert_string_equal(got ? got : "(nothing)", wanted);
    else
        assert_null(got);
    if (!said)
        assert_int_equal(diagnostics.count, 0);
    else if (diagnostics.count == 0 || !strstr(diagnostics.items[0].text, said))
        fail_msg("expected '%s', got '%s'", said, diagnostics.count ? diagnostics.items[0].text : "");
    for (int i = 0; i < count; i++)
        free(list[i].text);
    free(got);
    diagnostics_release(&diagnostics);
}

static void test_after(void **state) {
    (void)state;
    char *root = test_folder("submit_after");
    char *runs = run_with(root, "a", CHAIN_ACTIVE, false), *chains = run_with(root, "b", CHAIN_ACTIVE, true);
    char *is_done = run_with(root, "c", CHAIN_DONE, false),
         *failed = run_with(root, "d", CHAIN_STOPPED, false);
    char *nowhere = xasprintf("%s/e", root);
    expect_after((const char *[]){NULL}, 0, NULL, NULL, 0);
    expect_after((const char *[]){"123"}, 1, "123", NULL, 0);
    expect_after((const char *[]){"123", runs, "4"}, 3, "123:12:4", NULL, 0);
    expect_after((const char *[]){is_done, "4"}, 2, "4", "is done: nothing to wait for", 0);
    expect_after((const char *[]){is_done}, 1, NULL, "is done: nothing to wait for", 0);
    expect_after((const char *[]){"5", failed}, 2, NULL, "has not come to its end: a fault", 1);
    expect_after((const char *[]){chains}, 1, NULL, "is a chain, whose last job is not submitted yet", 1);
    expect_after((const char *[]){nowhere}, 1, NULL,
                 "which is neither the number of a job nor a folder that is", 1);
    expect_after((const char *[]){"12x"}, 1, NULL,
                 "'12x', which is neither the number of a job (digits alone) nor", 1);
    expect_after((const char *[]){root}, 1, NULL, "which has no submitted job", 1);
    free(runs), free(chains), free(is_done), free(failed), free(nowhere), free(root);
}

/* task_with - a folder from which the task was submitted as that job; code < 0: it has not ended. */
static void task_with(const char *folder, const char *task, const char *id, int code) {
    struct err err = {""};
    char *path = xasprintf("%s/job-%s.end", folder, task), *line = xasprintf("%s %d 1700000000\n", id, code);
    if (folder_create(folder, &err) != 0 || task_note(folder, task, id, &err) != 0 ||
        (code >= 0 && file_replace(path, line, strlen(line), &err) != 0))
        fail_msg("%s", err.text);
    free(path), free(line);
}

/* The jobs of tasks: a training waits for the prepare job of its own folder, eval for the training. */
static void test_after_task(void **state) {
    (void)state;
    char *root = test_folder("submit_after_task");
    char *own = xasprintf("%s/own", root), *other = xasprintf("%s/other", root);
    char *own_prepare = xasprintf("%s:prepare", own), *own_again = xasprintf("%s/../own", own);
    task_with(own, "prepare", "31", -1);
    own_folder = own, own_task = NULL;
    expect_after((const char *[]){own}, 1, "31", NULL, 0);
    expect_after((const char *[]){own_again, "5"}, 2, "31:5", NULL, 0);
    expect_after((const char *[]){own_prepare}, 1, "31", NULL, 0);
    own_folder = other; /* of a folder that never trained */
    expect_after((const char *[]){own}, 1, "31", NULL, 0);
    task_with(own, "eval", "40", -1);
    expect_after((const char *[]){own}, 1, "40", NULL, 0);
    expect_after((const char *[]){own_prepare}, 1, "31", NULL, 0);
    task_with(own, "prepare", "31", 0);
    expect_after((const char *[]){own_prepare}, 1, NULL, "is done: nothing to wait for", 0);
    task_with(own, "prepare", "33", -1); /* the end of an earlier job is not this one's */
    expect_after((const char *[]){own_prepare}, 1, "33", NULL, 0);
    task_with(own, "prepare", "33", 2);
    expect_after((const char *[]){own_prepare}, 1, NULL, "whose job 33 ended with code 2", 1);
    expect_after((const char *[]){other}, 1, NULL, "waits for 'prepare' of '", 1);
    char *trained = run_with(root, "trained", CHAIN_ACTIVE, false);
    task_with(trained, "prepare", "31", -1);
    expect_after((const char *[]){trained}, 1, "12", NULL, 0);
    own_folder = trained, own_task = "eval";
    expect_after((const char *[]){trained}, 1, "12", NULL, 0);
    own_task = "prepare"; /* the run file's own line, meant for the training */
    expect_after((const char *[]){trained}, 1, NULL, "is not waited for", 0);
    own_folder = "/nowhere", own_task = NULL;
    free(own), free(other), free(own_prepare), free(own_again), free(trained), free(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_after), cmocka_unit_test(test_after_task)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
