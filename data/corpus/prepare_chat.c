/* prepare_chat.c - one conversation of a corpus: a list of messages in JSON -> tokens with the mask of what
 * is learnt. What cannot be written as asked, or teaches nothing, is a bad conversation:
 * prepare_config.bad_chat says what becomes of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_message.h"

/* --- what makes two conversations the same --- */

/* hash_json - with its length before it: two values one after the other must not give the bytes of two others. */
static void hash_json(XXH3_state_t *state, const json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    const uint64_t length = text ? strlen(text) : 0;
    XXH3_128bits_update(state, &length, sizeof length);
    XXH3_128bits_update(state, text ? text : "", length);
    free(text);
}

/* hash_conversation - roles and contents with their lengths and weights, and what else there is, so that no two
 * conversations look alike. */
static XXH128_hash_t hash_conversation(const struct conversation *read) {
    XXH3_state_t *state = XXH3_createState();
    CHECK(state, "out of memory for a hash");
    XXH3_128bits_reset(state);
    for (int i = 0; i < read->num_messages; i++) {
        const struct chat_message *message = &read->messages[i];
        const uint64_t lengths[3] = {strlen(message->role), message->content_bytes, read->unlearnt[i]};
        XXH3_128bits_update(state, lengths, sizeof lengths);
        XXH3_128bits_update(state, message->role, lengths[0]);
        XXH3_128bits_update(state, message->content, lengths[1]);
        if (read->more[i].fields)
            hash_json(state, read->more[i].fields);
        XXH3_128bits_update(state, read->more[i].part_bytes,
                            (size_t)read->more[i].num_parts * sizeof *read->more[i].part_bytes);
    }
    if (read->tools)
        hash_json(state, read->tools);
    if (read->kwargs)
        hash_json(state, read->kwargs);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

/* --- what is learnt --- */

static bool is_answer(const struct conversation *read, int i) {
    return strcmp(read->messages[i].role, "assistant") == 0;
}

/* choose_answers - of 'last_assistant' all but the last answer that counts are not learnt. */
static void choose_answers(const struct worker *worker, struct conversation *read) {
    bool has_last = false;
    if (worker->config->train_on != TRAIN_ON_LAST_ASSISTANT)
        return;
    for (int i = read->num_messages; i-- > 0;) {
        read->unlearnt[i] = read->unlearnt[i] || (is_answer(read, i) && has_last);
        has_last = has_last || is_answer(read, i);
    }
}

/* says_nothing - a message without text that can be seen, and without calls or thoughts. */
static bool says_nothing(const struct conversation *read, int i) {
    static const char *const fields[] = {"tool_calls", "function_call", "reasoning_content", "reasoning",
                                         "thinking"};
    const struct chat_message *message = &read->messages[i];
    for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++) {
        const json_t *value = json_object_get(read->more[i].fields, fields[f]);
        if (json_array_size(value) > 0 || json_object_size(value) > 0 || json_string_length(value) > 0)
            return false;
    }
    return text_is_blank(message->content, message->content_bytes);
}

/* check_answers - there is something to learn, nothing to learn is not "say nothing", and none of it is an answer to
 * a question that is empty. */
static int check_answers(const struct worker *worker, const struct conversation *read, struct err *err) {
    int num_learnt = 0;
    for (int i = 0; i < read->num_messages; i++) {
        if (read->unlearnt[i] || (!is_answer(read, i) && strcmp(read->messages[i].role, "user") != 0))
            continue;
        num_learnt += is_answer(read, i) || worker->config->train_on == TRAIN_ON_ALL;
        if (says_nothing(read, i))
            return err_set(
                err,
                "message %d, %s, is empty (or holds only characters that cannot be seen): the model "
                "would learn to %s",
                i + 1, is_answer(read, i) ? "an answer of the assistant" : "of the user",
                is_answer(read, i) ? "say nothing" : "answer where nothing was asked");
    }
    if (num_learnt == 0)
        return err_set(err, "nothing to learn: the conversation has no message of the assistant that counts");
    return 0;
}

/* --- texts of special tokens --- */

/* find_mark - the first special token whose text stands in a string of a value, or in a name; -1: none. */
static int32_t find_mark(const struct tokenizer *tok, const json_t *value) {
    const char *key;
    json_t *item;
    size_t i;
    int32_t id = -1;
    if (json_is_string(value))
        return tokenizer_find_special(tok, json_string_value(value), json_string_length(value));
    json_object_foreach((json_t *)(uintptr_t)value, key, item) {
        id = id >= 0 ? id : tokenizer_find_special(tok, key, strlen(key));
        id = id >= 0 ? id : find_mark(tok, item);
    }
    json_array_foreach(value, i, item) id = id >= 0 ? id : find_mark(tok, item);
    return id;
}

/* note_marks - messages that hold the text of a special token: it is written as other text, which an author who
 * meant the token wants to know. */
