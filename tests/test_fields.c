/* test_fields.c - several fields of a record as one document, and records that filters leave out. */
#include "data/corpus/decimal.h"
#include "tests/prepare_fixture.h"

#define WORD(text) ((char *)(uintptr_t)(text))

static struct prepare_word words[] = {{WORD("title")}, {WORD("text")}};

static struct job fields_job(const char *name) {
    struct job job = job_for(name);
    job.source.fields = words;
    job.source.num_fields = 2;
    job.config.ends = DOCUMENT_NONE;
    return job;
}

static void test_fields(void **state) {
    (void)state;
    write_text("f.jsonl",
               "{\"text\": \"a \\\"b\\\"\", \"title\": \"t\\n\"}\n{\"text\": \"c\", \"title\": null}\n"
               "{\"text\": \"\", \"title\": \"d\"}\n");
    struct job job = fields_job("f.jsonl");
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 3);
    check_document(job.output, 0, "t\n\n\na \"b\"");
    check_document(job.output, 1, "c");
    check_document(job.output, 2, "d");
    release(&job);
    job = fields_job("f.jsonl");
    job.source.separator = WORD(" \" ");
    run_well(&job);
    check_document(job.output, 0, "t\n \" a \"b\"");
    release(&job);
    write_text("f.csv", "text,title\n\"a\nb\",t\n");
    job = fields_job("f.csv");
    run_well(&job);
    check_document(job.output, 0, "t\n\na\nb");
    release(&job);
}

static void test_field_faults(void **state) {
    (void)state;
    write_text("f.jsonl", "{\"text\": \"a\", \"titre\": \"t\"}\n");
    struct job job = fields_job("f.jsonl");
    fails(&job, "f.jsonl' line 1: no field 'title', there is 'text', 'titre'", "on_bad_line");
    write_text("f.jsonl", "{\"text\": 7, \"title\": \"t\"}\n");
    job = fields_job("f.jsonl");
    fails(&job, "field 'text' is a number, expected a string", "line 1");
    job = fields_job("f.jsonl");
    job.source.field = WORD("text");
    fails(&job, "has fields, whose texts become one document", "and field");
    job = job_for("f.jsonl");
    job.source.separator = WORD(" ");
    fails(&job, "the separator of source", "without fields");
    write_text("f.txt", "a");
    job = fields_job("f.txt");
    fails(&job, "the field 'title' of source", "its files are text");
}

/* filtered - a job with filters. */
static struct job filtered(struct prepare_filter *where, int num_filters) {
    struct job job = job_for("w.jsonl");
    job.source.where = where;
    job.source.num_filters = num_filters;
    return job;
}

/* kept - how many of five records the filters let through; the others are counted. */
static int64_t kept(struct prepare_filter *where, int num_filters) {
    struct job job = filtered(where, num_filters);
    run_well(&job);
    int64_t count = job.totals.num_documents;
    assert_int_equal(job.totals.num_left[LEFT_FILTER], 5 - count);
    assert_int_equal(job.totals.num_bad_lines, 0);
    release(&job);
    return count;
}

static void test_filters(void **state) {
    (void)state;
    struct prepare_word states[] = {{WORD("VIGUEUR")}, {WORD("")}}, numbers[] = {{WORD("2")}, {WORD("1.50")}},
                        truth[] = {{WORD("true")}}, nothing[] = {{WORD("null")}}, letter[] = {{WORD("e")}},
                        python[] = {{WORD("True")}}, others[] = {{WORD("2.0")}, {WORD("15e-1")}};
    write_text("w.jsonl", "{\"text\": \"a\", \"s\": \"VIGUEUR\", \"n\": 1.50, \"b\": true}\n"
                          "{\"text\": \"b\", \"s\": \"\\u0056IGUEUR\", \"n\": 2, \"b\": false}\n"
                          "{\"text\": \"c\", \"s\": \"VIGUEUR \", \"n\": \"2\"}\n"
                          "{\"text\": \"d\", \"s\": null, \"n\": 3}\n{\"text\": \"e\", \"s\": \"\"}\n");
    assert_int_equal(kept((struct prepare_filter[]){{WORD("s"), states, 1}}, 1), 2);
    assert_int_equal(kept((struct prepare_filter[]){{WORD("s"), states, 2}}, 1), 3);
    assert_int_equal(kept((struct prepare_filter[]){{WORD("n"), numbers, 2}}, 1), 3);
    assert_int_equal(kept((struct prepare_filter[]){{WORD("n"), numbers, 1}, {WORD("s"), states, 1}}, 2), 1);
    assert_int_equal(kept((struct prepare_filter[]){{WORD("b"), truth, 1}}, 1), 1);
    assert_int_equal(kept((struct prepare_filter[]){{WORD("b"), python, 1}}, 1), 1);
    assert_int_equal(kept((struct prepare_filter[]){{WORD("n"), others, 2}}, 1),
                     2); /* the text "2" is not 2.0 */
    assert_int_equal(kept((struct prepare_filter[]){{WORD("text"), letter, 1}}, 1), 1);
    struct job job = filtered((struct prepare_filter[]){{WORD("s"), nothing, 1}}, 1);
    fails(&job, "no document", "5 records");
    job = filtered((struct prepare_filter[]){{WORD("s"), nothing, 0}}, 1);
    fails(&job, "asks for no value of 's'", "nothing would be read");
    write_text("w.jsonl", "{\"text\": \"a\", \"s\": [\"VIGUEUR\"]}\n");
    job = filtered((struct prepare_filter[]){{WORD("s"), states, 1}}, 1);
    fails(&job, "w.jsonl' line 1: the field 's' is a list", "where cannot compare");
}

static bool same(const char *a, const char *b) {
    return decimal_equal((struct text_span){a, strlen(a)}, (struct text_span){b, strlen(b)});
}

/* By value, without rounding: the two long ones are one double. */
static void test_decimals(void **state) {
    (void)state;
    static const char *const equal[][2] = {
        {"1", "1.0"},   {"1.50", "1.5"},   {"0", "-0.000"},
        {"100", "1e2"}, {"0.001", "1E-3"}, {"-12.30", "-1230e-2"},
        {"007", "7"},   {"0e5", "0"},      {"12345678901234567890", "12345678901234567890.0"}};
    static const char *const other[][2] = {{"1", "-1"},   {"1", "10"},
                                           {"1.5", "15"}, {"12345678901234567890", "12345678901234567891"},
                                           {"1", "1x"},   {"", "0"},
                                           {"1", ""},     {".", "0"},
                                           {"1e", "1"},   {"1e99999999999", "1"},
                                           {"1 ", "1"},   {"0.1", "0.10000000000000000001"}};
    for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
        assert_true(same(equal[i][0], equal[i][1]) && same(equal[i][1], equal[i][0]));
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_false(same(other[i][0], other[i][1]) || same(other[i][1], other[i][0]));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_field_faults),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_decimals),
    };
    folder = test_folder("fields");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
