/* test_family_members.c - what sets each family apart from Llama: its keys and defaults, names, and the plan of its layers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/family_fixture.h"

/* Qwen3: what its class takes where a key is missing, the switch of its window, names of the two norms of heads. */
static void test_qwen3(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM], text[64];
    struct model_config config = parsed("{\"model_type\":\"qwen3\"," SIZES "}");
    assert_string_equal(config.architecture, "Qwen3ForCausalLM");
    assert_int_equal(config.head_dim, 128); /* not 64 / 4 */
    config = parsed(
        "{\"model_type\":\"qwen3\",\"head_dim\":24,\"use_sliding_window\":false,\"sliding_window\":64," SIZES
        "}");
    assert_int_equal(config.head_dim, 24);
    assert_refused("{\"model_type\":\"qwen3\",\"use_sliding_window\":true,\"sliding_window\":64," SIZES "}",
                   "sliding_window 64 is not supported yet");
    assert_refused("{\"model_type\":\"qwen3\",\"attention_bias\":true," SIZES "}", "attention_bias true");
    assert_string_equal(param_name(&config, param_at(ROLE_QUERY_NORM, 1), name),
                        "model.layers.1.self_attn.q_norm.weight");
    assert_string_equal(param_gguf_name(&config, param_at(ROLE_KEY_NORM, 2), name),
                        "blk.2.attn_k_norm.weight");
    assert_string_equal(
        tensor_shape_text(param_shape(&config, param_at(ROLE_KEY_NORM, 0)), text, sizeof text), "[24] f32");
    assert_int_equal(param_spec(&config, ROLE_QUERY)->traits & PARAM_PERMUTED, 0);
    struct model_config published = /* the sizes of Qwen3-0.6B, which has 596,049,920 parameters */
        parsed(
            "{\"model_type\":\"qwen3\",\"hidden_size\":1024,\"intermediate_size\":3072,\"vocab_size\":151936,"
            "\"max_position_embeddings\":40960,\"num_hidden_layers\":28,\"num_attention_heads\":16,"
            "\"num_key_value_heads\":8,\"head_dim\":128,\"rope_theta\":1000000,\"rope_scaling\":null,"
            "\"sliding_window\":null,\"use_sliding_window\":false,\"max_window_layers\":28,"
            "\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\"}");
    assert_int_equal(model_num_parameters(&published), 596049920);
    struct model_config llama = parsed("{\"model_type\":\"llama\",\"head_dim\":24," SIZES "}");
    assert_null(param_spec(&llama, ROLE_QUERY_NORM));
    assert_int_equal(model_num_parameters(&config), model_num_parameters(&llama) + 3 * 2 * 24);
}

/* Qwen2: biases of three projections, and of no other; the switch of its window.  The sizes of Qwen2.5-0.5B, which has
 * 494,032,768 parameters. */
static void test_qwen2(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM];
    struct model_config config = parsed("{\"model_type\":\"qwen2\",\"sliding_window\":64," SIZES "}");
    assert_string_equal(param_name(&config, param_at(ROLE_KEY_BIAS, 1), name),
                        "model.layers.1.self_attn.k_proj.bias");
    assert_string_equal(param_gguf_name(&config, param_at(ROLE_VALUE_BIAS, 2), name), "blk.2.attn_v.bias");
    assert_int_equal(param_shape(&config, param_at(ROLE_QUERY_BIAS, 0)).dims[0], 64);
    assert_refused("{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":64," SIZES "}",
                   "sliding_window 64 is not supported yet");
    struct model_config published = parsed(
        "{\"model_type\":\"qwen2\",\"hidden_size\":896,\"intermediate_size\":4864,\"vocab_size\":151936,"
        "\"max_position_embeddings\":32768,\"num_hidden_layers\":24,\"num_attention_heads\":14,"
        "\"num_key_value_heads\":2,\"rope_theta\":1000000.0,\"max_window_layers\":21,\"sliding_window\":32768,"
        "\"use_sliding_window\":false,\"tie_word_embeddings\":true,\"rms_norm_eps\":1e-06}");
    assert_int_equal(model_num_parameters(&published), 494032768);
    struct layer_plan plan = family_layer_plan(&published, 23);
    assert_true(plan.qkv_bias && plan.qk_norm == QK_NORM_NONE && plan.place == NORM_PRE &&
                plan.ffn == FFN_GATED);
}

