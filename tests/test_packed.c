/* test_packed.c - weights in fewer bits: codes and scales as bitsandbytes packs them, values as the definition has them in f64; on
 * every device, in every type, over several blobs. */
#include "kernels/packed.h"

#include "tests/ops_data.h"

enum { GOLDEN_BLOCKS = 300, GOLDEN_COUNT = GOLDEN_BLOCKS * 64 };

/* As tests/golden/make_packed.py wrote it. */
static struct {
    uint8_t codes[GOLDEN_COUNT / 2];
    float absmax[GOLDEN_BLOCKS];
    uint8_t nested_codes[GOLDEN_BLOCKS];
    float nested_map[PACKED_NESTED_CODES], nested[2], offset, restored[GOLDEN_BLOCKS];
} golden;

static void read_part(FILE *file, void *part, size_t bytes) {
    assert_int_equal(fread(part, 1, bytes, file), bytes);
}

static void read_golden(void) {
    FILE *file = fopen("tests/golden/quant/nf4.bin", "rb");
    assert_non_null(file);
    read_part(file, golden.codes, sizeof golden.codes);
    read_part(file, golden.absmax, sizeof golden.absmax);
    read_part(file, golden.nested_codes, sizeof golden.nested_codes);
    read_part(file, golden.nested_map, sizeof golden.nested_map);
    read_part(file, golden.nested, sizeof golden.nested);
    read_part(file, &golden.offset, sizeof golden.offset);
    read_part(file, golden.restored, sizeof golden.restored);
    assert_int_equal(fgetc(file), EOF);
    assert_int_equal(fclose(file), 0);
}

/* golden_value - the formula of the script. */
static float golden_value(int64_t i) {
    int64_t hashed = (int64_t)((uint32_t)((uint64_t)i * 2654435761u) >> 16) - 32768;
    return (float)((double)(hashed * (1 + i / 64 % 7)) * 0x1p-18);
}

static void test_bitsandbytes(void **state) {
    (void)state;
    static float values[GOLDEN_COUNT];
    static uint8_t codes[GOLDEN_COUNT / 2];
    float scales[GOLDEN_BLOCKS], nested[2], map[PACKED_NESTED_CODES];
    uint8_t nested_codes[GOLDEN_BLOCKS];
    read_golden();
    for (int64_t i = 0; i < GOLDEN_COUNT; i++)
        values[i] = golden_value(i);
    packed_encode(PACKED_NF4, values, GOLDEN_COUNT, codes, scales);
    assert_memory_equal(codes, golden.codes, sizeof codes);
    assert_memory_equal(scales, golden.absmax, sizeof scales);
    packed_nested_map(map);
    assert_memory_equal(map, golden.nested_map, sizeof map);
    float offset = packed_nested_mean(scales, GOLDEN_BLOCKS);
    assert_true(offset == golden.offset);
    packed_nested_encode(scales, GOLDEN_BLOCKS, offset, nested_codes, nested);
    assert_memory_equal(nested_codes, golden.nested_codes, sizeof nested_codes);
    assert_memory_equal(nested, golden.nested, sizeof nested);
    packed_nested_encode(scales, GOLDEN_BLOCKS, offset * 1.05f, nested_codes, nested); /* the control */
    assert_true(memcmp(nested_codes, golden.nested_codes, sizeof nested_codes) != 0);
}

/* A weight over several blobs, on a device: what packed says of it, and its memory. */
struct weight {
    struct device *dev;
    struct packed packed;
    void *data, *map; /* on the device */
    size_t data_bytes;
    char *host; /* the blobs */
    struct packed_places places;
};

enum { NUM_BLOBS = 3 };

