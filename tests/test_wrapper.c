/* test_wrapper.c - config.json of a model of text and images, read and written; names of the text decoder's tensors; tensors
 * of any type copied from file to file.  What training and exports do with such a model is in scenario_wrapper.sh. */
#include <math.h>

#include "checkpoints/family/family.h"
#include "checkpoints/safetensors/carried.h"
#include "tests/export_fixture.h"
#include "tests/raw_tensors.h"

#define SIZES                                                                                                \
    "\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":320,\"max_position_embeddings\":512,"        \
    "\"num_hidden_layers\":3,\"num_attention_heads\":4,\"num_key_value_heads\":2"
#define WRAPPER(outside, inside)                                                                             \
    "{\"architectures\":[\"Mistral3ForConditionalGeneration\"],\"model_type\":\"mistral3\"," outside         \
    "\"text_config\":{\"model_type\":\"mistral\",\"sliding_window\":null," inside SIZES "}}"

static int parse(struct model_config *config, const char *text, struct err *err) {
    return model_config_parse(config, text, strlen(text), "test", err);
}

static struct model_config parsed(const char *text) {
    struct model_config config;
    struct err err;
    if (parse(&config, text, &err) != 0)
        fail_msg("%s", err.text);
    return config;
}

static void test_parse(void **state) {
    (void)state;
    struct model_config config = parsed(WRAPPER("\"torch_dtype\":\"bfloat16\",\"eos_token_id\":7,", ""));
    assert_string_equal(config.model_type, "mistral");
    assert_string_equal(config.wrapper_type, "mistral3");
    assert_string_equal(config.wrapper_architecture, "Mistral3ForConditionalGeneration");
    assert_true(config.width == 64 && config.dtype == DTYPE_BF16 && config.num_eos == 1 &&
                config.eos_ids[0] == 7);
    assert_false(config.tied_head);
    assert_true(parsed(WRAPPER("\"tie_word_embeddings\":true,", "")).tied_head);
    assert_true(parsed(WRAPPER("", "\"tie_word_embeddings\":true,")).tied_head);
    assert_int_equal(parsed(WRAPPER("\"eos_token_id\":7,", "\"eos_token_id\":8,")).eos_ids[0], 8);
    /* A text_config without its model_type is of the wrapper's usual one. */
    assert_string_equal(parsed("{\"model_type\":\"llava\",\"text_config\":{" SIZES "}}").model_type, "llama");
    /* As Ministral 3 is published: the class's sizes of heads, rotary settings inside, FP8 outside. */
    config = parsed("{\"architectures\":[\"Mistral3ForConditionalGeneration\"],\"model_type\":\"mistral3\","
                    "\"dtype\":\"bfloat16\",\"text_config\":{\"model_type\":\"ministral3\"," SIZES
                    ",\"rope_parameters\":{\"type\":\"yarn\",\"rope_theta\":1e6,\"factor\":16,"
                    "\"original_max_position_embeddings\":128,\"llama_4_scaling_beta\":0.1}},"
                    "\"quantization_config\":{\"quant_method\":\"fp8\",\"activation_scheme\":\"static\"}}");
    assert_string_equal(config.model_type, "ministral3");
    assert_true(config.head_dim == 128 && config.rope_kind == ROPE_YARN && config.query_temperature == 0.1);
    /* A text_config may leave all to the class of its wrapper. */
    config = parsed("{\"model_type\":\"gemma3\",\"text_config\":{}}");
    assert_string_equal(config.model_type, "gemma3_text");
    assert_true(config.width == 2304 && config.num_layers == 26 && config.head_dim == 256);
    /* Control: without a text_config nothing is wrapped. */
    assert_string_equal(parsed("{\"model_type\":\"llama\"," SIZES "}").wrapper_type, "");
}

