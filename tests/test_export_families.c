/* test_export_families.c - GGUF files of what differs from Llama: norms, temperatures, activations;
 * what llama.cpp would compute otherwise is refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/export_fixture.h"

/* Nemotron: in GGUF the weights of norms are whole, biases as they are, and half of each head turns; read again, all is what
 * it was but for the rounding of w + 1.  Its llama.cpp has no head that is the embedding. */
static void test_nemotron(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = nemotron_model(false), tied = nemotron_model(true);
    char *hf = make_folder("nemotron", &model), *out = in_folder("nemotron.gguf");
    struct weights *source = open_weights(hf);
    if (export_gguf(source, out, EXPORT_F32, NULL, &err) != 0)
        fail_msg("%s", err.text);
    const struct param norm = param_at(ROLE_FFN_NORM, 1), bias = param_at(ROLE_FFN_NORM_BIAS, 1);
    float *weight = values_of(&model, norm), *shift = values_of(&model, bias), got[32];
    struct gguf *file = open_gguf(out);
    assert_int_equal(gguf_read_f32(file, gguf_find_tensor(file, "blk.1.ffn_norm.weight"), 0, 32, got, &err),
                     0);
    for (int i = 0; i < 32; i++)
        assert_true(got[i] == weight[i] + 1);
    assert_int_equal(gguf_read_f32(file, gguf_find_tensor(file, "blk.1.ffn_norm.bias"), 0, 32, got, &err), 0);
    assert_memory_equal(got, shift, sizeof got);
    assert_int_equal(int_at(file, "nemotron.rope.dimension_count", 0), 8);
    assert_true(gguf_find_key(file, "nemotron.attention.layer_norm_epsilon") >= 0);
    gguf_close(file);
    struct weights *back = open_weights(out);
    assert_int_equal(model_rotary_dim(weights_config(back)), 8);
    assert_int_equal(weights_read(back, norm, 0, 32, got, &err), 0);
    assert_true(relative_error(got, weight, 32) < 1e-6);
    weights_close(back), weights_close(source);
    free(make_folder("tied", &tied)), free(hf);
    hf = in_folder("tied");
    source = open_weights(hf);
    assert_int_equal(unlink(out), 0);
    assert_int_equal(export_gguf(source, out, EXPORT_F32, NULL, &err), -1);
    assert_non_null(strstr(err.text, "llama.cpp has no 'nemotron' whose head is the embedding"));
    assert_false(path_exists(out));
    weights_close(source);
    free(weight), free(shift), free(hf), free(out);
}

/* YaRN, with an amplitude that llama.cpp finds by the factor, and with another; rounded bounds, and the published ones, are all that it knows. */
static void test_yarn(void **state) {
    (void)state;
    struct err err = {""};
    struct yarn yarns[] = {{.beta_fast = 32, .beta_slow = 1},
                           {.beta_fast = 32, .beta_slow = 1, .mscale = 0.75, .mscale_all_dim = 0.5},
                           {.beta_fast = 32, .beta_slow = 1, .exact_bounds = true},
                           {.beta_fast = 16, .beta_slow = 1}};
    static const char *const words[] = {NULL, NULL, "this model does not (truncate false)",
                                        "a beta_fast of 32 and a beta_slow of 1, this model has 16 and 1"};
    char *out = in_folder("yarn.gguf");
    for (int i = 0; i < 4; i++) {
        struct model model = sample_model("byte_level", 423);
        model.config.rope_kind = ROPE_YARN;
        model.config.rope_original_positions = 64;
        model.config.yarn = yarns[i];
        char *hf = make_folder("yarn", &model);
        struct weights *source = open_weights(hf);
        int status = export_gguf(source, out, EXPORT_F32, NULL, &err);
        assert_int_equal(status, words[i] ? -1 : 0);
        if (status != 0) {
            assert_non_null(strstr(err.text, words[i]));
        } else {
            struct weights *back = open_weights(out);
            const struct model_config *config = weights_config(back), *want = weights_config(source);
            assert_true(config->rope_kind == ROPE_YARN && config->rope_original_positions == 64);
            assert_true(config->yarn.beta_fast == yarns[i].beta_fast &&
                        config->yarn.beta_slow == yarns[i].beta_slow);
            assert_true(fabs(model_rope_amplitude(config) / model_rope_amplitude(want) - 1) < 1e-7);
            struct gguf *file = open_gguf(out);
            assert_int_equal(gguf_find_key(file, "llama.rope.scaling.attn_factor") >= 0, i == 1);
            gguf_close(file);
            weights_close(back);
        }
        weights_close(source);
        free(hf);
    }
    free(out);
}

