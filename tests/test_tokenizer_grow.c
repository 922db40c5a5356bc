/* test_tokenizer_grow.c - tokens added to a tokenizer: their ids, where they are found, what is refused; and the rows that
 * they get in the embedding and the head of a model, against means that the test computes itself. */
#include "tests/export_fixture.h"

#include "data/tokenizer/tokenizer_grow.h"

static const char sample[] = "data/sample/tokenizer/tokenizer.json";
static const char sample_config[] = "data/sample/tokenizer/tokenizer_config.json";
enum { MAX_TEXT = 1 << 24, NUM_SAMPLE = 4096 };

static char *text_of(const char *path) {
    size_t length_bytes;
    struct err err = {""};
    char *text = file_read_whole(path, MAX_TEXT, &length_bytes, &err);
    assert_non_null(text);
    return text;
}

/* grown - the sample's tokenizer with more, or NULL with err set; *ids: what tokenizer_grow says. */
static struct tokenizer *grown(const struct new_tokens *new, struct new_ids *ids, struct err *err) {
    char *json = text_of(sample), *config = text_of(sample_config);
    struct tokenizer *tok = NULL;
    if (tokenizer_grow(&json, &config, new, "sample", ids, err) == 0)
        tok = tokenizer_parse(json, strlen(json), config, "grown sample", err);
    free(json);
    free(config);
    return tok;
}

/* count_of - how often a text's ids hold one. */
static int count_of(const struct tokenizer *tok, const char *text, unsigned flags, int32_t id) {
    struct err err = {""};
    struct encoder *enc = encoder_open(tok);
    struct token_list list = {0};
    int count = 0;
    assert_int_equal(encoder_encode(enc, text, strlen(text), flags, &list, &err), 0);
    for (int64_t i = 0; i < list.count; i++)
        count += list.ids[i] == id;
    token_list_release(&list);
    encoder_close(enc);
    return count;
}

static const struct new_token two[] = {{"<pv>", false}, {"<|juge|>", true}};

static void test_ids(void **state) {
    (void)state;
    struct err err = {""};
    struct new_ids ids;
    struct new_tokens new = {two, 2, NUM_SAMPLE};
    struct tokenizer *tok = grown(&new, &ids, &err);
    if (!tok)
        fail_msg("%s", err.text);
    assert_int_equal(ids.first, NUM_SAMPLE);
    assert_int_equal(ids.end, NUM_SAMPLE + 2);
    assert_int_equal(tokenizer_vocab_size(tok), NUM_SAMPLE + 2);
    assert_int_equal(tokenizer_id(tok, "<pv>", 4), NUM_SAMPLE);
    assert_int_equal(count_of(tok, "le <pv> et le<pv>\xC3\xA9", ENCODE_PLAIN, NUM_SAMPLE), 2);
    assert_int_equal(count_of(tok, "dit <|juge|> ici", ENCODE_PLAIN, NUM_SAMPLE + 1),
                     0); /* a user may write it */
    assert_int_equal(count_of(tok, "dit <|juge|> ici", ENCODE_PARSE_SPECIAL, NUM_SAMPLE + 1), 1);
    int32_t list[] = {NUM_SAMPLE, NUM_SAMPLE + 1};
    char *text = tokenizer_decode(tok, list, 2, true, NULL);
    assert_string_equal(text, "<pv>");
    free(text);
    struct tokenizer *before = tokenizer_load(sample, &err);
    assert_string_not_equal(tokenizer_hash(tok),
                            tokenizer_hash(before)); /* a token file of the other is refused */
    assert_int_equal(count_of(before, "le <pv>", ENCODE_PLAIN, NUM_SAMPLE), 0);
    tokenizer_free(before);
    tokenizer_free(tok);
    new.num_rows = NUM_SAMPLE + 64; /* padding rows are used first */
    tokenizer_free(grown(&new, &ids, &err));
    assert_int_equal(ids.first, NUM_SAMPLE);
    assert_int_equal(ids.end, NUM_SAMPLE + 2);
    new.num_rows =
        NUM_SAMPLE - 1; /* the sample's last token, <|pad|>, has no row then, and must be listed too */
    assert_null(grown(&new, &ids, &err));
    assert_non_null(strstr(err.text, "'<|pad|>' (4095) has no row in the model's embedding either"));
    const struct new_token three[] = {two[0], two[1], {"<|pad|>", true}};
    new = (struct new_tokens){three, 3, NUM_SAMPLE - 1};
    tok = grown(&new, &ids, &err);
    assert_int_equal(ids.first, NUM_SAMPLE - 1);
    assert_int_equal(ids.end, NUM_SAMPLE + 2);
    assert_int_equal(tokenizer_id(tok, "<|pad|>", 7), NUM_SAMPLE - 1);
    tokenizer_free(tok);
}

static void refused(const char *text, int64_t num_rows, const char *why) {
    struct err err = {""};
    struct new_ids ids;
    struct new_token token = {text, false};
    struct new_tokens new = {&token, 1, num_rows};
    struct tokenizer *tok = grown(&new, &ids, &err);
    if (tok || !strstr(err.text, why))
        fail_msg("'%s' is not in: %s", why, err.text);
}

