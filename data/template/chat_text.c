/* chat_text.c - a rendered conversation as it grows: text, and spans that say what each part of it is. */
#include "data/template/chat.h"

void chat_text_add_span(struct chat_text *out, struct chat_span span) {
    if (out->num_spans == out->spans_room) {
        out->spans_room = out->spans_room ? 2 * out->spans_room : 16;
        out->spans = xrealloc(out->spans, (size_t)out->spans_room * sizeof *out->spans);
    }
    out->spans[out->num_spans++] = span;
}

/* An empty piece leaves no span, so that spans in order never share a first byte. */
void chat_text_add(struct chat_text *out, enum chat_part part, const char *bytes, size_t length_bytes,
                   int32_t id) {
    if (length_bytes == 0)
        return;
    size_t first = out->text.length_bytes;
    text_append(&out->text, bytes, length_bytes);
    chat_text_add_span(out, (struct chat_span){part, first, first + length_bytes, id, out->message});
}
