/* test_ranks_train.c - the same 20 steps on any number of ranks (run with 1, 2, 3 and 4), at every stage,
 * with one or several micro-batches, with and without recomputation, in replicas: losses equal to 1e-5 those
 * of one rank that computes everything at once on a CPU, which every rank works out for itself without a word
 * to the others. In 16-bit types, with bf16 moments, with the optimizer in host memory: close to the same on
 * one CPU rank. Where the program has a GPU, or what stands in for one, the ranks use it, with fewer steps
 * and layouts: then this is whole training on the CUDA path against the CPU. Controls: gradients scaled by
 * each rank's own token count (a mean of means) must not pass; the same layout twice must give the same bits;
 * another learning rate must not pass for a rounding.  A third axis of the grid, along which ranks share their
 * samples, changes neither losses nor counts nor the gradient norm; one that is said to divide what its ranks
 * share must be seen. */
#include "tests/layout_run.h"

static void curve(struct comm *run_comm, const struct layout *layout, bool tied, double losses[STEPS]) {
    struct run run;
    run_open(&run, run_comm, layout, tied);
    size_t total, free_bytes = 0;
    for (int64_t i = 0; i < num_steps; i++) {
        losses[i] = step(&run, layout, i);
        if (i == 0)
            free_bytes = device_memory_free(&run.rank.dev, &total);
    }
    if (run_comm && on_gpu) /* nothing is allocated in a step: it cannot run out of memory */
        assert_int_equal(device_memory_free(&run.rank.dev, &total), free_bytes);
    run_close(&run);
}

static double worst_difference(const double *a, const double *b) {
    double worst = 0;
    for (int i = 0; i < num_steps; i++)
        worst = fmax(worst, fabs(a[i] - b[i]) / fabs(b[i]));
    return worst;
}

/* reference - one rank, one micro-batch, nothing sharded: computed by every rank alone. */
static void reference(bool tied, double losses[STEPS]) {
    struct layout layout = {.zero_stage = 0, .micro_sequences = BATCH};
    curve(NULL, &layout, tied, losses);
}

static void check_layouts(bool tied) {
    double want[STEPS], got[STEPS];
    int num_ranks = comm_num_ranks(comm);
    reference(tied, want);
    if (num_steps == STEPS)
        assert_true(want[STEPS - 1] < want[0] - 0.1); /* it learns: the curve has something to compare */
    for (int zero_stage = 0; zero_stage <= 3; zero_stage++)
        for (int accumulation = 1; accumulation <= 4; accumulation += 3)
            for (enum recompute recompute = RECOMPUTE_NONE; recompute <= RECOMPUTE_LAYER; recompute++) {
                if (on_gpu && ((int)recompute != zero_stage || (accumulation == 1) != (zero_stage % 2 == 0) ||
                               tied != (zero_stage > 1)))
                    continue; /* each stage and each way to recompute once */
                int64_t parts = (int64_t)num_ranks * accumulation;
                struct layout layout = {.zero_stage = zero_stage,
                                        .micro_sequences = (BATCH + parts - 1) / parts,
                                        .recompute = recompute};
                curve(comm, &layout, tied, got);
                double worst = worst_difference(got, want);
                if (!(worst < 1e-5))
                    fail_msg("%d ranks, stage %d, %lld sequences per micro-batch, recompute %d: losses "
                             "differ by %.2e",
                             num_ranks, zero_stage, (long long)layout.micro_sequences, (int)recompute, worst);
            }
}

/* Gradients that are reduced once a step, of one micro-batch and of several, in one replica and in two: the curve of one
 * rank, and, of one micro-batch, the bits of gradients that are reduced after each. */
