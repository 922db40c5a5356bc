/* test_export_fp8.c - a model written in FP8: nearest E4M3 values by trying all of them in f64, scales from the largest value of
 * each block, every layout that is read; names, types, shapes, settings and scales of activations as the base has them. */
#include <math.h>

#include "checkpoints/export/export_fp8.h"
#include "data/file.h"
#include "tests/export_fixture.h"
#include "tests/raw_tensors.h"

enum { BLOCK_ROWS = 16, BLOCK_COLS = 24 };

static struct raw_file raw;

/* e4m3 - the definition in f64. */
static double e4m3(int byte) {
    int exponent = byte >> 3 & 15, fraction = byte & 7;
    double sign = byte & 128 ? -1 : 1;
    return sign * (exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9));
}

/* nearest - the code of the value that lies nearest, of two the even one. */
static int nearest(double value) {
    int best = 0;
    for (int code = 0; code < 127; code++) {
        double distance = fabs(fabs(value) - e4m3(code)), least = fabs(fabs(value) - e4m3(best));
        if (distance < least || (distance == least && code % 2 == 0))
            best = code;
    }
    return best | (signbit(value) ? 128 : 0);
}

static void test_nearest(void **state) {
    (void)state;
    for (int code = 0; code < 256; code++)
        if ((code & 127) != 127)
            assert_int_equal(e4m3_from_f32((float)e4m3(code)), code);
    uint32_t bits = 0;
    for (int i = 0; i < 200000; i++, bits += 2654435761u) { /* any f32 */
        float value = f32_from_bits(bits);
        if (isfinite(value))
            assert_int_equal(e4m3_from_f32(value), nearest((double)value));
        float near = ldexpf((float)(bits >> 8), -24 - (int)(bits & 15)) * 1024; /* most of those in range */
        assert_int_equal(e4m3_from_f32(-near), nearest(-(double)near));
    }
    for (int code = 0; code < 126; code++) { /* the middle of two, and beside it */
        float middle = (float)((e4m3(code) + e4m3(code + 1)) / 2);
        assert_int_equal(e4m3_from_f32(middle), code + code % 2);
        assert_int_equal(e4m3_from_f32(nextafterf(middle, 0)), code);
        assert_int_equal(e4m3_from_f32(nextafterf(middle, 500)), code + 1);
    }
    assert_int_equal(e4m3_from_f32(1e30f), 0x7e);
    assert_int_equal(e4m3_from_f32(-INFINITY), 0xfe);
    assert_int_equal(e4m3_from_f32(NAN) & 127, 127);
}

/* One published way of storing a matrix. */
struct layout {
    const char *config, *ending, *dtype_text;
    int64_t block_rows, block_cols; /* 0: all */
    int num_dims;                   /* of the scales */
};

static const struct layout layouts[] = {
    {"{\"quant_method\":\"fp8\",\"weight_block_size\":[16,24],\"modules_to_not_convert\":[\"lm_head\"]}",
     "_scale_inv", "F32", BLOCK_ROWS, BLOCK_COLS, 2},
    {"{\"quant_method\":\"fp8\",\"weight_block_size\":null,\"activation_scheme\":\"static\"}", "_scale_inv",
     "BF16", 0, 0, 0},
    {"{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\",\"ignore\":[\"lm_head\"],"
     "\"config_groups\":{\"group_0\":{\"weights\":{\"num_bits\":8,\"strategy\":\"channel\"}}}}",
     "_scale", "BF16", 1, 0, 2},
    {"{\"quant_method\":\"fbgemm_fp8\",\"activation_scale_ub\":1200.0}", "_scale", "F16", 1, 0, 1},
};
enum { NUM_LAYOUTS = sizeof layouts / sizeof layouts[0] };

static bool is_quantised(const struct model *model, struct param param) {
    return param_shape(&model->config, param).ndim == 2 && param.role != ROLE_EMBEDDING &&
           param.role != ROLE_HEAD && !(param.role == ROLE_DOWN && param.layer == 0); /* one left whole */
}

/* How many rows and columns one scale stands for, of a matrix of that shape. */
static void block_of(const struct layout *layout, struct tensor shape, int64_t block[2]) {
    block[0] = layout->block_rows ? layout->block_rows : shape.dims[0];
    block[1] = layout->block_cols ? layout->block_cols : shape.dims[1];
}

