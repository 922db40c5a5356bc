/* test_quantised.c - matrices in FP8 and NF4, read as f32: against the formats' definitions written out here, value by
 * value in f64, and against ml_dtypes for E4M3; whole models; damaged files. */
#include <math.h>

#include "checkpoints/safetensors/quantised.h"
#include "tests/export_fixture.h"
#include "tests/raw_tensors.h"

enum { ROWS = 300, COLS = 200, COUNT = ROWS * COLS };

static struct raw_file raw;

/* e4m3 - the definition in f64: sign, 4 bits of exponent with bias 7, 3 bits of fraction; subnormal below 2^-6. */
static double e4m3(uint8_t byte) {
    int exponent = byte >> 3 & 15, fraction = byte & 7;
    double sign = byte & 128 ? -1 : 1;
    return sign * (exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9));
}

/* test_bytes - any bits but those of NaN. */
static uint8_t *test_bytes(int64_t count, uint64_t seed) {
    uint8_t *bytes = xmalloc((size_t)count);
    uint64_t state = seed * 6364136223846793005u + 1442695040888963407u;
    for (int64_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(state >> 33);
        if ((bytes[i] & 127) == 127)
            bytes[i] = 1;
    }
    return bytes;
}

static void test_e4m3(void **state) {
    (void)state;
    float golden[256];
    FILE *file = fopen("tests/golden/quant/e4m3.bin", "rb");
    assert_non_null(file);
    assert_int_equal(fread(golden, sizeof(float), 256, file), 256);
    fclose(file);
    for (int i = 0; i < 256; i++) {
        float value = f32_from_e4m3((uint8_t)i);
        if ((i & 127) == 127)
            assert_true(isnan(golden[i]) && isnan(value));
        else
            assert_true(bits_from_f32(value) == bits_from_f32(golden[i]) &&
                        (double)value == e4m3((uint8_t)i));
    }
    assert_true(f32_from_e4m3(0x7e) == 448);
}

/* parse - a quantization_config; `phrase` is in the refusal, NULL: accepted. */
static struct quantised parse(const char *text, const char *phrase) {
    struct err err = {""};
    struct quantised quantised;
    char *whole = xasprintf("{\"quantization_config\":%s}", text);
    json_t *root = json_parse_text(whole, strlen(whole), "test", &err);
    assert_non_null(root);
    int status = quantised_parse(&quantised, root, &err);
    if (phrase ? status == 0 || !strstr(err.text, phrase) : status != 0)
        fail_msg("%s: %s", text, status ? err.text : "accepted");
    json_decref(root);
    free(whole);
    return quantised;
}

static void test_schemes(void **state) {
    (void)state;
    assert_int_equal(parse("null", NULL).kind, QUANTISED_NONE);
    struct quantised blocks =
        parse("{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"activation_scheme\":\"dynamic\","
              "\"weight_block_size\":[128,64]}",
              NULL);
    assert_int_equal(blocks.kind, QUANTISED_FP8);
    assert_true(blocks.block_rows == 128 && blocks.block_cols == 64);
    assert_int_equal(parse("{\"quant_method\":\"fp8\",\"weight_block_size\":null}", NULL).block_rows, 0);
    assert_int_equal(
        parse("{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\"}", NULL).kind,
        QUANTISED_FP8);
    assert_int_equal(
        parse("{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"nf4\"}",
              NULL)
            .kind,
        QUANTISED_NF4);
    parse("{\"quant_method\":\"awq\"}", "'awq' cannot be read");
    parse("{\"quant_method\":\"gptq\"}", "'gptq' cannot be read");
    assert_int_equal(parse("{\"quant_method\":\"mxfp4\"}", NULL).kind, QUANTISED_MXFP4);
    parse("{}", "quant_method");
    parse("{\"quant_method\":7}", "quant_method");
    parse("{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", "'e5m2'");
    parse("{\"quant_method\":\"fp8\",\"weight_block_size\":[0,1]}", "weight_block_size");
    parse("{\"quant_method\":\"fp8\",\"weight_block_size\":128}", "weight_block_size");
    parse("{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"}", "'pack-quantized'");
    assert_int_equal(
        parse("{\"quant_method\":\"compressed-tensors\",\"format\":\"mxfp4-pack-quantized\"}", NULL).kind,
        QUANTISED_MXFP4_PACKED);
    parse("{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}", "8 bits");
    parse("{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}", "another type");
}

/* --- one matrix --- */

