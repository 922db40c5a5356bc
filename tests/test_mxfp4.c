/* test_mxfp4.c - matrices in MXFP4, read as f32: what transformers makes of the same bytes; a whole model; a matrix that is
 * carried; files that are refused. */
#include <math.h>

#include "checkpoints/safetensors/carried.h"
#include "tests/export_fixture.h"
#include "tests/raw_tensors.h"

enum { ROWS = 3, GROUPS = 3, COLS = 32 * GROUPS, COUNT = ROWS * COLS };

static struct raw_file raw;
static const struct quantised mxfp4 = {.kind = QUANTISED_MXFP4};

/* As tests/golden/make_quantised.py wrote it. */
static struct {
    uint8_t blocks[COUNT / 2], scales[ROWS * GROUPS];
    float values[COUNT];
} golden;

static int read_golden(void **state) {
    (void)state;
    FILE *file = fopen("tests/golden/quant/mxfp4.bin", "rb");
    assert_non_null(file);
    assert_int_equal(fread(golden.blocks, 1, sizeof golden.blocks, file), sizeof golden.blocks);
    assert_int_equal(fread(golden.scales, 1, sizeof golden.scales, file), sizeof golden.scales);
    assert_int_equal(fread(golden.values, sizeof(float), COUNT, file), COUNT);
    assert_int_equal(fclose(file), 0);
    return 0;
}

static void add_golden(const char *name) {
    char *blocks = xasprintf("%s_blocks", name), *scales = xasprintf("%s_scales", name);
    raw_add_stack(&raw, blocks, "U8", (int64_t[3]){ROWS, GROUPS, 16}, golden.blocks, sizeof golden.blocks);
    raw_add(&raw, scales, "U8", ROWS, GROUPS, golden.scales, sizeof golden.scales);
    free(blocks);
    free(scales);
}

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

static void test_values(void **state) {
    (void)state;
    struct err err = {""};
    const struct quantised_range ranges[] = {{0, COUNT}, {0, 0},   {1, 1},        {31, 2},
                                             {95, 3},    {33, 70}, {COUNT - 1, 1}};
    add_golden("m.weight");
    struct st_files *files = opened();
    int64_t index = quantised_find(&mxfp4, files, "m.weight");
    bool known[2] = {false};
    assert_true(index >= 0 && quantised_is_matrix(&mxfp4, files, index));
    assert_false(quantised_is_matrix(&mxfp4, files, st_find(files, "m.weight_scales")));
    struct tensor want = tensor_2d(NULL, DTYPE_F32, ROWS, COLS);
    assert_int_equal(quantised_check(&mxfp4, files, index, want, known, &err), 0);
    assert_true(known[1 - index] && !known[index]);
    int num_positive = 0;
    for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
        float got[COUNT + 1];
        assert_int_equal(quantised_read(&mxfp4, files, index, ranges[r], got, &err), 0);
        for (int64_t i = 0; i < ranges[r].count; i++)
            assert_true(got[i] == golden.values[ranges[r].first + i]);
        for (int64_t i = 0; i < ranges[r].count; i++)
            num_positive += got[i] > 0;
    }
    assert_true(num_positive > COUNT / 3); /* they are not all zero */
    st_close(files);
}

/* The same bytes as llm-compressor shapes and calls them. */
static void test_packed(void **state) {
    (void)state;
    struct err err = {""};
    const struct quantised packed = {.kind = QUANTISED_MXFP4_PACKED};
    float got[COUNT];
    bool known[2] = {false};
    raw_add(&raw, "m.weight_packed", "U8", ROWS, COLS / 2, golden.blocks, sizeof golden.blocks);
    raw_add(&raw, "m.weight_scale", "U8", ROWS, GROUPS, golden.scales, sizeof golden.scales);
    struct st_files *files = opened();
    int64_t index = quantised_find(&packed, files, "m.weight");
    struct tensor want = tensor_2d(NULL, DTYPE_F32, ROWS, COLS);
    assert_true(index >= 0 && quantised_is_matrix(&packed, files, index));
    assert_int_equal(quantised_find(&mxfp4, files, "m.weight"),
                     -1); /* the control: the other way to call it */
    assert_int_equal(quantised_check(&packed, files, index, want, known, &err), 0);
    assert_true(known[1 - index] && !known[index]);
    assert_int_equal(quantised_read(&packed, files, index, (struct quantised_range){0, COUNT}, got, &err), 0);
    assert_memory_equal(got, golden.values, sizeof got);
    assert_true(quantised_serves(&packed, "m.input_global_scale"));
    want.dims[1] = 2 * COLS;
    assert_int_equal(quantised_check(&packed, files, index, want, known, &err), -1);
    assert_non_null(strstr(err.text, "config.json asks for"));
    st_close(files);
}

