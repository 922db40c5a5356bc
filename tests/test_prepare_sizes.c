/* test_prepare_sizes.c - how much memory one huge conversation takes: one beyond the size that is rendered is
 * refused, or left out, before its line costs more than four times its bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/corpus/prepare.h"
#include "tests/check.h"
#include "tests/tiny_tokenizer.h"

/* A sanitizer keeps what was freed, and more of it. */
#ifdef __SANITIZE_ADDRESS__
enum { MOST_TIMES = 8 };
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

/* prepare_in_child - so that the peak is this job's own. */
static struct report prepare_in_child(char *input, bool chat, enum bad_chat_policy policy) {
    static char name[] = "s", tokenizer[] = "tiny", chatml[] = "chatml";
    struct report report = {.status = -2};
    int way[2];
    assert_int_equal(pipe(way), 0);
    pid_t child = fork();
    if (child == 0) {
        struct prepare_source source = {.path = input, .name = name, .chat = chat};
        struct prepare_totals totals = {0};
        struct prepare_config config = {.tokenizer = tokenizer,
                                        .output = xasprintf("%s/out.h5", folder),
                                        .sources = &source,
                                        .num_sources = 1,
                                        .num_threads = 1,
                                        .chat_template = chatml,
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
    struct report report = prepare_in_child(path, true, BAD_CHAT_FAIL);
    assert_int_equal(report.status, -1);
    if (!strstr(report.err.text, "line 1") || !strstr(report.err.text, "16 MiB") ||
        !strstr(report.err.text, "divide it") || !strstr(report.err.text, "prepare.on_bad_conversation"))
        fail_msg("'%s'", report.err.text);
    assert_in_range(report.grown_bytes, MIB, MOST_TIMES * (uint64_t)LINE_MIB * MIB);
    FILE *file = fopen(path, "a"); /* a good one after it */
    fprintf(file, "%sr%s", CHAT_HEAD, CHAT_TAIL);
    fclose(file);
    report = prepare_in_child(path, true, BAD_CHAT_SKIP);
    if (report.status != 0)
        fail_msg("%s", report.err.text);
    assert_int_equal(report.num_documents, 1);
    assert_int_equal(report.num_bad_chats, 1);
    assert_in_range(report.grown_bytes, MIB, MOST_TIMES * (uint64_t)LINE_MIB * MIB);
    unlink(path);
    free(path);
}

/* Control: one MiB below the limit is read; a bit above is not. */
static void test_limit(void **state) {
    (void)state;
    for (int is_over = 0; is_over < 2; is_over++) {
        char *path =
            write_line("limit.jsonl", CHAT_HEAD, CHAT_TAIL, (size_t)(is_over ? 16 : 15) * (size_t)MIB);
        struct report report = prepare_in_child(path, true, BAD_CHAT_FAIL);
        assert_int_equal(report.status, is_over ? -1 : 0);
        if (!is_over)
            assert_int_equal(report.num_documents, 1);
        unlink(path);
        free(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huge_conversation),
        cmocka_unit_test(test_limit),
    };
    folder = test_folder("prepare-sizes");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
