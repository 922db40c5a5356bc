/* test_tekken.c - tekken.json: the ids that mistral-common makes of it and the tokenizer that transformers makes of it, both kept
 * in tests/golden/tekken; what is refused of a hostile one; base64. */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "data/corpus/text.h"
#include "data/tokenizer/base64.h"
#include "data/tokenizer/tekken.h"
#include "data/tokenizer/tokenizer_files.h"

static const char golden[] = "tests/golden/tekken";
enum { MAX_FILE = 1 << 24, NUM_IDS = 724, NUM_SPECIAL = 24 };

/* open_files - of a path that can be read. */
static struct tokenizer *open_files(const char *path) {
    struct err err = {""};
    struct tokenizer *tok = tokenizer_load(path, &err);
    if (!tok)
        fail_msg("%s: %s", path, err.text);
    return tok;
}

static struct token_list ids_of(const struct tokenizer *tok, const char *text, size_t length_bytes) {
    struct err err = {""};
    struct encoder *enc = encoder_open(tok);
    struct token_list list = {0};
    assert_int_equal(encoder_encode(enc, text, length_bytes, ENCODE_PLAIN, &list, &err), 0);
    encoder_close(enc);
    return list;
}

static void test_expected(void **state) {
    (void)state;
    struct err err = {""};
    struct tokenizer *tok = open_files(golden); /* the folder has no tokenizer.json */
    json_t *cases = json_load_path("tests/golden/tekken/expected.json", MAX_FILE, &err), *item;
    assert_true(json_array_size(cases) > 20);
    size_t i, differ = 0;
    json_array_foreach(cases, i, item) {
        const json_t *text = json_array_get(item, 0), *want = json_array_get(item, 1);
        struct token_list got = ids_of(tok, json_string_value(text), json_string_length(text));
        if (got.count != (int64_t)json_array_size(want))
            fail_msg("'%s' has %lld ids", json_string_value(text), (long long)got.count);
        for (int64_t k = 0; k < got.count; k++) {
            if (got.ids[k] != json_integer_value(json_array_get(want, (size_t)k)))
                fail_msg("'%s': id %lld is %d", json_string_value(text), (long long)k, got.ids[k]);
            differ += got.ids[k] <
                      NUM_SPECIAL + 256; /* the control: not all of it is single bytes, nor nothing of it */
        }
        char *back = tokenizer_decode(tok, got.ids, got.count, false, NULL);
        assert_string_equal(back, json_string_value(text));
        free(back);
        token_list_release(&got);
    }
    assert_true(differ > 20);
    json_decref(cases);
    tokenizer_free(tok);
}

/* test_twin - the same tokenizer as transformers', by the hash of vocabulary, merges, added tokens and pipeline, and over every
 * character of two bytes and all bytes of longer ones. */
static void test_twin(void **state) {
    (void)state;
    struct tokenizer *tok = open_files(golden), *twin = open_files("tests/golden/tekken/twin.json");
    assert_int_equal(tokenizer_vocab_size(tok), NUM_IDS);
    assert_string_equal(tokenizer_hash(tok), tokenizer_hash(twin));
    struct text text = {0};
    for (uint32_t code = 1; code < 0x110000; code += code < 0x800 ? 1 : 61)
        if (code < 0xD800 || code > 0xDFFF) {
            text_append_char(&text, code);
            text_append(&text, " ", code % 3 == 0);
        }
    struct token_list a = ids_of(tok, text.bytes, text.length_bytes),
                      b = ids_of(twin, text.bytes, text.length_bytes);
    bool is_there[256] = {false};
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.ids, b.ids, (size_t)a.count * sizeof *a.ids);
    for (int64_t i = 0; i < a.count; i++)
        if (a.ids[i] >= NUM_SPECIAL && a.ids[i] < NUM_SPECIAL + 256)
            is_there[a.ids[i] - NUM_SPECIAL] = true;
    for (int byte = 0x80; byte < 0xF5; byte++) /* of UTF-8: never C0 and C1 */
        if (!is_there[byte] && byte != 0xC0 && byte != 0xC1)
            fail_msg("the byte %02X was not tried", (unsigned)byte);
    token_list_release(&a);
    token_list_release(&b);
    text_release(&text);
    tokenizer_free(tok);
    tokenizer_free(twin);
}

static void test_special(void **state) {
    (void)state;
    struct tokenizer *tok = open_files("tests/golden/tekken/tekken.json");
    assert_int_equal(tokenizer_bos(tok), 1);
    assert_int_equal(tokenizer_eos(tok), 2);
    assert_int_equal(tokenizer_pad(tok), 5);
    assert_true(tokenizer_adds_bos(tok));
    assert_int_equal(tokenizer_id(tok, "[THINK]", 7), 6);
    assert_int_equal(tokenizer_id(tok, "<SPECIAL_23>", 12), 23);
    assert_int_equal(tokenizer_id(tok, "<SPECIAL_24>", 12), -1);
    tokenizer_free(tok);
}

