/* test_corpora.c - what users put in a source's place: other encodings, binary files, lines that hold more
 * than was asked for, folders with more in them.  What is read is right, and what is not read is told. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "data/corpus/json_line.h"
#include "data/corpus/reader.h"
#include "tests/prepare_fixture.h"

/* exact_job - one source, all of whose documents come out as they are or not at all: nothing is repaired, left out or
 * put around them. */
static struct job exact_job(const char *input) {
    struct job job = job_for(input);
    job.config.deduplicate = false;
    job.config.bad_utf8 = BAD_UTF8_FAIL;
    job.config.ends = DOCUMENT_NONE;
    return job;
}

/* gives - the job writes documents whose texts, one after another, are these; it is released. */
static void gives(struct job job, const char *want) {
    struct err err = {{0}};
    if (run(&job) != 0)
        fail_msg("'%s': %s", job.source.path, job.err.text);
    struct token_file *file = token_file_open(job.config.output, &err);
    assert_non_null(file);
    int64_t count = token_file_num_tokens(file);
    int32_t *ids = xcalloc((size_t)count, sizeof *ids);
    assert_int_equal(token_file_read(file, 0, count, ids, NULL, &err), 0);
    char *text = tokenizer_decode(tok, ids, count, false, NULL);
    assert_string_equal(text, want);
    free(text);
    free(ids);
    token_file_close(file);
    release(&job);
}

/* refuses - the job fails, and says this and that; nothing is left. */
static void refuses(struct job job, const char *a, const char *b) {
    if (run(&job) == 0 || !strstr(job.err.text, a) || !strstr(job.err.text, b))
        fail_msg("'%s': expected '%s' and '%s' in '%s'", job.source.path, a, b, job.err.text);
    assert_int_equal(access(job.config.output, F_OK), -1);
    release(&job);
}

/* --- encodings --- */

static struct job encoded(const char *name, enum text_encoding encoding) {
    struct job job = exact_job(name);
    job.source.encoding = encoding;
    return job;
}

static void test_encodings(void **state) {
    (void)state;
    static const char le[] = "\xFF\xFE\xE9\0t\0\xE9\0\n\0=\xD8\0\xDE",
                      be[] = "\xFE\xFF\0\xE9\0t\0\xE9\0\n\xD8=\xDE\0";
    write_text("latin1.txt", "\xE9t\xE9 \xA3");
    write_text("ansi.txt", "c\x9Cur \x80");
    write_bytes("le.txt", le, sizeof le - 1);
    write_bytes("be.txt", be, sizeof be - 1);
    write_bytes("bare.txt", le + 2, sizeof le - 3);
    write_text("mark.txt", "\xEF\xBB\xBFok");
    gives(encoded("latin1.txt", ENCODING_LATIN1), "\xC3\xA9t\xC3\xA9 \xC2\xA3");
    gives(encoded("ansi.txt", ENCODING_WINDOWS_1252), "c\xC5\x93ur \xE2\x82\xAC");
    gives(encoded("le.txt", ENCODING_UTF16), "\xC3\xA9t\xC3\xA9\n\xF0\x9F\x98\x80");
    gives(encoded("be.txt", ENCODING_UTF16), "\xC3\xA9t\xC3\xA9\n\xF0\x9F\x98\x80");
    gives(encoded("bare.txt", ENCODING_UTF16LE), "\xC3\xA9t\xC3\xA9\n\xF0\x9F\x98\x80");
    gives(exact_job("mark.txt"), "ok");
    refuses(exact_job("latin1.txt"), "invalid UTF-8 (0xE9) at byte 1", "encoding");
    gives(exact_job("le.txt"), "\xC3\xA9t\xC3\xA9\n\xF0\x9F\x98\x80"); /* its mark is certain */
    gives(exact_job("be.txt"), "\xC3\xA9t\xC3\xA9\n\xF0\x9F\x98\x80");
    refuses(encoded("bare.txt", ENCODING_UTF16), "byte order mark", "utf-16le");
    write_text("utf8.txt", "\xC3\xA9t\xC3\xA9");
    refuses(encoded("utf8.txt", ENCODING_LATIN1), "is UTF-8 already", "leave out");
    refuses(encoded("utf8.txt", ENCODING_WINDOWS_1252), "is UTF-8 already", "leave out");
    write_text("undefined.txt", "a\x81");
    refuses(encoded("undefined.txt", ENCODING_WINDOWS_1252),
            "undefined.txt': a byte that windows-1252 leaves undefined at character 2", "bad_utf8");
    write_bytes("half.txt",
                "\xFF\xFE=\xD8"
                "a\0",
                6);
    refuses(encoded("half.txt", ENCODING_UTF16), "half.txt': half a surrogate pair of UTF-16 at character 1",
            "prepare.bad_utf8 to 'replace' or 'skip'");
    write_bytes("late.txt", "\xFF\xFE\xE9\0=\xD8\0\xDE\0\xDE", 10);
    refuses(encoded("late.txt", ENCODING_UTF16), "half a surrogate pair of UTF-16 at character 3",
            "late.txt");
    write_bytes("odd.txt", "\xFF\xFE\xE9\0t\0\n", 7);
    refuses(encoded("odd.txt", ENCODING_UTF16),
            "odd.txt': half a unit of UTF-16 (the file has an odd number of bytes) at character 3",
            "bad_utf8");
    write_text("own.txt", "a\xFF"); /* the control: of UTF-8 such a byte is what it is */
    refuses(exact_job("own.txt"), "invalid UTF-8 (0xFF) at byte 2", "encoding (latin1");
    refuses(exact_job("half.txt"), "text in UTF-16", "encoding to utf-16");
    write_bytes("four.txt", "\xFF\xFE\0\0a\0\0\0", 8);
    refuses(exact_job("four.txt"), "text in UTF-32", "iconv");
}

