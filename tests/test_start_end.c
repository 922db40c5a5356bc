/* test_start_end.c - how a start ended, by what real logs of Slurm hold; which nodes the next starts leave out, and
 * when one may be used again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "slurm/start_end.h"
#include "tests/check.h"

/* As Slurm 22.05.8 wrote them, but for the names. */
#define TERMINATED                                                                                           \
    "srun: launch/slurm: _step_signal: Terminating StepId=1.0\n"                                             \
    "slurmstepd-n0: error: *** STEP 1.0 ON n0 CANCELLED AT 2026-11-29T07:10:11 ***\n"                        \
    "srun: error: n1: task 2: Terminated\nsrun: error: n0: tasks 0-1: Terminated\n"
#define CANCELLED_STEP "slurmstepd-n0: error: *** STEP 1.0 ON n0 CANCELLED AT 2026-11-29T08:14:41 ***\n"
#define CANCELLED_BY "slurmstepd-n0: error: *** JOB 2 ON n0 CANCELLED AT 2026-11-29T07:10:44 "
#define RANK "[rank 3/16 r7i2n4.cluster step 12] fatal: CUDA: cudaStreamSynchronize(s): "

static const struct {
    const char *text;
    enum log_verdict verdict;
    const char *node, *why;
} LOGS[] = {
    {"", LOG_SILENT, "", ""},
    {"step 1/40  loss 3.4\nhalf a line of a node that lost its pow", LOG_SILENT, "", ""},
    {"step 1\nsrun: error: n1: task 3: Killed\n" TERMINATED, LOG_NODE, "n1", "task 3: Killed"},
    {"srun: error: jean-zay_7: tasks 0-3,8: Bus error\n", LOG_NODE, "jean-zay_7", "tasks 0-3,8: Bus error"},
    {"srun: error: Node failure on n1\n" CANCELLED_BY
     "DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***\nsrun: error: n0: tasks 0-1: Terminated\n",
     LOG_NODE, "n1", "Node failure on n1"},
    {CANCELLED_BY "DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***\nsrun: error: n0: tasks 0-1: Terminated\n"
                  "srun: error: Node failure on n1\n",
     LOG_NODE, "n1", "Node failure on n1"},
    {CANCELLED_BY "DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***\nsrun: error: n0: tasks 0-1: Terminated\n",
     LOG_SILENT, "", ""},
    {"srun: error: Task launch for StepId=5.0 failed on node n3: Communication connection failure\n",
     LOG_NODE, "n3", "Task launch for StepId=5.0 failed on node n3: Communication connection failure"},
    {RANK "uncorrectable ECC error encountered (cudaErrorECCUncorrectable) on H100: the hardware failed\n"
          "srun: error: r7i2n4: task 3: Exited with exit code 1\n",
     LOG_NODE, "r7i2n4", "a GPU failed: cudaErrorECCUncorrectable"},
    {"srun: error: n0: task 3: Exited with exit code 1\n" RANK "no (cudaErrorDevicesUnavailable)\n", LOG_NODE,
     "r7i2n4", "a GPU failed: cudaErrorDevicesUnavailable"},
    {"error: Slurm allocated 4 GPUs on 'n9', and CUDA sees 3: to do without the node: slurm.exclude=n9 (on rank 2)\n",
     LOG_NODE, "n9", "its GPUs are not those that Slurm allocated"},
    /* Slurm 24.11 with Open MPI 5: the ranks that are left notice first, and their step is cancelled */
    {CANCELLED_STEP CANCELLED_STEP
     "srun: error: n0: task 0: Exited with exit code 14\nsrun: Terminating StepId=1.0\n"
     "srun: error: n1: task 3: Killed\n",
     LOG_NODE, "n1", "task 3: Killed"},
    {CANCELLED_STEP "srun: error: n1: tasks 0-3: Killed\nsrun: Terminating StepId=1.0\n", LOG_NODE, "n1",
     "tasks 0-3: Killed"},
    /* rank 0 wrote to rank 1, which was gone already */
    {"srun: error: n0: task 0: Broken pipe\nsrun: launch/slurm: _step_signal: Terminating StepId=2.0\n"
     "srun: error: n1: task 1: Killed\nsrun: Force Terminated StepId=2.0\n",
     LOG_NODE, "n1", "task 1: Killed"},
    /* no fault of a node */
    {"srun: error: n0: tasks 0-1: Broken pipe\nsrun: launch/slurm: _step_signal: Terminating StepId=2.0\n",
     LOG_OTHER, "", ""},
    {"srun: error: n0: task 0: Exited with exit code 1\nsrun: error: n0: task 2: Broken pipe\n"
     "srun: error: n1: task 1: Killed\n",
     LOG_OTHER, "", ""},
    {CANCELLED_STEP "srun: error: n0: task 0: Exited with exit code 14\nsrun: error: n1: task 3: Killed\n"
                    "srun: error: n2: task 4: Killed\n", /* which of them was first? */
     LOG_OTHER, "", ""},
    {CANCELLED_STEP "srun: error: n0: task 0: Segmentation fault\nsrun: error: n1: task 3: Killed\n",
     LOG_OTHER, "", ""},
    {CANCELLED_STEP CANCELLED_BY
     "***\nsrun: error: n0: task 0: Exited with exit code 75\nsrun: error: n1: task 3: Killed\n",
     LOG_OTHER, "", ""},
    {"srun: error: n0: task 0: Exited with exit code 1\n" CANCELLED_STEP "srun: error: n1: task 3: Killed\n",
     LOG_OTHER, "", ""},
    {"[rank 0/4 n0 step 3] fatal: the token file ends early (data/tokens/tokens.c:7)\n" CANCELLED_STEP
     "srun: error: n0: task 0: Exited with exit code 1\nsrun: error: n1: task 3: Killed\n",
     LOG_OTHER, "", ""},
    {"srun: error: n1: task 3: Exited with exit code 1\n" TERMINATED, LOG_OTHER, "", ""},
    {"srun: error: n1: task 3: Segmentation fault (core dumped)\n" TERMINATED, LOG_OTHER, "", ""},
    {RANK "an illegal memory access was encountered (cudaErrorIllegalAddress)\n"
          "srun: error: n1: task 3: Exited with exit code 1\n",
     LOG_OTHER, "", ""},
    {RANK "out of memory (cudaErrorMemoryAllocation)\nsrun: error: n1: task 3: Exited with exit code 1\n",
     LOG_OTHER, "", ""},
    {"srun: error: n1: task 3: Killed\nslurmstepd-n1: error: Detected 1 oom_kill event in StepId=1.0. Some of the "
     "step tasks have been OOM Killed.\n",
     LOG_OTHER, "", ""},
    {"srun: error: n1: task 3: Out Of Memory\n", LOG_OTHER, "", ""},
    {CANCELLED_BY "DUE TO TIME LIMIT ***\nsrun: error: n1: tasks 2-3: Killed\n", LOG_OTHER, "", ""},
    {CANCELLED_BY "***\nsrun: error: n1: tasks 2-3: Killed\n", LOG_OTHER, "", ""},
    {CANCELLED_BY "DUE TO PREEMPTION ***\nsrun: error: n1: tasks 2-3: Killed\n", LOG_PREEMPTED, "", ""},
    {"srun: Job step aborted: Waiting up to 7 seconds for job step to finish.\n" CANCELLED_BY
     "DUE TO PREEMPTION ***\n",
     LOG_PREEMPTED, "", ""},
    /* what a user's data might say is not Slurm's word */
    {"document: srun: error: n1: task 3: Killed\nDUE TO PREEMPTION\n", LOG_SILENT, "", ""},
    {"srun: error: -x: task 3: Killed\n", LOG_OTHER, "", ""},
    {"srun: error: $(id): task 3: Killed\n", LOG_OTHER, "", ""},
    {"srun: error: Node failure on \n", LOG_OTHER, "", ""},
};

