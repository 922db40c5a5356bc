/* test_value_check.c - what no file may hold: limits against the conversions themselves, counts and places
 * against those that the test put there, for every writer and for weights as they are read.  And the head of
 * a tied model: one row that differs is seen wherever it is, an equal head is let through. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/family/family.h"
#include "checkpoints/files.h"
#include "checkpoints/gguf/gguf.h"
#include "checkpoints/safetensors/safetensors.h"
#include "checkpoints/value_check.h"
#include "checkpoints/weights.h"
#include "kernels/half.h"
#include "tests/patch.h"

enum { WIDTH = 32, VOCAB = 50 };
static const float SENTINEL = 12345.625f;

/* stored - a value as it comes back from a type. */
static float stored(enum ggml_type type, float value) {
    float block[32] = {value}, back[32];
    uint8_t bytes[256];
    int64_t count = quant_format((int)type)->block_count;
    quant_encode((int)type, block, count, bytes);
    quant_decode((int)type, bytes, 1, back);
    return back[0];
}

static void test_limits(void **state) {
    (void)state;
    const enum ggml_type types[] = {GGML_F16, GGML_BF16, GGML_Q8_0};
    for (int t = 0; t < 3; t++) {
        struct value_type type = value_type_of_ggml(types[t]);
        float below = nextafterf(type.limit, 0), above = type.limit * (types[t] == GGML_Q8_0 ? 1.001f : 1.0f);
        for (int sign = -1; sign <= 1; sign += 2) {
            float fits = (float)sign * below, not = (float)sign * above;
            assert_true(value_all_fit(type, &fits, 1) && isfinite(stored(types[t], fits * 0.999f)));
            assert_true(!value_all_fit(type, &not, 1) && !isfinite(stored(types[t], not )));
        }
    }
    float largest[] = {3.4028234e38f, -3.4028234e38f, 0, -0.0f, 1e-45f};
    assert_true(value_all_fit(value_type_of(DTYPE_F32), largest, 5));
    assert_true(isinf(f32_from_f16(f16_from_f32(value_type_of(DTYPE_F16).limit))));
    assert_true(isfinite(f32_from_f16(f16_from_f32(nextafterf(value_type_of(DTYPE_F16).limit, 0)))));
    assert_true(isinf(f32_from_bf16(bf16_from_f32(value_type_of(DTYPE_BF16).limit))));
    assert_true(isfinite(f32_from_bf16(bf16_from_f32(nextafterf(value_type_of(DTYPE_BF16).limit, 0)))));
}

static void test_counts(void **state) {
    (void)state;
    struct err err = {""};
    float *values = test_normal(1000, 5);
    struct value_type f16 = value_type_of(DTYPE_F16);
    assert_int_equal(value_check("t", f16, values, 0, 1000, &err), 0);
    values[17] = 70144;
    values[900] = -1e6f;
    assert_int_equal(value_check("t", f16, values, 100, 1000, &err), -1);
    assert_non_null(strstr(
        err.text,
        "tensor 't' holds 2 values too large for f16, the first (70144) at element 117, the largest -1e+06:"));
    assert_int_equal(value_check("t", value_type_of(DTYPE_BF16), values, 0, 1000, &err), 0);
    assert_float_equal(value_type_narrower(f16, value_type_of(DTYPE_F32)).limit, f16.limit, 0);
    assert_float_equal(value_type_narrower(value_type_of(DTYPE_BF16), f16).limit, f16.limit, 0);
    assert_string_equal(value_type_narrower((struct value_type){"saved", f16.limit}, f16).name, "saved");
    /* What is not a number comes before what is too large; pieces add up. */
    values[901] = NAN;
    values[902] = -INFINITY;
    struct value_scan scan = {.type = f16};
    value_scan_add(&scan, values, 0, 500);
    value_scan_add(&scan, values + 500, 500, 500);
    assert_int_equal(scan.num_not_finite, 2);
    assert_int_equal(scan.num_too_large, 2);
    assert_int_equal(value_scan_fail(&scan, "u", &err), -1);
    assert_non_null(
        strstr(err.text, "tensor 'u' holds 2 values that are not finite, the first (nan) at element 901"));
    free(values);
}

/* --- models made for the occasion --- */

static struct model_config small_model(bool tied) {
    return (struct model_config){.model_type = "llama",
                                 .architecture = "LlamaForCausalLM",
                                 .width = WIDTH,
                                 .ffn_width = 48,
                                 .vocab_size = VOCAB,
                                 .max_positions = 64,
                                 .num_layers = 2,
                                 .num_heads = 4,
                                 .num_kv_heads = 2,
                                 .head_dim = 8,
                                 .norm_eps = 1e-5f,
                                 .tied_head = tied,
                                 .dtype = DTYPE_F32,
                                 .bos_id = -1,
                                 .pad_id = -1,
                                 .initializer_range = 0.02f,
                                 .rope_theta = 10000.0};
}

