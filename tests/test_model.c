/* test_model.c - logits, loss, gradients and ten AdamW steps of tiny models of every supported family,
 * against what transformers computed (tests/golden/README.md), in f32 on one rank, on the device that
 * ATELIER_TEST_DEVICE names.  The packed rows are
 * computed in one go, the expected logits document by document: so packing is tested as well. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model_fixture.h"

static const char *const VARIANTS[] = {
    "llama2",       "llama3",     "llama32_tied",    "mistral",    "smollm2",  "lucie",
    "croissant",    "eurollm",    "qwen3",           "qwen3_tied", "nemotron", "nemotron_wide",
    "qwen2",        "qwen2_tied", "olmo2",           "smollm3",    "yarn",     "ministral3",
    "gemma3",       "gemma3_old", "mistral_window",  "ministral",  "gemma2",   "olmo3",
    "proportional", "apertus",    "apertus_tied",    "granite",    "phi3",     "gpt_oss",
    "mixtral",      "qwen3_moe",  "qwen3_moe_dense", "olmoe",      "glm4_moe", "glm4_moe_air"};

/* Those with experts come last. */
enum { NUM_WITH_EXPERTS = 7, NUM_VARIANTS = sizeof VARIANTS / sizeof *VARIANTS };

/* num_variants - on the kernels' stand-in, where each with experts takes ten seconds, the first of these is the last one, but for
 * WHOLE=1. */
static size_t num_variants(void) {
    return getenv("SIMT_ARCH") && !getenv("WHOLE") ? NUM_VARIANTS - NUM_WITH_EXPERTS + 1 : NUM_VARIANTS;
}

/* has_steps - whether the optimizer's steps of this variant are computed as well.  On the kernels' stand-in, where they take five times
 * as long as all else here, those of four are, but for WHOLE=1: their kernels are those of every model. */
static bool has_steps(const char *variant) {
    static const char *const SAMPLE[] = {"llama3", "qwen2_tied", "nemotron", "apertus"};
    bool is_whole = !getenv("SIMT_ARCH") || getenv("WHOLE");
    for (size_t i = 0; !is_whole && i < sizeof SAMPLE / sizeof *SAMPLE; i++)
        is_whole = strcmp(SAMPLE[i], variant) == 0;
    return is_whole;
}

/* logits_error - of the whole batch against a tensor of the golden file. */
static double logits_error(struct fixture *f, const char *name) {
    int64_t count;
    float *want = read_expected(f, name, &count);
    float *got = xmalloc((size_t)count * sizeof *got);
    assert_int_equal(count, NUM_TOKENS * f->config.vocab_size);
    model_logits(&f->model, NULL, &f->batch, got);
    double error = relative_error(got, want, count);
    free(got);
    free(want);
    return error;
}

static void test_logits(void **state) {
    (void)state;
    for (size_t v = 0, count = num_variants(); v < count; v++) {
        struct fixture f;
        fixture_open(&f, VARIANTS[v], RECOMPUTE_NONE, 0);
        double error = logits_error(&f, "logits");
        print_message("%-14s logits: relative error %.2e\n", VARIANTS[v], error);
        assert_true(error < 1e-5);
        fixture_close(&f);
    }
}

/* The control: rotary pairs in the other order, no llama3 scaling, attention across documents: all must show.
 */
static void test_wrong_logits_are_noticed(void **state) {
    (void)state;
    static const char *const WRONG[] = {"logits.interleaved_rope", "logits.unscaled_rope",
                                        "logits.across_documents"};
    struct fixture f;
    fixture_open(&f, "llama3", RECOMPUTE_NONE, 0);
    struct err err = {""};
    struct st_files *right = f.expected;
    f.expected = st_open("tests/golden/models/llama3_wrong/expected.safetensors", &err);
    assert_non_null(f.expected);
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++)
        assert_true(logits_error(&f, WRONG[i]) > 1e-3);
    st_close(f.expected);
    f.expected = right;
    fixture_close(&f);
}

