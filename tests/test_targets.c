/* test_targets.c - whether there is anything to learn in a token file, and what sequences leave out of it:
 * compared with counts over the documents that the test wrote.  Controls: one target in the right place is
 * enough, the same target one place further is not; the policy for long documents changes nothing where none
 * is long. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config.h"
#include "data/tokens/loader.h"
#include "tests/check.h"
#include "train/measure/summary.h"
#include "train/plan/long_text.h"
#include "train/plan/repeats.h"

enum { T = 16, VOCAB = 64, LONGEST = 100, NO_TARGET = -1, ALL_TARGETS = -2 };

static char *folder;

/* One document: its length, and which single token counts in the loss, or NO_TARGET, or ALL_TARGETS. */
struct document {
    int length, target;
};

static const char *write_file(const char *name, const struct document *documents, int count) {
    static char path[600];
    struct err err = {""};
    snprintf(path, sizeof path, "%s/%s.h5", folder, name);
    struct token_writer *writer = token_writer_create(path, "none", VOCAB, &err);
    assert_non_null(writer);
    token_writer_add_source(writer, "source", NULL, NULL);
    for (int d = 0; d < count; d++) {
        int32_t tokens[LONGEST];
        uint8_t mask[LONGEST];
        for (int i = 0; i < documents[d].length; i++) {
            tokens[i] = (d + i) % VOCAB;
            mask[i] = documents[d].target == ALL_TARGETS || documents[d].target == i;
        }
        assert_int_equal(token_writer_append(writer, 0, tokens, mask, documents[d].length, &err), 0);
    }
    assert_int_equal(token_writer_finish(writer, &err), 0);
    return path;
}

static struct loader *open_path(const char *path, enum packing packing, enum long_policy policy,
                                struct err *err) {
    struct loader_file file = {path, 1.0};
    struct loader_config config = {.files = &file,
                                   .num_files = 1,
                                   .sequence_tokens = T,
                                   .seed = 3,
                                   .packing = packing,
                                   .long_documents = policy,
                                   .vocab_size = VOCAB};
    return loader_open(&config, err);
}

/* check - what loader_check_targets says of these documents: "" where there are targets, else a part of the
 * message. */
static void check(const char *name, enum packing packing, const struct document *documents, int count,
                  const char *refusal) {
    struct err err = {""};
    struct loader *loader = open_path(write_file(name, documents, count), packing, LONG_CUT, &err);
    if (!loader)
        fail_msg("%s", err.text);
    int status = loader_check_targets(loader, &err);
    if (!refusal[0] && status != 0)
        fail_msg("%s: refused: %s", name, err.text);
    if (refusal[0] && status == 0)
        fail_msg("%s: not refused", name);
    if (!strstr(err.text, refusal) || (refusal[0] && !strstr(err.text, name)))
        fail_msg("%s: expected '%s', got '%s'", name, refusal, err.text);
    loader_close(loader);
}

static void test_targets(void **state) {
    (void)state;
    const struct document questions[] = {{9, NO_TARGET}, {40, NO_TARGET}, {1, NO_TARGET}};
    const struct document answer[] = {{9, NO_TARGET}, {40, NO_TARGET}, {5, 4}};
    const struct document first[] = {{9, 0}, {40, 0}, {1, 0}};
    const struct document single[] = {{1, ALL_TARGETS}, {1, ALL_TARGETS}, {0, NO_TARGET}};
    const struct document at_cut[] = {{40, T}}, after_cut[] = {{40, T + 1}};
    for (int packing = PACKING_STREAM; packing <= PACKING_WHOLE; packing++) {
        check("questions", (enum packing)packing, questions, 3, "its loss mask is 0 everywhere");
        check("answer", (enum packing)packing, answer, 3, "");
        check("first", (enum packing)packing, first, 3, "has no target token");
        check("single", (enum packing)packing, single, 3, "none of its documents is longer than one token");
        check("at-cut", (enum packing)packing, at_cut, 1, "");
    }
    check("after-cut-stream", PACKING_STREAM, after_cut, 1, "");
    check("after-cut-whole", PACKING_WHOLE, after_cut, 1, "within the first 16 tokens");
}

/* What the check says is what the samples hold. */
static void test_samples_agree(void **state) {
    (void)state;
    const struct document at_cut[] = {{40, T}}, after_cut[] = {{40, T + 1}};
    for (int i = 0; i < 2; i++) {
        struct err err = {""};
        struct sample sample;
        double weight = 0;
        struct loader *loader =
            open_path(write_file("agree", i ? after_cut : at_cut, 1), PACKING_WHOLE, LONG_CUT, &err);
        assert_non_null(loader);
        sample_init(&sample, T);
        for (int64_t g = 0; g < loader_epoch_samples(loader, 0); g++) {
            assert_int_equal(loader_sample(loader, g, &sample, &err), 0);
            for (int64_t t = 0; t < sample.filled; t++)
                weight += (double)sample.weights[t];
        }
        assert_true(weight == (i ? 0.0 : 1.0));
        sample_release(&sample);
        loader_close(loader);
    }
}

