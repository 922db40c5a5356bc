/* test_config.c - the run file: every kind of error with its exact place, defaults, overrides, the resolved
 * text, and every file of configs/. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config.h"
#include "configs/schema/config_keys.h"
#include "configs/schema/nearest.h"
#include "data/corpus/json.h"
#include "tests/check.h"

static int load(struct config *config, const char *text, const char *const *overrides, int num_overrides,
                struct err *err) {
    return config_load_text(config, text, strlen(text), "a/b.yaml", overrides, num_overrides, err);
}

static void assert_loads(struct config *config, const char *text) {
    struct err err = {""};
    if (load(config, text, NULL, 0, &err) != 0)
        fail_msg("does not load: %s", err.text);
}

/* --- what must be refused, and how --- */

struct refusal {
    const char *text,
        *message; /* the message must hold this, after "config 'a/b.yaml'" where it starts with a space */
};

static const struct refusal REFUSALS[] = {
    {"train:\n  step: 5\n", " line 2 column 3: unknown key 'train.step' (did you mean 'train.steps'?)"},
    {"optim:\n  learning_rate: 1\n", " line 1 column 1: unknown key 'optim'"},
    {"train:\n  learning_rate: 1\n",
     " line 2 column 3: unknown key 'train.learning_rate' (did you mean 'optimizer.learning_rate'?)"},
    {"zzzzzz: 1\n", " line 1 column 1: unknown key 'zzzzzz' ('atelier help config' lists them)"},
    {"model:\n  architecture:\n    widht: 5\n",
     " line 3 column 5: unknown key 'model.architecture.widht' (did you mean 'model.architecture.width'?)"},
    {"train:\n  steps: 0\n",
     " line 2 column 3: 'train.steps' is '0', expected an integer from 1 to 1000000000000"},
    {"train:\n  steps: 1.5\n", " line 2 column 3: 'train.steps' is '1.5', expected an integer"},
    {"train:\n  steps: 1e3\n", "'train.steps' is '1e3', expected an integer"},
    {"train:\n  steps: 1_000\n", "(write numbers without '_')"},
    {"train:\n  steps: 99999999999999999999\n",
     "'train.steps' is '99999999999999999999', expected an integer"},
    {"train:\n  steps: 0x10\n",
     "'train.steps' is '0x10', expected an integer from 1 to 1000000000000 (write numbers"},
    {"train:\n  steps: 010\n",
     "'train.steps' is '010', expected an integer from 1 to 1000000000000 (a leading zero: some readers of YAML take it"},
    {"run: {seed: 00}\n", "'run.seed' is '00'"},
    {"run: {threads: +01}\n", "'run.threads' is '+01'"},
    {"optimizer: {learning_rate: 01e-3}\n",
     "'optimizer.learning_rate' is '01e-3', expected a number from 1e-12 to 100 (a"},
    {"train:\n  steps: '10'\n", "'train.steps' is a quoted text, expected an integer"},
    {"train:\n  steps: [1]\n", "'train.steps' is a list, expected an integer"},
    {"train: 5\n", " line 1 column 1: 'train' is a value, expected a mapping of keys"},
    {"train: [5]\n", " line 1 column 1: 'train' is a list, expected a mapping of keys"},
    {"optimizer:\n  learning_rate: fast\n",
     "'optimizer.learning_rate' is 'fast', expected a number from 1e-12 to 100"},
    {"optimizer:\n  learning_rate: nan\n", "'optimizer.learning_rate' is 'nan'"},
    {"optimizer:\n  learning_rate: inf\n", "'optimizer.learning_rate' is 'inf'"},
    {"optimizer:\n  learning_rate: 1e999\n", "'optimizer.learning_rate' is '1e999'"},
    {"optimizer:\n  learning_rate: 0x1p-3\n", "'optimizer.learning_rate' is '0x1p-3'"},
    {"optimizer:\n  learning_rate: .\n", "'optimizer.learning_rate' is '.'"},
    {"optimizer:\n  learning_rate: 1e\n", "'optimizer.learning_rate' is '1e'"},
    {"prepare:\n  deduplicate: yes\n", "'prepare.deduplicate' is 'yes', expected true or false"},
    {"schedule:\n  kind: cosin\n",
     "'schedule.kind' is 'cosin', expected constant | linear | cosine | wsd (did you mean 'cosine'?)"},
    {"prepare:\n  chat_template: chatlm\n", "(did you mean 'chatml'?)"},
    {"train:\n  steps: 5\n  steps: 6\n", " line 3 column 3: key 'steps' is a duplicate, first on line 2"},
    {"train.steps: 5\ntrain:\n  steps: 6\n",
     " line 3 column 3: key 'train.steps' is a duplicate, first on line 1"},
    {"train:\n\tsteps: 5\n", " line 2 column 1: a character that cannot start a value here; tabs"},
    {"train: &a\n  steps: 5\n", " line 1 column 8: anchors"},
    {"train: *a\n", " line 1 column 8: aliases"},
    {"train: !!map\n  steps: 5\n", " line 1 column 8: tags"},
    {"a: [[[[[[[[[[1]]]]]]]]]]\n", "nested too deeply"},
    {"train:\n  steps: 5\n---\ntrain:\n", " line 3 column 1: a second document"},
    {"train:\n  steps: 5\n ]\n", " line 3 column 2: "},
    {"[1, 2]\n", " line 1 column 1: the file is a list"},
    {"? [a]\n: 1\n", "a key must be a word"},
    {"run:\n  folder: \"a\\0b\"\n", " line 2 column 11: a NUL character inside a value"},
    {"run:\n  folder: \xff\xfe\n", "byte 15: not valid text"},
    {"data:\n  train: [{path: a.h5, wieght: 2}]\n",
     " line 2 column 24: unknown key 'wieght' in 'data.train' (did you mean 'weight'?)"},
    {"data:\n  train:\n    - weight: 2\n", " line 3 column 7: an entry of 'data.train' has no 'path'"},
    {"data:\n  train: [{path: a.h5, weight: 0}]\n", "'weight' is '0', expected a number from 1e-06"},
    {"data:\n  train: [[a.h5]]\n", "an entry of 'data.train' is a list"},
    {"data:\n  train: [a.h5, null]\n", "an entry of 'data.train' is empty"},
    /* nothing said where something was to be said */
    {"train:\n  steps:\n",
     " line 2 column 3: 'train.steps' has no value: remove the line for the default (1000) or give one"},
    {"train:\n  steps: null\n", "'train.steps' has no value: remove the line for the default (1000)"},
    {"train:\n  steps: ~\n", "'train.steps' has no value"},
    {"schedule: {kind: }\n", "'schedule.kind' has no value: remove the line for the default (cosine)"},
    {"optimizer:\n  offload:\n", "'optimizer.offload' has no value"},
    {"run:\n  folder:\n", "'run.folder' has no value: remove the line for the default (nothing) or give one"},
    {"model:\n  path:\n", "'model.path' has no value"},
    {"data:\n  train:\n", "'data.train' has no value"},
    {"data:\n  train: [{path: a.h5, weight: }]\n", "'weight' has no value"},
    {"prepare:\n  sources: [{path: a, where: status}]\n",
     "'where' is a value, expected a mapping of names to values"},
    {"prepare:\n  sources: [{path: a, where: {b: {c: d}}}]\n", "line 2 column"},
    {"prepare:\n  sources: [{path: a, where: {b: }}]\n", "'values' has no value"},
    {"prepare:\n  sources: [{path: a, format: txt}]\n", "'format' is 'txt', expected auto | text | jsonl"},
    /* rules between keys */
    {"train:\n  steps: 10\nschedule:\n  warmup_steps: 10\n",
     " line 4 column 3: 'schedule.warmup_steps' is 10, expected less than train.steps (10)"},
    {"train:\n  batch_sequences: 2\n  micro_sequences: 4\n",
     " line 3 column 3: 'train.micro_sequences' is 4, more than train.batch_sequences (2)"},
    {"train: {steps: 10}\nschedule: {kind: wsd, warmup_steps: 5, decay_steps: 6}\n",
     " line 2 column 40: 'schedule.decay_steps' is 6"},
    {"model:\n  architecture:\n    width: 8\n", "'model.architecture.layers' is missing"},
    {"model:\n  architecture: {width: 64, layers: 1, heads: 3, kv_heads: 2, ffn_width: 8}\n",
     "'model.architecture.kv_heads' is 2, which does not divide the 3 heads"},
    {"model:\n  architecture: {width: 9, layers: 1, heads: 3, ffn_width: 8}\n",
     "'model.architecture.head_dim' would be 3"},
    {"model:\n  architecture: {width: 8, layers: 1, heads: 2, ffn_width: 8, rope_scaling: yarn, rope_beta_fast: 0.5}\n",
     "'model.architecture.rope_beta_fast' is 0.5, expected at least rope_beta_slow (1)"},
    {"model:\n  architecture: {width: 8, layers: 1, heads: 2, ffn_width: 8, max_positions: 16}\n",
     "'data.sequence_tokens' is 512, more than model.architecture.max_positions (16)"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        struct config config;
        struct err err = {""};
        if (load(&config, REFUSALS[i].text, NULL, 0, &err) == 0)
            fail_msg("loads, but should not: %s", REFUSALS[i].text);
        char *want =
            xasprintf("%s%s", REFUSALS[i].message[0] == ' ' ? "config 'a/b.yaml'" : "", REFUSALS[i].message);
        if (!strstr(err.text, want))
            fail_msg("for\n%s\nexpected: %s\ngot:      %s", REFUSALS[i].text, want, err.text);
        assert_non_null(strstr(err.text, "config 'a/b.yaml'"));
        free(want);
        config_free(&config); /* harmless after a failure */
    }
}

