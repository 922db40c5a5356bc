/* test_prepare_marks.c - marks in chat JSONL that say what is learnt or how it is written: obeyed or refused
 * wherever they stand; and escapes of JSON that are not characters. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/prepare_fixture.h"

/* What an escape of JSON says is the same in every encoding: the advice is another one than for bytes. */
static void test_bad_escapes(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"text\": \"a\\u0000b\"}\n",
         "NUL character (the escape \\u0000) in the text at byte 2; set prepare.bad"},
        {"{\"text\": \"a\\ud83d\"}\n", "half a surrogate pair (an escape \\uD8.. to \\uDF..)"},
        {"{\"text\": \"a\xFF\"}\n", "set the source's encoding (latin1,"}, /* control */
    };
    for (int i = 0; i < 3; i++) {
        write_text("escapes.jsonl", cases[i][0]);
        struct job job = job_for("escapes.jsonl");
        job.config.bad_utf8 = BAD_UTF8_FAIL;
        assert_int_equal(run(&job), -1);
        assert_true((strstr(job.err.text, "latin1") != NULL) == (i == 2));
        fails(&job, cases[i][1], "prepare.bad_utf8 to 'replace' or 'skip'");
        job = job_for("escapes.jsonl"); /* the advice helps */
        job.config.bad_utf8 = BAD_UTF8_REPLACE;
        run_well(&job);
        check_document(job.output, 0,
                       i == 0 ? "<s>a\xEF\xBF\xBD"
                                "b</s>"
                              : "<s>a\xEF\xBF\xBD</s>");
        release(&job);
    }
}

