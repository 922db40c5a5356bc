/* test_tokenizer_regex.c - patterns of tokenizers find what they would find in the whole text, and never take
 * a document's time away. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/tokenizer/tokenizer_regex.h"
#include "tests/check.h"

/* count_matches - through the text as a splitter does; -1 with err set. */
static int64_t count_matches(const char *pattern, struct text_span text, size_t *longest, struct err *err) {
    struct regex *regex = regex_compile(pattern, strlen(pattern), false, err);
    assert_non_null(regex);
    struct regex_state *state = regex_state_create();
    struct text_span match;
    int64_t count = 0;
    int found;
    size_t at = 0;
    *longest = 0;
    regex_state_begin(state, text.length_bytes);
    while (at < text.length_bytes && (found = regex_next(regex, state, text, at, &match, err)) != 0) {
        if (found < 0) {
            count = -1;
            break;
        }
        count++;
        *longest = match.length_bytes > *longest ? match.length_bytes : *longest;
        at = (size_t)(match.bytes - text.bytes) + match.length_bytes;
    }
    regex_state_free(state);
    regex_free(regex);
    return count;
}

/* repeat - num times a piece, then an end; malloc'ed bytes. */
static struct text_span repeat(const char *piece, size_t num, const char *end) {
    struct text text = {0};
    for (size_t i = 0; i < num; i++)
        text_append(&text, piece, strlen(piece));
    text_append(&text, end, strlen(end));
    return (struct text_span){text.bytes, text.length_bytes};
}

/* Matches far longer than any window, and matches that depend on what comes far after them. */
static void test_long_matches(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *piece;
        size_t num;
        const char *end;
        int64_t count;
        size_t longest;
    } cases[] = {
        {"\\w+|\\s", "mot", 5000, "", 1, 15000},
        {"\\w+|\\s", "mot", 5000, " fin", 3, 15000},
        {"\\w+|.", "\xC3\xA9", 999, "!", 2, 1998}, /* windows end between characters */
        {"\\s+(?!\\S)|\\s+|\\S+", " ", 700, "x", 3, 699},
        {"\\s+(?!\\S)|\\s+|\\S+", " ", 700, "", 1, 700},
        {"a+b|a+c|.", "a", 3000, "c", 1, 3001},
        {"a+b|.", "a", 300, "", 300, 1},
        {"x", "-", 4000, "x", 1, 1},
        {"(?<=a)b|a+$", "a", 600, "b", 1, 1},
        {"\\bz\\b|.", "a", 255, "z", 256, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {{0}};
        size_t longest;
        struct text_span text = repeat(cases[i].piece, cases[i].num, cases[i].end);
        int64_t count = count_matches(cases[i].pattern, text, &longest, &err);
        if (count != cases[i].count || longest != cases[i].longest)
            fail_msg("case %zu: %lld matches, the longest of %zu bytes; %s", i, (long long)count, longest,
                     err.text);
        free((char *)(uintptr_t)text.bytes);
    }
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Patterns whose time grows with the square of the text, or faster, are given up, and named. */
static void test_slow_patterns(void **state) {
    (void)state;
    static const char *const slow[] = {"a*b|.", "a*?b|.", "(?=a*b)a|.", "(a+)+b|.", "(a|aa)+b|."};
    struct text_span text = repeat("a", 300000, "");
    for (size_t i = 0; i < sizeof slow / sizeof *slow; i++) {
        struct err err = {{0}};
        size_t longest;
        double before_s = cpu_s();
        assert_int_equal(count_matches(slow[i], text, &longest, &err), -1);
        assert_non_null(strstr(err.text, slow[i]));
        if (cpu_s() - before_s > 15)
            fail_msg("'%s' took %.1f s", slow[i], cpu_s() - before_s);
    }
    struct err err = {{0}};
    size_t longest;
    assert_int_equal(count_matches("a|b", text, &longest, &err), 300000); /* control: it is not the length */
    struct text_span runs = repeat("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ", 10000, "");
    assert_int_equal(count_matches("a+|\\s", runs, &longest, &err), 20000);
    free((char *)(uintptr_t)runs.bytes);
    free((char *)(uintptr_t)text.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_matches),
        cmocka_unit_test(test_slow_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
