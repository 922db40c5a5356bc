/* test_router.c - the losses of routers and their gradients, in tiny models with experts: against what transformers computes of the
 * same two sequences, one of which is padded (tests/golden/make_router.py); in one micro-batch and in two.  The op alone is tested in
 * tests/test_experts.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/safetensors/safetensors.h"
#include "data/corpus/json.h"
#include "tests/check.h"
#include "train/model/optimizer.h"
#include "train/model/session.h"
#include "train/model/shard.h"
#include "train/model/state.h"

enum { ROWS = 2, ROW_TOKENS = 24, NUM_TOKENS = ROWS * ROW_TOKENS };

static const char *const NAMES[] = {"mixtral", "olmoe"};
enum { NUM_NAMES = 2 };

struct fixture {
    json_t *root, *facts;
    struct st_files *expected;
    struct weights *weights;
    struct model_config config;
    struct device dev;
    struct params params;
    struct model model;
    int32_t tokens[NUM_TOKENS], targets[NUM_TOKENS], row_start[NUM_TOKENS], positions[NUM_TOKENS],
        sequences[NUM_TOKENS];
    float target_weights[NUM_TOKENS];
    double num_targets;
};

/* fact - a number of the golden file, of the model or of all; index -1: not of a list. */
static double fact(const json_t *object, const char *key, int index) {
    const json_t *value = json_object_get(object, key);
    if (index >= 0)
        value = json_array_get(value, (size_t)index);
    if (!json_is_number(value))
        fail_msg("no number '%s'", key);
    return json_number_value(value);
}

/* make_rows - each a document of its own; the last one ends in padding. */
static void make_rows(struct fixture *f) {
    int padding = (int)fact(f->root, "padding", -1);
    f->num_targets = 0;
    for (int i = 0; i < NUM_TOKENS; i++) {
        bool is_padding = i >= NUM_TOKENS - padding;
        int end = i / ROW_TOKENS == ROWS - 1 ? NUM_TOKENS - padding : (i / ROW_TOKENS + 1) * ROW_TOKENS;
        bool learns = i + 1 < end;
        f->tokens[i] = is_padding ? 0 : (int32_t)fact(f->facts, "tokens", i);
        f->targets[i] = learns ? (int32_t)fact(f->facts, "tokens", i + 1) : 0;
        f->target_weights[i] = learns ? 1 : 0;
        f->row_start[i] = is_padding ? i : i / ROW_TOKENS * ROW_TOKENS;
        f->positions[i] = is_padding ? 0 : i % ROW_TOKENS;
        f->sequences[i] = is_padding ? -1 : i / ROW_TOKENS;
        f->num_targets += learns;
    }
}

static void fixture_open(struct fixture *f, const char *name, enum recompute recompute) {
    struct err err = {""};
    memset(f, 0, sizeof *f);
    char *path = xasprintf("tests/golden/router/%s.safetensors", name),
         *folder = xasprintf("tests/golden/models/%s", name);
    f->root = json_load_path("tests/golden/router/expected.json", 1 << 20, &err);
    f->expected = f->root ? st_open(path, &err) : NULL;
    f->weights = f->expected ? weights_open(folder, &err) : NULL;
    if (!f->weights)
        fail_msg("%s", err.text);
    free(path), free(folder);
    f->facts = json_object_get(f->root, name);
    f->config = *weights_config(f->weights);
    const struct params_setup params = {.model = &f->config,
                                        .compute = DTYPE_F32,
                                        .optimizer = &optimizer_adamw,
                                        .trains = true,
                                        .num_ranks = 1};
    const struct model_setup model = {.config = &f->config,
                                      .max_tokens = NUM_TOKENS,
                                      .max_positions = ROW_TOKENS,
                                      .compute = DTYPE_F32,
                                      .recompute = recompute,
                                      .trains = true,
                                      .router = {fact(f->root, "balance", -1), fact(f->root, "z", -1), ROWS}};
    test_device_open(&f->dev, 1);
    params_create(&f->params, &f->dev, &params);
    model_create(&f->model, &f->dev, &f->params, &model);
    if (state_load_weights(&f->params, f->weights, value_type_of(DTYPE_F32), &err))
        fail_msg("%s", err.text);
    params_refresh(&f->params, NULL);
    make_rows(f);
}

