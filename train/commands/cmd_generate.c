/* cmd_generate.c - `atelier generate MODEL --prompt TEXT`: text from any model, to look at it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkpoints/vocabulary.h"
#include "data/template/chat.h"
#include "train/commands/commands.h"
#include "train/model/sampling.h"
#include "train/model/session.h"

/* The prompt is read in pieces of this many tokens: bounds the memory of the activations. */
enum { PROMPT_CHUNK_TOKENS = 256 };

struct generate_words {
    const char *model, *base, *prompt, *chat;
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
     .at = offsetof(struct generate_words, prompt),
     .is_required = true},
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
    {.name = "--temperature",
     .value = "T",
     .help = "0: always the most likely token",
     .kind = OPTION_REAL,
     .at = offsetof(struct generate_words, sampling.temperature),
     .fallback = "0.7",
     .min = 0,
     .max = 100},
    {.name = "--top-p",
     .value = "P",
     .help = "draw from the most likely tokens that make up this share",
     .kind = OPTION_REAL,
     .at = offsetof(struct generate_words, sampling.top_p),
     .fallback = "0.95",
     .min = 0.0001,
     .max = 1},
    {.name = "--seed",
     .value = "N",
     .help = "same seed, same text",
     .kind = OPTION_INT,
     .at = offsetof(struct generate_words, sampling.seed),
     .fallback = "1",
     .min = 0,
     .max = 9e18},
    {.name = "--threads",
     .value = "N",
     .help = "threads of the processor; 0: all",
     .kind = OPTION_INT,
     .at = offsetof(struct generate_words, threads),
     .fallback = "0",
     .min = 0,
     .max = 4096},
    {.name = "--ignore-end",
     .help = "go on after an end token",
     .kind = OPTION_FLAG,
     .at = offsetof(struct generate_words, ignores_end)},
};

/* A text being written: caches, tokens so far, what was printed. */
struct writer {
    struct session *session;
    struct kv_cache *caches; /* [L] */
    struct arena arena;
    struct batch batch;
    float *logits;
    bool *is_token; /* [V] a token of the tokenizer has this row of the embedding */
    struct token_list tokens;
    int64_t past; /* tokens in the caches */
    size_t printed_bytes;
    int64_t prompt_tokens;
};

/* place_caches - called twice, as an arena is used: first it counts the bytes, and after arena_allocate it gives
 * their places. */
static void place_caches(struct writer *writer, int64_t max_tokens) {
    const struct model_config *c = &writer->session->config;
    for (int layer = 0; layer < c->num_layers; layer++)
        for (int i = 0; i < 2; i++) {
            void *data = arena_take(&writer->arena, max_tokens * c->num_kv_heads * c->head_dim, DTYPE_F32);
            struct tensor view = tensor_3d(data, DTYPE_F32, max_tokens, c->num_kv_heads, c->head_dim);
            *(i ? &writer->caches[layer].v : &writer->caches[layer].k) = view;
        }
}

/* writer_open - with room for max_tokens, the model's positions: no text outgrows its caches. */
/* find_tokens - rows beyond the tokenizer's last token, and those of ids that none has, are padding: no text belongs to them,
 * and their logits are whatever they were made with. */
static void find_tokens(struct writer *writer) {
    const struct tokenizer *tok = writer->session->tokenizer;
    int64_t num_rows = writer->session->config.vocab_size;
    writer->is_token = xcalloc((size_t)num_rows, sizeof *writer->is_token);
    for (int32_t id = 0; id < num_rows && id < tokenizer_vocab_size(tok); id++)
        writer->is_token[id] = tokenizer_entry(tok, id).text != NULL;
}

static void writer_open(struct writer *writer, struct session *session, int64_t max_tokens) {
    writer->session = session;
    writer->caches = xcalloc((size_t)session->config.num_layers, sizeof *writer->caches);
    writer->arena.name = "key and value caches";
    place_caches(writer, max_tokens);
    arena_allocate(&writer->arena, &session->dev);
    place_caches(writer, max_tokens);
    writer->batch.tokens = xcalloc(PROMPT_CHUNK_TOKENS, sizeof(int32_t));
    writer->batch.positions = xcalloc(PROMPT_CHUNK_TOKENS, sizeof(int32_t));
    writer->logits = xcalloc((size_t)session->config.vocab_size, sizeof(float));
    find_tokens(writer);
}

