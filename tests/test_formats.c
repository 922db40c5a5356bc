/* test_formats.c - formats of a corpus's files: what a file's records are, wherever the blocks of the reader end, and what is
 * said of a file that is damaged.  What other programs make of the same files: tests/interop/check_records.py. */
#include "tests/prepare_fixture.h"

#include "data/corpus/csv.h"
#include "data/corpus/format.h"
#include "data/corpus/text.h"
#include "kernels/rng.h"

/* --- arrays of JSON --- */

/* records_of - all records of a file, each in <>; NULL with err set. */
static char *records_of(const char *name, enum source_format id, struct err *err) {
    struct record_stream stream;
    struct raw_record record;
    struct text all = {0};
    char *path = path_of(name);
    struct corpus_file file = {.path = path, .format = format_of(id)};
    const struct prepare_source source = {.path = path};
    int status = record_stream_open(&stream, &file, &source, err);
    while (status >= 0 && (status = record_stream_next(&stream, &record, err)) > 0) {
        text_append(&all, "<", 1);
        text_append(&all, record.bytes, record.length_bytes);
        text_append(&all, ">", 1);
        assert_int_equal(record.number, stream.num_records);
        record_stream_trim(&stream);
    }
    record_stream_close(&stream);
    corpus_file_release(&file);
    text_append(&all, "", 1);
    if (status == 0)
        return all.bytes;
    text_release(&all);
    return NULL;
}

static void array_gives(const char *text, const char *want) {
    struct err err = {{0}};
    write_text("array.json", text);
    char *got = records_of("array.json", SOURCE_JSON, &err);
    if (!got)
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(got, want);
    free(got);
}

static void array_fails(const char *text, const char *why) {
    struct err err = {{0}};
    write_text("array.json", text);
    char *got = records_of("array.json", SOURCE_JSON, &err);
    if (got || !strstr(err.text, why) || !strstr(err.text, "array.json'"))
        fail_msg("%s gives %s, '%s'; expected '%s'", text, got ? got : "an error", err.text, why);
    free(got);
}

static void test_arrays(void **state) {
    (void)state;
    array_gives("[]", "");
    array_gives(" \n[ \t]\r\n ", "");
    array_gives("[1]", "<1>");
    array_gives("\xEF\xBB\xBF[{\"a\":\"x\"},{}]", "<{\"a\":\"x\"}><{}>");
    array_gives("[{\"a\":[1,{\"b\":2}]}\n,[],\"],\"]\n", "<{\"a\":[1,{\"b\":2}]}\n><[]><\"],\">");
    array_gives("[\"a\\\"],[\\\\\",\"\\\\\"]", "<\"a\\\"],[\\\\\"><\"\\\\\">");
    array_fails("", "is empty");
    array_fails("{\"text\": \"a\"}\n{\"text\": \"b\"}", "set the source's format to jsonl");
    array_fails("bonjour", "begins with byte 0x62");
    array_fails("[1,2", "element 2: the file ends");
    array_fails("[1,\"2]", "element 2: the file ends");
    array_fails("[", "element 1: the file ends");
    array_fails("[1,]", "element 2: there is nothing before ']'");
    array_fails("[,1]", "element 1: there is nothing before ','");
    array_fails("[1] x", "goes on after the end of its array, which has 1 elements");
    array_fails("[1][2]", "goes on after the end");
    array_fails("[]]", "goes on after the end");
    array_fails("[1}]", "element 1: '}' without '{'");
}

/* random_text - letters and what JSON escapes, as JSON, to out. */
static void append_random(struct text *out, uint64_t *index) {
    static const char *const pieces[] = {"a",   "\\\"", "\\\\", "[",       "]",        "{", "}",
                                         ",\n", ":",    "\\n",  "\\u0022", "\xC3\xA9", " "};
    enum { NUM_PIECES = sizeof pieces / sizeof *pieces };
    int length = (int)(rng_below(7, 1, (*index)++, 40));
    for (int i = 0; i < length; i++) {
        const char *piece = pieces[rng_below(7, 1, (*index)++, NUM_PIECES)];
        size_t part = strlen(piece);
        if (piece[part - 1] == '\n') /* a control character is escaped in a string */
            part--;
        text_append(out, piece, part);
    }
}