static void add_matrix(const struct layout *layout, const char *name, struct tensor shape) {
    int64_t block[2], count = tensor_count(shape);
    block_of(layout, shape, block);
    int64_t rows = (shape.dims[0] - 1) / block[0] + 1, cols = (shape.dims[1] - 1) / block[1] + 1;
    uint8_t *bytes = xcalloc((size_t)count, 1);
    char beside[PARAM_NAME_ROOM + 32];
    float *scales = xcalloc((size_t)(rows * cols), sizeof *scales);
    size_t size = strcmp(layout->dtype_text, "F32") == 0 ? 4 : 2;
    raw_add(&raw, name, "F8_E4M3", shape.dims[0], shape.dims[1], bytes, (size_t)count);
    snprintf(beside, sizeof beside, "%s%s", name, layout->ending);
    raw_add(&raw, beside, layout->dtype_text, layout->num_dims > 0 ? rows : 0,
            layout->num_dims > 1 ? cols : 0, scales, (size_t)(rows * cols) * size);
    snprintf(beside, sizeof beside, "%.*sinput_scale", (int)(strlen(name) - strlen("weight")), name);
    raw_add(&raw, beside, "F32", 0, 0, name + 15, sizeof(float)); /* any bytes */
    free(scales);
    free(bytes);
}

/* make_base - a folder as it is published; its values do not matter. */
static char *make_base(const char *name, const struct layout *layout, struct model model) {
    struct param at = PARAM_START;
    char text[PARAM_NAME_ROOM], *folder_path = make_folder(name, &model);
    model.config.dtype = DTYPE_BF16;
    while (family_next_param(&model.config, &at)) {
        struct tensor shape = param_shape(&model.config, at);
        param_name(&model.config, at, text);
        if (is_quantised(&model, at)) {
            add_matrix(layout, text, shape);
            continue;
        }
        void *zeros = xcalloc((size_t)tensor_count(shape), 2);
        raw_add(&raw, text, "BF16", shape.dims[0], shape.ndim == 2 ? shape.dims[1] : 0, zeros,
                (size_t)tensor_count(shape) * 2);
        free(zeros);
    }
    char *path = xasprintf("%s/model.safetensors", folder_path);
    raw_write(&raw, path);
    free(path);
    char *config = model_config_text_quantised(&model.config, NULL, layout->config);
    write_text(folder_path, "config.json", config);
    free(config);
    return folder_path;
}

/* stored_scale - the largest of a block over 448 in f64, in the type of the file. */
static double stored_scale(const struct layout *layout, double largest) {
    float scale = (float)(largest / 448);
    if (strcmp(layout->dtype_text, "BF16") == 0)
        return (double)f32_from_bf16(bf16_from_f32(scale));
    return (double)(layout->dtype_text[1] == '1' ? f32_from_f16(f16_from_f32(scale)) : scale);
}

/* check_matrix - every code of the written matrix is the nearest one. */
static void check_matrix(const struct layout *layout, const struct st_files *files, int64_t index,
                         struct tensor shape, const float *values) {
    struct err err = {""};
    int64_t block[2], rows = shape.dims[0], cols = shape.dims[1];
    uint8_t *bytes = xmalloc((size_t)(rows * cols));
    block_of(layout, shape, block);
    assert_int_equal(st_read_bytes(files, index, 0, rows * cols, bytes, &err), 0);
    for (int64_t top = 0; top < rows; top += block[0])
        for (int64_t left = 0; left < cols; left += block[1]) {
            double largest = 0;
            int64_t bottom = top + block[0] < rows ? top + block[0] : rows,
                    right = left + block[1] < cols ? left + block[1] : cols;
            for (int64_t r = top; r < bottom; r++)
                for (int64_t c = left; c < right; c++)
                    largest = fmax(largest, fabs((double)values[r * cols + c]));
            double scale = stored_scale(layout, largest);
            for (int64_t r = top; r < bottom; r++)
                for (int64_t c = left; c < right; c++)
                    assert_int_equal(bytes[r * cols + c],
                                     nearest((double)(values[r * cols + c] / (float)scale)));
        }
    free(bytes);
}