static void test_refused(void **state) {
    (void)state;
    char long_text[2000];
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    refused("", NUM_SAMPLE, "is empty");
    refused("<|pad|>", NUM_SAMPLE, "it is token 4095 already");
    refused("<|pad|>", 0, "it is token 4095 already");
    refused("on", NUM_SAMPLE, "already"); /* of the vocabulary itself */
    refused(long_text, NUM_SAMPLE, "at most 1024");
    refused("\xff", NUM_SAMPLE, "of UTF-8");
}

/* test_decoder_list - where tokenizer_config.json lists added tokens too, the new ones are there; where it has none, none is
 * made. */
static void test_decoder_list(void **state) {
    (void)state;
    static const char with[] =
        "{\"added_tokens_decoder\": {\"0\": {\"content\": \"x\"}}, \"eos_token\": \"<|end_of_text|>\"}";
    for (int i = 0; i < 2; i++) {
        struct err err = {""};
        struct new_ids ids;
        struct new_tokens new = {two, 2, NUM_SAMPLE};
        char *json = text_of(sample), *config = i ? xstrdup(with) : NULL;
        assert_int_equal(tokenizer_grow(&json, &config, &new, "sample", &ids, &err), 0);
        json_t *root = config ? json_parse_text(config, strlen(config), "config", &err) : NULL;
        if (i) {
            assert_string_equal(json_string_value(json_find(root, "added_tokens_decoder/4097/content")),
                                "<|juge|>");
            assert_true(json_is_true(json_find(root, "added_tokens_decoder/4097/special")));
            assert_true(json_is_false(json_find(root, "added_tokens_decoder/4096/special")));
        } else {
            assert_null(config);
        }
        json_decref(root);
        free(json);
        free(config);
    }
}

/* --- rows --- */

enum { ROWS = 32, FIRST = 29, END = 35 }; /* three rows of padding before, three new ones */

/* read_all - a matrix of the model; the caller's. */
static float *read_all(const struct weights *weights, enum tensor_role role, int64_t *count) {
    struct err err = {""};
    struct param param = param_at(role, 0);
    *count = tensor_count(param_shape(weights_config(weights), param));
    float *values = xcalloc((size_t)*count, sizeof *values);
    assert_int_equal(weights_read(weights, param, 0, *count, values, &err), 0);
    return values;
}

static void check_matrix(const struct weights *before, const struct weights *after, enum tensor_role role) {
    int64_t count, grown_count, width = weights_config(before)->width;
    struct err err = {""};
    float *was = read_all(before, role, &count), *is = read_all(after, role, &grown_count);
    assert_int_equal(count, ROWS * width);
    assert_int_equal(grown_count, END * width);
    assert_memory_equal(is, was, (size_t)(FIRST * width) * sizeof *is);
    for (int64_t c = 0; c < width; c++) {
        double sum = 0;
        for (int64_t row = 0; row < FIRST; row++)
            sum += (double)was[row * width + c];
        float mean = (float)(sum / FIRST);
        for (int64_t row = FIRST; row < END; row++)
            assert_memory_equal(&is[row * width + c], &mean, sizeof mean);
        if (is[(ROWS - 1) * width + c] == was[(ROWS - 1) * width + c])
            fail_msg("a row of padding has the mean already: the comparison sees nothing");
    }
    for (int64_t first = 0; first < grown_count; first += 37) { /* any range has the values of the whole */
        float part[50];
        int64_t now = grown_count - first < 50 ? grown_count - first : 50;
        assert_int_equal(weights_read(after, param_at(role, 0), first, now, part, &err), 0);
        assert_memory_equal(part, is + first, (size_t)now * sizeof *part);
    }
    free(was);
    free(is);
}

static void test_rows(void **state) {
    (void)state;
    struct model model = sample_model(NULL, ROWS);
    char *path = make_folder("untied", &model);
    struct weights *before = open_weights(path), *after = open_weights(path);
    weights_grow(after, FIRST, END);
    assert_int_equal(weights_config(after)->vocab_size, END);
    check_matrix(before, after, ROLE_EMBEDDING);
    check_matrix(before, after, ROLE_HEAD);
    int64_t count;
    float *was = read_all(before, ROLE_GATE, &count), *is = read_all(after, ROLE_GATE, &count);
    assert_memory_equal(is, was, (size_t)count * sizeof *is); /* no other matrix has such rows */
    free(was);
    free(is);
    weights_close(after);
    after = open_weights(path);
    weights_grow(after, FIRST, FIRST + 1); /* one row of padding is used, the others stay as they are */
    assert_int_equal(weights_config(after)->vocab_size, ROWS);
    was = read_all(before, ROLE_EMBEDDING, &count), is = read_all(after, ROLE_EMBEDDING, &count);
    int64_t width = model.config.width;
    assert_memory_equal(is + (FIRST + 1) * width, was + (FIRST + 1) * width,
                        (size_t)((ROWS - FIRST - 1) * width) * 4);
    assert_memory_not_equal(is + FIRST * width, was + FIRST * width, (size_t)width * 4);
    free(was);
    free(is);
    weights_close(before);
    weights_close(after);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_decoder_list), cmocka_unit_test(test_rows)};
    return fixture_run("tokenizer_grow", tests);
}
