/* test_formats.c - formats of a corpus's files: what a file's records are, wherever the blocks of the reader end, and what is
 * said of a file that is damaged.  What other programs make of the same files: tests/interop/check_records.py. */
#include "tests/prepare_fixture.h"

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
    int status = record_stream_open(&stream, format_of(id), path, ENCODING_UTF8, err);
    while (status >= 0 && (status = record_stream_next(&stream, &record, err)) > 0) {
        text_append(&all, "<", 1);
        text_append(&all, record.bytes, record.length_bytes);
        text_append(&all, ">", 1);
        assert_int_equal(record.number, stream.num_records);
        record_stream_trim(&stream);
    }
    record_stream_close(&stream);
    free(path);
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
    static const char *const names[] = {"a.JSONL", "a.NdJson", "a.TXT", "a.Md", "a.JSON"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct format *format = format_of_name(names[i]);
        assert_non_null(format);
        assert_int_equal(format->id, i < 2 ? SOURCE_JSONL : i < 4 ? SOURCE_TEXT : SOURCE_JSON);
    }
    assert_ptr_equal(format_of_name("a.jsonl.GZ"), format_of(SOURCE_JSONL));
    assert_null(format_of_name("a.pdf"));
    assert_null(format_of_name("jsonl"));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_array_as_lines),
        cmocka_unit_test(test_array_faults),
        cmocka_unit_test(test_endings),
    };
    folder = test_folder("formats");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
