/* test_loader.c - the order of the data: every token once an epoch, a pure function of (seed, g), shares of
 * the mix. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/prefetch.h"
#include "data/tokens/h5.h"
#include "data/tokens/loader.h"
#include "data/tokens/loader_spread.h"
#include "kernels/rng.h"
#include "tests/loader_fixture.h"

/* check_row - everything that one row of a sample says, against its token. */
static void check_row(const struct sample *s, int64_t i) {
    int file = s->tokens[i] >> 20;
    int64_t document = s->tokens[i] >> 9 & 2047, place = s->tokens[i] & 511, start = s->row_start[i];
    bool has_target = place + 1 < length_of(file, document);
    assert_int_equal(s->targets[i], has_target ? s->tokens[i] + 1 : 0);
    assert_true(s->weights[i] == (has_target && counts_in_loss(file, document, place + 1) ? 1.0f : 0.0f));
    assert_in_range(start, 0, i);
    assert_int_equal(s->positions[i], i - start);
    assert_int_equal(s->tokens[start], s->tokens[i] - (i - start)); /* the same document, without a gap */
    if (start > 0)
        assert_true(s->tokens[start - 1] >> 9 != s->tokens[i] >> 9);
    assert_int_equal(s->sources[i], 2 * file + document % 2); /* numbered through all files */
}

static void check_padding(const struct sample *s) {
    for (int64_t i = s->filled; i < T; i++) {
        assert_true(s->tokens[i] == 0 && s->targets[i] == 0 && s->weights[i] == 0 && s->positions[i] == 0);
        assert_true(s->row_start[i] == i && s->sources[i] == -1);
    }
}

/* count_tokens - add the tokens of samples [first, end) of one file's documents to seen [documents * 512]. */
static void count_tokens(struct loader *loader, int64_t first, int64_t end, int64_t stride, uint8_t *seen) {
    struct err err;
    struct sample s;
    sample_init(&s, T);
    for (int64_t g = first; g < end; g += stride) {
        assert_int_equal(loader_sample(loader, g, &s, &err), 0);
        assert_true(s.filled > 0);
        for (int64_t i = 0; i < s.filled; i++) {
            check_row(&s, i);
            seen[s.tokens[i] & 0xFFFFF]++;
        }
        check_padding(&s);
    }
    sample_release(&s);
}

/* wrong_counts - tokens not seen exactly once; with limit, tokens from there on must not be seen. */
static int64_t wrong_counts(const uint8_t *seen, int64_t limit) {
    int64_t wrong = 0;
    for (int64_t d = 0; d < NUM_DOCUMENTS; d++)
        for (int64_t i = 0; i < 512; i++)
            wrong += seen[d << 9 | i] != (i < length_of(0, d) && i < limit);
    return wrong;
}

static void check_epochs(enum packing packing, int64_t limit) {
    struct loader *loader = open_files(1, NULL, 11, packing);
    uint8_t *seen = xcalloc(1 << 20, 1);
    int64_t n = loader_epoch_samples(loader, 0);
    for (int64_t epoch = 0; epoch < 3; epoch++)
        for (int num_ranks = 1; num_ranks <= 3; num_ranks++) {
            memset(seen, 0, 1 << 20);
            for (int rank = num_ranks - 1; rank >= 0; rank--)
                count_tokens(loader, epoch * n + rank, (epoch + 1) * n, num_ranks, seen);
            assert_int_equal(wrong_counts(seen, limit), 0);
        }
    memset(seen, 0, 1 << 20); /* control: an epoch's length of samples from elsewhere is not an epoch */
    count_tokens(loader, n / 2, n / 2 + n, 1, seen);
    assert_true(wrong_counts(seen, limit) > 0);
    memset(seen, 0, 1 << 20); /* control: one sample too few */
    count_tokens(loader, 0, n - 1, 1, seen);
    assert_true(wrong_counts(seen, limit) > 0);
    free(seen);
    loader_close(loader);
}

static void test_stream_epochs(void **state) {
    (void)state;
    struct loader *loader = open_files(1, NULL, 11, PACKING_STREAM);
    assert_int_equal(loader_num_tokens(loader), total_tokens(0));
    assert_int_equal(loader_epoch_samples(loader, 0), (total_tokens(0) + T - 1) / T);
    assert_int_equal(loader_num_cut_tokens(loader), 0);
    loader_close(loader);
    check_epochs(PACKING_STREAM, 512);
}

