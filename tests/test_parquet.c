/* test_parquet.c - Parquet tables: those that pyarrow wrote (tests/golden/make_parquet.py) against the records that it reads,
 * sources that take some of their fields, and files that are damaged, cut, or something else.  Every combination that pyarrow
 * can write: tests/interop/check_parquet.py. */
#include <jansson.h>
#include <sys/stat.h>

#include "tests/prepare_fixture.h"

#include "data/file.h"
#include "data/parquet/bits.h"
#include "data/parquet/table.h"
#include "data/parquet/value_json.h"

#define GOLDEN "tests/golden/parquet/"
static const char *const NAMES[] = {"plain", "snappy", "gzip", "zstd", "lz4", "brotli"};
enum { NUM_NAMES = sizeof NAMES / sizeof *NAMES, NUM_ROWS = 12, MAX_BYTES = 1 << 20 };

/* read_golden - a whole file, freed with free(). */
static char *read_golden(const char *name, const char *ending, size_t *length_bytes) {
    char *path = xasprintf(GOLDEN "%s%s", name, ending);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *bytes = xmalloc(MAX_BYTES);
    *length_bytes = fread(bytes, 1, MAX_BYTES - 1, file);
    bytes[*length_bytes] = '\0';
    fclose(file);
    free(path);
    return bytes;
}

static bool is_named(const void *user, struct text_span name) {
    return !user || (strlen(user) == name.length_bytes && memcmp(user, name.bytes, name.length_bytes) == 0);
}

