/* loader_mix.h - inside the loader: which file sample g of a run is of, and which of that file's samples it is; and back.  Samples
 * come in blocks of 1024; in each block every file has its share of places, shuffled by (seed, block). */
#pragma once

#include "data/tokens/loader.h"

/* Samples of a block; files are 16 bits in its table. */
enum { MIX_BLOCK = 1024, MIX_MAX_FILES = 65535 };

struct mix {
    int num_files;
    uint64_t seed;
    uint64_t *shares; /* [num_files]: of what the files before leave, times 2^32 */
    /* The block that was asked for last: place j of it goes to files[j], as that file's sample first[files[j]] + nth[j]. */
    int64_t number; /* -1: none yet */
    uint16_t files[MIX_BLOCK], nth[MIX_BLOCK];
    int64_t *first; /* [num_files] */
};

/* A sample of one file, counted over all epochs. */
struct mix_place {
    int file;
    int64_t sample;
};

/* mix_init - for config->num_files files, up to MIX_MAX_FILES.  mix_release frees; harmless on a zeroed struct. */
void mix_init(struct mix *mix, const struct loader_config *config);
void mix_release(struct mix *mix);

/* mix_at - what sample g is.  mix_find - the sample of the run that place is; end where it is not one of
 * the first `end` ones.  Both keep the block they last needed: not
 * thread-safe. */
struct mix_place mix_at(struct mix *mix, int64_t g);
int64_t mix_find(struct mix *mix, struct mix_place place, int64_t end);
