/* test_gguf.c - the GGUF container: what is written is read back, hostile files are refused with the right
 * words, and a Llama in GGUF becomes the right model.  Exports of whole models are tested in test_export.c.
 */
#include "tests/gguf_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/gguf/gguf.h"

/* --- writing and reading back --- */

static void set_keys(struct gguf_writer *writer) {
    const struct gguf_string words[3] = {{"un", 2}, {"", 0}, {"d\0x", 3}};
    const float reals[2] = {0.5f, -3};
    const int32_t integers[3] = {-1, 0, 7};
    gguf_set_string(writer, "general.architecture", "llama", 5);
    gguf_set_u32(writer, "a.u32", 4000000000u);
    gguf_set_f32(writer, "a.f32", 1e-5f);
    gguf_set_bool(writer, "a.bool", true);
    gguf_set_strings(writer, "a.strings", words, 3);
    gguf_set_f32s(writer, "a.f32s", reals, 2);
    gguf_set_i32s(writer, "a.i32s", integers, 3);
    gguf_set_i32s(writer, "a.none", NULL, 0);
}

static const struct {
    const char *name;
    enum ggml_type type;
    int64_t dims[2];
    double tolerance;
} tensors[] = {
    {"vector", GGML_F32, {5, 1}, 0},       {"matrix", GGML_F32, {7, 3}, 0},
    {"half", GGML_F16, {33, 4}, 1e-3},     {"brain", GGML_BF16, {9, 5}, 8e-3},
    {"packed", GGML_Q8_0, {96, 40}, 2e-2},
};
enum { NUM_TENSORS = sizeof tensors / sizeof *tensors };

static float *values_of(int i) {
    return test_normal(tensors[i].dims[0] * tensors[i].dims[1], 100 + (uint64_t)i);
}

static void write_sample(void) {
    struct gguf_writer *writer = gguf_writer_create();
    struct err err = {""};
    set_keys(writer);
    for (int i = 0; i < NUM_TENSORS; i++)
        gguf_add_tensor(writer, tensors[i].name, tensors[i].dims[1] == 1 ? 1 : 2, tensors[i].dims,
                        tensors[i].type);
    assert_int_equal(gguf_writer_begin(writer, path, &err), 0);
    for (int i = 0; i < NUM_TENSORS; i++) {
        float *values = values_of(i);
        int64_t half = tensors[i].dims[1] / 2; /* in two pieces, the first may be empty */
        assert_int_equal(gguf_write_rows(writer, half, values, &err), 0);
        assert_int_equal(
            gguf_write_rows(writer, tensors[i].dims[1] - half, values + half * tensors[i].dims[0], &err), 0);
        free(values);
    }
    assert_int_equal(gguf_writer_end(writer, &err), 0);
    gguf_writer_free(writer);
}

static struct gguf *open_sample(void) {
    struct err err = {""};
    write_sample();
    struct gguf *file = gguf_open(path, &err);
    if (!file)
        fail_msg("%s", err.text);
    return file;
}

static void test_keys(void **state) {
    (void)state;
    struct err err;
    struct gguf *file = open_sample();
    struct gguf_string text;
    int64_t integer;
    double real;
    assert_int_equal(gguf_num_keys(file), 8);
    assert_string_equal(gguf_key(file, 1), "a.u32");
    assert_int_equal(gguf_find_key(file, "a"), -1);
    assert_int_equal(gguf_get_int(file, gguf_find_key(file, "a.u32"), 0, &integer, &err), 0);
    assert_int_equal(integer, 4000000000);
    assert_int_equal(gguf_get_double(file, gguf_find_key(file, "a.f32"), 0, &real, &err), 0);
    assert_true((float)real == 1e-5f);
    assert_int_equal(gguf_get_int(file, gguf_find_key(file, "a.bool"), 0, &integer, &err), 0);
    assert_int_equal(integer, 1);
    assert_int_equal(gguf_get_int(file, gguf_find_key(file, "a.i32s"), 0, &integer, &err), 0);
    assert_int_equal(integer, -1);
    assert_int_equal(gguf_get_int(file, gguf_find_key(file, "a.f32s"), 1, &integer, &err), 0);
    assert_int_equal(integer, -3);
    int64_t strings = gguf_find_key(file, "a.strings");
    assert_int_equal(gguf_key_type(file, strings), GGUF_ARRAY);
    assert_int_equal(gguf_array_type(file, strings), GGUF_STRING);
    assert_int_equal(gguf_array_count(file, strings), 3);
    assert_int_equal(gguf_get_string(file, strings, 2, &text, &err), 0);
    assert_int_equal(text.length_bytes, 3);
    assert_memory_equal(text.text, "d\0x", 3);
    /* refused: a fraction as a whole number, text as a number, a number as text, too far */
    assert_int_equal(gguf_get_int(file, gguf_find_key(file, "a.f32"), 0, &integer, &err), -1);
    assert_non_null(strstr(err.text, "expected a whole number"));
    assert_int_equal(gguf_get_int(file, strings, 0, &integer, &err), -1);
    assert_non_null(strstr(err.text, "is not a number"));
    assert_int_equal(gguf_get_string(file, gguf_find_key(file, "a.u32"), 0, &text, &err), -1);
    assert_int_equal(gguf_get_string(file, strings, 3, &text, &err), -1);
    assert_int_equal(gguf_get_int(file, gguf_find_key(file, "a.none"), 0, &integer, &err), -1);
    assert_non_null(strstr(err.text, "no element 0"));
    gguf_close(file);
}

