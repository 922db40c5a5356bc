/* prepare_message.c - the messages of a conversation from JSON: roles, texts, what else the model's template may write,
 * and whether each is learnt.  See prepare_message.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_message.h"

static void conversation_init(struct conversation *read, int num_messages) {
    *read = (struct conversation){.messages = xcalloc((size_t)num_messages, sizeof *read->messages),
                                  .more = xcalloc((size_t)num_messages, sizeof *read->more),
                                  .roles = xcalloc((size_t)num_messages, sizeof *read->roles),
                                  .unlearnt = xcalloc((size_t)num_messages, sizeof *read->unlearnt),
                                  .num_messages = num_messages};
}

void conversation_release(struct conversation *read) {
    for (int i = 0; i < read->num_messages; i++) {
        free(read->roles[i]);
        free((size_t *)(uintptr_t)read->more[i].part_bytes);
        json_decref((json_t *)(uintptr_t)read->more[i].fields);
    }
    free(read->messages);
    free(read->more);
    free(read->roles);
    free(read->unlearnt);
    json_decref(read->tools);
    json_decref(read->kwargs);
}

/* is_empty - null, false, "", [] and {} say nothing. */
static bool is_empty(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static bool is_one_of(const char *field, const char *const *names) {
    for (; *names; names++)
        if (strcmp(field, *names) == 0)
            return true;
    return false;
}

/* --- weights --- */

/* read_weight - one spelling of "this counts": 1, 0 or -1 for nothing said; -2 with err set.  who: "message 2". */
static int read_weight(const json_t *entry, const char *field, const char *who, struct err *err) {
    const json_t *value = json_object_get(entry, field);
    if (!value || json_is_null(value))
        return -1;
    if (json_is_boolean(value))
        return json_is_true(value);
    double number = json_is_number(value) ? json_number_value(value) : -1;
    if (number == 0 || number == 1)
        return number == 1;
    err_set(err, "%s has a '%s' that is neither 0 (not learnt) nor 1 (learnt)", who, field);
    return -2;
}

/* read_weights - all spellings together; they must agree.  As read_weight. */
static int read_weights(const json_t *entry, const char *who, struct err *err) {
    int said = -1;
    for (int f = 0; CHAT_WEIGHT_FIELDS[f]; f++) {
        int weight = read_weight(entry, CHAT_WEIGHT_FIELDS[f], who, err);
        if (weight == -2)
            return -2;
        if (weight >= 0 && said >= 0 && weight != said) {
            err_set(err, "%s says both that it is learnt and that it is not", who);
            return -2;
        }
        said = weight >= 0 ? weight : said;
    }
    return said;
}

/* read_message_weight - a weight of 1 says nothing new of an answer, and cannot be kept of anything else unless
 * everything is learnt. */
static int read_message_weight(const struct worker *worker, const json_t *entry, const char *role, int i,
                               bool *unlearnt, struct err *err) {
    char who[32];
    snprintf(who, sizeof who, "message %d", i + 1);
    int said = read_weights(entry, who, err);
    if (said == -2)
        return -1;
    if (said == 1 && strcmp(role, "assistant") != 0 && worker->config->train_on != TRAIN_ON_ALL)
        return err_set(err,
                       "message %d (%s) is marked to be learnt; only the assistant's messages are, unless "
                       "prepare.train_on is all",
                       i + 1, role);
    *unlearnt = said == 0;
    return 0;
}

/* --- what a message has beside role and text --- */

/* The names of a thought; the first that a message has counts. */
static const char *const THOUGHTS[] = {"reasoning_content", "thinking", "reasoning", NULL};

/* is_written - whether the template may write a field: a thought goes under two names. */
static bool is_written(const struct worker *worker, const char *field, bool has_tools) {
    const struct chat_style *style = worker->style;
    if (!style->own)
        return false;
    if (!is_one_of(field, THOUGHTS))
        return chat_style_writes(style, worker->tok, has_tools, field);
    return chat_style_writes(style, worker->tok, has_tools, "reasoning_content") ||
           chat_style_writes(style, worker->tok, has_tools, "thinking");
}

/* holds_number - a number that json_line_plain put in quotes. */
static bool holds_number(const json_t *value) {
    json_t *item;
    const char *key;
    size_t i;
    if (json_is_string(value)) {
        size_t length_bytes = json_string_length(value);
        const char *text = json_string_value(value);
        return length_bytes > 1 && text[0] == '\0' &&
               strspn(text + 1, "+-.0123456789eENaInfity") == length_bytes - 1;
    }
    json_array_foreach((json_t *)(uintptr_t)value, i, item) if (holds_number(item)) return true;
    json_object_foreach((json_t *)(uintptr_t)value, key, item) if (holds_number(item)) return true;
    return false;
}

/* check_number - a field that is written keeps its numbers; what nobody reads may hold any. */
static int check_number(const struct worker *worker, const char *field, const json_t *value, bool has_tools,
                        int i, struct err *err) {
    bool is_read = strcmp(field, "role") == 0 || strcmp(field, "content") == 0;
    if (!holds_number(value) || !(is_read || is_written(worker, field, has_tools)))
        return 0;
    return err_set(err,
                   "message %d has the field '%s' with a number that is beyond 64 bits or a double, NaN or "
                   "Infinity: it cannot be written as it is; put it in quotes",
                   i + 1, field);
}

/* check_fields - fields that change what is written or learnt, and that would be lost. */
static int check_fields(const struct worker *worker, const json_t *entry, bool has_tools, int i,
                        struct err *err) {
    static const char *const written[] = {
        "tool_calls", "function_call", "reasoning_content", "reasoning", "thinking", "refusal", NULL};
    static const char *const details[] = {"train_detail", "training_detail", NULL};
    const struct chat_style *style = worker->style;
    const char *field;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)entry, field, value) {
        if (is_empty(value))
            continue;
        if (check_number(worker, field, value, has_tools, i, err) != 0)
            return -1;
        if (strcmp(field, "masked") == 0)
            return err_set(err,
                           "message %d has the field 'masked', which is not read; say \"weight\": 0 of an "
                           "answer that is not to be learnt",
                           i + 1);
        bool is_lost = is_one_of(field, written) && !is_written(worker, field, has_tools);
        if (is_one_of(field, details) || is_lost)
            return err_set(err, "message %d has the field '%s', which %s", i + 1, field,
                           is_lost && style->own ? "the model's chat template does not write"
                                                 : "is not supported");
    }
    return 0;
}

