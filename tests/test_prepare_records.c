/* test_prepare_records.c - prompts and completions: TRL's preference types as texts and as messages, votes and reactions as
 * compar:IA publishes them; what is learnt of them, what is left out and why, and that two documents of a pair stay
 * together. */
#include "tests/prepare_fixture.h"

static char chatml[] = "chatml";

static struct job record_job(const char *input, enum source_record record) {
    struct job job = job_for(input);
    job.source.record = record;
    return job;
}

static struct job chat_job(const char *input, enum source_record record) {
    struct job job = record_job(input, record);
    job.source.chat = true;
    job.config.chat_template = chatml;
    return job;
}

/* check_learnt - the side of a document, its text and the part of it that counts in the loss. */
static void check_learnt(const char *path, int64_t document, enum token_side side, const char *text,
                         const char *learnt) {
    struct err err = {{0}};
    struct token_file *file = token_file_open(path, &err);
    if (!file)
        fail_msg("%s", err.text);
    const uint64_t *offsets = token_file_offsets(file);
    int64_t count = (int64_t)(offsets[document + 1] - offsets[document]), kept = 0;
    int32_t *ids = xcalloc((size_t)count, sizeof *ids);
    uint8_t *mask = xcalloc((size_t)count, 1);
    assert_int_equal(token_file_read(file, (int64_t)offsets[document], count, ids, mask, &err), 0);
    assert_int_equal(token_file_side(file, document), side);
    check_document(path, document, text);
    for (int64_t i = 0; i < count; i++)
        if (mask[i])
            ids[kept++] = ids[i];
    char *got = tokenizer_decode(tok, ids, kept, false, NULL);
    assert_string_equal(got, learnt);
    free(got);
    free(ids);
    free(mask);
    token_file_close(file);
}

static void check_left(const struct job *job, enum left_reason reason, int64_t want) {
    if (job->totals.num_left[reason] != want)
        fail_msg("%s: %lld, expected %lld", left_reason_key(reason), (long long)job->totals.num_left[reason],
                 (long long)want);
}

static void test_text_pairs(void **state) {
    (void)state;
    write_text("pairs.jsonl",
               "{\"prompt\": \"Ciel:\", \"chosen\": \" bleu\", \"rejected\": \" vert\"}\n"
               "{\"id\": NaN, \"chosen\": \"L'eau est claire\", \"rejected\": \"L'eau est \\u00e9paisse\"}\n"
               "{\"prompt\": \"Ciel:\", \"chosen\": \" bleu\", \"rejected\": \" vert\"}\n");
    struct job job = record_job("pairs.jsonl", RECORD_PAIR);
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 4);
    assert_int_equal(job.totals.num_duplicates, 1);
    check_learnt(job.output, 0, SIDE_CHOSEN, "<s>Ciel: bleu</s>", " bleu</s>");
    check_learnt(job.output, 1, SIDE_REJECTED, "<s>Ciel: vert</s>", " vert</s>");
    /* the common beginning is the prompt, without the space before the difference */
    check_learnt(job.output, 2, SIDE_CHOSEN, "<s>L'eau est claire</s>", " claire</s>");
    check_learnt(job.output, 3, SIDE_REJECTED, "<s>L'eau est épaisse</s>", " épaisse</s>");
    release(&job);
}

#define USER(text) "{\"role\": \"user\", \"content\": \"" text "\"}"
#define ASSISTANT(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"
#define TURN(role, text) "<|im_start|>" role "\n" text "<|im_end|>\n"

