/* test_lora.c - adapters that peft wrote, on tiny models of several families: logits, gradients of every pair, ten AdamW steps and
 * merged weights against what peft and transformers computed (tests/golden/README.md), in f32 on one rank, on the device that
 * ATELIER_TEST_DEVICE names.  Controls: without the pairs, with another rate, on another model; and what is not plain LoRA is
 * refused by its key. */
#include "checkpoints/adapter/adapter_config.h"
#include "checkpoints/adapter/adapter_folder.h"
#include "tests/lora_fixture.h"

static const char *const VARIANTS[] = {
    "llama3",  "smollm2",   "qwen3",           "nemotron",          "gemma3",       "phi3", "olmo2",
    "mixtral", "qwen3_moe", "mixtral-experts", "qwen3_moe-experts", "olmoe-experts"};
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
        check_gradients(VARIANTS[v], RECOMPUTE_ATTENTION);
        check_gradients(VARIANTS[v], RECOMPUTE_FFN);
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

/* Pairs on attention with biases and sinks, beside experts that GPUs do not compute yet. */
static void test_gpt_oss(void **state) {
    (void)state;
    const char *device = getenv("ATELIER_TEST_DEVICE");
    if (device && strcmp(device, "cpu") != 0)
        skip();
    check_logits("gpt_oss");
    check_gradients("gpt_oss", RECOMPUTE_NONE);
    check_ten_steps("gpt_oss");
    check_merged_weights("gpt_oss");
}

/* Pairs of all experts in one tensor are read as a pair for each; of another scale or another layout they would give other logits. */
static void test_experts_as_one_parameter(void **state) {
    (void)state;
    check_logits("mixtral-fused");
    check_merged_weights("mixtral-fused");
}

/* Sums of weight times gradient: of all halves, and of those on attention. */
struct said {
    double all, attention;
};

static void add_said(struct said *said, const struct segment *s, const float *w, const float *g) {
    for (int t = 0; t < s->num_tensors; t++) {
        const struct unit_tensor *tensor = &s->tensors[t];
        double sum = 0;
        for (int64_t i = tensor->offset; i < tensor->offset + tensor->count; i++)
            sum += (double)w[i] * (double)g[i];
        said->all += sum;
        said->attention += tensor->spec->traits & PARAM_EXPERT ? 0 : sum;
    }
}

/* scale_half - every A, or every B; returns what their gradients say of it. */
static struct said scale_half(struct fixture *f, const struct update_rule *rule, float factor) {
    struct said said = {0, 0};
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, rule));) {
        struct tensor weights = tensor_1d(s->master, DTYPE_F32, s->count);
        float *w = xmalloc(tensor_bytes(weights)), *g = xmalloc(tensor_bytes(weights));
        device_download(&f->dev, w, weights);
        device_download(&f->dev, g, tensor_1d(params_own_grad(&f->params, s), DTYPE_F32, s->count));
        add_said(&said, s, w, g);
        for (int64_t i = 0; i < s->count; i++)
            w[i] *= factor;
        device_upload(&f->dev, weights, w);
        free(w), free(g);
    }
    params_refresh(&f->params, NULL);
    return said;
}

/* Of pairs on experts: the slope of the loss, when all A or all B grow by a little, is what their gradients say, and not
 * what those of the pairs on attention say alone. */
static void test_slopes(void **state) {
    (void)state;
    const struct update_rule *rules[] = {&adamw_rule, &adamw_pair_b_rule};
    const float step = 0.02f;
    for (int half = 0; half < 2; half++) {
        struct fixture f;
        double losses[2];
        struct said said;
        for (int way = 0; way < 2; way++) {
            fixture_open(&f, "mixtral-experts", RECOMPUTE_NONE);
            gradients(&f);
            said = scale_half(&f, rules[half], way ? 1 + step : 1 - step);
            losses[way] = gradients(&f);
            fixture_close(&f);
        }
        double slope = (losses[1] - losses[0]) / (2 * (double)step);
        print_message("all %s: slope %.6f, by the gradients %.6f\n", half ? "B" : "A", slope, said.all);
        assert_true(fabs(slope - said.all) < 5e-3 * fabs(slope));
        assert_true(fabs(slope - said.attention) > 5e-2 * fabs(slope));
    }
}