static void test_logs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof LOGS / sizeof LOGS[0]; i++) {
        struct log_end end = job_log_read(LOGS[i].text);
        if (end.verdict != LOGS[i].verdict || strcmp(end.node, LOGS[i].node) != 0 ||
            strcmp(end.why, LOGS[i].why) != 0)
            fail_msg("verdict %d, node '%s', why '%s' of:\n%s", (int)end.verdict, end.node, end.why,
                     LOGS[i].text);
    }
    char *name = xmalloc(4001);
    memset(name, 'n', 4000);
    name[4000] = '\0';
    char *text = xasprintf("srun: error: %s: task 3: Killed\nsrun: error: Node failure on %s\n", name, name);
    struct log_end end = job_log_read(text); /* longer than any line and any name */
    assert_int_not_equal(end.verdict, LOG_NODE);
    free(text);
    free(name);
}

static void test_states(void **state) {
    (void)state;
    assert_int_equal(start_nodes_read("").verdict, LOG_SILENT);
    assert_int_equal(start_nodes_read("n0|mixed|none\nn1|allocated|none\nrubbish\n\n").verdict, LOG_SILENT);
    static const char *const failed[] = {"down", "down*", "idle*", "drained", "draining", "fail", "failing"};
    for (size_t i = 0; i < sizeof failed / sizeof failed[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "n0|mixed|none\nn1|%s|Not responding\nn2|down|x\n", failed[i]);
        struct log_end end = start_nodes_read(text);
        assert_int_equal(end.verdict, LOG_NODE);
        assert_string_equal(end.node, "n1");
        assert_non_null(strstr(end.why, ": Not responding"));
    }
    char name[NODE_NAME_ROOM] = "r7i2n4.cluster.example";
    assert_true(start_has_node(name, "r7i2n3\nr7i2n4\n"));
    assert_string_equal(name, "r7i2n4");
    assert_false(start_has_node(name, "r7i2n40\nr7i2n\n"));
    assert_false(start_has_node(name, ""));
}

