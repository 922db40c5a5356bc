/* prepare_columns.c - the columns of TRL's preference types and of compar:IA's votes and reactions, as a prompt and its
 * completions.  See prepare_record.h.
 *
 * TRL's: documentation, "Dataset formats and types".  compar:IA's: the columns that utils/export_dataset.py of
 * github.com/betagouv/ComparIA publishes. */
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_cells.h"
#include "data/corpus/prepare_record.h"

void record_release(struct record *record) {
    json_decref(record->prompt);
    json_decref(record->completions[0]);
    json_decref(record->completions[1]);
    json_decref(record->beside);
}

/* --- fields of a line --- */

/* take_field - a new reference, NULL where the line has none; others of the line may hold what no reader of JSON takes.
 * Returns 0, or -1 with err set. */
static int take_field(struct text_span line, const char *name, json_t **value, struct err *err) {
    struct json_line found;
    json_error_t fault;
    *value = NULL;
    if (json_line_scan(line, name, &found, err) != 0)
        return -1;
    if (!found.value.bytes)
        return 0;
    *value = json_loadb(found.value.bytes, found.value.length_bytes,
                        JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &fault);
    return *value ? 0 : err_set(err, "the field '%s' cannot be read: %s", name, fault.text);
}

/* take_fields - all of a list of names, as an object. */
static json_t *take_fields(struct text_span line, const char *const *names, struct err *err) {
    json_t *root = json_object(), *value;
    CHECK(root, "out of memory for a record");
    for (; *names; names++) {
        if (take_field(line, *names, &value, err) != 0) {
            json_decref(root);
            return NULL;
        }
        if (value)
            json_object_set_new(root, *names, value);
    }
    return root;
}

static json_t *field(const json_t *fields, const char *name) {
    return json_incref(json_object_get(fields, name));
}

/* pass_over - not an error: the record says nothing that could be learnt. */
static int pass_over(struct batch_document *document, enum left_reason reason) {
    document->outcome = OUTCOME_PASSED;
    document->reason = reason;
    return 0;
}

/* --- common beginnings --- */

static bool is_same_message(const json_t *a, const json_t *b) {
    return json_equal(json_object_get(a, "role"), json_object_get(b, "role")) &&
           json_equal(json_object_get(a, "content"), json_object_get(b, "content"));
}

/* common_messages - with which both lists begin. */
static size_t common_messages(const json_t *a, const json_t *b) {
    size_t count = 0;
    while (count < json_array_size(a) && count < json_array_size(b) &&
           is_same_message(json_array_get(a, count), json_array_get(b, count)))
        count++;
    return count;
}

/* slice - messages [first, end) of a list, a new one. */
static json_t *slice(const json_t *list, size_t first, size_t end) {
    json_t *part = json_array();
    for (size_t i = first; i < end; i++)
        json_array_append(part, json_array_get(list, i));
    return part;
}

/* common_bytes - with which both texts begin, whole characters; a space before the difference belongs to the completions,
 * as TRL's extract_prompt has it. */
static size_t common_bytes(const json_t *a, const json_t *b) {
    const char *x = json_string_value(a), *y = json_string_value(b);
    size_t count = 0;
    while (count < json_string_length(a) && count < json_string_length(b) && x[count] == y[count])
        count++;
    while (count > 0 && (x[count] & 0xC0) == 0x80)
        count--;
    while (count > 0 && (y[count] & 0xC0) == 0x80)
        count--;
    return count > 0 && x[count - 1] == ' ' ? count - 1 : count;
}

/* split_common - chosen and rejected that begin alike: the beginning is the prompt. */
static void split_common(struct record *record) {
    json_t *a = record->completions[0], *b = record->completions[1];
    if (json_is_array(a) && json_is_array(b)) {
        size_t count = common_messages(a, b);
        record->prompt = slice(a, 0, count);
        record->completions[0] = slice(a, count, json_array_size(a));
        record->completions[1] = slice(b, count, json_array_size(b));
    } else if (json_is_string(a) && json_is_string(b)) {
        size_t count = common_bytes(a, b);
        record->prompt = json_stringn(json_string_value(a), count);
        record->completions[0] = json_stringn(json_string_value(a) + count, json_string_length(a) - count);
        record->completions[1] = json_stringn(json_string_value(b) + count, json_string_length(b) - count);
    } else {
        return; /* of other types: told where types are checked */
    }
    json_decref(a);
    json_decref(b);
}

