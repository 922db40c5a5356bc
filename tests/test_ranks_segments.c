/* test_ranks_segments.c - frozen tensors beside trained ones (run with 1, 2, 3 and 4 ranks, at every stage): their
 * bits never move, and the first step moves the others exactly as in a model of which nothing is frozen.  They have
 * neither gradient nor state, in memory, in transfers and in files, and the plan says as much.  Control: where
 * nothing is frozen the same tensors move, and more memory and transfers are taken. */
#include "checkpoints/safetensors/safetensors.h"
#include "tests/tiny_run.h"
#include "train/ranks/comm.h"

static struct comm *comm;

static const struct config CONFIG = {
    .optimizer = {.learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}};

static const enum dtype TYPES[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};

/* is_frozen - the embedding, what attends in layer 1, a norm, the last layer. */
static bool is_frozen(struct param param) {
    switch (param.role) {
    case ROLE_EMBEDDING:
        return true;
    case ROLE_QUERY:
    case ROLE_KEY:
    case ROLE_VALUE:
    case ROLE_OUTPUT:
        return param.layer >= 1;
    case ROLE_ATTENTION_NORM:
        return param.layer != 1;
    case ROLE_FFN_NORM:
    case ROLE_GATE:
    case ROLE_UP:
    case ROLE_DOWN:
        return param.layer == 2;
    default:
        return false;
    }
}

static void fill_storage(const struct model_config *config, enum storage storage[TINY_SLOTS]) {
    struct param at = PARAM_START;
    while (family_next_param(config, &at))
        storage[param_slot(config, at)] = is_frozen(at) ? STORAGE_FROZEN : STORAGE_TRAINED;
}

/* open_tiny - with some of it frozen, or nothing. */
static void open_tiny(struct tiny *t, int zero_stage, enum dtype compute, bool tied, bool freezes) {
    enum storage storage[TINY_SLOTS];
    struct model_config config = tiny_config(tied);
    fill_storage(&config, storage);
    tiny_open(t, (struct tiny_setup){.comm = comm,
                                     .zero_stage = zero_stage,
                                     .tied = tied,
                                     .compute = compute,
                                     .optimizer = &optimizer_adamw,
                                     .storage = freezes ? storage : NULL});
}

/* num_of - tensors that are frozen (or not); of two sets of weights: with the same bytes in both. */
static int num_of(const struct model_config *config, bool frozen, const struct tiny_weights *a,
                  const struct tiny_weights *b) {
    struct param at = PARAM_START;
    int count = 0;
    while (family_next_param(config, &at)) {
        int64_t slot = param_slot(config, at);
        count +=
            is_frozen(at) == frozen && (!a || memcmp(a->values[slot], b->values[slot], a->bytes[slot]) == 0);
    }
    return count;
}

static void check_steps(int zero_stage, enum dtype compute, bool tied) {
    struct tiny whole, part;
    struct tiny_weights before, whole_first, part_first, part_later;
    open_tiny(&whole, zero_stage, compute, tied, false);
    open_tiny(&part, zero_stage, compute, tied, true);
    tiny_weights(&part, &before);
    double loss = tiny_step(&whole, &CONFIG, 1), part_loss = tiny_step(&part, &CONFIG, 1);
    assert_true(loss == part_loss);
    tiny_weights(&whole, &whole_first);
    tiny_weights(&part, &part_first);
    for (int number = 2; number <= 4; number++)
        part_loss = tiny_step(&part, &CONFIG, number);
    tiny_weights(&part, &part_later);
    assert_true(part_loss < loss - 0.01); /* what is left learns */
    int num_frozen = num_of(&part.config, true, NULL, NULL),
        num_trained = num_of(&part.config, false, NULL, NULL);
    assert_true(num_frozen > 10 && num_trained > 10);
    assert_int_equal(num_of(&part.config, true, &before, &part_later), num_frozen);
    assert_int_equal(num_of(&part.config, false, &whole_first, &part_first), num_trained);
    assert_int_equal(num_of(&part.config, true, &before, &whole_first), 0); /* the controls */
    assert_int_equal(num_of(&part.config, false, &part_first, &part_later), 0);
    tiny_weights_free(&before), tiny_weights_free(&whole_first);
    tiny_weights_free(&part_first), tiny_weights_free(&part_later);
    tiny_close(&whole), tiny_close(&part);
}

