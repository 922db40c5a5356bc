/* test_export_windows.c - GGUF files of families with windows and with rotations of other kinds; what llama.cpp would compute
 * otherwise is refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/export_fixture.h"

/* gemma3_model - the sample's sizes as a Gemma 3's, whose second layer alone sees all of its document. */
static struct model gemma3_model(int64_t query_scalar) {
    struct model model = nemotron_model(true);
    struct model_config *config = &model.config;
    assert_int_equal(model_config_set_family(config, "gemma3_text", NULL), 0);
    model_config_rotate(config, 0);
    config->window = 24;
    config->window_period = 2;
    config->window_whole = 1;
    config->rope_local_theta = 2000;
    config->query_scalar = query_scalar;
    return model;
}

/* Gemma 3: in GGUF the weights of norms are whole, those of queries and keys too; window, period and both bases come back. */
static void test_gemma3(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = gemma3_model(16);
    char *hf = make_folder("gemma3", &model), *out = in_folder("gemma3.gguf");
    struct weights *source = open_weights(hf);
    if (export_gguf(source, out, EXPORT_F32, NULL, &err) != 0)
        fail_msg("%s", err.text);
    const struct param norm = param_at(ROLE_KEY_NORM, 1);
    float *weight = values_of(&model, norm), got[16];
    struct gguf *file = open_gguf(out);
    int64_t at = gguf_find_tensor(file, "blk.1.attn_k_norm.weight");
    assert_int_equal(gguf_read_f32(file, at, 0, 16, got, &err), 0);
    for (int i = 0; i < 16; i++)
        assert_true(got[i] == weight[i] + 1);
    assert_int_equal(int_at(file, "gemma3.attention.sliding_window", 0), 24);
    gguf_close(file);
    struct weights *back = open_weights(out);
    const struct model_config *config = weights_config(back);
    assert_true(config->window == 24 && config->window_period == 2 && config->query_scalar == 16);
    assert_true(config->rope_local_theta == 2000 && config->rope_theta == model.config.rope_theta);
    assert_int_equal(weights_read(back, norm, 0, 16, got, &err), 0);
    assert_true(relative_error(got, weight, 16) < 1e-6);
    weights_close(back), weights_close(source);
    free(weight), free(hf), free(out);
}

/* Of a Gemma 3's scale no key tells, and its local layers turn as plain ones: where llama.cpp would compute otherwise, nothing is
 * written. */
static void test_gemma3_refused(void **state) {
    (void)state;
    struct err err = {""};
    struct model models[] = {gemma3_model(24), gemma3_model(16), gemma3_model(16)};
    static const char *const words[] = {"a query_pre_attn_scalar of 16, this one has 24",
                                        "plain or linear, this model has llama3",
                                        "plain or linear, this model has yarn"};
    models[1].config.rope_kind = ROPE_LLAMA3;
    models[2].config.rope_kind = ROPE_YARN;
    models[2].config.yarn = (struct yarn){.beta_fast = YARN_BETA_FAST, .beta_slow = YARN_BETA_SLOW};
    char *out = in_folder("refused.gguf");
    for (int i = 0; i < 3; i++) {
        struct model_config *config = &models[i].config;
        config->rope_factor = 8;
        config->rope_low_freq = 1;
        config->rope_high_freq = 4;
        config->rope_original_positions = 64;
        char *hf = make_folder("gemma3_refused", &models[i]);
        struct weights *source = open_weights(hf);
        assert_int_equal(export_gguf(source, out, EXPORT_F32, NULL, &err), -1);
        assert_non_null(strstr(err.text, words[i]));
        assert_false(path_exists(out));
        weights_close(source);
        free(hf);
    }
    free(out);
}

/* gemma2_model - the same sizes as a Gemma 2's. */
static struct model gemma2_model(float attention_softcap, bool tied) {
    struct model model = gemma3_model(16);
    struct model_config *config = &model.config;
    assert_int_equal(model_config_set_family(config, "gemma2", NULL), 0);
    config->rope_local_theta = 0;
    config->attention_softcap = attention_softcap;
    config->logit_softcap = 12;
    config->tied_head = tied;
    return model;
}

