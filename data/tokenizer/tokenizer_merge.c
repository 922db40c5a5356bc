/* tokenizer_merge.c - encoding one piece: cache, vocabulary, merges.
 *
 * The rule (Sennrich et al. 2016, as the reference applies it): start from characters, or bytes; merge the
 * neighbouring pair with the lowest rank, the leftmost of equals; repeat until no neighbours merge.
 * Short pieces scan an array for the lowest rank.  Long ones use a heap of pairs over a linked list, n log n,
 * since a megabyte of one letter must not take hours.  Both give the same ids. */
#include "data/tokenizer/tokenizer_merge.h"

#include <stdlib.h>

enum { CACHE_SLOTS = 1 << 16, CACHE_KEY_BYTES = 30, CACHE_IDS = 8, SCAN_MAX = 48 };

/* 64 bytes, one cache line. */
struct cache_slot {
    uint8_t key_bytes, num_ids; /* key_bytes 0: free */
    char key[CACHE_KEY_BYTES];
    int32_t ids[CACHE_IDS];
};

/* A symbol of the piece in a list of neighbours; next is the index of the one on the right, -1 at the end. */
struct symbol {
    int32_t id; /* -1 once merged into its left neighbour */
    int32_t previous, next;
};

/* A pair that was mergeable when it was queued: still is if both symbols are as they were. */
struct candidate {
    uint64_t order; /* rank << 32 | position: lowest rank first, leftmost of equals */
    int32_t left, right, result;
};

struct bpe_state {
    const struct bpe *bpe;
    struct cache_slot *cache;
    struct symbol *symbols;
    int64_t num_symbols, symbols_room;
    struct candidate *heap;
    int64_t heap_count, heap_room;
};

struct bpe_state *bpe_state_create(const struct bpe *bpe) {
    struct bpe_state *state = xcalloc(1, sizeof *state);
    state->bpe = bpe;
    state->cache = xcalloc(CACHE_SLOTS, sizeof *state->cache);
    return state;
}

void bpe_state_free(struct bpe_state *state) {
    if (!state)
        return;
    free(state->cache);
    free(state->symbols);
    free(state->heap);
    free(state);
}

static void push_symbol(struct bpe_state *state, int32_t id) {
    if (state->num_symbols == state->symbols_room) {
        state->symbols_room = state->symbols_room ? 2 * state->symbols_room : 256;
        CHECK(state->symbols_room < INT32_MAX, "a piece of 2^31 symbols");
        state->symbols = xrealloc(state->symbols, (size_t)state->symbols_room * sizeof *state->symbols);
    }
    state->symbols[state->num_symbols++].id = id;
}

/* Bytes of a byte-level piece.  A byte without a token becomes the unknown token, or nothing. */
static void start_from_bytes(struct bpe_state *state, const char *piece, size_t length_bytes) {
    const struct bpe *bpe = state->bpe;
    bool after_unknown = false;
    for (size_t i = 0; i < length_bytes; i++) {
        int32_t id = bpe->byte_ids[(unsigned char)piece[i]];
        bool is_unknown = id < 0;
        if (is_unknown)
            id = bpe->fuse_unknown && after_unknown ? -1 : bpe->unknown;
        after_unknown = is_unknown;
        if (id >= 0)
            push_symbol(state, id);
    }
}

/* char_id - from a table for the characters of most texts, else by the vocabulary's hash. */
static int32_t char_id(const struct bpe *bpe, const char *bytes, size_t length_bytes, uint32_t code_point) {
    return code_point < BPE_CHAR_IDS ? bpe->char_ids[code_point]
                                     : vocab_find_text(bpe->vocab, bytes, length_bytes);
}

/* The tokens <0xNN> of a character; false if one is missing. */
static bool fall_back_to_bytes(struct bpe_state *state, const char *bytes, size_t length_bytes) {
    const struct bpe *bpe = state->bpe;
    if (!bpe->byte_fallback)
        return false;
    for (size_t i = 0; i < length_bytes; i++)
        if (bpe->byte_ids[(unsigned char)bytes[i]] < 0)
            return false;
    for (size_t i = 0; i < length_bytes; i++)
        push_symbol(state, bpe->byte_ids[(unsigned char)bytes[i]]);
    return true;
}