/* Ministral 3: the temperature of queries, bounds of its own, and the multiplier that says mscale_all_dim. */
static void test_ministral3(void **state) {
    (void)state;
    struct err err = {""};
    struct yarn yarns[] = {{.beta_fast = 16, .beta_slow = 0.5, .mscale = 1, .mscale_all_dim = 1},
                           {.beta_fast = 32, .beta_slow = 1},
                           {.beta_fast = 32, .beta_slow = 1, .mscale = 0.75, .mscale_all_dim = 0.5}};
    char *out = in_folder("ministral3.gguf");
    for (int i = 0; i < 3; i++) {
        struct model model = sample_model("byte_level", 423);
        assert_int_equal(model_config_set_family(&model.config, "ministral3", NULL), 0);
        model.config.rope_kind = ROPE_YARN;
        model.config.rope_original_positions = 64;
        model.config.yarn = yarns[i];
        model.config.query_temperature = 0.125;
        char *hf = make_folder("ministral3", &model);
        struct weights *source = open_weights(hf);
        if (export_gguf(source, out, EXPORT_F32, NULL, &err) != 0)
            fail_msg("%s", err.text);
        struct weights *back = open_weights(out);
        const struct model_config *config = weights_config(back), *want = weights_config(source);
        assert_string_equal(config->model_type, "ministral3");
        assert_true(config->query_temperature == 0.125 && config->rope_original_positions == 64);
        assert_true(config->yarn.beta_fast == yarns[i].beta_fast &&
                    config->yarn.beta_slow == yarns[i].beta_slow);
        assert_true(fabs(model_rope_amplitude(config) / model_rope_amplitude(want) - 1) < 1e-7);
        struct gguf *file = open_gguf(out);
        assert_int_equal(gguf_find_key(file, "mistral3.rope.scaling.yarn_log_multiplier") >= 0, i == 0);
        assert_int_equal(gguf_find_key(file, "mistral3.rope.scaling.attn_factor") >= 0, i == 2);
        gguf_close(file);
        weights_close(back), weights_close(source);
        free(hf);
    }
    free(out);
}

/* Granite: all four multipliers come back. */
static void test_granite(void **state) {
    (void)state;
    struct err err = {""};
    const struct multipliers some = {12, 0.25, 0.125, 8};
    struct model model = sample_model("byte_level", 423);
    assert_int_equal(model_config_set_family(&model.config, "granite", NULL), 0);
    model.config.multipliers = some;
    char *hf = make_folder("granite", &model), *out = in_folder("granite.gguf");
    struct weights *source = open_weights(hf);
    if (export_gguf(source, out, EXPORT_F32, NULL, &err) != 0)
        fail_msg("%s", err.text);
    struct weights *back = open_weights(out);
    assert_memory_equal(&weights_config(back)->multipliers, &some, sizeof some);
    assert_string_equal(weights_config(back)->model_type, "granite");
    weights_close(back), weights_close(source);
    free(hf), free(out);
}

/* apertus_model - the sample's sizes as an Apertus's. */
static struct model apertus_model(void) {
    struct model model = sample_model("byte_level", 423);
    assert_int_equal(model_config_set_family(&model.config, "apertus", NULL), 0);
    return model;
}

/* Apertus: what xIELU has is metadata, each an array of all layers, as it stands in Hugging Face's files, and read again from
 * there.  A file without one of them, with a value too few, or with one that is not a number is refused. */
static void test_apertus(void **state) {
    (void)state;
    static const enum tensor_role roles[] = {ROLE_XIELU_ALPHA_P, ROLE_XIELU_ALPHA_N, ROLE_XIELU_BETA,
                                             ROLE_XIELU_EPS};
    static const char *const keys[] = {"alpha_p", "alpha_n", "beta", "eps"};
    struct err err = {""};
    struct model model = apertus_model();
    char *hf = make_folder("apertus", &model), *out = in_folder("apertus.gguf");
    struct weights *source = open_weights(hf);
    if (export_gguf(source, out, EXPORT_F32, NULL, &err) != 0)
        fail_msg("%s", err.text);
    struct gguf *file = open_gguf(out);
    struct weights *back = open_weights(out);
    for (int k = 0; k < 4; k++) {
        char *key = xasprintf("xielu.%s", keys[k]);
        int64_t index = gguf_find_key(file, key);
        assert_true(index >= 0 && gguf_array_type(file, index) == GGUF_F32);
        assert_int_equal(gguf_array_count(file, index), model.config.num_layers);
        for (int layer = 0; layer < model.config.num_layers; layer++) {
            float *want = values_of(&model, param_at(roles[k], layer)), got;
            double value;
            assert_int_equal(gguf_get_double(file, index, layer, &value, &err), 0);
            assert_true(value == (double)*want);
            assert_int_equal(weights_read(back, param_at(roles[k], layer), 0, 1, &got, &err), 0);
            assert_true(got == *want);
            free(want);
        }
        free(key);
    }
    assert_int_equal(gguf_find_tensor(file, "blk.0.xielu.alpha_p"), -1);
    assert_int_equal(num_different(source, back, EXPORT_F32, EXPORT_F32), 0);
    gguf_close(file);
    weights_close(back), weights_close(source);
    free(hf), free(out);
}

