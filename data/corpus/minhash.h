/* minhash.h - which texts are nearly the same, by the runs of words that they share (Broder 1997, "On the resemblance and
 * containment of documents"; bands of rows as in Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4).
 *
 * A text is the set of its runs of num_words words: letters and digits, without case.  Each of num_bands * num_rows hash
 * functions keeps its least value over that set; num_rows of them together are a band.  Two texts of which the share s of all
 * runs is common have an equal band with the probability 1 - (1 - s^rows)^bands: with 14 bands of 8 rows 5 % at s = 0.5, 66 % at
 * 0.72, 99.9 % at 0.9. */
#pragma once

#include <stdint.h>
#include <xxhash.h>

#include "data/corpus/text.h"

enum { MINHASH_MAX_BANDS = 64, MINHASH_MAX_ROWS = 32, MINHASH_MAX_WORDS = 32 };

struct minhash_config {
    int num_bands; /* 0: nothing is compared */
    int num_rows, num_words;
};

/* The caller's; one for each thread.  Start from {0}; minhash_release frees. */
struct minhash {
    struct minhash_config config;
    uint32_t *least, *salts; /* [num_bands * num_rows] */
    uint64_t words[MINHASH_MAX_WORDS];
    int64_t num_words;
};

/* minhash_begin - a new text.  minhash_add - valid UTF-8, a part of it, which ends a word.  minhash_end - its bands
 * [num_bands]; two texts with an equal band are nearly the same.  Returns false, with nothing written, for a text without a
 * word; one with fewer words than a run has is one run. */
void minhash_begin(struct minhash *minhash, const struct minhash_config *config);
void minhash_add(struct minhash *minhash, const char *bytes, size_t length_bytes);
bool minhash_end(struct minhash *minhash, XXH128_hash_t *bands);
void minhash_release(struct minhash *minhash);
