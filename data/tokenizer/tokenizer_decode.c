/* tokenizer_decode.c - the steps of a decoder: read from tokenizer.json, applied to strings of tokens. */
#include "data/tokenizer/tokenizer_decode.h"

#include <stdlib.h>

#include "data/corpus/json.h"
#include "data/tokenizer/tokenizer_sequence.h"
#include "data/tokenizer/tokenizer_vocab.h"

enum { MAX_STEPS = 64 };

void string_list_end(struct string_list *list) {
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 64;
        list->ends = xrealloc(list->ends, (size_t)list->room * sizeof *list->ends);
    }
    list->ends[list->count++] = list->text.length_bytes;
}

void string_list_release(struct string_list *list) {
    text_release(&list->text);
    free(list->ends);
    *list = (struct string_list){0};
}

static struct text_span string_at(const struct string_list *list, int64_t i) {
    size_t start = i > 0 ? list->ends[i - 1] : 0;
    return (struct text_span){list->text.bytes + start, list->ends[i] - start};
}

/* parse_character - a string of the file that must be one character. */
static int parse_character(const json_t *json, const char *key, uint32_t *character, struct err *err) {
    const char *text;
    if (json_get_string(json, key, &text, err) != 0)
        return -1;
    const char *after = text;
    *character = *text ? text_next_char(&after) : 0;
    return after == text || *after ? err_set(err, "decoder: '%s' = '%.64s' is not one character", key, text)
                                   : 0;
}

/* parse_step - of Metaspace's schemes, always and first put a space before the text, which decoding drops again. */
static int parse_step(struct decode_step *step, const json_t *json, const char *type, struct err *err) {
    if (strcmp(type, "Replace") == 0) {
        step->kind = DECODE_REPLACE;
        return replacement_parse(&step->replacement, json, err);
    }
    if (strcmp(type, "Strip") == 0) {
        step->kind = DECODE_STRIP;
        if (parse_character(json, "content", &step->character, err) != 0 ||
            json_get_int(json, "start", &step->start, err) != 0 ||
            json_get_int(json, "stop", &step->stop, err) != 0)
            return -1;
        return step->start < 0 || step->stop < 0 ? err_set(err, "decoder: Strip of a negative number") : 0;
    }
    if (strcmp(type, "Metaspace") == 0) {
        const char *scheme;
        bool prefix;
        step->kind = DECODE_METASPACE;
        if (parse_character(json, "replacement", &step->character, err) != 0 ||
            json_get_string_or(json, "prepend_scheme", "always", &scheme, err) != 0 ||
            json_get_bool_or(json, "add_prefix_space", true, &prefix, err) != 0)
            return -1;
        step->drops_first = strcmp(scheme, "never") != 0;
        return !prefix && step->drops_first
                   ? err_set(err, "decoder: Metaspace has add_prefix_space false but prepend_scheme '%.64s'",
                             scheme)
                   : 0;
    }
    const char *const plain[] = {"ByteLevel", "ByteFallback", "Fuse"};
    for (int i = 0; i < 3; i++)
        if (strcmp(type, plain[i]) == 0) {
            step->kind = (enum decode_kind)i;
            return 0;
        }
    return err_set(
        err,
        "decoder '%.64s' is not supported (ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, "
        "Sequence are)",
        type);
}

static int take_step(void *user, const json_t *json, const char *type, struct err *err) {
    struct decoder *decoder = user;
    if (decoder->num_steps == MAX_STEPS)
        return err_set(err, "more than %d decoder steps are not supported", MAX_STEPS);
    return parse_step(&decoder->steps[decoder->num_steps++], json, type, err);
}

/* Without a decoder the reference joins the tokens with spaces. */
int decoder_parse(struct decoder *decoder, const json_t *json, struct err *err) {
    static const struct sequence SEQUENCE = {"decoder", "decoders", take_step};
    *decoder = (struct decoder){.joins_with_spaces = !json || json_is_null(json)};
    if (decoder->joins_with_spaces)
        return 0;
    decoder->steps = xcalloc(MAX_STEPS, sizeof *decoder->steps);
    return sequence_walk(&SEQUENCE, json, decoder, err);
}

void decoder_release(struct decoder *decoder) {
    for (int i = 0; i < decoder->num_steps; i++)
        replacement_release(&decoder->steps[i].replacement);
    free(decoder->steps);
    *decoder = (struct decoder){0};
}

