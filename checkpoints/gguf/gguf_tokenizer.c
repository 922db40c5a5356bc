/* gguf_tokenizer.c - the tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json.
 *
 * GGUF stores a vocabulary and the name of a procedure; Hugging Face stores the procedure itself.  Two kinds:
 * "gpt2" is byte-level BPE with its list of merges and a pre-tokenizer known by name, "llama" is a
 * SentencePiece vocabulary with scores, whose merges are made again in gguf_merges.c. Source: llama.cpp,
 * src/llama-vocab.cpp; huggingface/tokenizers, the format of tokenizer.json. */
#include "checkpoints/gguf/gguf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/gguf/gguf_merges.h"
#include "checkpoints/gguf/gguf_model.h"
#include "data/corpus/json.h"

/* The regular expressions that llama.cpp has for a name (llm_tokenizer_bpe), as the tokenizer.json of those models
 * writes them: GPT-2's words, its endings ('s, 't, ...), and what is left: marks, ends of lines, white space. */
#define WORDS_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define ENDINGS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

static const char pattern_llama3[] = ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" REST;
static const char pattern_qwen2[] = ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" REST;
static const char pattern_tekken[] =
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER
    "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* The first that fits is the one that is written. */
static const struct gguf_pretokenizer pretokenizers[] = {
    {"llama-bpe", pattern_llama3, false, true, true, false},
    {"llama3", pattern_llama3, false, true, true, false},
    {"llama-v3", pattern_llama3, false, true, true, false},
    {"smaug-bpe", pattern_llama3, false, false, false, false},
    {"qwen2", pattern_qwen2, false, false, false, true},
    {"tekken", pattern_tekken, false, true, true, false},
    {"smollm", "", true, false, false, false},
    {"gpt-2", "", false, false, false, false},
};

/* What llama.cpp falls back on ("default", or no name): four splits one after the other. */
static const char *const default_patterns[] = {"[\\p{P}\\$\\+<=>\\^~\\|]+", WORDS_GPT2, "\\p{N}+",
                                               "[0-9][0-9][0-9]"};
static const struct gguf_pretokenizer default_pretokenizer = {"default", NULL, false, false, false, false};

static const struct gguf_pretokenizer *pretokenizer_by_name(const char *name, size_t length_bytes) {
    for (size_t i = 0; i < sizeof pretokenizers / sizeof *pretokenizers; i++)
        if (strlen(pretokenizers[i].name) == length_bytes &&
            memcmp(pretokenizers[i].name, name, length_bytes) == 0)
            return &pretokenizers[i];
    if (length_bytes == strlen("default") && memcmp(name, "default", length_bytes) == 0)
        return &default_pretokenizer;
    return NULL;
}

const struct gguf_pretokenizer *gguf_pretokenizer_for(const struct tokenizer *tok) {
    const char *pattern = tokenizer_pattern(tok);
    for (size_t i = 0; pattern && i < sizeof pretokenizers / sizeof *pretokenizers; i++)
        if (strcmp(pretokenizers[i].pattern, pattern) == 0 &&
            pretokenizers[i].splits_digits == tokenizer_splits_digits(tok) &&
            pretokenizers[i].ignores_merges == tokenizer_ignores_merges(tok))
            return &pretokenizers[i];
    return NULL;
}

/* What is read. */
struct source {
    const struct gguf *file;
    int64_t tokens, types; /* indices of the lists; types -1: all normal */
    int64_t num_tokens;
    bool sentencepiece;
    bool space_prefix;
    bool adds_bos, adds_eos;
    const struct gguf_pretokenizer *pre; /* byte-level only */
};

/* --- keys --- */

static bool get_bool(const struct gguf *file, const char *key, bool fallback) {
    int64_t index = gguf_find_key(file, key), value;
    return index >= 0 && gguf_get_int(file, index, 0, &value, NULL) == 0 ? value != 0 : fallback;
}

static bool equals(struct gguf_string value, const char *text) {
    return value.length_bytes == strlen(text) && memcmp(value.text, text, value.length_bytes) == 0;
}

/* find_list - index of an array with num elements (-1: any number), or -1 with err set. */
static int64_t find_list(const struct gguf *file, const char *key, int64_t num, struct err *err) {
    int64_t index = gguf_find_key(file, key);
    if (index < 0 || gguf_key_type(file, index) != GGUF_ARRAY)
        return err_set(err, "'%s' has no list '%s'", gguf_path(file), key);
    if (num >= 0 && gguf_array_count(file, index) != num)
        return err_set(err, "'%s': list '%s' has %lld elements, but there are %lld tokens", gguf_path(file),
                       key, (long long)gguf_array_count(file, index), (long long)num);
    return index;
}

