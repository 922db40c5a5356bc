/* test_loader_pairs.c - files of pairs: the two documents of a pair are always in one sample, each pair once an epoch, as a
 * pure function of (seed, g); long ones are left out together; what a reference model says comes with them.
 * Token ids say where they come from: document * 2^8 + place. */
#include <stdlib.h>
#include <string.h>

#include "data/tokens/loader.h"
#include "kernels/rng.h"
#include "tests/check.h"

enum { T = 64, NUM_PAIRS = 83, MAX_LENGTH = 40, VOCAB = 1 << 16, LONG_PAIR = 17 };

static char *folder;

/* length_of - pairs of all lengths that fit; one is a token too long. */
static int64_t length_of(int64_t document) {
    if (document / 2 == LONG_PAIR)
        return document % 2 ? T - 20 : 21;
    return 1 + (int64_t)rng_below(3, rng_stream(RNG_TEST, 5), (uint64_t)document, T / 2);
}

static char *write_pairs(const char *name, enum token_side first, enum token_side second) {
    struct err err = {{0}};
    char *path = xasprintf("%s/%s", folder, name);
    struct token_writer *writer = token_writer_create(path, "same", VOCAB, &err);
    int32_t tokens[T];
    token_writer_add_source(writer, "a", NULL, NULL);
    for (int64_t d = 0; d < 2 * NUM_PAIRS; d++) {
        for (int64_t i = 0; i < length_of(d); i++)
            tokens[i] = (int32_t)(d << 8 | i);
        assert_int_equal(token_writer_append(writer, 0, tokens, NULL, length_of(d), &err), 0);
        if (first != SIDE_PLAIN)
            assert_int_equal(token_writer_append_side(writer, d % 2 ? second : first, &err), 0);
    }
    assert_int_equal(token_writer_finish(writer, &err), 0);
    return path;
}

static struct loader_config config_for(const struct loader_file *files, int num_files) {
    return (struct loader_config){.files = files,
                                  .num_files = num_files,
                                  .sequence_tokens = T,
                                  .seed = 4,
                                  .packing = PACKING_WHOLE,
                                  .long_documents = LONG_SKIP,
                                  .vocab_size = VOCAB};
}

static struct loader *open_pairs(int64_t seed) {
    struct err err = {{0}};
    char *path = write_pairs("pairs.h5", SIDE_CHOSEN, SIDE_REJECTED);
    struct loader_file file = {path, 1};
    struct loader_config config = config_for(&file, 1);
    config.seed = seed;
    struct loader *loader = loader_open(&config, &err);
    if (!loader)
        fail_msg("%s", err.text);
    free(path);
    return loader;
}

/* check_sample - its documents are whole pairs, in order, and their rows hold their tokens; counts what was seen. */
static void check_sample(const struct sample *s, int *seen) {
    int64_t row = 0;
    assert_int_equal(s->num_documents % 2, 0);
    for (int64_t i = 0; i < s->num_documents; i++) {
        const struct sample_document *d = &s->documents[i];
        assert_int_equal(d->first_row, row);
        assert_int_equal(d->end_row - d->first_row, length_of(d->document));
        assert_int_equal(d->side, i % 2 ? SIDE_REJECTED : SIDE_CHOSEN);
        assert_int_equal(d->document % 2, i % 2);
        if (i % 2)
            assert_int_equal(d->document, d[-1].document + 1);
        for (int64_t r = d->first_row; r < d->end_row; r++) {
            assert_int_equal(s->tokens[r], d->document << 8 | (r - d->first_row));
            assert_int_equal(s->row_start[r], d->first_row);
        }
        assert_true(d->reference == -1.5 * (double)d->document);
        seen[d->document]++;
        row = d->end_row;
    }
    assert_int_equal(s->filled, row);
}

static void set_references(struct loader *loader) {
    double values[2 * NUM_PAIRS];
    for (int d = 0; d < 2 * NUM_PAIRS; d++)
        values[d] = -1.5 * d;
    loader_set_references(loader, 0, values);
}

/* check_once - every pair but the long one, so many times. */
static void check_once(const int *seen, int times) {
    for (int d = 0; d < 2 * NUM_PAIRS; d++)
        assert_int_equal(seen[d], d / 2 == LONG_PAIR ? 0 : times);
}

