/* test_loader_find.c - which samples a document is a part of, against the tokens that are really read. */
#include "tests/loader_fixture.h"

/* note_read - what one sample really holds, by the tokens that were read: of each document the sample and its part of it.  Tokens
 * of a document follow one another. */
static void note_read(const struct sample *s, int64_t g, struct found_piece *read, int64_t *count) {
    for (int64_t i = 0; i < s->filled; i++) {
        int file = s->tokens[i] >> 20;
        int64_t document = s->tokens[i] >> 9 & 2047, place = s->tokens[i] & 511;
        if (s->row_start[i] == i)
            read[(*count)++] = (struct found_piece){g, {file, document, place, 0}};
        read[*count - 1].piece.count++;
    }
}

static bool same_piece(const struct found_piece *a, const struct found_piece *b) {
    return a->sample == b->sample && a->piece.file == b->piece.file &&
           a->piece.document == b->piece.document && a->piece.first == b->piece.first &&
           a->piece.count == b->piece.count;
}

/* num_wrong - documents of which the loader tells something else than was read. */
static int64_t num_wrong(struct loader *loader, int file, const struct found_piece *read, int64_t num_read,
                         int64_t num_samples) {
    int64_t wrong = 0;
    for (int64_t d = 0; d < NUM_DOCUMENTS; d++) {
        struct found_piece *found = NULL;
        int64_t count = loader_find(loader, file, d, num_samples, &found), n = 0;
        bool same = true;
        for (int64_t i = 0; i < num_read; i++) {
            if (read[i].piece.file != file || read[i].piece.document != d)
                continue;
            same = same && n < count && same_piece(&read[i], &found[n]);
            n++;
        }
        wrong += !same || n != count;
        free(found);
    }
    return wrong;
}

/* check_find - three files, one of which comes next to never; the end lies in the middle of a block and of an epoch. */
static void check_find(enum packing packing) {
    enum { NUM_SAMPLES = 2500 };
    const double weights[] = {3, 1, 1e-12};
    struct loader *loader = open_files(3, weights, 21, packing), *other = open_files(3, weights, 22, packing);
    struct found_piece *read = xcalloc((size_t)NUM_SAMPLES * T, sizeof *read);
    struct err err;
    struct sample s;
    int64_t num_read = 0;
    sample_init(&s, T);
    for (int64_t g = 0; g < NUM_SAMPLES; g++) {
        assert_int_equal(loader_sample(loader, g, &s, &err), 0);
        note_read(&s, g, read, &num_read);
    }
    assert_true(num_read > NUM_SAMPLES);
    for (int file = 0; file < 3; file++)
        assert_int_equal(num_wrong(loader, file, read, num_read, NUM_SAMPLES), 0);
    assert_true(num_wrong(loader, 0, read, num_read, NUM_SAMPLES - 1) > 0); /* what the last one holds */
    assert_true(num_wrong(other, 0, read, num_read, NUM_SAMPLES) > NUM_DOCUMENTS / 2);
    sample_release(&s);
    free(read);
    loader_close(loader);
    loader_close(other);
}

static void test_find(void **state) {
    (void)state;
    check_find(PACKING_STREAM);
    check_find(PACKING_WHOLE);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_find)};
    folder = test_folder("loader_find");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return status;
}
