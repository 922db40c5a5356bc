/* test_tokens_seal.c - checksums of token files: whatever byte of a file is damaged is found, never a crash;
 * files without checksums are read by a child process; the identity of contents. */
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/corpus/json.h"
#include "data/tokens/loader.h"
#include "data/tokens/token_places.h"
#include "data/tokens/tokens.h"
#include "kernels/rng.h"
#include "tests/check.h"

enum { NUM_TOKENS = 64, SEED = 7 };

static char *folder;

/* What write_file is to do otherwise than usual. */
struct variant {
    const char *name, *source_name, *tokenizer_hash;
    int64_t vocab_size, num_tokens;
    int32_t first_token;
    int64_t cut; /* length of the first document */
    bool with_mask, with_sides, with_places;
};
static const struct variant PLAIN = {"plain.h5", "a", "abc", 1000, NUM_TOKENS, 5, 20, true, false, false};

static char *write_file(struct variant v) {
    struct err err;
    char *path = xasprintf("%s/%s", folder, v.name);
    int32_t *tokens = xcalloc((size_t)v.num_tokens, sizeof *tokens);
    uint8_t *mask = xcalloc((size_t)v.num_tokens, 1);
    for (int64_t i = 0; i < v.num_tokens; i++) {
        tokens[i] = (int32_t)rng_below(SEED, 0, (uint64_t)i, 1000);
        mask[i] = v.with_mask ? i % 3 != 0 : 1;
    }
    tokens[0] = v.first_token;
    struct token_writer *writer = token_writer_create(path, v.tokenizer_hash, v.vocab_size, &err);
    assert_non_null(writer);
    token_writer_add_source(writer, v.source_name, "Licence Ouverte 2.0", NULL);
    token_writer_add_source(writer, "b", NULL, NULL);
    for (int d = 0; d < 2; d++) {
        int64_t first = d ? v.cut : 0, count = d ? v.num_tokens - v.cut : v.cut;
        assert_int_equal(token_writer_append(writer, d, tokens + first, mask + first, count, &err), 0);
        if (v.with_sides)
            assert_int_equal(token_writer_append_side(writer, d ? SIDE_REJECTED : SIDE_CHOSEN, &err), 0);
        const struct token_place place = {d ? "b/two words.txt" : "a.jsonl", "line", d ? 0 : 17};
        if (v.with_places)
            assert_int_equal(token_writer_append_place(writer, &place, &err), 0);
    }
    assert_int_equal(token_writer_finish(writer, &err), 0);
    free(tokens);
    free(mask);
    return path;
}

/* unseal - as an older version wrote it. */
static void unseal(const char *path) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Adelete(file, "sealed") >= 0);
    H5Fclose(file);
}

static char *read_whole(const char *path, size_t *length_bytes) {
    char *bytes = file_read_whole(path, 1 << 26, length_bytes, NULL);
    assert_non_null(bytes);
    return bytes;
}

static void write_whole(const char *path, const char *bytes, size_t length_bytes) {
    FILE *file = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, length_bytes, file), length_bytes);
    fclose(file);
}

/* is_found - opening, or verifying what opened, says that the file is not as it was. */
static bool is_found(const char *path) {
    struct err err = {{0}};
    struct token_file *file = token_file_open(path, &err);
    bool found = !file || token_file_verify(file, 0, 1, &err) != 0;
    token_file_close(file);
    if (found)
        assert_true(strlen(err.text) > 20);
    return found;
}

/* check_cuts - of a file that ends too early, which a child process reads as one of before checksums: that is what takes the time. */
static void check_cuts(const char *damaged, const char *bytes, size_t length_bytes,
                       size_t (*next)(size_t cut)) {
    for (size_t cut = 1; cut < length_bytes; cut = next(cut)) {
        write_whole(damaged, bytes, length_bytes - cut);
        if (!is_found(damaged))
            fail_msg("%zu bytes less and nobody said so", cut);
    }
}

static size_t many_cuts(size_t cut) {
    return cut + (cut < 64 ? 1 : 131);
}

/* few_cuts - of a file that has more in it than one with many: its end, where that may lie, and parts of it. */
static size_t few_cuts(size_t cut) {
    return cut * 2;
}

