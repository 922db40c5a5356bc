/* test_stored.c - matrices as files hold them: products and look-ups of every kind, by every version of the loops that this
 * processor runs, against what quant.c decodes (which tests/test_quant.c compares with other programs), multiplied in f64. */
#include "checkpoints/gguf/quant.h"
#include "kernels/cpu/cpu.h"
#include "tests/ops_data.h"

/* More rows than one tile of f32 has. */
enum { WIDTH = 512, ROWS = 528, HEAD = 8, MOST_TOKENS = 20 };

/* The kinds by their number in a GGUF file. */
static const int GGML_TYPES[STORED_KINDS] = {
    [STORED_f32] = GGML_F32,   [STORED_f16] = GGML_F16,   [STORED_bf16] = GGML_BF16,
    [STORED_q4_0] = GGML_Q4_0, [STORED_q4_1] = GGML_Q4_1, [STORED_q5_0] = GGML_Q5_0,
    [STORED_q5_1] = GGML_Q5_1, [STORED_q8_0] = GGML_Q8_0, [STORED_q4_k] = GGML_Q4_K,
    [STORED_q5_k] = GGML_Q5_K, [STORED_q6_k] = GGML_Q6_K};

static const struct quant_format *format_of(enum stored_kind kind) {
    return quant_format(GGML_TYPES[kind]);
}

static uint8_t random_byte(uint64_t seed, size_t i) {
    return (uint8_t)rng_below(seed, rng_stream(RNG_TEST, 0), i, 256);
}

static void put_half(uint8_t *at, float value) {
    uint16_t half = f16_from_f32(value);
    memcpy(at, &half, sizeof half);
}

/* fill_plain - numbers of a plain type. */
static void fill_plain(uint8_t *bytes, enum stored_kind kind, int64_t count, uint64_t seed) {
    float *values = test_normal(count, seed);
    quant_encode(GGML_TYPES[kind], values, count, bytes);
    free(values);
}

/* rows_make - random blocks: any codes, and scales of a sensible size that differ. */
static struct stored_rows rows_make(enum stored_kind kind, int64_t pair_rows, uint64_t seed) {
    struct stored_rows rows = {.kind = kind, .num_rows = ROWS, .width = WIDTH, .pair_rows = pair_rows};
    const struct quant_format *format = format_of(kind);
    int64_t num_blocks = ROWS * WIDTH / format->block_count;
    size_t bytes = (size_t)num_blocks * format->block_bytes;
    uint8_t *data = xmalloc(bytes + 1);
    rows.rows = data + 1; /* of no alignment */
    if (format->block_count == 1)
        fill_plain(data + 1, kind, ROWS * WIDTH, seed);
    for (size_t i = 0; format->block_count > 1 && i < bytes; i++)
        data[1 + i] = random_byte(seed, i);
    for (int64_t b = 0; format->block_count > 1 && b < num_blocks; b++) {
        uint8_t *block = data + 1 + (size_t)b * format->block_bytes;
        float scale = 0.01f * (float)(1 + b % 7);
        put_half(kind == STORED_q6_k ? block + 208 : block, scale);
        if (kind == STORED_q4_1 || kind == STORED_q5_1 || kind == STORED_q4_k || kind == STORED_q5_k)
            put_half(block + 2, -0.3f * scale);
    }
    return rows;
}

static void rows_free(struct stored_rows rows) {
    free((uint8_t *)(uintptr_t)(rows.rows - 1));
}

/* decoded - [ROWS, WIDTH] in the order of the file.  Freed with free(). */
static float *decoded(const struct stored_rows *rows) {
    float *values = xmalloc(ROWS * WIDTH * sizeof *values);
    quant_decode(GGML_TYPES[rows->kind], rows->rows, ROWS * WIDTH / format_of(rows->kind)->block_count,
                 values);
    return values;
}

/* place_of - in the matrix, by the layout's own words: the first of a pair is in the first half of its head. */
static int64_t place_of(const struct stored_rows *rows, int64_t row) {
    if (!rows->pair_rows)
        return row;
    int64_t inside = row % rows->pair_rows, pair = inside / 2;
    return row - inside + (inside % 2 ? pair + rows->pair_rows / 2 : pair);
}

/* expect - y [N, O] of one part whose columns begin at first_column; returns the largest |y| of it. */
static void expect(struct data y, const float *x, const struct stored_rows *part, int64_t first_column) {
    float *values = decoded(part);
    for (int64_t i = 0; i < y.t.dims[0]; i++)
        for (int64_t row = 0; row < ROWS; row++) {
            double sum = 0;
            for (int64_t k = 0; k < WIDTH; k++)
                sum += (double)values[row * WIDTH + k] * (double)x[i * WIDTH + k];
            y.exact[i * y.t.dims[1] + first_column + place_of(part, row)] = sum;
        }
    free(values);
}

/* error_of - |got - want| / |want| over all of y. */
static double error_of(struct data y) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < tensor_count(y.t); i++) {
        double got = (double)((const float *)y.t.data)[i];
        difference += (got - y.exact[i]) * (got - y.exact[i]);
        size += y.exact[i] * y.exact[i];
    }
    return sqrt(difference / size);
}

