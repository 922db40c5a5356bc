/* test_ranks_expert.c - ranks that divide the experts of a layer (run with 1, 2, 3, 4 and 8 ranks): losses, gradient norms and
 * weights are those of one rank that has all experts, to 1e-5, at every stage, alone, with shards, replicas and ranks that share
 * texts; also where all rows go to one expert, so that ranks have none at all.  The same layout twice gives the same bits.
 * Controls: rows that come to their experts in another order than was said, and one rank's gradients kept from the others that
 * have the same expert.  Where the program has a GPU, or what stands in for one, the ranks use it, with fewer steps and layouts. */
#include "tests/layout_run.h"

/* What is kept of one rank alone. */
struct reference {
    double losses[STEPS], norms[STEPS];
    struct run run;
};

enum { MOST_STEPS = 8 };

static const double RATE = 1e-3; /* an element without a true gradient moves by so much as rounding says */

/* crowd - all rows go first to the first expert of every layer: by the router's bias, and where there is none by a router of zeros, whose
 * ties go to the lower numbers, for one step. */
static void crowd(struct run *run) {
    bool is_biased = run->model.layers[0].plan.clamps_experts;
    CHECK(run->params.setup.zero_stage < 3, "no router to set");
    for (int layer = 0; layer < run->model_config.num_layers; layer++) {
        float first = 100;
        struct weight w = params_weight(&run->params, 1 + layer, is_biased ? ROLE_ROUTER_BIAS : ROLE_ROUTER);
        if (is_biased)
            device_upload(&run->rank.dev, tensor_1d(w.value.data, DTYPE_F32, 1), &first);
        else
            device_zero(&run->rank.dev, w.value);
    }
}

/* take_reference - computed by every rank alone. */
static void take_reference(struct reference *want, const struct layout *layout, bool crowds) {
    struct layout alone = {
        .micro_sequences = BATCH, .family = layout->family, .chosen = layout->chosen, .rate = layout->rate};
    run_open(&want->run, NULL, &alone, false);
    if (crowds)
        crowd(&want->run);
    for (int i = 0; i < num_steps; i++) {
        want->losses[i] = step(&want->run, &alone, i);
        want->norms[i] = want->run.grad_norm;
    }
    params_publish_finish(&want->run.params, NULL);
}

/* Sums of squares: of what a rank's weights are away from those of the one rank, and of these. */
struct squares {
    double apart, whole;
    int num_experts; /* tensors of experts among them */
};

/* add_tensor - of one that this rank has. */
static void add_tensor(struct squares *sums, const struct reference *want, struct run *run,
                       const struct segment *segment, const struct unit_tensor *tensor) {
    struct param param = tensor->param;
    const float *a = params_weight(&run->params, segment->unit, param.role).value.data,
                *b = params_weight(&want->run.params, segment->unit, param.role).value.data;
    float *own = xmalloc((size_t)tensor->count * sizeof *own);
    if (tensor->spec->traits & PARAM_EXPERT) { /* those of a rank begin with the first that it has */
        const struct divided *experts = &run->params.setup.experts;
        int first = experts->index * (EXPERTS / experts->size);
        a += (param.expert - first) * tensor->count;
        b += param.expert * tensor->count;
        sums->num_experts++;
    }
    device_download(&run->rank.dev, own, tensor_1d((void *)(uintptr_t)a, DTYPE_F32, tensor->count));
    for (int64_t i = 0; i < tensor->count; i++) {
        sums->apart += ((double)own[i] - (double)b[i]) * ((double)own[i] - (double)b[i]);
        sums->whole += (double)b[i] * (double)b[i];
    }
    free(own);
}

/* weights_away - of all that this rank has.  Not of each tensor: biases that begin at zero, and whose gradients are little more than
 * rounding, AdamW moves by the rate all the same, also on as many ranks that divide nothing. */
