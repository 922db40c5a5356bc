/* test_tokenizer.c - the tokenizer against the package `tokenizers`: awkward texts, components one by one,
 * whole corpora.  The answers are in tests/golden/tokenizer; what needs ../shared is skipped where that is
 * absent. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "data/corpus/json.h"
#include "data/corpus/text.h"
#include "data/sha256.h"
#include "data/tokenizer/tokenizer.h"

enum { MAX_FILE_BYTES = 1 << 27, TAR_BLOCK_BYTES = 512 };
static const char golden_folder[] = "tests/golden/tokenizer";
static const char sample_path[] = "data/sample/tokenizer/tokenizer.json";
static const char *const families[] = {"llama2", "llama3", "qwen3", "mistral_nemo", "lucie", "gemma3"};
enum { NUM_FAMILIES = sizeof families / sizeof *families };

/* What the tests share, made once. */
struct fixture {
    struct text archives[2];                  /* tokenizers.tar and gemma3.tar; empty without ../shared */
    struct tokenizer *families[NUM_FAMILIES]; /* NULL without ../shared */
};

/* A .zst file of ../shared, unpacked; empty where it is absent. */
static struct text unpack_shared(const char *name) {
    struct text out = {0};
    struct err err;
    size_t packed_bytes;
    const char *path = shared_path(name);
    if (!path)
        return out;
    char *packed = file_read_whole(path, MAX_FILE_BYTES, &packed_bytes, &err);
    assert_non_null(packed);
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {packed, packed_bytes, 0};
    size_t status = 1;
    while (status != 0 && in.pos <= in.size) {
        text_reserve(&out, 1 << 20);
        ZSTD_outBuffer piece = {out.bytes + out.length_bytes, 1 << 20, 0};
        status = ZSTD_decompressStream(stream, &piece, &in);
        assert_false(ZSTD_isError(status));
        out.length_bytes += piece.pos;
    }
    ZSTD_freeDStream(stream);
    free(packed);
    return out;
}

/* The next regular file of a tar archive from *at on, or NULL bytes at its end; name has 100 bytes. */
static struct text_span next_member(const struct text *archive, size_t *at, char name[101]) {
    while (*at + TAR_BLOCK_BYTES <= archive->length_bytes && archive->bytes[*at]) {
        const char *header = archive->bytes + *at;
        size_t size_bytes = strtoull(header + 124, NULL, 8);
        struct text_span member = {header + TAR_BLOCK_BYTES, size_bytes};
        *at += TAR_BLOCK_BYTES + (size_bytes + TAR_BLOCK_BYTES - 1) / TAR_BLOCK_BYTES * TAR_BLOCK_BYTES;
        if (header[156] == '0' || header[156] == 0) {
            snprintf(name, 101, "%.100s", header);
            return member;
        }
    }
    return (struct text_span){NULL, 0};
}

static struct text_span find_member(const struct text *archive, const char *family, const char *file) {
    char name[101], *wanted = xasprintf("%s/%s", family, file);
    size_t at = 0, wanted_bytes = strlen(wanted);
    struct text_span member;
    do {
        member = next_member(archive, &at, name);
    } while (member.bytes &&
             (strlen(name) < wanted_bytes || strcmp(name + strlen(name) - wanted_bytes, wanted) != 0));
    free(wanted);
    return member;
}

static struct tokenizer *parse_family(const struct text *archive, const char *family) {
    struct text_span json = find_member(archive, family, "tokenizer.json");
    struct text_span config = find_member(archive, family, "tokenizer_config.json");
    struct err err;
    assert_non_null(json.bytes);
    char *config_text = xstrndup(config.bytes ? config.bytes : "{}", config.bytes ? config.length_bytes : 2);
    struct tokenizer *tok = tokenizer_parse(json.bytes, json.length_bytes, config_text, family, &err);
    free(config_text);
    if (!tok)
        print_error("%s\n", err.text);
    assert_non_null(tok);
    return tok;
}

