/* test_fp8_training.c - a small model that learns the bytes of the sample's texts, for 200 steps with its products in bf16 and in
 * 8 bits: the losses stay within 1 % of each other.  Controls: with scales of 1 they do not; with all layers left out of it, it is
 * bf16 to the bit, and with the outer ones left out it is neither. */
#include <math.h>
#include <unistd.h>

#include "data/file.h"
#include "tests/tiny_run.h"

/* A step is the rank's part of one of TARGETS, which gradients are divided by before they are cast: as in a job of many ranks. */
enum { STEPS = 200, WINDOW = 20, BYTES = 256, WARMUP = 20, MICROS = 4, TARGETS = 1 << 16 };
static const double BOUND = 0.01;

static const struct config RUN = {
    .optimizer = {.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1},
    .train = {.grad_clip = 1}};

static char *text;
static size_t text_bytes;

static struct model_config small_config(void) {
    struct model_config config = tiny_config(true);
    config.width = 64;
    config.ffn_width = 160;
    config.vocab_size = BYTES;
    config.num_layers = 4;
    config.head_dim = 16;
    config.initializer_range = 0.02f;
    return config;
}

/* next_batch - sequences from anywhere in the text, the same in every run. */
static void next_batch(struct batch *batch, int micro) {
    for (int64_t i = 0; i < batch->num_tokens; i++) {
        uint64_t sequence = (uint64_t)(micro * TINY_SEQUENCES + i / TINY_SEQUENCE);
        uint64_t first = rng_below(3, rng_stream(RNG_TEST, 1), sequence, text_bytes - TINY_SEQUENCE - 1);
        uint64_t at = first + (uint64_t)(i % TINY_SEQUENCE);
        batch->tokens[i] = (unsigned char)text[at];
        batch->targets[i] = (unsigned char)text[at + 1];
    }
}

/* One run: how it computes, and its losses. */
struct curve {
    bool is_fp8;
    struct fp8_args args;
    int64_t skip_layers;
    int num_steps;
    double losses[STEPS];
};

/* learn_step - one update, number from 0; returns the mean loss before it. */
static double learn_step(struct tiny *t, int number) {
    double loss = 0;
    params_grad_reset(&t->params);
    for (int micro = 0; micro < MICROS; micro++) {
        next_batch(&t->batch, number * MICROS + micro);
        loss += model_train(&t->model, &t->link, &t->batch, 1.0f / TARGETS);
    }
    params_grad_finish(&t->params, &t->link);
    struct optimizer_step step = {.number = number + 1,
                                  .learning_rate =
                                      RUN.optimizer.learning_rate * fmin(1, (number + 1) / (double)WARMUP),
                                  .grad_norm = optimizer_grad_norm(&t->params, NULL),
                                  .loss_scale = MICROS * TINY_SEQUENCES * TINY_SEQUENCE / (double)TARGETS};
    optimizer_update(&t->params, &t->link, &RUN, &step);
    params_publish(&t->params, &t->link);
    return loss / (double)(MICROS * t->batch.num_tokens);
}

static void learn(struct curve *c) {
    struct model_config config = small_config();
    struct tiny t;
    tiny_open(&t,
              (struct tiny_setup){.compute = DTYPE_BF16, .optimizer = &optimizer_adamw, .model = &config});
    t.model.setup.fp8.is_on = c->is_fp8;
    t.model.setup.fp8.args = c->args;
    t.model.setup.fp8.skip_layers = c->skip_layers;
    for (int step = 0; step < c->num_steps; step++)
        c->losses[step] = learn_step(&t, step);
    tiny_close(&t);
}

static double mean_of(const struct curve *c, int first) {
    double sum = 0;
    for (int i = first; i < first + WINDOW; i++)
        sum += c->losses[i];
    return sum / WINDOW;
}

/* farthest - of the means over WINDOW steps of two runs, relative. */
static double farthest(const struct curve *a, const struct curve *b) {
    double worst = 0;
    for (int first = 0; first < STEPS; first += WINDOW) {
        double distance = fabs(mean_of(a, first) / mean_of(b, first) - 1);
        worst = distance <= worst ? worst : distance; /* NaN is the farthest */
    }
    return worst;
}

static void test_losses(void **state) {
    (void)state;
    struct curve plain = {.num_steps = STEPS},
                 hybrid = {.is_fp8 = true, .args = {.gradients = FP8_E5M2}, .num_steps = STEPS},
                 e4m3 = {.is_fp8 = true, .args = {.gradients = FP8_E4M3}, .num_steps = STEPS},
                 blocks = {.is_fp8 = true,
                           .args = {.gradients = FP8_E4M3, .scaling = FP8_BLOCKS},
                           .num_steps = STEPS},
                 unscaled = {.is_fp8 = true,
                             .args = {.gradients = FP8_E5M2, .scaling = FP8_UNSCALED},
                             .num_steps = STEPS};
    learn(&plain), learn(&hybrid), learn(&e4m3), learn(&blocks), learn(&unscaled);
    double with_hybrid = farthest(&hybrid, &plain), with_e4m3 = farthest(&e4m3, &plain),
           with_blocks = farthest(&blocks, &plain), without_scales = farthest(&unscaled, &plain);
    print_message(
        "loss %.3f to %.3f; from bf16: hybrid %.2f %%, e4m3 %.2f %%, e4m3 by blocks %.2f %%, with scales of 1 %.2f %%\n",
        mean_of(&plain, 0), mean_of(&plain, STEPS - WINDOW), 100 * with_hybrid, 100 * with_e4m3,
        100 * with_blocks, 100 * without_scales);
    assert_true(mean_of(&plain, STEPS - WINDOW) < 0.7 * plain.losses[0]); /* it learns */
    assert_true(with_hybrid <= BOUND && with_e4m3 <= BOUND && with_blocks <= BOUND);
    assert_false(without_scales <= BOUND);
}

static bool same_losses(const struct curve *a, const struct curve *b) {
    return memcmp(a->losses, b->losses, (size_t)a->num_steps * sizeof *a->losses) == 0;
}

static void test_skipped(void **state) {
    (void)state;
    struct curve plain = {.num_steps = 3}, all = {.is_fp8 = true, .num_steps = 3}, inner = all, none = all;
    inner.skip_layers = 1;
    none.skip_layers = 2; /* at both ends of four */
    learn(&plain), learn(&all), learn(&inner), learn(&none);
    assert_true(same_losses(&none, &plain));
    assert_false(same_losses(&inner, &plain) || same_losses(&inner, &all) || same_losses(&all, &plain));
}

int main(void) {
    struct err err = {""};
    const char *path = "data/sample/fiches.jsonl";
    int64_t size_bytes;
    int fd = file_open_read(path, &size_bytes, &err);
    CHECK(fd >= 0, "%s", err.text);
    text = xmalloc((size_t)size_bytes);
    text_bytes = (size_t)size_bytes;
    CHECK(file_read_at(fd, path, text, text_bytes, 0, &err) == 0, "%s", err.text);
    close(fd);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_losses), cmocka_unit_test(test_skipped)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(text);
    return failed;
}
