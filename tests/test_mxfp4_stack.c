/* test_mxfp4_stack.c - gpt-oss's experts in MXFP4: the matrices of all experts of a layer in one tensor, each [outputs, inputs], read
 * as transformers makes them, [inputs, outputs].  The control: as they lie they are other values. */
#include "tests/export_fixture.h"
#include "tests/raw_tensors.h"

enum { EXPERTS = 2, WIDTH = 32, COLS = 64, COUNT = WIDTH * COLS };

/* As tests/golden/make_quantised.py wrote it. */
static struct {
    uint8_t blocks[EXPERTS * COUNT / 2], scales[EXPERTS * COLS];
    float values[EXPERTS][COUNT];
} golden;

static struct raw_file raw;

static void read_golden(void) {
    FILE *file = fopen("tests/golden/quant/mxfp4_stack.bin", "rb");
    assert_non_null(file);
    assert_int_equal(fread(golden.blocks, 1, sizeof golden.blocks, file), sizeof golden.blocks);
    assert_int_equal(fread(golden.scales, 1, sizeof golden.scales, file), sizeof golden.scales);
    assert_int_equal(fread(golden.values, 1, sizeof golden.values, file), sizeof golden.values);
    assert_int_equal(fclose(file), 0);
}

/* small_model - one layer; both of an expert's matrices have rows of WIDTH inputs. */
static struct model small_model(void) {
    struct model model = sample_model("byte_level", 320);
    snprintf(model.config.model_type, sizeof model.config.model_type, "gpt_oss");
    snprintf(model.config.architecture, sizeof model.config.architecture, "GptOssForCausalLM");
    model.config.width = model.config.ffn_width = WIDTH;
    model.config.num_layers = 1;
    model.config.num_experts = model.config.num_chosen = EXPERTS;
    model.config.renormalises = true;
    model.config.window = 16;
    model.config.window_period = 2;
    model.config.window_whole = 1;
    return model;
}

/* add_stack - of the golden bytes the first experts' [EXPERTS, cols, 1, 16]. */
static void add_stack(const char *name, int64_t cols) {
    char *blocks = xasprintf("%s_blocks", name), *scales = xasprintf("%s_scales", name);
    raw_add_stacks(&raw, blocks, "U8", (int64_t[4]){EXPERTS, cols, 1, 16}, golden.blocks,
                   (size_t)(EXPERTS * cols * 16));
    raw_add_stack(&raw, scales, "U8", (int64_t[3]){EXPERTS, cols, 1}, golden.scales,
                  (size_t)(EXPERTS * cols));
    free(blocks);
    free(scales);
}

/* write_model - everything but the experts' matrices in f32. */
static char *write_model(const struct model *model, int64_t gate_up_cols) {
    char *at = make_folder("stacks", &(struct model){.config = sample_model("byte_level", 320).config}),
         *path = xasprintf("%s/model.safetensors", at), name[PARAM_NAME_ROOM];
    struct param param = PARAM_START;
    while (family_next_param(&model->config, &param)) {
        struct tensor shape = param_file_shape(&model->config, param);
        param_name(&model->config, param, name);
        if (param.expert > 0)
            continue;
        if (param.role == ROLE_EXPERT_GATE_UP || param.role == ROLE_EXPERT_DOWN) {
            add_stack(name, param.role == ROLE_EXPERT_DOWN ? WIDTH : gate_up_cols);
            continue;
        }
        float *values = test_normal(tensor_count(shape), (uint64_t)param.role);
        raw_add(&raw, name, "F32", shape.dims[0], shape.ndim > 1 ? shape.dims[1] : 0, values,
                (size_t)tensor_count(shape) * sizeof *values);
        free(values);
    }
    raw_write(&raw, path);
    char *config = model_config_text_quantised(&model->config, NULL, "{\"quant_method\":\"mxfp4\"}");
    write_text(at, "config.json", config);
    free(config);
    free(path);
    return at;
}

static void test_stack(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = small_model();
    const struct {
        int64_t first, count;
    } ranges[] = {{0, COUNT}, {0, 0}, {1, 1}, {63, 2}, {130, 700}, {COUNT - 1, 1}};
    read_golden();
    char *at = write_model(&model, COLS);
    struct weights *weights = weights_open(at, &err);
    if (!weights)
        fail_msg("%s", err.text);
    for (int expert = 0; expert < EXPERTS; expert++)
        for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
            const struct param param = {ROLE_EXPERT_GATE_UP, 0, expert};
            float got[COUNT];
            assert_int_equal(weights_read(weights, param, ranges[r].first, ranges[r].count, got, &err), 0);
            assert_memory_equal(got, golden.values[expert] + ranges[r].first,
                                (size_t)ranges[r].count * sizeof *got);
        }
    int num_different = 0;
    for (int i = 0; i < COUNT; i++)
        num_different += golden.values[1][i] != golden.values[1][i % WIDTH * COLS + i / WIDTH];
    assert_true(num_different > COUNT / 2);
    weights_close(weights);
    free(at);
}

/* A stack with as many values in another shape. */
static void test_refused(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = small_model();
    char *at = write_model(&model, COLS / 2);
    assert_null(weights_open(at, &err));
    assert_non_null(strstr(err.text, "config.json asks for"));
    free(at);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stack), cmocka_unit_test(test_refused)};
    return fixture_run("mxfp4_stack", tests);
}
