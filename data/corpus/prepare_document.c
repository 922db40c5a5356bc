/* prepare_document.c - one document of a corpus: bytes -> text (JSON field, repaired as the policy says) ->
 * tokens. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_form.h"
#include "data/corpus/prepare_where.h"

/* encode_text - bos, text, eos.  The bytes may be the worker's own, which are gone afterwards. */
static int encode_text(struct worker *worker, struct batch *batch, struct batch_document *document,
                       const char *bytes, size_t length_bytes, struct err *err) {
    struct text_span text = {bytes, length_bytes};
    if (length_bytes == 0) {
        document->outcome = OUTCOME_EMPTY;
        return 0;
    }
    worker_sift_text(worker, document, &text);
    document->hash = XXH3_128bits(text.bytes, text.length_bytes);
    int64_t first = batch->tokens.count;
    if (worker->bos >= 0)
        token_list_push(&batch->tokens, worker->bos);
    if (encoder_encode(worker->encoder, text.bytes, text.length_bytes, ENCODE_PLAIN, &batch->tokens, err) !=
        0)
        return -1;
    worker_give_back(worker);
    if (worker->eos >= 0)
        token_list_push(&batch->tokens, worker->eos);
    batch->mask = xrealloc(batch->mask, (size_t)batch->tokens.room);
    memset(batch->mask + first, 1, (size_t)(batch->tokens.count - first));
    return 0;
}

/* is_blank - a line without JSON on it; other white space is a fault of the line. */
static bool is_blank(const char *bytes, size_t length_bytes) {
    for (size_t i = 0; i < length_bytes; i++)
        if (!strchr(" \t\r", bytes[i]) || bytes[i] == '\0')
            return false;
    return true;
}

/* stop - what a verdict means for the document: 1 to go on, 0 it is left out, -1 an error. */
static int stop(enum verdict verdict, struct batch_document *document) {
    if (verdict == VERDICT_SKIP)
        document->outcome = OUTCOME_SKIPPED;
    return verdict == VERDICT_ERROR ? -1 : verdict != VERDICT_SKIP;
}

/* give_back_raw - the bytes as read, where they are many, before the tokens are made: a line of 100 MB stays
 * at a few times its size.  Only of the last document of a batch: nobody needs them any more. */
static void give_back_raw(struct worker *worker, struct batch *batch, const struct batch_document *document) {
    if (document != &batch->documents[batch->num_documents - 1] || batch->raw.room_bytes <= 4 * BATCH_BYTES)
        return;
    text_release(&batch->raw);
    text_release(&worker->repaired);
}

/* encode_string - the field is text. */
static int encode_string(struct worker *worker, struct batch *batch, struct batch_document *document,
                         struct text_span value, struct err *err) {
    struct text *text = &worker->scratch;
    int status = stop(
        worker_clean_surrogates(worker, document, (char *)(uintptr_t)value.bytes, value.length_bytes, err),
        document);
    if (status != 1)
        return status;
    text->length_bytes = 0;
    json_line_unescape(value, text);
    give_back_raw(worker, batch, document);
    if (text->length_bytes == 0 || !memchr(text->bytes, 0, text->length_bytes))
        return encode_text(worker, batch, document, text->bytes, text->length_bytes, err);
    struct text no_nul = {0};
    struct text_span raw = {text->bytes, text->length_bytes};
    status = stop(worker_append(worker, document, raw, &no_nul, err), document);
    if (status == 1)
        status = encode_text(worker, batch, document, no_nul.bytes, no_nul.length_bytes, err);
    text_release(&no_nul);
    return status;
}

/* check_chat_size - the tree of the messages, their text and its tokens are each of the size of the line: several
 * times a line of 100 MB is more than a node has to spare for each thread. */
static int check_chat_size(struct batch_document *document, struct text_span list, struct err *err) {
    if (list.length_bytes <= CHAT_MAX_BYTES)
        return 0;
    document->outcome = OUTCOME_BAD_CHAT;
    return err_set(err,
                   "the conversation has %zu bytes of JSON, at most %d (16 MiB) are read as one: divide it "
                   "into shorter ones, or write it as text",
                   list.length_bytes, CHAT_MAX_BYTES);
}

