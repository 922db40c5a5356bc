/* test_beside.c - products beside transfers: which of them are chosen for fewer multiprocessors.  The file of choices knows
 * another algorithm for the same product with fewer, and the stand-in's algorithms differ in how they cut the sum, so that the
 * bits tell which one ran. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/linear.h"
#include "kernels/device_cuda.h"
#include "tests/ops_data.h"

enum { ROWS = 24, OUT = 40, IN = 512, SPARED = 16, OUT_BYTES = ROWS * OUT * sizeof(float) };
enum { NO_TICKET = 0, GATHER = 0, REDUCE = 1 };

/* A product on an open device, and its bits with the three targets: by lanes that are busy. */
struct trial {
    struct device dev;
    struct data x, w, y;
    char *folder, *path;
    void *bits[CUDA_NUM_LANES + 1];
};

/* run - the product; its bits, to be freed. */
static void *run(struct trial *t) {
    op_linear_forward(&t->dev, t->y.t, t->x.t, t->w.t);
    return data_host(t->y);
}

/* write_choices - the library's guess for all multiprocessors, other algorithms for 16 and 32 fewer. */
static void write_choices(const struct trial *t) {
    static const int PARTS[] = {1, 4, 2}, IDS[] = {0, 2, 1};
    FILE *file = fopen(t->path, "w");
    assert_non_null(file);
    fprintf(file, "atelier linear choices 2\ngpu %s\ncublaslt 130100\n",
            ((const struct cuda_state *)t->dev.state)->name);
    for (int busy = 0; busy <= CUDA_NUM_LANES; busy++)
        fprintf(file, "%d %d %d 1 0 1 0 0 %d 256 256 256 0 0 %d 0 %d 0 0 0 0 0 0 0.5\n", OUT, ROWS, IN,
                busy ? cuda_num_sms(&t->dev) - busy * SPARED : 0, IDS[busy], PARTS[busy]);
    fclose(file);
}

static void setup(struct trial *t) {
    struct err err = {""};
    memset(t, 0, sizeof *t);
    if (device_open_cuda(&t->dev, 0, &err))
        fail_msg("%s", err.text);
    t->folder = test_folder("beside");
    t->path = xasprintf("%s/choices", t->folder);
    t->x = data_random(&t->dev, tensor_2d(NULL, DTYPE_BF16, ROWS, IN), 1);
    t->w = data_random(&t->dev, tensor_2d(NULL, DTYPE_BF16, OUT, IN), 2);
    t->y = data_output(&t->dev, tensor_2d(NULL, DTYPE_F32, ROWS, OUT));
    write_choices(t);
    assert_int_equal(cuda_linear_load(&t->dev, t->path, &err), CUDA_NUM_LANES + 1);
    cuda_linear_spare_sms(&t->dev, SPARED);
    int64_t tickets[CUDA_NUM_LANES];
    t->bits[0] = run(t);
    for (int lane = 0; lane < CUDA_NUM_LANES; lane++) {
        tickets[lane] = cuda_beside_start(&t->dev, lane, INFINITY, BESIDE_KERNELS);
        t->bits[lane + 1] = run(t);
    }
    for (int lane = 0; lane < CUDA_NUM_LANES; lane++)
        cuda_beside_end(&t->dev, lane, tickets[lane]);
    for (int busy = 1; busy <= CUDA_NUM_LANES; busy++) /* the control of all comparisons */
        for (int other = 0; other < busy; other++)
            assert_memory_not_equal(t->bits[busy], t->bits[other], OUT_BYTES);
}

static void teardown(struct trial *t) {
    for (int busy = 0; busy <= CUDA_NUM_LANES; busy++)
        free(t->bits[busy]);
    free(t->path), free(t->folder);
    data_free(t->x), data_free(t->w), data_free(t->y);
    device_close(&t->dev);
}

/* assert_busy - the product that is given now runs beside transfers of so many lanes. */
static void assert_busy(struct trial *t, int lanes) {
    void *bits = run(t);
    assert_memory_equal(bits, t->bits[lanes], OUT_BYTES);
    free(bits);
}