/* --- TRL's columns --- */

static int read_pair(const json_t *fields, struct batch_document *document, struct record *record,
                     struct err *err) {
    record->names[1] = "chosen";
    record->names[2] = "rejected";
    record->num_completions = 2;
    record->side = SIDE_CHOSEN;
    record->prompt = field(fields, "prompt");
    record->completions[0] = field(fields, "chosen");
    record->completions[1] = field(fields, "rejected");
    if (!record->completions[0] || !record->completions[1] || record->prompt)
        return 0;
    if (json_equal(record->completions[0], record->completions[1])) {
        document->reason = LEFT_NO_DIFFERENCE;
        return err_set(err, "a pair without difference: 'chosen' and 'rejected' are the same");
    }
    split_common(record);
    return 0;
}

static int read_completion(const json_t *fields, struct record *record) {
    record->names[1] = "completion";
    record->num_completions = 1;
    record->prompt = field(fields, "prompt");
    record->completions[0] = field(fields, "completion");
    return 0;
}

static int read_label(const json_t *fields, struct batch_document *document, struct record *record,
                      struct err *err) {
    const json_t *label = json_object_get(fields, "label");
    read_completion(fields, record);
    record->side = json_is_true(label) ? SIDE_DESIRABLE : SIDE_UNDESIRABLE;
    if (json_is_boolean(label))
        return 0;
    document->reason = LEFT_BAD_LABEL;
    return err_set(err, "'label' is %s, expected true or false", json_type_name(label));
}

/* --- compar:IA's columns --- */

/* check_fields - that a line has them, null or not: one without is of another form, and says neither yes nor no.  What:
 * a vote or a reaction. */
static int check_fields(const json_t *fields, const char *const *names, const char *what,
                        struct batch_document *document, struct err *err) {
    for (; *names; names++)
        if (!json_object_get(fields, *names)) {
            document->reason = LEFT_MISSING_FIELD;
            return err_set(err, "the field '%s' is missing, which every %s has", *names, what);
        }
    return 0;
}

static bool is_listed(const struct prepare_config *config, const json_t *model) {
    const char *name = json_string_value(model);
    for (int i = 0; i < config->num_models; i++)
        if (name && strcmp(config->models[i].name, name) == 0)
            return true;
    return config->num_models == 0;
}

/* is_text - a text that says something. */
static bool is_text(const json_t *value) {
    return json_is_string(value) && json_string_length(value) > 0;
}

/* put_system - the system prompt of a vote or reaction, as a conversation has it beside its messages. */
static void put_system(struct record *record, const json_t *system) {
    if (is_text(system))
        json_object_set(record->beside, CHAT_SYSTEM_FIELD, (json_t *)(uintptr_t)system);
}

/* is_answer - message i of the list is the assistant's. */
static bool is_answer(const json_t *list, size_t i) {
    const char *role = json_string_value(json_object_get(json_array_get(list, i), "role"));
    return role && strcmp(role, "assistant") == 0;
}

/* split_vote - the prompt is what both conversations begin with, the completion the next answer of each: what was asked
 * afterwards was asked of two different conversations. */
static int split_vote(struct batch_document *document, struct record *record, struct err *err) {
    json_t *a = record->completions[0], *b = record->completions[1];
    if (!json_is_array(a) || !json_is_array(b)) {
        document->reason = LEFT_MISSING_SIDE;
        return err_set(err, "'conversation_a' or 'conversation_b' is missing, or is not a list of messages");
    }
    size_t count = common_messages(a, b);
    if (count == json_array_size(a) && count == json_array_size(b)) {
        document->reason = LEFT_NO_DIFFERENCE;
        return err_set(err, "a pair without difference: both conversations are the same");
    }
    if (count == 0 || !is_answer(a, count) || !is_answer(b, count))
        return pass_over(document, LEFT_NOTHING_COMMON);
    record->prompt = slice(a, 0, count);
    record->completions[0] = slice(a, count, count + 1);
    record->completions[1] = slice(b, count, count + 1);
    json_decref(a);
    json_decref(b);
    return 0;
}

