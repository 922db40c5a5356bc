/* test_adapter_setup.c - the section 'adapter:' put on a model: targets by pattern against what peft finds for the same text
 * (tests/golden/make_patterns.py), beside names, with ranks of their own; and what is refused, with what there is. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_adapter.h"
#include "checkpoints/weights.h"
#include "data/corpus/json.h"
#include "tests/check.h"
#include "train/model/adapter_setup.h"

static struct model_config model_of(const char *name) {
    struct err err = {""};
    char *path = xasprintf("tests/golden/models/%s", name);
    struct weights *weights = weights_open(path, &err);
    if (!weights)
        fail_msg("%s", err.text);
    struct model_config model = *weights_config(weights);
    weights_close(weights);
    free(path);
    return model;
}

/* An element of adapter.targets. */
struct target {
    const char *name;
    int64_t rank;
    double alpha;
};

enum { MAX_TARGETS = 2 };

/* setup - with these targets; the run file says nothing else. */
static int setup(struct model_config *model, const struct target *given, int num_targets, struct err *err) {
    struct adapter_entry targets[MAX_TARGETS];
    for (int i = 0; i < num_targets; i++)
        targets[i] = (struct adapter_entry){(char *)(uintptr_t)given[i].name, given[i].rank, given[i].alpha};
    struct config config = {.adapter = {.method = ADAPTER_LORA,
                                        .rank = 2,
                                        .alpha = 4,
                                        .targets = targets,
                                        .num_targets = num_targets},
                            .model.save_dtype = DTYPE_COUNT,
                            .data.sequence_tokens = 8};
    return adapter_setup(model, &config, err);
}

static bool is_listed(const json_t *list, const char *name) {
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) if (strcmp(json_string_value(entry), name) == 0) return true;
    return false;
}

/* num_wrong - modules that have a pair and are not listed, or the other way round; *count of those that have one. */
static int num_wrong(const struct model_config *model, const json_t *list, int *count) {
    struct param at = PARAM_START;
    char name[PARAM_NAME_ROOM];
    int wrong = 0;
    *count = 0;
    while (family_next_param(model, &at)) {
        if (adapter_target_of(at.role) == ADAPTER_TARGET_COUNT || role_is_pair(at.role))
            continue;
        param_name(model, at, name);
        name[strlen(name) - strlen(".weight")] = '\0';
        bool has = adapter_has(model, at.role, at.layer);
        *count += has;
        wrong += has != is_listed(list, name);
    }
    return wrong;
}

static void test_patterns_are_pefts(void **state) {
    (void)state;
    struct err err = {""};
    json_t *root = json_load_path("tests/golden/patterns.json", 1 << 20, &err), *answers, *answer;
    size_t i;
    int num_tried = 0, previous = 0;
    assert_int_equal(json_get_array(root, "answers", &answers, &err), 0);
    json_array_foreach(answers, i, answer) {
        struct model_config model = model_of(json_string_value(json_object_get(answer, "model")));
        const json_t *want = json_object_get(answer, "modules");
        char *pattern = xstrdup(json_string_value(json_object_get(answer, "pattern")));
        struct target entry = {.name = pattern};
        int status = setup(&model, &entry, 1, &err), count = 0;
        assert_int_equal(status, json_array_size(want) > 0 ? 0 : -1);
        if (status == 0) {
            assert_int_equal(num_wrong(&model, want, &count), 0);
            assert_int_equal(count, json_array_size(want));
            num_tried++;
            if (i > 0 && previous != count) /* the control: the answer to another pattern */
                assert_true(num_wrong(&model, json_object_get(json_array_get(answers, i - 1), "modules"),
                                      &count) > 0);
            previous = count;
        }
        free(pattern);
    }
    assert_true(num_tried >= 18);
    json_decref(root);
}

/* A pattern beside a name: the name's modules are in all layers, and so must those of the pattern be. */
static void test_patterns_beside_names(void **state) {
    (void)state;
    struct err err = {""};
    struct model_config model = model_of("llama3");
    struct target all[] = {{"q", 0, 0}, {".*mlp\\.(up|down)_proj", 3, 9}};
    assert_int_equal(setup(&model, all, 2, &err), 0);
    assert_int_equal(model.adapter.ranks[ADAPTER_QUERY], 2);
    assert_int_equal(model.adapter.ranks[ADAPTER_UP], 3);
    assert_true(model.adapter.alphas[ADAPTER_DOWN] == 9);
    assert_int_equal(model.adapter.ranks[ADAPTER_GATE], 0);
    assert_true(layer_set_has(&model.adapter.layers, 0) && layer_set_has(&model.adapter.layers, 1));
    struct target parts[] = {{".*layers\\.0\\..*q_proj", 2, 0},
                             {".*layers\\.1\\..*q_proj", 0, 0}}; /* the same rank */
    model = model_of("llama3");
    assert_int_equal(setup(&model, parts, 2, &err), 0);
    assert_true(layer_set_has(&model.adapter.layers, 0) && layer_set_has(&model.adapter.layers, 1));
    struct target one[] = {{".*layers\\.1\\..*v_proj", 0, 0}};
    model = model_of("llama3");
    assert_int_equal(setup(&model, one, 1, &err), 0);
    assert_true(!layer_set_has(&model.adapter.layers, 0) && layer_set_has(&model.adapter.layers, 1));
}