/* opened - what raw holds, in a file. */
static struct st_files *opened(void) {
    struct err err = {""};
    char *path = in_folder("raw.safetensors");
    raw_write(&raw, path);
    struct st_files *files = st_open(path, &err);
    if (!files)
        fail_msg("%s", err.text);
    free(path);
    return files;
}

static const struct tensor want_shape = {.dtype = DTYPE_F32, .ndim = 2, .dims = {ROWS, COLS}};

/* check_values - the whole matrix, and ranges that start and end anywhere, are exactly `want`. */
static void check_values(const struct quantised *quantised, const float *want) {
    struct err err = {""};
    struct st_files *files = opened();
    bool known[16] = {false};
    int64_t index = st_find(files, "m.weight");
    assert_true(quantised_holds(quantised, st_entry(files, index)));
    if (quantised_check(quantised, files, index, want_shape, known, &err) != 0)
        fail_msg("%s", err.text);
    for (int64_t i = 0; i < st_num_tensors(files); i++)
        assert_true(known[i] || i == index);
    const struct quantised_range ranges[] = {{0, COUNT},     {0, 0},        {1, 1},     {199, 2},
                                             {COUNT - 1, 1}, {123, 4567},   {128, 128}, {200, 200},
                                             {25600, 400},   {7, COUNT - 7}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        float *got = xcalloc((size_t)ranges[i].count + 1, sizeof *got);
        assert_int_equal(quantised_read(quantised, files, index, ranges[i], got, &err), 0);
        assert_memory_equal(got, want + ranges[i].first, (size_t)ranges[i].count * sizeof *got);
        free(got);
    }
    st_close(files);
}

/* check_refused - the matrix cannot be read, and why. */
static void check_refused(const struct quantised *quantised, const char *phrase) {
    struct err err = {""};
    struct st_files *files = opened();
    bool known[16] = {false};
    if (quantised_check(quantised, files, st_find(files, "m.weight"), want_shape, known, &err) == 0 ||
        !strstr(err.text, phrase))
        fail_msg("'%s', expected '%s'", err.text, phrase);
    assert_non_null(strstr(err.text, "m.weight"));
    st_close(files);
}

/* The factors of one test: how many blocks, and how large they are. */
struct fp8_case {
    int64_t dims[2];
    int64_t block_rows, block_cols; /* that one factor stands for */
    const char *ending;
};

static void test_fp8(void **state) {
    (void)state;
    struct quantised quantised = {QUANTISED_FP8, 128, 64};
    const struct fp8_case cases[] = {{{0, 0}, ROWS, COLS, "_scale_inv"},
                                     {{1, 0}, ROWS, COLS, "_scale"},
                                     {{ROWS, 1}, 1, COLS, "_scale"},
                                     {{ROWS, 0}, 1, COLS, "_scale"},
                                     {{3, 4}, 128, 64, "_scale_inv"}};
    uint8_t *bytes = test_bytes(COUNT, 3);
    float *factors = test_normal(ROWS, 4), *want = xmalloc(COUNT * sizeof *want);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        int64_t per_row = (COLS - 1) / cases[c].block_cols + 1,
                num_factors = ((ROWS - 1) / cases[c].block_rows + 1) * per_row;
        char *name = xasprintf("m.weight%s", cases[c].ending);
        raw_add(&raw, "m.weight", "F8_E4M3", ROWS, COLS, bytes, COUNT);
        raw_add(&raw, name, "F32", cases[c].dims[0], cases[c].dims[1], factors,
                (size_t)num_factors * sizeof *factors);
        for (int64_t i = 0; i < COUNT; i++) {
            int64_t factor = i / COLS / cases[c].block_rows * per_row + i % COLS / cases[c].block_cols;
            want[i] = (float)(e4m3(bytes[i]) * (double)factors[factor]); /* exact but for one rounding */
        }
        check_values(&quantised, want);
        free(name);
    }
    free(want);
    free(factors);
    free(bytes);
}

