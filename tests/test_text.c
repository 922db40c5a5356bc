/* test_text.c - UTF-8, JSON and SHA-256: known answers, and input that is wrong on purpose. */
#include "kernels/rng.h"
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "data/corpus/json_line.h"
#include "data/corpus/text.h"
#include "data/sha256_blocks.h"

/* Bytes, length of their valid start, and what repair makes of them (Unicode standard, tables 3-7 to 3-11).
 */
static void test_utf8(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t valid_bytes;
        const char *repaired;
        int64_t num_replaced;
    } cases[] = {
        {"", 0, "", 0},
        {"d\xC3\xA9j\xC3\xA0 vu, huit octets et plus", 30, "d\xC3\xA9j\xC3\xA0 vu, huit octets et plus", 0},
        {"\xF0\x9F\x87\xAB\xEF\xBF\xBF\xC2\x80", 9, "\xF0\x9F\x87\xAB\xEF\xBF\xBF\xC2\x80", 0},
        {"abcdefgh\xFFi", 8, "abcdefgh\xEF\xBF\xBDi", 1},
        {"\xC0\xAF", 0, "\xEF\xBF\xBD\xEF\xBF\xBD", 2},
        {"\xE0\x80\xAF", 0, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 3},
        {"\xED\xA0\x80z", 0, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz", 3},
        {"\xF4\x91\x92\x93", 0, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 4},
        {"a\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
         "A",
         1,
         "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
         "A",
         4},
        {"fin\xE2\x82", 3, "fin\xEF\xBF\xBD", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text repaired = {0};
        size_t length_bytes = strlen(cases[i].bytes);
        assert_int_equal(text_valid_bytes(cases[i].bytes, length_bytes), cases[i].valid_bytes);
        assert_int_equal(text_append_repaired(&repaired, cases[i].bytes, length_bytes),
                         cases[i].num_replaced);
        assert_int_equal(repaired.length_bytes, strlen(cases[i].repaired));
        assert_int_equal(text_valid_bytes(repaired.bytes, repaired.length_bytes), repaired.length_bytes);
        if (repaired.length_bytes > 0)
            assert_memory_equal(repaired.bytes, cases[i].repaired, repaired.length_bytes);
        text_release(&repaired);
    }
}

static void test_code_points(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 37) {
        if (c >= 0xD800 && c < 0xE000)
            continue;
        char bytes[4];
        size_t n = text_encode_char(bytes, c);
        const char *at = bytes;
        assert_int_equal(text_valid_bytes(bytes, n), n);
        assert_int_equal(text_valid_bytes(bytes, n - 1), 0); /* negative control: cut short */
        assert_int_equal(text_char_bytes(bytes[0]), n);
        assert_int_equal(text_next_char(&at), c);
        assert_ptr_equal(at, bytes + n);
        assert_int_equal(text_previous_char(bytes + n), c);
    }
}