static void write_log(const char *folder, const char *text) {
    char *path = xasprintf("%s/logs/a name-12.out", folder);
    struct err err = {""};
    if (file_replace(path, text, strlen(text), &err) != 0)
        fail_msg("%s", err.text);
    free(path);
}

/* Only what the start itself wrote counts; a log that is gone, or was emptied, says nothing. */
static void test_log_file(void **state) {
    (void)state;
    char *folder = test_folder("start_end");
    char *logs = xasprintf("%s/logs", folder);
    struct err err = {""};
    struct chain_job job = {.id = "12"};
    assert_int_equal(folder_create(logs, &err), 0);
    assert_int_equal(start_log_bytes(folder, "a name", "12"), 0);
    assert_int_equal(start_end_look(folder, "a name", &job).verdict, LOG_SILENT);
    write_log(folder, CANCELLED_BY "DUE TO PREEMPTION ***\n");
    assert_int_equal(start_end_look(folder, "a name", &job).verdict, LOG_PREEMPTED);
    job.log_bytes = start_log_bytes(folder, "a name", "12");
    assert_true(job.log_bytes > 60);
    assert_int_equal(start_end_look(folder, "a name", &job).verdict, LOG_SILENT);
    write_log(folder, "short\n");
    assert_int_equal(start_end_look(folder, "a name", &job).verdict, LOG_SILENT);
    /* A node that is not one of the job's is nobody's to leave out. */
    job.log_bytes = 0;
    write_log(folder, "srun: error: n1: task 3: Killed\n");
    assert_int_equal(start_end_look(folder, "a name", &job).verdict, LOG_OTHER);
    free(logs);
    free(folder);
}

static struct chain_node node(const char *name, int64_t since) {
    struct chain_node made = {.since = since, .why = "task 3: Killed\n\xff", .job = "12"};
    snprintf(made.name, sizeof made.name, "%s", name);
    return made;
}

static void assert_exclusion(const struct chain *chain, const char *wanted) {
    char *list = chain_exclusion(chain);
    assert_string_equal(list, wanted);
    free(list);
}

