/* test_prepare.c - corpora to token files: what comes out is what was in, whatever the format, the
 * compression and the number of threads; bad input is named by file and line, and leaves nothing behind. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/corpus/reader.h"
#include "kernels/rng.h"
#include "tests/prepare_fixture.h"

static const char LINES[] = "{\"text\": \"L'été à Orléans\", \"id\": 1}\n"
                            "{\"id\": 2, \"text\": \"deux\\nlignes \\u00e9\\ud83d\\ude00\"}\r\n"
                            "\n"
                            "{\"text\": \"dernier\"}"; /* no line feed at the end */

static void check_lines(const char *name) {
    struct job job = job_for(name);
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 3);
    check_document(job.output, 0, "<s>L'été à Orléans</s>");
    check_document(job.output, 1, "<s>deux\nlignes é😀</s>");
    check_document(job.output, 2, "<s>dernier</s>");
    release(&job);
}

static void test_formats(void **state) {
    (void)state;
    write_text("a.jsonl", LINES);
    write_gzip("b.jsonl.gz", LINES, 1);
    write_gzip("c.jsonl.gz", LINES, 3);
    write_zstd("d.jsonl.zst", LINES, 1, 0);
    write_zstd("e.jsonl.zst", LINES, 4, 0);
    check_lines("a.jsonl");
    check_lines("b.jsonl.gz");
    check_lines("c.jsonl.gz");
    check_lines("d.jsonl.zst");
    check_lines("e.jsonl.zst");
    write_text("mark.jsonl", "\xEF\xBB\xBF{\"text\": \"x\"}\n"); /* a byte order mark is not text */
    struct job job = job_for("mark.jsonl");
    run_well(&job);
    check_document(job.output, 0, "<s>x</s>");
    release(&job);
}

static void test_text_folder(void **state) {
    (void)state;
    char *texts = path_of("texts");
    mkdir(texts, 0777);
    write_text("texts/b.txt", "deuxième\n");
    write_text("texts/a.txt", "première");
    write_gzip("texts/c.txt.gz", "troisième", 1);
    write_text("texts/.hidden", "no");
    write_text("texts/d.txt", "");
    struct job job = job_for("texts");
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 3);
    assert_int_equal(job.totals.num_short, 1); /* the empty one */
    check_document(job.output, 0, "<s>première</s>");
    check_document(job.output, 1, "<s>deuxième\n</s>");
    check_document(job.output, 2, "<s>troisième</s>");
    release(&job);
    free(texts);
}

static void test_ends(void **state) {
    (void)state;
    static const char *const want[] = {"<s>x</s>", "x</s>", "<s>x", "x"};
    write_text("x.txt", "x");
    for (int ends = DOCUMENT_BOS_EOS; ends <= DOCUMENT_NONE; ends++) {
        struct job job = job_for("x.txt");
        job.config.ends = (enum document_ends)ends;
        run_well(&job);
        check_document(job.output, 0, want[ends]);
        release(&job);
    }
}

static void test_left_out(void **state) {
    (void)state;
    write_text("dup.jsonl",
               "{\"text\":\"same\"}\n{\"text\":\"other\"}\n{\"text\":\"same\"}\n{\"text\":\"x\"}\n"
               "{\"text\":\"s\\u0061me\"}\n{\"text\":\"\"}\n");
    struct job job = job_for("dup.jsonl");
    job.config.min_tokens = 5;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 2);
    assert_int_equal(job.totals.num_duplicates, 2);
    assert_int_equal(job.totals.num_short, 2);
    struct token_file *file = token_file_open(job.output, &job.err);
    assert_int_equal(token_file_source(file, 0)->num_duplicates, 2);
    assert_string_equal(token_file_source(file, 0)->name, "source");
    token_file_close(file);
    job.config.deduplicate = false; /* control: counted, not guessed */
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 4);
    assert_int_equal(job.totals.num_duplicates, 0);
    release(&job);
}

/* The SHA-256 of "{\"text\": \"x\"}\n" as sha256sum prints it. */
static const char X_SHA256[] = "3d321bc5b361aa83fb8eaf842d9cde8f228a3e142d9b103276141268bb3a9f74";

