/* test_layer_plan.c - a model whose layers differ in all that a plan can say (tests/patchwork.h): norms before, after and
 * around the branches, of each kind, with an offset and a bias; QK-norm, windows, rows that see what comes after them, two
 * rotations, one of a part of each head, and none; queries with a temperature; GELU, squared ReLU and xIELU without a gate, soft-caps, sinks; in one model, on the device that
 * ATELIER_TEST_DEVICE names.  Logits against plain f64 loops, gradients against central differences of those.  Controls:
 * the same with one thing left out of one layer, and gradients that are one part in ten thousand off. */
#include "tests/plan_fixture.h"

static double loss_of(const struct reference *r, void *user) {
    (void)user;
    return reference_loss(r);
}

/* logits_error - of the model against the reference as it stands. */
static double logits_error(struct plan_fixture *f) {
    int64_t count = PLAN_TOKENS * f->config.vocab_size;
    double *want = reference_logits(&f->reference), error = 0, size = 0;
    float *got = xcalloc((size_t)count, sizeof *got);
    model_logits(&f->model, NULL, &f->batch, got);
    for (int64_t i = 0; i < count; i++) {
        error += pow((double)got[i] - want[i], 2);
        size += pow(want[i], 2);
    }
    free(want), free(got);
    return sqrt(error / size);
}

static void test_logits(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        struct plan_fixture f;
        plan_open(&f, tied, RECOMPUTE_NONE, NULL);
        double error = logits_error(&f);
        print_message("logits: relative error %.2e\n", error);
        assert_true(error < 1e-5);
        plan_close(&f);
    }
}

/* left_out_more - from number 11 on. */
static bool left_out_more(struct layer_plan *plans, int number) {
    switch (number) {
    case 11:
        plans[2].rotary_dim = 8;
        return true;
    case 12:
        plans[2].norm.offset = 0;
        return true;
    case 13:
        plans[1].norm.bias = false;
        return true;
    case 14:
        plans[3].norm.kind = NORM_RMS_ONCE;
        return true;
    case 15:
        plans[4].norm.kind = NORM_RMS_ONCE;
        return true;
    case 16:
        plans[4].qkv_bias = false;
        return true;
    case 17:
        plans[1].block = 0;
        return true;
    case 18:
        plans[1].block = 8; /* of the longest document's 14 rows */
        return true;
    case 19:
        plans[3].block = 0;
        return true;
    case 20:
        plans[3].block = 5;
        return true;
    case 21:
        plans[2].temperature = 0;
        return true;
    case 22:
        plans[2].temperature_span = 4;
        return true;
    case 23:
        plans[0].sinks = false;
        return true;
    case 24:
        plans[4].sinks = false;
        return true;
    case 25:
        plans[4].act = ACT_RELU2;
        return true;
    default:
        return false;
    }
}

/* left_out - one thing of one layer's plan; false: there is no such number. */
static bool left_out(struct layer_plan *plans, int number) {
    switch (number) {
    case 0:
        plans[0].window = 0;
        return true;
    case 1:
        plans[2].window = 5;
        return true;
    case 2:
        plans[0].gate = GATE_SILU;
        return true;
    case 3:
        plans[0].softcap = 0;
        return true;
    case 4:
        plans[2].softcap = 2;
        return true;
    case 5:
        plans[1].rope_theta = 10000;
        return true;
    case 6:
        plans[2].rope_theta = 10000;
        return true;
    case 7:
        plans[2].rope_scaled = true;
        return true;
    case 8:
        plans[3].qk_norm = QK_NORM_NONE;
        return true;
    case 9:
        plans[0].place = NORM_PRE;
        return true;
    case 10:
        plans[0].scale = 0.5f;
        return true;
    default:
        return left_out_more(plans, number);
    }
}

static void test_what_is_left_out_is_noticed(void **state) {
    (void)state;
    struct plan_fixture f;
    plan_open(&f, false, RECOMPUTE_NONE, NULL);
    struct layer_plan kept[REFERENCE_LAYERS];
    memcpy(kept, f.reference.plans, sizeof kept);
    for (int number = 0; left_out(f.reference.plans, number); number++) {
        double error = logits_error(&f);
        if (!(error > 1e-3))
            fail_msg("change %d of the plan changes the logits by %.2e", number, error);
        memcpy(f.reference.plans, kept, sizeof kept);
    }
    for (int part = 0; part < 3; part++) { /* of the norm before the head */
        f.reference.final_norm =
            (struct norm_plan){part == 0 ? NORM_RMS_ONCE : NORM_LAYER, part == 1 ? 0 : 1, part != 2};
        assert_true(logits_error(&f) > 1e-3);
    }
    f.reference.final_norm = family_final_norm(&f.config);
    assert_true(logits_error(&f) < 1e-5);
    f.reference.embedding_scale = 1;
    assert_true(logits_error(&f) > 1e-3);
    plan_close(&f);
}