static int set_up(void **state) {
    struct fixture *fixture = xcalloc(1, sizeof *fixture);
    fixture->archives[0] = unpack_shared("tokenizers/tokenizers.tar.zst");
    fixture->archives[1] = unpack_shared("tokenizers/gemma3.tar.zst");
    for (int i = 0; i < NUM_FAMILIES; i++) {
        const struct text *archive = &fixture->archives[strcmp(families[i], "gemma3") == 0];
        if (archive->length_bytes > 0)
            fixture->families[i] = parse_family(archive, families[i]);
    }
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    for (int i = 0; i < NUM_FAMILIES; i++)
        tokenizer_free(fixture->families[i]);
    text_release(&fixture->archives[0]);
    text_release(&fixture->archives[1]);
    free(fixture);
    return 0;
}

static json_t *load_golden(const char *name) {
    struct err err;
    char *path = xasprintf("%s/%s", golden_folder, name);
    json_t *root = json_load_path(path, MAX_FILE_BYTES, &err);
    if (!root)
        print_error("%s\n", err.text);
    assert_non_null(root);
    free(path);
    return root;
}

static struct token_list encode(struct encoder *enc, struct text_span text, unsigned flags) {
    struct token_list ids = {0};
    struct err err;
    if (encoder_encode(enc, text.bytes, text.length_bytes, flags, &ids, &err) != 0)
        fail_msg("%s", err.text);
    return ids;
}

/* Index of the first difference, or -1. */
static int64_t first_difference(const struct token_list *ids, const json_t *expected) {
    int64_t count = (int64_t)json_array_size(expected);
    for (int64_t i = 0; i < count && i < ids->count; i++)
        if (ids->ids[i] != json_integer_value(json_array_get(expected, (size_t)i)))
            return i;
    return ids->count == count ? -1 : (ids->count < count ? ids->count : count);
}

/* Ids of a text; expected null stands for otherwise. */
static void assert_ids(struct encoder *enc, struct text_span text, unsigned flags, const json_t *expected,
                       const json_t *otherwise, const char *name) {
    if (!json_is_array(expected))
        expected = otherwise;
    assert_true(json_is_array(expected));
    struct token_list ids = encode(enc, text, flags);
    int64_t at = first_difference(&ids, expected);
    if (at >= 0)
        fail_msg("%s, text '%.60s': id %lld differs (%lld ids, expected %zu)", name, text.bytes,
                 (long long)at, (long long)ids.count, json_array_size(expected));
    if (ids.count > 0) { /* negative control: one id changed must show */
        ids.ids[ids.count / 2] ^= 1;
        assert_int_equal(first_difference(&ids, expected), ids.count / 2);
    }
    token_list_release(&ids);
}

/* [["part", times], ...] joined. */
static struct text join_parts(const json_t *parts) {
    struct text text = {0};
    size_t i;
    json_t *part;
    text_reserve(&text, 1); /* never NULL */
    json_array_foreach(parts, i, part) {
        const json_t *string = json_array_get(part, 0);
        for (json_int_t n = 0; n < json_integer_value(json_array_get(part, 1)); n++)
            text_append(&text, json_string_value(string), json_string_length(string));
    }
    return text;
}

static void check_edge(const struct tokenizer *tok, const char *name, const json_t *root) {
    const json_t *texts = json_object_get(root, "texts");
    const json_t *answers = json_object_get(json_object_get(root, "tokenizers"), name);
    struct encoder *enc = encoder_open(tok);
    assert_true(json_array_size(texts) > 40);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        struct text text = join_parts(json_array_get(texts, i));
        struct text_span span = {text.bytes, text.length_bytes};
        const json_t *ids = json_array_get(json_object_get(answers, "ids"), i);
        assert_ids(enc, span, ENCODE_PARSE_SPECIAL, ids, NULL, name);
        assert_ids(enc, span, ENCODE_PLAIN, json_array_get(json_object_get(answers, "plain"), i), ids, name);
        text_release(&text);
    }
    encoder_close(enc);
}

