/* test_foreign_words.c - what users of other programs type: every word leads to a key that exists, all
 * unknown keys of a file are told at once, and what is not close is not proposed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config.h"
#include "configs/schema/config_table.h"
#include "configs/schema/foreign_words.h"
#include "configs/schema/nearest.h"
#include "tests/check.h"

static void test_targets_exist(void **state) {
    (void)state;
    int count;
    const struct foreign_word *words = foreign_keys(&count);
    int num_words = 0;
    for (int i = 0; i < count; i++) {
        if (words[i].here && config_key_index(config_table(), words[i].here) < 0)
            fail_msg("'%s' leads to '%s', which is not a key", words[i].words, words[i].here);
        if (!words[i].here && !words[i].note)
            fail_msg("'%s' leads nowhere", words[i].words);
        char *list = xstrdup(words[i].words), *rest = NULL;
        for (char *word = strtok_r(list, " ", &rest); word; word = strtok_r(NULL, " ", &rest), num_words++) {
            if (config_key_index(config_table(), word) >= 0)
                fail_msg("'%s' is a key here", word);
            if (foreign_key(word) != &words[i]) /* each is there once */
                fail_msg("'%s' is a duplicate", word);
        }
        free(list);
    }
    assert_true(num_words > 800);
    assert_null(foreign_key("gradient_accumulation gradient_accumulation_steps")); /* the control: no word */
    assert_int_equal(config_key_index(config_table(), "optimizer.lr"), -1);        /* the control */
}

/* refused - the message about a run file; static memory. */
static const char *refused(const char *text, const char *override) {
    static struct err err;
    struct config config;
    const char *overrides[] = {override};
    err.text[0] = '\0';
    assert_int_equal(
        config_load_text(&config, text, strlen(text), "axo.yaml", overrides, override != NULL, &err), -1);
    return err.text;
}

static void expect(const char *text, const char *override, const char *wanted) {
    const char *message = refused(text, override);
    if (!strstr(message, wanted))
        fail_msg("'%s' is not in: %s", wanted, message);
}

static void test_hints(void **state) {
    (void)state;
    expect("optimizer: {lr: 1e-4}\n", NULL,
           "unknown key 'optimizer.lr' (did you mean 'optimizer.learning_rate'?)");
    expect("lr: 1e-4\n", NULL, "line 1 column 1: unknown key 'lr' (did you mean 'optimizer.learning_rate'?)");
    expect("", "lr=1", "option '--set lr=1': unknown key 'lr' (did you mean 'optimizer.learning_rate'?)");
    expect("", "train.num_epochs=3", "did you mean 'train.epochs'?");
    expect("train: {gradient_accumulation_steps: 8}\n", NULL, "it follows: train.batch_sequences / (ranks x");
    expect("Per-Device-Train-Batch-Size: 4\n", NULL, "did you mean 'train.micro_sequences'?");
    expect("learning_rate: 1\n", NULL, "did you mean 'optimizer.learning_rate'?");
    expect("warmup_steps: 1\n", NULL, "did you mean 'schedule.warmup_steps'?");
    expect(
        "adapter: lora\n", NULL,
        "'axo.yaml' line 1 column 1: 'adapter' is a value, expected a mapping of keys (did you mean 'adapter.method'? lora, "
        "dora or none; its keys stand below 'adapter:')");
    expect("lora_r: 8\n", NULL, "(did you mean 'adapter.rank'?)");
    expect("use_dora: true\n", NULL, "unknown key 'use_dora' (did you mean 'adapter.method'? dora)");
    expect("pissa_init: true\n", NULL,
           "unknown key 'pissa_init' (no counterpart: adapters are LoRA pairs, or DoRA");
    expect(
        "optimizer: adamw_torch\n", NULL,
        "'optimizer' is a value, expected a mapping of keys (did you mean 'optimizer.kind'? adamw or muon");
    /* words that mean something only with their section */
    expect("", "optimizer.type=muon", "(did you mean 'optimizer.kind'? adamw or muon)");
    expect("", "prepare.chat=true", "(did you mean 'prepare.sources'? 'chat: true' of a source)");
    expect("checkpoint: {steps: 5}\n", NULL, "did you mean 'checkpoint.every_steps'?");
    expect("valid: {steps: 5}\n", NULL, "did you mean 'valid.every_steps'?");
    expect("data: {path: a.h5}\n", NULL, "did you mean 'data.train'? token files");
    expect("type: muon\n", NULL, "unknown key 'type' ('atelier help config' lists them)"); /* the control */
    expect("optimizer: {lrr: 1}\n", NULL, "'atelier help config' lists them"); /* nothing is close */
    expect("optimizer: {bta1: 1}\n", NULL, "did you mean 'optimizer.beta1'?");
    expect("tran: {steps: 1}\n", NULL, "did you mean 'train'?");
    expect("qqqqqqq: 1\n", NULL, "unknown key 'qqqqqqq' ('atelier help config' lists them)");
}

