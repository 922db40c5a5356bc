/* tekken.c - see tekken.h. */
#include "data/tokenizer/tekken.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "data/tokenizer/base64.h"
#include "data/tokenizer/tokenizer_vocab.h"

/* The longest token of those that are published has 76 bytes; of a longer one every cut would be looked for. */
enum { MAX_TOKEN_BYTES = 512, NUM_BYTES = 256, MAX_NAME_BYTES = 256, MAX_SPECIAL = 1 << 16 };

/* A file that is being read. */
struct tekken {
    const char *origin, *pattern;
    int64_t num_special, num_tokens; /* num_tokens: of the vocabulary, without the special ones */
    struct text arena;               /* bytes of all tokens, end to end */
    size_t *starts;                  /* [num_tokens + 1] */
    int32_t *slots;                  /* open addressing: rank + 1 by bytes; 0 is free */
    uint64_t mask;
    const char **special; /* [num_special] borrowed; NULL: a filler */
};

/* --- ranks by bytes --- */

/* slot_of - where these bytes stand, or would. */
static int32_t *slot_of(const struct tekken *t, const char *bytes, size_t length_bytes) {
    uint64_t at = hash_bytes(bytes, length_bytes) & t->mask;
    for (; t->slots[at]; at = (at + 1) & t->mask) {
        size_t start = t->starts[t->slots[at] - 1];
        if (t->starts[t->slots[at]] - start == length_bytes &&
            memcmp(t->arena.bytes + start, bytes, length_bytes) == 0)
            break;
    }
    return &t->slots[at];
}

/* --- reading --- */

/* read_token - the bytes of rank `rank`, at the end of the arena. */
static int read_token(struct tekken *t, int64_t rank, const json_t *entry, struct err *err) {
    const char *text;
    size_t text_bytes, length_bytes = 0;
    int64_t said;
    char bytes[MAX_TOKEN_BYTES];
    if (json_get_int(entry, "rank", &said, err) != 0 ||
        json_get_text(entry, "token_bytes", &text, &text_bytes, err) != 0)
        return err_prefix(err, "vocab entry %lld", (long long)rank);
    if (said != rank)
        return err_set(err, "vocab entry %lld has rank %lld: ranks are to be 0, 1, 2, ...", (long long)rank,
                       (long long)said);
    if (base64_decode(text, text_bytes, bytes, sizeof bytes, &length_bytes) != 0 || length_bytes == 0)
        return err_set(err, "token_bytes of vocab entry %lld is not base64 of 1 to %d bytes", (long long)rank,
                       MAX_TOKEN_BYTES);
    if (rank < NUM_BYTES && (length_bytes != 1 || (unsigned char)bytes[0] != rank))
        return err_set(err,
                       "vocab entry %lld is not the byte %lld: the first 256 are the bytes in their order",
                       (long long)rank, (long long)rank);
    t->starts[rank] = t->arena.length_bytes;
    t->starts[rank + 1] = t->starts[rank] + length_bytes;
    int32_t *slot = slot_of(t, bytes, length_bytes);
    if (*slot)
        return err_set(err, "vocab entries %d and %lld have the same bytes", *slot - 1, (long long)rank);
    text_append(&t->arena, bytes, length_bytes);
    *slot = (int32_t)rank + 1;
    return 0;
}

static int read_vocab(struct tekken *t, const json_t *vocab, struct err *err) {
    uint64_t num_slots = 1024;
    while (num_slots < 2 * (uint64_t)t->num_tokens)
        num_slots *= 2;
    t->mask = num_slots - 1;
    t->slots = xcalloc((size_t)num_slots, sizeof *t->slots);
    t->starts = xcalloc((size_t)t->num_tokens + 1, sizeof *t->starts);
    for (int64_t rank = 0; rank < t->num_tokens; rank++)
        if (read_token(t, rank, json_array_get(vocab, (size_t)rank), err) != 0)
            return -1;
    return 0;
}

/* check_keys - of config: one that is not known may say how ids are made. */
static int check_keys(json_t *config, struct err *err) {
    static const char *const known[] = {"pattern", "num_vocab_tokens", "default_vocab_size",
                                        "default_num_special_tokens", "version"};
    const char *key;
    json_t *value;
    json_object_foreach(config, key, value) {
        bool is_known = false;
        for (size_t i = 0; i < sizeof known / sizeof *known && !is_known; i++)
            is_known = strcmp(key, known[i]) == 0;
        if (!is_known)
            return err_set(err, "key 'config/%.60s' is not known", key);
    }
    return 0;
}