/* Answers of FIPS 180-4's examples, fed in pieces of several sizes. */
static void test_sha256(void **state) {
    (void)state;
    char *million = xmalloc(1000000);
    memset(million, 'a', 1000000);
    const struct {
        const char *bytes;
        size_t length_bytes;
        const char *hex;
    } cases[] = {
        {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         112, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
        {million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece < 200; piece += 63) {
            struct sha256 sha;
            char hex[SHA256_HEX_ROOM];
            sha256_init(&sha);
            for (size_t at = 0; at < cases[i].length_bytes; at += piece)
                sha256_update(&sha, cases[i].bytes + at,
                              cases[i].length_bytes - at < piece ? cases[i].length_bytes - at : piece);
            sha256_finish(&sha, hex);
            assert_string_equal(hex, cases[i].hex);
        }
    struct sha256 sha; /* negative control: one byte more */
    char hex[SHA256_HEX_ROOM];
    sha256_init(&sha);
    sha256_update(&sha, "abc", 4);
    sha256_finish(&sha, hex);
    assert_string_not_equal(hex, cases[1].hex);
    free(million);
}

/* digest - of bytes in two pieces, by one version of the blocks. */
static void digest(sha256_blocks_fn *hash_blocks, struct text_span bytes, size_t cut_at,
                   char hex[SHA256_HEX_ROOM]) {
    struct sha256 sha;
    sha256_init(&sha);
    sha.hash_blocks = hash_blocks;
    sha256_update(&sha, bytes.bytes, cut_at);
    sha256_update(&sha, bytes.bytes + cut_at, bytes.length_bytes - cut_at);
    sha256_finish(&sha, hex);
}

/* The processor's instructions say what the portable version says: bytes, lengths, addresses and cuts at random, 0 and whole
 * blocks among them.  Negative control: one bit changed. */
static void test_sha256_versions(void **state) {
    enum { ROUNDS = 4000, LONGEST = 700, SHIFTS = 16 };
    static char bytes[LONGEST + SHIFTS];
    sha256_blocks_fn *fast = sha256_blocks_x86() ? sha256_blocks_x86() : sha256_blocks_arm();
    uint32_t random = 1;
    (void)state;
    if (!fast)
        skip(); /* there is nothing to compare: sha256_init takes the portable one */
    for (int round = 0; round < ROUNDS; round++) {
        char hex[2][SHA256_HEX_ROOM];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)((random = random * 1664525 + 1013904223) >> 24);
        size_t length_bytes =
            round % 8 == 0 ? (size_t)(random >> 8) % 10 * 64 : (random >> 8) % (LONGEST + 1);
        size_t cut_at = length_bytes ? (random >> 4) % (length_bytes + 1) : 0;
        char *from = bytes + round % SHIFTS;
        digest(fast, (struct text_span){from, length_bytes}, cut_at, hex[0]);
        digest(sha256_blocks_portable, (struct text_span){from, length_bytes}, length_bytes - cut_at, hex[1]);
        assert_string_equal(hex[0], hex[1]);
        if (length_bytes == 0)
            continue;
        from[random % length_bytes] ^= (char)(1 << round % 8);
        digest(fast, (struct text_span){from, length_bytes}, cut_at, hex[0]);
        assert_string_not_equal(hex[0], hex[1]);
    }
}

static void test_json_getters(void **state) {
    (void)state;
    static const char text[] =
        "{\"i\":7,\"r\":2.5,\"b\":true,\"s\":\"é\",\"z\":\"a\\u0000b\",\"n\":null,\"a\":[1],"
        "\"o\":{\"p\":{\"q\":-3}},\"big\":1000000000000000019884624838656,"
        "\"quoted\":\"1000000000000000019884624838656 \\\"2\"}";
    struct err err;
    int64_t integer;
    double real;
    bool flag;
    const char *string;
    size_t length_bytes;
    json_t *value, *root = json_parse_text(text, strlen(text), "text", &err);
    assert_non_null(root);
    assert_int_equal(json_get_int(root, "i", &integer, &err), 0);
    assert_int_equal(integer, 7);
    assert_int_equal(json_get_int(root, "o/p/q", &integer, &err), 0);
    assert_int_equal(integer, -3);
    assert_int_equal(json_get_double(root, "r", &real, &err), 0);
    assert_true(real == 2.5);
    assert_int_equal(json_get_double(root, "i", &real, &err), 0);
    assert_true(real == 7);
    assert_int_equal(json_get_double(root, "big", &real, &err), 0);
    assert_true(real == 1e30);
    assert_int_equal(json_get_string(root, "quoted", &string, &err), 0);
    assert_string_equal(string, "1000000000000000019884624838656 \"2");
    assert_int_equal(json_get_bool(root, "b", &flag, &err), 0);
    assert_true(flag);
    assert_int_equal(json_get_string(root, "s", &string, &err), 0);
    assert_string_equal(string, "é");
    assert_int_equal(json_get_text(root, "z", &string, &length_bytes, &err), 0);
    assert_int_equal(length_bytes, 3);
    assert_int_equal(json_get_array(root, "a", &value, &err), 0);
    assert_int_equal(json_get_object(root, "o/p", &value, &err), 0);
    assert_int_equal(json_get_int_or(root, "n", 9, &integer, &err), 0);
    assert_int_equal(integer, 9);
    assert_int_equal(json_get_string_or(root, "o/none/q", "x", &string, &err), 0);
    assert_string_equal(string, "x");
    /* Each wrong type is refused with the key and what was found. */
    assert_int_equal(json_get_int(root, "r", &integer, &err), -1);
    assert_string_equal(err.text, "key 'r' is a real number, expected an integer");
    assert_int_equal(json_get_int(root, "none", &integer, &err), -1);
    assert_string_equal(err.text, "key 'none' is missing, expected an integer");
    assert_int_equal(json_get_bool(root, "i", &flag, &err), -1);
    assert_int_equal(json_get_string(root, "z", &string, &err), -1);
    assert_int_equal(json_get_double_or(root, "s", 1, &real, &err), -1);
    assert_int_equal(json_get_bool_or(root, "o", false, &flag, &err), -1);
    assert_int_equal(json_get_array(root, "o", &value, &err), -1);
    assert_int_equal(json_get_object(root, "a", &value, &err), -1);
    json_decref(root);
}

static void test_json_refusals(void **state) {
    (void)state;
    const char *const bad[] = {"",     "{",    "1", "{\"a\":1,\"a\":2}", "{\"a\":1e999}", "{\"a\":\"\xFF\"}",
                               "[1]x", "{a:1}"};
    struct err err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(json_parse_text(bad[i], strlen(bad[i]), "origin", &err));
        assert_non_null(strstr(err.text, "'origin'"));
    }
    enum { DEPTH = 100000 };
    char *deep = xmalloc(DEPTH);
    memset(deep, '[', DEPTH);
    assert_null(json_parse_text(deep, DEPTH, "deep", &err));
    free(deep);
    assert_null(json_load_path("data", 100, &err));
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_null(json_load_path("no/such/file.json", 100, &err));
    assert_null(json_load_path("data/sample/tokenizer/tokenizer.json", 100, &err));
    assert_non_null(strstr(err.text, "more than the 100 allowed"));
}

