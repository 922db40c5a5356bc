/* gguf_merges.c - merges in the order that gives SentencePiece's result.
 *
 * SentencePiece joins whichever two neighbours make the token with the highest score, the leftmost on a tie.
 * The same result as a list of merges: every way to cut a token into two tokens is a merge, in descending
 * order of the score of the whole.  Cuts of the same token compete only where one text overlaps itself ("aaa"
 * as a|aa and aa|a); runs grow from the left, so the cut with the longer left part comes first. Source:
 * llama.cpp, llm_tokenizer_spm of src/llama-vocab.cpp. */
#include "checkpoints/gguf/gguf_merges.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/gguf/gguf_tokenizer.h"

enum { MAX_TOKEN_BYTES = 1024 }; /* bounds the work on a hostile vocabulary */

struct merge {
    int32_t result;
    uint32_t left_bytes;
    double score;
};

struct merge_list {
    struct merge *merges;
    int64_t count, room;
};

struct vocabulary {
    const struct gguf *file;
    const json_t *ids;
    int64_t tokens, scores, types; /* indices of the lists; types -1: all normal */
    int64_t num_tokens;
};

/* compare_merges - higher scores first; then by the token, so that the order does not depend on qsort; then the
 * longer left part. */
static int compare_merges(const void *a, const void *b) {
    const struct merge *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->result != y->result)
        return x->result < y->result ? -1 : 1;
    return (x->left_bytes < y->left_bytes) - (x->left_bytes > y->left_bytes);
}

static void push(struct merge_list *list, struct merge merge) {
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 1024;
        list->merges = xrealloc(list->merges, (size_t)list->room * sizeof *list->merges);
    }
    list->merges[list->count++] = merge;
}

/* token_type - a type that cannot be read counts as unused: such a token makes no merges. */
static int64_t token_type(const struct vocabulary *vocab, int64_t id) {
    int64_t type = GGUF_TOKEN_NORMAL;
    if (vocab->types >= 0 && gguf_get_int(vocab->file, vocab->types, id, &type, NULL) != 0)
        type = GGUF_TOKEN_UNUSED;
    return type;
}

/* cut_token - all its cuts between characters where both sides are tokens. */
static int cut_token(const struct vocabulary *vocab, int64_t id, struct merge_list *list, struct err *err) {
    struct gguf_string text;
    struct merge merge = {.result = (int32_t)id};
    if (token_type(vocab, id) != GGUF_TOKEN_NORMAL)
        return 0;
    if (gguf_get_string(vocab->file, vocab->tokens, id, &text, err) != 0 ||
        gguf_get_double(vocab->file, vocab->scores, id, &merge.score, err) != 0)
        return -1;
    if (text.length_bytes > MAX_TOKEN_BYTES)
        return err_set(err, "'%s': token %lld is longer than %d bytes", gguf_path(vocab->file), (long long)id,
                       MAX_TOKEN_BYTES);
    if (merge.score != merge.score)
        return err_set(err, "'%s': token %lld has no score (NaN)", gguf_path(vocab->file), (long long)id);
    for (size_t cut = 1; cut < text.length_bytes; cut++) {
        if (((uint8_t)text.text[cut] & 0xc0) == 0x80) /* inside a character */
            continue;
        if (!json_object_getn(vocab->ids, text.text, cut) ||
            !json_object_getn(vocab->ids, text.text + cut, text.length_bytes - cut))
            continue;
        merge.left_bytes = (uint32_t)cut;
        push(list, merge);
    }
    return 0;
}

/* check_order - some converters know no scores and write one number everywhere. */
static int check_order(const struct vocabulary *vocab, const struct merge_list *list, struct err *err) {
    const struct merge *first = list->merges, *last = list->merges + list->count - 1;
    if (list->count < 2 || first->result == last->result || first->score != last->score)
        return 0;
    return err_set(
        err,
        "'%s': all tokens have the score %g, so the order of merges is lost; take tokenizer.json from the "
        "original model",
        gguf_path(vocab->file), first->score);
}

/* merges_as_json - as pairs and not as "left right": a token may hold a space. */
static json_t *merges_as_json(const struct vocabulary *vocab, const struct merge_list *list,
                              struct err *err) {
    json_t *merges = json_array();
    for (int64_t i = 0; i < list->count; i++) {
        struct gguf_string text;
        if (gguf_get_string(vocab->file, vocab->tokens, list->merges[i].result, &text, err) != 0) {
            json_decref(merges);
            return NULL;
        }
        size_t left_bytes = list->merges[i].left_bytes;
        json_t *pair = json_array();
        json_array_append_new(pair, json_stringn(text.text, left_bytes));
        json_array_append_new(pair, json_stringn(text.text + left_bytes, text.length_bytes - left_bytes));
        json_array_append_new(merges, pair);
    }
    return merges;
}

json_t *gguf_merges_from_scores(const struct gguf *file, const json_t *vocab_json, struct err *err) {
    struct vocabulary vocab = {file,
                               vocab_json,
                               gguf_find_key(file, "tokenizer.ggml.tokens"),
                               gguf_find_key(file, "tokenizer.ggml.scores"),
                               gguf_find_key(file, "tokenizer.ggml.token_type"),
                               0};
    struct merge_list list = {NULL, 0, 0};
    json_t *merges = NULL;
    int status = 0;
    CHECK(vocab.tokens >= 0, "a vocabulary without tokens");
    vocab.num_tokens = gguf_array_count(file, vocab.tokens);
    if (vocab.scores < 0 || gguf_array_count(file, vocab.scores) != vocab.num_tokens) {
        err_set(err, "'%s' has no list 'tokenizer.ggml.scores' with one score for each of its %lld tokens",
                gguf_path(file), (long long)vocab.num_tokens);
        return NULL;
    }
    for (int64_t id = 0; id < vocab.num_tokens && status == 0; id++)
        status = cut_token(&vocab, id, &list, err);
    if (status == 0 && list.count)
        qsort(list.merges, (size_t)list.count, sizeof *list.merges, compare_merges);
    if (status == 0 && check_order(&vocab, &list, err) == 0)
        merges = merges_as_json(&vocab, &list, err);
    free(list.merges);
    return merges;
}