/* What is odd about a model: a head stored beside a tied embedding, other in some rows; or one value. */
struct oddity {
    int64_t vocab_size; /* 0: VOCAB */
    bool stores_head;
    int other_rows[3], num_other_rows;
    struct param param;
    int64_t places[3];
    int num_places;
    float value;
};

static float *values_of(const struct model_config *config, struct param param, const struct oddity *odd) {
    int64_t count = tensor_count(param_shape(config, param));
    float *values = test_normal(count, (uint64_t)((int)param.role * 100 + param.layer));
    for (int i = 0; i < odd->num_places && param.role == odd->param.role && param.layer == odd->param.layer;
         i++)
        values[odd->places[i]] = SENTINEL;
    return values;
}

static void write_head(struct st_layout *layout, int64_t handle, const struct model_config *config,
                       const struct oddity *odd) {
    struct err err = {""};
    float *head = values_of(config, param_at(ROLE_EMBEDDING, 0), odd);
    for (int i = 0; i < odd->num_other_rows; i++)
        head[odd->other_rows[i] * WIDTH + i] += 1e-3f; /* one element of the row */
    assert_int_equal(st_layout_write_f32(layout, handle, 0, config->vocab_size * WIDTH, head, &err), 0);
    free(head);
}

/* write_model - a folder of its own, freed with free(). */
static char *write_model(const char *name, const struct oddity *odd) {
    struct err err = {""};
    struct model_config config = small_model(true);
    config.vocab_size = odd->vocab_size > 0 ? odd->vocab_size : VOCAB;
    char *folder = test_folder(name), *text = model_config_text(&config, NULL);
    char *path = xasprintf("%s/config.json", folder), *file = xasprintf("%s/model.safetensors", folder);
    int64_t handles[64], head = 0, count = 0;
    char tensor_name[PARAM_NAME_ROOM];
    struct st_layout *layout = st_layout_create("model", INT64_MAX);
    for (struct param at = PARAM_START; family_next_param(&config, &at);)
        handles[count++] = st_layout_add(layout, param_name(&config, at, tensor_name),
                                         param_shape(&config, at), config.dtype);
    if (odd->stores_head)
        head = st_layout_add(layout, "lm_head.weight", param_shape(&config, param_at(ROLE_EMBEDDING, 0)),
                             DTYPE_F32);
    st_layout_finish(layout);
    assert_int_equal(file_create(path, text, strlen(text), &err), 0);
    assert_int_equal(st_layout_write_headers(layout, folder, &err), 0);
    assert_int_equal(st_layout_open(layout, folder, &err), 0);
    count = 0;
    for (struct param at = PARAM_START; family_next_param(&config, &at); count++) {
        float *values = values_of(&config, at, odd);
        int64_t length = tensor_count(param_shape(&config, at));
        assert_int_equal(st_layout_write_f32(layout, handles[count], 0, length, values, &err), 0);
        free(values);
    }
    if (odd->stores_head)
        write_head(layout, head, &config, odd);
    assert_int_equal(st_layout_close(layout, &err), 0);
    st_layout_free(layout);
    for (int i = 0; i < odd->num_places; i++)
        patch_f32(file, SENTINEL, odd->value);
    free(text);
    free(path);
    free(file);
    return folder;
}