static void test_message_pairs(void **state) {
    (void)state;
    write_text(
        "chat.jsonl",
        "{\"prompt\": [" USER("q") "], \"chosen\": [" ASSISTANT("oui") "], \"rejected\": [" ASSISTANT(
            "no") "]}\n"
                  "{\"chosen\": [" USER("q") ", " ASSISTANT("r") ", " USER("s") ", " ASSISTANT("t") "], \"rejected\": [" USER(
                      "q") ", " ASSISTANT("r") ", " USER("s") ", " ASSISTANT("u") "], \"system\": \"y\"}\n");
    struct job job = chat_job("chat.jsonl", RECORD_PAIR);
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 4);
    check_learnt(job.output, 0, SIDE_CHOSEN, TURN("user", "q") TURN("assistant", "oui"), "oui<|im_end|>");
    check_learnt(job.output, 1, SIDE_REJECTED, TURN("user", "q") TURN("assistant", "no"), "no<|im_end|>");
    /* of the earlier answer nothing is learnt: it belongs to the prompt */
    check_learnt(job.output, 2, SIDE_CHOSEN,
                 TURN("system", "y") TURN("user", "q") TURN("assistant", "r") TURN("user", "s")
                     TURN("assistant", "t"),
                 "t<|im_end|>");
    check_learnt(job.output, 3, SIDE_REJECTED,
                 TURN("system", "y") TURN("user", "q") TURN("assistant", "r") TURN("user", "s")
                     TURN("assistant", "u"),
                 "u<|im_end|>");
    release(&job);
}

static void test_completions(void **state) {
    (void)state;
    write_text("completion.jsonl", "{\"prompt\": \"deux et deux\", \"completion\": \" font quatre\"}\n");
    struct job job = record_job("completion.jsonl", RECORD_COMPLETION);
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 1);
    check_learnt(job.output, 0, SIDE_PLAIN, "<s>deux et deux font quatre</s>", " font quatre</s>");
    release(&job);
}

/* Each labelled document is followed by its prompt with the next one's completion; the last takes the first's. */
static void test_labels(void **state) {
    (void)state;
    write_text("labels.jsonl", "{\"prompt\": \"a\", \"completion\": \"1\", \"label\": true}\n"
                               "{\"prompt\": \"bb\", \"completion\": \"22\", \"label\": false}\n"
                               "{\"prompt\": \"ccc\", \"completion\": \"333\", \"label\": true}\n");
    struct job job = record_job("labels.jsonl", RECORD_LABEL);
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 6);
    check_learnt(job.output, 0, SIDE_DESIRABLE, "<s>a1</s>", "1</s>");
    check_learnt(job.output, 1, SIDE_MISMATCHED, "<s>a22</s>", "22</s>");
    check_learnt(job.output, 2, SIDE_UNDESIRABLE, "<s>bb22</s>", "22</s>");
    check_learnt(job.output, 3, SIDE_MISMATCHED, "<s>bb333</s>", "333</s>");
    check_learnt(job.output, 4, SIDE_DESIRABLE, "<s>ccc333</s>", "333</s>");
    check_learnt(job.output, 5, SIDE_MISMATCHED, "<s>ccc1</s>", "1</s>");
    struct token_file *file = token_file_open(job.output, &job.err);
    assert_int_equal(token_file_num_tokens(file), job.totals.num_tokens);
    token_file_close(file);
    release(&job);
    write_text("labels.jsonl", "{\"prompt\": \"a\", \"completion\": \"1\", \"label\": true}\n");
    job = record_job("labels.jsonl", RECORD_LABEL);
    fails(&job, "a single labelled completion", "more of them");
}

/* Of both labels the first is learnt, the second told apart from copies; without prepare.deduplicate all stay. */
static void test_contradictions(void **state) {
    (void)state;
    write_text("both.jsonl", "{\"prompt\": \"a\", \"completion\": \"1\", \"label\": true}\n"
                             "{\"prompt\": \"bb\", \"completion\": \"22\", \"label\": false}\n"
                             "{\"prompt\": \"a\", \"completion\": \"1\", \"label\": false}\n"
                             "{\"prompt\": \"a\", \"completion\": \"1\", \"label\": false}\n"
                             "{\"prompt\": \"bb\", \"completion\": \"22\", \"label\": false}\n");
    struct job job = record_job("both.jsonl", RECORD_LABEL);
    job.config.deduplicate = true;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 4);
    assert_int_equal(job.totals.num_duplicates, 1);
    check_left(&job, LEFT_CONTRADICTED, 2);
    check_learnt(job.output, 0, SIDE_DESIRABLE, "<s>a1</s>", "1</s>");
    check_learnt(job.output, 2, SIDE_UNDESIRABLE, "<s>bb22</s>", "22</s>");
    release(&job);
    job = record_job("both.jsonl", RECORD_LABEL);
    job.config.deduplicate = false;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 10);
    release(&job);
}