static void test_edge_texts(void **state) {
    const struct fixture *fixture = *state;
    struct err err;
    json_t *root = load_golden("edge.json");
    struct tokenizer *sample = tokenizer_load(sample_path, &err);
    if (!sample)
        print_error("%s\n", err.text);
    assert_non_null(sample);
    check_edge(sample, "sample", root);
    tokenizer_free(sample);
    for (int i = 0; i < NUM_FAMILIES; i++)
        if (fixture->families[i])
            check_edge(fixture->families[i], families[i], root);
    json_decref(root);
}

static void assert_decoded(const struct tokenizer *tok, const json_t *ids, bool skip, const json_t *expected,
                           const char *name) {
    struct token_list list = {0};
    size_t i, length_bytes;
    json_t *id;
    json_array_foreach(ids, i, id) {
        token_list_push(&list, (int32_t)json_integer_value(id));
    }
    char *text = tokenizer_decode(tok, list.ids, list.count, skip, &length_bytes);
    if (length_bytes != json_string_length(expected) ||
        memcmp(text, json_string_value(expected), length_bytes) != 0)
        fail_msg("%s: decoded '%s', expected '%s'", name, text, json_string_value(expected));
    free(text);
    token_list_release(&list);
}

/* The tokenizer.json of a case: its own parts, and the model it names with its changes. */
static struct tokenizer *build_component(const json_t *root, const json_t *one, const char *name) {
    json_t *whole = json_copy(json_object_get(one, "tokenizer"));
    json_t *model = json_copy(
        json_object_get(json_object_get(root, "models"), json_string_value(json_object_get(one, "model"))));
    struct err err;
    json_object_update(model, json_object_get(one, "changes"));
    json_object_set_new(whole, "model", model);
    char *text = json_dumps(whole, 0);
    struct tokenizer *tok = tokenizer_parse(text, strlen(text), NULL, name, &err);
    if (!tok)
        print_error("%s: %s\n", name, err.text);
    assert_non_null(tok);
    free(text);
    json_decref(whole);
    return tok;
}

/* knows_no_scripts - PCRE2 10.40 added \p{sc:...}; before, such a tokenizer is refused by name. */
static bool knows_no_scripts(void) {
    char version[64] = "";
    assert_true(pcre2_config(PCRE2_CONFIG_VERSION, NULL) <= (int)sizeof version);
    pcre2_config(PCRE2_CONFIG_VERSION, version);
    return atof(version) < 10.395;
}

static void test_components(void **state) {
    (void)state;
    json_t *root = load_golden("components.json"), *one;
    const json_t *texts = json_object_get(root, "texts");
    size_t c;
    json_array_foreach(json_object_get(root, "cases"), c, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (knows_no_scripts() && strcmp(name, "regex script") == 0) {
            print_message("PCRE2 before 10.40: scripts as \\p{sc:...} are not compared\n");
            continue;
        }
        struct tokenizer *tok = build_component(root, one, name);
        struct encoder *enc = encoder_open(tok);
        for (size_t i = 0; i < json_array_size(texts); i++) {
            const json_t *text = json_array_get(texts, i),
                         *ids = json_array_get(json_object_get(one, "ids"), i);
            struct text_span span = {json_string_value(text), json_string_length(text)};
            assert_ids(enc, span, ENCODE_PARSE_SPECIAL, ids, NULL, name);
            assert_ids(enc, span, ENCODE_PLAIN, json_array_get(json_object_get(one, "plain"), i), ids, name);
            assert_decoded(tok, ids, false, json_array_get(json_object_get(one, "decoded"), i), name);
            assert_decoded(tok, ids, true, json_array_get(json_object_get(one, "skipped"), i), name);
        }
        assert_ids(enc, (struct text_span){"le", 2}, ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL,
                   json_object_get(one, "with_special"), NULL, name);
        encoder_close(enc);
        tokenizer_free(tok);
    }
    assert_true(c > 60);
    json_decref(root);
}