static struct weight make_weight(struct device *dev, enum packed_kind kind) {
    struct weight w = {.dev = dev};
    int64_t blob_count = packed_align(kind) * (kind == PACKED_NF4_DOUBLE ? 1 : 5), block = packed_block(kind);
    float map[PACKED_NESTED_CODES], *values = test_normal(blob_count, 11);
    float *scales = xcalloc((size_t)(blob_count / block), sizeof *scales);
    w.places = packed_places_of(kind, blob_count);
    w.data_bytes = NUM_BLOBS * w.places.total;
    w.host = xcalloc(w.data_bytes, 1);
    for (int b = 0; b < NUM_BLOBS; b++) {
        char *blob = w.host + (size_t)b * w.places.total;
        for (int64_t i = 0; i < blob_count; i++)
            values[i] *= 1 + (float)(i % 5) * 0.125f;
        if (b == 1)
            memset(values, 0, (size_t)block * sizeof *values); /* a block of zeros */
        packed_encode(kind, values, blob_count, (uint8_t *)blob, scales);
        if (kind == PACKED_NF4_DOUBLE)
            packed_nested_encode(scales, blob_count / block, 0.75f, (uint8_t *)blob + w.places.scales,
                                 (float *)(void *)(blob + w.places.nested));
        else
            memcpy(blob + w.places.scales, scales, (size_t)(blob_count / block) * sizeof *scales);
    }
    packed_nested_map(map);
    w.data = device_allocate(dev, w.data_bytes);
    w.map = device_allocate(dev, sizeof map);
    device_upload(dev, tensor_1d(w.data, DTYPE_F32, (int64_t)(w.data_bytes / sizeof(float))), w.host);
    device_upload(dev, tensor_1d(w.map, DTYPE_F32, PACKED_NESTED_CODES), map);
    w.packed = (struct packed){kind, w.data, blob_count, 0, w.map, 0.75f};
    free(scales);
    free(values);
    return w;
}

static void free_weight(struct weight *w) {
    device_release(w->dev, w->data, w->data_bytes);
    device_release(w->dev, w->map, PACKED_NESTED_CODES * sizeof(float));
    free(w->host);
}

/* e4m3 - the definition. */
static double e4m3(int byte) {
    int exponent = byte >> 3 & 15, fraction = byte & 7;
    double sign = byte & 128 ? -1 : 1;
    return sign * (exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9));
}

/* defined_value - value i by the definition, from the bytes of the blobs. */
static double defined_value(const struct weight *w, int64_t i) {
    enum packed_kind kind = w->packed.kind;
    const char *blob = w->host + (size_t)(i / w->packed.blob_count) * w->places.total;
    int64_t at = i % w->packed.blob_count, index = at / packed_block(kind);
    const uint8_t *codes = (const uint8_t *)blob;
    float scale;
    if (kind == PACKED_NF4_DOUBLE) {
        float nested, map[PACKED_NESTED_CODES];
        packed_nested_map(map);
        memcpy(&nested, blob + w->places.nested + (size_t)(index / 256) * sizeof nested, sizeof nested);
        scale = map[codes[w->places.scales + (size_t)index]] * nested;
        scale += 0.75f;
    } else {
        memcpy(&scale, blob + w->places.scales + (size_t)index * sizeof scale, sizeof scale);
    }
    if (kind == PACKED_FP8)
        return e4m3(codes[at]) * (double)scale;
    if (kind == PACKED_INT8)
        return (int8_t)codes[at] * (double)scale;
    return (double)packed_nf4_map[at % 2 ? codes[at / 2] & 15 : codes[at / 2] >> 4] * (double)scale;
}

/* check_range - values [first, first + count), put `shift` elements into an array, are f32 of the definition rounded to the type. */
static void check_range(struct setting s, struct weight *w, int64_t first, int64_t count, int64_t shift) {
    struct data whole = data_zero(s.dev, tensor_1d(NULL, s.dtype, count + shift)),
                want = data_zero(s.dev, tensor_1d(NULL, s.dtype, count + shift));
    for (int64_t i = 0; i < count; i++)
        want.exact[shift + i] = round_to(s.dtype, (double)(float)defined_value(w, first + i));
    data_write(want);
    struct tensor y = tensor_1d((char *)whole.t.data + (size_t)shift * dtype_bytes(s.dtype), s.dtype, count);
    w->packed.first = first;
    op_dequantise(s.dev, y, &w->packed);
    assert_true(same_bits(whole, want));
    data_set(want, shift + count / 2, want.exact[shift + count / 2] * 1.02 + 0.01);
    assert_false(same_bits(whole, want));
    data_free(whole), data_free(want);
}

static void test_values(struct setting s) {
    for (enum packed_kind kind = PACKED_NF4; kind < PACKED_KINDS; kind++) {
        struct weight w = make_weight(s.dev, kind);
        int64_t blob = w.packed.blob_count, block = packed_block(kind), total = NUM_BLOBS * blob;
        check_range(s, &w, 0, total, 0);
        check_range(s, &w, 0, 1, 0);
        check_range(s, &w, blob - block, 2 * block, 0);
        for (int64_t shift = 1; shift < 8; shift += 2)
            check_range(s, &w, blob - block, blob + block + 3, shift);
        check_range(s, &w, total - block, block, 3);
        free_weight(&w);
    }
}