/* thought_of - what a message says before its answer, under the name that counts. */
static json_t *thought_of(const json_t *entry) {
    for (int i = 0; THOUGHTS[i]; i++) {
        json_t *thought = json_object_get(entry, THOUGHTS[i]);
        if (thought && !json_is_null(thought))
            return thought;
    }
    return NULL;
}

/* template_fields - a message as transformers gives it to a template: without what is null, and with a thought under
 * both names that templates read; weights are ours. */
static json_t *template_fields(const json_t *entry) {
    json_t *fields = json_object(), *thought = thought_of(entry), *value;
    const char *name;
    CHECK(fields, "out of memory for a message");
    if (thought)
        json_object_set(fields, "thinking", thought);
    json_object_foreach((json_t *)(uintptr_t)entry, name,
                        value) if (!json_is_null(value) && !is_one_of(name, CHAT_WEIGHT_FIELDS))
        json_object_set(fields, name, value);
    if (thought)
        json_object_set(fields, "reasoning_content", thought);
    return fields;
}

/* keep_fields - what the template may read, without the text, which lies elsewhere; nothing for a message of role and
 * text alone. */
static void keep_fields(const json_t *entry, struct jinja_more *more) {
    json_t *fields = template_fields(entry), *content = json_object_get(fields, "content");
    const char *first = json_object_iter_key(json_object_iter(fields));
    bool is_plain = first && strcmp(first, "role") == 0 && json_is_string(content);
    if (is_plain && json_object_size(fields) == 2) {
        json_decref(fields);
        return;
    }
    if (json_is_string(content) || json_is_array(content))
        json_object_set_new(fields, "content", json_is_string(content) ? json_string("") : json_array());
    more->fields = fields;
}

/* --- the text of a message --- */

/* part_text - of a part of a content that is a list, or NULL: not a text. */
static const json_t *part_text(const json_t *part) {
    const json_t *type = json_object_get(part, "type"), *text = json_object_get(part, "text");
    bool is_text = json_is_string(type) && strcmp(json_string_value(type), "text") == 0;
    return is_text && json_is_string(text) ? text : NULL;
}

static enum verdict append(struct worker *worker, struct batch_document *document, const json_t *text,
                           struct err *err) {
    struct text_span span = {json_string_value(text), json_string_length(text)};
    return worker_append(worker, document, span, &worker->scratch, err);
}

