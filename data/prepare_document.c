/* prepare_document.c - one document of a corpus: bytes -> text (JSON field, repaired as the policy says) ->
 * tokens. */
#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/prepare_batch.h"

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
    err_set(err, "%s at byte %zu; set bad_utf8 to 'replace' or 'skip' to go on", what, at + 1);
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
    enum verdict verdict = nul < valid ? judge(worker, document, "NUL byte", nul, err)
                                       : judge(worker, document, "invalid UTF-8", valid, err);
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

/* clean_surrogates - JSON may escape half of a surrogate pair, which is no character.  Such escapes are
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

/* encode_text - bos, text, eos. */
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
    if (worker->eos >= 0)
        token_list_push(&batch->tokens, worker->eos);
    batch->mask = xrealloc(batch->mask, (size_t)batch->tokens.room);
    memset(batch->mask + first, 1, (size_t)(batch->tokens.count - first));
    return 0;
}

/* encode_field - the field of a parsed line. */
static int encode_field(struct worker *worker, struct batch *batch, struct batch_document *document,
                        const json_t *root, struct err *err) {
    const struct prepare_source *source = &worker->config->sources[document->source];
    if (!json_is_object(root))
        return err_set(err, "the line is not a JSON object");
    const char *field = source->field ? source->field : source->chat ? "messages" : "text";
    const json_t *value = json_object_get(root, field);
    if (!value)
        return err_set(err, "no field '%s'; set the source's field", field);
    if (source->chat ? !json_is_array(value) : !json_is_string(value))
        return err_set(err, "field '%s' is not %s", field, source->chat ? "a list of messages" : "a string");
    if (source->chat)
        return worker_encode_chat(worker, batch, document, root, value, err);
    worker->scratch.length_bytes = 0;
    enum verdict verdict = worker_append_field(worker, document, value, err);
    if (verdict == VERDICT_ERROR)
        return -1;
    if (verdict == VERDICT_SKIP) {
        document->outcome = OUTCOME_SKIPPED;
        return 0;
    }
    return encode_text(worker, batch, document, worker->scratch.bytes, worker->scratch.length_bytes, err);
}

static bool is_blank(const char *bytes, size_t length_bytes) {
    for (size_t i = 0; i < length_bytes; i++)
        if (!strchr(" \t\r", bytes[i]) || bytes[i] == '\0')
            return false;
    return true;
}

/* encode_line - a line of JSON whose bytes are clean. */
static int encode_line(struct worker *worker, struct batch *batch, struct batch_document *document,
                       char *line, size_t length_bytes, struct err *err) {
    json_error_t fault;
    enum verdict verdict = clean_surrogates(worker, document, line, length_bytes, err);
    if (verdict == VERDICT_ERROR)
        return -1;
    if (verdict == VERDICT_SKIP) {
        document->outcome = OUTCOME_SKIPPED;
        return 0;
    }
    json_t *root = json_loadb(line, length_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
    if (!root)
        return err_set(err, "not valid JSON: %s (column %d)", fault.text, fault.column);
    int status = encode_field(worker, batch, document, root, err);
    json_decref(root);
    return status;
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

/* name_place - where the document is, and for a conversation how to go on without it. */
static void name_place(const struct worker *worker, const struct batch_document *document, struct err *err) {
    const char *path = worker->corpus->files[document->file].path;
    struct err what = *err;
    if (document->outcome == OUTCOME_BAD_CHAT && worker->config->bad_chat == BAD_CHAT_FAIL)
        err_set(
            err,
            "%.700s; mend it, or set prepare.on_bad_conversation to 'skip' to leave such conversations out",
            what.text);
    if (document->line > 0)
        err_prefix(err, "'%s' line %lld", path, (long long)document->line);
    else
        err_prefix(err, "'%s'", path);
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
            if (document->outcome == OUTCOME_BAD_CHAT && worker->config->bad_chat == BAD_CHAT_SKIP) {
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