static void test_whole_epochs(void **state) {
    (void)state;
    struct err err;
    struct sample_piece *pieces;
    struct loader *loader = open_files(1, NULL, 11, PACKING_WHOLE);
    int64_t cut = 0;
    for (int64_t d = 0; d < NUM_DOCUMENTS; d++)
        cut += length_of(0, d) > T ? length_of(0, d) - T : 0;
    assert_int_equal(loader_num_cut_tokens(loader), cut);
    for (int64_t g = 0; g < loader_epoch_samples(loader, 0); g++) {
        int64_t count = loader_pieces(loader, g, &pieces, &err);
        for (int64_t p = 0; p < count; p++) {
            int64_t whole = length_of(0, pieces[p].document);
            assert_true(pieces[p].first == 0 && pieces[p].count == (whole < T ? whole : T));
        }
        free(pieces);
    }
    loader_close(loader);
    check_epochs(PACKING_WHOLE, T);
}

/* digest - of a sample's content. */
static uint64_t digest(struct loader *loader, int64_t g) {
    struct err err;
    struct sample s;
    uint64_t sum = 0;
    sample_init(&s, T);
    assert_int_equal(loader_sample(loader, g, &s, &err), 0);
    for (int i = 0; i < T; i++)
        sum = sum * 1000003 + (uint64_t)s.tokens[i] * 31 + (uint64_t)s.row_start[i] +
              (uint64_t)s.targets[i] * 17;
    sample_release(&s);
    return sum;
}

static void test_purity(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    const double weights[] = {0.7, 0.2, 0.1};
    uint64_t *in_order = xmalloc(COUNT * sizeof *in_order);
    for (int packing = PACKING_STREAM; packing <= PACKING_WHOLE; packing++) {
        struct loader *a = open_files(3, weights, 5, (enum packing)packing);
        for (int64_t g = 0; g < COUNT; g++)
            in_order[g] = digest(a, g);
        struct loader *b =
            open_files(3, weights, 5, (enum packing)packing); /* a restart, read all over the place */
        for (uint64_t i = 0; i < 500; i++) {
            int64_t g = (int64_t)rng_below(1, rng_stream(RNG_TEST, 3), i, COUNT);
            assert_true(digest(b, g) == in_order[g]);
        }
        for (int64_t g = COUNT / 2; g < COUNT; g++) /* a resume in the middle */
            assert_true(digest(b, g) == in_order[g]);
        struct loader *c = open_files(3, weights, 6, (enum packing)packing); /* control: another seed */
        int same = 0;
        for (int64_t g = 0; g < 200; g++)
            same += digest(c, g) == in_order[g];
        assert_true(same < 20);
        loader_close(a);
        loader_close(b);
        loader_close(c);
    }
    free(in_order);
}

static void test_epochs_differ(void **state) {
    (void)state;
    for (int packing = PACKING_STREAM; packing <= PACKING_WHOLE; packing++) {
        struct loader *loader = open_files(1, NULL, 5, (enum packing)packing);
        int64_t n = loader_epoch_samples(loader, 0), same = 0;
        for (int64_t g = 0; g < n; g++)
            same += digest(loader, g) == digest(loader, n + g);
        assert_true(same < n / 4);
        loader_close(loader);
    }
}

/* worst_stray - largest difference between the samples a file got so far and its share of them. */
static double worst_stray(struct loader *loader, const double *shares, int64_t num_samples) {
    struct err err;
    struct sample_piece *pieces;
    int64_t counts[3] = {0};
    double worst = 0;
    for (int64_t g = 0; g < num_samples; g++) {
        assert_true(loader_pieces(loader, g, &pieces, &err) > 0);
        counts[pieces[0].file]++;
        free(pieces);
        for (int i = 0; i < 3 && (g + 1) % 1024 == 0; i++) {
            double stray = (double)counts[i] - shares[i] * (double)(g + 1);
            worst = stray > worst ? stray : -stray > worst ? -stray : worst;
        }
    }
    return worst;
}