static void test_reduced_once_a_step(void **state) {
    (void)state;
    double want[STEPS], got[STEPS], each[STEPS];
    int num_ranks = comm_num_ranks(comm);
    reference(true, want);
    for (int replicas = 1; replicas <= num_ranks && num_ranks % replicas == 0; replicas++)
        for (int zero_stage = on_gpu ? 3 : 2; zero_stage <= 3; zero_stage++)
            for (int micros = on_gpu ? 3 : 1; micros <= 3; micros += 2) {
                struct layout layout = {.zero_stage = zero_stage,
                                        .micro_sequences = BATCH / num_ranks / micros,
                                        .replicas = replicas,
                                        .keeps_gradients = true};
                curve(comm, &layout, true, got);
                double worst = worst_difference(got, want);
                if (!(worst < 1e-5))
                    fail_msg(
                        "%d ranks, %d replicas, stage %d, %d micro-batches reduced once: losses differ by %.2e",
                        num_ranks, replicas, zero_stage, micros, worst);
                layout.keeps_gradients = false;
                curve(comm, &layout, true, each);
                if (micros == 1) /* of several, sums run in another order: the control */
                    assert_memory_equal(got, each, (size_t)num_steps * sizeof *got);
                else if (num_ranks / replicas > 1)
                    assert_memory_not_equal(got, each, (size_t)num_steps * sizeof *got);
            }
}

/* Replicas of the model, each sharded over a part of the ranks. */
static void test_replicas_agree(void **state) {
    (void)state;
    double want[STEPS], got[STEPS];
    int num_ranks = comm_num_ranks(comm);
    reference(true, want);
    for (int replicas = 2; replicas <= num_ranks; replicas++)
        for (int zero_stage = on_gpu ? 3 : 0; zero_stage <= 3 && num_ranks % replicas == 0; zero_stage++) {
            struct layout layout = {.zero_stage = zero_stage, .micro_sequences = 1, .replicas = replicas};
            curve(comm, &layout, true, got);
            double worst = worst_difference(got, want);
            if (!(worst < 1e-5))
                fail_msg("%d replicas on %d ranks, stage %d: losses differ by %.2e", replicas, num_ranks,
                         zero_stage, worst);
        }
}

/* Ranks that share texts, alone and beside shards and replicas. */
static void test_context_agrees(void **state) {
    (void)state;
    double want[STEPS], got[STEPS];
    int num_ranks = comm_num_ranks(comm);
    if (num_ranks % 2)
        return;
    reference(false, want);
    for (int replicas = 1; replicas <= num_ranks / 2; replicas++)
        for (int zero_stage = on_gpu ? 3 : 0; zero_stage <= 3 && num_ranks / 2 % replicas == 0;
             zero_stage++) {
            struct layout layout = {.zero_stage = zero_stage,
                                    .micro_sequences = 1 + zero_stage % 2,
                                    .recompute = (enum recompute)zero_stage,
                                    .replicas = replicas,
                                    .context = 2};
            curve(comm, &layout, false, got);
            double worst = worst_difference(got, want);
            if (!(worst < 1e-5))
                fail_msg("%d replicas on %d ranks, of which 2 share texts, stage %d: losses differ by %.2e",
                         replicas, num_ranks, zero_stage, worst);
            if (zero_stage < 3)
                continue;
            layout.wrong_rows = true; /* the control */
            curve(comm, &layout, false, got);
            assert_true(worst_difference(got, want) > 1e-3);
        }
}

/* agrees_divided - with the curve of one rank: ranks that divide tensors by two, alone and beside the others. */
static void agrees_divided(const struct layout *layout, bool tied, const double *want) {
    double got[STEPS];
    curve(comm, layout, tied, got);
    double worst = worst_difference(got, want);
    if (!(worst < 1e-5))
        fail_msg(
            "%d ranks, tensors divided by %d, %d replicas, %d share texts, stage %d: losses differ by %.2e",
            comm_num_ranks(comm), layout->tensor, layout->replicas, layout->context, layout->zero_stage,
            worst);
}