static void writer_close(struct writer *writer) {
    arena_free(&writer->arena);
    free(writer->caches);
    free(writer->batch.tokens);
    free(writer->batch.positions);
    free(writer->logits);
    free(writer->is_token);
    token_list_release(&writer->tokens);
}

/* advance - run the tokens that the caches do not hold yet; the last logits say what comes next. */
static void advance(struct writer *writer) {
    while (writer->past < writer->tokens.count) {
        int64_t left = writer->tokens.count - writer->past;
        int64_t count = left < PROMPT_CHUNK_TOKENS ? left : PROMPT_CHUNK_TOKENS;
        for (int64_t i = 0; i < count; i++) {
            writer->batch.tokens[i] = writer->tokens.ids[writer->past + i];
            writer->batch.positions[i] = (int32_t)(writer->past + i);
        }
        writer->batch.num_tokens = count;
        model_decode(&writer->session->model, writer->caches, &writer->batch, writer->past, writer->logits);
        writer->past += count;
    }
}

/* print_new - what the text gained; a character whose bytes are not all there yet waits for the next token: the
 * decoder writes U+FFFD for it.  All tokens are decoded anew each time, because the text of a token depends on its
 * neighbours. */
static void print_new(struct writer *writer, bool is_end) {
    static const char replacement[] = "\xEF\xBF\xBD";
    size_t length_bytes;
    char *text = tokenizer_decode(writer->session->tokenizer, writer->tokens.ids + writer->prompt_tokens,
                                  writer->tokens.count - writer->prompt_tokens, true, &length_bytes);
    bool waits = length_bytes >= 3 && memcmp(text + length_bytes - 3, replacement, 3) == 0 && !is_end;
    if (!waits && length_bytes > writer->printed_bytes) {
        fwrite(text + writer->printed_bytes, 1, length_bytes - writer->printed_bytes, stdout);
        fflush(stdout);
        writer->printed_bytes = length_bytes;
    }
    free(text);
}

/* is_end - an end token of the model, or the end of a turn in the tokenizer's words: configurations of chat models
 * often name the base model's end alone. */