/* expect_parameters_refused - the adapter of experts as one parameter beside words that do not name it so. */
static void expect_parameters_refused(const char *text, const char *sentence) {
    struct err err = {""};
    struct model_config model;
    size_t bytes;
    struct weights *base = weights_open("tests/golden/models/mixtral", &err);
    model = *weights_config(base);
    char *folder = test_folder("test_lora"), *config = xasprintf("%s/adapter_config.json", folder),
         *pairs = xasprintf("%s/adapter_model.safetensors", folder);
    char *tensors =
        file_read_whole("tests/golden/lora/mixtral-fused/adapter_model.safetensors", 1 << 20, &bytes, &err);
    assert_non_null(tensors);
    assert_int_equal(file_create(pairs, tensors, bytes, &err), 0);
    assert_int_equal(file_create(config, text, strlen(text), &err), 0);
    assert_null(adapter_folder_open(folder, &model, &err));
    if (!strstr(err.text, sentence))
        fail_msg("'%s' is not in '%s'", sentence, err.text);
    weights_close(base);
    free(tensors), free(pairs), free(config), free(folder);
}

static void test_parameters_are_named(void **state) {
    (void)state;
    expect_parameters_refused(
        "{\"peft_type\":\"LORA\",\"lora_alpha\":4,\"r\":2,\"target_modules\":[\"q_proj\"],"
        "\"target_parameters\":[\"mlp.experts.gate_up_proj\"]}",
        "target_parameters does not name 'down_proj'");
}

/* What is written says what was read. */
static void test_config_text(void **state) {
    (void)state;
    for (int v = 0; v < NUM_VARIANTS; v++) {
        struct fixture f;
        open_files(&f, VARIANTS[v]);
        char *folder = test_folder("test_lora"), *path = xasprintf("%s/adapter_config.json", folder);
        char *text = adapter_config_text(&f.config, "a/base");
        struct err err = {""};
        struct adapter_words words;
        if (file_create(path, text, strlen(text), &err) || adapter_config_read(&words, folder, &err))
            fail_msg("%s", err.text);
        assert_string_equal(words.base, "a/base");
        assert_true(words.rank_stabilised == f.config.adapter.rank_stabilised);
        for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
            assert_true(f.config.adapter.ranks[t] == 0 || words.alphas[t] == f.config.adapter.alphas[t]);
        adapter_words_free(&words);
        free(text);
        free(path);
        free(folder);
        close_files(&f);
    }
}

/* expect_refused - an adapter with this adapter_config.json beside llama3's tensors. */
static void expect_refused(const char *text, const char *sentence) {
    struct err err = {""};
    size_t bytes;
    char *folder = test_folder("test_lora"), *config = xasprintf("%s/adapter_config.json", folder);
    char *pairs = xasprintf("%s/adapter_model.safetensors", folder);
    char *tensors =
        file_read_whole("tests/golden/lora/llama3/adapter_model.safetensors", 1 << 20, &bytes, &err);
    assert_non_null(tensors);
    assert_int_equal(file_create(pairs, tensors, bytes, &err), 0);
    assert_int_equal(file_create(config, text, strlen(text), &err), 0);
    struct weights *w = weights_open_adapter(folder, "tests/golden/models/llama3", &err);
    if ((w != NULL) != (sentence == NULL) || (sentence && !strstr(err.text, sentence)))
        fail_msg("'%s' is not in '%s'", sentence ? sentence : "nothing", err.text);
    weights_close(w);
    free(tensors);
    free(pairs);
    free(config);
    free(folder);
}

static void put_file(const char *folder, const char *name, const char *bytes, size_t count) {
    struct err err = {""};
    char *path = xasprintf("%s/%s", folder, name);
    if (file_create(path, bytes, count, &err) != 0)
        fail_msg("%s", err.text);
    free(path);
}

static void copy_file(const char *folder, const char *name) {
    struct err err = {""};
    size_t bytes;
    char *path = xasprintf("tests/golden/lora/llama3/%s", name);
    char *text = file_read_whole(path, 1 << 20, &bytes, &err);
    if (!text)
        fail_msg("%s", err.text);
    put_file(folder, name, text, bytes);
    free(text);
    free(path);
}

/* What a training on conversations taught to end with stands beside the adapter, not in its base, which ends with 2. */
static void test_end_tokens(void **state) {
    (void)state;
    struct err err = {""};
    static const char ends[] = "{\"eos_token_id\": [9, 2, 1000000, \"x\"]}";
    char *folder = test_folder("test_lora_ends");
    copy_file(folder, "adapter_config.json");
    copy_file(folder, "adapter_model.safetensors");
    put_file(folder, "generation_config.json", ends, strlen(ends));
    struct weights *w = weights_open_adapter(folder, "tests/golden/models/llama3", &err);
    assert_int_equal(weights_config(w)->num_eos,
                     1); /* the control: made elsewhere, its small files are the base's */
    assert_string_equal(weights_folder(w), "tests/golden/models/llama3");
    weights_close(w);
    put_file(folder, "tokenizer.json", "{}", 2);
    put_file(folder, "provenance.json", "{}", 2);
    w = weights_open_adapter(folder, "tests/golden/models/llama3", &err);
    assert_int_equal(weights_config(w)->num_eos, 2);
    assert_int_equal(weights_config(w)->eos_ids[0], 9);
    assert_int_equal(weights_config(w)->eos_ids[1], 2);
    assert_string_equal(weights_folder(w), folder);
    weights_close(w);
    free(folder);
}

