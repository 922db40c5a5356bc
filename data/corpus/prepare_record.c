/* prepare_record.c - a line of several fields: a prompt, and one completion or two that are learnt against each other.
 * Each prompt with a completion becomes a document of which the completion is learnt.  Where the fields stand for what is
 * in prepare_columns.c; texts are one text for the tokenizer, messages are written by the chat template. */
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_record.h"

/* --- what is written --- */

/* is_said - a text, or a list with a message, that says something. */
static bool is_said(const json_t *value) {
    json_t *message;
    size_t i;
    if (json_is_string(value))
        return !text_is_blank(json_string_value(value), json_string_length(value));
    json_array_foreach((json_t *)(uintptr_t)value, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        json_t *content = json_object_get(message, "content");
        bool is_list = json_is_array(content) && json_array_size(content) > 0;
        if (role && strcmp(role, "system") != 0 && (is_list || is_said(content)))
            return true;
    }
    return false;
}

/* check_types - texts, or lists of messages where the source has chat: true. */
static int check_types(const struct record *record, const struct prepare_source *source,
                       struct batch_document *document, struct err *err) {
    const json_t *values[] = {record->prompt, record->completions[0], record->completions[1]};
    for (int i = 0; i <= record->num_completions; i++) {
        bool is_right = source->chat ? json_is_array(values[i]) : json_is_string(values[i]);
        if (!values[i] || json_is_null(values[i])) {
            document->reason = i == 0 ? LEFT_EMPTY_PROMPT : LEFT_MISSING_SIDE;
            return err_set(err, "the record has no '%s'", record->names[i]);
        }
        if (!is_right)
            return err_set(err, "'%s' is %s, expected %s (the source's chat says which)", record->names[i],
                           json_type_name(values[i]), source->chat ? "a list of messages" : "a text");
        if (i > 0 && json_is_array(values[i]) && json_array_size(values[i]) == 0) {
            document->reason = LEFT_MISSING_SIDE;
            return err_set(err, "'%s' has no message", record->names[i]);
        }
        if (i > 0 && json_is_string(values[i]) && !is_said(values[i])) {
            document->reason = LEFT_MISSING_SIDE;
            return err_set(
                err,
                "'%s' is empty (or holds only characters that cannot be seen): the model would learn to "
                "say nothing",
                record->names[i]);
        }
    }
    if (is_said(record->prompt))
        return 0;
    document->reason = LEFT_EMPTY_PROMPT;
    return err_set(err, "the prompt is empty: nothing was asked");
}

/* begins_with - the messages of a prompt, roles and contents, and more after them. */
static bool begins_with(const json_t *completion, const json_t *prompt) {
    static const char *const fields[] = {"role", "content"};
    size_t count = json_array_size(prompt);
    if (count == 0 || json_array_size(completion) <= count)
        return false;
    for (size_t i = 0; i < count; i++)
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
            const json_t *asked = json_object_get(json_array_get(prompt, i), fields[f]);
            if (!asked || !json_equal(json_object_get(json_array_get(completion, i), fields[f]), asked))
                return false;
        }
    return true;
}

/* check_repeated - a completion of messages that holds the prompt again: the question would be written twice. */
static int check_repeated(const struct record *record, struct err *err) {
    for (int i = 0; i < record->num_completions; i++)
        if (begins_with(record->completions[i], record->prompt))
            return err_set(
                err,
                "'%s' begins with the messages of '%s', which would be written twice: leave them out of "
                "it, or leave out '%s' where two completions begin alike",
                record->names[i + 1], record->names[0], record->names[0]);
    return 0;
}

/* add_prompt - copies of its messages at the end of list, which are not learnt, whatever they say themselves. */
static void add_prompt(json_t *list, const json_t *prompt) {
    json_t *message;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)prompt, i, message) {
        json_t *copy = json_is_object(message) ? json_copy(message) : json_incref(message);
        for (int f = 0; CHAT_WEIGHT_FIELDS[f] && json_is_object(copy); f++)
            json_object_del(copy, CHAT_WEIGHT_FIELDS[f]);
        if (json_is_object(copy))
            json_object_set_new(copy, CHAT_WEIGHT_FIELDS[0], json_integer(0));
        json_array_append_new(list, copy);
    }
}

