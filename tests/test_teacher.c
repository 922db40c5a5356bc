/* test_teacher.c - the file of what a teacher says: what was written is read, row by row; a file that was begun is gone on with, and
 * one that is there is never replaced; of the loader every row has what was said of its own target, whatever the packing.  Refused:
 * other facts, a file that is cut or too long, a header that is none or out of range, rows that are missing, damaged, in another
 * place, or that say what no model can although their checksums are right. */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "data/corpus/json.h"
#include "data/file.h"
#include "data/tokens/loader.h"
#include "data/tokens/teacher.h"
#include "kernels/rng.h"
#include "tests/check.h"

enum { TOKENS = 200, VOCABULARY = 50, K = 4, ROW = 8 * K + 4, HEADER = 4096, T = 24 };

static char *folder;

static const char *in_folder(const char *name) {
    static char paths[4][160];
    static int next;
    char *path = paths[next = (next + 1) % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static struct teacher_facts facts_of(const char *content) {
    struct teacher_facts facts = {.vocab_size = VOCABULARY,
                                  .top_k = K,
                                  .sequence_tokens = 64,
                                  .num_tokens = TOKENS,
                                  .temperature = 1.5};
    snprintf(facts.content, sizeof facts.content, "%s", content);
    snprintf(facts.name, sizeof facts.name, "a model");
    snprintf(facts.model, sizeof facts.model, "%064d", 7);
    snprintf(facts.tokenizer_hash, sizeof facts.tokenizer_hash, "none");
    return facts;
}

/* said - of token j; the first id tells which token it is of. */
static void said(int64_t token, int32_t ids[K], float logps[K]) {
    for (int j = 0; j < K; j++) {
        ids[j] = (int32_t)((token + 11 * j) % VOCABULARY);
        logps[j] = -1.5f - (float)j - 0.001f * (float)(token % 10);
    }
}

static void put(struct teacher_writer *writer, int64_t first, int64_t end) {
    struct err err = {""};
    for (int64_t token = first; token < end; token++) {
        int32_t ids[K];
        float logps[K];
        said(token, ids, logps);
        if (teacher_writer_put(writer, token, ids, logps, &err) != 0)
            fail_msg("%s", err.text);
    }
}

static void write_whole(const char *path, const char *content) {
    struct err err = {""};
    struct teacher_facts facts = facts_of(content);
    unlink(path);
    struct teacher_writer *writer = teacher_writer_open(path, &facts, &err);
    if (!writer)
        fail_msg("%s", err.text);
    put(writer, 0, TOKENS);
    assert_int_equal(teacher_writer_finish(writer, &err), 0);
}

static struct teacher *open_it(const char *path) {
    struct err err = {""};
    struct teacher *teacher = teacher_open(path, &err);
    if (!teacher)
        fail_msg("%s", err.text);
    return teacher;
}

static void test_round_trip(void **state) {
    (void)state;
    struct err err = {""};
    write_whole(in_folder("whole"), "abc");
    struct teacher *teacher = open_it(in_folder("whole"));
    struct teacher_facts want = facts_of("abc");
    assert_memory_equal(teacher_facts(teacher), &want, sizeof want);
    for (int64_t k = 1; k <= K; k++) {
        uint8_t wanted[20];
        int32_t ids[20 * K], row_ids[K];
        float logps[20 * K], row_logps[K];
        for (int i = 0; i < 20; i++)
            wanted[i] = i % 3 != 1;
        struct teacher_range range = {180, 20, wanted};
        assert_int_equal(teacher_read(teacher, &range, k, ids, logps, &err), 0);
        for (int i = 0; i < 20; i++) {
            said(180 + i, row_ids, row_logps);
            for (int j = 0; j < k; j++) {
                assert_int_equal(ids[i * k + j], wanted[i] ? row_ids[j] : 0);
                assert_true(logps[i * k + j] <= row_logps[j] * wanted[i] &&
                            logps[i * k + j] >= row_logps[j] * wanted[i]);
            }
        }
    }
    teacher_close(teacher);
}

static void test_goes_on(void **state) {
    (void)state;
    struct err err = {""};
    uint8_t all[TOKENS];
    memset(all, 1, sizeof all);
    struct teacher_facts facts = facts_of("abc"), other = facts_of("abd");
    struct teacher_writer *writer = teacher_writer_open(in_folder("parts"), &facts, &err);
    assert_non_null(writer);
    put(writer, 0, 90);
    teacher_writer_close(writer);
    assert_null(teacher_open(in_folder("parts"), &err)); /* not under its own name */
    assert_null(teacher_open(in_folder("parts.partial"), &err));
    assert_non_null(strstr(err.text, "was begun and is not finished: go on with 'atelier eval MODEL"));
    assert_non_null(strstr(err.text, "/parts --top-k 4 --temperature 1.5 --sequence-tokens 64'"));
    assert_int_equal(link(in_folder("parts.partial"), in_folder("renamed")), 0);
    assert_null(teacher_open(in_folder("renamed"), &err));
    assert_non_null(strstr(err.text, "give it back the ending .partial"));
    assert_null(teacher_writer_open(in_folder("renamed"), &facts, &err));
    assert_non_null(strstr(err.text, "was begun and is not finished"));
    assert_null(teacher_writer_open(in_folder("parts"), &other, &err));
    assert_non_null(strstr(err.text, "was begun by another model, or with other tokens or options"));
    writer = teacher_writer_open(in_folder("parts"), &facts, &err);
    assert_non_null(writer);
    struct teacher_range first = {0, 90, all}, more = {0, 91, all};
    assert_int_equal(teacher_writer_has(writer, &first, &err), 1);
    assert_int_equal(teacher_writer_has(writer, &more, &err), 0);
    all[90] = 0;
    assert_int_equal(teacher_writer_has(writer, &more, &err), 1);
    put(writer, 90, TOKENS);
    assert_int_equal(teacher_writer_finish(writer, &err), 0);
    /* Ended between its last write and its name: the header says whole already. */
    assert_int_equal(rename(in_folder("parts"), in_folder("parts.partial")), 0);
    writer = teacher_writer_open(in_folder("parts"), &facts, &err);
    assert_non_null(writer);
    assert_null(teacher_open(in_folder("parts.partial"), &err));
    assert_int_equal(teacher_writer_finish(writer, &err), 0);
    write_whole(in_folder("whole"), "abc");
    size_t a_bytes, b_bytes;
    char *a = file_read_whole(in_folder("parts"), 1 << 20, &a_bytes, &err),
         *b = file_read_whole(in_folder("whole"), 1 << 20, &b_bytes, &err);
    assert_true(a && b);
    assert_true(a_bytes == b_bytes && a_bytes == HEADER + TOKENS * ROW && memcmp(a, b, a_bytes) == 0);
    free(a), free(b);
}

static void write_file(const char *path, const char *text) {
    FILE *out = fopen(path, "w");
    assert_true(out && fputs(text, out) >= 0 && fclose(out) == 0);
}

/* refuses_output - before anything is read, and when it would be written; the file keeps its bytes. */
static void refuses_output(const char *path, const char *reason) {
    struct err err = {""};
    struct teacher_facts facts = facts_of("abc");
    assert_int_equal(teacher_check_output(path, in_folder("tokens"), &err), -1);
    if (!strstr(err.text, reason))
        fail_msg("'%s' should contain '%s'", err.text, reason);
    assert_null(teacher_writer_open(path, &facts, &err));
}

/* differs - a finished file is not the one of these facts. */
static void differs(const char *path, struct teacher_facts facts, const char *reason) {
    struct err err = {""};
    assert_null(teacher_writer_open(path, &facts, &err));
    if (!strstr(err.text, reason))
        fail_msg("'%s' should contain '%s'", err.text, reason);
}

/* test_output - what is there already is never replaced: the very file is done, another one is refused. */
static void test_output(void **state) {
    (void)state;
    struct err err = {""};
    uint8_t all[TOKENS];
    memset(all, 1, sizeof all);
    struct teacher_range range = {0, TOKENS, all};
    struct teacher_facts facts = facts_of("abc"), other = facts;
    write_file(in_folder("tokens"), "tokens");
    write_file(in_folder("precious"), "precious");
    assert_int_equal(symlink("nowhere", in_folder("link")), 0);
    assert_int_equal(symlink("tokens", in_folder("alias")), 0);
    assert_int_equal(teacher_check_output("", in_folder("tokens"), &err), -1);
    assert_non_null(strstr(err.text, "has no name"));
    refuses_output(in_folder("tokens"), "is the token file itself");
    refuses_output(in_folder("alias"), "is the token file itself");
    refuses_output(in_folder("precious"), "the output must not exist");
    refuses_output(in_folder("link"), "the output must not exist");
    assert_int_equal(teacher_check_output(in_folder("new"), in_folder("tokens"), &err), 0);
    write_whole(in_folder("done"), "abc");
    assert_int_equal(teacher_check_output(in_folder("done"), in_folder("tokens"), &err), 0);
    struct teacher_writer *writer = teacher_writer_open(in_folder("done"), &facts, &err);
    assert_non_null(writer);
    assert_true(teacher_writer_is_done(writer));
    assert_int_equal(teacher_writer_has(writer, &range, &err), 1);
    assert_int_equal(teacher_writer_finish(writer, &err), 0);
    differs(in_folder("done"), facts_of("abd"), "made of other tokens");
    other.model[0] = '1';
    differs(in_folder("done"), other, "made by another model");
    other = facts, other.top_k--;
    differs(in_folder("done"), other, "made with another --top-k");
    other = facts, other.sequence_tokens++;
    differs(in_folder("done"), other, "made with another --sequence-tokens");
    other = facts, other.temperature = 1;
    differs(in_folder("done"), other, "made with another --temperature");
    writer = teacher_writer_open(in_folder("late"), &facts, &err);
    assert_non_null(writer);
    assert_false(teacher_writer_is_done(writer));
    differs(in_folder("late"), facts, "late.partial' is being written by another process");
    write_file(in_folder("late"), "precious"); /* by something else, while this one is being made */
    assert_int_equal(teacher_writer_finish(writer, &err), -1);
    assert_non_null(strstr(err.text, "was made by something else meanwhile"));
    const char *kept[] = {"precious", "late"};
    for (int i = 0; i < 2; i++) {
        size_t length_bytes;
        char *text = file_read_whole(in_folder(kept[i]), 100, &length_bytes, &err);
        assert_non_null(text);
        assert_string_equal(text, "precious");
        free(text);
    }
}

/* changed - a copy of a whole file with other bytes at a place. */
static const char *changed(int64_t at, const void *bytes, size_t count) {
    struct err err = {""};
    write_whole(in_folder("changed"), "abc");
    int fd = open(in_folder("changed"), O_RDWR);
    assert_true(fd >= 0 && file_write_at(fd, "changed", bytes, count, at, &err) == 0);
    close(fd);
    return in_folder("changed");
}

/* refuses_row - reading all of it fails. */
static void refuses_row(const char *path, const char *reason) {
    static int32_t ids[TOKENS * K];
    static float logps[TOKENS * K];
    struct err err = {""};
    uint8_t all[TOKENS];
    memset(all, 1, sizeof all);
    struct teacher *teacher = open_it(path);
    struct teacher_range range = {0, TOKENS, all};
    assert_int_equal(teacher_read(teacher, &range, K, ids, logps, &err), -1);
    if (!strstr(err.text, reason))
        fail_msg("'%s' should contain '%s'", err.text, reason);
    all[17] = 0; /* of a row that is not wanted nothing is asked */
    assert_int_equal(teacher_read(teacher, &range, K, ids, logps, &err), 0);
    teacher_close(teacher);
}

/* seal - the checksum of row 17 as its writer would make it. */
static void seal(unsigned char row[ROW], uint64_t token) {
    uint32_t sum = (uint32_t)XXH3_64bits_withSeed(row, ROW - 4, token);
    memcpy(row + ROW - 4, &sum, sizeof sum);
}

static void test_rows(void **state) {
    (void)state;
    const int64_t at = HEADER + 17 * ROW;
    unsigned char row[ROW] = {0};
    int32_t ids[K];
    float logps[K];
    refuses_row(changed(at, row, sizeof row), "has nothing sound for token 17");
    refuses_row(changed(at + 5, "x", 1), "has nothing sound for token 17");
    said(18, ids, logps);
    memcpy(row, ids, sizeof ids), memcpy(row + sizeof ids, logps, sizeof logps);
    seal(row, 18); /* the row of the next token */
    refuses_row(changed(at, row, sizeof row), "has nothing sound for token 17");
    const struct {
        int32_t id;
        float first, second;
    } wrong[] = {{VOCABULARY, -1, -2}, {-1, -1, -2},  {29, -1, -2}, /* twice: the second is 29 */
                 {3, -3, -2},          {3, 0.5f, -2}, {3, -0.1f, -0.2f}, {3, -1, NAN}, {3, INFINITY, -2}};
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        said(18, ids, logps);
        ids[0] = wrong[n].id, logps[0] = wrong[n].first, logps[1] = wrong[n].second;
        memcpy(row, ids, sizeof ids), memcpy(row + sizeof ids, logps, sizeof logps);
        seal(row, 17);
        refuses_row(changed(at, row, sizeof row), "says of token 17 what no model can");
    }
}

static void refuses_file(const char *path, const char *reason) {
    struct err err = {""};
    assert_null(teacher_open(path, &err));
    if (!strstr(err.text, reason) || !strstr(err.text, "is not what 'atelier eval --top-k' writes"))
        fail_msg("'%s' should contain '%s'", err.text, reason);
}

/* header_with - a whole file whose header says something else. */
static const char *header_with(const char *facts) {
    char header[HEADER];
    memset(header, ' ', sizeof header);
    memcpy(header, facts, strlen(facts));
    return changed(0, header, sizeof header);
}

#define HEADER_TEXT(format, vocabulary, k, temperature, tokens)                                              \
    STATE_TEXT(format, vocabulary, k, temperature, tokens, "whole")
#define STATE_TEXT(format, vocabulary, k, temperature, tokens, state)                                        \
    "{\"format\":\"" format                                                                                  \
    "\",\"content\":\"abc\",\"model\":\"m\",\"tokenizer_hash\":\"t\",\"vocab_size\":" vocabulary             \
    ",\"top_k\":" k ",\"temperature\":" temperature ",\"sequence_tokens\":64,\"tokens\":" tokens             \
    ",\"state\":\"" state "\"}"

static void test_headers(void **state) {
    (void)state;
    const struct {
        const char *text, *reason;
    } wrong[] = {
        {HEADER_TEXT("atelier-teacher 2", "50", "4", "1", "200"), "its format is 'atelier-teacher 2'"},
        {HEADER_TEXT("atelier-teacher 1", "50", "0", "1", "200"), "'top_k' is 0, expected 1 to 256"},
        {HEADER_TEXT("atelier-teacher 1", "50", "257", "1", "200"), "'top_k' is 257, expected 1 to 256"},
        {HEADER_TEXT("atelier-teacher 1", "4", "4", "1", "200"),
         "'top_k' is 4, expected less than the vocabulary of 4"},
        {HEADER_TEXT("atelier-teacher 1", "50", "4", "0", "200"), "'temperature' is 0"},
        {HEADER_TEXT("atelier-teacher 1", "50", "4", "1", "201"), "bytes where"},
        {HEADER_TEXT("atelier-teacher 1", "50", "5", "1", "200"), "bytes where"},
        {HEADER_TEXT("atelier-teacher 1", "50", "4", "1", "9223372036854775807"),
         "'tokens' is 9223372036854775807"},
        {HEADER_TEXT("atelier-teacher 1", "50", "4", "1", "-1"), "'tokens' is -1"},
        {STATE_TEXT("atelier-teacher 1", "50", "4", "1", "200", "half"), "'state' is 'half'"},
        {"[1, 2", "its header"},
        {"{\"format\": 3}", "format"}};
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++)
        refuses_file(header_with(wrong[n].text), wrong[n].reason);
    teacher_close(open_it(header_with(HEADER_TEXT("atelier-teacher 1", "50", "4", "1", "200"))));
    refuses_file(changed(HEADER + TOKENS * ROW, "", 1), "bytes where");
    assert_int_equal(truncate(changed(0, "{", 1), HEADER - 1), 0);
    refuses_file(in_folder("changed"), "less than a header");
}