/* OLMo 2: no norm before a branch, one after each; the norms of queries and keys are as wide as those are together. */
static void test_olmo2(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM];
    struct model_config config = parsed("{\"model_type\":\"olmo2\"," SIZES "}");
    assert_string_equal(param_name(&config, param_at(ROLE_ATTENTION_POST_NORM, 1), name),
                        "model.layers.1.post_attention_layernorm.weight");
    assert_string_equal(param_gguf_name(&config, param_at(ROLE_FFN_POST_NORM, 1), name),
                        "blk.1.post_ffw_norm.weight");
    assert_int_equal(param_shape(&config, param_at(ROLE_QUERY_NORM, 0)).dims[0], 64);
    assert_int_equal(param_shape(&config, param_at(ROLE_KEY_NORM, 0)).dims[0], 32);
    assert_null(param_spec(&config, ROLE_ATTENTION_NORM));
    struct layer_plan plan = family_layer_plan(&config, 0);
    assert_true(plan.place == NORM_POST && plan.qk_norm == QK_NORM_ROWS && plan.norm.kind == NORM_RMS_ONCE);
    assert_refused("{\"model_type\":\"olmo2\",\"attention_bias\":true," SIZES "}", "attention_bias true");
}

/* SmolLM3: every fourth layer rotates nothing, and a file may say so but say nothing else; tied where the key is missing. */
static void test_smollm3(void **state) {
    (void)state;
#define SMOLLM3                                                                                              \
    "\"model_type\":\"smollm3\",\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":320,"             \
    "\"max_position_embeddings\":512,\"num_hidden_layers\":5,\"num_attention_heads\":4,\"rope_theta\":5e6"
    struct model_config config =
        parsed("{\"no_rope_layers\":[1,1,1,0,1],\"no_rope_layer_interval\":4," SMOLLM3 "}");
    assert_true(config.tied_head && config.num_kv_heads == 4);
    for (int layer = 0; layer < 5; layer++)
        assert_true(family_layer_plan(&config, layer).rope_theta == (layer == 3 ? 0 : 5e6));
    assert_true(parsed("{\"tie_word_embeddings\":false," SMOLLM3 "}").tied_head == false);
    assert_refused("{\"no_rope_layers\":[1,1,1,1,1]," SMOLLM3 "}",
                   "no_rope_layers: layer 3 has rotary positions there");
    assert_refused("{\"no_rope_layers\":[1,1,1,0]," SMOLLM3 "}", "no_rope_layers lists 4 layers");
    assert_refused("{\"no_rope_layer_interval\":2," SMOLLM3 "}",
                   "no_rope_layer_interval: layer 1 has no rotary positions there");
    assert_refused("{\"model_type\":\"llama\",\"no_rope_layers\":[1,0,1]," SIZES "}",
                   "no_rope_layers: layer 1");
    parsed("{\"model_type\":\"llama\",\"no_rope_layers\":[1,1,1]," SIZES "}");
    assert_refused("{\"no_rope_layers\":[1,1,1,true,1]," SMOLLM3 "}", "no_rope_layers[3] is true or false");
    assert_refused("{\"no_rope_layers\":{\"a\":1}," SMOLLM3 "}", "'no_rope_layers' is an object");
    assert_refused("{\"no_rope_layer_interval\":0," SMOLLM3 "}", "no_rope_layer_interval is 0");
#undef SMOLLM3
}