/* Lines and one array of the same objects, larger than the reader's blocks, give the same token file; an array that was cut
 * anywhere gives none. */
static void test_array_as_lines(void **state) {
    (void)state;
    struct text lines = {0}, array = {0};
    uint64_t index = 0;
    for (int i = 0; i < 12000; i++) {
        text_append(&array, i ? (i % 3 ? "," : "\n , ") : "[", i && i % 3 == 0 ? 4 : 1);
        size_t first = lines.length_bytes;
        char *begin = xasprintf("{\"id\": %d, \"text\": \"%d ", i, i);
        text_append(&lines, begin, strlen(begin));
        append_random(&lines, &index);
        text_append(&lines, "\"}", 2);
        text_append(&array, lines.bytes + first, lines.length_bytes - first);
        text_append(&lines, "\n", 1);
        free(begin);
    }
    text_append(&array, "]", 1);
    write_bytes("same.jsonl", lines.bytes, lines.length_bytes);
    write_bytes("same.JSON", array.bytes, array.length_bytes);
    char *expected = NULL;
    for (int i = 0; i < 2; i++) {
        struct job job = job_for(i ? "same.JSON" : "same.jsonl");
        run_well(&job);
        assert_int_equal(job.totals.num_documents, 12000);
        char *text = document_text(job.output, 11999);
        if (expected)
            assert_string_equal(text, expected);
        free(expected);
        expected = text;
        release(&job);
    }
    free(expected);
    for (size_t cut = 1; cut < array.length_bytes; cut += array.length_bytes / 41) {
        write_bytes("cut.json", array.bytes, array.length_bytes - cut);
        struct job job = job_for("cut.json");
        fails(&job, "cut.json", "was cut");
    }
    text_release(&lines);
    text_release(&array);
}

/* A fault inside of an element is the worker's, with the element's number. */
static void test_array_faults(void **state) {
    (void)state;
    write_text("fault.json", "[{\"text\": \"a\"},\n{\"text\": 7},\n{\"text\": \"b\"}]");
    struct job job = job_for("fault.json");
    fails(&job, "fault.json' element 2", "is a number");
    job = job_for("fault.json");
    job.config.on_bad_line = BAD_LINE_SKIP;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 2);
    assert_int_equal(job.totals.num_bad_lines, 1);
    release(&job);
    write_text("fault.json", "[{\"text\": \"a\", \"b\": tru}]");
    job = job_for("fault.json");
    fails(&job, "fault.json' element 1", "not valid JSON");
}

/* Endings count in any case. */
static void test_endings(void **state) {
    (void)state;
    static const char *const names[] = {"a.JSONL", "a.NdJson", "a.TXT", "a.Md", "a.JSON", "a.CSV", "a.Tsv"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct format *format = format_of_name(names[i]);
        assert_non_null(format);
        assert_int_equal(format->id, i < 2   ? SOURCE_JSONL
                                     : i < 4 ? SOURCE_TEXT
                                     : i < 5 ? SOURCE_JSON
                                             : SOURCE_CSV);
    }
    assert_ptr_equal(format_of_name("a.jsonl.GZ"), format_of(SOURCE_JSONL));
    assert_null(format_of_name("a.pdf"));
    assert_null(format_of_name("jsonl"));
}

/* --- tables --- */

/* table_gives - the rows as JSON or what is wrong with them, with the line of each before it: all of it, or, where want does
 * not end in a line feed, some of it. */
