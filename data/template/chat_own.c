/* chat_own.c - a conversation through the model's own template: the text that the template gives, cut where
 * its tokens stand and where a message begins and ends.  See chat.h.
 *
 * What is learnt: where the template marks it by {% generation %}, that.  Otherwise, of an assistant's turn,
 * everything after what the template adds to open such a turn (which is what an engine writes before the model
 * goes on), up to and with the token that ends it.  Whose a byte is its origin tells, which the interpreter's strings
 * carry: a template may rewrite earlier turns as it likes. */
#include <stdlib.h>

#include "data/template/chat.h"
#include "data/template/jinja.h"

/* The walk over a rendered text. */
struct walk {
    const struct tokenizer *tok;
    const struct chat *chat;
    const struct chat_style *style;
    const struct jinja_text *in;
    struct chat_text *out; /* its text is that of in, its spans are places there */
    bool *is_closed;       /* [num_messages] replies whose end was written */
};

/* Neither the template's nor a message's: of tools and the like. */
enum { OTHER = -2 };

/* message_of - the message that a stretch comes from; -1: of the template. */
static int message_of(const struct chat *chat, const struct jinja_stretch *stretch) {
    return stretch->origin > chat->num_messages ? OTHER : (int)stretch->origin - 1;
}

static bool is_reply(const struct chat *chat, int message) {
    return message >= 0 && strcmp(chat->messages[message].role, "assistant") == 0;
}

/* add - one more span, bytes [from, to). */
static void add(struct walk *walk, enum chat_part part, size_t from, size_t to, int32_t id) {
    if (to > from)
        chat_text_add_span(walk->out, (struct chat_span){part, from, to, id, walk->out->message});
}

/* add_template - bytes [from, to) of the template itself: its tokens, and the text between them. */
static void add_template(struct walk *walk, size_t from, size_t to, enum chat_part part) {
    const char *text = walk->in->text.bytes;
    size_t start = from;
    for (size_t at = from; at < to;) {
        size_t token_bytes = 0;
        int32_t id = tokenizer_added_at(walk->tok, text + at, to - at, &token_bytes);
        if (id < 0) {
            at++;
            continue;
        }
        add(walk, part, start, at, -1);
        add(walk, part == CHAT_REPLY ? CHAT_END : CHAT_MARKER, at, at + token_bytes, id);
        at += token_bytes;
        start = at;
    }
    add(walk, part, start, to, -1);
}

/* turn_end - where the turn ends whose reply is followed by the template's text [from, to): after the token that ends
 * plain replies, or where it is not there after the first special one, or the first added one; from: no token. */
static size_t turn_end(const struct walk *walk, size_t from, size_t to) {
    const char *text = walk->in->text.bytes;
    size_t first = from, first_special = from;
    for (size_t at = from, token_bytes; at < to; at += token_bytes) {
        token_bytes = 1;
        int32_t id = tokenizer_added_at(walk->tok, text + at, to - at, &token_bytes);
        if (id >= 0 && id == walk->style->end_id)
            return at + token_bytes;
        if (id < 0)
            token_bytes = 1;
        else if (first == from)
            first = at + token_bytes;
        if (id >= 0 && first_special == from && tokenizer_entry(walk->tok, id).kind == TOKEN_CONTROL)
            first_special = at + token_bytes;
    }
    return first_special > from ? first_special : first;
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
        add_template(walk, from, to, CHAT_REPLY);
        return 0;
    }
    if (is_reply(walk->chat, before)) {
        size_t end = turn_end(walk, from, to);
        add_template(walk, from, end, CHAT_REPLY);
        walk->is_closed[before] = true;
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
    add_template(walk, from, opened, CHAT_FRAME);
    walk->out->message = after < 0 ? -1 : after;
    add_template(walk, opened, to, CHAT_REPLY);
    return 0;
}

/* walk_stretch - stretch i of the text; *before: the message that came last. */
static int walk_stretch(struct walk *walk, int64_t i, int *before, struct err *err) {
    const struct jinja_stretch *stretches = walk->in->stretches;
    size_t at = i > 0 ? stretches[i - 1].end_byte : 0, end = stretches[i].end_byte;
    int message = message_of(walk->chat, &stretches[i]);
    if (message != -1) {
        if (is_reply(walk->chat, message) && walk->is_closed[message])
            return err_set(
                err,
                "the model's chat template writes the assistant's message %d in two places: what is "
                "to be learnt of it cannot be told",
                message + 1);
        if (is_reply(walk->chat, *before) && message != *before)
            return err_set(err, "the model's chat template puts nothing after the assistant's message %d",
                           *before + 1);
        *before = message;
        walk->out->message = message < 0 ? -1 : message;
        add(walk, is_reply(walk->chat, message) ? CHAT_REPLY : CHAT_MESSAGE, at, end, -1);
        return 0;
    }
    int after = i + 1 < walk->in->num_stretches ? message_of(walk->chat, &stretches[i + 1]) : -1;
    if (add_gap(walk, at, end, *before, after, err) != 0)
        return -1;
    *before = after == *before ? *before : -1; /* the reply has its end */
    return 0;
}