/* All ranges of a small tensor, some of a packed one: block borders must not show. */
static void test_ranges(void **state) {
    (void)state;
    struct err err = {""};
    struct gguf *file = open_sample();
    assert_int_equal(gguf_num_tensors(file), NUM_TENSORS);
    for (int i = 0; i < NUM_TENSORS; i++) {
        int64_t index = gguf_find_tensor(file, tensors[i].name), count = gguf_tensor(file, index).count;
        float *want = values_of(i), *whole = xmalloc((size_t)count * sizeof *whole);
        float *part = xmalloc((size_t)count * sizeof *part);
        assert_int_equal(count, tensors[i].dims[0] * tensors[i].dims[1]);
        assert_int_equal(gguf_read_f32(file, index, 0, count, whole, &err), 0);
        check_close(whole, want, count, tensors[i].tolerance, tensors[i].tolerance, tensors[i].name, __FILE__,
                    __LINE__);
        for (int64_t first = 0; first <= count; first += 1 + count / 50)
            for (int64_t n = 0; first + n <= count; n += 1 + count / 40) {
                assert_int_equal(gguf_read_f32(file, index, first, n, part, &err), 0);
                assert_memory_equal(part, whole + first, (size_t)n * sizeof *part);
            }
        free(want);
        free(whole);
        free(part);
    }
    gguf_close(file);
}

/* --- hostile files, byte by byte --- */

struct bytes {
    uint8_t data[2048];
    size_t used;
};

static void put(struct bytes *b, const void *data, size_t bytes) {
    memcpy(b->data + b->used, data, bytes);
    b->used += bytes;
}

static void put_u32(struct bytes *b, uint32_t value) {
    put(b, &value, sizeof value);
}

static void put_u64(struct bytes *b, uint64_t value) {
    put(b, &value, sizeof value);
}

