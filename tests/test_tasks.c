/* test_tasks.c - questions with choices: what a line may say, and with which words what it may not is refused; which tokens
 * are read and which are scored, by hand for a tokenizer with a token for each byte and two merges; which choice is taken, and
 * means with their errors, beside their definitions.  Controls: a choice moved, another length. */
#include "tests/task_fixture.h"

#include <math.h>

#include "checkpoints/files.h"
#include "tests/tiny_tokenizer.h"
#include "train/measure/task_results.h"

/* --- reading --- */

static void test_items(void **state) {
    (void)state;
    struct err err = {""};
    char name[TASK_NAME_ROOM];
    struct task_set set = read_items(
        "a.jsonl",
        "{\"query\": \"q\", \"choices\": [\"a\", \"b\", \"\\u00e9\"], \"gold\": 2}\n"
        "\n"
        "{\"id\": 7, \"query\": \"\", \"choices\": [\"a\", \"b\"], \"gold\": 0, \"group\": \"g\", \"delimiter\": "
        "\"\"}\r\n");
    char *path =
        write_text("b.jsonl", "{\"id\": \"x\", \"query\": \"r\", \"choices\": [\"a\", \"b\"], \"gold\": 1, "
                              "\"group\": \"g\", \"about\": {\"free\": [1]}}");
    assert_int_equal(task_set_read(&set, path, &err), 0);
    assert_int_equal(set.num_items, 3);
    assert_int_equal(set.num_files, 2);
    assert_int_equal(set.files[0].num_items, 2);
    assert_int_equal(set.num_groups, 2);
    assert_string_equal(set.group_names[0], "a.jsonl");
    assert_string_equal(set.group_names[1], "g");
    assert_int_equal(set.items[2].group, 1);
    assert_int_equal(set.items[0].num_choices, 3);
    assert_string_equal(task_choice(&set.items[0], 2), "é");
    assert_int_equal(set.items[0].gold, 2);
    assert_string_equal(set.items[0].delimiter, " ");
    assert_string_equal(set.items[1].delimiter, "");
    assert_int_equal(set.items[1].line, 3);
    assert_non_null(strstr(task_item_name(&set, 0, name), "the item in line 1 of '"));
    assert_non_null(strstr(task_item_name(&set, 1, name), "item 7 (line 3 of '"));
    assert_non_null(strstr(task_item_name(&set, 2, name), "item 'x' (line 1 of '"));
    task_set_release(&set);
    free(path);
}

/* A good line, then this one: the message names the second. */
static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"[]", "an array, expected an object"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0", "as JSON"},
        {"{\"choices\": [\"a\", \"b\"], \"gold\": 0}", "'query' is missing"},
        {"{\"query\": 3, \"choices\": [\"a\", \"b\"], \"gold\": 0}", "'query' is an integer"},
        {"{\"query\": \"q\\u0000\", \"choices\": [\"a\", \"b\"], \"gold\": 0}", "'query'"},
        {"{\"query\": \"q\", \"gold\": 0}", "'choices' is missing"},
        {"{\"query\": \"q\", \"choices\": \"ab\", \"gold\": 0}", "'choices' is a string"},
        {"{\"query\": \"q\", \"choices\": [\"a\"], \"gold\": 0}",
         "'choices' has 1 entries, expected 2 to 256"},
        {"{\"query\": \"q\", \"choices\": [\"a\", 1], \"gold\": 0}", "choice 1 (from 0) is an integer"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"\"], \"gold\": 0}", "choice 1 (from 0) is empty"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"b\\u0000\"], \"gold\": 0}", "has a NUL"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"b\"]}", "'gold' is missing"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 2}", "'gold' is 2, expected 0 to 1"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": -1}", "'gold' is -1"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": \"A\"}", "'gold' is a string"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0, \"delimeter\": \"\"}",
         "unknown key 'delimeter'"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0, \"id\": []}", "'id' is an array"},
        {"{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0, \"gold\": 1}", "as JSON"},
        {"{\"query\": \"q\xff\", \"choices\": [\"a\", \"b\"], \"gold\": 0}", "as JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {""};
        struct task_set set = {0};
        char *text =
            xasprintf("{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0}\n%s\n", cases[i].line);
        char *path = write_text("bad.jsonl", text);
        assert_int_equal(task_set_read(&set, path, &err), -1);
        if (!strstr(err.text, cases[i].words) || !strstr(err.text, "bad.jsonl") ||
            !strstr(err.text, "line 2"))
            fail_msg("'%s' of '%s': '%s' and the place were expected", err.text, cases[i].line,
                     cases[i].words);
        task_set_release(&set);
        free(text);
        free(path);
    }
}

