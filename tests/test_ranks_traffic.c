/* test_ranks_traffic.c - bytes that each rank sends in a step (run with 1 to 4 ranks): what the transports counted is what the
 * plan's walk over the layout says, at every stage, in replicas, with gradients reduced after each micro-batch and once a step,
 * tied and not, of AdamW and Muon.  Control: what another stage or another number of micro-batches sends is another number. */
#include "tests/tiny_run.h"
#include "train/plan/traffic.h"
#include "train/ranks/rank_device.h"

static struct comm *comm;

static const char RUN[] = "run: {threads: 1}\n"
                          "model: {tokenizer: tokenizer.json}\n"
                          "data: {train: train.h5, sequence_tokens: 16}\n"
                          "train: {steps: 10, batch_sequences: 4, micro_sequences: 4, compute: f32}\n";

/* What is varied. */
struct variant {
    int zero_stage, replicas, num_micros;
    enum reduce_when reduce;
    bool tied;
    enum optimizer_id optimizer;
    enum dtype compute;
    enum wire_type wire;
};

static void load(struct config *config, const struct variant *v) {
    struct err err = {""};
    if (config_load_text(config, RUN, strlen(RUN), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    config->run.device = DEVICE_CPU;
    config->parallel.zero_stage = v->zero_stage;
    config->parallel.replicas = v->replicas;
    config->parallel.reduce = v->reduce;
    config->optimizer.kind = v->optimizer;
    config->train.compute = v->compute;
    config->parallel.wire = v->wire;
}

/* one_step - of this rank's own batch, as the trainer makes it. */
static void one_step(struct model *model, struct params *params, struct rank_device *rank,
                     const struct config *config, const struct variant *v) {
    struct batch batch = tiny_batch(0, 1);
    params_grad_reset(params);
    for (int m = 0; m < v->num_micros; m++) {
        if (m == v->num_micros - 1)
            params_grad_last(params);
        model_train(model, rank->link, &batch, 1e-3f);
    }
    params_grad_finish(params, rank->link);
    unsigned divided = grid_update_axes(&rank->grid);
    struct optimizer_step step = {1, 1e-3, optimizer_grad_norm(params, axes_comm(&rank->axes, divided)), 1};
    optimizer_update(params, rank->link, config, &step);
    params_publish(params, rank->link);
    free(batch.tokens);
    free(batch.targets);
    free(batch.row_start);
    free(batch.positions);
    free(batch.weights);
}

/* measure - what a rank sent in the second step of this variant, and what the plan says of it. */
static void measure(const struct variant *v, struct traffic *sent, struct traffic *planned) {
    struct config config;
    struct rank_device rank;
    struct params params;
    struct model model;
    struct model_config tiny = tiny_config(v->tied);
    load(&config, v);
    CHECK(rank_device_open(&rank, &config, comm), "the device could not be opened");
    struct layout layout = layout_make(&config, &tiny, &rank.grid, false);
    params_create(&params, &rank.dev, &layout.params);
    params_join_replicas(&params, rank.across);
    model_create(&model, &rank.dev, &params, &layout.model);
    state_init(&params, 5);
    params_share_masters(&params, rank.link);
    params_refresh(&params, rank.link);
    one_step(&model, &params, &rank, &config, v);
    int64_t inside = rank.link->sent_bytes, across = rank.across->sent_bytes;
    one_step(&model, &params, &rank, &config, v);
    *sent = (struct traffic){rank.link->sent_bytes - inside, rank.across->sent_bytes - across};
    *planned = traffic_of(&layout, v->num_micros);
    model_free(&model);
    params_free(&params);
    rank_device_close(&rank);
    config_free(&config);
}

static void expect_planned(const struct variant *v) {
    struct traffic sent, planned;
    measure(v, &sent, &planned);
    if (sent.inside != planned.inside || sent.across != planned.across)
        fail_msg(
            "stage %d, %d replicas, %d micro-batches, reduce %d, tied %d, optimizer %d: sent %lld and %lld bytes, "
            "planned %lld and %lld",
            v->zero_stage, v->replicas, v->num_micros, v->reduce, v->tied, v->optimizer,
            (long long)sent.inside, (long long)sent.across, (long long)planned.inside,
            (long long)planned.across);
}

static void test_sent_as_planned(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    for (int replicas = 1; replicas <= num_ranks; replicas++)
        for (int i = 0; num_ranks % replicas == 0 && i < 4 * 2 * 2 * 2 * 2 * 3; i++) {
            const struct variant v = {.zero_stage = i % 4,
                                      .replicas = replicas,
                                      .num_micros = i / 4 % 2 ? 3 : 1,
                                      .reduce = i / 8 % 2 ? REDUCE_STEP : REDUCE_MICRO,
                                      .tied = i / 16 % 2,
                                      .optimizer = i / 32 % 2 ? OPTIMIZER_MUON : OPTIMIZER_ADAMW,
                                      .compute = i / 64 > 0 ? DTYPE_BF16 : DTYPE_F32,
                                      .wire = i / 64 == 1 ? WIRE_F32 : WIRE_COMPUTE};
            bool differs = (v.reduce == REDUCE_MICRO || v.zero_stage >= 2) && (i < 64 || replicas > 1);
            if (differs && v.tied == (v.num_micros == 1)) /* each value of each, not all pairs */
                expect_planned(&v);
        }
}

/* Controls: what was planned for something else is not what is sent, and a reduction of each micro-batch sends as many times as
 * much. */
static void test_others_are_not(void **state) {
    (void)state;
    struct traffic one, three, once, planned;
    struct variant v = {.zero_stage = 2, .replicas = 1, .num_micros = 1, .reduce = REDUCE_MICRO};
    if (comm_num_ranks(comm) == 1) {
        measure(&v, &one, &planned);
        assert_true(one.inside == 0 && one.across == 0);
        return;
    }
    measure(&v, &one, &planned);
    v.num_micros = 3;
    measure(&v, &three, &planned);
    v.reduce = REDUCE_STEP;
    measure(&v, &once, &planned);
    assert_true(one.inside > 0 && once.inside == one.inside);
    assert_true(three.inside > 1.9 * one.inside &&
                three.inside < 2.1 * one.inside); /* 3 + 1 of 1 + 1: f32 is published */
    v.zero_stage = 3;
    measure(&v, &three, &planned);
    assert_true(three.inside != once.inside);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sent_as_planned),
        cmocka_unit_test(test_others_are_not),
    };
    comm = comm_start(&argc, &argv);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