/* A vocabulary that they divide, and one that each has whole. */
static void check_divided(int64_t padding, bool tied) {
    double want[STEPS], got[STEPS];
    int num_ranks = comm_num_ranks(comm);
    struct layout alone = {.micro_sequences = BATCH, .padding = padding};
    curve(NULL, &alone, tied, want);
    for (int zero_stage = on_gpu ? 3 : 0; zero_stage <= 3; zero_stage++) {
        struct layout layout = {.zero_stage = zero_stage,
                                .micro_sequences = 1 + zero_stage % 2,
                                .recompute = (enum recompute)zero_stage,
                                .replicas = 1,
                                .tensor = 2,
                                .padding = padding};
        agrees_divided(&layout, tied, want);
        layout.lacks_sum = true; /* the control: with a divided vocabulary norms alone are wrong */
        curve(comm, &layout, tied, got);
        assert_true(worst_difference(got, want) > (padding == 0 ? 1e-3 : 1e-5));
        layout.lacks_sum = false;
        layout.replicas = num_ranks / 2;
        if (num_ranks > 2)
            agrees_divided(&layout, tied, want);
    }
}

/* Ranks that divide the tensors of a layer; the control: gradients of what they hold alike are not added. */
static void test_tensor_agrees(void **state) {
    (void)state;
    if (comm_num_ranks(comm) % 2)
        return;
    check_divided(0, false);
    check_divided(1, false);
    check_divided(1, true);
}

/* The same in 16-bit types, where terms are rounded before they are added. */
static void test_tensor_in_types(void **state) {
    (void)state;
    double want[STEPS], got[STEPS];
    for (enum dtype type = DTYPE_BF16; type <= DTYPE_F16 && comm_num_ranks(comm) % 2 == 0; type++) {
        struct layout layout = {.micro_sequences = BATCH, .padding = 1, .compute = type};
        curve(NULL, &layout, true, want);
        layout.micro_sequences = 1;
        layout.zero_stage = 3;
        layout.tensor = 2;
        curve(comm, &layout, true, got);
        double close = worst_difference(got, want);
        print_message("compute %s, tensors divided by 2: losses within %.1e of one CPU rank\n",
                      dtype_name(type), close);
        assert_true(close < 5e-3);
        layout.rate = 2e-2; /* control: another rate */
        curve(comm, &layout, true, got);
        assert_true(worst_difference(got, want) > 2e-2);
    }
}

/* What the steps of a run told. */
struct told {
    double losses[STEPS], norms[STEPS], weights[STEPS], tokens[STEPS];
};

static void tell(struct comm *run_comm, const struct layout *layout, struct told *told) {
    struct run run;
    memset(told, 0, sizeof *told);
    run_open(&run, run_comm, layout, false);
    for (int64_t i = 0; i < num_steps; i++) {
        told->losses[i] = step(&run, layout, i);
        told->norms[i] = run.grad_norm;
        told->weights[i] = run.sums.target_weight;
        told->tokens[i] = run.sums.filled_tokens;
    }
    run_close(&run);
}

/* third_axis - replicas and shards, and an axis of two ranks that divide that. */
static void third_axis(struct axis_row rows[3], unsigned divides) {
    memcpy(rows, GRID_AXES, 2 * sizeof *rows);
    rows[2] = (struct axis_row){"test", "along a test axis", divides};
}

/* An axis along which ranks share samples: it is in no sum that it does not divide. */
static void test_third_axis(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    if (num_ranks % 2)
        return;
    struct comm *half = comm_split(comm, comm_rank(comm) % 2);
    for (int replicas = 1; replicas <= num_ranks / 2; replicas++)
        for (int zero_stage = on_gpu ? 3 : 0; zero_stage <= 3; zero_stage++) {
            struct told want, got;
            struct axis_row rows[3];
            struct layout layout = {.zero_stage = zero_stage, .micro_sequences = 2, .replicas = replicas};
            tell(half, &layout, &want);
            layout.rows = rows;
            third_axis(rows, 0); /* both ranks compute all of it: nothing changes */
            tell(comm, &layout, &got);
            assert_memory_equal(&got, &want, sizeof got);
            third_axis(rows, DIVIDES_LOSS); /* each computes half of every sample */
            tell(comm, &layout, &got);
            assert_memory_equal(got.weights, want.weights, sizeof got.weights);
            assert_memory_equal(got.tokens, want.tokens, sizeof got.tokens);
            assert_true(worst_difference(got.losses, want.losses) < 1e-5);
            assert_true(worst_difference(got.norms, want.norms) < 1e-4);
        }
    comm_join(half);
}