static void expect_refused(const struct target *targets, int num_targets, const char *sentence) {
    struct err err = {""};
    struct model_config model = model_of("llama3");
    assert_int_equal(setup(&model, targets, num_targets, &err), -1);
    if (!strstr(err.text, sentence))
        fail_msg("'%s' is not in '%s'", sentence, err.text);
    assert_null(strchr(err.text, '\n')); /* one line */
}

static void test_what_is_refused(void **state) {
    (void)state;
    struct target uneven[] = {{"q", 0, 0}, {".*layers\\.1\\..*v_proj", 0, 0}};
    expect_refused(uneven, 2, "layer 0 has pairs, but not on 'v_proj'");
    struct target ranks[] = {{".*layers\\.0\\..*q_proj", 1, 0}, {".*layers\\.1\\..*q_proj", 2, 0}};
    expect_refused(ranks, 2,
                   "'q_proj' is meant twice, with rank 1 and alpha 4, then by a pattern with rank 2");
    struct target alphas[] = {{"q", 0, 1}, {".*layers\\.0\\..*q_proj", 0, 64}};
    expect_refused(alphas, 2, "with rank 2 and alpha 1, then by a pattern with rank 2 and alpha 64");
    expect_refused(&(struct target){"q_proj.*", 0, 0}, 1,
                   "there are model.layers.0.self_attn.q_proj, model.layers.0.self_attn.k_proj");
    expect_refused(&(struct target){"q_proj.*", 0, 0}, 1, "and so on to layer 1");
    expect_refused(&(struct target){".*(q_proj", 0, 0}, 1,
                   "cannot be used as a pattern: regular expression '.*(q_proj' does not compile");
    expect_refused(&(struct target){"x)|(.*q_proj", 0, 0}, 1, "cannot be used as a pattern");
    expect_refused(&(struct target){"(.*)*(.*)*(.*)*x", 0, 0}, 1, "adapter.targets");
    expect_refused(&(struct target){"router", 0, 0}, 1,
                   "there are q, k, v, o, gate, up, down, and all-linear, or");
    expect_refused(&(struct target){".*q_proj", 100, 0}, 1, "rank of adapter target 'q' is 100");
}

/* Of models with experts: named, by a pattern over all of them, and where the run file says nothing, on attention alone. */
static void test_experts(void **state) {
    (void)state;
    struct err err = {""};
    struct model_config model = model_of("mixtral");
    assert_int_equal(setup(&model, NULL, 0, &err), 0);
    assert_true(model.adapter.ranks[ADAPTER_OUTPUT] == 2 && !adapter_has_experts(&model));
    static const char *const all[] = {"all-linear", ".*experts.*", "w1"};
    for (int i = 0; i < 3; i++) {
        struct target targets[] = {{all[i], 0, 0}, {"up", 0, 0}};
        model = model_of("mixtral");
        assert_int_equal(setup(&model, targets, i == 2 ? 2 : 1, &err), 0);
        assert_true(adapter_has_experts(&model) && model.adapter.ranks[ADAPTER_GATE] == 2);
        assert_int_equal(model.adapter.ranks[ADAPTER_QUERY], i == 0 ? 2 : 0);
        assert_int_equal(model.adapter.ranks[ADAPTER_DOWN], i < 2 ? 2 : 0);
    }
    model = model_of("gpt_oss"); /* whose experts' matrices are the other way round */
    assert_int_equal(setup(&model, &(struct target){"all-linear", 0, 0}, 1, &err), 0);
    assert_false(adapter_has_experts(&model));
}

/* What peft would not load, or would load as another one. */
static void test_experts_refused(void **state) {
    (void)state;
    struct adapter_entry gate = {(char *)(uintptr_t) "gate", 0, 0}, up = {(char *)(uintptr_t) "up", 1, 0},
                         down = {(char *)(uintptr_t) "down", 0, 0},
                         some = {(char *)(uintptr_t) ".*experts\\.[01]\\.w[13]", 0, 0};
    const struct {
        struct config config;
        const char *sentence;
    } cases[] = {
        {{.adapter = {.targets = &gate, .num_targets = 1}},
         "gate and up of experts have pairs of the same rank"},
        {{.adapter = {.targets = (struct adapter_entry[]){gate, up}, .num_targets = 2}}, "name both alike"},
        {{.adapter = {.targets = &some, .num_targets = 1}}, "it matches 2 of the 4 experts of layer 0"},
        {{.adapter = {.targets = &down, .num_targets = 1, .dropout = 0.1}},
         "adapter.dropout beside pairs on experts"},
        {{.adapter = {.targets = &down, .num_targets = 1, .rank_stabilised = true}},
         "adapter.rslora beside pairs"},
        {{.adapter = {.targets = &down, .num_targets = 1, .method = ADAPTER_DORA}},
         "has no lengths for experts"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {""};
        struct model_config model = model_of("mixtral");
        struct config config = cases[i].config;
        config.adapter.rank = 2, config.adapter.alpha = 4;
        config.adapter.method = config.adapter.method ? config.adapter.method : ADAPTER_LORA;
        config.model.save_dtype = DTYPE_COUNT, config.data.sequence_tokens = 8;
        assert_int_equal(adapter_setup(&model, &config, &err), -1);
        if (!strstr(err.text, cases[i].sentence))
            fail_msg("'%s' is not in '%s'", cases[i].sentence, err.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns_are_pefts), cmocka_unit_test(test_patterns_beside_names),
        cmocka_unit_test(test_what_is_refused),    cmocka_unit_test(test_experts),
        cmocka_unit_test(test_experts_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
