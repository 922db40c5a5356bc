/* test_safetensors.c - layout, writing by ranges from several ranks, reading by ranges, hostile files. */
#include "tests/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "checkpoints/safetensors/safetensors.h"
#include "data/corpus/json.h"
#include "kernels/half.h"

enum { NUM_TENSORS = 5 };

/* Shapes with odd sizes, a vector, an empty tensor. */
static const struct {
    const char *name;
    int64_t rows, columns;
    enum dtype dtype;
} wanted[NUM_TENSORS] = {{"z.last", 37, 11, DTYPE_F32},
                         {"a.half", 129, 33, DTYPE_BF16},
                         {"m.f16", 7, 5, DTYPE_F16},
                         {"b.empty", 0, 4, DTYPE_F32},
                         {"c.f32", 1000, 3, DTYPE_F32}};

static struct st_layout *make_layout(int64_t max_file_bytes, int64_t *handles) {
    struct st_layout *layout = st_layout_create("model", max_file_bytes);
    for (int i = 0; i < NUM_TENSORS; i++)
        handles[i] =
            st_layout_add(layout, wanted[i].name,
                          tensor_2d(NULL, DTYPE_F32, wanted[i].rows, wanted[i].columns), wanted[i].dtype);
    st_layout_finish(layout);
    return layout;
}

/* rounded - what a value becomes in a tensor's type. */
static float rounded(float value, enum dtype dtype) {
    if (dtype == DTYPE_BF16)
        return f32_from_bf16(bf16_from_f32(value));
    return dtype == DTYPE_F16 ? f32_from_f16(f16_from_f32(value)) : value;
}

static void assert_ok(int status, const struct err *err) {
    if (status != 0)
        fail_msg("%s", err->text);
}

/* write_as_rank - this rank's share of every tensor, as a training rank would. */
static void write_as_rank(const char *folder, int64_t max_file_bytes, int rank, int num_ranks) {
    int64_t handles[NUM_TENSORS];
    struct err err;
    struct st_layout *layout = make_layout(max_file_bytes, handles);
    if (rank == 0)
        assert_ok(st_layout_write_headers(layout, folder, &err), &err);
    assert_ok(st_layout_open(layout, folder, &err), &err);
    for (int i = 0; i < NUM_TENSORS; i++) {
        int64_t count = wanted[i].rows * wanted[i].columns;
        int64_t first = count * rank / num_ranks, end = count * (rank + 1) / num_ranks;
        float *values = test_normal(count, (uint64_t)i);
        assert_ok(st_layout_write_f32(layout, handles[i], first, end - first, values + first, &err), &err);
        free(values);
    }
    assert_ok(st_layout_close(layout, &err), &err);
    st_layout_free(layout);
}

static void check_contents(const char *folder, int num_pieces) {
    struct err err;
    struct st_files *files = st_open(folder, &err);
    if (!files)
        fail_msg("%s", err.text);
    assert_int_equal(st_num_tensors(files), NUM_TENSORS);
    for (int i = 0; i < NUM_TENSORS; i++) {
        int64_t index = st_find(files, wanted[i].name), count = wanted[i].rows * wanted[i].columns;
        assert_true(index >= 0);
        struct st_entry entry = st_entry(files, index);
        assert_int_equal(entry.dtype, wanted[i].dtype);
        assert_true(entry.ndim == 2 && entry.dims[0] == wanted[i].rows && entry.dims[1] == wanted[i].columns);
        float *want = test_normal(count, (uint64_t)i), *got = xcalloc((size_t)count, sizeof *got);
        for (int piece = 0; piece < num_pieces; piece++) {
            int64_t first = count * piece / num_pieces, end = count * (piece + 1) / num_pieces;
            assert_ok(st_read_f32(files, index, first, end - first, got + first, &err), &err);
        }
        for (int64_t e = 0; e < count; e++)
            want[e] = rounded(want[e], wanted[i].dtype);
        assert_memory_equal(got, want, (size_t)count * sizeof *got);
        if (count > 0) { /* control: a shifted read is another value */
            assert_ok(st_read_f32(files, index, 1, 1, got, &err), &err);
            assert_true(got[0] != want[0]);
        }
        free(want);
        free(got);
    }
    assert_int_equal(st_find(files, "a.hal"), -1);
    st_close(files);
}

