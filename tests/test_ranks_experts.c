/* test_ranks_experts.c - parameters that each expert of a layer has, in a family that nobody publishes (run with 1, 2, 3 and 4
 * ranks, at every stage): the list of them, their names and numbers, and that they are initialised, updated, saved, read again and
 * gone on with as any other parameter, to the same bits on any number of ranks.  The family has no router: the test brings
 * the gradients.  Controls: the weights in the middle are other ones, and so are those with another expert's gradients. */
#include "checkpoints/family/family_internal.h"
#include "tests/params_run.h"

enum { LAYERS = 3, EXPERTS = 5, STEPS = 4 };

/* clang-format off */
static const struct param_spec expert_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_FFN_NORM, PLACE_LAYER, "norm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_EXPERT_GATE, PLACE_LAYER, "mlp.experts.*.gate_proj.weight", "ffn_gate.*.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_UP, PLACE_LAYER, "mlp.experts.*.up_proj.weight", "ffn_up.*.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_DOWN, PLACE_LAYER, "mlp.experts.*.down_proj.weight", "ffn_down.*.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
};
/* clang-format on */

/* The first layer has none. */
static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    plan->num_experts = layer == 0 ? 0 : config->num_experts;
}

static const struct family family_experts = {.model_type = "experts",
                                             .architecture = "ExpertsForCausalLM",
                                             .gguf = "experts",
                                             .params = expert_params,
                                             .num_params = sizeof expert_params / sizeof expert_params[0],
                                             .change_plan = change_plan,
                                             .experts_key = "num_experts",
                                             .experts = {.num_chosen = 2}};
const struct family *const family_list[] = {&family_experts};
const int num_families = 1;

static struct comm *comm;

static struct model_config expert_config(void) {
    return (struct model_config){.model_type = "experts",
                                 .architecture = "ExpertsForCausalLM",
                                 .width = 20,
                                 .ffn_width = 12,
                                 .vocab_size = 31,
                                 .max_positions = 64,
                                 .num_layers = LAYERS,
                                 .num_heads = 2,
                                 .num_kv_heads = 1,
                                 .head_dim = 10,
                                 .num_experts = EXPERTS,
                                 .num_chosen = 2,
                                 .norm_eps = 1e-5f,
                                 .initializer_range = 0.15f,
                                 .rope_theta = 10000.0,
                                 .bos_id = -1,
                                 .pad_id = -1,
                                 .dtype = DTYPE_F32};
}

/* The list, once through: kind by kind, layer by layer, expert by expert, each with a name and a number of its own. */
static void test_list(void **state) {
    (void)state;
    struct model_config config = expert_config();
    struct param at = PARAM_START;
    char names[2 * TINY_SLOTS][PARAM_NAME_ROOM], name[PARAM_NAME_ROOM];
    bool seen[4 * TINY_SLOTS] = {false};
    int count = 0, num_experts[LAYERS] = {0};
    assert_in_range(param_num_slots(&config), 1, 4 * TINY_SLOTS);
    while (family_next_param(&config, &at)) {
        int64_t slot = param_slot(&config, at);
        assert_in_range(slot, 0, param_num_slots(&config) - 1);
        assert_false(seen[slot]);
        seen[slot] = true;
        param_name(&config, at, names[count]);
        for (int i = 0; i < count; i++)
            assert_string_not_equal(names[i], names[count]);
        num_experts[at.layer] += (param_spec(&config, at.role)->traits & PARAM_EXPERT) != 0;
        count++;
    }
    assert_int_equal(count, 3 + LAYERS + (LAYERS - 1) * 3 * EXPERTS);
    assert_int_equal(num_experts[0], 0);
    assert_int_equal(num_experts[1], 3 * EXPERTS);
    struct param last = {ROLE_EXPERT_UP, 2, EXPERTS - 1};
    assert_string_equal(param_name(&config, last, name), "model.layers.2.mlp.experts.4.up_proj.weight");
    assert_string_equal(param_gguf_name(&config, last, name), "blk.2.ffn_up.4.weight");
    assert_int_equal(model_num_parameters(&config),
                     (2 * 31 + 1 + LAYERS) * 20 + (LAYERS - 1) * EXPERTS * 3 * 12 * 20);
}

/* weights - of all tensors one after the other in the family's order, malloc'ed.  Collective. */
static char *weights(struct params_run *r, size_t *bytes) {
    size_t element = dtype_bytes(r->params.setup.compute);
    int64_t num_slots = param_num_slots(&r->config);
    char **by_slot = xcalloc((size_t)num_slots, sizeof *by_slot);
    for (struct segment *s = NULL; (s = params_next(&r->params, s));) {
        params_acquire(&r->params, &r->link, s->unit);
        for (int t = 0; t < s->num_tensors; t++) {
            struct tensor value = params_run_weight(r, s, &s->tensors[t]).value;
            char *copy = xmalloc(tensor_bytes(value));
            memcpy(copy, value.data, tensor_bytes(value));
            by_slot[param_slot(&r->config, s->tensors[t].param)] = copy;
        }
    }
    *bytes = (size_t)model_num_parameters(&r->config) * element;
    char *all = xmalloc(*bytes), *to = all;
    struct param at = PARAM_START;
    while (family_next_param(&r->config, &at)) {
        size_t count = (size_t)tensor_count(param_shape(&r->config, at)) * element;
        memcpy(to, by_slot[param_slot(&r->config, at)], count);
        free(by_slot[param_slot(&r->config, at)]);
        to += count;
    }
    assert_true(to == all + *bytes);
    free(by_slot);
    return all;
}

