/* test_lora.c - adapters that peft wrote, on tiny models of several families: logits, gradients of every pair, ten AdamW steps and
 * merged weights against what peft and transformers computed (tests/golden/README.md), in f32 on one rank, on the device that
 * ATELIER_TEST_DEVICE names.  Controls: without the pairs, with another rate, on another model; and what is not plain LoRA is
 * refused by its key. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/adapter/adapter_config.h"
#include "checkpoints/files.h"
#include "checkpoints/safetensors/safetensors.h"
#include "checkpoints/weights.h"
#include "data/corpus/json.h"
#include "tests/check.h"
#include "train/model/model.h"
#include "train/model/optimizer.h"
#include "train/model/shard.h"
#include "train/model/state.h"

enum { ROWS = 2, ROW_TOKENS = 24, NUM_TOKENS = ROWS * ROW_TOKENS };

static const char *const VARIANTS[] = {"llama3", "smollm2", "qwen3", "nemotron", "gemma3"};
enum { NUM_VARIANTS = sizeof VARIANTS / sizeof VARIANTS[0] };

/* An adapter on its base, ready to be trained. */
struct fixture {
    char *folder, *base;
    struct st_files *expected, *inputs;
    json_t *numbers;
    struct weights *weights;
    struct model_config config;
    struct device dev;
    struct params params;
    struct model model;
    int32_t tokens[NUM_TOKENS], targets[NUM_TOKENS], row_start[NUM_TOKENS], positions[NUM_TOKENS];
    float target_weights[NUM_TOKENS];
    double num_targets;
    struct batch batch;
};

static float *read_tensor(const struct st_files *files, const char *name, int64_t *count) {
    struct err err = {""};
    int64_t index = st_find(files, name);
    if (index < 0)
        fail_msg("there is no tensor %s", name);
    *count = st_entry(files, index).count;
    float *values = xmalloc((size_t)*count * sizeof *values);
    if (st_read_f32(files, index, 0, *count, values, &err))
        fail_msg("%s", err.text);
    return values;
}

static void read_ints(const struct fixture *f, const char *name, int32_t *out) {
    int64_t count;
    float *values = read_tensor(f->inputs, name, &count);
    assert_int_equal(count, NUM_TOKENS);
    for (int i = 0; i < NUM_TOKENS; i++)
        out[i] = (int32_t)values[i];
    free(values);
}

static void make_batch(struct fixture *f) {
    int32_t documents[NUM_TOKENS];
    read_ints(f, "tokens", f->tokens);
    read_ints(f, "targets", f->targets);
    read_ints(f, "positions", f->positions);
    read_ints(f, "documents", documents);
    f->num_targets = 0;
    for (int i = 0; i < NUM_TOKENS; i++) {
        bool first = i % ROW_TOKENS == 0 || documents[i] != documents[i - 1];
        f->row_start[i] = first ? i : f->row_start[i - 1];
        f->target_weights[i] = f->targets[i] >= 0 ? 1.0f : 0.0f;
        f->num_targets += (double)f->target_weights[i];
        if (f->targets[i] < 0)
            f->targets[i] = 0;
    }
    f->batch = (struct batch){.num_tokens = NUM_TOKENS,
                              .tokens = f->tokens,
                              .targets = f->targets,
                              .row_start = f->row_start,
                              .positions = f->positions,
                              .weights = f->target_weights};
}

static struct st_files *open_expected(const char *folder) {
    struct err err = {""};
    char *path = xasprintf("%s/expected.safetensors", folder);
    struct st_files *files = st_open(path, &err);
    if (!files)
        fail_msg("%s", err.text);
    free(path);
    return files;
}

