/* test_graphs.c - micro-batches as CUDA graphs, on the stand-in: the same bits with graphs and without, whatever changes between two
 * micro-batches; what is baked into a graph must be seen when it changes; where no graph can be made the slower way computes the
 * same, which is said once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/device_cuda.h"
#include "tests/plan_fixture.h"

enum { NUM_STEPS = 3, NUM_MICROS = 3 };

/* change_batch - other tokens, documents, weights than those of the micro-batch before: what a graph must not hold. */
static void change_batch(struct plan_fixture *f, int number) {
    int first_end = 9 - number % 4;
    for (int i = 0; i < PLAN_TOKENS; i++) {
        int first = i < first_end ? 0 : i < PLAN_ROW_TOKENS ? first_end : PLAN_ROW_TOKENS;
        f->tokens[i] = (int32_t)rng_below((uint64_t)number, rng_stream(RNG_TEST, 1), (uint64_t)i, 61);
        f->targets[i] = (int32_t)rng_below((uint64_t)number, rng_stream(RNG_TEST, 2), (uint64_t)i, 61);
        f->row_start[i] = first;
        f->positions[i] = i - first;
        f->target_weights[i] = (i + number) % 7 == 0 ? 0.0f : 0.5f + (float)((i + number) % 3) * 0.25f;
    }
}

/* What came of some steps. */
struct outcome {
    float *gradients; /* of all steps, one after the other */
    int64_t count;
    double losses[NUM_STEPS * NUM_MICROS];
    struct cuda_graph_counts counts;
};

static void take_gradients(struct plan_fixture *f, struct outcome *out) {
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, NULL));)
        for (int t = 0; t < s->num_tensors; t++) {
            int64_t count = s->tensors[t].count;
            float *gradient = plan_gradient_of(f, s, &s->tensors[t]);
            out->gradients = xrealloc(out->gradients, (size_t)(out->count + count) * sizeof *gradient);
            memcpy(out->gradients + out->count, gradient, (size_t)count * sizeof *gradient);
            out->count += count;
            free(gradient);
        }
}

/* When the host reads losses: after each micro-batch, for which it waits, or at the end of the step, as training does. */
enum reading { READS_EACH, READS_AT_END };

/* run_steps - of NUM_MICROS micro-batches, the gradient's scale another in each step; salt: which batches. */
static struct outcome run_steps(bool with_graphs, enum reading reading, int head_dim, int salt) {
    struct plan_fixture f;
    struct outcome out = {.gradients = NULL};
    struct model_config config = patchwork_config(true);
    config.head_dim = head_dim;
    plan_open_setup(&f, &config, &(struct model_setup){.compute = DTYPE_BF16});
    cuda_use_graphs(&f.dev, with_graphs);
    for (int step = 0; step < NUM_STEPS; step++) {
        params_grad_reset(&f.params);
        for (int m = 0; m < NUM_MICROS; m++) {
            int number = step * NUM_MICROS + m;
            change_batch(&f, salt + number);
            model_train_start(&f.model, NULL, &f.batch, 1.0f / (float)(3 + step));
            if (reading == READS_EACH)
                out.losses[number] = model_train_take(&f.model);
        }
        params_grad_finish(&f.params, NULL);
        for (int m = 0; m < NUM_MICROS && reading == READS_AT_END; m++)
            out.losses[step * NUM_MICROS + m] = model_train_take(&f.model);
        take_gradients(&f, &out);
    }
    out.counts = cuda_count_graphs(&f.dev);
    plan_close(&f);
    return out;
}

static bool same_outcome(const struct outcome *a, const struct outcome *b) {
    return a->count == b->count && memcmp(a->losses, b->losses, sizeof a->losses) == 0 &&
           memcmp(a->gradients, b->gradients, (size_t)a->count * sizeof *a->gradients) == 0;
}

/* expect_same - a step's first micro-batch overwrites gradients, the others add: two lists, each captured when it comes again, and the one
 * that follows itself twice.  The control: other batches give something else. */
