/* test_forms.c - conversations in each of their forms: the tokens and the mask are those of the same conversations as
 * messages, and what a line does not say clearly is refused. */
#include "tests/prepare_fixture.h"

static char chatml[] = "chatml", alpaca_csv[] = "alpaca.csv";

static struct job chat_job(const char *name, enum conversation_form form) {
    struct job job = job_for(name);
    job.source.chat = true;
    job.source.form = form;
    job.config.chat_template = chatml;
    return job;
}

/* Tokens and mask of a token file. */
struct written {
    int64_t count;
    int32_t ids[400];
    uint8_t mask[400];
};

static struct written written_by(struct job job) {
    struct written out = {0};
    run_well(&job);
    struct token_file *file = token_file_open(job.output, &job.err);
    assert_non_null(file);
    out.count = token_file_num_tokens(file);
    assert_in_range(out.count, 1, 400);
    assert_int_equal(token_file_read(file, 0, out.count, out.ids, out.mask, &job.err), 0);
    token_file_close(file);
    release(&job);
    return out;
}

static void same(const struct written *a, const struct written *b) {
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->ids, b->ids, (size_t)a->count * sizeof *a->ids);
    assert_memory_equal(a->mask, b->mask, (size_t)a->count);
}

static struct written of_text(const char *name, const char *text, enum conversation_form form) {
    write_text(name, text);
    return written_by(chat_job(name, form));
}