static void test_refused(void **state) {
    (void)state;
    const struct {
        const char *text, *phrase;
    } cases[] = {
        {"{\"model_type\":\"mistral3\",\"text_config\":{}}", "text_config: key 'hidden_size' is missing"},
        {"{\"model_type\":\"mistral3\",\"text_config\":{\"model_type\":5}}",
         "text_config: key 'model_type' is an integer"},
        {"{\"model_type\":\"mistral3\",\"text_config\":null}", "and there is no text_config"},
        {"{\"model_type\":\"qwen3_next\"}", "'qwen3_next' is not supported yet"},
        {"{\"model_type\":\"mistral3\",\"text_config\":7}", "text_config is an integer, expected an object"},
        {"{\"model_type\":\"gemma4\",\"text_config\":{\"model_type\":\"gemma4_text\"}}",
         "this model of text and images is not supported yet; its text decoder has heads of 512 elements"},
        {"{\"model_type\":\"llama\",\"text_config\":{\"model_type\":\"llama\"," SIZES "}}",
         "'llama' has a text_config"},
        {"{\"architectures\":[\"Other\"],\"model_type\":\"mistral3\",\"text_config\":{\"model_type\":\"mistral\"}}",
         "architecture 'Other'"},
        {WRAPPER("\"tie_word_embeddings\":true,", "\"tie_word_embeddings\":false,"),
         "tie_word_embeddings is true, and false in text_config"},
        {WRAPPER("", "\"attention_bias\":true,"), "text_config: attention_bias true"},
        {WRAPPER("\"quantization_config\":{\"quant_method\":\"awq\"},", ""), "'awq' cannot be read"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct model_config config;
        struct err err = {""};
        if (parse(&config, cases[i].text, &err) == 0 || !strstr(err.text, cases[i].phrase))
            fail_msg("'%s' does not contain '%s'", err.text, cases[i].phrase);
    }
}

static void test_names(void **state) {
    (void)state;
    const struct {
        enum text_names names;
        const char *embedding, *up, *head;
        const char *others[2]; /* which are not of the text decoder */
    } cases[] = {{TEXT_NAMES_OUTER,
                  "language_model.model.embed_tokens.weight",
                  "language_model.model.layers.2.mlp.up_proj.weight",
                  "language_model.lm_head.weight",
                  {"vision_tower.ln_pre.weight", "model.embed_tokens.weight"}},
                 {TEXT_NAMES_INNER,
                  "model.language_model.embed_tokens.weight",
                  "model.language_model.layers.2.mlp.up_proj.weight",
                  "lm_head.weight",
                  {"model.vision_tower.ln_pre.weight", "language_model.model.embed_tokens.weight"}}};
    struct model_config config = parsed(WRAPPER("", ""));
    char name[PARAM_NAME_ROOM];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        config.text_names = cases[i].names;
        assert_string_equal(param_name(&config, param_at(ROLE_EMBEDDING, 0), name), cases[i].embedding);
        assert_true(family_is_text_name(&config, name));
        assert_string_equal(param_name(&config, param_at(ROLE_UP, 2), name), cases[i].up);
        assert_true(family_is_text_name(&config, name));
        assert_string_equal(param_name(&config, param_at(ROLE_HEAD, 0), name), cases[i].head);
        assert_true(family_is_text_name(&config, name));
        for (int other = 0; other < 2; other++)
            assert_false(family_is_text_name(&config, cases[i].others[other]));
    }
}

/* What is written says the same again, inside and outside; what the base said of images stands, quantisation does not. */
static void test_round_trip(void **state) {
    (void)state;
    struct err err = {""};
    const char *base = WRAPPER("\"vision_config\":{\"hidden_size\":48},\"torch_dtype\":\"bfloat16\","
                               "\"quantization_config\":{\"quant_method\":\"fp8\"},",
                               "\"tie_word_embeddings\":true,");
    struct model_config config = parsed(base);
    config.dtype = DTYPE_F16;
    char *text = model_config_text(&config, base);
    struct model_config again = parsed(text);
    assert_memory_equal(&config, &again, sizeof config);
    json_t *root = json_parse_text(text, strlen(text), "test", &err);
    assert_int_equal(json_integer_value(json_find(root, "vision_config/hidden_size")), 48);
    assert_null(json_find(root, "quantization_config"));
    assert_null(json_find(root, "hidden_size"));
    assert_string_equal(json_string_value(json_find(root, "torch_dtype")), "float16");
    assert_string_equal(json_string_value(json_find(root, "text_config/torch_dtype")), "float16");
    assert_true(json_is_true(json_find(root, "tie_word_embeddings")));
    json_decref(root);
    free(text);
}