static struct squares weights_away(const struct reference *want, struct run *run) {
    struct squares sums = {0, 0, 0};
    params_publish_finish(&run->params, run->rank.link);
    for (int unit = 0; unit < run->params.num_units; unit++) {
        params_acquire(&run->params, run->rank.link, unit);
        for (int i = 0; i < run->params.units[unit].num_segments; i++) {
            const struct segment *s = &run->params.units[unit].segments[i];
            for (int t = 0; t < s->num_tensors; t++)
                add_tensor(&sums, want, run, s, &s->tensors[t]);
        }
    }
    return sums;
}

/* The mistake: what comes to the experts of another rank stands in the wrong order. */
static const struct transport_ops *real_ops;
static struct transport_ops confused_ops;

static void confuse(struct transport *t, const struct comm_pieces *pieces, struct transfer *transfer) {
    size_t total = 0, row = 24 * sizeof(float); /* of the tiny model */
    char *received = pieces->received;
    real_ops->all_to_all_start(t, pieces, transfer);
    real_ops->wait(t, transfer);
    *transfer = (struct transfer){.number = 0};
    for (int r = 0; r < comm_num_ranks(t->comm); r++)
        total += pieces->received_bytes[r];
    for (size_t a = 0, b = total / row; b > 0 && a < b - 1; a++, b--)
        for (size_t i = 0; i < row; i++) {
            char kept = received[a * row + i];
            received[a * row + i] = received[(b - 1) * row + i];
            received[(b - 1) * row + i] = kept;
        }
}

enum mistake { NO_MISTAKE, CONFUSED, NOT_ADDED };

/* How far a run is from the reference. */
struct away {
    double losses, norms, weights;
    int num_experts;
    int64_t sent_bytes; /* to other ranks' experts */
    double last_loss;
};

static struct away run_away(struct reference *want, const struct layout *layout, bool crowds,
                            enum mistake mistake) {
    struct away away = {.losses = 0};
    struct run run;
    struct transport alone = {.ops = NULL};
    struct err err = {""};
    run_open(&run, comm, layout, false);
    assert_int_equal(transport_open(&alone, NULL, &run.rank.dev, TRANSPORT_HOST, &err), 0);
    if (crowds)
        crowd(&run);
    if (mistake == CONFUSED) {
        real_ops = run.rank.expert->ops;
        confused_ops = *real_ops;
        confused_ops.all_to_all_start = confuse;
        run.rank.expert->ops = &confused_ops;
    }
    if (mistake == NOT_ADDED)
        params_join_replicas(&run.params, &alone);
    for (int i = 0; i < num_steps; i++) {
        away.last_loss = step(&run, layout, i);
        away.losses = fmax(away.losses, fabs(away.last_loss - want->losses[i]) / want->losses[i]);
        away.norms = fmax(away.norms, fabs(run.grad_norm - want->norms[i]) / want->norms[i]);
    }
    struct squares sums = weights_away(want, &run);
    away.weights = sqrt(sums.apart / sums.whole);
    away.num_experts = sums.num_experts;
    away.sent_bytes = run.rank.expert->sent_bytes;
    if (mistake == CONFUSED)
        run.rank.expert->ops = real_ops;
    transport_close(&alone);
    run_close(&run);
    return away;
}

static void expect_alike(struct reference *want, const struct layout *layout, bool crowds) {
    struct away away = run_away(want, layout, crowds, NO_MISTAKE);
    if (!(away.losses < 1e-5 && away.weights < 1e-5 && away.norms < 1e-5))
        fail_msg(
            "%d ranks, %s, experts divided by %d, %d replicas, %d share texts, stage %d, recompute %d: losses "
            "differ by %.2e, norms by %.2e, weights by %.2e",
            comm_num_ranks(comm), layout->family, layout->expert, layout->replicas, layout->context,
            layout->zero_stage, (int)layout->recompute, away.losses, away.norms, away.weights);
    int matrices = strcmp(layout->family, "mixtral") == 0 ? 3 : 4; /* of an expert; with biases */
    assert_int_equal(away.num_experts,
                     EXPERTS / layout->expert * matrices * want->run.model_config.num_layers);
}