/* encode_chat - a line that holds a conversation, in one of its forms. */
static int encode_chat(struct worker *worker, struct batch *batch, struct batch_document *document,
                       struct text_span line, struct err *err) {
    struct line_form form;
    if (form_find(&worker->config->sources[document->source], line, &form, err) != 0)
        return -1;
    struct text_span part = form_is_list(&form) ? form.found.value : line;
    if (check_chat_size(document, part, err) != 0)
        return -1;
    int status =
        stop(worker_clean_surrogates(worker, document, (char *)(uintptr_t)part.bytes, part.length_bytes, err),
             document);
    if (status != 1)
        return status;
    json_t *root = form_parse(&form, line, err);
    if (!root)
        return -1;
    give_back_raw(worker, batch, document);
    worker_sift_personal(worker, document, root);
    if (form_convert(&form, root, err) == 0)
        return worker_encode_chat(worker, batch, document, root, err);
    json_decref(root);
    document->outcome = OUTCOME_BAD_CHAT;
    return -1;
}

/* encode_field - a line whose text is in one field, or in several. */
static int encode_field(struct worker *worker, struct batch *batch, struct batch_document *document,
                        struct text_span line, struct err *err) {
    const struct prepare_source *source = &worker->config->sources[document->source];
    struct json_line found;
    if (source->num_fields == 0)
        return source_find_field(source, NULL, line, &found, err) != 0
                   ? -1
                   : encode_string(worker, batch, document, found.value, err);
    if (fields_join(source, line, &worker->joined, err) != 0)
        return -1;
    const struct text_span joined = {worker->joined.bytes, worker->joined.length_bytes};
    return encode_string(worker, batch, document, joined, err);
}

/* encode_line - a line of JSON whose bytes are clean. */
static int encode_line(struct worker *worker, struct batch *batch, struct batch_document *document,
                       char *line, size_t length_bytes, struct err *err) {
    const struct prepare_source *source = &worker->config->sources[document->source];
    const struct text_span span = {line, length_bytes};
    enum where_answer answer = where_matches(source, span, &worker->scratch, &document->where, err);
    if (answer == WHERE_FAULT)
        return -1;
    if (answer == WHERE_NO) {
        document->outcome = OUTCOME_PASSED;
        document->reason = LEFT_FILTER;
        return 0;
    }
    if (source->record != RECORD_DOCUMENT)
        return worker_encode_record(worker, batch, document, span, err);
    if (source->chat)
        return encode_chat(worker, batch, document, span, err);
    return encode_field(worker, batch, document, span, err);
}

/* encode_converted - a record that its format writes as JSON. */
static int encode_converted(struct worker *worker, struct batch *batch, struct batch_document *document,
                            struct text_span record, struct err *err) {
    const struct corpus_file *file = document->file;
    worker->converted.length_bytes = 0;
    if (file->format->append_json(file->header, record, &worker->converted, err) != 0)
        return -1;
    return encode_line(worker, batch, document, worker->converted.bytes, worker->converted.length_bytes, err);
}

/* encode_document - one document; what is wrong with it is said without its place. */
static int encode_document(struct worker *worker, struct batch *batch, struct batch_document *document,
                           struct err *err) {
    char *raw = batch->raw.bytes ? batch->raw.bytes + document->first_byte : NULL;
    const char *bytes = raw ? raw : "";
    size_t length_bytes = document->length_bytes;
    const struct corpus_file *file = document->file;
    if (file->format->has_fields && !file->format->append_json && is_blank(bytes, length_bytes)) {
        document->outcome = OUTCOME_BLANK;
        return 0;
    }
    enum verdict verdict = worker_clean_bytes(worker, document, &bytes, &length_bytes, err);
    if (verdict == VERDICT_ERROR)
        return -1;
    if (verdict == VERDICT_SKIP) {
        document->outcome = OUTCOME_SKIPPED;
        return 0;
    }
    if (!file->format->has_fields)
        return encode_text(worker, batch, document, bytes, length_bytes, err);
    if (file->format->append_json)
        return encode_converted(worker, batch, document, (struct text_span){bytes, length_bytes}, err);
    return encode_line(worker, batch, document, verdict == VERDICT_REPAIRED ? worker->repaired.bytes : raw,
                       length_bytes, err);
}