static void test_empty(void **state) {
    (void)state;
    struct err err = {""};
    struct task_set set = {0};
    char *path = write_text("empty.jsonl", "\n  \n");
    assert_int_equal(task_set_read(&set, path, &err), -1);
    assert_non_null(strstr(err.text, "has no items"));
    assert_int_equal(task_set_read(&set, "build/tmp/no-such-file", &err), -1);
    task_set_release(&set);
    free(path);
}

/* --- tokens --- */

static struct task_tokens encode_with(const struct task_set *set, enum tiny_kind kind, int64_t max_tokens) {
    struct err err = {""};
    struct task_tokens tokens;
    struct tokenizer *tokenizer = tiny_tokenizer(kind);
    if (task_encode(&tokens, set, tokenizer, max_tokens, &err) != 0)
        fail_msg("%s", err.text);
    tokenizer_free(tokenizer);
    return tokens;
}

/* assert_text - a text is these bytes, each a token. */
static void assert_text(const struct task_tokens *tokens, int64_t text, const char *want) {
    int64_t first = tokens->texts[text], count = tokens->texts[text + 1] - first;
    assert_int_equal(count, strlen(want));
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(tokens->inputs.ids[first + i], (unsigned char)want[i]);
}

static void assert_target(const struct task_tokens *tokens, int64_t at, int64_t row, int64_t choice,
                          int32_t id) {
    assert_int_equal(tokens->targets[at].row, row);
    assert_int_equal(tokens->targets[at].choice, choice);
    assert_int_equal(tokens->targets[at].id, id);
}

/* The white space at the end of a query is the choice's, no-break spaces included; what begins alike is read once. */
static void test_encoding(void **state) {
    (void)state;
    struct task_set set = read_items(
        "e.jsonl", "{\"query\": \"ab\", \"choices\": [\"c\", \"d\"], \"gold\": 0}\n"
                   "{\"query\": \"ab \", \"choices\": [\"c\", \"de\"], \"gold\": 0, \"delimiter\": \"\"}\n"
                   "{\"query\": \"a\\u00a0\\u3000\", \"choices\": [\"c\", \"c\\u00e9\"], \"gold\": 0}\n"
                   "{\"query\": \"a\", \"choices\": [\"xyz\", \"x\", \"xy\"], \"gold\": 0}\n");
    struct task_tokens tokens = encode_with(&set, TINY_ALL, 100);
    assert_int_equal(tokens.num_texts, 4);
    assert_text(&tokens, 0, "ab "); /* both choices of one token after the space: read once */
    assert_target(&tokens, 0, 1, 0, ' ');
    assert_target(&tokens, 1, 1, 1, ' ');
    assert_target(&tokens, 2, 2, 0, 'c');
    assert_target(&tokens, 3, 2, 1, 'd');
    assert_int_equal(tokens.choices[0].num_tokens, 2); /* the delimiter is scored */
    assert_int_equal(tokens.choices[0].num_chars, 1);  /* and does not count as a character */
    assert_text(&tokens, 1, "ab d"); /* the space at the end of the query is scored too; 'ab ' begins it */
    assert_int_equal(tokens.choices[2].num_tokens, 2);
    assert_int_equal(tokens.choices[3].num_tokens, 3);
    assert_text(&tokens, 2, "a\xC2\xA0\xE3\x80\x80 c\xC3");
    assert_int_equal(tokens.choices[4].num_tokens, 2 + 3 + 1 + 1);
    assert_int_equal(tokens.choices[5].num_chars, 2);
    assert_int_equal(tokens.choices[5].num_bytes, 3);
    assert_text(&tokens, 3, "a xy");
    for (int64_t i = 1; i < tokens.num_targets; i++)
        assert_true(tokens.targets[i].row >= tokens.targets[i - 1].row);
    assert_int_equal(tokens.longest, 9);
    task_tokens_release(&tokens);
    task_set_release(&set);
}

