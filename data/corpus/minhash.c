/* minhash.c - see minhash.h. */
#include "data/corpus/minhash.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "kernels/cpu/cpu.h"

static int num_functions(const struct minhash *minhash) {
    return minhash->config.num_bands * minhash->config.num_rows;
}

void minhash_begin(struct minhash *minhash, const struct minhash_config *config) {
    if (!minhash->least) {
        minhash->config = *config;
        minhash->least = xcalloc((size_t)num_functions(minhash) + 1, sizeof *minhash->least);
        minhash->salts = xcalloc((size_t)num_functions(minhash) + 1, sizeof *minhash->salts);
        for (int i = 0; i < num_functions(minhash); i++)
            minhash->salts[i] = (uint32_t)XXH3_64bits_withSeed("minhash", 7, (uint64_t)i);
    }
    memset(minhash->least, 0xFF, (size_t)num_functions(minhash) * sizeof *minhash->least);
    minhash->num_words = 0;
}

/* keep_least - of each function; what it does to a run's hash is the end of MurmurHash3 (32 bits), after its own salt. */
CPU_CLONES
static void keep_least(uint32_t *restrict least, const uint32_t *restrict salts, int count, uint32_t run) {
    for (int i = 0; i < count; i++) {
        uint32_t x = run ^ salts[i];
        x = (x ^ x >> 16) * 0x85ebca6bu;
        x = (x ^ x >> 13) * 0xc2b2ae35u;
        x ^= x >> 16;
        least[i] = x < least[i] ? x : least[i];
    }
}

static void add_run(struct minhash *minhash, int num_words) {
    uint64_t run = XXH3_64bits(minhash->words, (size_t)num_words * sizeof *minhash->words);
    keep_least(minhash->least, minhash->salts, num_functions(minhash), (uint32_t)(run ^ run >> 32));
}

/* add_word - the last num_words of them are kept, oldest first. */
static void add_word(struct minhash *minhash, uint64_t word) {
    int room = minhash->config.num_words;
    if (minhash->num_words >= room)
        memmove(minhash->words, minhash->words + 1, (size_t)(room - 1) * sizeof *minhash->words);
    minhash->words[minhash->num_words < room ? minhash->num_words : room - 1] = word;
    minhash->num_words++;
    if (minhash->num_words >= room)
        add_run(minhash, room);
}

/* folded - a letter without its case, or a digit; 0: it separates words. */
static uint32_t folded(uint32_t c) {
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c | 0x20 : (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : 0;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    bool is_word = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
    return is_word ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)c) : 0;
}

void minhash_add(struct minhash *minhash, const char *bytes, size_t length_bytes) {
    const char *end = bytes + length_bytes;
    uint64_t word = 0;
    while (bytes < end && minhash->config.num_bands > 0) {
        uint32_t c = folded(text_next_char(&bytes));
        if (c)
            word = (word ^ c) * 0x100000001b3u + 0x9e3779b97f4a7c15u; /* FNV-1a, which would keep 0 at 0 */
        if (word && (!c || bytes >= end)) {
            add_word(minhash, word);
            word = 0;
        }
    }
}

bool minhash_end(struct minhash *minhash, XXH128_hash_t *bands) {
    size_t row_bytes = (size_t)minhash->config.num_rows * sizeof *minhash->least;
    if (minhash->num_words == 0 || minhash->config.num_bands == 0)
        return false;
    if (minhash->num_words < minhash->config.num_words)
        add_run(minhash, (int)minhash->num_words);
    for (int band = 0; band < minhash->config.num_bands; band++)
        bands[band] = XXH3_128bits_withSeed(minhash->least + band * minhash->config.num_rows, row_bytes,
                                            (uint64_t)band);
    return true;
}

void minhash_release(struct minhash *minhash) {
    free(minhash->least);
    free(minhash->salts);
    *minhash = (struct minhash){.least = NULL};
}