static void round_trip(int64_t max_file_bytes, int num_writers, int num_readers) {
    char *folder = test_folder("safetensors");
    for (int rank = 0; rank < num_writers; rank++)
        write_as_rank(folder, max_file_bytes, rank, num_writers);
    check_contents(folder, num_readers);
    assert_int_equal(folder_remove(folder, NULL), 0);
    free(folder);
}

static void test_round_trips(void **state) {
    (void)state;
    round_trip(1 << 30, 1, 1);
    round_trip(1 << 30, 3, 1);
    round_trip(1 << 30, 2, 7);
    round_trip(8192, 4, 3); /* several files and an index */
    round_trip(1, 1, 2);    /* a file for each tensor */
}

/* test_format - the bytes on disk, read with nothing of the reader: header, order, alignment, padding. */
static void test_format(void **state) {
    (void)state;
    size_t length_bytes;
    char *folder = test_folder("safetensors_format");
    write_as_rank(folder, 1 << 30, 0, 1);
    char *path = xasprintf("%s/model.safetensors", folder);
    char *bytes = file_read_whole(path, 1 << 20, &length_bytes, NULL);
    uint64_t header_bytes;
    memcpy(&header_bytes, bytes, 8);
    assert_int_equal((8 + header_bytes) % 4096, 0);
    json_t *root = json_parse_text(bytes + 8, header_bytes, path, NULL);
    assert_string_equal(json_string_value(json_find(root, "__metadata__/format")), "pt");
    /* f32 first, by name; b.empty takes no bytes. */
    const char *const order[] = {"b.empty", "c.f32", "z.last", "a.half", "m.f16"};
    int64_t at = 0;
    for (int i = 0; i < NUM_TENSORS; i++) {
        const json_t *offsets = json_object_get(json_object_get(root, order[i]), "data_offsets");
        assert_int_equal(json_integer_value(json_array_get(offsets, 0)), at);
        at = json_integer_value(json_array_get(offsets, 1));
    }
    assert_int_equal(length_bytes, 8 + header_bytes + (uint64_t)at);
    float first_value;
    memcpy(&first_value, bytes + 8 + header_bytes, sizeof first_value);
    float *want = test_normal(1, 4); /* c.f32 is the fourth of wanted */
    assert_true(first_value == want[0]);
    free(want);
    json_decref(root);
    free(bytes);
    free(path);
    folder_remove(folder, NULL);
    free(folder);
}

/* put_file - a file of header text and data_bytes zeroes; says_bytes is the header length it claims, 0: the
 * true one. */
static void put_file(const char *path, const char *header, size_t header_bytes, uint64_t says_bytes,
                     size_t data_bytes) {
    size_t total = 8 + header_bytes + data_bytes;
    char *bytes = xcalloc(total, 1);
    uint64_t length = says_bytes ? says_bytes : header_bytes;
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, header_bytes);
    assert_int_equal(file_replace(path, bytes, total, NULL), 0);
    free(bytes);
}

static void assert_open_fails(const char *path, const char *phrase) {
    struct err err = {""};
    struct st_files *files = st_open(path, &err);
    if (files)
        fail_msg("'%s' was opened; expected '%s'", path, phrase);
    if (!strstr(err.text, phrase) || !strstr(err.text, path))
        fail_msg("'%s' does not contain '%s' and the path", err.text, phrase);
}

#define F32_2 "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"

