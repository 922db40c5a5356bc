/* tokenizer_vocab.h - the strings of a vocabulary, found by id and by text. */
#pragma once

#include "data/corpus/json.h"
#include "data/corpus/text.h"
#include "data/tokenizer/tokenizer.h"

/* Refused above: no published tokenizer comes near, and a table of ids is allocated. */
enum { VOCAB_MAX_IDS = 4 << 20, VOCAB_HOLE = -1 };

/* A string in the arena; length_bytes is VOCAB_HOLE where no token has the id. */
struct vocab_string {
    uint32_t offset;
    int32_t length_bytes;
};

/* Hash table from strings to ids, open addressing: upper half of the hash, then id + 1; 0 is free. */
struct string_table {
    uint64_t *slots;
    uint64_t mask;
};

struct vocab {
    int64_t size;                 /* highest id + 1, added tokens included */
    int64_t num_model;            /* tokens of the model, without added ones */
    struct text arena;            /* all strings, end to end */
    struct vocab_string *texts;   /* [size] as in the file */
    struct vocab_string *bytes;   /* [size] what matches text: byte-level tokens with the alphabet undone */
    uint8_t *kinds;               /* [size] enum token_kind */
    struct string_table by_text;  /* the model's tokens by their string in the file */
    struct string_table by_bytes; /* the model's tokens by the bytes they stand for */
};

/* vocab_parse - from the object {"token": id, ...} and room for ids below min_size (added tokens).
 * byte_level: the strings are in the alphabet of GPT-2.  Returns 0, or -1 with err set: ids that are not
 * integers, negative, far beyond the number of tokens, or used twice.  On -1 too, vocab_release frees. */
int vocab_parse(struct vocab *vocab, const json_t *tokens, int64_t min_size, bool byte_level,
                struct err *err);
void vocab_release(struct vocab *vocab);

/* vocab_add - an added token's string at an id below size that has none yet. */
void vocab_add(struct vocab *vocab, int32_t id, const char *text, size_t length_bytes);

/* vocab_find_text - the id of one of the model's tokens by its string in the file, or -1.  vocab_find_bytes - by the bytes that
 * it stands for; hash: hash_bytes of them. */
int32_t vocab_find_text(const struct vocab *vocab, const char *text, size_t length_bytes);
int32_t vocab_find_bytes(const struct vocab *vocab, const char *bytes, size_t length_bytes, uint64_t hash);

/* The string of an id in the file; NULL for a hole. */
const char *vocab_text(const struct vocab *vocab, int32_t id, size_t *length_bytes);

/* byte_alphabet - the code point that stands for a byte in byte-level vocabularies (GPT-2, encoder.py).
 * byte_from_alphabet - the reverse, -1 for a code point outside the alphabet. */
uint32_t byte_alphabet(unsigned char byte);
int byte_from_alphabet(uint32_t code_point);

/* hash_bytes - 64 well mixed bits of a short string. */
static inline uint64_t hash_bytes(const char *bytes, size_t length_bytes) {
    uint64_t hash = 0x9E3779B97F4A7C15u ^ length_bytes * 0xD6E8FEB86659FD93u, word;
    while (length_bytes >= 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0xBF58476D1CE4E5B9u;
        hash ^= hash >> 29;
        bytes += 8;
        length_bytes -= 8;
    }
    if (length_bytes >= 4) { /* two overlapping halves instead of a loop */
        uint32_t low, high;
        memcpy(&low, bytes, 4);
        memcpy(&high, bytes + length_bytes - 4, 4);
        hash = (hash ^ low ^ (uint64_t)high << 32) * 0x94D049BB133111EBu;
    } else if (length_bytes > 0) {
        word = (uint64_t)(unsigned char)bytes[0] | (uint64_t)(unsigned char)bytes[length_bytes / 2] << 8 |
               (uint64_t)(unsigned char)bytes[length_bytes - 1] << 16;
        hash = (hash ^ word) * 0x94D049BB133111EBu;
    }
    hash ^= hash >> 32;
    hash *= 0xBF58476D1CE4E5B9u;
    return hash ^ hash >> 29;
}
