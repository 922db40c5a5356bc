/* test_parquet_ahead.c - row groups read by several threads: the records, their order and the faults are those of one reader, also of
 * files with a byte changed, and a reading that is left early ends. */
#include <sys/stat.h>

#include "tests/prepare_fixture.h"

#include "data/parquet/ahead.h"

static const char *const NAMES[] = {"plain", "snappy", "gzip", "zstd", "lz4", "brotli", "texts"};
enum { NUM_NAMES = sizeof NAMES / sizeof *NAMES, MAX_BYTES = 1 << 20 };

static bool all(const void *user, struct text_span name) {
    (void)user;
    (void)name;
    return true;
}

/* add - a record, or how it ended, to what was read. */
static void add(struct text *out, struct text_span bytes) {
    text_append(out, bytes.bytes, bytes.length_bytes);
    text_append(out, "\n", 1);
}

static void add_end(struct text *out, int status, const struct err *err) {
    const char *end = status == 0 ? "the end" : err->text;
    add(out, (struct text_span){end, strlen(end)});
}

/* by_one - all records of a table and its end or fault, by one reader. */
static struct text by_one(const char *path, size_t max_bytes) {
    struct text out = {0}, record = {0};
    struct err err;
    struct table *table = table_open(path, &err);
    int status = table ? table_choose(table, all, NULL, &err) : -1;
    while (status >= 0 && (status = table_next(table, max_bytes, &record, &err)) > 0) {
        add(&out, (struct text_span){record.bytes, record.length_bytes});
        record.length_bytes = 0;
    }
    add_end(&out, status, &err);
    text_release(&record);
    table_close(table);
    return out;
}

/* by_several - the same, up to `most` records. */
static struct text by_several(const char *path, size_t max_bytes, int num_readers, int most) {
    struct text out = {0};
    struct text_span record;
    struct err err;
    int status = 1;
    struct ahead *ahead = ahead_start((struct ahead_wish){path, all, NULL, max_bytes}, num_readers, &err);
    assert_non_null(ahead);
    while (most-- > 0 && (status = ahead_next(ahead, &record, &err)) > 0)
        add(&out, record);
    if (status <= 0)
        add_end(&out, status, &err);
    ahead_stop(ahead);
    return out;
}

static bool is_same(struct text *a, struct text *b) {
    bool same = a->length_bytes == b->length_bytes && memcmp(a->bytes, b->bytes, a->length_bytes) == 0;
    text_release(a);
    text_release(b);
    return same;
}

/* check - on one to four threads.  Returns how many bytes one reader gave. */
static size_t check(const char *path, size_t max_bytes) {
    size_t length = 0;
    for (int readers = 1; readers <= 4; readers++) {
        struct text one = by_one(path, max_bytes), several = by_several(path, max_bytes, readers, 1 << 30);
        length = one.length_bytes;
        if (!is_same(&one, &several))
            fail_msg("'%s' by %d readers is another table", path, readers);
    }
    return length;
}

static char *golden(const char *name) {
    return xasprintf("tests/golden/parquet/%s.parquet", name);
}

static void test_whole(void **state) {
    (void)state;
    for (int i = 0; i < NUM_NAMES; i++) {
        char *path = golden(NAMES[i]);
        assert_true(check(path, MAX_BYTES) > 100);
        check(path, 60); /* a record is too long: told after those before it */
        free(path);
    }
    char *absent = golden("absent");
    check(absent, MAX_BYTES);
    free(absent);
}

/* A byte changed, or the file cut: whatever one reader says of it.  The control: not all of them are alike. */
static void test_damaged(void **state) {
    enum { CHANGES = 150 };
    (void)state;
    char *path = golden("zstd"), *damaged = path_of("damaged.parquet");
    FILE *file = fopen(path, "rb");
    char *bytes = xmalloc(MAX_BYTES);
    size_t length = fread(bytes, 1, MAX_BYTES, file), least = SIZE_MAX, largest = 0;
    fclose(file);
    for (size_t i = 0; i < CHANGES; i++) {
        size_t at = i * (length - 1) / CHANGES;
        bytes[at] ^= 0x15;
        write_bytes("damaged.parquet", bytes, length);
        size_t given = check(damaged, MAX_BYTES);
        least = given < least ? given : least;
        largest = given > largest ? given : largest;
        bytes[at] ^= 0x15;
    }
    assert_true(least < largest);
    free(bytes);
    free(damaged);
    free(path);
}

static void test_left_early(void **state) {
    (void)state;
    char *path = golden("zstd");
    for (int most = 0; most < 5; most++) {
        struct text some = by_several(path, MAX_BYTES, 3, most), whole = by_one(path, MAX_BYTES);
        assert_true(some.length_bytes < whole.length_bytes);
        assert_memory_equal(some.bytes ? some.bytes : "", whole.bytes, some.length_bytes);
        text_release(&some);
        text_release(&whole);
    }
    free(path);
}

/* With as many threads as make prepare read ahead the token file is that of one. */
static void test_prepared(void **state) {
    enum { THREADS = 16 };
    static char field[] = "text";
    (void)state;
    struct job one = job_for("t.parquet"), several = job_for("t.parquet");
    char *path = golden("zstd");
    FILE *file = fopen(path, "rb");
    char *bytes = xmalloc(MAX_BYTES);
    write_bytes("t.parquet", bytes, fread(bytes, 1, MAX_BYTES, file));
    fclose(file);
    one.source.field = several.source.field = field;
    one.config.on_bad_line = several.config.on_bad_line = BAD_LINE_SKIP;
    one.config.num_threads = 1;
    several.config.num_threads = THREADS;
    run_well(&one);
    char *first = document_text(one.output, 0),
         *last = document_text(one.output, one.totals.num_documents - 1);
    int64_t num_tokens = one.totals.num_tokens, num_documents = one.totals.num_documents;
    release(&one);
    run_well(&several);
    assert_int_equal(several.totals.num_documents, num_documents);
    assert_int_equal(several.totals.num_tokens, num_tokens);
    check_document(several.output, 0, first);
    check_document(several.output, num_documents - 1, last);
    free(first);
    free(last);
    free(bytes);
    free(path);
    release(&several);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_left_early),
        cmocka_unit_test(test_prepared),
    };
    folder = test_folder("parquet_ahead");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