static bool is_end(const struct session *session, int32_t token) {
    static const char *const turn_ends[] = {"<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "</s>"};
    for (int i = 0; i < session->config.num_eos; i++)
        if (token == session->config.eos_ids[i])
            return true;
    for (size_t i = 0; i < sizeof turn_ends / sizeof turn_ends[0]; i++)
        if (token == tokenizer_id(session->tokenizer, turn_ends[i], strlen(turn_ends[i])))
            return true;
    return token == tokenizer_eos(session->tokenizer);
}

/* read_prompt - plain text after a bos token, or one user turn in the model's chat template, which may write
 * today's date, as engines let it. */
static int read_prompt(struct writer *writer, const struct generate_words *words, struct err *err) {
    const struct tokenizer *tok = writer->session->tokenizer;
    struct encoder *enc = encoder_open(tok);
    int status;
    if (words->chat) {
        struct chat_message message = {"user", words->prompt, strlen(words->prompt)};
        struct chat_style style;
        uint8_t *mask = NULL;
        char today[16];
        time_t now = time(NULL);
        strftime(today, sizeof today, "%Y-%m-%d", localtime(&now));
        status = chat_style_open(&style, tok, words->chat, today, err);
        struct chat chat = {.kind = style.kind,
                            .messages = &message,
                            .num_messages = 1,
                            .add_generation_prompt = true,
                            .style = &style};
        if (status == 0)
            status = chat_encode(tok, enc, &chat, &writer->tokens, &mask, err);
        else
            err_prefix(err, "--chat '%s' of '%s'", words->chat, words->model);
        chat_style_release(&style);
        free(mask);
    } else {
        status = encoder_encode(enc, words->prompt, strlen(words->prompt), ENCODE_ADD_SPECIAL,
                                &writer->tokens, err);
    }
    encoder_close(enc);
    int64_t room = writer->caches[0].k.dims[0];
    for (int64_t i = 0; !status && i < writer->tokens.count; i++)
        if (writer->tokens.ids[i] >= writer->session->config.vocab_size)
            status = vocabulary_check(tok, writer->session->config.vocab_size, err);
    if (!status && writer->tokens.count == 0)
        status = err_set(
            err, "the prompt is empty and the tokenizer adds nothing in front of it: give --prompt TEXT");
    writer->prompt_tokens = writer->tokens.count;
    if (!status && writer->prompt_tokens >= room)
        status = err_set(err, "the prompt has %lld tokens, the model %lld positions",
                         (long long)writer->prompt_tokens, (long long)room);
    return status;
}

/* check_logits - all finite: the most likely of what is not a number would be some token all the same. */
static int check_logits(const struct writer *writer, const struct generate_words *words, struct err *err) {
    int64_t num_bad = 0, vocab_size = writer->session->config.vocab_size;
    for (int64_t i = 0; i < vocab_size; i++)
        num_bad += !isfinite(writer->logits[i]);
    if (num_bad == 0)
        return 0;
    return err_set(
        err,
        "%lld of the %lld logits of '%s' after token %lld of the text (%lld of the prompt) are not "
        "finite: although the weights are finite, an activation or a logit overflowed f32, as after "
        "a training that diverged; use an earlier checkpoint, or train again with a lower learning "
        "rate",
        (long long)num_bad, (long long)vocab_size, words->model, (long long)writer->past,
        (long long)writer->prompt_tokens);
}

/* next_token - of the tokens that have a text. */
static int32_t next_token(struct writer *writer, const struct sampling *sampling, int64_t index) {
    int64_t num_rows = writer->session->config.vocab_size;
    for (int64_t i = 0; i < num_rows; i++)
        if (!writer->is_token[i])
            writer->logits[i] = -INFINITY;
    return sample_token(sampling, writer->logits, num_rows, index);
}

/* write_text - goes on from the prompt until an end.  Returns 0, or -1 with err set. */
static int write_text(struct writer *writer, const struct generate_words *words, struct err *err) {
    int64_t room = writer->caches[0].k.dims[0];
    for (int64_t i = 0; i < words->max_tokens && writer->tokens.count < room; i++) {
        advance(writer);
        if (check_logits(writer, words, err) != 0)
            return -1;
        int32_t token = next_token(writer, &words->sampling, i);
        if (!words->ignores_end && is_end(writer->session, token))
            break;
        token_list_push(&writer->tokens, token);
        print_new(writer, false);
    }
    print_new(writer, true);
    putchar('\n');
    return 0;
}

/* write_with - the exit code: 2 where the model or the prompt does not do, 1 where the text could not be written to
 * its end. */
/* set_longest - of positions that are others where the text is long: as long as this one can become. */
static void set_longest(struct writer *writer, const struct generate_words *words) {
    int64_t room = writer->caches[0].k.dims[0], longest = room;
    if (words->max_tokens < room - writer->prompt_tokens)
        longest = writer->prompt_tokens + words->max_tokens;
    if (writer->session->config.rope_kind == ROPE_LONG)
        model_set_longest(&writer->session->model, longest);
}

static int write_with(struct session *session, const struct generate_words *words, struct err *err) {
    struct writer writer = {0};
    int code = 2;
    if (!session->tokenizer) {
        err_set(err, "'%s' has neither tokenizer.json nor tekken.json: it cannot read or write text",
                words->model);
        return code;
    }
    struct err
        unused; /* a model that was published so: told here, refused where the prompt has such a token */
    if (vocabulary_check(session->tokenizer, session->config.vocab_size, &unused) != 0)
        warn("%s", unused.text);
    writer_open(&writer, session, session->config.max_positions);
    if (read_prompt(&writer, words, err) == 0) {
        set_longest(&writer, words);
        code = write_text(&writer, words, err) == 0 ? 0 : 1;
    }
    writer_close(&writer);
    return code;
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
                                  .max_tokens = PROMPT_CHUNK_TOKENS,
                                  .num_threads = (int)words.threads,
                                  .weights = SESSION_AS_STORED};
    if (session_open(&session, &setup, &err) == 0 && session_tokenizer(&session, &err) == 0)
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
    .run = run,
};
