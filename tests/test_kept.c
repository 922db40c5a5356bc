/* test_kept.c - what a layer keeps of its forward (train/model/kept.h), for adapters on tiny models of families with norms before,
 * after and on both sides of their branches: every gradient has the same bits as where everything is kept, in every kind of
 * recomputation, and the arena is smaller by what is not kept.  Gradients themselves are compared with peft's (test_lora.c).  Controls:
 * one activation that is kept and stands in lent memory gives other gradients. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/weights.h"
#include "kernels/rng.h"
#include "tests/check.h"
#include "train/model/adapter_setup.h"
#include "train/model/model.h"
#include "train/model/optimizer.h"
#include "train/model/shard.h"
#include "train/model/state.h"

enum { ROWS = 64, MAX_WORDS = 3 }; /* 64 values are a multiple of what arenas align to */

/* What an adapter is: lists of words as the run file has them. */
struct adapter_case {
    const char *targets[MAX_WORDS], *layers[MAX_WORDS], *train[MAX_WORDS];
};

/* A model with an adapter whose halves are both random, and a batch of two documents. */
struct fixture {
    struct model_config config;
    struct device dev;
    struct params params;
    struct model model;
    int32_t tokens[ROWS], targets[ROWS], row_start[ROWS], positions[ROWS];
    float weights[ROWS];
    struct batch batch;
};

static int num_words(const char *const words[MAX_WORDS]) {
    int count = 0;
    while (count < MAX_WORDS && words[count])
        count++;
    return count;
}

/* read_words - as elements of a list of texts. */
static void read_words(struct text_entry *texts, const char *const words[MAX_WORDS]) {
    for (int i = 0; i < num_words(words); i++)
        texts[i].text = (char *)(uintptr_t)words[i];
}

static struct model_config config_of(const char *name, const struct adapter_case *given) {
    struct err err = {""};
    char *path = xasprintf("tests/golden/models/%s", name);
    struct weights *weights = weights_open(path, &err);
    if (!weights)
        fail_msg("%s", err.text);
    struct model_config model = *weights_config(weights);
    struct adapter_entry targets[MAX_WORDS] = {{NULL, 0, 0}};
    struct text_entry layers[MAX_WORDS], train[MAX_WORDS];
    for (int i = 0; i < num_words(given->targets); i++)
        targets[i].name = (char *)(uintptr_t)given->targets[i];
    read_words(layers, given->layers);
    read_words(train, given->train);
    struct config config = {.adapter = {.method = ADAPTER_LORA,
                                        .rank = 2,
                                        .alpha = 4,
                                        .targets = targets,
                                        .num_targets = num_words(given->targets),
                                        .layers = layers,
                                        .num_layers = num_words(given->layers),
                                        .train = train,
                                        .num_train = num_words(given->train)},
                            .model.save_dtype = DTYPE_COUNT,
                            .data.sequence_tokens = ROWS};
    if (adapter_setup(&model, &config, &err) != 0)
        fail_msg("%s", err.text);
    weights_close(weights);
    free(path);
    return model;
}

static void make_batch(struct fixture *f) {
    for (int i = 0; i < ROWS; i++) {
        int first = i < 40 ? 0 : 40;
        f->tokens[i] =
            (int32_t)rng_below(3, rng_stream(RNG_TEST, 1), (uint64_t)i, (uint64_t)f->config.vocab_size);
        f->targets[i] =
            (int32_t)rng_below(3, rng_stream(RNG_TEST, 2), (uint64_t)i, (uint64_t)f->config.vocab_size);
        f->row_start[i] = first;
        f->positions[i] = i - first;
        f->weights[i] = i == 39 ? 0.0f : 1.0f;
    }
    f->batch = (struct batch){.num_tokens = ROWS,
                              .tokens = f->tokens,
                              .targets = f->targets,
                              .row_start = f->row_start,
                              .positions = f->positions,
                              .weights = f->weights};
}

/* randomise - all that is trained: a new adapter's B is zero, and A would learn nothing. */
static void randomise(struct fixture *f) {
    uint64_t place = 0;
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, NULL));)
        for (int64_t i = 0; i < s->count; i++)
            s->master[i] += 0.1f * (float)rng_normal(5, rng_stream(RNG_TEST, 3), place++);
    params_refresh(&f->params, NULL);
}

