/* test_gguf_model.c - a Llama in GGUF becomes the right model, and what is not one is refused by name. */
#include "tests/gguf_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/gguf/gguf_model.h"

static const struct model_config plain = {.model_type = "llama",
                                          .architecture = "LlamaForCausalLM",
                                          .width = 16,
                                          .ffn_width = 24,
                                          .vocab_size = 32,
                                          .max_positions = 128,
                                          .num_layers = 2,
                                          .num_heads = 4,
                                          .num_kv_heads = 2,
                                          .head_dim = 8,
                                          .norm_eps = 1e-5f,
                                          .initializer_range = 0.02f,
                                          .rope_theta = 10000,
                                          .bos_id = 1,
                                          .pad_id = -1,
                                          .eos_ids = {2, 3},
                                          .num_eos = 2,
                                          .tied_head = true};

/* What a test changes about the file. */
struct change {
    const char *architecture;
    const char *extra_key; /* u32 */
    uint32_t extra_value;
    const char *extra_tensor;
    const char *left_out; /* a tensor */
    const char *turned;   /* a tensor with its dimensions swapped */
    const float *freqs;   /* rope_freqs.weight [D/2] */
    const char *scaling;  /* rope.scaling.type, with a factor of 4 and 64 original positions */
    const char *real_key; /* f32 */
    float real_value;
};

static void set_plain_keys(struct gguf_writer *writer, const struct change *change) {
    const char *architecture = change->architecture ? change->architecture : "llama";
    gguf_set_string(writer, "general.architecture", architecture, strlen(architecture));
    gguf_set_u32(writer, "llama.embedding_length", 16);
    gguf_set_u32(writer, "llama.feed_forward_length", 24);
    gguf_set_u32(writer, "llama.context_length", 128);
    gguf_set_u32(writer, "llama.block_count", 2);
    gguf_set_u32(writer, "llama.attention.head_count", 4);
    gguf_set_u32(writer, "llama.attention.head_count_kv", 2);
    gguf_set_u32(writer, "llama.attention.key_length", 8);
    gguf_set_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_set_f32(writer, "llama.rope.freq_base", change->freqs ? 500000 : 10000);
    gguf_set_u32(writer, "llama.expert_count", 0); /* says nothing */
    gguf_set_u32(writer, "tokenizer.ggml.bos_token_id", 1);
    gguf_set_u32(writer, "tokenizer.ggml.eos_token_id", 2);
    gguf_set_u32(writer, "tokenizer.ggml.eot_token_id", 3);
    gguf_set_u32(writer, "tokenizer.ggml.eom_token_id", 2);
    gguf_set_u32(writer, "tokenizer.ggml.padding_token_id", UINT32_MAX);
    if (change->scaling) {
        gguf_set_text(writer, "llama.rope.scaling.type", change->scaling);
        gguf_set_f32(writer, "llama.rope.scaling.factor", 4);
        gguf_set_u32(writer, "llama.rope.scaling.original_context_length", 64);
    }
    if (change->real_key)
        gguf_set_f32(writer, change->real_key, change->real_value);
    if (change->extra_key)
        gguf_set_u32(writer, change->extra_key, change->extra_value);
}

/* for_plain_tensors - declares (rows NULL) or writes all tensors; a query's rows hold their own numbers. */
static void for_plain_tensors(struct gguf_writer *writer, const struct change *change, bool write) {
    struct err err;
    const int64_t four = 4;
    float ones[4] = {1, 1, 1, 1};
    struct param at = PARAM_START;
    while (family_next_param(&plain, &at)) {
        char name[PARAM_NAME_ROOM];
        struct tensor shape = param_shape(&plain, at);
        param_gguf_name(&plain, at, name);
        if (change->left_out && strcmp(change->left_out, name) == 0)
            continue;
        int64_t width = shape.dims[shape.ndim - 1], rows = tensor_count(shape) / width;
        if (change->turned && strcmp(change->turned, name) == 0) {
            int64_t swap = width;
            width = rows;
            rows = swap;
        }
        const int64_t dims[2] = {width, rows};
        float *values = xmalloc((size_t)(rows * width) * sizeof *values);
        for (int64_t k = 0; k < rows * width; k++)
            values[k] = (float)k;
        if (write)
            assert_int_equal(gguf_write_rows(writer, rows, values, &err), 0);
        else
            gguf_add_tensor(writer, name, shape.ndim, dims, GGML_F32);
        free(values);
    }
    if (change->extra_tensor && write)
        assert_int_equal(gguf_write_rows(writer, 1, ones, &err), 0);
    else if (change->extra_tensor)
        gguf_add_tensor(writer, change->extra_tensor, 1, &four, GGML_F32);
    if (change->freqs && write)
        assert_int_equal(gguf_write_rows(writer, 1, change->freqs, &err), 0);
    else if (change->freqs)
        gguf_add_tensor(writer, "rope_freqs.weight", 1, &four, GGML_F32);
}