static const char MESSAGES[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", "
    "\"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"r\"}, {\"role\": \"user\", "
    "\"content\": \"qr\"}, {\"role\": \"assistant\", \"content\": \"s\", \"weight\": 0}]}\n";

static void test_sharegpt(void **state) {
    (void)state;
    static const char turns[] =
        "[{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"gpt\", \"value\": \"r\"}, "
        "{\"from\": \"user\", \"value\": \"qr\"}, {\"from\": \"chatgpt\", \"value\": \"s\", "
        "\"weight\": 0}]";
    const struct written want = of_text("m.jsonl", MESSAGES, FORM_AUTO);
    static const char *const fields[] = {"conversations", "messages"};
    for (int i = 0; i < 2; i++) {
        char *line = xasprintf("{\"id\": 1, \"system\": \"s\", \"%s\": %s}\n", fields[i], turns);
        const struct written by_key = of_text("s.jsonl", line, FORM_AUTO),
                             by_name = of_text("s.jsonl", line, FORM_SHAREGPT);
        same(&want, &by_key);
        same(&want, &by_name);
        struct job job = chat_job("s.jsonl", FORM_MESSAGES);
        fails(&job, "s.jsonl' line 1", "no string 'role'");
        free(line);
    }
    char *beyond =
        xasprintf("{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0, \"system\": \"s\", "
                  "\"conversations\": %s}\n",
                  turns);
    const struct written late = of_text("s.jsonl", beyond, FORM_AUTO);
    same(&want, &late);
    free(beyond);
}

static void test_alpaca(void **state) {
    (void)state;
    static const char messages[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"q\\nqr\"}, {\"role\": "
        "\"assistant\", \"content\": \"r\\\"\"}]}\n";
    static const char alpaca[] = "{\"instruction\": \"q\", \"input\": \"qr\", \"output\": \"r\\\"\"}\n";
    const struct written want = of_text("m.jsonl", messages, FORM_AUTO),
                         by_key = of_text("a.jsonl", alpaca, FORM_AUTO),
                         by_name = of_text("a.jsonl", alpaca, FORM_ALPACA),
                         table = of_text(alpaca_csv, "input,output,instruction\nqr,\"r\"\"\",q\n", FORM_AUTO),
                         prompt = of_text("p.jsonl", "{\"prompt\": \"q\\nqr\", \"completion\": \"r\\\"\"}\n",
                                          FORM_AUTO),
                         other = of_text("o.jsonl",
                                         "{\"instruction\": \"q\", \"input\": \"\", \"output\": \"r\\\"\"}\n",
                                         FORM_AUTO);
    same(&want, &by_key);
    same(&want, &by_name);
    same(&want, &table);
    same(&want, &prompt);
    assert_int_not_equal(want.count, other.count); /* control */
}

#define TURNS(q, r)                                                                                          \
    "[{\"role\": \"user\", \"content\": \"" q "\"}, {\"role\": \"assistant\", \"content\": \"" r "\"}]"
#define LINE(q, r) "{\"messages\": " TURNS(q, r) "}\n"

/* A table of several forms has the fields of all of them in every line: the one that is filled in is read. */
static void test_mixed(void **state) {
    (void)state;
    const struct written
        want = of_text("m.jsonl", LINE("q", "r") LINE("qr", "s") LINE("s", "q"), FORM_AUTO),
        lines = of_text(
            "x.jsonl",
            "{\"messages\": " TURNS(
                "q", "r") ", \"prompt\": null, \"completion\": null}\n"
                          "{\"messages\": [], \"prompt\": \"qr\", \"completion\": \"s\"}\n"
                          "{\"messages\": " TURNS("s", "q") ", \"prompt\": \"qr\", \"completion\": null}\n",
            FORM_AUTO),
        lists = of_text(
            "l.jsonl",
            "{\"conversations\": null, \"messages\": " TURNS(
                "q",
                "r") "}\n"
                     "{\"conversations\": [{\"from\": \"human\", \"value\": \"qr\"}, {\"from\": \"gpt\", "
                     "\"value\": \"s\"}], \"messages\": null}\n"
                     "{\"conversations\": null, \"messages\": " TURNS("s", "q") "}\n",
            FORM_AUTO),
        cells = of_text(
            "x.csv",
            "messages\tprompt\tcompletion\n" TURNS("q", "r") "\t\t\n\tqr\ts\n" TURNS("s", "q") "\t\t\n",
            FORM_AUTO);
    same(&want, &lines);
    same(&want, &lists);
    same(&want, &cells);
    const struct written other = of_text("o.jsonl", LINE("q", "r") LINE("q", "s") LINE("s", "q"), FORM_AUTO);
    assert_false(other.count == want.count &&
                 memcmp(other.ids, want.ids, (size_t)want.count * sizeof *want.ids) == 0); /* control */
}

/* Tables that pyarrow wrote: conversations as texts of JSON, and one form in each row (tests/golden/make_parquet.py). */
static struct written of_golden(const char *name) {
    struct job job = chat_job("", FORM_AUTO);
    free(job.source.path);
    job.source.path = xasprintf("tests/golden/parquet/%s", name);
    return written_by(job);
}

static void test_tables(void **state) {
    (void)state;
    const struct written want = of_golden("forms.jsonl"), texts = of_golden("texts.parquet"),
                         forms = of_golden("forms.parquet");
    same(&want, &texts);
    same(&want, &forms);
}

static void form_fails(const char *text, enum conversation_form form, const char *a, const char *b) {
    write_text("f.jsonl", text);
    struct job job = chat_job("f.jsonl", form);
    fails(&job, a, b);
}

static void test_faults(void **state) {
    (void)state;
    form_fails("{\"messages\": [{}], \"conversations\": [{}]}\n", FORM_AUTO,
               "both 'messages' and 'conversations'", "form");
    form_fails("{\"messages\": [ ], \"conversations\": null}\n", FORM_AUTO,
               "'messages' and 'conversations' are both empty", "line 1");
    form_fails("{\"messages\": null, \"conversations\": [{}]}\n", FORM_COMPLETION, "not both 'prompt'",
               "line 1");
    form_fails("{\"instruction\": \"q\", \"output\": \"r\", \"prompt\": \"q\", \"completion\": \"r\"}\n",
               FORM_AUTO, "both 'instruction' and 'prompt'", "the source's form");
    form_fails("{\"instruction\": \"q\", \"reponse\": \"r\"}\n", FORM_AUTO,
               "no field 'messages', there is 'instruction'", "line 1");
    form_fails("{\"instruction\": \"q\"}\n", FORM_ALPACA, "not both 'instruction' and 'output'", "line 1");
    form_fails("{\"conversations\": [{\"from\": \"observation\", \"value\": \"q\"}]}\n", FORM_AUTO,
               "message 1 is from 'observation'", "on_bad_conversation");
    form_fails("{\"conversations\": [{\"from\": \"human\", \"role\": \"user\", \"value\": \"q\"}]}\n",
               FORM_AUTO, "message 1 has both", "'role'");
    form_fails("{\"conversations\": [{\"from\": 1, \"value\": \"q\"}]}\n", FORM_AUTO,
               "message 1 has no string 'from'", "line 1");
    form_fails("{\"conversations\": \"q\"}\n", FORM_AUTO, "'conversations' is a string",
               "a list of messages");
    form_fails("{\"instruction\": \"q\", \"output\": 7}\n", FORM_AUTO, "'output' is not a text", "line 1");
    static const char *const histories[] = {"[[\"a\", \"b\"]]", "\"a: b\"", "{\"a\": \"b\"}", "\"[[1, 2]]\"",
                                            "3"};
    for (size_t i = 0; i < sizeof histories / sizeof *histories; i++) {
        char *line =
            xasprintf("{\"instruction\": \"q\", \"output\": \"r\", \"history\": %s}\n", histories[i]);
        form_fails(line, FORM_AUTO, "'history'", "messages");
        free(line);
    }
    form_fails("{\"instruction\": \"q\", \"input\": \"\", \"output\": \"\"}\n", FORM_AUTO,
               "an answer of the assistant", "is empty");
    form_fails("{\"prompt\": [], \"completion\": []}\n", FORM_AUTO, "'prompt' is not a text",
               "record: completion");
    struct job job = job_for("f.jsonl");
    job.source.form = FORM_ALPACA;
    fails(&job, "the form of source", "would have no effect");
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sharegpt), cmocka_unit_test(test_alpaca), cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_tables),   cmocka_unit_test(test_faults),
    };
    folder = test_folder("forms");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