/* --- what is refused --- */

/* changed - the golden file with `was` replaced by `now`, once; malloc'ed. */
static char *changed(const char *was, const char *now) {
    struct err err = {""};
    size_t length_bytes;
    char *text = file_read_whole("tests/golden/tekken/tekken.json", MAX_FILE, &length_bytes, &err);
    char *at = strstr(text, was);
    if (!at)
        fail_msg("'%s' is not in the golden file", was);
    char *result = xasprintf("%.*s%s%s", (int)(at - text), text, now, at + strlen(was));
    free(text);
    return result;
}

static void refused(const char *was, const char *now, const char *why) {
    struct err err = {""};
    char *text = changed(was, now), *json = NULL, *config = NULL;
    if (tekken_text(text, strlen(text), "x/tekken.json", &json, &config, &err) == 0)
        fail_msg("'%s' is taken", now);
    if (!strstr(err.text, why) || !strstr(err.text, "x/tekken.json"))
        fail_msg("'%s' is not in: %s", why, err.text);
    assert_null(json);
    free(text);
}

static void test_refused(void **state) {
    (void)state;
    static const char first[] = "\"rank\":0,\"token_bytes\":\"AA==\"";
    refused(first, "\"rank\":1,\"token_bytes\":\"AA==\"", "vocab entry 0 has rank 1");
    refused("\"rank\":300,", "\"rank\":299,", "vocab entry 300 has rank 299");
    refused("\"rank\":300,", "\"rank\":301,", "vocab entry 300 has rank 301");
    refused("\"rank\":300,", "\"rank\":1e9,", "vocab entry 300");
    refused(first, "\"rank\":0,\"token_bytes\":\"AA\"", "token_bytes of vocab entry 0 is not base64");
    refused(first, "\"rank\":0,\"token_bytes\":\"A*==\"", "token_bytes of vocab entry 0 is not base64");
    refused(first, "\"rank\":0,\"token_bytes\":\"AB==\"", "token_bytes of vocab entry 0 is not base64");
    refused(first, "\"rank\":0,\"token_bytes\":\"\"", "token_bytes of vocab entry 0 is not base64");
    refused(first, "\"rank\":0,\"token_bytes\":\"AQ==\"", "vocab entry 0 is not the byte 0");
    refused(first, "\"rank\":0,\"token_bytes\":7", "vocab entry 0");
    refused("\"default_vocab_size\":724", "\"default_vocab_size\":745",
            "'vocab' has 720 entries, default_vocab_size asks for 721");
    refused("\"default_vocab_size\":724", "\"default_vocab_size\":100", "out of range");
    refused("\"default_vocab_size\":724", "\"default_vocab_size\":1e15", "default_vocab_size");
    refused("\"default_vocab_size\":724", "\"default_vocab_size\":999999999999", "out of range");
    refused("\"default_num_special_tokens\":24", "\"default_num_special_tokens\":-1", "out of range");
    refused("\"default_num_special_tokens\":24", "\"default_num_special_tokens\":4",
            "each rank from 0 on is to be there once");
    refused("\"version\":\"v7\"", "\"version\":\"v7\",\"lowercase\":true",
            "key 'config/lowercase' is not known");
    refused("\"token_str\":\"[INST]\"", "\"token_str\":\"<s>\"",
            "'<s>' is a special token and another token too");
    refused("\"token_str\":\"[INST]\"", "\"token_str\":\"a\"",
            "'a' is a special token and another token too");
    refused("\"token_str\":\"[INST]\"", "\"token_str\":\"\"", "is empty");
    refused("\"config\":", "\"settings\":", "config");
    refused("\"vocab\":[", "\"vocab\":7,\"x\":[", "vocab");
}

/* test_long_token - a token of more bytes than are taken; and two entries with the same bytes. */
static void test_long_token(void **state) {
    (void)state;
    struct err err = {""};
    json_t *root = json_load_path("tests/golden/tekken/tekken.json", MAX_FILE, &err);
    json_t *vocab = json_object_get(root, "vocab");
    for (int pass = 0; pass < 2; pass++) {
        char *json = NULL, *config = NULL, long_text[1001];
        memset(long_text, 'A', 1000);
        long_text[1000] = '\0';
        json_t *entry = json_array_get(vocab, 400);
        json_object_set_new(entry, "token_bytes",
                            pass ? json_incref(json_object_get(json_array_get(vocab, 399), "token_bytes"))
                                 : json_string(long_text));
        char *text = json_dumps(root, JSON_COMPACT);
        assert_int_equal(tekken_text(text, strlen(text), "tekken.json", &json, &config, &err), -1);
        assert_non_null(
            strstr(err.text, pass ? "vocab entries 399 and 400 have the same bytes" : "of 1 to 512 bytes"));
        free(text);
    }
    json_decref(root);
}

