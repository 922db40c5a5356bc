/* test_ranks_wire.c - gradients that cross between replicas in 8 bits (run with 1 to 4 ranks): the curve is close to that of gradients
 * in f32, and twice the same bits; what the ranks get in many steps is, but for what is still owed, the sum in f32, also where what
 * the replicas owe was added up in between.  Controls: where what rounding loses is sent by nobody, the sums drift away, and
 * where one replica's part is lost as the others' are joined, it is missed. */
#include <math.h>

#include "tests/layout_run.h"

enum { MOST_VALUES = 1 << 15 };

/* What is done between two steps. */
enum between { NOTHING, JOINS, LOSES };

/* Gradients of the whole model, tensor by tensor in the order of param_slot. */
struct sums {
    const struct params *params;
    const float *values; /* of the owned range of a segment */
    int64_t firsts[256];
    float all[MOST_VALUES];
};

static void place_sums(struct sums *sums, const struct params *params) {
    struct param at = PARAM_START;
    int64_t first = 0;
    memset(sums, 0, sizeof *sums);
    sums->params = params;
    while (family_next_param(params->setup.model, &at)) {
        sums->firsts[param_slot(params->setup.model, at)] = first;
        first += tensor_count(param_shape(params->setup.model, at));
    }
    CHECK(first <= MOST_VALUES, "%lld values, and there is room for %d", (long long)first, (int)MOST_VALUES);
}

static int add_piece(void *user, const struct piece *piece) {
    struct sums *sums = user;
    int64_t first = sums->firsts[param_slot(sums->params->setup.model, piece->tensor->param)];
    for (int64_t row = 0; row < piece->num_rows; row++)
        for (int64_t i = 0; i < piece->count; i++)
            sums->all[first + piece->whole_first + row * piece->stride + i] +=
                sums->values[piece->at + row * piece->count + i];
    return 0;
}

static void add_gradients(struct sums *sums) {
    for (struct segment *s = NULL; (s = params_next_trained(sums->params, s, NULL));) {
        sums->values = params_own_grad(sums->params, s);
        params_each_piece(s, s->own_first, s->own_count, add_piece, sums);
    }
}

/* lose - the mistake: the second replica forgets what it owes. */
static void lose(struct params *params) {
    if (params->setup.replica == 1)
        feedback_reset(params);
}

/* summed - gradients of all steps, of weights that do not change.  Collective. */
static void summed(struct layout layout, enum between between, struct sums *sums) {
    struct run run;
    layout.rate = 1e-30;
    run_open(&run, comm, &layout, true);
    place_sums(sums, &run.params);
    for (int i = 0; i < num_steps; i++) {
        step(&run, &layout, i);
        add_gradients(sums);
        if (between == LOSES && i == num_steps - 2)
            lose(&run.params);
        if (between != NOTHING)
            feedback_join(&run.params);
    }
    run_close(&run);
    comm_sum_f32(comm, sums->all, MOST_VALUES);
}

/* mean_gap - of two sums. */
static double mean_gap(const struct sums *a, const struct sums *b) {
    double sum = 0;
    for (int64_t i = 0; i < MOST_VALUES; i++)
        sum += fabs((double)a->all[i] - (double)b->all[i]);
    return sum / MOST_VALUES;
}

/* each_layout - of so many ranks. */
static void each_layout(void (*check)(struct layout layout)) {
    int num_ranks = comm_num_ranks(comm);
    for (int zero_stage = on_gpu ? 3 : 1; zero_stage <= 3; zero_stage++)
        for (int replicas = 2; replicas <= num_ranks; replicas++)
            if (num_ranks % replicas == 0)
                check((struct layout){.zero_stage = zero_stage,
                                      .micro_sequences = 2,
                                      .replicas = replicas,
                                      .compute = DTYPE_F32,
                                      .keeps_gradients = replicas % 2 != 0});
}

static void check_sums(struct layout layout) {
    static struct sums whole, coded, forgot, joined, lost;
    summed(layout, NOTHING, &whole);
    layout.wire_has_codes = true;
    summed(layout, NOTHING, &coded);
    summed(layout, JOINS, &joined);
    summed(layout, LOSES, &lost);
    layout.forgets = true;
    summed(layout, NOTHING, &forgot);
    double with = mean_gap(&coded, &whole), without = mean_gap(&forgot, &whole);
    double joins = mean_gap(&joined, &whole), loses = mean_gap(&lost, &whole);
    bool shows =
        num_steps < STEPS || (without > 2.5 * with && loses > 1.1 * joins); /* in few steps nothing drifts */
    if (!(with > 0 && joins < 1.5 * with && shows))
        fail_msg(
            "%d replicas, stage %d: sums of %d steps are off by %.2e, without feedback %.2e, joined %.2e, "
            "with a part lost %.2e",
            layout.replicas, layout.zero_stage, num_steps, with, without, joins, loses);
}

static void test_sums(void **state) {
    (void)state;
    each_layout(check_sums);
}

static void curve(const struct layout *layout, double losses[STEPS]) {
    struct run run;
    run_open(&run, comm, layout, true);
    for (int i = 0; i < num_steps; i++)
        losses[i] = step(&run, layout, i);
    run_close(&run);
}

static void check_curve(struct layout layout) {
    double whole[STEPS], coded[STEPS], again[STEPS], worst = 0;
    curve(&layout, whole);
    layout.wire_has_codes = true;
    curve(&layout, coded);
    curve(&layout, again);
    assert_memory_equal(coded, again, (size_t)num_steps * sizeof *again);
    for (int i = 0; i < num_steps; i++)
        worst = fmax(worst, fabs(coded[i] - whole[i]) / whole[i]);
    if (!(worst > 0 && worst < 2e-2))
        fail_msg("%d replicas, stage %d: gradients in 8 bits change losses by %.2e", layout.replicas,
                 layout.zero_stage, worst);
}

static void test_curve(void **state) {
    (void)state;
    each_layout(check_curve);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums), cmocka_unit_test(test_curve)};
    struct err err = {""};
    comm = comm_start(&argc, &argv);
    token_path = xasprintf("build/tmp/ranks-wire-%d.h5", comm_num_ranks(comm));
    if (comm_is_root(comm))
        free(test_folder("ranks-wire"));
    look_for_gpu(STEPS);
    int status = comm_is_root(comm) ? write_tokens(token_path, &err) : 0;
    if (on_gpu) /* whose gradients the host cannot read */
        cmocka_set_test_filter("test_curve");
    int failed = comm_all_ok(comm, status, &err) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    free(token_path);
    comm_finish(comm);
    return failed;
}
