/* tool_encode.c - the tokenizer as a filter, for tests/interop/compare_tokenizers.py.
 *
 *   tool_encode TOKENIZER.json encode|plain|bare < documents > ids     (encode: with special tokens added and
 * parsed) tool_encode TOKENIZER.json decode|skip       < ids       > texts   (skip: special tokens left out)
 * Documents and texts are frames: a 32-bit little-endian length in bytes, then the bytes; lists of ids
 * likewise, as 32-bit integers.  A document that cannot be encoded gives the length 0xFFFFFFFF and nothing
 * else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/tokenizer.h"

/* The next frame, grown into *buffer; false at the end of the input. */
static bool read_frame(char **buffer, uint32_t *length_bytes) {
    if (fread(length_bytes, sizeof *length_bytes, 1, stdin) != 1)
        return false;
    *buffer = xrealloc(*buffer, (size_t)*length_bytes + 1);
    CHECK(fread(*buffer, 1, *length_bytes, stdin) == *length_bytes, "the input ends inside a frame");
    return true;
}

static void write_frame(const void *bytes, size_t length_bytes) {
    uint32_t header = (uint32_t)length_bytes;
    fwrite(&header, sizeof header, 1, stdout);
    fwrite(bytes, 1, length_bytes, stdout);
}

static void encode_all(const struct tokenizer *tok, unsigned flags) {
    struct encoder *enc = encoder_open(tok);
    struct token_list ids = {0};
    struct err err;
    char *text = NULL;
    uint32_t length_bytes;
    while (read_frame(&text, &length_bytes)) {
        ids.count = 0;
        if (encoder_encode(enc, text, length_bytes, flags, &ids, &err) == 0) {
            write_frame(ids.ids, (size_t)ids.count * sizeof *ids.ids);
        } else {
            fprintf(stderr, "%s\n", err.text);
            fwrite("\xFF\xFF\xFF\xFF", 1, 4, stdout);
        }
    }
    free(text);
    token_list_release(&ids);
    encoder_close(enc);
}

static void decode_all(const struct tokenizer *tok, bool skip_special) {
    char *ids = NULL;
    uint32_t length_bytes;
    while (read_frame(&ids, &length_bytes)) {
        size_t text_bytes;
        char *text = tokenizer_decode(tok, (const int32_t *)(const void *)ids, length_bytes / 4, skip_special,
                                      &text_bytes);
        write_frame(text, text_bytes);
        free(text);
    }
    free(ids);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: tool_encode TOKENIZER.json encode|plain|bare|decode|skip\n");
        return 2;
    }
    struct err err;
    struct tokenizer *tok = tokenizer_load(argv[1], &err);
    if (!tok) {
        fprintf(stderr, "error: %s\n", err.text);
        return 1;
    }
    if (strcmp(argv[2], "encode") == 0)
        encode_all(tok, ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL);
    else if (strcmp(argv[2], "bare") == 0) /* parsed but not added */
        encode_all(tok, ENCODE_PARSE_SPECIAL);
    else if (strcmp(argv[2], "plain") == 0)
        encode_all(tok, ENCODE_PLAIN);
    else
        decode_all(tok, strcmp(argv[2], "skip") == 0);
    tokenizer_free(tok);
    return 0;
}
