/* test_tokenizer_properties.c - what must hold for any text: scanners agree with their regular expressions,
 * the fast merges with the plain rule, decoding undoes encoding; and what must be refused. */
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/corpus/json.h"
#include "data/corpus/text.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_regex.h"
#include "data/tokenizer/tokenizer_scan.h"
#include "kernels/rng.h"

static const char sample_path[] = "data/sample/tokenizer/tokenizer.json";
static const char sample_text_path[] = "data/sample/fiches.jsonl";

static struct tokenizer *load_sample(void) {
    struct err err;
    struct tokenizer *tok = tokenizer_load(sample_path, &err);
    if (!tok)
        print_error("%s\n", err.text);
    assert_non_null(tok);
    return tok;
}

static uint64_t draw(uint64_t *counter, uint64_t below) {
    return rng_bits(1, rng_stream(RNG_TEST, 7), (*counter)++) % below;
}

/* Characters that tell the patterns apart: cases, marks, digits, spaces, line breaks, symbols, contractions.
 */
static const uint32_t tricky[] = {
    'a',   'e',   's',  't',   'l',    'L',    'R',     'V',    'M',    'D',    'S',   0xE9, 0xC9,  0x17F,
    0x1C5, 0x2B0, 0xAA, 0x5D0, 0x4E00, 0x301,  0x323,   0x20DD, '0',    '1',    '2',   0xB2, 0x663, 0x2164,
    ' ',   ' ',   ' ',  '\n',  '\n',   '\r',   '\t',    0xA0,   0x202F, 0x3000, 0x85,  '\'', '\'',  0x2019,
    '!',   '.',   '/',  '-',   '<',    0x20AC, 0x1F600, 0x200D, 0,      0x7F,   0xFFFD};

static void append_random(struct text *text, uint64_t *counter, int num_chars) {
    for (int i = 0; i < num_chars; i++)
        text_append_char(text, tricky[draw(counter, sizeof tricky / sizeof *tricky)]);
}

/* Bytes of the first piece by the regular expression, which must match at the start. */
static size_t regex_piece(const struct regex *regex, struct regex_state *state, struct text_span text,
                          size_t at) {
    struct text_span match;
    struct err err;
    int found = regex_next(regex, state, text, at, &match, &err);
    if (found < 0)
        print_error("%s\n", err.text);
    assert_int_equal(found, 1);
    assert_ptr_equal(match.bytes, text.bytes + at);
    return match.length_bytes;
}

static void assert_same_pieces(piece_scanner scanner, const struct regex *regex, struct regex_state *state,
                               const struct char_table *chars, struct text_span text) {
    size_t at = 0;
    while (at < text.length_bytes) {
        size_t scanned = scanner(chars, text.bytes + at, text.length_bytes - at);
        size_t matched = regex_piece(regex, state, text, at);
        if (scanned != matched)
            fail_msg("piece '%.*s' has %zu bytes by the scanner, %zu by the pattern", 20, text.bytes + at,
                     scanned, matched);
        at += scanned;
    }
}

static const char *const patterns[] = {
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+",
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}"
    "\\p{N}]?"
    "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'"
    "ve|'m|'ll|'d)?"
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};
enum { NUM_PATTERNS = sizeof patterns / sizeof *patterns };

static void test_scanners_agree_with_patterns(void **state) {
    (void)state;
    struct err err;
    struct char_table *chars = char_table_create();
    struct regex_state *regexes = regex_state_create();
    struct text text = {0};
    uint64_t counter = 0;
    size_t sample_bytes;
    char *sample = file_read_whole(sample_text_path, 1 << 26, &sample_bytes, &err);
    assert_non_null(sample);
    for (int p = 0; p < NUM_PATTERNS; p++) {
        piece_scanner scanner = scanner_find(patterns[p]);
        struct regex *regex = regex_compile(patterns[p], strlen(patterns[p]), false, &err);
        assert_non_null(scanner);
        assert_non_null(regex);
        for (int round = 0; round < 4000; round++) {
            text.length_bytes = 0;
            append_random(&text, &counter, 1 + (int)draw(&counter, 40));
            assert_same_pieces(scanner, regex, regexes, chars,
                               (struct text_span){text.bytes, text.length_bytes});
        }
        assert_same_pieces(scanner, regex, regexes, chars, (struct text_span){sample, sample_bytes});
        regex_free(regex);
    }
    assert_null(
        scanner_find("\\p{L}+")); /* negative controls: an unknown pattern; two that differ on digits */
    const struct text_span digits = {"123", 3};
    assert_int_equal(scanner_find(patterns[1])(chars, digits.bytes, 3), 3);
    assert_int_equal(scanner_find(patterns[2])(chars, digits.bytes, 3), 1);
    free(sample);
    text_release(&text);
    regex_state_free(regexes);
    char_table_free(chars);
}

