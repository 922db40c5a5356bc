/* test_show.c - samples as they are shown: against the batches of the loader, which are what is trained; tokens as text; which
 * samples a seed chooses; the summary of a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokens/token_summary.h"
#include "kernels/rng.h"
#include "tests/check.h"
#include "tests/tiny_tokenizer.h"
#include "train/measure/show.h"

enum { T = 24, NUM_DOCUMENTS = 60, LONGEST = 70 };

static char *folder;
static struct tokenizer *tok;

static uint64_t number_at(int64_t document, int64_t place, uint64_t limit) {
    return rng_below(5, rng_stream(RNG_TEST, (uint64_t)document), (uint64_t)place, limit);
}

/* write_file - documents of any length, holes in their mask; `changed` of document 7 is another one's.  Freed with free(). */
static char *write_file(const char *name, int64_t changed) {
    struct err err = {""};
    char *path = xasprintf("%s/%s", folder, name);
    struct token_writer *writer =
        token_writer_create(path, tokenizer_hash(tok), tokenizer_vocab_size(tok), &err);
    int32_t ids[LONGEST];
    uint8_t mask[LONGEST];
    token_writer_add_source(writer, "one", NULL, NULL);
    token_writer_add_source(writer, "the \033[31mother", NULL, NULL);
    for (int64_t d = 0; d < NUM_DOCUMENTS; d++) {
        int64_t count = (int64_t)number_at(d, LONGEST, LONGEST);
        for (int64_t i = 0; i < count; i++) {
            ids[i] = (int32_t)number_at(d, i, (uint64_t)tokenizer_vocab_size(tok));
            mask[i] = number_at(d, i + 2 * LONGEST, 3) > 0;
            if (d == 7 && i == changed)
                mask[i] = !mask[i];
        }
        assert_int_equal(token_writer_append(writer, d % 2, ids, mask, count, &err), 0);
    }
    assert_int_equal(token_writer_finish(writer, &err), 0);
    return path;
}

static struct config run_config(enum packing packing, struct data_file *file) {
    struct config config;
    memset(&config, 0, sizeof config);
    config.data.train = file;
    config.data.num_train = 1;
    config.data.sequence_tokens = T;
    config.data.packing = packing;
    config.run.seed = 11;
    return config;
}

/* --- against the loader --- */

/* same_as_sample - the ids that are read and the targets that count, one after another, of a sample and of what is shown of
 * it. */
static bool same_as_sample(const json_t *shown, const struct sample *sample) {
    const json_t *piece;
    size_t p;
    int64_t row = 0;
    json_array_foreach(json_object_get(shown, "documents"), p, piece) {
        const json_t *ids = json_object_get(piece, "ids"), *learnt = json_object_get(piece, "learnt");
        int64_t count = json_integer_value(json_object_get(piece, "tokens"));
        for (int64_t i = 0; i < count; i++, row++) {
            bool has_next = i + 1 < (int64_t)json_array_size(ids);
            bool is_target = has_next && json_integer_value(json_array_get(learnt, (size_t)i + 1)) == 1;
            if (row >= sample->filled ||
                json_integer_value(json_array_get(ids, (size_t)i)) != sample->tokens[row] ||
                is_target != (sample->weights[row] > 0) ||
                (is_target && json_integer_value(json_array_get(ids, (size_t)i + 1)) != sample->targets[row]))
                return false;
        }
    }
    return row == sample->filled;
}

/* num_different - sequences of an epoch of `trained` that are not what is shown of the file at `path`. */
static int64_t num_different(const char *path, const char *trained, enum packing packing) {
    struct err err = {""};
    struct data_file of_run = {(char *)(uintptr_t)trained, 1};
    struct config config = run_config(packing, &of_run);
    struct show show, other;
    struct sample sample;
    const struct show_request all = {.num_samples = SHOW_MOST};
    assert_int_equal(show_open(&show, path, tok, &config, &err), 0);
    assert_int_equal(show_open(&other, trained, tok, &config, &err), 0);
    assert_true(show.num_samples > 20 && show.num_samples == other.num_samples);
    json_t *samples = show_json(&show, &all, &err);
    assert_int_equal(json_array_size(samples), show.num_samples);
    int64_t different = 0;
    sample_init(&sample, T);
    for (int64_t g = 0; g < show.num_samples; g++) {
        assert_int_equal(loader_sample(other.loader, g, &sample, &err), 0);
        different += !same_as_sample(json_array_get(samples, (size_t)g), &sample);
    }
    sample_release(&sample);
    json_decref(samples);
    show_close(&show);
    show_close(&other);
    return different;
}

