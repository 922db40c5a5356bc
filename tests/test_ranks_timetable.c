/* test_ranks_timetable.c - the exchanges of a step (run with 1 to 4 ranks): what each rank begins is, one after the other, what the
 * timetable says, and so many bytes, as the transports count them: at every stage, in replicas, with gradients reduced after each
 * micro-batch and once a step, tied and not, of AdamW and Muon, with ranks that share texts and ranks that divide tensors or experts.  Controls: the timetable of another
 * layout differs, and so does the same list in another order.  New values are waited for where they are read: gathers that begin as
 * late as they may give the same weights; control: without the waits they differ. */
#include "tests/planned_run.h"

static void test_begun_as_planned(void **state) {
    (void)state;
    static const enum wire_type wires[] = {WIRE_COMPUTE, WIRE_F32, WIRE_COMPUTE, WIRE_INT8};
    int num_ranks = comm_num_ranks(comm);
    for (int replicas = 1; replicas <= num_ranks; replicas++)
        for (int i = 0; num_ranks % replicas == 0 && i < 4 * 2 * 2 * 2 * 2 * 4; i++) {
            const struct variant v = {.zero_stage = i % 4,
                                      .replicas = replicas,
                                      .context = 1,
                                      .num_micros = i / 4 % 2 ? 3 : 1,
                                      .reduce = i / 8 % 2 ? REDUCE_STEP : REDUCE_MICRO,
                                      .tied = i / 16 % 2,
                                      .optimizer = i / 32 % 2 ? OPTIMIZER_MUON : OPTIMIZER_ADAMW,
                                      .compute = i / 64 > 0 ? DTYPE_BF16 : DTYPE_F32,
                                      .wire = wires[i / 64]};
            bool differs = (v.reduce == REDUCE_MICRO || v.zero_stage >= 2) && (i < 64 || replicas > 1);
            if (differs && v.tied == (v.num_micros == 1)) /* each value of each, not all pairs */
                expect_planned(&v);
        }
}

/* Gradients as integers of 64 bits: twice the bytes of f32, where gradients travel. */
static void test_integers_as_planned(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    for (int replicas = 1; replicas <= num_ranks; replicas++)
        for (int i = 0; num_ranks % replicas == 0 && i < 4 * 2 * 2; i++) {
            struct variant v = {.zero_stage = i % 4,
                                .replicas = replicas,
                                .context = 1,
                                .num_micros = i / 4 % 2 ? 3 : 1,
                                .reduce = i / 8 % 2 ? REDUCE_STEP : REDUCE_MICRO,
                                .tied = i % 3 == 0,
                                .reproducible = REPRODUCIBLE_LAYOUT};
            int64_t exact[EXCHANGE_AXES], plain[EXCHANGE_AXES];
            struct timetable planned;
            expect_planned(&v);
            measure(&v, exact, &planned);
            timetable_free(&planned);
            v.reproducible = REPRODUCIBLE_OFF;
            measure(&v, plain, &planned);
            timetable_free(&planned);
            assert_true(num_ranks == 1 || exact[0] + exact[1] > plain[0] + plain[1]);
        }
}

/* Replicas that learn apart: nothing crosses but in the outer step, then a sum of every value that a rank updates.  Control: those
 * that do not learn apart are planned otherwise. */
static void test_apart_as_planned(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    for (int replicas = 1; replicas <= num_ranks; replicas++)
        for (int i = 0; num_ranks % replicas == 0 && i < 4 * 2 * 2; i++) {
            struct variant v = {.zero_stage = i % 4,
                                .replicas = replicas,
                                .context = 1,
                                .num_micros = i / 4 % 2 ? 3 : 1,
                                .optimizer = i / 8 % 2 ? OPTIMIZER_MUON : OPTIMIZER_ADAMW,
                                .tied = i % 3 == 0,
                                .compute = i % 2 ? DTYPE_BF16 : DTYPE_F32,
                                .sync_every = 5};
            expect_planned(&v);
            v.sync_every = 0;
            struct run run;
            struct timetable planned;
            char text[300];
            run_open(&run, &v);
            timetable_make(&planned, &run.layout, v.num_micros);
            assert_true(replicas == 1 || v.zero_stage == 0 ||
                        difference(&planned, text, sizeof text) != NULL);
            timetable_free(&planned);
            run_close(&run);
        }
}

