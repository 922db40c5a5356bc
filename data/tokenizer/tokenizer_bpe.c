/* tokenizer_bpe.c - loading the merges of a byte-pair encoding.  Encoding itself is in tokenizer_merge.c. */
#include "data/tokenizer/tokenizer_bpe.h"

#include <stdio.h>
#include <stdlib.h>

#include "data/corpus/json.h"
#include "data/tokenizer/tokenizer_merge.h"

/* parse_flags - affixes change which tokens a text may have, and are refused.  Dropout leaves out merges at random
 * while a model is trained; it is ignored, for a text must give the same tokens each time. */
static int parse_flags(struct bpe *bpe, const json_t *model, struct err *err) {
    const char *name = NULL;
    const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const char *affix;
        if (json_get_string_or(model, affixes[i], "", &affix, err) != 0)
            return -1;
        if (*affix)
            return err_set(err, "model option '%s' = '%s' is not supported", affixes[i], affix);
    }
    double dropout;
    if (json_get_double_or(model, "dropout", 0, &dropout, err) != 0)
        return -1;
    if (dropout != 0)
        warn("the tokenizer's dropout of %g is ignored: encoding is deterministic", dropout);
    if (json_get_bool_or(model, "fuse_unk", false, &bpe->fuse_unknown, err) != 0 ||
        json_get_bool_or(model, "byte_fallback", false, &bpe->byte_fallback, err) != 0 ||
        json_get_bool_or(model, "ignore_merges", false, &bpe->ignore_merges, err) != 0 ||
        json_get_string_or(model, "unk_token", NULL, &name, err) != 0)
        return -1;
    bpe->unknown = name ? vocab_find_text(bpe->vocab, name, strlen(name)) : -1;
    if (name && bpe->unknown < 0)
        return err_set(err, "unknown token '%.64s' is not in the vocabulary", name);
    return 0;
}

/* The two halves of a merge, written "left right" or ["left", "right"]. */
static int read_halves(const json_t *merge, struct text_span halves[2]) {
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        size_t length_bytes = json_string_length(merge);
        const char *space = memchr(text, ' ', length_bytes);
        if (!space)
            return -1;
        halves[0] = (struct text_span){text, (size_t)(space - text)};
        halves[1] = (struct text_span){space + 1, length_bytes - halves[0].length_bytes - 1};
        return memchr(halves[1].bytes, ' ', halves[1].length_bytes) ? -1 : 0;
    }
    if (!json_is_array(merge) || json_array_size(merge) != 2)
        return -1;
    for (size_t i = 0; i < 2; i++) {
        const json_t *half = json_array_get(merge, i);
        if (!json_is_string(half))
            return -1;
        halves[i] = (struct text_span){json_string_value(half), json_string_length(half)};
    }
    return 0;
}

/* Ids of a merge's halves and of their concatenation. */
static int resolve_merge(const struct bpe *bpe, const struct text_span halves[2], struct text *joined,
                         int32_t merge[3], struct err *err) {
    joined->length_bytes = 0;
    text_append(joined, halves[0].bytes, halves[0].length_bytes);
    text_append(joined, halves[1].bytes, halves[1].length_bytes);
    const struct text_span parts[3] = {halves[0], halves[1], {joined->bytes, joined->length_bytes}};
    for (int i = 0; i < 3; i++) {
        size_t length_bytes = parts[i].length_bytes;
        merge[i] = length_bytes > 0 ? vocab_find_text(bpe->vocab, parts[i].bytes, length_bytes) : -1;
        if (merge[i] < 0)
            return err_set(err, "a merge %s '%.*s', which is not in the vocabulary", i < 2 ? "of" : "gives",
                           (int)(length_bytes < 64 ? length_bytes : 64), parts[i].bytes);
    }
    return 0;
}

/* A pair listed twice counts with its last rank, as in the reference. */
static void insert_merge(struct bpe *bpe, const int32_t merge[3], uint32_t rank) {
    uint64_t pair = merge_pair(merge[0], merge[1]);
    uint64_t at = merge_hash(pair) & bpe->mask;
    while (bpe->slots[at].pair != MERGE_FREE && bpe->slots[at].pair != pair)
        at = (at + 1) & bpe->mask;
    bpe->slots[at] = (struct merge_slot){pair, rank, merge[2]};
}