/* A completion that begins with the prompt is refused; controls: one that begins otherwise, or is no longer than it. */
static void test_repeated_prompt(void **state) {
    (void)state;
    static const struct {
        const char *chosen, *rejected, *reason;
    } cases[] = {{"[" USER("q") ", " ASSISTANT("r") "]", "[" ASSISTANT("s") "]",
                  "'chosen' begins with the messages of 'prompt'"},
                 {"[" ASSISTANT("r") "]", "[" USER("q") ", " ASSISTANT("s") "]",
                  "'rejected' begins with the messages of 'prompt'"},
                 {"[" ASSISTANT("r") "]", "[" ASSISTANT("s") "]", NULL},
                 {"[" ASSISTANT("r") ", " USER("q") ", " ASSISTANT("t") "]", "[" ASSISTANT("s") "]", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *line = xasprintf("{\"prompt\": [" USER("q") "], \"chosen\": %s, \"rejected\": %s}\n",
                               cases[i].chosen, cases[i].rejected);
        write_text("again.jsonl", line);
        free(line);
        struct job job = chat_job("again.jsonl", RECORD_PAIR);
        if (cases[i].reason) {
            fails(&job, cases[i].reason, "written twice");
            continue;
        }
        run_well(&job);
        release(&job);
    }
}

/* Lines with one fault each, and one good pair. */
static const char FAULTS[] =
    "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"a\"}\n"
    "{\"chosen\": \"same\", \"rejected\": \"same\"}\n"
    "{\"prompt\": \"q\", \"chosen\": \"a\"}\n"
    "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \" \"}\n"
    "{\"prompt\": \"\", \"chosen\": \"a\", \"rejected\": \"b\"}\n"
    "{\"chosen\": \"a\", \"rejected\": \"b\"}\n"
    "{\"prompt\": \"q\", \"chosen\": 3, \"rejected\": \"b\"}\n"
    "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"this one is much longer\"}\n"
    "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n";

static void test_faults(void **state) {
    (void)state;
    write_text("faults.jsonl", FAULTS);
    struct job job = record_job("faults.jsonl", RECORD_PAIR);
    job.config.on_bad_record = BAD_LINE_SKIP;
    job.config.max_record_tokens = 12;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 2);
    check_left(&job, LEFT_NO_DIFFERENCE, 2);
    check_left(&job, LEFT_MISSING_SIDE, 2);
    check_left(&job, LEFT_EMPTY_PROMPT, 2);
    check_left(&job, LEFT_OTHER, 1);
    check_left(&job, LEFT_TOO_LONG, 1);
    release(&job);
    const char *const want[] = {
        "without difference", "without difference", "no 'rejected'",        "'rejected' is empty",
        "prompt is empty",    "prompt is empty",    "'chosen' is an integ", "prepare.max_record_tokens, 12"};
    const char *line = FAULTS;
    for (int i = 0; i < 8; i++) { /* each by itself is refused with its line */
        char *text = xasprintf("{\"prompt\": \"q\", \"chosen\": \"x\", \"rejected\": \"y\"}\n%.*s",
                               (int)(strchr(line, '\n') - line) + 1, line);
        write_text("fault.jsonl", text);
        job = record_job("fault.jsonl", RECORD_PAIR);
        job.config.max_record_tokens = 12;
        fails(&job, "fault.jsonl' line 2", want[i]);
        line = strchr(line, '\n') + 1;
        free(text);
    }
    write_text("label.jsonl", "{\"prompt\": \"a\", \"completion\": \"1\", \"label\": \"true\"}\n");
    job = record_job("label.jsonl", RECORD_LABEL);
    fails(&job, "'label' is a string, expected true or false", "prepare.on_bad_record");
    write_text("json.jsonl", "{\"prompt\": \"a\", \"chosen\n"); /* of a line, not of a record */
    job = record_job("json.jsonl", RECORD_PAIR);
    fails(&job, "json.jsonl' line 1", "prepare.on_bad_line");
}