static struct job chat_job(const char *beside, const char *in_question, const char *in_first_answer) {
    static char chatml[] = "chatml";
    char *line =
        xasprintf("{%s\"messages\": [{\"role\": \"user\", %s}, {\"role\": \"assistant\", \"content\": "
                  "\"r\"%s}, {\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
                  "\"content\": \"s\"}]}\n",
                  beside, in_question, in_first_answer);
    write_text("marks.jsonl", line);
    free(line);
    struct job job = job_for("marks.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    return job;
}

static int num_learnt(const char *path) {
    struct err err;
    int32_t ids[200];
    uint8_t mask[200];
    int count = 0;
    struct token_file *file = token_file_open(path, &err);
    int64_t n = token_file_num_tokens(file);
    assert_int_equal(token_file_read(file, 0, n, ids, mask, &err), 0);
    for (int64_t i = 0; i < n; i++)
        count += mask[i];
    token_file_close(file);
    return count;
}

/* test_marks - what says whether a conversation or a message is learnt is obeyed or refused, never passed over;
 * each answer has two tokens, its end among them. */
static void test_marks(void **state) {
    (void)state;
    static const char question[] = "\"content\": \"q\"";
    static const struct {
        const char *beside, *question, *answer;
        int learnt; /* 0: refused */
        const char *why;
    } cases[] = {
        {"", question, "", 4, NULL}, /* control */
        {"\"id\": 0, \"source\": \"a\", \"masked\": 0, ", question, "", 4, NULL},
        {"\"weight\": 1, \"training\": true, \"loss_mask\": null, ", question, "", 4, NULL},
        {"\"weight\": 1.0, ", question, ", \"training\": false", 2, NULL},
        {"", "\"content\": \"q\", \"training\": false", ", \"training\": true", 4, NULL},
        {"\"chat_template_kwargs\": {}, ", question, "", 4, NULL},
        {"", "\"content\": \"\", \"weight\": 0", "", 4, NULL}, /* empty on purpose */
        {"\"weight\": 0, ", question, ", \"weight\": 1", 0, "nothing to learn: 'weight' beside"},
        {"\"train\": false, ", question, "", 0, "nothing to learn: 'train' beside"},
        {"\"training\": 0, ", question, "", 0, "nothing to learn: 'training' beside"},
        {"\"loss_mask\": 0.0, ", question, "", 0, "nothing to learn: 'loss_mask' beside"},
        {"\"w\\u0065ight\": 0, ", question, "", 0, "nothing to learn: 'weight' beside"},
        {"\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"train\":0,", question, "", 0,
         "'train'"},
        {"\"weight\": 0.5, ", question, "", 0, "the conversation has a 'weight' that is neither"},
        {"\"weight\": 1, \"weight\": 0, ", question, "", 0,
         "the conversation has a 'weight' that is neither"},
        {"\"weight\": 0, \"train\": true, ", question, "", 0, "the conversation says both"},
        {"\"images\": [], \"system\": null, ", question, "", 4, NULL},
        {"\"images\": [\"a.png\"], ", question, "", 0, "the field 'images'"},
        {"\"system\": [\"a\"], ", question, "", 0, "the field 'system' beside the messages is not a string"},
        {"\"system\": \"a\", \"system\": \"b\", ", question, "", 0, "the field 'system' comes twice"},
        {"\"chat_template_kwargs\": {\"a\": 1}, ", question, "", 0, "the field 'chat_template_kwargs'"},
        {"", question, ", \"training\": 2", 0, "message 2 has a 'training' that is neither"},
        {"", question, ", \"masked\": true", 0, "'masked', which is not read; say \"weight\": 0"},
        {"", "\"content\": \" \\n\"", "", 0, "message 1, of the user, is empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job job = chat_job(cases[i].beside, cases[i].question, cases[i].answer);
        if (!cases[i].learnt) {
            fails(&job, "marks.jsonl' line 1", cases[i].why);
            continue;
        }
        run_well(&job);
        assert_int_equal(num_learnt(job.output), cases[i].learnt);
        release(&job);
    }
    static char chatml[] = "chatml", train[] = "train"; /* a source may name its list so */
    write_text("marks.jsonl",
               "{\"train\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
               "\"content\": \"r\"}]}\n");
    struct job job = job_for("marks.jsonl");
    job.source.chat = true;
    job.source.field = train;
    job.config.chat_template = chatml;
    run_well(&job);
    assert_int_equal(num_learnt(job.output), 2);
    release(&job);
}

/* text_of_chat - what is written of a line, by ChatML; malloc'ed. */
static char *text_of_chat(const char *line) {
    static char chatml[] = "chatml";
    struct err err;
    int32_t ids[400];
    write_text("system.jsonl", line);
    struct job job = job_for("system.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    run_well(&job);
    struct token_file *file = token_file_open(job.output, &err);
    int64_t n = token_file_num_tokens(file);
    assert_true(n <= 400);
    assert_int_equal(token_file_read(file, 0, n, ids, NULL, &err), 0);
    token_file_close(file);
    release(&job);
    char *text = xstrdup("");
    for (int64_t i = 0; i < n; i++) {
        char *longer = xasprintf("%s%d ", text, (int)ids[i]);
        free(text);
        text = longer;
    }
    return text;
}

/* test_system - a system text beside the messages is written as if it were the first of them. */
static void test_system(void **state) {
    (void)state;
    static const char rest[] =
        "{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"r\"}]";
    char *beside = xasprintf("{\"system\": \"be \\u00e9\", \"messages\": [%s}\n", rest);
    char *after = xasprintf("{\"messages\": [%s, \"system\": \"be \\u00e9\"}\n", rest);
    char *within =
        xasprintf("{\"messages\": [{\"role\": \"system\", \"content\": \"be \\u00e9\"}, %s}\n", rest);
    char *both = xasprintf("{\"system\": \"be \\u00e9\", %s", within + 1);
    char *without = xasprintf("{\"system\": \"\", \"messages\": [%s}\n", rest);
    char *wanted = text_of_chat(within), *none = text_of_chat(without);
    char *lines[] = {beside, after, both};
    for (int i = 0; i < 3; i++) {
        char *text = text_of_chat(lines[i]);
        assert_string_equal(text, wanted);
        free(text);
    }
    assert_string_not_equal(none, wanted); /* control */
    char *other = xasprintf("{\"system\": \"another\", %s", within + 1);
    write_text("system.jsonl", other);
    static char chatml[] = "chatml";
    struct job job = job_for("system.jsonl");
    job.source.chat = true;
    job.config.chat_template = chatml;
    fails(&job, "system.jsonl' line 1", "begins with another system message");
    free(beside), free(after), free(within), free(both), free(without), free(wanted), free(none), free(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_escapes),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_system),
    };
    folder = test_folder("prepare_marks");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
