/* prepare_repair.c - damage in the text of a document: invalid UTF-8, NUL, halves of surrogate pairs.  Found, and repaired,
 * skipped or refused as prepare.bad_utf8 says. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "data/corpus/prepare_batch.h"

static const char REPLACEMENT[] = "\xEF\xBF\xBD"; /* U+FFFD */

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

/* What else may help: bytes may be text in another encoding, an escape of JSON means the same in all. */
static const char OF_BYTES[] = "the source's encoding (latin1, windows-1252, utf-16) if it is not UTF-8, or ";
static const char OF_ESCAPES[] = "";
static const char OF_CONVERTED[] = "the source's encoding if it is another one, or ";

/* What was found. */
struct fault {
    const char *what, *unit; /* unit: what `at` counts */
    size_t at;               /* from 0 */
    const char *other_way;
};

/* judge - bad text was found: what the policy says. */
static enum verdict judge(const struct worker *worker, struct batch_document *document, struct fault fault,
                          struct err *err) {
    document->has_bad_text = true;
    if (worker->config->bad_utf8 == BAD_UTF8_REPLACE)
        return VERDICT_REPAIRED;
    if (worker->config->bad_utf8 == BAD_UTF8_SKIP)
        return VERDICT_SKIP;
    err_set(err, "%s at %s %zu; set %sprepare.bad_utf8 to 'replace' or 'skip' to go on", fault.what,
            fault.unit, fault.at + 1, fault.other_way);
    return VERDICT_ERROR;
}

/* num_characters - of valid UTF-8. */
static size_t num_characters(const char *bytes, size_t length_bytes) {
    size_t count = 0;
    for (size_t i = 0; i < length_bytes; i++)
        count += ((unsigned char)bytes[i] & 0xC0) != 0x80;
    return count;
}

/* fault_at - of a byte.  Of a text that was converted its characters are counted: the file has other bytes. */
static struct fault fault_at(const struct batch_document *document, const char *bytes, size_t at,
                             const char *what) {
    const char *fault = document->is_converted ? encoding_fault((unsigned char)bytes[at]) : NULL;
    if (!document->is_converted)
        return (struct fault){what, "byte", at, OF_BYTES};
    return (struct fault){fault ? fault : what, "character", num_characters(bytes, at), OF_CONVERTED};
}

/* Of invalid UTF-8 and NUL the one that comes first is named, with its place from 1. */
enum verdict worker_clean_bytes(struct worker *worker, struct batch_document *document, const char **bytes,
                                size_t *length_bytes, struct err *err) {
    size_t valid = text_valid_bytes(*bytes, *length_bytes);
    size_t nul = strnlen(*bytes, *length_bytes);
    if (valid == *length_bytes && nul == *length_bytes)
        return VERDICT_CLEAN;
    char what[40];
    snprintf(what, sizeof what, "invalid UTF-8 (0x%02X)",
             (unsigned char)(valid < *length_bytes ? (*bytes)[valid] : 0));
    struct fault fault =
        nul < valid ? fault_at(document, *bytes, nul, "NUL byte") : fault_at(document, *bytes, valid, what);
    enum verdict verdict = judge(worker, document, fault, err);
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

/* In the escapes, before they are undone: afterwards half a pair could not be told from a U+FFFD that was meant. */
enum verdict worker_clean_surrogates(const struct worker *worker, struct batch_document *document, char *line,
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
            verdict =
                judge(worker, document,
                      (struct fault){"half a surrogate pair (an escape \\uD8.. to \\uDF..) in the field",
                                     "byte", (size_t)(at - line), OF_ESCAPES},
                      err);
            if (verdict != VERDICT_REPAIRED)
                return verdict;
            memcpy(at + 2, "FFFD", 4);
        }
        at += 2; /* over an escaped backslash as well */
    }
    return verdict;
}

enum verdict worker_append(const struct worker *worker, struct batch_document *document,
                           struct text_span text, struct text *out, struct err *err) {
    size_t nul = strnlen(text.bytes, text.length_bytes);
    enum verdict verdict =
        nul < text.length_bytes
            ? judge(worker, document,
                    (struct fault){"NUL character (the escape \\u0000) in the text", "byte", nul, OF_ESCAPES},
                    err)
            : VERDICT_CLEAN;
    if (verdict == VERDICT_CLEAN || verdict == VERDICT_REPAIRED)
        append_without_nul(out, text.bytes, text.length_bytes);
    return verdict;
}