/* Control: the same bytes with their halves in the other order are other values. */
static void test_halves(void **state) {
    (void)state;
    struct err err = {""};
    float got[COUNT];
    int num_different = 0;
    for (int i = 0; i < COUNT / 2; i++)
        golden.blocks[i] = (uint8_t)(golden.blocks[i] << 4 | golden.blocks[i] >> 4);
    add_golden("m.weight");
    read_golden(NULL);
    struct st_files *files = opened();
    int64_t index = quantised_find(&mxfp4, files, "m.weight");
    assert_int_equal(quantised_read(&mxfp4, files, index, (struct quantised_range){0, COUNT}, got, &err), 0);
    for (int i = 0; i < COUNT; i++)
        num_different += got[i] != golden.values[i];
    assert_true(num_different > COUNT / 2);
    st_close(files);
}

static void test_refused(void **state) {
    (void)state;
    const struct {
        int64_t blocks[3], scales[3];
        const char *ending, *phrase;
    } cases[] = {
        {{ROWS, GROUPS, 16}, {ROWS, GROUPS, 0}, "_other", "'..._scales' is missing"},
        {{ROWS, GROUPS, 16}, {GROUPS * ROWS, 0, 0}, "_scales", "not a byte for each block"},
        {{ROWS * GROUPS, 1, 16}, {ROWS * GROUPS, 1, 0}, "_scales", "config.json asks for"},
        {{ROWS, GROUPS * 2, 8}, {ROWS, GROUPS, 0}, "_scales", "rows x blocks x 16 bytes"},
        {{ROWS, GROUPS * 16, 0}, {ROWS, GROUPS, 0}, "_scales", "rows x blocks x 16 bytes"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct err err = {""};
        bool known[2] = {false};
        char *scales = xasprintf("m.weight%s", cases[c].ending);
        raw_add_stack(&raw, "m.weight_blocks", "U8", cases[c].blocks, golden.blocks, sizeof golden.blocks);
        raw_add_stack(&raw, scales, "U8", cases[c].scales, golden.scales, sizeof golden.scales);
        struct st_files *files = opened();
        struct tensor want = tensor_2d(NULL, DTYPE_F32, ROWS, COLS);
        if (quantised_check(&mxfp4, files, st_find(files, "m.weight_blocks"), want, known, &err) == 0 ||
            !strstr(err.text, cases[c].phrase) || !strstr(err.text, "m.weight_blocks"))
            fail_msg("'%s', expected '%s'", err.text, cases[c].phrase);
        st_close(files);
        free(scales);
    }
}

/* What is carried comes out under the matrix's own name. */
static void test_carried(void **state) {
    (void)state;
    struct err err = {""};
    float got[COUNT];
    add_golden("vision.fc");
    read_golden(NULL);
    struct st_files *files = opened();
    int64_t index = quantised_find(&mxfp4, files, "vision.fc"), *handles;
    struct carried carried = {files, &index, 1, &mxfp4};
    struct st_layout *layout = st_layout_create("model", INT64_MAX);
    carried_add(&carried, layout, &handles);
    st_layout_finish(layout);
    assert_int_equal(st_layout_write_headers(layout, folder, &err), 0);
    assert_int_equal(st_layout_open(layout, folder, &err), 0);
    assert_int_equal(carried_write(&carried, layout, handles, 0, 1, &err), 0);
    assert_int_equal(st_layout_close(layout, &err), 0);
    st_layout_free(layout);
    struct st_files *copy = st_open_stem(folder, "model", &err);
    assert_int_equal(st_num_tensors(copy), 1);
    assert_string_equal(st_entry(copy, 0).name, "vision.fc");
    assert_int_equal(st_read_f32(copy, 0, 0, COUNT, got, &err), 0);
    for (int i = 0; i < COUNT; i++)
        assert_true(got[i] == golden.values[i]); /* bf16 holds them all */
    st_close(copy);
    st_close(files);
    free(handles);
}

/* make_model - a folder whose matrices of the layers are in MXFP4, all of them times 2^(scale - 127). */
static char *make_model(const char *name, uint8_t scale) {
    struct model model = sample_model("byte_level", 320);
    char *at = make_folder(name, &model), *path = xasprintf("%s/model.safetensors", at),
         text[PARAM_NAME_ROOM];
    struct param param = PARAM_START;
    while (family_next_param(&model.config, &param)) {
        struct tensor shape = param_shape(&model.config, param);
        int64_t rows = shape.dims[0], cols = shape.ndim == 2 ? shape.dims[1] : 0, count = tensor_count(shape);
        param_name(&model.config, param, text);
        if (shape.ndim == 1 || param_spec(&model.config, param.role)->place != PLACE_LAYER) {
            float *values = values_of(&model, param);
            raw_add(&raw, text, "F32", rows, cols, values, (size_t)count * sizeof *values);
            free(values);
            continue;
        }
        uint8_t *bytes = xmalloc((size_t)count);
        for (int64_t i = 0; i < count; i++)
            bytes[i] = (uint8_t)(i * 13 + param.role);
        char *blocks = xasprintf("%s_blocks", text), *scales = xasprintf("%s_scales", text);
        raw_add_stack(&raw, blocks, "U8", (int64_t[3]){rows, cols / 32, 16}, bytes, (size_t)count / 2);
        memset(bytes, scale, (size_t)count);
        raw_add(&raw, scales, "U8", rows, cols / 32, bytes, (size_t)count / 32);
        free(blocks);
        free(scales);
        free(bytes);
    }
    raw_write(&raw, path);
    char *config = model_config_text_quantised(&model.config, NULL, "{\"quant_method\":\"mxfp4\"}");
    write_text(at, "config.json", config);
    free(config);
    free(path);
    return at;
}

static void test_model(void **state) {
    (void)state;
    struct err err = {""};
    char *at = make_model("mxfp4", 121), *other = make_model("mxfp4-other", 122),
         *nan = make_model("mxfp4-nan", 255), *out = in_folder("mxfp4-out");
    struct weights *weights = open_weights(at), *changed = open_weights(other), *broken = open_weights(nan);
    float value;
    struct param param = param_at(ROLE_UP, 1);
    assert_int_equal(weights_read(weights, param, 3, 1, &value, &err), 0);
    static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    int code = (uint8_t)(13 + ROLE_UP) >> 4; /* the fourth value: the high half of the second byte */
    assert_true(value == (code & 8 ? -1.0f : 1.0f) * e2m1[code & 7] / 64);
    if (export_hf(weights, out, EXPORT_F32, NULL, &err) != 0)
        fail_msg("%s", err.text);
    struct weights *exported = open_weights(out);
    assert_null(strstr(weights_config_text(exported), "quantization_config"));
    assert_int_equal(num_different(weights, exported, EXPORT_F32, EXPORT_F32), 0);
    assert_true(num_different(changed, exported, EXPORT_F32, EXPORT_F32) > 0); /* control */
    struct weights_range range = {0, 32, value_type_of(DTYPE_F32)};
    float values[32];
    assert_int_equal(weights_read_fit(broken, param, range, values, &err), -1);
    assert_non_null(strstr(err.text, "mlp.up_proj.weight"));
    weights_close(weights);
    weights_close(changed);
    weights_close(broken);
    weights_close(exported);
    free(at);
    free(other);
    free(nan);
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_values, read_golden),
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_carried),
        cmocka_unit_test(test_model),
    };
    return fixture_run("mxfp4", tests);
}