/* records_of - all records of a table, or the one field of them, as a list; NULL with err set. */
static json_t *records_of(const char *path, const char *field, struct err *err) {
    struct table *table = table_open(path, err);
    struct text record = {0};
    json_t *list = json_array();
    int status = table ? table_choose(table, is_named, field, err) : -1;
    while (status >= 0 && (status = table_next(table, MAX_BYTES, &record, err)) > 0) {
        json_t *object = json_loadb(record.bytes, record.length_bytes, JSON_ALLOW_NUL, NULL);
        json_array_append_new(list, object ? object : json_null()); /* not UTF-8: damaged */
        record.length_bytes = 0;
    }
    text_release(&record);
    table_close(table);
    if (status == 0)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *golden_records(void) {
    size_t length;
    char *bytes = read_golden("records", ".jsonl", &length);
    json_t *list = json_array();
    for (char *line = strtok(bytes, "\n"); line; line = strtok(NULL, "\n"))
        json_array_append_new(list, json_loads(line, 0, NULL));
    free(bytes);
    assert_int_equal(json_array_size(list), NUM_ROWS);
    return list;
}

/* What pyarrow reads; the control has one value that differs. */
static void test_records(void **state) {
    (void)state;
    json_t *want = golden_records(), *other = json_deep_copy(want);
    json_object_set_new(json_array_get(other, 8), "id", json_integer(1));
    for (int i = 0; i < NUM_NAMES; i++) {
        struct err err = {{0}};
        char *path = xasprintf(GOLDEN "%s.parquet", NAMES[i]);
        json_t *got = records_of(path, NULL, &err);
        if (!got)
            fail_msg("%s", err.text);
        if (!json_equal(got, want))
            fail_msg("%s: other records: %s", NAMES[i], json_dumps(got, 0));
        assert_false(json_equal(got, other));
        json_decref(got);
        got = records_of(path, "messages", &err);
        assert_int_equal(json_array_size(got), NUM_ROWS);
        assert_int_equal(json_object_size(json_array_get(got, 3)), 1);
        assert_true(json_equal(json_object_get(json_array_get(got, 3), "messages"),
                               json_object_get(json_array_get(want, 3), "messages")));
        json_decref(got);
        free(path);
    }
    json_decref(want);
    json_decref(other);
}

/* --- sources --- */

static void copy_golden(const char *name, const char *ending, const char *to) {
    size_t length;
    char *bytes = read_golden(name, ending, &length);
    write_bytes(to, bytes, length);
    free(bytes);
}

typedef void (*change_job)(struct job *job);

static void with_text(struct job *job) {
    job->config.on_bad_line = BAD_LINE_SKIP; /* a text that is null */
}
static void with_fields(struct job *job) {
    static char text[] = "text", kind[] = "kind";
    static struct prepare_word words[] = {{kind}, {text}};
    job->source.fields = words;
    job->source.num_fields = 2;
}
static void with_filter(struct job *job) {
    static char kind[] = "kind", law[] = "loi", good[] = "good", is_true[] = "true";
    static struct prepare_word values[] = {{law}}, truths[] = {{is_true}};
    static struct prepare_filter filters[] = {{kind, values, 1}, {good, truths, 1}};
    job->config.on_bad_line = BAD_LINE_SKIP;
    job->source.where = filters;
    job->source.num_filters = 2;
}
static void with_chat(struct job *job) {
    static char chatml[] = "chatml";
    job->source.chat = true;
    job->config.chat_template = chatml;
}

/* outcome_of - what a job gives of a file: its documents, one after the other, and how many were left out. */
static char *outcome_of(const char *name, change_job change) {
    struct job job = job_for(name);
    change(&job);
    run_well(&job);
    char *all = xasprintf("bad lines %lld, left out %lld\n", (long long)job.totals.num_bad_lines,
                          (long long)job.totals.num_left[LEFT_FILTER]);
    for (int64_t i = 0; i < job.totals.num_documents; i++) {
        char *text = document_text(job.output, i), *more = xasprintf("%s%s\n", all, text);
        free(all);
        free(text);
        all = more;
    }
    release(&job);
    return all;
}

/* The same tokens as the same records as lines of JSON. */
static void test_sources(void **state) {
    (void)state;
    static const change_job changes[] = {with_text, with_fields, with_filter, with_chat};
    copy_golden("records", ".jsonl", "same.jsonl");
    char *before = xstrdup("");
    for (int i = 0; i < 4; i++) {
        char *want = outcome_of("same.jsonl", changes[i]);
        assert_string_not_equal(want, before); /* each of them takes something else */
        for (int k = 0; k < NUM_NAMES; k++) {
            copy_golden(NAMES[k], ".parquet", "same.parquet");
            char *got = outcome_of("same.parquet", changes[i]);
            assert_string_equal(got, want);
            free(got);
        }
        free(before);
        before = want;
    }
    free(before);
}

/* What is kept of a table is the hash of the whole file, of which only a part is read. */
static void test_hash(void **state) {
    (void)state;
    struct err err = {{0}};
    char hex[SHA256_HEX_ROOM], *path = path_of("only.PARQUET");
    copy_golden("zstd", ".parquet", "only.PARQUET");
    struct job job = job_for("only.PARQUET");
    with_text(&job);
    run_well(&job);
    struct token_file *file = token_file_open(job.output, &err);
    int64_t size;
    int fd = file_open_read(path, &size, &err);
    close(fd);
    assert_int_equal(file_sha256(path, size, hex, &err), 0);
    assert_string_equal(token_file_source(file, 0)->sha256, hex);
    token_file_close(file);
    release(&job);
    free(path);
}

/* A folder of tables, and lines of JSON beside them. */
static void test_folder_of_tables(void **state) {
    (void)state;
    char *path = path_of("many");
    assert_int_equal(mkdir(path, 0700), 0);
    copy_golden("zstd", ".parquet", "many/1.parquet");
    copy_golden("brotli", ".parquet", "many/2.parquet");
    copy_golden("records", ".jsonl", "many/3.jsonl");
    struct job job = job_for("many");
    with_text(&job);
    job.config.deduplicate = false;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 3 * (NUM_ROWS - 1));
    release(&job);
    free(path);
}

/* --- what is refused --- */

