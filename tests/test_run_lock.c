/* test_run_lock.c - one program at a time in a run folder: another process is refused by the owner's name, a
 * lock that was left is found out, on this host and on another, and nothing stays of a folder that was not
 * used. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "slurm/submit_folder.h"
#include "tests/check.h"
#include "train/run/run_lock.h"

/* holder - a process that takes the lock and keeps it until it is killed; *says is 1 once it has it. */
static pid_t holder(const char *folder) {
    int pipe_ends[2];
    char answer = 0;
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct run_lock lock;
        answer = run_lock_take(&lock, folder, RUN_WORK_TRAIN, 0, NULL) == RUN_LOCK_TAKEN ? 'y' : 'n';
        if (write(pipe_ends[1], &answer, 1) == 1)
            sleep(60);
        _exit(0);
    }
    close(pipe_ends[1]);
    assert_int_equal(read(pipe_ends[0], &answer, 1), 1);
    close(pipe_ends[0]);
    assert_int_equal(answer, 'y');
    return pid;
}

static void end_holder(pid_t pid) {
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_one_at_a_time(void **state) {
    (void)state;
    char *folder = test_folder("run-lock"), *phrase, own[64];
    struct run_lock lock, other;
    struct run_owner owner;
    struct err err = {""};
    unsetenv("SLURM_JOB_ID");
    submit_user(own, sizeof own);
    pid_t pid = holder(folder);
    double before = clock_s();
    assert_int_equal(run_lock_take(&lock, folder, RUN_WORK_SUBMIT, 0.4, &err), RUN_LOCK_REFUSED);
    assert_true(clock_s() - before >= 0.4);
    phrase = xasprintf("'%s' belongs to user '%s' (process %lld on host ", folder, own, (long long)pid);
    if (!strstr(err.text, phrase) || !strstr(err.text, ", started 20"))
        fail_msg("%s\nis not in\n%s", phrase, err.text);
    free(phrase);
    run_lock_release(&lock); /* harmless */
    assert_true(run_owner_read(&owner, folder));
    assert_int_equal(owner.pid, pid);
    end_holder(pid); /* however it ends: its lock goes with it, though its name stands there still */
    assert_true(run_owner_read(&owner, folder));
    assert_int_equal(run_lock_take(&lock, folder, RUN_WORK_SUBMIT, 0, &err), RUN_LOCK_TAKEN);
    assert_int_equal(run_lock_take(&other, folder, RUN_WORK_CHAIN, 0, &err), RUN_LOCK_REFUSED);
    run_lock_release(&lock);
    assert_false(run_owner_read(&owner, folder));
    assert_int_equal(run_lock_take(&other, folder, RUN_WORK_CHAIN, 0, &err), RUN_LOCK_TAKEN);
    run_lock_release(&other);
    free(folder);
}

/* put_owner - a lock file as a process of another host would have left it, or hold it where the file system's
 * locks do not reach this one. */
static void put_owner(const char *folder, const char *host, const char *job) {
    char *path = xasprintf("%s/lock", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "{\"work\":\"train\",\"user\":\"alice\",\"host\":\"%s\",\"job\":\"%s\",\"pid\":42,"
            "\"started\":1700000000}\n",
            host, job);
    fclose(file);
    free(path);
}

static void fake_squeue(const char *folder, const char *script) {
    char *path = xasprintf("%s/squeue", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
}

static void test_another_host(void **state) {
    (void)state;
    static const struct {
        const char *host, *job, *own_job, *squeue;
        enum run_lock_answer answer;
    } cases[] = {
        {"n7", "12", NULL, "echo '12|RUNNING|||||n7|alice'", RUN_LOCK_REFUSED},
        {"n7", "12", "13", "echo '12|RUNNING|||||n7|alice'", RUN_LOCK_REFUSED},
        {"n7", "12", NULL, "exit 0", RUN_LOCK_TAKEN},                /* it is over */
        {"n7", "12", "12", "exit 1", RUN_LOCK_TAKEN},                /* an earlier start of this job */
        {"n7", "12", NULL, "echo down >&2; exit 1", RUN_LOCK_TAKEN}, /* no answer: the lock was had */
        {"n7", "", NULL, "exit 1", RUN_LOCK_TAKEN},                  /* nobody to ask: the same */
    };
    char cwd[4096], *folder = test_folder("run-lock-host"), *bin = test_folder("run-lock-bin");
    char *old = xstrdup(getenv("PATH"));
    assert_non_null(getcwd(cwd, sizeof cwd));
    char *path = xasprintf("%s/%s:%s", cwd, bin, old);
    setenv("PATH", path, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run_lock lock;
        struct err err = {""};
        put_owner(folder, cases[i].host, cases[i].job);
        fake_squeue(bin, cases[i].squeue);
        if (cases[i].own_job)
            setenv("SLURM_JOB_ID", cases[i].own_job, 1);
        else
            unsetenv("SLURM_JOB_ID");
        enum run_lock_answer answer = run_lock_take(&lock, folder, RUN_WORK_TRAIN, 0, &err);
        if (answer != cases[i].answer)
            fail_msg("case %zu: %d, %s", i, (int)answer, err.text);
        if (answer == RUN_LOCK_REFUSED)
            assert_non_null(
                strstr(err.text, "belongs to user 'alice' (job 12 on host n7, started 2023-11-1"));
        run_lock_release(&lock);
    }
    unsetenv("SLURM_JOB_ID");
    setenv("PATH", old, 1);
    free(path);
    free(old);
    free(bin);
    free(folder);
}

/* A run that never began leaves nothing; one that did leaves its folder. */
static void test_unused_folder(void **state) {
    (void)state;
    char *parent = test_folder("run-lock-unused"), *folder = xasprintf("%s/a/run", parent);
    char *inside = xasprintf("%s/metrics.jsonl", folder), *path = xasprintf("%s/lock", folder);
    struct run_lock lock;
    struct err err = {""};
    assert_int_equal(run_lock_take(&lock, folder, RUN_WORK_TRAIN, 0, &err), RUN_LOCK_TAKEN);
    assert_int_equal(access(path, F_OK), 0);
    run_lock_release(&lock);
    assert_int_not_equal(access(folder, F_OK), 0);
    assert_int_equal(run_lock_take(&lock, folder, RUN_WORK_TRAIN, 0, &err), RUN_LOCK_TAKEN);
    fclose(fopen(inside, "w"));
    run_lock_release(&lock);
    assert_int_equal(access(inside, F_OK), 0);
    assert_int_equal(run_lock_take(&lock, folder, RUN_WORK_TRAIN, 0, &err), RUN_LOCK_TAKEN);
    unlink(inside); /* the folder was there before: it is the user's */
    run_lock_release(&lock);
    assert_int_equal(access(folder, F_OK), 0);
    /* What lies in the lock's place is not followed, nor waited for. */
    unlink(path);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(run_lock_take(&lock, folder, RUN_WORK_TRAIN, 0, &err), RUN_LOCK_FAILED);
    assert_non_null(strstr(err.text, "cannot open"));
    assert_int_equal(run_lock_take(&lock, "/dev/null/x", RUN_WORK_TRAIN, 0, &err), RUN_LOCK_FAILED);
    free(path);
    free(inside);
    free(folder);
    free(parent);
}

static void expect_lost(const struct run_lock *lock, const char *phrase, const char *other) {
    struct err err = {""};
    assert_int_equal(run_lock_check(lock, &err), -1);
    if (!strstr(err.text, phrase) || !strstr(err.text, other))
        fail_msg("neither '%s' nor '%s' may be missing in '%s'", phrase, other, err.text);
}

/* A folder that is moved under its run is not its any more, whatever stands at the path; nothing of another's goes. */
static void test_moved(void **state) {
    (void)state;
    char *parent = test_folder("run-lock-moved"), *folder = xasprintf("%s/a", parent);
    char *moved = xasprintf("%s/b", parent), *path = xasprintf("%s/lock", folder);
    struct run_lock lock;
    struct err err = {""};
    unsetenv("SLURM_JOB_ID");
    assert_int_equal(run_lock_take(&lock, folder, RUN_WORK_TRAIN, 0, &err), RUN_LOCK_TAKEN);
    assert_int_equal(run_lock_check(&lock, &err), 0);
    assert_int_equal(rename(folder, moved), 0);
    expect_lost(&lock, "was moved to '/", "/b', and nothing stands there now");
    assert_int_equal(mkdir(folder, 0755), 0);
    expect_lost(&lock, "was moved to '/", "/b', and another folder stands there now");
    pid_t other = holder(folder);
    expect_lost(&lock, "/b', and what stands there belongs to user '", "(process ");
    run_lock_release(&lock);
    assert_int_equal(access(path, F_OK), 0); /* the other's */
    end_holder(other);

    assert_int_equal(run_lock_take(&lock, moved, RUN_WORK_TRAIN, 0, &err), RUN_LOCK_TAKEN);
    free(path);
    path = xasprintf("%s/lock", moved);
    assert_int_equal(unlink(path), 0); /* a name that is missing is nobody else's */
    assert_int_equal(run_lock_check(&lock, &err), 0);
    other = holder(moved);
    expect_lost(&lock,
                "/lock' is not this run's any more: somebody removed it, and what stands there belongs",
                "user");
    end_holder(other);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(moved), 0);
    expect_lost(&lock, "that was removed, and nothing stands there now", "cannot go on from here");
    run_lock_release(&lock);
    free(path);
    free(moved);
    free(folder);
    free(parent);
}

/* A group that shares the folder can lock it. */
static void test_rights(void **state) {
    (void)state;
    char *parent = test_folder("run-lock-rights"), *path = xasprintf("%s/lock", parent);
    struct run_lock lock;
    struct stat facts;
    for (int shared = 0; shared < 2; shared++) {
        assert_int_equal(chmod(parent, shared ? 0775 : 0755), 0);
        unlink(path);
        assert_int_equal(run_lock_take(&lock, parent, RUN_WORK_TRAIN, 0, NULL), RUN_LOCK_TAKEN);
        run_lock_release(&lock);
        assert_int_equal(stat(path, &facts), 0);
        assert_int_equal((facts.st_mode & 0020) != 0, shared);
    }
    free(path);
    free(parent);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_at_a_time), cmocka_unit_test(test_another_host),
        cmocka_unit_test(test_unused_folder), cmocka_unit_test(test_moved),
        cmocka_unit_test(test_rights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