/* A mark that says another encoding than the source does; a right one, as those above, is passed over. */
static void test_contradicted_marks(void **state) {
    (void)state;
    write_bytes("le.txt", "\xFF\xFE\xE9\0", 4);
    write_bytes("be.txt", "\xFE\xFF\0\xE9", 4);
    write_bytes("four.txt", "\xFF\xFE\0\0a\0\0\0", 8);
    write_text("mark.txt", "\xEF\xBB\xBFok");
    write_text("mixed.txt", "\xEF\xBB\xBF\xE9"); /* not UTF-8 after it */
    gives(encoded("le.txt", ENCODING_UTF16LE), "\xC3\xA9");
    gives(encoded("be.txt", ENCODING_UTF16BE), "\xC3\xA9");
    refuses(encoded("le.txt", ENCODING_UTF16BE), "begins with the byte order mark of utf-16le",
            "leave out the encoding");
    refuses(encoded("be.txt", ENCODING_UTF16LE), "begins with the byte order mark of utf-16be", "be.txt");
    refuses(encoded("four.txt", ENCODING_UTF16), "begins with the byte order mark of UTF-32", "iconv");
    refuses(encoded("mark.txt", ENCODING_UTF16), "begins with the byte order mark of UTF-8",
            "leave out the encoding");
    refuses(encoded("mark.txt", ENCODING_UTF16LE), "begins with the byte order mark of UTF-8", "contradicts");
    refuses(encoded("mark.txt", ENCODING_LATIN1), "begins with the byte order mark of UTF-8", "contradicts");
    refuses(encoded("mixed.txt", ENCODING_WINDOWS_1252), "begins with the byte order mark of UTF-8",
            "contradicts");
}

/* Lines are found after the conversion, whatever falls between two blocks of the reader. */
static void test_encoded_lines(void **state) {
    (void)state;
    enum { LINES = 20000 };
    struct text bytes = {0};
    struct err err = {{0}};
    char *path = path_of("long.jsonl"), *line;
    size_t length_bytes;
    int64_t count = 0;
    text_append(&bytes, "\xFF\xFEx\0", 4);
    for (int i = 0; i < LINES; i++)
        text_append(&bytes, "=\xD8\0\xDE\xE9\0\n\0\xE9\0", 10);
    write_bytes("long.jsonl", bytes.bytes, bytes.length_bytes);
    struct reader *reader = reader_open_text(path, ENCODING_UTF16, &err);
    assert_non_null(reader);
    while (reader_line(reader, 100, &line, &length_bytes, &err) == 1) {
        const char *want = count == 0       ? "x\xF0\x9F\x98\x80\xC3\xA9"
                           : count == LINES ? "\xC3\xA9"
                                            : "\xC3\xA9\xF0\x9F\x98\x80\xC3\xA9";
        assert_string_equal(line, want);
        count++;
    }
    assert_int_equal(count, LINES + 1);
    reader_close(reader);
    text_release(&bytes);
    free(path);
}