/* Counts and hash over all ids of a corpus, as compare_tokenizers.py computes them. */
struct summary {
    struct encoder *enc;
    struct sha256 sha;
    long long num_documents, num_tokens;
    bool spoil; /* negative control: one id of the first document changed */
};

static void add_document(struct summary *summary, struct text_span text) {
    struct token_list ids = encode(summary->enc, text, ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL);
    uint32_t count = (uint32_t)ids.count;
    if (summary->spoil && summary->num_documents == 0 && count > 0)
        ids.ids[count - 1] ^= 1;
    sha256_update(&summary->sha, &count, sizeof count);
    sha256_update(&summary->sha, ids.ids, count * sizeof *ids.ids);
    summary->num_documents++;
    summary->num_tokens += ids.count;
    token_list_release(&ids);
}

static void add_record(struct summary *summary, const char *line, size_t length_bytes) {
    struct err err;
    json_t *record = json_parse_text(line, length_bytes, "corpus", &err), *message;
    size_t i;
    assert_non_null(record);
    const json_t *messages = json_object_get(record, "messages"), *text = json_object_get(record, "text");
    if (text)
        add_document(summary, (struct text_span){json_string_value(text), json_string_length(text)});
    json_array_foreach(messages, i, message) {
        const json_t *content = json_object_get(message, "content");
        add_document(summary, (struct text_span){json_string_value(content), json_string_length(content)});
    }
    json_decref(record);
}

static void add_corpus(struct summary *summary, const char *name, const struct text *corpus) {
    if (strstr(name, ".tar")) {
        char member_name[101];
        size_t at = 0;
        for (struct text_span member; (member = next_member(corpus, &at, member_name)).bytes;)
            add_document(summary, member);
        return;
    }
    const char *at = corpus->bytes, *end = at + corpus->length_bytes;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        add_record(summary, at, (size_t)(stop - at));
        at = stop + 1;
    }
}

static void check_corpus(const struct tokenizer *tok, const char *family, const char *name,
                         const struct text *corpus, bool spoil) {
    struct summary summary = {.enc = encoder_open(tok), .spoil = spoil};
    char hex[SHA256_HEX_ROOM], *path = xasprintf("%s/%s.txt", golden_folder, family), line[256];
    sha256_init(&summary.sha);
    add_corpus(&summary, name, corpus);
    sha256_finish(&summary.sha, hex);
    FILE *golden = fopen(path, "r");
    assert_non_null(golden);
    char *got = xasprintf("%s %lld %lld %s\n", name, summary.num_documents, summary.num_tokens, hex);
    bool found = false;
    while (fgets(line, sizeof line, golden))
        found |= strcmp(line, got) == 0;
    fclose(golden);
    if (found == spoil)
        fail_msg("%s: not as expected: %s", family, got);
    free(got);
    free(path);
    encoder_close(summary.enc);
}

/* The text of the repository with its own tokenizer, which needs nothing else, and with the real ones. */
static void test_sample_corpus(void **state) {
    const struct fixture *fixture = *state;
    struct err err;
    struct text corpus = {0};
    struct tokenizer *tok = tokenizer_load(sample_path, &err);
    assert_non_null(tok);
    corpus.bytes = file_read_whole("data/sample/fiches.jsonl", MAX_FILE_BYTES, &corpus.length_bytes, &err);
    assert_non_null(corpus.bytes);
    check_corpus(tok, "sample", "fiches.jsonl", &corpus, false);
    check_corpus(tok, "sample", "fiches.jsonl", &corpus, true);
    for (int i = 0; i < NUM_FAMILIES; i++)
        if (fixture->families[i])
            check_corpus(fixture->families[i], families[i], "fiches.jsonl", &corpus, false);
    text_release(&corpus);
    tokenizer_free(tok);
}

