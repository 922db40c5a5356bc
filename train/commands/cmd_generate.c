/* cmd_generate.c - `atelier generate MODEL --prompt TEXT`: text from any model, to look at it.  A conversation of several
 * turns is cmd_chat.c's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/vocabulary.h"
#include "train/commands/commands.h"
#include "train/commands/dialogue.h"
#include "train/model/writer.h"

struct generate_words {
    const char *device, *type, *model, *base, *prompt, *prompt_file, *messages, *system, *chat;
    int64_t max_tokens, threads;
    struct sampling sampling;
    bool ignores_end;
};

static const struct option OPTIONS[] = {
    {.name = "MODEL",
     .help = "a folder, a checkpoint, a GGUF file or an adapter",
     .kind = OPTION_TEXT,
     .at = offsetof(struct generate_words, model),
     .is_required = true},
    OPTION_BASE(offsetof(struct generate_words, base)),
    {.name = "--prompt",
     .value = "TEXT",
     .help = "the text to go on from",
     .kind = OPTION_TEXT,
     .at = offsetof(struct generate_words, prompt)},
    {.name = "--prompt-file",
     .value = "FILE",
     .help = "the same, of a file, without the line end that closes it; -: standard input",
     .kind = OPTION_TEXT,
     .takes_dash = true,
     .at = offsetof(struct generate_words, prompt_file)},
    {.name = "--messages",
     .value = "FILE",
     .help =
         "a conversation to be answered, as one line of the data: a list of role and content; -: standard input",
     .kind = OPTION_TEXT,
     .takes_dash = true,
     .at = offsetof(struct generate_words, messages)},
    {.name = "--system",
     .value = "TEXT",
     .help = "the system's message before them, with --chat or --messages",
     .kind = OPTION_TEXT,
     .at = offsetof(struct generate_words, system)},
    {.name = "--chat",
     .value = "TEMPLATE",
     .help =
         "TEXT is a user's turn, written by the model's own template (auto), or as chatml, llama2, llama3 or mistral",
     .kind = OPTION_TEXT,
     .at = offsetof(struct generate_words, chat)},
    {.name = "--max-tokens",
     .value = "N",
     .help = "at most so many tokens",
     .kind = OPTION_INT,
     .at = offsetof(struct generate_words, max_tokens),
     .fallback = "200",
     .min = 1,
     .max = 1e6},
    OPTIONS_SAMPLING(struct generate_words),
    OPTION_DEVICE(offsetof(struct generate_words, device)),
    OPTION_TYPE(offsetof(struct generate_words, type), "stored"),
    {.name = "--ignore-end",
     .help = "go on after an end token",
     .kind = OPTION_FLAG,
     .at = offsetof(struct generate_words, ignores_end)},
};

/* put - on standard output, as it comes. */
static void put(void *user, const char *bytes, size_t length_bytes) {
    (void)user;
    fwrite(bytes, 1, length_bytes, stdout);
    fflush(stdout);
}

/* without_line_end - of a file's text one, which an editor puts there and a shell's $(cat FILE) takes off: a model would go on
 * after it otherwise than after the last word. */
static size_t without_line_end(const char *text, size_t length_bytes) {
    if (length_bytes == 0 || text[length_bytes - 1] != '\n')
        return length_bytes;
    length_bytes--;
    return length_bytes > 0 && text[length_bytes - 1] == '\r' ? length_bytes - 1 : length_bytes;
}

/* prompt_text - of --prompt or a file, malloc'ed; NULL with err set: there is none to go on from, too. */
static char *prompt_text(const struct generate_words *words, size_t *length_bytes, struct err *err) {
    const char *file = words->messages ? words->messages : words->prompt_file;
    *length_bytes = words->prompt ? strlen(words->prompt) : 0;
    char *text = file ? input_read(file, length_bytes, err) : text_copy(words->prompt, *length_bytes);
    if (!text || words->messages)
        return text;
    if (file)
        *length_bytes = without_line_end(text, *length_bytes);
    if (*length_bytes > 0)
        return text;
    free(text);
    err_set(
        err,
        "the prompt %s%.200s%s is empty: there is nothing to go on from; give a text, a first word will do",
        file ? "of '" : "of --prompt", file ? file : "", file ? "'" : "");
    return NULL;
}

/* read_messages - the system's message, then those of the file, or the text as a user's turn. */
static int read_messages(struct dialogue *dialogue, const struct generate_words *words, const char *text,
                         size_t length_bytes, struct err *err) {
    if (words->system)
        dialogue_add(dialogue, "system", words->system, strlen(words->system));
    if (!words->messages) {
        dialogue_add(dialogue, "user", text, length_bytes);
        return 0;
    }
    if (dialogue_read(dialogue, text, length_bytes, words->messages, err) != 0)
        return -1;
    if (words->system && strcmp(dialogue->messages[1].role, "system") == 0)
        return err_set(err, "'%s' begins with a message of the system: leave out --system", words->messages);
    return 0;
}