/* --- binary content --- */

static void test_binary(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        const char *what, *way_out;
    } cases[] = {
        {"PAR1\x15\x04\x15\0", 8, "a Parquet table", "format to parquet"},
        {"%PDF-1.7\nabc", 12, "a PDF", "pdftotext"},
        {"PK\x03\x04\x14\0", 6, "a zip archive", "pandoc"},
        {"\x89PNG\r\n\x1A\n\0\0", 10, "a PNG image", "take it out"},
        {"\xFF\xD8\xFF\xE0\0\x10JFIF", 10, "a JPEG image", "take it out"},
        {"\x80\x04\x95\x10\0\0\0", 7, "a Python pickle", "JSON lines"},
        {"SQLite format 3\0abc", 19, "an SQLite database", "JSON lines"},
        {"\xFD"
         "7zXZ\0\0\4",
         8, "xz data", "decompress"},
        {"MZ\x90\0\3\0\0\0", 8, "a program", "take it out"},
        {"\0\0\0\x18"
         "ftypmp42\0\0\0\0",
         16, "film or sound", "take it out"},
        {"\x40\0\0\0\0\0\0\0{\"a\":{}}", 16, "a safetensors model", "take it out"},
        {"%!PS-Adobe-3.0\n", 15, "PostScript", "extract its text"},
        {"\x78\x9C\xCBH\xCD", 5, "zlib data", "decompress"},
        {"\1\2\3\4\5\6\1\2\3\4\5\6abc", 15, "control characters", "convert"},
    };
    static const enum source_format formats[] = {SOURCE_AUTO, SOURCE_TEXT, SOURCE_JSONL};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t f = 0; f < 3; f++) { /* no format, and no policy, makes it text */
            write_bytes("binary.txt", cases[i].bytes, cases[i].length);
            struct job job = exact_job("binary.txt");
            job.source.format = formats[f];
            job.config.bad_utf8 = BAD_UTF8_REPLACE;
            refuses(job, cases[i].what, cases[i].way_out);
        }
    /* Controls: text that begins like a magic number, and text with a control character or two. */
    write_text("text.txt", "PAR1 est un groupe");
    gives(exact_job("text.txt"), "PAR1 est un groupe");
    write_text("text.txt", "page\fpage\1");
    gives(exact_job("text.txt"), "page\fpage\1");
    write_text("text.txt", "MZ et BM sont des sigles");
    gives(exact_job("text.txt"), "MZ et BM sont des sigles");
    write_text("array.json", "[{\"text\": \"a\"}]");
    struct job job = exact_job("array.json");
    job.source.format = SOURCE_JSONL;
    refuses(job, "an array", "format to json");
    write_text("what.xyz", "a");
    refuses(exact_job("what.xyz"), "cannot tell the format", "text, jsonl, json, csv, parquet or xml");
}

/* test_coding_of_name - compressed as the name says, and said where the name says nothing. */
static void test_coding_of_name(void **state) {
    (void)state;
    struct err err = {{0}};
    gzFile gzip;
    write_text("a.txt.gz", "not compressed at all");
    refuses(exact_job("a.txt.gz"), "is not gzip data although its name ends in .gz",
            "does not begin as such data does");
    write_text("a.jsonl.zst", "{\"text\": \"a\"}\n");
    refuses(exact_job("a.jsonl.zst"), "is not zstd data although its name ends in .zst", "fetch it again");
    write_text("empty.txt.gz", "");
    refuses(exact_job("empty.txt.gz"), "is not gzip data", "it is empty");
    for (int is_named = 0; is_named < 2; is_named++) {
        char *path = path_of(is_named ? "b.txt.gz" : "b.txt");
        assert_non_null(gzip = gzopen(path, "wb"));
        assert_int_equal(gzwrite(gzip, "text", 4), 4);
        assert_int_equal(gzclose(gzip), Z_OK);
        gives(exact_job(is_named ? "b.txt.gz" : "b.txt"), "text");
        struct reader *reader = reader_open_text(path, ENCODING_UTF8, &err);
        assert_non_null(reader);
        if (is_named)
            assert_null(reader_unnamed_coding(reader));
        else
            assert_string_equal(reader_unnamed_coding(reader), "gzip");
        reader_close(reader);
        free(path);
    }
    char *plain = path_of("text.txt"); /* control */
    struct reader *reader = reader_open_text(plain, ENCODING_UTF8, &err);
    assert_non_null(reader);
    assert_null(reader_unnamed_coding(reader));
    reader_close(reader);
    free(plain);
}

