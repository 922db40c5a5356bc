/* gguf_tokenizer_write.c - a tokenizer as GGUF metadata, for llama.cpp.
 *
 * llama.cpp chooses its pre-tokenizer by name and has no normaliser, so not every tokenizer can be written;
 * what does not fit is refused or, where only the normalisation of the text is lost, noted. SentencePiece
 * models: their scores are not in tokenizer.json.  A token's score is minus the number of the first merge
 * that makes it, which lets llama.cpp merge in the same order. Source: llama.cpp, src/llama-vocab.cpp and
 * convert_hf_to_gguf.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/gguf/gguf_tokenizer.h"
#include "checkpoints/vocabulary.h"

void gguf_note(char **notes, const char *fmt, ...) {
    char sentence[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    char *longer = xasprintf("%s%s\n", *notes ? *notes : "", sentence);
    free(*notes);
    *notes = longer;
}

static bool is_sentencepiece(const struct tokenizer *tok) {
    return tokenizer_model(tok) == TOKENIZER_SENTENCEPIECE;
}

/* --- tokens --- */

/* looks_special - "<|...|>" is a control token for llama.cpp even where the file does not call it special. */
static bool looks_special(struct token_entry entry) {
    return entry.length_bytes >= 4 && memcmp(entry.text, "<|", 2) == 0 &&
           memcmp(entry.text + entry.length_bytes - 2, "|>", 2) == 0;
}

/* type_of - as llama.cpp's own converter would write it. */
static int32_t type_of(struct token_entry entry) {
    switch (entry.kind) {
    case TOKEN_UNKNOWN:
        return GGUF_TOKEN_UNKNOWN;
    case TOKEN_CONTROL:
        return GGUF_TOKEN_CONTROL;
    case TOKEN_USER_DEFINED:
        return looks_special(entry) ? GGUF_TOKEN_CONTROL : GGUF_TOKEN_USER_DEFINED;
    case TOKEN_BYTE:
        return GGUF_TOKEN_BYTE;
    case TOKEN_UNUSED:
        return GGUF_TOKEN_UNUSED;
    case TOKEN_NORMAL:
        break;
    }
    return GGUF_TOKEN_NORMAL;
}

/* write_scores - first merges first, everything that no merge makes below them. */
static void write_scores(struct gguf_writer *writer, const struct tokenizer *tok, int64_t count) {
    int64_t num_merges = tokenizer_num_merges(tok), order = 0;
    float *scores = xmalloc((size_t)count * sizeof *scores);
    for (int64_t id = 0; id < count; id++)
        scores[id] = -(float)num_merges - 1000;
    for (int64_t i = 0; i < num_merges; i++) {
        int32_t left, right, result;
        tokenizer_merge(tok, i, &left, &right, &result);
        if (scores[result] < -(float)num_merges)
            scores[result] = -(float)order++;
    }
    gguf_set_f32s(writer, "tokenizer.ggml.scores", scores, count);
    free(scores);
}

/* write_tokens - as many as the embedding has rows: llama.cpp wants the two to agree, and every text once. */
static int write_tokens(struct gguf_writer *writer, const struct tokenizer *tok, int64_t count,
                        struct err *err) {
    struct gguf_string *texts = xcalloc((size_t)count, sizeof *texts);
    int32_t *types = xmalloc((size_t)count * sizeof *types);
    char(*padding)[32] = xmalloc((size_t)count * sizeof *padding);
    int status = 0;
    for (int64_t id = 0; id < count && status == 0; id++) {
        struct token_entry entry = {NULL, 0, TOKEN_UNUSED};
        if (id < tokenizer_vocab_size(tok))
            entry = tokenizer_entry(tok, (int32_t)id);
        if (!entry.text) {
            entry.length_bytes =
                (size_t)snprintf(padding[id], sizeof padding[id], "[PAD%lld]", (long long)id);
            entry.text = padding[id];
            entry.kind = TOKEN_UNUSED;
            if (tokenizer_id(tok, entry.text, entry.length_bytes) >= 0)
                status =
                    err_set(err, "cannot fill the unused id %lld: the tokenizer has a token '%s' already",
                            (long long)id, entry.text);
        }
        texts[id] = (struct gguf_string){entry.text, entry.length_bytes};
        types[id] = type_of(entry);
    }
    if (status == 0) {
        gguf_set_strings(writer, "tokenizer.ggml.tokens", texts, count);
        gguf_set_i32s(writer, "tokenizer.ggml.token_type", types, count);
    }
    free(texts);
    free(types);
    free(padding);
    return status;
}