/* Gemma 2: both caps and the window come back; llama.cpp has none without caps, and none with a head of its own. */
static void test_gemma2(void **state) {
    (void)state;
    struct err err = {""};
    struct model models[] = {gemma2_model(25, true), gemma2_model(0, true), gemma2_model(25, false)};
    static const char *const words[] = {NULL,
                                        "without caps of scores and logits, in this model they are 0 and 12",
                                        "whose head is not the embedding"};
    char *out = in_folder("gemma2.gguf");
    for (int i = 0; i < 3; i++) {
        char *hf = make_folder("gemma2", &models[i]);
        struct weights *source = open_weights(hf);
        unlink(out);
        int status = export_gguf(source, out, EXPORT_F32, NULL, &err);
        assert_int_equal(status, words[i] ? -1 : 0);
        if (status == 0) {
            struct weights *back = open_weights(out);
            const struct model_config *config = weights_config(back);
            assert_string_equal(config->model_type, "gemma2");
            assert_true(config->attention_softcap == 25 && config->logit_softcap == 12);
            assert_true(config->window == 24 && config->window_period == 2 && config->query_scalar == 16);
            assert_true(config->rope_local_theta == 0 && config->tied_head);
            weights_close(back);
        } else {
            assert_non_null(strstr(err.text, words[i]));
            assert_false(path_exists(out));
        }
        weights_close(source);
        free(hf);
    }
    free(out);
}

/* OLMo 3: in GGUF the name is OLMo 2's, and a window makes the difference; YaRN's positions are those of the other layers. */
static void test_olmo3(void **state) {
    (void)state;
    struct err err = {""};
    struct model models[] = {gemma3_model(16), gemma3_model(16), gemma3_model(16)};
    static const char *const words[] = {
        NULL, "plain, linear or yarn, this model has llama3",
        "one base of positions for all layers of a 'olmo3', this model has 10000 and 500"};
    char *out = in_folder("olmo3.gguf");
    for (int i = 0; i < 3; i++) {
        struct model_config *config = &models[i].config;
        assert_int_equal(model_config_set_family(config, "olmo3", NULL), 0);
        config->tied_head = false;
        config->rope_kind = i == 1 ? ROPE_LLAMA3 : ROPE_YARN;
        config->rope_factor = 8;
        config->rope_low_freq = 1;
        config->rope_high_freq = 4;
        config->rope_original_positions = 64;
        config->yarn = (struct yarn){.beta_fast = YARN_BETA_FAST, .beta_slow = YARN_BETA_SLOW};
        config->query_scalar = 0;
        config->rope_theta = 10000;
        config->rope_local_theta = i == 2 ? 500 : 10000;
        char *hf = make_folder("olmo3", &models[i]);
        struct weights *source = open_weights(hf);
        unlink(out);
        int status = export_gguf(source, out, EXPORT_F32, NULL, &err);
        if ((status == 0) != !words[i] || (words[i] && !strstr(err.text, words[i])))
            fail_msg("case %d: %d, %s", i, status, err.text);
        if (status == 0) {
            struct weights *back = open_weights(out);
            const struct model_config *found = weights_config(back);
            assert_string_equal(found->model_type, "olmo3");
            assert_true(found->window == 24 && found->window_period == 2 && found->window_whole == 1);
            assert_true(found->rope_local_theta == 10000 && found->rope_kind == ROPE_YARN);
            weights_close(back);
        }
        weights_close(source);
        free(hf);
    }
    free(out);
}