#define VOTE(chosen, a, b, system_b)                                                                           \
    "{\"model_a_name\": \"x\", \"model_b_name\": \"y\", \"both_equal\": false, \"chosen_model_name\": " chosen \
    ", \"system_prompt_a\": \"\", \"system_prompt_b\": " system_b ", \"conversation_a\": " a                   \
    ", \"conversation_b\": " b "}\n"

static void test_votes(void **state) {
    (void)state;
    write_text(
        "votes.jsonl",
        VOTE("\"y\"", "[" USER("q") ", " ASSISTANT("a1") ", " USER("s") ", " ASSISTANT("a2") "]",
             "[" USER("q") ", " ASSISTANT("b1") ", " USER("s") ", " ASSISTANT("b2") "]", "null")
        /* a list as a text, as some exports have it; the answer that differs is the second */
        VOTE("\"x\"",
             "\"[{\\\"role\\\": \\\"user\\\", \\\"content\\\": \\\"r\\\"}, {\\\"role\\\": \\\"assistant\\\", "
             "\\\"content\\\": \\\"c\\\"}]\"",
             "[" USER("r") ", " ASSISTANT("d") "]", "\"\"")
            VOTE("null", "[" USER("q") ", " ASSISTANT("a") "]", "[" USER("q") ", " ASSISTANT("b") "]", "\"\"")
                VOTE("\"x\"", "[" USER("q") ", " ASSISTANT("a") "]", "[" USER("q") ", " ASSISTANT("b") "]",
                     "\"be kind\"") VOTE("\"x\"", "[" USER("q") ", " ASSISTANT("a") "]",
                                         "[" USER("p") ", " ASSISTANT("b") "]", "\"\"")
                    VOTE("\"x\"", "[" USER("q") ", " ASSISTANT("a") "]",
                         "[" USER("q") ", " ASSISTANT("a") "]", "\"\"")
                        VOTE("\"z\"", "[" USER("q") ", " ASSISTANT("a") "]",
                             "[" USER("q") ", " ASSISTANT("b") "]", "\"\""));
    struct job job = chat_job("votes.jsonl", RECORD_VOTE);
    job.config.on_bad_record = BAD_LINE_SKIP;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 4);
    check_learnt(job.output, 0, SIDE_CHOSEN, TURN("user", "q") TURN("assistant", "b1"), "b1<|im_end|>");
    check_learnt(job.output, 1, SIDE_REJECTED, TURN("user", "q") TURN("assistant", "a1"), "a1<|im_end|>");
    check_learnt(job.output, 2, SIDE_CHOSEN, TURN("user", "r") TURN("assistant", "c"), "c<|im_end|>");
    check_left(&job, LEFT_TIE, 1);
    check_left(&job, LEFT_SYSTEMS_DIFFER, 1);
    check_left(&job, LEFT_NOTHING_COMMON, 1);
    check_left(&job, LEFT_NO_DIFFERENCE, 1);
    check_left(&job, LEFT_OTHER, 1); /* chosen is neither */
    struct prepare_model listed[] = {{(char[]){"x"}}, {(char[]){"other"}}};
    job.config.models = listed;
    job.config.num_models = 2;
    assert_int_equal(run(&job), -1); /* y may not be learnt from, and no pair is left */
    assert_non_null(strstr(job.err.text, "7 records"));
    check_left(&job, LEFT_MODEL, 5);
    release(&job);
}

#define REACTION(liked, disliked, index, text)                                                                               \
    "{\"refers_to_model\": \"y\", \"model_a_name\": \"x\", \"model_b_name\": \"y\", \"model_pos\": \"b\", \"liked\": " liked \
    ", \"disliked\": " disliked ", \"msg_index\": " index ", \"response_content\": \"" text                                  \
    "\", \"system_prompt\": \"\", \"conversation_a\": [], \"conversation_b\": [" USER("q") ", " ASSISTANT(                   \
        "r1") ", " USER("s") ", " ASSISTANT("r2") "]}\n"

