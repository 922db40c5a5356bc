/* prepare_document.c - one document of a corpus: bytes -> text (JSON field, repaired as the policy says) ->
 * tokens. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_batch.h"

static const char REPLACEMENT[] = "\xEF\xBF\xBD"; /* U+FFFD */

void worker_release(struct worker *worker) {
    if (worker->encoder)
        encoder_close(worker->encoder);
    text_release(&worker->scratch);
    text_release(&worker->repaired);
}

/* append_without_nul - NUL bytes become U+FFFD. */
static void append_without_nul(struct text *out, const char *bytes, size_t length_bytes) {
    while (length_bytes > 0) {
        size_t part = strnlen(bytes, length_bytes);
        text_append(out, bytes, part);
        if (part < length_bytes) {
            text_append(out, REPLACEMENT, strlen(REPLACEMENT));
            part++;
        }
        bytes += part;
        length_bytes -= part;
    }
}

/* judge - bad text was found at byte at: what the policy says. */
static enum verdict judge(const struct worker *worker, struct batch_document *document, const char *what,
                          size_t at, struct err *err) {
    document->has_bad_text = true;
    if (worker->config->bad_utf8 == BAD_UTF8_REPLACE)
        return VERDICT_REPAIRED;
    if (worker->config->bad_utf8 == BAD_UTF8_SKIP)
        return VERDICT_SKIP;
    err_set(err,
            "%s at byte %zu; set the source's encoding (latin1, windows-1252, utf-16) if it is not UTF-8, or "
            "prepare.bad_utf8 to 'replace' or 'skip' to go on",
            what, at + 1);
    return VERDICT_ERROR;
}

/* clean_bytes - invalid UTF-8 and NUL bytes of raw input.  On VERDICT_REPAIRED, *bytes is worker->repaired.
 */
static enum verdict clean_bytes(struct worker *worker, struct batch_document *document, const char **bytes,
                                size_t *length_bytes, struct err *err) {
    size_t valid = text_valid_bytes(*bytes, *length_bytes);
    size_t nul = strnlen(*bytes, *length_bytes);
    if (valid == *length_bytes && nul == *length_bytes)
        return VERDICT_CLEAN;
    char what[40];
    snprintf(what, sizeof what, "invalid UTF-8 (0x%02X)",
             (unsigned char)(valid < *length_bytes ? (*bytes)[valid] : 0));
    enum verdict verdict = nul < valid ? judge(worker, document, "NUL byte", nul, err)
                                       : judge(worker, document, what, valid, err);
    if (verdict != VERDICT_REPAIRED)
        return verdict;
    struct text no_nul = {0};
    append_without_nul(&no_nul, *bytes, *length_bytes);
    worker->repaired.length_bytes = 0;
    text_append_repaired(&worker->repaired, no_nul.bytes, no_nul.length_bytes);
    text_release(&no_nul);
    *bytes = worker->repaired.bytes;
    *length_bytes = worker->repaired.length_bytes;
    return VERDICT_REPAIRED;
}

/* hex4 - the value of four hexadecimal digits, or -1. */
static int hex4(const char *digits) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int c = tolower((unsigned char)digits[i]);
        if (!isxdigit(c))
            return -1;
        value = value * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
}

static bool is_escape(const char *at, const char *end, int low, int high) {
    return end - at >= 6 && at[0] == '\\' && at[1] == 'u' && hex4(at + 2) >= low && hex4(at + 2) <= high;
}

/* clean_surrogates - JSON may escape half of a surrogate pair, which is not a character.  Such escapes are
 * found, and replaced by \uFFFD in place unless the policy says otherwise. */
static enum verdict clean_surrogates(const struct worker *worker, struct batch_document *document, char *line,
                                     size_t length_bytes, struct err *err) {
    const char *end = line + length_bytes;
    enum verdict verdict = VERDICT_CLEAN;
    for (char *at = memchr(line, '\\', length_bytes); at && end - at >= 2;
         at = memchr(at, '\\', (size_t)(end - at))) {
        bool is_high = is_escape(at, end, 0xD800, 0xDBFF);
        if (is_high && is_escape(at + 6, end, 0xDC00, 0xDFFF)) {
            at += 12;
            continue;
        }
        if (is_high || is_escape(at, end, 0xDC00, 0xDFFF)) {
            verdict = judge(worker, document, "half a surrogate pair", (size_t)(at - line), err);
            if (verdict != VERDICT_REPAIRED)
                return verdict;
            memcpy(at + 2, "FFFD", 4);
        }
        at += 2; /* over an escaped backslash as well */
    }
    return verdict;
}

/* append_field - text of a JSON string; it may hold NUL characters, written \u0000. */
enum verdict worker_append_field(struct worker *worker, struct batch_document *document, const json_t *value,
                                 struct err *err) {
    const char *bytes = json_string_value(value);
    size_t length_bytes = json_string_length(value), nul = strnlen(bytes, length_bytes);
    enum verdict verdict =
        nul < length_bytes ? judge(worker, document, "NUL character in the text", nul, err) : VERDICT_CLEAN;
    if (verdict == VERDICT_CLEAN || verdict == VERDICT_REPAIRED)
        append_without_nul(&worker->scratch, bytes, length_bytes);
    return verdict;
}

void worker_give_back(struct worker *worker) {
    if (worker->scratch.room_bytes > 4 * BATCH_BYTES)
        text_release(&worker->scratch);
    if (worker->repaired.room_bytes > 4 * BATCH_BYTES)
        text_release(&worker->repaired);
}