/* check_beside - the same tensors as in the base: names, types, shapes; scales of activations to the bit. */
static void check_beside(const char *base, const char *out) {
    struct err err = {""};
    struct st_files *a = st_open(base, &err), *b = st_open(out, &err);
    assert_int_equal(st_num_tensors(a), st_num_tensors(b));
    for (int64_t i = 0; i < st_num_tensors(a); i++) {
        struct st_entry x = st_entry(a, i), y = st_entry(b, i);
        char p[4], q[4];
        assert_string_equal(x.name, y.name);
        assert_string_equal(x.dtype_text, y.dtype_text);
        assert_true(x.ndim == y.ndim && memcmp(x.dims, y.dims, sizeof x.dims) == 0);
        if (!name_ends_with(x.name, "input_scale"))
            continue;
        assert_int_equal(st_read_bytes(a, i, 0, 4, p, &err), 0);
        assert_int_equal(st_read_bytes(b, i, 0, 4, q, &err), 0);
        assert_memory_equal(p, q, 4);
    }
    st_close(a);
    st_close(b);
}

/* check_config - what the base says of its scheme, and the type of the rest. */
static void check_config(const struct weights *written, const char *want) {
    struct err err = {""};
    const char *text = weights_config_text(written);
    json_t *root = json_parse_text(text, strlen(text), "test", &err),
           *scheme = json_parse_text(want, strlen(want), "test", &err);
    assert_true(json_equal(json_object_get(root, "quantization_config"), scheme));
    assert_string_equal(json_string_value(json_object_get(root, "dtype")), "bfloat16");
    json_decref(root);
    json_decref(scheme);
}

static struct model tokenless(void) {
    struct model model = sample_model(NULL, 40);
    model.config.width = 40; /* blocks that end beyond the matrix */
    return model;
}

static void test_layouts(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = tokenless();
    char *source = make_folder("source", &model);
    struct weights *weights = open_weights(source);
    for (int i = 0; i < NUM_LAYOUTS; i++) {
        char *name = xasprintf("base-%d", i), *out_name = xasprintf("out-%d", i);
        char *at = make_base(name, &layouts[i], model), *out = in_folder(out_name);
        struct weights *base = open_weights(at);
        char *notes = NULL;
        if (export_fp8(weights, out, base, &notes, &err) != 0)
            fail_msg("%s", err.text);
        assert_true((notes && strstr(notes, "scales of activations")) ==
                    (i == 1)); /* the one that is static */
        free(notes);
        check_beside(at, out);
        struct weights *written = open_weights(out);
        check_config(written, layouts[i].config);
        const struct quantised *quantised;
        const struct st_files *files = weights_stored(written, &quantised);
        struct param param = PARAM_START;
        int num_matrices = 0;
        while (family_next_param(&model.config, &param)) {
            if (!is_quantised(&model, param))
                continue;
            float *values = values_of(&model, param);
            check_matrix(&layouts[i], files, weights_find(written, param), param_shape(&model.config, param),
                         values);
            free(values);
            num_matrices++;
        }
        assert_int_equal(num_matrices, 13);
        weights_close(written);
        weights_close(base);
        free(at);
        free(out);
        free(name);
        free(out_name);
    }
    weights_close(weights);
    free(source);
}

/* Without a base in FP8: blocks of 128 x 128 in the layers, nothing else. */
static void test_blocks(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = tokenless();
    const struct layout blocks = {
        "{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"activation_scheme\":\"dynamic\","
        "\"weight_block_size\":[128,128],\"modules_to_not_convert\":[\"lm_head\"]}",
        "_scale_inv",
        "F32",
        128,
        128,
        2};
    model.config.ffn_width = 384;
    char *source = make_folder("plain", &model), *out = in_folder("plain-out"), *notes = NULL;
    struct weights *weights = open_weights(source);
    if (export_fp8(weights, out, NULL, &notes, &err) != 0)
        fail_msg("%s", err.text);
    assert_non_null(strstr(notes, "128 x 128"));
    free(notes);
    struct weights *written = open_weights(out);
    check_config(written, blocks.config);
    const struct quantised *quantised;
    const struct st_files *files = weights_stored(written, &quantised);
    assert_true(quantised->kind == QUANTISED_FP8 && quantised->block_rows == 128);
    struct param param = param_at(ROLE_UP, 1);
    float *values = values_of(&model, param);
    check_matrix(&blocks, files, weights_find(written, param), param_shape(&model.config, param), values);
    free(values);
    assert_string_equal(st_entry(files, weights_find(written, param_at(ROLE_EMBEDDING, 0))).dtype_text,
                        "BF16");
    weights_close(written);
    weights_close(weights);
    free(source);
    free(out);
}