/* product_of - three parts, one of them in pairs; a changed code and rows in another order are the controls. */
static void product_of(struct device *dev, enum stored_kind kind, int64_t num_tokens) {
    struct stored_rows parts[3] = {rows_make(kind, 0, 1), rows_make(kind, HEAD, 2),
                                   rows_make((kind + 1) % STORED_KINDS, 0, 3)};
    struct stored matrix = {parts, 3};
    float *x = test_normal(num_tokens * WIDTH, 4);
    struct data y = data_output(dev, tensor_2d(NULL, DTYPE_F32, num_tokens, 3 * ROWS));
    for (int i = 0; i < 3; i++)
        expect(y, x, &parts[i], i * ROWS);
    op_linear_stored(dev, y.t, tensor_2d(x, DTYPE_F32, num_tokens, WIDTH), &matrix);
    assert_true(error_of(y) < 5e-7);
    uint8_t *byte = (uint8_t *)(uintptr_t)parts[1].rows + 10 * stored_row_bytes(&parts[1]) + 7, old = *byte;
    *byte ^= 0x55;
    op_linear_stored(dev, y.t, tensor_2d(x, DTYPE_F32, num_tokens, WIDTH), &matrix);
    assert_true(error_of(y) > 2e-6);
    *byte = old;
    parts[1].pair_rows = 0;
    op_linear_stored(dev, y.t, tensor_2d(x, DTYPE_F32, num_tokens, WIDTH), &matrix);
    assert_true(error_of(y) > 0.1);
    for (int i = 0; i < 3; i++)
        rows_free(parts[i]);
    data_free(y);
    free(x);
}

/* each_version - of the loops, with that many threads. */
static void each_version(int num_threads, void (*check)(struct device *dev)) {
    struct device dev;
    device_open_cpu(&dev, num_threads);
    struct cpu_state *cpu = dev.state;
    for (int version = 0; version < BLOCK_GEMM_VERSIONS; version++)
        if (stored_loops_version(version)) {
            cpu->stored = stored_loops_version(version);
            check(&dev);
        }
    device_close(&dev);
}

static void check_products(struct device *dev) {
    static const int64_t tokens[] = {1, 3, MOST_TOKENS}; /* by rows, by rows, by tiles */
    for (int kind = 0; kind < STORED_KINDS; kind++)
        for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
            product_of(dev, (enum stored_kind)kind, tokens[i]);
}

static void test_products(void **state) {
    (void)state;
    each_version(2, check_products);
}

/* check_rows - rows that are looked up are what quant.c decodes, bit for bit. */
static void check_rows(struct device *dev) {
    int32_t tokens[] = {0, 47, 5, 5, 31};
    enum { COUNT = sizeof tokens / sizeof *tokens };
    float x[COUNT * WIDTH];
    for (int kind = 0; kind < STORED_KINDS; kind++) {
        struct stored_rows rows = rows_make((enum stored_kind)kind, 0, 6);
        float *values = decoded(&rows);
        op_embedding_stored(dev, tensor_2d(x, DTYPE_F32, COUNT, WIDTH), &(struct stored){&rows, 1},
                            tensor_1d(tokens, DTYPE_I32, COUNT));
        for (int i = 0; i < COUNT; i++)
            assert_memory_equal(x + i * WIDTH, values + tokens[i] * WIDTH, WIDTH * sizeof *x);
        assert_memory_not_equal(x, x + WIDTH, WIDTH * sizeof *x);
        free(values);
        rows_free(rows);
    }
}

static void test_rows(void **state) {
    (void)state;
    each_version(1, check_rows);
}

/* test_threads - the same bits with any number. */
static void test_threads(void **state) {
    (void)state;
    struct stored_rows rows = rows_make(STORED_q4_1, HEAD, 8);
    float *x = test_normal(WIDTH, 9), y[3][ROWS];
    for (int i = 0; i < 3; i++) {
        struct device dev;
        device_open_cpu(&dev, i + 1);
        op_linear_stored(&dev, tensor_2d(y[i], DTYPE_F32, 1, ROWS), tensor_2d(x, DTYPE_F32, 1, WIDTH),
                         &(struct stored){&rows, 1});
        device_close(&dev);
        assert_memory_equal(y[i], y[0], sizeof y[0]);
    }
    rows_free(rows);
    free(x);
}

/* test_finite - of every kind, an infinite scale or value in the last row is seen. */
static void test_finite(void **state) {
    (void)state;
    for (int kind = 0; kind < STORED_KINDS; kind++) {
        struct stored_rows rows = rows_make((enum stored_kind)kind, 0, 10);
        size_t at = (ROWS * WIDTH / (size_t)format_of(rows.kind)->block_count - 1) *
                    format_of(rows.kind)->block_bytes;
        uint8_t *block = (uint8_t *)(uintptr_t)rows.rows + at;
        assert_true(stored_all_finite(&rows));
        const uint8_t f32_infinite[] = {0, 0, 0x80, 0xff}, bf16_infinite[] = {0x80, 0x7f},
                      f16_nan[] = {1, 0x7c};
        if (kind == STORED_f32)
            memcpy(block, f32_infinite, sizeof f32_infinite);
        else
            memcpy(kind == STORED_q6_k ? block + 208 : block, kind == STORED_bf16 ? bf16_infinite : f16_nan,
                   2);
        assert_false(stored_all_finite(&rows));
        rows_free(rows);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_threads), cmocka_unit_test(test_finite)};
    return cmocka_run_group_tests_name("stored", tests, NULL, NULL);
}