/* Pieces larger than the buffer, by several ranks; a type of less than a byte; nothing at all. */
static void test_carried(void **state) {
    (void)state;
    enum { LARGE = 9 << 20 };
    struct err err = {""};
    static struct raw_file raw;
    char *source = in_folder("source.safetensors"), *large = xmalloc(LARGE);
    for (int64_t i = 0; i < LARGE; i++)
        large[i] = (char)(i * 7 + i / 1000);
    raw_add(&raw, "large", "U8", 9, 1 << 20, large, LARGE);
    raw_add(&raw, "four_bits", "F4", 3, 2, "abc", 3);
    raw_add(&raw, "scalar", "I64", 0, 0, "12345678", 8);
    raw_write(&raw, source);
    struct st_files *files = st_open(source, &err);
    const int64_t indices[] = {st_find(files, "scalar"), st_find(files, "large"),
                               st_find(files, "four_bits")};
    struct carried carried = {files, indices, 3, NULL};
    assert_int_equal(carried_bytes(&carried), LARGE + 11);
    int64_t *handles, *none;
    struct st_layout *layout = st_layout_create("model", INT64_MAX);
    carried_add(NULL, layout, &none);
    carried_add(&carried, layout, &handles);
    st_layout_finish(layout);
    assert_int_equal(st_layout_write_headers(layout, folder, &err), 0);
    assert_int_equal(st_layout_open(layout, folder, &err), 0);
    for (int rank = 0; rank < 2; rank++)
        assert_int_equal(carried_write(&carried, layout, handles, rank, 2, &err), 0);
    assert_int_equal(carried_write(NULL, layout, none, 0, 1, &err), 0);
    assert_int_equal(st_layout_close(layout, &err), 0);
    st_layout_free(layout);

    struct st_files *copy = st_open(folder, &err);
    assert_non_null(copy);
    for (int i = 0; i < 3; i++) {
        struct st_entry a = st_entry(files, indices[i]), b = st_entry(copy, st_find(copy, a.name));
        char *x = xmalloc((size_t)a.length_bytes), *y = xmalloc((size_t)a.length_bytes);
        assert_true(a.length_bytes == b.length_bytes && a.ndim == b.ndim &&
                    strcmp(a.dtype_text, b.dtype_text) == 0);
        assert_memory_equal(a.dims, b.dims, sizeof a.dims);
        assert_int_equal(st_read_bytes(files, indices[i], 0, a.length_bytes, x, &err), 0);
        assert_int_equal(st_read_bytes(copy, st_find(copy, a.name), 0, a.length_bytes, y, &err), 0);
        assert_memory_equal(x, y, (size_t)a.length_bytes);
        free(x);
        free(y);
    }
    st_close(files);
    st_close(copy);
    free(handles);
    free(none);
    free(source);
    free(large);
}

/* add_up - one kind of the text decoder's matrices in FP8, all zeros. */
static void add_up(struct raw_file *outside, const char *name, struct tensor shape) {
    uint8_t *zeros = xcalloc((size_t)tensor_count(shape), 1);
    char *scale_name = xasprintf("%s_scale_inv", name);
    float scale = 1;
    raw_add(outside, name, "F8_E4M3", shape.dims[0], shape.dims[1], zeros, (size_t)tensor_count(shape));
    raw_add(outside, scale_name, "F32", 0, 0, &scale, sizeof scale);
    free(scale_name);
    free(zeros);
}