/* Ranks that share texts, and what they compute again. */
static void test_shared_texts_as_planned(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    for (int i = 0; num_ranks % 2 == 0 && i < 4 * 4; i++) {
        const struct variant v = {.zero_stage = i % 4,
                                  .replicas = i % 3 == 0 ? num_ranks / 2 : 1,
                                  .context = 2,
                                  .num_micros = 2,
                                  .recompute = (enum recompute)(i / 4)};
        expect_planned(&v);
    }
}

/* Ranks that divide experts, alone, with shards, with replicas and with ranks that share texts.  Controls: a model of as many experts
 * that nobody divides, and one whose rows go to half as many experts. */
static void test_experts_as_planned(void **state) {
    (void)state;
    static const char *const families[] = {"mixtral", "gpt_oss"};
    char text[300];
    int num_ranks = comm_num_ranks(comm);
    for (int i = 0; num_ranks % 2 == 0 && i < 4 * 4; i++) {
        struct variant v = {.zero_stage = i % 4,
                            .replicas = i % 3 == 0 ? num_ranks / 2 : 1,
                            .context = i % 3 == 1 ? num_ranks / 2 : 1,
                            .num_micros = 1 + i % 3,
                            .compute = i % 5 > 1 ? DTYPE_F32 : DTYPE_BF16,
                            .reduce = i % 2 ? REDUCE_STEP : REDUCE_MICRO,
                            .expert = i % 3 == 2 ? num_ranks : 2,
                            .recompute = (enum recompute)(i / 4 % 4),
                            .family = families[i % 7 / 4]};
        struct run run;
        struct timetable planned;
        expect_planned(&v); /* which leaves in records what was begun */
        int64_t expert = v.expert;
        v.expert = 1;
        run_open(&run, &v);
        timetable_make(&planned, &run.layout, v.num_micros);
        assert_true(planned.sent_bytes[EXCHANGE_EXPERT] == 0);
        assert_non_null(difference(&planned, text, sizeof text));
        timetable_free(&planned);
        run_close(&run);
        v.expert = (int)expert;
        run_open(&run, &v);
        run.tiny.num_chosen = 2;
        timetable_make(&planned, &run.layout, v.num_micros);
        assert_true(planned.sent_bytes[EXCHANGE_EXPERT] > 0);
        assert_non_null(difference(&planned, text, sizeof text));
        timetable_free(&planned);
        run_close(&run);
    }
}

/* layer_again - the timetable of a variant that computes layers again. */
static struct timetable layer_again(struct variant v) {
    struct run run;
    struct timetable planned;
    v.recompute = RECOMPUTE_LAYER;
    run_open(&run, &v);
    timetable_make(&planned, &run.layout, v.num_micros);
    run_close(&run);
    return planned;
}

/* Ranks that divide tensors, in families with norms before and after their branches, alone, with shards or replicas, and with ranks that
 * share texts.  Control: the timetable of layers that are computed again is another. */
static void test_tensor_as_planned(void **state) {
    (void)state;
    static const char *const families[] = {NULL, "gemma2"};
    char text[300];
    int num_ranks = comm_num_ranks(comm);
    for (int i = 0; num_ranks % 2 == 0 && i < 2 * 4 * 4; i++) {
        int others = num_ranks / 2; /* along other axes */
        const struct variant v = {.zero_stage = i % 4,
                                  .replicas = i % 3 == 0 ? others : 1,
                                  .context = i % 3 == 1 ? others : 1,
                                  .num_micros = 1 + i % 3,
                                  .compute = i % 5 > 1 ? DTYPE_F32 : DTYPE_BF16,
                                  .tensor = 2,
                                  .tied = i % 7 < 2,
                                  .head_rows = i % 3 == 2 ? 10 : 0, /* in chunks, the last one smaller */
                                  .padding = i % 4 != 3,
                                  .recompute = (enum recompute)(i / 4 % 4),
                                  .family = families[i / 16]};
        expect_planned(&v); /* which leaves in records what was begun */
        struct timetable again = layer_again(v);
        const char *found = difference(&again, text, sizeof text);
        assert_true(again.sent_bytes[EXCHANGE_TENSOR] > 0);
        assert_true((v.recompute == RECOMPUTE_LAYER) == (found == NULL));
        timetable_free(&again);
    }
}

