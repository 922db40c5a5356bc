/* tokenizer_facts.c - what is known about a loaded tokenizer: special tokens, identity, and the view of it
 * that the exporters need.  See tokenizer.h. */
#include <stdlib.h>

#include "data/corpus/json.h"
#include "data/tokenizer/tokenizer_parts.h"

int64_t tokenizer_vocab_size(const struct tokenizer *tok) {
    return tok->vocab.size;
}

int32_t tokenizer_bos(const struct tokenizer *tok) {
    return tok->bos;
}

int32_t tokenizer_eos(const struct tokenizer *tok) {
    return tok->eos;
}

int32_t tokenizer_pad(const struct tokenizer *tok) {
    return tok->pad;
}

int32_t tokenizer_unknown(const struct tokenizer *tok) {
    return tok->bpe.unknown;
}

bool tokenizer_adds_bos(const struct tokenizer *tok) {
    return tok->before.count > 0;
}

bool tokenizer_adds_eos(const struct tokenizer *tok) {
    return tok->after.count > 0;
}

static bool has_step(const struct tokenizer *tok, enum normal_kind kind) {
    for (int i = 0; i < tok->normaliser.num_steps; i++)
        if (tok->normaliser.steps[i].kind == kind)
            return true;
    return false;
}

bool tokenizer_normalises_nfc(const struct tokenizer *tok) {
    return has_step(tok, NORMAL_NFC);
}

const char *tokenizer_chat_template(const struct tokenizer *tok) {
    return tok->chat_template;
}

const char *tokenizer_tool_template(const struct tokenizer *tok) {
    return tok->tool_template;
}

const char *tokenizer_hash(const struct tokenizer *tok) {
    return tok->hash;
}

/* Added tokens first: one may have a string of the vocabulary, under the same id. */
int32_t tokenizer_id(const struct tokenizer *tok, const char *token, size_t length_bytes) {
    const struct added_token *added = added_find(&tok->added, token, length_bytes);
    return added ? added->id : vocab_find_text(&tok->vocab, token, length_bytes);
}

/* The longest of those that begin here; those that are looked for after normalising are not among them. */
int32_t tokenizer_added_at(const struct tokenizer *tok, const char *bytes, size_t length_bytes,
                           size_t *token_bytes) {
    const struct added_set *set = &tok->added.raw;
    int32_t id = -1;
    if (length_bytes == 0 || set->count == 0)
        return -1;
    unsigned char first = (unsigned char)bytes[0];
    *token_bytes = 0;
    for (int i = set->first[first]; i < set->first[first + 1]; i++) {
        const struct added_token *token = set->sorted[i];
        if (token->match_bytes > *token_bytes && token->match_bytes <= length_bytes &&
            memcmp(bytes, token->match, token->match_bytes) == 0) {
            id = token->id;
            *token_bytes = token->match_bytes;
        }
    }
    return id;
}

/* find_in - of one set. */
static int32_t find_in(const struct tokenizer *tok, const struct added_set *set, struct text_span text) {
    struct text_span span;
    size_t resume = 0;
    const struct added_token *token;
    while ((token = added_next(set, tok->chars, text, 0, true, &span, &resume)))
        if (token->special)
            return token->id;
    return -1;
}

int32_t tokenizer_find_special(const struct tokenizer *tok, const char *bytes, size_t length_bytes) {
    struct text_span text = {bytes, length_bytes};
    int32_t id = find_in(tok, &tok->added.raw, text);
    return id >= 0 ? id : find_in(tok, &tok->added.normalised, text);
}

void tokenizer_strips(const struct tokenizer *tok, int32_t id, bool *left, bool *right) {
    size_t length_bytes = 0;
    const char *text = vocab_text(&tok->vocab, id, &length_bytes);
    const struct added_token *added = text ? added_find(&tok->added, text, length_bytes) : NULL;
    *left = added && added->strips_left;
    *right = added && added->strips_right;
}

enum tokenizer_model tokenizer_model(const struct tokenizer *tok) {
    return tok->bpe.byte_level ? TOKENIZER_BYTE_LEVEL : TOKENIZER_SENTENCEPIECE;
}