static void test_mixing(void **state) {
    (void)state;
    const double weights[] = {7, 2.9999, 0.0001}, shares[] = {0.7, 0.29999, 0.00001};
    const double wrong[] = {0.705, 0.29499, 0.00001};
    struct loader *loader = open_files(3, weights, 5, PACKING_STREAM);
    assert_true(worst_stray(loader, shares, 300 * 1024) < 3);
    assert_true(worst_stray(loader, wrong, 300 * 1024) > 100); /* control: half a percent off is seen */
    loader_close(loader);
}

/* Each file's samples come in its own order, none left out: its tokens come once in the samples of its first
 * epoch. */
static void test_mixed_epochs(void **state) {
    (void)state;
    const double weights[] = {0.5, 0.3, 0.2};
    struct err err;
    struct sample s;
    struct loader *loader = open_files(3, weights, 9, PACKING_STREAM);
    int64_t left[3], seen[3] = {0};
    sample_init(&s, T);
    for (int i = 0; i < 3; i++)
        left[i] = loader_epoch_samples(loader, i);
    uint8_t *once = xcalloc(3 << 20, 1);
    for (int64_t g = 0; left[0] + left[1] + left[2] > 0; g++) {
        assert_int_equal(loader_sample(loader, g, &s, &err), 0);
        int file = s.tokens[0] >> 20;
        if (left[file] == 0)
            continue;
        left[file]--;
        for (int64_t i = 0; i < s.filled; i++)
            seen[file] += !once[s.tokens[i]]++;
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(seen[i], total_tokens(i));
    free(once);
    sample_release(&s);
    loader_close(loader);
}

static void test_evaluation(void **state) {
    (void)state;
    struct err err;
    struct sample s;
    struct loader *loader = open_files(2, NULL, 5, PACKING_WHOLE);
    int32_t last = -1;
    int64_t num_tokens = 0, num_targets = 0, want_targets = 0;
    sample_init(&s, T);
    for (int64_t w = 0; w < loader_num_eval_samples(loader); w++) {
        assert_int_equal(loader_eval_sample(loader, w, &s, &err), 0);
        for (int64_t i = 0; i < s.filled; i++) {
            check_row(&s, i);
            assert_true(s.tokens[i] > last); /* the files' own order */
            last = s.tokens[i];
            num_targets += s.weights[i] > 0;
        }
        check_padding(&s);
        num_tokens += s.filled;
    }
    for (int file = 0; file < 2; file++)
        for (int64_t d = 0; d < NUM_DOCUMENTS; d++)
            for (int64_t i = 1; i < length_of(file, d); i++)
                want_targets += counts_in_loss(file, d, i);
    assert_int_equal(num_tokens, total_tokens(0) + total_tokens(1));
    assert_int_equal(num_targets, want_targets);
    sample_release(&s);
    loader_close(loader);
}

/* refused - opening these two files fails with all three phrases in the message. */
static void refused(struct loader_file *files, int64_t vocab, const char *a, const char *b, const char *c) {
    struct err err = {{0}};
    struct loader_config config = {
        .files = files, .num_files = 2, .sequence_tokens = T, .packing = PACKING_WHOLE, .vocab_size = vocab};
    assert_null(loader_open(&config, &err));
    if (!strstr(err.text, a) || !strstr(err.text, b) || !strstr(err.text, c))
        fail_msg("expected '%s', '%s' and '%s' in '%s'", a, b, c, err.text);
}

static void test_errors(void **state) {
    (void)state;
    struct err err;
    char *a = write_file("a.h5", 0, VOCAB, "one"), *b = write_file("b.h5", 0, VOCAB, "two");
    char *c = write_file("c.h5", 0, VOCAB + 1, "one"), *d = xasprintf("%s/none.h5", folder);
    token_writer_finish(token_writer_create(d, "one", VOCAB, &err), &err);
    struct loader_file files[2] = {{a, 1}, {b, 1}};
    refused(files, VOCAB, "a.h5", "b.h5", "different tokenizers");
    files[1].path = c;
    refused(files, VOCAB, "c.h5", "8388609", "8388608");
    files[1].path = d;
    refused(files, VOCAB, "none.h5", "holds no tokens", "");
    files[1] = (struct loader_file){a, 0};
    refused(files, VOCAB, "a.h5", "weight 0", "");
    files[1].path = "missing.h5";
    refused(files, VOCAB, "missing.h5", "No such file", "");
    free(a);
    free(b);
    free(c);
    free(d);
}

/* every_third - requests 0, 3, 6, ... below the number at user. */
static int64_t every_third(void *user, int64_t n) {
    return 3 * n < *(int64_t *)user ? 3 * n : -1;
}

static void test_prefetch(void **state) {
    (void)state;
    struct err err;
    struct sample got, want;
    int64_t limit = 300, n = 0;
    struct loader *loader = open_files(1, NULL, 5, PACKING_STREAM);
    sample_init(&got, T);
    sample_init(&want, T);
    struct prefetch *prefetch = prefetch_open(loader, T, 4, every_third, &limit);
    for (; prefetch_next(prefetch, &got, &err) > 0; n++) {
        assert_int_equal(loader_sample(loader, 3 * n, &want, &err), 0);
        assert_memory_equal(got.tokens, want.tokens, T * sizeof *got.tokens);
        assert_memory_equal(got.row_start, want.row_start, T * sizeof *got.row_start);
    }
    assert_int_equal(n, 100);
    assert_int_equal(prefetch_next(prefetch, &got, &err), 0); /* it stays at the end */
    prefetch_close(prefetch);
    for (int taken = 0; taken < 8; taken++) { /* stopped early, the ring full or not */
        prefetch = prefetch_open(loader, T, 2, every_third, &limit);
        for (int i = 0; i < taken; i++)
            assert_int_equal(prefetch_next(prefetch, &got, &err), 1);
        prefetch_close(prefetch);
    }
    sample_release(&got);
    sample_release(&want);
    loader_close(loader);
}

static void test_prefetch_error(void **state) {
    (void)state;
    struct err err = {{0}};
    struct h5_dataset tokens;
    struct sample s;
    int64_t limit = INT64_MAX;
    const uint32_t too_large = VOCAB;
    struct loader *loader = open_files(1, NULL, 5, PACKING_STREAM);
    char *path = xasprintf("%s/file0.h5", folder);
    struct h5_file *h5 = h5_open(path, &err);
    assert_int_equal(h5_find(h5, "tokens", &tokens, &err), 0);
    h5_close(h5, NULL);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, &too_large, 4, tokens.offset_bytes + 4 * 100), 4);
    close(fd);
    sample_init(&s, T);
    struct prefetch *prefetch = prefetch_open(loader, T, 3, every_third, &limit);
    int status = 1;
    for (int i = 0; i < 10000 && status > 0; i++)
        status = prefetch_next(prefetch, &s, &err);
    assert_int_equal(status, -1);
    assert_non_null(strstr(err.text, "token id 8388608 in document"));
    assert_int_equal(prefetch_next(prefetch, &s, &err), -1);
    prefetch_close(prefetch);
    sample_release(&s);
    loader_close(loader);
    free(path);
}