static void test_bound(void **state) {
    (void)state;
    static const int64_t cases[][3] = {/* nodes of the partition, of the job, most left out */
                                       {0, 4, 2},   {2, 2, 0},   {2, 1, 1},     {3, 1, 2}, {10, 8, 2},
                                       {10, 10, 0}, {50, 16, 5}, {364, 128, 8}, {5, 9, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(chain_max_excluded(cases[i][0], cases[i][1]), cases[i][2]);

    struct chain chain = {.max_excluded = 0, .exclude = xstrdup("n7,n[8-9]")};
    char dropped[CHAIN_NODE_ROOM];
    struct chain_node one = node("n1", 1), two = node("n2", 2), three = node("n3", 3);
    assert_false(chain_exclude(&chain, &one, dropped));
    assert_exclusion(&chain, "n7,n[8-9]");
    assert_false(chain.exclusion_is_new);
    chain.max_excluded = 2;
    assert_true(chain_exclude(&chain, &one, dropped));
    assert_true(chain_exclude(&chain, &two, dropped));
    assert_string_equal(dropped, "");
    assert_true(chain_exclude(&chain, &one, dropped)); /* again: it is the youngest now */
    assert_string_equal(dropped, "");
    assert_exclusion(&chain, "n7,n[8-9],n2,n1");
    assert_true(chain_exclude(&chain, &three, dropped));
    assert_string_equal(dropped, "n2");
    assert_exclusion(&chain, "n7,n[8-9],n1,n3");
    assert_true(chain.exclusion_is_new);
    assert_string_equal(chain.excluded[0].why, "task 3: Killed??"); /* it goes to a terminal and into JSON */
    chain_readmit(&chain, dropped);
    assert_string_equal(dropped, "n1");
    assert_exclusion(&chain, "n7,n[8-9],n3");
    chain_release(&chain);
    assert_exclusion(&chain, "");
}

/* A job that Slurm requeues keeps to what it was submitted with: for another list another job is submitted. */
static void test_requeue(void **state) {
    (void)state;
    for (int is_new = 0; is_new < 2; is_new++) {
        struct chain chain = {
            .requeues = true, .max_jobs = 5, .time_s = 3600, .num_steps = 100, .max_excluded = 1};
        struct chain_moment moment = {.job_id = "1", .now = 1000, .nodes = "n[0-1]", .log_bytes = 77};
        assert_true(chain_begin(&chain, &moment));
        assert_string_equal(chain.jobs[0].nodes, "n[0-1]");
        assert_int_equal(chain.jobs[0].log_bytes, 77);
        chain.exclusion_is_new = is_new;
        moment.now = 3000;
        moment.newest_step = 10;
        assert_int_equal(chain_end(&chain, &moment, 75), is_new ? CHAIN_NEXT_SUBMIT : CHAIN_NEXT_REQUEUE);
        chain_release(&chain);
    }
}

static void test_chain_file(void **state) {
    (void)state;
    char *folder = test_folder("start_end_chain"), dropped[CHAIN_NODE_ROOM];
    struct chain chain = {.max_excluded = 2, .exclude = xstrdup("n7")}, back;
    struct chain_node one = node("n1", 17);
    struct err err = {""};
    assert_true(chain_exclude(&chain, &one, dropped));
    assert_int_equal(chain_save(&chain, folder, &err), 0);
    assert_int_equal(chain_load(&back, folder, &err), 0);
    assert_true(back.num_excluded == 1 && back.max_excluded == 2 && back.exclusion_is_new);
    assert_exclusion(&back, "n7,n1");
    assert_memory_equal(&back.excluded[0], &chain.excluded[0], sizeof back.excluded[0]);
    chain_release(&back);
    /* A name that was edited into the file reaches no command. */
    snprintf(chain.excluded[0].name, CHAIN_NODE_ROOM, "--wrap=id");
    assert_int_equal(chain_save(&chain, folder, &err), 0);
    assert_int_equal(chain_load(&back, folder, &err), -1);
    assert_non_null(strstr(err.text, "'--wrap=id' in 'excluded' is not the name of a node"));
    chain_release(&chain);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logs),  cmocka_unit_test(test_states),  cmocka_unit_test(test_log_file),
        cmocka_unit_test(test_bound), cmocka_unit_test(test_requeue), cmocka_unit_test(test_chain_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