/* A tokenizer without pre-tokeniser whose pieces are whole texts: byte-level, or characters with byte
 * fallback. */
static struct tokenizer *make_merging(bool byte_level) {
    static const char *const pairs[][2] = {
        {"a", "b"},   {"ab", "a"},      {"b", "a"}, {"a", "a"},  {"aa", "aa"}, {"ab", "ab"}, {"c", "a"},
        {"aba", "b"}, {"aaaa", "aaaa"}, {"b", "b"}, {"ca", "b"}, {"bb", "a"},  {"c", "c"},   {"cab", "cab"}};
    json_t *vocab = json_object(), *merges = json_array();
    json_int_t id = 0;
    json_object_set_new(vocab, "<unk>", json_integer(id++));
    for (unsigned byte = 0; byte < 256 && !byte_level; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        json_object_set_new(vocab, name, json_integer(id++));
    }
    for (const char *c = "abc"; *c; c++)
        json_object_set_new(vocab, (char[]){*c, 0}, json_integer(id++));
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *joined = xasprintf("%s%s", pairs[i][0], pairs[i][1]);
        if (!json_object_get(vocab, joined))
            json_object_set_new(vocab, joined, json_integer(id++));
        json_array_append_new(merges, json_pack("[ss]", pairs[i][0], pairs[i][1]));
        free(joined);
    }
    json_t *root = json_pack("{s:{s:s,s:s,s:b,s:o,s:o}}", "model", "type", "BPE", "unk_token", "<unk>",
                             "byte_fallback", !byte_level, "vocab", vocab, "merges", merges);
    if (byte_level)
        json_object_set_new(
            root, "pre_tokenizer",
            json_pack("{s:s,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0));
    char *text = json_dumps(root, 0);
    struct err err;
    struct tokenizer *tok = tokenizer_parse(text, strlen(text), NULL, "merging", &err);
    if (!tok)
        print_error("%s\n", err.text);
    assert_non_null(tok);
    free(text);
    json_decref(root);
    return tok;
}

/* The rule itself: over and over the lowest merge that applies, leftmost first. */
static void merge_plainly(const struct tokenizer *tok, struct token_list *ids) {
    for (;;) {
        int64_t best = -1, best_at = 0;
        int32_t best_result = 0;
        for (int64_t at = 0; at + 1 < ids->count; at++)
            for (int64_t m = 0; m < tokenizer_num_merges(tok); m++) {
                int32_t left, right, result;
                tokenizer_merge(tok, m, &left, &right, &result);
                if (left == ids->ids[at] && right == ids->ids[at + 1] && (best < 0 || m < best)) {
                    best = m;
                    best_at = at;
                    best_result = result;
                }
            }
        if (best < 0)
            return;
        ids->ids[best_at] = best_result;
        memmove(&ids->ids[best_at + 1], &ids->ids[best_at + 2],
                (size_t)(ids->count - best_at - 2) * sizeof *ids->ids);
        ids->count--;
    }
}

static void check_merges(bool byte_level) {
    struct tokenizer *tok = make_merging(byte_level);
    struct encoder *enc = encoder_open(tok);
    struct token_list plain = {0}, fast = {0};
    uint64_t counter = 1000000;
    bool any_merged = false;
    for (int round = 0; round < 600; round++) {
        char text[200];
        int count =
            1 + (int)draw(&counter, round % 3 == 0 ? 200 : 60); /* both sides of the switch to the heap */
        plain.count = fast.count = 0;
        for (int i = 0; i < count; i++) {
            text[i] = "aaabbc"[draw(&counter, 6)];
            token_list_push(&plain, tokenizer_id(tok, &text[i], 1));
        }
        merge_plainly(tok, &plain);
        assert_int_equal(encoder_encode(enc, text, (size_t)count, ENCODE_PLAIN, &fast, NULL), 0);
        assert_int_equal(fast.count, plain.count);
        assert_memory_equal(fast.ids, plain.ids, (size_t)plain.count * sizeof *plain.ids);
        any_merged |= fast.count < count;
    }
    assert_true(any_merged);
    token_list_release(&plain);
    token_list_release(&fast);
    encoder_close(enc);
    tokenizer_free(tok);
}

static void test_merges_follow_the_rule(void **state) {
    (void)state;
    check_merges(true);
    check_merges(false);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A megabyte without a place to cut is n log n: a quadratic rule would take hours. */
static void test_long_runs_stay_fast(void **state) {
    (void)state;
    enum { RUN_BYTES = 1 << 20 };
    struct tokenizer *toks[] = {load_sample(), make_merging(true), make_merging(false)};
    const char letters[] = "a <0\n";
    char *run = xmalloc(RUN_BYTES);
    for (size_t i = 0; i < sizeof toks / sizeof *toks; i++) {
        struct encoder *enc = encoder_open(toks[i]);
        for (const char *letter = letters; *letter; letter++) {
            struct token_list ids = {0};
            memset(run, *letter, RUN_BYTES);
            double start_s = now_s();
            assert_int_equal(encoder_encode(enc, run, RUN_BYTES, ENCODE_PLAIN, &ids, NULL), 0);
            assert_true(now_s() - start_s < 5);
            token_list_release(&ids);
        }
        encoder_close(enc);
        tokenizer_free(toks[i]);
    }
    free(run);
}

/* Byte-level tokenizers lose nothing: any UTF-8 comes back as it was. */
static void test_decoding_undoes_encoding(void **state) {
    (void)state;
    struct tokenizer *tok = load_sample();
    struct encoder *enc = encoder_open(tok);
    struct token_list ids = {0};
    struct text text = {0};
    uint64_t counter = 2000000;
    for (int round = 0; round < 2000; round++) {
        text.length_bytes = 0;
        append_random(&text, &counter, 1 + (int)draw(&counter, 60));
        for (int i = 0; i < 20; i++) { /* any code point but surrogates */
            uint32_t code_point = (uint32_t)draw(&counter, 0x110000);
            text_append_char(&text, code_point >= 0xD800 && code_point < 0xE000 ? 'x' : code_point);
        }
        ids.count = 0;
        assert_int_equal(encoder_encode(enc, text.bytes, text.length_bytes, ENCODE_PLAIN, &ids, NULL), 0);
        size_t length_bytes;
        char *back = tokenizer_decode(tok, ids.ids, ids.count, false, &length_bytes);
        assert_int_equal(length_bytes, text.length_bytes);
        assert_memory_equal(back, text.bytes, length_bytes);
        free(back);
    }
    text_release(&text);
    token_list_release(&ids);
    encoder_close(enc);
    tokenizer_free(tok);
}

/* Appending works, errors leave what was there, and special tokens are parsed only when asked. */
static void test_encoder_contract(void **state) {
    (void)state;
    struct tokenizer *tok = load_sample();
    struct encoder *enc = encoder_open(tok);
    struct token_list ids = {0};
    struct err err;
    int32_t special = tokenizer_eos(tok);
    assert_true(special >= 0);
    struct token_entry entry = tokenizer_entry(tok, special);
    assert_int_equal(entry.kind, TOKEN_CONTROL);
    assert_int_equal(tokenizer_id(tok, entry.text, entry.length_bytes), special);
    token_list_push(&ids, 42);
    assert_int_equal(encoder_encode(enc, entry.text, entry.length_bytes, ENCODE_PARSE_SPECIAL, &ids, &err),
                     0);
    assert_int_equal(ids.count, 2);
    assert_int_equal(ids.ids[0], 42);
    assert_int_equal(ids.ids[1], special);
    assert_int_equal(encoder_encode(enc, entry.text, entry.length_bytes, ENCODE_PLAIN, &ids, &err), 0);
    for (int64_t i = 2; i < ids.count; i++)
        assert_int_not_equal(ids.ids[i], special);
    int64_t count = ids.count;
    const char *const bad[] = {"ab\xFF", "\xED\xA0\x80", "abc\xC3", "\xC0\x80", "\xF4\x90\x80\x80"};
    const char *const offsets[] = {"offset 2", "offset 0", "offset 3", "offset 0", "offset 0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(encoder_encode(enc, bad[i], strlen(bad[i]), ENCODE_ADD_SPECIAL, &ids, &err), -1);
        assert_non_null(strstr(err.text, offsets[i]));
        assert_int_equal(ids.count, count);
    }
    token_list_release(&ids);
    encoder_close(enc);
    tokenizer_free(tok);
}

/* The same tokenizer written otherwise hashes alike; any change of substance does not. */
static void test_hash(void **state) {
    (void)state;
    struct err err;
    struct tokenizer *tok = load_sample();
    json_t *root = json_load_path(sample_path, 1 << 26, &err);
    char *text = json_dumps(root, JSON_SORT_KEYS);
    struct tokenizer *same = tokenizer_parse(text, strlen(text), NULL, "same", &err);
    assert_non_null(same);
    assert_string_equal(tokenizer_hash(tok), tokenizer_hash(same));
    free(text);
    json_array_remove(json_object_get(json_object_get(root, "model"), "merges"), 100);
    text = json_dumps(root, 0);
    struct tokenizer *other = tokenizer_parse(text, strlen(text), NULL, "other", &err);
    assert_non_null(other);
    assert_string_not_equal(tokenizer_hash(tok), tokenizer_hash(other));
    free(text);
    json_decref(root);
    tokenizer_free(tok);
    tokenizer_free(same);
    tokenizer_free(other);
}

/* What each of these must say; the sound one at the end must load. */
static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"", "JSON"},
        {"[]", "'model' is missing"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "'Unigram'"},
        {"{\"version\":\"2.0\",\"model\":{}}", "'2.0'"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", "duplicate"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "share id 0"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", "id -1"},
        {"{\"model\":{\"vocab\":{\"a\":4000000},\"merges\":[]}}", "id 4000000"},
        {"{\"model\":{\"vocab\":{\"a\":99999999999},\"merges\":[]}}", "id 99999999999"},
        {"{\"model\":{\"vocab\":{\"a\":\"0\"},\"merges\":[]}}", "a string"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", "'b'"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":1},\"merges\":[[\"a\",\"b\"]]}}", "'ab'"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"aa\"]}}", "merge 0"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "merge 0"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}}", "'u'"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}", "'</w>'"},
        {"{\"normalizer\":{\"type\":\"Precompiled\"},\"model\":{\"vocab\":{},\"merges\":[]}}",
         "'Precompiled'"},
        {"{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"model\":{\"vocab\":{},\"merges\":[]}}",
         "'BertPreTokenizer'"},
        {"{\"post_processor\":{\"type\":\"RobertaProcessing\"},\"model\":{\"vocab\":{},\"merges\":[]}}",
         "'RobertaProcessing'"},
        {"{\"decoder\":{\"type\":\"CTC\"},\"model\":{\"vocab\":{},\"merges\":[]}}", "'CTC'"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"},"
         "\"model\":{\"vocab\":{},\"merges\":[]}}",
         "does not compile"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a*\"},\"behavior\":\"Isolated\"},"
         "\"model\":{\"vocab\":{},\"merges\":[]}}",
         "empty string"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z&&[aeiou]]\"},\"behavior\":"
         "\"Isolated\"},"
         "\"model\":{\"vocab\":{},\"merges\":[]}}",
         "intersection"},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"a\"}],\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
         "says 0"},
        {"{\"added_tokens\":[{\"id\":0,\"content\":\"b\"}],\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
         "token 'a'"},
        {"{\"added_tokens\":[{\"id\":9999999,\"content\":\"b\"}],\"model\":{\"vocab\":{},\"merges\":[]}}",
         "id 9999999"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {""};
        struct tokenizer *tok = tokenizer_parse(cases[i].json, strlen(cases[i].json), NULL, "x", &err);
        assert_int_equal(tok == NULL, cases[i].message != NULL);
        if (cases[i].message && !strstr(err.text, cases[i].message))
            fail_msg("'%s' gave \"%s\"", cases[i].json, err.text);
        tokenizer_free(tok);
    }
}