static void check_every_byte(struct variant v, size_t (*next_cut)(size_t cut)) {
    size_t length_bytes;
    char *path = write_file(v), *damaged = xasprintf("%s/damaged.h5", folder);
    char *bytes = read_whole(path, &length_bytes);
    write_whole(damaged, bytes, length_bytes);
    assert_false(is_found(damaged)); /* control: a copy is good */
    for (size_t i = 0; i < length_bytes; i++) {
        char good = bytes[i];
        bytes[i] = (char)(good ^ 1 << rng_below(SEED, 1, i, 8));
        write_whole(damaged, bytes, length_bytes);
        if (!is_found(damaged))
            fail_msg("byte %zu of %zu changed and nobody said so", i, length_bytes);
        bytes[i] = good;
    }
    check_cuts(damaged, bytes, length_bytes, next_cut);
    bytes = xrealloc(bytes, length_bytes + 1);
    bytes[length_bytes] = 0;
    write_whole(damaged, bytes, length_bytes + 1);
    assert_true(is_found(damaged));
    free(bytes);
    free(damaged);
    free(path);
}

static void test_every_byte(void **state) {
    (void)state;
    struct variant pair = PLAIN, placed = PLAIN;
    pair.with_sides = true;
    placed.with_places = true;
    check_every_byte(PLAIN, many_cuts);
    check_every_byte(pair, few_cuts);
    check_every_byte(placed, few_cuts);
}

/* expect_places - what is said of the two documents; NULL: nothing. */
static void expect_places(const char *path, const char *first, const char *second) {
    const char *const wanted[] = {first, second};
    struct err err = {{0}};
    struct token_file *file = token_file_open(path, &err);
    if (!file)
        fail_msg("%s", err.text);
    for (int d = 0; d < 2; d++) {
        char *text = token_place_text(file, d);
        if (wanted[d])
            assert_string_equal(text, wanted[d]);
        else
            assert_null(text);
        free(text);
    }
    token_file_close(file);
}

/* replace - bytes of a file that has no checksums, as another program might have written them. */
static void replace(const char *path, const char *what, const char *with) {
    size_t length_bytes;
    char *bytes = read_whole(path, &length_bytes);
    char *at = memmem(bytes, length_bytes, what, strlen(what));
    assert_non_null(at);
    memcpy(at, with, strlen(with));
    write_whole(path, bytes, length_bytes);
    free(bytes);
}

/* With and without sides, sealed or not; a list that is not as the writer makes it says nothing. */
static void test_places(void **state) {
    (void)state;
    char note[TOKEN_PLACE_ROOM], name[300];
    struct variant v = PLAIN;
    v.name = "placed.h5";
    v.with_places = true;
    for (int i = 0; i < 2; i++) {
        v.with_sides = i;
        char *path = write_file(v);
        expect_places(path, "'a.jsonl' line 17", "'b/two words.txt'");
        unseal(path);
        expect_places(path, "'a.jsonl' line 17", "'b/two words.txt'");
        replace(path, "1\tline\tb",
                "0\tline\tb"); /* the second begins where the first does: it is not believed */
        expect_places(path, "'a.jsonl' line 17", "'a.jsonl'");
        replace(path, "0\tline\ta", "7\tline\ta");
        expect_places(path, NULL, NULL);
        free(path);
    }
    char *path = write_file(PLAIN);
    expect_places(path, NULL, NULL); /* a file of before */
    free(path);
    assert_string_equal(token_place_note(NULL, note), "");
    assert_string_equal(token_place_note("'a' line 1", note), " ('a' line 1)");
    memset(name, 'x', sizeof name);
    memcpy(name + sizeof name - 9, "' line 5", 9);
    assert_true(strlen(token_place_note(name, note)) < TOKEN_PLACE_ROOM);
    assert_non_null(strstr(note, "x' line 5)")); /* of a long path the end, where the number is */
}

/* A file without checksums: damaged bytes in its structure may crash HDF5, never this process. */
static void test_without_checksums(void **state) {
    (void)state;
    struct err err = {{0}};
    size_t length_bytes;
    struct variant v = PLAIN;
    v.name = "old.h5";
    char *path = write_file(v), *damaged = xasprintf("%s/damaged.h5", folder);
    unseal(path);
    struct token_file *file = token_file_open(path, &err);
    assert_non_null(file);
    assert_false(token_file_has_checksums(file));
    assert_int_equal(token_file_verify(file, 0, 1, &err), -1);
    assert_non_null(strstr(err.text, "holds no checksums"));
    token_file_close(file);
    struct variant pair = v;
    pair.name = "old-pair.h5";
    pair.with_sides = true;
    char *pair_path = write_file(pair);
    unseal(pair_path);
    file = token_file_open(pair_path, &err);
    assert_non_null(file);
    assert_int_equal(token_file_preference(file), PREFERENCE_PAIRS);
    token_file_close(file);
    free(pair_path);
    char *bytes = read_whole(path, &length_bytes);
    const uint64_t num_damages =
        getenv("ATELIER_TEST_FEW_STEPS") ? 100 : 300; /* a process each: slow under sanitizers */
    for (uint64_t k = 0; k < num_damages; k++) {
        char *copy = xmalloc(length_bytes);
        memcpy(copy, bytes, length_bytes);
        for (uint64_t change = 0; change <= k % 8; change++)
            copy[rng_below(SEED, 2, 16 * k + change, length_bytes)] ^=
                (char)(1 + rng_below(SEED, 3, 16 * k + change, 255));
        write_whole(damaged, copy, length_bytes);
        token_file_close(token_file_open(damaged, &err));
        free(copy);
    }
    free(bytes);
    free(damaged);
    free(path);
}

