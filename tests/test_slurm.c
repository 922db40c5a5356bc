/* test_slurm.c - the edge to other programs: quoting for the shell and for sbatch, Slurm's times, what
 * squeue, sbatch and srun answer, programs that are missing, slow or loud, and the clock of a job. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "slurm/slurm.h"
#include "slurm/slurm_text.h"
#include "slurm/subprocess.h"
#include "slurm/walltime.h"
#include "tests/check.h"

static const char *const HOSTILE[] = {
    "a b",
    "it's",
    "a'; touch HACKED; '",
    "$(touch HACKED)",
    "`touch HACKED`",
    "a\"b",
    "a\\",
    "a$HOME",
    "a#b",
    "-rf",
    "",
    "a&b;c|d>e<f*?",
    "été ☕ \xf0\x9f\x98\x80",
    "''",
    "!x",
    "~root",
    "{a,b}",
    "a\\'b",
};
enum { NUM_HOSTILE = sizeof HOSTILE / sizeof HOSTILE[0] };

/* What a shell makes of the quoted word is the word: asked of the shell itself. */
static void test_shell_quote(void **state) {
    (void)state;
    for (int i = 0; i < NUM_HOSTILE; i++) {
        struct err err = {""};
        char *quoted = shell_quote(HOSTILE[i]), *command = xasprintf("printf '%%s' %s", quoted);
        const char *const argv[] = {"bash", "-c", command, NULL};
        char *back = subprocess_ask(argv, 10, &err);
        if (!back)
            fail_msg("%s: %s", command, err.text);
        assert_string_equal(back, HOSTILE[i]);
        free(back);
        free(command);
        free(quoted);
    }
    assert_int_not_equal(access("HACKED", F_OK), 0);
    /* Control: unquoted, a shell does not give these words back. */
    const char *const argv[] = {"bash", "-c", "printf '%s' a$HOME", NULL};
    char *back = subprocess_ask(argv, 10, NULL);
    assert_non_null(back);
    assert_string_not_equal(back, "a$HOME");
    free(back);
}

/* sbatch reads its lines by its own rules: quotes group, a backslash takes the next character, '#' ends. */
static void read_as_sbatch(const char *line, char *word) {
    char quote = '\0';
    for (; *line && (quote || *line != ' ') && (quote || *line != '#'); line++) {
        if (*line == '\\' && line[1])
            *word++ = *++line;
        else if (quote && *line == quote)
            quote = '\0';
        else if (!quote && (*line == '"' || *line == '\''))
            quote = *line;
        else
            *word++ = *line;
    }
    *word = '\0';
}

static void test_sbatch_quote(void **state) {
    (void)state;
    char word[256];
    for (int i = 0; i < NUM_HOSTILE; i++) {
        char *quoted = sbatch_quote(HOSTILE[i]);
        read_as_sbatch(quoted, word);
        assert_string_equal(word, HOSTILE[i]);
        free(quoted);
    }
    char *plain = sbatch_quote("--output=/a/b/%x-%j.out");
    assert_string_equal(plain, "--output=/a/b/%x-%j.out");
    free(plain);
    read_as_sbatch("a#b", word); /* control: the reader does what sbatch does */
    assert_string_equal(word, "a");
}

/* --- times and answers of Slurm --- */

static void test_times(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds; /* 0: refused */
    } times[] = {{"20h", 72000},
                 {"90min", 5400},
                 {"2d", 172800},
                 {"20:00:00", 72000},
                 {"100:00:00", 360000},
                 {"30", 1800},
                 {"30:00", 1800},
                 {"1-12", 129600},
                 {"1-12:30", 131400},
                 {"1-00:00:01", 86401},
                 {"0", 0},
                 {"", 0},
                 {"1:2:3:4", 0},
                 {"h", 0},
                 {"-5", 0},
                 {"1-", 0},
                 {"20 h", 0},
                 {"99999999999h", 0},
                 {"9999999d", 0},
                 {"1--2", 0}};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        int64_t seconds = 0;
        struct err err = {""};
        int status = slurm_time_parse(times[i].text, &seconds, &err);
        if (status != (times[i].seconds ? 0 : -1) || (status == 0 && seconds != times[i].seconds))
            fail_msg("'%s' gave %lld", times[i].text, (long long)seconds);
    }
    char room[SLURM_TIME_ROOM];
    assert_string_equal(slurm_time_text(360061, room), "100:01:01");
    assert_int_equal(slurm_time_left("2:57"), 177);
    assert_int_equal(slurm_time_left("1-02:03:04"), 93784);
    assert_int_equal(slurm_time_left("UNLIMITED"), -1);
    assert_int_equal(slurm_time_left("INVALID"), -1);
    assert_int_equal(slurm_time_left(""), -1);
    assert_int_equal(slurm_time_left("57"), -1);
}

