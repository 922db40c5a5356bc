/* writer.c - tokens one after the other, and their text as it becomes whole. */
#include "train/model/writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/vocabulary.h"

/* place_caches - called twice, as an arena is used: first it counts the bytes, and after arena_allocate it gives
 * their places. */
static void place_caches(struct writer *writer) {
    const struct model_config *c = &writer->session->config;
    for (int layer = 0; layer < c->num_layers; layer++)
        for (int i = 0; i < 2; i++) {
            enum dtype dtype = writer->session->model.setup.compute;
            struct tensor view = tensor_3d(NULL, dtype, writer->room, c->num_kv_heads, c->head_dim);
            view.data = arena_take(&writer->arena, tensor_count(view), dtype);
            *(i ? &writer->caches[layer].v : &writer->caches[layer].k) = view;
        }
}

/* find_tokens - rows beyond the tokenizer's last token, and those of ids that none has, are padding: no text belongs to them,
 * and their logits are whatever they were made with. */
static void find_tokens(struct writer *writer) {
    const struct tokenizer *tok = writer->session->tokenizer;
    int64_t num_rows = writer->session->config.vocab_size;
    writer->is_token = xcalloc((size_t)num_rows, sizeof *writer->is_token);
    for (int32_t id = 0; id < num_rows && id < tokenizer_vocab_size(tok); id++)
        writer->is_token[id] = tokenizer_entry(tok, id).text != NULL;
}

void writer_open(struct writer *writer, struct session *session, const char *name) {
    *writer = (struct writer){.session = session, .name = name, .room = session->config.max_positions};
    writer->caches = xcalloc((size_t)session->config.num_layers, sizeof *writer->caches);
    writer->arena.name = "key and value caches";
    place_caches(writer);
    arena_allocate(&writer->arena, &session->dev);
    place_caches(writer);
    writer->batch.tokens = xcalloc(WRITER_CHUNK_TOKENS, sizeof(int32_t));
    writer->batch.positions = xcalloc(WRITER_CHUNK_TOKENS, sizeof(int32_t));
    writer->logits = xcalloc((size_t)session->config.vocab_size, sizeof(float));
    find_tokens(writer);
}

void writer_close(struct writer *writer) {
    arena_free(&writer->arena);
    free(writer->caches);
    free(writer->batch.tokens);
    free(writer->batch.positions);
    free(writer->logits);
    free(writer->is_token);
    token_list_release(&writer->tokens);
}

/* check_tokens - of a text that is to go on. */
static int check_tokens(const struct writer *writer, const struct token_list *tokens, struct err *err) {
    const struct tokenizer *tok = writer->session->tokenizer;
    int64_t vocab_size = writer->session->config.vocab_size;
    if (tokens->count == 0)
        return err_set(
            err, "the prompt is empty and the tokenizer adds nothing in front of it: give --prompt TEXT");
    for (int64_t i = 0; i < tokens->count; i++)
        if (tokens->ids[i] >= vocab_size)
            return vocabulary_check(tok, vocab_size, err);
    if (tokens->count < writer->room)
        return 0;
    return err_set(err, "the prompt has %lld tokens, the model %lld positions", (long long)tokens->count,
                   (long long)writer->room);
}

/* The last token is read in any case: its logits say what comes next. */
int writer_begin(struct writer *writer, const struct token_list *tokens, struct err *err) {
    if (check_tokens(writer, tokens, err) != 0)
        return -1;
    int64_t same = 0;
    while (same < writer->past && same < tokens->count - 1 && writer->tokens.ids[same] == tokens->ids[same])
        same++;
    writer->tokens.count = writer->past = same;
    for (int64_t i = same; i < tokens->count; i++)
        token_list_push(&writer->tokens, tokens->ids[i]);
    writer->prompt_tokens = tokens->count;
    writer->told_bytes = 0;
    return 0;
}

/* advance - run the tokens that the caches do not hold yet; the last logits say what comes next. */
static void advance(struct writer *writer) {
    while (writer->past < writer->tokens.count) {
        int64_t left = writer->tokens.count - writer->past;
        int64_t count = left < WRITER_CHUNK_TOKENS ? left : WRITER_CHUNK_TOKENS;
        for (int64_t i = 0; i < count; i++) {
            writer->batch.tokens[i] = writer->tokens.ids[writer->past + i];
            writer->batch.positions[i] = (int32_t)(writer->past + i);
        }
        writer->batch.num_tokens = count;
        model_decode(&writer->session->model, writer->caches, &writer->batch, writer->past, writer->logits);
        writer->past += count;
    }
}

char *writer_text(const struct writer *writer, size_t *length_bytes) {
    return tokenizer_decode(writer->session->tokenizer, writer->tokens.ids + writer->prompt_tokens,
                            writer->tokens.count - writer->prompt_tokens, true, length_bytes);
}

/* Whether more of a text may come. */
enum text_end { TEXT_GOES_ON, TEXT_ENDS };

/* tell_new - what the text gained; a character whose bytes are not all there yet waits for the next token: the
 * decoder writes U+FFFD for it.  All tokens are decoded anew each time, because the text of a token depends on its
 * neighbours. */
static void tell_new(struct writer *writer, const struct writing *writing, enum text_end end) {
    static const char replacement[] = "\xEF\xBF\xBD";
    size_t length_bytes;
    char *text = writer_text(writer, &length_bytes);
    bool waits =
        length_bytes >= 3 && memcmp(text + length_bytes - 3, replacement, 3) == 0 && end == TEXT_GOES_ON;
    if (!waits && length_bytes > writer->told_bytes) {
        writing->write(writing->user, text + writer->told_bytes, length_bytes - writer->told_bytes);
        writer->told_bytes = length_bytes;
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

/* check_logits - all finite: the most likely of what is not a number would be some token all the same. */
static int check_logits(const struct writer *writer, struct err *err) {
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
        (long long)num_bad, (long long)vocab_size, writer->name, (long long)writer->past,
        (long long)writer->prompt_tokens);
}

/* next_token - of the tokens that have a text. */
static int32_t next_token(struct writer *writer, const struct sampling *sampling) {
    int64_t num_rows = writer->session->config.vocab_size;
    for (int64_t i = 0; i < num_rows; i++)
        if (!writer->is_token[i])
            writer->logits[i] = -INFINITY;
    return sample_token(sampling, writer->logits, num_rows, writer->num_drawn++);
}

/* set_longest - of positions that are others where the text is long: as long as this one can become. */
static void set_longest(struct writer *writer, int64_t max_tokens) {
    int64_t longest = writer->room;
    if (max_tokens < writer->room - writer->prompt_tokens)
        longest = writer->prompt_tokens + max_tokens;
    if (writer->session->config.rope_kind == ROPE_LONG)
        model_set_longest(&writer->session->model, longest);
}

int writer_go_on(struct writer *writer, const struct writing *writing, struct err *err) {
    set_longest(writer, writing->max_tokens);
    for (int64_t i = 0; i < writing->max_tokens && writer->tokens.count < writer->room; i++) {
        if (writing->stops && writing->stops(writing->user))
            break;
        advance(writer);
        if (check_logits(writer, err) != 0)
            return -1;
        int32_t token = next_token(writer, &writing->sampling);
        bool ends = token == writing->turn_end || is_end(writer->session, token);
        if (ends && !writing->ignores_end)
            break;
        token_list_push(&writer->tokens, token);
        tell_new(writer, writing, TEXT_GOES_ON);
    }
    tell_new(writer, writing, TEXT_ENDS);
    return 0;
}