/* open_files - the adapter's folder with what is expected, on its base; base NULL: as the adapter names it. */
static void open_files(struct fixture *f, const char *name) {
    struct err err = {""};
    memset(f, 0, sizeof *f);
    f->folder = xasprintf("tests/golden/lora/%s", name);
    f->base = xasprintf("tests/golden/models/%s", name);
    char *json = xasprintf("%s/expected.json", f->folder);
    f->expected = open_expected(f->folder);
    f->inputs = open_expected(f->base);
    f->numbers = json_load_path(json, 1 << 20, &err);
    f->weights = f->numbers ? weights_open_adapter(f->folder, NULL, &err) : NULL;
    if (!f->weights)
        fail_msg("%s", err.text);
    free(json);
    f->config = *weights_config(f->weights);
}

static void fixture_open(struct fixture *f, const char *name, enum recompute recompute) {
    struct err err = {""};
    open_files(f, name);
    struct params_setup params_setup = {.model = &f->config,
                                        .compute = DTYPE_F32,
                                        .optimizer = &optimizer_adamw,
                                        .trains = true,
                                        .num_ranks = 1};
    struct model_setup model_setup = {.config = &f->config,
                                      .max_tokens = NUM_TOKENS,
                                      .max_positions = ROW_TOKENS,
                                      .compute = DTYPE_F32,
                                      .recompute = recompute,
                                      .trains = true};
    test_device_open(&f->dev, 1);
    params_create(&f->params, &f->dev, &params_setup);
    model_create(&f->model, &f->dev, &f->params, &model_setup);
    if (state_load_weights(&f->params, f->weights, value_type_of(DTYPE_F32), &err))
        fail_msg("%s", err.text);
    params_refresh(&f->params, NULL);
    make_batch(f);
}

static void close_files(struct fixture *f) {
    weights_close(f->weights);
    st_close(f->expected);
    st_close(f->inputs);
    json_decref(f->numbers);
    free(f->folder);
    free(f->base);
}

static void fixture_close(struct fixture *f) {
    model_free(&f->model);
    params_free(&f->params);
    device_close(&f->dev);
    close_files(f);
}

static double number(const struct fixture *f, const char *key) {
    double value;
    struct err err = {""};
    if (json_get_double(f->numbers, key, &value, &err))
        fail_msg("%s", err.text);
    return value;
}

static double listed(const struct fixture *f, const char *key, size_t index) {
    json_t *list;
    struct err err = {""};
    assert_int_equal(json_get_array(f->numbers, key, &list, &err), 0);
    return json_number_value(json_array_get(list, index));
}

static double gradients(struct fixture *f) {
    params_grad_reset(&f->params);
    double loss = model_train(&f->model, NULL, &f->batch, (float)(1.0 / f->num_targets));
    params_grad_finish(&f->params, NULL, NULL);
    return loss / f->num_targets;
}

static double logits_error(struct fixture *f) {
    int64_t count;
    float *want = read_tensor(f->expected, "logits", &count), *got = xmalloc((size_t)count * sizeof *got);
    assert_int_equal(count, NUM_TOKENS * f->config.vocab_size);
    model_logits(&f->model, NULL, &f->batch, got);
    double error = relative_error(got, want, count);
    free(got);
    free(want);
    return error;
}

/* scale_b - every B multiplied. */
static void scale_b(struct fixture *f, float factor) {
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, &adamw_pair_b_rule));) {
        struct tensor b = tensor_1d(s->master, DTYPE_F32, s->count);
        float *values = xmalloc(tensor_bytes(b));
        device_download(&f->dev, values, b);
        for (int64_t i = 0; i < s->count; i++)
            values[i] *= factor;
        device_upload(&f->dev, b, values);
        free(values);
    }
    params_refresh(&f->params, NULL);
}

static void test_logits(void **state) {
    (void)state;
    for (int v = 0; v < NUM_VARIANTS; v++) {
        struct fixture f;
        fixture_open(&f, VARIANTS[v], RECOMPUTE_NONE);
        double error = logits_error(&f);
        print_message("%-9s logits: relative error %.2e\n", VARIANTS[v], error);
        assert_true(error < 1e-5);
        scale_b(&f, 1.001f); /* the controls: a scale a little off; no pairs */
        assert_true(logits_error(&f) > 1e-5);
        scale_b(&f, 0);
        assert_true(logits_error(&f) > 1e-3);
        fixture_close(&f);
    }
}