/* Control: ranks that share samples and add up what they read count it twice, and the mean halves. */
static void test_shared_samples_summed(void **state) {
    (void)state;
    struct run run;
    struct axis_row rows[3];
    struct layout layout = {.micro_sequences = 2, .rows = rows};
    if (comm_num_ranks(comm) % 2)
        return;
    third_axis(rows, 0);
    run_open(&run, comm, &layout, false);
    step(&run, &layout, 0);
    double once = run.sums.target_weight, loss = run.sums.loss;
    rows[2].divides = DIVIDES_SAMPLES;
    axes_close(&run.rank.axes);
    struct config config = {.run = {.threads = 1}, .parallel = {.replicas = 1}};
    CHECK(rank_device_join(&run.rank, &config, comm), "the transports could not be opened");
    take_sums(&run, step_sums_read, 0);
    take_sums(&run, step_sums_computed, loss * once / comm_num_ranks(comm) * 2);
    assert_true(run.sums.target_weight == 2 * once);
    assert_true(fabs(run.sums.loss - loss / 2) < 1e-6 * loss);
    run_close(&run);
}

static void test_layouts_agree(void **state) {
    (void)state;
    check_layouts(false);
}

static void test_layouts_agree_tied(void **state) {
    (void)state;
    check_layouts(true);
}

static void test_mean_of_means_is_noticed(void **state) {
    (void)state;
    double want[STEPS], got[STEPS];
    int num_ranks = comm_num_ranks(comm);
    struct layout layout = {
        .zero_stage = 2, .micro_sequences = (BATCH + num_ranks - 1) / num_ranks, .mean_of_means = true};
    reference(false, want);
    curve(comm, &layout, false, got);
    if (num_ranks == 1) /* one mean of one mean is right */
        assert_true(worst_difference(got, want) < 1e-5);
    else
        assert_true(worst_difference(got, want) > 1e-5);
}

static void test_same_layout_same_bits(void **state) {
    (void)state;
    for (int zero_stage = on_gpu ? 3 : 0; zero_stage <= 3; zero_stage++) {
        double first[STEPS] = {0}, second[STEPS] = {0};
        struct layout layout = {.zero_stage = zero_stage, .micro_sequences = 1};
        curve(comm, &layout, false, first);
        curve(comm, &layout, false, second);
        assert_memory_equal(first, second, sizeof first);
    }
}

/* The rate at which types of 16 bits are compared.  At twice as much, where attention rounds to bf16 as GPUs do, roundings alone made 4 ranks
 * differ by 6e-3 after ten steps. */
static const double RATE_OF_TYPES = 5e-3;

/* in_types - losses of the ranks, at a rate, against one CPU rank in the same types at RATE_OF_TYPES. */
static double in_types(struct layout layout, double rate) {
    double want[STEPS], got[STEPS];
    struct layout alone = layout;
    int num_ranks = comm_num_ranks(comm);
    alone.zero_stage = 0;
    alone.micro_sequences = BATCH;
    alone.rate = RATE_OF_TYPES;
    curve(NULL, &alone, true, want);
    layout.zero_stage = 3;
    layout.micro_sequences = (BATCH + num_ranks - 1) / num_ranks;
    layout.rate = rate;
    curve(comm, &layout, true, got);
    return worst_difference(got, want);
}

