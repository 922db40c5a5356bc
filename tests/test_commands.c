/* test_commands.c - the table of commands and the one reader of their options: for every row of the table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "train/commands/commands.h"

enum { WORDS_MAX = 64, VALUE_ROOM = 64 };

/* A command line that is being put together. */
struct line {
    char *words[WORDS_MAX]; /* borrowed, or in values */
    int count;
    char values[WORDS_MAX][VALUE_ROOM];
};

static void put(struct line *line, const char *word) {
    assert_true(line->count < WORDS_MAX);
    line->words[line->count++] = (char *)(uintptr_t)word;
}

/* put_value - one that the row takes. */
static void put_value(struct line *line, const struct option *option) {
    char *text = line->values[line->count];
    if (option->kind == OPTION_CHOICE)
        snprintf(text, VALUE_ROOM, "%.*s", (int)strcspn(option->value, "|"), option->value);
    else if (option->kind == OPTION_INT || option->kind == OPTION_REAL)
        snprintf(text, VALUE_ROOM, "%.0f", option->max);
    else
        snprintf(text, VALUE_ROOM, "a.b=c");
    put(line, text);
}

/* put_required - all that the command needs, but for row 'without'. */
static void put_required(struct line *line, const struct command *command, int without) {
    for (int i = 0; i < command->num_options; i++) {
        const struct option *option = &command->options[i];
        if (!option->is_required || i == without)
            continue;
        if (!option_is_argument(option))
            put(line, option->name);
        put_value(line, option);
    }
}

static void reads(const struct command *command, const struct line *line, const char *phrase) {
    struct err err = {""};
    char *words = calloc(1, command->words_bytes);
    int status =
        options_read(command->options, command->num_options, words, line->count, (char **)line->words, &err);
    free(words);
    if (phrase ? status == 0 || !strstr(err.text, phrase) : status != 0)
        fail_msg("%s: '%s' where '%s' was expected", command->name, err.text, phrase ? phrase : "");
}

/* --- the help --- */

static char *help_of(const struct command *command) {
    char *text = NULL;
    size_t length_bytes;
    FILE *out = open_memstream(&text, &length_bytes);
    command_print_help(out, command);
    fclose(out);
    return text;
}

static int count(const char *text, const char *part) {
    int found = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        found++;
    return found;
}

/* names_all - whether the usage line and the list below it name every option of the table. */
static bool names_all(const char *help, const struct option *options, int num_options) {
    char typed[128];
    for (int i = 0; i < num_options; i++)
        if (count(help, option_text(&options[i], typed, sizeof typed)) < 2 || strlen(options[i].help) < 3)
            return false;
    return true;
}