static void fixture_close(struct fixture *f) {
    model_free(&f->model);
    params_free(&f->params);
    device_close(&f->dev);
    weights_close(f->weights);
    st_close(f->expected);
    json_decref(f->root);
}

/* loss_of - of both rows in num_micros micro-batches, with the gradients: the mean loss and the routers' by their coefficients. */
static double loss_of(struct fixture *f, int num_micros) {
    const struct router_sums *sums = &f->model.router.sums;
    double loss = 0;
    int32_t local[NUM_TOKENS], starts[NUM_TOKENS];
    params_grad_reset(&f->params);
    router_reset(&f->model, 1.0f / ROWS);
    for (int m = 0; m < num_micros; m++) {
        int count = NUM_TOKENS / num_micros, first = m * count;
        for (int i = 0; i < count; i++) {
            local[i] = f->sequences[first + i] < 0 ? -1 : f->sequences[first + i] - f->sequences[first];
            starts[i] = f->row_start[first + i] - first;
        }
        struct batch batch = {.num_tokens = count,
                              .tokens = f->tokens + first,
                              .targets = f->targets + first,
                              .row_start = starts,
                              .positions = f->positions + first,
                              .sequences = local,
                              .weights = f->target_weights + first,
                              .followed = m + 1 < num_micros};
        if (m == num_micros - 1)
            params_grad_last(&f->params);
        loss += model_train(&f->model, NULL, &batch, (float)(1 / f->num_targets));
    }
    params_grad_finish(&f->params, NULL);
    return loss / f->num_targets + f->model.setup.router.balance * exact_sum_value(&sums->balance) / ROWS +
           f->model.setup.router.z * exact_sum_value(&sums->z) / ROWS;
}

struct compare {
    struct fixture *f;
    double worst;
    int num_compared;
};

static int compare_piece(void *user, const struct piece *piece) {
    struct compare *compare = user;
    struct fixture *f = compare->f;
    char name[PARAM_NAME_ROOM];
    struct err err = {""};
    int64_t index = st_find(f->expected, param_name(&f->config, piece->tensor->param, name));
    if (index < 0)
        fail_msg("no gradient of %s", name);
    assert_int_equal(st_entry(f->expected, index).count, piece->count);
    float *want = xmalloc((size_t)piece->count * sizeof *want);
    if (st_read_f32(f->expected, index, 0, piece->count, want, &err))
        fail_msg("%s", err.text);
    float *got = xmalloc((size_t)piece->count * sizeof *got);
    device_download(
        &f->dev, got,
        tensor_1d(params_own_grad(&f->params, piece->segment) + piece->at, DTYPE_F32, piece->count));
    double error = relative_error(got, want, piece->count);
    compare->worst = fmax(compare->worst, error);
    compare->num_compared++;
    free(want), free(got);
    return 0;
}

/* gradients_error - the largest of all parameters', which are all compared. */
static double gradients_error(struct fixture *f) {
    struct compare compare = {.f = f};
    for (struct segment *s = NULL; (s = params_next(&f->params, s));)
        params_each_piece(s, 0, s->count, compare_piece, &compare);
    assert_int_equal(compare.num_compared, st_num_tensors(f->expected));
    return compare.worst;
}

static double sum_of_rows(const struct fixture *f, const char *key) {
    return fact(f->facts, key, 0) + fact(f->facts, key, 1);
}