static void test_sha256(void **state) {
    (void)state;
    write_text("x.jsonl", "{\"text\": \"x\"}\n");
    struct job job = job_for("x.jsonl");
    run_well(&job);
    struct token_file *file = token_file_open(job.output, &job.err);
    assert_string_equal(token_file_source(file, 0)->sha256, X_SHA256);
    token_file_close(file);
    write_text("x.jsonl", "{\"text\": \"y\"}\n"); /* control */
    run_well(&job);
    file = token_file_open(job.output, &job.err);
    assert_string_not_equal(token_file_source(file, 0)->sha256, X_SHA256);
    token_file_close(file);
    release(&job);
}

/* many_lines - a corpus of a few batches, with duplicates and repairable lines. */
static void many_lines(const char *name, int num_lines) {
    char *path = path_of(name);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < num_lines; i++) {
        uint64_t r = rng_bits(1, rng_stream(RNG_TEST, 5), (uint64_t)i);
        fprintf(file, "{\"text\": \"%s %llu%s\"}\n", i % 7 ? "une ligne qui compte" : "répétée",
                (unsigned long long)(i % 7 ? r : r % 10), i % 100 == 50 ? "\xFF" : "");
    }
    fclose(file);
    free(path);
}

static char *whole_file(const char *path, size_t *length_bytes) {
    struct err err;
    char *bytes;
    struct reader *reader = reader_open(path, &err);
    assert_int_equal(reader_rest(reader, 1 << 28, &bytes, length_bytes, &err), 0);
    char *copy = xmalloc(*length_bytes);
    memcpy(copy, bytes, *length_bytes);
    reader_close(reader);
    return copy;
}

static void test_threads(void **state) {
    (void)state;
    char *first = NULL, *first_valid = NULL;
    size_t first_bytes = 0, first_valid_bytes = 0;
    many_lines("many.jsonl", 5000);
    for (int num_threads = 1; num_threads <= 5; num_threads += 2) {
        size_t length, valid_length;
        struct job job = job_for("many.jsonl");
        char *valid = prepare_valid_path(job.output);
        assert_string_equal(valid + strlen(valid) - 12, "out-valid.h5");
        job.config.num_threads = num_threads;
        job.config.valid_every = 10;
        run_well(&job);
        assert_int_equal(job.totals.num_invalid_utf8, 50);
        assert_int_equal(job.totals.valid_documents,
                         (job.totals.valid_documents + job.totals.num_documents) / 10);
        char *bytes = whole_file(job.output, &length), *valid_bytes = whole_file(valid, &valid_length);
        if (first) {
            assert_true(length == first_bytes && memcmp(bytes, first, length) == 0);
            assert_true(valid_length == first_valid_bytes &&
                        memcmp(valid_bytes, first_valid, valid_length) == 0);
            assert_true(length != valid_length); /* control: these are two files */
        }
        free(first);
        free(first_valid);
        first = bytes;
        first_bytes = length;
        first_valid = valid_bytes;
        first_valid_bytes = valid_length;
        unlink(valid);
        free(valid);
        release(&job);
    }
    free(first);
    free(first_valid);
}

static void fails_with(const char *name, const char *text, const char *a, const char *b) {
    write_text(name, text);
    struct job job = job_for(name);
    fails(&job, a, b);
}

static void test_bad_lines(void **state) {
    (void)state;
    fails_with("bad.jsonl", "{\"text\":\"a\"}\n{\"text\":\n", "bad.jsonl' line 2", "not valid JSON");
    fails_with("bad.jsonl", "{\"text\":\"a\"}\n\n[1]\n", "bad.jsonl' line 3", "not a JSON object");
    fails_with("bad.jsonl", "{\"body\":\"a\"}\n", "line 1", "no field 'text'");
    fails_with("bad.jsonl", "{\"text\":7}\n", "line 1", "is a number, expected a string");
    fails_with("bad.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n", "line 1", "comes twice");
    fails_with("bad.jsonl", "{\"text\":\"a\"} x\n", "line 1", "not valid JSON");
    fails_with("bad.jsonl", "", "no document", "sources are empty");
    fails_with("bad.html", "<a/>", "bad.html", "pandoc");
    struct job job = job_for("missing.jsonl");
    fails(&job, "missing.jsonl", "No such file");
    char *deep = xmalloc(100000);
    memset(deep, '[', 99999);
    deep[99999] = '\0';
    memcpy(deep, "{\"a\":", 5);
    fails_with("deep.jsonl", deep, "line 1", "nested deeper than 2048 levels");
    free(deep);
    many_lines("late.jsonl",
               5000); /* the first error is reported, though later batches are read and fail too */
    char *path = path_of("late.jsonl");
    FILE *file = fopen(path, "r+");
    fseek(file, 1000, SEEK_SET);
    fputs("\"\"\"", file);
    fseek(file, -20, SEEK_END);
    fputs("\"\"\"", file);
    fclose(file);
    free(path);
    job = job_for("late.jsonl");
    fails(&job, "late.jsonl' line 2", "not valid JSON");
}