static void put_text(struct bytes *b, const char *text) {
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static void header(struct bytes *b, uint64_t num_tensors, uint64_t num_keys) {
    put(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, num_tensors);
    put_u64(b, num_keys);
}

static void key_u32(struct bytes *b, const char *key, uint32_t value) {
    put_text(b, key);
    put_u32(b, GGUF_U32);
    put_u32(b, value);
}

static void tensor_line(struct bytes *b, const char *name, int type, uint64_t d0, uint64_t d1,
                        uint64_t offset) {
    put_text(b, name);
    put_u32(b, 2);
    put_u64(b, d0);
    put_u64(b, d1);
    put_u32(b, (uint32_t)type);
    put_u64(b, offset);
}

/* data - padding and then this many bytes of tensors. */
static void data(struct bytes *b, size_t bytes) {
    b->used = (b->used + 31) / 32 * 32 + bytes;
}

static void one_tensor(struct bytes *b, int type, uint64_t d0, uint64_t d1, uint64_t offset,
                       size_t data_bytes) {
    header(b, 1, 0);
    tensor_line(b, "t", type, d0, d1, offset);
    data(b, data_bytes);
}

static void make_valid(struct bytes *b) {
    header(b, 2, 1);
    key_u32(b, "general.alignment", 32);
    tensor_line(b, "t", GGML_F32, 4, 2, 0);
    tensor_line(b, "u", 10, 256, 1, 32); /* a type that is only listed */
    data(b, 64);
}
static void make_short(struct bytes *b) {
    put(b, "GGUF", 4);
}
static void make_magic(struct bytes *b) {
    make_valid(b);
    b->data[0] = 'g';
}
static void make_version(struct bytes *b) {
    make_valid(b);
    b->data[4] = 1;
}
static void make_big_endian(struct bytes *b) {
    make_valid(b);
    b->data[4] = 0;
    b->data[7] = 3;
}
static void make_many_keys(struct bytes *b) {
    header(b, 0, UINT64_MAX);
    data(b, 64);
}
static void make_many_tensors(struct bytes *b) {
    header(b, UINT64_MAX / 33, 0);
    data(b, 64);
}
static void make_long_key(struct bytes *b) {
    header(b, 0, 1);
    put_u64(b, 1000);
    data(b, 64);
}
static void make_endless_key(struct bytes *b) {
    header(b, 0, 1);
    put_u64(b, UINT64_MAX);
    data(b, 64);
}
static void make_empty_key(struct bytes *b) {
    header(b, 0, 1);
    key_u32(b, "", 1);
}
static void make_control_key(struct bytes *b) {
    header(b, 0, 1);
    key_u32(b, "a\033[2J", 1);
}
static void make_unknown_type(struct bytes *b) {
    header(b, 0, 1);
    put_text(b, "k");
    put_u32(b, 13);
    data(b, 64);
}
static void make_nested(struct bytes *b) {
    header(b, 0, 1);
    put_text(b, "k");
    put_u32(b, GGUF_ARRAY);
    put_u32(b, GGUF_ARRAY);
    put_u64(b, 1);
    data(b, 64);
}
static void make_long_array(struct bytes *b) {
    header(b, 0, 1);
    put_text(b, "k");
    put_u32(b, GGUF_ARRAY);
    put_u32(b, GGUF_U64);
    put_u64(b, UINT64_MAX / 8 + 2); /* times 8 is 8 again */
    data(b, 64);
}
static void make_long_string(struct bytes *b) {
    header(b, 0, 1);
    put_text(b, "k");
    put_u32(b, GGUF_ARRAY);
    put_u32(b, GGUF_STRING);
    put_u64(b, 2);
    put_text(b, "fine");
    put_u64(b, 500);
    data(b, 64);
}
static void make_same_keys(struct bytes *b) {
    header(b, 0, 3);
    key_u32(b, "k", 1);
    key_u32(b, "j", 1);
    key_u32(b, "k", 2);
}
static void make_same_tensors(struct bytes *b) {
    header(b, 2, 0);
    tensor_line(b, "t", GGML_F32, 4, 2, 0);
    tensor_line(b, "t", GGML_F32, 4, 2, 32);
    data(b, 64);
}
static void make_long_name(struct bytes *b) {
    header(b, 1, 0);
    tensor_line(b, "0123456789012345678901234567890123456789012345678901234567890123", GGML_F32, 4, 2, 0);
    data(b, 64);
}
static void make_no_dims(struct bytes *b) {
    header(b, 1, 0);
    put_text(b, "t");
    put_u32(b, 0);
    data(b, 64);
}
static void make_five_dims(struct bytes *b) {
    header(b, 1, 0);
    put_text(b, "t");
    put_u32(b, 5);
    data(b, 64);
}
static void make_overflow(struct bytes *b) {
    one_tensor(b, GGML_F32, (uint64_t)1 << 32, (uint64_t)1 << 32, 0, 64);
}
static void make_byte_overflow(struct bytes *b) {
    one_tensor(b, GGML_F32, (uint64_t)1 << 31, (uint64_t)1 << 31, 0, 64);
}
static void make_negative(struct bytes *b) {
    one_tensor(b, GGML_F32, UINT64_MAX, 1, 0, 64);
}
static void make_zero_dim(struct bytes *b) {
    one_tensor(b, GGML_F32, 0, 4, 0, 64);
}
static void make_row(struct bytes *b) {
    one_tensor(b, GGML_Q8_0, 48, 2, 0, 128);
}
static void make_misaligned(struct bytes *b) {
    one_tensor(b, GGML_F32, 4, 2, 8, 64);
}
static void make_offset(struct bytes *b) {
    one_tensor(b, GGML_F32, 4, 2, (uint64_t)1 << 62, 64);
}
static void make_truncated(struct bytes *b) {
    one_tensor(b, GGML_F32, 4, 8, 32, 128);
}
static void make_overlap(struct bytes *b) {
    header(b, 2, 0);
    tensor_line(b, "t", GGML_F32, 4, 4, 0);
    tensor_line(b, "u", GGML_F32, 4, 2, 32);
    data(b, 64);
}
static void make_alignment(struct bytes *b) {
    header(b, 0, 1);
    key_u32(b, "general.alignment", 24);
}
static void make_no_alignment(struct bytes *b) {
    header(b, 0, 1);
    key_u32(b, "general.alignment", 0);
}
static void make_text_alignment(struct bytes *b) {
    header(b, 0, 1);
    put_text(b, "general.alignment");
    put_u32(b, GGUF_STRING);
    put_text(b, "32");
}

static const struct {
    void (*make)(struct bytes *b);
    const char *words;
} hostile[] = {
    {make_short, "it has only 4 bytes"},
    {make_magic, "does not begin with 'GGUF'"},
    {make_version, "GGUF version 1, expected 2 or 3"},
    {make_big_endian, "(a big-endian file)"},
    {make_many_keys, "keys, more than the file holds"},
    {make_many_tensors, "tensors, more than the file holds"},
    {make_long_key, "a key at byte 32 is longer than the file"},
    {make_endless_key, "a key at byte 32 is longer than the file"},
    {make_empty_key, "a key at byte 24 is empty, too long or not text"},
    {make_control_key, "is empty, too long or not text"},
    {make_unknown_type, "key 'k' has the unknown type 13"},
    {make_nested, "key 'k' is an array of arrays"},
    {make_long_array, "elements, more than the file holds"},
    {make_long_string, "key 'k': cannot read"},
    {make_same_keys, "key 'k' occurs twice"},
    {make_same_tensors, "tensor 't' occurs twice"},
    {make_long_name, "is longer than 63 bytes"},
    {make_no_dims, "has 0 dimensions"},
    {make_five_dims, "has 5 dimensions"},
    {make_overflow, "tensor 't' has an impossible shape"},
    {make_byte_overflow, "tensor 't' has an impossible shape"},
    {make_negative, "tensor 't' has an impossible shape"},
    {make_zero_dim, "tensor 't' has an impossible shape"},
    {make_row, "rows of 48 values, but Q8_0 packs 32"},
    {make_misaligned, "is not aligned to 32 bytes"},
    {make_offset, "lies after the end of the file"},
    {make_truncated, "lies after the end of the file; is it truncated?"},
    {make_overlap, "tensors 't' and 'u' overlap"},
    {make_alignment, "alignment 24 is not a power of two"},
    {make_no_alignment, "alignment 0 is not a power of two"},
    {make_text_alignment, "'general.alignment' of"},
};

static struct gguf *open_bytes(const struct bytes *b, size_t used, struct err *err) {
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(b->data, 1, used, out), used);
    fclose(out);
    return gguf_open(path, err);
}