static int read_config(struct tekken *t, json_t *root, int64_t *size, struct err *err) {
    json_t *config, *vocab;
    if (json_get_object(root, "config", &config, err) != 0 || check_keys(config, err) != 0 ||
        json_get_array(root, "vocab", &vocab, err) != 0 ||
        json_get_string(config, "pattern", &t->pattern, err) != 0 ||
        json_get_int(config, "default_vocab_size", size, err) != 0 ||
        json_get_int(config, "default_num_special_tokens", &t->num_special, err) != 0)
        return -1;
    if (t->num_special < 0 || t->num_special > MAX_SPECIAL || *size > VOCAB_MAX_IDS || *size < NUM_BYTES ||
        t->num_special > *size - NUM_BYTES)
        return err_set(err, "default_vocab_size %lld with %lld special tokens is out of range",
                       (long long)*size, (long long)t->num_special);
    t->num_tokens = *size - t->num_special;
    if ((int64_t)json_array_size(vocab) < t->num_tokens)
        return err_set(err, "'vocab' has %zu entries, default_vocab_size asks for %lld",
                       json_array_size(vocab), (long long)t->num_tokens);
    return 0;
}

/* --- special tokens --- */

/* What files without a list mean. */
static const char *const usual_special[] = {"<unk>",
                                            "<s>",
                                            "</s>",
                                            "[INST]",
                                            "[/INST]",
                                            "[AVAILABLE_TOOLS]",
                                            "[/AVAILABLE_TOOLS]",
                                            "[TOOL_RESULTS]",
                                            "[/TOOL_RESULTS]",
                                            "[TOOL_CALLS]",
                                            "[IMG]",
                                            "<pad>",
                                            "[IMG_BREAK]",
                                            "[IMG_END]",
                                            "[PREFIX]",
                                            "[MIDDLE]",
                                            "[SUFFIX]",
                                            "[SYSTEM_PROMPT]",
                                            "[/SYSTEM_PROMPT]",
                                            "[TOOL_CONTENT]"};

/* take_usual - of versions up to 7, whose files have no list. */
static int take_usual(struct tekken *t, const json_t *root, struct err *err) {
    enum { NUM_USUAL = sizeof usual_special / sizeof *usual_special };
    const char *version;
    if (json_get_string(root, "config/version", &version, err) != 0)
        return -1;
    if (strcmp(version, "v1") != 0 && strcmp(version, "v2") != 0 && strcmp(version, "v3") != 0 &&
        strcmp(version, "v7") != 0)
        return err_set(err, "version '%.20s' without 'special_tokens': later versions than v7 list them",
                       version);
    if (t->num_special < NUM_USUAL)
        return err_set(err, "%lld special tokens, and no list of them: there are %d",
                       (long long)t->num_special, NUM_USUAL);
    memcpy(t->special, usual_special, sizeof usual_special);
    return 0;
}

/* take_listed - each rank once, from 0 on. */
static int take_listed(struct tekken *t, const json_t *list, struct err *err) {
    size_t i, count = json_array_size(list), length_bytes;
    json_t *entry;
    json_array_foreach(list, i, entry) {
        int64_t rank;
        const char *text;
        if (json_get_int(entry, "rank", &rank, err) != 0 ||
            json_get_text(entry, "token_str", &text, &length_bytes, err) != 0)
            return err_prefix(err, "special_tokens entry %zu", i);
        if (rank < 0 || rank >= t->num_special || rank >= (int64_t)count || t->special[rank])
            return err_set(err,
                           "special_tokens entry %zu has rank %lld: each rank from 0 on is to be there once",
                           i, (long long)rank);
        if (length_bytes == 0 || length_bytes > MAX_NAME_BYTES || strlen(text) != length_bytes)
            return err_set(err, "special_tokens entry %zu is empty, holds NUL or is longer than %d bytes", i,
                           MAX_NAME_BYTES);
        t->special[rank] = text;
    }
    return 0;
}

static int read_special(struct tekken *t, const json_t *root, struct err *err) {
    json_t *list = json_find(root, "special_tokens");
    t->special = xcalloc((size_t)t->num_special + 1, sizeof *t->special);
    if (!list)
        return take_usual(t, root, err);
    return json_is_array(list) ? take_listed(t, list, err) : err_set(err, "'special_tokens' is not a list");
}

