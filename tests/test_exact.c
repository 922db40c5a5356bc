/* test_exact.c - sums without rounding, against quadruple precision of the compiler; gradients as integers, against arithmetic
 * in quadruple precision, in other orders. */
#include <math.h>
#include <string.h>

#include "kernels/exact_sum.h"
#include "kernels/ops.h"
#include "kernels/rng.h"
#include "tests/check.h"

enum { COUNT = 40000 };

/* term - of both signs, over 40 binary orders of magnitude. */
static double term(int64_t i) {
    double size = ldexp(0.5 + (double)(rng_bits(1, 2, (uint64_t)i) >> 12) * 0x1p-53, (int)(i * 7 % 40) - 20);
    return i % 3 ? size : -size;
}

/* 2^16 terms of less than 2^20, whole multiples of 2^-73: 113 bits of quadruple precision hold their sum. */
static void test_sum(void **state) {
    (void)state;
    struct exact_sum forward = {{0}, 0, 0}, backward = forward, parts[3] = {forward, forward, forward};
    __float128 want = 0;
    double plain = 0, plain_back = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        want += (__float128)term(i);
        plain += term(i);
        plain_back += term(COUNT - 1 - i);
        exact_sum_add(&forward, term(i));
        exact_sum_add(&backward, term(COUNT - 1 - i));
        exact_sum_add(&parts[i % 3], term(i));
    }
    exact_sum_join(&parts[0], &parts[1]);
    exact_sum_join(&parts[0], &parts[2]);
    assert_true(exact_sum_value(&forward) == (double)want);
    assert_true(exact_sum_value(&backward) == (double)want && exact_sum_value(&parts[0]) == (double)want);
    assert_false(plain == plain_back && plain == (double)want); /* the control: f64 rounds */
}

/* one - a sum of up to four terms. */
static double one(double a, double b, double c, double d) {
    struct exact_sum sum = {{0}, 0, 0};
    const double terms[] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        exact_sum_add(&sum, terms[i]);
    return exact_sum_value(&sum);
}

static void test_edges(void **state) {
    (void)state;
    assert_true(one(0, 0, 0, 0) == 0);
    assert_true(one(0x1p1000, 1, -0x1p1000, 0) == 1);
    assert_true(one(0x1p-1074, 0x1p-1074, 0, 0) == 0x1p-1073);
    assert_true(one(-0x1p1023, 0x1p-1074, 0x1p1022, 0x1p1022) == 0x1p-1074);
    assert_true(one(1, 0x1p-53, 0, 0) == 1);                   /* exactly between two: to the even one */
    assert_true(one(1, 0x1p-53, 0x1p-1074, 0) == 1 + 0x1p-52); /* a little more */
    assert_true(one(-1, -0x1p-53, -0x1p-1074, 0) == -1 - 0x1p-52);
    assert_true(isnan(one(1, INFINITY, 0, 0)) && isnan(one(NAN, 0, 0, 0)));
}

/* placed - as many values on the device as on the host; fetch - back.  i64: count is of halves. */
static struct tensor placed(struct device *dev, enum dtype dtype, const void *values, int64_t count) {
    struct tensor t = tensor_1d(device_allocate(dev, (size_t)count * dtype_bytes(dtype)), dtype, count);
    device_upload(dev, t, values);
    return t;
}

static void release(struct device *dev, struct tensor t) {
    device_release(dev, t.data, tensor_bytes(t));
}

static double nearest(float x, int exponent) {
    return nearbyint(ldexp((double)x, -exponent));
}

/* A term's nearest integer is found in f64 by nearbyint, which op_fixed_add does not use. */
static void test_fixed(void **state) {
    (void)state;
    enum { EXPONENT = -45 };
    static float x[COUNT], y[COUNT];
    static int64_t sums[COUNT];
    struct device dev;
    test_device_open(&dev, 2);
    float largest = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        x[i] = (float)ldexp(term(i), -18);
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    }
    struct tensor tx = placed(&dev, DTYPE_F32, x, COUNT), ty = placed(&dev, DTYPE_F32, y, COUNT);
    struct tensor ts = placed(&dev, DTYPE_I32, sums, 2 * COUNT),
                  to = placed(&dev, DTYPE_I32, sums, 2 * COUNT);
    assert_true(op_fixed_add(&dev, ts.data, tx, EXPONENT, OP_OVERWRITE) == largest);
    device_download(&dev, sums, ts);
    for (int64_t i = 0; i < COUNT; i++)
        assert_true(sums[i] == (int64_t)nearest(x[i], EXPONENT));
    op_fixed_add(&dev, ts.data, tx, EXPONENT, OP_ACCUMULATE);
    device_copy(&dev, to, ts);
    op_fixed_join(&dev, ts.data, to.data, COUNT);
    op_fixed_read(&dev, ty, ts.data, EXPONENT);
    device_download(&dev, y, ty);
    for (int64_t i = 0; i < COUNT; i++)
        assert_true(y[i] ==
                    (float)((__float128)4 * (__float128)nearest(x[i], EXPONENT) * (__float128)0x1p-45));
    x[7] = NAN;
    device_upload(&dev, tx, x);
    assert_true(isnan(op_fixed_add(&dev, ts.data, tx, EXPONENT, OP_ACCUMULATE)));
    x[7] = INFINITY;
    device_upload(&dev, tx, x);
    assert_true(isinf(op_fixed_add(&dev, ts.data, tx, EXPONENT, OP_ACCUMULATE)));
    release(&dev, tx);
    release(&dev, ty);
    release(&dev, ts);
    release(&dev, to);
    device_close(&dev);
}

/* squares_of - by so many threads, and by a device of its own. */
static double squares_of(const float *x, int64_t count, int threads) {
    struct device dev;
    struct exact_sum sum = {{0}, 0, 0};
    test_device_open(&dev, threads);
    struct tensor tx = placed(&dev, DTYPE_F32, x, count);
    op_exact_squares(&dev, &sum, tx);
    release(&dev, tx);
    device_close(&dev);
    return exact_sum_value(&sum);
}

/* Squares by threads, which share them out otherwise; more than fit into one word of a GPU's sums. */
static void test_squares(void **state) {
    (void)state;
    enum { MANY = 4 * COUNT };
    static float x[MANY];
    __float128 want = 0;
    for (int64_t i = 0; i < MANY; i++) {
        x[i] = (float)ldexp(term(i), (int)(i % 5) - 20);
        want += (__float128)x[i] * (__float128)x[i];
    }
    for (int threads = 1; threads <= 3; threads++)
        assert_true(squares_of(x, MANY, threads) == (double)want);
    for (int64_t i = 0; i < MANY; i++) /* the same exponent, and the largest square of it */
        x[i] = 0x1.fffffep-3f;
    assert_true(squares_of(x, MANY, 1) == (double)((__float128)x[0] * (__float128)x[0] * MANY));
    for (int64_t i = 0; i < MANY; i++) /* numbers too small to be normal, one large one */
        x[i] = i ? 0x1p-149f : 0x1p100f;
    assert_true(squares_of(x, MANY, 1) == 0x1p200);
    x[0] = -0x1.8p-149f;
    assert_true(squares_of(x, 3, 1) == 0x1p-298 * (4 + 1 + 1)); /* which is 2 x 2^-149 */
    x[1] = NAN;
    assert_true(isnan(squares_of(x, 3, 1)));
    x[1] = -INFINITY;
    assert_true(isnan(squares_of(x, 3, 1)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_squares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