/* The known crash of libhdf5 1.10.8. */
static void test_known_crash(void **state) {
    (void)state;
    struct err err = {{0}};
    const char *path = shared_path("cases/breaking/segv.h5");
    if (!path)
        skip();
    assert_null(token_file_open(path, &err));
    assert_non_null(strstr(err.text, "segv.h5"));
    struct token_file *file = token_file_open(shared_path("cases/breaking/h5-good.h5"), &err);
    assert_non_null(file); /* control */
    token_file_close(file);
}

static void content_hash(const char *path, char hex[TOKEN_CONTENT_ROOM]) {
    struct err err = {{0}};
    struct token_file *file = token_file_open(path, &err);
    if (!file)
        fail_msg("%s", err.text);
    assert_int_equal(token_file_content_hash(file, hex, &err), 0);
    assert_int_equal(strlen(hex), TOKEN_CONTENT_ROOM - 1);
    token_file_close(file);
}

static void test_identity(void **state) {
    (void)state;
    char want[TOKEN_CONTENT_ROOM], got[TOKEN_CONTENT_ROOM];
    struct variant others[6] = {PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN}, same = PLAIN, placed = PLAIN;
    char *path = write_file(PLAIN);
    content_hash(path, want);
    free(path);
    others[0].first_token = 6;
    others[1].cut = 21; /* the same tokens, other documents */
    others[2].with_mask = false;
    others[3].tokenizer_hash = "abd";
    others[4].vocab_size = 1001;
    others[5].num_tokens = NUM_TOKENS - 1;
    for (int i = 0; i < 6; i++) {
        others[i].name = "other.h5";
        path = write_file(others[i]);
        content_hash(path, got);
        assert_string_not_equal(got, want);
        free(path);
    }
    same.name = "same.h5";
    same.source_name = "another name";
    path = write_file(same);
    content_hash(path, got);
    assert_string_equal(got, want);
    unseal(path);
    content_hash(path, got); /* computed, not read */
    assert_string_equal(got, want);
    free(path);
    placed.name = "identity-placed.h5"; /* where documents were read is not part of what training sees */
    placed.with_places = true;
    path = write_file(placed);
    content_hash(path, got);
    assert_string_equal(got, want);
    unseal(path);
    content_hash(path, got);
    assert_string_equal(got, want);
    free(path);
}

/* In a file of many blocks opening looks at some of them, verifying at all, in shares or at once. */
static void test_many_blocks(void **state) {
    (void)state;
    enum { MILLION = 1000 * 1000, SHARES = 3 };
    struct err err = {{0}};
    struct variant v = PLAIN;
    v.name = "large.h5";
    v.num_tokens = 10 * MILLION; /* 20 MB of tokens: 20 blocks */
    char *path = write_file(v);
    struct token_file *file = token_file_open(path, &err);
    assert_non_null(file);
    assert_int_equal(token_file_verify(file, 0, 1, &err), 0);
    token_file_close(file);
    int fd = open(path, O_RDWR);
    char byte;
    int64_t place = 4 * MILLION; /* in the fourth block: not in the sample */
    assert_int_equal(pread(fd, &byte, 1, place), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, place), 1);
    close(fd);
    file = token_file_open(path, &err);
    assert_non_null(file);
    int num_found = 0;
    for (int share = 0; share < SHARES; share++)
        num_found += token_file_verify(file, share, SHARES, &err) != 0;
    assert_int_equal(num_found, 1);
    assert_non_null(strstr(err.text, "of dataset 'tokens'"));
    token_file_close(file);
    struct loader_file files[] = {{path, 1}};
    struct loader_config config = {.files = files, .num_files = 1, .sequence_tokens = 16};
    struct loader *loader = loader_open(&config, &err);
    assert_non_null(loader);
    loader_close(loader);
    config.num_verify_shares = 1;
    assert_null(loader_open(&config, &err));
    unlink(path);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte),  cmocka_unit_test(test_without_checksums),
        cmocka_unit_test(test_known_crash), cmocka_unit_test(test_places),
        cmocka_unit_test(test_identity),    cmocka_unit_test(test_many_blocks),
    };
    folder = test_folder("tokens_seal");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return status;
}