static void test_sizes(void **state) {
    (void)state;
    struct config config;
    struct err err = {""};
    size_t size = (1 << 20) + 1;
    char *text = xmalloc(size);
    memset(text, '#', size);
    assert_int_equal(config_load_text(&config, text, size, "big.yaml", NULL, 0, &err), -1);
    assert_non_null(strstr(err.text, "more than the 1048576 allowed"));
    assert_int_equal(config_load_text(&config, text, size - 1, "big.yaml", NULL, 0, &err),
                     0); /* a long comment */
    config_free(&config);
    free(text);
    /* Thousands of keys must not cost the square of their number. */
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; i < 60000; i++)
        fprintf(out, "k%d: 1\n", i);
    fclose(out);
    assert_int_equal(config_load_text(&config, text, size, "many.yaml", NULL, 0, &err), -1);
    assert_non_null(strstr(err.text, "line 257 column 1: too many keys"));
    free(text);
}

/* --- what must be read --- */

static void test_defaults(void **state) {
    (void)state;
    struct config config;
    assert_loads(&config, "");
    assert_string_equal(config.run.folder, "runs/b");
    assert_int_equal(config.train.steps, 1000);
    assert_true(config.optimizer.learning_rate == 1e-4);
    assert_int_equal(config.schedule.kind, SCHEDULE_COSINE);
    assert_int_equal(config.model.save_dtype, DTYPE_COUNT);
    assert_false(config.model.has_architecture);
    assert_null(config.model.path);
    assert_int_equal(config.data.num_train, 0);
    struct err err = {""};
    assert_int_equal(config_need_train(&config, &err), -1);
    assert_non_null(strstr(err.text, "config 'a/b.yaml': no model"));
    assert_int_equal(config_need_prepare(&config, &err), -1);
    assert_non_null(strstr(err.text, "prepare.tokenizer"));
    config_free(&config);
}