/* The pairs of each layer's mask, which the count of flops is made of, are those that the reference sees. */
static void test_pairs(void **state) {
    (void)state;
    struct plan_fixture f;
    plan_open(&f, false, RECOMPUTE_NONE, NULL);
    double *logits = reference_logits(&f.reference);
    logits_error(&f);
    for (int layer = 0; layer < f.config.num_layers; layer++) {
        int64_t pairs = 0;
        for (int64_t at = 0; at < PLAN_TOKENS * PLAN_TOKENS; at++)
            pairs +=
                reference_sees(&f.reference, &f.reference.plans[layer], at / PLAN_TOKENS, at % PLAN_TOKENS);
        assert_int_equal(f.model.flight.masks[f.model.layers[layer].mask].num_pairs, pairs);
    }
    free(logits);
    plan_close(&f);
}

static void check_gradients(bool tied, enum recompute recompute) {
    struct plan_fixture f;
    plan_open(&f, tied, recompute, NULL);
    double loss = plan_gradients(&f), want = reference_loss(&f.reference);
    double error = plan_worst(&f, loss_of, NULL, 1);
    print_message("loss %.9f (relative error %.1e), worst gradient error %.2e\n", loss, fabs(loss / want - 1),
                  error);
    assert_true(fabs(loss / want - 1) < 1e-6);
    assert_true(error < 1e-5);
    assert_true(plan_worst(&f, loss_of, NULL, 1.0001) > 1e-5);
    plan_close(&f);
}

static void test_gradients(void **state) {
    (void)state;
    check_gradients(false, RECOMPUTE_NONE);
    check_gradients(true, RECOMPUTE_LAYER);
}

/* all_gradients - of all tensors in one piece, malloc'ed. */
static float *all_gradients(struct plan_fixture *f, int64_t *count) {
    float *all = NULL;
    *count = 0;
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, NULL));)
        for (int t = 0; t < s->num_tensors; t++) {
            float *one = plan_gradient_of(f, s, &s->tensors[t]);
            all = xrealloc(all, (size_t)(*count + s->tensors[t].count) * sizeof *all);
            memcpy(all + *count, one, (size_t)s->tensors[t].count * sizeof *one);
            *count += s->tensors[t].count;
            free(one);
        }
    return all;
}

/* What is computed again has the same bits. */
static void test_recompute(void **state) {
    (void)state;
    struct plan_fixture f;
    int64_t count;
    plan_open(&f, false, RECOMPUTE_NONE, NULL);
    plan_gradients(&f);
    float *want = all_gradients(&f, &count);
    plan_close(&f);
    static const enum recompute kinds[] = {RECOMPUTE_ATTENTION, RECOMPUTE_FFN, RECOMPUTE_LAYER};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        plan_open(&f, false, kinds[k], NULL);
        plan_gradients(&f);
        float *got = all_gradients(&f, &count);
        assert_memory_equal(got, want, (size_t)count * sizeof *got);
        f.target_weights[0] += 0.01f; /* the control */
        free(got);
        plan_gradients(&f);
        got = all_gradients(&f, &count);
        assert_memory_not_equal(got, want, (size_t)count * sizeof *got);
        free(got);
        plan_close(&f);
    }
    free(want);
}

