/* test_family.c - config.json in, descriptor, config.json out; names, shapes, rotary tables. */
#include "tests/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "tests/family_fixture.h"

#define LLAMA3                                                                                               \
    "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":"  \
    "8192"

static void test_old_spelling(void **state) {
    (void)state;
    struct model_config config =
        parsed("{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"]," SIZES
               ",\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":\"llama3\"," LLAMA3 "},"
               "\"torch_dtype\":\"bfloat16\",\"head_dim\":null,\"tie_word_embeddings\":true,"
               "\"bos_token_id\":1,\"eos_token_id\":[2,7],\"pad_token_id\":-1,\"unknown_key\":[1,2]}");
    assert_string_equal(config.model_type, "llama");
    assert_string_equal(config.architecture, "LlamaForCausalLM");
    assert_int_equal(config.width, 64);
    assert_int_equal(config.head_dim, 16);
    assert_int_equal(config.num_kv_heads, 2);
    assert_int_equal(config.dtype, DTYPE_BF16);
    assert_true(config.tied_head);
    assert_int_equal(config.rope_kind, ROPE_LLAMA3);
    assert_true(config.rope_theta == 500000.0 && config.rope_factor == 8.0 && config.rope_high_freq == 4.0);
    assert_int_equal(config.num_eos, 2);
    assert_int_equal(config.eos_ids[1], 7);
    assert_int_equal(config.pad_id, -1);
    assert_true(config.norm_eps == 1e-5f);
}

static void test_new_spelling(void **state) {
    (void)state;
    struct model_config config = parsed(
        "{\"model_type\":\"mistral\",\"sliding_window\":null," SIZES ",\"head_dim\":32,\"dtype\":\"float16\","
        "\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4,\"rope_theta\":1000000}}");
    assert_string_equal(config.architecture, "MistralForCausalLM");
    assert_int_equal(config.head_dim, 32); /* 4 * 32 != 64 */
    assert_int_equal(config.rope_kind, ROPE_LINEAR);
    assert_true(config.rope_theta == 1e6 && config.rope_factor == 4.0);
    assert_int_equal(config.dtype, DTYPE_F16);
    assert_false(config.tied_head);
    assert_int_equal(config.bos_id, -1);
    assert_int_equal(config.num_eos, 0);
}

static void test_defaults(void **state) {
    (void)state;
    struct model_config config =
        parsed("{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":320,"
               "\"max_position_embeddings\":512,\"num_hidden_layers\":3,\"num_attention_heads\":4,"
               "\"rope_scaling\":null,\"num_key_value_heads\":null,\"eos_token_id\":5,\"pad_token_id\":320}");
    assert_int_equal(config.num_kv_heads, 4);
    assert_true(config.rope_theta == 10000.0 && config.rope_kind == ROPE_PLAIN);
    assert_true(config.norm_eps == 1e-6f && config.initializer_range == 0.02f);
    assert_int_equal(config.dtype, DTYPE_F32);
    assert_int_equal(config.num_eos, 1);
    assert_int_equal(config.eos_ids[0], 5);
    assert_int_equal(config.pad_id, -1); /* named but outside the vocabulary */
}

#define YARN_FILE(keys)                                                                                      \
    "{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0," keys "}," SIZES "}"