static const char FULL[] =
    "run: {folder: 'my run', seed: 9007199254740991, threads: 2}\n"
    "model:\n  tokenizer: tok.json\n  save_dtype: bf16\n"
    "  architecture: {width: 64, layers: 2, heads: 4, kv_heads: 2, ffn_width: 128,\n"
    "    rope_scaling: llama3, rope_factor: 8, norm_eps: 1e-6, tied_head: false}\n"
    "data:\n  train: [a.h5, {path: \"b \\\"c\\\".h5\", weight: 0.25}]\n  valid: v.h5\n"
    "train: {steps: 20, batch_sequences: 4}\n"
    "schedule: {kind: wsd}\n"
    "optimizer: {learning_rate: 3e-3, eps: .5e-8}\n"
    "prepare:\n  tokenizer: tok.json\n  output: o.h5\n  sources:\n"
    "    - path: corpora/fiches/\n      licence: Licence Ouverte 2.0\n"
    "    - {path: legi.csv, delimiter: \";\", fields: [title, text], separator: \"\\n\",\n"
    "       where: {status: VIGUEUR, \"an: née\": [2024, \"x, y\"]}}\n"
    "    - {path: chat.jsonl.zst, chat: true, name: dialogues}\n";

static void check_full(const struct config *c) {
    struct err err = {""};
    assert_string_equal(c->run.folder, "my run");
    assert_true(c->run.seed == 9007199254740991);
    const struct model_config *model = &c->model.architecture;
    assert_true(c->model.has_architecture);
    assert_int_equal(model->width, 64);
    assert_int_equal(model->num_layers, 2);
    assert_int_equal(model->head_dim, 16);
    assert_int_equal(model->num_kv_heads, 2);
    assert_int_equal(model->vocab_size, 0);
    assert_int_equal(model->dtype, DTYPE_BF16);
    assert_int_equal(model->rope_kind, ROPE_LLAMA3);
    assert_true(model->norm_eps == 1e-6f && !model->tied_head && model->bos_id == -1);
    assert_string_equal(model->model_type, "llama");
    assert_int_equal(c->data.num_train, 2);
    assert_string_equal(c->data.train[0].path, "a.h5");
    assert_true(c->data.train[0].weight == 1.0 && c->data.train[1].weight == 0.25);
    assert_string_equal(c->data.train[1].path, "b \"c\".h5");
    assert_int_equal(c->data.num_valid, 1);
    assert_string_equal(c->data.valid[0].path, "v.h5");
    assert_int_equal(c->schedule.decay_steps, 2);
    assert_true(c->optimizer.learning_rate == 3e-3 && c->optimizer.eps == 0.5e-8);
    assert_int_equal(c->prepare.num_sources, 3);
    assert_string_equal(c->prepare.sources[0].name, "fiches");
    assert_string_equal(c->prepare.sources[0].licence, "Licence Ouverte 2.0");
    assert_string_equal(c->prepare.sources[0].url, "");
    assert_string_equal(c->prepare.sources[0].field, "text");
    assert_string_equal(c->prepare.sources[2].name, "dialogues");
    assert_null(c->prepare.sources[2].field); /* by the form of each line */
    assert_true(c->prepare.sources[2].chat && !c->prepare.sources[0].chat);
    const struct prepare_source *source = &c->prepare.sources[1];
    assert_null(source->field);
    assert_int_equal(source->num_fields, 2);
    assert_string_equal(source->fields[1].text, "text");
    assert_string_equal(source->separator, "\n");
    assert_int_equal(source->num_filters, 2);
    assert_string_equal(source->where[0].field, "status");
    assert_int_equal(source->where[0].num_values, 1);
    assert_string_equal(source->where[0].values[0].text, "VIGUEUR");
    assert_string_equal(source->where[1].field, "an: née");
    assert_string_equal(source->where[1].values[0].text, "2024");
    assert_string_equal(source->where[1].values[1].text, "x, y");
    assert_int_equal(config_need_train(c, &err), 0);
    assert_int_equal(config_need_prepare(c, &err), 0);
}