/* What each class takes for a missing key, as transformers' configuration classes have it; null is not a missing key. */
static void test_class_defaults(void **state) {
    (void)state;
    const struct {
        const char *model_type;
        int64_t positions;
        int kv_heads; /* of 64 heads */
        double theta;
    } classes[] = {{"llama", 2048, 64, 1e4},        {"mistral", 131072, 8, 1e4},
                   {"qwen2", 32768, 32, 1e4},       {"qwen3", 32768, 32, 1e4},
                   {"olmo2", 2048, 64, 1e4},        {"smollm3", 32768, 4, 2e6},
                   {"nemotron", 4096, 64, 1e4},     {"ministral3", 262144, 8, 1e6},
                   {"gemma3_text", 131072, 4, 1e6}, {"apertus", 65536, 64, 1.2e7}};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        for (int given = 0; given < 2; given++) {
            char text[512];
            snprintf(
                text, sizeof text,
                "{\"model_type\":\"%s\",\"hidden_size\":1024,\"intermediate_size\":96,\"vocab_size\":320,"
                "\"num_hidden_layers\":3,\"num_attention_heads\":64,\"sliding_window\":%s%s}",
                classes[i].model_type, strcmp(classes[i].model_type, "gemma3_text") == 0 ? "512" : "null",
                given ? ",\"num_key_value_heads\":null" : "");
            struct model_config config = parsed(text);
            assert_int_equal(config.max_positions, classes[i].positions);
            assert_int_equal(config.num_kv_heads, given ? 64 : classes[i].kv_heads);
            assert_true(config.rope_theta == classes[i].theta);
        }
    }
}

