/* test_export.c - whole models out to GGUF and Hugging Face folders and back in, with their tokenizers.
 * tests/golden/gguf holds two tiny models written by the gguf package, and the ids llama.cpp gives for texts
 * (tests/golden/make_gguf.py). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/tokenizer/tokenizer.h"
#include "tests/export_fixture.h"

enum { MAX_FILE_BYTES = 1 << 24 };

/* --- tokenizers --- */

/* The tokenizer made from a GGUF file gives llama.cpp's ids; not by chance, for without merges they differ.
 */
static void test_ids(void **state) {
    (void)state;
    struct err err = {""};
    json_t *expected = json_load_path("tests/golden/gguf/expected.json", MAX_FILE_BYTES, &err);
    assert_non_null(expected);
    for (int g = 0; g < 2; g++) {
        char *json, *config;
        struct gguf *file = open_golden(goldens[g]);
        assert_int_equal(gguf_tokenizer_text(file, &json, &config, &err), 0);
        struct tokenizer *tok = tokenizer_parse(json, strlen(json), config, goldens[g], &err);
        if (!tok)
            fail_msg("%s", err.text);
        struct encoder *enc = encoder_open(tok);
        const json_t *cases = json_object_get(expected, goldens[g]);
        assert_true(json_array_size(cases) >= 8);
        for (size_t c = 0; c < json_array_size(cases); c++) {
            const json_t *ids = json_object_get(json_array_get(cases, c), "ids");
            const char *text = json_string_value(json_object_get(json_array_get(cases, c), "text"));
            struct token_list list = {NULL, 0, 0};
            assert_int_equal(encoder_encode(enc, text, strlen(text),
                                            ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, &list, &err),
                             0);
            bool same = list.count == (int64_t)json_array_size(ids);
            for (int64_t i = 0; same && i < list.count; i++)
                same = list.ids[i] == json_integer_value(json_array_get(ids, (size_t)i));
            if (!same)
                fail_msg("%s: '%s' becomes other ids than in llama.cpp", goldens[g], text);
            token_list_release(&list);
        }
        encoder_close(enc);
        tokenizer_free(tok);
        free(json);
        free(config);
        gguf_close(file);
    }
    json_decref(expected);
}

/* What a test of refusals writes as a tokenizer. */
struct vocabulary {
    const char *model, *pre;
    const char *tokens[4];
    float scores[4];
    int num_types;
    const char *merge;
};

/* write_vocabulary - a GGUF file of it alone, with one chat template, or with one for tools beside it. */
static void write_vocabulary(const char *path, const struct vocabulary *vocab, bool has_tools) {
    struct err err = {""};
    struct gguf_string tokens[4];
    const int32_t types[4] = {1, 1, 1, 1};
    struct gguf_writer *writer = gguf_writer_create();
    for (int t = 0; t < 4; t++)
        tokens[t] = (struct gguf_string){vocab->tokens[t], strlen(vocab->tokens[t])};
    if (vocab->model)
        gguf_set_string(writer, "tokenizer.ggml.model", vocab->model, strlen(vocab->model));
    if (vocab->pre)
        gguf_set_string(writer, "tokenizer.ggml.pre", vocab->pre, strlen(vocab->pre));
    gguf_set_strings(writer, "tokenizer.ggml.tokens", tokens, 4);
    gguf_set_i32s(writer, "tokenizer.ggml.token_type", types, vocab->num_types);
    gguf_set_f32s(writer, "tokenizer.ggml.scores", vocab->scores, 4);
    if (vocab->merge)
        gguf_set_strings(writer, "tokenizer.ggml.merges",
                         &(struct gguf_string){vocab->merge, strlen(vocab->merge)}, 1);
    gguf_set_string(writer, "tokenizer.chat_template", "{{ a }}", 7);
    if (has_tools)
        gguf_set_string(writer, "tokenizer.chat_template.tool_use", "{{ b }}", 7);
    assert_int_equal(gguf_writer_begin(writer, path, &err), 0);
    assert_int_equal(gguf_writer_end(writer, &err), 0);
    gguf_writer_free(writer);
}

