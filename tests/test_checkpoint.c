/* test_checkpoint.c - checkpoints written by several simulated ranks and read by any number; their small
 * files; pruned, replaced, damaged; models that are refused.  Interruptions: test_checkpoint_crash.c. */
#include "tests/checkpoint_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints/model_folder.h"

static void test_round_trips(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    for (int num_ranks = 1; num_ranks <= 5; num_ranks += 2) {
        struct err err;
        char *run = test_folder("checkpoint_round_trip");
        struct writing w = {run, &source, 500, num_ranks, 2, PHASE_COMMIT, "{\"step\": 500}"};
        if (write_checkpoint(w, &err) != 0)
            fail_msg("%s", err.text);
        assert_latest(run, 500);
        char *folder = path_of(run, "step-000500");
        for (int num_pieces = 2; num_pieces <= 7; num_pieces += 5)
            assert_true(holds_step(folder, 500, num_pieces));
        assert_false(holds_step(folder, 501, 1)); /* control */
        char *text = checkpoint_state_text(folder, &err);
        assert_string_equal(text, "{\"step\": 500}");
        for (int rank = 0; rank < 3; rank++)
            assert_int_equal(checkpoint_verify(folder, rank, 3, &err), 0);
        free(text);
        free(folder);
        drop(run);
    }
}

static void test_small_files(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    char *run = test_folder("checkpoint_small"), *base = test_folder("checkpoint_base");
    struct checkpoint_source source = source_of(&config, NULL);
    save(run, &source, 1, 0);
    char *folder = path_of(run, "step-000001");
    assert_file_text(folder, "tokenizer.json", tokenizer_text);
    assert_file_text(folder, "chat_template.jinja", "{{ x }}");
    assert_file_text(run, "latest", "step-000001\n");
    char *path = path_of(folder, "generation_config.json");
    json_t *generation = json_load_path(path, 1 << 20, NULL);
    assert_int_equal(json_array_size(json_find(generation, "eos_token_id")), 2);
    assert_int_equal(json_integer_value(json_find(generation, "bos_token_id")), 1);
    json_decref(generation);
    free(path);
    free(folder);
    /* With a base folder: its files as they are, and only the known ones. */
    put(base, "generation_config.json", "{\"eos_token_id\":[9]}");
    put(base, "chat_template.jinja", "{{ base }}");
    put(base, "LICENSE", "free");
    put(base, "secret.txt", "not a model file");
    source.base_folder = base;
    save(run, &source, 2, 0);
    folder = path_of(run, "step-000002");
    assert_file_text(folder, "generation_config.json", "{\"eos_token_id\":[9]}");
    assert_file_text(folder, "chat_template.jinja", "{{ base }}");
    assert_file_text(folder, "LICENSE", "free");
    assert_false(has(folder, "secret.txt"));
    assert_false(has(folder, "additional_chat_templates"));
    free(folder);
    char *more = path_of(base, "additional_chat_templates");
    struct err err = {""};
    assert_int_equal(folder_create(more, &err), 0);
    put(base, "additional_chat_templates/tool_use.jinja", "{{ tools }}");
    save(run, &source, 3, 0);
    folder = path_of(run, "step-000003");
    assert_file_text(folder, "additional_chat_templates/tool_use.jinja", "{{ tools }}");
    assert_int_equal(checkpoint_verify(folder, 0, 1, &err), 0);
    put(folder, "additional_chat_templates/tool_use.jinja", "{{ t00ls }}"); /* of the same length */
    assert_int_equal(checkpoint_verify(folder, 0, 1, &err), -1);
    assert_non_null(strstr(err.text, "tool_use.jinja"));
    /* What cannot be carried is told before the first step. */
    char *template = path_of(base, "additional_chat_templates/tool_use.jinja");
    assert_int_equal(model_folder_check(base, &err), 0);
    assert_true(unlink(template) == 0 && mkfifo(template, 0600) == 0);
    assert_int_equal(model_folder_check(base, &err), -1);
    assert_non_null(strstr(err.text, "tool_use.jinja"));
    free(template);
    free(more);
    free(folder);
    drop(base);
    drop(run);
}