/* Kinds of positions that llama.cpp lacks: dynamic ones are plain up to the model's length, the others are refused. */
static void test_rope_kinds(void **state) {
    (void)state;
    struct err err = {""};
    const enum rope_kind kinds[] = {ROPE_DYNAMIC, ROPE_LONG, ROPE_PROPORTIONAL, ROPE_LLAMA3};
    static const char *const words[] = {NULL, "without longrope positions", "without proportional positions",
                                        "does not open a 'qwen2' with llama3 positions"};
    char *out = in_folder("kinds.gguf");
    for (int i = 0; i < 4; i++) {
        struct model model = sample_model("byte_level", 423);
        struct model_config *config = &model.config;
        if (kinds[i] == ROPE_LLAMA3) /* of a Llama it is told by a tensor */
            assert_int_equal(model_config_set_family(config, "qwen2", NULL), 0);
        config->rope_kind = kinds[i];
        config->rope_factor = 4;
        config->rope_original_positions = kinds[i] == ROPE_LONG || kinds[i] == ROPE_LLAMA3 ? 64 : 0;
        config->rope_pairs = kinds[i] == ROPE_PROPORTIONAL ? config->head_dim / 4 : 0;
        config->longrope.num_pairs = kinds[i] == ROPE_LONG ? config->head_dim / 2 : 0;
        for (int pair = 0; pair < config->longrope.num_pairs; pair++)
            config->longrope.short_factors[pair] = config->longrope.long_factors[pair] = 1.1f;
        char *hf = make_folder("kinds", &model), *notes = NULL;
        struct weights *source = open_weights(hf);
        assert_int_equal(weights_config(source)->rope_kind, kinds[i]);
        unlink(out);
        int status = export_gguf(source, out, EXPORT_F32, &notes, &err);
        if ((status == 0) != !words[i] || (words[i] && !strstr(err.text, words[i])))
            fail_msg("case %d: %d, %s", i, status, err.text);
        if (status == 0) {
            struct weights *back = open_weights(out);
            assert_int_equal(weights_config(back)->rope_kind, ROPE_PLAIN);
            assert_non_null(strstr(notes, "no dynamic positions: up to 128 tokens"));
            weights_close(back);
        }
        weights_close(source);
        free(hf), free(notes);
    }
    free(out);
}

/* add_gemma3 - the least that a file needs for its positions to be looked at. */
static void add_gemma3(struct gguf_writer *writer) {
    static const char *const sizes[] = {
        "context_length",       "embedding_length",        "block_count",          "feed_forward_length",
        "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"};
    const int64_t matrix[] = {8, 8};
    gguf_set_text(writer, "general.architecture", "gemma3");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *key = xasprintf("gemma3.%s", sizes[i]);
        gguf_set_u32(writer, key, strstr(sizes[i], "head_count") || i == 2 ? 1 : 8);
        free(key);
    }
    gguf_set_f32(writer, "gemma3.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_add_tensor(writer, "token_embd.weight", 2, matrix, GGML_F32);
    gguf_add_tensor(writer, "blk.0.attn_q.weight", 2, matrix, GGML_F32);
}

/* A Gemma 3 of somebody else with positions that would reach the local layers, or that llama.cpp looks past. */
static void test_gemma3_positions(void **state) {
    (void)state;
    static const char *const words[] = {NULL, "has yarn rope scaling: in a gemma3_text",
                                        "has a tensor 'rope_freqs.weight': in a gemma3_text"};
    char *path = in_folder("other.gguf");
    const float zeros[64] = {0};
    const int64_t half = 4;
    for (int i = 0; i < 3; i++) {
        struct err err = {""};
        struct gguf_writer *writer = gguf_writer_create();
        struct model_config config;
        add_gemma3(writer);
        if (i == 1) {
            gguf_set_text(writer, "gemma3.rope.scaling.type", "yarn");
            gguf_set_f32(writer, "gemma3.rope.scaling.factor", 8);
        }
        if (i == 2)
            gguf_add_tensor(writer, "rope_freqs.weight", 1, &half, GGML_F32);
        assert_int_equal(gguf_writer_begin(writer, path, &err), 0);
        assert_int_equal(gguf_write_rows(writer, 8, zeros, &err), 0);
        assert_int_equal(gguf_write_rows(writer, 8, zeros, &err), 0);
        if (i == 2)
            assert_int_equal(gguf_write_rows(writer, 1, zeros, &err), 0);
        assert_int_equal(gguf_writer_end(writer, &err), 0);
        gguf_writer_free(writer);
        struct gguf *file = open_gguf(path);
        int status = gguf_model_config(file, &config, &err);
        if ((status == 0) != !words[i] || (words[i] && !strstr(err.text, words[i])))
            fail_msg("case %d: %d, %s", i, status, err.text);
        gguf_close(file);
    }
    free(path);
}