/* What is stored lies within half a step of what it was made of, and a block of zeros is zeros. */
static void test_error(struct setting s) {
    static const double bounds[PACKED_KINDS] = {
        [PACKED_NF4] = 0.16, [PACKED_FP8] = 1.01 / 16, [PACKED_INT8] = 0.505 / 127};
    for (enum packed_kind kind = PACKED_NF4; kind < PACKED_KINDS && s.dtype == DTYPE_F32; kind++) {
        int64_t block = packed_block(kind), count = packed_align(kind) * 4;
        if (kind == PACKED_NF4_DOUBLE)
            continue;
        float *values = test_normal(count, 5), scales[8];
        uint8_t *codes = xcalloc((size_t)count, 1);
        memset(values, 0, (size_t)block * sizeof *values);
        packed_encode(kind, values, count, codes, scales);
        struct packed_places places = packed_places_of(kind, count);
        struct weight w = {.places = places,
                           .packed = {.kind = kind, .blob_count = count},
                           .host = xcalloc(places.total, 1)};
        memcpy(w.host, codes, packed_codes_bytes(kind, count));
        memcpy(w.host + places.scales, scales, (size_t)(count / block) * sizeof *scales);
        for (int64_t i = 0; i < count; i++) {
            double largest = 0;
            for (int64_t j = i / block * block; j < (i / block + 1) * block; j++)
                largest = fmax(largest, fabs((double)values[j]));
            assert_true(fabs(defined_value(&w, i) - (double)values[i]) <= bounds[kind] * largest);
        }
        free(w.host);
        free(codes);
        free(values);
    }
}

/* Rows of values for op_quantise on a device, what was lost before, and room for the blobs. */
struct rows {
    struct device *dev;
    int64_t num_rows, cols;
    struct packed_places places;
    struct tensor x, lost, blobs; /* on the device */
    float *x_host, *lost_host;
    uint8_t *blobs_host;
};

enum {
    QUANTISE_ROWS = 3,
    QUANTISE_COLS = 5 * PACKED_BYTE_BLOCK,
    QUANTISE_COUNT = QUANTISE_ROWS * QUANTISE_COLS
};

static struct tensor on_device(struct device *dev, int64_t rows, int64_t cols) {
    void *data = device_allocate(dev, (size_t)(rows * cols) * sizeof(float));
    return tensor_2d(data, DTYPE_F32, rows, cols);
}

static struct rows make_rows(struct device *dev) {
    struct rows r = {.dev = dev, .num_rows = QUANTISE_ROWS, .cols = QUANTISE_COLS};
    r.places = packed_places_of(PACKED_INT8, r.cols);
    r.x = on_device(dev, r.num_rows, r.cols);
    r.lost = on_device(dev, r.num_rows, r.cols);
    r.blobs = on_device(dev, r.num_rows, (int64_t)(r.places.total / sizeof(float)));
    r.x_host = test_normal(QUANTISE_COUNT, 21);
    r.lost_host = xcalloc(QUANTISE_COUNT, sizeof *r.lost_host);
    r.blobs_host = xcalloc(tensor_bytes(r.blobs), 1);
    for (int64_t i = 0; i < QUANTISE_COUNT;
         i++) /* blocks of many sizes, one of zeros, one of subnormal values */
        r.x_host[i] *= i / PACKED_BYTE_BLOCK == 2   ? 0
                       : i / PACKED_BYTE_BLOCK == 4 ? 0x1p-130f
                                                    : ldexpf(1, (int)(i / PACKED_BYTE_BLOCK) - 7);
    return r;
}

static void free_rows(struct rows *r) {
    device_release(r->dev, r->x.data, tensor_bytes(r->x));
    device_release(r->dev, r->lost.data, tensor_bytes(r->lost));
    device_release(r->dev, r->blobs.data, tensor_bytes(r->blobs));
    free(r->x_host);
    free(r->lost_host);
    free(r->blobs_host);
}

/* quantise - of the values in host memory, and back to it; keeps: what is lost. */
static void quantise(struct rows *r, bool keeps) {
    struct tensor none = {.data = NULL};
    device_upload(r->dev, r->x, r->x_host);
    device_upload(r->dev, r->lost, r->lost_host);
    op_quantise(r->dev, r->blobs.data, r->x, keeps ? r->lost : none);
    device_download(r->dev, r->lost_host, r->lost);
    device_download(r->dev, (float *)(void *)r->blobs_host, r->blobs);
}

static float scale_of_block(const struct rows *r, int64_t block) {
    float scale;
    int64_t row_blocks = r->cols / PACKED_BYTE_BLOCK;
    size_t at = (size_t)(block / row_blocks) * r->places.total + r->places.scales +
                (size_t)(block % row_blocks) * sizeof scale;
    memcpy(&scale, r->blobs_host + at, sizeof scale);
    return scale;
}

