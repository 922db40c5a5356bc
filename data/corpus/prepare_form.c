/* prepare_form.c - see prepare_form.h.  Alpaca: github.com/tatsu-lab/stanford_alpaca; an input stands on the lines after its
 * instruction.  ShareGPT: the roles of its export, and those that other programs read beside them. */
#include "data/corpus/prepare_form.h"

#include <stdio.h>
#include <string.h>

/* What a line of a form has; FORM_MESSAGES and FORM_SHAREGPT are told apart by their messages. */
static const struct {
    enum conversation_form form;
    const char *fields[2];
} FORMS[] = {{FORM_MESSAGES, {"messages", NULL}},
             {FORM_SHAREGPT, {"conversations", NULL}},
             {FORM_ALPACA, {"instruction", "output"}},
             {FORM_COMPLETION, {"prompt", "completion"}}};
enum { NUM_FORMS = sizeof FORMS / sizeof *FORMS };

bool form_is_list(const struct line_form *found) {
    return found->field != NULL;
}

static bool is_list_form(enum conversation_form form) {
    return form == FORM_AUTO || form == FORM_MESSAGES || form == FORM_SHAREGPT;
}

/* says_nothing - a value as written: null, or a text, list or object without anything in it, also as a text. */
static bool says_nothing(struct text_span value) {
    static const char *const nothing[] = {"null", "\"\"", "\"null\"", "[]", "\"[]\"", "{}", "\"{}\""};
    char said[8]; /* without white space, as far as it may say nothing */
    size_t length = 0;
    for (size_t i = 0; i < value.length_bytes && length < sizeof said - 1; i++)
        if (!strchr(" \t\r\n", value.bytes[i]))
            said[length++] = value.bytes[i];
    said[length] = '\0';
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        if (strcmp(said, nothing[i]) == 0)
            return true;
    return false;
}

/* has_form - all fields of a row of FORMS. */
static bool has_form(int row, struct text_span line, const struct json_line *names) {
    for (int i = 0; i < 2 && FORMS[row].fields[i]; i++)
        if (!source_has_field(line, names, FORMS[row].fields[i]))
            return false;
    return true;
}

/* What the fields of a form say, of one that a line has. */
enum fullness { FORM_EMPTY, FORM_PARTLY, FORM_FULL, NUM_FULLNESSES };

static enum fullness fullness_of(int row, struct text_span line) {
    struct json_line found;
    int num_fields = 0, num_said = 0;
    for (; num_fields < 2 && FORMS[row].fields[num_fields]; num_fields++)
        num_said += json_line_scan(line, FORMS[row].fields[num_fields], &found, NULL) != 0 ||
                    !says_nothing(found.value);
    return num_said == num_fields ? FORM_FULL : num_said > 0 ? FORM_PARTLY : FORM_EMPTY;
}

static bool is_named(struct text_span name, const char *text) {
    return name.length_bytes == strlen(text) && memcmp(name.bytes, text, name.length_bytes) == 0;
}

/* is_asked - whether a row may be what the source says; a list under either name may be of either kind. */
static bool is_asked(int row, enum conversation_form asked) {
    return asked == FORM_AUTO || asked == FORMS[row].form ||
           (is_list_form(asked) && is_list_form(FORMS[row].form));
}

bool form_has_field(enum conversation_form form, struct text_span name) {
    static const char *const ALPACA[] = {"input", "history"}; /* beside its row of FORMS */
    for (int row = 0; row < NUM_FORMS; row++)
        for (int i = 0; i < 2 && FORMS[row].fields[i] && is_asked(row, form); i++)
            if (is_named(name, FORMS[row].fields[i]))
                return true;
    bool is_alpaca = form == FORM_AUTO || form == FORM_ALPACA;
    return is_alpaca && (is_named(name, ALPACA[0]) || is_named(name, ALPACA[1]));
}

/* several - the line could be read in two ways, or in none of two. */
static int several(enum fullness fullness, int a, int b, struct err *err) {
    const char *first = FORMS[a].fields[0], *second = FORMS[b].fields[0];
    if (fullness == FORM_EMPTY)
        return err_set(err, "the line has no conversation: '%s' and '%s' are both empty", first, second);
    return err_set(
        err,
        "the line has both '%s' and '%s', which are conversations of different forms: set the source's form "
        "(messages, sharegpt, alpaca, completion), or its field to the list that is meant",
        first, second);
}