static void test_refused(void **state) {
    (void)state;
    copy_golden("zstd", ".parquet", "t.parquet");
    struct job job = job_for("t.parquet");
    fails(&job, "t.parquet' row 3 of row group 2: field 'text' is null", "on_bad_line 'skip'");
    static char wrong[] = "txt", words[] = "words", id[] = "id", none[] = "etat";
    job = job_for("t.parquet");
    job.source.field = wrong;
    fails(&job, "t.parquet': no field 'txt', there is 'text', 'id', 'words'",
          "for conversations set the source's chat to true");
    job = job_for("t.parquet");
    job.source.field = words;
    fails(&job, "t.parquet': field 'words' is a list", "expected a string");
    job = job_for("t.parquet");
    job.source.field = id;
    fails(&job, "field 'id' is a number", "expected a string");
    struct prepare_word value = {none};
    struct prepare_filter filter = {none, &value, 1};
    job = job_for("t.parquet");
    job.source.where = &filter;
    job.source.num_filters = 1;
    fails(&job, "the source's where: no field 'etat'", "'kind'");
    job = job_for("t.parquet");
    job.source.encoding = ENCODING_LATIN1;
    fails(&job, "t.parquet'", "leave the source's encoding out");
    write_text("lines.parquet", "{\"text\": \"a\"}\n");
    job = job_for("lines.parquet");
    fails(&job, "lines.parquet': it is not a Parquet table", "set the source's format");
    write_bytes("page.parquet", "%PDF-1.7\nabc\0\1\2\3\4\5\6", 19);
    job = job_for("page.parquet");
    fails(&job, "it is not a Parquet table but a PDF", "pdftotext");
    write_bytes("closed.parquet", "PAR1....\0\0\0\0PARE", 16);
    job = job_for("closed.parquet");
    fails(&job, "closed.parquet': it is an encrypted Parquet table", "decrypt it");
    copy_golden("zstd", ".parquet", "t.data");
    job = job_for("t.data");
    fails(&job, "t.data' is a Parquet table", "set the source's format to parquet");
    job = job_for("t.data");
    job.source.format = SOURCE_PARQUET;
    with_text(&job);
    run_well(&job);
    release(&job);
}

/* A footer of a few bytes for each row group would take memory many times its size. */
static void test_many_chunks(void **state) {
    (void)state;
    /* a root of one column "a", and row groups of one chunk that says nothing and no rows */
    static const unsigned char schema[] = {0x29, 0x2C, 0x48, 1, 'r', 0x15, 2, 0, 0x15, 12, 0x38, 1, 'a', 0};
    static const unsigned char group[] = {0x19, 0x1C, 0, 0x26, 0, 0};
    enum { MANY = (1 << 22) + 1 };
    for (int i = 0; i < 2; i++) { /* the control: one less */
        struct text file = {0};
        uint32_t count = MANY - (uint32_t)i;
        text_append(&file, "PAR1", 4);
        text_append(&file, schema, sizeof schema);
        text_append(&file, "\x29\xFC", 2);
        for (uint32_t left = count; left > 0; left >>= 7)
            text_append(&file, &(unsigned char){(left & 0x7F) | (left > 0x7F ? 0x80 : 0)}, 1);
        for (uint32_t k = 0; k < count; k++)
            text_append(&file, group, sizeof group);
        text_append(&file, "", 1);
        uint32_t length = (uint32_t)file.length_bytes - 4;
        text_append(&file, &length, sizeof length);
        text_append(&file, "PAR1", 4);
        write_bytes("many.parquet", file.bytes, file.length_bytes);
        text_release(&file);
        struct err err = {{0}};
        char *path = path_of("many.parquet");
        struct table *table = table_open(path, &err);
        if (i == 0 &&
            (table ||
             !strstr(err.text, "many.parquet': the footer of this Parquet table is damaged: more than")))
            fail_msg("%s", table ? "it was read" : err.text);
        if (i == 1 && !table)
            fail_msg("%s", err.text);
        table_close(table);
        unlink(path);
        free(path);
    }
}

/* check_answer - records, or an error that names the file. */
static int check_answer(const char *path) {
    struct err err = {{0}};
    json_t *got = records_of(path, NULL, &err);
    if (!got && (!strstr(err.text, path) || strchr(err.text, '\n')))
        fail_msg("no place, or several lines: %s", err.text);
    json_decref(got);
    return got ? 0 : 1;
}

/* Files that were cut anywhere are refused; those with one byte changed are refused or read, with a checksum of their own
 * nowhere. */
static void test_damage(void **state) {
    (void)state;
    char *path = path_of("hurt.parquet");
    for (int i = 0; i < NUM_NAMES; i++) {
        size_t length;
        int num_refused = 0;
        char *bytes = read_golden(NAMES[i], ".parquet", &length);
        for (size_t cut = 0; cut < length; cut += 37) {
            write_bytes("hurt.parquet", bytes, cut);
            assert_int_equal(check_answer(path), 1);
        }
        for (size_t at = 0; at < length; at += 5) {
            bytes[at] = (char)(bytes[at] ^ (at % 2 ? 0x81 : 0x7F));
            write_bytes("hurt.parquet", bytes, length);
            num_refused += check_answer(path);
            bytes[at] = (char)(bytes[at] ^ (at % 2 ? 0x81 : 0x7F));
        }
        assert_true(num_refused > (int)length / 40);
        free(bytes);
    }
    free(path);
}

