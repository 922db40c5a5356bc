/* test_ranks_graphs.c - micro-batches as CUDA graphs on several GPUs (2 and 4 ranks of the stand-ins of CUDA and NCCL), one between each two
 * exchanges: the same losses, norms and weights as without, bit for bit, at every stage and along the axes that exchange inside of a
 * layer.  Controls: a number that a graph holds, and an address, change between two steps; both must be seen, and what a graph that
 * did not look at them would compute is something else. */
#include "kernels/device_cuda.h"
#include "tests/layout_run.h"

/* What changes before the last step. */
enum change { NOTHING_CHANGES, NUMBER_CHANGES, ADDRESS_CHANGES };

/* What came of some steps. */
struct outcome {
    double losses[STEPS], norms[STEPS];
    float *weights; /* this rank's masters, one after the other */
    int64_t num_weights;
    struct cuda_graph_counts counts[STEPS]; /* after each step */
};

static void take_weights(struct run *run, struct outcome *out) {
    for (struct segment *s = NULL; (s = params_next_trained(&run->params, s, NULL));) {
        size_t room = (size_t)(out->num_weights + s->own_count) * sizeof *out->weights;
        out->weights = xrealloc(out->weights, room);
        if (s->own_count > 0)
            device_download(&run->rank.dev, out->weights + out->num_weights,
                            tensor_1d(s->master, DTYPE_F32, s->own_count));
        out->num_weights += s->own_count;
    }
}

/* make_change - what norms add to a variance, or where the tokens lie. */
static void make_change(struct run *run, enum change change) {
    struct tensor *tokens = &run->model.flight.tokens;
    if (change == NUMBER_CHANGES)
        run->model_config.norm_eps *= 1e4f;
    if (change == ADDRESS_CHANGES)
        tokens->data = device_allocate(&run->rank.dev, tensor_bytes(*tokens));
    CHECK(tokens->data, "no memory for the tokens");
}

static struct outcome train(const struct layout *layout, bool with_graphs, enum change change) {
    struct run run;
    struct outcome out = {.weights = NULL};
    run_open(&run, comm, layout, true);
    void *tokens = run.model.flight.tokens.data;
    cuda_use_graphs(&run.rank.dev, with_graphs);
    for (int64_t i = 0; i < num_steps; i++) {
        if (i == num_steps - 1)
            make_change(&run, change);
        out.losses[i] = step(&run, layout, i);
        out.norms[i] = run.grad_norm;
        out.counts[i] = cuda_count_graphs(&run.rank.dev);
    }
    take_weights(&run, &out);
    if (change == ADDRESS_CHANGES)
        device_release(&run.rank.dev, run.model.flight.tokens.data, 0);
    run.model.flight.tokens.data = tokens;
    run_close(&run);
    return out;
}

/* is_same - on all ranks. */
static bool is_same(const struct outcome *a, const struct outcome *b) {
    int64_t num_others = a->num_weights != b->num_weights ||
                         memcmp(a->losses, b->losses, sizeof a->losses) != 0 ||
                         memcmp(a->norms, b->norms, sizeof a->norms) != 0 ||
                         memcmp(a->weights, b->weights, (size_t)a->num_weights * sizeof *a->weights) != 0;
    comm_sum_i64(comm, &num_others, 1);
    return num_others == 0;
}

/* expect_same - three micro-batches a step: the first overwrites gradients, the last is the step's. */
static void expect_same(const struct layout *layout) {
    struct outcome plain = train(layout, false, NOTHING_CHANGES),
                   graphs = train(layout, true, NOTHING_CHANGES);
    const struct cuda_graph_counts *before = &graphs.counts[num_steps - 2],
                                   *last = &graphs.counts[num_steps - 1];
    assert_int_equal(plain.counts[num_steps - 1].kept, 0);
    if (!is_same(&plain, &graphs))
        fail_msg("stage %d on %d ranks: graphs compute something else", layout->zero_stage,
                 comm_num_ranks(comm));
    assert_true(last->captured > 0);
    if (!layout
             ->expert) /* whose rows are others in each micro-batch; else the first steps differ, the last has nothing new */
        assert_int_equal(last->kept, before->kept);
    assert_true(last->launched > before->launched);
    free(plain.weights), free(graphs.weights);
}

static struct layout layout_of(int zero_stage) {
    return (struct layout){.zero_stage = zero_stage,
                           .micro_sequences = BATCH / comm_num_ranks(comm) / 3,
                           .compute = DTYPE_BF16,
                           .moments = DTYPE_F32};
}

/* is_taken - a sample: with each number of ranks some layouts; with WHOLE=1 all. */
static bool is_taken(int num_ranks) {
    return getenv("WHOLE") || comm_num_ranks(comm) == num_ranks;
}

static void test_stages(void **state) {
    (void)state;
    for (int zero_stage = 0; zero_stage <= 3; zero_stage++) {
        struct layout layout = layout_of(zero_stage);
        if (is_taken(zero_stage % 2 ? 2 : 4))
            expect_same(&layout);
    }
}

/* Exchanges inside of a layer, between replicas, of codes, between experts; an optimizer in host memory. */
static void test_axes(void **state) {
    (void)state;
    const struct layout base = {.zero_stage = 3, .micro_sequences = 2, .compute = DTYPE_BF16};
    struct layout layouts[5] = {base, base, base, base, base};
    const int taken[] = {2, 4, 2, 4, 4};
    layouts[0].context = layouts[1].tensor = layouts[2].replicas = layouts[3].expert = 2;
    layouts[2].wire_has_codes = true;
    layouts[3].family = "mixtral";
    layouts[3].chosen = 2;
    layouts[4].offloads = layouts[4].keeps_gradients = true;
    for (int i = 0; i < 5; i++)
        if (is_taken(taken[i]))
            expect_same(&layouts[i]);
}

/* A graph that held the number, or read where the tokens were, would compute the step as it was before. */
static void test_changes_are_seen(void **state) {
    (void)state;
    struct layout layout = layout_of(3);
    if (!is_taken(2))
        return;
    struct outcome before = train(&layout, true, NOTHING_CHANGES),
                   plain = train(&layout, false, NUMBER_CHANGES),
                   number = train(&layout, true, NUMBER_CHANGES),
                   address = train(&layout, true, ADDRESS_CHANGES);
    const struct cuda_graph_counts *last = &number.counts[num_steps - 1];
    assert_true(is_same(&plain, &number));
    assert_false(is_same(&plain, &before));
    assert_true(is_same(&before, &address)); /* the same tokens, elsewhere */
    assert_true(last->kept > before.counts[num_steps - 1].kept);
    assert_true(address.counts[num_steps - 1].kept > before.counts[num_steps - 1].kept);
    free(plain.weights), free(number.weights), free(address.weights), free(before.weights);
}

int main(int argc, char **argv) {
    struct err err = {""};
    setenv("ATELIER_TEST_DEVICE", "cuda", 1);
    comm = comm_start(&argc, &argv);
    token_path = xasprintf("build/tmp/ranks-graphs-%d.h5", comm_num_ranks(comm));
    if (comm_is_root(comm))
        free(test_folder("ranks-graphs"));
    look_for_gpu(FEW_STEPS);
    int status = comm_is_root(comm) ? write_tokens(token_path, &err) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_axes),
        cmocka_unit_test(test_changes_are_seen),
    };
    bool alone = comm_num_ranks(comm) % 2 != 0; /* one rank: test_graphs.c */
    int failed =
        comm_all_ok(comm, status, &err) && !alone ? cmocka_run_group_tests(tests, NULL, NULL) : !alone;
    free(token_path);
    comm_finish(comm);
    return failed;
}