static void test_what_is_trained(void **state) {
    (void)state;
    char *path = write_file("plain.h5", -1), *changed = write_file("changed.h5", 3);
    for (int packing = PACKING_STREAM; packing <= PACKING_WHOLE; packing++) {
        assert_int_equal(num_different(path, path, (enum packing)packing), 0);
        assert_int_equal(num_different(path, changed, (enum packing)packing),
                         1); /* the control: one bit of the mask */
    }
    free(path);
    free(changed);
}

/* Documents one by one are all there, in any order of the seed, and of another tokenizer nothing is shown. */
static void test_documents(void **state) {
    (void)state;
    struct err err = {""};
    char *path = write_file("documents.h5", -1);
    struct show show;
    struct show_request request = {.num_samples = 9, .seed = 2, .has_ids = true};
    struct tokenizer *other = tiny_tokenizer(TINY_SENTENCEPIECE);
    assert_int_equal(show_open(&show, path, tok, NULL, &err), 0);
    assert_int_equal(show.num_samples, NUM_DOCUMENTS);
    char *text = NULL;
    size_t length_bytes;
    FILE *out = open_memstream(&text, &length_bytes);
    assert_int_equal(show_print(out, &show, &request, MARKS_BRACKETS, &err), 0);
    fclose(out);
    assert_non_null(strstr(text, "9 of 60 documents, by seed 2"));
    assert_non_null(strstr(text, "of 'the ⟨0x1B⟩[31mother'"));
    assert_null(memchr(text, '\033', length_bytes));
    assert_int_equal(text_valid_bytes(text, length_bytes), length_bytes);
    free(text);
    show_close(&show);
    assert_int_equal(show_open(&show, path, other, NULL, &err), -1);
    assert_non_null(strstr(err.text, "was made by another tokenizer"));
    show_close(&show);
    tokenizer_free(other);
    free(path);
}

/* --- the summary --- */

/* By the numbers from which the file was made. */
static void test_summary(void **state) {
    (void)state;
    struct err err = {""};
    char *path = write_file("summary.h5", -1);
    struct token_file *file = token_file_open(path, &err);
    struct token_summary summary;
    int64_t learnt = 0, without = 0, most = 0, sum = 0;
    assert_int_equal(token_summary_make(&summary, file, &err), 0);
    for (int64_t d = 0; d < NUM_DOCUMENTS; d++) {
        int64_t count = (int64_t)number_at(d, LONGEST, LONGEST), own = 0;
        for (int64_t i = 1; i < count; i++)
            own += number_at(d, i + 2 * LONGEST, 3) > 0;
        learnt += own;
        without += own == 0;
        most = count > most ? count : most;
    }
    assert_int_equal(summary.num_learnt, learnt);
    assert_true(learnt < token_file_num_tokens(file) - NUM_DOCUMENTS); /* the control: some are not */
    assert_int_equal(summary.num_without, without);
    assert_int_equal(summary.most_tokens, most);
    assert_int_equal(number_at(summary.longest, LONGEST, LONGEST), most);
    for (int class = 0; class < LENGTH_CLASSES; class ++) {
        int64_t in_class = 0;
        for (int64_t d = 0; d < NUM_DOCUMENTS; d++) {
            int64_t count = (int64_t)number_at(d, LONGEST, LONGEST);
            in_class += count >= token_summary_from(class) && count < token_summary_from(class + 1);
        }
        assert_int_equal(summary.lengths[class], in_class);
        sum += in_class;
    }
    assert_int_equal(sum, NUM_DOCUMENTS);
    token_file_close(file);
    free(path);
}

/* --- tokens as text --- */