static void test_hostile_headers(void **state) {
    (void)state;
    const struct {
        const char *header, *phrase;
        size_t data_bytes;
    } cases[] = {
        {"{\"a\":" F32_2 ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", "they overlap",
         12},
        {"{\"a\":" F32_2 ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}", "a hole", 20},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", "a hole", 12},
        {"{\"a\":" F32_2 "}", "the tensors end at byte 8 of 9", 9},
        {"{\"a\":" F32_2 "}", "its data ends at byte 8, the file's data has 7", 7},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "not in order", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", "not in order", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "its shape needs 96 bits", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}",
         "does not fit in 64 bits", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}",
         "do not fit in 64 bits", 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "shape is not a list of sizes",
         8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", "shape is not a list of sizes", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", "not a pair", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,99999999999999999999]}}", "cannot read",
         8},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", "unknown type 'F31'", 8},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", "its shape needs 12 bits", 1},
        {"{\"a\":" F32_2 ",\"a\":" F32_2 "}", "duplicate", 8},
        {"{\"a\":8}", "it is an integer, expected an object", 0},
        {"{\"__metadata__\":{\"format\":1}}", "__metadata__ 'format'", 0},
        {"{\"__metadata__\":\"pt\"}", "__metadata__ is a string", 0},
        {"[]", "does not start with '{'", 0},
        {" {}", "does not start with '{'", 0},
        {"{\"a\xff\":" F32_2 "}", "JSON", 8},
        {"{\"a\"", "JSON", 0},
    };
    char *folder = test_folder("safetensors_hostile");
    char *path = xasprintf("%s/x.safetensors", folder);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_file(path, cases[i].header, strlen(cases[i].header), 0, cases[i].data_bytes);
        assert_open_fails(path, cases[i].phrase);
    }
    /* Control: the good neighbours of those files open. */
    const char *good[] = {
        "{\"a\":" F32_2 "}", "{\"a\":" F32_2 ",\"__metadata__\":{\"format\":\"pt\"}}    ",
        "{\"s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}",
        "{\"e\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,0,7],\"data_offsets\":[0,0]},"
        "\"a\":" F32_2 "}"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct err err;
        put_file(path, good[i], strlen(good[i]), 0, 8);
        struct st_files *files = st_open(path, &err);
        if (!files)
            fail_msg("%s", err.text);
        st_close(files);
    }
    free(path);
    folder_remove(folder, NULL);
    free(folder);
}

static void test_hostile_lengths(void **state) {
    (void)state;
    char *folder = test_folder("safetensors_lengths");
    char *path = xasprintf("%s/x.safetensors", folder);
    put_file(path, "{}", 2, 3, 0);
    assert_open_fails(path, "is larger than the file");
    put_file(path, "{}", 2, UINT64_MAX, 0);
    assert_open_fails(path, "not a safetensors file");
    put_file(path, "{}", 2, 100000001, 0);
    assert_open_fails(path, "the format allows 100000000");
    assert_int_equal(file_replace(path, "{}", 2, NULL), 0);
    assert_open_fails(path, "too short");
    enum { DEPTH = 100000 }; /* nesting must not eat the stack */
    char *deep = xmalloc(DEPTH + 6);
    memcpy(deep, "{\"a\":", 5);
    memset(deep + 5, '[', DEPTH);
    put_file(path, deep, DEPTH + 5, 0, 0);
    assert_open_fails(path, "JSON");
    free(deep);
    unlink(path);
    assert_open_fails(path, "No such file");
    assert_int_equal(mkfifo(path, 0600), 0); /* a pipe must not make the reader wait */
    assert_open_fails(path, "not a regular file");
    free(path);
    folder_remove(folder, NULL);
    free(folder);
}

