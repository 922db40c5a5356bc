/* test_fp8_step.c - whole training steps with products in 8 bits on the device that ATELIER_TEST_DEVICE names, beside the same steps on
 * the CPU: forward, backward, clipping, AdamW, and the weights that the next step casts.  Losses and what was learnt agree as far as
 * the order of sums lets them.  Controls: with scales of 1 on the device, and with its products in bf16, they do not.
 * And largest magnitudes that norms, gates and the forward leave for products: the same bits as where each product finds its own. */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "tests/tiny_run.h"

/* A step is a part of one of TARGETS, which gradients are divided by: without scales most of them are below what 8 bits hold. */
enum { STEPS = 3, TARGETS = 1 << 16 };

/* The first loss is one forward.  After that a value that lies at the middle of two codes may become the other one on the other device,
 * which is an eighth of it and moves what comes after it: bf16 is 0.8 % from one device to the other in what is learnt, 8 bits 4 %, and 8
 * bits are 12 % from bf16. */
static const double FIRST_BOUND = 1e-5, LOSS_BOUND = 2e-3, LEARNT_BOUND = 0.06;

/* With an eps that is larger than gradients an update is in proportion to them: with a small one it would be of one size whatever they
 * are, and the smallest, whose signs are chance, would weigh as much as all others. */
static const struct config RUN = {.optimizer = {.learning_rate = 1, .beta1 = 0.9, .beta2 = 0.95, .eps = 1},
                                  .train = {.grad_clip = 1}};

static struct model_config step_config(int num_layers) {
    struct model_config config = tiny_config(true);
    config.width = 64;
    config.ffn_width = 160;
    config.head_dim = 16;
    config.num_layers = num_layers;
    config.initializer_range = 0.05f;
    return config;
}

/* One run of STEPS updates: how it computes, its losses, and the weights before and after it. */
struct steps {
    bool on_test_device, is_bf16;
    bool finds_own;  /* products find all magnitudes by themselves */
    int num_more;    /* micro-batches after the first, of other tokens */
    int skip_layers; /* before and after two layers in 8 bits */
    enum recompute recompute;
    int64_t num_left; /* words that nobody filled, of num_words */
    int64_t num_words;
    struct fp8_args args;
    double losses[STEPS];
    struct tiny_weights before, after;
};

/* other_tokens - in place of the batch's. */
static void other_tokens(struct batch *batch) {
    for (int64_t i = 0; i < batch->num_tokens; i++)
        batch->tokens[i] = (7 * batch->tokens[i] + 3) % TINY_VOCAB;
}

/* take_step - number from 1; returns the mean loss before it. */
static double take_step(struct tiny *t, int number, int num_more) {
    params_grad_reset(&t->params);
    double loss = model_train(&t->model, &t->link, &t->batch, 1.0f / TARGETS);
    for (int micro = 0; micro < num_more; micro++) {
        other_tokens(&t->batch);
        loss += model_train(&t->model, &t->link, &t->batch, 1.0f / TARGETS);
    }
    params_grad_finish(&t->params, &t->link);
    struct optimizer_step step = {.number = number,
                                  .learning_rate = RUN.optimizer.learning_rate,
                                  .grad_norm = optimizer_grad_norm(&t->params, NULL),
                                  .loss_scale = (double)t->batch.num_tokens / TARGETS};
    optimizer_update(&t->params, &t->link, &RUN, &step);
    params_publish(&t->params, &t->link);
    return loss / (double)t->batch.num_tokens;
}

/* count_left - the words that are still what they were before the first step. */
static void count_left(struct steps *s, const struct model *model) {
    s->num_words = model->magnitudes.ndim > 0 ? tensor_count(model->magnitudes) : 0;
    uint32_t *words = xmalloc((size_t)s->num_words * sizeof *words + 1);
    if (s->num_words > 0)
        device_download(model->dev, words, model->magnitudes);
    for (int64_t i = 0; i < s->num_words; i++) {
        assert_true(words[i] < 0x7f80);
        s->num_left += words[i] == 0;
    }
    free(words);
}

static void take_steps(struct steps *s) {
    struct model_config config = step_config(2 + 2 * s->skip_layers);
    struct tiny t;
    tiny_open(&t, (struct tiny_setup){.compute = DTYPE_BF16,
                                      .optimizer = &optimizer_adamw,
                                      .model = &config,
                                      .is_fp8 = !s->is_bf16,
                                      .fp8_args = s->args,
                                      .fp8_skip_layers = s->skip_layers,
                                      .recompute = s->recompute,
                                      .on_test_device = s->on_test_device});
    if (s->finds_own)
        t.model.magnitudes.ndim = 0;
    tiny_weights(&t, &s->before);
    for (int i = 0; i < STEPS; i++)
        s->losses[i] = take_step(&t, i + 1, s->num_more);
    tiny_weights(&t, &s->after);
    count_left(s, &t.model);
    tiny_close(&t);
}

static void steps_free(struct steps *s) {
    tiny_weights_free(&s->before);
    tiny_weights_free(&s->after);
}

/* loss_distance - the farthest of the losses of two runs' first so many steps, relative; NaN is the farthest. */
static double loss_distance(const struct steps *a, const struct steps *b, int num_steps) {
    double worst = 0;
    for (int i = 0; i < num_steps; i++) {
        double distance = fabs(a->losses[i] / b->losses[i] - 1);
        worst = distance <= worst ? worst : distance;
    }
    return worst;
}

static double value_of(const struct tiny_weights *w, int slot, int64_t i) {
    return (double)f32_from_bf16(((const uint16_t *)w->values[slot])[i]);
}