/* Gradients that cross between replicas in bf16: other bits than in f32, close to the same curve; twice the same bits. */
static void test_wire(void **state) {
    (void)state;
    double whole[STEPS], rounded[STEPS], again[STEPS];
    int num_ranks = comm_num_ranks(comm);
    for (int zero_stage = on_gpu ? 3 : 1; zero_stage <= 3; zero_stage++)
        for (int replicas = 2; replicas <= num_ranks; replicas++) {
            struct layout layout = {.zero_stage = zero_stage,
                                    .micro_sequences = 2,
                                    .replicas = replicas,
                                    .compute = DTYPE_F32,
                                    .keeps_gradients = replicas % 2 != 0};
            if (num_ranks % replicas != 0)
                continue;
            curve(comm, &layout, true, whole);
            layout.wire = DTYPE_BF16;
            curve(comm, &layout, true, rounded);
            curve(comm, &layout, true, again);
            double worst = worst_difference(rounded, whole);
            assert_memory_equal(rounded, again, (size_t)num_steps * sizeof *again);
            if (!(worst > 0 && worst < 5e-3))
                fail_msg(
                    "%d ranks, %d replicas, stage %d: gradients in bf16 between replicas change losses by %.2e",
                    num_ranks, replicas, zero_stage, worst);
        }
}

/* Roundings of 16 bits grow from step to step, whatever the weights are: the first ten, which are all here, say whether the ranks compute
 * the same, more would say how chaotic the run is.  The bound is for processors with bf16 instructions and without: the worst seen is 7e-4
 * with moments in f32, 1.3e-3 with moments in bf16, too. */
static void test_types_agree(void **state) {
    (void)state;
    static const struct layout layouts[] = {
        {.compute = DTYPE_BF16, .wide = true},
        {.compute = DTYPE_F16, .wide = true},
        {.compute = DTYPE_BF16, .moments = DTYPE_BF16, .wide = true},
        {.compute = DTYPE_BF16, .offloads = true, .wide = true},
        {.compute = DTYPE_F32, .moments = DTYPE_BF16, .offloads = true, .wide = true},
    };
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        double close = in_types(layouts[i], RATE_OF_TYPES);
        print_message("compute %s, moments %s%s: losses within %.1e of one CPU rank\n",
                      dtype_name(layouts[i].compute), dtype_name(layouts[i].moments),
                      layouts[i].offloads ? " on the host" : "", close);
        bool all_bf16 = layouts[i].compute == DTYPE_BF16 && layouts[i].moments == DTYPE_BF16;
        assert_true(close < (all_bf16 ? 5e-3 : 2.5e-3));
    }
    assert_true(in_types(layouts[0], 2 * RATE_OF_TYPES) > 2e-2); /* control: another rate */
}

int main(int argc, char **argv) {
    struct err err = {""};
    comm = comm_start(&argc, &argv);
    token_path = xasprintf("build/tmp/ranks-train-%d.h5", comm_num_ranks(comm));
    if (comm_is_root(comm))
        free(test_folder("ranks-train"));
    look_for_gpu(STEPS);
    int status = comm_is_root(comm) ? write_tokens(token_path, &err) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts_agree),
        cmocka_unit_test(test_layouts_agree_tied),
        cmocka_unit_test(test_reduced_once_a_step),
        cmocka_unit_test(test_replicas_agree),
        cmocka_unit_test(test_mean_of_means_is_noticed),
        cmocka_unit_test(test_same_layout_same_bits),
        cmocka_unit_test(test_context_agrees),
        cmocka_unit_test(test_tensor_agrees),
        cmocka_unit_test(test_tensor_in_types),
        cmocka_unit_test(test_third_axis),
        cmocka_unit_test(test_shared_samples_summed),
        cmocka_unit_test(test_wire),
        cmocka_unit_test(test_types_agree),
    };
    if (on_gpu &&
        !getenv(
            "WHOLE")) /* minutes on the kernels' stand-in: of the others Muon's and quantised bases' tests are a sample */
        cmocka_set_test_filter("test_*agree");
    int failed = comm_all_ok(comm, status, &err) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    free(token_path);
    comm_finish(comm);
    return failed;
}