static struct gguf *open_changed(const struct change *change) {
    struct err err = {""};
    struct gguf_writer *writer = gguf_writer_create();
    set_plain_keys(writer, change);
    for_plain_tensors(writer, change, false);
    assert_int_equal(gguf_writer_begin(writer, path, &err), 0);
    for_plain_tensors(writer, change, true);
    assert_int_equal(gguf_writer_end(writer, &err), 0);
    gguf_writer_free(writer);
    struct gguf *file = gguf_open(path, &err);
    if (!file)
        fail_msg("%s", err.text);
    return file;
}

static void test_model(void **state) {
    (void)state;
    struct err err = {""};
    struct model_config config;
    struct gguf *file = open_changed(&(struct change){0});
    assert_int_equal(gguf_model_config(file, &config, &err), 0);
    assert_int_equal(gguf_model_check(file, &config, &err), 0);
    assert_int_equal(config.num_layers, 2);
    assert_int_equal(config.head_dim, 8); /* not C / H = 4 */
    assert_int_equal(config.vocab_size, 32);
    assert_int_equal(config.num_eos, 2); /* 2, 3, and 2 again */
    assert_int_equal(config.eos_ids[1], 3);
    assert_int_equal(config.pad_id, -1);
    assert_true(config.tied_head && config.rope_kind == ROPE_PLAIN && config.dtype == DTYPE_F32);
    gguf_close(file);
}

/* Rows of a head of 8 stand in the file as 0 4 1 5 2 6 3 7. */
static void test_permutation(void **state) {
    (void)state;
    struct err err = {""};
    struct model_config config;
    struct gguf *file = open_changed(&(struct change){0});
    assert_int_equal(gguf_model_config(file, &config, &err), 0);
    float rows[32 * 16], part[40];
    assert_int_equal(gguf_model_read(file, &config, param_at(ROLE_QUERY, 0), 0, 32 * 16, rows, &err), 0);
    for (int head = 0; head < 4; head++) {
        const int at[8] = {0, 2, 4, 6, 1, 3, 5, 7};
        for (int j = 0; j < 8; j++)
            assert_true(rows[(8 * head + j) * 16 + 5] == (float)((8 * head + at[j]) * 16 + 5));
    }
    assert_true(rows[16] != 16.0f); /* negative control: not the order of the file */
    assert_int_equal(gguf_model_read(file, &config, param_at(ROLE_QUERY, 0), 27, 40, part, &err),
                     0); /* across rows */
    assert_memory_equal(part, rows + 27, sizeof part);
    assert_int_equal(gguf_model_read(file, &config, param_at(ROLE_VALUE, 1), 27, 40, part, &err), 0);
    assert_true(part[0] == 27 && part[39] == 66); /* values keep their order */
    gguf_close(file);
}