/* walk_text - what ends a reply is learnt with it: a text that ends inside of one is refused. */
static int walk_text(struct walk *walk, struct err *err) {
    int64_t count = walk->in->num_stretches;
    int before = -1;
    for (int64_t i = 0; i < count; i++)
        if (walk_stretch(walk, i, &before, err) != 0)
            return -1;
    if (is_reply(walk->chat, before) && count > 0 && walk->in->stretches[count - 1].origin != 0)
        return err_set(err, "the model's chat template puts nothing after the assistant's message %d",
                       before + 1);
    return 0;
}

/* marked_message - the assistant's message that a generation block beginning at stretch i is of: the one with text in
 * it, or the next after the last that was seen. */
static int marked_message(const struct walk *walk, int64_t i, int last) {
    for (; i < walk->in->num_stretches && walk->in->stretches[i].is_generated; i++) {
        int message = message_of(walk->chat, &walk->in->stretches[i]);
        if (is_reply(walk->chat, message))
            return message;
    }
    for (int message = last + 1; message < walk->chat->num_messages; message++)
        if (is_reply(walk->chat, message))
            return message;
    return -1;
}

/* walk_marks - the text of a template that marks what is learnt by {% generation %}. */
static void walk_marks(struct walk *walk) {
    int marked = -1, last = -1;
    for (int64_t i = 0; i < walk->in->num_stretches; i++) {
        const struct jinja_stretch *stretch = &walk->in->stretches[i];
        size_t at = i > 0 ? stretch[-1].end_byte : 0;
        int message = message_of(walk->chat, stretch);
        if (!stretch->is_generated || i == 0 || !stretch[-1].is_generated)
            marked = stretch->is_generated ? marked_message(walk, i, last) : -1;
        walk->out->message = marked >= 0 ? marked : message < 0 ? -1 : message;
        last = message > last ? message : last;
        last = marked > last ? marked : last;
        if (message == -1)
            add_template(walk, at, stretch->end_byte, stretch->is_generated ? CHAT_REPLY : CHAT_FRAME);
        else
            add(walk, stretch->is_generated ? CHAT_REPLY : CHAT_MESSAGE, at, stretch->end_byte, -1);
    }
}

/* check_whole - a message that the template leaves out would be lost without a word. */
static int check_whole(const struct chat *chat, const struct jinja_text *text, struct err *err) {
    bool *is_there = xcalloc((size_t)chat->num_messages, sizeof *is_there);
    int status = 0;
    for (int64_t i = 0; i < text->num_stretches; i++)
        if (text->stretches[i].origin > 0 && text->stretches[i].origin <= chat->num_messages)
            is_there[text->stretches[i].origin - 1] = true;
    for (int i = 0; status == 0 && i < chat->num_messages; i++)
        if (!is_there[i] && !text_is_blank(chat->messages[i].content, chat->messages[i].content_bytes))
            status = err_set(err,
                             "the model's chat template leaves out message %d (of the %s); a format by "
                             "name (prepare.chat_template) may keep it",
                             i + 1, chat->messages[i].role);
    free(is_there);
    return status;
}

/* walk_all - the spans of a rendered text. */
static int walk_all(struct walk *walk, bool has_marks, struct err *err) {
    int status = 0;
    walk->is_closed = xcalloc((size_t)walk->chat->num_messages, sizeof *walk->is_closed);
    if (has_marks)
        walk_marks(walk);
    else
        status = walk_text(walk, err);
    free(walk->is_closed);
    return status;
}

static const char *token_text(const struct tokenizer *tok, int32_t id) {
    return id >= 0 ? tokenizer_entry(tok, id).text : NULL;
}

int chat_render_own(const struct tokenizer *tok, const struct chat *chat, struct chat_text *rendered,
                    struct err *err) {
    struct jinja_text text = {0};
    const struct chat_style *style = chat->style;
    struct walk walk = {tok, chat, style, &text, rendered, NULL};
    bool has_own = chat->tools && style->tool_use;
    const struct jinja *template = has_own ? style->tool_use : style->own;
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
                                .pad_token = token_text(tok, tokenizer_pad(tok)),
                                .more = chat->more,
                                .date = style->date,
                                .tools = chat->tools,
                                .kwargs = chat->kwargs,
                                .add_generation_prompt = chat->add_generation_prompt};
    enum jinja_outcome outcome = jinja_render(template, &input, &text, err);
    int status = outcome == JINJA_DONE ? 0 : -1;
    if (outcome == JINJA_RAISED)
        err_prefix(err, "the model's chat template refuses the conversation");
    else if (outcome == JINJA_REFUSED)
        err_prefix(err, "the model's chat template cannot be run exactly");
    if (status == 0)
        status = check_whole(chat, &text, err);
    if (status == 0)
        status = walk_all(&walk, has_own ? style->tool_marks : style->marks, err);
    text_release(&rendered->text); /* the text itself goes over, not a copy of it */
    rendered->text = text.text;
    text.text = (struct text){0};
    jinja_text_release(&text);
    free(messages);
    return status;
}