/* parse_merges - into a table of which at most half the slots are used, so that a look-up ends soon. */
static int parse_merges(struct bpe *bpe, const json_t *merges, struct err *err) {
    size_t count = json_array_size(merges), room = 64;
    if (count > (size_t)8 * VOCAB_MAX_IDS)
        return err_set(err, "%zu merges are more than are supported", count);
    while (room < 2 * count)
        room *= 2;
    bpe->slots = xmalloc(room * sizeof *bpe->slots);
    memset(bpe->slots, 0xFF, room * sizeof *bpe->slots);
    bpe->mask = room - 1;
    bpe->merges = xmalloc((count + 1) * sizeof *bpe->merges);
    struct text joined = {0};
    int status = 0;
    for (size_t i = 0; i < count && status == 0; i++) {
        struct text_span halves[2];
        if (read_halves(json_array_get(merges, i), halves) != 0) {
            status = err_set(err, "merge %zu is neither \"left right\" nor [\"left\", \"right\"]", i);
            break;
        }
        status = resolve_merge(bpe, halves, &joined, bpe->merges[i], err);
        if (status == 0)
            insert_merge(bpe, bpe->merges[i], (uint32_t)i);
    }
    bpe->num_merges = (int64_t)count;
    text_release(&joined);
    return status;
}

/* find_byte_tokens - the token of each byte: in GPT-2's alphabet, or SentencePiece's "<0xNN>". */
static void find_byte_tokens(struct bpe *bpe) {
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        size_t length_bytes = bpe->byte_level ? text_encode_char(text, byte_alphabet((unsigned char)byte))
                                              : (size_t)snprintf(text, sizeof text, "<0x%02X>", byte);
        bpe->byte_ids[byte] = vocab_find_text(bpe->vocab, text, length_bytes);
    }
}

static bool has_all_bytes(const struct bpe *bpe) {
    for (int byte = 0; byte < 256; byte++)
        if (bpe->byte_ids[byte] < 0)
            return false;
    return true;
}

/* find_char_tokens - of the code points below CJK, by their number; the rest goes through the hash. */
static void find_char_tokens(struct bpe *bpe) {
    bpe->char_ids = xmalloc(BPE_CHAR_IDS * sizeof *bpe->char_ids);
    for (uint32_t c = 0; c < BPE_CHAR_IDS; c++) {
        char text[4];
        bpe->char_ids[c] = vocab_find_text(bpe->vocab, text, text_encode_char(text, c));
    }
}

/* Byte tokens stand for other text than they spell, so a merge of one would escape the filter of neighbours.
 */
static bool merges_byte_tokens(const struct bpe *bpe) {
    uint8_t *is_byte = xcalloc((size_t)bpe->vocab->size + 1, 1);
    for (int byte = 0; byte < 256; byte++)
        is_byte[bpe->byte_ids[byte]] = 1;
    bool found = false;
    for (int64_t i = 0; i < bpe->num_merges && !found; i++)
        found = is_byte[bpe->merges[i][0]] || is_byte[bpe->merges[i][1]];
    free(is_byte);
    return found;
}

/* Note each pair of characters that stands side by side in some token. */
static void find_neighbours(struct bpe *bpe) {
    uint64_t bits = 1 << 16;
    while (bits < 64 * (uint64_t)bpe->vocab->num_model)
        bits *= 2;
    bpe->neighbours = xcalloc(bits / 64, sizeof *bpe->neighbours);
    bpe->neighbours_mask = bits - 1;
    for (int32_t id = 0; id < bpe->vocab->size; id++) {
        size_t length_bytes;
        const char *at = vocab_text(bpe->vocab, id, &length_bytes);
        const char *end = at ? at + length_bytes : NULL;
        for (uint32_t previous = 0, next; at < end; previous = next) {
            next = text_next_char(&at);
            if (previous) {
                uint64_t bit = neighbour_hash(previous, next) & bpe->neighbours_mask;
                bpe->neighbours[bit / 64] |= (uint64_t)1 << bit % 64;
            }
        }
    }
}

int bpe_parse(struct bpe *bpe, const json_t *model, const struct vocab *vocab, bool byte_level,
              struct err *err) {
    *bpe = (struct bpe){.vocab = vocab, .unknown = -1, .byte_level = byte_level};
    json_t *merges;
    if (parse_flags(bpe, model, err) != 0 || json_get_array(model, "merges", &merges, err) != 0 ||
        parse_merges(bpe, merges, err) != 0)
        return -1;
    find_byte_tokens(bpe);
    if (!byte_level)
        find_char_tokens(bpe);
    if (bpe->byte_fallback && byte_level && !has_all_bytes(bpe))
        return err_set(err,
                       "byte fallback together with a byte-level alphabet that lacks bytes is not supported");
    /* Cuts must leave nothing that depends on the whole: fused unknown tokens, whole pieces looked up. */
    if (!byte_level && bpe->byte_fallback && !bpe->ignore_merges && has_all_bytes(bpe) &&
        !merges_byte_tokens(bpe))
        find_neighbours(bpe);
    return 0;
}

void bpe_release(struct bpe *bpe) {
    free(bpe->slots);
    free(bpe->merges);
    free(bpe->char_ids);
    free(bpe->neighbours);
    *bpe = (struct bpe){0};
}