struct token_entry tokenizer_entry(const struct tokenizer *tok, int32_t id) {
    CHECK(id >= 0 && id < tok->vocab.size, "id %d is outside the vocabulary of %lld", id,
          (long long)tok->vocab.size);
    struct token_entry entry = {.kind = (enum token_kind)tok->vocab.kinds[id]};
    entry.text = vocab_text(&tok->vocab, id, &entry.length_bytes);
    if (id == tok->bpe.unknown)
        entry.kind = TOKEN_UNKNOWN;
    if (entry.kind == TOKEN_NORMAL && tok->bpe.byte_fallback && entry.length_bytes == 6 &&
        memcmp(entry.text, "<0x", 3) == 0) {
        for (int byte = 0; byte < 256; byte++)
            if (tok->bpe.byte_ids[byte] == id)
                entry.kind = TOKEN_BYTE;
    }
    return entry;
}

int64_t tokenizer_num_merges(const struct tokenizer *tok) {
    return tok->bpe.num_merges;
}

void tokenizer_merge(const struct tokenizer *tok, int64_t i, int32_t *left, int32_t *right, int32_t *result) {
    CHECK(i >= 0 && i < tok->bpe.num_merges, "merge %lld of %lld", (long long)i,
          (long long)tok->bpe.num_merges);
    *left = tok->bpe.merges[i][0];
    *right = tok->bpe.merges[i][1];
    *result = tok->bpe.merges[i][2];
}

const char *tokenizer_pattern(const struct tokenizer *tok) {
    return tok->splitter.pattern;
}

bool tokenizer_ignores_merges(const struct tokenizer *tok) {
    return tok->bpe.ignore_merges;
}

bool tokenizer_adds_space_prefix(const struct tokenizer *tok) {
    return tok->splitter.adds_space_prefix || has_step(tok, NORMAL_PREPEND);
}

int64_t tokenizer_num_particular(const struct tokenizer *tok, const char **example) {
    int64_t count = 0;
    *example = NULL;
    for (int i = 0; i < tok->added.count; i++) {
        const struct added_token *token = &tok->added.tokens[i];
        if (!token->strips_left && !token->strips_right && !token->single_word)
            continue;
        count++;
        *example = *example ? *example : token->content;
    }
    return count;
}

bool tokenizer_prefix_is_first(const struct tokenizer *tok) {
    for (int i = 0; i < tok->splitter.num_steps; i++)
        if (tok->splitter.steps[i].kind == SPLIT_METASPACE && tok->splitter.steps[i].prepend == PREPEND_FIRST)
            return true;
    return false;
}

bool tokenizer_splits_digits(const struct tokenizer *tok) {
    return tok->splitter.splits_digits;
}

/* GGUF has room for: a space put in front, spaces written as U+2581, and (by normalising the text beforehand)
 * NFC. */
static bool is_expressible(const struct normal_step *step) {
    static const char block[] = "\xE2\x96\x81";
    switch (step->kind) {
    case NORMAL_NFC:
        return true;
    case NORMAL_PREPEND:
        return strcmp(step->replacement.content, block) == 0 || strcmp(step->replacement.content, " ") == 0;
    case NORMAL_REPLACE:
        return !step->replacement.regex && strcmp(step->replacement.pattern, " ") == 0 &&
               strcmp(step->replacement.content, block) == 0;
    default:
        return false;
    }
}

const char *tokenizer_inexpressible(const struct tokenizer *tok) {
    for (int i = 0; i < tok->normaliser.num_steps; i++)
        if (!is_expressible(&tok->normaliser.steps[i]))
            return "the tokenizer rewrites text before it splits it (normaliser steps beyond NFC and the "
                   "space prefix), "
                   "which the format cannot express: engines will tokenise some texts differently";
    return NULL;
}

/* "bos_token": "<s>" or {"content": "<s>", ...}; -1 where absent or not a token. */
static int32_t configured_token(const struct tokenizer *tok, const json_t *config, const char *key) {
    const json_t *value = config ? json_find(config, key) : NULL;
    if (json_is_object(value))
        value = json_object_get(value, "content");
    return json_is_string(value) ? tokenizer_id(tok, json_string_value(value), json_string_length(value))
                                 : -1;
}