static void test_refused_by_name(void **state) {
    (void)state;
    const struct {
        const char *text, *phrase;
    } cases[] = {
        {"{\"model_type\":\"llama4_text\"}",
         "model_type 'llama4_text' is not supported yet: mixture of experts, attention in chunks (supported: llama, "},
        {"{\"model_type\":\"mamba\"}",
         "model_type 'mamba' is unknown (supported: llama, mistral, ministral, ministral3, qwen3, qwen2, olmo2, olmo3, granite, phi3, smollm3, nemotron, gemma2, gemma3_text, apertus, mixtral, qwen3_moe, olmoe, gpt_oss, glm4_moe)"},
        {"{\"model_type\":\"mistral3\",\"text_config\":{}}", "text_config"},
        {"{" SIZES "}", "key 'model_type' is missing"},
        {"{\"model_type\":\"llama\",\"architectures\":[\"LlamaModel\"]," SIZES "}",
         "architecture 'LlamaModel'"},
        {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":256," SIZES "}",
         "sliding_window 256 is not supported yet for model_type 'qwen2'"},
        {"{\"model_type\":\"llama\",\"attention_bias\":true," SIZES "}", "attention_bias true"},
        {"{\"model_type\":\"llama\",\"mlp_bias\":true," SIZES "}", "mlp_bias true"},
        {"{\"model_type\":\"llama\",\"hidden_act\":\"gelu\"," SIZES "}", "hidden_act 'gelu'"},
        {"{\"model_type\":\"llama\",\"quantization_config\":{}," SIZES "}", "quantization_config"},
        {YARN_FILE("\"beta_fast\":1,\"beta_slow\":2"), "beta_fast 1 and beta_slow 2"},
        {YARN_FILE("\"beta_slow\":-1"), "beta_fast 32 and beta_slow -1"},
        {YARN_FILE("\"attention_factor\":0"), "rope_scaling: attention_factor is 0"},
        {YARN_FILE("\"mscale\":-9,\"mscale_all_dim\":1"), "multiplies cos and sin by -"},
        {YARN_FILE("\"original_max_position_embeddings\":0"), "original_max_position_embeddings 0"},
        {YARN_FILE("\"rope_theta\":1"), "rope_theta is 1, expected more than 1"},
        {YARN_FILE("\"truncate\":1"), "rope_scaling: key 'truncate' is"},
        {"{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":4.0}," SIZES "}",
         "key 'low_freq_factor' is missing"},
        {"{\"model_type\":\"llama\",\"rope_theta\":10000,\"rope_parameters\":{\"rope_theta\":20000}," SIZES
         "}",
         "rope_parameters differs"},
        {"{\"model_type\":\"llama\",\"partial_rotary_factor\":0.5," SIZES "}", "partial_rotary_factor"},
        {"{\"model_type\":\"llama\",\"torch_dtype\":\"float64\"," SIZES "}", "torch_dtype 'float64'"},
        {"{\"model_type\":\"llama\",\"eos_token_id\":320," SIZES "}", "eos_token_id 320 is outside"},
        {"{\"model_type\":\"llama\",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]," SIZES "}", "lists 9 tokens"},
        {"{\"model_type\":\"llama\",\"head_dim\":15," SIZES "}", "head_dim is 15, expected an even number"},
        {"{\"model_type\":\"llama\",\"model_type\":\"llama\"," SIZES "}", "duplicate"},
        {"[]", "model_type"},
        {"{\"model_type\":\"llama\"", "JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].text, cases[i].phrase);
    /* Control: the same keys with harmless values pass. */
    parsed("{\"model_type\":\"llama\",\"attention_bias\":false,\"hidden_act\":\"silu\",\"quantization_"
           "config\":null,"
           "\"pretraining_tp\":4,\"eos_token_id\":319," SIZES "}");
    parsed("{\"model_type\":\"mistral\",\"sliding_window\":512," SIZES "}");
}

/* Positions: settings of each layer type, and settings without a type, were dropped. */
static void test_rope_settings(void **state) {
    (void)state;
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    const struct {
        const char *value, *phrase; /* NULL: accepted */
    } cases[] = {
        {"{\"full_attention\":{\"rope_type\":\"yarn\",\"factor\":4.0}}", ": 'full_attention' is an object"},
        {"{\"rope_type\":\"default\",\"sliding_attention\":{}}", ": 'sliding_attention' is an object"},
        {"{\"factor\":4.0}", ": names no rope_type, and has 'factor'"},
        {"{\"rope_theta\":1e4,\"rope_type\":null,\"factor\":4}", ": names no rope_type, and has 'factor'"},
        {"{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}", ": partial_rotary_factor 0.5"},
        {"null", NULL},
        {"{}", NULL},
        {"{\"rope_theta\":1e4}", NULL},
        {"{\"rope_theta\":1e4,\"partial_rotary_factor\":1.0,\"factor\":null}", NULL},
        {"{\"rope_type\":\"default\",\"rope_theta\":1e4,\"partial_rotary_factor\":1.0}", NULL},
        {"{\"type\":\"linear\",\"factor\":4.0}", NULL},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        const char *key = keys[i % 2], *phrase = cases[i / 2].phrase;
        char *text = xasprintf("{\"model_type\":\"llama\",\"%s\":%s," SIZES "}", key, cases[i / 2].value);
        char *line = xasprintf("%s%s", key, phrase ? phrase : "");
        if (phrase)
            assert_refused(text, line);
        else
            parsed(text);
        free(line);
        free(text);
    }
}