static void test_replace(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    struct checkpoint_source source = source_of(&config, NULL);
    char *run = test_folder("checkpoint_replace");
    save(run, &source, 10, 0);
    source.tokenizer_json = "{}";
    save(run, &source, 10, 0);
    assert_latest(run, 10);
    assert_file_text(run, "step-000010/tokenizer.json", "{}");
    assert_false(has(run, "step-000010.replaced") || has(run, "step-000010.deleting"));
    drop(run);
}

static void test_prune(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = test_folder("checkpoint_prune");
    for (int64_t step = 10; step <= 40; step += 10)
        save(run, &source, step, 0);
    assert_true(has(run, "step-000010"));
    save(run, &source, 50, 2);
    assert_false(has(run, "step-000010") || has(run, "step-000020") || has(run, "step-000030"));
    assert_true(has(run, "step-000040") && has(run, "step-000050"));
    /* The run went back: its line is pruned, the one that it left is not. */
    put(run, "latest", "step-000040\n");
    save(run, &source, 45, 1);
    assert_true(has(run, "step-000045") && has(run, "step-000050"));
    assert_false(has(run, "step-000040"));
    assert_latest(run, 45);
    drop(run);
}

/* flip_bit - one bit of a file, at a byte. */
static void flip_bit(const char *path, long at) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 4, file), byte ^ 4);
    assert_int_equal(fclose(file), 0);
}

static void assert_damage(const char *folder, const char *phrase) {
    struct err err = {""};
    assert_int_equal(checkpoint_verify(folder, 0, 1, &err), -1);
    if (!strstr(err.text, phrase))
        fail_msg("'%s' does not contain '%s'", err.text, phrase);
    /* Of three ranks that share the blocks, at least one sees it. */
    int seen = 0;
    for (int rank = 0; rank < 3; rank++)
        seen += checkpoint_verify(folder, rank, 3, &err) != 0;
    assert_true(seen > 0);
}

static void test_verify(void **state) {
    (void)state;
    const struct model_config config = small_config(70000); /* 8.96 MB of f32: two blocks */
    const struct checkpoint_source source = source_of(&config, NULL);
    const struct {
        const char *name;
        long at;
        const char *phrase;
    } flips[] = {
        {"state/master.safetensors", 8388608 + 100,
         "state/master.safetensors' was damaged after it was written: its "
         "bytes 8388608 to "},
        {"state/adam_m.safetensors", 5000,
         "adam_m.safetensors' was damaged after it was written: its bytes 0 to 8388607"},
        {"model.safetensors", 20, "model.safetensors' was damaged"},
        {"config.json", 3, "config.json' was damaged"},
        {"state/training.json", 1, "training.json' was damaged"},
    };
    char *run = test_folder("checkpoint_verify");
    save(run, &source, 7, 0);
    char *folder = path_of(run, "step-000007");
    assert_int_equal(checkpoint_verify(folder, 0, 1, NULL), 0);
    for (size_t i = 0; i < sizeof flips / sizeof flips[0]; i++) {
        char *path = path_of(folder, flips[i].name);
        flip_bit(path, flips[i].at);
        assert_damage(folder, flips[i].phrase);
        flip_bit(path, flips[i].at); /* control: undone, all is well */
        assert_int_equal(checkpoint_verify(folder, 0, 1, NULL), 0);
        free(path);
    }
    char *path = path_of(folder, "model.safetensors");
    assert_int_equal(truncate(path, 8000), 0);
    assert_damage(folder, "has 8000 bytes");
    assert_int_equal(unlink(path), 0);
    assert_damage(folder, "No such file");
    free(path);
    put(folder, "manifest.json",
        "{\"format\":\"atelier-checkpoint-1\",\"step\":1,\"block_bytes\":8388608,"
        "\"files\":[{\"name\":\"../x\",\"bytes\":0,\"xxh3\":[]}]}");
    assert_damage(folder, "is not a file of a checkpoint");
    free(folder);
    drop(run);
}