static int read_vote(const struct prepare_config *config, const json_t *fields,
                     struct batch_document *document, struct record *record, struct err *err) {
    static const char *const needed[] = {"model_a_name",   "model_b_name",      "conversation_a",
                                         "conversation_b", "chosen_model_name", NULL};
    const json_t *chosen = json_object_get(fields, "chosen_model_name");
    const json_t *a = json_object_get(fields, "model_a_name"), *b = json_object_get(fields, "model_b_name");
    const json_t *system_a = json_object_get(fields, "system_prompt_a"),
                 *system_b = json_object_get(fields, "system_prompt_b");
    if (check_fields(fields, needed, "vote", document, err) != 0)
        return -1;
    if (json_is_true(json_object_get(fields, "both_equal")) || json_is_null(chosen))
        return pass_over(document, LEFT_TIE);
    bool is_a = json_equal(chosen, a), is_b = json_equal(chosen, b);
    if (is_a == is_b)
        return err_set(err, "'chosen_model_name' is %s of 'model_a_name' and 'model_b_name'",
                       is_a ? "the same as both" : "neither");
    if (!is_listed(config, a) || !is_listed(config, b))
        return pass_over(document, LEFT_MODEL);
    if ((is_text(system_a) || is_text(system_b)) && !json_equal(system_a, system_b))
        return pass_over(document, LEFT_SYSTEMS_DIFFER);
    put_system(record, system_a);
    record->names[1] = is_a ? "conversation_a" : "conversation_b";
    record->names[2] = is_a ? "conversation_b" : "conversation_a";
    record->num_completions = 2;
    record->side = SIDE_CHOSEN;
    record->completions[0] = field(fields, record->names[1]);
    record->completions[1] = field(fields, record->names[2]);
    return split_vote(document, record, err);
}

/* find_answer - which message msg_index means, checked against the answer's own text; a system message may stand before
 * those that were counted.  -1: none. */
static int64_t find_answer(const json_t *list, const json_t *fields) {
    const json_t *index = json_object_get(fields, "msg_index"),
                 *text = json_object_get(fields, "response_content");
    int64_t at = json_is_integer(index) ? json_integer_value(index) : -1;
    for (int64_t i = at; at >= 0 && i <= at + 1 && i < (int64_t)json_array_size(list); i++)
        if (is_answer(list, (size_t)i) &&
            (!is_text(text) || json_equal(json_object_get(json_array_get(list, (size_t)i), "content"), text)))
            return i;
    return -1;
}

/* read_liking - SIDE_PLAIN: no opinion.  Returns 0, or -1 with err set. */
static int read_liking(const json_t *fields, struct batch_document *document, struct record *record,
                       struct err *err) {
    const json_t *values[] = {json_object_get(fields, "liked"), json_object_get(fields, "disliked")};
    for (int i = 0; i < 2; i++)
        if (values[i] && !json_is_null(values[i]) && !json_is_boolean(values[i])) {
            document->reason = LEFT_BAD_LABEL;
            return err_set(err, "'%s' is %s, expected true or false", i ? "disliked" : "liked",
                           json_type_name(values[i]));
        }
    bool liked = json_is_true(values[0]), disliked = json_is_true(values[1]);
    record->side = liked == disliked ? SIDE_PLAIN : liked ? SIDE_DESIRABLE : SIDE_UNDESIRABLE;
    return 0;
}

/* conversation_of - the one of which an answer is judged: by its place, else by its model's name. */
static const char *conversation_of(const json_t *fields) {
    const char *place = json_string_value(json_object_get(fields, "model_pos"));
    if (place && (strcmp(place, "a") == 0 || strcmp(place, "b") == 0))
        return place[0] == 'a' ? "conversation_a" : "conversation_b";
    const json_t *model = json_object_get(fields, "refers_to_model");
    bool is_a = json_equal(model, json_object_get(fields, "model_a_name"));
    bool is_b = json_equal(model, json_object_get(fields, "model_b_name"));
    return is_a == is_b ? NULL : is_a ? "conversation_a" : "conversation_b";
}