/* A page of HTML that is called text is refused, unless the source says that its markup is meant. */
static void test_markup(void **state) {
    (void)state;
    static const char page[] = "\xEF\xBB\xBF \n<!DOCTYPE HTML>\n<html><body>un texte</body></html>\n";
    static const char *const texts[] = {"un <html> au milieu", "<htmlx>un</htmlx>", "<!DOCTYPE htm",
                                        "<p>un</p>", "<html"};
    fails_with("page.txt", page, "page.txt' is HTML",
               "list the file as a source of its own with format: text");
    fails_with("page.md", "<html lang=\"fr\"><p>a", "page.md' is HTML", "pandoc");
    fails_with("page.jsonl", page, "page.jsonl' is HTML", "pandoc");
    fails_with("page.json", page, "page.json' is HTML", "pandoc");
    fails_with("page.csv", "<html>\n<body>", "page.csv' is HTML", "pandoc");
    struct job job = job_for("page.txt");
    job.source.format = SOURCE_TEXT;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 1);
    release(&job);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) { /* the controls: what only looks so */
        write_text("like.txt", texts[i]);
        job = job_for("like.txt");
        run_well(&job);
        assert_int_equal(job.totals.num_documents, 1);
        release(&job);
    }
}

/* A page among other files is found before any of them is read; the control: without it the first one fails. */
static void test_markup_first(void **state) {
    (void)state;
    struct job job = job_for("saved");
    assert_int_equal(mkdir(job.source.path, 0777), 0);
    write_text("saved/a.jsonl", "no JSON\n");
    write_gzip("saved/z.txt.gz", "<!DOCTYPE html><html>un texte</html>", 1);
    fails(&job, "saved/z.txt.gz' is HTML", "pandoc");
    job = job_for("saved");
    write_gzip("saved/z.txt.gz",
               "\xEF\xBB\xBF<?xml version=\"1.0\"?>\n<!-- a page -->\n<!DOCTYPE html><html>un texte</html>",
               1);
    fails(&job, "saved/z.txt.gz' is HTML", "pandoc");
    char *path = path_of("saved/z.txt.gz");
    unlink(path);
    free(path);
    job = job_for("saved");
    fails(&job, "saved/a.jsonl' line 1", "not a JSON object");
}

static void test_damaged_compression(void **state) {
    (void)state;
    char *path = path_of("cut.jsonl.gz");
    write_zstd("cut.jsonl.zst", LINES, 1, 4);
    struct job job = job_for("cut.jsonl.zst");
    fails(&job, "cut.jsonl.zst", "truncated; fetch it again");
    write_gzip("cut.jsonl.gz", LINES, 1);
    assert_int_equal(truncate(path, 40), 0);
    job = job_for("cut.jsonl.gz");
    fails(&job, "cut.jsonl.gz", "truncated");
    write_gzip("cut.jsonl.gz", LINES, 1);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "\xFF\xFF\xFF\xFF", 4, 20), 4);
    close(fd);
    job = job_for("cut.jsonl.gz");
    fails(&job, "cut.jsonl.gz", "cannot decompress");
    free(path);
}