/* A query without tokens is a begin token; one that is written in the text is not put there twice. */
static void test_first_token(void **state) {
    (void)state;
    struct task_set set =
        read_items("f.jsonl", "{\"query\": \"\", \"choices\": [\"ab\", \"c\"], \"gold\": 0}\n"
                              "{\"query\": \"<s>\", \"choices\": [\"ab\", \"c\"], \"gold\": 0}\n"
                              "{\"query\": \" \", \"choices\": [\"ab\", \"c\"], \"gold\": 0}\n");
    struct task_tokens tokens = encode_with(&set, TINY_ALL, 100);
    assert_int_equal(tokens.num_texts, 3);
    for (int64_t item = 0; item < 3; item++) {
        int64_t first = tokens.texts[item];
        assert_int_equal(tokens.inputs.ids[first], TINY_BOS);
        assert_int_equal(tokens.inputs.ids[first + 1], ' ');
        assert_int_equal(tokens.choices[2 * item].num_tokens, item == 2 ? 4 : 3);
    }
    task_tokens_release(&tokens);
    task_set_release(&set);
}

/* "on" is one token: after the query "o" the choice "nb" keeps "b" alone, as lm-evaluation-harness has it. */
static void test_joined(void **state) {
    (void)state;
    struct task_set set = read_items(
        "j.jsonl", "{\"query\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": 0, \"delimiter\": \"\"}\n"
                   "{\"query\": \"o\", \"choices\": [\"nb\", \"pb\"], \"gold\": 0, \"delimiter\": \"\"}\n");
    struct task_tokens tokens = encode_with(&set, TINY_ALL, 8);
    assert_int_equal(tokens.num_joined, 1);
    assert_int_equal(tokens.first_joined, 1);
    assert_int_equal(tokens.choices[2].num_tokens, 1);
    assert_int_equal(tokens.choices[2].num_chars, 2);
    assert_text(&tokens, 1, "op"); /* "o" is the beginning of it */
    assert_target(&tokens, 2, 1, 2, 'b');
    assert_target(&tokens, 3, 1, 3, 'p');
    assert_target(&tokens, 4, 2, 3, 'b');
    task_tokens_release(&tokens);
    task_set_release(&set);
}

static void test_left_out(void **state) {
    (void)state;
    int64_t first;
    struct task_set set = read_items(
        "l.jsonl",
        "{\"query\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": 0}\n"
        "{\"query\": \"o\", \"choices\": [\"n\", \"p\"], \"gold\": 0, \"delimiter\": \"\"}\n" /* "on" is a token */
        "{\"query\": \"0123456\", \"choices\": [\"b\", \"cd\"], \"gold\": 0}\n"
        "{\"query\": \"012345\", \"choices\": [\"b\", \"cd\"], \"gold\": 0}\n");
    struct task_tokens tokens = encode_with(&set, TINY_ALL, 8);
    static const enum task_state want[] = {TASK_SCORED, TASK_NO_TOKENS, TASK_TOO_LONG, TASK_SCORED};
    assert_memory_equal(tokens.states, want, sizeof want);
    assert_int_equal(task_left_out(&tokens, TASK_TOO_LONG, &first), 1);
    assert_int_equal(first, 2);
    assert_int_equal(task_left_out(&tokens, TASK_NO_TOKENS, &first), 1);
    assert_int_equal(first, 1);
    assert_int_equal(tokens.num_texts, 2);
    assert_int_equal(tokens.longest, 8);
    task_tokens_release(&tokens);
    tokens = encode_with(&set, TINY_ALL, 7); /* the control: one token less of room */
    assert_int_equal(task_left_out(&tokens, TASK_TOO_LONG, &first), 2);
    task_tokens_release(&tokens);
    task_set_release(&set);
}

/* --- results --- */

/* Three items of one group, one of another, one left out. */
static const char RESULT_ITEMS[] =
    "{\"id\": 1, \"query\": \"q\", \"choices\": [\"aaaa\", \"\\u00e9\\u00e9\\u00e9\", \"c\"], \"gold\": 0, \"group\": \"g\"}\n"
    "{\"id\": 2, \"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 1, \"group\": \"g\"}\n"
    "{\"id\": 3, \"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0, \"group\": \"h\"}\n"
    "{\"id\": 4, \"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0, \"group\": \"g\"}\n"
    "{\"id\": 5, \"query\": \"0123456789\", \"choices\": [\"a\", \"b\"], \"gold\": 0, \"group\": \"g\"}\n";

/* Item 1: sums -6, -4.2, -2.1; by 4, 3, 1 characters -1.5, -1.4, -2.1; by 4, 6, 1 bytes -1.5, -0.7, -2.1; by 5, 7, 2 tokens
 * -1.2, -0.6, -1.05.  Item 2 is right, item 3 wrong, item 4 a tie, which the first takes. */
static const double LOGPS[] = {-6, -4.2, -2.1, -2, -1, -2, -1, -1, -1, NAN, NAN};