/* stood_s - of one step of a variant, in the middle of its passes. */
static double stood_s(const struct variant *v) {
    struct run run;
    run_open(&run, v);
    double before = axes_stood_s(&run.rank.axes);
    one_step(&run.model, &run.params, &run.rank, &run.config, v);
    double stood = axes_stood_s(&run.rank.axes) - before;
    run_close(&run);
    return stood;
}

/* Waits for rows are counted, whoever shares what.  Control: ranks that share parameters alone have none. */
static void test_standing_is_counted(void **state) {
    (void)state;
    const struct variant alone = {.zero_stage = 1, .replicas = 1, .context = 1, .num_micros = 1};
    struct variant context = alone, tensor = alone, expert = alone;
    assert_true(stood_s(&alone) == 0);
    if (comm_num_ranks(comm) % 2 != 0)
        return;
    context.context = tensor.tensor = expert.expert = 2;
    expert.family = "mixtral";
    assert_true(stood_s(&context) > 0 && stood_s(&tensor) > 0 && stood_s(&expert) > 0);
}

/* Controls: what was planned for something else is not what is begun, and a reduction of each micro-batch sends as many times as
 * much. */
static void test_others_are_not(void **state) {
    (void)state;
    int64_t one[EXCHANGE_AXES], three[EXCHANGE_AXES], once[EXCHANGE_AXES];
    struct timetable planned, other;
    char text[300];
    struct variant v = {
        .zero_stage = 2, .replicas = 1, .context = 1, .num_micros = 1, .reduce = REDUCE_MICRO};
    if (comm_num_ranks(comm) == 1) {
        measure(&v, one, &planned);
        assert_true(one[0] == 0 && one[1] == 0 && one[2] == 0 && one[3] == 0 && num_records == 0);
        timetable_free(&planned);
        return;
    }
    measure(&v, one, &planned);
    timetable_free(&planned);
    v.num_micros = 3;
    measure(&v, three, &other);
    v.reduce = REDUCE_STEP;
    measure(&v, once, &planned);
    assert_null(difference(&planned, text, sizeof text));
    assert_non_null(difference(&other, text, sizeof text));
    timetable_free(&other);
    assert_true(one[0] > 0 && once[0] == one[0]);
    assert_true(three[0] > 1.9 * (double)one[0] && three[0] < 2.1 * (double)one[0]); /* 3 + 1 of 1 + 1 */
    /* The same exchanges in another order are not the same list. */
    int last = num_records - 1;
    while (last > 0 && records[last].bytes == records[0].bytes)
        last--;
    struct record first = records[0];
    records[0] = records[last];
    records[last] = first;
    assert_non_null(difference(&planned, text, sizeof text));
    timetable_free(&planned);
    v.zero_stage = 3;
    measure(&v, three, &planned);
    timetable_free(&planned);
    assert_true(three[0] != once[0]);
}

/* --- values that arrive as late as they may --- */

/* A gather that is not begun before it is waited for: who reads without a wait reads old values. */
struct late_gather {
    struct transfer *transfer; /* NULL: free */
    void *full;
    const void *shard;
    size_t shard_bytes;
};
enum { MOST_LATE = 64 };
static struct late_gather late[MOST_LATE];

static void gather_late(struct transport *t, void *full, const void *shard, size_t shard_bytes,
                        struct transfer *transfer) {
    (void)t;
    int i = 0;
    while (i < MOST_LATE && late[i].transfer)
        i++;
    CHECK(i < MOST_LATE, "more than %d gathers are under way", (int)MOST_LATE);
    late[i] = (struct late_gather){transfer, full, shard, shard_bytes};
}

