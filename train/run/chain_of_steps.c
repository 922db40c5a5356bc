/* chain_of_steps.c - what a step read and what came of it, hashed with all steps before it. */
#include "train/run/chain_of_steps.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/sha256.h"

/* A hash as words that are added between ranks: 32 bits each, in 64 so that no sum of ranks overflows. */
enum { DATA_WORDS = 4, WORD_DIGITS = 8 };

void chain_start(char link[CHAIN_LINK_ROOM]) {
    memset(link, '0', CHAIN_LINK_ROOM - 1);
    link[CHAIN_LINK_ROOM - 1] = '\0';
}

/* add_micro - the first 128 bits of the hash of a micro-batch, which is number `place` of its step over all ranks. */
static void add_micro(int64_t words[DATA_WORDS], const struct batch *batch, int64_t place) {
    size_t count = (size_t)batch->num_tokens;
    struct sha256 sha;
    char hex[SHA256_HEX_ROOM], word[WORD_DIGITS + 1] = "";
    sha256_init(&sha);
    sha256_update(&sha, &place, sizeof place);
    sha256_update(&sha, batch->tokens, count * sizeof *batch->tokens);
    sha256_update(&sha, batch->targets, count * sizeof *batch->targets);
    sha256_update(&sha, batch->weights, count * sizeof *batch->weights);
    sha256_update(&sha, batch->row_start, count * sizeof *batch->row_start);
    sha256_finish(&sha, hex);
    for (int w = 0; w < DATA_WORDS; w++) {
        unsigned value = 0;
        memcpy(word, hex + w * WORD_DIGITS, WORD_DIGITS);
        sscanf(word, "%x", &value);
        words[w] += value;
    }
}

void chain_data(const struct feed *feed, struct comm *comm, char data[CHAIN_DATA_ROOM]) {
    int64_t words[DATA_WORDS] = {0};
    for (int64_t m = 0; m < feed->num_micros; m++) {
        int64_t place = m * feed->num_ranks + feed->rank;
        if (place < feed_num_filled(feed))
            add_micro(words, &feed->micros[m], place);
    }
    if (comm)
        comm_sum_i64(comm, words, DATA_WORDS);
    for (int w = 0; w < DATA_WORDS; w++)
        snprintf(data + w * WORD_DIGITS, WORD_DIGITS + 1, "%08x", (unsigned)(words[w] & UINT32_MAX));
}

/* number_text - the same on every C library where it is none. */
static void number_text(double value, int digits, char *text, size_t room_bytes) {
    if (isfinite(value))
        snprintf(text, room_bytes, "%.*g", digits, value);
    else
        snprintf(text, room_bytes, "nan");
}

void chain_step(char link[CHAIN_LINK_ROOM], const struct chain_facts *facts) {
    char loss[40], norm[40], rate[40], text[CHAIN_LINK_ROOM + CHAIN_DATA_ROOM + 240];
    struct sha256 sha;
    number_text(facts->loss, 17, loss, sizeof loss);
    number_text(facts->grad_norm, 17, norm, sizeof norm);
    number_text(facts->learning_rate, 9, rate, sizeof rate);
    int length = snprintf(text, sizeof text, "%s %lld %s %s %s", link, (long long)facts->step, loss, norm,
                          facts->data);
    if (facts->format != CHAIN_FIRST)
        length += snprintf(text + length, sizeof text - (size_t)length, " %s %lld %lld", rate,
                           (long long)facts->tokens, (long long)facts->target_tokens);
    sha256_init(&sha);
    sha256_update(&sha, text, (size_t)length);
    sha256_finish(&sha, link);
}

bool chain_is_link(const char *text) {
    return strlen(text) == CHAIN_LINK_ROOM - 1 && strspn(text, "0123456789abcdef") == CHAIN_LINK_ROOM - 1;
}