/* layer_types, in every family: all layers, each of full attention. */
static void test_layer_types(void **state) {
    (void)state;
    static const char *const families[] = {"llama", "olmo2", "qwen3"};
    const struct {
        const char *value, *phrase; /* NULL: accepted */
    } cases[] = {
        {"[\"full_attention\",\"full_attention\",\"sliding_attention\"]",
         "layer_types[2] is 'sliding_attention': only full attention is computed"},
        {"[\"full_attention\",\"full_attention\\u0000x\",\"\"]", "layer_types[1] is 'full_attention"},
        {"[\"full_attention\",\"full_attention\"]", "layer_types lists 2 layers, num_hidden_layers is 3"},
        {"[]", "layer_types lists 0 layers"},
        {"[null]", "layer_types[0] is null, expected a string"},
        {"\"full_attention\"", "key 'layer_types' is a string, expected an array"},
        {"null", NULL},
        {"[\"full_attention\",\"full_attention\",\"full_attention\"]", NULL},
    };
    for (size_t i = 0; i < 3 * sizeof cases / sizeof cases[0]; i++) {
        char *text = xasprintf("{\"model_type\":\"%s\",\"sliding_window\":null,\"layer_types\":%s," SIZES "}",
                               families[i % 3], cases[i / 3].value);
        if (cases[i / 3].phrase)
            assert_refused(text, cases[i / 3].phrase);
        else
            parsed(text);
        free(text);
    }
}

/* test_hostile_sizes - each size out of range, one at a time, through model_config_check. */
static void test_hostile_sizes(void **state) {
    (void)state;
    const struct model_config good = parsed("{\"model_type\":\"llama\"," SIZES "}");
    struct err err;
    assert_int_equal(model_config_check(&good, "test", &err), 0);
    struct model_config bad[16];
    for (int i = 0; i < 16; i++)
        bad[i] = good;
    bad[0].width = 0;
    bad[1].width = INT64_MAX;
    bad[2].ffn_width = -1;
    bad[3].vocab_size = (int64_t)1 << 40;
    bad[4].max_positions = 0;
    bad[5].num_layers = 1000000;
    bad[6].num_kv_heads = 3;
    bad[7].head_dim = 1 << 20;
    bad[8].norm_eps = NAN;
    bad[9].rope_theta = -1;
    bad[10].rope_kind = ROPE_LLAMA3; /* its factors are zero */
    bad[11].bos_id = 320;
    bad[12].dtype = DTYPE_I32;
    bad[13].num_eos = MODEL_MAX_EOS + 1;
    bad[14].num_heads = 0;
    snprintf(bad[15].model_type, sizeof bad[15].model_type, "gemma4");
    for (int i = 0; i < 16; i++) {
        err.text[0] = '\0';
        if (model_config_check(&bad[i], "test", &err) != -1)
            fail_msg("bad config %d passed", i);
        assert_non_null(strstr(err.text, "model config 'test'"));
    }
}