/* learnt_distance - between the weights of two runs, of the length of what the second one learnt. */
static double learnt_distance(const struct steps *a, const struct steps *b) {
    double apart = 0, learnt = 0;
    for (int slot = 0; slot < TINY_SLOTS; slot++)
        for (int64_t i = 0; i < b->after.counts[slot]; i++) {
            double was = value_of(&b->before, slot, i), is = value_of(&b->after, slot, i),
                   other = value_of(&a->after, slot, i);
            apart += (other - is) * (other - is);
            learnt += (is - was) * (is - was);
        }
    return sqrt(apart / learnt);
}

static bool agree(const char *what, const struct steps *got, const struct steps *want) {
    double first = loss_distance(got, want, 1), losses = loss_distance(got, want, STEPS),
           learnt = learnt_distance(got, want);
    print_message("%s: the first loss differs by %.2g, losses by %.2g, what was learnt by %.2g\n", what,
                  first, losses, learnt);
    return first <= FIRST_BOUND && losses <= LOSS_BOUND && learnt <= LEARNT_BOUND;
}

/* check_steps - of one way to compute, on the device and on the CPU. */
static void check_steps(const char *name, struct fp8_args args) {
    struct steps want = {.args = args}, got = {.args = args, .on_test_device = true}, unscaled = got,
                 plain = got;
    unscaled.args.scaling = FP8_UNSCALED;
    plain.is_bf16 = true;
    take_steps(&want), take_steps(&got), take_steps(&unscaled), take_steps(&plain);
    print_message("%s: loss %.4f to %.4f\n", name, want.losses[0], want.losses[STEPS - 1]);
    assert_true(want.losses[STEPS - 1] < want.losses[0] - 0.1); /* it learns */
    assert_true(agree("both devices", &got, &want));
    assert_false(agree("control, scales of 1", &unscaled, &want));
    assert_false(agree("control, bf16", &plain, &want));
    steps_free(&want), steps_free(&got), steps_free(&unscaled), steps_free(&plain);
}

static bool same_steps(const struct steps *a, const struct steps *b) {
    bool same = memcmp(a->losses, b->losses, sizeof a->losses) == 0;
    for (int slot = 0; slot < TINY_SLOTS && same; slot++) {
        int64_t count = a->after.counts[slot];
        same = count == b->after.counts[slot] &&
               (count == 0 ||
                memcmp(a->after.values[slot], b->after.values[slot], (size_t)count * sizeof(uint16_t)) == 0);
    }
    return same;
}

/* check_magnitudes - of all words of two layers one is nobody's: the gradient of what the last layer adds comes from the head.  Control:
 * another format has other bits. */
static void check_magnitudes(void) {
    struct steps kept = {.on_test_device = true, .args.gradients = FP8_E5M2}, own = kept, other = kept;
    own.finds_own = true;
    other.args.gradients = FP8_E4M3;
    take_steps(&kept), take_steps(&own), take_steps(&other);
    assert_int_equal(kept.num_words, 22);
    assert_int_equal(kept.num_left, 1);
    assert_int_equal(own.num_words, 0);
    assert_true(same_steps(&kept, &own));
    assert_false(same_steps(&kept, &other));
    steps_free(&kept), steps_free(&own), steps_free(&other);
}

/* check_words_again - the same where words serve twice: layers that are computed again, several micro-batches, and layers in 8 bits
 * between others. */
static void check_words_again(enum recompute recompute, int skip_layers) {
    struct steps kept = {.on_test_device = true,
                         .args.gradients = FP8_E4M3,
                         .num_more = 1,
                         .recompute = recompute,
                         .skip_layers = skip_layers},
                 own = kept, other = kept;
    own.finds_own = true;
    other.num_more = 2;
    take_steps(&kept), take_steps(&own), take_steps(&other);
    assert_true(kept.num_words > 0 && own.num_words == 0);
    assert_true(same_steps(&kept, &own));
    assert_false(same_steps(&kept, &other));
    steps_free(&kept), steps_free(&own), steps_free(&other);
}

/* Attention of the CPU in f32, on every processor: what the products of layers do is asked here (the Makefile wraps it). */
block_gemm_fn *__wrap_block_gemm_pairs(void);

block_gemm_fn *__wrap_block_gemm_pairs(void) {
    return NULL;
}

static bool device_is_without(void) {
    struct device dev;
    test_device_open(&dev, 1);
    bool has = device_has_fp8(&dev, FP8_BLOCKS);
    if (!has)
        print_message("%s has no products in 8 bits: nothing was compared\n", dev.ops->name);
    device_close(&dev);
    return !has;
}

static void test_hybrid(void **state) {
    (void)state;
    if (!device_is_without())
        check_steps("hybrid", (struct fp8_args){.gradients = FP8_E5M2});
}

static void test_magnitudes(void **state) {
    (void)state;
    if (device_is_without())
        return;
    check_magnitudes();
    check_words_again(RECOMPUTE_NONE, 0);
    check_words_again(RECOMPUTE_LAYER, 1);
}

static void test_e4m3(void **state) {
    (void)state;
    if (!device_is_without())
        check_steps("e4m3", (struct fp8_args){.gradients = FP8_E4M3});
}

static void test_blocks(void **state) {
    (void)state;
    if (device_is_without())
        return;
    check_steps("blocks", (struct fp8_args){.gradients = FP8_E4M3, .scaling = FP8_BLOCKS});
    check_steps("hybrid blocks", (struct fp8_args){.gradients = FP8_E5M2, .scaling = FP8_BLOCKS});
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hybrid), cmocka_unit_test(test_e4m3),
                                       cmocka_unit_test(test_blocks), cmocka_unit_test(test_magnitudes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
