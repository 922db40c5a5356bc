/* test_ranks_adapter.c - low-rank pairs beside a frozen model (run with 1, 2, 3 and 4 ranks, at every stage): losses and pairs
 * are those of one rank, the base's bits never move, and gradients, states and transfers are the pairs' alone.  The gradients
 * of A and B are central differences of the loss.  Controls: another scale, another layer's pair or a pair on a neighbouring
 * matrix gives another loss; without an adapter more memory is taken; a learning rate of B of its own shows. */
#include <math.h>
#include <stdio.h>

#include "checkpoints/family/family_adapter.h"
#include "tests/tiny_run.h"
#include "train/ranks/comm.h"

static struct comm *comm;

static const struct config CONFIG = {
    .optimizer = {.learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1},
    .adapter = {.b_rate_ratio = 1}};

/* with_adapter - other ranks for some targets, the layer in the middle without pairs. */
static struct model_config with_adapter(bool rank_stabilised) {
    struct model_config config = tiny_config(true);
    config.adapter = (struct adapter){.method = ADAPTER_LORA, .rank_stabilised = rank_stabilised};
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++) {
        bool is_there = adapter_limit(&config, (enum adapter_target)t) > 0;
        config.adapter.ranks[t] = !is_there ? 0 : t == ADAPTER_KEY ? 3 : 4;
        config.adapter.alphas[t] = t == ADAPTER_UP ? 5 : 8;
    }
    layer_set_add(&config.adapter.layers, 0);
    layer_set_add(&config.adapter.layers, 2);
    return config;
}

static void open_with(struct tiny *t, const struct model_config *model, struct comm *of, int zero_stage) {
    tiny_open(t, (struct tiny_setup){.comm = of,
                                     .zero_stage = zero_stage,
                                     .compute = DTYPE_F32,
                                     .optimizer = &optimizer_adamw,
                                     .model = model});
}

enum { STEPS = 6 };

/* losses_of - STEPS steps from the beginning, and the weights at their end. */
static void losses_of(const struct model_config *model, const struct config *config, struct comm *of,
                      int zero_stage, double losses[STEPS], struct tiny_weights *end) {
    struct tiny t;
    open_with(&t, model, of, zero_stage);
    for (int i = 0; i < STEPS; i++)
        losses[i] = tiny_step(&t, config, i + 1);
    tiny_weights(&t, end);
    tiny_close(&t);
}

static double worst_loss(const double *got, const double *want) {
    double worst = 0;
    for (int i = 0; i < STEPS; i++)
        worst = fmax(worst, fabs(got[i] - want[i]) / want[i]);
    return worst;
}

/* worst_pair - of the weights of the pairs, and of what is trained whole. */
static double worst_pair(const struct model_config *config, const struct tiny_weights *got,
                         const struct tiny_weights *want) {
    struct param at = PARAM_START;
    double worst = 0;
    while (family_next_param(config, &at)) {
        int64_t slot = param_slot(config, at);
        if (param_is_saved(config, at.role))
            worst = fmax(worst, relative_error(got->values[slot], want->values[slot], got->counts[slot]));
    }
    return worst;
}

/* num_moved - matrices of the base whose bytes differ. */
static int num_moved(const struct model_config *config, const struct tiny_weights *a,
                     const struct tiny_weights *b) {
    struct param at = PARAM_START;
    int count = 0;
    while (family_next_param(config, &at)) {
        int64_t slot = param_slot(config, at);
        count +=
            !param_is_saved(config, at.role) && memcmp(a->values[slot], b->values[slot], a->bytes[slot]) != 0;
    }
    return count;
}