static void test_eval(void **state) {
    (void)state;
    struct err err = {""};
    /* Evaluation lays documents end to end: windows of 16; the only target is in the fourth. */
    const struct document late[] = {{40, NO_TARGET}, {20, 12}};
    struct loader *loader = open_path(write_file("late", late, 2), PACKING_WHOLE, LONG_CUT, &err);
    assert_non_null(loader);
    assert_int_equal(loader_check_eval_targets(loader, 0, &err), 0);
    assert_int_equal(loader_check_eval_targets(loader, 4, &err), 0);
    assert_int_equal(loader_check_eval_targets(loader, 3, &err), -1);
    assert_non_null(strstr(err.text, "the first 3 sequences"));
    loader_close(loader);
    const struct document none[] = {{40, NO_TARGET}};
    loader = open_path(write_file("none", none, 1), PACKING_STREAM, LONG_CUT, &err);
    assert_non_null(loader);
    assert_int_equal(loader_check_eval_targets(loader, 0, &err), -1);
    assert_non_null(strstr(err.text, "none.h5"));
    loader_close(loader);
}

/* num_used - distinct tokens of one epoch, and whether any document is cut. */
static int64_t num_used(struct loader *loader) {
    int64_t used = 0;
    struct err err;
    for (int64_t g = 0; g < loader_epoch_samples(loader, 0); g++) {
        struct sample_piece *pieces;
        int64_t count = loader_pieces(loader, g, &pieces, &err);
        for (int64_t p = 0; p < count; p++)
            used += pieces[p].count;
        free(pieces);
    }
    return used;
}

static void check_long(const char *path, enum packing packing, enum long_policy policy, int64_t num_tokens,
                       int64_t num_targets) {
    struct err err = {""};
    struct long_documents facts;
    struct loader *loader = open_path(path, packing, policy, &err);
    if (!loader)
        fail_msg("%s", err.text);
    assert_int_equal(loader_long_documents(loader, 0, &facts, &err), 0);
    assert_int_equal(facts.num_documents, 5);
    assert_int_equal(facts.num_long, 2);
    assert_int_equal(facts.num_tokens, num_tokens);
    assert_int_equal(facts.num_targets, num_targets);
    assert_true(facts.has_mask);
    assert_true(facts.has_texts); /* its first document counts from its first target on */
    assert_int_equal(num_used(loader), loader_num_tokens(loader) - num_tokens);
    loader_close(loader);
}

static void test_long_documents(void **state) {
    (void)state;
    struct err err = {""};
    const struct document documents[] = {
        {T, ALL_TARGETS}, {T + 1, ALL_TARGETS}, {40, 30}, {3, NO_TARGET}, {0, NO_TARGET}};
    char *path = xstrdup(write_file("long", documents, 5));
    check_long(path, PACKING_STREAM, LONG_CUT, 0, 0);
    check_long(path, PACKING_STREAM, LONG_SKIP, 0, 0);
    check_long(path, PACKING_STREAM, LONG_FAIL, 0, 0);
    check_long(path, PACKING_WHOLE, LONG_CUT, 1 + 24, 1); /* the token after the cut is still a target */
    check_long(path, PACKING_WHOLE, LONG_SKIP, 17 + 40, 16 + 1);
    assert_null(open_path(path, PACKING_WHOLE, LONG_FAIL, &err));
    assert_non_null(strstr(err.text, "2 of 5 documents are longer than data.sequence_tokens (16)"));
    assert_non_null(strstr(err.text, "document 2 the longest with 40"));
    free(path);
    const struct document all_long[] = {{20, ALL_TARGETS}, {30, ALL_TARGETS}};
    path = xstrdup(write_file("all-long", all_long, 2));
    assert_null(open_path(path, PACKING_WHOLE, LONG_SKIP, &err));
    assert_non_null(strstr(err.text, "every document is longer"));
    free(path);
}

/* Where no document is long, the policy changes nothing: the same pieces in the same order. */
static void test_policy_alone(void **state) {
    (void)state;
    struct err err = {""};
    const struct document documents[] = {{T, ALL_TARGETS}, {7, ALL_TARGETS}, {9, 3}, {3, NO_TARGET}, {12, 5}};
    char *path = xstrdup(write_file("short", documents, 5));
    struct loader *cut = open_path(path, PACKING_WHOLE, LONG_CUT, &err);
    for (int policy = LONG_CUT; policy <= LONG_FAIL; policy++) {
        struct loader *other = open_path(path, PACKING_WHOLE, (enum long_policy)policy, &err);
        assert_non_null(other);
        for (int64_t g = 0; g < 20; g++) {
            struct sample_piece *a, *b;
            int64_t num_a = loader_pieces(cut, g, &a, &err), num_b = loader_pieces(other, g, &b, &err);
            assert_int_equal(num_a, num_b);
            for (int64_t p = 0; p < num_a; p++)
                assert_true(a[p].document == b[p].document && a[p].count == b[p].count);
            free(a);
            free(b);
        }
        loader_close(other);
    }
    loader_close(cut);
    free(path);
}

