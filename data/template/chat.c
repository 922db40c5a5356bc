/* chat.c - the named renderers.  A renderer is a short
 * function that puts spans one after another, as the Jinja template of the models does; the templates themselves
 * are quoted in chat_style.c. Sources: the chat templates published with Qwen 2, SmolLM2, Llama 2, Llama 3, Mistral
 * 7B v0.2 and v0.3, Nemo; Mistral's cookbook, "chat templates", for the three spacings. */
#include "data/template/chat.h"

#include <stdlib.h>

static const char *const KIND_NAMES[] = {"chatml", "llama2", "llama3", "mistral"};

enum chat_kind chat_kind_from_name(const char *name) {
    int kind = 0;
    while (kind < CHAT_UNKNOWN && strcmp(KIND_NAMES[kind], name) != 0)
        kind++;
    return (enum chat_kind)kind;
}

const char *chat_kind_name(enum chat_kind kind) {
    return kind < CHAT_UNKNOWN ? KIND_NAMES[kind] : kind == CHAT_OWN ? "own" : "unknown";
}

void chat_text_release(struct chat_text *rendered) {
    text_release(&rendered->text);
    free(rendered->spans);
    *rendered = (struct chat_text){0};
}

/* --- spans --- */

static void add_frame(struct chat_text *out, const char *text) {
    chat_text_add(out, CHAT_FRAME, text, strlen(text), -1);
}

/* add_token - a token of the template by its text; the tokenizer must have it, or nothing would end a turn.
 */
static int add_token(struct chat_text *out, const struct tokenizer *tok, enum chat_part part,
                     const char *text, struct err *err) {
    int32_t id = tokenizer_id(tok, text, strlen(text));
    if (id < 0)
        return err_set(err,
                       "the tokenizer has no token '%s', which this chat template needs; choose another "
                       "chat_template",
                       text);
    chat_text_add(out, part, text, strlen(text), id);
    return 0;
}

/* add_boundary - the tokenizer's own bos (as marker) or eos (as end of the reply). */
static int add_boundary(struct chat_text *out, const struct tokenizer *tok, enum chat_part part,
                        struct err *err) {
    int32_t id = part == CHAT_END ? tokenizer_eos(tok) : tokenizer_bos(tok);
    if (id < 0)
        return err_set(err, "the tokenizer has no %s token, which this chat template needs",
                       part == CHAT_END ? "end-of-sequence" : "begin-of-sequence");
    struct token_entry entry = tokenizer_entry(tok, id);
    chat_text_add(out, part, entry.text, entry.length_bytes, id);
    return 0;
}

/* strip_right, strip_left - white space as Python's str.strip() sees it; strip_right passes the bytes 10xxxxxx of a
 * character to the one that starts it. */
static void strip_right(const char *bytes, size_t *length) {
    while (*length > 0 && text_is_space(text_previous_char(bytes + *length))) {
        do
            (*length)--;
        while (((unsigned char)bytes[*length] & 0xC0) == 0x80);
    }
}

static void strip_left(const char **bytes, size_t *length) {
    while (*length > 0) {
        const char *next = *bytes;
        if (!text_is_space(text_next_char(&next)))
            return;
        *length -= (size_t)(next - *bytes);
        *bytes = next;
    }
}

enum strip { STRIP_NOTHING, STRIP_RIGHT, STRIP_BOTH };

/* add_message - the role is not asked here: render_mistral writes the system message as a user's. */
static void add_message(struct chat_text *out, enum chat_part part, const struct chat_message *message,
                        enum strip strip) {
    const char *bytes = message->content;
    size_t length = message->content_bytes;
    if (strip == STRIP_BOTH)
        strip_left(&bytes, &length);
    if (strip != STRIP_NOTHING)
        strip_right(bytes, &length);
    chat_text_add(out, part, bytes, length, -1);
}

static bool has_role(const struct chat_message *message, const char *role) {
    return strcmp(message->role, role) == 0;
}

static enum chat_part part_of(const struct chat_message *message) {
    return has_role(message, "assistant") ? CHAT_REPLY : CHAT_MESSAGE;
}

/* --- renderers --- */

/* The renderers below are called with messages that check_message and, of Llama 2 and Mistral, check_turns let
 * through.  They set out->message to the message that is written, by which choose_learnt later finds its spans.
 *
 * ChatML: the newline after a turn is the template's, not the reply's: the model has ended its turn before it. */