static void test_every_layout_is_one_rank(void **state) {
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        struct model_config config = with_adapter(variant == 1);
        if (variant == 3)
            config.adapter.method = ADAPTER_DORA;
        if (variant == 2) /* the embedding is the head as well */
            config.adapter.whole = ADAPTER_NORMS | ADAPTER_EMBEDDING;
        double want[STEPS], got[STEPS];
        struct tiny_weights one, many, begin;
        struct tiny t;
        open_with(&t, &config, NULL, 0);
        tiny_weights(&t, &begin);
        tiny_close(&t);
        losses_of(&config, &CONFIG, NULL, 0, want, &one);
        assert_true(want[STEPS - 1] < want[0] - 0.01);
        assert_int_equal(num_moved(&config, &begin, &one), 0);
        assert_true(worst_pair(&config, &begin, &one) > 0.1); /* the control: the pairs moved */
        for (int stage = 0; stage <= 3; stage++) {
            losses_of(&config, &CONFIG, comm, stage, got, &many);
            assert_true(worst_loss(got, want) < 1e-5);
            assert_true(worst_pair(&config, &many, &one) < 1e-4);
            assert_int_equal(num_moved(&config, &begin, &many), 0);
            tiny_weights_free(&many);
        }
        tiny_weights_free(&one), tiny_weights_free(&begin);
    }
}

static void test_what_differs_shows(void **state) {
    (void)state;
    struct model_config config = with_adapter(false), other = with_adapter(true);
    struct config faster = CONFIG;
    double want[STEPS], got[STEPS];
    struct tiny_weights one, end;
    losses_of(&config, &CONFIG, NULL, 0, want, &one);
    losses_of(&other, &CONFIG, NULL, 0, got, &end); /* another scale */
    assert_true(worst_loss(got, want) > 1e-5);
    tiny_weights_free(&end);
    other = config;
    other.adapter.layers.words[0] = 3; /* another layer */
    losses_of(&other, &CONFIG, NULL, 0, got, &end);
    assert_true(worst_loss(got, want) > 1e-5);
    tiny_weights_free(&end);
    faster.adapter.b_rate_ratio = 1.05;
    losses_of(&config, &faster, NULL, 0, got, &end);
    assert_true(worst_loss(got, want) > 1e-5);
    tiny_weights_free(&end), tiny_weights_free(&one);
}

/* fill_b - B is 0 at first, and then A has no gradient. */
static void fill_b(struct tiny *t) {
    for (struct segment *s = NULL; (s = params_next_trained(&t->params, s, &adamw_pair_b_rule));) {
        for (int64_t i = 0; i < s->count; i++)
            s->master[i] = 0.1f * (float)rng_normal(7, rng_stream(RNG_TEST, 9), (uint64_t)i);
    }
}

/* slope - of the loss by one element, the others left as they are. */
static double slope(struct tiny *t, float *element) {
    const float step = 4e-3f;
    float kept = *element;
    *element = kept + step;
    float above = *element;
    double high = tiny_gradients(t);
    *element = kept - step;
    float below = *element;
    double low = tiny_gradients(t);
    *element = kept;
    return (high - low) / ((double)above - (double)below);
}

static void test_gradients_are_slopes(void **state) {
    (void)state;
    struct model_config config = with_adapter(true);
    struct tiny t;
    int num_compared = 0;
    double worst = 0, wrong = 0;
    open_with(&t, &config, NULL, 0);
    if (!t.dev.ops->host_memory) { /* elements are poked here */
        tiny_close(&t);
        skip();
    }
    fill_b(&t);
    tiny_gradients(&t);
    for (struct segment *s = NULL; (s = params_next_trained(&t.params, s, NULL));)
        for (int i = 0; i < s->num_tensors; i++) {
            int64_t at = s->tensors[i].offset + s->tensors[i].count / 3;
            double by = slope(&t, &s->master[at]);
            tiny_gradients(&t);
            double got = (double)s->grad[at], next = (double)s->grad[at + 1];
            worst = fmax(worst, fabs(got - by));
            wrong = fmax(wrong, fabs(next - by));
            num_compared++;
        }
    print_message("gradients of %d halves of pairs: at most %.2e off their slopes (a neighbour's: %.2e)\n",
                  num_compared, worst, wrong);
    assert_int_equal(num_compared, 2 * 2 * 7); /* two layers with q, k, v, o, gate, up and down */
    assert_true(worst < 2e-5);
    assert_true(wrong > 1e-3); /* the control */
    tiny_close(&t);
}