static void table_gives(const char *text, const char *want) {
    struct err err = {{0}};
    struct record_stream stream;
    struct raw_record record;
    struct text all = {0};
    write_text("t.csv", text);
    struct corpus_file file = {.path = path_of("t.csv"), .format = format_of(SOURCE_CSV)};
    const struct prepare_source source = {.path = file.path};
    int status = record_stream_open(&stream, &file, &source, &err);
    if (status == 0 && (status = record_stream_look(&stream, &file, &err)) == 0) {
        record_stream_close(&stream);
        status = record_stream_open(&stream, &file, &source, &err);
    }
    while (status >= 0 && (status = record_stream_next(&stream, &record, &err)) > 0) {
        char *line = xasprintf("%lld ", (long long)record.number);
        text_append(&all, line, strlen(line));
        free(line);
        if (file.format->append_json(file.header, (struct text_span){record.bytes, record.length_bytes}, &all,
                                     &err) != 0)
            text_append(&all, err.text, strlen(err.text));
        text_append(&all, "\n", 1);
    }
    text_append(&all, status < 0 ? err.text : "", status < 0 ? strlen(err.text) + 1 : 1);
    record_stream_close(&stream);
    corpus_file_release(&file);
    bool is_exact = want[strlen(want) - 1] == '\n';
    if (!strstr(all.bytes, want) || (is_exact && strcmp(all.bytes, want) != 0))
        fail_msg("%s\ngives %s\ninstead of %s", text, all.bytes, want);
    text_release(&all);
}

static void test_tables(void **state) {
    (void)state;
    table_gives("a,b\n1,2\n", "2 {\"a\": \"1\", \"b\": \"2\"}\n");
    table_gives("\xEF\xBB\xBFz;b\r\n1,5;x\r\n\r\n;\r\n",
                "2 {\"z\": \"1,5\", \"b\": \"x\"}\n4 {\"z\": \"\", \"b\": \"\"}\n");
    table_gives("a,b\n\"x\n\"\"y\"\"\",\"\"\n5\" pipe,\\\n",
                "2 {\"a\": \"x\\n\\\"y\\\"\", \"b\": \"\"}\n4 {\"a\": \"5\\\" pipe\", \"b\": \"\\\\\"}\n");
    table_gives("a\n\xC3\xA9t\xC3\xA9", "2 {\"a\": \"\xC3\xA9t\xC3\xA9\"}\n");
    table_gives(
        "a,b\n1\n",
        "the row has 1 field, the header 2, by the delimiter ','; another one is the source's delimiter");
    table_gives(
        "a,b\n1,2,3\n",
        "the row has 3 fields, the header 2, by the delimiter ','; another one is the source's delimiter");
    table_gives("a,b\n\"1\"x,2\n", "no delimiter follows");
    table_gives("a,b\n1\r2,3\n", "a carriage return inside of a field without quotes, at byte 2");
    table_gives("a,b\n1,2\n\n3,\"x\n\"\"y\n4,5\n", "t.csv' line 4: a quote is opened and never closed");
    table_gives("a,b\n1,\"x\ny\",\"z\n\n", "t.csv' line 3: a quote is opened and never closed");
    table_gives("sep=;\r\na;b\r\n1;2\r\n", "its first line is 'sep=;', which says Excel the delimiter");
    table_gives("sep=;x\n1;2\n", "2 {\"sep=\": \"1\", \"x\": \"2\"}\n");
    table_gives("", "it is empty: a table begins with the names of its columns");
    table_gives("\n\r\n", "it is empty");
    table_gives("\"a,b\n", "a quote is opened at byte 1 and never closed");
    table_gives("a,b;c\n", "the delimiter is not clear: by its header it could be each of ',;'");
    table_gives("a,b;c\n1;2\n", "2 {\"a,b\": \"1\", \"c\": \"2\"}\n");
    table_gives("\xE9t\xE9,b\n", "its header is not UTF-8 (0xE9 at byte 1): set the source's encoding");
}

/* Wherever a block ends, rows end at the same bytes. */
static void test_cuts(void **state) {
    (void)state;
    static const char text[] = "a,\"b\n\"\"c\"\"\",\"\"\n\"\"\"\"\n,\"x\"\r\nd\"e,f\"\"\n\"\",\"\n\"\n";
    static const size_t ends[] = {14, 19, 25, 33, 40};
    for (size_t first = 1; first < sizeof text - 1; first++)
        for (size_t second = first; second < sizeof text - 1; second++) {
            struct csv_cut cut = {.delimiter = ','};
            size_t at = 0, num_rows = 0;
            while (at < sizeof text - 1) {
                size_t stop = at < first ? first : at < second ? second : sizeof text - 1;
                bool has_ended;
                at += csv_cut_row(&cut, (struct text_span){text + at, stop - at}, &has_ended);
                if (!has_ended)
                    continue;
                assert_int_equal(at, ends[num_rows]);
                num_rows++;
                at++;
                cut = (struct csv_cut){.delimiter = ','};
            }
            assert_int_equal(num_rows, 5);
        }
}

