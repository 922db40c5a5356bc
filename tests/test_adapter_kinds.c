/* test_adapter_kinds.c - adapters that are more than plain pairs, as peft wrote them, on tiny models: logits, gradients of all that is
 * trained, ten AdamW steps and merged weights against what peft and transformers computed (tests/golden/README.md), in f32 on one
 * rank, on the device that ATELIER_TEST_DEVICE names.  Pairs with a dropout are compared under the masks of that dropout,
 * which the golden file's script draws by itself. */
#include "checkpoints/adapter/adapter_config.h"
#include "tests/lora_fixture.h"

static const char *const VARIANTS[] = {"llama3-dropout",   "qwen3-modules", "smollm2-modules",
                                       "nemotron-modules", "llama3-dora",   "qwen2-dora",
                                       "phi3-dora"};
enum { NUM_VARIANTS = sizeof VARIANTS / sizeof VARIANTS[0] };

static void test_logits(void **state) {
    (void)state;
    for (int v = 0; v < NUM_VARIANTS; v++)
        check_logits(VARIANTS[v]);
}

static void test_gradients(void **state) {
    (void)state;
    for (int v = 0; v < NUM_VARIANTS; v++) {
        check_gradients(VARIANTS[v], RECOMPUTE_NONE);
        check_gradients(VARIANTS[v], RECOMPUTE_LAYER);
    }
}

static void test_ten_steps(void **state) {
    (void)state;
    for (int v = 0; v < NUM_VARIANTS; v++)
        check_ten_steps(VARIANTS[v]);
}

static void test_merged_weights(void **state) {
    (void)state;
    for (int v = 0; v < NUM_VARIANTS; v++)
        check_merged_weights(VARIANTS[v]);
}

/* expect_config - that what is written of a variant has this text, and is read as what it was. */
static void expect_config(const char *variant, const char *sentence) {
    struct fixture f;
    struct err err = {""};
    struct adapter_words words;
    open_files(&f, variant);
    char *text = adapter_config_text(&f.config, "a/base"), *folder = test_folder("test_adapter_kinds");
    char *path = xasprintf("%s/adapter_config.json", folder);
    if (!strstr(text, sentence))
        fail_msg("'%s' is not in %s", sentence, text);
    if (file_create(path, text, strlen(text), &err) || adapter_config_read(&words, folder, &err))
        fail_msg("%s", err.text);
    assert_true(words.names_whole == (f.config.adapter.whole != 0));
    adapter_words_free(&words);
    free(text), free(path), free(folder);
    close_files(&f);
}

/* The modules as peft's save_pretrained names them; of a head that is the embedding, both. */
static void test_config_text(void **state) {
    (void)state;
    expect_config("llama3-dropout", "\"modules_to_save\": null");
    expect_config("nemotron-modules",
                  "\"modules_to_save\": [\n    \"model.norm\",\n    \"input_layernorm\",\n    "
                  "\"post_attention_layernorm\"\n  ]");
    expect_config("smollm2-modules", "\"modules_to_save\": [\n    \"embed_tokens\",\n    \"lm_head\"\n  ]");
}

/* What a copy of a variant has otherwise: a bit of its first tensor, a word of adapter_config.json of the same length. */
struct change {
    bool flips;
    const char *from, *to;
};

/* apply - to the text of one of the two files. */
static void apply(struct change change, const char *name, char *text) {
    bool is_config = strcmp(name, "adapter_config.json") == 0;
    uint64_t header_bytes; /* of the header, in front of it */
    memcpy(&header_bytes, text, sizeof header_bytes);
    if (!is_config && change.flips)
        text[sizeof header_bytes + header_bytes] ^= 1;
    if (!is_config || !change.from)
        return;
    char *word = strstr(text, change.from);
    assert_non_null(word);
    memcpy(word, change.to, strlen(change.to));
}

/* copy_variant - into a folder of its own, malloc'ed. */
static char *copy_variant(const char *variant, struct change change) {
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
    char *folder = test_folder("test_adapter_kinds");
    struct err err = {""};
    for (int i = 0; i < 2; i++) {
        size_t bytes;
        char *from = xasprintf("tests/golden/lora/%s/%s", variant, names[i]),
             *to = xasprintf("%s/%s", folder, names[i]);
        char *text = file_read_whole(from, 1 << 20, &bytes, &err);
        assert_non_null(text);
        apply(change, names[i], text);
        assert_int_equal(file_create(to, text, bytes, &err), 0);
        free(from), free(to), free(text);
    }
    return folder;
}

/* expect_open - sentence NULL: that it opens. */
static void expect_open(const char *variant, struct change change, const char *sentence) {
    struct err err = {""};
    char *folder = copy_variant(variant, change);
    char *base = xasprintf("tests/golden/models/%.*s", (int)strcspn(variant, "-"), variant);
    struct weights *weights = weights_open_adapter(folder, base, &err);
    if ((weights != NULL) != (sentence == NULL) || (sentence && !strstr(err.text, sentence)))
        fail_msg("'%s' is not in '%s'", sentence ? sentence : "nothing", err.text);
    weights_close(weights);
    free(folder), free(base);
}

/* The first tensor of smollm2's file is the head, equal to the embedding until a bit of it is another. */
static void test_what_is_refused(void **state) {
    (void)state;
    struct change none = {.flips = false}, bit = {.flips = true};
    struct change untied = {.from = "\"ensure_weight_tying\": true", .to = "\"ensure_weight_tying\": null"};
    struct change plain = {.from = "\"use_dora\": true", .to = "\"use_dora\": null"};
    expect_open("smollm2-modules", none, NULL); /* the controls */
    expect_open("smollm2-modules", untied, NULL);
    expect_open("llama3-dora", bit, NULL);
    expect_open("smollm2-modules", bit, "the adapter has them apart");
    expect_open("llama3-dora", plain,
                "use_dora is false, and lengths of rows (lora_magnitude_vector) are there");
}

/* Another step, seed or place of the rows is another mask; without places there is no training, and evaluation needs none. */
static void test_what_a_mask_depends_on(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, "llama3-dropout", RECOMPUTE_NONE);
    double first = gradients(&f), whole = model_evaluate(&f.model, NULL, &f.batch) / f.num_targets;
    assert_true(gradients(&f) == first);
    assert_true(fabs(whole - first) > 1e-3);
    f.batch.step = 1;
    assert_true(fabs(gradients(&f) - first) > 1e-3);
    f.batch.step = 0;
    f.model.setup.seed++;
    assert_true(fabs(gradients(&f) - first) > 1e-3);
    f.model.setup.seed--;
    f.places[5] = 1000;
    assert_true(gradients(&f) != first);
    f.places[5] = 5;
    assert_true(gradients(&f) == first);
    f.batch.places = NULL;
    assert_true(model_evaluate(&f.model, NULL, &f.batch) / f.num_targets == whole);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_ten_steps),
        cmocka_unit_test(test_merged_weights),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_config_text),
        cmocka_unit_test(test_what_a_mask_depends_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