/* change_config - replace a phrase of a checkpoint's config.json by another of the same length. */
static void change_config(const char *folder, const char *from, const char *to) {
    size_t length_bytes;
    char *path = path_of(folder, "config.json"), *text = file_read_whole(path, 1 << 20, &length_bytes, NULL);
    assert_non_null(text);
    char *at = strstr(text, from);
    assert_non_null(at);
    assert_int_equal(strlen(from), strlen(to));
    memcpy(at, to, strlen(to));
    assert_int_equal(file_replace(path, text, length_bytes, NULL), 0);
    free(text);
    free(path);
}

static void assert_model_refused(const char *path, const char *phrase) {
    struct err err = {""};
    struct weights *weights = weights_open(path, &err);
    assert_null(weights);
    if (!strstr(err.text, phrase))
        fail_msg("'%s' does not contain '%s'", err.text, phrase);
}

/* test_weights_refused - a model that config.json and the tensors describe differently is not taken. */
static void test_weights_refused(void **state) {
    (void)state;
    const struct {
        const char *from, *to, *phrase;
    } cases[] = {
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         "tensor 'model.layers.2.input_layernorm.weight' is "
         "missing"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "tensor 'model.layers.1."},
        {"\"intermediate_size\": 48", "\"intermediate_size\": 49", "config.json asks for [49, 32]"},
        {"\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true ", "the stored head differs"},
        {"\"model_type\": \"llama\"", "\"model_type\": \"mamba\"", "model_type 'mamba' is unknown"},
    };
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = test_folder("weights_refused");
    save(run, &source, 1, 0);
    char *folder = path_of(run, "step-000001");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        change_config(folder, cases[i].from, cases[i].to);
        assert_model_refused(folder, cases[i].phrase);
        change_config(folder, cases[i].to, cases[i].from);
    }
    struct weights *weights = weights_open(folder, NULL); /* control */
    assert_non_null(weights);
    char *tokenizer, *tokenizer_config;
    assert_int_equal(weights_tokenizer_text(weights, &tokenizer, &tokenizer_config, NULL), 0);
    assert_string_equal(tokenizer, tokenizer_text);
    assert_non_null(strstr(tokenizer_config, "chat_template"));
    assert_non_null(strstr(weights_config_text(weights), "LlamaForCausalLM"));
    assert_string_equal(weights_folder(weights), folder);
    assert_int_equal(weights_config(weights)->dtype, DTYPE_BF16);
    free(tokenizer);
    free(tokenizer_config);
    weights_close(weights);
    char *file = path_of(folder, "model.safetensors");
    assert_model_refused(file, "give the folder");
    assert_model_refused("build/tmp/absent", "No such file");
    weights = weights_open(run, NULL); /* a run folder stands for its newest checkpoint */
    assert_non_null(weights);
    assert_string_equal(weights_folder(weights), folder);
    weights_close(weights);
    char *empty = test_folder("weights_empty");
    assert_model_refused(empty, "neither config.json nor a complete checkpoint");
    drop(empty);
    free(file);
    free(folder);
    drop(run);
}

static void test_unwritable(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    struct err err = {""};
    char *run = test_folder("checkpoint_unwritable"), *file = path_of(run, "file"),
         *below = path_of(run, "file/run");
    put(run, "file", "not a folder");
    assert_int_equal(write_checkpoint((struct writing){below, &source, 1, 1, 0, PHASE_COMMIT, NULL}, &err),
                     -1);
    assert_non_null(strstr(err.text, file));
    free(file);
    free(below);
    drop(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_small_files),
        cmocka_unit_test(test_replace),     cmocka_unit_test(test_prune),
        cmocka_unit_test(test_verify),      cmocka_unit_test(test_weights_refused),
        cmocka_unit_test(test_unwritable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