static void test_names_and_shapes(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM], text[64];
    struct model_config config = parsed("{\"model_type\":\"llama\",\"head_dim\":32," SIZES "}");
    assert_string_equal(param_name(&config, param_at(ROLE_UP, 2), name), "model.layers.2.mlp.up_proj.weight");
    assert_string_equal(param_name(&config, param_at(ROLE_FFN_NORM, 0), name),
                        "model.layers.0.post_attention_layernorm.weight");
    assert_string_equal(param_name(&config, param_at(ROLE_HEAD, 0), name), "lm_head.weight");
    assert_string_equal(tensor_shape_text(param_shape(&config, param_at(ROLE_QUERY, 0)), text, sizeof text),
                        "[128, 64] f32");
    assert_string_equal(tensor_shape_text(param_shape(&config, param_at(ROLE_OUTPUT, 0)), text, sizeof text),
                        "[64, 128] f32");
    assert_string_equal(tensor_shape_text(param_shape(&config, param_at(ROLE_KEY, 0)), text, sizeof text),
                        "[64, 64] f32");
    int64_t layer = 2 * 64 + 2 * 128 * 64 + 2 * 64 * 64 + 3 * 96 * 64;
    assert_int_equal(model_num_parameters(&config), 3 * layer + 2 * 320 * 64 + 64);
    config.tied_head = true;
    assert_null(param_spec(&config, ROLE_HEAD));
    assert_int_equal(model_num_parameters(&config), 3 * layer + 320 * 64 + 64);
}

/* The names that GGUF files use, and back. */
static void test_gguf_names(void **state) {
    (void)state;
    char key[FAMILY_KEY_ROOM], names[160];
    struct model_config config = {.num_layers = 1};
    assert_int_equal(family_set_gguf(&config, "qwen3", 5), 0);
    assert_string_equal(config.architecture, "Qwen3ForCausalLM");
    assert_string_equal(family_gguf_key(&config, "block_count", key), "qwen3.block_count");
    assert_int_equal(family_set_gguf(&config, "llama", 5), 0);
    assert_string_equal(config.model_type, "llama"); /* not mistral, which is stored under the same name */
    family_set_gguf_experts(&config);
    assert_string_equal(config.model_type, "mixtral"); /* which is stored under the same name */
    assert_int_equal(family_set_gguf(&config, "qwen3moe", 8), 0);
    assert_int_equal(family_set_gguf(&config, "gpt-ossy", 8), -1);
    assert_string_equal(config.model_type, "qwen3_moe");
    assert_string_equal(
        family_gguf_names(names, sizeof names),
        "llama, mistral3, qwen3, qwen2, olmo2, granite, phi3, smollm3, nemotron, gemma2, gemma3, apertus, qwen3moe, olmoe, gpt-oss, glm4moe");
}

/* Every parameter once, with a slot, a name and a GGUF name of its own, and together as many scalars as the
 * model has.  The control: a walk that leaves one out adds up to less. */
static void test_params(void **state) {
    (void)state;
    struct model_config config = parsed("{\"model_type\":\"llama\",\"head_dim\":32," SIZES "}");
    enum { MOST = 64 };
    char names[MOST][PARAM_NAME_ROOM], gguf[MOST][PARAM_NAME_ROOM];
    for (int tied = 0; tied < 2; tied++) {
        struct param at = PARAM_START;
        int64_t scalars = 0, without_last = 0, slots[MOST];
        int count = 0;
        config.tied_head = tied == 1;
        while (family_next_param(&config, &at)) {
            assert_true(count < MOST);
            param_name(&config, at, names[count]);
            param_gguf_name(&config, at, gguf[count]);
            slots[count] = param_slot(&config, at);
            assert_in_range(slots[count], 0, param_num_slots(&config) - 1);
            for (int i = 0; i < count; i++) {
                assert_string_not_equal(names[i], names[count]);
                assert_string_not_equal(gguf[i], gguf[count]);
                assert_int_not_equal(slots[i], slots[count]);
            }
            without_last = scalars;
            scalars += tensor_count(param_shape(&config, at));
            count++;
        }
        assert_int_equal(count, 2 + !tied + 3 * 9);
        assert_int_equal(scalars, model_num_parameters(&config));
        assert_int_not_equal(without_last, model_num_parameters(&config));
    }
}

