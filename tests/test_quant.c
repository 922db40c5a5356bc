/* test_quant.c - tensor types of GGUF against blocks that the reference packed and decoded
 * (tests/golden/quant, made by tests/golden/make_quant.py).  Everything bit for bit. */
#include "tests/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/gguf/quant.h"
#include "data/corpus/json.h"

enum { NUM_GOLDEN = 4, ENCODE_BLOCKS = 8, MAX_FILE_BYTES = 1 << 20 };

static const struct {
    const char *file;
    enum ggml_type type;
} goldens[] = {
    {"q4_0", GGML_Q4_0}, {"q4_1", GGML_Q4_1}, {"q5_0", GGML_Q5_0},        {"q5_1", GGML_Q5_1},
    {"q8_0", GGML_Q8_0}, {"q4_k", GGML_Q4_K}, {"q5_k", GGML_Q5_K},        {"q6_k", GGML_Q6_K},
    {"bf16", GGML_BF16}, {"f16", GGML_F16},   {"ggml_mxfp4", GGML_MXFP4},
};
enum { NUM_TYPES = sizeof goldens / sizeof *goldens };

static uint8_t *load_golden(const char *name, size_t want_bytes) {
    char path[256];
    size_t bytes = 0;
    struct err err = {""};
    snprintf(path, sizeof path, "tests/golden/quant/%s.bin", name);
    char *data = file_read_whole(path, MAX_FILE_BYTES, &bytes, &err);
    if (!data || bytes != want_bytes)
        fail_msg("%s: %zu bytes, expected %zu %s", path, bytes, want_bytes, err.text);
    return (uint8_t *)data;
}

static void test_decode(void **state) {
    (void)state;
    for (int i = 0; i < NUM_TYPES; i++) {
        const struct quant_format *format = quant_format((int)goldens[i].type);
        assert_non_null(format);
        size_t packed_bytes = NUM_GOLDEN * format->block_bytes;
        size_t values_bytes = (size_t)(NUM_GOLDEN * format->block_count) * sizeof(float);
        uint8_t *data = load_golden(goldens[i].file, packed_bytes + values_bytes);
        float out[NUM_GOLDEN * QUANT_MAX_BLOCK];
        quant_decode((int)goldens[i].type, data, NUM_GOLDEN, out);
        if (memcmp(out, data + packed_bytes, values_bytes) != 0)
            fail_msg("%s differs from the reference", format->name);
        free(data);
    }
}

/* Negative control: every bit of a block means something; whichever is flipped, some value changes. */
static void test_every_bit_counts(void **state) {
    (void)state;
    for (int i = 0; i < NUM_TYPES; i++) {
        const struct quant_format *format = quant_format((int)goldens[i].type);
        size_t values_bytes = (size_t)format->block_count * sizeof(float);
        uint8_t *data = load_golden(goldens[i].file, NUM_GOLDEN * (format->block_bytes + values_bytes));
        float before[QUANT_MAX_BLOCK], after[QUANT_MAX_BLOCK];
        quant_decode((int)goldens[i].type, data, 1, before);
        int unnoticed = 0;
        for (size_t bit = 0; bit < 8 * format->block_bytes; bit++) {
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            quant_decode((int)goldens[i].type, data, 1, after);
            unnoticed += memcmp(before, after, values_bytes) == 0;
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        if (unnoticed)
            fail_msg("%s: %d bits of a block make no difference", format->name, unnoticed);
        free(data);
    }
}

static void test_encode_q8_0(void **state) {
    (void)state;
    size_t values_bytes = ENCODE_BLOCKS * 32 * sizeof(float), packed_bytes = ENCODE_BLOCKS * 34;
    uint8_t *data = load_golden("q8_0_encode", values_bytes + packed_bytes);
    float values[ENCODE_BLOCKS * 32];
    uint8_t packed[ENCODE_BLOCKS * 34];
    memcpy(values, data, values_bytes);
    quant_encode(GGML_Q8_0, values, ENCODE_BLOCKS * 32, packed);
    assert_memory_equal(packed, data + values_bytes, packed_bytes);
    values[40] += 1; /* negative control: in the block of zeros */
    quant_encode(GGML_Q8_0, values, ENCODE_BLOCKS * 32, packed);
    assert_memory_not_equal(packed, data + values_bytes, packed_bytes);
    free(data);
}

/* Halves round away from zero, and a block whose scale vanishes as f16 is zero. */
static void test_encode_q8_0_edges(void **state) {
    (void)state;
    float values[64] = {127, 0.5f, -0.5f, 1.5f, -2.5f, 2.4999f}, out[64];
    uint8_t packed[68];
    values[32] = 1e-40f;
    values[33] = -1e-41f;
    quant_encode(GGML_Q8_0, values, 64, packed);
    quant_decode(GGML_Q8_0, packed, 2, out);
    const float want[6] = {127, 1, -1, 2, -3, 2};
    assert_memory_equal(out, want, sizeof want);
    for (int j = 32; j < 64; j++)
        assert_true(out[j] == 0);
}

static void test_plain_types(void **state) {
    (void)state;
    const float values[8] = {0, -0.0f, 1, -2.5f, 65504, 6.1035156e-05f, 0.333251953125f, 3};
    const enum ggml_type types[] = {GGML_F32, GGML_F16, GGML_BF16};
    uint8_t packed[32];
    float out[8];
    for (int t = 0; t < 3; t++) {
        quant_encode((int)types[t], values, 8, packed);
        quant_decode((int)types[t], packed, 8, out);
        if (types[t] == GGML_BF16) { /* eight bits of fraction only */
            assert_true(out[4] == 65536.0f && fabsf(out[6] - values[6]) < 1e-3f && out[6] != values[6]);
            out[4] = values[4];
            out[6] = values[6];
        }
        assert_memory_equal(out, values, sizeof values);
    }
}

static void test_names(void **state) {
    (void)state;
    assert_null(quant_format(-1));
    assert_null(quant_format(10)); /* Q2_K: recognised, not decoded */
    assert_null(quant_format(1000));
    assert_string_equal(quant_type_name(10), "Q2_K");
    assert_string_equal(quant_type_name(GGML_Q4_K), "Q4_K");
    assert_string_equal(quant_type_name(4), "?");
    assert_string_equal(quant_type_name(1 << 30), "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),      cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_encode_q8_0), cmocka_unit_test(test_encode_q8_0_edges),
        cmocka_unit_test(test_plain_types), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("quant", tests, NULL, NULL);
}
