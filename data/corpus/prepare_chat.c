/* prepare_chat.c - one conversation of a corpus: a list of messages in JSON -> tokens with the mask of what
 * is learnt. What cannot be written as asked, or teaches nothing, is a bad conversation:
 * prepare_config.bad_chat says what becomes of it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_batch.h"
#include "data/template/jinja.h"

/* A conversation that is being read; the contents lie in the worker's scratch, the roles are its own. */
struct conversation {
    struct chat_message *messages;
    char **roles;
    bool *unlearnt;
    int num_messages;
};

static void conversation_init(struct conversation *read, int num_messages) {
    *read = (struct conversation){xcalloc((size_t)num_messages, sizeof *read->messages),
                                  xcalloc((size_t)num_messages, sizeof *read->roles),
                                  xcalloc((size_t)num_messages, sizeof *read->unlearnt), num_messages};
}

static void conversation_release(struct conversation *read) {
    for (int i = 0; i < read->num_messages; i++)
        free(read->roles[i]);
    free(read->messages);
    free(read->roles);
    free(read->unlearnt);
}

/* is_empty - null, false, "", [] and {} say nothing. */
static bool is_empty(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static bool is_weight(const char *field) {
    for (int i = 0; CHAT_WEIGHT_FIELDS[i]; i++)
        if (strcmp(field, CHAT_WEIGHT_FIELDS[i]) == 0)
            return true;
    return false;
}

/* check_fields - fields that change what a template writes or what is learnt, and that are not read here. */
static int check_fields(const struct chat_style *style, const json_t *entry, int i, struct err *err) {
    static const char *const fields[] = {"tool_calls", "function_call", "reasoning_content", "reasoning",
                                         "thinking",   "train_detail",  "training_detail"};
    for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++)
        if (!is_empty(json_object_get(entry, fields[f])))
            return err_set(err, "message %d has the field '%s', which is not supported", i + 1, fields[f]);
    if (!is_empty(json_object_get(entry, "masked")))
        return err_set(err,
                       "message %d has the field 'masked', which is not read; say \"weight\": 0 of an answer "
                       "that is not to be learnt",
                       i + 1);
    const char *field;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)entry, field, value) {
        bool is_known = strcmp(field, "role") == 0 || strcmp(field, "content") == 0 || is_weight(field);
        if (style->own && !is_known && !is_empty(value) && jinja_reads(style->own, field))
            return err_set(
                err,
                "message %d has the field '%.40s', which the model's chat template reads and which is not "
                "supported",
                i + 1, field);
    }
    return 0;
}

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

static int read_message_weight(const json_t *entry, const char *role, int i, bool *unlearnt,
                               struct err *err) {
    char who[32];
    snprintf(who, sizeof who, "message %d", i + 1);
    int said = read_weights(entry, who, err);
    if (said == -2)
        return -1;
    if (said == 1 && strcmp(role, "assistant") != 0)
        return err_set(err, "message %d (%s) is marked to be learnt; only the assistant's messages are",
                       i + 1, role);
    *unlearnt = said == 0;
    return 0;
}

/* content_of - a string, or a list of one part of text, which is the same. */
static const json_t *content_of(const json_t *entry, int i, struct err *err) {
    const json_t *content = json_object_get(entry, "content");
    if (json_is_array(content)) {
        const json_t *part = json_array_get(content, 0), *type = json_object_get(part, "type");
        const json_t *text = json_object_get(part, "text");
        bool is_text =
            json_is_string(type) && strcmp(json_string_value(type), "text") == 0 && json_is_string(text);
        if (json_array_size(content) == 1 && is_text)
            return text;
        err_set(err,
                "message %d has a content of several parts or of other than text, which is not supported",
                i + 1);
        return NULL;
    }
    if (!json_is_string(content))
        err_set(err, "message %d has no string 'content'", i + 1);
    return json_is_string(content) ? content : NULL;
}

/* read_message - role, weight and length of an entry's content, which goes to the end of scratch; the pointer
 * to it is set by the caller once scratch no longer moves. */
static enum verdict read_message(struct worker *worker, struct batch_document *document, const json_t *entry,
                                 int i, struct conversation *read, struct err *err) {
    const json_t *role = json_object_get(entry, "role");
    if (!json_is_string(role) || strlen(json_string_value(role)) != json_string_length(role)) {
        err_set(err, "message %d has no string 'role'", i + 1);
        return VERDICT_ERROR;
    }
    const json_t *content = content_of(entry, i, err);
    if (!content || check_fields(worker->style, entry, i, err) != 0 ||
        read_message_weight(entry, json_string_value(role), i, &read->unlearnt[i], err) != 0)
        return VERDICT_ERROR;
    size_t before = worker->scratch.length_bytes;
    struct text_span text = {json_string_value(content), json_string_length(content)};
    enum verdict verdict = worker_append(worker, document, text, &worker->scratch, err);
    read->roles[i] = xstrdup(json_string_value(role));
    read->messages[i] =
        (struct chat_message){.role = read->roles[i], .content_bytes = worker->scratch.length_bytes - before};
    return verdict;
}

/* hash_messages - roles and contents with their lengths and weights, so that no two conversations look alike.
 */
