/* loader_mix.c - the mix of the files, by integer arithmetic on (shares, seed, block). */
#include "data/tokens/loader_mix.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/rng.h"

/* set_shares - file i gets shares[i] / 2^32 of what files 0 .. i - 1 leave; the last one all of it. */
static void set_shares(struct mix *mix, const struct loader_config *config) {
    double rest = 0;
    for (int i = mix->num_files - 1; i >= 0; i--) {
        rest += config->files[i].weight;
        mix->shares[i] = (uint64_t)llround(config->files[i].weight / rest * 0x1p32);
    }
}

void mix_init(struct mix *mix, const struct loader_config *config) {
    size_t n = (size_t)config->num_files;
    *mix = (struct mix){.num_files = config->num_files, .seed = (uint64_t)config->seed, .number = -1};
    mix->shares = xcalloc(n, sizeof *mix->shares);
    mix->first = xcalloc(n, sizeof *mix->first);
    set_shares(mix, config);
}

void mix_release(struct mix *mix) {
    free(mix->shares);
    free(mix->first);
    *mix = (struct mix){.num_files = 0};
}

/* samples_before - how many of the first num_samples samples each file gets.  Each count grows with
 * num_samples by at most as much as it does, and stays within a few of num_samples times its share: the files
 * take their parts of what is left one after another, rounded down. */
static void samples_before(const struct mix *mix, int64_t num_samples, int64_t *counts) {
    int64_t left = num_samples;
    for (int i = 0; i < mix->num_files; i++) {
        counts[i] = (int64_t)((unsigned __int128)left * mix->shares[i] >> 32);
        left -= counts[i];
    }
}

/* before_block - of the samples before a block, how many are the file's: as samples_before, without a table. */
static int64_t before_block(const struct mix *mix, int file, int64_t number) {
    int64_t left = number * MIX_BLOCK, count = 0;
    for (int i = 0; i <= file; i++) {
        count = (int64_t)((unsigned __int128)left * mix->shares[i] >> 32);
        left -= count;
    }
    return count;
}

/* make_block - the places of one block, shuffled by (seed, block). */
static void make_block(struct mix *mix, int64_t number) {
    uint64_t stream = rng_stream(RNG_MIX, (uint64_t)number);
    int64_t *ends = xcalloc((size_t)mix->num_files, sizeof *ends);
    int64_t *nth = xcalloc((size_t)mix->num_files, sizeof *nth);
    int places = 0;
    samples_before(mix, number * MIX_BLOCK, mix->first);
    samples_before(mix, (number + 1) * MIX_BLOCK, ends);
    for (int i = 0; i < mix->num_files; i++)
        for (int64_t s = mix->first[i]; s < ends[i]; s++)
            mix->files[places++] = (uint16_t)i;
    CHECK(places == MIX_BLOCK, "a block of %d samples", places);
    for (int j = MIX_BLOCK - 1; j > 0; j--) {
        int other = (int)rng_below(mix->seed, stream, (uint64_t)j, (uint64_t)j + 1);
        uint16_t file = mix->files[other];
        mix->files[other] = mix->files[j];
        mix->files[j] = file;
    }
    for (int j = 0; j < MIX_BLOCK; j++)
        mix->nth[j] = (uint16_t)nth[mix->files[j]]++;
    mix->number = number;
    free(nth);
    free(ends);
}

struct mix_place mix_at(struct mix *mix, int64_t g) {
    if (mix->number != g / MIX_BLOCK)
        make_block(mix, g / MIX_BLOCK);
    int file = mix->files[g % MIX_BLOCK];
    return (struct mix_place){file, mix->first[file] + mix->nth[g % MIX_BLOCK]};
}

/* The blocks' counts never decrease: the last block that begins at or before the sample holds it, for blocks without any of
 * the file begin where the next one does.  Samples of a file whose share is next to nothing may never come. */
int64_t mix_find(struct mix *mix, struct mix_place place, int64_t end) {
    int64_t low = 0, high = (end + MIX_BLOCK - 1) / MIX_BLOCK;
    if (before_block(mix, place.file, high) <= place.sample)
        return end;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (before_block(mix, place.file, middle) <= place.sample)
            low = middle;
        else
            high = middle;
    }
    if (mix->number != low)
        make_block(mix, low);
    int64_t nth = place.sample - mix->first[place.file];
    int j = 0;
    while (j < MIX_BLOCK && (mix->files[j] != place.file || mix->nth[j] != nth))
        j++;
    CHECK(j < MIX_BLOCK, "sample %lld of file %d is not in block %lld of the mix", (long long)place.sample,
          place.file, (long long)low);
    return low * MIX_BLOCK + j < end ? low * MIX_BLOCK + j : end;
}