/* read_pretokenizer - an unknown one is refused: text would be cut at other places than in training, and the model would be
 * worse without any sign of it. */
static int read_pretokenizer(struct source *source, struct err *err) {
    struct gguf_string name;
    int64_t index = gguf_find_key(source->file, "tokenizer.ggml.pre");
    source->pre = &default_pretokenizer;
    if (index < 0)
        return 0;
    if (gguf_get_string(source->file, index, 0, &name, err) != 0)
        return -1;
    source->pre = pretokenizer_by_name(name.text, name.length_bytes);
    if (!source->pre)
        return err_set(
            err,
            "'%s' uses the pre-tokenizer '%.*s', which is not supported; take tokenizer.json from the "
            "original model",
            gguf_path(source->file), (int)(name.length_bytes < 40 ? name.length_bytes : 40), name.text);
    return 0;
}

/* read_source - for a key that is missing what llama.cpp takes then. */
static int read_source(struct source *source, struct err *err) {
    const struct gguf *file = source->file;
    struct gguf_string model;
    int64_t index = gguf_find_key(file, "tokenizer.ggml.model");
    if (index < 0)
        return err_set(err, "'%s' holds no tokenizer", gguf_path(file));
    if (gguf_get_string(file, index, 0, &model, err) != 0)
        return -1;
    source->sentencepiece = equals(model, "llama");
    if (!source->sentencepiece && !equals(model, "gpt2"))
        return err_set(err,
                       "'%s' has a tokenizer of the kind '%.*s', which is not supported (gpt2 and llama are)",
                       gguf_path(file), (int)(model.length_bytes < 40 ? model.length_bytes : 40), model.text);
    source->tokens = find_list(file, "tokenizer.ggml.tokens", -1, err);
    if (source->tokens < 0)
        return -1;
    source->num_tokens = gguf_array_count(file, source->tokens);
    if (source->num_tokens > INT32_MAX)
        return err_set(err, "'%s' has too many tokens", gguf_path(file));
    source->types = gguf_find_key(file, "tokenizer.ggml.token_type");
    if (source->types >= 0 && find_list(file, "tokenizer.ggml.token_type", source->num_tokens, err) < 0)
        return -1;
    if (!source->sentencepiece && read_pretokenizer(source, err) != 0)
        return -1;
    source->space_prefix = source->sentencepiece && get_bool(file, "tokenizer.ggml.add_space_prefix", true);
    source->adds_bos =
        get_bool(file, "tokenizer.ggml.add_bos_token", source->sentencepiece ? true : source->pre->adds_bos);
    source->adds_eos = get_bool(file, "tokenizer.ggml.add_eos_token", false);
    return 0;
}

/* token_at - text and type of a token. */
static int token_at(const struct source *source, int64_t id, struct gguf_string *text, int64_t *type,
                    struct err *err) {
    *type = GGUF_TOKEN_NORMAL;
    if (gguf_get_string(source->file, source->tokens, id, text, err) != 0)
        return -1;
    return source->types < 0 ? 0 : gguf_get_int(source->file, source->types, id, type, err);
}

/* is_padding - "[PAD123]" for id 123: a row of the embedding that no token has. */
static bool is_padding(struct gguf_string text, int64_t id, int64_t type) {
    char padding[32];
    snprintf(padding, sizeof padding, "[PAD%lld]", (long long)id);
    return type == GGUF_TOKEN_UNUSED && equals(text, padding);
}

/* --- parts of tokenizer.json --- */

/* add_token - into the vocabulary, and where it is matched before anything else also into the added tokens.
 */