/* worst_pair - of a tensor of every half, grad or final, against the golden file. */
static double worst_pair(struct fixture *f, const char *prefix, bool of_weights, int *num_compared) {
    double worst = 0;
    *num_compared = 0;
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, NULL));)
        for (int i = 0; i < s->num_tensors; i++) {
            char name[PARAM_NAME_ROOM], full[PARAM_NAME_ROOM + 16];
            const struct unit_tensor *t = &s->tensors[i];
            int64_t count;
            snprintf(full, sizeof full, "%s%s", prefix, param_name(&f->config, t->param, name));
            float *want = read_tensor(f->expected, full, &count);
            assert_int_equal(count, t->count);
            const float *all = of_weights ? s->master : params_own_grad(&f->params, s);
            float *got = xmalloc((size_t)count * sizeof *got);
            device_download(&f->dev, got, tensor_1d((float *)(uintptr_t)(all + t->offset), DTYPE_F32, count));
            worst = fmax(worst, relative_error(got, want, count));
            (*num_compared)++;
            free(got);
            free(want);
        }
    return worst;
}

static int num_pairs(const struct model_config *config) {
    struct param at = PARAM_START;
    int count = 0;
    while (family_next_param(config, &at))
        count += role_is_pair(at.role);
    return count;
}

static void check_gradients(enum recompute recompute) {
    for (int v = 0; v < NUM_VARIANTS; v++) {
        struct fixture f;
        int num_compared;
        fixture_open(&f, VARIANTS[v], recompute);
        double loss = gradients(&f), want = listed(&f, "run/loss", 0);
        double error = worst_pair(&f, "grad.", false, &num_compared);
        print_message("%-9s %d gradients: relative error %.2e\n", VARIANTS[v], num_compared, error);
        assert_true(fabs(loss - want) < 1e-5 * want);
        assert_true(error < 1e-5);
        assert_int_equal(num_compared, num_pairs(&f.config));
        scale_b(&f, 1.001f); /* the control */
        gradients(&f);
        assert_true(worst_pair(&f, "grad.", false, &num_compared) > 1e-5);
        fixture_close(&f);
    }
}

static void test_gradients(void **state) {
    (void)state;
    check_gradients(RECOMPUTE_NONE);
    check_gradients(RECOMPUTE_LAYER);
}

/* ten_steps - the run of the golden file; returns the largest relative error of losses and gradient norms. */
static double ten_steps(struct fixture *f, double ratio_factor) {
    struct config config = {.adapter.b_rate_ratio = number(f, "b_learning_rate_ratio") * ratio_factor};
    double worst = 0;
    config.optimizer.beta1 = number(f, "adamw/beta1");
    config.optimizer.beta2 = number(f, "adamw/beta2");
    config.optimizer.eps = number(f, "adamw/eps");
    config.optimizer.weight_decay = number(f, "adamw/weight_decay");
    config.train.grad_clip = number(f, "adamw/max_grad_norm");
    for (int step = 1; step <= 10; step++) {
        double loss = gradients(f), norm = optimizer_grad_norm(&f->params, NULL);
        double want_loss = listed(f, "run/loss", (size_t)step - 1);
        double want_norm = listed(f, "run/grad_norm", (size_t)step - 1);
        worst = fmax(worst, fmax(fabs(loss - want_loss) / want_loss, fabs(norm - want_norm) / want_norm));
        struct optimizer_step update = {step, number(f, "adamw/lr"), norm, 1.0};
        optimizer_update(&f->params, NULL, &config, &update);
        params_publish(&f->params, NULL);
    }
    return worst;
}

