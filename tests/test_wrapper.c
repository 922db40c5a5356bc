/* test_wrapper.c - config.json of a model of text and images, read and written; names of the text decoder's tensors; tensors
 * of any type copied from file to file.  What training and exports do with such a model is in scenario_wrapper.sh. */
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
        {"{\"model_type\":\"gpt_oss\"}",
         "'gpt_oss' is not supported yet: mixture of experts, attention sinks"},
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
        assert_string_equal(param_name(&config, (struct param){ROLE_EMBEDDING, 0}, name), cases[i].embedding);
        assert_true(family_is_text_name(&config, name));
        assert_string_equal(param_name(&config, (struct param){ROLE_UP, 2}, name), cases[i].up);
        assert_true(family_is_text_name(&config, name));
        assert_string_equal(param_name(&config, (struct param){ROLE_HEAD, 0}, name), cases[i].head);
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
    struct carried carried = {files, indices, 3};
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

/* make_wrapper - a folder with a tensor of bytes outside of the text decoder; scheme: its quantization_config, or NULL. */
static char *make_wrapper(const char *name, json_t *scheme) {
    static struct raw_file raw;
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
        float *values = values_of(&model, param);
        raw_add(&raw, param_name(&model.config, param, text), "F32", shape.dims[0],
                shape.ndim == 2 ? shape.dims[1] : 0, values, (size_t)tensor_count(shape) * sizeof *values);
        free(values);
    }
    raw_add(&raw, "model.vision_tower.fc.weight", "U8", 8, 1, "12345678", 8);
    free(path);
    path = xasprintf("%s/model.safetensors", at);
    raw_write(&raw, path);
    free(path);
    free(written);
    json_decref(config);
    return at;
}

/* What is carried is written without a quantization_config: matrices in four bits would be bytes that nobody can read. */
static void test_quantised_outside(void **state) {
    (void)state;
    struct err err = {""};
    char *plain = make_wrapper("plain", NULL),
         *four_bits = make_wrapper("four_bits", json_pack("{s:s,s:b,s:s}", "quant_method", "bitsandbytes",
                                                          "load_in_4bit", 1, "bnb_4bit_quant_type", "nf4"));
    struct weights *weights = open_weights(plain); /* control: bytes of any other meaning are carried */
    assert_int_equal(weights_carried(weights)->count, 1);
    weights_close(weights);
    assert_null(weights_open(four_bits, &err));
    assert_non_null(strstr(err.text, "model.vision_tower.fc.weight"));
    assert_non_null(strstr(err.text, "only the text decoder may be quantised"));
    free(plain);
    free(four_bits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_names),   cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_carried), cmocka_unit_test(test_quantised_outside),
    };
    return fixture_run("wrapper", tests);
}