static int8_t code_of(const struct rows *r, int64_t i) {
    return (int8_t)r->blobs_host[(size_t)(i / r->cols) * r->places.total + (size_t)(i % r->cols)];
}

/* Codes and scales are those of packed_encode, which is checked above, and what is lost is what they lack.  Control: another value
 * gives another block. */
static void test_quantise(struct setting s) {
    struct rows r = make_rows(s.dev);
    uint8_t codes[PACKED_BYTE_BLOCK];
    float v[PACKED_BYTE_BLOCK], before[QUANTISE_COUNT];
    if (s.dtype == DTYPE_F32)
        quantise(&r, true); /* so that something is owed */
    memcpy(before, r.lost_host, sizeof before);
    quantise(&r, true);
    for (int64_t b = 0; b < QUANTISE_COUNT / PACKED_BYTE_BLOCK; b++) {
        float scale, got = scale_of_block(&r, b);
        for (int i = 0; i < PACKED_BYTE_BLOCK; i++)
            v[i] = r.x_host[b * PACKED_BYTE_BLOCK + i] + before[b * PACKED_BYTE_BLOCK + i];
        packed_encode(PACKED_INT8, v, PACKED_BYTE_BLOCK, codes, &scale);
        assert_memory_equal(&got, &scale, sizeof scale);
        for (int64_t i = 0; i < PACKED_BYTE_BLOCK; i++) {
            float sent = (float)(int8_t)codes[i] * scale, lost = v[i] - sent;
            assert_int_equal(code_of(&r, b * PACKED_BYTE_BLOCK + i), (int8_t)codes[i]);
            assert_memory_equal(&r.lost_host[b * PACKED_BYTE_BLOCK + i], &lost, sizeof lost);
        }
        v[0] += 2.01f * scale;
        packed_encode(PACKED_INT8, v, PACKED_BYTE_BLOCK, codes, &scale);
        assert_true(scale != got || (int8_t)codes[0] != code_of(&r, b * PACKED_BYTE_BLOCK));
    }
    free_rows(&r);
}

/* What is sent in many steps is what was meant, but for what is owed at the end.  Control: with nothing kept, small values beside a
 * large one are never sent. */
static void test_feedback(struct setting s) {
    enum { STEPS = 40 };
    struct rows r = make_rows(s.dev);
    for (int kept = 1; kept >= 0; kept--) {
        double worst = 0, *sums = xcalloc(QUANTISE_COUNT, sizeof *sums);
        memset(r.lost_host, 0, QUANTISE_COUNT * sizeof *r.lost_host);
        for (int64_t i = 0; i < QUANTISE_COUNT; i++)
            r.x_host[i] = i % PACKED_BYTE_BLOCK == 5 ? 100 : 0.1f + 0.001f * (float)(i % 97);
        for (int step = 0; step < STEPS; step++) {
            quantise(&r, kept);
            for (int64_t i = 0; i < QUANTISE_COUNT; i++)
                sums[i] += code_of(&r, i) * (double)scale_of_block(&r, i / PACKED_BYTE_BLOCK);
        }
        for (int64_t i = 0; i < QUANTISE_COUNT; i++)
            worst = fmax(worst, fabs(sums[i] + (double)r.lost_host[i] - STEPS * (double)r.x_host[i]));
        assert_true(kept ? worst < 2e-3 : worst > 0.09 * STEPS);
        free(sums);
    }
    free_rows(&r);
}

/* An infinity or a NaN makes its block NaN and is owed by nobody; others do not see it. */
static void test_not_finite(struct setting s) {
    struct rows r = make_rows(s.dev);
    r.x_host[PACKED_BYTE_BLOCK + 3] = INFINITY;
    r.x_host[3 * PACKED_BYTE_BLOCK + 77] = NAN;
    quantise(&r, true);
    for (int64_t i = 0; i < QUANTISE_COUNT; i++) {
        int64_t block = i / PACKED_BYTE_BLOCK;
        bool is_ill = block == 1 || block == 3;
        assert_int_equal(isnan(scale_of_block(&r, block)) != 0, is_ill);
        assert_true(isfinite(r.lost_host[i]) && (!is_ill || r.lost_host[i] == 0));
    }
    free_rows(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bitsandbytes)};
    const struct op_case cases[] = {{"dequantise", test_values},
                                    {"error", test_error},
                                    {"quantise", test_quantise},
                                    {"feedback", test_feedback},
                                    {"not finite", test_not_finite}};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + run_op_cases(cases, sizeof cases / sizeof cases[0]);
}
