/* test_numbers.c - random numbers against the known answers of Philox 4x32-10, 16-bit types over all their
 * values, and the exponential of the CPU ops over all of f32. */
#include <math.h>

#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/half.h"
#include "kernels/rng.h"
#include "tests/check.h"

/* Known answers of the Random123 distribution (kat_vectors, philox4x32 10): rng_bits gives the first two of
 * the four words, low word first; the counter is (index, stream) and the key is the seed. */
static void test_philox(void **state) {
    (void)state;
    assert_true(rng_bits(0, 0, 0) == 0xe169c58d6627e8d5u);
    assert_true(rng_bits(~0ull, ~0ull, ~0ull) == 0x41c83b0e408f276du);
    /* counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0 */
    assert_true(rng_bits(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u) ==
                0x94fdccebd16cfe09u);
}

static void test_uniform(void **state) {
    enum { N = 100000, BINS = 10 };
    int counts[BINS] = {0};
    double sum = 0, square = 0;
    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        double u = rng_uniform(1, rng_stream(RNG_TEST, 3), i), z = rng_normal(1, rng_stream(RNG_TEST, 4), i);
        assert_true(u >= 0 && u < 1 && isfinite(z));
        counts[(int)(u * BINS)]++;
        sum += z;
        square += z * z;
    }
    for (int bin = 0; bin < BINS; bin++) /* standard deviation 95: five of them */
        assert_in_range(counts[bin], N / BINS - 475, N / BINS + 475);
    assert_true(fabs(sum / N) < 5 / sqrt(N));
    assert_true(fabs(square / N - 1) < 5 * sqrt(2.0 / N));
}

static void test_below(void **state) {
    int counts[7] = {0};
    (void)state;
    for (uint64_t i = 0; i < 7000; i++) {
        uint64_t value = rng_below(2, rng_stream(RNG_TEST, 5), i, 7);
        assert_true(value < 7);
        counts[value]++;
    }
    for (int v = 0; v < 7; v++)
        assert_in_range(counts[v], 1000 - 150, 1000 + 150);
    assert_true(rng_below(2, 0, 0, 1) == 0);
}

static void test_streams(void **state) {
    (void)state;
    assert_true(rng_stream(RNG_INIT, 1) != rng_stream(RNG_SHUFFLE, 1));
    uint64_t named = rng_stream_named(RNG_INIT, "model.norm.weight", 1);
    assert_true(named == rng_stream_named(RNG_INIT, "model.norm.weight", 1));
    assert_true(named != rng_stream_named(RNG_INIT, "model.norm.weight", 2));
    assert_true(named != rng_stream_named(RNG_INIT, "model.norm.weighs", 1));
    assert_true(named != rng_stream_named(RNG_ROUND, "model.norm.weight", 1));
    assert_int_equal(named >> 56, RNG_INIT); /* uses never share numbers */
    assert_true(rng_bits(1, 0, 0) != rng_bits(2, 0, 0) && rng_bits(1, 0, 0) != rng_bits(1, 1, 0));
    assert_true(rng_bits(1, 0, 0) != rng_bits(1, 0, 1) && rng_bits(1, 2, 3) == rng_bits(1, 2, 3));
}

/* f16_value - the value of f16 bits by definition, in f64. */
static double f16_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
                       : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                      : ldexp(fraction, -24);
    return bits & 0x8000 ? -magnitude : magnitude;
}

static double bf16_value(uint16_t bits) {
    int exponent = bits >> 7 & 255, fraction = bits & 127;
    double magnitude = exponent == 255 ? (fraction ? (double)NAN : (double)INFINITY)
                       : exponent      ? ldexp(128 + fraction, exponent - 134)
                                       : ldexp(fraction, -133);
    return bits & 0x8000 ? -magnitude : magnitude;
}

/* A 16-bit type and its conversions. */
struct half_type {
    double (*value)(uint16_t);
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
    uint16_t infinity;
};