/* A string, which is the default, a list of {"name", "template"}, of which the last of a name counts, or an object of names;
 * NULL where there is none of this name. */
static const char *configured_template(const json_t *config, const char *wanted) {
    json_t *value = config ? json_find(config, "chat_template") : NULL, *item;
    size_t i;
    if (json_is_string(value))
        return strcmp(wanted, "default") == 0 ? json_string_value(value) : NULL;
    const char *found = json_string_value(json_object_get(value, wanted));
    json_array_foreach(value, i, item) {
        const char *name, *text;
        if (json_get_string(item, "name", &name, NULL) == 0 && strcmp(name, wanted) == 0 &&
            json_get_string(item, "template", &text, NULL) == 0)
            found = text;
    }
    return found;
}

/* Begin and end tokens that the configuration does not name are those that the post-processor puts. */
int config_apply(struct tokenizer *tok, const json_t *config, struct err *err) {
    if (config && !json_is_object(config))
        return err_set(err, "tokenizer_config.json is %s, expected an object", json_type_name(config));
    tok->bos = configured_token(tok, config, "bos_token");
    tok->eos = configured_token(tok, config, "eos_token");
    tok->pad = configured_token(tok, config, "pad_token");
    if (tok->bos < 0 && tok->before.count > 0)
        tok->bos = tok->before.ids[0];
    if (tok->eos < 0 && tok->after.count > 0)
        tok->eos = tok->after.ids[tok->after.count - 1];
    const char *template = configured_template(config, "default");
    const char *tools = template ? configured_template(config, "tool_use") : NULL;
    tok->chat_template = template ? xstrdup(template) : NULL;
    tok->tool_template = tools ? xstrdup(tools) : NULL;
    return 0;
}

static void hash_number(struct sha256 *sha, int64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)number >> 8 * i);
    sha256_update(sha, bytes, sizeof bytes);
}

static void hash_string(struct sha256 *sha, const char *bytes, size_t length_bytes) {
    hash_number(sha, (int64_t)length_bytes); /* so that no two lists of strings look alike */
    sha256_update(sha, bytes, length_bytes);
}

/* A component of the pipeline in jansson's compact form with sorted keys. */
static void hash_json(struct sha256 *sha, const json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
    hash_string(sha, text ? text : "null", text ? strlen(text) : 4);
    free(text);
}

static void hash_added(struct sha256 *sha, const struct added_tokens *added) {
    hash_number(sha, added->count);
    for (int t = 0; t < added->count; t++) { /* sorted by content */
        const struct added_token *token = &added->tokens[t];
        hash_string(sha, token->content, token->content_bytes);
        hash_number(sha, token->id);
        hash_number(sha, token->special | token->single_word << 1 | token->strips_left << 2 |
                             token->strips_right << 3 | token->normalised << 4);
    }
}

void hash_compute(struct tokenizer *tok, const json_t *root) {
    /* What makes ids of text.  The decoder and the post-processor do not, and a GGUF file does not keep their
     * wording. */
    const char *const components[] = {"normalizer", "pre_tokenizer"};
    struct sha256 sha;
    sha256_init(&sha);
    hash_number(&sha, tok->vocab.size);
    for (int32_t id = 0; id < tok->vocab.size; id++) {
        size_t length_bytes = 0;
        const char *text = vocab_text(&tok->vocab, id, &length_bytes);
        if (!text)
            continue;
        hash_number(&sha, id);
        hash_string(&sha, text, length_bytes);
    }
    hash_number(&sha, tok->bpe.num_merges);
    for (int64_t i = 0; i < tok->bpe.num_merges; i++)
        for (int side = 0; side < 2; side++)
            hash_number(&sha, tok->bpe.merges[i][side]);
    hash_added(&sha, &tok->added);
    for (size_t i = 0; i < sizeof components / sizeof *components; i++)
        hash_json(&sha, json_object_get(root, components[i]));
    hash_number(&sha, tok->bpe.unknown);
    hash_number(&sha, tok->bpe.byte_level | tok->bpe.fuse_unknown << 1 | tok->bpe.byte_fallback << 2 |
                          tok->bpe.ignore_merges << 3);
    sha256_finish(&sha, tok->hash);
}