static void test_answers(void **state) {
    (void)state;
    char id[SLURM_ID_ROOM];
    struct err err = {""};
    assert_int_equal(slurm_parse_id("123\n", id, &err), 0);
    assert_string_equal(id, "123");
    assert_int_equal(slurm_parse_id("456;cluster\n", id, &err), 0);
    assert_string_equal(id, "456");
    assert_int_equal(slurm_parse_id("\n", id, &err), -1);
    assert_non_null(strstr(err.text, "sbatch gave no job id"));
    assert_int_equal(slurm_parse_id("", id, &err), -1);
    assert_int_equal(slurm_parse_id("12x\n", id, &err), -1);
    assert_int_equal(slurm_parse_id("Submitted batch job 5\n", id, &err), -1);
    assert_int_equal(slurm_parse_id("1234567890123456789012345678901234567890", id, &err), -1);

    struct queue queue;
    queue_read(
        &queue,
        "7|RUNNING|None|2026-01-01T00:00:00|1:00|normal|n[0-1]|alice\n8|PENDING|Priority|N/A|2:00|dev|\n"
        "bad\n|x|||||\n9|a|b\n");
    assert_int_equal(queue.num_jobs, 2);
    assert_string_equal(queue_find(&queue, "7")->nodes, "n[0-1]");
    assert_string_equal(queue_find(&queue, "7")->user, "alice");
    assert_string_equal(queue_find(&queue, "8")->start, "");
    assert_string_equal(queue_find(&queue, "8")->user, "");
    assert_null(queue_find(&queue, "9"));
    assert_int_equal(queue_count_qos(&queue, "dev"), 1);
    queue_release(&queue);
}

static void test_preempted(void **state) {
    (void)state;
    assert_true(slurm_says_preempted(
        "JobId=5 ... PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime=2026-01-01T00:00:00 X=1"));
    assert_false(
        slurm_says_preempted("JobId=5 PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime=None X=1"));
    assert_false(slurm_says_preempted("JobId=5 JobState=RUNNING"));
    assert_true(slurm_says_preempted("PREEMPTED"));
    assert_false(slurm_says_preempted("NODE_FAIL"));
}

static void test_mpi(void **state) {
    (void)state;
    assert_string_equal(slurm_choose_mpi("MPI plugin types are...\n\tpmix\n\tnone\n\tpmi2\n"), "pmix");
    assert_string_equal(slurm_choose_mpi("srun: pmix_v4\nsrun: none"), "pmix_v4");
    assert_null(slurm_choose_mpi("none\npmi2\nnot_pmix\n"));
}

/* --- other programs --- */

static void test_child(void **state) {
    (void)state;
    struct subprocess_result result;
    struct err err = {""};
    const char *const words[] = {"sh", "-c", "printf 'a b'; echo x >&2; exit 3", NULL};
    assert_int_equal(subprocess_run(words, 10, &result, &err), 0);
    assert_string_equal(result.output, "a b");
    assert_string_equal(result.errors, "x\n");
    assert_int_equal(result.exit_code, 3);
    subprocess_release(&result);
    assert_null(subprocess_ask(words, 10, &err));
    assert_non_null(strstr(err.text, "'sh' ended with code 3: x"));

    const char *const missing[] = {"no-such-program-of-slurm", NULL};
    assert_int_equal(subprocess_run(missing, 10, &result, &err), -1);
    assert_non_null(strstr(err.text, "it is not installed, or not on PATH"));
    subprocess_release(&result);

    /* Slow: given up in time, also where the child's own children hold its streams open. */
    const char *const slow[] = {"sh", "-c", "sleep 30 & sleep 30", NULL};
    double before = clock_s();
    assert_int_equal(subprocess_run(slow, 0.3, &result, &err), -1);
    assert_true(clock_s() - before < 5);
    assert_non_null(strstr(err.text, "did not answer within 0.3 s"));
    subprocess_release(&result);

    const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
    assert_int_equal(subprocess_run(killed, 10, &result, &err), 0);
    assert_int_equal(result.exit_code, 137);
    subprocess_release(&result);

    /* Loud: more than is kept does not stop it, and does not fill the memory. */
    const char *const loud[] = {"sh", "-c", "head -c 6000000 /dev/zero | tr '\\0' x", NULL};
    assert_int_equal(subprocess_run(loud, 60, &result, &err), 0);
    assert_int_equal(result.exit_code, 0);
    assert_int_equal(strlen(result.output), CHILD_MAX_OUTPUT);
    subprocess_release(&result);
}