/* --- writing --- */

/* alphabet_text - bytes as a byte-level vocabulary writes them, into text, which has 2 length_bytes + 1. */
static size_t alphabet_text(const char *bytes, size_t length_bytes, char *text) {
    char *end = text;
    for (size_t i = 0; i < length_bytes; i++) {
        uint32_t code = byte_alphabet((unsigned char)bytes[i]);
        if (code >= 0x80)
            *end++ = (char)(0xC0 | code >> 6);
        *end++ = (char)(code >= 0x80 ? 0x80 | (code & 0x3F) : code);
    }
    return (size_t)(end - text);
}

static json_t *token_string(const struct tekken *t, int64_t rank) {
    char text[2 * MAX_TOKEN_BYTES];
    size_t start = t->starts[rank];
    return json_stringn(text, alphabet_text(t->arena.bytes + start, t->starts[rank + 1] - start, text));
}

/* add_special - to the vocabulary and the added tokens; a text is one token. */
static int add_special(const struct tekken *t, json_t *vocab, json_t *added, struct err *err) {
    char filler[40];
    for (int64_t id = 0; id < t->num_special; id++) {
        snprintf(filler, sizeof filler, "<SPECIAL_%lld>", (long long)id);
        const char *text = t->special[id] ? t->special[id] : filler;
        if (json_object_get(vocab, text))
            return err_set(err, "'%.60s' is a special token and another token too", text);
        json_object_set_new(vocab, text, json_integer(id));
        json_array_append_new(added, json_pack("{sI ss sb sb sb sb sb}", "id", (json_int_t)id, "content",
                                               text, "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized",
                                               0, "special", 1));
    }
    return 0;
}

/* One way to cut a token. */
struct cut {
    int32_t left, right;
};