/* Longrope: the factors of long texts where a run's are longer than the original positions, and back. */
static void test_longest(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, "phi3", RECOMPUTE_NONE, 0);
    f.config.rope_original_positions = ROW_TOKENS - 1;
    model_set_longest(&f.model, ROW_TOKENS);
    assert_true(logits_error(&f, "logits") > 1e-2);
    f.config.rope_original_positions = ROW_TOKENS;
    model_set_longest(&f.model, ROW_TOKENS);
    assert_true(logits_error(&f, "logits") < 1e-5);
    fixture_close(&f);
}

struct compare {
    struct fixture *f;
    const char *prefix;
    bool masters;
    double worst;
    int num_compared;
};

/* compare_piece - one tensor (stage 0 on one rank: always whole) against the golden one, where there is one.
 */
static int compare_piece(void *user, const struct piece *piece) {
    struct compare *compare = user;
    struct fixture *f = compare->f;
    char name[PARAM_NAME_ROOM];
    param_name(&f->config, piece->tensor->param, name);
    char *key = xasprintf("%s%s", compare->prefix, name);
    assert_int_equal(piece->whole_first, 0);
    int64_t count = piece->count;
    if (st_find(f->expected, key) >= 0) {
        int64_t expected_count, first = param_file_first(&f->config, piece->tensor->param);
        float *all = read_expected(f, key, &expected_count), *want = all + first;
        float *own = compare->masters ? piece->segment->master : params_own_grad(&f->params, piece->segment);
        float *got = xmalloc((size_t)count * sizeof *got);
        assert_int_equal(expected_count, tensor_count(param_file_shape(&f->config, piece->tensor->param)));
        device_download(&f->dev, got, tensor_1d(own + piece->at, DTYPE_F32, count));
        double error = relative_error(got, want, count);
        compare->worst = error > compare->worst ? error : compare->worst;
        compare->num_compared++;
        free(got);
        free(all);
    }
    free(key);
    return 0;
}

static double worst_error(struct fixture *f, const char *prefix, bool masters, int *num_compared) {
    struct compare compare = {.f = f, .prefix = prefix, .masters = masters};
    for (struct segment *s = NULL; (s = params_next(&f->params, s));)
        params_each_piece(s, 0, s->count, compare_piece, &compare);
    *num_compared = compare.num_compared;
    return compare.worst;
}

/* num_tensors - of the model: nine in a layer of Llama's, and what a family has more or less. */
static int num_tensors(const struct model_config *config) {
    const struct {
        const char *model_type;
        int per_layer, outside;
    } families[] = {
        {"qwen2", 12, 2}, /* three biases */
        {"qwen3", 11, 2}, /* norms of queries and keys */
        {"olmo2", 11, 2},
        {"olmo3", 11, 2},
        {"phi3", 6, 2},
        {"gemma2", 11, 2},
        /* norms after the branches */
        {"gemma3_text", 13, 2}, /* norms of queries and keys, norms after the branches */
        {"nemotron", 10, 3},    /* biases of norms, no gate */
        /* the router and the experts' matrices in place of three; norms of queries and keys */
        {"mixtral", 7 + 4 * 3, 2},
        {"qwen3_moe", 9 + config->num_experts * 3, 2},
        {"olmoe", 9 + 4 * 3, 2},
        /* the router, three shared matrices and the experts' */
        {"glm4_moe",
         6 + 1 + 3 + config->num_experts * 3 + (config->qkv_bias ? 3 : 0) + (config->head_norms ? 2 : 0), 2},
        {"gpt_oss", 13 + 4 * 4, 2}, /* biases of four projections, of the router and of the experts, sinks */
        {"apertus", 12, 2}};        /* as qwen3, two values of xIELU, no gate; two more that nothing trains */
    int per_layer = 9, outside = 2;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(config->model_type, families[i].model_type) == 0) {
            per_layer = families[i].per_layer;
            outside = families[i].outside;
        }
    int fewer = 0,
        shared = config->num_shared > 0 ? 3 : 0; /* three matrices in place of the router and the experts' */
    for (int layer = 0; layer < config->num_layers; layer++)
        fewer += layer_set_has(&config->dense_layers, layer) ? 1 + config->num_experts * 3 + shared - 3 : 0;
    return per_layer * config->num_layers + outside + (config->tied_head ? 0 : 1) - fewer;
}