static void expect_same(int head_dim) {
    struct outcome plain = run_steps(false, READS_EACH, head_dim, 1),
                   at_end = run_steps(false, READS_AT_END, head_dim, 1),
                   graphs = run_steps(true, READS_AT_END, head_dim, 1),
                   others = run_steps(true, READS_AT_END, head_dim, 2);
    assert_int_equal(plain.counts.kept, 0);
    assert_int_equal(graphs.counts.kept, 2);
    assert_int_equal(graphs.counts.captured, 3);
    assert_int_equal(graphs.counts.launched, NUM_MICROS * NUM_STEPS - 2);
    assert_true(same_outcome(&plain, &at_end));
    assert_true(same_outcome(&plain, &graphs));
    assert_false(same_outcome(&plain, &others));
    free(plain.gradients), free(at_end.gradients), free(graphs.gradients), free(others.gradients);
}

static void test_same_bits(void **state) {
    (void)state;
    expect_same(8);
}

/* Heads that the kernels of Hopper take, with lists of tiles that are planned once for all layers. */
static void test_same_bits_with_plans(void **state) {
    (void)state;
    expect_same(64);
}

/* --- Ops one by one. */

enum { COUNT = 64 };

struct numbers {
    struct device dev;
    struct tensor x, y, z;
    float host[COUNT];
};

static void numbers_open(struct numbers *n) {
    test_device_open(&n->dev, 1);
    cuda_use_graphs(&n->dev, true);
    struct tensor *all[] = {&n->x, &n->y, &n->z};
    for (int i = 0; i < 3; i++)
        *all[i] = tensor_1d(device_allocate(&n->dev, COUNT * sizeof(float)), DTYPE_F32, COUNT);
}

static void numbers_close(struct numbers *n) {
    device_release(&n->dev, n->x.data, 0), device_release(&n->dev, n->y.data, 0),
        device_release(&n->dev, n->z.data, 0);
    device_close(&n->dev);
}

static void put(struct numbers *n, struct tensor t, float value) {
    for (int i = 0; i < COUNT; i++)
        n->host[i] = value;
    device_upload(&n->dev, t, n->host);
}

static float get(struct numbers *n, struct tensor t) {
    device_download(&n->dev, n->host, t);
    return n->host[COUNT - 1];
}

/* scaled - y = a x as a list of its own; its value. */
static float scaled(struct numbers *n, struct tensor y, struct tensor x, float a) {
    device_record(&n->dev);
    op_axpby(&n->dev, y, x, a, 0);
    device_play(&n->dev);
    return get(n, y);
}

/* Memory may hold something else each time; a number, or another place, is another list.  A graph that did not look at either
 * would give the values on the right of the last comparisons but one. */
static void test_what_is_baked_in_is_seen(void **state) {
    (void)state;
    struct numbers n;
    numbers_open(&n);
    put(&n, n.x, 5), put(&n, n.z, 100);
    for (int i = 0; i < 3; i++)
        assert_true(scaled(&n, n.y, n.x, 2) == 10);
    assert_int_equal(cuda_count_graphs(&n.dev).launched, 2);
    put(&n, n.x, 7);
    assert_true(scaled(&n, n.y, n.x, 2) == 14);
    assert_int_equal(cuda_count_graphs(&n.dev).launched, 3);
    assert_true(scaled(&n, n.y, n.x, 3) == 21 /* not 14 */);
    assert_true(scaled(&n, n.y, n.z, 2) == 200 /* not 14 */);
    assert_true(scaled(&n, n.z, n.x, 2) == 14 /* not 100 */);
    struct cuda_graph_counts counts = cuda_count_graphs(&n.dev);
    assert_int_equal(counts.kept, 4);
    assert_int_equal(counts.captured, 2); /* one list twice in a row: two graphs take turns */
    assert_int_equal(counts.launched, 3);
    numbers_close(&n);
}

/* What reads the host's memory or fills it comes between the ops before it and those after it. */
static void test_copies_keep_their_place(void **state) {
    (void)state;
    struct numbers n;
    numbers_open(&n);
    for (int round = 0; round < 4; round++) {
        put(&n, n.x, (float)round);
        device_record(&n.dev);
        op_axpby(&n.dev, n.y, n.x, 2, 0);
        assert_true(get(&n, n.y) == 2 * (float)round);
        put(&n, n.x, 50);
        op_axpby(&n.dev, n.y, n.x, 1, 1);
        assert_true(op_sum_squares(&n.dev, n.y) == COUNT * (50. + 2 * round) * (50. + 2 * round));
        device_copy(&n.dev, n.z, n.y);
        device_zero(&n.dev, n.y);
        device_play(&n.dev);
        assert_true(get(&n, n.z) == 50 + 2 * (float)round && get(&n, n.y) == 0);
    }
    assert_int_equal(cuda_count_graphs(&n.dev).captured, 3);
    numbers_close(&n);
}