static void test_reactions(void **state) {
    (void)state;
    write_text("reactions.jsonl",
               REACTION("true", "false", "1", "r1") REACTION("false", "true", "3", "r2")
                   REACTION("false", "false", "3", "r2") REACTION("true", "null", "3", "else")
                       REACTION("1", "false", "3", "r2"));
    struct job job = chat_job("reactions.jsonl", RECORD_REACTION);
    job.config.on_bad_record = BAD_LINE_SKIP;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 4);
    check_learnt(job.output, 0, SIDE_DESIRABLE, TURN("user", "q") TURN("assistant", "r1"), "r1<|im_end|>");
    check_learnt(job.output, 2, SIDE_UNDESIRABLE,
                 TURN("user", "q") TURN("assistant", "r1") TURN("user", "s") TURN("assistant", "r2"),
                 "r2<|im_end|>");
    check_left(&job, LEFT_NO_OPINION, 1);
    check_left(&job, LEFT_MISSING_SIDE, 1); /* the text is not the answer's */
    check_left(&job, LEFT_BAD_LABEL, 1);
    release(&job);
}

/* Tables hold lists as texts of JSON, and all else as text: votes, reactions and labels of a table are those of the same lines of
 * JSON.  A list that Python wrote is refused, with where to find it otherwise. */
static void test_cells(void **state) {
    static const char list[] =
        "\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\"\"}, {\"\"role\"\": \"\"assistant\"\", "
        "\"\"content\"\": \"\"%s\"\"}]\"";
    char *a = xasprintf(list, "a, \\\"\"c\\\"\"\\n"), *b = xasprintf(list, "b");
    (void)state;
    char *text = xasprintf(
        "model_a_name\tmodel_b_name\tchosen_model_name\tboth_equal\tconversation_a\tconversation_b\t"
        "system_prompt_a\nx\ty\ty\tFalse\t%s\t%s\t\nx\ty\t\tTrue\t%s\t%s\t\nx\ty\t\tfalse\t%s\t%s\tTrue\n",
        a, b, a, b, a, b);
    write_text("votes.tsv", text);
    free(text);
    struct job job = chat_job("votes.tsv", RECORD_VOTE);
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 2);
    check_left(&job, LEFT_TIE, 2);
    check_learnt(job.output, 0, SIDE_CHOSEN,
                 "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n", "b<|im_end|>");
    check_learnt(job.output, 1, SIDE_REJECTED,
                 "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na, \"c\"\n<|im_end|>\n",
                 "a, \"c\"\n<|im_end|>");
    release(&job);
    text = xasprintf(
        "refers_to_model,model_pos,msg_index,response_content,liked,disliked,conversation_a,conversation_b\n"
        "y,b,1,b,True,,%s,%s\nx,a,1,,,TRUE,%s,%s\nx,a,1,,False,,%s,%s\n",
        a, b, a, b, a, b);
    write_text("reactions.csv", text);
    free(text);
    job = chat_job("reactions.csv", RECORD_REACTION);
    run_well(&job);
    check_left(&job, LEFT_NO_OPINION, 1);
    check_learnt(job.output, 0, SIDE_DESIRABLE,
                 "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n", "b<|im_end|>");
    release(&job);
    write_text("labels.csv", "prompt,completion,label\nCiel:, bleu,True\nCiel:, true,false\n");
    job = record_job("labels.csv", RECORD_LABEL);
    run_well(&job);
    check_learnt(job.output, 0, SIDE_DESIRABLE, "<s>Ciel: bleu</s>", " bleu</s>");
    release(&job);
    write_text(
        "labels.jsonl",
        "{\"prompt\": \"p\", \"completion\": \"c\", \"label\": \"True\"}\n"); /* the control: no table */
    job = record_job("labels.jsonl", RECORD_LABEL);
    fails(&job, "labels.jsonl' line 1", "'label' is a string");
    text = xasprintf(
        "prompt,completion\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\"\"}]\",\"[{\"\"role\"\": "
        "\"\"assistant\"\", \"\"content\"\": \"\"r\"\"}]\"\n");
    write_text("lists.csv", text);
    free(text);
    job = chat_job("lists.csv", RECORD_COMPLETION);
    run_well(&job);
    check_document(job.output, 0, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nr<|im_end|>\n");
    release(&job);
    write_text("votes.tsv", "model_a_name\tmodel_b_name\tchosen_model_name\tconversation_a\tconversation_b\n"
                            "x\ty\tx\t[{'role': 'user'}]\t[]\n");
    job = chat_job("votes.tsv", RECORD_VOTE);
    fails(&job, "votes.tsv' line 2: the text of 'conversation_a'", "its quotes are Python's");
    free(a);
    free(b);
}

