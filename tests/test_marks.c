/* test_marks.c - the pages that ranks leave in shared memory when they are killed: a later start removes those
 * of which no process is left, and no others.  What is compared lies in a folder of the test's own, because any
 * start on this host sweeps /dev/shm. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>

#include "tests/check.h"
#include "train/ranks/comm_marks.h"

static char *folder;

static void set_job(const char *name, int local, int num_local) {
    char number[16];
    setenv("PMIX_NAMESPACE", name, 1);
    snprintf(number, sizeof number, "%d", local);
    setenv("OMPI_COMM_WORLD_RANK", number, 1);
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", number, 1);
    snprintf(number, sizeof number, "%d", num_local);
    setenv("OMPI_COMM_WORLD_SIZE", number, 1);
    setenv("OMPI_COMM_WORLD_LOCAL_SIZE", number, 1);
}

static char *page_path(const char *in, const char *name) {
    return xasprintf("%s/atelier-%ld-%s", in, (long)geteuid(), name);
}

static void copy(const char *from, const char *to) {
    char bytes[4096];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    size_t length = in ? fread(bytes, 1, sizeof bytes, in) : 0;
    if (!in || !out || length == 0 || fwrite(bytes, 1, length, out) != length)
        _exit(1);
    fclose(in);
    fclose(out);
}

static bool is_there(const char *path) {
    struct stat facts;
    return lstat(path, &facts) == 0;
}

/* start_rank - a process that has come as one of two ranks, left a copy of its page in the folder, and lives. */
static pid_t start_rank(const char *name) {
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        char *page = page_path("/dev/shm", name), *kept = page_path(folder, name);
        set_job(name, 1, 2);
        marks_post(marks_open(), MARK_STARTING);
        copy(page, kept);
        if (write(ready[1], "r", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void test_killed(void **state) {
    (void)state;
    char *name = xasprintf("test-marks-%ld", (long)getpid()), *other = xasprintf("%s-own", name);
    pid_t child = start_rank(name);
    char *kept = page_path(folder, name), *page = page_path("/dev/shm", name);
    char *own = page_path("/dev/shm", other);
    marks_sweep(folder, NULL);
    assert_true(is_there(kept)); /* control: its process lives */
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    marks_sweep(folder, strrchr(kept, '/') + 1);
    assert_true(is_there(kept));
    marks_sweep(folder, NULL);
    assert_false(is_there(kept));
    set_job(other, 0, 2);
    struct marks *marks = marks_open(); /* as a later start does */
    marks_post(marks, MARK_STARTING);
    assert_false(is_there(page));
    assert_true(is_there(own));
    marks_sweep("/dev/shm", NULL);
    assert_true(is_there(own));
    marks_post(marks, MARK_RUNNING);
    assert_false(is_there(own));
    marks_close(marks);
    free(own), free(page), free(kept), free(other), free(name);
}

static void put(const char *path, size_t length) {
    static const char zeros[64];
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(zeros, 1, length, file), length);
    fclose(file);
}

/* What is not a page is nobody's to remove; a page without a process may just be made. */
static void test_others(void **state) {
    (void)state;
    char *odd = page_path(folder, "odd"), *link = page_path(folder, "link"),
         *fifo = page_path(folder, "fifo");
    char *fresh = page_path(folder, "fresh"), *old = page_path(folder, "old");
    char *foreign = xasprintf("%s/other-file", folder);
    put(odd, 7);
    put(fresh, 32);
    put(old, 32);
    put(foreign, 32);
    struct utimbuf long_ago = {1000000000, 1000000000};
    assert_int_equal(utime(old, &long_ago), 0);
    assert_int_equal(utime(odd, &long_ago), 0);
    assert_int_equal(utime(foreign, &long_ago), 0);
    assert_int_equal(symlink("other-file", link), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    alarm(30);
    marks_sweep(folder, NULL);
    alarm(0);
    assert_true(is_there(odd) && is_there(link) && is_there(fifo) && is_there(fresh) && is_there(foreign));
    assert_false(is_there(old));
    free(odd), free(link), free(fifo), free(fresh), free(old), free(foreign);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_others),
    };
    if (access("/dev/shm", W_OK) != 0) {
        printf("no shared memory here\n");
        return TEST_SKIPPED;
    }
    folder = test_folder("marks");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return status;
}