/* append_part - one side of a merge.  A space inside it would end it too soon: as GPT-2's alphabet writes it.
 */
static char *append_part(char *to, struct token_entry part) {
    for (size_t i = 0; i < part.length_bytes; i++) {
        if (part.text[i] == ' ') {
            *to++ = (char)0xc4; /* U+0120 */
            *to++ = (char)0xa0;
        } else {
            *to++ = part.text[i];
        }
    }
    return to;
}

/* write_merges - "left right" each, in the order of their ranks; the texts are ours until they are copied. */
static void write_merges(struct gguf_writer *writer, const struct tokenizer *tok) {
    int64_t count = tokenizer_num_merges(tok);
    struct gguf_string *texts = xmalloc((size_t)count * sizeof *texts);
    for (int64_t i = 0; i < count; i++) {
        int32_t left, right, result;
        tokenizer_merge(tok, i, &left, &right, &result);
        struct token_entry a = tokenizer_entry(tok, left), b = tokenizer_entry(tok, right);
        char *text = xmalloc(2 * (a.length_bytes + b.length_bytes) + 1), *end = append_part(text, a);
        *end++ = ' ';
        end = append_part(end, b);
        texts[i] = (struct gguf_string){text, (size_t)(end - text)};
    }
    gguf_set_strings(writer, "tokenizer.ggml.merges", texts, count);
    for (int64_t i = 0; i < count; i++)
        free((char *)(uintptr_t)texts[i].text);
    free(texts);
}

/* --- token ids with a meaning --- */

/* set_id - an id that the tokenizer has not gets no key. */
static void set_id(struct gguf_writer *writer, const char *key, int32_t id) {
    if (id >= 0)
        gguf_set_u32(writer, key, (uint32_t)id);
}

/* first_of - the first of these texts that is a token other than except, or -1. */
static int32_t first_of(const struct tokenizer *tok, const char *const *texts, int num_texts,
                        int32_t except) {
    for (int i = 0; i < num_texts; i++) {
        int32_t id = tokenizer_id(tok, texts[i], strlen(texts[i]));
        if (id >= 0 && id != except)
            return id;
    }
    return -1;
}

/* write_end_ids - GGUF has three places for tokens that end generation: eos, eot (of a turn), eom (of a
 * message).  A model with more of them is noted, unless llama.cpp knows the rest by their texts. */
static void write_end_ids(struct gguf_writer *writer, const struct tokenizer *tok,
                          const struct model_config *config, int32_t eos, char **notes) {
    static const char *const turn_ends[] = {"<|eot_id|>", "<|im_end|>", "<end_of_turn>"};
    static const char *const known[] = {"<|eot_id|>", "<|im_end|>",    "<end_of_turn>",  "<|eom_id|>",
                                        "</s>",       "<|endoftext|>", "<|end_of_text|>"};
    static const char *const message_ends[] = {"<|eom_id|>"};
    int32_t turn = first_of(tok, turn_ends, 3, eos), message = first_of(tok, message_ends, 1, eos);
    for (int i = 0; i < config->num_eos; i++) {
        int32_t id = config->eos_ids[i];
        if (id == eos || id == turn || id == message)
            continue;
        if (turn < 0) {
            turn = id;
            continue;
        }
        bool is_known = false;
        for (size_t k = 0; k < sizeof known / sizeof *known && !is_known; k++)
            is_known = tokenizer_id(tok, known[k], strlen(known[k])) == id;
        if (!is_known)
            gguf_note(notes, "llama.cpp will not stop at the end token %d: GGUF has no place for it", id);
    }
    set_id(writer, "tokenizer.ggml.eot_token_id", turn);
    set_id(writer, "tokenizer.ggml.eom_token_id", message);
}