/* encode_text - bos, text, eos.  The bytes may be the worker's own, which are gone afterwards. */
static int encode_text(struct worker *worker, struct batch *batch, struct batch_document *document,
                       const char *bytes, size_t length_bytes, struct err *err) {
    if (length_bytes == 0) {
        document->outcome = OUTCOME_EMPTY;
        return 0;
    }
    document->hash = XXH3_128bits(bytes, length_bytes);
    int64_t first = batch->tokens.count;
    if (worker->bos >= 0)
        token_list_push(&batch->tokens, worker->bos);
    if (encoder_encode(worker->encoder, bytes, length_bytes, ENCODE_PLAIN, &batch->tokens, err) != 0)
        return -1;
    worker_give_back(worker);
    if (worker->eos >= 0)
        token_list_push(&batch->tokens, worker->eos);
    batch->mask = xrealloc(batch->mask, (size_t)batch->tokens.room);
    memset(batch->mask + first, 1, (size_t)(batch->tokens.count - first));
    return 0;
}

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
    int status =
        stop(clean_surrogates(worker, document, (char *)(uintptr_t)value.bytes, value.length_bytes, err),
             document);
    if (status != 1)
        return status;
    text->length_bytes = 0;
    json_line_unescape(value, text);
    give_back_raw(worker, batch, document);
    const char *nul = text->length_bytes ? memchr(text->bytes, 0, text->length_bytes) : NULL;
    if (!nul)
        return encode_text(worker, batch, document, text->bytes, text->length_bytes, err);
    status = stop(judge(worker, document, "NUL character in the text", (size_t)(nul - text->bytes), err),
                  document);
    if (status != 1)
        return status;
    struct text no_nul = {0};
    append_without_nul(&no_nul, text->bytes, text->length_bytes);
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

/* encode_line - a line of JSON whose bytes are clean. */
static int encode_line(struct worker *worker, struct batch *batch, struct batch_document *document,
                       char *line, size_t length_bytes, struct err *err) {
    const struct prepare_source *source = &worker->config->sources[document->source];
    const struct text_span span = {line, length_bytes};
    struct json_line found;
    if (source_find_field(source, span, &found, err) != 0)
        return -1;
    if (!source->chat)
        return encode_string(worker, batch, document, found.value, err);
    if (check_chat_size(document, found.value, err) != 0)
        return -1;
    enum verdict verdict =
        clean_surrogates(worker, document, line + (found.value.bytes - line), found.value.length_bytes, err);
    int status = stop(verdict, document);
    if (status != 1)
        return status;
    json_t *root = source_parse_chat(source, span, &found, err);
    if (!root)
        return -1;
    give_back_raw(worker, batch, document);
    return worker_encode_chat(worker, batch, document, root, err);
}

/* encode_document - one document; what is wrong with it is said without its place. */
static int encode_document(struct worker *worker, struct batch *batch, struct batch_document *document,
                           struct err *err) {
    char *raw = batch->raw.bytes ? batch->raw.bytes + document->first_byte : NULL;
    const char *bytes = raw ? raw : "";
    size_t length_bytes = document->length_bytes;
    bool is_jsonl = worker->corpus->files[document->file].is_jsonl;
    if (is_jsonl && is_blank(bytes, length_bytes)) {
        document->outcome = OUTCOME_BLANK;
        return 0;
    }
    enum verdict verdict = clean_bytes(worker, document, &bytes, &length_bytes, err);
    if (verdict == VERDICT_ERROR)
        return -1;
    if (verdict == VERDICT_SKIP) {
        document->outcome = OUTCOME_SKIPPED;
        return 0;
    }
    if (!is_jsonl)
        return encode_text(worker, batch, document, bytes, length_bytes, err);
    return encode_line(worker, batch, document, verdict == VERDICT_REPAIRED ? worker->repaired.bytes : raw,
                       length_bytes, err);
}

/* is_bad_line - it is the line that is at fault, neither its bytes nor the conversation on it: those have
 * policies of their own. */
static bool is_bad_line(const struct worker *worker, const struct batch_document *document) {
    bool is_bad_text = document->has_bad_text && worker->config->bad_utf8 == BAD_UTF8_FAIL;
    return document->line > 0 && !is_bad_text && document->outcome != OUTCOME_BAD_CHAT;
}

/* name_place - where the document is, and how to go on without it. */
static void name_place(const struct worker *worker, const struct batch_document *document, struct err *err) {
    const char *path = worker->corpus->files[document->file].path;
    struct err what = *err;
    if (document->outcome == OUTCOME_BAD_CHAT && worker->config->bad_chat == BAD_CHAT_FAIL)
        err_set(
            err,
            "%.700s; mend it, or set prepare.on_bad_conversation to 'skip' to leave such conversations out",
            what.text);
    else if (is_bad_line(worker, document) && worker->config->on_bad_line == BAD_LINE_FAIL)
        err_set(err, "%.700s; prepare.on_bad_line 'skip' leaves such lines out", what.text);
    if (document->line > 0)
        err_prefix(err, "'%s' line %lld", path, (long long)document->line);
    else
        err_prefix(err, "'%s'", path);
}

/* may_leave_out - a document that failed, by the policy for its kind of fault. */
static bool may_leave_out(const struct worker *worker, struct batch_document *document) {
    if (document->outcome == OUTCOME_BAD_CHAT)
        return worker->config->bad_chat == BAD_CHAT_SKIP;
    if (!is_bad_line(worker, document) || worker->config->on_bad_line == BAD_LINE_FAIL)
        return false;
    document->outcome = OUTCOME_BAD_LINE;
    return true;
}

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
    }
}