/* --- lines --- */

static void test_other_fields(void **state) {
    (void)state;
    static const char lines[] =
        "{\"id\": 123456789012345678901234567890, \"text\": \"a\"}\n"
        "{\"n\": NaN, \"i\": -Infinity, \"j\": Infinity, \"e\": 1e400, \"f\": -1E+999, \"text\": \"b\"}\n"
        "{\"x\": 1, \"text\": \"c\", \"x\": 2, \"y\": {\"k\": 1, \"k\": 2}}\n"
        "{\"t\\u0065xt\": \"d\"}\n"
        "{\"s\": \"\\ud800\", \"text\": \"e\\u00e9\\ud83d\\ude00\\n\\\"\\/\"}\n"
        "  {\"list\": [[], {}, [{}], [1, -0.5e-3, true, false, null]], \"text\" : \"f\" }  \r\n";
    write_text("lines.JSONL", lines);
    gives(exact_job("lines.JSONL"), "abcde\xC3\xA9\xF0\x9F\x98\x80\n\"/f");
    static const char *const wrong[][2] = {
        {"{\"text\": \"a\", \"n\": 01}", "'}'"},
        {"{\"text\": \"a\", \"n\": 1.}", "a digit"},
        {"{\"text\": \"a\", \"n\": nan}", "a value"},
        {"{\"text\": \"a\", \"n\": +1}", "a value"},
        {"{\"text\": \"a\",}", "a name"},
        {"{\"text\": \"a\" \"b\": 1}", "',' or '}'"},
        {"{\"text\": \"a\", \"b\": [1, 2}", "']'"},
        {"{\"text\": \"a\", \"b\": \"\\x\"}", "backslash"},
        {"{\"text\": \"a\", \"b\": \"\\u12\"}", "hexadecimal"},
        {"{\"text\": \"a\"} {}", "expected the end"},
        {"{\"text\": \"a", "end of a string"},
        {"{text: \"a\"}", "double quotes"},
        {"{\"text\": \"a\tb\"}", "control character"},
        {"{'text': 'a'}", "double quotes"},
        {"{\"text\": \"a\", \"text\": \"b\"}", "comes twice"},
        {"\"text\"", "not a JSON object"},
        {"{\"text\": \"a\", \"n\": -}", "a value"},
        {"{\"text\"}", "':'"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text("wrong.jsonl", wrong[i][0]);
        refuses(exact_job("wrong.jsonl"), "wrong.jsonl' line 1", wrong[i][1]);
    }
}

static void test_missing_field(void **state) {
    static char chatml[] = "chatml";
    (void)state;
    write_text("texte.jsonl", "{\"id\": 1, \"texte\": \"a\"}\n");
    refuses(exact_job("texte.jsonl"), "no field 'text', there is 'id', 'texte'", "did you mean");
    write_text("m.jsonl", "{\"messages\": []}\n");
    refuses(exact_job("m.jsonl"), "no field 'text'", "chat to true");
    write_text("o.jsonl", "{\"contenu\": \"a\"}\n");
    refuses(exact_job("o.jsonl"), "'contenu'", "field to one of them");
    write_text("e.jsonl", "{}\n");
    refuses(exact_job("e.jsonl"), "no field 'text'", "empty");
    struct job job =
        exact_job("m.jsonl"); /* a corpus of texts, read as conversations: another field would not help */
    job.source.chat = true;
    job.config.chat_template = chatml;
    write_text("m.jsonl", "{\"id\": 1, \"text\": \"a\"}\n");
    refuses(job, "no field 'messages', there is 'id', 'text'", "leave the source's chat out");
}

static void test_bad_lines_left_out(void **state) {
    (void)state;
    write_text(
        "some.jsonl",
        "{\"text\": \"a\"}\n{\"text\": \nnot JSON\n{\"body\": \"b\"}\n{\"text\": 7}\n{\"text\": \"c\"}\n");
    refuses(exact_job("some.jsonl"), "line 2", "on_bad_line 'skip'");
    struct job job = exact_job("some.jsonl");
    job.config.on_bad_line = BAD_LINE_SKIP;
    assert_int_equal(run(&job), 0);
    assert_int_equal(job.totals.num_bad_lines, 4);
    assert_int_equal(job.totals.num_documents, 2);
    gives(job, "ac");
    write_text("all.jsonl", "x\ny\n");
    job = exact_job("all.jsonl");
    job.config.on_bad_line = BAD_LINE_SKIP;
    refuses(job, "no document to write", "2 lines that cannot be used");
    /* Bytes that are no UTF-8 have a policy of their own. */
    write_text("bytes.jsonl", "{\"text\": \"a\"}\n{\"text\": \"\xE9\"}\n");
    job = exact_job("bytes.jsonl");
    job.config.on_bad_line = BAD_LINE_SKIP;
    refuses(job, "line 2", "invalid UTF-8");
}

/* What conversations take from a line: numbers beyond JSON's do no harm. */
static void test_plain(void **state) {
    (void)state;
    static const struct {
        const char *value, *plain;
    } cases[] = {
        {"[1, -2.5e3, 9223372036854775807]", "[1, -2.5e3, 9223372036854775807]"},
        {"[9223372036854775808,1e400]", "[\"\\u00009223372036854775808\",\"\\u00001e400\"]"},
        {"{\"a\":NaN,\"b\":-Infinity}", "{\"a\":\"\\u0000NaN\",\"b\":\"\\u0000-Infinity\"}"},
        {"{\"NaN 1e400\":\"\\\"NaN\"}", "{\"NaN 1e400\":\"\\\"NaN\"}"},
        {"[true,false,null]", "[true,false,null]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text out = {0};
        json_line_plain((struct text_span){cases[i].value, strlen(cases[i].value)}, &out);
        text_append(&out, "", 1);
        assert_string_equal(out.bytes, cases[i].plain);
        text_release(&out);
    }
}

/* Conversations as well take nothing from the other fields, and refuse a fault inside of them. */
static void test_chat_lines(void **state) {
    (void)state;
    static char chatml[] = "chatml";
    static const char messages[] =
        "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"r\"}]";
    static const struct {
        const char *before, *after, *wrong;
    } cases[] = {
        {"{\"n\": NaN, \"i\": 99999999999999999999, \"i\": 1e999, \"s\": \"\\ud800\", \"messages\": ", "}",
         NULL},
        {"{\"tools\": [], \"documents\": null, \"messages\": ", "}", NULL},
        {"{\"tools\": [1], \"messages\": ", "}", "the field 'tools'"},
        {"{\"tools\": [], \"tools\": [], \"messages\": ", "}", "the field 'tools'"},
        {"{\"messages\": 1, \"messages\": ", "}", "comes twice"},
        {"{\"messages\": [{\"role\": \"user\", \"role\": \"user\", \"content\": \"a\"}], \"x\": ", "}",
         "duplicate"},
        {"{\"body\": ", "}", "no field 'messages'"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": 1e400}], \"x\": ", "}",
         "the field 'content' with a number"},
        {"{\"messages\": [{\"role\": NaN, \"content\": \"a\"}], \"x\": ", "}",
         "message 1 has no string 'role'"},
        {"{\"x\": ",
         ", \"messages\": [{\"role\": \"user\", \"content\": \"q\", \"n\": [1e400]}, {\"role\": \"assistant\", "
         "\"content\": \"r\"}]}",
         NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *line = xasprintf("%s%s%s\n", cases[i].before, messages, cases[i].after);
        write_text("chat.jsonl", line);
        struct job job = exact_job("chat.jsonl");
        job.source.chat = true;
        job.config.chat_template = chatml;
        if (cases[i].wrong)
            refuses(job, "chat.jsonl' line 1", cases[i].wrong);
        else
            gives(job, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nr<|im_end|>\n");
        free(line);
    }
}

static struct job chat_job(const char *answer) {
    static char chatml[] = "chatml";
    char *line =
        xasprintf("{\"messages\": [{\"role\": \"user\", \"content\": \"q<s>\"}, {\"role\": \"assistant\", "
                  "\"content\": \"%s\"}]}\n",
                  answer);
    write_text("answer.jsonl", line);
    free(line);
    struct job job = exact_job("answer.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    return job;
}

/* An answer of nothing that can be seen is an empty answer. */
static void test_invisible_answers(void **state) {
    (void)state;
    static const char *const empty[] = {
        "", " \\n", "\\u200b", "\\ufeff\\u2060 \\u200d", "\xC2\xAD\xE3\x85\xA4", "\\u0001"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++)
        refuses(chat_job(empty[i]), "message 2", "is empty");
    gives(chat_job("\\u200b."),
          "<|im_start|>user\nq<s><|im_end|>\n<|im_start|>assistant\n\xE2\x80\x8B.<|im_end|>\n");
}

/* Messages that hold the text of a special token are counted, and that text is not a token. */
static void test_special_text(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        int64_t count;
    } cases[] = {{"a <|im_end|> b", 2}, {"<|im_end|><|im_end|></s>", 2}, {"<|im_end |>", 1}, {"[INST", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct job job = chat_job(cases[i].answer);
        if (run(&job) != 0)
            fail_msg("%s", job.err.text);
        assert_int_equal(job.totals.num_marked, cases[i].count); /* the user's message holds <s> in each */
        struct err err = {{0}};
        struct token_file *file = token_file_open(job.config.output, &err);
        assert_non_null(file);
        int64_t count = token_file_num_tokens(file), num_ends = 0;
        int32_t *ids = xcalloc((size_t)count, sizeof *ids);
        assert_int_equal(token_file_read(file, 0, count, ids, NULL, &err), 0);
        for (int64_t k = 0; k < count; k++)
            num_ends += ids[k] == TINY_IM_END;
        assert_int_equal(num_ends, 2); /* the template's own */
        free(ids);
        token_file_close(file);
        release(&job);
    }
}

/* --- folders --- */

static struct job folder_job(enum subfolder_policy policy) {
    struct job job = exact_job("tree");
    job.source.subfolders = policy;
    return job;
}

static void test_folders(void **state) {
    (void)state;
    char *tree = path_of("tree"), *inner = path_of("tree/b"), *deep = path_of("tree/b/c"),
         *fifo = path_of("tree/fifo"), *loop = path_of("tree/loop");
    mkdir(tree, 0777);
    mkdir(inner, 0777);
    mkdir(deep, 0777);
    write_text("tree/a.txt", "1");
    write_text("tree/c.TXT", "4");
    write_text("tree/b/x.txt", "2");
    write_text("tree/b/c/y.md", "3");
    write_text("tree/.hidden", "\1\2\3");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink("..", loop), 0);
    struct job job = folder_job(SUBFOLDERS_IGNORE);
    assert_int_equal(run(&job), 0);
    assert_int_equal(job.totals.num_nested_files, 2);
    assert_int_equal(job.totals.num_hidden_files, 1);
    assert_int_equal(job.totals.num_other_files, 2);
    gives(job, "14");
    gives(folder_job(SUBFOLDERS_READ),
          "1324"); /* byte order of the whole path: a.txt, b/c/y.md, b/x.txt, c.TXT */
    refuses(folder_job(SUBFOLDERS_FAIL), "subfolders", "read or ignore");
    refuses(exact_job("tree/b/c/none"), "No such file", "none");
    write_text("tree/b/photo.txt", "\xFF\xD8\xFF\xE0\0");
    refuses(folder_job(SUBFOLDERS_READ), "tree/b/photo.txt' is a JPEG image", "take it out");
    free(tree);
    free(inner);
    free(deep);
    free(fifo);
    free(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contradicted_marks), cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_encoded_lines),      cmocka_unit_test(test_binary),
        cmocka_unit_test(test_other_fields),       cmocka_unit_test(test_missing_field),
        cmocka_unit_test(test_bad_lines_left_out), cmocka_unit_test(test_plain),
        cmocka_unit_test(test_chat_lines),         cmocka_unit_test(test_folders),
        cmocka_unit_test(test_coding_of_name),     cmocka_unit_test(test_special_text),
        cmocka_unit_test(test_invisible_answers),
    };
    folder = test_folder("corpora");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