/* What would steer sbatch behind the user's back is not passed on; where the cluster is, is. */
static void test_child_environment(void **state) {
    (void)state;
    setenv("SBATCH_ACCOUNT", "other", 1);
    setenv("SLURM_NTASKS", "7", 1);
    setenv("BASH_ENV", "/x", 1);
    setenv("SLURM_CONF", "/y", 1);
    setenv("ATELIER_TEST", "kept", 1);
    const char *const words[] = {"sh", "-c",
                                 "echo ${SBATCH_ACCOUNT-no} ${SLURM_NTASKS-no} ${BASH_ENV-no} $SLURM_CONF "
                                 "$ATELIER_TEST",
                                 NULL};
    char *output = subprocess_ask(words, 10, NULL);
    assert_non_null(output);
    assert_string_equal(output, "no no no /y kept\n");
    free(output);
    unsetenv("SBATCH_ACCOUNT");
    unsetenv("SLURM_NTASKS");
    unsetenv("BASH_ENV");
    unsetenv("SLURM_CONF");
}

/* fake_program - an executable of this name in folder; PATH begins with it. */
static void fake_program(const char *folder, const char *name, const char *script) {
    char *path = xasprintf("%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
}

/* count_calls - how often a fake program noted itself since this was asked last. */
static int count_calls(const char *path) {
    FILE *file = fopen(path, "r");
    int count = 0;
    for (int c = file ? fgetc(file) : EOF; c != EOF; c = fgetc(file))
        count += c == '\n';
    if (file)
        fclose(file);
    unlink(path);
    return count;
}

/* What passes by itself, told from what Slurm decided, by the texts of its programs. */
static void test_passing_trouble(void **state) {
    (void)state;
    assert_true(slurm_is_passing(
        "'sbatch' ended with code 1: sbatch: error: Batch job submission failed: Unable to contact slurm "
        "controller (connect failure)"));
    assert_true(slurm_is_passing("'squeue' ended with code 1: slurm_load_jobs error: Socket timed out on "
                                 "send/recv operation"));
    assert_true(slurm_is_passing("'scontrol' did not answer within 60 s"));
    /* what scontrol makes of a controller that is not there */
    assert_true(
        slurm_is_passing("'scontrol requeue' ended with code 1: Unexpected message received for job 10"));
    assert_false(slurm_is_passing("sbatch: error: Batch job submission failed: Invalid account"));
    assert_false(slurm_is_passing("cannot start 'sbatch': it is not installed, or not on PATH"));
}

/* The controller is down for a while: the call is repeated until it answers, or until patience ends; what
 * Slurm decided is not asked twice. */
static void test_patience(void **state) {
    (void)state;
    char cwd[4096], id[SLURM_ID_ROOM], *folder = test_folder("patience"), *old = xstrdup(getenv("PATH"));
    assert_non_null(getcwd(cwd, sizeof cwd));
    char *path = xasprintf("%s/%s:%s", cwd, folder, old), *calls = xasprintf("%s/calls", folder);
    char *down = xasprintf(
        "echo >>%s; echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1", calls);
    char *twice =
        xasprintf("[ $(wc -l <%s 2>/dev/null || echo 0) -ge 2 ] && { echo 77; exit 0; }\n%s", calls, down);
    char *refused = xasprintf("echo >>%s; echo 'Invalid account' >&2; exit 1", calls);
    struct err err = {""};
    struct queue queue;
    const struct submission submission = {.script = "job.sh"};
    setenv("PATH", path, 1);
    fake_program(folder, "sbatch", twice);
    setenv("ATELIER_SLURM_PATIENCE_S", "30", 1);
    assert_int_equal(slurm_submit(&submission, id, &err), 0);
    assert_string_equal(id, "77");
    assert_int_equal(count_calls(calls), 2);
    setenv("ATELIER_SLURM_PATIENCE_S", "1.5", 1);
    for (int i = 0; i < 3; i++)
        fake_program(folder, (const char *[]){"sbatch", "scontrol", "squeue"}[i], down);
    double before = clock_s();
    assert_int_equal(slurm_submit(&submission, id, &err), -1);
    assert_true(clock_s() - before < 10);
    assert_true(count_calls(calls) >= 2);
    assert_non_null(strstr(err.text, "Unable to contact"));
    assert_int_equal(slurm_requeue("5", &err), -1);
    assert_true(count_calls(calls) >= 2);
    assert_int_equal(queue_ask_patiently(&queue, "5", 5, &err), -1);
    assert_true(count_calls(calls) >= 2);
    assert_int_equal(queue_ask(&queue, 5, &err), -1); /* a look at the status does not wait */
    assert_int_equal(count_calls(calls), 1);
    fake_program(folder, "sbatch", refused);
    fake_program(folder, "scontrol", refused);
    assert_int_equal(slurm_submit(&submission, id, &err), -1);
    assert_int_equal(slurm_requeue("5", &err), -1);
    assert_int_equal(count_calls(calls), 2);           /* once each */
    fake_program(folder, "scontrol", "kill -TERM $$"); /* killed with the job that it requeues */
    assert_int_equal(slurm_requeue("5", &err), 0);
    fake_program(folder, "squeue", "[ \"$2 $3\" = '-j 5,6,5,6' ] && echo '6|RUNNING||||||bob'");
    assert_int_equal(queue_ask_jobs(&queue, "5,6", 5, &err), 0);
    assert_int_equal(queue.num_jobs, 1);
    assert_string_equal(queue.jobs[0].user, "bob");
    queue_release(&queue);
    unsetenv("ATELIER_SLURM_PATIENCE_S");
    assert_true(slurm_patience_s() == 600);
    setenv("PATH", old, 1);
    free(refused);
    free(twice);
    free(down);
    free(calls);
    free(path);
    free(old);
    free(folder);
}

/* --- the clock of a job --- */

static void test_walltime_sources(void **state) {
    (void)state;
    char cwd[4096], end[32], *folder = test_folder("walltime"), *old = xstrdup(getenv("PATH"));
    assert_non_null(getcwd(cwd, sizeof cwd));
    char *path = xasprintf("%s/%s:%s", cwd, folder, old);
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_JOB_END_TIME");
    assert_false(walltime_open().is_known);

    setenv("PATH", path, 1);
    setenv("SLURM_JOB_ID", "5", 1);
    fake_program(folder, "squeue", "[ \"$*\" = '-h -j 5 -o %L' ] && echo 1-00:00:30");
    struct walltime walltime = walltime_open();
    assert_true(walltime.is_known);
    assert_string_equal(walltime.source, "squeue");
    assert_true(fabs(walltime_remaining_s(&walltime) - 86430) < 5);

    snprintf(end, sizeof end, "%lld", (long long)time(NULL) + 100);
    setenv("SLURM_JOB_END_TIME", end, 1);
    walltime = walltime_open();
    assert_string_equal(walltime.source, "SLURM_JOB_END_TIME");
    assert_true(fabs(walltime_remaining_s(&walltime) - 100) < 5);

    setenv("SLURM_JOB_END_TIME", "1000000000", 1); /* long past: squeue is asked */
    assert_string_equal(walltime_open().source, "squeue");
    setenv("SLURM_JOB_END_TIME", "soon", 1);
    assert_string_equal(walltime_open().source, "squeue");
    fake_program(folder, "squeue", "echo UNLIMITED");
    assert_false(walltime_open().is_known);
    fake_program(folder, "squeue", "echo error >&2; exit 1");
    walltime = walltime_open();
    assert_false(walltime.is_known);
    assert_true(isinf(walltime_remaining_s(&walltime)));
    assert_string_equal(walltime.source, "squeue did not answer");
    setenv("PATH", old, 1);
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_JOB_END_TIME");
    free(path);
    free(old);
    free(folder);
}

/* The wall clock is looked at once: what it does afterwards changes nothing, for only the monotonic clock
 * counts. */
static void test_walltime_clock(void **state) {
    (void)state;
    struct walltime walltime = walltime_from_end("5000", 4000, 10);
    assert_true(walltime.is_known && walltime.deadline_s == 1010);
    assert_false(walltime_from_end("5000", 5000, 10).is_known);
    assert_false(walltime_from_end("5000", 6000, 10).is_known);
    assert_false(walltime_from_end("5000x", 4000, 10).is_known);
    assert_false(walltime_from_end("", 4000, 10).is_known);
    assert_false(walltime_from_end("nan", 4000, 10).is_known);
    assert_false(walltime_from_end("1e300", 4000, 10).is_known);
    walltime.deadline_s = clock_s() + 50;
    assert_true(fabs(walltime_remaining_s(&walltime) - 50) < 1);
}

static void test_walltime_decision(void **state) {
    (void)state;
    assert_true(walltime_margin_s(30, 5) == 130);
    assert_false(walltime_must_stop(130, 30, 5));
    assert_true(walltime_must_stop(129.9, 30, 5));
    assert_true(walltime_must_stop(-5, 0, 0));
    assert_false(walltime_must_stop(INFINITY, 1e6, 1e6));
}

/* Young's and Daly's intervals against the cost they minimise, evaluated by brute force. */
static double lost_share(double interval, double checkpoint, double mtbf) {
    /* Daly 2006, equation 20 with no restart time: expected time / useful time - 1. */
    return mtbf * (exp((interval + checkpoint) / mtbf) - 1) / interval - 1;
}

static void test_save_interval(void **state) {
    (void)state;
    assert_true(save_interval_s(0, 3600) == 0);
    assert_true(save_interval_s(100, 40) == 40);
    const double cases[][2] = {{10, 86400}, {60, 36000}, {300, 20000}, {5, 1e6}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double checkpoint = cases[i][0], mtbf = cases[i][1], best = 1,
               interval = save_interval_s(checkpoint, mtbf);
        for (double t = 1; t < mtbf; t *= 1.001)
            if (lost_share(t, checkpoint, mtbf) < lost_share(best, checkpoint, mtbf))
                best = t;
        if (!(fabs(interval - best) < 0.01 * best))
            fail_msg("C %g M %g: %g, the best is %g", checkpoint, mtbf, interval, best);
        /* Control: half and twice of it cost more. */
        assert_true(lost_share(interval / 2, checkpoint, mtbf) > lost_share(interval, checkpoint, mtbf));
        assert_true(lost_share(interval * 2, checkpoint, mtbf) > lost_share(interval, checkpoint, mtbf));
    }
    /* 16 nodes of 5000 h fail every 312.5 h together; a save of 40 s: every 2.6 hours. */
    int64_t steps = save_interval_steps(40, 2, 5000, 16);
    assert_true(steps == (int64_t)(save_interval_s(40, 5000 * 3600.0 / 16) / 2 + 0.5));
    assert_true(steps > 4700 && steps < 4750);
    assert_int_equal(save_interval_steps(40, 1e9, 5000, 16), 1);
    assert_int_equal(save_interval_steps(0, 2, 5000, 1), 1);
    assert_int_equal(save_interval_steps(40, 0, 5000, 0), 1);
}

/* A job that ends while it is cancelled: Slurm 24.11 ends with 229 and says nothing. */
static void test_cancel(void **state) {
    (void)state;
    char cwd[4096], *folder = test_folder("cancel"), *old = xstrdup(getenv("PATH"));
    assert_non_null(getcwd(cwd, sizeof cwd));
    char *path = xasprintf("%s/%s:%s", cwd, folder, old);
    struct err err = {""};
    setenv("PATH", path, 1);
    fake_program(folder, "scancel", "[ \"$*\" = 5 ] || [ \"$*\" = '--signal=USR1 5' ]");
    assert_int_equal(slurm_cancel("5", &err), 0);
    assert_int_equal(slurm_signal("5", &err), 0);
    assert_int_equal(slurm_cancel("6", &err), -1);
    assert_string_equal(err.text, "'scancel' ended with code 1: it said nothing");
    fake_program(folder, "scancel", "exit 229");
    assert_int_equal(slurm_cancel("5", &err), 0);
    assert_int_equal(slurm_signal("5", &err), 0);
    fake_program(folder, "scancel", "echo 'Access denied' >&2; exit 229"); /* what it says is believed */
    assert_int_equal(slurm_cancel("5", &err), -1);
    assert_string_equal(err.text, "'scancel' ended with code 229: Access denied");
    setenv("PATH", old, 1);
    free(path);
    free(old);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shell_quote),     cmocka_unit_test(test_sbatch_quote),
        cmocka_unit_test(test_times),           cmocka_unit_test(test_answers),
        cmocka_unit_test(test_preempted),       cmocka_unit_test(test_mpi),
        cmocka_unit_test(test_child),           cmocka_unit_test(test_child_environment),
        cmocka_unit_test(test_passing_trouble), cmocka_unit_test(test_patience),
        cmocka_unit_test(test_cancel),          cmocka_unit_test(test_walltime_sources),
        cmocka_unit_test(test_walltime_clock),  cmocka_unit_test(test_walltime_decision),
        cmocka_unit_test(test_save_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