static void near(double got, double want) {
    if (!(fabs(got - want) < 1e-12))
        fail_msg("%.15g, expected %.15g", got, want);
}

static void test_results(void **state) {
    (void)state;
    struct task_set set = read_items("r.jsonl", RESULT_ITEMS);
    struct task_tokens tokens = encode_with(&set, TINY_ALL, 8);
    struct task_results results;
    assert_int_equal(tokens.states[4], TASK_TOO_LONG);
    assert_int_equal(task_chosen(&tokens, LOGPS, 0, TASK_ACC), 2);
    assert_int_equal(task_chosen(&tokens, LOGPS, 0, TASK_ACC_NORM), 1);
    assert_int_equal(task_chosen(&tokens, LOGPS, 0, TASK_ACC_BYTES), 1);
    assert_int_equal(task_chosen(&tokens, LOGPS, 0, TASK_ACC_TOKEN), 1);
    assert_int_equal(task_chosen(&tokens, LOGPS, 3, TASK_ACC), 0);
    task_results_make(&results, &set, &tokens, LOGPS);
    assert_int_equal(results.all.num_items, 4);
    assert_int_equal(results.groups[0].num_items, 3);
    near(task_mean(&results.groups[0], TASK_ACC), 2.0 / 3);
    /* the deviation by its definition: 0, 1, 1 about 2/3 */
    near(task_error(&results.groups[0], TASK_ACC), sqrt((4.0 / 9 + 1.0 / 9 + 1.0 / 9) / 2) / sqrt(3));
    near(task_mean(&results.groups[1], TASK_ACC), 0);
    assert_true(isnan(task_error(&results.groups[1], TASK_ACC))); /* of one item */
    near(task_mean(&results.all, TASK_ACC), 0.5);
    near(results.all.chance_sum, 1.0 / 3 + 3 * 0.5);
    json_t *json = task_results_json(&results, "models/\xff");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "left_out"), "too_long")), 1);
    const json_t *h = json_object_get(json_object_get(json, "groups"), "h");
    assert_true(json_is_null(json_object_get(h, "acc_stderr")));
    assert_true(json_is_real(json_object_get(h, "acc")));
    json_decref(json);
    task_results_release(&results);
    task_tokens_release(&tokens);
    task_set_release(&set);
}

/* A mean over nothing is not a number: of a group without an item that is scored.  A set of none is refused. */
static void test_nothing(void **state) {
    (void)state;
    static const char lines[] =
        "{\"query\": \"0123456789\", \"choices\": [\"a\", \"b\"], \"gold\": 0}\n"
        "{\"query\": \"0\", \"choices\": [\"a\", \"b\"], \"gold\": 0, \"group\": \"g\"}\n";
    struct task_set set = read_items("n.jsonl", lines);
    struct task_tokens tokens = encode_with(&set, TINY_ALL, 8);
    struct task_results results;
    double logps[] = {NAN, NAN, -1, -2};
    task_results_make(&results, &set, &tokens, logps);
    json_t *json = task_results_json(&results, "m"), *groups = json_object_get(json, "groups");
    assert_true(json_is_null(json_object_get(json_object_get(groups, "n.jsonl"), "acc")));
    assert_true(json_is_null(json_object_get(json_object_get(groups, "n.jsonl"), "chance")));
    assert_true(json_real_value(json_object_get(json_object_get(groups, "g"), "acc")) == 1);
    json_decref(json);
    task_results_release(&results);
    task_tokens_release(&tokens);
    task_set_release(&set);
    char *line = xstrndup(lines, (size_t)(strchr(lines, '\n') - lines) + 1);
    struct tokenizer *tokenizer = tiny_tokenizer(TINY_ALL);
    struct err err = {""};
    set = read_items("n.jsonl", line);
    assert_int_equal(task_encode(&tokens, &set, tokenizer, 8, &err), -1);
    assert_non_null(strstr(err.text, "none of the 1 items can be scored: 1 are longer than 8 tokens"));
    tokenizer_free(tokenizer);
    task_tokens_release(&tokens);
    task_set_release(&set);
    free(line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items),    cmocka_unit_test(test_refusals),    cmocka_unit_test(test_empty),
        cmocka_unit_test(test_encoding), cmocka_unit_test(test_first_token), cmocka_unit_test(test_joined),
        cmocka_unit_test(test_left_out), cmocka_unit_test(test_results),     cmocka_unit_test(test_nothing)};
    folder = test_folder("tasks");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    folder_remove(folder, NULL);
    free(folder);
    return failed;
}