/* Conversations in a cell, in the forms of a list; in lines of JSON too, where a text could be nothing else. */
static void test_chat_cells(void **state) {
    static const char want[] = "<|im_start|>user\nq\t\"<|im_end|>\n<|im_start|>assistant\nr<|im_end|>\n";
    (void)state;
    write_text(
        "chat.csv",
        "id;messages\n1;\" [{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\\t\\\"\"\"\"}, {\"\"role\"\": "
        "\"\"assistant\"\", \"\"content\"\": \"\"r\"\"}]\"\n");
    struct job job = chat_job("chat.csv", RECORD_DOCUMENT);
    run_well(&job);
    check_document(job.output, 0, want);
    release(&job);
    write_text(
        "chat.jsonl",
        "{\"conversations\": \"\\n[{\\\"from\\\": \\\"human\\\", \\\"value\\\": \\\"q\\\\t\\\\\\\"\\\"}, "
        "{\\\"from\\\": \\\"gpt\\\", \\\"value\\\": \\\"r\\\"}]\"}\n");
    job = chat_job("chat.jsonl", RECORD_DOCUMENT);
    run_well(&job);
    check_document(job.output, 0, want);
    release(&job);
    write_text("chat.jsonl", "{\"messages\": \"[{'role': 'user', 'content': 'q'}]\"}\n");
    job = chat_job("chat.jsonl", RECORD_DOCUMENT);
    fails(&job, "chat.jsonl' line 1", "its quotes are Python's");
    write_text("chat.jsonl", "{\"messages\": \"q\"}\n");
    job = chat_job("chat.jsonl", RECORD_DOCUMENT);
    fails(&job, "chat.jsonl' line 1", "'messages' is a string, expected a list of messages");
}

/* without - a line of which a field has another name: none is "a vote for neither" because it says nothing. */
static void without(const char *name, const char *field, const char *line, const char *other,
                    enum source_record kind) {
    char *text = xstrdup(line), *quoted = xasprintf("\"%s\"", field),
         *want = xasprintf("'%s' is missing", field);
    char *at = strstr(text, quoted);
    assert_non_null(at);
    at[1] = '_';
    char *second = xasprintf("%s%s%s", line, other, text);
    write_text(name, second);
    struct job job = chat_job(name, kind), control = chat_job(name, kind);
    char *place = xasprintf("%s' line %d", name, *other ? 3 : 2);
    fails(&job, place, want);
    control.config.on_bad_record = BAD_LINE_SKIP; /* control: the line with all its fields is read */
    run_well(&control);
    check_left(&control, LEFT_MISSING_FIELD, 1);
    release(&control);
    free(text), free(quoted), free(want), free(second), free(place);
}