static void test_full(void **state) {
    (void)state;
    struct config config, again;
    assert_loads(&config, FULL);
    check_full(&config);
    /* The resolved text says the same, and resolves to itself. */
    assert_loads(&again, config.text);
    check_full(&again);
    assert_string_equal(again.text, config.text);
    config_free(&again);
    /* Control: another configuration has another text. */
    const char *const override = "train.steps=21";
    struct err err;
    assert_int_equal(load(&again, FULL, &override, 1, &err), 0);
    assert_string_not_equal(again.text, config.text);
    config_free(&again);
    config_free(&config);
}

static void test_needs(void **state) {
    (void)state;
    struct config config;
    struct err err = {""};
    const char *const both = "model.path=x";
    assert_int_equal(load(&config, FULL, &both, 1, &err), 0);
    assert_int_equal(config_need_train(&config, &err), -1);
    assert_non_null(strstr(err.text, "model.path and model.architecture are both given"));
    config_free(&config);
    assert_loads(&config, "model: {path: x}\n");
    assert_int_equal(config_need_train(&config, &err), -1);
    assert_non_null(strstr(err.text, "data.train"));
    config_free(&config);
    assert_loads(&config, "model: {architecture: {width: 8, layers: 1, heads: 1, ffn_width: 8}}\n"
                          "data: {train: a.h5}\n");
    assert_int_equal(config_need_train(&config, &err), -1);
    assert_non_null(strstr(err.text, "model.tokenizer"));
    config_free(&config);
    assert_loads(&config, "model: {path: x}\ndata: {train: a.h5}\n");
    assert_int_equal(config_need_train(&config, &err), 0);
    config_free(&config);
    assert_loads(&config, "model: {path: x, tokenizer: t.json}\ndata: {train: a.h5}\n");
    assert_int_equal(config_need_train(&config, &err), -1);
    assert_non_null(strstr(err.text, "model.tokenizer would have no effect"));
    config_free(&config);
}