/* Graphs hold the algorithms of their products: where those are chosen anew, no graph of before is launched. */
static void test_other_choices_are_seen(void **state) {
    (void)state;
    struct numbers n;
    numbers_open(&n);
    for (int round = 0; round < 3; round++)
        scaled(&n, n.y, n.x, 2);
    assert_int_equal(cuda_count_graphs(&n.dev).launched, 2);
    cuda_linear_tune(&n.dev, false);
    scaled(&n, n.y, n.x, 2);
    assert_int_equal(cuda_count_graphs(&n.dev).launched, 2);
    assert_int_equal(cuda_count_graphs(&n.dev).ops, 0);
    scaled(&n, n.y, n.x, 2);
    assert_int_equal(cuda_count_graphs(&n.dev).launched, 3);
    numbers_close(&n);
}

/* The time of ops is counted in graphs, too, and under what the host was doing when it asked for them. */
static void test_times(void **state) {
    (void)state;
    struct numbers n;
    double before = 0;
    numbers_open(&n);
    for (int round = 0; round < 4; round++) {
        device_synchronize(&n.dev);
        before = n.dev.counts.section_seconds[SECTION_BACKWARD];
        device_record(&n.dev);
        n.dev.section = SECTION_BACKWARD;
        op_axpby(&n.dev, n.y, n.x, 2, 0);
        n.dev.section = SECTION_OTHER;
        device_play(&n.dev);
    }
    device_synchronize(&n.dev);
    assert_int_equal(cuda_count_graphs(&n.dev).launched, 3);
    assert_int_equal(n.dev.counts.calls[OP_ADD], 4);
    assert_true(n.dev.counts.section_seconds[SECTION_BACKWARD] > before);
    assert_true(n.dev.counts.seconds[OP_ADD] >= n.dev.counts.section_seconds[SECTION_BACKWARD]);
    numbers_close(&n);
}

/* --- Where no graph can be made: in a child, whose faults the environment plants. */

static int refused_case(void) {
    struct numbers n;
    numbers_open(&n);
    put(&n, n.x, 5);
    for (int i = 0; i < 4; i++)
        if (scaled(&n, n.y, n.x, 2) != 10)
            return 1;
    struct cuda_graph_counts counts = cuda_count_graphs(&n.dev);
    numbers_close(&n);
    return counts.captured || counts.launched ? 2 : 0;
}

/* run_child - this program again with a fault; what it said on standard error, and its exit status. */
static int run_child(const char *fault, char *text, size_t room_bytes) {
    char command[1200], program[1000];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    assert_true(length > 0);
    program[length] = '\0';
    snprintf(command, sizeof command, "SIMT_FAULT=%s '%s' refused 2>&1", fault, program);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    text[fread(text, 1, room_bytes - 1, pipe)] = '\0';
    return pclose(pipe);
}

/* By each of the three calls that make one: begin, end, instantiate. */
static void test_refused(void **state) {
    (void)state;
    static const char *const faults[] = {"capture:1", "capture:2", "capture:3:2"};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        char text[2000];
        int status = run_child(faults[i], text, sizeof text);
        const char *said = strstr(text, "cannot be captured as a CUDA graph");
        if (status != 0 || !said || strchr(said, '\n')[1] != '\0')
            fail_msg("%s: status %x, said '%s'", faults[i], status, text);
    }
}

int main(int argc, char **argv) {
    setenv("ATELIER_TEST_DEVICE", "cuda", 1);
    if (argc > 1 && strcmp(argv[1], "refused") == 0)
        return refused_case();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_baked_in_is_seen),
        cmocka_unit_test(test_copies_keep_their_place),
        cmocka_unit_test(test_other_choices_are_seen),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_same_bits_with_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