static int read_reaction(const struct prepare_config *config, const json_t *fields,
                         struct batch_document *document, struct record *record, struct err *err) {
    static const char *const needed[] = {"liked", "disliked", "msg_index", NULL};
    bool has_place = json_object_get(fields, "model_pos") != NULL; /* else the model's name tells the side */
    static const char *const names[] = {"refers_to_model", "model_a_name", "model_b_name", NULL};
    if (check_fields(fields, needed, "reaction", document, err) != 0 ||
        (!has_place && check_fields(fields, names, "reaction without 'model_pos'", document, err) != 0) ||
        (config->num_models > 0 &&
         check_fields(fields, names, "reaction that prepare.models chooses", document, err) != 0) ||
        read_liking(fields, document, record, err) != 0)
        return -1;
    if (record->side == SIDE_PLAIN)
        return pass_over(document, LEFT_NO_OPINION);
    if (!is_listed(config, json_object_get(fields, "refers_to_model")))
        return pass_over(document, LEFT_MODEL);
    const char *name = conversation_of(fields);
    json_t *list = name ? field(fields, name) : NULL;
    int64_t at = json_is_array(list) ? find_answer(list, fields) : -1;
    if (at >= 0) {
        record->names[1] = "response_content";
        record->num_completions = 1;
        record->prompt = slice(list, 0, (size_t)at);
        record->completions[0] = slice(list, (size_t)at, (size_t)at + 1);
        put_system(record, json_object_get(fields, "system_prompt"));
    }
    json_decref(list);
    if (at >= 0)
        return 0;
    document->reason = LEFT_MISSING_SIDE;
    return err_set(
        err, "the answer that 'msg_index' and 'response_content' speak of is not in the conversation that "
             "'model_pos' or 'refers_to_model' names");
}

/* --- the line --- */

static const char *const PAIR[] = {"prompt", "chosen", "rejected", NULL};
static const char *const COMPLETION[] = {"prompt", "completion", NULL};
static const char *const LABEL[] = {"prompt", "completion", "label", NULL};
static const char *const VOTE[] = {"chosen_model_name", "both_equal",      "model_a_name",
                                   "model_b_name",      "system_prompt_a", "system_prompt_b",
                                   "conversation_a",    "conversation_b",  NULL};
static const char *const REACTION[] = {
    "liked",     "disliked",         "refers_to_model", "model_pos",      "model_a_name",   "model_b_name",
    "msg_index", "response_content", "system_prompt",   "conversation_a", "conversation_b", NULL};
static const char *const *const COLUMNS[] = {NULL, COMPLETION, PAIR, LABEL, VOTE, REACTION};

const char *const *record_columns(enum source_record kind) {
    return COLUMNS[kind];
}

/* BESIDE - what a line with prompt and completions may have beside them, and what is refused there. */
static const char *const BESIDE[] = {"tools",
                                     "chat_template_kwargs",
                                     CHAT_SYSTEM_FIELD,
                                     "functions",
                                     "documents",
                                     "images",
                                     "videos",
                                     "audios",
                                     NULL};

static int read_columns(const struct worker *worker, struct batch_document *document, const json_t *fields,
                        struct record *record, struct err *err) {
    switch (worker->config->sources[document->source].record) {
    case RECORD_PAIR:
        return read_pair(fields, document, record, err);
    case RECORD_COMPLETION:
        return read_completion(fields, record);
    case RECORD_LABEL:
        return read_label(fields, document, record, err);
    case RECORD_VOTE:
        return read_vote(worker->config, fields, document, record, err);
    case RECORD_REACTION:
        return read_reaction(worker->config, fields, document, record, err);
    case RECORD_DOCUMENT:
        break;
    }
    die("a document is not a record");
}

int record_read(const struct worker *worker, struct batch_document *document, struct text_span line,
                struct record *record, struct err *err) {
    const struct prepare_source *source = &worker->config->sources[document->source];
    bool is_trl = source->record == RECORD_PAIR || source->record == RECORD_COMPLETION ||
                  source->record == RECORD_LABEL;
    static const char *const nothing[] = {NULL};
    if (line.length_bytes > CHAT_MAX_BYTES)
        return err_set(err, "the record has %zu bytes, at most %d (16 MiB) are read as one",
                       line.length_bytes, CHAT_MAX_BYTES);
    enum verdict verdict =
        worker_clean_surrogates(worker, document, (char *)(uintptr_t)line.bytes, line.length_bytes, err);
    if (verdict == VERDICT_SKIP)
        document->outcome = OUTCOME_SKIPPED;
    if (verdict == VERDICT_SKIP || verdict == VERDICT_ERROR)
        return verdict == VERDICT_SKIP ? 0 : -1;
    json_t *fields = take_fields(line, COLUMNS[source->record], err);
    record->names[0] = "prompt";
    record->beside = fields ? take_fields(line, is_trl && source->chat ? BESIDE : nothing, err) : NULL;
    if (!record->beside)
        document->outcome = OUTCOME_BAD_LINE;
    int status = record->beside ? cells_read(source, document, fields, err) : -1;
    if (status == 0)
        status = read_columns(worker, document, fields, record, err);
    json_decref(fields);
    return status;
}