static void test_fp8_refused(void **state) {
    (void)state;
    struct quantised quantised = {QUANTISED_FP8, 128, 64}, no_blocks = {QUANTISED_FP8, 0, 0};
    uint8_t *bytes = test_bytes(COUNT, 3);
    float *factors = test_normal(ROWS + 1, 4);
    const struct {
        const char *ending, *dtype_text;
        int64_t rows, cols;
        size_t length_bytes;
        const char *phrase;
    } cases[] = {{"_other", "F32", 1, 0, 4, "none of its scales"},
                 {"_scale", "F32", 4, 3, 48, "neither one, nor one for each"},
                 {"_scale", "F32", ROWS + 1, 0, 4 * (ROWS + 1), "neither one"},
                 {"_scale", "F32", 1, ROWS, 4 * ROWS, "neither one"},
                 {"_scale", "U8", 1, 0, 1, "scales are read as F32"}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        char *name = xasprintf("m.weight%s", cases[c].ending);
        raw_add(&raw, "m.weight", "F8_E4M3", ROWS, COLS, bytes, COUNT);
        raw_add(&raw, name, cases[c].dtype_text, cases[c].rows, cases[c].cols, factors,
                cases[c].length_bytes);
        check_refused(&quantised, cases[c].phrase);
        free(name);
    }
    raw_add(&raw, "m.weight", "F8_E4M3", ROWS, COLS, bytes, COUNT);
    raw_add(&raw, "m.weight_scale", "F32", 3, 4, factors, 48);
    check_refused(&no_blocks, "neither one"); /* config.json does not say how large a block is */
    raw_add(&raw, "m.weight", "F8_E4M3", ROWS, COLS, bytes, COUNT);
    raw_add(&raw, "m.weight_scale", "F32", 1, 0, factors, 4);
    raw_add(&raw, "m.weight_scale_inv", "F32", 1, 0, factors, 4);
    check_refused(&quantised, "both of its scales");
    raw_add(&raw, "m.weight", "F8_E4M3", COLS, ROWS, bytes, COUNT);
    raw_add(&raw, "m.weight_scale", "F32", 1, 0, factors, 4);
    check_refused(&quantised, "config.json asks for");
    free(factors);
    free(bytes);
}

/* --- NF4 --- */

enum {
    BLOCK = 64,
    NUM_BLOCKS = (COUNT - 1) / BLOCK + 1,
    NESTED = 256,
    NUM_NESTED = (NUM_BLOCKS - 1) / NESTED + 1
};

static const char plain_state[] =
    "{\"quant_type\":\"nf4\",\"blocksize\":64,\"dtype\":\"bfloat16\",\"shape\":[300,200]}";
static const char nested_state[] =
    "{\"quant_type\":\"nf4\",\"blocksize\":64,\"dtype\":\"bfloat16\",\"shape\":[300,200],"
    "\"nested_blocksize\":256,\"nested_dtype\":\"float32\",\"nested_offset\":0.125}";

/* What one NF4 matrix is made of. */
struct nf4_parts {
    uint8_t *bytes, *codes;
    float *map, *nested_map, *absmax, *nested_absmax;
};

static struct nf4_parts nf4_parts(void) {
    return (struct nf4_parts){test_bytes(COUNT / 2, 5),   test_bytes(NUM_BLOCKS, 6),
                              test_normal(16, 7),         test_normal(256, 8),
                              test_normal(NUM_BLOCKS, 9), test_normal(NUM_NESTED, 10)};
}

static void free_parts(struct nf4_parts *parts) {
    free(parts->bytes);
    free(parts->codes);
    free(parts->map);
    free(parts->nested_map);
    free(parts->absmax);
    free(parts->nested_absmax);
}

/* add_nf4 - the tensors of one matrix; `state` decides whether absmax is nested. */
static void add_nf4(const struct nf4_parts *parts, const char *state, bool nested) {
    raw_add(&raw, "m.weight", "U8", COUNT / 2, 1, parts->bytes, COUNT / 2);
    raw_add(&raw, "m.weight.quant_map", "F32", 16, 0, parts->map, 16 * sizeof(float));
    raw_add(&raw, "m.weight.quant_state.bitsandbytes__nf4", "U8", (int64_t)strlen(state), 0, state,
            strlen(state));
    if (!nested) {
        raw_add(&raw, "m.weight.absmax", "F32", NUM_BLOCKS, 0, parts->absmax, NUM_BLOCKS * sizeof(float));
        return;
    }
    raw_add(&raw, "m.weight.absmax", "U8", NUM_BLOCKS, 0, parts->codes, NUM_BLOCKS);
    raw_add(&raw, "m.weight.nested_quant_map", "F32", 256, 0, parts->nested_map, 256 * sizeof(float));
    raw_add(&raw, "m.weight.nested_absmax", "F32", NUM_NESTED, 0, parts->nested_absmax,
            NUM_NESTED * sizeof(float));
}

static void test_nf4(void **state) {
    (void)state;
    struct quantised quantised = {QUANTISED_NF4, 0, 0};
    struct nf4_parts parts = nf4_parts();
    float *want = xmalloc(COUNT * sizeof *want);
    for (int nested = 0; nested < 2; nested++) {
        add_nf4(&parts, nested ? nested_state : plain_state, nested);
        for (int64_t i = 0; i < COUNT; i++) {
            int code = i % 2 ? parts.bytes[i / 2] & 15 : parts.bytes[i / 2] >> 4;
            int64_t block = i / BLOCK;
            float outer = parts.nested_map[parts.codes[block]] * parts.nested_absmax[block / NESTED];
            want[i] = parts.map[code] * (nested ? outer + 0.125f : parts.absmax[block]);
        }
        check_values(&quantised, want);
    }
    free(want);
    free_parts(&parts);
}