static void test_epochs(void **state) {
    (void)state;
    struct err err = {{0}};
    struct loader *loader = open_pairs(4);
    struct sample sample;
    int seen[2 * NUM_PAIRS] = {0};
    set_references(loader);
    assert_int_equal(loader_preference(loader), PREFERENCE_PAIRS);
    sample_init(&sample, T);
    int64_t count = loader_epoch_samples(loader, 0);
    for (int64_t g = 0; g < 2 * count; g++) {
        assert_int_equal(loader_sample(loader, g, &sample, &err), 0);
        check_sample(&sample, seen);
        if (g == count - 1)
            check_once(seen, 1);
    }
    check_once(seen, 2);
    sample_release(&sample);
    loader_close(loader);
}

static void test_evaluation(void **state) {
    (void)state;
    struct err err = {{0}};
    struct loader *loader = open_pairs(4);
    struct sample sample;
    int seen[2 * NUM_PAIRS] = {0};
    int64_t last = -1;
    set_references(loader);
    sample_init(&sample, T);
    for (int64_t w = 0; w < loader_num_eval_samples(loader); w++) {
        assert_int_equal(loader_eval_sample(loader, w, &sample, &err), 0);
        check_sample(&sample, seen);
        assert_true(sample.num_documents > 0);
        for (int64_t i = 0; i < sample.num_documents; i++) { /* the file's own order */
            assert_true(sample.documents[i].document > last);
            last = sample.documents[i].document;
        }
    }
    check_once(seen, 1);
    sample_release(&sample);
    loader_close(loader);
}

/* The same (seed, g) gives the same documents whatever was asked before; another seed gives others. */
static void test_pure(void **state) {
    (void)state;
    struct err err = {{0}};
    struct loader *forth = open_pairs(4), *back = open_pairs(4), *other = open_pairs(5);
    struct sample a, b, c;
    int64_t num_other = 0, count = 3 * loader_epoch_samples(forth, 0);
    int64_t *first = xcalloc((size_t)count, sizeof *first);
    sample_init(&a, T), sample_init(&b, T), sample_init(&c, T);
    for (int64_t g = 0; g < count; g++) {
        assert_int_equal(loader_sample(forth, g, &a, &err), 0);
        assert_int_equal(loader_sample(other, g, &c, &err), 0);
        first[g] = a.documents[0].document;
        num_other += c.documents[0].document != first[g];
    }
    for (int64_t g = count; g-- > 0;) {
        assert_int_equal(loader_sample(back, g, &b, &err), 0);
        assert_int_equal(b.documents[0].document, first[g]);
    }
    assert_true(num_other > count / 2);
    sample_release(&a), sample_release(&b), sample_release(&c);
    loader_close(forth), loader_close(back), loader_close(other);
    free(first);
}

static void refuse(const struct loader_config *config, const char *what) {
    struct err err = {{0}};
    struct loader *loader = loader_open(config, &err);
    assert_null(loader);
    if (!strstr(err.text, what))
        fail_msg("expected '%s' in '%s'", what, err.text);
}

static void test_refusals(void **state) {
    (void)state;
    char *pairs = write_pairs("a.h5", SIDE_CHOSEN, SIDE_REJECTED),
         *plain = write_pairs("b.h5", SIDE_PLAIN, SIDE_PLAIN);
    char *labels = write_pairs("c.h5", SIDE_DESIRABLE, SIDE_MISMATCHED);
    struct loader_file files[2] = {{pairs, 1}, {plain, 1}};
    struct loader_config config = config_for(files, 1);
    config.packing = PACKING_STREAM;
    refuse(&config, "set data.packing to whole");
    config = config_for(files, 1);
    config.long_documents = LONG_CUT;
    refuse(&config, "document 34 the longest with 65 tokens; a pair is never cut");
    config.long_documents = LONG_FAIL;
    refuse(&config, "1 of 83 pairs are longer");
    config = config_for(files, 2);
    refuse(&config, "different kinds of documents");
    files[1].path = labels;
    refuse(&config, "different kinds of documents");
    config = config_for(files, 1);
    config.sequence_tokens = 1;
    refuse(&config, "every pair is longer than a sequence");
    free(pairs), free(plain), free(labels);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_pure),
        cmocka_unit_test(test_refusals),
    };
    folder = test_folder("loader_pairs");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return status;
}