/* test_blank - what nobody sees, and next to each range what somebody does. */
static void test_blank(void **state) {
    (void)state;
    static const char *const blank[] = {"",
                                        " \t\r\n",
                                        "\xC2\xA0",
                                        "\xE2\x80\x8B",
                                        "\xEF\xBB\xBF",
                                        "\xC2\xAD",
                                        "\xE2\x81\xA0 \xE2\x80\x8D",
                                        "\xE3\x80\x80",
                                        "\xE3\x85\xA4",
                                        "\xEF\xB8\x8F",
                                        "\xF3\xA0\x80\xA0",
                                        "\x01\x7F",
                                        "\xE2\xA0\x80"};
    static const char *const seen[] = {"a",
                                       "\xE2\x80\x90",
                                       "\xEF\xBB\xBE",
                                       "\xC2\xAE",
                                       "\xE2\x80\x8B.",
                                       ".\xE2\x80\x8B",
                                       "\xE3\x85\xA5",
                                       "\xEF\xB8\x90",
                                       "\xF0\x9F\x98\x80",
                                       "\xE2\xA0\x81",
                                       "\xCC\x81"};
    for (size_t i = 0; i < sizeof blank / sizeof blank[0]; i++)
        if (!text_is_blank(blank[i], strlen(blank[i])))
            fail_msg("blank text %zu is seen", i);
    for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++)
        if (text_is_blank(seen[i], strlen(seen[i])))
            fail_msg("text %zu is not seen", i);
    assert_true(text_is_blank("\0", 1));
}

/* naive_escape - a byte at a time, as the header says it. */
static void naive_escape(struct text *out, const unsigned char *bytes, size_t length_bytes) {
    char escape[8];
    for (size_t i = 0; i < length_bytes; i++) {
        unsigned char c = bytes[i];
        if (c == '"' || c == '\\' || c == '\n')
            snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c);
        else if (c < 0x20)
            snprintf(escape, sizeof escape, "\\u%04x", c);
        else
            snprintf(escape, sizeof escape, "%c", c);
        text_append(out, escape, strlen(escape));
    }
}

/* Any bytes of any length, in texts where few or many have to be escaped. */
static void test_escape(void **state) {
    (void)state;
    static unsigned char bytes[9001];
    uint64_t draws = 0;
    for (int round = 0; round < 400; round++) {
        size_t length = (size_t)rng_below(3, 1, draws++, round % 10 ? 70 : sizeof bytes - 1);
        int one_in = 1 + round % 20;
        for (size_t i = 0; i < length; i++)
            bytes[i] = rng_below(3, 1, draws++, (uint64_t)one_in) == 0
                           ? (unsigned char)rng_below(3, 1, draws++, 256)
                           : (unsigned char)"a\xC3\xA9\x7F\xFF !#"[i % 8];
        struct text want = {0}, got = {0};
        naive_escape(&want, bytes, length);
        json_line_escape(&got, (const char *)bytes, length);
        assert_int_equal(got.length_bytes, want.length_bytes);
        if (length > 0)
            assert_memory_equal(got.bytes, want.bytes, want.length_bytes);
        bytes[length] = '"';
        json_line_escape(&got, (const char *)bytes + length, 1);
        assert_int_equal(got.length_bytes, want.length_bytes + 2);
        text_release(&want);
        text_release(&got);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),         cmocka_unit_test(test_code_points),
        cmocka_unit_test(test_sha256),       cmocka_unit_test(test_sha256_versions),
        cmocka_unit_test(test_json_getters), cmocka_unit_test(test_json_refusals),
        cmocka_unit_test(test_blank),        cmocka_unit_test(test_escape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