static void check_gradients(enum recompute recompute, int zero_stage) {
    for (size_t v = 0, count = num_variants(); v < count; v++) {
        struct fixture f;
        int num_compared;
        fixture_open(&f, VARIANTS[v], recompute, zero_stage);
        double loss = gradients(&f), want = number(&f, "loss");
        double error = worst_error(&f, "grad.", false, &num_compared);
        print_message("%-14s loss %.9f (relative error %.1e), worst gradient error %.2e of %d\n", VARIANTS[v],
                      loss, fabs(loss - want) / want, error, num_compared);
        assert_true(fabs(loss - want) < 1e-5 * want);
        assert_true(fabs(loss - number(&f, "wrong/mean_of_row_means")) > 1e-4 * want);
        assert_int_equal(num_compared, num_tensors(&f.config));
        assert_true(error < 1e-5);
        struct tensor first =
            tensor_1d(params_own_grad(&f.params, &f.params.units[1].segments[0]), DTYPE_F32, 1);
        float moved; /* the control: one value of one gradient a little off */
        device_download(&f.dev, &moved, first);
        moved = moved * 1.01f + 1e-2f;
        device_upload(&f.dev, first, &moved);
        assert_true(worst_error(&f, "grad.", false, &num_compared) > 1e-5);
        fixture_close(&f);
    }
}

static void test_gradients(void **state) {
    (void)state;
    check_gradients(RECOMPUTE_NONE, 0);
}

static void test_gradients_recomputed(void **state) {
    (void)state;
    check_gradients(RECOMPUTE_LAYER, 0);
}

static void use_adamw(const struct fixture *f, struct config *config) {
    memset(config, 0, sizeof *config);
    config->optimizer.beta1 = number(f, "adamw/beta1");
    config->optimizer.beta2 = number(f, "adamw/beta2");
    config->optimizer.eps = number(f, "adamw/eps");
    config->optimizer.weight_decay = number(f, "adamw/weight_decay");
    config->train.grad_clip = number(f, "adamw/max_grad_norm");
}

static double listed(const struct fixture *f, const char *key, size_t index) {
    json_t *list;
    struct err err = {""};
    assert_int_equal(json_get_array(f->numbers, key, &list, &err), 0);
    return json_number_value(json_array_get(list, index));
}

/* steps_error - the first steps of the golden file's run, which has ten; returns the largest relative error of the losses and
 * gradient norms. */
static double steps_error(struct fixture *f, double learning_rate, int num_steps) {
    struct config config;
    double worst = 0;
    use_adamw(f, &config);
    for (int step = 1; step <= num_steps; step++) {
        double loss = gradients(f), norm = optimizer_grad_norm(&f->params, NULL);
        double want_loss = listed(f, "run/loss", (size_t)step - 1);
        double want_norm = listed(f, "run/grad_norm", (size_t)step - 1);
        worst = fmax(worst, fmax(fabs(loss - want_loss) / want_loss, fabs(norm - want_norm) / want_norm));
        struct optimizer_step update = {step, learning_rate, norm, 1.0};
        optimizer_update(&f->params, NULL, &config, &update);
        params_publish(&f->params, NULL);
    }
    return worst;
}