static XXH128_hash_t hash_messages(const struct chat_message *messages, const bool *unlearnt,
                                   int num_messages) {
    XXH3_state_t *state = XXH3_createState();
    CHECK(state, "out of memory for a hash");
    XXH3_128bits_reset(state);
    for (int i = 0; i < num_messages; i++) {
        const uint64_t lengths[3] = {strlen(messages[i].role), messages[i].content_bytes, unlearnt[i]};
        XXH3_128bits_update(state, lengths, sizeof lengths);
        XXH3_128bits_update(state, messages[i].role, lengths[0]);
        XXH3_128bits_update(state, messages[i].content, lengths[1]);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

/* check_answers - there is something to learn, nothing to learn is not "say nothing", and none of it is an answer to
 * a question that is empty. */
static int check_answers(const struct conversation *read, struct err *err) {
    int num_learnt = 0;
    for (int i = 0; i < read->num_messages; i++) {
        bool is_answer = strcmp(read->messages[i].role, "assistant") == 0;
        if (read->unlearnt[i] || (!is_answer && strcmp(read->messages[i].role, "user") != 0))
            continue;
        num_learnt += is_answer;
        if (text_is_blank(read->messages[i].content, read->messages[i].content_bytes))
            return err_set(
                err,
                "message %d, %s, is empty (or holds only characters that cannot be seen): the model "
                "would learn to %s",
                i + 1, is_answer ? "an answer of the assistant" : "of the user",
                is_answer ? "say nothing" : "answer where nothing was asked");
    }
    if (num_learnt == 0)
        return err_set(err, "nothing to learn: the conversation has no message of the assistant that counts");
    return 0;
}

/* note_marks - messages that hold the text of a special token: it is written as other text, which an author who
 * meant the token wants to know. */
static void note_marks(const struct worker *worker, struct batch_document *document,
                       const struct conversation *read) {
    for (int i = 0; i < read->num_messages; i++) {
        int32_t id =
            tokenizer_find_special(worker->tok, read->messages[i].content, read->messages[i].content_bytes);
        if (id >= 0 && document->num_marked++ == 0) {
            document->marked_message = i;
            document->marked_id = id;
        }
    }
}

/* render - the messages are read: their text with its spans.  They are not needed afterwards, and given back where
 * they are long. */
static int render(struct worker *worker, struct batch_document *document, const struct conversation *read,
                  struct chat_text *rendered, struct err *err) {
    const char *at = worker->scratch.bytes ? worker->scratch.bytes : "";
    for (int i = 0; i < read->num_messages; i++) {
        read->messages[i].content = at;
        at += read->messages[i].content_bytes;
    }
    struct chat chat = {.kind = worker->style->kind,
                        .messages = read->messages,
                        .num_messages = read->num_messages,
                        .unlearnt = read->unlearnt,
                        .style = worker->style};
    document->hash = hash_messages(read->messages, read->unlearnt, read->num_messages);
    if (chat_render(worker->tok, &chat, rendered, err) != 0 || check_answers(read, err) != 0)
        return -1;
    note_marks(worker, document, read);
    worker_give_back(worker);
    return 0;
}

/* encode - a conversation that was read: tokens and mask. */
static int encode(struct worker *worker, struct batch *batch, struct batch_document *document,
                  const struct conversation *read, struct err *err) {
    struct chat_text rendered = {0};
    int status = render(worker, document, read, &rendered, err);
    if (status == 0)
        status = chat_encode_text(worker->encoder, &rendered, &batch->tokens, &batch->mask, err);
    chat_text_release(&rendered);
    return status;
}

/* read_list - the messages one after the other; one whose text is skipped takes the conversation with it.  read
 * is to be released in any case. */
static int read_list(struct worker *worker, struct batch_document *document, const json_t *list,
                     struct conversation *read, struct err *err) {
    enum { MAX_MESSAGES = 1 << 15 };
    int status = 0;
    if (json_array_size(list) > MAX_MESSAGES)
        return err_set(err, "a conversation of more than %d messages", MAX_MESSAGES);
    if (json_array_size(list) == 0)
        return err_set(err, "a conversation without messages");
    conversation_init(read, (int)json_array_size(list));
    worker->scratch.length_bytes = 0;
    for (int i = 0; status == 0 && i < read->num_messages && document->outcome == OUTCOME_TOKENS; i++) {
        enum verdict verdict = read_message(worker, document, json_array_get(list, (size_t)i), i, read, err);
        if (verdict == VERDICT_SKIP)
            document->outcome = OUTCOME_SKIPPED;
        else if (verdict == VERDICT_ERROR)
            status = -1;
    }
    return status;
}

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

int worker_encode_chat(struct worker *worker, struct batch *batch, struct batch_document *document,
                       json_t *line, struct err *err) {
    struct conversation read = {0};
    int status = check_line(line, err);
    if (status == 0)
        status = put_system(line, err);
    if (status == 0)
        status = read_list(worker, document, json_object_get(line, "messages"), &read, err);
    json_decref(line); /* before the text is made: a long conversation is not held twice */
    if (status == 0 && document->outcome == OUTCOME_TOKENS)
        status = encode(worker, batch, document, &read, err);
    conversation_release(&read);
    if (status != 0 && !document->has_bad_text)
        document->outcome = OUTCOME_BAD_CHAT;
    return status;
}