/* num_products - that are given to the GPU until a transfer of so many seconds counts as over, at most `most`. */
static int num_products(struct trial *t, double seconds, int most) {
    int num = 0;
    cuda_beside_start(&t->dev, GATHER, seconds, BESIDE_KERNELS);
    for (; num < most && linear_target_now(&t->dev) != 0; num++)
        free(run(t));
    return num;
}

/* Between start and end, on one lane and on both; what ended is over. */
static void test_from_start_to_end(void **state) {
    (void)state;
    struct trial t;
    setup(&t);
    assert_busy(&t, 0);
    int64_t gather = cuda_beside_start(&t.dev, GATHER, INFINITY, BESIDE_KERNELS);
    for (int i = 0; i < 3; i++)
        assert_busy(&t, 1);
    int64_t reduce = cuda_beside_start(&t.dev, REDUCE, INFINITY, BESIDE_KERNELS);
    assert_busy(&t, 2);
    cuda_beside_end(&t.dev, GATHER, gather);
    assert_busy(&t, 1);
    cuda_beside_end(&t.dev, GATHER, gather); /* again: nothing */
    assert_busy(&t, 1);
    cuda_beside_end(&t.dev, REDUCE, reduce);
    assert_busy(&t, 0);
    teardown(&t);
}

/* Settled, a product is the same whatever runs beside it; the control is that it is not, before and after. */
static void test_settled(void **state) {
    (void)state;
    struct trial t;
    setup(&t);
    cuda_linear_settle(&t.dev, true);
    void *alone = run(&t);
    int64_t gather = cuda_beside_start(&t.dev, GATHER, INFINITY, BESIDE_KERNELS);
    void *beside = run(&t);
    assert_memory_equal(alone, beside, OUT_BYTES);
    cuda_linear_settle(&t.dev, false);
    assert_busy(&t, 1);
    cuda_beside_end(&t.dev, GATHER, gather);
    free(alone);
    free(beside);
    teardown(&t);
}

/* A transfer is over when products that last as long were given; twice as many fit beside one of twice the time, and of two on
 * one lane, or of two lanes, each has its part. */
static void test_time_passes(void **state) {
    (void)state;
    enum { MOST = 1000 };
    struct trial t;
    setup(&t);
    double product_s =
        2.0 * ROWS * OUT * IN / 5.7e12 / (cuda_num_sms(&t.dev) - SPARED); /* as beside.c has it */
    assert_int_equal(num_products(&t, 0.5 * product_s, MOST), 1);
    assert_int_equal(num_products(&t, 4.5 * product_s, MOST), 5);
    assert_int_equal(num_products(&t, 9.5 * product_s, MOST), 10);
    cuda_beside_start(&t.dev, GATHER, 2.25 * product_s, BESIDE_KERNELS);
    assert_int_equal(num_products(&t, 2.25 * product_s, MOST), 5);
    double both_s = product_s * (cuda_num_sms(&t.dev) - SPARED) / (cuda_num_sms(&t.dev) - 2 * SPARED);
    cuda_beside_start(&t.dev, REDUCE, 2.2 * both_s, BESIDE_KERNELS);
    assert_int_equal(num_products(&t, 2.2 * both_s, MOST), 3); /* 0.75 of each at a time */
    assert_busy(&t, 0);
    teardown(&t);
}

/* What copy engines move leaves products all multiprocessors, and takes links from a transfer of the other lane; a transfer by kernels after
 * it on its lane is not before it is over. */
static void test_copy_engines(void **state) {
    (void)state;
    enum { MOST = 1000 };
    struct trial t;
    setup(&t);
    double alone_s = 2.0 * ROWS * OUT * IN / 5.7e12 / cuda_num_sms(&t.dev); /* as beside.c has it */
    double product_s = alone_s * cuda_num_sms(&t.dev) / (cuda_num_sms(&t.dev) - SPARED);
    for (int shared = 0; shared < 2; shared++) {
        int64_t gather = shared ? cuda_beside_start(&t.dev, GATHER, INFINITY, BESIDE_ENGINES) : NO_TICKET;
        int num = 0;
        assert_busy(&t, 0);
        cuda_beside_start(&t.dev, REDUCE, 3.6 * product_s, BESIDE_KERNELS);
        for (; num < MOST && linear_target_now(&t.dev) != 0; num++)
            assert_busy(&t, 1);
        assert_int_equal(num, shared ? 5 : 4); /* 0.75 of it at a time */
        cuda_beside_end(&t.dev, GATHER, gather);
    }
    cuda_beside_start(&t.dev, GATHER, 1.5 * alone_s, BESIDE_ENGINES);
    int64_t second = cuda_beside_start(&t.dev, GATHER, INFINITY, BESIDE_KERNELS);
    assert_busy(&t, 0);
    assert_busy(&t, 0);
    assert_busy(&t, 1);
    cuda_beside_end(&t.dev, GATHER, second);
    assert_busy(&t, 0);
    teardown(&t);
}