static void test_help(void **state) {
    (void)state;
    struct option more[OPTIONS_MAX] = {{.name = "--not-there", .kind = OPTION_FLAG, .help = "nothing"}};
    const struct command *command;
    int i = 0;
    for (; (command = command_at(i)); i++) {
        char *help = help_of(command);
        assert_true(command->num_options < OPTIONS_MAX && command->num_options > 0);
        if (!names_all(help, command->options, command->num_options))
            fail_msg("the help of '%s' leaves an option out:\n%s", command->name, help);
        memcpy(more + 1, command->options, (size_t)command->num_options * sizeof *more);
        assert_false(names_all(help, more, command->num_options + 1)); /* control: one more than it names */
        assert_non_null(strstr(help, "usage: atelier "));
        assert_true(strlen(command->text) > 20 && strlen(command->summary) > 10);
        assert_ptr_equal(command_find(command->name), command); /* each name stands there once */
        for (const char *line = help; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
            assert_true(strcspn(line, "\n") <= 100);
        free(help);
    }
    assert_int_equal(i, 17);
    assert_null(command_find("no-such-command"));
}

/* --- the errors, of every option of every command --- */

static void test_required(void **state) {
    (void)state;
    const struct command *command;
    for (int c = 0; (command = command_at(c)); c++) {
        struct line all = {.count = 0};
        put_required(&all, command, -1);
        reads(command, &all, NULL);
        for (int i = 0; i < command->num_options; i++) {
            struct line line = {.count = 0};
            const struct option *option = &command->options[i];
            put_required(&line, command, i);
            reads(command, &line, option->is_required ? "is missing" : NULL);
        }
    }
}

static void test_each_option(void **state) {
    (void)state;
    const struct command *command;
    int num_lists = 0;
    for (int c = 0; (command = command_at(c)); c++)
        for (int i = 0; i < command->num_options; i++) {
            const struct option *option = &command->options[i];
            struct line once = {.count = 0};
            if (option_is_argument(option))
                continue;
            put_required(&once, command, i);
            put(&once, option->name);
            if (option->kind != OPTION_FLAG) {
                reads(command, &once, "needs a value"); /* the line ends */
                struct line next = once;
                put(&next, option->name); /* an option's name is not a value */
                reads(command, &next, "needs a value");
                put_value(&once, option);
            }
            reads(command, &once, NULL);
            struct line twice = once;
            put(&twice, option->name);
            if (option->kind != OPTION_FLAG)
                put_value(&twice, option);
            reads(command, &twice, option->kind == OPTION_LIST ? NULL : "is given twice");
            num_lists += option->kind == OPTION_LIST;
        }
    assert_true(num_lists >= 4); /* --set of prepare, train, plan and submit */
}

/* '-' is standard input or output where the help says so, and never the name of a file that is made. */
static void test_dashes(void **state) {
    (void)state;
    const struct command *command;
    int num_paths = 0, num_dashes = 0;
    for (int c = 0; (command = command_at(c)); c++)
        for (int i = 0; i < command->num_options; i++) {
            const struct option *option = &command->options[i];
            struct line line = {.count = 0};
            if (!option_is_path(option))
                continue;
            put_required(&line, command, i);
            put(&line, option->name);
            struct line named = line;
            put(&named, "./-");
            reads(command, &named, NULL);
            put(&line, "-");
            reads(command, &line, option->takes_dash ? NULL : "takes no '-'");
            assert_int_equal(strstr(option->help, "-: standard") != NULL, option->takes_dash);
            num_dashes += option->takes_dash;
            num_paths++;
        }
    assert_int_equal(num_dashes, 5); /* two of generate, two of report, one of card */
    assert_true(num_paths > 10);
}

static void test_unknown(void **state) {
    (void)state;
    const struct command *command;
    for (int c = 0; (command = command_at(c)); c++) {
        struct line line = {.count = 0};
        bool has_rest = false;
        for (int i = 0; i < command->num_options; i++)
            has_rest |= command->options[i].kind == OPTION_REST;
        put_required(&line, command, -1);
        put(&line, "--zzzzzzzz");
        reads(command, &line, has_rest ? NULL : "unknown option '--zzzzzzzz'");
    }
}

/* --- values --- */

struct sample_words {
    const char *task, *model, *kind;
    int64_t number;
    double share;
    bool flag;
    struct option_list sets, rest;
};

static const struct option SAMPLE[] = {
    {.name = "TASK",
     .value = "eval|export",
     .help = "x",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct sample_words, task)},
    {.name = "MODEL",
     .help = "x",
     .kind = OPTION_TEXT,
     .at = offsetof(struct sample_words, model),
     .is_required = true},
    {.name = "--kind",
     .value = "hf|gguf",
     .help = "x",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct sample_words, kind),
     .fallback = "hf"},
    {.name = "--number",
     .value = "N",
     .help = "x",
     .kind = OPTION_INT,
     .at = offsetof(struct sample_words, number),
     .fallback = "7",
     .min = 1,
     .max = 10},
    {.name = "--share",
     .value = "P",
     .help = "x",
     .kind = OPTION_REAL,
     .at = offsetof(struct sample_words, share),
     .fallback = "0.5",
     .min = 0,
     .max = 1},
    {.name = "--flag", .help = "x", .kind = OPTION_FLAG, .at = offsetof(struct sample_words, flag)},
    OPTION_SET(offsetof(struct sample_words, sets)),
};
enum { NUM_SAMPLE = sizeof SAMPLE / sizeof SAMPLE[0] };

static int read_sample(struct sample_words *words, const char *text, struct err *err) {
    static char copy[256];
    struct line line = {.count = 0};
    memset(words, 0, sizeof *words);
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        put(&line, word);
    return options_read(SAMPLE, NUM_SAMPLE, words, line.count, line.words, err);
}