static void test_corpora(void **state) {
    const struct fixture *fixture = *state;
    const char *const names[] = {"code_relations_public_administration.jsonl.zst",
                                 "code_du_travail.jsonl.zst",
                                 "contributions_chat.jsonl.zst",
                                 "service_public_particuliers.jsonl.zst",
                                 "service_public_professionnels.jsonl.zst",
                                 "vosdroits-xml.tar.zst"};
    for (size_t c = 0; c < sizeof names / sizeof *names; c++) {
        char *name = xasprintf("corpora/%s", names[c]);
        struct text corpus = unpack_shared(name);
        free(name);
        for (int i = 0; i < NUM_FAMILIES && corpus.length_bytes > 0; i++) {
            if (!fixture->families[i])
                continue;
            check_corpus(fixture->families[i], families[i], names[c], &corpus, false);
            if (c == 0)
                check_corpus(fixture->families[i], families[i], names[c], &corpus, true);
        }
        if (corpus.length_bytes == 0 || !fixture->families[0])
            print_message("no ../shared: corpus '%s' not compared\n", names[c]);
        text_release(&corpus);
    }
}

/* Chat templates, special tokens and what exporters ask, for the real files. */
static void test_facts(void **state) {
    const struct fixture *fixture = *state;
    const struct {
        int32_t bos, eos;
        int64_t vocab_size;
        enum tokenizer_model model;
        bool adds_bos, ignores_merges, nfc, expressible;
    } expected[NUM_FAMILIES] = {
        {1, 2, 32000, TOKENIZER_SENTENCEPIECE, true, false, false, true},
        {128000, 128001, 128256, TOKENIZER_BYTE_LEVEL, false, true, false, true},
        {-1, 151645, 151669, TOKENIZER_BYTE_LEVEL, false, false, true, true},
        {1, 2, 131072, TOKENIZER_BYTE_LEVEL, true, true, false, true},
        {0, 267, 65024, TOKENIZER_SENTENCEPIECE, true, false, true, false},
        {2, 106, 262145, TOKENIZER_SENTENCEPIECE, true, false, false, true},
    };
    if (!fixture->families[0] || !fixture->families[NUM_FAMILIES - 1])
        skip();
    for (int i = 0; i < NUM_FAMILIES; i++) {
        const struct tokenizer *tok = fixture->families[i];
        assert_int_equal(tokenizer_bos(tok), expected[i].bos);
        assert_int_equal(tokenizer_eos(tok), expected[i].eos);
        assert_int_equal(tokenizer_vocab_size(tok), expected[i].vocab_size);
        assert_int_equal(tokenizer_model(tok), expected[i].model);
        assert_int_equal(tokenizer_adds_bos(tok), expected[i].adds_bos);
        assert_int_equal(tokenizer_ignores_merges(tok), expected[i].ignores_merges);
        assert_int_equal(tokenizer_normalises_nfc(tok), expected[i].nfc);
        assert_int_equal(tokenizer_inexpressible(tok) == NULL, expected[i].expressible);
        assert_false(tokenizer_adds_eos(tok));
        assert_int_equal(strlen(tokenizer_hash(tok)), 64);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(tokenizer_hash(tok), tokenizer_hash(fixture->families[j]));
        assert_int_equal(tokenizer_chat_template(tok) != NULL, i != 0);
    }
    assert_int_equal(tokenizer_id(fixture->families[1], "<|eot_id|>", 10), 128009);
    assert_int_equal(tokenizer_entry(fixture->families[1], 128009).kind, TOKEN_CONTROL);
    assert_int_equal(tokenizer_entry(fixture->families[0], 13).kind, TOKEN_BYTE);
    assert_int_equal(tokenizer_entry(fixture->families[0], 0).kind, TOKEN_UNKNOWN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_components),    cmocka_unit_test(test_edge_texts), cmocka_unit_test(test_facts),
        cmocka_unit_test(test_sample_corpus), cmocka_unit_test(test_corpora),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