static void test_model_refusals(void **state) {
    (void)state;
    const float strange[4] = {1, 2, 3, 4};
    const struct {
        struct change change;
        const char *words;
    } cases[] = {
        {{.architecture = "mamba"}, "architecture 'mamba', which is not supported"},
        {{.extra_key = "llama.expert_used_count", .extra_value = 2}, "sets 'llama.expert_used_count'"},
        {{.extra_key = "llama.attention.sliding_window", .extra_value = 512},
         "sets 'llama.attention.sliding_window'"},
        {{.extra_key = "llama.rope.dimension_count", .extra_value = 4}, "differ"},
        {{.extra_key = "split.count", .extra_value = 3}, "one of 3 parts"},
        {{.extra_key = "tokenizer.ggml.unused_id", .extra_value = 3}, NULL}, /* nobody's business */
        {{.left_out = "blk.1.ffn_up.weight"}, "has no tensor 'blk.1.ffn_up.weight'"},
        {{.left_out = "token_embd.weight"}, "has no tensor 'token_embd.weight'"},
        {{.turned = "blk.1.ffn_up.weight"}, "tensor 'blk.1.ffn_up.weight' has the wrong shape: 16 x 24"},
        {{.extra_tensor = "blk.0.attn_q.bias"}, "has a tensor 'blk.0.attn_q.bias'"},
        {{.extra_tensor = "blk.2.attn_q.weight"}, "has a tensor 'blk.2.attn_q.weight'"},
        {{.freqs = strange}, "does not follow the llama3 rule"},
        {{.scaling = "longrope"}, "to something other than linear and yarn"},
        {{.scaling = "yarn", .freqs = strange},
         "has both yarn rope scaling and a tensor 'rope_freqs.weight'"},
        {{.scaling = "linear", .freqs = strange}, "has both linear rope scaling and a tensor"},
        {{.scaling = "yarn", .real_key = "llama.rope.scaling.yarn_ext_factor", .real_value = 0.5f},
         "mixes yarn and linear rope scaling (yarn_ext_factor 0.5)"},
        {{.scaling = "linear", .real_key = "llama.rope.scaling.attn_factor", .real_value = 1.5f},
         "sets an attention factor of 1.5 without yarn"},
        {{.scaling = "yarn", .real_key = "llama.rope.scaling.yarn_beta_fast", .real_value = 0.5f},
         "sets 'llama.rope.scaling.yarn_beta_fast'"},
        {{.scaling = "yarn", .real_key = "llama.rope.scaling.yarn_attn_factor", .real_value = 0.5f},
         "sets 'llama.rope.scaling.yarn_attn_factor'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {""};
        struct model_config config;
        struct gguf *file = open_changed(&cases[i].change);
        int status = gguf_model_config(file, &config, &err);
        if (status == 0)
            status = gguf_model_check(file, &config, &err);
        bool right = cases[i].words ? status == -1 && strstr(err.text, cases[i].words) : status == 0;
        if (!right)
            fail_msg("case %zu: expected '%s', got '%s'", i, cases[i].words ? cases[i].words : "success",
                     err.text);
        gguf_close(file);
    }
}

/* The divisors of Llama 3.1 and 3.2 and of a model with a shorter original context name their parameters. */
static void test_rope_freqs(void **state) {
    (void)state;
    const struct {
        double factor;
        int64_t original;
    } cases[] = {{8, 8192}, {32, 8192}, {4, 256}, {1, 8192}};
    for (int i = 0; i < 4; i++) {
        struct err err = {""};
        struct model_config config, want = plain;
        float freqs[4];
        want.rope_kind = ROPE_LLAMA3;
        want.rope_theta = 500000;
        want.rope_factor = cases[i].factor;
        want.rope_low_freq = 1;
        want.rope_high_freq = 4;
        want.rope_original_positions = cases[i].original;
        for (int k = 0; k < 4; k++)
            freqs[k] = (float)model_rope_divisor(&want, k);
        struct gguf *file = open_changed(&(struct change){.freqs = freqs});
        assert_int_equal(gguf_model_config(file, &config, &err), 0);
        assert_int_equal(config.rope_kind, cases[i].factor == 1 ? ROPE_PLAIN : ROPE_LLAMA3);
        for (int k = 0; k < 4; k++)
            assert_true(fabs(model_rope_divisor(&config, k) - model_rope_divisor(&want, k)) < 1e-3);
        gguf_close(file);
    }
}

/* YaRN: llama.cpp finds the amplitude by the factor; attn_factor multiplies that. */
static void test_yarn(void **state) {
    (void)state;
    const struct change changes[] = {
        {.scaling = "yarn"},
        {.scaling = "yarn", .real_key = "llama.rope.scaling.attn_factor", .real_value = 0.5f}};
    for (int i = 0; i < 2; i++) {
        struct err err = {""};
        struct model_config config;
        struct gguf *file = open_changed(&changes[i]);
        assert_int_equal(gguf_model_config(file, &config, &err), 0);
        assert_true(config.rope_kind == ROPE_YARN && config.rope_factor == 4);
        assert_int_equal(config.rope_original_positions, 64);
        assert_true(config.yarn.beta_fast == 32 && config.yarn.beta_slow == 1);
        double amplitude = 1.1386294361119891 * (i == 1 ? 0.5 : 1);
        assert_true(fabs(model_rope_amplitude(&config) - amplitude) < 1e-15);
        gguf_close(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),          cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_model_refusals), cmocka_unit_test(test_rope_freqs),
        cmocka_unit_test(test_yarn),
    };
    return cmocka_run_group_tests_name("gguf model", tests, set_up, tear_down);
}