/* write_tokens - documents of many lengths; token i of the file is i modulo the vocabulary; some do not count. */
static void write_tokens(const char *path) {
    struct err err = {""};
    struct token_writer *writer = token_writer_create(path, "none", VOCABULARY, &err);
    int64_t source = token_writer_add_source(writer, "test", "", ""), at = 0;
    for (int d = 0; at < TOKENS; d++) {
        int32_t tokens[60];
        uint8_t mask[60];
        int64_t count = 1 + (d * 13) % 53;
        count = count < TOKENS - at ? count : TOKENS - at;
        for (int64_t i = 0; i < count; i++) {
            tokens[i] = (int32_t)((at + i) % VOCABULARY);
            mask[i] = (at + i) % 7 != 3;
        }
        assert_int_equal(token_writer_append(writer, source, tokens, mask, count, &err), 0);
        at += count;
    }
    assert_int_equal(token_writer_finish(writer, &err), 0);
}

/* check_sample - each row that counts has its target's: the first id is the target here, the others follow from it. */
static int64_t check_sample(const struct sample *sample, int64_t k) {
    int64_t num_checked = 0;
    assert_int_equal(sample->top_k, k);
    for (int64_t i = 0; i < T; i++)
        for (int64_t j = 0; j < k; j++) {
            bool counts = sample->weights[i] > 0;
            int32_t want = counts ? (int32_t)((sample->targets[i] + 11 * j) % VOCABULARY) : 0;
            assert_int_equal(sample->teacher_ids[i * k + j], want);
            assert_true(counts == (sample->teacher_logps[i * k + j] < 0));
            num_checked += counts;
        }
    return num_checked;
}

