/* test_prepare_sizes.c - how much memory one huge conversation takes: not more than four times its line, rendered by a
 * format or by the model's own template (measured: 3.3 times for 15 MiB with data/sample/model), and one beyond the
 * size that is rendered is refused, or left out, at the same price. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/corpus/prepare.h"
#include "tests/check.h"

/* A sanitizer keeps what was freed, up to 256 MiB of it: its figure says nothing of the program's. */
#ifdef __SANITIZE_ADDRESS__
enum { MOST_TIMES = 24 };
#else
enum { MOST_TIMES = 4 };
#endif
enum { MIB = 1 << 20, LINE_MIB = 40 };

static char *folder;
static struct tokenizer *tok;

/* What the child tells: how it went, and by how many bytes its peak grew. */
struct report {
    int status;
    int64_t grown_bytes, num_documents, num_bad_chats;
    struct err err;
};

/* write_line - one line that holds count bytes of text between head and tail. */
static char *write_line(const char *name, const char *head, const char *tail, size_t count) {
    static const char words[] = "Pour obtenir un passeport, il faut une photo et un timbre. ";
    char *path = xasprintf("%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(head, file);
    for (size_t i = 0; i < count; i += sizeof words - 1)
        fputs(words, file);
    fputs(tail, file);
    assert_int_equal(fclose(file), 0);
    return path;
}

static int64_t peak_bytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (int64_t)usage.ru_maxrss * 1024;
}

static char CHATML[] = "chatml", AUTO[] = "auto";

/* prepare_in_child - so that the peak is this job's own. */
static struct report prepare_in_child(char *input, char *template, enum bad_chat_policy policy) {
    static char name[] = "s", tokenizer[] = "sample";
    struct report report = {.status = -2};
    int way[2];
    assert_int_equal(pipe(way), 0);
    pid_t child = fork();
    if (child == 0) {
        struct prepare_source source = {.path = input, .name = name, .chat = true};
        struct prepare_totals totals = {0};
        struct prepare_config config = {.tokenizer = tokenizer,
                                        .output = xasprintf("%s/out.h5", folder),
                                        .sources = &source,
                                        .num_sources = 1,
                                        .num_threads = 1,
                                        .chat_template = template,
                                        .bad_chat = policy};
        int64_t before = peak_bytes();
        report.status = prepare_run(&config, tok, NULL, NULL, &totals, &report.err);
        report.grown_bytes = peak_bytes() - before;
        report.num_documents = totals.num_documents;
        report.num_bad_chats = totals.num_bad_chats;
        _exit(write(way[1], &report, sizeof report) == (ssize_t)sizeof report ? 0 : 1);
    }
    close(way[1]);
    assert_int_equal(read(way[0], &report, sizeof report), sizeof report);
    close(way[0]);
    waitpid(child, NULL, 0);
    return report;
}

static const char CHAT_HEAD[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": "
                                "\"assistant\", \"content\": \"",
                  CHAT_TAIL[] = "\"}]}\n";

static void test_huge_conversation(void **state) {
    (void)state;
    char *path = write_line("huge.jsonl", CHAT_HEAD, CHAT_TAIL, (size_t)LINE_MIB * MIB);
    struct report report = prepare_in_child(path, CHATML, BAD_CHAT_FAIL);
    assert_int_equal(report.status, -1);
    if (!strstr(report.err.text, "line 1") || !strstr(report.err.text, "16 MiB") ||
        !strstr(report.err.text, "divide it") || !strstr(report.err.text, "prepare.on_bad_conversation"))
        fail_msg("'%s'", report.err.text);
    assert_in_range(report.grown_bytes, MIB, MOST_TIMES * (uint64_t)LINE_MIB * MIB);
    FILE *file = fopen(path, "a"); /* a good one after it */
    fprintf(file, "%sr%s", CHAT_HEAD, CHAT_TAIL);
    fclose(file);
    report = prepare_in_child(path, CHATML, BAD_CHAT_SKIP);
    if (report.status != 0)
        fail_msg("%s", report.err.text);
    assert_int_equal(report.num_documents, 1);
    assert_int_equal(report.num_bad_chats, 1);
    assert_in_range(report.grown_bytes, MIB, MOST_TIMES * (uint64_t)LINE_MIB * MIB);
    unlink(path);
    free(path);
}

/* One MiB below the limit is read; a bit above is not. */
static void test_limit(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        bool is_over = i == 2;
        char *path =
            write_line("limit.jsonl", CHAT_HEAD, CHAT_TAIL, (size_t)(is_over ? 16 : 15) * (size_t)MIB);
        struct report report = prepare_in_child(path, i == 1 ? AUTO : CHATML, BAD_CHAT_FAIL);
        assert_int_equal(report.status, is_over ? -1 : 0);
        if (!is_over) {
            assert_int_equal(report.num_documents, 1);
            assert_in_range(report.grown_bytes, MIB, MOST_TIMES * (uint64_t)15 * MIB);
        }
        unlink(path);
        free(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huge_conversation),
        cmocka_unit_test(test_limit),
    };
    struct err err = {""};
    folder = test_folder("prepare-sizes");
    tok = tokenizer_load("data/sample/model/tokenizer.json", &err);
    CHECK(tok, "%s (run in the repository's root)", err.text);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