/* refused_values - a file of an Apertus's metadata in which `key` has `count` values (-1: a text); what is said. */
static void refused_values(const char *key, int count, const char *phrase) {
    struct err err = {""};
    struct model model = apertus_model();
    float values[8] = {0};
    char *hf = make_folder("apertus_bad", &model), *out = in_folder("apertus_bad.gguf");
    struct weights *source = open_weights(hf);
    assert_int_equal(export_gguf(source, out, EXPORT_F32, NULL, &err), 0);
    struct gguf *good = open_gguf(out);
    struct model_config config;
    assert_int_equal(gguf_model_config(good, &config, &err), 0);
    assert_int_equal(gguf_model_check(good, &config, &err), 0); /* the control */
    gguf_close(good);
    struct gguf_writer *writer = gguf_writer_create();
    static const char *const keys[] = {"alpha_p", "alpha_n", "beta", "eps"};
    for (int k = 0; k < 4; k++) {
        char *name = xasprintf("xielu.%s", keys[k]);
        bool changed = strcmp(keys[k], key) == 0;
        if (changed && count < 0)
            gguf_set_text(writer, name, "0.5");
        else if (!changed || count > 0)
            gguf_set_f32s(writer, name, values, changed ? count : config.num_layers);
        free(name);
    }
    assert_int_equal(gguf_writer_begin(writer, out, &err), 0);
    assert_int_equal(gguf_writer_end(writer, &err), 0);
    gguf_writer_free(writer);
    struct gguf *bad = open_gguf(out);
    assert_int_equal(gguf_model_check(bad, &config, &err), -1);
    if (!strstr(err.text, phrase))
        fail_msg("'%s' does not contain '%s'", err.text, phrase);
    gguf_close(bad);
    weights_close(source);
    free(hf), free(out);
}

static void test_apertus_refused(void **state) {
    (void)state;
    refused_values("alpha_p", 0, "has no key 'xielu.alpha_p'");
    refused_values("alpha_p", 1, "has 1 values, expected one for each of");
    refused_values("alpha_p", 7, "has 7 values, expected one for each of");
    refused_values("alpha_p", -1, "'xielu.alpha_p'");
}

/* A head that is the embedding: llama.cpp takes the embedding where the file has no output.weight, but not for every family;
 * of those nothing is written. */
static void test_tied(void **state) {
    (void)state;
    static const struct {
        const char *family;
        bool opens;
    } cases[] = {{"olmo2", false},  {"olmo3", false}, {"apertus", false}, {"nemotron", false},
                 {"granite", true}, {"qwen3", true},  {"phi3", true},     {"mistral", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {""};
        struct model model = nemotron_model(true);
        assert_int_equal(model_config_set_family(&model.config, cases[i].family, NULL), 0);
        family_local_defaults(&model.config);
        model_config_rotate(&model.config, 0);
        if (family_has_local_base(&model.config))
            model.config.rope_local_theta = model.config.rope_theta;
        char *hf = make_folder("tied_head", &model), *out = in_folder("tied_head.gguf");
        struct weights *source = open_weights(hf);
        unlink(out);
        int status = export_gguf(source, out, EXPORT_F32, NULL, &err);
        if (status != (cases[i].opens ? 0 : -1))
            fail_msg("%s: %d, %s", cases[i].family, status, err.text);
        assert_int_equal(path_exists(out), cases[i].opens);
        if (cases[i].opens) {
            struct gguf *file = open_gguf(out);
            assert_true(gguf_find_tensor(file, "token_embd.weight") >= 0);
            assert_int_equal(gguf_find_tensor(file, "output.weight"), -1);
            gguf_close(file);
        } else {
            char *words = xasprintf("llama.cpp has no '%s' whose head is the embedding", cases[i].family);
            assert_non_null(strstr(err.text, words));
            free(words);
        }
        weights_close(source);
        free(hf), free(out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nemotron),   cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_ministral3), cmocka_unit_test(test_granite),
        cmocka_unit_test(test_apertus),    cmocka_unit_test(test_apertus_refused),
        cmocka_unit_test(test_tied),
    };
    return fixture_run("export_families", tests);
}