/* A table gives the token file of the same records as lines; its faults are those of lines. */
static void test_table_as_lines(void **state) {
    (void)state;
    write_text("t.csv", "id;text;x\n1;\"a \"\"b\"\"\n;c\";\n2;d;\n");
    write_text("t.jsonl", "{\"text\": \"a \\\"b\\\"\\n;c\"}\n{\"text\": \"d\"}\n");
    for (int i = 0; i < 2; i++) {
        struct job job = job_for(i ? "t.csv" : "t.jsonl");
        job.config.ends = DOCUMENT_NONE;
        run_well(&job);
        assert_int_equal(job.totals.num_documents, 2);
        check_document(job.output, 0, "a \"b\"\n;c");
        check_document(job.output, 1, "d");
        release(&job);
    }
    write_text("t.csv", "id;text\n1;a\n2\n3;b\n");
    struct job job = job_for("t.csv");
    fails(&job, "t.csv' line 3: the row has 1 field, the header 2, by the delimiter ';'",
          "on_bad_line 'skip'");
    job = job_for("t.csv");
    job.config.on_bad_line = BAD_LINE_SKIP;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 2);
    assert_int_equal(job.totals.num_bad_lines, 1);
    release(&job);
    job = job_for("t.csv");
    job.source.field = (char *)(uintptr_t) "texte";
    fails(&job, "t.csv' line 2: no field 'texte', there is 'id', 'text'", "did you mean");
    write_text("t.csv", "id;text\n1;\xE9t\xE9\n");
    job = job_for("t.csv");
    job.config.bad_utf8 = BAD_UTF8_FAIL;
    fails(&job, "t.csv' line 2: invalid UTF-8 (0xE9) at byte 3", "set the source's encoding (latin1");
    job = job_for("t.csv");
    job.config.ends = DOCUMENT_NONE;
    job.source.encoding = ENCODING_LATIN1;
    run_well(&job);
    check_document(job.output, 0, "\xC3\xA9t\xC3\xA9");
    release(&job);
}

static void test_delimiters(void **state) {
    (void)state;
    static const struct {
        const char *name, *delimiter, *text;
    } cases[] = {{"d.csv", NULL, "id|text\n1|a\n"},   {"d.csv", "auto", "id\ttext\n1\ta\n"},
                 {"d.tsv", NULL, "id\ttext\n1\ta\n"}, {"d.csv", "tab", "id\ttext\n1\ta\n"},
                 {"d.csv", "#", "id#text\n1#a\n"},    {"d.csv", ";", "text;x,y\na;1,2\n"},
                 {"d.csv", NULL, "text\na\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(cases[i].name, cases[i].text);
        struct job job = job_for(cases[i].name);
        job.source.delimiter = (char *)(uintptr_t)cases[i].delimiter;
        job.config.ends = DOCUMENT_NONE;
        run_well(&job);
        check_document(job.output, 0, "a");
        release(&job);
    }
    static const char *const wrong[] = {"", ";;", "a", "\"", "\n", "\xC3\xA9"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct job job = job_for("d.csv");
        job.source.delimiter = (char *)(uintptr_t)wrong[i];
        fails(&job, "the delimiter '", "auto, tab, or one character");
    }
    write_text("d.jsonl", "{\"text\": \"a\"}\n");
    struct job job = job_for("d.jsonl");
    job.source.delimiter = (char *)(uintptr_t) ";";
    fails(&job, "the delimiter of source", "would have no effect");
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays),         cmocka_unit_test(test_array_as_lines),
        cmocka_unit_test(test_array_faults),   cmocka_unit_test(test_endings),
        cmocka_unit_test(test_tables),         cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_table_as_lines), cmocka_unit_test(test_delimiters),
    };
    folder = test_folder("formats");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