/* Keys of other models: refused where they would change a layer, read where they say what the family does anyway. */
static void test_foreign_keys(void **state) {
    (void)state;
    const struct {
        const char *model_type, *key, *other, *neutral;
    } cases[] = {
        {"llama", "attn_logit_softcapping", "50.0", "null"},
        {"llama", "clip_qkv", "8", "null"},
        {"olmo2", "logit_scale", "0.0625", "1.0"},
        {"llama", "embedding_multiplier", "12", "1"},
        {"llama", "attention_multiplier", "0.0078125", "0.25"}, /* heads of 16 */
        {"llama", "query_pre_attn_scalar", "256", "16"},
        {"llama", "is_causal", "false", "true"},
        {"llama", "use_bidirectional_attention", "true", "false"},
        {"llama", "rope_interleaved", "true", "false"},
        {"llama", "qkv_bias", "true", "false"},
        {"qwen2", "qkv_bias", "false", "true"},
        {"llama", "use_qk_norm", "true", "false"},
        {"qwen3", "use_qk_norm", "false", "true"},
        {"llama", "qk_norm", "true", "false"},
        {"olmo2", "post_norm", "false", "true"},
        {"nemotron", "rope_percent", "0.25", "0.5"},
        {"llama", "cross_attention_layers", "[1]", "[]"},
        {"llama", "num_local_experts", "8", "0"},
        {"mistral", "llama_4_scaling_beta", "0.1", "null"},
        {"llama", "use_bias", "\"yes\"", "false"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[640], phrase[96];
        const char *form = "{\"model_type\":\"%s\",\"sliding_window\":null,\"%s\":%s," SIZES "}";
        snprintf(text, sizeof text, form, cases[i].model_type, cases[i].key, cases[i].other);
        snprintf(phrase, sizeof phrase, "%s is %s: layers of model_type '%s'", cases[i].key, cases[i].other,
                 cases[i].model_type);
        assert_refused(text, phrase);
        snprintf(text, sizeof text, form, cases[i].model_type, cases[i].key, cases[i].neutral);
        parsed(text);
    }
}

/* Ministral 3: the rotary settings that its class takes where config.json has none; the temperature of queries, by position. */
static void test_ministral3(void **state) {
    (void)state;
#define MINISTRAL3(rope) "{\"model_type\":\"ministral3\"," rope SIZES "}"
#define MINISTRAL3_YARN                                                                                      \
    "\"rope_type\":\"yarn\",\"factor\":16,\"original_max_position_embeddings\":128,\"llama_4_scaling_beta\":0.1"
    struct model_config by_class = parsed(MINISTRAL3("")),
                        given = parsed(
                            MINISTRAL3("\"rope_parameters\":{\"rope_theta\":1e6," MINISTRAL3_YARN "},"));
    assert_string_equal(by_class.architecture, "Ministral3ForCausalLM");
    assert_true(by_class.head_dim == 128 && by_class.rope_kind == ROPE_YARN && by_class.rope_theta == 1e6);
    assert_true(by_class.rope_original_positions == 16384 && by_class.rope_factor == 16);
    assert_true(by_class.query_temperature == 0.1 && model_rope_amplitude(&by_class) == 1);
    assert_true(given.query_temperature == 0.1 && model_rope_amplitude(&given) > 1.27);
    struct layer_plan plan = family_layer_plan(&given, 2);
    assert_true(plan.temperature == 0.1 && plan.temperature_span == 128 && plan.place == NORM_PRE);
    for (int i = 0; i < 2; i++) {
        const struct model_config *config = i ? &given : &by_class;
        char *written = model_config_text(config, NULL);
        struct model_config again = parsed(written);
        assert_memory_equal(&again, config, sizeof again);
        free(written);
    }
    given.rope_kind = ROPE_PLAIN; /* what the class cannot do without is written of other kinds, too */
    given.query_temperature = 0;
    char *plain = model_config_text(&given, NULL);
    assert_non_null(strstr(plain, "llama_4_scaling_beta"));
    assert_non_null(strstr(plain, "\"original_max_position_embeddings\": 512"));
    assert_true(parsed(plain).rope_kind == ROPE_PLAIN);
    free(plain);
    assert_true(parsed(MINISTRAL3("\"rope_theta\":1e4,\"rope_scaling\":{\"type\":\"default\"},")).rope_kind ==
                ROPE_PLAIN);
    assert_refused(MINISTRAL3("\"rope_theta\":1e4,"), "rope_parameters differs from rope_theta");
    assert_refused(
        MINISTRAL3(
            "\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,\"llama_4_scaling_beta\":0.1},"),
        "llama_4_scaling_beta 0.1 needs the original positions of yarn");
    assert_refused(
        MINISTRAL3("\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2,\"llama_4_scaling_beta\":-1},"),
        "llama_4_scaling_beta is -1");
    assert_refused("{\"model_type\":\"llama\",\"rope_parameters\":{" MINISTRAL3_YARN "}," SIZES "}",
                   "llama_4_scaling_beta 0.1 is not supported for model_type 'llama'");
    parsed(
        "{\"model_type\":\"llama\",\"rope_parameters\":{\"llama_4_scaling_beta\":0,\"rope_type\":\"default\"}," SIZES
        "}");
}

/* What config.json of the larger Gemma 3 has of its text decoder: all else is its class's default.  They are wrapped. */
#define GEMMA3_4B                                                                                                 \
    "{\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"model_type\":\"gemma3\",\"eos_token_id\":[1,106]," \
    "\"text_config\":{\"model_type\":\"gemma3_text\",\"hidden_size\":2560,\"intermediate_size\":10240,"           \
    "\"num_hidden_layers\":34,\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},\"sliding_window\":1024}}"

/* Gemma 3: five layers with a window and a base of their own, one without; what its class takes where a key is missing. */
static void test_gemma3(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM];
    struct model_config config = parsed(GEMMA3_4B);
    assert_true(config.vocab_size == 262208 && config.max_positions == 131072 && config.head_dim == 256);
    assert_true(config.num_heads == 8 && config.num_kv_heads == 4 && config.tied_head);
    assert_true(config.num_eos == 2 && config.bos_id == 2 && config.pad_id == 0);
    struct layer_plan local = family_layer_plan(&config, 4), whole = family_layer_plan(&config, 5);
    assert_true(local.window == 1024 && local.rope_theta == 1e4 && !local.rope_scaled);
    assert_true(whole.window == 0 && whole.rope_theta == 1e6 && whole.rope_scaled);
    assert_true(config.rope_kind == ROPE_LINEAR && config.rope_factor == 8);
    assert_true(whole.place == NORM_SANDWICH && whole.qk_norm == QK_NORM_HEADS && whole.norm.offset == 1);
    assert_true(whole.gate == GATE_GELU_TANH && whole.scale == 0.0625f);
    assert_true(family_embedding_scale(&config) == sqrtf(2560.0f));
    assert_string_equal(param_name(&config, param_at(ROLE_FFN_NORM, 1), name),
                        "model.language_model.layers.1.pre_feedforward_layernorm.weight");
    assert_string_equal(param_gguf_name(&config, param_at(ROLE_ATTENTION_POST_NORM, 1), name),
                        "blk.1.post_attention_norm.weight");
    struct model_config published = /* the sizes of Gemma 3 270M, which has 268,098,176 parameters */
        parsed("{\"model_type\":\"gemma3_text\",\"hidden_size\":640,\"intermediate_size\":2048,"
               "\"vocab_size\":262144,\"max_position_embeddings\":32768,\"num_hidden_layers\":18,"
               "\"num_attention_heads\":4,\"num_key_value_heads\":1,\"head_dim\":256,\"sliding_window\":512,"
               "\"_sliding_window_pattern\":6,\"rope_theta\":1000000.0,\"rope_local_base_freq\":10000.0,"
               "\"rope_scaling\":null,\"attn_logit_softcapping\":null,\"final_logit_softcapping\":null,"
               "\"use_bidirectional_attention\":false,\"hidden_activation\":\"gelu_pytorch_tanh\"}");
    assert_int_equal(model_num_parameters(&published), 268098176);
    struct model_config llama = parsed("{\"model_type\":\"llama\"," SIZES "}");
    assert_true(family_embedding_scale(&llama) == 1);
}