static void test_nf4_refused(void **state) {
    (void)state;
    struct quantised quantised = {QUANTISED_NF4, 0, 0};
    struct nf4_parts parts = nf4_parts();
    const struct {
        const char *state;
        bool nested;
        const char *phrase;
    } cases[] = {
        {"{\"quant_type\":\"fp4\",\"blocksize\":64,\"shape\":[300,200]}", false, "'fp4' is not nf4"},
        {"{\"quant_type\":\"nf4\",\"blocksize\":0,\"shape\":[300,200]}", false, "are not sizes of blocks"},
        {"{\"quant_type\":\"nf4\",\"blocksize\":64,\"shape\":[300,200],\"nested_blocksize\":-1}", false,
         "sizes of blocks"},
        {"{\"quant_type\":\"nf4\",\"blocksize\":64,\"shape\":[60000]}", false, "list of two sizes"},
        {"{\"quant_type\":\"nf4\",\"blocksize\":64,\"shape\":[9223372036854775807,9]}", false, "a shape of"},
        {"{\"quant_type\":\"nf4\",\"blocksize\":64,\"shape\":[-300,-200]}", false, "a shape of"},
        {"{\"quant_type\":\"nf4\",\"blocksize\":64,\"shape\":[300,201]}", false, "bytes for 60300 values"},
        {"{\"quant_type\":\"nf4\",\"blocksize\":64,\"shape\":[200,300]}", false, "config.json asks for"},
        {"{\"quant_type\":\"nf4\",\"blocksize\":32,\"shape\":[300,200]}", false, "absmax"},
        {nested_state, false, "absmax"},
        {plain_state, true, "absmax"},
        {"{\"quant_type\":\"nf4\"", false, "quant_state"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        add_nf4(&parts, cases[c].state, cases[c].nested);
        check_refused(&quantised, cases[c].phrase);
    }
    raw_add(&raw, "m.weight", "U8", COUNT / 2, 1, parts.bytes, COUNT / 2);
    check_refused(&quantised, "is missing");
    free_parts(&parts);
}

/* --- a whole model --- */

enum { BLOCK_ROWS = 16, BLOCK_COLS = 32 };

/* is_quantised - most published models leave embedding, head and norms as they are, all of them the norms. */
static bool embedding_too;
static bool is_quantised(const struct model *model, struct param param) {
    return param_shape(&model->config, param).ndim == 2 &&
           (embedding_too || (param.role != ROLE_EMBEDDING && param.role != ROLE_HEAD));
}

/* scale_of - of any block; `factor` is what a control changes. */
static float scale_of(struct param param, float factor) {
    return factor * (0.001f + 0.0001f * (float)param.role);
}

static void add_param(const struct model *model, struct param param, float factor) {
    char name[PARAM_NAME_ROOM], beside[PARAM_NAME_ROOM + 32];
    struct tensor shape = param_shape(&model->config, param);
    int64_t count = tensor_count(shape), cols = shape.ndim == 2 ? shape.dims[1] : 0;
    param_name(&model->config, param, name);
    if (!is_quantised(model, param)) {
        float *values = values_of(model, param);
        raw_add(&raw, name, "F32", shape.dims[0], cols, values, (size_t)count * sizeof *values);
        free(values);
        return;
    }
    float scales[64];
    int64_t rows_of = (shape.dims[0] - 1) / BLOCK_ROWS + 1, cols_of = (cols - 1) / BLOCK_COLS + 1;
    uint8_t *bytes = test_bytes(count, (uint64_t)param.role * 10 + (uint64_t)param.layer);
    assert_true(rows_of * cols_of <= 64);
    for (int i = 0; i < 64; i++)
        scales[i] = scale_of(param, factor);
    raw_add(&raw, name, "F8_E4M3", shape.dims[0], cols, bytes, (size_t)count);
    snprintf(beside, sizeof beside, "%s_scale_inv", name);
    raw_add(&raw, beside, "F32", rows_of, cols_of, scales, (size_t)(rows_of * cols_of) * sizeof *scales);
    snprintf(beside, sizeof beside, "%.*sactivation_scale", (int)(strlen(name) - strlen("weight")), name);
    raw_add(&raw, beside, "F32", 0, 0, scales, sizeof *scales);
    free(bytes);
}

/* make_quantised - a folder as it is published in FP8. */
static char *make_quantised(const char *name, float factor) {
    struct model model = sample_model("byte_level", 320);
    struct err err = {""};
    char *at = make_folder(name, &model), *path = xasprintf("%s/config.json", at);
    struct param param = PARAM_START;
    while (family_next_param(&model.config, &param))
        add_param(&model, param, factor);
    json_t *config = json_load_path(path, 1 << 20, &err);
    json_object_set_new(config, "quantization_config",
                        json_pack("{s:s,s:s,s:[i,i]}", "quant_method", "fp8", "activation_scheme", "static",
                                  "weight_block_size", (int)BLOCK_ROWS, (int)BLOCK_COLS));
    char *text = json_dumps(config, 0);
    write_text(at, "config.json", text);
    free(text);
    json_decref(config);
    free(path);
    path = xasprintf("%s/model.safetensors", at);
    raw_write(&raw, path);
    free(path);
    return at;
}

static void test_model(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = sample_model("byte_level", 320);
    char *at = make_quantised("fp8", 1), *other = make_quantised("fp8-other", 1.5f),
         *out = in_folder("fp8-out");
    struct weights *weights = open_weights(at), *changed = open_weights(other);
    struct param param = param_at(ROLE_DOWN, 1);
    int64_t count = tensor_count(param_shape(&model.config, param));
    uint8_t *bytes = test_bytes(count, ROLE_DOWN * 10 + 1);
    float *values = xmalloc((size_t)count * sizeof *values);
    assert_int_equal(weights_read(weights, param, 0, count, values, &err), 0);
    for (int64_t i = 0; i < count; i++)
        assert_true(values[i] == (float)(e4m3(bytes[i]) * (double)scale_of(param, 1)));
    if (export_hf(weights, out, EXPORT_F32, NULL, &err) != 0)
        fail_msg("%s", err.text);
    struct weights *exported = open_weights(out);
    assert_null(strstr(weights_config_text(exported), "quantization_config"));
    assert_non_null(strstr(weights_config_text(weights), "quantization_config"));
    assert_int_equal(num_different(weights, exported, EXPORT_F32, EXPORT_F32), 0);
    assert_true(num_different(changed, exported, EXPORT_F32, EXPORT_F32) > 0); /* control */
    weights_close(weights);
    weights_close(changed);
    weights_close(exported);
    free(values);
    free(bytes);
    free(at);
    free(other);
    free(out);
}

/* What is made of the model has a type of its own also where the embedding, which decides otherwise, has none. */
static void test_quantised_embedding(void **state) {
    (void)state;
    struct err err = {""};
    embedding_too = true;
    char *at = make_quantised("fp8-embedding", 1), *out = in_folder("fp8-embedding-out");
    embedding_too = false;
    struct weights *weights = open_weights(at);
    assert_int_equal(weights_config(weights)->dtype, DTYPE_F32); /* as config.json has it */
    if (export_hf(weights, out, EXPORT_F32, NULL, &err) != 0)
        fail_msg("%s", err.text);
    struct weights *exported = open_weights(out);
    assert_int_equal(num_different(weights, exported, EXPORT_F32, EXPORT_F32), 0);
    weights_close(weights);
    weights_close(exported);
    free(at);
    free(out);
}

/* A value that is not a number, and the same file without the words that say how to read it. */
static void test_model_refused(void **state) {
    (void)state;
    struct err err = {""};
    char *at = make_quantised("fp8-nan", NAN);
    struct weights *weights = open_weights(at);
    float value;
    struct weights_range range = {0, 1, value_type_of(DTYPE_F32)};
    assert_int_equal(weights_read_fit(weights, param_at(ROLE_UP, 0), range, &value, &err), -1);
    assert_non_null(strstr(err.text, "mlp.up_proj.weight"));
    weights_close(weights);
    struct model model = sample_model("byte_level", 320);
    char *config = model_config_text(&model.config, NULL);
    write_text(at, "config.json", config);
    assert_null(weights_open(at, &err));
    assert_non_null(strstr(err.text, "only F32, BF16 and F16 weights can be read"));
    free(config);
    free(at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e4m3),
        cmocka_unit_test(test_schemes),
        cmocka_unit_test(test_fp8),
        cmocka_unit_test(test_fp8_refused),
        cmocka_unit_test(test_nf4),
        cmocka_unit_test(test_nf4_refused),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_model_refused),
        cmocka_unit_test(test_quantised_embedding),
    };
    return fixture_run("quantised", tests);
}