static void test_missing_fields(void **state) {
    (void)state;
    static const char vote[] =
        VOTE("\"x\"", "[" USER("q") ", " ASSISTANT("a") "]", "[" USER("q") ", " ASSISTANT("b") "]", "\"\"");
    static const char *const of_vote[] = {"chosen_model_name", "model_a_name", "model_b_name",
                                          "conversation_a", "conversation_b"};
    static const char reaction[] = REACTION("true", "false", "1", "r1");
    static const char *const of_reaction[] = {"liked", "disliked", "msg_index"};
    for (size_t i = 0; i < sizeof of_vote / sizeof of_vote[0]; i++)
        without("votes.jsonl", of_vote[i], vote, "", RECORD_VOTE);
    for (size_t i = 0; i < sizeof of_reaction / sizeof of_reaction[0]; i++)
        without("reactions.jsonl", of_reaction[i], reaction, REACTION("false", "true", "3", "r2"),
                RECORD_REACTION);
}

/* Pairs stay together in the file for validation too, and the result does not depend on threads. */
static void test_validation(void **state) {
    (void)state;
    struct text lines = {0};
    for (int i = 0; i < 3000; i++) {
        char *line = xasprintf("{\"prompt\": \"%d\", \"chosen\": \"+\", \"rejected\": \"-\"}\n", i);
        text_append(&lines, line, strlen(line));
        free(line);
    }
    write_bytes("many.jsonl", lines.bytes, lines.length_bytes);
    text_release(&lines);
    char hashes[2][TOKEN_CONTENT_ROOM];
    for (int threads = 1; threads <= 3; threads += 2) {
        struct job job = record_job("many.jsonl", RECORD_PAIR);
        job.config.num_threads = threads;
        job.config.valid_every = 10;
        run_well(&job);
        assert_int_equal(job.totals.num_documents, 5400);
        assert_int_equal(job.totals.valid_documents, 600);
        char *valid = prepare_valid_path(job.output);
        check_learnt(valid, 0, SIDE_CHOSEN, "<s>9+</s>", "+</s>");
        check_learnt(valid, 599, SIDE_REJECTED, "<s>2999-</s>", "-</s>");
        struct token_file *file = token_file_open(job.output, &job.err);
        assert_int_equal(token_file_preference(file), PREFERENCE_PAIRS);
        assert_int_equal(token_file_content_hash(file, hashes[threads / 2], &job.err), 0);
        token_file_close(file);
        unlink(valid);
        free(valid);
        release(&job);
    }
    assert_string_equal(hashes[0], hashes[1]);
}

static void test_combinations(void **state) {
    (void)state;
    write_text("pairs.jsonl", "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
    write_text("plain.jsonl", "{\"text\": \"a\"}\n");
    struct job job = record_job("pairs.jsonl", RECORD_PAIR);
    struct prepare_source both[2] = {job.source, {.path = path_of("plain.jsonl")}};
    job.config.sources = both;
    job.config.num_sources = 2;
    assert_int_equal(prepare_run(&job.config, tok, NULL, NULL, &job.totals, &job.err), -1);
    assert_non_null(strstr(job.err.text, "different kinds of documents"));
    free(both[1].path);
    job.config.num_sources = 1;
    job.config.train_on = TRAIN_ON_ALL;
    fails(&job, "prepare.train_on", "assistant");
    job = record_job("pairs.jsonl", RECORD_VOTE);
    fails(&job, "chat has to be true", "pairs.jsonl");
    job = chat_job("pairs.jsonl", RECORD_PAIR);
    fails(&job, "expected a list of messages", "prepare.on_bad_record");
    write_text("pairs.txt", "text");
    job = record_job("pairs.txt", RECORD_PAIR);
    fails(&job, "JSON lines", "pairs.txt");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_pairs),     cmocka_unit_test(test_message_pairs),
        cmocka_unit_test(test_contradictions), cmocka_unit_test(test_repeated_prompt),
        cmocka_unit_test(test_completions),    cmocka_unit_test(test_labels),
        cmocka_unit_test(test_faults),         cmocka_unit_test(test_votes),
        cmocka_unit_test(test_cells),          cmocka_unit_test(test_chat_cells),
        cmocka_unit_test(test_reactions),      cmocka_unit_test(test_missing_fields),
        cmocka_unit_test(test_validation),     cmocka_unit_test(test_combinations),
    };
    folder = test_folder("prepare_records");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
