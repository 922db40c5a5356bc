/* test_rope_kinds.c - kinds of rotary positions: tables as transformers' frequencies give them (tests/golden/make_rope.py), both
 * spellings and what is written, and keys that a kind does not have. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "tests/family_fixture.h"

/* table_error - the largest difference between the tables and those of other frequencies. */
static double table_error(const struct model_config *config, const json_t *expected) {
    int64_t positions = json_integer_value(json_find(expected, "positions"));
    double amplitude = json_number_value(json_find(expected, "amplitude")), worst = 0;
    const json_t *frequencies = json_find(expected, "frequencies");
    int half = model_rotary_dim(config) / 2;
    assert_int_equal(json_array_size(frequencies), half);
    float *cosines = xcalloc((size_t)(positions * half), sizeof *cosines);
    float *sines = xcalloc((size_t)(positions * half), sizeof *sines);
    model_rope_tables(config, positions, cosines, sines);
    for (int64_t p = 0; p < positions; p++)
        for (int i = 0; i < half; i++) {
            double angle = (double)p * json_number_value(json_array_get(frequencies, (size_t)i));
            worst = fmax(worst, fabs((double)cosines[p * half + i] - amplitude * cos(angle)));
            worst = fmax(worst, fabs((double)sines[p * half + i] - amplitude * sin(angle)));
        }
    free(cosines), free(sines);
    return worst;
}

/* Each kind has the frequencies that transformers gives it, also after it was written and read; the control: every case but one
 * of its kind differs where the kind is taken away. */
static void test_tables(void **state) {
    (void)state;
    struct err err = {""};
    json_t *root = json_load_path("tests/golden/rope.json", 1 << 20, &err);
    const json_t *cases = json_find(root, "cases");
    if (!json_array_size(cases))
        fail_msg("no cases: %s", err.text);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *expected = json_array_get(cases, i);
        const char *name = json_string_value(json_find(expected, "name"));
        char *text = json_dumps(json_find(expected, "config"), 0);
        struct model_config config = parsed(text), plain = config;
        char *written = model_config_text(&config, NULL), *over = model_config_text(&config, text);
        struct model_config again = parsed(written), kept = parsed(over);
        assert_memory_equal(&again, &config, sizeof config);
        assert_memory_equal(&kept, &config, sizeof config);
        double error = table_error(&config, expected);
        plain.rope_kind = ROPE_PLAIN;
        double control = table_error(&plain, expected);
        print_message("%-30s %.1e, plain %.1e\n", name, error, control);
        assert_true(error < 5e-6);
        assert_true(control > 1e-2 || strcmp(name, "dynamic, short") == 0);
        free(text), free(written), free(over);
    }
    json_decref(root);
}

#define ROPE(settings) "{\"model_type\":\"llama\",\"rope_parameters\":{" settings "}," SIZES "}"
#define FACTORS "[1,1,1,1,1,1,1,2]"
#define LONGROPE "\"rope_type\":\"longrope\",\"short_factor\":" FACTORS ",\"long_factor\":" FACTORS

/* The original positions outside of the object, as Phi-3's files have them. */
static void test_original_positions(void **state) {
    (void)state;
    struct model_config inside = parsed(ROPE(LONGROPE ",\"original_max_position_embeddings\":128")),
                        outside = parsed("{\"model_type\":\"llama\",\"original_max_position_embeddings\":128,"
                                         "\"rope_scaling\":{" LONGROPE "}," SIZES "}");
    assert_memory_equal(&inside, &outside, sizeof inside);
    assert_true(inside.rope_factor == 4 && inside.rope_original_positions == 128);
    assert_true(fabs(model_rope_amplitude(&inside) - sqrt(1 + log(4) / log(128))) < 1e-15);
    assert_refused(
        "{\"model_type\":\"llama\",\"original_max_position_embeddings\":128,\"rope_scaling\":{" LONGROPE
        ",\"original_max_position_embeddings\":64}," SIZES "}",
        "original_max_position_embeddings is 64, and 128 outside of it");
    struct model_config plain =
        parsed("{\"model_type\":\"llama\",\"original_max_position_embeddings\":128," SIZES "}");
    assert_int_equal(plain.rope_original_positions, 0);
}