static double no_term(void *state, const struct layer_output *output) {
    (void)state, (void)output;
    return 0;
}

/* An objective with a term of each layer's output, for which everything is kept; the term is nothing. */
static const struct objective reads_all = {.name = "all", .num_entries = 1, .layer_loss = no_term};

static void fixture_open(struct fixture *f, const struct model_config *config, enum recompute recompute,
                         const struct objective *kind) {
    memset(f, 0, sizeof *f);
    f->config = *config;
    struct params_setup params = {.model = &f->config,
                                  .compute = DTYPE_F32,
                                  .optimizer = &optimizer_adamw,
                                  .trains = true,
                                  .num_ranks = 1};
    struct model_setup model = {.config = &f->config,
                                .max_tokens = ROWS,
                                .max_positions = ROWS,
                                .compute = DTYPE_F32,
                                .recompute = recompute,
                                .objective.kind = kind,
                                .trains = true};
    device_open_cpu(&f->dev, 1);
    params_create(&f->params, &f->dev, &params);
    model_create(&f->model, &f->dev, &f->params, &model);
    state_init(&f->params, 5);
    randomise(f);
    make_batch(f);
}

static void fixture_close(struct fixture *f) {
    model_free(&f->model);
    params_free(&f->params);
    device_close(&f->dev);
}

/* gradients - of everything that is trained, malloc'ed; *count of them. */
static float *gradients(struct fixture *f, int64_t *count) {
    float *all = NULL;
    *count = 0;
    params_grad_reset(&f->params);
    model_train(&f->model, NULL, &f->batch, 0.1f);
    params_grad_finish(&f->params, NULL);
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, NULL));) {
        all = xrealloc(all, (size_t)(*count + s->count) * sizeof *all);
        memcpy(all + *count, s->grad, (size_t)s->count * sizeof *all);
        *count += s->count;
    }
    return all;
}

