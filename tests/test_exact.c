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

/* A term's nearest integer is found in f64 by nearbyint, which op_fixed_add does not use. */
static void test_fixed(void **state) {
    (void)state;
    enum { EXPONENT = -45 };
    static float x[COUNT], y[COUNT];
    static int64_t sums[COUNT], others[COUNT];
    struct device dev;
    device_open_cpu(&dev, 2);
    float largest = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        x[i] = (float)ldexp(term(i), -18);
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    }
    struct tensor tx = tensor_1d(x, DTYPE_F32, COUNT), ty = tensor_1d(y, DTYPE_F32, COUNT);
    assert_true(op_fixed_add(&dev, sums, tx, EXPONENT, OP_OVERWRITE) == largest);
    for (int64_t i = 0; i < COUNT; i++)
        assert_true(sums[i] == (int64_t)nearbyint(ldexp((double)x[i], -EXPONENT)));
    op_fixed_add(&dev, sums, tx, EXPONENT, OP_ACCUMULATE);
    memcpy(others, sums, sizeof sums);
    op_fixed_join(&dev, sums, others, COUNT);
    op_fixed_read(&dev, ty, sums, EXPONENT);
    for (int64_t i = 0; i < COUNT; i++)
        assert_true(y[i] == (float)((__float128)4 * (__float128)nearbyint(ldexp((double)x[i], -EXPONENT)) *
                                    (__float128)0x1p-45));
    x[7] = NAN;
    assert_true(isnan(op_fixed_add(&dev, sums, tx, EXPONENT, OP_ACCUMULATE)));
    x[7] = INFINITY;
    assert_true(isinf(op_fixed_add(&dev, sums, tx, EXPONENT, OP_ACCUMULATE)));
    device_close(&dev);
}

/* Squares by threads, which share them out otherwise. */
static void test_squares(void **state) {
    (void)state;
    static float x[COUNT];
    __float128 want = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        x[i] = (float)ldexp(term(i), (int)(i % 5) - 20);
        want += (__float128)x[i] * (__float128)x[i];
    }
    for (int threads = 1; threads <= 3; threads++) {
        struct device dev;
        struct exact_sum sum = {{0}, 0, 0};
        device_open_cpu(&dev, threads);
        op_exact_squares(&dev, &sum, tensor_1d(x, DTYPE_F32, COUNT));
        assert_true(exact_sum_value(&sum) == (double)want);
        device_close(&dev);
    }
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