static void test_hostile(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct bytes b = {{0}, 0};
        struct err err = {""};
        hostile[i].make(&b);
        struct gguf *file = open_bytes(&b, b.used, &err);
        if (file || !strstr(err.text, hostile[i].words))
            fail_msg("case %zu: expected '%s', got '%s'", i, hostile[i].words,
                     file ? "an open file" : err.text);
    }
}

/* The file all cases are made from opens, and no shorter one does. */
static void test_truncated(void **state) {
    (void)state;
    struct bytes b = {{0}, 0};
    struct err err = {""};
    float values[256];
    make_valid(&b);
    struct gguf *file = open_bytes(&b, b.used, &err);
    assert_non_null(file);
    assert_int_equal(gguf_read_f32(file, 0, 0, 8, values, &err), 0);
    assert_int_equal(gguf_read_f32(file, 1, 0, 256, values, &err), -1);
    assert_non_null(strstr(err.text, "type Q2_K (10) is not supported"));
    gguf_close(file);
    for (size_t used = 0; used < b.used - 32; used++) { /* the last tensor has no known size */
        file = open_bytes(&b, used, &err);
        if (file)
            fail_msg("a file cut to %zu of %zu bytes opens", used, b.used);
    }
}

static void test_absent(void **state) {
    (void)state;
    struct err err;
    assert_null(gguf_open("build/tmp/no-such.gguf", &err));
    assert_non_null(strstr(err.text, "cannot open 'build/tmp/no-such.gguf'"));
    assert_null(gguf_open(folder, &err));
    assert_non_null(strstr(err.text, "not a regular file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),      cmocka_unit_test(test_ranges), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_truncated), cmocka_unit_test(test_absent),
    };
    return cmocka_run_group_tests_name("gguf", tests, set_up, tear_down);
}