static int render_chatml(const struct tokenizer *tok, const struct chat *chat, struct chat_text *out,
                         struct err *err) {
    for (int i = 0; i < chat->num_messages; i++) {
        const struct chat_message *message = &chat->messages[i];
        out->message = i;
        bool is_reply = has_role(message, "assistant");
        if (add_token(out, tok, CHAT_MARKER, "<|im_start|>", err) != 0)
            return -1;
        add_frame(out, message->role);
        add_frame(out, "\n");
        add_message(out, part_of(message), message, STRIP_NOTHING);
        if (add_token(out, tok, is_reply ? CHAT_END : CHAT_MARKER, "<|im_end|>", err) != 0)
            return -1;
        add_frame(out, "\n");
    }
    if (!chat->add_generation_prompt)
        return 0;
    if (add_token(out, tok, CHAT_MARKER, "<|im_start|>", err) != 0)
        return -1;
    add_frame(out, "assistant\n");
    return 0;
}

/* add_header - Llama 3: the role between its two tokens. */
static int add_header(struct chat_text *out, const struct tokenizer *tok, const char *role, struct err *err) {
    if (add_token(out, tok, CHAT_MARKER, "<|start_header_id|>", err) != 0)
        return -1;
    add_frame(out, role);
    if (add_token(out, tok, CHAT_MARKER, "<|end_header_id|>", err) != 0)
        return -1;
    add_frame(out, "\n\n");
    return 0;
}

/* Llama 3 strips every message, and its turns end by <|eot_id|> and not by the tokenizer's eos. */
static int render_llama3(const struct tokenizer *tok, const struct chat *chat, struct chat_text *out,
                         struct err *err) {
    if (add_boundary(out, tok, CHAT_MARKER, err) != 0)
        return -1;
    for (int i = 0; i < chat->num_messages; i++) {
        const struct chat_message *message = &chat->messages[i];
        out->message = i;
        if (add_header(out, tok, message->role, err) != 0)
            return -1;
        add_message(out, part_of(message), message, STRIP_BOTH);
        if (add_token(out, tok, has_role(message, "assistant") ? CHAT_END : CHAT_MARKER, "<|eot_id|>", err) !=
            0)
            return -1;
    }
    return chat->add_generation_prompt ? add_header(out, tok, "assistant", err) : 0;
}

/* Llama 2 has no tokens around turns: [INST] and <<SYS>> are text, bos and eos frame each exchange.  The
 * template strips the user turn after the system message was put in front of it.  The space before eos is
 * learnt: otherwise nothing would lead from the reply's last word to eos. */
static int render_llama2(const struct tokenizer *tok, const struct chat *chat, struct chat_text *out,
                         struct err *err) {
    const struct chat_message *system = has_role(&chat->messages[0], "system") ? &chat->messages[0] : NULL;
    for (int i = system ? 1 : 0; i < chat->num_messages; i++) {
        const struct chat_message *message = &chat->messages[i];
        out->message = i;
        if (has_role(message, "assistant")) {
            add_frame(out, " ");
            add_message(out, CHAT_REPLY, message, STRIP_BOTH);
            chat_text_add(out, CHAT_REPLY, " ", 1, -1);
            if (add_boundary(out, tok, CHAT_END, err) != 0)
                return -1;
            continue;
        }
        bool has_system = system && i == 1;
        if (add_boundary(out, tok, CHAT_MARKER, err) != 0)
            return -1;
        add_frame(out, "[INST] ");
        if (has_system) {
            add_frame(out, "<<SYS>>\n");
            add_message(out, CHAT_MESSAGE, system, STRIP_NOTHING);
            add_frame(out, "\n<</SYS>>\n\n");
        }
        add_message(out, CHAT_MESSAGE, message, has_system ? STRIP_RIGHT : STRIP_BOTH);
        add_frame(out, " [/INST]");
    }
    return 0;
}

/* How the formats of Mistral differ. */
struct mistral_format {
    bool has_tokens;        /* [INST] and [/INST] are special tokens */
    const char *before;     /* in front of [INST] and of [/INST] */
    const char *after;      /* after [INST] and [/INST] */
    enum strip reply_strip; /* of the assistant's text */
    bool system_goes_last;  /* into the last user turn rather than the first */
};

/* mistral_format - by the vocabulary alone: v1 has [INST] as text, v3 as a token with SentencePiece, Tekken as a
 * token of a byte-level tokenizer. */