/* check_family - every stage, in one replica and in several. */
static void check_family(const char *family) {
    int num_ranks = comm_num_ranks(comm);
    struct layout layout = {.family = family, .chosen = 2, .rate = RATE};
    struct reference want;
    take_reference(&want, &layout, false);
    for (int i = 0; i < 8; i += on_gpu ? 7 : 1) {
        layout.zero_stage = i % 4;
        layout.micro_sequences = i % 3 ? 1 : 3;
        layout.recompute = (enum recompute)((i + i / 4) % 4);
        layout.keeps_gradients = i % 3 == 1;
        layout.expert = i < 4 || num_ranks == 2 ? 2 : num_ranks;
        layout.replicas = layout.expert == 2 && i % 2 ? num_ranks / 2 : 1;
        layout.context = layout.expert == 2 && i % 4 == 2 && num_ranks % 4 == 0 ? 2 : 1;
        expect_alike(&want, &layout, false);
    }
    run_close(&want.run);
}

static void test_as_alone(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    if (num_ranks % 2 || EXPERTS % num_ranks)
        return;
    check_family("mixtral");
    if (!on_gpu)
        check_family("gpt_oss");
}

/* All rows go to the first expert, and with two of them to whichever second: then most ranks have no rows. */
static void test_crowded(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    int all_steps = num_steps;
    num_steps = on_gpu ? 1 : num_steps;
    for (int chosen = on_gpu ? 2 : 1; chosen <= 2 && num_ranks % 2 == 0 && EXPERTS % num_ranks == 0;
         chosen++) {
        struct layout layout = {.family = on_gpu ? "mixtral" : "gpt_oss",
                                .chosen = chosen,
                                .replicas = 1,
                                .micro_sequences = 2,
                                .rate = RATE};
        struct reference want;
        take_reference(&want, &layout, true);
        for (int stage = on_gpu ? 2 : 0; stage < 3; stage++) {
            layout.zero_stage = stage;
            layout.expert = stage == 1 ? 2 : num_ranks;
            expect_alike(&want, &layout, true);
        }
        run_close(&want.run);
    }
    num_steps = all_steps;
}

/* The controls, and the same bits twice. */
static void test_mistakes_are_seen(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    struct layout layout = {
        .family = "mixtral", .chosen = 2, .replicas = 1, .expert = 2, .zero_stage = 2, .micro_sequences = 2};
    struct reference want;
    if (num_ranks % 2 || on_gpu) /* one mistake is made in memory of the host */
        return;
    take_reference(&want, &layout, false);
    struct away first = run_away(&want, &layout, false, NO_MISTAKE),
                again = run_away(&want, &layout, false, NO_MISTAKE);
    assert_true(first.last_loss == again.last_loss && first.weights == again.weights);
    assert_true(first.sent_bytes > 0);
    struct away confused = run_away(&want, &layout, false, CONFUSED);
    assert_true(confused.losses > 1e-5 && confused.weights > 1e-4);
    if (num_ranks > 2) {
        layout.replicas = num_ranks / 2;
        struct away apart = run_away(&want, &layout, false, NOT_ADDED);
        assert_true(apart.weights > 1e-4);
    }
    run_close(&want.run);
}

int main(int argc, char **argv) {
    struct err err = {""};
    comm = comm_start(&argc, &argv);
    token_path = xasprintf("build/tmp/ranks-expert-%d.h5", comm_num_ranks(comm));
    if (comm_is_root(comm))
        free(test_folder("ranks-expert"));
    look_for_gpu(MOST_STEPS);
    int status = comm_is_root(comm) ? write_tokens(token_path, &err) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_alone),
        cmocka_unit_test(test_crowded),
        cmocka_unit_test(test_mistakes_are_seen),
    };
    int failed = comm_all_ok(comm, status, &err) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    free(token_path);
    comm_finish(comm);
    return failed;
}