/* A token with one character outside the alphabet is taken as it is. */
static void append_byte_level(struct text *out, struct text_span token) {
    size_t start = out->length_bytes;
    for (const char *at = token.bytes, *end = at + token.length_bytes; at < end;) {
        int byte = byte_from_alphabet(text_next_char(&at));
        if (byte < 0) {
            out->length_bytes = start;
            text_append(out, token.bytes, token.length_bytes);
            return;
        }
        char character = (char)byte;
        text_append(out, &character, 1);
    }
}

/* decode_byte_level - all tokens together: a character's bytes may be spread over several. */
static void decode_byte_level(const struct string_list *in, struct string_list *out) {
    struct text bytes = {0};
    for (int64_t i = 0; i < in->count; i++)
        append_byte_level(&bytes, string_at(in, i));
    text_append_repaired(&out->text, bytes.bytes, bytes.length_bytes);
    string_list_end(out);
    text_release(&bytes);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of a token "<0xNN>", or -1. */
static int byte_of_token(struct text_span token) {
    if (token.length_bytes != 6 || memcmp(token.bytes, "<0x", 3) != 0 || token.bytes[5] != '>')
        return -1;
    int high = hex_digit(token.bytes[3]), low = hex_digit(token.bytes[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of byte tokens: its text if that is UTF-8, else one U+FFFD for each byte. */
static void end_bytes(struct text *bytes, struct string_list *out) {
    bool is_text = text_valid_bytes(bytes->bytes, bytes->length_bytes) == bytes->length_bytes;
    if (bytes->length_bytes > 0 && is_text) {
        text_append(&out->text, bytes->bytes, bytes->length_bytes);
        string_list_end(out);
    }
    for (size_t i = 0; !is_text && i < bytes->length_bytes; i++) {
        text_append_char(&out->text, 0xFFFD);
        string_list_end(out);
    }
    bytes->length_bytes = 0;
}

/* decode_byte_fallback - runs of "<0xNN>" together: each byte of a character is a token of its own. */
static void decode_byte_fallback(const struct string_list *in, struct string_list *out) {
    struct text bytes = {0};
    for (int64_t i = 0; i < in->count; i++) {
        struct text_span token = string_at(in, i);
        int byte = byte_of_token(token);
        if (byte >= 0) {
            char character = (char)byte;
            text_append(&bytes, &character, 1);
            continue;
        }
        end_bytes(&bytes, out);
        text_append(&out->text, token.bytes, token.length_bytes);
        string_list_end(out);
    }
    end_bytes(&bytes, out);
    text_release(&bytes);
}

/* decode_replace - in each string by itself, as in the reference: what is spread over two is not found. */
static int decode_replace(const struct decode_step *step, struct regex_state *regexes,
                          const struct string_list *in, struct string_list *out, struct err *err) {
    struct text replaced = {0};
    int status = 0;
    for (int64_t i = 0; i < in->count && status == 0; i++) {
        struct text_span token = string_at(in, i);
        bool changed;
        status = replacement_apply(&step->replacement, regexes, token, &replaced, &changed, err);
        text_append(&out->text, changed ? replaced.bytes : token.bytes,
                    changed ? replaced.length_bytes : token.length_bytes);
        string_list_end(out);
    }
    text_release(&replaced);
    return status;
}

/* decode_strip - at most start and stop characters: one space put in front must not take the text's own with it. */
static void decode_strip(const struct decode_step *step, const struct string_list *in,
                         struct string_list *out) {
    char character[4];
    size_t n = text_encode_char(character, step->character);
    for (int64_t i = 0; i < in->count; i++) {
        struct text_span token = string_at(in, i);
        const char *start = token.bytes, *end = token.bytes + token.length_bytes;
        for (int64_t k = 0; k < step->start && (size_t)(end - start) >= n && memcmp(start, character, n) == 0;
             k++)
            start += n;
        for (int64_t k = 0;
             k < step->stop && (size_t)(end - start) >= n && memcmp(end - n, character, n) == 0; k++)
            end -= n;
        text_append(&out->text, start, (size_t)(end - start));
        string_list_end(out);
    }
}

/* decode_metaspace - the space that encoding put before the first word is taken out again. */
static void decode_metaspace(const struct decode_step *step, const struct string_list *in,
                             struct string_list *out) {
    for (int64_t i = 0; i < in->count; i++) {
        struct text_span token = string_at(in, i);
        for (const char *at = token.bytes, *end = at + token.length_bytes; at < end;) {
            uint32_t character = text_next_char(&at);
            if (character != step->character)
                text_append_char(&out->text, character);
            else if (i > 0 || !step->drops_first)
                text_append(&out->text, " ", 1);
        }
        string_list_end(out);
    }
}

/* apply_step - a list of strings into another, not always as long: what looks at each string or at the first, as
 * Strip and Metaspace do, depends on what was joined before. */
static int apply_step(const struct decode_step *step, struct regex_state *regexes,
                      const struct string_list *in, struct string_list *out, struct err *err) {
    switch (step->kind) {
    case DECODE_BYTE_LEVEL:
        decode_byte_level(in, out);
        return 0;
    case DECODE_BYTE_FALLBACK:
        decode_byte_fallback(in, out);
        return 0;
    case DECODE_FUSE:
        text_append(&out->text, in->text.bytes, in->text.length_bytes);
        string_list_end(out);
        return 0;
    case DECODE_REPLACE:
        return decode_replace(step, regexes, in, out, err);
    case DECODE_STRIP:
        decode_strip(step, in, out);
        return 0;
    case DECODE_METASPACE:
        decode_metaspace(step, in, out);
        return 0;
    }
    return 0;
}

static void join_with_spaces(const struct string_list *strings, struct text *out) {
    for (int64_t i = 0; i < strings->count; i++) {
        struct text_span token = string_at(strings, i);
        if (i > 0)
            text_append(out, " ", 1);
        text_append(out, token.bytes, token.length_bytes);
    }
}

int decoder_apply(const struct decoder *decoder, struct string_list *strings, struct text *out,
                  struct err *err) {
    struct string_list next = {0};
    struct regex_state *regexes = regex_state_create();
    int status = 0;
    for (int i = 0; i < decoder->num_steps && status == 0; i++) {
        next.text.length_bytes = 0;
        next.count = 0;
        status = apply_step(&decoder->steps[i], regexes, strings, &next, err);
        struct string_list previous = *strings;
        *strings = next;
        next = previous;
    }
    if (status == 0 && decoder->joins_with_spaces)
        join_with_spaces(strings, out);
    else if (status == 0)
        text_append(out, strings->text.bytes, strings->text.length_bytes);
    regex_state_free(regexes);
    string_list_release(&next);
    strings->text.length_bytes = 0;
    strings->count = 0;
    return status;
}

/* apply_alone - a step to a string that is not a text's first. */
static int apply_alone(const struct decode_step *step, struct regex_state *regexes, struct string_list *list,
                       struct err *err) {
    struct decode_step inner = *step;
    struct string_list next = {0};
    if (step->kind == DECODE_STRIP || step->kind == DECODE_FUSE)
        return 0;
    inner.drops_first = false;
    int status = apply_step(&inner, regexes, list, &next, err);
    string_list_release(list);
    *list = next;
    return status;
}

int decoder_append_token(const struct decoder *decoder, struct text_span token, struct text *bytes,
                         struct err *err) {
    struct string_list list = {0};
    struct regex_state *regexes = regex_state_create();
    int status = 0;
    bool is_done = false;
    text_append(&list.text, token.bytes, token.length_bytes);
    string_list_end(&list);
    for (int i = 0; i < decoder->num_steps && status == 0 && !is_done; i++) {
        const struct decode_step *step = &decoder->steps[i];
        int byte = step->kind == DECODE_BYTE_FALLBACK ? byte_of_token(token) : -1;
        char character = (char)byte;
        is_done = byte >= 0 || step->kind == DECODE_BYTE_LEVEL;
        if (byte >= 0)
            text_append(bytes, &character, 1);
        else if (is_done)
            append_byte_level(bytes, (struct text_span){list.text.bytes, list.text.length_bytes});
        else
            status = apply_alone(step, regexes, &list, err);
    }
    if (status == 0 && !is_done)
        text_append(bytes, list.text.bytes, list.text.length_bytes);
    regex_state_free(regexes);
    string_list_release(&list);
    return status;
}