static void test_ten_steps(void **state) {
    (void)state;
    for (int v = 0; v < NUM_VARIANTS; v++) {
        struct fixture f;
        int num_compared;
        fixture_open(&f, VARIANTS[v], RECOMPUTE_NONE);
        double worst = ten_steps(&f, 1), error = worst_pair(&f, "final.", true, &num_compared);
        print_message("%-9s ten AdamW steps: losses and norms %.2e, final pairs %.2e\n", VARIANTS[v], worst,
                      error);
        assert_true(worst < 1e-5);
        assert_true(error < 1e-5);
        fixture_close(&f);
        fixture_open(&f, VARIANTS[v], RECOMPUTE_NONE); /* the control: a rate of B that is 1 % off */
        assert_true(ten_steps(&f, 1.01) > 1e-5);
        fixture_close(&f);
    }
}

/* check_merged - the matrices of the golden file, read whole and in odd pieces. */
static void check_merged(const struct fixture *f, const struct weights *plain) {
    static const enum tensor_role roles[] = {ROLE_QUERY, ROLE_KEY, ROLE_DOWN};
    struct err err = {""};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        struct param param = param_at(roles[i], 0);
        char name[PARAM_NAME_ROOM], full[PARAM_NAME_ROOM + 16];
        int64_t count;
        snprintf(full, sizeof full, "merged.%s", param_name(&f->config, param, name));
        float *want = read_tensor(f->expected, full, &count), *got = xmalloc((size_t)count * sizeof *got);
        for (int64_t first = 0, now; first < count; first += now) {
            now = count - first < 17 ? count - first : 17;
            assert_int_equal(weights_read(f->weights, param, first, now, got + first, &err), 0);
        }
        assert_true(relative_error(got, want, count) < 1e-6);
        assert_int_equal(weights_read(plain, param, 0, count, got, &err), 0); /* the control */
        bool has_pair = adapter_has(&f->config, roles[i], 0);
        assert_true(has_pair == (relative_error(got, want, count) > 1e-3));
        free(got);
        free(want);
    }
}

static void test_merged_weights(void **state) {
    (void)state;
    for (int v = 0; v < NUM_VARIANTS; v++) {
        struct err err = {""};
        struct fixture f;
        open_files(&f, VARIANTS[v]);
        struct weights *plain = weights_open(f.base, &err);
        assert_non_null(plain);
        weights_merge(f.weights);
        assert_false(model_has_adapter(weights_config(f.weights)));
        check_merged(&f, plain);
        weights_close(plain);
        close_files(&f);
    }
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

#define PLAIN "\"peft_type\": \"LORA\", \"lora_alpha\": 8"

static void test_what_is_refused(void **state) {
    (void)state;
    struct err err = {""};
    expect_refused("{" PLAIN "}", NULL); /* the control */
    expect_refused("{" PLAIN ", \"bias\": \"none\", \"modules_to_save\": [], \"use_dora\": false}", NULL);
    expect_refused("{" PLAIN ", \"use_dora\": true}", "'use_dora' is set: DoRA");
    expect_refused("{" PLAIN ", \"modules_to_save\": [\"lm_head\"]}", "'modules_to_save' is set");
    expect_refused("{" PLAIN ", \"bias\": \"all\"}", "'bias' is set");
    expect_refused("{" PLAIN ", \"new_arithmetic\": 2}", "'new_arithmetic' is set: which is not known here");
    expect_refused("{" PLAIN ", \"init_lora_weights\": \"pissa\"}", "init_lora_weights is 'pissa'");
    expect_refused("{" PLAIN ", \"alpha_pattern\": {\"layers.0.self_attn.q_proj\": 4}}", "alpha_pattern has");
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
        cmocka_unit_test(test_logits),      cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_ten_steps),   cmocka_unit_test(test_merged_weights),
        cmocka_unit_test(test_config_text), cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_end_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