#define GEMMA3(more) "{\"model_type\":\"gemma3_text\",\"sliding_window\":8," more SIZES "}"
#define TYPES(a, b, c) "\"layer_types\":[\"" a "_attention\",\"" b "_attention\",\"" c "_attention\"],"

/* Both spellings of the two rotations and of the kinds of layers say the same; written and read, a model is what it was. */
static void test_gemma3_spellings(void **state) {
    (void)state;
    struct model_config
        old = parsed(GEMMA3("\"rope_theta\":5e5,\"rope_local_base_freq\":2e4,"
                            "\"sliding_window_pattern\":2,\"query_pre_attn_scalar\":24,"
                            "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":4},")),
        new = parsed(GEMMA3(
            TYPES("sliding", "full",
                  "sliding") "\"query_pre_attn_scalar\":24,"
                             "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":4,"
                             "\"rope_theta\":5e5},\"sliding_attention\":{\"rope_type\":\"default\","
                             "\"rope_theta\":2e4}},"));
    assert_memory_equal(&old, &new, sizeof old);
    assert_true(family_layer_plan(&old, 0).window == 8 && family_layer_plan(&old, 1).window == 0);
    assert_true(family_layer_plan(&old, 0).scale == (float)(1 / sqrt(24.0)));
    char *text = model_config_text(&old, NULL);
    struct model_config again = parsed(text);
    assert_memory_equal(&old, &again, sizeof old);
    assert_non_null(strstr(text, "\"hidden_activation\": \"gelu_pytorch_tanh\""));
    free(text);
    struct model_config local = parsed(GEMMA3(TYPES("sliding", "sliding", "sliding"))),
                        whole = parsed(GEMMA3(TYPES("full", "full", "full")));
    for (int layer = 0; layer < 3; layer++) {
        assert_int_equal(family_layer_plan(&local, layer).window, 8);
        assert_int_equal(family_layer_plan(&whole, layer).window, 0);
    }
    text = model_config_text(&local, NULL);
    again = parsed(text);
    assert_memory_equal(&local, &again, sizeof local);
    free(text);
}

static void test_gemma3_refused(void **state) {
    (void)state;
    assert_refused(GEMMA3("\"attn_logit_softcapping\":50.0,"), "attn_logit_softcapping is 50.0: layers of");
    assert_refused(GEMMA3("\"final_logit_softcapping\":30.0,"), "final_logit_softcapping is 30.0: layers of");
    assert_refused(GEMMA3("\"use_bidirectional_attention\":true,"),
                   "use_bidirectional_attention is true: layers of");
    assert_refused(GEMMA3("\"hidden_activation\":\"silu\","), "hidden_activation 'silu' is not supported");
    assert_refused(GEMMA3("\"query_pre_attn_scalar\":0,"), "query_pre_attn_scalar is 0");
    assert_refused(GEMMA3("\"sliding_window_pattern\":0,"), "sliding_window_pattern is 0");
    assert_refused(GEMMA3(TYPES("full", "full", "sliding")), "layer_types[2] is 'sliding_attention'");
    assert_refused(GEMMA3(TYPES("full", "chunked", "full")), "layer_types[1] is 'chunked_attention'");
    assert_refused(GEMMA3("\"layer_types\":[\"full_attention\"],"), "layer_types is an array of 1");
    assert_refused(GEMMA3("\"rope_parameters\":{\"rope_theta\":1e6},"), "has 'rope_theta'");
    assert_refused(
        GEMMA3("\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"linear\",\"factor\":2}},"),
        "sliding_attention: layers with a window");
    assert_refused(GEMMA3("\"rope_local_base_freq\":2e4,\"rope_parameters\":{\"sliding_attention\":"
                          "{\"rope_type\":\"default\",\"rope_theta\":3e4}},"),
                   "rope_parameters differs");
    assert_refused(GEMMA3("\"rope_local_base_freq\":-1,"), "rope_local_base_freq is -1");
    assert_refused("{\"model_type\":\"gemma3_text\",\"sliding_window\":null," SIZES "}",
                   "sliding_window is null");
}

/* SIZES with Nemotron's spelling of the norms' eps. */
#define NEMOTRON                                                                                                     \
    "\"model_type\":\"nemotron\",\"norm_eps\":2e-05,\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":320," \
    "\"max_position_embeddings\":512,\"num_hidden_layers\":3,\"num_attention_heads\":4,\"num_key_value_heads\":2"

/* Nemotron: its own keys, how much of a head turns by either spelling, the parameters of Luciole 23B. */
static void test_nemotron(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM];
    struct model_config config = parsed("{" NEMOTRON "}");
    assert_true(config.norm_eps == 2e-5f && config.initializer_range == 0.0134f);
    assert_int_equal(model_rotary_dim(&config), 8); /* half of 16 where the key is missing */
    static const char *const quarter[] = {
        "\"partial_rotary_factor\":0.25,", "\"rope_parameters\":{\"partial_rotary_factor\":0.25},",
        "\"partial_rotary_factor\":0.25,\"rope_theta\":1e4,"
        "\"rope_parameters\":{\"rope_theta\":1e4,\"partial_rotary_factor\":0.25},"};
    for (int i = 0; i < 3; i++) {
        char *text = xasprintf("{%s" NEMOTRON "}", quarter[i]);
        config = parsed(text);
        assert_int_equal(model_rotary_dim(&config), 4);
        char *written = model_config_text(&config, i ? text : NULL);
        struct model_config again = parsed(written);
        again.dtype = config.dtype;
        assert_memory_equal(&again, &config, sizeof config);
        free(text), free(written);
    }
    assert_refused(
        "{\"partial_rotary_factor\":0.5,\"rope_parameters\":{\"partial_rotary_factor\":0.25}," NEMOTRON "}",
        "rope_parameters differs");
    assert_refused("{\"partial_rotary_factor\":0.05," NEMOTRON "}",
                   "partial_rotary_factor 0.05 of a head_dim of 16");
    assert_refused("{\"partial_rotary_factor\":1.5," NEMOTRON "}", "partial_rotary_factor 1.5");
    assert_refused("{\"hidden_act\":\"silu\"," NEMOTRON "}",
                   "hidden_act 'silu' is not supported (supported: relu2)");
    assert_refused("{\"mlp_bias\":true," NEMOTRON "}", "mlp_bias true");
    assert_refused("{\"model_type\":\"nemotron_h\"}",
                   "model_type 'nemotron_h' is not supported yet: state-space layers");
    assert_string_equal(param_name(&config, param_at(ROLE_FFN_NORM_BIAS, 1), name),
                        "model.layers.1.post_attention_layernorm.bias");
    assert_string_equal(param_gguf_name(&config, param_at(ROLE_FINAL_NORM_BIAS, 0), name),
                        "output_norm.bias");
    assert_null(param_spec(&config, ROLE_GATE));
    struct model_config luciole = parsed(
        "{\"model_type\":\"nemotron\",\"hidden_size\":6144,\"intermediate_size\":36864,\"num_hidden_layers\":40,"
        "\"num_attention_heads\":48,\"num_key_value_heads\":8,\"head_dim\":128,\"vocab_size\":128000,"
        "\"max_position_embeddings\":131072,\"norm_eps\":1e-05,\"rope_theta\":2000000.0,"
        "\"partial_rotary_factor\":0.5,\"hidden_act\":\"relu2\"}");
    int64_t layer = (int64_t)6144 * (2 * 6144 + 2 * 1024 + 2 * 36864 + 4);
    assert_int_equal(model_num_parameters(&luciole), 40 * layer + (int64_t)6144 * (2 * 128000 + 2));
    struct layer_plan plan = family_layer_plan(&luciole, 39);
    assert_true(plan.rotary_dim == 64 && plan.ffn == FFN_PLAIN && plan.act == ACT_RELU2 && plan.norm.bias);
    assert_true(plan.norm.kind == NORM_LAYER && plan.norm.offset == 1 && plan.rope_theta == 2e6);
}

