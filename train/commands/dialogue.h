/* dialogue.h - messages that a model is asked to answer: read from a file, or said one after the other; and their tokens. */
#pragma once

#include "data/corpus/json.h"
#include "data/template/chat.h"
#include "train/commands/options.h"
#include "train/model/session.h"

struct dialogue {
    struct chat_message *messages; /* [num_messages], roles and contents their own */
    int num_messages, room;
    json_t *root; /* of a file: holds tools and kwargs; or NULL */
    json_t *tools, *kwargs;
};

/* input_read - a whole file, or with "-" standard input, as text without a byte order
 * mark; malloc'ed.  Returns NULL with err set: unreadable, more than 64 MiB. */
char *input_read(const char *path, size_t *length_bytes, struct err *err);

/* dialogue_add - one more message at the end, copied.  dialogue_release frees all; start from {0}. */
void dialogue_add(struct dialogue *dialogue, const char *role, const char *content, size_t content_bytes);
void dialogue_release(struct dialogue *dialogue);

/* dialogue_cut - messages [first, first + count) are gone. */
void dialogue_cut(struct dialogue *dialogue, int first, int count);

/* dialogue_oldest_turn - how many messages the oldest turn has, from the first that is not the system's up to the next of
 * the user; *first is where it begins.  0: it is the only one. */
int dialogue_oldest_turn(const struct dialogue *dialogue, int *first);

/* dialogue_read - {"messages": [{"role": ..., "content": text}, ...], "tools": [...], "chat_template_kwargs": {...}}, or
 * the list of messages alone.  Returns 0, or -1 with err set: malformed, no message, a field that is not read here. */
int dialogue_read(struct dialogue *dialogue, const char *text, size_t length_bytes, const char *origin,
                  struct err *err);

/* dialogue_style - the template by name as --chat takes it, which may write today's date, as engines let it.  Returns 0, or -1
 * with err set. */
int dialogue_style(struct chat_style *style, const struct session *session, const char *name,
                   struct err *err);

/* dialogue_encode - the tokens of all messages, with the assistant's turn opened.  Returns 0, or -1 with err set. */
int dialogue_encode(const struct dialogue *dialogue, const struct chat_style *style,
                    const struct session *session, struct token_list *tokens, struct err *err);

/* OPTIONS_SAMPLING - rows of a command that writes text, whose words have a `sampling` (sampling.h) and `threads` (int64_t). */
#define OPTIONS_SAMPLING(words_type)                                                                         \
    {.name = "--temperature",                                                                                \
     .value = "T",                                                                                           \
     .help = "0: always the most likely token",                                                              \
     .kind = OPTION_REAL,                                                                                    \
     .at = offsetof(words_type, sampling.temperature),                                                       \
     .fallback = "0.7",                                                                                      \
     .min = 0,                                                                                               \
     .max = 100},                                                                                            \
        {.name = "--top-p",                                                                                  \
         .value = "P",                                                                                       \
         .help = "draw from the most likely tokens that make up this share",                                 \
         .kind = OPTION_REAL,                                                                                \
         .at = offsetof(words_type, sampling.top_p),                                                         \
         .fallback = "0.95",                                                                                 \
         .min = 0.0001,                                                                                      \
         .max = 1},                                                                                          \
        {.name = "--seed",                                                                                   \
         .value = "N",                                                                                       \
         .help = "same seed, same text",                                                                     \
         .kind = OPTION_INT,                                                                                 \
         .at = offsetof(words_type, sampling.seed),                                                          \
         .fallback = "1",                                                                                    \
         .min = 0,                                                                                           \
         .max = 9e18},                                                                                       \
    {                                                                                                        \
        .name = "--threads", .value = "N", .help = "threads of the processor; 0: all", .kind = OPTION_INT,   \
        .at = offsetof(words_type, threads), .fallback = "0", .min = 0, .max = 4096                          \
    }