static int by_ranks(const void *a, const void *b) {
    const struct cut *x = a, *y = b;
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

/* add_merges - of a token of several bytes, the one with the lowest ranks first. */
static void add_merges(const struct tekken *t, int64_t rank, json_t *const *strings, json_t *merges) {
    const char *bytes = t->arena.bytes + t->starts[rank];
    size_t length_bytes = t->starts[rank + 1] - t->starts[rank], count = 0;
    struct cut cuts[MAX_TOKEN_BYTES];
    for (size_t at = 1; at < length_bytes; at++) {
        int32_t left = *slot_of(t, bytes, at), right = *slot_of(t, bytes + at, length_bytes - at);
        if (left && right)
            cuts[count++] = (struct cut){left - 1, right - 1};
    }
    qsort(cuts, count, sizeof *cuts, by_ranks);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(merges, json_pack("[OO]", strings[cuts[i].left], strings[cuts[i].right]));
}

/* make_model - "model" of tokenizer.json; vocab is given away. */
static json_t *make_model(const struct tekken *t, json_t *vocab) {
    json_t *merges = json_array(), **strings = xcalloc((size_t)t->num_tokens, sizeof *strings);
    for (int64_t rank = 0; rank < t->num_tokens; rank++)
        strings[rank] = token_string(t, rank);
    for (int64_t rank = NUM_BYTES; rank < t->num_tokens; rank++)
        add_merges(t, rank, strings, merges);
    for (int64_t rank = 0; rank < t->num_tokens; rank++)
        json_decref(strings[rank]);
    free(strings);
    return json_pack("{ss sn sn sn sn sb sb sb so so}", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                     "ignore_merges", 1, "vocab", vocab, "merges", merges);
}

/* find_special - the id of a special token of that text, or -1. */
static int64_t find_special(const struct tekken *t, const char *text) {
    for (int64_t id = 0; id < t->num_special; id++)
        if (t->special[id] && strcmp(t->special[id], text) == 0)
            return id;
    return -1;
}

/* make_post - <s> before each text, where there is such a token. */
static json_t *make_post(const struct tekken *t) {
    int64_t id = find_special(t, "<s>");
    if (id < 0)
        return json_null();
    return json_pack(
        "{ss s[{s{ss si}} {s{ss si}}] s[{s{ss si}} {s{ss si}} {s{ss si}} {s{ss si}}] s{s{ss s[I] s[s]}}}",
        "type", "TemplateProcessing", "single", "SpecialToken", "id", "<s>", "type_id", 0, "Sequence", "id",
        "A", "type_id", 0, "pair", "SpecialToken", "id", "<s>", "type_id", 0, "Sequence", "id", "A",
        "type_id", 0, "SpecialToken", "id", "<s>", "type_id", 1, "Sequence", "id", "B", "type_id", 1,
        "special_tokens", "<s>", "id", "<s>", "ids", (json_int_t)id, "tokens", "<s>");
}

/* make_tokenizer - the tree of tokenizer.json, or NULL with err set. */
static json_t *make_tokenizer(const struct tekken *t, struct err *err) {
    json_t *vocab = json_object(), *added = json_array();
    for (int64_t rank = 0; rank < t->num_tokens; rank++) {
        char text[2 * MAX_TOKEN_BYTES];
        size_t start = t->starts[rank],
               length = alphabet_text(t->arena.bytes + start, t->starts[rank + 1] - start, text);
        json_object_setn_new(vocab, text, length, json_integer(t->num_special + rank));
    }
    if (add_special(t, vocab, added, err) != 0) {
        json_decref(vocab);
        json_decref(added);
        return NULL;
    }
    json_t *split = json_pack("{ss s{ss} ss sb}", "type", "Split", "pattern", "Regex", t->pattern, "behavior",
                              "Isolated", "invert", 0);
    json_t *bytes = json_pack("{ss sb sb sb}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                              "use_regex", 0);
    return json_pack("{ss sn sn so sn s{ss s[oo]} so s{ss sb sb sb} so}", "version", "1.0", "truncation",
                     "padding", "added_tokens", added, "normalizer", "pre_tokenizer", "type", "Sequence",
                     "pretokenizers", split, bytes, "post_processor", make_post(t), "decoder", "type",
                     "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1, "model",
                     make_model(t, vocab));
}

/* make_config - the tree of tokenizer_config.json. */
static json_t *make_config(const struct tekken *t) {
    static const char *const names[][2] = {
        {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}};
    json_t *config =
        json_pack("{ss sb}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (find_special(t, names[i][1]) >= 0)
            json_object_set_new(config, names[i][0], json_string(names[i][1]));
    return config;
}

/* --- the file --- */

/* convert - root is kept by the caller while the texts of special tokens are used. */
static int convert(struct tekken *t, json_t *root, char **json, char **config, struct err *err) {
    int64_t size;
    if (read_config(t, root, &size, err) != 0 || read_special(t, root, err) != 0 ||
        read_vocab(t, json_find(root, "vocab"), err) != 0)
        return -1;
    json_t *tokenizer = make_tokenizer(t, err);
    if (!tokenizer)
        return -1;
    json_t *settings = make_config(t);
    *json = json_dumps(tokenizer, JSON_COMPACT);
    *config = json_dumps(settings, JSON_INDENT(2));
    json_decref(tokenizer);
    json_decref(settings);
    CHECK(*json && *config, "out of memory while a tokenizer was written");
    return 0;
}

int tekken_compare(const char *path, const struct tokenizer *tok, struct err *err) {
    struct tekken t = {.origin = path};
    int64_t size;
    const char *pattern = tokenizer_pattern(tok);
    json_t *root = json_load_path(path, TEKKEN_MAX_BYTES, err);
    if (!root)
        return -1;
    int status = read_config(&t, root, &size, err);
    if (status == 0 && size != tokenizer_vocab_size(tok))
        status = err_set(err, "it has %lld tokens, tokenizer.json %lld", (long long)size,
                         (long long)tokenizer_vocab_size(tok));
    if (status == 0 && (!pattern || strcmp(pattern, t.pattern) != 0))
        status = err_set(err, "it splits text by another pattern than tokenizer.json");
    json_decref(root);
    return status;
}

bool tekken_is_name(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name), tail = strlen(".json");
    return length >= tail && strcmp(name + length - tail, ".json") == 0 && strstr(name, "tekken");
}

int tekken_text(const char *text, size_t length_bytes, const char *origin, char **json, char **config,
                struct err *err) {
    struct tekken t = {.origin = origin};
    json_t *root = json_parse_text(text, length_bytes, origin, err);
    if (!root)
        return -1;
    int status = convert(&t, root, json, config, err);
    if (status != 0)
        err_prefix(err, "'%s'", origin);
    json_decref(root);
    text_release(&t.arena);
    free(t.starts);
    free(t.slots);
    free(t.special);
    return status;
}
