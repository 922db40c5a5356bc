/* tokenizer_vocab.c - a vocabulary read from tokenizer.json, and its hash table.
 *
 * Byte-level tokenizers write tokens in an alphabet of 256 visible characters, one per byte.  We undo it once
 * per token while loading, so that encoding works on the bytes of the text as they are. */
#include "data/tokenizer/tokenizer_vocab.h"

#include <stdlib.h>

/* is_own_letter - bytes that are visible characters of Latin-1 stand for themselves (GPT-2, encoder.py). */
static bool is_own_letter(unsigned byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

uint32_t byte_alphabet(unsigned char byte) {
    if (is_own_letter(byte))
        return byte;
    uint32_t code_point = 256; /* the other 68 bytes take U+0100, U+0101, ... in order */
    for (unsigned other = 0; other < byte; other++)
        code_point += !is_own_letter(other);
    return code_point;
}

int byte_from_alphabet(uint32_t code_point) {
    if (code_point < 256)
        return is_own_letter(code_point) ? (int)code_point : -1;
    if (code_point <= 256 + 32) /* bytes 0 to 32 */
        return (int)code_point - 256;
    if (code_point <= 256 + 66) /* bytes 127 to 160 */
        return (int)code_point - 256 - 33 + 127;
    return code_point == 256 + 67 ? 173 : -1;
}

static void table_create(struct string_table *table, int64_t count) {
    uint64_t room = 64;
    while (room < 2 * (uint64_t)count)
        room *= 2;
    table->slots = xcalloc(room, sizeof *table->slots);
    table->mask = room - 1;
}

/* table_insert - a slot holds the upper half of the hash and the id + 1: most strings that are not the one are told
 * by that alone. */
static void table_insert(struct string_table *table, uint64_t hash, int32_t id) {
    uint64_t at = hash & table->mask;
    while (table->slots[at])
        at = (at + 1) & table->mask;
    table->slots[at] = (hash & 0xFFFFFFFF00000000u) | ((uint32_t)id + 1);
}

static int32_t table_find(const struct string_table *table, const struct vocab *vocab,
                          const struct vocab_string *strings, const char *bytes, size_t length_bytes,
                          uint64_t hash) {
    for (uint64_t at = hash & table->mask; table->slots[at]; at = (at + 1) & table->mask) {
        uint64_t slot = table->slots[at];
        if ((slot ^ hash) >> 32)
            continue;
        int32_t id = (int32_t)((slot & 0xFFFFFFFFu) - 1);
        if ((size_t)strings[id].length_bytes == length_bytes &&
            memcmp(vocab->arena.bytes + strings[id].offset, bytes, length_bytes) == 0)
            return id;
    }
    return -1;
}

int32_t vocab_find_text(const struct vocab *vocab, const char *text, size_t length_bytes) {
    uint64_t hash = hash_bytes(text, length_bytes);
    return table_find(&vocab->by_text, vocab, vocab->texts, text, length_bytes, hash);
}

int32_t vocab_find_bytes(const struct vocab *vocab, const char *bytes, size_t length_bytes, uint64_t hash) {
    return table_find(&vocab->by_bytes, vocab, vocab->bytes, bytes, length_bytes, hash);
}

const char *vocab_text(const struct vocab *vocab, int32_t id, size_t *length_bytes) {
    if (vocab->texts[id].length_bytes == VOCAB_HOLE)
        return NULL;
    *length_bytes = (size_t)vocab->texts[id].length_bytes;
    return vocab->arena.bytes + vocab->texts[id].offset;
}

static struct vocab_string store(struct vocab *vocab, const char *text, size_t length_bytes) {
    struct vocab_string string = {(uint32_t)vocab->arena.length_bytes, (int32_t)length_bytes};
    text_append(&vocab->arena, text, length_bytes);
    text_append(&vocab->arena, "", 1); /* callers may print what vocab_text returns */
    CHECK(vocab->arena.length_bytes < UINT32_MAX, "vocabulary of more than 4 GiB");
    return string;
}

/* Highest id + 1 of the object, or -1: ids must be integers in [0, twice the number of tokens + some). */
static int64_t highest_id(const json_t *tokens, int64_t min_size, struct err *err) {
    int64_t count = (int64_t)json_object_size(tokens), size = 0;
    int64_t limit = 2 * (count > min_size ? count : min_size) + 1024;
    if (limit > VOCAB_MAX_IDS)
        limit = VOCAB_MAX_IDS;
    const char *text;
    json_t *number;
    json_object_foreach((json_t *)(uintptr_t)tokens, text, number) {
        if (!json_is_integer(number))
            return err_set(err, "token '%.64s' has %s where its id should be", text,
                           json_is_string(number) ? "a string" : "no integer");
        int64_t id = json_integer_value(number);
        if (id < 0 || id >= limit)
            return err_set(err, "token '%.64s' has id %lld, outside [0, %lld) for %lld tokens", text,
                           (long long)id, (long long)limit, (long long)count);
        if (id >= size)
            size = id + 1;
    }
    return size;
}

/* The bytes that a byte-level token stands for; false when it holds a character outside the alphabet, which
 * no text can produce. */
static bool undo_alphabet(struct text *out, const char *text, size_t length_bytes) {
    const char *end = text + length_bytes;
    out->length_bytes = 0;
    while (text < end) {
        int byte = byte_from_alphabet(text_next_char(&text));
        if (byte < 0)
            return false;
        char character = (char)byte;
        text_append(out, &character, 1);
    }
    return true;
}

/* add_model_tokens - each by its string in the file and by the bytes that it stands for; one that no text can
 * produce has no bytes. */
static int add_model_tokens(struct vocab *vocab, const json_t *tokens, bool byte_level, struct err *err) {
    const char *text;
    size_t length_bytes;
    json_t *number;
    struct text undone = {0};
    int status = 0;
    json_object_keylen_foreach((json_t *)(uintptr_t)tokens, text, length_bytes, number) {
        int32_t id = (int32_t)json_integer_value(number);
        if (vocab->texts[id].length_bytes != VOCAB_HOLE) {
            status = err_set(err, "tokens '%.64s' and '%.64s' share id %d",
                             vocab->arena.bytes + vocab->texts[id].offset, text, id);
            break;
        }
        vocab->texts[id] = store(vocab, text, length_bytes);
        vocab->kinds[id] = TOKEN_NORMAL;
        table_insert(&vocab->by_text, hash_bytes(text, length_bytes), id);
        if (!byte_level)
            vocab->bytes[id] = vocab->texts[id];
        else if (undo_alphabet(&undone, text, length_bytes))
            vocab->bytes[id] = store(vocab, undone.bytes, undone.length_bytes);
        else
            continue;
        const struct vocab_string *bytes = &vocab->bytes[id];
        table_insert(&vocab->by_bytes,
                     hash_bytes(vocab->arena.bytes + bytes->offset, (size_t)bytes->length_bytes), id);
    }
    text_release(&undone);
    return status;
}

int vocab_parse(struct vocab *vocab, const json_t *tokens, int64_t min_size, bool byte_level,
                struct err *err) {
    *vocab = (struct vocab){0};
    int64_t size = highest_id(tokens, min_size, err);
    if (size < 0)
        return -1;
    vocab->size = size > min_size ? size : min_size;
    vocab->num_model = (int64_t)json_object_size(tokens);
    size_t room = (size_t)vocab->size + 1;
    vocab->texts = xmalloc(room * sizeof *vocab->texts);
    vocab->bytes = xmalloc(room * sizeof *vocab->bytes);
    vocab->kinds = xmalloc(room);
    for (int64_t id = 0; id < vocab->size; id++) {
        vocab->texts[id] = vocab->bytes[id] = (struct vocab_string){0, VOCAB_HOLE};
        vocab->kinds[id] = TOKEN_UNUSED;
    }
    table_create(&vocab->by_text, vocab->num_model);
    table_create(&vocab->by_bytes, vocab->num_model);
    return add_model_tokens(vocab, tokens, byte_level, err);
}

void vocab_add(struct vocab *vocab, int32_t id, const char *text, size_t length_bytes) {
    CHECK(id >= 0 && id < vocab->size && vocab->texts[id].length_bytes == VOCAB_HOLE, "id %d is taken", id);
    vocab->texts[id] = store(vocab, text, length_bytes);
}

void vocab_release(struct vocab *vocab) {
    text_release(&vocab->arena);
    free(vocab->texts);
    free(vocab->bytes);
    free(vocab->kinds);
    free(vocab->by_text.slots);
    free(vocab->by_bytes.slots);
    *vocab = (struct vocab){0};
}