/* encode_messages - prompt and completion as one conversation: template, marks and what is refused are those of
 * conversations. */
static int encode_messages(struct worker *worker, struct batch *batch, struct batch_document *document,
                           const struct record *record, const json_t *completion, struct err *err) {
    json_t *line = json_object(), *list = json_array();
    CHECK(line && list, "out of memory for a record");
    add_prompt(list, record->prompt);
    json_array_extend(list, (json_t *)(uintptr_t)completion);
    json_object_update(line, record->beside);
    json_object_set_new(line, "messages", list);
    return worker_encode_chat(worker, batch, document, line, err);
}

/* add_text - of a JSON string, to the end of the rendered text as one span. */
static enum verdict add_text(const struct worker *worker, struct batch_document *document,
                             const json_t *value, struct chat_text *rendered, struct err *err) {
    struct text_span text = {json_string_value(value), json_string_length(value)};
    struct chat_span span = {.part = rendered->num_spans ? CHAT_REPLY : CHAT_MESSAGE,
                             .first_byte = rendered->text.length_bytes,
                             .id = -1,
                             .message = -1};
    enum verdict verdict = worker_append(worker, document, text, &rendered->text, err);
    span.end_byte = rendered->text.length_bytes;
    chat_text_add_span(rendered, span);
    return verdict;
}

/* encode_rendered - bos, the text of both, eos; learnt are the completion and the eos. */
static int encode_rendered(struct worker *worker, struct batch *batch, struct batch_document *document,
                           const struct chat_text *rendered, struct err *err) {
    struct token_list *tokens = &batch->tokens;
    int64_t first = tokens->count;
    document->hash = XXH3_128bits(rendered->text.bytes, rendered->text.length_bytes);
    worker_sift_words(worker, (struct text_span){rendered->text.bytes, rendered->text.length_bytes});
    if (worker->bos >= 0)
        token_list_push(tokens, worker->bos);
    if (chat_encode_text(worker->encoder, rendered, tokens, &batch->mask, err) != 0)
        return -1;
    if (worker->eos >= 0)
        token_list_push(tokens, worker->eos);
    batch->mask = xrealloc(batch->mask, (size_t)tokens->room);
    if (worker->bos >= 0)
        batch->mask[first] = 0;
    if (worker->eos >= 0)
        batch->mask[tokens->count - 1] = 1;
    return worker_check_length(worker, document, tokens->count - first, err);
}

/* encode_texts - prompt and completion as one text: a token on both sides of the boundary is learnt, as with templates that
 * have no marker there. */
static int encode_texts(struct worker *worker, struct batch *batch, struct batch_document *document,
                        const struct record *record, const json_t *completion, struct err *err) {
    struct chat_text rendered = {0};
    enum verdict verdict = add_text(worker, document, record->prompt, &rendered, err);
    if (verdict == VERDICT_CLEAN || verdict == VERDICT_REPAIRED)
        verdict = add_text(worker, document, completion, &rendered, err);
    int status = verdict == VERDICT_ERROR ? -1 : 0;
    if (verdict == VERDICT_SKIP)
        document->outcome = OUTCOME_SKIPPED;
    else if (status == 0)
        status = encode_rendered(worker, batch, document, &rendered, err);
    chat_text_release(&rendered);
    return status;
}

/* --- the line --- */

/* is_same - two documents one after the other from token first on; the second one ends the list. */
static bool is_same(const struct batch *batch, int64_t first, int64_t num_first) {
    int64_t num_second = batch->tokens.count - first - num_first;
    const int32_t *ids = batch->tokens.ids + first;
    return num_first == num_second && memcmp(ids, ids + num_first, (size_t)num_first * sizeof *ids) == 0;
}

