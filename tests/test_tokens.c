/* test_tokens.c - token files: what is written comes back; nothing is left behind; hostile files are refused.
 */
#include <dirent.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/tokens/h5.h"
#include "data/tokens/tokens.h"
#include "tests/check.h"

enum { NUM_DOCUMENTS = 4, NUM_TOKENS = 9 };
static const int32_t TOKENS[NUM_TOKENS] = {5, 6, 7, 1, 65535, 2, 3, 4, 9};
static const uint8_t MASK[NUM_TOKENS] = {1, 1, 1, 1, 0, 1, 0, 1, 1};
static const int64_t STARTS[NUM_DOCUMENTS + 1] = {0, 3, 3, 8, 9}; /* the second document has no tokens */

static char *folder;

/* write_file - four documents of two sources; the mask starts in the middle, with the third document. */
static char *write_file(const char *name, int64_t vocab_size, bool with_mask) {
    struct err err;
    char *path = xasprintf("%s/%s", folder, name);
    struct token_writer *writer = token_writer_create(path, "abc123", vocab_size, &err);
    assert_non_null(writer);
    assert_int_equal(token_writer_add_source(writer, "préfecture", "Licence Ouverte 2.0", "https://x"), 0);
    assert_int_equal(token_writer_add_source(writer, "b", NULL, NULL), 1);
    for (int d = 0; d < NUM_DOCUMENTS; d++)
        assert_int_equal(token_writer_append(writer, d >= 2, TOKENS + STARTS[d],
                                             with_mask && d == 2 ? MASK + STARTS[d] : NULL,
                                             STARTS[d + 1] - STARTS[d], &err),
                         0);
    token_writer_source(writer, 1)->num_duplicates = 12;
    token_writer_source(writer, 1)->num_invalid_utf8 = 13;
    assert_int_equal(token_writer_finish(writer, &err), 0);
    return path;
}

static int count_files(void) {
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void check_contents(const struct token_file *file, bool with_mask) {
    struct err err;
    int32_t tokens[NUM_TOKENS];
    uint8_t mask[NUM_TOKENS];
    assert_int_equal(token_file_read(file, 0, NUM_TOKENS, tokens, mask, &err), 0);
    assert_memory_equal(tokens, TOKENS, sizeof tokens);
    for (int i = 0; i < NUM_TOKENS; i++)
        assert_int_equal(mask[i], with_mask ? MASK[i] : 1);
    assert_int_equal(token_file_read(file, 3, 5, tokens, NULL, &err), 0);
    assert_memory_equal(tokens, TOKENS + 3, 5 * sizeof *tokens);
    assert_memory_not_equal(tokens, TOKENS + 2,
                            5 * sizeof *tokens); /* control: a range one to the left differs */
    assert_int_equal(token_file_read(file, NUM_TOKENS, 0, tokens, mask, &err), 0);
}

static void check_facts(const struct token_file *file) {
    const struct token_source *second = token_file_source(file, 1);
    assert_int_equal(token_file_num_documents(file), NUM_DOCUMENTS);
    assert_int_equal(token_file_num_tokens(file), NUM_TOKENS);
    assert_string_equal(token_file_tokenizer_hash(file), "abc123");
    assert_int_equal(token_file_num_sources(file), 2);
    assert_string_equal(token_file_source(file, 0)->name, "préfecture");
    assert_string_equal(token_file_source(file, 0)->licence, "Licence Ouverte 2.0");
    assert_string_equal(second->licence, "");
    assert_int_equal(token_file_source(file, 0)->num_documents, 2);
    assert_int_equal(second->num_tokens, 6);
    assert_int_equal(second->num_duplicates, 12);
    assert_int_equal(second->num_invalid_utf8, 13);
    assert_int_equal(token_file_document_source(file, 1), 0);
    assert_int_equal(token_file_document_source(file, 3), 1);
    for (int d = 0; d <= NUM_DOCUMENTS; d++)
        assert_int_equal(token_file_offsets(file)[d], STARTS[d]);
}

static void test_round_trip(void **state) {
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        struct err err = {{0}};
        bool is_wide = variant & 1, with_mask = variant & 2;
        int before = count_files();
        char *path = write_file("round.h5", is_wide ? 65537 : 65536, with_mask);
        assert_true(count_files() <= before + 1); /* no side files stay */
        struct token_file *file = token_file_open(path, &err);
        if (!file)
            fail_msg("%s", err.text);
        assert_int_equal(token_file_vocab_size(file), is_wide ? 65537 : 65536);
        assert_int_equal(token_file_has_mask(file), with_mask);
        check_contents(file, with_mask);
        check_facts(file);
        token_file_close(file);
        free(path);
    }
}