/* read_parts - a list of texts, one after the other; a template that takes strings alone gets the only one as such. */
static enum verdict read_parts(struct worker *worker, struct batch_document *document, const json_t *list,
                               int i, struct jinja_more *more, struct err *err) {
    size_t count = json_array_size(list);
    bool takes_parts = worker->style->takes_parts, is_text = count > 0 && count <= INT32_MAX;
    enum verdict verdict = VERDICT_CLEAN;
    for (size_t k = 0; k < count; k++)
        is_text = is_text && part_text(json_array_get(list, k));
    if (!is_text || (count > 1 && !takes_parts)) {
        err_set(err, "message %d has a content of several parts or of other than text, which %s", i + 1,
                is_text ? "the template does not write" : "is not supported");
        return VERDICT_ERROR;
    }
    size_t *part_bytes = xcalloc(count, sizeof *part_bytes);
    for (size_t k = 0; k < count && verdict != VERDICT_ERROR && verdict != VERDICT_SKIP; k++) {
        size_t before = worker->scratch.length_bytes;
        verdict = append(worker, document, part_text(json_array_get(list, k)), err);
        part_bytes[k] = worker->scratch.length_bytes - before;
    }
    if (!takes_parts) {
        json_object_set_new((json_t *)(uintptr_t)more->fields, "content", json_string(""));
        free(part_bytes);
        return verdict;
    }
    more->part_bytes = part_bytes;
    more->num_parts = (int)count;
    return verdict;
}

/* read_content - to the end of scratch. */
static enum verdict read_content(struct worker *worker, struct batch_document *document, const json_t *entry,
                                 int i, struct jinja_more *more, struct err *err) {
    const json_t *content = json_object_get(entry, "content");
    if (json_is_string(content))
        return append(worker, document, content, err);
    if (json_is_array(content) && json_array_size(content) > 0)
        return read_parts(worker, document, content, i, more, err);
    bool says_else =
        !is_empty(json_object_get(entry, "tool_calls")) || !is_empty(json_object_get(entry, "function_call"));
    if ((!content || json_is_null(content)) && says_else)
        return VERDICT_CLEAN;
    err_set(err, "message %d has no string 'content'", i + 1);
    return VERDICT_ERROR;
}

/* has_lost_name - a name of who speaks that the template does not write; that of a tool is in its call as well. */
static bool has_lost_name(const struct worker *worker, const json_t *entry, const struct conversation *read) {
    const char *role = json_string_value(json_object_get(entry, "role"));
    bool is_tool = strcmp(role, "tool") == 0 || strcmp(role, "function") == 0;
    return !is_tool && !is_empty(json_object_get(entry, "name")) &&
           !is_written(worker, "name", read->tools != NULL);
}

/* read_message - role, weight, fields and text of an entry; the pointer to the text is set by the caller once scratch no
 * longer moves. */
static enum verdict read_message(struct worker *worker, struct batch_document *document, const json_t *entry,
                                 int i, struct conversation *read, struct err *err) {
    const json_t *role = json_object_get(entry, "role");
    if (!json_is_string(role) || strlen(json_string_value(role)) != json_string_length(role)) {
        err_set(err, "message %d has no string 'role'", i + 1);
        return VERDICT_ERROR;
    }
    read->roles[i] = xstrdup(json_string_value(role));
    read->messages[i].role = read->roles[i];
    if (check_fields(worker, entry, read->tools != NULL, i, err) != 0 ||
        read_message_weight(worker, entry, read->roles[i], i, &read->unlearnt[i], err) != 0)
        return VERDICT_ERROR;
    document->num_names += has_lost_name(worker, entry, read);
    if (worker->style->own)
        keep_fields(entry, &read->more[i]);
    read->has_more = read->has_more || read->more[i].fields;
    size_t before = worker->scratch.length_bytes;
    enum verdict verdict = read_content(worker, document, entry, i, &read->more[i], err);
    read->messages[i].content_bytes = worker->scratch.length_bytes - before;
    return verdict;
}

/* --- the line --- */

/* check_line - what stands beside the messages and changes what is written, or whether any of it is learnt. */
static int check_line(const json_t *line, struct err *err) {
    for (size_t f = 0; CHAT_REFUSED_FIELDS[f]; f++)
        if (!is_empty(json_object_get(line, CHAT_REFUSED_FIELDS[f])))
            return err_set(err, "the conversation has the field '%s', which is not supported",
                           CHAT_REFUSED_FIELDS[f]);
    int said = read_weights(line, "the conversation", err);
    if (said != 0)
        return said == -2 ? -1 : 0;
    int f = 0;
    while (read_weight(line, CHAT_WEIGHT_FIELDS[f], "", err) != 0)
        f++;
    return err_set(err, "nothing to learn: '%s' beside the messages says that no answer of them is learnt",
                   CHAT_WEIGHT_FIELDS[f]);
}