static void check_ten_steps(const char *variant) {
    struct fixture f;
    int num_compared;
    fixture_open(&f, variant, RECOMPUTE_NONE, 0);
    double rate = number(&f, "adamw/lr"), worst = steps_error(&f, rate, 10);
    double final_error = worst_error(&f, "final.", true, &num_compared);
    print_message("%-14s ten AdamW steps: losses and norms %.2e, final weights %.2e of %d\n", variant, worst,
                  final_error, num_compared);
    assert_true(worst < 1e-5);
    assert_true(final_error < 1e-5);
    assert_int_equal(num_compared, 2);
    fixture_close(&f);
    fixture_open(&f, variant, RECOMPUTE_NONE, 0); /* the control: a rate that is 1 % off, seen soon */
    assert_true(steps_error(&f, rate * 1.01, 3) > 1e-5);
    fixture_close(&f);
}

static void test_ten_steps(void **state) {
    (void)state;
    for (size_t v = 0, count = num_variants(); v < count; v++)
        if (has_steps(VARIANTS[v]))
            check_ten_steps(VARIANTS[v]);
}

/* A batch in which nothing counts: no loss and no gradient, whatever the scale. */
static void test_no_targets(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, "smollm2", RECOMPUTE_NONE, 0);
    memset(f.target_weights, 0, sizeof f.target_weights);
    f.num_targets = 1;
    assert_true(gradients(&f) == 0);
    assert_true(optimizer_grad_norm(&f.params, NULL) == 0);
    f.target_weights[0] = 1.0f; /* the control: one that counts */
    assert_true(gradients(&f) > 0);
    assert_true(optimizer_grad_norm(&f.params, NULL) > 0);
    fixture_close(&f);
}

/* A text decoded token by token through the caches gives the logits of the whole text. */
static void test_decode_equals_forward(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, "llama3", RECOMPUTE_NONE, 0);
    int64_t vocab_size = f.config.vocab_size;
    struct kv_cache caches[2];
    size_t cache_bytes =
        (size_t)4 * ROW_TOKENS * (size_t)(f.config.num_kv_heads * f.config.head_dim) * sizeof(float);
    float *keys = device_allocate(&f.dev, cache_bytes);
    assert_non_null(keys);
    for (int i = 0; i < 4; i++) {
        int64_t count = (int64_t)ROW_TOKENS * f.config.num_kv_heads * f.config.head_dim;
        *(i % 2 ? &caches[i / 2].v : &caches[i / 2].k) =
            tensor_3d(keys + i * count, DTYPE_F32, ROW_TOKENS, f.config.num_kv_heads, f.config.head_dim);
    }
    for (int i = 0; i < NUM_TOKENS; i++) { /* one text of ROW_TOKENS, twice */
        f.row_start[i] = i / ROW_TOKENS * ROW_TOKENS;
        f.positions[i] = i % ROW_TOKENS;
    }
    float *want = xmalloc((size_t)(NUM_TOKENS * vocab_size) * sizeof *want);
    float *got = xmalloc((size_t)vocab_size * sizeof *got);
    model_logits(&f.model, NULL, &f.batch, want);
    for (int past = 0; past < ROW_TOKENS; past += past ? 1 : 5) { /* a prompt of 5, then one at a time */
        int count = past ? 1 : 5;
        struct batch next = {.num_tokens = count, .tokens = f.tokens + past, .positions = f.positions + past};
        model_decode(&f.model, caches, &next, past, got);
        assert_true(relative_error(got, want + (past + count - 1) * vocab_size, vocab_size) < 1e-5);
        assert_true(relative_error(got, want + (past + count) % ROW_TOKENS * vocab_size, vocab_size) > 1e-3);
    }
    device_release(&f.dev, keys, cache_bytes);
    free(want);
    free(got);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_wrong_logits_are_noticed),
        cmocka_unit_test(test_longest),
        cmocka_unit_test(test_gradients),

        cmocka_unit_test(test_gradients_recomputed),
        cmocka_unit_test(test_ten_steps),
        cmocka_unit_test(test_decode_equals_forward),
        cmocka_unit_test(test_no_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
