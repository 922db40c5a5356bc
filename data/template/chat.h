/* chat.h - conversations as text with marks: which bytes are tokens of the template, which come from the
 * messages, and which the loss counts.
 *
 * The model's own chat template is run (data/template/jinja.h) and gives what transformers gives: default system
 * messages, the begin token, whatever it says.  Or, asked for by name, one of four formats: ChatML, Llama 2,
 * Llama 3 and Mistral, which never add a default system message.  A template that cannot be run exactly is
 * refused, never approximated. */
#pragma once

#include "data/corpus/text.h"
#include "data/tokenizer/tokenizer.h"

enum chat_kind { CHAT_CHATML, CHAT_LLAMA2, CHAT_LLAMA3, CHAT_MISTRAL, CHAT_UNKNOWN, CHAT_OWN };

struct jinja_more;
struct json_t;

struct chat_message {
    const char *
        role; /* "system", "user", "assistant"; of CHAT_OWN also "tool", "ipython", "developer", "function" */
    const char *content; /* UTF-8 */
    size_t content_bytes;
};

struct chat {
    enum chat_kind kind;
    const struct chat_message *messages; /* borrowed */
    int num_messages;
    bool add_generation_prompt; /* leave the assistant's turn open at the end */
    const bool *unlearnt;       /* [num_messages] messages that the loss does not count; NULL: none */
    bool
        learns_all; /* the loss counts every message and all of the template, not the assistant's turns alone */
    const struct jinja_more
        *more; /* of CHAT_OWN: [num_messages] what messages have beside their text, or NULL */
    const struct json_t *tools, *kwargs; /* of CHAT_OWN: as of struct jinja_input, or NULL */
    const struct chat_style *style;      /* of CHAT_OWN; else NULL */
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
    int32_t id;  /* of CHAT_MARKER and CHAT_END, else -1 */
    int message; /* that was being written, or -1 */
};

/* A rendered conversation; start from {0}, chat_text_release frees. */
struct chat_text {
    struct text text;
    struct chat_span *spans; /* in order; white space that a token takes beside it is in no other span */
    int num_spans, spans_room;
    int message; /* the one being written, -1 for none */
};
void chat_text_release(struct chat_text *rendered);

/* chat_kind_from_name - "chatml", "llama2", "llama3", "mistral"; CHAT_UNKNOWN otherwise. */
enum chat_kind chat_kind_from_name(const char *name);
const char *chat_kind_name(enum chat_kind kind);
/* How the conversations of a job are written; start from {0}, chat_style_release frees. */
struct chat_style {
    enum chat_kind kind;
    struct jinja *own;       /* of CHAT_OWN: the model's template, or that of a file */
    struct jinja *tool_use;  /* of CHAT_OWN: the one for conversations with tools; NULL: the same */
    char *text;              /* of CHAT_OWN: the source of own */
    char *date;              /* that templates write as the present one, YYYY-MM-DD; NULL: they are refused */
    bool is_file;            /* of CHAT_OWN: not the model's template, but that of a file */
    bool marks, tool_marks;  /* of CHAT_OWN: own, tool_use mark what is learnt by {% generation %} */
    bool takes_parts;        /* of CHAT_OWN: a content may be a list of texts */
    char *generation_prompt; /* of CHAT_OWN: what it adds to open the assistant's turn; what follows is learnt
                              */
    int32_t end_id;          /* the token that ends the assistant's turn */
    bool differs;            /* the model has a template of its own, which writes conversations otherwise */
    bool bos_is_marker;      /* the tokenizer's bos opens or closes turns: <|im_start|> of some models */
};

/* chat_style_open - name: one of the formats; NULL or "auto": the model's own template; else a file that holds one.
 * date: what templates write as the present one, or NULL.  Tried on a few conversations at once, so that what is wrong
 * with it is said before any data is read.  Returns 0, or -1 with err set: no template, one that cannot be run exactly
 * or that puts no token after the assistant's turn, a token that the tokenizer lacks, a date that is none. */
int chat_style_open(struct chat_style *style, const struct tokenizer *tok, const char *name, const char *date,
                    struct err *err);
/* chat_style_name - "own", "file" or the format's. */
const char *chat_style_name(const struct chat_style *style);
/* chat_style_writes - whether the template of such a conversation, with tools or without, has this word anywhere: one
 * that has not cannot write a field of this name. */
bool chat_style_writes(const struct chat_style *style, const struct tokenizer *tok, bool has_tools,
                       const char *field);
void chat_style_release(struct chat_style *style);
/* chat_style_template - the format as a Jinja template, for engines, malloc'ed; of CHAT_OWN a copy of the
 * model's. */
char *chat_style_template(const struct chat_style *style, const struct tokenizer *tok);

/* chat_render - the text that the model family's Jinja template gives, with its spans.  Of Mistral's formats
 * the vocabulary decides: no [INST] token, v1; [INST] with SentencePiece, v3; byte-level, v3 without spaces
 * (Tekken). A system message goes into the first user turn (Llama 2, Mistral v1) or the last one (Mistral
 * v3). Of CHAT_OWN: what the model's template gives; a message whose text it leaves out is refused. Returns
 * 0, or -1 with err set: a role the template does not know, turns that do not alternate (Llama 2, Mistral),
 * text that is not UTF-8, a special token of the template that the tokenizer lacks. */
int chat_render(const struct tokenizer *tok, const struct chat *chat, struct chat_text *rendered,
                struct err *err);

/* chat_text_add - one more span with its text; nothing for an empty one.  chat_text_add_span - one whose text is
 * there or comes later.  For renderers. */
void chat_text_add(struct chat_text *rendered, enum chat_part part, const char *bytes, size_t length_bytes,
                   int32_t id);
void chat_text_add_span(struct chat_text *rendered, struct chat_span span);
/* chat_render_own - chat_render of CHAT_OWN (chat_own.c). */
int chat_render_own(const struct tokenizer *tok, const struct chat *chat, struct chat_text *rendered,
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
/* chat_encode_text - the second half of it: of a conversation that chat_render made, whose messages may be gone. */
int chat_encode_text(struct encoder *enc, const struct chat_text *rendered, struct token_list *tokens,
                     uint8_t **mask, struct err *err);