/* null is an answer where there is no default, and nothing below a section is a section without keys. */
static void test_null(void **state) {
    (void)state;
    struct config config;
    struct err err = {""};
    assert_int_equal(load(&config,
                          "run: {gemm_choices: null}\nmodel: {path: ~}\ndata: {valid: null, train: []}\n"
                          "train:\nslurm: {account: \"\"}\n",
                          NULL, 0, &err),
                     0);
    assert_null(config.run.gemm_choices);
    assert_int_equal(config_gemm_choices(&config), GEMM_CHOICES_AUTO);
    assert_null(config.model.path);
    assert_int_equal(config.data.num_valid, 0);
    assert_int_equal(config.train.steps, 1000);
    assert_string_equal(config.slurm.account, "");
    config_free(&config);
}

static void test_overrides(void **state) {
    (void)state;
    struct config config;
    struct err err = {""};
    const char *const good[] = {"train.steps=7",        "train.steps=8",     "run.folder=a: b # c",
                                "model.tokenizer=null", "data.train=[x.h5]", "data.valid=null",
                                "optimizer.beta2=null"};
    assert_int_equal(load(&config, FULL, good, 7, &err), 0);
    assert_int_equal(config.train.steps, 8);
    assert_string_equal(config.run.folder, "a: b # c");
    assert_null(config.model.tokenizer);
    assert_int_equal(config.data.num_train, 1);
    assert_string_equal(config.data.train[0].path, "x.h5");
    assert_int_equal(config.data.num_valid, 0);
    assert_true(config.optimizer.beta2 == 0.95);
    config_free(&config);

    const struct refusal bad[] = {
        {"train.stesp=7",
         "option '--set train.stesp=7': unknown key 'train.stesp' (did you mean 'train.steps'?)"},
        {"train.steps=x", "option '--set train.steps=x': 'train.steps' is 'x', expected an integer"},
        {"train.steps", "option '--set train.steps': expected key=value"},
        {"train.steps=", "option '--set train.steps=': 'train.steps' has no value: give one, or write "
                         "train.steps=null for the default (1000)"},
        {"run.folder=", "'run.folder' has no value"},
        {"data.valid=", "'data.valid' has no value"},
        {"=5", "expected key=value"},
        {"data.train=[", "option '--set data.train=[': line "},
        {"schedule.warmup_steps=20",
         "option '--set schedule.warmup_steps=20': 'schedule.warmup_steps' is 20"},
        {"run.folder=\xff", "a value holds bytes that are not text"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(load(&config, FULL, &bad[i].text, 1, &err), -1);
        if (!strstr(err.text, bad[i].message))
            fail_msg("expected: %s\ngot:      %s", bad[i].message, err.text);
    }
}

/* --- the table itself, and the files --- */

static void test_table(void **state) {
    (void)state;
    const struct config_table *table = config_table();
    for (int i = 0; i < table->num_keys; i++) {
        const struct config_key *key = &table->keys[i];
        assert_non_null(strchr(key->name, '.'));
        assert_true(strlen(key->help) > 10);
        assert_int_equal(config_key_index(table, key->name), i); /* no name twice */
        for (int k = 0; k < i; k++)
            assert_int_not_equal(table->keys[k].offset, key->offset); /* no field twice */
        bool is_number = key->type == KEY_INT || key->type == KEY_INT32 || key->type == KEY_REAL ||
                         key->type == KEY_REAL32;
        assert_true(!is_number || key->min < key->max);
        assert_true(key->type != KEY_INT32 || key->max <= 2147483647.0);
    }
}

static void test_nearest(void **state) {
    (void)state;
    const char *const words[] = {"train", "prepare", NULL, "export"};
    assert_int_equal(nearest_distance("abc", "abc"), 0);
    assert_int_equal(nearest_distance("abc", "acb"), 1);
    assert_int_equal(nearest_distance("", "abc"), 3);
    assert_int_equal(nearest_distance("kitten", "sitting"), 3);
    assert_string_equal(nearest_word("trian", words, 4), "train");
    assert_null(nearest_word("bicycle", words, 4));
}

/* tiny_cpu.yaml promises to hold every key. */
static void test_every_key_is_shown(void **state) {
    (void)state;
    struct config config;
    struct err err = {""};
    size_t length_bytes = 0;
    char *text = file_read_whole("configs/tiny_cpu.yaml", 1 << 20, &length_bytes, &err);
    assert_non_null(text);
    assert_int_equal(config_load(&config, "configs/tiny_cpu.yaml", NULL, 0, &err), 0);
    assert_int_equal(config_need_train(&config, &err), 0);
    assert_int_equal(config_need_prepare(&config, &err), 0);
    for (int i = 0; i < config_table()->num_keys; i++) {
        char *line = xasprintf("\n  %s:", strrchr(config_table()->keys[i].name, '.') + 1);
        char *deeper = xasprintf("\n    %s:", strrchr(config_table()->keys[i].name, '.') + 1);
        if (!strstr(text, line) && !strstr(text, deeper) &&
            strcmp(config_table()->keys[i].name, "model.path") != 0)
            fail_msg("'%s' is not in configs/tiny_cpu.yaml", config_table()->keys[i].name);
        free(line);
        free(deeper);
    }
    config_free(&config);
    free(text);
}

/* What a change means on resume: what makes the run another one is fixed, also where nobody said so. */
static void test_classes(void **state) {
    (void)state;
    const struct {
        const char *name;
        enum key_class class;
    } wanted[] = {{"run.seed", KEY_FIXED},
                  {"model.path", KEY_FIXED},
                  {"model.architecture.layers", KEY_FIXED},
                  {"data.train", KEY_FIXED},
                  {"data.packing", KEY_FIXED},
                  {"train.batch_sequences", KEY_FIXED},
                  {"train.steps", KEY_COURSE},
                  {"optimizer.learning_rate", KEY_COURSE},
                  {"optimizer.beta2", KEY_COURSE},
                  {"schedule.warmup_steps", KEY_COURSE},
                  {"schedule.final_ratio", KEY_COURSE},
                  {"train.grad_clip", KEY_COURSE},
                  {"run.threads", KEY_FREE},
                  {"parallel.stage", KEY_FREE},
                  {"prepare.threads", KEY_FREE},
                  {"slurm.nodes", KEY_FREE}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        int index = config_key_index(config_table(), wanted[i].name);
        assert_true(index >= 0);
        if (config_table()->keys[index].class != wanted[i].class)
            fail_msg("'%s' is %s", wanted[i].name, config_class_name(config_table()->keys[index].class));
    }
    static const struct config_key forgotten = TEXT("a.b", 0, NULL, "help");
    assert_int_equal(forgotten.class, KEY_FIXED);
    assert_string_equal(config_class_name(forgotten.class), "fixed");
}

/* Every run file of the repository loads, and is good for training or for preparing. */
static void test_configs_folder(void **state) {
    (void)state;
    DIR *folder = opendir("configs");
    assert_non_null(folder);
    int num_files = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".yaml") != 0)
            continue;
        struct config config;
        struct err err = {""};
        char *path = xasprintf("configs/%s", entry->d_name);
        if (config_load(&config, path, NULL, 0, &err) != 0)
            fail_msg("%s", err.text);
        if (config_need_train(&config, &err) != 0 && config_need_prepare(&config, &err) != 0)
            fail_msg("'%s' serves neither train nor prepare", path);
        num_files++;
        config_free(&config);
        free(path);
    }
    closedir(folder);
    assert_true(num_files >= 3);
    struct config config;
    struct err err = {""};
    assert_int_equal(config_load(&config, "configs/absent.yaml", NULL, 0, &err), -1);
    assert_non_null(strstr(err.text, "'configs/absent.yaml'"));
    assert_int_equal(config_load(&config, "configs", NULL, 0, &err), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_full),
        cmocka_unit_test(test_needs),          cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_table),          cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_configs_folder), cmocka_unit_test(test_every_key_is_shown),
        cmocka_unit_test(test_classes),        cmocka_unit_test(test_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
