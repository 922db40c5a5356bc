/* dialogue.c - messages into tokens, by the model's own template or a named one. */
#include "train/commands/dialogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/units.h"

enum { MAX_INPUT_BYTES = 64 * MIB };

/* read_stdin - to its end. */
static char *read_stdin(size_t *length_bytes, struct err *err) {
    struct text text = {0};
    char piece[1 << 16];
    size_t got;
    while ((got = fread(piece, 1, sizeof piece, stdin)) > 0 && text.length_bytes <= MAX_INPUT_BYTES)
        text_append(&text, piece, got);
    *length_bytes = text.length_bytes;
    if (ferror(stdin) || text.length_bytes > MAX_INPUT_BYTES) {
        err_set(err, ferror(stdin) ? "cannot read standard input" : "standard input has more than 64 MiB");
        text_release(&text);
        return NULL;
    }
    text_append(&text, "", 1);
    return text.bytes;
}

char *input_read(const char *path, size_t *length_bytes, struct err *err) {
    static const char bom[] = "\xef\xbb\xbf";
    char *text = strcmp(path, "-") == 0 ? read_stdin(length_bytes, err)
                                        : file_read_whole(path, MAX_INPUT_BYTES, length_bytes, err);
    if (text && *length_bytes >= strlen(bom) && memcmp(text, bom, strlen(bom)) == 0) {
        *length_bytes -= strlen(bom);
        memmove(text, text + strlen(bom), *length_bytes + 1); /* with the NUL after it */
    }
    return text;
}

void dialogue_add(struct dialogue *c, const char *role, const char *content, size_t content_bytes) {
    if (c->num_messages == c->room) {
        c->room = 2 * c->room + 8;
        c->messages = xrealloc(c->messages, (size_t)c->room * sizeof *c->messages);
    }
    c->messages[c->num_messages++] =
        (struct chat_message){xstrdup(role), text_copy(content, content_bytes), content_bytes};
}

void dialogue_cut(struct dialogue *c, int first, int count) {
    for (int i = first; i < first + count; i++) {
        free((char *)(uintptr_t)c->messages[i].role); /* ours; const for the templates */
        free((char *)(uintptr_t)c->messages[i].content);
    }
    memmove(c->messages + first, c->messages + first + count,
            (size_t)(c->num_messages - first - count) * sizeof *c->messages);
    c->num_messages -= count;
}

void dialogue_release(struct dialogue *c) {
    dialogue_cut(c, 0, c->num_messages);
    free(c->messages);
    json_decref(c->root);
    memset(c, 0, sizeof *c);
}

static bool has_role(const struct dialogue *c, int message, const char *role) {
    return strcmp(c->messages[message].role, role) == 0;
}

int dialogue_oldest_turn(const struct dialogue *c, int *first) {
    *first = c->num_messages > 0 && has_role(c, 0, "system") ? 1 : 0;
    for (int next = *first + 1; next < c->num_messages; next++)
        if (has_role(c, next, "user"))
            return next - *first;
    return 0;
}

/* refuse_others - a member that is none of these, up to NULL. */
static int refuse_others(json_t *object, const char *const *known, const char *what, struct err *err) {
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        int i = 0;
        while (known[i] && strcmp(known[i], key) != 0)
            i++;
        if (!known[i])
            return err_set(
                err, "%s has '%.60s', which is not read here: leave it out, or prepare and train with it",
                what, key);
    }
    return 0;
}

/* read_message - role and a content that is a text. */
static int read_message(struct dialogue *c, json_t *message, struct err *err) {
    static const char *const known[] = {"role", "content", NULL};
    const char *role, *content;
    size_t content_bytes;
    if (!json_is_object(message))
        return err_set(err, "it is %s, not an object", json_type_name(message));
    if (refuse_others(message, known, "it", err) != 0 || json_get_string(message, "role", &role, err) != 0 ||
        json_get_text(message, "content", &content, &content_bytes, err) != 0)
        return -1;
    dialogue_add(c, role, content, content_bytes);
    return 0;
}

/* read_root - what stands beside the messages; *list is theirs. */
static int read_root(struct dialogue *c, json_t **list, struct err *err) {
    static const char *const known[] = {"messages", "tools", "chat_template_kwargs", NULL};
    *list = c->root;
    if (json_is_array(c->root))
        return 0;
    c->tools = json_find(c->root, "tools");
    c->kwargs = json_find(c->root, "chat_template_kwargs");
    if (c->tools && !json_is_array(c->tools))
        return err_set(err, "'tools' is %s, not a list", json_type_name(c->tools));
    if (c->kwargs && !json_is_object(c->kwargs))
        return err_set(err, "'chat_template_kwargs' is %s, not an object", json_type_name(c->kwargs));
    return refuse_others(c->root, known, "it", err) != 0 ? -1
                                                         : json_get_array(c->root, "messages", list, err);
}

int dialogue_read(struct dialogue *c, const char *text, size_t length_bytes, const char *origin,
                  struct err *err) {
    json_t *list = NULL;
    int num_before = c->num_messages;
    c->root = json_parse_text(text, length_bytes, origin, err);
    if (!c->root)
        return -1;
    if (read_root(c, &list, err) != 0)
        return err_prefix(err, "'%s'", origin);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (read_message(c, json_array_get(list, i), err) != 0)
            return err_prefix(err, "message %zu of '%s'", i + 1, origin);
    return c->num_messages > num_before ? 0 : err_set(err, "'%s' has no messages", origin);
}

int dialogue_style(struct chat_style *style, const struct session *session, const char *name,
                   struct err *err) {
    char today[16];
    time_t now = time(NULL);
    strftime(today, sizeof today, "%Y-%m-%d", localtime(&now));
    return chat_style_open(style, session->tokenizer, name, today, err);
}

/* check_others - tools and kwargs that the template does not read would change nothing, without a word. */
static int check_others(const struct dialogue *c, const struct chat_style *style, const struct tokenizer *tok,
                        struct err *err) {
    const char *name;
    json_t *value;
    if (c->tools && !chat_style_writes(style, tok, true, "tools"))
        return err_set(err, "the chat template ('%s') does not write 'tools'", chat_style_name(style));
    json_object_foreach(c->kwargs, name, value) {
        if (!chat_style_writes(style, tok, c->tools != NULL, name))
            return err_set(err,
                           "'chat_template_kwargs' has '%.40s', which the chat template ('%s') does not read",
                           name, chat_style_name(style));
    }
    return 0;
}

int dialogue_encode(const struct dialogue *c, const struct chat_style *style, const struct session *session,
                    struct token_list *tokens, struct err *err) {
    struct chat chat = {.kind = style->kind,
                        .messages = c->messages,
                        .num_messages = c->num_messages,
                        .add_generation_prompt = true,
                        .tools = c->tools,
                        .kwargs = c->kwargs,
                        .style = style};
    if (check_others(c, style, session->tokenizer, err) != 0)
        return -1;
    struct encoder *enc = encoder_open(session->tokenizer);
    uint8_t *mask = NULL;
    int status = chat_encode(session->tokenizer, enc, &chat, tokens, &mask, err);
    free(mask);
    encoder_close(enc);
    return status;
}