/* trained - the weights after the steps first to last of a new model; shift of the last of them. */
static char *trained(struct comm *ranks, int zero_stage, enum dtype compute, int shift, size_t *bytes) {
    struct model_config config = expert_config();
    struct params_run r;
    params_run_open(&r, &config, ranks, (struct params_setup){.zero_stage = zero_stage, .compute = compute});
    for (int64_t number = 1; number <= STEPS; number++)
        params_run_step(&r, number, number == STEPS ? shift : 0);
    char *all = weights(&r, bytes);
    params_run_close(&r);
    return all;
}

static void test_trained_as_alone(void **state) {
    (void)state;
    static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16};
    for (int n = 0; n < 2 * 4; n++) {
        size_t bytes;
        char *alone = trained(NULL, 0, types[n % 2], 0, &bytes);
        char *together = trained(comm, n / 2, types[n % 2], 0, &bytes);
        char *other = trained(comm, n / 2, types[n % 2], 1, &bytes);
        assert_memory_equal(together, alone, bytes);
        assert_memory_not_equal(other, alone, bytes);
        free(alone), free(together), free(other);
    }
}

/* Saved in the middle at one stage and gone on with at another, all is as in a run that was not stopped; and the model of the
 * checkpoint, read as any model is, has the weights of that moment.  Its GGUF is refused. */
static void test_saved_and_gone_on_with(void **state) {
    (void)state;
    struct params_run saved, loaded, read;
    struct err err = {""};
    size_t bytes;
    char *folder = params_run_folder("ranks-experts", comm);
    struct model_config config = expert_config();
    params_run_open(&saved, &config, comm, (struct params_setup){.zero_stage = 3, .compute = DTYPE_F32});
    for (int64_t number = 1; number <= STEPS / 2; number++)
        params_run_step(&saved, number, 0);
    params_run_save(&saved, folder, comm);
    char *then = weights(&saved, &bytes), *checkpoint = xasprintf("%s/step-000002", folder);
    params_run_open(&loaded, &config, comm, (struct params_setup){.zero_stage = 1, .compute = DTYPE_F32});
    params_run_load(&loaded, checkpoint, comm);
    for (int64_t number = STEPS / 2 + 1; number <= STEPS; number++)
        params_run_step(&loaded, number, 0);
    char *alone = trained(NULL, 0, DTYPE_F32, 0, &bytes), *resumed = weights(&loaded, &bytes);
    assert_memory_equal(resumed, alone, bytes);
    assert_memory_not_equal(then, alone, bytes);

    struct weights *model = weights_open(checkpoint, &err);
    if (!model)
        fail_msg("%s", err.text);
    assert_int_equal(weights_config(model)->num_experts, EXPERTS);
    params_run_open(&read, &config, comm, (struct params_setup){.zero_stage = 2, .compute = DTYPE_F32});
    int status = state_load_weights(&read.params, model, value_type_of(DTYPE_F32), &err);
    assert_true(comm_all_ok(comm, status, &err));
    params_share_masters(&read.params, &read.link);
    params_refresh(&read.params, &read.link);
    char *again = weights(&read, &bytes);
    assert_memory_equal(again, then, bytes);
    weights_close(model);
    params_run_close(&saved), params_run_close(&loaded), params_run_close(&read);
    free(then), free(alone), free(resumed), free(again), free(checkpoint), free(folder);
}

/* A number of experts beyond all reason, and a config.json that leaves it out or has another name for it. */
static void test_refused(void **state) {
    (void)state;
    static const char form[] =
        "{\"model_type\":\"experts\",\"hidden_size\":20,\"intermediate_size\":12,\"vocab_size\":31,"
        "\"num_hidden_layers\":3,\"num_attention_heads\":2,\"max_position_embeddings\":64%s}";
    const struct {
        const char *key, *phrase; /* NULL: accepted */
    } cases[] = {{"", "num_experts"},
                 {",\"num_experts\":5,\"num_local_experts\":6", "num_local_experts is 6"},
                 {",\"num_experts\":-1", "num_experts is -1"},
                 {",\"num_experts\":100000", "100000 experts"},
                 {",\"num_experts\":5,\"num_experts_per_tok\":6",
                  "num_experts_per_tok is 6, expected 1 to the 5 experts"},
                 {",\"num_experts\":5,\"num_experts_per_tok\":0", "num_experts_per_tok is 0"},
                 {",\"num_experts\":5", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct model_config config;
        struct err err = {""};
        char *text = xasprintf(form, cases[i].key);
        int status = model_config_parse(&config, text, strlen(text), "test", &err);
        assert_int_equal(status, cases[i].phrase ? -1 : 0);
        if (cases[i].phrase && !strstr(err.text, cases[i].phrase))
            fail_msg("'%s' does not contain '%s'", err.text, cases[i].phrase);
        free(text);
    }
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_trained_as_alone),
        cmocka_unit_test(test_saved_and_gone_on_with),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