/* encode_sides - a document for each completion, one after the other. */
static int encode_sides(struct worker *worker, struct batch *batch, struct batch_document *document,
                        const struct record *record, struct err *err) {
    const struct prepare_source *source = &worker->config->sources[document->source];
    int64_t first = batch->tokens.count;
    XXH128_hash_t hashes[2] = {{0}};
    for (int i = 0; i < record->num_completions && document->outcome == OUTCOME_TOKENS; i++) {
        document->num_first_tokens = i ? batch->tokens.count - first : 0;
        int status = source->chat
                         ? encode_messages(worker, batch, document, record, record->completions[i], err)
                         : encode_texts(worker, batch, document, record, record->completions[i], err);
        if (status != 0)
            return -1;
        hashes[i] = document->hash;
    }
    document->side = record->side;
    if (record->num_completions == 2)
        document->hash = XXH3_128bits(hashes, sizeof hashes);
    if (document->outcome != OUTCOME_TOKENS)
        batch->tokens.count = first; /* of a pair whose second side is skipped, the first one is */
    else if (record->num_completions == 2 && is_same(batch, first, document->num_first_tokens)) {
        document->reason = LEFT_NO_DIFFERENCE;
        return err_set(err, "a pair without difference: '%s' and '%s' are the same", record->names[1],
                       record->names[2]);
    }
    return 0;
}

int worker_encode_record(struct worker *worker, struct batch *batch, struct batch_document *document,
                         struct text_span line, struct err *err) {
    const struct prepare_source *source = &worker->config->sources[document->source];
    struct record record = {0};
    document->reason = LEFT_OTHER;
    int status = record_read(worker, document, line, &record, err);
    if (status == 0 && document->outcome == OUTCOME_TOKENS)
        status = check_types(&record, source, document, err);
    if (status == 0 && document->outcome == OUTCOME_TOKENS)
        status = check_repeated(&record, err);
    worker_sift_personal(worker, document, record.prompt);
    worker_sift_personal(worker, document, record.completions[0]);
    worker_sift_personal(worker, document, record.completions[1]);
    worker_sift_personal(worker, document, record.beside);
    if (status == 0 && document->outcome == OUTCOME_TOKENS)
        status = encode_sides(worker, batch, document, &record, err);
    record_release(&record);
    bool is_text = document->has_bad_text && worker->config->bad_utf8 == BAD_UTF8_FAIL;
    if (status != 0 && !is_text && document->outcome != OUTCOME_BAD_LINE)
        document->outcome = OUTCOME_BAD_RECORD;
    return status;
}

/* --- the table of what is left out: words for people, keys for --json --- */

static const struct {
    const char *key, *text;
} REASONS[LEFT_COUNT] = {
    [LEFT_OTHER] = {"bad_record", "a record that cannot be written"},
    [LEFT_NO_DIFFERENCE] = {"no_difference", "a pair without difference"},
    [LEFT_MISSING_FIELD] = {"missing_field", "a vote or reaction without a field that every one has"},
    [LEFT_MISSING_SIDE] = {"missing_side", "a completion is missing or empty"},
    [LEFT_EMPTY_PROMPT] = {"empty_prompt", "the prompt is empty"},
    [LEFT_BAD_LABEL] = {"bad_label", "the label is not true or false"},
    [LEFT_TOO_LONG] = {"too_long", "longer than prepare.max_record_tokens"},
    [LEFT_TIE] = {"tie", "a vote for neither"},
    [LEFT_NO_OPINION] = {"no_opinion", "neither liked nor disliked, or both"},
    [LEFT_SYSTEMS_DIFFER] = {"systems_differ", "the two sides had different system prompts"},
    [LEFT_NOTHING_COMMON] = {"nothing_common", "no common beginning before two answers"},
    [LEFT_MODEL] = {"model_not_listed", "an answer of a model that prepare.models does not list"},
    [LEFT_FILTER] = {"where", "not what the source's where asks for"},
    [LEFT_CONTRADICTED] = {"contradicted", "a completion that was there before with the other label"},
};

const char *left_reason_text(enum left_reason reason) {
    return REASONS[reason].text;
}

const char *left_reason_key(enum left_reason reason) {
    return REASONS[reason].key;
}