/* Backtracking without end is an error of the text, not a hang. */
static void test_catastrophic_pattern(void **state) {
    (void)state;
    static const char json[] = "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a+)+[!?]\"},"
                               "\"behavior\":\"Isolated\"},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}";
    struct err err;
    struct token_list ids = {0};
    struct tokenizer *tok = tokenizer_parse(json, strlen(json), NULL, "x", &err);
    assert_non_null(tok);
    struct encoder *enc = encoder_open(tok);
    char text[200];
    memset(text, 'a', sizeof text);
    double start_s = now_s();
    assert_int_equal(encoder_encode(enc, text, sizeof text, ENCODE_PLAIN, &ids, &err), -1);
    assert_non_null(strstr(err.text, "limit"));
    assert_true(now_s() - start_s < 10);
    assert_int_equal(encoder_encode(enc, "ab", 2, ENCODE_PLAIN, &ids, &err), 0);
    assert_int_equal(ids.count, 1);
    token_list_release(&ids);
    encoder_close(enc);
    tokenizer_free(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scanners_agree_with_patterns),
        cmocka_unit_test(test_merges_follow_the_rule),
        cmocka_unit_test(test_long_runs_stay_fast),
        cmocka_unit_test(test_decoding_undoes_encoding),
        cmocka_unit_test(test_encoder_contract),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_catastrophic_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
