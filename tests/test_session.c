/* test_session.c - a model that is asked: with its matrices where the files have them it says what it says with them in memory as f32,
 * for prompts, tokens and rows that are looked up, of every type that a folder or an export has them in. */
#include "train/model/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/export/export.h"
#include "checkpoints/files.h"
#include "tests/check.h"

#define SAMPLE "data/sample/model"
enum { PROMPT = 40, ROOM = 64, VOCABULARY = 4096 };

/* place_caches - twice, as an arena is used. */
static void place_caches(struct arena *arena, struct kv_cache *caches, const struct session *session) {
    const struct model_config *config = &session->config;
    enum dtype dtype = session->model.setup.compute;
    for (int i = 0; i < 2 * config->num_layers; i++) {
        struct tensor view = tensor_3d(NULL, dtype, ROOM, config->num_kv_heads, config->head_dim);
        view.data = arena_take(arena, tensor_count(view), dtype);
        *(i % 2 ? &caches[i / 2].v : &caches[i / 2].k) = view;
    }
}

/* What a model says after a prompt, and after two more tokens. */
struct said {
    float logits[3][VOCABULARY];
};

/* ask - the prompt at once, then one token and two tokens. */
static void ask(struct session *session, struct said *said) {
    static const int64_t counts[] = {PROMPT, 1, 2};
    struct kv_cache *caches = xcalloc((size_t)session->config.num_layers, sizeof *caches);
    struct arena arena = {.name = "caches"};
    int32_t tokens[PROMPT], positions[PROMPT];
    struct batch batch = {.tokens = tokens, .positions = positions};
    place_caches(&arena, caches, session);
    arena_allocate(&arena, &session->dev);
    place_caches(&arena, caches, session);
    int64_t past = 0;
    for (int part = 0; part < 3; part++, past += batch.num_tokens) {
        batch.num_tokens = counts[part];
        for (int64_t i = 0; i < batch.num_tokens; i++) {
            tokens[i] = (int32_t)((past + i) * 7919 % VOCABULARY);
            positions[i] = (int32_t)(past + i);
        }
        model_decode(&session->model, caches, &batch, past, said->logits[part]);
    }
    arena_free(&arena);
    free(caches);
}

/* num_stored - matrices that are read where the file has them. */
static int num_stored(const struct session *session) {
    int count = 0;
    for (struct segment *s = NULL; (s = params_next(&session->params, s));)
        count += s->storage == STORAGE_STORED ? s->num_tensors : 0;
    return count;
}

/* said_by - of a model; returns how many of its matrices are not in memory. */
static int said_by(const char *path, struct session_way way, struct said *said) {
    struct session session;
    struct err err = {""};
    struct session_setup setup = {.place = {path, NULL}, .max_tokens = PROMPT, .num_threads = 2, .way = way};
    if (session_open(&session, &setup, &err) != 0)
        fail_msg("%s", err.text);
    int count = num_stored(&session);
    ask(&session, said);
    session_close(&session);
    return count;
}

/* worst - the largest relative error of the three. */
static double worst(const struct said *got, const struct said *want) {
    double most = 0;
    for (int part = 0; part < 3; part++)
        most = fmax(most, relative_error(got->logits[part], want->logits[part], VOCABULARY));
    return most;
}

/* says_the_same - the 43 matrices of the sample: 7 of each layer and the embedding, which is the head. */
static void says_the_same(const char *path, struct said *in_memory) {
    struct said *stored = xmalloc(sizeof *stored);
    assert_int_equal(said_by(path, (struct session_way){SESSION_F32, SESSION_CPU}, in_memory), 0);
    assert_int_equal(said_by(path, (struct session_way){SESSION_STORED, SESSION_CPU}, stored), 43);
    assert_true(worst(stored, in_memory) < 2e-6);
    free(stored);
}

/* Exports of llama turn rows of queries and keys into pairs; Q8_0 has other values, which is the control. */
static void test_stored(void **state) {
    (void)state;
    static const enum export_type types[] = {EXPORT_F32, EXPORT_F16, EXPORT_BF16, EXPORT_Q8_0};
    struct said *folder = xmalloc(sizeof *folder), *file = xmalloc(sizeof *file);
    struct err err = {""};
    char *scratch = test_folder("session"), *path = xasprintf("%s/model.gguf", scratch);
    struct weights *weights = weights_open(SAMPLE, &err);
    assert_non_null(weights);
    says_the_same(SAMPLE, folder);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_int_equal(export_gguf(weights, path, types[i], NULL, &err), 0);
        says_the_same(path, file);
        double away = worst(file, folder);
        assert_true(types[i] == EXPORT_Q8_0 ? away > 1e-3 : away < 1e-3);
    }
    weights_close(weights);
    free(folder), free(file), free(path), free(scratch);
}