/* A text decoded through the caches, a prompt of 4 and then one at a time, gives the logits of the whole text. */
static void test_decode(void **state) {
    (void)state;
    struct plan_fixture f;
    struct model_config config = patchwork_config(false);
    strcpy(config.model_type, "causal_patchwork");
    plan_open_config(&f, &config, RECOMPUTE_NONE, NULL);
    int64_t vocab = f.config.vocab_size, per_cache = PLAN_TOKENS * f.config.num_kv_heads * f.config.head_dim;
    size_t bytes = (size_t)(2 * PATCHWORK_LAYERS * per_cache) * sizeof(float);
    float *memory = device_allocate(&f.dev, bytes);
    struct kv_cache caches[PATCHWORK_LAYERS];
    for (int i = 0; i < 2 * PATCHWORK_LAYERS; i++)
        *(i % 2 ? &caches[i / 2].v : &caches[i / 2].k) = tensor_3d(
            memory + i * per_cache, DTYPE_F32, PLAN_TOKENS, f.config.num_kv_heads, f.config.head_dim);
    for (int i = 0; i < PLAN_TOKENS; i++) {
        f.row_start[i] = 0;
        f.positions[i] = i;
    }
    float *want = xcalloc((size_t)(PLAN_TOKENS * vocab), sizeof *want),
          *got = xcalloc((size_t)vocab, sizeof *got);
    model_logits(&f.model, NULL, &f.batch, want);
    for (int past = 0; past < PLAN_TOKENS; past += past ? 1 : 4) {
        int count = past ? 1 : 4;
        struct batch next = {.num_tokens = count, .tokens = f.tokens + past, .positions = f.positions + past};
        model_decode(&f.model, caches, &next, past, got);
        assert_true(relative_error(got, want + (past + count - 1) * vocab, vocab) < 1e-5);
        assert_true(relative_error(got, want + (past + count) % PLAN_TOKENS * vocab, vocab) > 1e-3);
    }
    device_release(&f.dev, memory, bytes);
    free(want), free(got);
    plan_close(&f);
}

/* Where die() lands. */
static jmp_buf died;

static void land(int exit_code) {
    longjmp(died, exit_code);
}

static bool dies(struct plan_fixture *f, void (*call)(struct plan_fixture *)) {
    error_set_abort_hook(land);
    bool dead = setjmp(died) != 0;
    if (!dead)
        call(f);
    error_set_abort_hook(NULL);
    return dead;
}

static void decode_four(struct plan_fixture *f) {
    struct kv_cache caches[PATCHWORK_LAYERS];
    float logits[61];
    struct batch next = {.num_tokens = 4, .tokens = f->tokens, .positions = f->positions};
    struct tensor memory = f->model.dqkv; /* large enough, and not in use */
    for (int layer = 0; layer < PATCHWORK_LAYERS; layer++)
        caches[layer].k = caches[layer].v =
            tensor_3d(memory.data, DTYPE_F32, 4, f->config.num_kv_heads, f->config.head_dim);
    model_decode(&f->model, caches, &next, 0, logits);
}

static void evaluate(struct plan_fixture *f) {
    model_evaluate(&f->model, NULL, &f->batch);
}

/* What the kernels could not compute dies, also where they cannot see it: a layer that sees tokens after a row decodes
 * no text, and a row that sees keys from before its predecessor's first is none of a packed batch. */
static void test_refusals(void **state) {
    (void)state;
    struct plan_fixture f;
    plan_open(&f, false, RECOMPUTE_NONE, NULL);
    assert_true(dies(&f, decode_four));
    assert_false(dies(&f, evaluate));
    f.row_start[12] = 0;
    assert_true(dies(&f, evaluate));
    plan_close(&f);
}

/* Parameters follow the plan: a layer without a norm has no weight for it. */
static void test_parameters(void **state) {
    (void)state;
    struct model_config config = patchwork_config(false);
    struct param at = PARAM_START;
    int num_in[PATCHWORK_LAYERS] = {0}, num_query_norms = 0, num_final = 0;
    while (family_next_param(&config, &at))
        if (param_spec(&config, at.role)->place == PLACE_LAYER) {
            num_in[at.layer]++;
            num_query_norms += at.role == ROLE_QUERY_NORM;
        } else {
            num_final += at.role == ROLE_FINAL_NORM_BIAS;
        }
    assert_int_equal(num_in[0], 7 + 4 + 2 + 1); /* seven matrices, four norms, two of heads, sinks */
    assert_int_equal(num_in[1], 6 + 2 * 2);     /* no gate, two norms with their biases */
    assert_int_equal(num_in[2], 7 + 2);
    assert_int_equal(num_in[3], 7 + 2 + 2);
    assert_int_equal(num_in[4], 6 + 3 + 2 * 2 + 1 + 4); /* three biases, sinks, what xIELU has */
    assert_int_equal(num_query_norms, 2);
    assert_int_equal(num_final, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_what_is_left_out_is_noticed),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