/* encode_messages - in the template that --chat names; of --messages without it the model's own. */
static int encode_messages(const struct generate_words *words, const struct session *session,
                           const struct text_span *input, struct token_list *tokens, int32_t *turn_end,
                           struct err *err) {
    const char *name = words->chat ? words->chat : "auto";
    struct dialogue dialogue = {0};
    struct chat_style style = {0};
    int status = dialogue_style(&style, session, name, err);
    if (status != 0)
        err_prefix(err, "--chat '%s' of '%s'", name, words->model);
    if (status == 0)
        status = read_messages(&dialogue, words, input->bytes, input->length_bytes, err);
    if (status == 0)
        status = dialogue_encode(&dialogue, &style, session, tokens, err);
    *turn_end = style.end_id;
    chat_style_release(&style);
    dialogue_release(&dialogue);
    return status;
}

/* encode_plain - text after a bos token. */
static int encode_plain(const struct session *session, const struct text_span *input,
                        struct token_list *tokens, struct err *err) {
    struct encoder *enc = encoder_open(session->tokenizer);
    int status = encoder_encode(enc, input->bytes, input->length_bytes, ENCODE_ADD_SPECIAL, tokens, err);
    encoder_close(enc);
    return status;
}

/* read_prompt - what the words say, into tokens. */
static int read_prompt(const struct generate_words *words, const struct session *session,
                       struct token_list *tokens, int32_t *turn_end, struct err *err) {
    struct text_span input = {NULL, 0};
    char *text = prompt_text(words, &input.length_bytes, err);
    input.bytes = text;
    if (!text)
        return -1;
    int status = words->chat || words->messages
                     ? encode_messages(words, session, &input, tokens, turn_end, err)
                     : encode_plain(session, &input, tokens, err);
    free(text);
    return status;
}

/* write_with - the exit code: 2 where the model or the prompt does not do, 1 where the text could not be written to
 * its end. */
static int write_with(struct session *session, const struct generate_words *words, struct err *err) {
    struct writer writer;
    struct token_list tokens = {0};
    struct writing writing = {.sampling = words->sampling,
                              .max_tokens = words->max_tokens,
                              .ignores_end = words->ignores_end,
                              .turn_end = -1,
                              .write = put};
    struct err
        unused; /* a model that was published so: told here, refused where the prompt has such a token */
    int code = 2;
    if (vocabulary_check(session->tokenizer, session->config.vocab_size, &unused) != 0)
        warn("%s", unused.text);
    writer_open(&writer, session, words->model);
    if (read_prompt(words, session, &tokens, &writing.turn_end, err) == 0 &&
        writer_begin(&writer, &tokens, err) == 0) {
        code = writer_go_on(&writer, &writing, err) == 0 ? 0 : 1;
        if (code == 0)
            putchar('\n');
    }
    token_list_release(&tokens);
    writer_close(&writer);
    return code;
}

/* check - one prompt, and a template where there is a message of the system. */
static int check(const void *all, struct err *err) {
    const struct generate_words *words = all;
    int given = (words->prompt != NULL) + (words->prompt_file != NULL) + (words->messages != NULL);
    if (given == 0)
        return err_set(err, "no prompt: give --prompt TEXT, --prompt-file FILE or --messages FILE");
    if (given > 1)
        return err_set(err, "--prompt, --prompt-file and --messages exclude each other");
    if (words->system && !words->chat && !words->messages)
        return err_set(err, "--system is a message, which a plain text has not: give --chat auto too");
    return 0;
}

static int run(int argc, char **argv) {
    struct generate_words words;
    struct session session;
    struct err err = {""};
    int code = EXIT_USAGE;
    if (!command_words(&COMMAND_generate, &words, argc, argv))
        return EXIT_USAGE;
    memset(&session, 0, sizeof session);
    struct session_setup setup = {.place = {words.model, words.base},
                                  .max_tokens = WRITER_CHUNK_TOKENS,
                                  .num_threads = (int)words.threads};
    if (session_way_of(&setup.way, words.device, words.type, SESSION_STORED, &err) == 0 &&
        session_open(&session, &setup, &err) == 0 && session_need_tokenizer(&session, words.model, &err) == 0)
        code = write_with(&session, &words, &err);
    if (err.text[0])
        fprintf(stderr, "error: %s\n", err.text);
    session_close(&session);
    return code;
}

const struct command COMMAND_generate = {
    .name = "generate",
    .summary = "text from any model, to look at it",
    .text =
        "Continues TEXT, or with --chat answers it.  Only tokens of the tokenizer are drawn, never a padding row of the "
        "embedding.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct generate_words),
    .check = check,
    .run = run,
};