/* test_usual_special - a file of version 7 without a list has the usual ones, a later one is refused. */
static void test_usual_special(void **state) {
    (void)state;
    static const char *const versions[] = {"v7", "v11", "v7"},
                             *const why[] = {"", "version 'v11' without 'special_tokens'",
                                             "12 special tokens, and no list of them: there are 20"};
    for (int i = 0; i < 3; i++) {
        struct err err = {""};
        char *json = NULL, *config = NULL;
        json_t *root = json_load_path("tests/golden/tekken/tekken.json", MAX_FILE, &err);
        json_object_del(root, "special_tokens");
        json_object_set_new(json_object_get(root, "config"), "version", json_string(versions[i]));
        if (i == 2)
            json_object_set_new(json_object_get(root, "config"), "default_num_special_tokens",
                                json_integer(12));
        char *text = json_dumps(root, JSON_COMPACT);
        int status = tekken_text(text, strlen(text), "tekken.json", &json, &config, &err);
        assert_int_equal(status, i == 0 ? 0 : -1);
        if (i == 0) {
            struct tokenizer *tok = tokenizer_parse(json, strlen(json), config, "usual", &err);
            assert_int_equal(tokenizer_id(tok, "[IMG]", 5), 10);
            assert_int_equal(tokenizer_pad(tok), 11);
            tokenizer_free(tok);
        } else {
            assert_non_null(strstr(err.text, why[i]));
        }
        free(json);
        free(config);
        free(text);
        json_decref(root);
    }
}

/* test_files - tokenizer.json goes before tekken.json, what tokenizer_config.json says before what follows; both forms compared. */
static void test_files(void **state) {
    (void)state;
    struct err err = {""};
    char *folder = test_folder("tekken"), *tekken = xasprintf("%s/tekken.json", folder),
         *text = changed("", "");
    char *config = xasprintf("%s/tokenizer_config.json", folder),
         *own = xasprintf("%s/tokenizer.json", folder);
    struct tokenizer_files files;
    assert_int_equal(file_replace(tekken, text, strlen(text), &err), 0);
    assert_int_equal(file_replace(config, "{\"eos_token\": \"[/INST]\"}", 24, &err), 0);
    struct tokenizer *tok = open_files(folder);
    assert_int_equal(tokenizer_eos(tok), 4);
    assert_int_equal(tokenizer_pad(tok), 5);
    assert_int_equal(tekken_compare(tekken, tok, &err), 0);
    tokenizer_free(tok);
    assert_int_equal(tokenizer_files_read(&files, "data/sample/tokenizer", &err), 0);
    assert_int_equal(file_replace(own, files.json, strlen(files.json), &err), 0);
    tokenizer_files_release(&files);
    tok = open_files(folder);
    assert_int_equal(tokenizer_vocab_size(tok), 4096);
    assert_int_equal(tekken_compare(tekken, tok, &err), -1);
    assert_non_null(strstr(err.text, "it has 724 tokens, tokenizer.json 4096"));
    tokenizer_free(tok);
    assert_int_equal(folder_remove(folder, &err), 0);
    free(own);
    free(config);
    free(text);
    free(tekken);
    free(folder);
}

static void test_base64(void **state) {
    (void)state;
    static const struct {
        const char *text, *bytes; /* RFC 4648, section 10; NULL: refused */
    } cases[] = {{"", ""},
                 {"Zg==", "f"},
                 {"Zm8=", "fo"},
                 {"Zm9v", "foo"},
                 {"Zm9vYg==", "foob"},
                 {"Zm9vYmE=", "fooba"},
                 {"Zm9vYmFy", "foobar"},
                 {"Zg=", NULL},
                 {"Zg", NULL},
                 {"Z===", NULL},
                 {"====", NULL},
                 {"Zh==", NULL},
                 {"Zm9=", NULL},
                 {"Zg==Zg==", NULL},
                 {"Zm 9", NULL},
                 {"Zm9\xC3", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char bytes[6];
        size_t length_bytes = 99;
        int status = base64_decode(cases[i].text, strlen(cases[i].text), bytes, sizeof bytes, &length_bytes);
        if (status != (cases[i].bytes ? 0 : -1))
            fail_msg("'%s' gives %d", cases[i].text, status);
        if (cases[i].bytes) {
            assert_int_equal(length_bytes, strlen(cases[i].bytes));
            assert_memory_equal(bytes, cases[i].bytes, length_bytes);
        }
    }
    char small[2];
    size_t length_bytes;
    assert_int_equal(base64_decode("Zm9v", 4, small, sizeof small, &length_bytes), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expected),   cmocka_unit_test(test_twin),
        cmocka_unit_test(test_special),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_token), cmocka_unit_test(test_usual_special),
        cmocka_unit_test(test_files),      cmocka_unit_test(test_base64)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
