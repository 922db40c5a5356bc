/* bits.h - numbers that Parquet packs: varints, bits, runs of repeated or packed values, and differences.
 * Source: apache/parquet-format, Encodings.md. */
#pragma once

#include "data/corpus/text.h"

/* Bytes that are read from the front; borrowed. */
struct bytes {
    const unsigned char *at, *end;
};
static inline size_t bytes_left(const struct bytes *from) {
    return (size_t)(from->end - from->at);
}

/* bytes_varint - false where the bytes end in it, or it is longer than 64 bits.  bytes_u32 - little endian. */
bool bytes_varint(struct bytes *from, uint64_t *value);
bool bytes_u32(struct bytes *from, uint32_t *value);

/* bits_width - of numbers from 0 to max. */
int bits_width(uint64_t max);

/* Runs ("RLE / bit-packing hybrid"): levels, indices of a dictionary, truth values. */
struct runs {
    struct bytes from;
    int width; /* in bits, 0 to 32 */
    uint64_t num_repeated, num_packed;
    uint32_t value; /* that is repeated */
    struct bytes packed;
    uint64_t bit; /* the next one of packed */
};
/* runs_start - width is 0 to 32.  runs_next - false where the bytes have no further value. */
void runs_start(struct runs *runs, struct bytes from, int width);
bool runs_next(struct runs *runs, uint32_t *value);

/* Differences ("DELTA_BINARY_PACKED"); sums wrap around. */
struct deltas {
    struct bytes from;
    uint64_t num_left; /* values that were not given yet */
    bool is_first;
    uint64_t last, smallest;
    uint64_t per_part, num_parts; /* values of a miniblock, miniblocks of a block */
    const unsigned char *widths;  /* of the parts of this block */
    uint64_t part;                /* the next one of them */
    uint64_t num_in_part;         /* values left in the present one */
    int width;
    struct bytes packed;
    uint64_t bit;
};
/* deltas_start - false: no such list.  deltas_next - false where there is no further value, or the bytes end.
 * deltas_end - where the bytes after the list begin, NULL where they end in it. */
bool deltas_start(struct deltas *deltas, struct bytes from);
bool deltas_next(struct deltas *deltas, int64_t *value);
const unsigned char *deltas_end(const struct deltas *deltas);