static void assert_same_config(const struct model_config *a, const struct model_config *b) {
    assert_memory_equal(a, b, sizeof *a); /* parse starts from zeroes: padding compares too */
}

/* YaRN: what is not given is what its class takes, and stays so when it is written; a zero says as much. */
static void test_yarn_settings(void **state) {
    (void)state;
    static const char *const texts[] = {
        YARN_FILE("\"beta_fast\":0"),
        YARN_FILE("\"beta_fast\":16,\"beta_slow\":2,\"original_max_position_embeddings\":128,\"mscale\":0.7,"
                  "\"mscale_all_dim\":0.3,\"truncate\":false"),
        YARN_FILE("\"attention_factor\":1.5,\"mscale\":0.7,\"mscale_all_dim\":0.3")};
    static const double amplitudes[] = {1.1386294361119891, 1.0970406052783924 / 1.0415888308335967, 1.5};
    struct model_config configs[3];
    for (int i = 0; i < 3; i++) {
        configs[i] = parsed(texts[i]);
        assert_int_equal(configs[i].rope_kind, ROPE_YARN);
        assert_true(fabs(model_rope_amplitude(&configs[i]) - amplitudes[i]) < 1e-15);
        char *written = model_config_text(&configs[i], i == 0 ? NULL : texts[i]);
        struct model_config again = parsed(written);
        assert_same_config(&again, &configs[i]);
        assert_true(!strstr(written, "attention_factor") == (i != 2) &&
                    !strstr(written, "mscale") == (i == 0));
        free(written);
    }
    assert_true(configs[0].yarn.beta_fast == 32 && configs[0].yarn.beta_slow == 1);
    assert_true(configs[0].rope_original_positions == 512 && !configs[0].yarn.exact_bounds);
    assert_true(configs[1].yarn.beta_fast == 16 && configs[1].rope_original_positions == 128 &&
                configs[1].yarn.exact_bounds);
}

static void test_text_round_trip(void **state) {
    (void)state;
    const char *text = "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"]," SIZES
                       ",\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":\"llama3\"," LLAMA3 "},"
                       "\"torch_dtype\":\"float32\",\"eos_token_id\":[2,7],\"bos_token_id\":1,"
                       "\"transformers_version\":\"4.40.0\",\"custom\":{\"deep\":[0.1,1e-05,3]}}";
    struct model_config config = parsed(text);
    config.dtype = DTYPE_BF16;
    config.vocab_size = 328;
    char *written = model_config_text(&config, text);
    struct model_config again = parsed(written);
    assert_same_config(&again, &config);
    assert_non_null(strstr(written, "\"torch_dtype\": \"bfloat16\""));
    assert_non_null(strstr(written, "\"dtype\": \"bfloat16\""));
    assert_non_null(strstr(written, "\"transformers_version\": \"4.40.0\""));
    json_t *root = json_parse_text(written, strlen(written), "written", NULL);
    assert_non_null(json_find(root, "custom/deep"));
    assert_true(json_number_value(json_array_get(json_find(root, "custom/deep"), 0)) == 0.1);
    assert_string_equal(json_string_value(json_find(root, "rope_parameters/rope_type")), "llama3");
    assert_string_equal(json_string_value(json_find(root, "rope_scaling/rope_type")), "llama3");
    json_decref(root);
    again.vocab_size++; /* control: the comparison sees one changed field */
    assert_memory_not_equal(&again, &config, sizeof config);
    free(written);
}

/* test_text_from_nothing - a new model's config.json, for each rope kind, also where the class default of a
 * missing key would bite. */
