/* chat_own.c - a conversation through the model's own template: the text that the template gives, cut where
 * its tokens stand and where a message begins and ends.  See chat.h.
 *
 * What is learnt of an assistant's turn: everything after what the template adds to open such a turn (which
 * is what an engine writes before the model goes on), up to and with the first token of the template after
 * the message. */
#include <stdlib.h>

#include "data/template/chat.h"
#include "data/template/jinja.h"

/* The walk over a rendered text. */
struct walk {
    const struct tokenizer *tok;
    const struct chat *chat;
    const struct chat_style *style;
    const struct jinja_text *in;
    struct chat_text *out;
};

static bool is_reply(const struct chat *chat, int message) {
    return message >= 0 && strcmp(chat->messages[message].role, "assistant") == 0;
}

/* add_template - bytes [from, to) of the template itself: its tokens, and the text between them. until_token:
 * they follow a reply, and are learnt up to the first token; the place after it is returned, or from where
 * there is none. */
static size_t add_template(struct walk *walk, size_t from, size_t to, enum chat_part part, bool until_token) {
    const char *text = walk->in->text.bytes;
    size_t start = from;
    for (size_t at = from; at < to;) {
        size_t token_bytes = 0;
        int32_t id = tokenizer_added_at(walk->tok, text + at, to - at, &token_bytes);
        if (id < 0) {
            at++;
            continue;
        }
        chat_text_add(walk->out, part, text + start, at - start, -1);
        chat_text_add(walk->out, part == CHAT_REPLY ? CHAT_END : CHAT_MARKER, text + at, token_bytes, id);
        at += token_bytes;
        start = at;
        if (until_token)
            return at;
    }
    if (until_token)
        return from;
    chat_text_add(walk->out, part, text + start, to - start, -1);
    return to;
}

/* prompt_end - where in [from, to) the text that opens the assistant's turn ends; to where it is not there.
 */
static size_t prompt_end(const struct walk *walk, size_t from, size_t to) {
    const char *prompt = walk->style->generation_prompt, *text = walk->in->text.bytes;
    size_t length = strlen(prompt);
    for (size_t at = to; length > 0 && at >= from + length; at--)
        if (memcmp(text + at - length, prompt, length) == 0)
            return at;
    return to;
}

/* add_gap - the template's text between what comes of message before (or -1) and of message after (or -1). */
static int add_gap(struct walk *walk, size_t from, size_t to, int before, int after, struct err *err) {
    if (before == after && is_reply(walk->chat, before)) { /* inside a reply: all of it is the assistant's */
        add_template(walk, from, to, CHAT_REPLY, false);
        return 0;
    }
    if (is_reply(walk->chat, before)) {
        size_t end = add_template(walk, from, to, CHAT_REPLY, true);
        if (end == from)
            return err_set(
                err,
                "the model's chat template puts no token after the assistant's message %d: nothing would "
                "tell an engine to stop",
                before + 1);
        from = end;
    }
    size_t opened = is_reply(walk->chat, after) ? prompt_end(walk, from, to) : to;
    walk->out->message = -1;
    add_template(walk, from, opened, CHAT_FRAME, false);
    walk->out->message = after;
    add_template(walk, opened, to, CHAT_REPLY, false);
    return 0;
}

static int walk_text(struct walk *walk, struct err *err) {
    const uint16_t *origins = walk->in->origins;
    size_t length = walk->in->text.length_bytes;
    int before = -1;
    for (size_t at = 0; at < length;) {
        size_t end = at;
        while (end < length && origins[end] == origins[at])
            end++;
        int message = (int)origins[at] - 1;
        if (message >= 0) {
            if (is_reply(walk->chat, before) && message != before)
                return err_set(err, "the model's chat template puts nothing after the assistant's message %d",
                               before + 1);
            walk->out->message = before = message;
            chat_text_add(walk->out, is_reply(walk->chat, message) ? CHAT_REPLY : CHAT_MESSAGE,
                          walk->in->text.bytes + at, end - at, -1);
        } else {
            int after = end < length ? (int)origins[end] - 1 : -1;
            if (add_gap(walk, at, end, before, after, err) != 0)
                return -1;
            before = after == before ? before : -1; /* the reply has its end */
        }
        at = end;
    }
    if (is_reply(walk->chat, before) && length > 0 && origins[length - 1] != 0)
        return err_set(err, "the model's chat template puts nothing after the assistant's message %d",
                       before + 1);
    return 0;
}

static bool has_text(const struct chat_message *message) {
    const char *at = message->content, *end = at + message->content_bytes;
    while (at < end)
        if (!text_is_space(text_next_char(&at)))
            return true;
    return false;
}

/* check_whole - a message that the template leaves out would be lost without a word. */
static int check_whole(const struct chat *chat, const struct jinja_text *text, struct err *err) {
    bool *is_there = xcalloc((size_t)chat->num_messages, sizeof *is_there);
    int status = 0;
    for (size_t i = 0; i < text->text.length_bytes; i++)
        if (text->origins[i] > 0)
            is_there[text->origins[i] - 1] = true;
    for (int i = 0; status == 0 && i < chat->num_messages; i++)
        if (!is_there[i] && has_text(&chat->messages[i]))
            status = err_set(err,
                             "the model's chat template leaves out message %d (of the %s); a format by "
                             "name (prepare.chat_template) may keep it",
                             i + 1, chat->messages[i].role);
    free(is_there);
    return status;
}

static const char *token_text(const struct tokenizer *tok, int32_t id) {
    return id >= 0 ? tokenizer_entry(tok, id).text : NULL;
}

int chat_render_own(const struct tokenizer *tok, const struct chat *chat, struct chat_text *rendered,
                    struct err *err) {
    struct jinja_text text = {0};
    struct walk walk = {tok, chat, chat->style, &text, rendered};
    if (chat->num_messages > JINJA_MAX_MESSAGES)
        return err_set(err, "a conversation of more than %d messages", JINJA_MAX_MESSAGES);
    struct jinja_message *messages = xcalloc((size_t)chat->num_messages, sizeof *messages);
    for (int i = 0; i < chat->num_messages; i++)
        messages[i] = (struct jinja_message){chat->messages[i].role, chat->messages[i].content,
                                             chat->messages[i].content_bytes};
    struct jinja_input input = {.messages = messages,
                                .num_messages = chat->num_messages,
                                .bos_token = token_text(tok, tokenizer_bos(tok)),
                                .eos_token = token_text(tok, tokenizer_eos(tok)),
                                .add_generation_prompt = chat->add_generation_prompt};
    enum jinja_outcome outcome = jinja_render(chat->style->own, &input, &text, err);
    int status = outcome == JINJA_DONE ? 0 : -1;
    if (outcome == JINJA_RAISED)
        err_prefix(err, "the model's chat template refuses the conversation");
    else if (outcome == JINJA_REFUSED)
        err_prefix(err, "the model's chat template cannot be run exactly");
    if (status == 0)
        status = check_whole(chat, &text, err);
    if (status == 0)
        status = walk_text(&walk, err);
    jinja_text_release(&text);
    free(messages);
    return status;
}