#define ALL_TARGETS                                                                                          \
    "[\"q_proj\", \"k_proj\", \"v_proj\", \"o_proj\", \"gate_proj\", \"up_proj\", \"down_proj\"]"
#define PLAIN "\"peft_type\": \"LORA\", \"lora_alpha\": 8"

static void test_what_is_refused(void **state) {
    (void)state;
    struct err err = {""};
    expect_refused("{" PLAIN "}", NULL); /* the control */
    expect_refused("{" PLAIN ", \"bias\": \"none\", \"modules_to_save\": [], \"use_dora\": false}", NULL);
    expect_refused("{" PLAIN ", \"use_dora\": true}",
                   "use_dora is true, and lengths of rows (lora_magnitude_vector) are not there");
    expect_refused("{" PLAIN ", \"modules_to_save\": [\"lm_head\"]}",
                   "modules_to_save is set, but no tensor");
    expect_refused("{" PLAIN ", \"bias\": \"all\"}", "'bias' is set");
    expect_refused("{" PLAIN ", \"new_arithmetic\": 2}", "'new_arithmetic' is set: which is not known here");
    expect_refused("{" PLAIN ", \"init_lora_weights\": \"pissa\"}", "init_lora_weights is 'pissa'");
    expect_refused("{" PLAIN ", \"alpha_pattern\": {\"layers.0.self_attn.q_proj\": 4}}", "alpha_pattern has");
    expect_refused("{" PLAIN ", \"r\": 4, \"rank_pattern\": {\"q_proj\": 4}, \"target_modules\": " ALL_TARGETS
                   ", \"exclude_modules\": [\"j_proj\"], \"layers_to_transform\": [0, 1]}",
                   NULL); /* the control of those that follow */
    expect_refused("{" PLAIN ", \"r\": 8, \"rank_pattern\": {\".*_proj\": 4}, \"target_modules\": \".*\"}",
                   NULL);
    expect_refused("{" PLAIN ", \"r\": 8}", "the rank by 'r' is not that of tensor");
    expect_refused("{" PLAIN ", \"r\": 0}", "the rank by 'r' is not that of tensor");
    expect_refused("{" PLAIN ", \"r\": 4, \"rank_pattern\": {\"q_proj\": 2}}", "the rank by 'q_proj'");
    expect_refused("{" PLAIN ", \"target_modules\": [\"v_proj\"]}", "target_modules does not name");
    expect_refused("{" PLAIN ", \"target_modules\": [\"_proj\"]}", "target_modules does not name");
    expect_refused("{" PLAIN ", \"target_modules\": " ALL_TARGETS
                   ", \"exclude_modules\": [\"self_attn.q_proj\"]}",
                   "exclude_modules names the module of tensor");
    expect_refused("{" PLAIN ", \"layers_to_transform\": [0]}",
                   "layers_to_transform does not have the layer");
    expect_refused("{" PLAIN ", \"layers_to_transform\": 0}", "layers_to_transform does not have the layer");
    expect_refused("{\"peft_type\": \"LOHA\"}", "peft_type is 'LOHA'");
    expect_refused("{\"peft_type\": \"LORA\"}", "lora_alpha");
    expect_refused("{" PLAIN ", \"lora_alpha\": 8}", "duplicate");
    expect_refused("{\"peft_type\": \"LORA\", \"lora_alpha\": 1e300}", "expected a number of at most 1e6");
    struct weights *w = weights_open_adapter("tests/golden/lora/llama3", "tests/golden/models/mistral", &err);
    assert_null(w);
    assert_non_null(strstr(err.text, "the model asks for"));
    w = weights_open_adapter("tests/golden/lora/llama3", "tests/golden/models/nemotron", &err);
    assert_null(w);
    assert_non_null(strstr(err.text, "belongs to no linear module of a nemotron"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_ten_steps),
        cmocka_unit_test(test_merged_weights),
        cmocka_unit_test(test_config_text),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_end_tokens),
        cmocka_unit_test(test_experts_as_one_parameter),
        cmocka_unit_test(test_parameters_are_named),
        cmocka_unit_test(test_slopes),
        cmocka_unit_test(test_gpt_oss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
