/* test_config_effect.c - keys that are read only where another one has a certain value: refused where they would have no
 * effect, in a file and in an override; the table's conditions can hold. */
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config.h"
#include "configs/schema/config_store.h"
#include "tests/check.h"

static int load(struct config *config, const char *text, const char *const *overrides, int num_overrides,
                struct err *err) {
    return config_load_text(config, text, strlen(text), "a/b.yaml", overrides, num_overrides, err);
}

static const struct {
    const char *text, *message;
} REFUSALS[] = {
    {"optimizer: {momentum: 0.9}\n",
     "config 'a/b.yaml' line 1 column 13: 'optimizer.momentum' is 0.9, which would have no effect: it is read only with optimizer.kind: "
     "muon (here it is adamw); remove it (--set optimizer.momentum=null), or change the other key"},
    {"schedule: {kind: cosine, decay_steps: 5}\n", "'schedule.decay_steps' is 5, which would have no effect"},
    {"schedule: {kind: constant, final_ratio: 0.5}\n",
     "with schedule.kind: linear, cosine or wsd (here it is constant)"},
    {"data: {packing: stream, long_documents: fail}\n",
     "only with data.packing: whole or auto (here it is stream)"},
    {"model: {architecture: {rope_factor: 2}}\n",
     "with model.architecture.rope_scaling: linear, llama3 or yarn"},
    {"model: {architecture: {rope_scaling: llama3, rope_beta_slow: 2}}\n",
     "rope_scaling: yarn (here it is llama3)"},
    {"model: {architecture: {rope_scaling: linear, rope_high_freq: 3}}\n",
     "rope_scaling: llama3 (here it is linear)"},
    {"valid: {every_steps: 5}\n",
     "'valid.every_steps' is 5, which would have no effect: it is read only with data.valid;"},
    {"fabric: {probe: off, minimum: 0.5}\n", "only with fabric.probe: auto or on (here it is off)"},
    {"checkpoint: {every_steps: 5, node_mtbf_h: 100}\n", "with checkpoint.every_steps: -1 (here it is 5)"},
    {"prepare: {chat_template: chatml, sources: [{path: a.jsonl}]}\n",
     "'prepare.chat_template' is \"chatml\", which would have no effect: it is read only where an entry of "
     "prepare.sources has chat: true;"},
    {"prepare: {document_ends: none, sources: [{path: a.jsonl, chat: true}]}\n",
     "prepare.sources has chat: false"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        struct config config;
        struct err err = {""};
        if (load(&config, REFUSALS[i].text, NULL, 0, &err) == 0)
            fail_msg("loads, but should not: %s", REFUSALS[i].text);
        if (!strstr(err.text, REFUSALS[i].message))
            fail_msg("for\n%s\nexpected: %s\ngot:      %s", REFUSALS[i].text, REFUSALS[i].message, err.text);
    }
}

static void assert_loads(struct config *config, const char *text, const char *override) {
    struct err err = {""};
    if (load(config, text, &override, override != NULL, &err) != 0)
        fail_msg("does not load: %s", err.text);
}

/* Keys without effect: what is allowed all the same, and what overrides do. */
static void test_effects(void **state) {
    (void)state;
    static const char *const allowed[] = {
        "optimizer: {momentum: 0.950}\n", /* the default asks for nothing */
        "optimizer: {kind: muon, momentum: 0.9}\n",
        "optimizer: {momentum: 0.9, kind: muon}\n",
        "schedule: {kind: wsd, decay_steps: 5}\n",
        "schedule: {kind: linear, final_ratio: 0.5}\n",
        "data: {packing: whole, long_documents: fail}\n",
        "data: {valid: v.h5}\nvalid: {every_steps: 5, sequences: 2}\n",
        "data: {valid: []}\nvalid: {every_steps: 5}\n", /* validation is switched off on purpose */
        "checkpoint: {node_mtbf_h: 100}\n",
        "prepare: {document_ends: none, sources: [{path: a.jsonl, chat: true}, {path: b.txt}]}\n",
        "prepare: {chat_template: chatml, sources: [{path: b.txt}, {path: a.jsonl, chat: true}]}\n",
        "prepare: {chat_template: chatml}\n"};
    struct config config, again;
    struct err err = {""};
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        assert_loads(&config, allowed[i], NULL);
        assert_loads(&again, config.text, NULL);
        config_free(&again);
        config_free(&config);
    }
    const char *const to_cosine[] = {"schedule.kind=cosine", "schedule.decay_steps=null"};
    static const char wsd[] = "schedule: {kind: wsd, decay_steps: 5}\n";
    assert_int_equal(load(&config, wsd, to_cosine, 1, &err), -1);
    assert_non_null(strstr(err.text, "config 'a/b.yaml' line 1 column 23: 'schedule.decay_steps' is 5"));
    assert_int_equal(load(&config, wsd, to_cosine, 2, &err), 0);
    config_free(&config);
    const char *const off = "data.valid=null";
    static const char validated[] = "data: {valid: v.h5}\nvalid: {every_steps: 5}\n";
    assert_loads(&config, validated, off);
    assert_loads(&again, config.text, NULL); /* and stays off in the text that a job is given */
    assert_int_equal(again.valid.every_steps, 0);
    config_free(&again);
    config_free(&config);
    const char *const set = "optimizer.momentum=0.9";
    assert_int_equal(load(&config, "", &set, 1, &err), -1);
    assert_non_null(strstr(err.text, "option '--set optimizer.momentum=0.9': 'optimizer.momentum' is 0.9"));
    /* What an earlier version kept in a checkpoint is read all the same. */
    assert_int_equal(config_load_kept(&config, "optimizer: {momentum: 0.9}\n", "training.json", &err), 0);
    assert_true(config.optimizer.momentum == 0.9);
    config_free(&config);
}

/* Every condition names a key, and words that it can have; its own default can be written. */
static void test_conditions(void **state) {
    (void)state;
    int num_conditions = 0;
    for (int i = 0; i < config_table()->num_keys; i++) {
        const struct config_key *key = &config_table()->keys[i];
        char *usual = config_default_text(key);
        assert_true((usual != NULL) == (key->fallback != NULL && key->type != KEY_LIST));
        free(usual);
        if (!key->needs.key)
            continue;
        const char *const dot = strrchr(key->needs.key, '.');
        const struct config_key *other = NULL;
        int index = config_key_index(config_table(), key->needs.key);
        if (index >= 0)
            other = &config_table()->keys[index];
        for (int k = 0; !other && k < config_table()->num_keys; k++) {
            const struct config_key *list = &config_table()->keys[k];
            if (list->type == KEY_LIST &&
                strncmp(list->name, key->needs.key, (size_t)(dot - key->needs.key)) == 0)
                other = &list->element->keys[config_key_index(list->element, dot + 1)];
        }
        assert_non_null(other);
        for (const char *word = key->needs.values; word && *word;
             word += strcspn(word, " "), word += *word == ' ') {
            size_t length = strcspn(word, " ");
            bool is_known = other->type == KEY_BOOL || other->type == KEY_INT;
            for (const struct config_choice *c = other->choices; c && c->name; c++)
                is_known = is_known || (strlen(c->name) == length && strncmp(c->name, word, length) == 0);
            if (!is_known)
                fail_msg("'%s' needs '%s' to be '%.*s', which it cannot be", key->name, key->needs.key,
                         (int)length, word);
        }
        num_conditions++;
    }
    assert_true(num_conditions >= 14);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refusals), cmocka_unit_test(test_effects),
                                       cmocka_unit_test(test_conditions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