static void test_text_from_nothing(void **state) {
    (void)state;
    static const char *const types[] = {"llama", "mistral"};
    for (int kind = ROPE_PLAIN; kind <= ROPE_YARN; kind++)
        for (int type = 0; type < 2; type++) {
            char *text = xasprintf("{\"model_type\":\"%s\",\"sliding_window\":null," SIZES "}", types[type]);
            struct model_config config = parsed(text);
            free(text);
            config.rope_kind = (enum rope_kind)kind;
            config.max_positions = 100000;
            config.initializer_range = 0.3f;
            if (kind != ROPE_PLAIN)
                config.rope_factor = 32.5;
            if (kind == ROPE_LLAMA3) {
                config.rope_low_freq = 1;
                config.rope_high_freq = 4;
                config.rope_original_positions = 8192;
            }
            if (kind == ROPE_YARN) {
                config.rope_original_positions = 4096;
                config.yarn = (struct yarn){.beta_fast = 16, .beta_slow = 0.5, .attention_factor = 1.25};
            }
            char *written = model_config_text(&config, NULL);
            struct model_config again = parsed(written);
            assert_same_config(&again, &config);
            assert_non_null(strstr(written, "\"rms_norm_eps\": 1e-5"));
            assert_non_null(strstr(written, "\"initializer_range\": 0.3"));
            free(written);
        }
}

/* Rotary tables at position 8000 for theta 500000 and D 128, made once with transformers 5.23 (torch, f32).
 * They tell f32 angles from exact ones: exact, the cosine of frequency 1 would be 0.29178. */
struct rope_point {
    int i;
    float cos, sin;
};

static const struct rope_point plain_points[] = {
    {0, 0.065645128f, 0.997843027f},    {1, 0.292136341f, 0.956376672f},   {2, 0.886289239f, -0.463132173f},
    {5, -0.003092174f, -0.999995232f},  {9, 0.650750458f, 0.759291649f},   {20, 0.859436929f, 0.511241794f},
    {30, -0.227786362f, -0.973711133f}, {33, -0.978355587f, 0.206930920f}, {50, 0.960406661f, 0.278602034f}};

/* Scaled as Llama 3.1 is: short waves untouched, long ones stretched 8 times, 30 and 33 between. */
static const struct rope_point llama3_points[] = {{1, 0.292136341f, 0.956376672f},
                                                  {20, 0.859436929f, 0.511241794f},
                                                  {30, -0.020423712f, -0.999791443f},
                                                  {33, -0.802069843f, 0.597230256f},
                                                  {50, 0.999377310f, 0.035284948f}};

/* Stretched 16 times as YaRN does: 20, 26, 30 and 33 between; cosine and sine times 1.277. */
static const struct rope_point yarn_points[] = {
    {1, 0.373133749f, 1.221540570f},   {20, 0.078695089f, -1.274832249f}, {26, -1.197133899f, 0.445264816f},
    {30, 1.110564351f, -0.630901814f}, {33, -0.027756596f, 1.276957273f}, {50, 1.277060032f, 0.022537515f}};

/* The same with bounds of its own that are not rounded, between 20 and 30, times 1.5. */
static const struct rope_point exact_points[] = {
    {1, 0.438204527f, 1.434565067f},    {20, 1.289155364f, 0.766862690f},   {23, 0.258464694f, -1.477564216f},
    {26, -1.328710437f, -0.696080863f}, {30, -1.349948168f, -0.653941989f}, {33, 1.257954717f, 0.817037344f}};

/* worst_point - the largest difference to the points. */
static double worst_point(const struct model_config *config, const struct rope_point *points,
                          int num_points) {
    enum { POSITIONS = 8001, HALF = 64 };
    float *cos_table = xmalloc((size_t)POSITIONS * HALF * sizeof *cos_table);
    float *sin_table = xmalloc((size_t)POSITIONS * HALF * sizeof *sin_table);
    double worst = 0;
    model_rope_tables(config, POSITIONS, cos_table, sin_table);
    for (int k = 0; k < num_points; k++) {
        int at = 8000 * HALF + points[k].i;
        worst = fmax(worst, fabs((double)cos_table[at] - (double)points[k].cos));
        worst = fmax(worst, fabs((double)sin_table[at] - (double)points[k].sin));
    }
    for (int i = 0; i < HALF; i++)
        assert_true(cos_table[i] == (float)model_rope_amplitude(config) && sin_table[i] == 0.0f);
    free(cos_table);
    free(sin_table);
    return worst;
}