static struct mistral_format mistral_format(const struct tokenizer *tok) {
    if (tokenizer_id(tok, "[INST]", 6) < 0)
        return (struct mistral_format){false, " ", " ", STRIP_NOTHING, false};
    if (tokenizer_model(tok) == TOKENIZER_SENTENCEPIECE)
        return (struct mistral_format){true, "", " ", STRIP_BOTH, true};
    return (struct mistral_format){true, "", "", STRIP_NOTHING, true};
}

/* add_instruction_mark - a token in the formats whose marks are tokens, else its letters. */
static int add_instruction_mark(struct chat_text *out, const struct tokenizer *tok,
                                const struct mistral_format *format, const char *mark, struct err *err) {
    add_frame(out, format->before);
    if (!format->has_tokens)
        add_frame(out, mark);
    else if (add_token(out, tok, CHAT_MARKER, mark, err) != 0)
        return -1;
    return 0;
}

/* mistral_user - one user turn, with the system message in front of it where it belongs. */
static int mistral_user(const struct tokenizer *tok, const struct mistral_format *format,
                        const struct chat_message *system, const struct chat_message *message,
                        struct chat_text *out, struct err *err) {
    if (add_instruction_mark(out, tok, format, "[INST]", err) != 0)
        return -1;
    add_frame(out, format->after);
    if (system) {
        add_message(out, CHAT_MESSAGE, system, STRIP_NOTHING);
        add_frame(out, "\n\n");
    }
    add_message(out, CHAT_MESSAGE, message, STRIP_NOTHING);
    return add_instruction_mark(out, tok, format, "[/INST]", err);
}

