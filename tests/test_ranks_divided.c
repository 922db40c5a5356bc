/* test_ranks_divided.c - tensors divided among the ranks of one replica: rows or columns of matrices, experts, both (run with 1, 2,
 * 3 and 4 ranks, in every way to make that number of two).  Each rank initialises, updates and saves its part alone; the checkpoint
 * is the whole model's, byte for byte, moments in bf16 with their random rounding included, and the whole model's is read by
 * parts.  Control: one more step gives another checkpoint.  Nothing is computed along such an axis yet: the test brings the
 * gradients. */
#include <setjmp.h>

#include "checkpoints/family/family_internal.h"
#include "checkpoints/safetensors/safetensors.h"
#include "tests/params_run.h"

/* clang-format off */
static const struct param_spec divided_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "norm1.weight", "norm1.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_QUERY, PLACE_LAYER, "q.weight", "q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_KEY, PLACE_LAYER, "k.weight", "k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_VALUE, PLACE_LAYER, "v.weight", "v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_QUERY_BIAS, PLACE_LAYER, "q.bias", "q.bias", DIM_QUERY, DIM_NONE, INIT_ZERO, 0},
    {ROLE_KEY_BIAS, PLACE_LAYER, "k.bias", "k.bias", DIM_KEY, DIM_NONE, INIT_ZERO, 0},
    {ROLE_VALUE_BIAS, PLACE_LAYER, "v.bias", "v.bias", DIM_KEY, DIM_NONE, INIT_ZERO, 0},
    {ROLE_SINK, PLACE_LAYER, "sinks", "sinks", DIM_HEADS, DIM_NONE, INIT_ZERO, 0},
    {ROLE_OUTPUT, PLACE_LAYER, "o.weight", "o.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "norm2.weight", "norm2.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_GATE, PLACE_LAYER, "gate.weight", "gate.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_UP, PLACE_LAYER, "up.weight", "up.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "down.weight", "down.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_EXPERT_UP, PLACE_LAYER, "experts.*.up.weight", "up.*.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_DOWN, PLACE_LAYER, "experts.*.down.weight", "down.*.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
};
/* clang-format on */

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    plan->num_experts = layer == 0 ? 0 : config->num_experts;
    plan->qkv_bias = plan->sinks = true;
}

static const struct family family_divided = {.model_type = "divided",
                                             .architecture = "DividedForCausalLM",
                                             .gguf = "divided",
                                             .params = divided_params,
                                             .num_params = sizeof divided_params / sizeof divided_params[0],
                                             .change_plan = change_plan,
                                             .experts_key = "num_experts"};
const struct family *const family_list[] = {&family_divided};
const int num_families = 1;

static struct comm *comm;

/* Heads and a feed-forward that 2, 3 and 4 divide; experts that they do not. */
static struct model_config divided_config(void) {
    return (struct model_config){.model_type = "divided",
                                 .architecture = "DividedForCausalLM",
                                 .width = 10,
                                 .ffn_width = 24,
                                 .vocab_size = 33, /* which 3 ranks divide, and others have whole */
                                 .max_positions = 64,
                                 .num_layers = 2,
                                 .num_heads = 24,
                                 .num_kv_heads = 12,
                                 .head_dim = 2,
                                 .num_experts = 5,
                                 .norm_eps = 1e-5f,
                                 .initializer_range = 0.15f,
                                 .rope_theta = 10000.0,
                                 .bos_id = -1,
                                 .pad_id = -1,
                                 .dtype = DTYPE_BF16};
}