static void test_refused(void **state) {
    (void)state;
    const struct {
        const char *text, *phrase;
    } cases[] = {
        {ROPE("\"rope_type\":\"su\",\"factor\":2"),
         "rope type 'su' is not supported yet (supported: default, linear, "
         "llama3, yarn, dynamic, longrope, proportional)"},
        {ROPE("\"rope_type\":\"default\",\"factor\":8"), "'factor' means nothing to rope type 'default'"},
        {ROPE("\"rope_type\":\"linear\",\"factor\":8,\"attention_factor\":1.5"),
         "'attention_factor' means nothing to rope type 'linear'"},
        {ROPE("\"rope_type\":\"yarn\",\"factor\":8,\"low_freq_factor\":1"),
         "'low_freq_factor' means nothing to"},
        {ROPE("\"rope_type\":\"default\",\"mrope_section\":[2,3,3]"), "'mrope_section' means nothing to"},
        {ROPE("\"rope_type\":\"dynamic\",\"factor\":2,\"alpha\":1000"),
         "'alpha' means nothing to rope type 'dynamic'"},
        {ROPE(LONGROPE ",\"short_mscale\":1.1"), "'short_mscale' means nothing to rope type 'longrope'"},
        {ROPE("\"rope_type\":\"dynamic\""), "key 'factor' is missing"},
        {ROPE("\"rope_type\":\"dynamic\",\"factor\":0.5"), "dynamic rope scaling has a factor of 0.5"},
        {ROPE("\"rope_type\":\"longrope\",\"long_factor\":" FACTORS), "key 'short_factor' is missing"},
        {ROPE("\"rope_type\":\"longrope\",\"short_factor\":[1,2],\"long_factor\":" FACTORS),
         "short_factor has 2 numbers, expected 8"},
        {ROPE("\"rope_type\":\"longrope\",\"short_factor\":[1,1,1,1,1,1,1,\"2\"],\"long_factor\":" FACTORS),
         "short_factor[7] is a string"},
        {ROPE("\"rope_type\":\"longrope\",\"short_factor\":[1,1,1,-1,1,1,1,1],\"long_factor\":" FACTORS),
         "short_factor[3] is -1"},
        {ROPE(LONGROPE ",\"original_max_position_embeddings\":1"), "longrope multiplies cos and sin by 0"},
        {ROPE(LONGROPE ",\"attention_factor\":0"), "attention_factor is 0"},
        {ROPE("\"rope_type\":\"proportional\",\"partial_rotary_factor\":2"), "partial_rotary_factor is 2"},
        {ROPE("\"rope_type\":\"proportional\",\"partial_rotary_factor\":0.05"), "turns 0 pairs of 8"},
        {ROPE("\"rope_type\":\"proportional\",\"factor\":-1"), "the rope scaling factor is -1"},
        {"{\"model_type\":\"nemotron\",\"rope_parameters\":{\"rope_type\":\"proportional\"}," SIZES "}",
         "'proportional' is not supported for model_type 'nemotron'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].text, cases[i].phrase);
    /* Control: null says nothing, and some keys change nothing. */
    parsed(ROPE("\"rope_type\":\"default\",\"factor\":null,\"original_max_position_embeddings\":64"));
    parsed(ROPE("\"rope_type\":\"yarn\",\"type\":\"yarn\",\"factor\":8,\"finetuned\":true"));
}

#define PHI3(more) "{\"model_type\":\"phi3\"," more SIZES "}"

/* Phi-3: two matrices where others have five, and longrope under three names; the parameters of Phi-3-mini, 3,821,079,552, and of
 * Phi-4-mini, 3,836,021,760. */
static void test_phi3(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM];
    struct model_config mini = parsed("{\"model_type\":\"phi3\",\"sliding_window\":2047}");
    assert_int_equal(model_num_parameters(&mini), 3821079552);
    assert_int_equal(family_layer_plan(&mini, 31).window, 2047);
    assert_string_equal(param_name(&mini, param_at(ROLE_GATE_UP, 1), name),
                        "model.layers.1.mlp.gate_up_proj.weight");
    assert_string_equal(param_gguf_name(&mini, param_at(ROLE_QKV, 1), name), "blk.1.attn_qkv.weight");
    assert_null(param_spec(&mini, ROLE_QUERY));
    struct model_config phi4 = parsed(
        "{\"model_type\":\"phi3\",\"vocab_size\":200064,\"num_attention_heads\":24,\"num_key_value_heads\":8,"
        "\"tie_word_embeddings\":true,\"partial_rotary_factor\":0.75,\"max_position_embeddings\":131072}");
    assert_int_equal(model_num_parameters(&phi4), 3836021760);
    assert_true(model_rotary_dim(&phi4) == 96 && phi4.rope_kind == ROPE_PLAIN && phi4.window == 0);
    struct model_config kinds[] = {
        parsed(PHI3("\"original_max_position_embeddings\":128,\"rope_scaling\":{" LONGROPE "},")),
        parsed(PHI3(
            "\"original_max_position_embeddings\":128,\"rope_scaling\":{\"type\":\"su\",\"short_factor\":" FACTORS
            ",\"long_factor\":" FACTORS "},")),
        parsed(PHI3(
            "\"original_max_position_embeddings\":128,\"rope_scaling\":{\"type\":\"yarn\",\"short_factor\":" FACTORS
            ",\"long_factor\":" FACTORS "},"))};
    for (int i = 0; i < 3; i++) {
        char *text = model_config_text(&kinds[i], NULL);
        struct model_config again = parsed(text);
        assert_memory_equal(&kinds[i], &kinds[0], sizeof kinds[0]);
        assert_memory_equal(&again, &kinds[0], sizeof again);
        assert_non_null(strstr(text, "\"original_max_position_embeddings\": 128"));
        free(text);
    }
    assert_true(kinds[0].rope_kind == ROPE_LONG && kinds[0].rope_original_positions == 128);
    assert_refused(PHI3("\"rope_scaling\":{" LONGROPE ",\"original_max_position_embeddings\":128},"),
                   "original_max_position_embeddings is 128, and 4096 outside of it");
    assert_refused(PHI3("\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},"),
                   "rope type 'linear' is not supported for");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_original_positions),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_phi3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