/* write_ids - begin and end are always written: llama.cpp would take numbers of its own for them. */
static int write_ids(struct gguf_writer *writer, const struct tokenizer *tok,
                     const struct model_config *config, char **notes, struct err *err) {
    int32_t bos = tokenizer_bos(tok) >= 0 ? tokenizer_bos(tok) : config->bos_id;
    int32_t eos = tokenizer_eos(tok) >= 0 ? tokenizer_eos(tok) : config->num_eos ? config->eos_ids[0] : -1;
    int32_t pad = tokenizer_pad(tok) >= 0 ? tokenizer_pad(tok) : config->pad_id;
    if (eos < 0)
        return err_set(
            err, "the tokenizer names no end-of-sequence token; set 'eos_token' in tokenizer_config.json");
    if (tokenizer_adds_bos(tok) && bos < 0)
        return err_set(err, "the tokenizer begins every text with a token that is not named as 'bos_token'");
    set_id(writer, "tokenizer.ggml.bos_token_id", bos >= 0 ? bos : eos);
    set_id(writer, "tokenizer.ggml.eos_token_id", eos);
    set_id(writer, "tokenizer.ggml.unknown_token_id", tokenizer_unknown(tok));
    set_id(writer, "tokenizer.ggml.padding_token_id", pad);
    write_end_ids(writer, tok, config, eos, notes);
    gguf_set_bool(writer, "tokenizer.ggml.add_bos_token", tokenizer_adds_bos(tok));
    gguf_set_bool(writer, "tokenizer.ggml.add_eos_token", tokenizer_adds_eos(tok));
    gguf_set_bool(writer, "tokenizer.ggml.add_space_prefix",
                  is_sentencepiece(tok) && tokenizer_adds_space_prefix(tok));
    return 0;
}

/* --- the procedure --- */

/* find_procedure - the name under tokenizer.ggml.pre. */
static const char *find_procedure(const struct tokenizer *tok, struct err *err) {
    if (is_sentencepiece(tok))
        return "default";
    const struct gguf_pretokenizer *pre = gguf_pretokenizer_for(tok);
    if (pre && !tokenizer_adds_space_prefix(tok))
        return pre->name;
    if (pre)
        err_set(err, "llama.cpp cannot tokenise like this model: its byte-level tokenizer puts a space "
                     "before the text");
    else
        err_set(
            err,
            "llama.cpp cannot tokenise like this model: no pre-tokenizer it knows splits by '%.200s'%s%s; "
            "export a Hugging Face folder instead",
            tokenizer_pattern(tok) ? tokenizer_pattern(tok) : "(several steps)",
            tokenizer_splits_digits(tok) ? " after single digits" : "",
            tokenizer_ignores_merges(tok) ? ", whole words first" : "");
    return NULL;
}

/* note_losses - llama.cpp takes text as it is; true where it will see other tokens than the tokenizer gives.
 */
static bool note_losses(const struct tokenizer *tok, char **notes) {
    const char *lost = tokenizer_inexpressible(tok);
    if (lost)
        gguf_note(notes, "%s", lost);
    const char *example;
    int64_t num_particular = tokenizer_num_particular(tok, &example);
    if (num_particular > 0)
        gguf_note(notes,
                  "%lld added token%s, '%.60s' first, take%s the white space beside them or stand for whole "
                  "words only "
                  "(lstrip, rstrip, single_word), which the format cannot express: engines will tokenise "
                  "texts with them "
                  "differently",
                  (long long)num_particular, num_particular > 1 ? "s" : "", example,
                  num_particular > 1 ? "" : "s");
    bool is_first = is_sentencepiece(tok) && tokenizer_prefix_is_first(tok);
    if (is_first)
        gguf_note(
            notes,
            "the tokenizer puts its space prefix only at the beginning of a text (Metaspace 'first'), which "
            "the format cannot express: engines put it after special tokens too, or never");
    if (tokenizer_normalises_nfc(tok))
        gguf_note(notes,
                  "the tokenizer composes accents (NFC) and llama.cpp does not: send it composed text");
    return lost || num_particular > 0 || is_first;
}

/* What the keys cannot say is in the notes for the user, and the whole tokenizer.json goes along, which
 * gguf_tokenizer_text reads again. */
int gguf_tokenizer_write(struct gguf_writer *writer, const struct tokenizer *tok, const char *tokenizer_json,
                         const struct model_config *config, char **notes, struct err *err) {
    const char *pre = find_procedure(tok, err);
    if (!pre || vocabulary_check(tok, config->vocab_size, err) != 0)
        return -1;
    const char *model = is_sentencepiece(tok) ? "llama" : "gpt2";
    gguf_set_text(writer, "tokenizer.ggml.model", model);
    gguf_set_text(writer, "tokenizer.ggml.pre", pre);
    if (write_tokens(writer, tok, config->vocab_size, err) != 0)
        return -1;
    if (is_sentencepiece(tok))
        write_scores(writer, tok, config->vocab_size);
    else
        write_merges(writer, tok);
    if (write_ids(writer, tok, config, notes, err) != 0)
        return -1;
    if (note_losses(tok, notes))
        gguf_set_text(writer, "tokenizer.huggingface.json", tokenizer_json);
    return 0;
}