static void test_tied_head(void **state) {
    (void)state;
    const struct {
        struct oddity odd;
        const char *words; /* "": opens */
    } cases[] = {
        {{.stores_head = false}, ""},
        {{.stores_head = true}, ""},
        {{.stores_head = true, .other_rows = {0}, .num_other_rows = 1}, "in 1 of 50 rows, first row 0:"},
        {{.stores_head = true, .other_rows = {31}, .num_other_rows = 1}, "in 1 of 50 rows, first row 31:"},
        {{.stores_head = true, .other_rows = {7, 31, 49}, .num_other_rows = 3},
         "in 3 of 50 rows, first row 7:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {""};
        char *folder = write_model("tied-head", &cases[i].odd);
        struct weights *weights = weights_open(folder, &err);
        if ((weights != NULL) != (cases[i].words[0] == '\0') || !strstr(err.text, cases[i].words))
            fail_msg("case %zu: expected '%s', got '%s'", i, cases[i].words, err.text);
        weights_close(weights);
        free(folder);
    }
}

/* A row is seen wherever it is: also where the tensors are long enough to be read in several pieces. */
static void test_every_row(void **state) {
    (void)state;
    const int rows[] = {0, 17, 32767, 32768, 32769, 39999};
    for (int i = 0; i < 6; i++) {
        struct err err = {""};
        struct oddity odd = {
            .vocab_size = 40000, .stores_head = true, .other_rows = {rows[i]}, .num_other_rows = 1};
        char *folder = write_model("every-row", &odd), wanted[40];
        snprintf(wanted, sizeof wanted, "first row %d:", rows[i]);
        assert_null(weights_open(folder, &err));
        assert_non_null(strstr(err.text, wanted));
        free(folder);
    }
}

static void test_weights_read(void **state) {
    (void)state;
    const struct param up = param_at(ROLE_UP, 1);
    const float poisons[] = {NAN, INFINITY, 70144};
    const char *const words[] = {"holds 3 values that are not finite, the first (nan) at element 5",
                                 "holds 3 values that are not finite, the first (inf) at element 5",
                                 "holds 3 values too large for f16, the first (70144) at element 5"};
    for (int i = 0; i < 3; i++) {
        struct err err = {""};
        struct oddity odd = {.param = up, .places = {5, 100, 1500}, .num_places = 3, .value = poisons[i]};
        char *folder = write_model("read", &odd);
        struct weights *weights = weights_open(folder, &err);
        assert_non_null(weights);
        float values[64];
        struct weights_range hit = {90, 64, value_type_of(DTYPE_F16)}, miss = {200, 64, hit.type};
        /* A piece that is sound is read; the first unsound one tells of the whole tensor. */
        assert_int_equal(weights_read_fit(weights, up, miss, values, &err), 0);
        assert_int_equal(weights_read_fit(weights, up, hit, values, &err), -1);
        if (!strstr(err.text, words[i]) || !strstr(err.text, "'model.layers.1.mlp.up_proj.weight'") ||
            !strstr(err.text, folder))
            fail_msg("expected '%s', got '%s'", words[i], err.text);
        hit.type = value_type_of(DTYPE_F32);
        assert_int_equal(weights_read_fit(weights, up, hit, values, &err), i == 2 ? 0 : -1);
        weights_close(weights);
        free(folder);
    }
}

/* --- writers --- */

static int write_safetensors(const char *folder, enum dtype dtype, float value, struct err *err) {
    struct st_layout *layout = st_layout_create("one", INT64_MAX);
    float values[64] = {0};
    values[9] = value;
    int64_t handle = st_layout_add(layout, "a.weight", tensor_1d(NULL, dtype, 64), dtype);
    st_layout_finish(layout);
    assert_int_equal(st_layout_write_headers(layout, folder, err), 0);
    assert_int_equal(st_layout_open(layout, folder, err), 0);
    int status = st_layout_write_f32(layout, handle, 0, 64, values, err);
    st_layout_close(layout, NULL);
    st_layout_free(layout);
    return status;
}

static int write_gguf(const char *folder, enum ggml_type type, float value, struct err *err) {
    struct gguf_writer *writer = gguf_writer_create();
    char *path = xasprintf("%s/one.gguf", folder);
    float values[64] = {0};
    values[9] = value;
    int64_t dims[2] = {32, 2};
    gguf_add_tensor(writer, "a.weight", 2, dims, type);
    int status = gguf_writer_begin(writer, path, err);
    if (status == 0)
        status = gguf_write_rows(writer, 2, values, err);
    gguf_writer_free(writer);
    free(path);
    return status;
}

static void test_writers(void **state) {
    (void)state;
    const struct {
        float value;
        bool f32, bf16, f16, q8;
    } cases[] = {{1, true, true, true, true},
                 {65500, true, true, true, true},
                 {65520, true, true, false, true},
                 {9e6f, true, true, false, false},
                 {3.4e38f, true, false, false, false},
                 {NAN, false, false, false, false},
                 {-INFINITY, false, false, false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {""};
        float value = cases[i].value;
        char *folder = test_folder("writers");
        assert_int_equal(write_safetensors(folder, DTYPE_F32, value, &err) == 0, cases[i].f32);
        free(folder);
        folder = test_folder("writers");
        assert_int_equal(write_safetensors(folder, DTYPE_BF16, value, &err) == 0, cases[i].bf16);
        free(folder);
        folder = test_folder("writers");
        assert_int_equal(write_safetensors(folder, DTYPE_F16, value, &err) == 0, cases[i].f16);
        if (!cases[i].f16)
            assert_non_null(strstr(err.text, "'a.weight'"));
        assert_int_equal(write_gguf(folder, GGML_F32, value, &err) == 0, cases[i].f32);
        assert_int_equal(write_gguf(folder, GGML_BF16, value, &err) == 0, cases[i].bf16);
        assert_int_equal(write_gguf(folder, GGML_F16, value, &err) == 0, cases[i].f16);
        assert_int_equal(write_gguf(folder, GGML_Q8_0, value, &err) == 0, cases[i].q8);
        free(folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_counts),
        cmocka_unit_test(test_tied_head),    cmocka_unit_test(test_every_row),
        cmocka_unit_test(test_weights_read), cmocka_unit_test(test_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