/* write_sides - documents of two tokens with these sides. */
static char *write_sides(const uint8_t *sides, int count) {
    struct err err;
    static const int32_t tokens[2] = {1, 2};
    char *path = xasprintf("%s/sides.h5", folder);
    struct token_writer *writer = token_writer_create(path, "abc123", 10, &err);
    assert_non_null(writer);
    token_writer_add_source(writer, "a", NULL, NULL);
    for (int d = 0; d < count; d++) {
        assert_int_equal(token_writer_append(writer, 0, tokens, NULL, 2, &err), 0);
        assert_int_equal(token_writer_append_side(writer, (enum token_side)sides[d], &err), 0);
    }
    assert_int_equal(token_writer_finish(writer, &err), 0);
    return path;
}

static void check_sides(const uint8_t *sides, int count, enum token_preference want) {
    struct err err = {{0}};
    char *path = write_sides(sides, count);
    struct token_file *file = token_file_open(path, &err);
    if (!file)
        fail_msg("%s", err.text);
    assert_int_equal(token_file_preference(file), want);
    for (int d = 0; d < count; d++)
        assert_int_equal(token_file_side(file, d), sides[d]);
    token_file_close(file);
    free(path);
}

static void refuse_sides(const uint8_t *sides, int count) {
    struct err err = {{0}};
    char *path = write_sides(sides, count);
    assert_null(token_file_open(path, &err));
    assert_non_null(strstr(err.text, "makes no pair"));
    free(path);
}

static void test_sides(void **state) {
    (void)state;
    enum {
        C = SIDE_CHOSEN,
        R = SIDE_REJECTED,
        D = SIDE_DESIRABLE,
        U = SIDE_UNDESIRABLE,
        M = SIDE_MISMATCHED
    };
    check_sides((uint8_t[]){C, R, C, R}, 4, PREFERENCE_PAIRS);
    check_sides((uint8_t[]){D, M, U, M}, 4, PREFERENCE_LABELS);
    refuse_sides((uint8_t[]){C, R, C}, 3);
    refuse_sides((uint8_t[]){R, C}, 2);
    refuse_sides((uint8_t[]){C, M}, 2);
    refuse_sides((uint8_t[]){C, R, D, M}, 4);
    refuse_sides((uint8_t[]){SIDE_PLAIN, SIDE_PLAIN}, 2);
    refuse_sides((uint8_t[]){200, 201}, 2);
    struct err err = {{0}}; /* control: a file without sides has plain documents */
    char *path = write_file("plain.h5", 100000, false);
    struct token_file *file = token_file_open(path, &err);
    assert_int_equal(token_file_preference(file), PREFERENCE_NONE);
    assert_int_equal(token_file_side(file, 3), SIDE_PLAIN);
    token_file_close(file);
    free(path);
}

static void test_empty_and_abandoned(void **state) {
    (void)state;
    struct err err;
    char *path = xasprintf("%s/empty.h5", folder);
    int before = count_files();
    struct token_writer *writer = token_writer_create(path, "h", 10, &err);
    assert_int_equal(count_files(), before + 3);
    token_writer_abandon(writer);
    assert_int_equal(count_files(), before);
    writer = token_writer_create(path, "h", 10, &err);
    assert_int_equal(token_writer_finish(writer, &err), 0); /* no source, no document: still a file */
    struct token_file *file = token_file_open(path, &err);
    assert_non_null(file);
    assert_int_equal(token_file_num_documents(file), 0);
    token_file_close(file);
    unlink(path);
    free(path);
    assert_null(token_writer_create("/nonexistent-folder/x.h5", "h", 10, &err));
    assert_non_null(strstr(err.text, "No such file or directory"));
}

/* While a file is written another writer of it is refused, and harms nothing; what a kill left behind is in nobody's way. */
static void test_two_writers(void **state) {
    (void)state;
    struct err err = {{0}};
    int32_t tokens[] = {1, 2, 3};
    char *path = xasprintf("%s/two.h5", folder), *left = xasprintf("%s.partial.tokens", path);
    FILE *stream = fopen(left, "w");
    assert_non_null(stream);
    fputs("cut short", stream);
    fclose(stream);
    struct token_writer *writer = token_writer_create(path, "h", 10, &err);
    assert_non_null(writer);
    assert_int_equal(token_writer_add_source(writer, "a", NULL, NULL), 0);
    assert_int_equal(token_writer_append(writer, 0, tokens, NULL, 3, &err), 0);
    for (int i = 0; i < 2; i++) {
        assert_null(token_writer_create(path, "h", 10, &err));
        assert_non_null(strstr(err.text, "two.h5' is being written by another process"));
    }
    assert_int_equal(token_writer_finish(writer, &err), 0);
    struct token_file *file = token_file_open(path, &err);
    assert_non_null(file);
    assert_int_equal(token_file_num_tokens(file), 3);
    token_file_close(file);
    writer = token_writer_create(path, "h", 10, &err); /* after it */
    assert_non_null(writer);
    token_writer_abandon(writer);
    unlink(path);
    free(path);
    free(left);
}