/* Every part of every width is written as a number that gives it back: 30 / 44 of 44 would be 29. */
static void test_rotary_parts(void **state) {
    (void)state;
    struct model_config config = parsed("{\"model_type\":\"nemotron\"," SIZES "}");
    int num_cut = 0;
    for (config.head_dim = 2; config.head_dim <= 128; config.head_dim += 2)
        for (int dim = 2; dim <= config.head_dim; dim += 2) {
            config.rotary_dim = dim == config.head_dim ? 0 : dim;
            char *text = model_config_text(&config, NULL);
            struct model_config again = parsed(text);
            assert_int_equal(model_rotary_dim(&again), dim);
            num_cut += (int)(config.head_dim * ((double)dim / config.head_dim)) < dim;
            free(text);
        }
    assert_true(num_cut > 0); /* control: the quotient alone does not do it */
}

/* Apertus: the rotary settings that its class takes where config.json has none, the keys of its published files, names and
 * shapes of what its activation has, the parameters of the 8B. */
static void test_apertus(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM], text[64];
    struct model_config config = parsed("{\"model_type\":\"apertus\"," SIZES "}");
    assert_string_equal(config.architecture, "ApertusForCausalLM");
    assert_true(config.rope_kind == ROPE_LLAMA3 && config.rope_theta == 1.2e7 && config.rope_factor == 8);
    assert_true(config.rope_original_positions == 8192 && config.bos_id == 1 && config.pad_id == 3);
    struct layer_plan plan = family_layer_plan(&config, 2);
    assert_true(plan.qk_norm == QK_NORM_HEADS && plan.ffn == FFN_PLAIN && plan.act == ACT_XIELU);
    char *written = model_config_text(&config, NULL);
    struct model_config again = parsed(written);
    assert_memory_equal(&again, &config, sizeof again);
    free(written);
    assert_refused("{\"model_type\":\"apertus\",\"hidden_act\":\"silu\"," SIZES "}",
                   "hidden_act 'silu' is not supported (supported: xielu)");
    assert_refused("{\"model_type\":\"apertus\",\"qk_norm\":false," SIZES "}", "qk_norm is false");
    assert_refused("{\"model_type\":\"apertus\",\"post_norm\":true," SIZES "}", "post_norm is true");
    const struct param alpha = param_at(ROLE_XIELU_ALPHA_N, 1), eps = param_at(ROLE_XIELU_EPS, 1);
    assert_string_equal(param_name(&config, alpha, name), "model.layers.1.mlp.act_fn.alpha_n");
    assert_string_equal(param_gguf_name(&config, alpha, name), "xielu.alpha_n");
    assert_string_equal(tensor_shape_text(param_shape(&config, alpha), text, sizeof text), "[1] f32");
    assert_string_equal(tensor_shape_text(param_shape(&config, eps), text, sizeof text), "[] f32");
    struct model_config published = parsed(
        "{\"model_type\":\"apertus\",\"hidden_size\":4096,\"intermediate_size\":21504,\"vocab_size\":131072,"
        "\"max_position_embeddings\":65536,\"num_hidden_layers\":32,\"num_attention_heads\":32,"
        "\"num_key_value_heads\":8,\"rms_norm_eps\":1e-5,\"rope_theta\":12000000,\"rope_scaling\":{"
        "\"factor\":8.0,\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,\"original_max_position_embeddings\":8192,"
        "\"rope_type\":\"llama3\",\"type\":\"llama3\"},\"hidden_act\":\"xielu\",\"mlp_bias\":false,"
        "\"post_norm\":false,\"qk_norm\":true,\"tie_word_embeddings\":false,\"torch_dtype\":\"bfloat16\"}");
    int64_t layer = (int64_t)4096 * (2 * 4096 + 2 * 1024 + 2 * 21504 + 2) + 2 * 128 + 4;
    assert_int_equal(model_num_parameters(&published), 32 * layer + (int64_t)4096 * (2 * 131072 + 1));
}