/* The begin token stands once, in front of all turns, unlike Llama 2's. */
static int render_mistral(const struct tokenizer *tok, const struct chat *chat, struct chat_text *out,
                          struct err *err) {
    struct mistral_format format = mistral_format(tok);
    const struct chat_message *system = has_role(&chat->messages[0], "system") ? &chat->messages[0] : NULL;
    int system_turn = system ? 1 : -1;
    for (int i = 0; system && format.system_goes_last && i < chat->num_messages; i++)
        if (has_role(&chat->messages[i], "user"))
            system_turn = i;
    if (add_boundary(out, tok, CHAT_MARKER, err) != 0)
        return -1;
    for (int i = system ? 1 : 0; i < chat->num_messages; i++) {
        const struct chat_message *message = &chat->messages[i];
        out->message = i;
        if (has_role(message, "assistant")) {
            add_frame(out, format.after);
            add_message(out, CHAT_REPLY, message, format.reply_strip);
            if (add_boundary(out, tok, CHAT_END, err) != 0)
                return -1;
        } else if (mistral_user(tok, &format, i == system_turn ? system : NULL, message, out, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* --- checks --- */

/* is_known_role - the model's own template may write more of them than the formats. */
static bool is_known_role(const struct chat *chat, const struct chat_message *message) {
    static const char *const roles[] = {"system",  "user",      "assistant", "tool",
                                        "ipython", "developer", "function"};
    enum { NUM_PLAIN = 3 };
    size_t count = chat->kind == CHAT_OWN ? sizeof roles / sizeof roles[0] : NUM_PLAIN;
    for (size_t i = 0; i < count; i++)
        if (has_role(message, roles[i]))
            return true;
    return false;
}

/* unknown_role - refused; with the role that ShareGPT's and other files mean by it. */
static int unknown_role(const struct chat *chat, int i, struct err *err) {
    static const char *const meant[][2] = {
        {"human", "user"}, {"gpt", "assistant"}, {"bot", "assistant"}, {"model", "assistant"}};
    const struct chat_message *message = &chat->messages[i];
    const char *role = NULL;
    for (size_t k = 0; k < sizeof meant / sizeof meant[0]; k++)
        role = has_role(message, meant[k][0]) ? meant[k][1] : role;
    return err_set(err, "message %d has the role '%.40s'; expected 'system', 'user'%s%s%s%s", i + 1,
                   message->role,
                   chat->kind == CHAT_OWN ? ", 'assistant', 'tool', 'ipython', 'developer' or 'function'"
                                          : " or 'assistant'",
                   role ? " (did you mean '" : "", role ? role : "", role ? "'?)" : "");
}

static int check_message(const struct chat *chat, int i, struct err *err) {
    const struct chat_message *message = &chat->messages[i];
    if (!is_known_role(chat, message))
        return unknown_role(chat, i, err);
    if (text_valid_bytes(message->content, message->content_bytes) != message->content_bytes)
        return err_set(err, "message %d is not UTF-8", i + 1);
    return 0;
}

/* check_turns - Llama 2 and Mistral: one system message at most, in front; then user and assistant in turn.
 */
static int check_turns(const struct chat *chat, struct err *err) {
    int first = has_role(&chat->messages[0], "system") ? 1 : 0;
    if (first == chat->num_messages)
        return err_set(err, "a conversation of a system message only cannot be written with template '%s'",
                       chat_kind_name(chat->kind));
    for (int i = first; i < chat->num_messages; i++) {
        const char *expected = (i - first) % 2 == 0 ? "user" : "assistant";
        if (!has_role(&chat->messages[i], expected))
            return err_set(err,
                           "message %d has the role '%s' where template '%s' wants '%s': user and assistant "
                           "must alternate",
                           i + 1, chat->messages[i].role, chat_kind_name(chat->kind), expected);
    }
    return 0;
}

/* choose_learnt - the replies that the loss does not count are messages like others; where it counts all, so does
 * everything else.  A token stays a token: its span keeps the id, and CHAT_END and CHAT_MARKER differ in the loss
 * alone. */
static void choose_learnt(const struct chat *chat, struct chat_text *out) {
    for (int i = 0; (chat->unlearnt || chat->learns_all) && i < out->num_spans; i++) {
        struct chat_span *span = &out->spans[i];
        bool is_unlearnt = chat->unlearnt && span->message >= 0 && chat->unlearnt[span->message];
        if (is_unlearnt)
            span->part = span->part == CHAT_REPLY ? CHAT_MESSAGE
                         : span->part == CHAT_END ? CHAT_MARKER
                                                  : span->part;
        else if (chat->learns_all)
            span->part = span->id >= 0 ? CHAT_END : CHAT_REPLY;
    }
}

/* take_space - tokens that strip take the white space beside them, as they do where a whole text is encoded.  It
 * may reach over several spans, up to the next token; a span may become empty and then gives no tokens. */
static void take_space(const struct tokenizer *tok, struct chat_text *out) {
    const char *text = out->text.bytes;
    for (int i = 0; i < out->num_spans; i++) {
        bool left = false, right = false;
        if (out->spans[i].id >= 0)
            tokenizer_strips(tok, out->spans[i].id, &left, &right);
        for (int k = i - 1; left && k >= 0 && out->spans[k].id < 0; k--) {
            struct chat_span *span = &out->spans[k];
            size_t length = span->end_byte - span->first_byte;
            strip_right(text + span->first_byte, &length);
            span->end_byte = span->first_byte + length;
            left = length == 0;
        }
        for (int k = i + 1; right && k < out->num_spans && out->spans[k].id < 0; k++) {
            struct chat_span *span = &out->spans[k];
            const char *bytes = text + span->first_byte;
            size_t length = span->end_byte - span->first_byte;
            strip_left(&bytes, &length);
            span->first_byte = span->end_byte - length;
            right = length == 0;
        }
    }
}

int chat_render(const struct tokenizer *tok, const struct chat *chat, struct chat_text *rendered,
                struct err *err) {
    static int (*const RENDERERS[])(const struct tokenizer *, const struct chat *, struct chat_text *,
                                    struct err *) = {[CHAT_CHATML] = render_chatml,
                                                     [CHAT_LLAMA2] = render_llama2,
                                                     [CHAT_LLAMA3] = render_llama3,
                                                     [CHAT_MISTRAL] = render_mistral,
                                                     [CHAT_OWN] = chat_render_own};
    CHECK(chat->kind <= CHAT_OWN && RENDERERS[chat->kind], "a conversation without a template");
    rendered->text.length_bytes = 0;
    rendered->num_spans = 0;
    rendered->message = -1;
    if (chat->num_messages < 1)
        return err_set(err, "a conversation without messages");
    for (int i = 0; i < chat->num_messages; i++)
        if (check_message(chat, i, err) != 0)
            return -1;
    if ((chat->kind == CHAT_LLAMA2 || chat->kind == CHAT_MISTRAL) && check_turns(chat, err) != 0)
        return -1;
    if (RENDERERS[chat->kind](tok, chat, rendered, err) != 0)
        return -1;
    choose_learnt(chat, rendered);
    take_space(tok, rendered);
    return 0;
}