/* make_wrapper - a folder with these tensors outside of the text decoder; scheme: its quantization_config, or NULL. */
static char *make_wrapper(const char *name, json_t *scheme, struct raw_file *outside) {
    struct err err = {""};
    struct model model = {.config = parsed(WRAPPER("", ""))};
    char *at = make_folder(name, &model), *path = xasprintf("%s/config.json", at), text[PARAM_NAME_ROOM];
    json_t *config = json_load_path(path, 1 << 20, &err);
    if (scheme)
        json_object_set_new(config, "quantization_config", scheme);
    char *written = json_dumps(config, 0);
    write_text(at, "config.json", written);
    struct param param = PARAM_START;
    while (family_next_param(&model.config, &param)) {
        struct tensor shape = param_shape(&model.config, param);
        if (scheme && param.role == ROLE_UP &&
            strcmp(json_string_value(json_find(scheme, "quant_method")), "fp8") == 0) {
            add_up(outside, param_name(&model.config, param, text), shape);
            continue;
        }
        float *values = values_of(&model, param);
        raw_add(outside, param_name(&model.config, param, text), "F32", shape.dims[0],
                shape.ndim == 2 ? shape.dims[1] : 0, values, (size_t)tensor_count(shape) * sizeof *values);
        free(values);
    }
    free(path);
    path = xasprintf("%s/model.safetensors", at);
    raw_write(outside, path);
    free(path);
    free(written);
    json_decref(config);
    return at;
}

enum { ROWS = 4, COLS = 8, COUNT = ROWS * COLS };
#define FC "model.vision_tower.fc.weight"

static json_t *fp8_scheme(void) {
    return json_pack("{s:s,s:s}", "quant_method", "fp8", "activation_scheme", "static");
}

static json_t *nf4_scheme(void) {
    return json_pack("{s:s,s:b,s:s}", "quant_method", "bitsandbytes", "load_in_4bit", 1,
                     "bnb_4bit_quant_type", "nf4");
}

/* add_outside - a matrix in FP8, or in NF4, and what lies beside it; plain bytes and a vector, which have no scales.
 * Returns what the matrix is, by the definition: 2^(i % 3) times the scale, or what the map says. */
static void add_outside(struct raw_file *raw, enum quantised_kind kind, float scale, float want[COUNT]) {
    static const char state[] = "{\"quant_type\":\"nf4\",\"blocksize\":16,\"shape\":[4,8]}";
    uint8_t bytes[COUNT];
    float map[16], absmax[2] = {scale, 3 * scale};
    raw_add(raw, "model.vision_tower.bytes", "U8", 8, 1, "12345678", 8);
    raw_add(raw, "model.vision_tower.fc.bias", "F32", 2, 0, absmax, sizeof absmax);
    raw_add(raw, "model.vision_tower.clip.input_scale", "F32", 0, 0, &scale, sizeof scale); /* of no matrix */
    for (int i = 0; i < 16; i++)
        map[i] = (float)(i * i) - 100;
    for (int i = 0; i < COUNT; i++) {
        bytes[i] = kind == QUANTISED_FP8 ? (uint8_t)((7 + i % 3) << 3) : (uint8_t)(i * 37);
        want[i] = (float)(1 << i % 3) * scale;
    }
    for (int i = 0; i < COUNT && kind == QUANTISED_NF4; i++)
        want[i] = map[i % 2 ? bytes[i / 2] & 15 : bytes[i / 2] >> 4] * absmax[i / 16];
    if (kind == QUANTISED_FP8) {
        raw_add(raw, FC, "F8_E4M3", ROWS, COLS, bytes, COUNT);
        raw_add(raw, FC "_scale_inv", "F32", 0, 0, &scale, sizeof scale);
        raw_add(raw, "model.vision_tower.fc.input_scale", "F32", 0, 0, &scale, sizeof scale);
        return;
    }
    raw_add(raw, FC, "U8", COUNT / 2, 1, bytes, COUNT / 2);
    raw_add(raw, FC ".absmax", "F32", 2, 0, absmax, sizeof absmax);
    raw_add(raw, FC ".quant_map", "F32", 16, 0, map, sizeof map);
    raw_add(raw, FC ".quant_state.bitsandbytes__nf4", "U8", (int64_t)strlen(state), 0, state, strlen(state));
}