static void check_losses(enum recompute recompute, int num_micros) {
    for (int n = 0; n < NUM_NAMES; n++) {
        struct fixture f;
        fixture_open(&f, NAMES[n], recompute);
        double loss = loss_of(&f, num_micros), want = fact(f.facts, "loss", -1);
        double balance = exact_sum_value(&f.model.router.sums.balance),
               z = exact_sum_value(&f.model.router.sums.z), error = gradients_error(&f);
        print_message(
            "%-8s in %d: loss %.9f (relative error %.1e), load balance %.1e, z %.1e, worst gradient %.1e\n",
            NAMES[n], num_micros, loss, fabs(loss - want) / want,
            fabs(balance / sum_of_rows(&f, "load_balance") - 1), fabs(z / sum_of_rows(&f, "router_z") - 1),
            error);
        assert_true(fabs(loss - want) < 1e-6 * want);
        assert_true(fabs(balance - sum_of_rows(&f, "load_balance")) < 1e-6 * balance);
        assert_true(fabs(z - sum_of_rows(&f, "router_z")) < 2e-6 * z);
        assert_true(error < 1e-5);
        fixture_close(&f);
    }
}

static void test_losses(void **state) {
    (void)state;
    check_losses(RECOMPUTE_NONE, 1);
    check_losses(RECOMPUTE_NONE, 2);
}

static void test_losses_recomputed(void **state) {
    (void)state;
    check_losses(RECOMPUTE_LAYER, 1);
    check_losses(RECOMPUTE_FFN, 2);
}

/* The controls: a coefficient that is 1 % off shows in gradients; rows taken for one sequence, or padding that counts, in the loss. */
static void test_wrong_losses_are_noticed(void **state) {
    (void)state;
    for (int n = 0; n < NUM_NAMES; n++) {
        struct fixture f;
        fixture_open(&f, NAMES[n], RECOMPUTE_NONE);
        double balance = f.model.setup.router.balance, z = f.model.setup.router.z;
        f.model.setup.router.balance = balance * 1.01;
        loss_of(&f, 1);
        assert_true(gradients_error(&f) > 1e-5);
        f.model.setup.router.balance = balance;
        f.model.setup.router.z = z * 1.01;
        loss_of(&f, 1);
        assert_true(gradients_error(&f) > 1e-5);
        f.model.setup.router.z = z;
        for (int i = 0; i < NUM_TOKENS; i++)
            f.sequences[i] = f.sequences[i] < 0 ? -1 : 0;
        loss_of(&f, 1);
        double as_one = exact_sum_value(&f.model.router.sums.balance),
               want = fact(f.facts, "both_as_one", -1);
        assert_true(fabs(as_one - want) < 1e-6 * want); /* which is what a batch of two is in transformers */
        assert_true(fabs(as_one - sum_of_rows(&f, "load_balance") / 2) > 1e-3);
        make_rows(&f);
        for (int i = 0; i < NUM_TOKENS; i++)
            f.sequences[i] = i / ROW_TOKENS;
        loss_of(&f, 1);
        assert_true(fabs(exact_sum_value(&f.model.router.sums.balance) - sum_of_rows(&f, "load_balance")) >
                    1e-3);
        fixture_close(&f);
    }
}

/* What each layer's experts got: every token that is no padding, K times.  Without coefficients the same is counted, and the gradients
 * are those of the loss alone. */
static void test_load(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f, "mixtral", RECOMPUTE_LAYER);
    f.model.setup.router.balance = f.model.setup.router.z = 0;
    loss_of(&f, 2);
    double balance = exact_sum_value(&f.model.router.sums.balance);
    assert_true(fabs(balance - sum_of_rows(&f, "load_balance")) < 1e-6 * balance);
    assert_true(gradients_error(&f) > 1e-2);
    int padding = (int)fact(f.root, "padding", -1), num_experts = f.config.num_experts;
    for (int layer = 0; layer < f.config.num_layers; layer++) {
        double all = 0;
        for (int e = 0; e < num_experts; e++)
            all += f.model.router.sums.load[layer * num_experts + e];
        assert_true(all == (double)((NUM_TOKENS - padding) * f.config.num_chosen));
    }
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_losses_recomputed),
        cmocka_unit_test(test_wrong_losses_are_noticed),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
