/* test_small_parts.c - learning rate, loss scale, sampling, command-line options, and the
 * check after an export. */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "tests/check.h"
#include "train/measure/verify.h"
#include "train/model/sampling.h"
#include "train/model/session.h"
#include "train/run/loss_scale.h"
#include "train/run/schedule.h"

static struct config run_of(enum schedule_kind kind) {
    struct config config = {.train = {.steps = 100}, .optimizer = {.learning_rate = 2.0}};
    config.schedule.kind = kind;
    config.schedule.warmup_steps = 10;
    config.schedule.decay_steps = 20;
    config.schedule.final_ratio = 0.1;
    return config;
}

static void assert_rate(const struct config *config, int64_t step, double want) {
    double got = schedule_rate(config, step);
    if (!(fabs(got - want) < 1e-12))
        fail_msg("step %lld has the rate %.15g, expected %.15g", (long long)step, got, want);
}

/* Values worked out by hand from the definitions in schedule.h. */
static void test_schedules(void **state) {
    (void)state;
    struct config constant = run_of(SCHEDULE_CONSTANT), linear = run_of(SCHEDULE_LINEAR);
    struct config cosine = run_of(SCHEDULE_COSINE), wsd = run_of(SCHEDULE_WSD);
    const struct config *all[] = {&constant, &linear, &cosine, &wsd};
    for (int i = 0; i < 4; i++) {
        assert_rate(all[i], 1, 0.2);
        assert_rate(all[i], 5, 1.0);
        assert_rate(all[i], 10, 2.0);
        assert_rate(all[i], 100, i == 0 ? 2.0 : 0.2);
        assert_rate(all[i], 1000, i == 0 ? 2.0 : 0.2); /* a run made longer does not bounce back */
    }
    assert_rate(&linear, 55, 1.1); /* half way: the mean of both ends */
    assert_rate(&cosine, 55, 1.1);
    assert_rate(&cosine, 40, 0.2 + 1.8 * 0.75); /* a third of the way: (1 + cos 60 degrees) / 2 */
    assert_rate(&wsd, 80, 2.0);
    assert_rate(&wsd, 90, 1.1);
    wsd.schedule.decay_steps = 0; /* a tenth of the run */
    assert_rate(&wsd, 90, 2.0);
    assert_rate(&wsd, 95, 1.1);
    wsd.schedule.decay_steps = 99; /* never before the warm-up is over */
    assert_rate(&wsd, 10, 2.0);
    assert_rate(&wsd, 55, 1.1);
}

/* Halved at once, doubled after a thousand good updates, never below 1; other types never scale. */
static void test_loss_scale(void **state) {
    (void)state;
    struct loss_scale scale = loss_scale_start(DTYPE_F16), still = loss_scale_start(DTYPE_BF16);
    assert_true(scale.value == 65536);
    for (int i = 0; i < 999; i++)
        loss_scale_succeeded(&scale);
    assert_true(scale.value == 65536);
    assert_true(loss_scale_overflowed(&scale) && scale.value == 32768);
    for (int i = 0; i < 1000; i++)
        loss_scale_succeeded(&scale);
    assert_true(scale.value == 65536);
    for (int i = 0; i < 16; i++)
        assert_true(loss_scale_overflowed(&scale));
    assert_true(scale.value == 1 && !loss_scale_overflowed(&scale)); /* then it is not the scale's fault */
    for (int i = 0; i < 100000; i++)
        loss_scale_succeeded(&scale);
    assert_true(scale.value == 1 << 24);
    loss_scale_succeeded(&still);
    assert_true(still.value == 1 && !loss_scale_overflowed(&still));
}