/* The column that nobody asks for is full of damage. */
static void test_unread_column(void **state) {
    (void)state;
    struct err err = {{0}};
    size_t length;
    char *bytes = read_golden("plain", ".parquet", &length), *path = path_of("beside.parquet");
    int num_hurt = 0;
    for (size_t at = 8; at + 10 < length; at++)
        if (memcmp(bytes + at, "\xC3\xA0 c\xC3\xB4t\xC3\xA9", 8) == 0) {
            memset(bytes + at - 8, 0xFF, 4); /* before its length */
            memset(bytes + at - 4, 0xFF, 4);
            num_hurt++;
        }
    assert_true(num_hurt > 0);
    write_bytes("beside.parquet", bytes, length);
    json_t *got = records_of(path, "messages", &err);
    assert_non_null(got);
    json_decref(got);
    assert_null(records_of(path, "beside", &err));
    if (!strstr(err.text, "beside.parquet' row ") || !strstr(err.text, "of row group 1, column 'beside'"))
        fail_msg("%s", err.text);
    free(bytes);
    free(path);
}

/* --- values --- */

static void check_moment(int64_t count, int64_t per_second, enum parquet_zone zone, const char *want) {
    struct text text = {0};
    value_append_moment(count, per_second, zone, &text);
    text_append(&text, "", 1);
    assert_string_equal(text.bytes, want);
    text_release(&text);
}

/* What Python's isoformat() gives; it has no nanoseconds, which numpy writes so. */
static void test_moments(void **state) {
    (void)state;
    check_moment(0, 1000, PARQUET_LOCAL, "1970-01-01T00:00:00");
    check_moment(-1, 1000, PARQUET_UTC, "1969-12-31T23:59:59.999000+00:00");
    check_moment(951782400000000, 1000000, PARQUET_LOCAL, "2000-02-29T00:00:00");
    check_moment(951868799000001, 1000000, PARQUET_LOCAL, "2000-02-29T23:59:59.000001");
    check_moment(1000, 1000000000, PARQUET_LOCAL, "1970-01-01T00:00:00.000001");
    check_moment(-1, 1000000000, PARQUET_LOCAL, "1969-12-31T23:59:59.999999999");
    check_moment(INT64_MIN, 1000000000, PARQUET_LOCAL, "1677-09-21T00:12:43.145224192");
}

/* --- packed numbers: the examples of Encodings.md --- */

static void test_bits(void **state) {
    (void)state;
    static const unsigned char packed[] = {3, 0x88, 0xC6, 0xFA}, repeated[] = {10, 7};
    struct runs runs;
    uint32_t value;
    runs_start(&runs, (struct bytes){packed, packed + 4}, 3);
    for (uint32_t want = 0; want < 8; want++) {
        assert_true(runs_next(&runs, &value));
        assert_int_equal(value, want);
    }
    assert_false(runs_next(&runs, &value));
    runs_start(&runs, (struct bytes){repeated, repeated + 2}, 3);
    for (int i = 0; i < 5; i++) {
        assert_true(runs_next(&runs, &value));
        assert_int_equal(value, 7);
    }
    assert_false(runs_next(&runs, &value));
    static const unsigned char example[] = {8, 1, 8, 14, 3, 2, 0xC0, 0x3F, 99};
    static const int64_t wants[] = {7, 5, 3, 1, 2, 3, 4, 5};
    struct deltas deltas;
    int64_t number;
    assert_true(deltas_start(&deltas, (struct bytes){example, example + 9}));
    assert_ptr_equal(deltas_end(&deltas), example + 8);
    for (int i = 0; i < 8; i++) {
        assert_true(deltas_next(&deltas, &number));
        assert_int_equal(number, wants[i]);
    }
    assert_false(deltas_next(&deltas, &number));
    assert_true(deltas_start(&deltas, (struct bytes){example, example + 7})); /* the control: cut */
    assert_null(deltas_end(&deltas));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),       cmocka_unit_test(test_sources),
        cmocka_unit_test(test_hash),          cmocka_unit_test(test_folder_of_tables),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_damage),
        cmocka_unit_test(test_unread_column), cmocka_unit_test(test_many_chunks),
        cmocka_unit_test(test_moments),       cmocka_unit_test(test_bits)};
    folder = test_folder("parquet");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