static void test_rope_tables(void **state) {
    (void)state;
    struct model_config config = parsed("{\"model_type\":\"llama\",\"head_dim\":128,\"rope_theta\":500000.0,"
                                        "\"rope_scaling\":{\"rope_type\":\"llama3\"," LLAMA3 "}," SIZES "}");
    assert_true(worst_point(&config, llama3_points, 5) < 2e-6);
    assert_true(worst_point(&config, plain_points, 9) > 0.1); /* control: the scaling is seen */
    config.rope_kind = ROPE_PLAIN;
    assert_true(worst_point(&config, plain_points, 9) < 2e-7);
    config.rope_theta = 500001.0;
    assert_true(worst_point(&config, plain_points, 9) > 1e-5); /* control */
}

static void test_yarn_tables(void **state) {
    (void)state;
    struct model_config config = parsed("{\"model_type\":\"llama\",\"head_dim\":128,\"rope_theta\":500000.0,"
                                        "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":16,"
                                        "\"original_max_position_embeddings\":8192}," SIZES "}");
    assert_true(fabs(model_rope_amplitude(&config) - 1.2772588722239782) < 1e-15);
    assert_true(worst_point(&config, yarn_points, 6) < 2e-6);
    assert_true(model_rope_divisor(&config, 17) == 1);
    assert_true(fabs(model_rope_divisor(&config, 34) - 8.5) < 1e-5);
    assert_true(fabs(model_rope_divisor(&config, 35) - 16) < 1e-5);
    struct yarn exact = {.beta_fast = 16, .beta_slow = 2, .attention_factor = 1.5, .exact_bounds = true};
    config.yarn = exact;
    assert_true(worst_point(&config, exact_points, 6) < 2e-6);
    config.yarn.exact_bounds = false; /* controls */
    assert_true(worst_point(&config, exact_points, 6) > 1e-2);
    config.yarn = exact;
    config.yarn.attention_factor = 0;
    assert_true(worst_point(&config, exact_points, 6) > 0.1);
}

/* test_rope_divisor - against the published rule computed apart from this code. */
static void test_rope_divisor(void **state) {
    (void)state;
    struct model_config config = parsed("{\"model_type\":\"llama\",\"head_dim\":128,\"rope_theta\":500000.0,"
                                        "\"rope_scaling\":{\"rope_type\":\"llama3\"," LLAMA3 "}," SIZES "}");
    assert_true(model_rope_divisor(&config, 0) == 1.0);
    assert_true(model_rope_divisor(&config, 28) == 1.0);
    assert_true(model_rope_divisor(&config, 35) == 8.0);
    assert_true(model_rope_divisor(&config, 63) == 8.0);
    assert_true(fabs(model_rope_divisor(&config, 32) - 2.694529687894733) < 1e-6);
    assert_true(fabs(model_rope_divisor(&config, 29) - 1.207483871283662) < 1e-6);
    config.rope_kind = ROPE_LINEAR;
    assert_true(model_rope_divisor(&config, 0) == 8.0);
    config.rope_kind = ROPE_PLAIN;
    assert_true(model_rope_divisor(&config, 63) == 1.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old_spelling),    cmocka_unit_test(test_new_spelling),
        cmocka_unit_test(test_defaults),        cmocka_unit_test(test_refused_by_name),
        cmocka_unit_test(test_hostile_sizes),   cmocka_unit_test(test_names_and_shapes),
        cmocka_unit_test(test_gguf_names),      cmocka_unit_test(test_params),
        cmocka_unit_test(test_text_round_trip), cmocka_unit_test(test_text_from_nothing),
        cmocka_unit_test(test_rope_tables),     cmocka_unit_test(test_rope_divisor),
        cmocka_unit_test(test_rope_settings),   cmocka_unit_test(test_layer_types),
        cmocka_unit_test(test_yarn_settings),   cmocka_unit_test(test_yarn_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