static int add_token(const struct source *source, int64_t id, json_t *vocab, json_t *added, struct err *err) {
    struct gguf_string text;
    int64_t type;
    if (token_at(source, id, &text, &type, err) != 0)
        return -1;
    if (is_padding(text, id, type))
        return 0;
    json_t *string =
        memchr(text.text, 0, text.length_bytes) ? NULL : json_stringn(text.text, text.length_bytes);
    if (!string)
        return err_set(err, "'%s': token %lld is not UTF-8 text", gguf_path(source->file), (long long)id);
    bool is_twice = json_object_getn(vocab, text.text, text.length_bytes) != NULL;
    json_object_setn_new(vocab, text.text, text.length_bytes, json_integer(id));
    bool is_special = type == GGUF_TOKEN_CONTROL || type == GGUF_TOKEN_UNKNOWN;
    if (is_special || type == GGUF_TOKEN_USER_DEFINED)
        json_array_append_new(added, json_pack("{sI sO sb sb sb sb sb}", "id", (json_int_t)id, "content",
                                               string, "single_word", 0, "lstrip", 0, "rstrip", 0,
                                               "normalized", 0, "special", (int)is_special));
    json_decref(string);
    if (is_twice)
        return err_set(err, "'%s': token %lld occurs twice", gguf_path(source->file), (long long)id);
    return 0;
}

/* byte_level_merges - the list of "left right", which also says how GGUF's writers cut: at the first space
 * that is not the first character. */
static json_t *byte_level_merges(const struct source *source, const json_t *vocab, struct err *err) {
    int64_t index = find_list(source->file, "tokenizer.ggml.merges", -1, err);
    if (index < 0)
        return NULL;
    json_t *merges = json_array();
    for (int64_t i = 0; i < gguf_array_count(source->file, index); i++) {
        struct gguf_string text;
        if (gguf_get_string(source->file, index, i, &text, err) != 0)
            goto fail;
        const char *space = text.length_bytes > 1 ? memchr(text.text + 1, ' ', text.length_bytes - 1) : NULL;
        size_t left_bytes = space ? (size_t)(space - text.text) : text.length_bytes;
        size_t right_bytes = space ? text.length_bytes - left_bytes - 1 : 0;
        if (!space || !json_object_getn(vocab, text.text, left_bytes) ||
            !json_object_getn(vocab, space + 1, right_bytes)) {
            err_set(err, "'%s': merge %lld does not join two tokens", gguf_path(source->file), (long long)i);
            goto fail;
        }
        json_t *pair = json_array();
        json_array_append_new(pair, json_stringn(text.text, left_bytes));
        json_array_append_new(pair, json_stringn(space + 1, right_bytes));
        json_array_append_new(merges, pair);
    }
    return merges;
fail:
    json_decref(merges);
    return NULL;
}

/* bpe_model - the "model" member; vocab and merges are given away. */
static json_t *bpe_model(const struct source *source, json_t *vocab, json_t *merges, json_t *unknown) {
    bool spm = source->sentencepiece;
    return json_pack("{ss sn so sn sn sb sb sb so so}", "type", "BPE", "dropout", "unk_token", unknown,
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", (int)spm, "byte_fallback",
                     (int)spm, "ignore_merges", (int)(source->pre && source->pre->ignores_merges), "vocab",
                     vocab, "merges", merges);
}

static json_t *replace_step(const char *from, const char *to) {
    return json_pack("{ss s{ss} ss}", "type", "Replace", "pattern", "String", from, "content", to);
}

/* SentencePiece writes spaces as U+2581. */
static const char block[] = "\xe2\x96\x81";

/* normalizer_of - SentencePiece sees a text with its spaces made visible, and one before the first word. */
static json_t *normalizer_of(const struct source *source) {
    if (!source->sentencepiece)
        return source->pre->normalises_nfc ? json_pack("{ss}", "type", "NFC") : json_null();
    json_t *replace = replace_step(" ", block);
    if (!source->space_prefix)
        return replace;
    return json_pack("{ss s[{ss ss} o]}", "type", "Sequence", "normalizers", "type", "Prepend", "prepend",
                     block, replace);
}

static json_t *split_step(const char *pattern) {
    return json_pack("{ss s{ss} ss sb}", "type", "Split", "pattern", "Regex", pattern, "behavior", "Isolated",
                     "invert", 0);
}

