/* cmd_chat.c - `atelier chat MODEL`: a conversation in the terminal.
 *
 * The whole conversation is written by the template for each answer, as programs that serve models do it; what of it the caches
 * hold already is not computed again.  Ctrl-C stops an answer: the signal waits, and is looked for before each token. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "checkpoints/vocabulary.h"
#include "train/commands/commands.h"
#include "train/commands/dialogue.h"
#include "train/model/writer.h"

struct chat_words {
    const char *device, *type, *model, *base, *adapter, *system, *chat;
    int64_t max_tokens, threads;
    struct sampling sampling;
};

static const struct option OPTIONS[] = {
    {.name = "MODEL",
     .help = "a folder, a checkpoint, a GGUF file or an adapter",
     .kind = OPTION_TEXT,
     .at = offsetof(struct chat_words, model),
     .is_required = true},
    OPTION_BASE(offsetof(struct chat_words, base)),
    {.name = "--adapter",
     .value = "ADAPTER",
     .help = "on MODEL, the same as ADAPTER --base MODEL",
     .kind = OPTION_TEXT,
     .at = offsetof(struct chat_words, adapter)},
    {.name = "--system",
     .value = "TEXT",
     .help = "the system's message, before all others",
     .kind = OPTION_TEXT,
     .at = offsetof(struct chat_words, system)},
    {.name = "--chat",
     .value = "TEMPLATE",
     .help = "the model's own template (auto), chatml, llama2, llama3, mistral, or a file that holds one",
     .kind = OPTION_TEXT,
     .at = offsetof(struct chat_words, chat),
     .fallback = "auto"},
    {.name = "--max-tokens",
     .value = "N",
     .help = "of an answer, at most",
     .kind = OPTION_INT,
     .at = offsetof(struct chat_words, max_tokens),
     .fallback = "1000",
     .min = 1,
     .max = 1e6},
    OPTIONS_SAMPLING(struct chat_words),
    OPTION_DEVICE(offsetof(struct chat_words, device)),
    OPTION_TYPE(offsetof(struct chat_words, type), "stored"),
};

/* Everything of one conversation. */
struct talk {
    const struct chat_words *words;
    struct session *session;
    struct writer writer;
    struct chat_style style;
    struct dialogue dialogue;
    int64_t num_lines, num_unanswered; /* of the input */
};

/* What comes of a line or an answer. */
enum talk_end { TALK_GOES_ON, TALK_ENDS, TALK_FAILED };