static void test_bad_bytes(void **state) {
    (void)state;
    static const char text[] = "{\"text\": \"a\xFFz\"}\n{\"text\": \"ok\"}\n{\"text\": \"n\\u0000l\"}\n"
                               "{\"text\": \"half \\ud800 \\\\ud800\"}\n";
    write_text("bytes.jsonl", text);
    struct job job = job_for("bytes.jsonl");
    run_well(&job);
    assert_int_equal(job.totals.num_invalid_utf8, 3);
    check_document(job.output, 0, "<s>a\xEF\xBF\xBDz</s>");
    check_document(job.output, 2, "<s>n\xEF\xBF\xBDl</s>");
    check_document(job.output, 3, "<s>half \xEF\xBF\xBD \\ud800</s>");
    job.config.bad_utf8 = BAD_UTF8_SKIP;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 1);
    assert_int_equal(job.totals.num_invalid_utf8, 3);
    check_document(job.output, 0, "<s>ok</s>");
    unlink(job.output);
    job.config.bad_utf8 = BAD_UTF8_FAIL;
    fails(&job, "bytes.jsonl' line 1", "invalid UTF-8 (0xFF) at byte 12");
    write_bytes("nul.txt", "a\0b", 3);
    job = job_for("nul.txt");
    run_well(&job);
    check_document(job.output, 0,
                   "<s>a\xEF\xBF\xBD"
                   "b</s>");
    unlink(job.output);
    job.config.bad_utf8 = BAD_UTF8_FAIL;
    fails(&job, "nul.txt", "NUL byte at byte 2");
}