static void test_tokenizer_refusals(void **state) {
    (void)state;
    const struct {
        struct vocabulary vocab;
        const char *words;
    } cases[] = {
        {{"gpt2", "qwen2", {"a", "b", "ab", "c"}, {0}, 4, "a b"}, NULL},
        {{"gpt2", "default", {"a", "b", "ab", "c"}, {0}, 4, "a b"}, NULL},
        {{NULL, NULL, {"a", "b", "ab", "c"}, {0}, 4, "a b"}, "holds no tokenizer"},
        {{"bert", NULL, {"a", "b", "ab", "c"}, {0}, 4, "a b"}, "a tokenizer of the kind 'bert'"},
        {{"gpt2", "poro-chat", {"a", "b", "ab", "c"}, {0}, 4, "a b"}, "the pre-tokenizer 'poro-chat'"},
        {{"gpt2", "qwen2", {"a", "b", "ab", "c"}, {0}, 3, "a b"}, "has 3 elements, but there are 4 tokens"},
        {{"gpt2", "qwen2", {"a", "b", "ab", "a"}, {0}, 4, "a b"}, "token 3 occurs twice"},
        {{"gpt2", "qwen2", {"a", "b", "\xff", "c"}, {0}, 4, "a b"}, "token 2 is not UTF-8 text"},
        {{"gpt2", "qwen2", {"a", "b", "ab", "c"}, {0}, 4, "a d"}, "merge 0 does not join two tokens"},
        {{"gpt2", "qwen2", {"a", "b", "ab", "c"}, {0}, 4, "ab"}, "merge 0 does not join two tokens"},
        {{"gpt2", "qwen2", {"a", "b", "ab", "c"}, {0}, 4, NULL}, "has no list 'tokenizer.ggml.merges'"},
        {{"llama", NULL, {"a", "b", "ab", "ba"}, {-9, -9, -1, -2}, 4, NULL}, NULL},
        {{"llama", NULL, {"a", "b", "ab", "ba"}, {-1000, -1000, -1000, -1000}, 4, NULL},
         "order of merges is lost"},
        {{"llama", NULL, {"a", "b", "ab", "ba"}, {-9, -9, NAN, -2}, 4, NULL}, "token 2 has no score"},
    };
    char *path = in_folder("refusal.gguf");
    int num_good = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct vocabulary *vocab = &cases[i].vocab;
        struct err err = {""};
        write_vocabulary(path, vocab, num_good % 2); /* the control: without it there is one template */
        struct gguf *file = open_gguf(path);
        char *json = NULL, *config = NULL;
        int status = gguf_tokenizer_text(file, &json, &config, &err);
        bool right = cases[i].words ? status == -1 && strstr(err.text, cases[i].words) : status == 0;
        if (!right)
            fail_msg("case %zu: expected '%s', got '%s'", i, cases[i].words ? cases[i].words : "success",
                     err.text);
        if (status == 0) {
            assert_non_null(strstr(config, "{{ a }}"));
            assert_int_equal(strstr(config, "\"tool_use\"") && strstr(config, "{{ b }}"), num_good % 2);
            num_good++;
        }
        free(json);
        free(config);
        gguf_close(file);
    }
    assert_true(num_good >= 2);
    free(path);
}

/* --- whole models --- */

/* A foreign GGUF file to a folder to a GGUF file of ours: the same numbers, the same vocabulary in the same
 * order. */