static void test_words(void **state) {
    (void)state;
    char text[LONG_TEXT_ROOM];
    struct config config = {.data = {.sequence_tokens = 64}};
    struct long_documents facts = {"a.h5", 9, 0, 0, 0, false, false, false};
    assert_string_equal(long_text(&config, &facts, text), "");
    facts = (struct long_documents){"a.h5", 9, 2, 100, 90, true, false, false};
    long_text(&config, &facts, text);
    assert_non_null(
        strstr(text, "2 of 9 conversations are longer than data.sequence_tokens (64) and cut there: 100 "
                     "tokens are not used, 90 of them targets"));
    assert_non_null(strstr(text, "data.packing stream would use all"));
    facts.has_texts = true; /* a file of both */
    long_text(&config, &facts, text);
    assert_non_null(strstr(text, "2 of 9 documents are longer"));
    assert_non_null(strstr(text, "prepared into files of their own"));
    config.data.long_documents = LONG_SKIP;
    facts.has_mask = false;
    long_text(&config, &facts, text);
    assert_non_null(strstr(text, "2 of 9 documents are longer"));
    assert_non_null(strstr(text, "and skipped"));
    facts = (struct long_documents){"a.h5", 9, 2, 0, 0, true, false, false};
    long_text(&config, &facts, text);
    assert_non_null(strstr(text, "nothing is left out"));
    facts.has_mask = false; /* text that goes on in the next sequence is what stream is for */
    assert_string_equal(long_text(&config, &facts, text), "");
}

/* How often a file is read: told where it is more than four times over the run, or next to never. */
static void test_repeats_text(void **state) {
    (void)state;
    char text[700], a[] = "a.h5", b[] = "b.h5";
    struct data_file files[] = {{a, 3}, {b, 1}};
    struct config config = {.data = {.train = files, .num_train = 2},
                            .train = {.steps = 100, .batch_sequences = 4}};   /* 300 of a, 100 of b */
    assert_string_equal(repeats_text(&config, 0, 75, text, sizeof text), ""); /* four times */
    assert_string_equal(repeats_text(&config, 0, 60, text, sizeof text),
                        "'a.h5' has 60 sequences, and is read 5 times over in 100 steps of 4 sequences; "
                        "train.epochs in place of train.steps says how often");
    config.train.epochs = 20; /* who asked for it needs no remedy */
    assert_string_equal(repeats_text(&config, 0, 60, text, sizeof text),
                        "'a.h5' has 60 sequences, and is read 5 times over in 100 steps of 4 sequences");
    config.train.epochs = 0;
    assert_string_equal(repeats_text(&config, 1, 60, text, sizeof text), "");
    config.train.steps = 1000; /* no powers of ten: 3000 sequences of a for one, for 17 and for 300 */
    assert_non_null(strstr(repeats_text(&config, 0, 1, text, sizeof text), "is read 3000 times over"));
    assert_non_null(strstr(repeats_text(&config, 0, 17, text, sizeof text), "is read 176 times over"));
    assert_non_null(strstr(repeats_text(&config, 0, 300, text, sizeof text), "is read 10 times over"));
    assert_int_equal(summary_digits(999.4), 3);
    assert_int_equal(summary_digits(2666.7), 4);
    config.train.steps = 100;
    files[1].weight = 1e-6;
    assert_non_null(strstr(repeats_text(&config, 1, 60, text, sizeof text), "'b.h5' is hardly ever read"));
    files[1].weight = 0.0076; /* one sequence */
    assert_string_equal(repeats_text(&config, 1, 60, text, sizeof text), "");
}

/* learnt_text - the share of the summary, in per cent. */
static void learnt_text(int64_t learnt, int64_t tokens, char text[64]) {
    struct token_summary summary = {.num_documents = 1, .num_tokens = tokens, .num_learnt = learnt};
    char *all = NULL;
    size_t length_bytes;
    FILE *out = open_memstream(&all, &length_bytes);
    assert_non_null(out);
    summary_print(out, &summary);
    fclose(out);
    text[0] = '\0';
    (void)sscanf(all, " learnt %*d tokens, %63s", text);
    free(all);
}

/* 100 % is said of all, and of nothing less. */
static void test_share_text(void **state) {
    (void)state;
    char text[64];
    learnt_text(89940, 89981, text);
    assert_string_equal(text, "99.95");
    learnt_text(999999999, 1000000000, text);
    assert_string_equal(text, "99.9999999");
    learnt_text(5000, 5000, text);
    assert_string_equal(text, "100");
    learnt_text(1, 3, text);
    assert_string_equal(text, "33.3");
}

int main(void) {
    folder = test_folder("targets");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),      cmocka_unit_test(test_samples_agree),
        cmocka_unit_test(test_eval),         cmocka_unit_test(test_long_documents),
        cmocka_unit_test(test_policy_alone), cmocka_unit_test(test_words),
        cmocka_unit_test(test_repeats_text), cmocka_unit_test(test_share_text),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return failed;
}