static void test_sampling(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    const float logits[4] = {0.0f, logf(2.0f), logf(4.0f), logf(1.0f)}; /* probabilities 1/8, 2/8, 4/8, 1/8 */
    int counts[4] = {0};
    struct sampling sampling = {.temperature = 0, .top_p = 1, .seed = 3};
    assert_int_equal(sample_token(&sampling, logits, 4, 0), 2);
    sampling.temperature = 1;
    for (int64_t i = 0; i < DRAWS; i++)
        counts[sample_token(&sampling, logits, 4, i)]++;
    const double want[4] = {0.125, 0.25, 0.5, 0.125};
    for (int i = 0; i < 4; i++) /* five standard deviations of a count */
        assert_true(fabs(counts[i] - want[i] * DRAWS) < 5 * sqrt(want[i] * (1 - want[i]) * DRAWS));
    assert_int_equal(sample_token(&sampling, logits, 4, 7), sample_token(&sampling, logits, 4, 7));
    sampling.top_p = 0.6; /* the two most likely, 2/3 and 1/3 */
    memset(counts, 0, sizeof counts);
    for (int64_t i = 0; i < DRAWS; i++)
        counts[sample_token(&sampling, logits, 4, i)]++;
    assert_int_equal(counts[0] + counts[3], 0);
    assert_true(fabs(counts[2] - DRAWS * 2.0 / 3) < 5 * sqrt(DRAWS * 2.0 / 9));
}

/* A model passes against itself; another one of the same shape, or of another vocabulary, does not. */
static void test_export_check(void **state) {
    (void)state;
    struct err err = {""};
    struct export_difference difference = {-1, 0, 0};
    const char *model = "tests/golden/models/llama3";
    assert_int_equal(export_check((struct weights_place){model, NULL}, (struct weights_place){model, NULL},
                                  EXPORT_F32, (struct session_way){SESSION_F32, SESSION_CPU}, &difference,
                                  &err),
                     0);
    assert_true(difference.relative == 0);
    assert_int_equal(export_check((struct weights_place){model, NULL},
                                  (struct weights_place){"tests/golden/models/llama2", NULL}, EXPORT_Q8_0,
                                  (struct session_way){SESSION_F32, SESSION_CPU}, NULL, &err),
                     -1);
    assert_non_null(strstr(err.text, "does not match its source"));
    assert_int_equal(export_check((struct weights_place){model, NULL},
                                  (struct weights_place){"tests/golden/models/smollm2", NULL}, EXPORT_Q8_0,
                                  (struct session_way){SESSION_F32, SESSION_CPU}, NULL, &err),
                     -1);
    assert_non_null(strstr(err.text, "has 96 tokens"));
}

/* The checksums of a checkpoint are compared by session_open, not again by the check after an export, whose caller has
 * done so before it wrote. */