static json_t *byte_level_step(bool use_regex) {
    return json_pack("{ss sb sb sb}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                     "use_regex", (int)use_regex);
}

/* pre_tokenizer_of - SentencePiece cuts nothing before its merges; the others end with the step from bytes to
 * letters. */
static json_t *pre_tokenizer_of(const struct source *source) {
    if (source->sentencepiece)
        return json_null();
    const struct gguf_pretokenizer *pre = source->pre;
    bool own_pattern = pre->pattern && !pre->pattern[0];
    json_t *steps = json_array();
    if (pre->splits_digits)
        json_array_append_new(steps, json_pack("{ss sb}", "type", "Digits", "individual_digits", 1));
    if (pre->pattern && !own_pattern)
        json_array_append_new(steps, split_step(pre->pattern));
    for (size_t i = 0; !pre->pattern && i < sizeof default_patterns / sizeof *default_patterns; i++)
        json_array_append_new(steps, split_step(default_patterns[i]));
    json_array_append_new(steps, byte_level_step(own_pattern));
    return json_pack("{ss so}", "type", "Sequence", "pretokenizers", steps);
}

/* decoder_of - the way back, in the reverse order; the space before the first word goes again. */
static json_t *decoder_of(const struct source *source) {
    if (!source->sentencepiece)
        return byte_level_step(true);
    json_t *steps =
        json_pack("[o {ss} {ss}]", replace_step(block, " "), "type", "ByteFallback", "type", "Fuse");
    if (source->space_prefix)
        json_array_append_new(
            steps, json_pack("{ss ss si si}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    return json_pack("{ss so}", "type", "Sequence", "decoders", steps);
}

/* special_token - text of the token whose id is under a key, or JSON null: an id outside of the list is none. */
static json_t *special_token(const struct source *source, const char *key, int64_t *id) {
    struct gguf_string text;
    int64_t index = gguf_find_key(source->file, key);
    *id = -1;
    if (index < 0 || gguf_get_int(source->file, index, 0, id, NULL) != 0 || *id < 0 ||
        *id >= source->num_tokens || gguf_get_string(source->file, source->tokens, *id, &text, NULL) != 0) {
        *id = -1;
        return json_null();
    }
    return json_stringn(text.text, text.length_bytes);
}

/* add_to_template - a special token into the post-processor: into both sequences and the table. */
static void add_to_template(json_t *single, json_t *pair, json_t *table, json_t *token, int64_t id,
                            int type_id) {
    json_t *step = json_pack("{s{sO si}}", "SpecialToken", "id", token, "type_id", 0);
    json_array_append(single, step);
    json_array_append_new(pair, type_id ? json_pack("{s{sO si}}", "SpecialToken", "id", token, "type_id", 1)
                                        : json_incref(step));
    json_decref(step);
    json_object_set_new(table, json_string_value(token),
                        json_pack("{sO s[I] s[O]}", "id", token, "ids", (json_int_t)id, "tokens", token));
}

/* post_processor_of - begin and end tokens around the text.  Asked for without being named, they are left
 * out, as llama.cpp does. */
static json_t *post_processor_of(const struct source *source) {
    int64_t bos_id, eos_id;
    json_t *bos = special_token(source, "tokenizer.ggml.bos_token_id", &bos_id);
    json_t *eos = special_token(source, "tokenizer.ggml.eos_token_id", &eos_id);
    json_t *single = json_array(), *pair = json_array(), *table = json_object(), *result;
    bool adds_bos = source->adds_bos && bos_id >= 0, adds_eos = source->adds_eos && eos_id >= 0;
    if (adds_bos)
        add_to_template(single, pair, table, bos, bos_id, 0);
    json_array_append_new(single, json_pack("{s{ss si}}", "Sequence", "id", "A", "type_id", 0));
    json_array_append_new(pair, json_pack("{s{ss si}}", "Sequence", "id", "A", "type_id", 0));
    json_array_append_new(pair, json_pack("{s{ss si}}", "Sequence", "id", "B", "type_id", 1));
    if (adds_eos)
        add_to_template(single, pair, table, eos, eos_id, 1);
    if (adds_bos || adds_eos)
        result = json_pack("{ss sO sO sO}", "type", "TemplateProcessing", "single", single, "pair", pair,
                           "special_tokens", table);
    else
        result = source->sentencepiece ? json_null() : byte_level_step(true);
    json_decref(single);
    json_decref(pair);
    json_decref(table);
    json_decref(bos);
    json_decref(eos);
    return result;
}

/* --- the two texts --- */

/* build_tokenizer - tokenizer.json as a tree, or NULL with err set. */
static json_t *build_tokenizer(const struct source *source, struct err *err) {
    json_t *vocab = json_object(), *added = json_array(), *merges = NULL;
    int64_t unknown_id;
    for (int64_t id = 0; id < source->num_tokens; id++)
        if (add_token(source, id, vocab, added, err) != 0)
            goto fail;
    merges = source->sentencepiece ? gguf_merges_from_scores(source->file, vocab, err)
                                   : byte_level_merges(source, vocab, err);
    if (!merges)
        goto fail;
    json_t *unknown = source->sentencepiece
                          ? special_token(source, "tokenizer.ggml.unknown_token_id", &unknown_id)
                          : json_null();
    return json_pack("{ss sn sn so so so so so so}", "version", "1.0", "truncation", "padding",
                     "added_tokens", added, "normalizer", normalizer_of(source), "pre_tokenizer",
                     pre_tokenizer_of(source), "post_processor", post_processor_of(source), "decoder",
                     decoder_of(source), "model", bpe_model(source, vocab, merges, unknown));
fail:
    json_decref(vocab);
    json_decref(added);
    return NULL;
}

/* add_templates - the chat template, and the one for tools, as tokenizer_config.json lists them. */
static int add_templates(const struct source *source, json_t *config, struct err *err) {
    static const char *const keys[][2] = {{"default", "tokenizer.chat_template"},
                                          {"tool_use", "tokenizer.chat_template.tool_use"}};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct gguf_string text;
        int64_t index = gguf_find_key(source->file, keys[i][1]);
        if (index < 0)
            continue;
        json_t *template = NULL;
        if (gguf_get_string(source->file, index, 0, &text, err) == 0 &&
            !(template = json_stringn(text.text, text.length_bytes)))
            err_set(err, "'%s': the chat template is not UTF-8 text", gguf_path(source->file));
        if (!template) {
            json_decref(list);
            return -1;
        }
        json_array_append_new(list, json_pack("{ss so}", "name", keys[i][0], "template", template));
    }
    json_t *first = json_array_get(list, 0);
    bool is_one = json_array_size(list) == 1 && gguf_find_key(source->file, keys[0][1]) >= 0;
    if (first)
        json_object_set(config, "chat_template", is_one ? json_object_get(first, "template") : list);
    json_decref(list);
    return 0;
}

/* build_config - tokenizer_config.json as a tree, or NULL with err set. */
static json_t *build_config(const struct source *source, struct err *err) {
    static const char *const names[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                           {"eos_token", "tokenizer.ggml.eos_token_id"},
                                           {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                           {"pad_token", "tokenizer.ggml.padding_token_id"}};
    json_t *config = json_pack("{ss sb sb sb}", "tokenizer_class", "PreTrainedTokenizerFast", "add_bos_token",
                               (int)source->adds_bos, "add_eos_token", (int)source->adds_eos,
                               "clean_up_tokenization_spaces", 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t id;
        json_t *token = special_token(source, names[i][1], &id);
        if (id >= 0)
            json_object_set(config, names[i][0], token);
        json_decref(token);
    }
    if (add_templates(source, config, err) == 0)
        return config;
    json_decref(config);
    return NULL;
}

/* stored_tokenizer - the original tokenizer.json, which some files carry whole.  Returns 0 with *tree NULL
 * where there is none. */
static int stored_tokenizer(const struct gguf *file, json_t **tree, struct err *err) {
    struct gguf_string text;
    int64_t index = gguf_find_key(file, "tokenizer.huggingface.json");
    *tree = NULL;
    if (index < 0)
        return 0;
    if (gguf_get_string(file, index, 0, &text, err) != 0)
        return -1;
    *tree = json_parse_text(text.text, text.length_bytes, gguf_path(file), err);
    return *tree ? 0 : err_prefix(err, "key 'tokenizer.huggingface.json'");
}

/* The stored tokenizer.json comes first: it is the original, the keys are what of it GGUF can say. */
int gguf_tokenizer_text(const struct gguf *file, char **tokenizer_json, char **tokenizer_config,
                        struct err *err) {
    struct source source = {.file = file};
    json_t *tree;
    if (read_source(&source, err) != 0 || stored_tokenizer(file, &tree, err) != 0)
        return -1;
    if (!tree)
        tree = build_tokenizer(&source, err);
    if (!tree)
        return -1;
    json_t *config = build_config(&source, err);
    if (!config) {
        json_decref(tree);
        return -1;
    }
    *tokenizer_json = json_dumps(tree, JSON_COMPACT);
    *tokenizer_config = json_dumps(config, JSON_INDENT(2));
    json_decref(tree);
    json_decref(config);
    CHECK(*tokenizer_json && *tokenizer_config, "out of memory while writing a tokenizer");
    return 0;
}
