/* tiny_tokenizer.h - tokenizers for tests, made in memory: one token per byte (ids 0 .. 255), two merges
 * ("\n\n" and "on") so that text can join across a boundary, and the special tokens of all chat templates.
 * Byte-level, or SentencePiece-style with byte fallback. */
#pragma once

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/tokenizer.h"

enum {
    TINY_TWO_FEEDS = 256, /* "\n\n" */
    TINY_ON,              /* "on" */
    TINY_BOS,             /* <s> */
    TINY_EOS,             /* </s> */
    TINY_IM_START,
    TINY_IM_END,
    TINY_START_HEADER,
    TINY_END_HEADER,
    TINY_EOT,
    TINY_INST,
    TINY_END_INST,
    TINY_VOCAB
};

enum tiny_kind {
    TINY_ALL,          /* byte-level */
    TINY_NO_INST,      /* byte-level without [INST] */
    TINY_SENTENCEPIECE /* byte fallback, [INST], but neither ChatML's nor Llama 3's tokens */
};

static const char *const TINY_SPECIAL[] = {
    "<s>",        "</s>",   "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "[INST]", "[/INST]"};

/* tiny_byte - how the byte-level alphabet of GPT-2 writes a byte: itself where it is printable, else moved to
 * U+0100 and up, in order. */
static inline void tiny_byte(int byte, char text[8]) {
    int moved = 0, code = byte;
    for (int b = 0; b <= byte; b++) {
        bool is_printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && !is_printable)
            code = 256 + moved;
        moved += !is_printable;
    }
    if (code < 0x80)
        snprintf(text, 8, "%c", code);
    else
        snprintf(text, 8, "%c%c", 0xC0 | code >> 6, 0x80 | (code & 0x3F));
}

/* tiny_special - the added tokens of a kind. */
static inline json_t *tiny_special(enum tiny_kind kind) {
    json_t *added = json_array();
    for (int id = TINY_BOS; id < TINY_VOCAB; id++) {
        bool is_inst = id >= TINY_INST, is_bound = id <= TINY_EOS;
        if ((kind == TINY_NO_INST && is_inst) || (kind == TINY_SENTENCEPIECE && !is_inst && !is_bound))
            continue;
        json_array_append_new(added, json_pack("{s:i s:s s:b s:b s:b s:b s:b}", "id", id, "content",
                                               TINY_SPECIAL[id - TINY_BOS], "single_word", 0, "lstrip", 0,
                                               "rstrip", 0, "normalized", 0, "special", 1));
    }
    return added;
}

/* tiny_vocab - bytes as the kind writes them, the merge results, the unknown token, and the special ones. */
static inline json_t *tiny_vocab(enum tiny_kind kind) {
    bool is_sp = kind == TINY_SENTENCEPIECE;
    json_t *vocab = json_object();
    char text[8];
    for (int b = 0; b < 256; b++) {
        if (is_sp)
            snprintf(text, sizeof text, "<0x%02X>", b);
        else
            tiny_byte(b, text);
        json_object_set_new(vocab, text, json_integer(b));
    }
    json_object_set_new(vocab, is_sp ? "<unk>" : "\xC4\x8A\xC4\x8A", json_integer(TINY_TWO_FEEDS));
    json_object_set_new(vocab, is_sp ? "\xE2\x96\x81" : "on", json_integer(TINY_ON));
    for (int id = TINY_BOS; is_sp && id < TINY_VOCAB; id++) {
        char unused[32];
        snprintf(unused, sizeof unused, "<unused%d>", id);
        json_object_set_new(vocab, id <= TINY_EOS || id >= TINY_INST ? TINY_SPECIAL[id - TINY_BOS] : unused,
                            json_integer(id));
    }
    return vocab;
}

/* tiny_tokenizer_with - with the text of a tokenizer_config.json; freed with tokenizer_free. */
static inline struct tokenizer *tiny_tokenizer_with(enum tiny_kind kind, const char *config_text) {
    struct err err = {{0}};
    bool is_sp = kind == TINY_SENTENCEPIECE;
    json_t *bytes = json_pack("{s:s s:b s:b s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets",
                              1, "use_regex", 1);
    json_t *normalizer = json_pack("{s:s s:[{s:s s:s} {s:s s:{s:s} s:s}]}", "type", "Sequence", "normalizers",
                                   "type", "Prepend", "prepend", "\xE2\x96\x81", "type", "Replace", "pattern",
                                   "String", " ", "content", "\xE2\x96\x81");
    json_t *decoder =
        json_pack("{s:s s:[{s:s s:{s:s} s:s} {s:s} {s:s} {s:s s:s s:i s:i}]}", "type", "Sequence", "decoders",
                  "type", "Replace", "pattern", "String", "\xE2\x96\x81", "content", " ", "type",
                  "ByteFallback", "type", "Fuse", "type", "Strip", "content", " ", "start", 1, "stop", 0);
    json_t *merges = is_sp ? json_array() : json_pack("[s s]", "\xC4\x8A \xC4\x8A", "o n");
    json_t *model = json_pack("{s:s s:n s:n s:n s:b s:b s:o s:o}", "type", "BPE", "dropout",
                              "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", is_sp,
                              "byte_fallback", is_sp, "vocab", tiny_vocab(kind), "merges", merges);
    json_object_set_new(model, "unk_token", is_sp ? json_string("<unk>") : json_null());
    json_t *root = json_pack("{s:s s:n s:n s:o s:n s:O s:O s:O s:o}", "version", "1.0", "truncation",
                             "padding", "added_tokens", tiny_special(kind), "post_processor", "normalizer",
                             is_sp ? normalizer : json_null(), "pre_tokenizer", is_sp ? json_null() : bytes,
                             "decoder", is_sp ? decoder : bytes, "model", model);
    char *json = json_dumps(root, 0);
    struct tokenizer *tok = tokenizer_parse(json, strlen(json), config_text, "tiny tokenizer", &err);
    CHECK(tok, "%s", err.text);
    free(json);
    json_decref(root);
    json_decref(bytes);
    json_decref(normalizer);
    json_decref(decoder);
    return tok;
}

static inline struct tokenizer *tiny_tokenizer(enum tiny_kind kind) {
    return tiny_tokenizer_with(kind, "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}");
}