static void test_hostile_index(void **state) {
    (void)state;
    const struct {
        const char *text, *phrase;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "not mapped to a file name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not mapped to a file name"},
        {"{\"weight_map\":{\"a\":7}}", "not mapped to a file name"},
        {"{\"weight_map\":{\"b\":\"1.safetensors\"}}", "tensor 'b' is not in '1.safetensors'"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"a2\":\"3.safetensors\"}}", "3.safetensors"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"a3\":\"2.safetensors\"}}", "tensor 'a' is in"},
        {"{}", "key 'weight_map' is missing"},
    };
    char *folder = test_folder("safetensors_index");
    char *one = xasprintf("%s/1.safetensors", folder), *two = xasprintf("%s/2.safetensors", folder);
    char *index = xasprintf("%s/model.safetensors.index.json", folder);
    const char *header = "{\"a\":" F32_2 "}";
    put_file(one, header, strlen(header), 0, 8);
    put_file(two, header, strlen(header), 0, 8);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(file_replace(index, cases[i].text, strlen(cases[i].text), NULL), 0);
        assert_open_fails(folder, cases[i].phrase);
    }
    const char *good = "{\"weight_map\":{\"a\":\"1.safetensors\"}}";
    assert_int_equal(file_replace(index, good, strlen(good), NULL), 0);
    struct st_files *files = st_open(folder, NULL);
    assert_non_null(files);
    st_close(files);
    unlink(index);
    assert_open_fails(folder, "neither model.safetensors nor");
    free(one), free(two), free(index);
    folder_remove(folder, NULL);
    free(folder);
}

/* test_unreadable - integers are listed but not read as weights; a file that shrinks after opening is
 * noticed. */
static void test_unreadable(void **state) {
    (void)state;
    float values[2];
    struct err err;
    char *folder = test_folder("safetensors_unreadable");
    char *path = xasprintf("%s/x.safetensors", folder);
    const char *header = "{\"a\":" F32_2 ",\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[8,16]}}";
    put_file(path, header, strlen(header), 0, 16);
    struct st_files *files = st_open(path, &err);
    assert_non_null(files);
    int64_t integers = st_find(files, "i");
    assert_int_equal(st_entry(files, integers).dtype, DTYPE_COUNT);
    assert_string_equal(st_entry(files, integers).dtype_text, "I64");
    assert_int_equal(st_read_f32(files, integers, 0, 1, values, &err), -1);
    assert_non_null(strstr(err.text, "tensor 'i'"));
    assert_int_equal(st_read_f32(files, st_find(files, "a"), 0, 2, values, &err), 0);
    assert_int_equal(truncate(path, (off_t)(8 + strlen(header) + 4)), 0);
    assert_int_equal(st_read_f32(files, st_find(files, "a"), 0, 2, values, &err), -1);
    assert_non_null(strstr(err.text, "it ends at byte"));
    st_close(files);
    free(path);
    folder_remove(folder, NULL);
    free(folder);
}

/* One rank of many writes into few of the files, and needs no more of what it may have open.  Control: one that writes into all
 * of them cannot. */
static void test_few_open_files(void **state) {
    (void)state;
    enum { TENSORS = 200, COUNT = 16, LEFT = 20 };
    int64_t handles[TENSORS];
    char *folder = test_folder("safetensors_open");
    const float values[COUNT] = {1};
    struct err err;
    struct rlimit before, few;
    struct st_layout *layout = st_layout_create("model", COUNT * sizeof(float));
    for (int i = 0; i < TENSORS; i++) {
        char *name = xasprintf("t%03d", i);
        handles[i] = st_layout_add(layout, name, tensor_1d(NULL, DTYPE_F32, COUNT), DTYPE_F32);
        free(name);
    }
    st_layout_finish(layout);
    assert_int_equal(st_layout_num_files(layout), TENSORS);
    assert_ok(st_layout_write_headers(layout, folder, &err), &err);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(STDIN_FILENO);
    close(next);
    few = (struct rlimit){(rlim_t)next + LEFT, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_ok(st_layout_open(layout, folder, &err), &err);
    int num_written = 0;
    while (num_written < TENSORS &&
           st_layout_write_f32(layout, handles[num_written], 0, COUNT, values, &err) == 0)
        num_written++;
    assert_true(num_written > LEFT / 2 && num_written <= LEFT); /* some of them are open for something else */
    assert_ok(st_layout_close(layout, &err), &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    st_layout_free(layout);
    folder_remove(folder, NULL);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),     cmocka_unit_test(test_format),
        cmocka_unit_test(test_hostile_headers), cmocka_unit_test(test_hostile_lengths),
        cmocka_unit_test(test_hostile_index),   cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_few_open_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