/* Phi-3: the matrices as its files have them, longrope's factors as two tensors. */
static void test_phi3(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = nemotron_model(false);
    struct model_config *config = &model.config;
    assert_int_equal(model_config_set_family(config, "phi3", NULL), 0);
    model_config_rotate(config, 0.5);
    config->rope_kind = ROPE_LONG;
    config->rope_factor = 2;
    config->rope_original_positions = config->max_positions / 2;
    config->longrope.num_pairs = config->head_dim / 4;
    for (int i = 0; i < config->longrope.num_pairs; i++) {
        config->longrope.short_factors[i] = 1.0f + 0.1f * (float)i;
        config->longrope.long_factors[i] = 2.0f + 0.5f * (float)i;
    }
    const struct param whole = param_at(ROLE_QKV, 1);
    char *hf = make_folder("phi3", &model), *out = in_folder("fused.gguf");
    struct weights *source = open_weights(hf);
    if (export_gguf(source, out, EXPORT_F32, NULL, &err) != 0)
        fail_msg("%s", err.text);
    struct weights *back = open_weights(out);
    const struct model_config *found = weights_config(back);
    assert_string_equal(found->model_type, "phi3");
    assert_true(found->rope_kind == ROPE_LONG &&
                found->rope_original_positions == config->rope_original_positions);
    assert_memory_equal(&found->longrope, &config->longrope, sizeof found->longrope);
    assert_true(fabs(model_rope_amplitude(found) / model_rope_amplitude(config) - 1) < 1e-6);
    int64_t count = tensor_count(param_shape(config, whole));
    float *want = values_of(&model, whole), *got = xcalloc((size_t)count, sizeof *got);
    assert_int_equal(weights_read(back, whole, 0, count, got, &err), 0);
    assert_memory_equal(got, want, (size_t)count * sizeof *got);
    weights_close(back), weights_close(source);
    free(got), free(want), free(hf), free(out);
}

/* Mistral: llama.cpp knows no window of a Llama, so the file says that it is for as many tokens as the window has; control: a
 * window as long as the model. */
static void test_mistral(void **state) {
    (void)state;
    struct err err = {""};
    const int64_t windows[] = {24, 128};
    char *out = in_folder("mistral.gguf");
    for (int i = 0; i < 2; i++) {
        struct model model = sample_model("byte_level", 423);
        assert_int_equal(model_config_set_family(&model.config, "mistral", NULL), 0);
        family_local_defaults(&model.config);
        model.config.window = windows[i];
        char *hf = make_folder("mistral", &model), *notes = NULL;
        struct weights *source = open_weights(hf);
        assert_int_equal(weights_config(source)->window, windows[i]);
        if (export_gguf(source, out, EXPORT_F32, &notes, &err) != 0)
            fail_msg("%s", err.text);
        struct gguf *file = open_gguf(out);
        assert_int_equal(int_at(file, "llama.context_length", 0), windows[i]);
        assert_true(gguf_find_key(file, "llama.attention.sliding_window") < 0);
        assert_int_equal(notes && strstr(notes, "llama.cpp knows no window of 'llama'"), i == 0);
        gguf_close(file);
        weights_close(source);
        free(hf), free(notes);
    }
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemma3),     cmocka_unit_test(test_gemma3_refused),
        cmocka_unit_test(test_mistral),    cmocka_unit_test(test_gemma2),
        cmocka_unit_test(test_olmo3),      cmocka_unit_test(test_phi3),
        cmocka_unit_test(test_rope_kinds), cmocka_unit_test(test_gemma3_positions),
    };
    return fixture_run("export_windows", tests);
}