/* choose_fullest - of several that the line has: a table of several forms has the columns of all of them in every row.  The
 * row, or -2 with err set. */
static int choose_fullest(const bool has[NUM_FORMS], struct text_span line, struct err *err) {
    int found[NUM_FULLNESSES] = {-1, -1, -1}, other[NUM_FULLNESSES] = {-1, -1, -1}, most = FORM_FULL;
    for (int row = 0; row < NUM_FORMS; row++) {
        if (!has[row])
            continue;
        enum fullness fullness = fullness_of(row, line);
        int *at = found[fullness] < 0 ? found : other;
        at[fullness] = row;
    }
    while (most > FORM_EMPTY && found[most] < 0)
        most--;
    return other[most] < 0 ? found[most] : several(most, found[most], other[most], err) - 1;
}

/* choose - the row that the line has; -1 where it has none, -2 with err set for several. */
static int choose(enum conversation_form asked, struct text_span line, const struct json_line *names,
                  struct err *err) {
    bool has[NUM_FORMS];
    int num_forms = 0, last = -1;
    for (int row = 0; row < NUM_FORMS; row++) {
        has[row] = is_asked(row, asked) && has_form(row, line, names);
        num_forms += has[row];
        last = has[row] ? row : last;
    }
    return num_forms > 1 ? choose_fullest(has, line, err) : last;
}

/* no_form - what a form by name wants; without a name it is told as a missing field. */
static int no_form(enum conversation_form asked, struct text_span line, const struct prepare_source *source,
                   struct err *err) {
    struct json_line found;
    for (int row = 0; row < NUM_FORMS; row++)
        if (FORMS[row].form == asked && !is_list_form(asked))
            return err_set(err, "the line has not both '%s' and '%s', which the source's form wants",
                           FORMS[row].fields[0], FORMS[row].fields[1]);
    return source_find_field(source, NULL, line, &found, err);
}

int form_find(const struct prepare_source *source, struct text_span line, struct line_form *found,
              struct err *err) {
    *found = (struct line_form){.form = source->form};
    if (source->field) {
        found->field = source->field;
        return source_find_field(source, found->field, line, &found->found, err);
    }
    if (json_line_scan(line, "messages", &found->found, err) != 0)
        return -1;
    int row = choose(source->form, line, &found->found, err);
    if (row < 0)
        return row == -1 ? no_form(source->form, line, source, err) : -1;
    if (is_list_form(FORMS[row].form)) {
        found->field = FORMS[row].fields[0];
        return source_find_field(source, found->field, line, &found->found, err);
    }
    found->form = FORMS[row].form;
    return 0;
}

/* may_hold_list - a column of lists, or of texts, each of which may be one as JSON. */
static bool may_hold_list(struct text_span sample, const char *field) {
    struct json_line found;
    return json_line_scan(sample, field, &found, NULL) == 0 && found.value.bytes &&
           (found.value.bytes[0] == '[' || found.value.bytes[0] == '"');
}

int form_check_columns(const struct prepare_source *source, struct text_span sample, struct err *err) {
    struct line_form form;
    struct json_line names;
    if (source->field)
        return may_hold_list(sample, source->field) ? 0 : form_find(source, sample, &form, err);
    if (json_line_scan(sample, "messages", &names, err) != 0)
        return -1;
    for (int row = 0; row < NUM_FORMS; row++)
        if (is_asked(row, source->form) && has_form(row, sample, &names) &&
            (!is_list_form(FORMS[row].form) || may_hold_list(sample, FORMS[row].fields[0])))
            return 0;
    return form_find(source, sample, &form, err);
}

/* --- texts --- */

/* take_text - a string of the line, "" where it has none or null; NULL with err set.  A new reference. */
static json_t *take_text(struct text_span line, const char *field, struct err *err) {
    struct json_line found;
    json_error_t fault;
    if (json_line_scan(line, field, &found, err) != 0)
        return NULL;
    json_t *value = found.value.bytes ? json_loadb(found.value.bytes, found.value.length_bytes,
                                                   JSON_ALLOW_NUL | JSON_DECODE_ANY, &fault)
                                      : json_null();
    if (json_is_string(value))
        return value;
    bool is_nothing = json_is_null(value);
    json_decref(value);
    if (is_nothing)
        return json_string("");
    err_set(err, "'%s' is not a text%s", field,
            strcmp(field, "prompt") == 0 || strcmp(field, "completion") == 0
                ? " (lists of messages are read with the source's record: completion)"
                : "");
    return NULL;
}