/* What each layer computes: Llama's plan, and what Qwen3 changes in it. */
static void test_plans(void **state) {
    (void)state;
    struct model_config llama =
                            parsed("{\"model_type\":\"llama\",\"head_dim\":16,\"rope_theta\":5e5," SIZES "}"),
                        qwen3 =
                            parsed("{\"model_type\":\"qwen3\",\"head_dim\":16,\"rope_theta\":5e5," SIZES "}");
    for (int layer = 0; layer < 3; layer++) {
        struct layer_plan plan = family_layer_plan(&llama, layer), other = family_layer_plan(&qwen3, layer);
        assert_true(plan.place == NORM_PRE && plan.gate == GATE_SILU && plan.rope_theta == 5e5);
        assert_true(plan.scale == 0.25f && plan.softcap == 0 && plan.window == 0 && plan.rope_scaled);
        assert_false(plan.qk_norm);
        assert_true(other.qk_norm && other.place == NORM_PRE && other.window == 0);
    }
}

/* A number of layers beyond all reason is refused, and not walked through first. */
static void test_many_layers(void **state) {
    (void)state;
    enum { SECONDS = 1 };
    static const char *const families[] = {"llama", "smollm3\",\"no_rope_layer_interval\":4,\"x\":\""};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        char *text = xasprintf("{\"model_type\":\"%s\",\"hidden_size\":64,\"intermediate_size\":96,"
                               "\"vocab_size\":320,\"max_position_embeddings\":512,"
                               "\"num_hidden_layers\":2147483647,\"num_attention_heads\":4}",
                               families[i]);
        clock_t before = clock();
        assert_refused(text, "num_hidden_layers is 2147483647");
        assert_true(clock() - before < SECONDS * CLOCKS_PER_SEC);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qwen3),          cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_olmo2),          cmocka_unit_test(test_smollm3),
        cmocka_unit_test(test_ministral3),     cmocka_unit_test(test_nemotron),
        cmocka_unit_test(test_apertus),        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_rotary_parts),   cmocka_unit_test(test_many_layers),
        cmocka_unit_test(test_class_defaults), cmocka_unit_test(test_foreign_keys),
        cmocka_unit_test(test_gemma3),         cmocka_unit_test(test_gemma3_spellings),
        cmocka_unit_test(test_gemma3_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
