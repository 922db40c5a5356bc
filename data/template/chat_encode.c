/* chat_encode.c - a rendered conversation as tokens with a mask of what is learnt.  See chat.h. */
#include "data/template/chat.h"

#include <stdlib.h>

/* The conversation being encoded: its tokens start at first in the list, marks holds a byte for each of them.  The
 * caller's mask is written only when all went well. */
struct encoding {
    struct encoder *enc;
    struct token_list *tokens;
    int64_t first;
    struct text marks;
};

/* mark - set the loss mask of tokens [from, count of the list). */
static void mark(struct encoding *out, int64_t from, int value) {
    size_t at = (size_t)(from - out->first), end = (size_t)(out->tokens->count - out->first);
    if (end > out->marks.length_bytes)
        text_reserve(&out->marks, end - out->marks.length_bytes);
    if (end > at)
        memset(out->marks.bytes + at, value, end - at);
    out->marks.length_bytes = end;
}

/* Text between two markers, and where its tokens start in the list. */
struct run {
    const char *bytes;
    size_t num_bytes;
    int64_t first;
    unsigned flags; /* of the encoder */
};

/* shared_tail - how many tokens the run ends with that the text from a byte on gives alone; *is_all: those are all. */
static int shared_tail(const struct encoding *out, const struct run *run, size_t at, int64_t *count,
                       bool *is_all, struct err *err) {
    struct token_list alone = {0};
    int64_t here = out->tokens->count - run->first;
    const int32_t *end = out->tokens->ids + out->tokens->count;
    int status = encoder_encode(out->enc, run->bytes + at, run->num_bytes - at,
                                at ? ENCODE_CONTINUES : run->flags, &alone, err);
    *count = 0;
    while (status == 0 && *count < alone.count && *count < here &&
           alone.ids[alone.count - 1 - *count] == end[-1 - *count])
        ++*count;
    *is_all = *count == alone.count;
    token_list_release(&alone);
    return status;
}

/* shared_head - how many tokens of the run are those that the text before a byte gives alone. */
static int shared_head(const struct encoding *out, const struct run *run, size_t at, int64_t *count,
                       struct err *err) {
    struct token_list alone = {0};
    int status = encoder_encode(out->enc, run->bytes, at, run->flags, &alone, err);
    *count = 0;
    while (status == 0 && *count < alone.count && run->first + *count < out->tokens->count &&
           alone.ids[*count] == out->tokens->ids[run->first + *count])
        ++*count;
    token_list_release(&alone);
    return status;
}

/* token_at - the first token with text at or after a byte of the run where learning begins, or the first one after the
 * byte where it ends: a token on both sides of a boundary counts.  The encoder gives no offsets, so: where the run ends
 * with the tokens of the rest alone, there.  Otherwise a token straddles the boundary: it is the first that the text
 * before does not share, and the last before those that the text after shares. */
static int token_at(const struct encoding *out, const struct run *run, size_t at, bool is_end, int64_t *token,
                    struct err *err) {
    bool is_clean;
    int64_t count;
    *token = at == 0 ? run->first : out->tokens->count;
    if (at == 0 || at == run->num_bytes)
        return 0;
    if (shared_tail(out, run, at, &count, &is_clean, err) != 0)
        return -1;
    *token = out->tokens->count - count;
    if (is_clean || is_end)
        return 0;
    int status = shared_head(out, run, at, &count, err);
    *token = run->first + count;
    return status;
}

static bool is_learnt(const struct chat_span *span) {
    return span->part == CHAT_REPLY || span->part == CHAT_END;
}

/* encode_run - the text between two markers, spans [from, to); what is learnt of it may begin and end inside. */
static int encode_run(struct encoding *out, const struct chat_text *rendered, int from, int to,
                      struct err *err) {
    const struct chat_span *spans = rendered->spans;
    size_t begin = spans[from].first_byte;
    struct run run = {.bytes = rendered->text.bytes + begin,
                      .num_bytes = spans[to - 1].end_byte - begin,
                      .first = out->tokens->count,
                      .flags = from > 0 ? ENCODE_CONTINUES : ENCODE_PLAIN};
    if (encoder_encode(out->enc, run.bytes, run.num_bytes, run.flags, out->tokens, err) != 0)
        return -1;
    mark(out, run.first, 0);
    for (int i = from; i < to; i++) {
        int64_t first, end;
        int last = i;
        if (!is_learnt(&spans[i]))
            continue;
        while (last + 1 < to && is_learnt(&spans[last + 1]))
            last++;
        if (token_at(out, &run, spans[i].first_byte - begin, false, &first, err) != 0 ||
            token_at(out, &run, spans[last].end_byte - begin, true, &end, err) != 0)
            return -1;
        if (end > first)
            memset(out->marks.bytes + (first - out->first), 1, (size_t)(end - first));
        i = last;
    }
    return 0;
}

/* encode_spans - markers by their ids, and the text between two of them in one go: the encoder is never shown a
 * message and a marker together, so that no message can form a special token. */
static int encode_spans(struct encoding *out, const struct chat_text *rendered, struct err *err) {
    for (int i = 0; i < rendered->num_spans;) {
        const struct chat_span *span = &rendered->spans[i];
        int end = i;
        if (span->id >= 0) {
            token_list_push(out->tokens, span->id);
            mark(out, out->tokens->count - 1, span->part == CHAT_END);
            i++;
            continue;
        }
        while (end < rendered->num_spans && rendered->spans[end].id < 0)
            end++;
        if (encode_run(out, rendered, i, end, err) != 0)
            return -1;
        i = end;
    }
    return 0;
}

int chat_encode_text(struct encoder *enc, const struct chat_text *rendered, struct token_list *tokens,
                     uint8_t **mask, struct err *err) {
    struct encoding out = {.enc = enc, .tokens = tokens, .first = tokens->count};
    int status = encode_spans(&out, rendered, err);
    if (status == 0) {
        *mask = xrealloc(*mask, (size_t)tokens->room);
        memcpy(*mask + out.first, out.marks.bytes, out.marks.length_bytes);
    }
    text_release(&out.marks);
    return status;
}

int chat_encode(const struct tokenizer *tok, struct encoder *enc, const struct chat *chat,
                struct token_list *tokens, uint8_t **mask, struct err *err) {
    struct chat_text rendered = {0};
    int status = chat_render(tok, chat, &rendered, err);
    if (status == 0)
        status = chat_encode_text(enc, &rendered, tokens, mask, err);
    chat_text_release(&rendered);
    return status;
}