static void wait_late(struct transport *t, struct transfer *transfer) {
    const struct transport_ops *real =
        listeners[t == listeners[EXCHANGE_INSIDE].transport ? EXCHANGE_INSIDE : EXCHANGE_ACROSS].real;
    for (int i = 0; i < MOST_LATE; i++)
        if (late[i].transfer == transfer) {
            real->all_gather_start(t, late[i].full, late[i].shard, late[i].shard_bytes, transfer);
            late[i].transfer = NULL;
        }
    real->wait(t, transfer);
}

static void delay(enum exchange_axis axis, struct transport *transport) {
    struct listener *listener = &listeners[axis];
    *listener = (struct listener){.transport = transport, .real = transport->ops, .ops = *transport->ops};
    listener->ops.all_gather_start = gather_late;
    listener->ops.wait = wait_late;
    transport->ops = &listener->ops;
}

/* How gathers are done, and the mistake: nobody waits for new values. */
enum manner { AT_ONCE, LATE, NOT_AWAITED };

/* forget - the mistake. */
static void forget(struct run *run) {
    params_publish_start(&run->params, run->rank.link);
    run->params.publishing.is_under_way = false;
    for (int s = 0; s < SLOT_COUNT; s++)
        run->params.crossing[s].unit = -1;
    memset(late, 0, sizeof late);
    for (int s = 0; s < SLOT_COUNT; s++)
        memset(run->params.crossing[s].transfers, 0, sizeof run->params.crossing[s].transfers);
}

/* sum_of_weights - after three steps, of what the forward of this rank reads. */
static double sum_of_weights(const struct variant *v, enum manner manner) {
    struct run run;
    double sum = 0;
    run_open(&run, v);
    const struct transport_ops *inside = run.rank.link->ops, *across = run.rank.across->ops;
    if (manner != AT_ONCE) {
        delay(EXCHANGE_INSIDE, run.rank.link);
        if (run.rank.across != run.rank.link)
            delay(EXCHANGE_ACROSS, run.rank.across);
    }
    for (int step = 0; step < 3; step++)
        one_step(&run.model, &run.params, &run.rank, &run.config, v);
    if (manner == NOT_AWAITED)
        forget(&run);
    else
        params_publish_start(&run.params, run.rank.link);
    for (int unit = 0; unit < run.params.num_units; unit++) {
        params_acquire(&run.params, run.rank.link, unit);
        for (int i = 0; i < run.params.units[unit].num_segments; i++) {
            const struct unit_tensor *tensor = &run.params.units[unit].segments[i].tensors[0];
            struct tensor w = params_weight(&run.params, unit, tensor->param.role).value;
            for (int64_t k = 0; k < tensor->count; k++)
                sum += (double)(k % 7 + 1) * ((const float *)w.data)[k];
        }
    }
    assert_false(run.params.publishing.is_under_way);
    run.rank.link->ops = inside;
    run.rank.across->ops = across;
    run_close(&run);
    return sum;
}

static void test_values_are_awaited(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    for (int i = 0; i < 3 * num_ranks; i++) {
        const struct variant v = {
            .zero_stage = 1 + i % 3, .replicas = 1 + i / 3, .context = 1, .num_micros = 2, .tied = i % 2};
        if (num_ranks % v.replicas != 0)
            continue;
        double at_once = sum_of_weights(&v, AT_ONCE);
        assert_true(sum_of_weights(&v, LATE) == at_once);
        int64_t differs = num_ranks > 1 && (v.zero_stage < 3 || v.replicas > 1);
        if (differs) /* the control */
            assert_true(sum_of_weights(&v, NOT_AWAITED) != at_once);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begun_as_planned),    cmocka_unit_test(test_integers_as_planned),
        cmocka_unit_test(test_apart_as_planned),    cmocka_unit_test(test_shared_texts_as_planned),
        cmocka_unit_test(test_others_are_not),      cmocka_unit_test(test_values_are_awaited),
        cmocka_unit_test(test_tensor_as_planned),   cmocka_unit_test(test_experts_as_planned),
        cmocka_unit_test(test_standing_is_counted),
    };
    comm = comm_start(&argc, &argv);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