/* An end is that of all before it on its lane, and of none after it. */
static void test_order_of_a_lane(void **state) {
    (void)state;
    struct trial t;
    setup(&t);
    cuda_beside_start(&t.dev, GATHER, INFINITY, BESIDE_KERNELS);
    int64_t second = cuda_beside_start(&t.dev, GATHER, INFINITY, BESIDE_KERNELS);
    int64_t third = cuda_beside_start(&t.dev, GATHER, INFINITY, BESIDE_KERNELS);
    cuda_beside_end(&t.dev, GATHER, second);
    assert_busy(&t, 1);
    cuda_beside_end(&t.dev, GATHER, third);
    assert_busy(&t, 0);
    int64_t last = NO_TICKET;
    for (int i = 0; i < 3 * BESIDE_MAX_PENDING; i++) { /* more than the account has places */
        last = cuda_beside_start(&t.dev, GATHER, 1.0, BESIDE_KERNELS);
        assert_busy(&t, 1);
    }
    cuda_beside_end(&t.dev, GATHER, last - 1);
    assert_busy(&t, 1);
    cuda_beside_end(&t.dev, GATHER, last);
    assert_busy(&t, 0);
    teardown(&t);
}

/* Where nothing is spared, or too much would be, transfers change nothing. */
static void test_nothing_spared(void **state) {
    (void)state;
    struct trial t;
    setup(&t);
    cuda_beside_start(&t.dev, GATHER, INFINITY, BESIDE_KERNELS);
    cuda_linear_spare_sms(&t.dev, 0);
    assert_busy(&t, 0);
    cuda_linear_spare_sms(&t.dev, cuda_num_sms(&t.dev) / 2 + 1);
    assert_busy(&t, 0);
    cuda_linear_spare_sms(&t.dev, SPARED);
    assert_busy(&t, 1);
    teardown(&t);
}

/* What a rehearsal meets beside no transfer is chosen for all that a step may meet, once. */
static void test_choices_for_all(void **state) {
    (void)state;
    struct trial t;
    struct err err = {""};
    setup(&t);
    struct device fresh;
    assert_int_equal(device_open_cuda(&fresh, 0, &err), 0);
    struct data x = data_random(&fresh, tensor_2d(NULL, DTYPE_BF16, ROWS, IN), 1),
                w = data_random(&fresh, tensor_2d(NULL, DTYPE_BF16, OUT, IN), 2),
                y = data_output(&fresh, tensor_2d(NULL, DTYPE_F32, ROWS, OUT));
    cuda_linear_tune(&fresh, true);
    op_linear_forward(&fresh, y.t, x.t, w.t);
    assert_int_equal(cuda_linear_num_choices(&fresh), 1); /* nothing runs beside it, ever */
    cuda_linear_spare_sms(&fresh, SPARED);
    for (int i = 0; i < 2; i++)
        op_linear_forward(&fresh, y.t, x.t, w.t);
    assert_int_equal(cuda_linear_num_choices(&fresh), CUDA_NUM_LANES + 1);
    data_free(x), data_free(w), data_free(y);
    device_close(&fresh);
    teardown(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_start_to_end), cmocka_unit_test(test_settled),
        cmocka_unit_test(test_time_passes),       cmocka_unit_test(test_copy_engines),
        cmocka_unit_test(test_order_of_a_lane),   cmocka_unit_test(test_nothing_spared),
        cmocka_unit_test(test_choices_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