static float widen_f16(uint16_t bits) {
    return f32_from_f16(bits);
}
static uint16_t narrow_f16(float value) {
    return f16_from_f32(value);
}
static float widen_bf16(uint16_t bits) {
    return f32_from_bf16(bits);
}
static uint16_t narrow_bf16(float value) {
    return bf16_from_f32(value);
}

/* check_rounding - around the middle between two neighbours: below goes down, above goes up, the middle
 * itself to the even one.  f32 has enough digits for all three. */
static void check_rounding(struct half_type type, uint16_t low) {
    uint16_t high = (uint16_t)(low + 1), even = low & 1 ? high : low;
    double top =
        high == type.infinity ? 2 * type.value(low) - type.value((uint16_t)(low - 1)) : type.value(high);
    float middle = (float)((type.value(low) + top) / 2);
    assert_int_equal(type.narrow(nextafterf(middle, 0)), low);
    assert_int_equal(type.narrow(middle), even);
    assert_int_equal(type.narrow(nextafterf(middle, INFINITY)), high);
    assert_int_equal(type.narrow(-middle), even | 0x8000);
}

static void check_half(struct half_type type) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t half = (uint16_t)bits;
        double want = type.value(half);
        float got = type.widen(half);
        if (isnan(want)) {
            assert_true(isnan(got) && isnan(type.value(type.narrow(got))));
            continue;
        }
        assert_true((double)got == want && !signbit(got) == !signbit(want));
        assert_int_equal(type.narrow(got), half);
        if (half < type.infinity)
            check_rounding(type, half);
    }
}

static void test_half(void **state) {
    (void)state;
    check_half((struct half_type){f16_value, widen_f16, narrow_f16, 0x7c00});
    check_half((struct half_type){bf16_value, widen_bf16, narrow_bf16, 0x7f80});
    assert_int_equal(f16_from_f32(65519.0f), 0x7bff);
    assert_int_equal(f16_from_f32(65520.0f), 0x7c00);
    assert_int_equal(f16_from_f32(1e-10f), 0);
    assert_int_equal(bf16_from_f32(f32_from_bits(0x7f800001u)),
                     0x7fc0); /* a NaN that truncation would make inf */
}

CPU_CLONES_FUSED
static void exp_row(float *restrict y, const float *restrict x, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        y[i] = exp_f32(x[i]);
}

/* test_exp - every 97th f32 in the range, against libm's f64; then the edges. */
static void test_exp(void **state) {
    enum { COUNT = 4096, STRIDE = 97 };
    static float x[COUNT], y[COUNT];
    double worst = 0;
    uint64_t bits = 0;
    (void)state;
    while (bits < 1ull << 32) {
        int count = 0;
        for (; bits < 1ull << 32 && count < COUNT; bits += STRIDE) {
            float value = f32_from_bits((uint32_t)bits);
            if (value >= -86.9f && value <= 88.72f)
                x[count++] = value;
        }
        exp_row(y, x, count);
        for (int i = 0; i < count; i++)
            worst = fmax(worst, fabs((double)y[i] / exp((double)x[i]) - 1));
    }
    assert_true(worst < 1.5e-7);
    assert_true(worst > 1e-8); /* control: f32 cannot be better, so something was compared */
    const float edges[] = {0, -0.0f, -87.1f, -1e30f, -INFINITY, 88.73f, 1e30f, INFINITY, NAN};
    const float want[] = {1, 1, 0, 0, 0, INFINITY, INFINITY, INFINITY, NAN};
    exp_row(y, edges, 9);
    for (int i = 0; i < 9; i++)
        assert_true(y[i] == want[i] || (isnan(y[i]) && isnan(want[i])));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),  cmocka_unit_test(test_uniform), cmocka_unit_test(test_below),
        cmocka_unit_test(test_streams), cmocka_unit_test(test_half),    cmocka_unit_test(test_exp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