static void note_marks(const struct worker *worker, struct batch_document *document,
                       const struct conversation *read) {
    for (int i = 0; i < read->num_messages; i++) {
        int32_t id =
            tokenizer_find_special(worker->tok, read->messages[i].content, read->messages[i].content_bytes);
        id = id >= 0 ? id : find_mark(worker->tok, read->more[i].fields);
        if (id >= 0 && document->num_marked++ == 0) {
            document->marked_message = i;
            document->marked_id = id;
        }
    }
}

/* --- tokens --- */

/* check_mask - marks of a template may leave every answer out. */
static int check_mask(const struct batch *batch, int64_t first, struct err *err) {
    for (int64_t i = first; i < batch->tokens.count; i++)
        if (batch->mask[i])
            return 0;
    return err_set(err, "nothing to learn: the model's chat template marks none of this conversation by "
                        "{%% generation %%}");
}

/* placed - a message with its place before it; malloc'ed. */
static char *placed(const struct batch_document *document, const struct err *err) {
    char *place = corpus_place(document);
    char *text = xasprintf("%s: %s", place, err->text);
    free(place);
    return text;
}

/* tolerate - a conversation that can be written and is a bad one: 0 where it is kept, and said; else -1. */
static int tolerate(const struct worker *worker, struct batch_document *document, int status,
                    const struct err *err) {
    if (status == 0 || worker->config->bad_chat != BAD_CHAT_KEEP)
        return status;
    if (!document->why)
        document->why = placed(document, err);
    return 0;
}

int worker_check_length(const struct worker *worker, struct batch_document *document, int64_t num_tokens,
                        struct err *err) {
    bool is_record = worker->config->sources[document->source].record != RECORD_DOCUMENT;
    int64_t most = is_record ? worker->config->max_record_tokens : worker->config->max_chat_tokens;
    if (most == 0 || num_tokens <= most)
        return 0;
    document->reason = LEFT_TOO_LONG;
    return err_set(err, "the %s has %lld tokens, more than prepare.max_%s_tokens, %lld",
                   is_record ? "prompt with its completion" : "conversation", (long long)num_tokens,
                   is_record ? "record" : "conversation", (long long)most);
}

/* render - the messages are read: their text with its spans.  They are not needed afterwards, and given back where
 * they are long. */
static int render(struct worker *worker, struct batch_document *document, struct conversation *read,
                  struct chat_text *rendered, struct err *err) {
    const char *at = worker->scratch.bytes ? worker->scratch.bytes : "";
    for (int i = 0; i < read->num_messages; i++) {
        read->messages[i].content = at;
        at += read->messages[i].content_bytes;
    }
    choose_answers(worker, read);
    struct chat chat = {.kind = worker->style->kind,
                        .messages = read->messages,
                        .num_messages = read->num_messages,
                        .unlearnt = read->unlearnt,
                        .learns_all = worker->config->train_on == TRAIN_ON_ALL,
                        .more = read->has_more ? read->more : NULL,
                        .tools = read->tools,
                        .kwargs = read->kwargs,
                        .style = worker->style};
    document->hash = hash_conversation(read);
    for (int i = 0; i < read->num_messages; i++)
        worker_sift_words(worker,
                          (struct text_span){read->messages[i].content, read->messages[i].content_bytes});
    if (chat_render(worker->tok, &chat, rendered, err) != 0 ||
        tolerate(worker, document, check_answers(worker, read, err), err) != 0)
        return -1;
    note_marks(worker, document, read);
    worker_give_back(worker);
    return 0;
}

/* encode - a conversation that was read: tokens and mask. */
static int encode(struct worker *worker, struct batch *batch, struct batch_document *document,
                  struct conversation *read, struct err *err) {
    struct chat_text rendered = {0};
    int64_t first = batch->tokens.count;
    int status = render(worker, document, read, &rendered, err);
    if (status == 0)
        status = chat_encode_text(worker->encoder, &rendered, &batch->tokens, &batch->mask, err);
    if (status == 0)
        status = tolerate(worker, document, check_mask(batch, first, err), err);
    if (status == 0)
        status = tolerate(worker, document,
                          worker_check_length(worker, document, batch->tokens.count - first, err), err);
    chat_text_release(&rendered);
    return status;
}

/* Damaged bytes have a policy of their own, hence the question at the end. */
int worker_encode_chat(struct worker *worker, struct batch *batch, struct batch_document *document,
                       json_t *line, struct err *err) {
    struct conversation read = {0};
    if (document->file->format && document->file->format->id == SOURCE_PARQUET)
        document->num_nulls += padding_leave_out(line);
    int status = conversation_read(worker, document, line, &read, err);
    json_decref(line); /* before the text is made: a long conversation is not held twice */
    if (status == 0 && document->outcome == OUTCOME_TOKENS)
        status = encode(worker, batch, document, &read, err);
    conversation_release(&read);
    if (status != 0 && !document->has_bad_text)
        document->outcome = OUTCOME_BAD_CHAT;
    return status;
}