/* Another process changes a side file between two documents: the second one is long enough that the first is on the disk. */
static void test_changed_meanwhile(void **state) {
    (void)state;
    enum { NUM = 1 << 16 };
    static const off_t lengths[] = {-1, 0, 7, 5 * NUM}; /* -1: left alone, the control */
    static int32_t tokens[NUM];
    char *path = xasprintf("%s/changed.h5", folder), *side = xasprintf("%s.partial.tokens", path);
    for (int i = 0; i < NUM; i++)
        tokens[i] = 1 + i % 9;
    for (size_t c = 0; c < sizeof lengths / sizeof lengths[0]; c++) {
        struct err err = {{0}};
        struct token_writer *writer = token_writer_create(path, "h", 10, &err);
        assert_non_null(writer);
        assert_int_equal(token_writer_add_source(writer, "a", NULL, NULL), 0);
        for (int document = 0; document < 2; document++) {
            assert_int_equal(token_writer_append(writer, 0, tokens, NULL, NUM, &err), 0);
            assert_true(document > 0 || lengths[c] < 0 || truncate(side, lengths[c]) == 0);
        }
        assert_int_equal(token_writer_finish(writer, &err), lengths[c] < 0 ? 0 : -1);
        if (lengths[c] >= 0)
            assert_non_null(strstr(err.text, "another process changed it meanwhile"));
        assert_int_equal(access(path, F_OK), lengths[c] < 0 ? 0 : -1);
        assert_int_equal(access(side, F_OK), -1);
        unlink(path);
    }
    free(path);
    free(side);
}

/* unseal - the file as an older version wrote it: HDF5 cuts what follows its own end. */
static void unseal(const char *path) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    if (H5Aexists(file, "sealed") > 0)
        H5Adelete(file, "sealed");
    H5Fclose(file);
}

/* put - overwrite bytes of a dataset in a file without checksums. */
static void put(const char *path, const char *dataset, int64_t index, uint64_t value) {
    struct err err;
    unseal(path);
    struct h5_dataset place;
    struct h5_file *h5 = h5_open(path, &err);
    assert_int_equal(h5_find(h5, dataset, &place, &err), 0);
    h5_close(h5, NULL);
    int fd = open(path, O_WRONLY);
    size_t width = h5_type_bytes(place.type);
    assert_int_equal(pwrite(fd, &value, width, place.offset_bytes + index * (int64_t)width), (ssize_t)width);
    close(fd);
}

/* refused - opening fails with this in the message. */
static void refused(const char *path, const char *reason) {
    struct err err = {{0}};
    struct token_file *file = token_file_open(path, &err);
    if (file || !strstr(err.text, reason))
        fail_msg("'%s': expected an error with '%s', got '%s'", path, reason, file ? "no error" : err.text);
}

static void test_bad_values(void **state) {
    (void)state;
    struct err err = {{0}};
    int32_t tokens[NUM_TOKENS];
    char *path = write_file("bad.h5", 65536, true);
    put(path, "doc_offsets", 1, 4); /* document 1 now starts at 4 and ends at 3 */
    refused(path, "ends before it starts");
    put(path, "doc_offsets", 1, UINT64_MAX);
    refused(path, "ends before it starts");
    put(path, "doc_offsets", 1, 3);
    put(path, "doc_offsets", NUM_DOCUMENTS, NUM_TOKENS + 1);
    refused(path, "but it holds 9 tokens");
    put(path, "doc_offsets", NUM_DOCUMENTS, NUM_TOKENS);
    put(path, "doc_offsets", 0, 1);
    refused(path, "does not start at token 0");
    put(path, "doc_offsets", 0, 0);
    put(path, "doc_source", 2, 2);
    refused(path, "names source 2 of 2");
    put(path, "doc_source", 2, 1);
    struct token_file *file = token_file_open(path, &err); /* control: mended, it opens */
    assert_non_null(file);
    token_file_close(file);
    free(path);
    path = write_file("id.h5", 65537, false);
    put(path, "tokens", 4, 65537);
    file = token_file_open(path, &err);
    assert_non_null(file);
    assert_int_equal(token_file_read(file, 0, NUM_TOKENS, tokens, NULL, &err), -1);
    assert_non_null(strstr(err.text, "token id 65537 in document 2"));
    assert_int_equal(token_file_read(file, 0, 4, tokens, NULL, &err), 0);
    token_file_close(file);
    free(path);
}

