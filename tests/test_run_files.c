/* test_run_files.c - the small files of a run folder that jobs and commands leave for each other: what a run is told to
 * do, its status read back from what it wrote, and the jobs that were submitted for it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "slurm/command_file.h"
#include "slurm/submit_folder.h"
#include "tests/check.h"
#include "train/record/run_status.h"

/* --- commands --- */

static void test_commands(void **state) {
    (void)state;
    char *folder = test_folder("command"), *path = xasprintf("%s/command", folder);
    struct err err = {""};
    assert_int_equal(command_file_poll(folder), RUN_COMMAND_NONE);
    assert_int_equal(command_file_write(folder, RUN_COMMAND_SAVE, &err), 0);
    assert_int_equal(command_file_poll(folder), RUN_COMMAND_SAVE);
    assert_int_equal(command_file_poll(folder), RUN_COMMAND_SAVE); /* until it is cleared */
    assert_int_equal(command_file_write(folder, RUN_COMMAND_STOP, &err), 0);
    assert_int_equal(command_file_poll(folder), RUN_COMMAND_STOP);
    command_file_clear(folder);
    command_file_clear(folder);
    assert_int_equal(command_file_poll(folder), RUN_COMMAND_NONE);
    /* What a user's editor might leave, and what nobody should: ignored, and gone. */
    const struct {
        const char *text;
        enum run_command command;
        bool stays;
    } others[] = {{"stopp", RUN_COMMAND_NONE, false},    {"STOP", RUN_COMMAND_NONE, false},
                  {"\xff\xfe", RUN_COMMAND_NONE, false}, {"", RUN_COMMAND_NONE, true},
                  {"\n", RUN_COMMAND_NONE, true},        {"save or not", RUN_COMMAND_SAVE, true},
                  {" stop\r\n", RUN_COMMAND_STOP, true}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(file_replace(path, others[i].text, strlen(others[i].text), &err), 0);
        assert_int_equal(command_file_poll(folder), others[i].command);
        assert_int_equal(access(path, F_OK) == 0, others[i].stays);
    }
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* never waits for a writer */
    assert_int_equal(command_file_poll(folder), RUN_COMMAND_NONE);
    unlink(path);
    assert_int_equal(command_file_poll("/nowhere"), RUN_COMMAND_NONE);
    assert_int_equal(command_file_write("/nowhere", RUN_COMMAND_STOP, &err), -1);
    assert_false(stop_mark_is_set(folder));
    assert_int_equal(stop_mark_set(folder, &err), 0);
    assert_true(stop_mark_is_set(folder));
    assert_int_equal(stop_mark_clear(folder, &err), 0);
    assert_int_equal(stop_mark_clear(folder, &err), 0);
    assert_false(stop_mark_is_set(folder));
    free(path);
    free(folder);
}

/* --- status --- */

static void put(const char *folder, const char *name, const char *text) {
    struct err err = {""};
    char *path = xasprintf("%s/%s", folder, name);
    if (file_replace(path, text, strlen(text), &err) != 0)
        fail_msg("%s", err.text);
    free(path);
}

static void test_status(void **state) {
    (void)state;
    char *folder = test_folder("status");
    struct run_status status;
    struct err err = {""};
    assert_int_equal(run_status_read(&status, folder, &err), 0); /* a run that has not begun */
    assert_int_equal(status.last_step, 0);
    assert_true(run_status_eta_s(&status) < 0);
    assert_int_equal(run_status_read(&status, "/nowhere", &err), -1);
    assert_non_null(strstr(err.text, "cannot look at '/nowhere': No such file"));
    put(folder, "a-file", "x");
    char *path = xasprintf("%s/a-file", folder);
    assert_int_equal(run_status_read(&status, path, &err), -1);
    free(path);

    put(folder, "metrics.jsonl",
        "half a line}\n"
        "{\"step\": 8, \"loss\": 3.5, \"tokens\": 1000, \"seconds\": 2}\n"
        "{\"event\": \"validation\", \"step\": 8, \"loss\": 3.25}\n"
        "{\"event\": \"checkpoint\", \"step\": 8, \"path\": \"step-000008\", \"seconds\": 1.5}\n"
        "not json\n{\"step\": 9, \"loss\": null, \"tokens\": 3000, \"seconds\": 2}\n"
        "{\"step\": 10, \"loss\": 3.0, \"tokens\": 1000, \"seconds\": 6}\n"
        "{\"step\": 11, \"loss\": 2.9, \"tok");
    put(folder, "log.txt", "step 1/50  loss\nstep 9/40  loss 1\n");
    assert_int_equal(run_status_read(&status, folder, &err), 0);
    assert_int_equal(status.last_step, 10);
    assert_true(status.loss == 3.0 && status.valid_loss == 3.25 && status.checkpoint_s == 1.5);
    assert_true(fabs(status.tokens_per_s - 500) < 1e-9 && fabs(status.step_s - 10.0 / 3) < 1e-9);
    assert_int_equal(status.num_steps, 40);
    assert_true(fabs(run_status_eta_s(&status) - 100) < 1e-9);
    assert_int_equal(status.checkpoint_step, 0);
    free(folder);
}

static void test_jobs(void **state) {
    (void)state;
    char *folder = test_folder("jobs"), id[SLURM_ID_ROOM];
    const struct queued_job *found[4];
    struct queue queue;
    struct err err = {""};
    jobs_last(folder, id);
    assert_string_equal(id, "");
    assert_int_equal(jobs_note(folder, "12", &err), 0);
    assert_int_equal(jobs_note(folder, "345", &err), 0);
    jobs_last(folder, id);
    assert_string_equal(id, "345");
    queue_read(&queue, "34|RUNNING|||||\n345|PENDING|||||\n12|RUNNING|||||\n");
    assert_int_equal(jobs_in_queue(folder, &queue, found, 4), 2);
    assert_string_equal(found[0]->id, "12");
    assert_string_equal(found[1]->id, "345");
    assert_int_equal(jobs_in_queue(folder, &queue, found, 1), 1);
    queue_release(&queue);
    assert_int_equal(jobs_note("/nowhere", "1", &err), -1);
    put(folder, "jobs.txt", "rubbish\n\n77 5\n99999999999999999999999999999999999999999 1\n");
    jobs_last(folder, id);
    assert_string_equal(id, "77");
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