/* wait_for_interrupts - from now on Ctrl-C waits until it is looked for.  Before threads start: they inherit it. */
static void wait_for_interrupts(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

/* was_interrupted - since it was last asked. */
static bool was_interrupted(void *user) {
    const struct timespec at_once = {0, 0};
    sigset_t set;
    (void)user;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    return sigtimedwait(&set, NULL, &at_once) == SIGINT;
}

static void put(void *user, const char *bytes, size_t length_bytes) {
    (void)user;
    fwrite(bytes, 1, length_bytes, stdout);
    fflush(stdout);
}

/* begin - a conversation without a turn yet. */
static void begin(struct talk *talk) {
    dialogue_release(&talk->dialogue);
    if (talk->words->system)
        dialogue_add(&talk->dialogue, "system", talk->words->system, strlen(talk->words->system));
}

/* least_room - positions that an answer is to have at least: what it may be, or a quarter of all. */
static int64_t least_room(const struct talk *talk) {
    int64_t quarter = talk->writer.room / 4;
    return talk->words->max_tokens < quarter ? talk->words->max_tokens : quarter;
}

/* check_alone - what no cut makes shorter: the system's message and the last one.  Returns 0, or -1 with err set: too long. */
static int check_alone(const struct talk *talk, struct err *err) {
    const struct dialogue *all = &talk->dialogue;
    struct chat_message kept[2];
    struct dialogue few = {.messages = kept};
    struct token_list tokens = {0};
    if (strcmp(all->messages[0].role, "system") == 0)
        kept[few.num_messages++] = all->messages[0];
    kept[few.num_messages++] = all->messages[all->num_messages - 1];
    int status = dialogue_encode(&few, &talk->style, talk->session, &tokens, err);
    if (status == 0 && tokens.count >= talk->writer.room)
        status = err_set(
            err,
            "the message alone has %lld tokens, the model %lld positions: the conversation goes on without it",
            (long long)tokens.count, (long long)talk->writer.room);
    token_list_release(&tokens);
    return status;
}

/* encode_fitting - the conversation, without the oldest turns where it would leave no room for an answer. */
static int encode_fitting(struct talk *talk, struct token_list *tokens, struct err *err) {
    int num_gone = 0, first = 0, count;
    for (;;) {
        tokens->count = 0;
        if (dialogue_encode(&talk->dialogue, &talk->style, talk->session, tokens, err) != 0)
            return -1;
        count = dialogue_oldest_turn(&talk->dialogue, &first);
        if (tokens->count + least_room(talk) <= talk->writer.room || count == 0)
            break;
        if (num_gone == 0 && check_alone(talk, err) != 0)
            return -1;
        dialogue_cut(&talk->dialogue, first, count);
        num_gone += count;
    }
    if (num_gone > 0)
        fprintf(
            stderr,
            "note: the oldest %d messages are left out from here on: with them the conversation is longer than the "
            "model's %lld tokens\n",
            num_gone, (long long)talk->writer.room);
    return 0;
}

/* keep_answer - as the next turns see it: without the thoughts that come before it, which templates leave out; none where it
 * is empty, and then its question goes too. */
static void keep_answer(struct talk *talk) {
    static const char thoughts_end[] = "</think>";
    size_t length_bytes;
    char *text = writer_text(&talk->writer, &length_bytes), *answer = text, *end = strstr(text, thoughts_end);
    if (end)
        answer = end + strlen(thoughts_end);
    answer += strspn(answer, " \n");
    length_bytes -= (size_t)(answer - text);
    if (length_bytes == 0 || text_is_blank(answer, length_bytes)) {
        fprintf(stderr, "note: an empty answer: it and its question are not part of the conversation\n");
        dialogue_cut(&talk->dialogue, talk->dialogue.num_messages - 1, 1);
    } else {
        dialogue_add(&talk->dialogue, "assistant", answer, length_bytes);
    }
    free(text);
}

/* answer - the user's message.  One that cannot be answered is told and forgotten; logits that are not finite end it all. */
static enum talk_end answer(struct talk *talk, const char *line) {
    struct token_list tokens = {0};
    struct err err = {""};
    struct writing writing = {.sampling = talk->words->sampling,
                              .max_tokens = talk->words->max_tokens,
                              .turn_end = talk->style.end_id,
                              .write = put,
                              .stops = was_interrupted};
    dialogue_add(&talk->dialogue, "user", line, strlen(line));
    bool is_read =
        encode_fitting(talk, &tokens, &err) == 0 && writer_begin(&talk->writer, &tokens, &err) == 0;
    token_list_release(&tokens);
    was_interrupted(NULL); /* what was pressed before is not about this answer */
    bool is_done = is_read && writer_go_on(&talk->writer, &writing, &err) == 0;
    if (is_done) {
        put(NULL, "\n", 1);
        keep_answer(talk);
        return TALK_GOES_ON;
    }
    fprintf(stderr, "error: %s\n", err.text);
    talk->num_unanswered++;
    dialogue_cut(&talk->dialogue, talk->dialogue.num_messages - 1, 1);
    return is_read ? TALK_FAILED : TALK_GOES_ON;
}

/* take_line - a command, or a message; "//" begins a message with a slash. */
static enum talk_end take_line(struct talk *talk, const char *line) {
    if (strcmp(line, "/exit") == 0)
        return TALK_ENDS;
    if (strcmp(line, "/reset") == 0) {
        begin(talk);
        fprintf(stderr, "note: a new conversation\n");
        return TALK_GOES_ON;
    }
    if (line[0] == '/' && line[1] != '/') {
        fprintf(
            stderr,
            "note: '%.40s' is not a command: /reset and /exit are, and // begins a message with a slash\n",
            line);
        return TALK_GOES_ON;
    }
    return line[0] == '\0' ? TALK_GOES_ON : answer(talk, line + (line[0] == '/'));
}

/* take_bytes - a line as it was read, with its end; a NUL would end the text before it. */
static enum talk_end take_bytes(struct talk *talk, char *line, size_t length_bytes) {
    while (length_bytes > 0 && (line[length_bytes - 1] == '\n' || line[length_bytes - 1] == '\r'))
        line[--length_bytes] = '\0';
    talk->num_lines++;
    if (strlen(line) == length_bytes)
        return take_line(talk, line);
    fprintf(stderr,
            "error: line %lld of the input holds a NUL byte at column %zu: it is not said; leave it out\n",
            (long long)talk->num_lines, strlen(line) + 1);
    talk->num_unanswered++;
    return TALK_GOES_ON;
}

/* converse - a line after the other until the end; the exit code.  Whoever is at a terminal saw what was not answered; a program
 * learns it by the code. */
static int converse(struct talk *talk) {
    bool is_terminal = isatty(STDIN_FILENO);
    enum talk_end end = TALK_GOES_ON;
    char *line = NULL;
    size_t room_bytes = 0;
    while (end == TALK_GOES_ON) {
        if (is_terminal)
            put(NULL, "> ", 2);
        ssize_t length = getline(&line, &room_bytes, stdin);
        if (length < 0)
            break;
        end = take_bytes(talk, line, (size_t)length);
    }
    free(line);
    return end == TALK_FAILED || (!is_terminal && talk->num_unanswered > 0) ? EXIT_FAULT : EXIT_DONE;
}

/* talk_with - the session is open. */
static int talk_with(struct session *session, const struct chat_words *words, struct err *err) {
    struct talk talk = {.words = words, .session = session};
    struct err unused; /* told here, refused where a message has such a token */
    if (vocabulary_check(session->tokenizer, session->config.vocab_size, &unused) != 0)
        warn("%s", unused.text);
    if (dialogue_style(&talk.style, session, words->chat, err) != 0) {
        chat_style_release(&talk.style);
        return err_prefix(err, "--chat '%s' of '%s'", words->chat, words->model) != 0 ? EXIT_USAGE : 0;
    }
    writer_open(&talk.writer, session, words->model);
    begin(&talk);
    int code = converse(&talk);
    dialogue_release(&talk.dialogue);
    chat_style_release(&talk.style);
    writer_close(&talk.writer);
    return code;
}

static int run(int argc, char **argv) {
    struct chat_words words;
    struct session session;
    struct err err = {""};
    int code = EXIT_USAGE;
    if (!command_words(&COMMAND_chat, &words, argc, argv))
        return EXIT_USAGE;
    memset(&session, 0, sizeof session);
    struct session_setup setup = {.place = {words.model, words.base},
                                  .max_tokens = WRITER_CHUNK_TOKENS,
                                  .num_threads = (int)words.threads};
    if (words.adapter)
        setup.place = (struct weights_place){words.adapter, words.model};
    wait_for_interrupts();
    if (session_way_of(&setup.way, words.device, words.type, SESSION_STORED, &err) == 0 &&
        session_open(&session, &setup, &err) == 0 && session_need_tokenizer(&session, words.model, &err) == 0)
        code = was_interrupted(NULL) ? EXIT_DONE : talk_with(&session, &words, &err);
    if (err.text[0])
        fprintf(stderr, "error: %s\n", err.text);
    session_close(&session);
    return code;
}

static int check(const void *all, struct err *err) {
    const struct chat_words *words = all;
    if (words->adapter && words->base)
        return err_set(err,
                       "--adapter is on MODEL, and --base says where an adapter's base is: give one of them");
    return 0;
}

const struct command COMMAND_chat = {
    .name = "chat",
    .summary = "a conversation with any model, in the terminal",
    .text =
        "Each line is a message.  /reset begins anew, /exit or the end of input ends; Ctrl-C stops the answer, not the "
        "program.  A conversation that outgrows the model's length loses its oldest turns, which is said.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct chat_words),
    .check = check,
    .run = run,
};
