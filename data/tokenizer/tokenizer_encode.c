/* tokenizer_encode.c - text to ids and ids to text.  See tokenizer.h. */
#include <stdlib.h>

#include "data/tokenizer/tokenizer_parts.h"

struct encoder {
    const struct tokenizer *tok; /* borrowed */
    struct split_run run;
    struct text normal[2]; /* buffers of the normaliser */
};

struct encoder *encoder_open(const struct tokenizer *tok) {
    struct encoder *enc = xcalloc(1, sizeof *enc);
    enc->tok = tok;
    enc->run = (struct split_run){.splitter = &tok->splitter,
                                  .chars = tok->chars,
                                  .regexes = regex_state_create(),
                                  .bpe = &tok->bpe,
                                  .encoder = bpe_state_create(&tok->bpe)};
    return enc;
}

void encoder_close(struct encoder *enc) {
    if (!enc)
        return;
    regex_state_free(enc->run.regexes);
    bpe_state_free(enc->run.encoder);
    for (int i = 0; i < SPLIT_MAX_STEPS; i++)
        text_release(&enc->run.buffers[i]);
    text_release(&enc->normal[0]);
    text_release(&enc->normal[1]);
    free(enc);
}

/* What to do with the text between added tokens. */
typedef int (*encode_gap)(struct encoder *enc, struct text_span text, bool at_start, bool with_special);

/* Find the added tokens of one set; their ids go out as they are, the text between them goes to the next
 * stage. */
static int encode_around(struct encoder *enc, const struct added_set *set, struct text_span text,
                         bool at_start, bool with_special, encode_gap gap) {
    const struct tokenizer *tok = enc->tok;
    const struct added_token *token;
    struct text_span span;
    size_t done = 0, resume = 0;
    while ((token = added_next(set, tok->chars, text, done, with_special, &span, &resume))) {
        size_t start = (size_t)(span.bytes - text.bytes);
        if (start > done && gap(enc, (struct text_span){text.bytes + done, start - done},
                                at_start && done == 0, with_special) != 0)
            return -1;
        token_list_push(enc->run.out, token->id);
        done = start + span.length_bytes;
    }
    if (done == text.length_bytes)
        return 0;
    return gap(enc, (struct text_span){text.bytes + done, text.length_bytes - done}, at_start && done == 0,
               with_special);
}

/* encode_normalised, encode_raw - the two stages: added tokens of the text as it is; between them those of the
 * normalised text; and what is left goes to the pre-tokeniser. */
static int encode_normalised(struct encoder *enc, struct text_span text, bool at_start, bool with_special) {
    (void)with_special;
    return splitter_run(&enc->run, text, at_start);
}

static int encode_raw(struct encoder *enc, struct text_span text, bool at_start, bool with_special) {
    struct text_span normal;
    const struct tokenizer *tok = enc->tok;
    if (normaliser_apply(&tok->normaliser, enc->run.regexes, text, enc->normal, &normal, enc->run.err) != 0)
        return -1;
    return encode_around(enc, &tok->added.normalised, normal, at_start, with_special, encode_normalised);
}

static void push_all(struct token_list *out, const struct token_list *ids) {
    for (int64_t i = 0; i < ids->count; i++)
        token_list_push(out, ids->ids[i]);
}

/* On failure the list is as it was. */
int encoder_encode(struct encoder *enc, const char *text, size_t length_bytes, unsigned flags,
                   struct token_list *out, struct err *err) {
    const struct tokenizer *tok = enc->tok;
    int64_t count = out->count;
    size_t valid_bytes = text_valid_bytes(text, length_bytes);
    if (valid_bytes < length_bytes)
        return err_set(err, "cannot tokenise a text that is not UTF-8: byte 0x%02X at offset %zu",
                       (unsigned char)text[valid_bytes], valid_bytes);
    enc->run.out = out;
    enc->run.err = err;
    regex_state_begin(enc->run.regexes, length_bytes);
    if (flags & ENCODE_ADD_SPECIAL)
        push_all(out, &tok->before);
    if (length_bytes > 0 &&
        encode_around(enc, &tok->added.raw, (struct text_span){text, length_bytes},
                      !(flags & ENCODE_CONTINUES), flags & ENCODE_PARSE_SPECIAL, encode_raw) != 0) {
        out->count = count;
        return -1;
    }
    if (flags & ENCODE_ADD_SPECIAL)
        push_all(out, &tok->after);
    return 0;
}

/* The string of an id as the decoder wants it: added tokens in the form in which they are matched. */
static struct text_span string_of(const struct tokenizer *tok, int32_t id) {
    size_t length_bytes = 0;
    const char *text = vocab_text(&tok->vocab, id, &length_bytes);
    if (text && tok->vocab.kinds[id] != TOKEN_NORMAL) {
        const struct added_token *added = added_find(&tok->added, text, length_bytes);
        if (added)
            return (struct text_span){added->match, added->match_bytes};
    }
    return (struct text_span){text, length_bytes};
}

char *tokenizer_decode(const struct tokenizer *tok, const int32_t *ids, int64_t count, bool skip_special,
                       size_t *length_bytes) {
    struct string_list strings = {0};
    struct text out = {0};
    struct err err;
    for (int64_t i = 0; i < count; i++) {
        CHECK(ids[i] >= 0 && ids[i] < tok->vocab.size, "id %d is outside the vocabulary of %lld", ids[i],
              (long long)tok->vocab.size);
        struct text_span string = string_of(tok, ids[i]);
        if (!string.bytes || (skip_special && tok->vocab.kinds[ids[i]] == TOKEN_CONTROL))
            continue;
        text_append(&strings.text, string.bytes, string.length_bytes);
        string_list_end(&strings);
    }
    CHECK(decoder_apply(&tok->decoder, &strings, &out, &err) == 0, "cannot decode: %s", err.text);
    string_list_release(&strings);
    if (length_bytes)
        *length_bytes = out.length_bytes;
    text_append(&out, "", 1);
    return out.bytes;
}

void tokenizer_append_token(const struct tokenizer *tok, int32_t id, struct text *bytes) {
    struct err err;
    CHECK(id >= 0 && id < tok->vocab.size, "id %d is outside the vocabulary of %lld", id,
          (long long)tok->vocab.size);
    struct text_span string = string_of(tok, id);
    if (string.bytes)
        CHECK(decoder_append_token(&tok->decoder, string, bytes, &err) == 0, "cannot decode: %s", err.text);
}

int32_t *tokenizer_token_bytes(const struct tokenizer *tok) {
    int32_t *lengths = xcalloc((size_t)tok->vocab.size + 1, sizeof *lengths);
    struct text bytes = {0};
    for (int32_t id = 0; id < tok->vocab.size; id++) {
        bytes.length_bytes = 0;
        if (tok->vocab.kinds[id] != TOKEN_CONTROL && tok->vocab.kinds[id] != TOKEN_UNKNOWN)
            tokenizer_append_token(tok, id, &bytes);
        lengths[id] = (int32_t)bytes.length_bytes;
    }
    text_release(&bytes);
    return lengths;
}