/* Characters of a piece.  The reference holds an unknown token back until the next known character, even past
 * characters that fall back to bytes; that order is kept. */
static void start_from_chars(struct bpe_state *state, const char *piece, size_t length_bytes) {
    const struct bpe *bpe = state->bpe;
    const char *at = piece, *end = piece + length_bytes;
    bool holds_unknown = false;
    while (at < end) {
        const char *bytes = at;
        uint32_t code_point = text_next_char(&at);
        int32_t id = char_id(bpe, bytes, (size_t)(at - bytes), code_point);
        if (id >= 0) {
            if (holds_unknown)
                push_symbol(state, bpe->unknown);
            holds_unknown = false;
            push_symbol(state, id);
        } else if (!fall_back_to_bytes(state, bytes, (size_t)(at - bytes)) && bpe->unknown >= 0) {
            if (holds_unknown && !bpe->fuse_unknown)
                push_symbol(state, bpe->unknown);
            holds_unknown = true;
        }
    }
    if (holds_unknown)
        push_symbol(state, bpe->unknown);
}

/* Merge by scanning: ranks[i] belongs to the pair (i, i + 1). */
static void merge_by_scan(struct bpe_state *state) {
    uint32_t ranks[SCAN_MAX];
    int32_t ids[SCAN_MAX], results[SCAN_MAX];
    int n = (int)state->num_symbols;
    for (int i = 0; i < n; i++)
        ids[i] = state->symbols[i].id;
    for (int i = 0; i < n; i++) {
        const struct merge_slot *merge = i + 1 < n ? merge_find(state->bpe, ids[i], ids[i + 1]) : NULL;
        ranks[i] = merge ? merge->rank : UINT32_MAX;
        results[i] = merge ? merge->result : -1;
    }
    for (;;) {
        int best = 0;
        for (int i = 1; i < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == UINT32_MAX)
            break;
        ids[best] = results[best];
        n--;
        for (int i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i] = ranks[i + 1];
            results[i] = results[i + 1];
        }
        for (int i = best > 0 ? best - 1 : 0; i <= best; i++) { /* the two pairs that changed */
            const struct merge_slot *merge = i + 1 < n ? merge_find(state->bpe, ids[i], ids[i + 1]) : NULL;
            ranks[i] = merge ? merge->rank : UINT32_MAX;
            results[i] = merge ? merge->result : -1;
        }
    }
    for (int i = 0; i < n; i++)
        state->symbols[i].id = ids[i];
    state->num_symbols = n;
}

/* heap_push - four children to a node; see heap_pop. */
static void heap_push(struct bpe_state *state, struct candidate candidate) {
    if (state->heap_count == state->heap_room) {
        state->heap_room = state->heap_room ? 2 * state->heap_room : 256;
        state->heap = xrealloc(state->heap, (size_t)state->heap_room * sizeof *state->heap);
    }
    int64_t at = state->heap_count++;
    while (at > 0 && state->heap[(at - 1) / 4].order > candidate.order) {
        state->heap[at] = state->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    state->heap[at] = candidate;
}

/* A heap with four children per node is shallower than a binary one and its children share a cache line or
 * two. */
static struct candidate heap_pop(struct bpe_state *state) {
    struct candidate *heap = state->heap, top = heap[0], last = heap[--state->heap_count];
    int64_t n = state->heap_count, at = 0;
    for (;;) {
        int64_t best = 4 * at + 1;
        if (best >= n)
            break;
        for (int64_t child = best + 1; child < n && child <= 4 * at + 4; child++)
            if (heap[child].order < heap[best].order)
                best = child;
        if (heap[best].order >= last.order)
            break;
        heap[at] = heap[best];
        at = best;
    }
    heap[at] = last;
    return top;
}

/* Queue the pair that starts at a symbol, if it merges. */
static void queue_pair(struct bpe_state *state, int32_t position) {
    const struct symbol *left = position >= 0 ? &state->symbols[position] : NULL;
    if (!left || left->next < 0)
        return;
    int32_t right = state->symbols[left->next].id;
    const struct merge_slot *merge = merge_find(state->bpe, left->id, right);
    if (merge)
        heap_push(state, (struct candidate){(uint64_t)merge->rank << 32 | (uint32_t)position, left->id, right,
                                            merge->result});
}

/* merge_by_heap - a candidate that is out of date stays in the heap until it comes up: taking it out would cost a search. */
static void merge_by_heap(struct bpe_state *state) {
    struct symbol *symbols = state->symbols;
    int32_t n = (int32_t)state->num_symbols;
    for (int32_t i = 0; i < n; i++) {
        symbols[i].previous = i - 1;
        symbols[i].next = i + 1 < n ? i + 1 : -1;
    }
    state->heap_count = 0;
    for (int32_t i = 0; i < n; i++)
        queue_pair(state, i);
    while (state->heap_count > 0) {
        struct candidate top = heap_pop(state);
        struct symbol *left = &symbols[top.order & 0xFFFFFFFFu];
        if (left->id != top.left || left->next < 0 || symbols[left->next].id != top.right)
            continue; /* one of the two has been merged meanwhile */
        struct symbol *right = &symbols[left->next];
        left->id = top.result;
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0)
            symbols[left->next].previous = (int32_t)(left - symbols);
        queue_pair(state, left->previous);
        queue_pair(state, (int32_t)(left - symbols));
    }
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++)
        if (symbols[i].id >= 0)
            symbols[kept++].id = symbols[i].id;
    state->num_symbols = kept;
}