/* num_wrong - values of the matrix outside of the text decoder, as an export has it, that are not bf16 of want. */
static int num_wrong(const char *out, const float want[COUNT]) {
    struct err err = {""};
    struct st_files *files = st_open(out, &err);
    int64_t index = st_find(files, FC);
    struct st_entry entry = st_entry(files, index);
    float got[COUNT];
    int wrong = 0;
    assert_true(entry.dtype == DTYPE_BF16 && entry.ndim == 2 && entry.dims[0] == ROWS &&
                entry.dims[1] == COLS);
    assert_int_equal(st_read_f32(files, index, 0, COUNT, got, &err), 0);
    for (int i = 0; i < COUNT; i++)
        wrong += got[i] != f32_from_bf16(bf16_from_f32(want[i]));
    st_close(files);
    return wrong;
}

/* What is written says of no tensor how it is quantised: matrices come out as bf16, and nothing that restored them; bytes of any
 * other meaning as they are. */
static void test_quantised_outside(void **state) {
    (void)state;
    static struct raw_file raw;
    const enum quantised_kind kinds[] = {QUANTISED_FP8, QUANTISED_NF4};
    for (int i = 0; i < 2; i++) {
        struct err err = {""};
        float want[COUNT], other[COUNT];
        char *name = xasprintf("outside-%d", i), *out_name = xasprintf("outside-%d-out", i);
        add_outside(&raw, kinds[i], 0.75f, other);
        for (int t = 0; t < raw.count; t++)
            free(raw.tensors[t].bytes);
        raw.count = 0;
        add_outside(&raw, kinds[i], 0.3f, want);
        char *at = make_wrapper(name, kinds[i] == QUANTISED_FP8 ? fp8_scheme() : nf4_scheme(), &raw);
        char *out = in_folder(out_name);
        struct weights *weights = open_weights(at);
        const struct carried *carried = weights_carried(weights);
        assert_true(carried->count == 4 && carried_num_restored(carried) == 1);
        assert_int_equal(carried_bytes(carried), 8 + 8 + 4 + 2 * COUNT);
        if (export_hf(weights, out, EXPORT_F32, NULL, &err) != 0)
            fail_msg("%s", err.text);
        assert_int_equal(num_wrong(out, want), 0);
        assert_true(num_wrong(out, other) > COUNT / 2); /* control: another scale */
        struct weights *again = open_weights(out);
        assert_null(strstr(weights_config_text(again), "quantization_config"));
        assert_true(weights_carried(again)->count == 4 && carried_num_restored(weights_carried(again)) == 0);
        weights_close(again);
        weights_close(weights);
        free(at);
        free(out);
        free(name);
        free(out_name);
    }
}

/* What could not be written in a checkpoint is found before there is one: by the rank whose tensor it is, and no other. */
static void test_carried_check(void **state) {
    (void)state;
    static struct raw_file raw;
    const float scales[] = {0.3f, NAN, INFINITY};
    for (int i = 0; i < 3; i++) {
        struct err err = {""};
        float want[COUNT];
        char *name = xasprintf("check-%d", i);
        add_outside(&raw, QUANTISED_FP8, scales[i], want);
        char *at = make_wrapper(name, fp8_scheme(), &raw);
        struct weights *weights = open_weights(at);
        const struct carried *carried = weights_carried(weights);
        assert_int_equal(carried_num_restored(carried), 1);
        int num_failed = 0;
        for (int rank = 0; rank < 3; rank++)
            if (carried_check(carried, rank, 3, &err) != 0) {
                assert_non_null(strstr(err.text, "tensor '" FC "' holds"));
                assert_non_null(strstr(err.text, "not finite"));
                num_failed++;
            }
        assert_int_equal(num_failed, i == 0 ? 0 : 1);
        assert_int_equal(carried_check(carried, 0, 1, &err), i == 0 ? 0 : -1);
        weights_close(weights);
        free(at);
        free(name);
    }
    struct err err = {""};
    assert_int_equal(carried_check(NULL, 0, 1, &err), 0);
}

