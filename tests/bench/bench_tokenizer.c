/* bench_tokenizer.c - speed of the tokenizer on one thread: loading, and encoding documents one at a time.
 *
 *   bench_tokenizer TOKENIZER.json REPETITIONS < documents      (frames as in tests/tool_encode.c)
 * Prints one line of JSON; tests/bench/peer_tokenizers.py runs it in turns with the package `tokenizers`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/tokenizer/tokenizer.h"

/* All documents, end to end. */
struct corpus {
    char *bytes;
    size_t *ends;
    size_t length_bytes;
    int64_t count;
};

/* Processor time of this thread: on a busy machine the wall clock measures the neighbours. */
static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct corpus read_corpus(void) {
    struct corpus corpus = {0};
    size_t room_bytes = 0;
    int64_t room = 0;
    uint32_t document_bytes;
    while (fread(&document_bytes, sizeof document_bytes, 1, stdin) == 1) {
        if (corpus.length_bytes + document_bytes > room_bytes) {
            room_bytes = 2 * room_bytes + document_bytes;
            corpus.bytes = xrealloc(corpus.bytes, room_bytes);
        }
        if (corpus.count == room) {
            room = 2 * room + 64;
            corpus.ends = xrealloc(corpus.ends, (size_t)room * sizeof *corpus.ends);
        }
        CHECK(fread(corpus.bytes + corpus.length_bytes, 1, document_bytes, stdin) == document_bytes,
              "the input ends inside a frame");
        corpus.length_bytes += document_bytes;
        corpus.ends[corpus.count++] = corpus.length_bytes;
    }
    return corpus;
}

/* Tokens of one pass over the corpus. */
static int64_t encode_corpus(struct encoder *enc, const struct corpus *corpus, struct token_list *ids) {
    int64_t num_tokens = 0;
    for (int64_t d = 0; d < corpus->count; d++) {
        size_t start = d > 0 ? corpus->ends[d - 1] : 0;
        struct err err;
        ids->count = 0;
        CHECK(encoder_encode(enc, corpus->bytes + start, corpus->ends[d] - start,
                             ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, ids, &err) == 0,
              "%s", err.text);
        num_tokens += ids->count;
    }
    return num_tokens;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: bench_tokenizer TOKENIZER.json REPETITIONS < documents\n");
        return 2;
    }
    struct err err;
    double start_s = now_s();
    struct tokenizer *tok = tokenizer_load(argv[1], &err);
    double load_s = now_s() - start_s;
    if (!tok) {
        fprintf(stderr, "error: %s\n", err.text);
        return 1;
    }
    struct corpus corpus = read_corpus();
    struct token_list ids = {0};
    int64_t num_tokens = 0;
    double best_s = 1e30, first_s = 0;
    struct encoder *enc = encoder_open(tok);
    for (int i = 0; i < atoi(argv[2]); i++) {
        start_s = now_s();
        num_tokens = encode_corpus(enc, &corpus, &ids);
        double took_s = now_s() - start_s;
        if (i == 0)
            first_s = took_s; /* with a cold cache of pieces */
        if (took_s < best_s)
            best_s = took_s;
    }
    double mb = (double)corpus.length_bytes * 1e-6;
    printf("{\"load_s\": %.4f, \"mb\": %.3f, \"tokens\": %lld, \"first_mb_per_s\": %.2f, \"best_mb_per_s\": "
           "%.2f}\n",
           load_s, mb, (long long)num_tokens, mb / first_s, mb / best_s);
    encoder_close(enc);
    token_list_release(&ids);
    free(corpus.bytes);
    free(corpus.ends);
    tokenizer_free(tok);
    return 0;
}