static void test_checksums_once(void **state) {
    (void)state;
    static const char manifest[] =
        "{\"format\":\"atelier-checkpoint-1\",\"step\":1,\"block_bytes\":8388608,\"files\":[{\"name\":"
        "\"model.safetensors\",\"bytes\":49424,\"xxh3\":[\"0123456789abcdef\"]}]}"; /* not its checksum */
    struct err err = {""};
    struct session session;
    char *folder = test_folder("checksums"), *path = xasprintf("%s/manifest.json", folder);
    char *copy = xasprintf("cp tests/golden/models/llama3/[cm]* '%s'", folder);
    assert_int_equal(system(copy), 0);
    assert_int_equal(file_replace(path, manifest, strlen(manifest), &err), 0);
    struct session_setup setup = {.place = {folder, NULL}, .max_tokens = 8, .num_threads = 1};
    assert_int_equal(session_open(&session, &setup, &err), -1);
    assert_non_null(strstr(err.text, "was damaged after it was written"));
    session_close(&session);
    if (export_check((struct weights_place){folder, NULL},
                     (struct weights_place){"tests/golden/models/llama3", NULL}, EXPORT_F32,
                     (struct session_way){SESSION_F32, SESSION_CPU}, NULL, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(folder_remove(folder, &err), 0);
    free(copy);
    free(path);
    free(folder);
}

/* --- a model with experts --- */

enum { ROUTER_FLOATS = 6 * 20, EXPERT_FLOATS = 20 * 20 };

/* tensor_at - the values of a tensor of f32 in a file of safetensors that is in memory. */
static float *tensor_at(char *bytes, const char *name) {
    uint64_t header_bytes;
    int64_t begin, end;
    memcpy(&header_bytes, bytes, sizeof header_bytes);
    char *quoted = xasprintf("\"%s\"", name), *at = strstr(bytes + sizeof header_bytes, quoted);
    free(quoted);
    at = at ? strstr(at, "data_offsets") : NULL;
    if (!at || sscanf(strchr(at, '['), "[%" SCNd64 ",%" SCNd64, &begin, &end) != 2)
        fail_msg("no tensor '%s'", name);
    return (float *)(void *)(bytes + sizeof header_bytes + header_bytes + begin);
}

typedef void (*change_model)(char *bytes, float by);

/* Every product of the routers a little otherwise: where two are nearly alike, another expert is taken. */
static void change_routers(char *bytes, float by) {
    float *router = tensor_at(bytes, "model.layers.1.mlp.gate.weight");
    for (int i = 0; i < ROUTER_FLOATS; i++)
        router[i] += i % 3 == 0 ? by : -by / 2;
}

/* What a wrong order of experts would write. */
static void turn_experts(char *bytes, float by) {
    (void)by;
    for (int layer = 0; layer < 2; layer++)
        for (int expert = 0; expert < 3; expert++) {
            char *a = xasprintf("model.layers.%d.mlp.experts.%d.down_proj.weight", layer, expert),
                 *b = xasprintf("model.layers.%d.mlp.experts.%d.down_proj.weight", layer, 5 - expert);
            float *one = tensor_at(bytes, a), *other = tensor_at(bytes, b), kept[EXPERT_FLOATS];
            memcpy(kept, one, sizeof kept);
            memcpy(one, other, sizeof kept);
            memcpy(other, kept, sizeof kept);
            free(a);
            free(b);
        }
}

/* Some of the six are lost: what a writer that leaves out experts would make. */
static void scale_experts(char *bytes, int count, float by) {
    for (int layer = 0; layer < 2; layer++)
        for (int expert = 0; expert < count; expert++) {
            char *name = xasprintf("model.layers.%d.mlp.experts.%d.down_proj.weight", layer, expert);
            float *values = tensor_at(bytes, name);
            for (int i = 0; i < EXPERT_FLOATS; i++)
                values[i] *= by;
            free(name);
        }
}

static void lose_one(char *bytes, float by) {
    scale_experts(bytes, 1, by);
}

static void lose_two(char *bytes, float by) {
    scale_experts(bytes, 2, by);
}

/* changed_check - the check of a model with experts whose file was changed, as if it had been written so. */
static int changed_check(change_model change, float by, enum export_type type,
                         struct export_difference *difference) {
    struct err err = {""};
    size_t length;
    const char *model = "tests/golden/models/qwen3_moe";
    char *folder = test_folder("experts"), *path = xasprintf("%s/model.safetensors", folder);
    char *copy = xasprintf("cp '%s'/[cm]* '%s'", model, folder);
    assert_int_equal(system(copy), 0);
    char *bytes = file_read_whole(path, 1 << 24, &length, &err);
    assert_non_null(bytes);
    change(bytes, by);
    assert_int_equal(file_replace(path, bytes, length, &err), 0);
    int status = export_check((struct weights_place){model, NULL}, (struct weights_place){folder, NULL}, type,
                              (struct session_way){SESSION_F32, SESSION_CPU}, difference, &err);
    assert_int_equal(folder_remove(folder, &err), 0);
    free(bytes);
    free(copy);
    free(path);
    free(folder);
    return status;
}

/* A router that takes another expert for some tokens is what rounding does (by root mean square over all logits 0.038 apart, more than 16
 * bits explain); another expert for most of them, experts in another order, or lost ones are not, and where nothing is rounded not even
 * that. */
static void test_export_check_experts(void **state) {
    struct export_difference difference;
    (void)state;
    assert_int_equal(changed_check(change_routers, 0.004f, EXPORT_BF16, &difference), 0);
    assert_true(difference.relative > 1e-4 && difference.relative < 3e-2);
    assert_in_range(difference.num_apart, 1, difference.num_tokens / 8);
    assert_int_equal(changed_check(change_routers, 0.004f, EXPORT_F32, &difference), -1);
    assert_int_equal(changed_check(change_routers, 2, EXPORT_BF16, &difference), -1);
    assert_int_equal(changed_check(turn_experts, 0, EXPORT_BF16, &difference), -1);
    assert_int_equal(changed_check(lose_one, 0, EXPORT_F32, &difference), -1);
    assert_int_equal(changed_check(lose_one, 0, EXPORT_BF16, &difference), -1);
    assert_int_equal(changed_check(lose_two, -3, EXPORT_BF16, &difference), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules),      cmocka_unit_test(test_loss_scale),
        cmocka_unit_test(test_sampling),       cmocka_unit_test(test_export_check),
        cmocka_unit_test(test_checksums_once), cmocka_unit_test(test_export_check_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