/* says - the text of bytes, a learnt one where the word below it has an 'x'; "S" in `marks` stands for <|im_end|>. */
static void says(const char *bytes, const char *marks, enum token_marks style, const char *wanted) {
    int32_t ids[64];
    uint8_t learnt[64];
    struct text text = {0};
    int64_t count = (int64_t)strlen(marks);
    for (int64_t i = 0; i < count; i++) {
        ids[i] = marks[i] == 'S' || marks[i] == 'X' ? TINY_IM_END : (unsigned char)bytes[i];
        learnt[i] = marks[i] == 'x' || marks[i] == 'X';
    }
    token_text_append(&text, tok, ids, learnt, count, style);
    text_append(&text, "", 1);
    assert_string_equal(text.bytes, wanted);
    text_release(&text);
}

static void test_text(void **state) {
    (void)state;
    says("abc", "...", MARKS_BRACKETS, "abc");
    says("abcd", ".xx.", MARKS_BRACKETS, "a⟦bc⟧d");
    says("abcd", ".xx.", MARKS_COLOUR, "a\033[32mbc\033[0md");
    says("ab c", "..Xx", MARKS_BRACKETS, "ab⟦⟨<|im_end|>⟩c⟧");
    says("a\nb", ".xx", MARKS_BRACKETS, "a⟦↵\nb⟧");
    says("a\nb", "xxx", MARKS_COLOUR, "\033[32ma↵\033[0m\n\033[32mb\033[0m");
    says("a\033[2J\t\r", ".......", MARKS_COLOUR, "a⟨0x1B⟩[2J⇥⟨0x0D⟩");
    says("\x7f\xc2\x9b\xe2\x80\xae", "......", MARKS_BRACKETS, "⟨0x7F⟩⟨U+009B⟩⟨U+202E⟩");
    says("\xc3\xa9\xc3", "...", MARKS_BRACKETS, "é⟨0xC3⟩");
    says("\xc3\xa9", ".x", MARKS_BRACKETS, "⟨0xC3⟩⟦⟨0xA9⟩⟧");   /* a character of which half is learnt */
    says("<\xe2\x9f\xa8", "....", MARKS_BRACKETS, "<⟨U+27E8⟩"); /* a text that looks like a mark is not one */
}

/* Of a token by itself the space before it stays, which a decoder takes off the first word of a text. */
static void test_token_bytes(void **state) {
    (void)state;
    struct tokenizer *pieces = tiny_tokenizer(TINY_SENTENCEPIECE);
    struct text text = {0};
    tokenizer_append_token(pieces, TINY_ON, &text); /* "▁" there */
    tokenizer_append_token(pieces, 0xE9, &text);
    tokenizer_append_token(tok, TINY_TWO_FEEDS, &text);
    tokenizer_append_token(tok, TINY_ON, &text);
    assert_int_equal(text.length_bytes, 6);
    assert_memory_equal(text.bytes, " \xe9\n\non", 6);
    text_release(&text);
    tokenizer_free(pieces);
}

/* --- the choice --- */

static bool is_same_choice(uint64_t seed, uint64_t other) {
    int64_t count, other_count;
    int64_t *a = show_choose(1000, 5, seed, &count), *b = show_choose(1000, 5, other, &other_count);
    bool is_same = count == other_count && memcmp(a, b, (size_t)count * sizeof *a) == 0;
    free(a);
    free(b);
    return is_same;
}

static void test_choice(void **state) {
    (void)state;
    for (int64_t wanted = 1; wanted <= 12; wanted++) {
        int64_t count;
        int64_t *numbers = show_choose(10, wanted, 3, &count);
        bool seen[10] = {false};
        assert_int_equal(count, wanted < 10 ? wanted : 10);
        for (int64_t i = 0; i < count; i++) {
            assert_in_range(numbers[i], 0, 9);
            assert_false(seen[numbers[i]]);
            seen[numbers[i]] = true;
        }
        free(numbers);
    }
    assert_true(is_same_choice(4, 4));
    assert_false(is_same_choice(4, 5));
}

int main(void) {
    folder = test_folder("show");
    tok = tiny_tokenizer(TINY_ALL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_trained), cmocka_unit_test(test_documents),
        cmocka_unit_test(test_summary),         cmocka_unit_test(test_text),
        cmocka_unit_test(test_token_bytes),     cmocka_unit_test(test_choice),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return failures;
}