static void test_all_at_once(void **state) {
    (void)state;
    static const char text[] =
        "base_model: a/b\ndatasets:\n  - path: x\n    type: alpaca\nmicro_batch_size: 2\n"
        "lora_bias: none\ntrain: {steps: many}\n";
    expect(text, "relora=8", "config 'axo.yaml': 4 unknown keys;");
    expect(text, NULL, "\n    line 1 column 1: unknown key 'base_model' (did you mean 'model.path'?");
    expect(text, NULL, "\n    line 2 column 1: unknown key 'datasets' (did you mean 'prepare.sources'?");
    expect(text, NULL,
           "\n    line 5 column 1: unknown key 'micro_batch_size' (did you mean 'train.micro_sequences'?)");
    expect(text, NULL, "\n    line 6 column 1: unknown key 'lora_bias' (no counterpart: an adapter has");
    expect(text, NULL, "'train.steps' is 'many', expected an integer");
    expect("lr: 1\noptimizer: adamw\nepochs: 1\nrun: {seed: x}\nschedule: {warmup_ratio: 0}\n", NULL,
           "4 wrong keys"); /* a fault hides none */
    /* A section that has a value is told with them, whatever comes first, and so are those after it. */
    static const char sections[] = "adapter: lora\nbase_model: a/b\noptimizer: adamw_torch\ndata: x\n";
    expect(sections, NULL, "config 'axo.yaml': 4 wrong keys;");
    expect(
        sections, NULL,
        "\n    line 1 column 1: 'adapter' is a value, expected a mapping of keys (did you mean 'adapter.method'");
    expect(
        sections, NULL,
        "\n    line 3 column 1: 'optimizer' is a value, expected a mapping of keys (did you mean 'optimizer.k");
    expect(sections, NULL, "\n    line 4 column 1: 'data' is a value, expected a mapping of keys");
    expect("zz1: 1\n", "zz2=1", "\n    option '--set zz2=1': unknown key 'zz2'");
    char many[3000] = ""; /* more than are told one by one: in few words, but all */
    for (int i = 0; i < 40; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "zz%d: 1\n", i);
    strcat(many, "lr: 1\nrelora: 1\nepochs: 1\nlora_bias: 1\n");
    expect(many, NULL, ": 44 unknown keys;");
    expect(many, NULL, "\n    here: lr: optimizer.learning_rate, epochs: train.epochs\n");
    expect(many, NULL, "\n    no counterpart: relora, lora_bias\n    not known: zz0, zz1, ");
    expect(many, NULL, ", zz39");
    assert_null(strstr(refused(many, NULL), "line 1 column 1"));
}

/* test_whole_files - of whole configuration files of other programs every key has its word here, or that there is no
 * counterpart; not one is left with the list of all keys. */
static void test_whole_files(void **state) {
    (void)state;
    static const char *const files[] = {"axolotl_full",     "axolotl_lora",   "trl_sft",
                                        "llamafactory_sft", "torchtune_full", "torchtune_lora"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = xasprintf("tests/golden/foreign/%s.yaml", files[i]), *text = NULL;
        size_t room = 0;
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        ssize_t length = getdelim(&text, &room, '\0', file);
        assert_true(length > 100);
        fclose(file);
        const char *message = refused(text, NULL),
                   *lost = strstr(message, "('atelier help config' lists them)");
        if (lost)
            fail_msg("'%s': %.*s", path, 200, lost > message + 60 ? lost - 60 : message);
        assert_non_null(strstr(message, " keys; 'atelier help config'"));
        assert_null(strstr(message, " more"));
        char *more = xasprintf("%s\nqqqqqqq: 1\n", text); /* the control */
        message = refused(more, NULL);
        assert_true(strstr(message, "'qqqqqqq' ('atelier help config' lists them)") ||
                    strstr(message, "not known: qqqqqqq"));
        free(more);
        free(text);
        free(path);
    }
}

static void test_commands(void **state) {
    (void)state;
    static const char *const commands[] = {"prepare", "chain", "eval", "train"};
    assert_null(foreign_command("chat")); /* is one of ours */
    assert_string_equal(foreign_command("fine-tune")->here, "train");
    assert_null(foreign_command("bicycle"));
    assert_null(nearest_word("chat", commands, 4)); /* not 'chain' */
    assert_string_equal(nearest_word("evaluate", commands, 4), "eval");
    assert_string_equal(nearest_word("trian", commands, 4), "train");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_targets_exist), cmocka_unit_test(test_hints),
                                       cmocka_unit_test(test_all_at_once), cmocka_unit_test(test_whole_files),
                                       cmocka_unit_test(test_commands)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