/* test_types - each type, on the device that ATELIER_TEST_DEVICE names, is as near to f32 on processors as its digits are, and 16 bits
 * are no nearer: they are what is computed in. */
static void test_types(void **state) {
    (void)state;
    static const struct {
        enum session_type type;
        double least, most;
    } cases[] = {{SESSION_F32, -1, 1e-5}, {SESSION_BF16, 1e-4, 3e-2}, {SESSION_F16, 1e-5, 5e-3}};
    const char *name = getenv("ATELIER_TEST_DEVICE");
    enum session_device device = name && strcmp(name, "cuda") == 0 ? SESSION_CUDA : SESSION_CPU;
    struct said *want = xmalloc(sizeof *want), *got = xmalloc(sizeof *got);
    said_by(SAMPLE, (struct session_way){SESSION_F32, SESSION_CPU}, want);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(said_by(SAMPLE, (struct session_way){cases[i].type, device}, got), 0);
        double away = worst(got, want);
        print_message("type %d: %.2g from f32 on processors\n", (int)cases[i].type, away);
        assert_true(away > cases[i].least && away < cases[i].most);
    }
    free(want), free(got);
}

/* test_words - of --device and --type; "stored" of a GPU is refused. */
static void test_words(void **state) {
    (void)state;
    struct session_way way;
    struct err err = {""};
    assert_int_equal(session_way_of(&way, "cpu", NULL, SESSION_STORED, &err), 0);
    assert_true(way.device == SESSION_CPU && way.type == SESSION_STORED);
    assert_int_equal(session_way_of(&way, "cuda", NULL, SESSION_STORED, &err), 0);
    assert_true(way.device == SESSION_CUDA && way.type == SESSION_F32);
    assert_int_equal(session_way_of(&way, "cuda", "bf16", SESSION_STORED, &err), 0);
    assert_true(way.device == SESSION_CUDA && way.type == SESSION_BF16);
    assert_int_equal(session_way_of(&way, "cuda", "stored", SESSION_F32, &err), -1);
    assert_non_null(strstr(err.text, "'stored' is for processors"));
}

/* test_width - rows of 24 values are no whole group: such a model is in memory. */
static void test_width(void **state) {
    (void)state;
    struct session session;
    struct err err = {""};
    struct session_setup setup = {.place = {"tests/golden/models/llama3", NULL},
                                  .max_tokens = 8,
                                  .num_threads = 1,
                                  .way = {SESSION_STORED, SESSION_CPU}};
    assert_int_equal(session_open(&session, &setup, &err), 0);
    assert_int_equal(num_stored(&session), 0);
    session_close(&session);
}

/* test_damaged - a value that is not finite is refused with its tensor and how many there are, though nobody reads it. */
static void test_damaged(void **state) {
    (void)state;
    struct session session;
    struct err err = {""};
    char *scratch = test_folder("session_damaged"), *path = xasprintf("%s/model.safetensors", scratch);
    char *copy = xasprintf("cp " SAMPLE "/* '%s'", scratch);
    assert_int_equal(system(copy), 0);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    uint64_t header_bytes; /* the embedding comes first after it */
    assert_int_equal(fread(&header_bytes, sizeof header_bytes, 1, file), 1);
    assert_int_equal(fseek(file, 8 + (long)header_bytes + 100, SEEK_SET), 0);
    static const uint8_t nan_bf16[] = {0xc0, 0x7f};
    assert_int_equal(fwrite(nan_bf16, 1, 2, file), 2);
    assert_int_equal(fclose(file), 0);
    struct session_setup setup = {
        .place = {scratch, NULL}, .max_tokens = 8, .num_threads = 1, .way = {SESSION_STORED, SESSION_CPU}};
    assert_int_equal(session_open(&session, &setup, &err), -1);
    assert_non_null(strstr(err.text, "embed_tokens"));
    assert_non_null(strstr(err.text, "not finite"));
    session_close(&session);
    free(scratch), free(path), free(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stored), cmocka_unit_test(test_types),
                                       cmocka_unit_test(test_words), cmocka_unit_test(test_width),
                                       cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