static void test_there_and_back(void **state) {
    (void)state;
    for (int g = 0; g < 2; g++) {
        struct err err = {""};
        char *golden = xasprintf("tests/golden/gguf/%s.gguf", goldens[g]), *notes = NULL;
        char *hf = in_folder(goldens[g]), *out = xasprintf("%s.gguf", hf);
        struct weights *first = open_weights(golden);
        if (export_hf(first, hf, EXPORT_F32, NULL, &err) != 0)
            fail_msg("%s", err.text);
        struct weights *second = open_weights(hf);
        if (export_gguf(second, out, EXPORT_F32, &notes, &err) != 0)
            fail_msg("%s", err.text);
        assert_null(notes);
        struct weights *third = open_weights(out);
        assert_int_equal(num_different(first, second, EXPORT_F32, EXPORT_F32), 0);
        assert_int_equal(num_different(first, third, EXPORT_F32, EXPORT_F32), 0);
        assert_true(num_different(first, third, EXPORT_BF16, EXPORT_F32) > 1000); /* negative control */
        struct gguf *a = open_gguf(golden), *b = open_gguf(out);
        assert_same_strings(a, b, "tokenizer.ggml.tokens");
        assert_same_strings(a, b, "tokenizer.ggml.merges");
        assert_text(b, "tokenizer.chat_template", 0, "{{ messages }}");
        for (int64_t i = 0; i < weights_config(first)->vocab_size; i++)
            assert_int_equal(int_at(a, "tokenizer.ggml.token_type", i),
                             int_at(b, "tokenizer.ggml.token_type", i));
        for (int64_t i = 260; g == 1 && i < 400; i++) { /* the learned tokens' scores */
            int64_t want = int_at(a, "tokenizer.ggml.scores", i), got = int_at(b, "tokenizer.ggml.scores", i);
            assert_true(want == got || (want == -1000000 && got < -1000));
        }
        gguf_close(a);
        gguf_close(b);
        weights_close(first);
        weights_close(second);
        weights_close(third);
        free(golden);
        free(hf);
        free(out);
    }
}

static void test_types(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = sample_model("byte_level", 430); /* more rows than the 423 tokens */
    char *hf = make_folder("types", &model), *out = in_folder("types.gguf"), *notes = NULL;
    struct weights *source = open_weights(hf);
    const enum export_type exact[] = {EXPORT_F32, EXPORT_F16, EXPORT_BF16};
    for (int t = 0; t < 3; t++) { /* each replaces the one before */
        assert_int_equal(export_gguf(source, out, exact[t], &notes, &err), 0);
        struct weights *back = open_weights(out);
        assert_int_equal(num_different(source, back, exact[t], EXPORT_F32), 0);
        const struct model_config *config = weights_config(back);
        assert_true(config->rope_kind == ROPE_LLAMA3 && config->rope_factor == 8 && !config->tied_head);
        assert_int_equal(config->head_dim, 16);
        weights_close(back);
    }
    assert_int_equal(export_gguf(source, out, EXPORT_Q8_0, NULL, &err), 0);
    struct weights *back = open_weights(out);
    float *want = values_of(&model, param_at(ROLE_QUERY, 1)), *got = xmalloc(64 * 32 * sizeof *got);
    assert_int_equal(weights_read(back, param_at(ROLE_QUERY, 1), 0, 64 * 32, got, &err), 0);
    double error = relative_error(got, want, 64 * 32);
    assert_true(error > 0 && error < 0.01);
    struct gguf *file = open_gguf(out);
    assert_int_equal(gguf_tensor(file, gguf_find_tensor(file, "blk.1.attn_q.weight")).type, GGML_Q8_0);
    assert_int_equal(gguf_tensor(file, gguf_find_tensor(file, "blk.1.attn_norm.weight")).type, GGML_F32);
    assert_int_equal(int_at(file, "general.file_type", 0), 7);
    assert_text(file, "general.license", 0, "etalab-2.0");
    assert_text(file, "general.name", 0, "types");
    assert_text(file, "general.size_label", 0, "52K");
    assert_text(file, "tokenizer.ggml.pre", 0, "llama-bpe");
    assert_text(file, "tokenizer.ggml.tokens", 423, "[PAD423]");
    assert_int_equal(int_at(file, "tokenizer.ggml.token_type", 429), 5);
    assert_int_equal(int_at(file, "tokenizer.ggml.add_bos_token", 0), 1);
    gguf_close(file);
    weights_close(back);
    weights_close(source);
    free(want);
    free(got);
    free(hf);
    free(out);
}