/* assert_same_tensor - in both folders, to the bit. */
static void assert_same_tensor(const struct st_files *a, const struct st_files *b, const char *name) {
    struct err err = {""};
    char x[256], y[256];
    struct st_entry p = st_entry(a, st_find(a, name)), q = st_entry(b, st_find(b, name));
    assert_string_equal(p.dtype_text, q.dtype_text);
    assert_true(p.length_bytes == q.length_bytes && p.length_bytes <= 256 && p.ndim == q.ndim);
    assert_int_equal(st_read_bytes(a, st_find(a, name), 0, p.length_bytes, x, &err), 0);
    assert_int_equal(st_read_bytes(b, st_find(b, name), 0, p.length_bytes, y, &err), 0);
    assert_memory_equal(x, y, (size_t)p.length_bytes);
}

/* An export in FP8 has everything beside the text decoder as the base stores it; without a base it cannot know what that was. */
static void test_fp8_outside(void **state) {
    (void)state;
    static struct raw_file raw;
    static const char *const names[] = {FC, FC "_scale_inv", "model.vision_tower.fc.input_scale",
                                        "model.vision_tower.clip.input_scale", "model.vision_tower.bytes"};
    struct err err = {""};
    float want[COUNT];
    add_outside(&raw, QUANTISED_FP8, 0.3f, want);
    char *at = make_wrapper("fp8-base", fp8_scheme(), &raw), *plain = in_folder("fp8-plain"),
         *out = in_folder("fp8-again");
    struct weights *base = open_weights(at);
    assert_int_equal(export_hf(base, plain, EXPORT_BF16, NULL, &err), 0); /* as a checkpoint of it would be */
    struct weights *weights = open_weights(plain);
    assert_int_equal(export_fp8(weights, out, NULL, NULL, &err), -1);
    assert_non_null(strstr(err.text, "with --scheme"));
    if (export_fp8(weights, out, base, NULL, &err) != 0)
        fail_msg("%s", err.text);
    struct st_files *a = st_open(at, &err), *b = st_open(out, &err);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_same_tensor(a, b, names[i]);
    assert_int_equal(st_num_tensors(a), st_num_tensors(b));
    struct weights *written = open_weights(out);
    assert_non_null(strstr(weights_config_text(written), "\"quant_method\": \"fp8\""));
    weights_close(written);
    weights_close(weights);
    weights_close(base);
    st_close(a);
    st_close(b);
    free(at);
    free(plain);
    free(out);
}

/* Without its scales a matrix is not carried as if it were whole. */
static void test_quantised_outside_refused(void **state) {
    (void)state;
    static struct raw_file raw;
    struct err err = {""};
    raw_add(&raw, FC, "F8_E4M3", ROWS, COLS, "0123456789abcdef0123456789abcdef", COUNT);
    char *at = make_wrapper("no-scales", fp8_scheme(), &raw);
    assert_null(weights_open(at, &err));
    assert_non_null(strstr(err.text, FC));
    assert_non_null(strstr(err.text, "none of its scales"));
    raw_add(&raw, FC, "F8_E4M3", COUNT, 0, "0123456789abcdef0123456789abcdef", COUNT);
    free(at);
    at = make_wrapper("vector", fp8_scheme(), &raw);
    assert_null(weights_open(at, &err));
    assert_non_null(strstr(err.text, "only matrices can be quantised"));
    raw_add(&raw, FC, "U8", COUNT, 0, "0123456789abcdef0123456789abcdef", COUNT);
    free(at);
    at = make_wrapper("bytes", nf4_scheme(), &raw); /* control: bytes that nothing calls a matrix */
    struct weights *weights = open_weights(at);
    assert_true(weights_carried(weights)->count == 1 && carried_num_restored(weights_carried(weights)) == 0);
    weights_close(weights);
    free(at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_carried),
        cmocka_unit_test(test_quantised_outside),
        cmocka_unit_test(test_quantised_outside_refused),
        cmocka_unit_test(test_carried_check),
        cmocka_unit_test(test_fp8_outside),
    };
    return fixture_run("wrapper", tests);
}
