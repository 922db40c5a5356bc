/* test_outputs.c - what stands in the place of an output: a FIFO is not waited on, a device is neither written
 * to nor removed, a link is replaced and never written through. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "data/tokens/tokens.h"
#include "tests/check.h"

static char *folder;

static char *in_folder(const char *name) {
    return xasprintf("%s/%s", folder, name);
}

/* One per way to write: 0 when it went well. */
static int by_create(const char *path, struct err *err) {
    return file_create(path, "new", 3, err);
}
static int by_replace(const char *path, struct err *err) {
    return file_replace(path, "new", 3, err);
}
static int by_replace_shared(const char *path, struct err *err) {
    return file_replace_shared(path, "new", 3, err);
}
static int by_size(const char *path, struct err *err) {
    int fd = file_create_sized(path, 3, err);
    if (fd < 0)
        return -1;
    int status = file_write_at(fd, path, "new", 3, 0, err);
    close(fd);
    return status;
}
static int by_stream(const char *path, struct err *err) {
    FILE *file = file_create_stream(path, err);
    if (!file)
        return -1;
    fputs("new", file);
    return fclose(file);
}
static int by_tokens(const char *path, struct err *err) {
    static const int32_t ids[2] = {1, 2};
    struct token_writer *writer = token_writer_create(path, "hash", 10, err);
    if (!writer)
        return -1;
    int64_t source = token_writer_add_source(writer, "s", NULL, NULL);
    if (token_writer_append(writer, source, ids, NULL, 2, err) != 0) {
        token_writer_abandon(writer);
        return -1;
    }
    return token_writer_finish(writer, err);
}

static int (*const writers[])(const char *path, struct err *err) = {by_create, by_replace, by_replace_shared,
                                                                    by_size,   by_stream,  by_tokens};
enum { NUM_WRITERS = sizeof writers / sizeof *writers };

static void put(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static mode_t kind_at(const char *path) {
    struct stat facts;
    return lstat(path, &facts) == 0 ? facts.st_mode & S_IFMT : 0;
}

static void assert_text(const char *path, const char *want) {
    char got[16] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(got, sizeof got, file));
    fclose(file);
    assert_string_equal(got, want);
}

/* refused - by this writer, at once, by name, and what was there is there still. */
static void refused(int writer, const char *path, mode_t kind, const char *reason) {
    struct err err = {""};
    if (writers[writer](path, &err) == 0 || !strstr(err.text, reason) || !strstr(err.text, "name another"))
        fail_msg("writer %d, '%s': '%s'", writer, path, err.text);
    if (kind_at(path) != kind)
        fail_msg("writer %d removed '%s'", writer, path);
}

static void test_not_a_file(void **state) {
    (void)state;
    char *fifo = in_folder("fifo"), *device = in_folder("device");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink("/dev/null", device), 0);
    alarm(30); /* a FIFO that is waited for would hang the test */
    for (int i = 0; i < NUM_WRITERS; i++) {
        refused(i, fifo, S_IFIFO, "a FIFO");
        refused(i, device, S_IFLNK, "a character device");
        refused(i, folder, S_IFDIR, "a folder");
    }
    alarm(0);
    free(device);
    free(fifo);
}

/* The names that an output has while it is written. */
static void test_unfinished_names(void **state) {
    (void)state;
    static const struct {
        int (*write)(const char *path, struct err *err);
        const char *suffix;
    } cases[] = {{by_replace, "tmp"},
                 {by_tokens, "partial"},
                 {by_tokens, "partial.tokens"},
                 {by_tokens, "partial.offsets"},
                 {by_tokens, "partial.sources"}};
    char *victim = in_folder("victim"), *out = in_folder("out");
    put(victim, "mine");
    alarm(30);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {""};
        char *name = xasprintf("%s.%s", out, cases[i].suffix);
        assert_int_equal(mkfifo(name, 0600), 0);
        if (cases[i].write(out, &err) == 0 || !strstr(err.text, "a FIFO"))
            fail_msg("'%s': '%s'", name, err.text);
        unlink(name);
        assert_int_equal(symlink("victim", name), 0);
        if (cases[i].write(out, &err) != 0)
            fail_msg("'%s' a link: '%s'", name, err.text);
        assert_text(victim, "mine");
        assert_int_equal(kind_at(out), S_IFREG);
        unlink(name);
        unlink(out);
        free(name);
    }
    alarm(0);
    free(out);
    free(victim);
}

/* Control: absent, a file, and a link to a file are written, and what the link leads to stays. */
static void test_files(void **state) {
    (void)state;
    char *victim = in_folder("kept"), *out = in_folder("good");
    put(victim, "mine");
    for (int i = 0; i < NUM_WRITERS; i++) {
        struct err err = {""};
        for (int before = 0; before < 3; before++) {
            unlink(out);
            if (before == 1)
                put(out, "old");
            if (before == 2)
                assert_int_equal(symlink("kept", out), 0);
            if (writers[i](out, &err) != 0)
                fail_msg("writer %d, %d: '%s'", i, before, err.text);
            assert_int_equal(kind_at(out), S_IFREG);
            assert_text(victim, "mine");
            if (writers[i] != by_tokens)
                assert_text(out, "new");
        }
    }
    free(out);
    free(victim);
}

/* Several programs that replace one file at once: each finds it whole at any moment, and none fails for the others. */
static void test_replaced_at_once(void **state) {
    (void)state;
    enum { WRITERS = 4, TIMES = 60, LENGTH = 20000 };
    char *path = in_folder("at_once"), text[LENGTH];
    pid_t children[WRITERS];
    put(path, "old");
    for (int w = 0; w < WRITERS; w++) {
        children[w] = fork();
        assert_true(children[w] >= 0);
        if (children[w] > 0)
            continue;
        int failures = 0;
        memset(text, 'a' + w, LENGTH);
        for (int i = 0; i < TIMES; i++)
            failures += file_replace_shared(path, text, LENGTH, NULL) != 0;
        _exit(failures);
    }
    for (int running = WRITERS, status; running > 0;) {
        size_t length_bytes;
        char *now = file_read_whole(path, LENGTH + 1, &length_bytes, NULL);
        assert_non_null(now);
        assert_true(length_bytes == LENGTH || strcmp(now, "old") == 0);
        for (size_t i = 1; i < length_bytes && length_bytes == LENGTH; i++)
            assert_true(now[i] == now[0]);
        free(now);
        if (waitpid(-1, &status, WNOHANG) > 0) {
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            running--;
        }
    }
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_unfinished_names),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_replaced_at_once),
    };
    folder = test_folder("outputs");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return status;
}