static void test_memory_is_the_pairs(void **state) {
    (void)state;
    struct model_config config = with_adapter(false), none = tiny_config(true);
    for (int stage = 0; stage <= 3; stage++) {
        struct tiny t, whole;
        open_with(&t, &config, comm, stage);
        open_with(&whole, &none, comm, stage);
        int num_ranks = comm_num_ranks(comm), used_stage = t.params.setup.zero_stage;
        int64_t trained = model_num_trained(&config);
        /* Two segments in each of two layers; shards are rounded up, and so is where an array begins. */
        size_t padding = 4 * (16 * (size_t)num_ranks * sizeof(float) + 256);
        size_t gradients = (size_t)trained * sizeof(float) / (used_stage < 2 ? 1 : (size_t)num_ranks);
        size_t states = 2 * (size_t)trained * sizeof(float) / (used_stage == 0 ? 1 : (size_t)num_ranks);
        assert_in_range(t.params.arena_grads.used_bytes, gradients, gradients + padding);
        assert_in_range(t.params.arena_optimizer.used_bytes, states, states + 2 * padding);
        assert_true(whole.params.arena_optimizer.used_bytes > 2 * t.params.arena_optimizer.used_bytes);
        assert_true(model_num_trained(&none) == model_num_parameters(&none));
        tiny_close(&t), tiny_close(&whole);
    }
}

/* The rows of the pairs' table against each family's own: names, shapes, and no more than there is. */
static void test_table_follows_the_families(void **state) {
    (void)state;
    static const char *const types[] = {"llama",    "mistral", "ministral",   "ministral3", "qwen2",
                                        "qwen3",    "olmo2",   "olmo3",       "granite",    "smollm3",
                                        "nemotron", "gemma2",  "gemma3_text", "apertus"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct err err = {""};
        struct model_config config = tiny_config(false);
        assert_int_equal(model_config_set_family(&config, types[i], &err), 0);
        family_local_defaults(&config);
        config.adapter.method = ADAPTER_LORA;
        layer_set_add(&config.adapter.layers, 1);
        for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
            config.adapter.ranks[t] = 2;
        struct param at = PARAM_START;
        int num_pairs = 0, num_targets = 0;
        while (family_next_param(&config, &at)) {
            char name[PARAM_NAME_ROOM], gguf[PARAM_NAME_ROOM], pair[PARAM_NAME_ROOM],
                want[PARAM_NAME_ROOM + 32];
            enum adapter_target target = adapter_target_of(at.role);
            num_pairs += role_is_pair(at.role);
            if (role_is_pair(at.role) || target == ADAPTER_TARGET_COUNT || at.layer != 1)
                continue;
            num_targets++;
            struct param a = param_at(adapter_pair_role(target, ADAPTER_A), 1),
                         b = param_at(adapter_pair_role(target, ADAPTER_B), 1);
            param_name(&config, at, name);
            name[strlen(name) - strlen(".weight")] = '\0';
            snprintf(want, sizeof want, "base_model.model.%s.lora_A.weight", name);
            assert_string_equal(param_name(&config, a, pair), want);
            snprintf(want, sizeof want, "%s.lora_b", param_gguf_name(&config, at, gguf));
            assert_string_equal(param_gguf_name(&config, b, pair), want);
            struct tensor w = param_shape(&config, at);
            assert_int_equal(param_shape(&config, a).dims[0], 2);
            assert_int_equal(param_shape(&config, a).dims[1], w.dims[1]);
            assert_int_equal(param_shape(&config, b).dims[0], w.dims[0]);
            assert_int_equal(param_shape(&config, b).dims[1], 2);
        }
        assert_int_equal(num_targets,
                         strcmp(types[i], "nemotron") == 0 || strcmp(types[i], "apertus") == 0 ? 6 : 7);
        assert_int_equal(num_pairs, 2 * num_targets);
    }
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_layout_is_one_rank),   cmocka_unit_test(test_what_differs_shows),
        cmocka_unit_test(test_gradients_are_slopes),       cmocka_unit_test(test_memory_is_the_pairs),
        cmocka_unit_test(test_table_follows_the_families),
    };

    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