/* The ids of a piece, left in state->symbols. */
static void encode_uncached(struct bpe_state *state, const char *piece, size_t length_bytes, uint64_t hash) {
    const struct bpe *bpe = state->bpe;
    state->num_symbols = 0;
    if (bpe->ignore_merges) {
        int32_t id = vocab_find_bytes(bpe->vocab, piece, length_bytes, hash);
        if (id >= 0) {
            push_symbol(state, id);
            return;
        }
    }
    if (bpe->byte_level)
        start_from_bytes(state, piece, length_bytes);
    else
        start_from_chars(state, piece, length_bytes);
    if (state->num_symbols > SCAN_MAX)
        merge_by_heap(state);
    else if (state->num_symbols > 1)
        merge_by_scan(state);
}

/* The cache forgets whatever stood in its slot: words that are frequent come back soon. */
void bpe_encode(struct bpe_state *state, const char *piece, size_t length_bytes, struct token_list *out) {
    uint64_t hash = hash_bytes(piece, length_bytes);
    struct cache_slot *slot = NULL;
    if (length_bytes <= CACHE_KEY_BYTES) {
        slot = &state->cache[hash >> 20 & (CACHE_SLOTS - 1)];
        if (slot->key_bytes == length_bytes && memcmp(slot->key, piece, length_bytes) == 0) {
            for (int i = 0; i < slot->num_ids; i++)
                token_list_push(out, slot->ids[i]);
            return;
        }
    }
    encode_uncached(state, piece, length_bytes, hash);
    for (int64_t i = 0; i < state->num_symbols; i++)
        token_list_push(out, state->symbols[i].id);
    if (slot && state->num_symbols <= CACHE_IDS) {
        slot->key_bytes = (uint8_t)length_bytes;
        slot->num_ids = (uint8_t)state->num_symbols;
        memcpy(slot->key, piece, length_bytes);
        for (int64_t i = 0; i < state->num_symbols; i++)
            slot->ids[i] = state->symbols[i].id;
    }
}

/* Two characters that are neighbours in no token never end in one: pieces between such places can be encoded, and
 * cached, each for itself. */
size_t bpe_cut(const struct bpe *bpe, const char *text, size_t length_bytes) {
    const char *at = text, *end = text + length_bytes;
    if (!bpe->neighbours || length_bytes == 0)
        return length_bytes;
    uint32_t previous = text_next_char(&at);
    while (at < end) {
        const char *boundary = at;
        uint32_t next = text_next_char(&at);
        uint64_t bit = neighbour_hash(previous, next) & bpe->neighbours_mask;
        if (!(bpe->neighbours[bit / 64] >> bit % 64 & 1))
            return (size_t)(boundary - text);
        previous = next;
    }
    return length_bytes;
}