static bool same(const float *a, const float *b, int64_t count) {
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

static const enum recompute WAYS[] = {RECOMPUTE_NONE, RECOMPUTE_ATTENTION, RECOMPUTE_FFN, RECOMPUTE_LAYER};

/* check_case - the gradients with what is kept and with everything, in one way to recompute; twice, for the second pass meets what
 * the first left. */
static void check_case(const char *name, const struct adapter_case *given, enum recompute recompute) {
    struct model_config config = config_of(name, given);
    struct fixture kept, all;
    int64_t count, count_all;
    fixture_open(&kept, &config, recompute, NULL);
    fixture_open(&all, &config, recompute, &reads_all);
    float *want = gradients(&all, &count_all), *first = gradients(&kept, &count),
          *second = gradients(&kept, &count);
    assert_int_equal(count, count_all);
    if (!same(first, want, count) || !same(second, want, count))
        fail_msg("%s, targets %s, recompute %d: other gradients than where everything is kept", name,
                 given->targets[0], (int)recompute);
    assert_true(kept.model.arena.used_bytes <= all.model.arena.used_bytes);
    free(want), free(first), free(second);
    fixture_close(&kept);
    fixture_close(&all);
}

/* Norms before (llama3, qwen3 with QK-norm), LayerNorm and no gate (nemotron), after (olmo2), both (gemma3), branches that are scaled
 * (granite), products fused in the file (phi3). */
static const char *const MODELS[] = {"llama3", "qwen3", "nemotron", "olmo2", "gemma3", "granite"};
static const struct adapter_case CASES[] = {
    {.targets = {"q", "v"}},
    {.targets = {"o"}},
    {.targets = {"up"}},
    {.targets = {"down"}, .layers = {"1"}},
    {.targets = {"k", "up"}, .layers = {"1"}},
    {.targets = {"q"}, .layers = {"0"}},
    {.targets = {"q", "down"}, .layers = {"1"}, .train = {"norms"}},
    {.targets = {"v"}, .layers = {"1"}, .train = {"embedding"}},
    {.targets = {"all-linear"}},
};

static void test_same_bits(void **state) {
    (void)state;
    for (size_t m = 0; m < sizeof MODELS / sizeof *MODELS; m++)
        for (size_t c = 0; c < sizeof CASES / sizeof *CASES; c++)
            for (size_t w = 0; w < sizeof WAYS / sizeof *WAYS; w++)
                check_case(MODELS[m], &CASES[c], WAYS[w]);
    static const struct adapter_case fused[] = {{.targets = {"qkv"}},
                                                {.targets = {"gate_up"}, .layers = {"1"}}};
    for (int c = 0; c < 2; c++)
        for (size_t w = 0; w < sizeof WAYS / sizeof *WAYS; w++)
            check_case("phi3", &fused[c], WAYS[w]);
}

/* --- controls: an activation that some gradient reads, in memory that others write --- */

/* misplace - one activation of layer 0, or what layer 1 read: nobody asks for the gradient of what layer 0 read. */
static void misplace(struct model *model, enum kept which) {
    struct layer_acts *a = &model->flight.acts[0];
    switch (which) {
    case KEPT_INPUT:
        model->flight.inputs[1] = model->dx;
        break;
    case KEPT_NORM1:
        a->norm1 = model->dnorm;
        break;
    case KEPT_MIDDLE:
        a->middle = model->flight.acts[1].middle;
        break;
    case KEPT_NORM2:
        a->norm2 = model->dnorm;
        break;
    default:
        a->hidden = model->dhidden;
    }
}

static void test_what_is_kept_is_read(void **state) {
    (void)state;
    static const struct adapter_case whole = {.targets = {"all-linear"}};
    struct model_config config = config_of("llama3", &whole);
    for (unsigned which = KEPT_INPUT; which <= KEPT_HIDDEN; which *= 2) {
        struct fixture f;
        int64_t count;
        fixture_open(&f, &config, RECOMPUTE_NONE, NULL);
        assert_int_equal(f.model.layers[0].kept, KEPT_ALL);
        float *right = gradients(&f, &count);
        misplace(&f.model, (enum kept)which);
        float *wrong = gradients(&f, &count);
        if (same(right, wrong, count))
            fail_msg("activation %u is kept, and no gradient reads it", which);
        free(right), free(wrong);
        fixture_close(&f);
    }
}

/* --- the table by hand, and what it saves --- */

/* expect_kept - of a layer, and the bytes that the arena has less than where everything is kept. */
static void expect_kept(const char *name, const struct adapter_case *given, const unsigned kept[2],
                        int64_t fewer_values) {
    struct model_config config = config_of(name, given);
    struct model_setup setup = {
        .config = &config, .max_tokens = ROWS, .max_positions = ROWS, .compute = DTYPE_F32, .trains = true};
    struct model model, all;
    model_measure(&model, &setup);
    setup.objective.kind = &reads_all;
    model_measure(&all, &setup);
    for (int layer = 0; layer < 2; layer++)
        assert_int_equal(model.layers[layer].kept, kept[layer]);
    assert_int_equal((int64_t)(all.arena.used_bytes - model.arena.used_bytes), 4 * ROWS * fewer_values);
    model_free(&model);
    model_free(&all);
}

static void test_table(void **state) {
    (void)state;
    const unsigned residual = KEPT_INPUT | KEPT_MIDDLE;
    struct model_config c = config_of("llama3", &CASES[0]), o = config_of("olmo2", &CASES[0]);
    int64_t heads = c.num_heads, qkv = (heads + 2 * c.num_kv_heads) * c.head_dim;
    assert_int_equal(c.num_layers, 2);
    expect_kept("llama3", &CASES[0], (unsigned[]){residual | KEPT_NORM1, residual | KEPT_NORM1},
                2 * (c.width + c.ffn_width));
    expect_kept("llama3", &CASES[1], (unsigned[]){residual, residual}, 2 * (2 * c.width + c.ffn_width));
    /* of layer 0 all is gone, but one middle serves instead; of layer 1 what both norms made */
    int64_t layer = 4 * c.width + 2 /* statistics */ + qkv + heads * c.head_dim + heads + 3 * c.ffn_width;
    expect_kept("llama3", &CASES[3], (unsigned[]){0, residual | KEPT_HIDDEN}, layer - c.width + 2 * c.width);
    /* without norms before the branches these read the residual stream; one middle serves both layers */
    expect_kept("olmo2", &CASES[0], (unsigned[]){KEPT_INPUT, KEPT_INPUT}, o.width + 2 * o.ffn_width);
    expect_kept("llama3", &CASES[8], (unsigned[]){KEPT_ALL, KEPT_ALL}, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_what_is_kept_is_read),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