static void test_loader(void **state) {
    (void)state;
    struct err err = {""};
    write_tokens(in_folder("tokens.h5"));
    write_whole(in_folder("whole"), "abc");
    struct teacher *teacher = open_it(in_folder("whole"));
    for (int packing = PACKING_STREAM; packing <= PACKING_WHOLE; packing++) {
        struct loader_file file = {in_folder("tokens.h5"), 1};
        struct loader_config config = {.files = &file,
                                       .num_files = 1,
                                       .sequence_tokens = T,
                                       .seed = 3,
                                       .packing = (enum packing)packing,
                                       .vocab_size = VOCABULARY};
        struct loader *loader = loader_open(&config, &err);
        struct sample sample;
        int64_t num_checked = 0;
        assert_non_null(loader);
        sample_init(&sample, T);
        for (int k = K; k > 0; k -= 2) { /* the arrays of a sample follow */
            loader_teach(loader, 0, teacher, k);
            for (int64_t g = 0; g < 20; g++) {
                assert_int_equal(loader_sample(loader, g, &sample, &err), 0);
                num_checked += check_sample(&sample, k);
            }
        }
        assert_true(num_checked > 500);
        sample_release(&sample);
        loader_close(loader);
    }
    teacher_close(teacher);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_goes_on),
                                       cmocka_unit_test(test_output),     cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_headers),    cmocka_unit_test(test_loader)};
    folder = test_folder("teacher");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return failed;
}