static void test_frozen_stays_the_rest_moves(void **state) {
    (void)state;
    for (int zero_stage = 0; zero_stage <= 3; zero_stage++)
        for (size_t type = 0; type < sizeof TYPES / sizeof TYPES[0]; type++)
            check_steps(zero_stage, TYPES[type], false);
    check_steps(3, DTYPE_F32, true);
}

/* trained_count - elements of the trained tensors, from the model's own list. */
static int64_t trained_count(const struct model_config *config) {
    struct param at = PARAM_START;
    int64_t count = 0;
    while (family_next_param(config, &at))
        count += is_frozen(at) ? 0 : tensor_count(param_shape(config, at));
    return count;
}

/* expect_about - the bytes of an arena are `count` elements, with the padding of shards and arenas at most. */
static void expect_about(const struct arena *arena, int64_t count, size_t element_bytes, int num_arrays) {
    size_t least = (size_t)count * element_bytes,
           padding = (size_t)num_arrays * (256 + 16 * 4 * element_bytes);
    if (arena->used_bytes < least || arena->used_bytes > least + padding)
        fail_msg("%s: %zu bytes, expected %zu and at most %zu of padding", arena->name, arena->used_bytes,
                 least, padding);
}

static void check_memory(int zero_stage) {
    struct tiny part, whole;
    struct params planned;
    int num_ranks = comm_num_ranks(comm);
    open_tiny(&part, zero_stage, DTYPE_BF16, false, true);
    open_tiny(&whole, zero_stage, DTYPE_BF16, false, false);
    struct params_setup setup = part.params.setup;
    enum storage storage[TINY_SLOTS];
    fill_storage(&part.config, storage);
    setup.storage = storage;
    params_measure(&planned, &setup);
    struct params *p = &part.params;
    assert_int_equal(planned.arena_params.used_bytes, p->arena_params.used_bytes);
    assert_int_equal(planned.arena_grads.used_bytes, p->arena_grads.used_bytes);
    assert_int_equal(planned.arena_optimizer.used_bytes, p->arena_optimizer.used_bytes);
    assert_int_equal(planned.arena_comm.used_bytes, p->arena_comm.used_bytes);
    int64_t trained = trained_count(&part.config),
            own = setup.zero_stage == 0 ? trained : trained / num_ranks;
    expect_about(&p->arena_optimizer, own, 8, 2 * 4); /* two moments; four segments are trained */
    expect_about(&p->arena_grads, setup.zero_stage < 2 ? trained : own, 4, 4);
    int64_t values = model_num_parameters(&part.config) / (setup.zero_stage < 3 ? 1 : num_ranks);
    expect_about(&p->arena_params, values * 2 + own * 4, 1, 5 + 3 + 4);
    assert_true(whole.params.arena_optimizer.used_bytes > p->arena_optimizer.used_bytes * 3 / 2);
    assert_true(whole.params.arena_comm.used_bytes >= p->arena_comm.used_bytes);
    params_free(&planned);
    tiny_close(&part), tiny_close(&whole);
}

static void test_memory_is_as_measured(void **state) {
    (void)state;
    for (int zero_stage = 0; zero_stage <= 3; zero_stage++)
        check_memory(zero_stage);
}

/* A transport that counts what is reduced. */
static int64_t reduced_count;
static const struct transport_ops *real_ops;

static void count_scatter(struct transport *link, enum term_type type, void *shard, const void *full,
                          int64_t shard_count, struct transfer *transfer) {
    reduced_count += shard_count;
    real_ops->reduce_scatter_start(link, type, shard, full, shard_count, transfer);
}

static void count_sum(struct transport *link, float *values, int64_t count) {
    reduced_count += count;
    real_ops->sum_f32(link, values, count);
}