/* What cannot be exported is refused with a reason and leaves nothing; what is lost is noted. */
static void test_refusals(void **state) {
    (void)state;
    struct {
        struct model model;
        enum export_type type;
        const char *words; /* of the error; NULL: of no note; "+": of a note */
    } cases[] = {
        {sample_model("byte_level", 423), EXPORT_F32, NULL},
        {sample_model("byte_level", 422), EXPORT_F32,
         "tokens up to id 422, the model's embedding 422 rows: '"},
        {sample_model("byte_level", 423), EXPORT_F32,
         "tensor 'model.layers.1.mlp.down_proj.weight' holds 1 value that is not finite, the first (nan)"},
        {sample_model("byte_level", 423), EXPORT_F16,
         "holds 1 value too large for f16, the first (100000) at element 77"},
        {sample_model(NULL, 423), EXPORT_F32, "has neither tokenizer.json nor tekken.json"},
        {sample_model("byte_level", 423), EXPORT_F32, "no pre-tokenizer it knows splits by '[a-z]+'"},
        {sample_model("sentencepiece", 520), EXPORT_F32, "+"},
    };
    cases[2].model.poison = NAN;
    cases[3].model.poison = 1e5f;
    cases[5].model.pattern = "[a-z]+";
    cases[6].model.rewrites_text = true;
    char *out = in_folder("out.gguf"), *partial = in_folder("out.gguf.partial");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {""};
        char *notes = NULL, *hf = make_folder("refused", &cases[i].model);
        struct weights *source = open_weights(hf);
        int status = export_gguf(source, out, cases[i].type, &notes, &err);
        bool noted = cases[i].words && cases[i].words[0] == '+';
        bool right = cases[i].words && !noted ? status == -1 && strstr(err.text, cases[i].words) && !notes
                                              : status == 0 && (notes != NULL) == noted;
        if (!right || path_exists(partial) || path_exists(out) != (status == 0))
            fail_msg("case %zu: expected '%s', got '%s' and the notes '%s'", i,
                     cases[i].words ? cases[i].words : "", err.text, notes ? notes : "");
        if (noted) { /* the whole tokenizer is in the file and comes back from it */
            struct gguf *file = open_gguf(out);
            assert_true(gguf_find_key(file, "tokenizer.huggingface.json") >= 0);
            gguf_close(file);
        }
        unlink(out);
        free(notes);
        weights_close(source);
        assert_int_equal(folder_remove(hf, &err), 0);
        free(hf);
    }
    free(out);
    free(partial);
}

static void test_hf(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = sample_model("sentencepiece", 520);
    char *hf = make_folder("source", &model), *out = in_folder("export/hf/"),
         *partial = in_folder("export/hf.partial");
    write_text(hf, "generation_config.json", "{\"eos_token_id\": [2, 5]}");
    struct weights *source = open_weights(hf);
    assert_int_equal(export_hf(source, out, EXPORT_Q8_0, NULL, &err), -1);
    assert_int_equal(export_hf(source, out, EXPORT_BF16, NULL, &err), 0);
    struct weights *back = open_weights(out);
    assert_int_equal(num_different(source, back, EXPORT_BF16, EXPORT_BF16), 0);
    assert_true(num_different(source, back, EXPORT_F32, EXPORT_F32) > 1000); /* negative control */
    assert_int_equal(weights_config(back)->dtype, DTYPE_BF16);
    char *template_path = xasprintf("%s/chat_template.jinja", out),
         *generation = xasprintf("%s/generation_config.json", out);
    size_t bytes;
    char *template_text = file_read_whole(template_path, 100, &bytes, &err);
    char *generation_text = file_read_whole(generation, 100, &bytes, &err);
    assert_string_equal(template_text, "{{ messages }}");
    assert_string_equal(generation_text, "{\"eos_token_id\": [2, 5]}");
    assert_int_equal(export_hf(source, out, EXPORT_BF16, NULL, &err), -1);
    assert_non_null(strstr(err.text, "it exists already"));
    weights_close(source);
    model.poison = INFINITY; /* halfway through, and nothing stays */
    free(make_folder("source", &model));
    source = open_weights(hf);
    assert_int_equal(folder_remove(out, &err), 0);
    assert_int_equal(export_hf(source, out, EXPORT_F32, NULL, &err), -1);
    assert_non_null(strstr(err.text, "not finite, the first (inf) at element 77"));
    assert_true(!path_exists(partial) && !path_exists(out));
    weights_close(source);
    weights_close(back);
    free(template_path);
    free(template_text);
    free(generation);
    free(generation_text);
    free(hf);
    free(out);
    free(partial);
}