/* is_bad_line - it is the line that is at fault, neither its bytes nor the conversation on it: those have
 * policies of their own. */
static bool is_bad_line(const struct worker *worker, const struct batch_document *document) {
    bool is_bad_text = document->has_bad_text && worker->config->bad_utf8 == BAD_UTF8_FAIL;
    bool is_record = document->number > 0 || document->file->format->has_fields;
    return is_record && !is_bad_text && document->outcome != OUTCOME_BAD_CHAT &&
           document->outcome != OUTCOME_BAD_RECORD;
}

/* name_place - where the document is, and how to go on without it. */
static void name_place(const struct worker *worker, const struct batch_document *document, struct err *err) {
    char *place = corpus_place(document);
    struct err what = *err;
    if (document->outcome == OUTCOME_BAD_CHAT && worker->config->bad_chat != BAD_CHAT_SKIP)
        err_set(
            err,
            "%.700s; mend it, or set prepare.on_bad_conversation to 'skip' to leave such conversations out",
            what.text);
    else if (document->outcome == OUTCOME_BAD_RECORD && worker->config->on_bad_record == BAD_LINE_FAIL)
        err_set(err, "%.700s; mend it, or set prepare.on_bad_record to 'skip' to leave such records out",
                what.text);
    else if (is_bad_line(worker, document) && worker->config->on_bad_line == BAD_LINE_FAIL)
        err_set(err, "%.700s; prepare.on_bad_line 'skip' leaves such lines out", what.text);
    what = *err;
    if (document->file->packed_by && document->outcome != OUTCOME_BAD_CHAT &&
        document->outcome != OUTCOME_BAD_RECORD)
        err_set(err, "%.800s; or the archive is damaged, which '%s -t' tells", what.text,
                document->file->packed_by);
    err_prefix(err, "%s", place);
    free(place);
}

/* may_leave_out - a document that failed, by the policy for its kind of fault. */
static bool may_leave_out(const struct worker *worker, struct batch_document *document) {
    if (document->outcome == OUTCOME_BAD_CHAT)
        return worker->config->bad_chat == BAD_CHAT_SKIP;
    if (document->outcome == OUTCOME_BAD_RECORD)
        return worker->config->on_bad_record == BAD_LINE_SKIP;
    if (!is_bad_line(worker, document) || worker->config->on_bad_line == BAD_LINE_FAIL)
        return false;
    document->outcome = OUTCOME_BAD_LINE;
    return true;
}

/* Each document is encoded at the end of the batch's list; what fails is taken back to where it began.  After the
 * first error that no policy leaves out the rest of the batch is not looked at. */
void worker_encode(struct worker *worker, struct batch *batch) {
    if (batch->tokens.room > BATCH_KEPT_TOKENS) {
        token_list_release(&batch->tokens);
        batch->tokens = (struct token_list){0};
        free(batch->mask);
        batch->mask = NULL;
    }
    batch->tokens.count = 0;
    for (int i = 0; i < batch->num_documents; i++) {
        struct batch_document *document = &batch->documents[i];
        struct err err;
        document->first_token = batch->tokens.count;
        worker_sift_begin(worker);
        if (encode_document(worker, batch, document, &err) != 0) {
            batch->tokens.count = document->first_token;
            name_place(worker, document, &err);
            if (may_leave_out(worker, document)) {
                document->why = xstrdup(err.text);
                continue;
            }
            batch->err = err;
            batch->bad_document = i;
            return;
        }
        document->num_tokens = batch->tokens.count - document->first_token;
        worker_sift_end(worker, batch, document);
    }
}