/* count_reduced - elements that a step reduces on this rank. */
static int64_t count_reduced(int zero_stage, bool freezes) {
    struct tiny t;
    open_tiny(&t, zero_stage, DTYPE_F32, false, freezes);
    struct transport_ops counting = *t.link.ops;
    real_ops = t.link.ops;
    counting.reduce_scatter_start = count_scatter;
    counting.sum_f32 = count_sum;
    t.link.ops = &counting;
    reduced_count = 0;
    tiny_gradients(&t);
    t.link.ops = real_ops;
    tiny_close(&t);
    return reduced_count;
}

static void test_frozen_is_not_reduced(void **state) {
    (void)state;
    struct model_config config = tiny_config(false);
    int num_ranks = comm_num_ranks(comm);
    for (int zero_stage = 0; zero_stage <= 3 && num_ranks > 1; zero_stage++) {
        int64_t share = zero_stage == 0 ? 1 : num_ranks, all = count_reduced(zero_stage, false);
        int64_t some = count_reduced(zero_stage, true), trained = trained_count(&config) / share;
        assert_true(some >= trained && some <= trained + 4 * 16 * num_ranks); /* padding of four segments */
        assert_true(all >= model_num_parameters(&config) / share);            /* the control */
    }
}

/* run_folder - a fresh one, made by the root; freed with free().  Collective. */
static char *run_folder(void) {
    char *folder = comm_is_root(comm) ? test_folder("ranks-segments") : NULL;
    comm_broadcast_text(comm, &folder);
    return folder;
}

/* has_tensor - whether a state's file of a checkpoint holds it. */
static bool has_tensor(const char *folder, const char *stem, const char *name) {
    struct err err = {""};
    char *state = xasprintf("%s/state", folder);
    struct st_files *files = st_open_stem(state, stem, &err);
    if (!files)
        fail_msg("%s", err.text);
    bool has = st_find(files, name) >= 0;
    st_close(files);
    free(state);
    return has;
}

/* A checkpoint of a model that is frozen in part: read back, the same bits; no states of what is frozen. */
static void test_checkpoint(void **state) {
    (void)state;
    struct tiny saved, loaded;
    struct tiny_weights want, got;
    struct err err = {""};
    char *run = run_folder(), *folder;
    int status;
    open_tiny(&saved, 3, DTYPE_BF16, false, true);
    saved.config.dtype = DTYPE_BF16;
    tiny_step(&saved, &CONFIG, 1);
    struct state_save save = {.run_folder = run,
                              .step = 1,
                              .source = {.config = &saved.config, .max_file_bytes = 1 << 30},
                              .state_text = "{\"step\": 1}",
                              .owns_folder = tiny_owns};
    assert_true(state_save(&saved.params, comm, &save));
    folder = xasprintf("%s/step-000001", run);
    assert_true(has_tensor(folder, "adam_m", "model.layers.0.mlp.gate_proj.weight"));
    assert_false(has_tensor(folder, "adam_m", "model.layers.2.mlp.gate_proj.weight"));
    assert_true(has_tensor(folder, "master", "model.layers.2.mlp.gate_proj.weight"));
    open_tiny(&loaded, 1, DTYPE_BF16, false, true);
    status = state_load_checkpoint(&loaded.params, folder, &err);
    assert_true(comm_all_ok(comm, status, &err));
    params_share_masters(&loaded.params, &loaded.link);
    params_refresh(&loaded.params, &loaded.link);
    assert_true(tiny_step(&saved, &CONFIG, 2) == tiny_step(&loaded, &CONFIG, 2));
    tiny_weights(&saved, &want);
    tiny_weights(&loaded, &got);
    for (int slot = 0; slot < TINY_SLOTS; slot++)
        if (want.bytes[slot])
            assert_memory_equal(want.values[slot], got.values[slot], want.bytes[slot]);
    tiny_weights_free(&want), tiny_weights_free(&got);
    tiny_close(&saved), tiny_close(&loaded);
    free(folder);
    free(run);
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen_stays_the_rest_moves),
        cmocka_unit_test(test_memory_is_as_measured),
        cmocka_unit_test(test_frozen_is_not_reduced),
        cmocka_unit_test(test_checkpoint),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