static void test_chat(void **state) {
    (void)state;
    static char chatml[] = "chatml";
    static const char text[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": "
                               "\"assistant\", \"content\": \"r\"}]}\n"
                               "{\"messages\": [{\"role\": \"user\", \"content\": \"qr\"}, {\"role\": "
                               "\"assistant\", \"content\": \"s\"}]}\n"
                               "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": "
                               "\"assistant\", \"content\": \"r\"}]}\n";
    write_text("chat.jsonl", text);
    struct job job = job_for("chat.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 2);
    assert_int_equal(job.totals.num_duplicates, 1);
    check_document(job.output, 0, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nr<|im_end|>\n");
    struct token_file *file = token_file_open(job.output, &job.err);
    int32_t ids[200];
    uint8_t mask[200];
    int64_t n = (int64_t)token_file_offsets(file)[1];
    assert_int_equal(token_file_read(file, 0, n, ids, mask, &job.err), 0);
    for (int64_t i = 0; i < n; i++) /* "r" and the <|im_end|> after it */
        assert_int_equal(mask[i], i == n - 3 || i == n - 2);
    const struct token_chat *chat = token_file_chat(file); /* how they were written stays with the tokens */
    assert_string_equal(chat->style, "chatml");
    assert_non_null(strstr(chat->template_text, "'<|im_start|>' + message['role']"));
    assert_int_equal(chat->end_id, TINY_IM_END);
    assert_int_equal(chat->differs, 0);
    assert_int_equal(chat->num_left_out, 0);
    token_file_close(file);
    unlink(job.output);
    job.config.chat_template = NULL;
    fails(&job, "the tokenizer has no chat template", "prepare.chat_template");
    write_text("chat.jsonl", "{\"messages\": [{\"role\": \"narrator\", \"content\": \"q\"}]}\n");
    job = job_for("chat.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    fails(&job, "chat.jsonl' line 1", "role 'narrator'; expected 'system', 'user' or 'assistant'; mend it");
    write_text("chat.jsonl", "{\"messages\": [{\"role\": \"human\", \"content\": \"q\"}]}\n");
    job = job_for("chat.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    fails(&job, "role 'human'; expected", "'assistant' (did you mean 'user'?)");
    write_text("chat.jsonl", "{\"messages\": [{\"role\": \"user\"}]}\n");
    job = job_for("chat.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    fails(&job, "chat.jsonl' line 1", "'content'");
}

/* test_bad_chats - left out by the policy, counted in the totals and in the file; text alone has no chat. */
static void test_bad_chats(void **state) {
    (void)state;
    static char chatml[] = "chatml";
    write_text("bad.jsonl",
               "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}]}\n"
               "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
               "\"content\": \"r\", \"weight\": 0}, {\"role\": \"user\", \"content\": \"q\"}, "
               "{\"role\": \"assistant\", \"content\": \"s\"}]}\n");
    struct job job = job_for("bad.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    fails(&job, "bad.jsonl' line 1: nothing to learn", "prepare.on_bad_conversation");
    job = job_for("bad.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    job.config.bad_chat = BAD_CHAT_SKIP;
    run_well(&job);
    assert_int_equal(job.totals.num_bad_chats, 1);
    assert_int_equal(job.totals.num_documents, 1);
    struct token_file *file = token_file_open(job.output, &job.err);
    assert_int_equal(token_file_chat(file)->num_left_out, 1);
    int32_t ids[200];
    uint8_t mask[200];
    int64_t n = token_file_num_tokens(file), num_learnt = 0;
    assert_int_equal(token_file_read(file, 0, n, ids, mask, &job.err), 0);
    for (int64_t i = 0; i < n; i++) {
        num_learnt += mask[i];
        assert_true(!mask[i] || ids[i] == 's' || ids[i] == TINY_IM_END);
    }
    assert_int_equal(num_learnt, 2); /* "s" and its end; "r" has no weight */
    token_file_close(file);
    release(&job);
    write_text("plain.txt", "x");
    job = job_for("plain.txt");
    run_well(&job);
    file = token_file_open(job.output, &job.err);
    assert_null(token_file_chat(file)->style);
    token_file_close(file);
    release(&job);
}

static void test_bad_config(void **state) {
    static char chatml[] = "chatml", content[] = "content";
    (void)state;
    write_text("x.txt", "x");
    struct job job = job_for("x.txt");
    job.config.valid_every = 1;
    fails(&job, "valid_every", "2 and more");
    job = job_for("x.txt");
    job.config.valid_every = 5;
    fails(&job, "no document for validation", "valid_every is 5");
    job = job_for("x.txt");
    job.source.chat = true;
    job.config.chat_template = chatml;
    job.source.format = SOURCE_TEXT;
    fails(&job, "x.txt' is text by the source's format", "chat: true");
    job = job_for("x.txt");
    job.config.chat_template = chatml;
    job.source.chat = true; /* its name says text as well */
    fails(&job, "x.txt' is text by its name", "set the source's format to jsonl");
    job = job_for("x.txt");
    job.source.field = content;
    fails(&job, "the field 'content' of source", "text, which has no fields");
    job = job_for("x.txt");
    free(job.output);
    job.config.output = job.output = xstrdup("/nonexistent/out.h5");
    fails(&job, "/nonexistent/out.h5", "No such file");
}

static void test_reader_lines(void **state) {
    (void)state;
    struct err err = {{0}};
    char *line, *path = path_of("lines.txt");
    size_t n;
    write_text("lines.txt", "ab\n\ncdefg\nh");
    struct reader *reader = reader_open(path, &err);
    assert_int_equal(reader_line(reader, 4, &line, &n, &err), 1);
    assert_string_equal(line, "ab");
    assert_int_equal(reader_line(reader, 4, &line, &n, &err), 1);
    assert_int_equal(n, 0);
    assert_int_equal(reader_line(reader, 4, &line, &n, &err), -1); /* five bytes where four are allowed */
    assert_non_null(strstr(err.text, "line 3"));
    reader_close(reader);
    reader = reader_open(path, &err);
    for (int i = 0; i < 4; i++)
        assert_int_equal(reader_line(reader, 5, &line, &n, &err), 1);
    assert_string_equal(line, "h");
    assert_int_equal(reader_line(reader, 5, &line, &n, &err), 0);
    assert_int_equal(reader_consumed_bytes(reader), 11);
    reader_close(reader);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),      cmocka_unit_test(test_text_folder),
        cmocka_unit_test(test_ends),         cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_sha256),       cmocka_unit_test(test_threads),
        cmocka_unit_test(test_bad_lines),    cmocka_unit_test(test_markup),
        cmocka_unit_test(test_markup_first), cmocka_unit_test(test_damaged_compression),
        cmocka_unit_test(test_bad_bytes),    cmocka_unit_test(test_chat),
        cmocka_unit_test(test_bad_chats),    cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_reader_lines),
    };
    folder = test_folder("prepare");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