/* Templates in files of their own count where there are some, with the one for tools beside it, and go into GGUF. */
static void test_gguf_templates(void **state) {
    (void)state;
    struct err err = {""};
    struct model model = sample_model("sentencepiece", 520);
    char *hf = make_folder("templates", &model), *out = in_folder("templates.gguf"),
         *inner = xasprintf("%s/additional_chat_templates", hf);
    assert_int_equal(folder_create(inner, &err), 0);
    write_text(inner, "tool_use.jinja", "{{ tools }}");
    for (int in_files = 0; in_files < 2; in_files++) {
        if (in_files)
            write_text(hf, "chat_template.jinja", "{{ own }}");
        struct weights *source = open_weights(hf);
        assert_int_equal(export_gguf(source, out, EXPORT_F32, NULL, &err), 0);
        struct gguf *file = open_gguf(out);
        assert_text(file, "tokenizer.chat_template", 0, in_files ? "{{ own }}" : "{{ messages }}");
        if (in_files)
            assert_text(file, "tokenizer.chat_template.tool_use", 0, "{{ tools }}");
        else
            assert_true(gguf_find_key(file, "tokenizer.chat_template.tool_use") < 0);
        gguf_close(file);
        weights_close(source);
    }
    free(hf);
    free(out);
    free(inner);
}

/* make_phi3 - of a folder's tokenizer, one that has the tokens of Phi-3's, and lets the last take the white space after it. */
static void make_phi3(const char *at, int64_t new_id) {
    struct err err = {""};
    char *path = xasprintf("%s/tokenizer.json", at);
    json_t *tree = json_load_path(path, 1 << 20, &err), *added = json_object_get(tree, "added_tokens"),
           *token;
    size_t i;
    assert_non_null(tree);
    json_array_foreach(added, i,
                       token) if (strcmp(json_string_value(json_object_get(token, "content")), "</s>") == 0)
        json_object_set_new(token, "rstrip", json_true());
    json_array_append_new(added, json_pack("{si ss sb sb sb sb sb}", "id", (int)new_id, "content",
                                           "<|endoftext|>", "single_word", 0, "lstrip", 0, "rstrip", 0,
                                           "normalized", 0, "special", 1));
    char *text = json_dumps(tree, JSON_COMPACT);
    write_text(at, "tokenizer.json", text);
    free(text);
    free(path);
    json_decref(tree);
}

/* llama.cpp looks for Phi-3's tokenizer by the model's name: a name that would deceive it is another one in the file. */
static void test_phi3_names(void **state) {
    (void)state;
    const struct {
        const char *file, *name; /* NULL: as it is */
        bool is_phi3;
    } cases[] = {{"tuned-phi3-mini.gguf", "tuned-phi 3-mini", false},
                 {"PHI-3.5.phi3.gguf", "PHI 3.5.phi 3", false},
                 {"phi-4.gguf", NULL, false},
                 {"my_phi3.gguf", NULL, true}};
    struct model model = sample_model("sentencepiece", 530);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {""};
        char *hf = make_folder("named", &model), *out = in_folder(cases[i].file), *notes = NULL;
        if (cases[i].is_phi3)
            make_phi3(hf, 529);
        struct weights *source = open_weights(hf);
        if (export_gguf(source, out, EXPORT_F32, &notes, &err) != 0)
            fail_msg("%s", err.text);
        char *want =
            cases[i].name ? xstrdup(cases[i].name) : xstrndup(cases[i].file, strlen(cases[i].file) - 5);
        struct gguf *file = open_gguf(out);
        assert_text(file, "general.name", 0, want);
        assert_true((notes && strstr(notes, want) && strstr(notes, "tokenizer of Phi-3")) ==
                    (cases[i].name != NULL));
        gguf_close(file);
        weights_close(source);
        assert_int_equal(folder_remove(hf, &err), 0);
        free(want);
        free(notes);
        free(hf);
        free(out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_tokenizer_refusals),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_hf),
        cmocka_unit_test(test_gguf_templates),
        cmocka_unit_test(test_phi3_names),
    };
    return fixture_run("export", tests);
}