/* patch_scale - another factor for the first block of the last matrix of the file, as a writer with a fault would leave it. */
static void patch_scale(const char *out, float times) {
    struct err err = {""};
    char *path = xasprintf("%s/model.safetensors", out);
    struct weights *written = open_weights(out);
    const struct quantised *quantised;
    const struct st_files *files = weights_stored(written, &quantised);
    int64_t index = st_find_beside(files, weights_find(written, param_at(ROLE_UP, 1)), "_scale_inv");
    float scale;
    assert_int_equal(st_read_f32(files, index, 0, 1, &scale, &err), 0);
    weights_close(written);
    patch_f32(path, scale, scale * times);
    free(path);
}

/* The comparison after writing is not satisfied with a scale that lies 7 % off, nor with a folder that is not in FP8. */
static void test_control(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = tokenless();
    char *source = make_folder("control", &model), *out = in_folder("control-out");
    struct weights *weights = open_weights(source);
    assert_int_equal(export_fp8(weights, out, NULL, NULL, &err), 0);
    assert_int_equal(fp8_check_folder(weights, out, &err), 0);
    patch_scale(out, 1.07f);
    assert_int_equal(fp8_check_folder(weights, out, &err), -1);
    assert_non_null(strstr(err.text, "layers.1.mlp.up_proj.weight"));
    assert_int_equal(fp8_check_folder(weights, source, &err), -1);
    assert_non_null(strstr(err.text, "no matrix in FP8"));
    weights_close(weights);
    free(source);
    free(out);
}

/* A base that is another model; a value that FP8 has no place for; nothing is left of what failed. */
static void test_refused(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = tokenless(), wider = tokenless(), deeper = tokenless(), poisoned = tokenless();
    wider.config.ffn_width = 72;
    deeper.config.num_layers = 3;
    poisoned.poison = INFINITY;
    struct model partial = tokenless();
    partial.config.ffn_width = 200;
    char *at = make_base("base", &layouts[0], model), *out = in_folder("refused");
    const struct {
        const char *name, *phrase;
        struct model model;
    } cases[] = {{"wider", "it is another model", wider},
                 {"deeper", "has no tensor 'model.layers.2", deeper},
                 {"poisoned", "layers.1.mlp.down_proj.weight", poisoned}};
    struct weights *base = open_weights(at);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *source = make_folder(cases[i].name, &cases[i].model);
        struct weights *weights = open_weights(source);
        if (export_fp8(weights, out, base, NULL, &err) == 0 || !strstr(err.text, cases[i].phrase))
            fail_msg("%s: %s", cases[i].name, err.text);
        assert_false(path_exists(out));
        weights_close(weights);
        free(source);
    }
    char *source = make_folder("partial", &partial);
    struct weights *weights = open_weights(source);
    assert_int_equal(export_fp8(weights, out, NULL, NULL, &err), -1);
    assert_non_null(strstr(err.text, "would end inside of it"));
    weights_close(weights);
    weights_close(base);
    free(source);
    free(at);
    free(out);
}

/* Blocks are never what a folder stands for that was named and is not in FP8. */
static void test_named(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = tokenless();
    char *source = make_folder("named", &model), *at = make_base("named-base", &layouts[0], model),
         *out = in_folder("named-out");
    struct weights *weights = open_weights(source), *base;
    assert_int_equal(export_base(&base, weights, source, &err), -1);
    assert_null(base);
    assert_non_null(strstr(err.text, "named' are not in FP8"));
    assert_non_null(strstr(err.text, "--scheme blocks"));
    assert_int_equal(export_fp8(weights, out, weights, NULL, &err), -1);
    assert_non_null(strstr(err.text, "is not in FP8"));
    assert_false(path_exists(out));
    assert_int_equal(export_base(&base, weights, "blocks", &err), 0);
    assert_null(base);
    assert_int_equal(export_base(&base, weights, at, &err), 0); /* control: one that is */
    assert_non_null(base);
    weights_close(base);
    weights_close(weights);
    free(source);
    free(at);
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nearest), cmocka_unit_test(test_layouts), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_control), cmocka_unit_test(test_refused), cmocka_unit_test(test_named),
    };
    return fixture_run("export_fp8", tests);
}