static void test_values(void **state) {
    (void)state;
    struct sample_words words;
    struct err err;
    assert_int_equal(read_sample(&words, "m", &err), 0);
    assert_null(words.task);
    assert_string_equal(words.model, "m");
    assert_string_equal(words.kind, "hf");
    assert_true(words.number == 7 && words.share == 0.5 && !words.flag && words.sets.count == 0);
    assert_int_equal(
        read_sample(&words, "eval --flag m --number 3 --set a=1 --share=0.25 --set=b=2 --kind gguf", &err),
        0);
    assert_string_equal(words.task, "eval");
    assert_string_equal(words.model, "m");
    assert_string_equal(words.kind, "gguf");
    assert_true(words.number == 3 && words.share == 0.25 && words.flag && words.sets.count == 2);
    assert_string_equal(words.sets.words[1], "b=2");
    assert_int_equal(read_sample(&words, "- --kind hf", &err), 0); /* a file's name to many */
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *line, *phrase;
    } cases[] = {
        {"m --nubmer 3", "unknown option '--nubmer' (did you mean '--number'?)"},
        {"m -x", "unknown option '-x'"},
        {"m --number 3x", "'3x' is not a whole number"},
        {"m --number 99999999999999999999", "99999999999999999999 is too large"},
        {"m --number -99999999999999999999", "-99999999999999999999 is too small"},
        {"m --number 11", "--number: 11 is out of range (1 to 10)"},
        {"m --share nan", "out of range"},
        {"m --kind onnx", "--kind: 'onnx' is not one of hf|gguf"},
        {"m --kind h", "'h' is not one of"},
        {"m --kind hf|gguf", "is not one of"},
        {"m --number", "--number needs a value: --number N"},
        {"m --number --flag", "--number needs a value"},
        {"m --set", "--set needs a value: --set KEY=VALUE"},
        {"m --flag --flag", "--flag is given twice"},
        {"m --flag=yes", "--flag takes no value"},
        {"m n", "'n' is one argument too many"},
        {"eval m n", "'n' is one argument too many"},
        {"eval", "MODEL is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sample_words words;
        struct err err = {""};
        int status = read_sample(&words, cases[i].line, &err);
        if (status != -1 || !strstr(err.text, cases[i].phrase))
            fail_msg("'%s': '%s' does not say '%s'", cases[i].line, err.text, cases[i].phrase);
    }
}

/* What two options together may not be. */
static void test_checks(void **state) {
    (void)state;
    static const struct {
        const char *command;
        const char *words[6];
        const char *phrase;
    } cases[] = {
        {"stop", {"r", "--save", "--now"}, "give one of them"},
        {"chain", {"r", "end"}, "RUN end CODE"},
        {"chain", {"r", "begin", "0"}, "RUN end CODE"},
        {"doctor", {"jeanzay"}, "by --site"},
        {"export", {"m", "--to=hf", "--out=new", "--type=q8_0"}, "type of GGUF files"},
        {"export", {"m", "--to=gguf", "--out=new", "--type=fp8"}, "type of Hugging Face folders"},
        {"export", {"m", "--to=hf", "--output=/tmp"}, "exists already"},
        {"submit", {"c", "d"}, "one argument too many"},
        {"submit", {"c", "--dry-rum"}, "did you mean '--dry-run'"},
        {"submit", {"eval", "c", "--chain", "2"}, "is one job"},
        {"submit", {"eval", "--data", "d", "c"}, "CONFIG is expected before '--data'"},
        {"submit", {"eval", "c", "m", "--data", "d"}, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct command *command = command_find(cases[i].command);
        struct line line = {.count = 0};
        struct err err = {""};
        char *words = malloc(command->words_bytes);
        for (int w = 0; w < 6 && cases[i].words[w]; w++)
            put(&line, cases[i].words[w]);
        int status = command_read(command, words, line.count, line.words, &err);
        free(words);
        const char *phrase = cases[i].phrase;
        if (phrase ? status == 0 || !strstr(err.text, phrase) : status != 0)
            fail_msg("%s, case %zu: '%s'", cases[i].command, i, err.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),    cmocka_unit_test(test_required), cmocka_unit_test(test_each_option),
        cmocka_unit_test(test_unknown), cmocka_unit_test(test_values),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_checks),  cmocka_unit_test(test_dashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