/* read_input - tools or kwargs of a line: the value itself or, as some data sets have it, JSON in a string. */
static int read_input(const struct worker *worker, const json_t *line, const char *field, json_t **value,
                      struct err *err) {
    json_t *given = json_object_get(line, field);
    bool is_list = strcmp(field, "tools") == 0;
    if (is_empty(given))
        return 0;
    if (!worker->style->own ||
        (is_list && !worker->style->tool_use && !chat_style_writes(worker->style, worker->tok, true, field)))
        return err_set(err, "the conversation has the field '%s', which %s", field,
                       worker->style->own ? "the model's chat template does not write (prepare.chat_template "
                                            "takes a file with one that does)"
                                          : "the format of prepare.chat_template does not write (auto: the "
                                            "model's own template; or a file)");
    *value = json_is_string(given) ? json_loadb(json_string_value(given), json_string_length(given),
                                                JSON_REJECT_DUPLICATES, NULL)
                                   : json_incref(given);
    if (!*value || (is_list ? !json_is_array(*value) : !json_is_object(*value)))
        return err_set(err, "the field '%s' is not %s (of at most 1 MiB)", field,
                       is_list ? "a list of tools" : "an object of names and values");
    return 0;
}

/* check_names - what the template does not read would change nothing, without a word. */
static int check_names(const struct worker *worker, const struct conversation *read, struct err *err) {
    const char *name;
    json_t *value;
    json_object_foreach(read->kwargs, name, value) if (
        !chat_style_writes(
            worker->style, worker->tok, read->tools != NULL,
            name)) return err_set(err,
                                  "'chat_template_kwargs' of the conversation has '%.40s', which the model's chat template "
                                  "does not read",
                                  name);
    return 0;
}

/* read_list - a conversation is kept whole or not at all: the first message that is left out, or fails, ends it. */
static int read_list(struct worker *worker, struct batch_document *document, const json_t *list,
                     struct conversation *read, struct err *err) {
    int status = 0;
    for (int i = 0; status == 0 && i < read->num_messages && document->outcome == OUTCOME_TOKENS; i++) {
        enum verdict verdict = read_message(worker, document, json_array_get(list, (size_t)i), i, read, err);
        if (verdict == VERDICT_SKIP)
            document->outcome = OUTCOME_SKIPPED;
        else if (verdict == VERDICT_ERROR)
            status = -1;
    }
    return status;
}

/* put_system - a system text beside the messages is the first of them.  Where they have one of their own, both must say
 * the same. */
static int put_system(json_t *line, struct err *err) {
    json_t *system = json_object_get(line, CHAT_SYSTEM_FIELD), *list = json_object_get(line, "messages");
    const json_t *first = json_array_get(list, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    if (is_empty(system) || !first)
        return 0;
    if (!json_is_string(system))
        return err_set(err, "the field '%s' beside the messages is not a string", CHAT_SYSTEM_FIELD);
    if (role && strcmp(role, "system") == 0) {
        if (json_equal(json_object_get(first, "content"), system))
            return 0;
        return err_set(
            err,
            "the conversation has the field '%s' and begins with another system message: leave one of "
            "them out",
            CHAT_SYSTEM_FIELD);
    }
    json_t *message = json_pack("{s:s, s:O}", "role", "system", "content", system);
    return message && json_array_insert_new(list, 0, message) == 0 ? 0 : err_set(err, "out of memory");
}

/* Tools before messages: which fields the template writes can depend on whether there are tools. */
int conversation_read(struct worker *worker, struct batch_document *document, json_t *line,
                      struct conversation *read, struct err *err) {
    const json_t *list = json_object_get(line, "messages");
    if (check_line(line, err) != 0 || put_system(line, err) != 0)
        return -1;
    if (json_array_size(list) > JINJA_MAX_MESSAGES)
        return err_set(err, "a conversation of more than %d messages", JINJA_MAX_MESSAGES);
    if (json_array_size(list) == 0)
        return err_set(err, "a conversation without messages");
    conversation_init(read, (int)json_array_size(list));
    worker->scratch.length_bytes = 0;
    if (read_input(worker, line, "tools", &read->tools, err) != 0 ||
        read_input(worker, line, "chat_template_kwargs", &read->kwargs, err) != 0 ||
        check_names(worker, read, err) != 0)
        return -1;
    return read_list(worker, document, list, read, err);
}