static void test_truncated(void **state) {
    (void)state;
    struct stat facts;
    char *path = write_file("short.h5", 65536, true);
    assert_int_equal(stat(path, &facts), 0);
    for (off_t size = facts.st_size - 1; size >= 0; size -= size > 512 ? 97 : 1) {
        struct err err = {{0}};
        assert_int_equal(truncate(path, size), 0);
        struct token_file *file = token_file_open(path, &err);
        assert_null(file);
        assert_non_null(strstr(err.text, size < 48 ? "is not a token file" : "cut"));
    }
    free(path);
    refused("/nonexistent/file.h5", "No such file or directory");
    refused(folder, "not a regular file but a folder");
}

/* replace - delete a dataset of a good file and put another in its place: type, layout and size of the
 * caller's. */
static char *replace(const char *name, const char *dataset, hid_t type, hsize_t count, bool is_chunked) {
    char *path = write_file(name, 65536, true);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &count, NULL);
    hsize_t chunk = 4;
    H5Adelete(file, "sealed");
    H5Ldelete(file, dataset, H5P_DEFAULT);
    if (is_chunked)
        H5Pset_chunk(list, 1, &chunk);
    H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY);
    H5Dclose(H5Dcreate2(file, dataset, type, space, H5P_DEFAULT, list, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(list);
    H5Fclose(file);
    return path;
}

static void test_bad_structure(void **state) {
    (void)state;
    char *path = replace("a.h5", "tokens", H5T_STD_U16LE, NUM_TOKENS, true);
    refused(path, "chunked");
    free(path);
    path = replace("b.h5", "tokens", H5T_IEEE_F32LE, NUM_TOKENS, false);
    refused(path, "unsigned integers");
    free(path);
    path = replace("c.h5", "tokens", H5T_STD_U16BE, NUM_TOKENS, false);
    refused(path, "little-endian");
    free(path);
    path = replace("d.h5", "tokens", H5T_STD_U64LE, NUM_TOKENS, false);
    refused(path, "2 or 4");
    free(path);
    path = replace("e.h5", "loss_mask", H5T_STD_U8LE, NUM_TOKENS - 1, false);
    refused(path, "one byte for each token");
    free(path);
    path = replace("f.h5", "doc_source", H5T_STD_U32LE, 3, false);
    refused(path, "3 rows for 4 documents");
    free(path);
    path = replace("g.h5", "sources/tokens", H5T_STD_U64LE, 3, false);
    refused(path, "has 3 rows, expected 2");
    free(path);
    path =
        replace("h.h5", "tokens", H5T_STD_U16LE, NUM_TOKENS, false); /* control: a good replacement opens */
    struct err err;
    struct token_file *file = token_file_open(path, &err);
    assert_non_null(file);
    token_file_close(file);
    free(path);
}

static void test_links_and_storage(void **state) {
    (void)state;
    char *path = write_file("links.h5", 65536, false), *other = write_file("other.h5", 65536, false);
    unseal(path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "tokens", H5P_DEFAULT);
    H5Lcreate_external("other.h5", "/tokens", file, "tokens", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    refused(path, "no dataset 'tokens'");
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "tokens", H5P_DEFAULT);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t count = NUM_TOKENS;
    hid_t space = H5Screate_simple(1, &count, NULL);
    H5Pset_external(list, "/etc/hostname", 0, 2 * NUM_TOKENS);
    H5Dclose(H5Dcreate2(file, "tokens", H5T_STD_U16LE, space, H5P_DEFAULT, list, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(list);
    H5Fclose(file);
    refused(path, "stored outside");
    free(path);
    free(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),          cmocka_unit_test(test_sides),
        cmocka_unit_test(test_empty_and_abandoned), cmocka_unit_test(test_two_writers),
        cmocka_unit_test(test_changed_meanwhile),   cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_truncated),           cmocka_unit_test(test_bad_structure),
        cmocka_unit_test(test_links_and_storage),
    };
    folder = test_folder("tokens");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return status;
}