/* test_spread - of a few evaluation samples each source has some, evenly spaced; of all, or of one source, the first ones. */
static void test_spread(void **state) {
    (void)state;
    struct loader *loader = open_files(2, NULL, 3, PACKING_STREAM);
    int64_t all = loader_num_eval_samples(loader), middle = 0;
    for (int64_t count = 4; count < all; count += 7) {
        int64_t *samples = loader_spread(loader, count), of_source[4] = {0};
        assert_non_null(samples);
        for (int64_t i = 0; i < count; i++) {
            struct sample_piece piece = loader_eval_token(loader, samples[i], 0);
            assert_in_range(samples[i], i == 0 ? 0 : samples[i - 1] + 1, all - 1);
            of_source[2 * piece.file + piece.document % 2]++;
            middle += samples[i] > all / 4 && samples[i] < 3 * all / 4;
        }
        for (int s = 0; s < 4; s++)
            assert_true(of_source[s] > 0);
        free(samples);
    }
    assert_true(middle > 0);
    assert_null(loader_spread(loader, all));
    assert_null(loader_spread(loader, 0));
    loader_close(loader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread),         cmocka_unit_test(test_stream_epochs),
        cmocka_unit_test(test_whole_epochs),   cmocka_unit_test(test_purity),
        cmocka_unit_test(test_epochs_differ),  cmocka_unit_test(test_mixing),
        cmocka_unit_test(test_mixed_epochs),   cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_errors),         cmocka_unit_test(test_prefetch),
        cmocka_unit_test(test_prefetch_error),
    };
    folder = test_folder("loader");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return status;
}
