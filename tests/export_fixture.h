/* export_fixture.h - what the tests of export work on: files and weights opened, a model folder made here with all that
 * can be wrong with one, and comparisons of weights and of texts in GGUF files. */
#pragma once

#include "tests/patch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/export/export.h"
#include "checkpoints/files.h"
#include "checkpoints/gguf/gguf_model.h"
#include "checkpoints/safetensors/safetensors.h"
#include "data/corpus/json.h"
#include "kernels/half.h"

static char *folder; /* made by the test */
static const char *const goldens[] = {"byte_level", "sentencepiece"};

static inline char *in_folder(const char *name) {
    return xasprintf("%s/%s", folder, name);
}

static inline struct gguf *open_gguf(const char *path) {
    struct err err = {""};
    struct gguf *file = gguf_open(path, &err);
    if (!file)
        fail_msg("%s", err.text);
    return file;
}

static inline struct gguf *open_golden(const char *name) {
    char *path = xasprintf("tests/golden/gguf/%s.gguf", name);
    struct gguf *file = open_gguf(path);
    free(path);
    return file;
}

static inline struct weights *open_weights(const char *path) {
    struct err err = {""};
    struct weights *weights = weights_open(path, &err);
    if (!weights)
        fail_msg("%s", err.text);
    return weights;
}

/* fixture_run - the tests, with a folder of their own that goes afterwards. */
static inline int fixture_remove(void **state) {
    (void)state;
    struct err err;
    int status = folder_remove(folder, &err);
    free(folder);
    return status;
}
#define fixture_run(name, tests)                                                                             \
    (folder = test_folder(name), cmocka_run_group_tests_name(name, tests, NULL, fixture_remove))

/* --- a model folder made here --- */

struct model {
    struct model_config config;
    const char *tokenizer; /* which golden file it comes from; NULL: none */
    const char *pattern;   /* replaces the text of a Split by this one */
    bool rewrites_text;    /* a normaliser that GGUF has no word for */
    float poison;          /* stands in one element of blk.1.ffn_down */
};

/* Stands where poison will be. */
static const float POISON_PLACE = 12345.625f;

static inline struct model sample_model(const char *tokenizer, int64_t vocab_size) {
    struct model model = {.tokenizer = tokenizer};
    model.config = (struct model_config){.model_type = "llama",
                                         .architecture = "LlamaForCausalLM",
                                         .width = 32,
                                         .ffn_width = 64,
                                         .vocab_size = vocab_size,
                                         .max_positions = 128,
                                         .num_layers = 2,
                                         .num_heads = 4,
                                         .num_kv_heads = 2,
                                         .head_dim = 16,
                                         .norm_eps = 1e-5f,
                                         .initializer_range = 0.02f,
                                         .rope_kind = ROPE_LLAMA3,
                                         .rope_theta = 500000,
                                         .rope_factor = 8,
                                         .rope_low_freq = 1,
                                         .rope_high_freq = 4,
                                         .rope_original_positions = 8192,
                                         .bos_id = 1,
                                         .pad_id = -1,
                                         .eos_ids = {2},
                                         .num_eos = 1,
                                         .dtype = DTYPE_F32};
    return model;
}

static inline void write_text(const char *at, const char *name, const char *text) {
    struct err err = {""};
    char *path = xasprintf("%s/%s", at, name);
    assert_int_equal(file_replace(path, text, strlen(text), &err), 0);
    free(path);
}

/* change_tokenizer - tokenizer.json with what the test wants different. */
static inline char *change_tokenizer(const char *text, const struct model *model) {
    struct err err = {""};
    json_t *tree = json_parse_text(text, strlen(text), "golden tokenizer", &err);
    assert_non_null(tree);
    json_t *step = json_array_get(json_find(tree, "pre_tokenizer/pretokenizers"), 0);
    if (model->pattern)
        json_object_set_new(json_object_get(step, "pattern"), "Regex", json_string(model->pattern));
    if (model->rewrites_text)
        json_array_insert_new(json_find(tree, "normalizer/normalizers"), 0,
                              json_pack("{ss s{ss} ss}", "type", "Replace", "pattern", "Regex", "'(?=[ \\w])",
                                        "content", "' "));
    char *changed = json_dumps(tree, JSON_COMPACT);
    json_decref(tree);
    return changed;
}

static inline void write_tokenizer(const char *at, const struct model *model) {
    struct err err = {""};
    char *json, *config;
    struct gguf *file = open_golden(model->tokenizer);
    assert_int_equal(gguf_tokenizer_text(file, &json, &config, &err), 0);
    char *changed = change_tokenizer(json, model);
    write_text(at, "tokenizer.json", changed);
    write_text(at, "tokenizer_config.json", config);
    free(json);
    free(config);
    free(changed);
    gguf_close(file);
}

static inline float *values_of(const struct model *model, struct param param) {
    int64_t count = tensor_count(param_shape(&model->config, param));
    float *values = test_normal(count, 1000 + (uint64_t)((int)param.role * 100 + param.layer));
    if (model->poison != 0 && param.role == ROLE_DOWN && param.layer == 1)
        values[77] = POISON_PLACE;
    return values;
}

