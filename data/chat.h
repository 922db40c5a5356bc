/* chat.h - conversations as text with marks: which bytes are tokens of the template, which come from the
 * messages, and which the loss counts.  Named renderers for ChatML, Llama 2, Llama 3 and Mistral; the
 * template text of a model is recognised, never executed.  No default system prompt is ever added (some
 * models' templates do: SmolLM2, Qwen 2.5; Llama 3.1 adds dates; Qwen 3 an empty thought): say what the
 * system message is in the data. */
#pragma once

#include "data/text.h"
#include "data/tokenizer.h"

enum chat_kind { CHAT_CHATML, CHAT_LLAMA2, CHAT_LLAMA3, CHAT_MISTRAL, CHAT_UNKNOWN };

struct chat_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* UTF-8 */
    size_t content_bytes;
};

struct chat {
    enum chat_kind kind;
    const struct chat_message *messages; /* borrowed */
    int num_messages;
    bool add_generation_prompt; /* leave the assistant's turn open at the end */
};

/* What a piece of rendered text is. */
enum chat_part {
    CHAT_MARKER,  /* one special token of the template */
    CHAT_FRAME,   /* other text of the template */
    CHAT_MESSAGE, /* a message that is not learnt */
    CHAT_REPLY,   /* what the assistant says: counts in the loss */
    CHAT_END      /* the token that ends the assistant's turn: counts */
};

struct chat_span {
    enum chat_part part;
    size_t first_byte, end_byte;
    int32_t id; /* of CHAT_MARKER and CHAT_END, else -1 */
};

/* A rendered conversation; start from {0}, chat_text_release frees. */
struct chat_text {
    struct text text;
    struct chat_span *spans; /* in order, covering the text */
    int num_spans;
};
void chat_text_release(struct chat_text *rendered);

/* chat_kind_from_name - "chatml", "llama2", "llama3", "mistral"; CHAT_UNKNOWN otherwise. */
enum chat_kind chat_kind_from_name(const char *name);
const char *chat_kind_name(enum chat_kind kind);
/* chat_kind_from_template - what a Jinja template renders as, by its marker strings; CHAT_UNKNOWN if none
 * fits. */
enum chat_kind chat_kind_from_template(const char *template_text);

/* chat_render - the text that the model family's Jinja template gives, with its spans.  Of Mistral's formats
 * the vocabulary decides: no [INST] token, v1; [INST] with SentencePiece, v3; byte-level, v3 without spaces
 * (Tekken). A system message goes into the first user turn (Llama 2, Mistral v1) or the last one (Mistral
 * v3). Returns 0, or -1 with err set: a role the template does not know, turns that do not alternate (Llama
 * 2, Mistral), text that is not UTF-8, a special token of the template that the tokenizer lacks. */
int chat_render(const struct tokenizer *tok, const struct chat *chat, struct chat_text *rendered,
                struct err *err);

/* chat_encode - append the tokens of a conversation; *mask (malloc'ed, may start as NULL) is grown to hold a
 * byte for every token of the list and gets 1 for the assistant's text and its end token.
 *
 * Markers become their ids; what lies between two markers is encoded in one go without special tokens, as
 * encoding the whole rendered string would do it, so that a message can never form a special token.  Where a
 * frame and a reply share a token (Llama 2 and Mistral v1 have no marker between them) that token counts.
 * Returns 0, or -1 with err set as above. */
int chat_encode(const struct tokenizer *tok, struct encoder *enc, const struct chat *chat,
                struct token_list *tokens, uint8_t **mask, struct err *err);