/* join - an instruction, and on the lines after it its input, where it has one. */
static json_t *join(const json_t *instruction, const json_t *input) {
    struct text text = {0};
    text_append(&text, json_string_value(instruction), json_string_length(instruction));
    if (json_string_length(input) > 0)
        text_append(&text, "\n", 1);
    text_append(&text, json_string_value(input), json_string_length(input));
    json_t *joined = json_stringn_nocheck(text.bytes ? text.bytes : "", text.length_bytes);
    text_release(&text);
    return joined;
}

/* has_history - earlier turns beside an instruction, which would be lost: a list, an object, or a text of either. */
static bool has_history(struct text_span line) {
    struct json_line found;
    return json_line_scan(line, "history", &found, NULL) == 0 && found.value.length_bytes > 0 &&
           !says_nothing(found.value);
}

/* two_messages - a question and its answer. */
static json_t *two_messages(enum conversation_form form, struct text_span line, struct err *err) {
    bool is_alpaca = form == FORM_ALPACA;
    if (is_alpaca && has_history(line)) {
        err_set(err,
                "the line has the field 'history', which is not read: write the conversation as messages");
        return NULL;
    }
    json_t *question = take_text(line, is_alpaca ? "instruction" : "prompt", err);
    json_t *answer = question ? take_text(line, is_alpaca ? "output" : "completion", err) : NULL;
    json_t *input = answer ? (is_alpaca ? take_text(line, "input", err) : json_string("")) : NULL;
    json_t *list = input ? json_pack("[{s:s, s:o}, {s:s, s:O}]", "role", "user", "content",
                                     join(question, input), "role", "assistant", "content", answer)
                         : NULL;
    json_decref(question);
    json_decref(answer);
    json_decref(input);
    return list;
}

json_t *form_parse(const struct line_form *found, struct text_span line, struct err *err) {
    if (form_is_list(found))
        return source_parse_chat(found->field, line, &found->found, err);
    json_t *list = two_messages(found->form, line, err);
    json_t *root = list ? source_parse_beside(line, &found->found, err) : NULL;
    if (!root) {
        json_decref(list);
        return NULL;
    }
    json_object_set_new(root, "messages", list);
    return root;
}

/* --- ShareGPT --- */

static const struct {
    const char *from, *role;
} ROLES[] = {{"human", "user"},        {"user", "user"},           {"gpt", "assistant"},
             {"chatgpt", "assistant"}, {"assistant", "assistant"}, {"system", "system"}};

static const char *role_of(const char *from) {
    for (size_t i = 0; i < sizeof ROLES / sizeof *ROLES; i++)
        if (strcmp(ROLES[i].from, from) == 0)
            return ROLES[i].role;
    return NULL;
}

/* convert_message - of {from, value}; what else it has stays. */
static int convert_message(json_t *message, int number, struct err *err) {
    json_t *from = json_object_get(message, "from"), *value = json_object_get(message, "value");
    if (json_object_get(message, "role") || json_object_get(message, "content"))
        return err_set(err, "message %d has both 'from' or 'value' and 'role' or 'content'", number);
    if (!json_is_string(from) || !value)
        return err_set(err, "message %d has no string 'from' with a 'value'", number);
    const char *role = role_of(json_string_value(from));
    if (!role)
        return err_set(
            err,
            "message %d is from '%.40s': known are human, user, gpt, chatgpt, assistant, system; tools are "
            "written as messages with tool_calls",
            number, json_string_value(from));
    json_t *other = json_deep_copy(message), *rest;
    const char *key;
    json_object_clear(message);
    json_object_set_new(message, "role", json_string(role));
    json_object_set(message, "content", json_object_get(other, "value"));
    json_object_foreach(other, key, rest) if (strcmp(key, "from") != 0 && strcmp(key, "value") != 0)
        json_object_set(message, key, rest);
    json_decref(other);
    return 0;
}

int form_convert(const struct line_form *found, json_t *root, struct err *err) {
    json_t *message;
    size_t i;
    if (!form_is_list(found) || found->form == FORM_MESSAGES)
        return 0;
    json_array_foreach(json_object_get(root, "messages"), i, message) {
        bool is_sharegpt = json_object_get(message, "from") || json_object_get(message, "value");
        if (!is_sharegpt && found->form == FORM_AUTO)
            continue;
        if (convert_message(message, (int)i + 1, err) != 0)
            return -1;
    }
    return 0;
}