/* make_folder - config, weights, tokenizer, a model card. */
static inline char *make_folder(const char *name, const struct model *model) {
    struct err err = {""};
    char *at = in_folder(name), *config = model_config_text(&model->config, NULL),
         tensor_name[PARAM_NAME_ROOM];
    struct st_layout *layout = st_layout_create("model", INT64_MAX);
    int64_t handles[ROLE_COUNT][4];
    assert_int_equal(folder_create(at, &err), 0);
    write_text(at, "config.json", config);
    write_text(at, "README.md", "---\ntags: x\nlicense: etalab-2.0\n---\n# A model\n");
    if (model->tokenizer)
        write_tokenizer(at, model);
    for (int pass = 0; pass < 2; pass++) {
        struct param param = PARAM_START;
        while (family_next_param(&model->config, &param)) {
            struct tensor shape = param_shape(&model->config, param);
            int64_t *handle = &handles[param.role][param.layer];
            if (pass == 0) {
                param_name(&model->config, param, tensor_name);
                *handle = st_layout_add(layout, tensor_name, shape, DTYPE_F32);
                continue;
            }
            float *values = values_of(model, param);
            assert_int_equal(st_layout_write_f32(layout, *handle, 0, tensor_count(shape), values, &err), 0);
            free(values);
        }
        if (pass == 0) {
            st_layout_finish(layout);
            assert_int_equal(st_layout_write_headers(layout, at, &err), 0);
            assert_int_equal(st_layout_open(layout, at, &err), 0);
        }
    }
    assert_int_equal(st_layout_close(layout, &err), 0);
    st_layout_free(layout);
    if (model->poison != 0) { /* which no writer of ours would write */
        char *path = xasprintf("%s/model.safetensors", at);
        patch_f32(path, POISON_PLACE, model->poison);
        free(path);
    }
    free(config);
    return at;
}

/* --- comparing --- */

/* rounded - what a value becomes in a file of that type. */
static inline float rounded(float value, enum export_type type) {
    if (type == EXPORT_F32)
        return value;
    return type == EXPORT_F16 ? f32_from_f16(f16_from_f32(value)) : f32_from_bf16(bf16_from_f32(value));
}

/* num_different - elements of b that are not a's, rounded as the type says; vectors by a type of their own.
 */
static inline int64_t num_different(const struct weights *a, const struct weights *b, enum export_type type,
                                    enum export_type vectors) {
    struct err err = {""};
    const struct model_config *config = weights_config(a);
    int64_t different = 0;
    struct param at = PARAM_START;
    while (family_next_param(config, &at)) {
        struct tensor shape = param_shape(config, at);
        int64_t count = tensor_count(shape);
        float *x = xmalloc((size_t)count * sizeof *x), *y = xmalloc((size_t)count * sizeof *y);
        assert_int_equal(weights_read(a, at, 0, count, x, &err), 0);
        assert_int_equal(weights_read(b, at, 0, count, y, &err), 0);
        for (int64_t i = 0; i < count; i++)
            different += rounded(x[i], shape.ndim == 1 ? vectors : type) != y[i];
        free(x);
        free(y);
    }
    return different;
}

static inline void assert_same_strings(const struct gguf *a, const struct gguf *b, const char *key) {
    struct err err = {""};
    int64_t ia = gguf_find_key(a, key), ib = gguf_find_key(b, key);
    assert_true((ia >= 0) == (ib >= 0));
    for (int64_t i = 0; ia >= 0 && i < gguf_array_count(a, ia); i++) {
        struct gguf_string x, y;
        assert_int_equal(gguf_get_string(a, ia, i, &x, &err), 0);
        assert_int_equal(gguf_get_string(b, ib, i, &y, &err), 0);
        assert_int_equal(x.length_bytes, y.length_bytes);
        assert_memory_equal(x.text, y.text, x.length_bytes);
    }
}

static inline int64_t int_at(const struct gguf *file, const char *key, int64_t element) {
    struct err err = {""};
    int64_t value, index = gguf_find_key(file, key);
    if (index < 0 || gguf_get_int(file, index, element, &value, &err) != 0)
        fail_msg("no number under '%s': %s", key, err.text);
    return value;
}

static inline void assert_text(const struct gguf *file, const char *key, int64_t element, const char *want) {
    struct err err = {""};
    struct gguf_string text;
    int64_t index = gguf_find_key(file, key);
    if (index < 0 || gguf_get_string(file, index, element, &text, &err) != 0)
        fail_msg("no text under '%s': %s", key, err.text);
    assert_int_equal(text.length_bytes, strlen(want));
    assert_memory_equal(text.text, want, text.length_bytes);
}

/* nemotron_model - the sample's sizes as a Nemotron's, half of each head turned. */
static inline struct model nemotron_model(bool tied) {
    struct model model = sample_model("byte_level", 423);
    struct model_config *config = &model.config;
    assert_int_equal(model_config_set_family(config, "nemotron", NULL), 0);
    config->rope_kind = ROPE_PLAIN;
    config->rope_factor = config->rope_low_freq = config->rope_high_freq = 0;
    config->rope_original_positions = 0;
    config->tied_head = tied;
    model_config_rotate(config, 0);
    return model;
}