static void test_kinds(void **state) {
    (void)state;
    struct model_config config = divided_config();
    static const struct {
        enum tensor_role role;
        enum split split;
    } kinds[] = {{ROLE_EMBEDDING, SPLIT_ROWS}, {ROLE_FFN_NORM, SPLIT_NONE},  {ROLE_KEY, SPLIT_ROWS},
                 {ROLE_KEY_BIAS, SPLIT_ROWS},  {ROLE_SINK, SPLIT_ROWS},      {ROLE_GATE, SPLIT_ROWS},
                 {ROLE_OUTPUT, SPLIT_COLUMNS}, {ROLE_DOWN, SPLIT_COLUMNS},   {ROLE_EXPERT_UP, SPLIT_EXPERTS},
                 {ROLE_HEAD, SPLIT_ROWS},      {ROLE_QUERY_BIAS, SPLIT_ROWS}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        assert_int_equal(param_split(param_spec(&config, kinds[i].role)), kinds[i].split);
}

/* setup_of - of this rank where num_tensor ranks divide rows and columns, and groups of them the experts. */
static struct params_setup setup_of(int num_tensor) {
    int rank = comm_rank(comm), num_groups = comm_num_ranks(comm) / num_tensor;
    return (struct params_setup){.compute = DTYPE_BF16,
                                 .moments = DTYPE_BF16,
                                 .zero_stage = 2,
                                 .tensor = {num_tensor, rank % num_tensor},
                                 .experts = {num_groups, rank / num_tensor},
                                 .holders = {1, 0}};
}

/* stored - the files of a checkpoint, tensor after tensor in the order of their names, malloc'ed. */
static char *stored(const char *folder, size_t *bytes) {
    static const char *const stems[] = {"model", "state/master", "state/adam_m", "state/adam_v"};
    struct err err = {""};
    char *all = NULL;
    *bytes = 0;
    for (int i = 0; i < 4; i++) {
        const char *slash = strchr(stems[i], '/');
        char *path = xasprintf("%s%s", folder, slash ? "/state" : "");
        struct st_files *files = st_open_stem(path, slash ? slash + 1 : stems[i], &err);
        if (!files)
            fail_msg("%s", err.text);
        for (int64_t t = 0; t < st_num_tensors(files); t++) {
            struct st_entry entry = st_entry(files, t);
            all = xrealloc(all, *bytes + (size_t)entry.length_bytes);
            assert_int_equal(st_read_bytes(files, t, 0, entry.length_bytes, all + *bytes, &err), 0);
            *bytes += (size_t)entry.length_bytes;
        }
        st_close(files);
        free(path);
    }
    return all;
}

/* trained - a run folder with a checkpoint after `steps` steps; *run is left open. */
static char *trained(struct params_run *run, struct comm *shards, struct params_setup setup, int steps) {
    static int number_of_run;
    struct model_config config = divided_config();
    char *name = xasprintf("ranks-divided-%d", number_of_run++), *folder = params_run_folder(name, comm);
    params_run_open(run, &config, shards, setup);
    for (int number = 1; number <= steps; number++)
        params_run_step(run, number, 0);
    params_run_save(run, folder, comm);
    char *checkpoint = xasprintf("%s/step-000002", folder);
    free(folder), free(name);
    return checkpoint;
}

/* own_values - of all that this rank has, in the order of the segments, malloc'ed. */
static char *own_values(struct params_run *run, size_t *bytes) {
    char *all = NULL;
    *bytes = 0;
    for (struct segment *s = NULL; (s = params_next(&run->params, s));)
        for (int t = 0; t < s->num_tensors; t++) {
            struct tensor value = params_run_weight(run, s, &s->tensors[t]).value;
            all = xrealloc(all, *bytes + tensor_bytes(value));
            memcpy(all + *bytes, value.data, tensor_bytes(value));
            *bytes += tensor_bytes(value);
        }
    return all;
}

/* check_way - against the checkpoint of the whole, which has these bytes. */
static void check_way(int num_tensor, const char *whole, const char *want, size_t want_bytes) {
    struct params_run run, longer, loaded;
    struct model_config config = divided_config();
    struct comm *groups =
        comm_split(comm, comm_rank(comm) % num_tensor); /* which share what is not of experts */
    size_t bytes, own_bytes, loaded_bytes;
    char *folder = trained(&run, groups, setup_of(num_tensor), 2),
         *other = trained(&longer, groups, setup_of(num_tensor), 3);
    char *got = stored(folder, &bytes);
    assert_int_equal(bytes, want_bytes);
    assert_memory_equal(got, want, bytes);
    free(got);
    got = stored(other, &bytes);
    assert_memory_not_equal(got, want, bytes);
    params_run_open(&loaded, &config, groups, setup_of(num_tensor));
    params_run_load(&loaded, whole, comm);
    char *own = own_values(&run, &own_bytes), *read = own_values(&loaded, &loaded_bytes);
    assert_int_equal(own_bytes, loaded_bytes);
    assert_memory_equal(own, read, own_bytes);
    if (comm_num_ranks(comm) > 1)
        assert_true(own_bytes < (size_t)model_num_parameters(&config) * 2);
    params_run_close(&run), params_run_close(&longer), params_run_close(&loaded);
    comm_join(groups);
    free(folder), free(other), free(got), free(own), free(read);
}

static void test_checkpoint_is_the_whole(void **state) {
    (void)state;
    struct params_run run;
    size_t bytes;
    int num_ranks = comm_num_ranks(comm);
    char *whole = trained(
        &run, comm, (struct params_setup){.zero_stage = 3, .compute = DTYPE_BF16, .moments = DTYPE_BF16}, 2);
    char *want = stored(whole, &bytes);
    for (int num_tensor = 1; num_tensor <= num_ranks; num_tensor++)
        if (num_ranks % num_tensor == 0)
            check_way(num_tensor, whole, want, bytes);
    params_run_close(&run);
    free(whole), free(want);
}

/* Where die() lands. */
static jmp_buf died;

static void land(int exit_code) {
    longjmp(died, exit_code);
}

static bool measure_dies(const struct optimizer_kind *optimizer, int num_parts) {
    struct model_config config = divided_config();
    struct params params = {.num_units = 0};
    struct params_setup setup = {
        .model = &config, .optimizer = optimizer, .trains = true, .num_ranks = 1, .tensor = {num_parts, 0}};
    error_set_abort_hook(land);
    bool dead = setjmp(died) != 0;
    if (!dead)
        params_measure(&params, &setup);
    error_set_abort_hook(NULL);
    if (!dead)
        params_free(&params);
    return dead;
}

/* Heads that would be cut, and rules that want whole matrices, die. */
static void test_refused(void **state) {
    (void)state;
    assert_true(measure_dies(&optimizer_adamw, 5));
    assert_false(measure_dies(&optimizer_adamw, 4));
    assert_true(measure_dies(&optimizer_muon, 4));
    assert_false(measure_dies(&optimizer_muon, 1));
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_checkpoint_is_the_whole),
        cmocka_unit_test(test_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
