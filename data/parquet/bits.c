/* bits.c - see bits.h. */
#include "data/parquet/bits.h"

bool bytes_varint(struct bytes *from, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 70 && from->at < from->end; shift += 7) {
        unsigned char byte = *from->at++;
        *value |= shift < 64 ? (uint64_t)(byte & 0x7F) << shift : 0;
        if (byte < 0x80)
            return true;
    }
    return false;
}

bool bytes_u32(struct bytes *from, uint32_t *value) {
    if (bytes_left(from) < 4)
        return false;
    *value =
        from->at[0] | (uint32_t)from->at[1] << 8 | (uint32_t)from->at[2] << 16 | (uint32_t)from->at[3] << 24;
    from->at += 4;
    return true;
}

int bits_width(uint64_t max) {
    return max == 0 ? 0 : 64 - __builtin_clzll(max);
}

/* load - up to 8 bytes as a number, the lowest first, as this processor has them (h5.c refuses others); what is beyond the
 * end counts as 0. */
static uint64_t load(const unsigned char *at, const unsigned char *end) {
    uint64_t value = 0;
    size_t room = (size_t)(end - at) < sizeof value ? (size_t)(end - at) : sizeof value;
    memcpy(&value, at, room);
    return value;
}

/* take_bits - of at most 64 bits, from the lowest of each byte on; false where they end. */
static bool take_bits(const struct bytes *packed, uint64_t *bit, int width, uint64_t *value) {
    uint64_t first = *bit / 8, shift = *bit % 8, length = bytes_left(packed);
    if (width == 0) {
        *value = 0;
        return true;
    }
    if (first >= length || (*bit + (uint64_t)width + 7) / 8 > length)
        return false;
    *value = load(packed->at + first, packed->end) >> shift;
    if (shift + (uint64_t)width > 64)
        *value |= (uint64_t)packed->at[first + 8] << (64 - shift);
    if (width < 64)
        *value &= ((uint64_t)1 << width) - 1;
    *bit += (uint64_t)width;
    return true;
}

/* --- runs --- */

void runs_start(struct runs *runs, struct bytes from, int width) {
    *runs = (struct runs){.from = from, .width = width};
}

/* next_run - its head, and of a repeated value the value.  What packed values lack at the end of the bytes is found when it
 * is asked for: some writers leave the padding of the last run out. */
static bool next_run(struct runs *runs) {
    uint64_t head;
    if (!bytes_varint(&runs->from, &head))
        return false;
    uint64_t count = head >> 1, left = bytes_left(&runs->from);
    if (head & 1) {
        uint64_t length = count <= left ? count * (uint64_t)runs->width : runs->width ? left : 0;
        if (count > UINT64_MAX / 8)
            return false;
        runs->num_packed = count * 8;
        runs->packed = (struct bytes){runs->from.at, runs->from.at + (length < left ? length : left)};
        runs->from.at = runs->packed.end;
        runs->bit = 0;
        return true;
    }
    size_t value_bytes = (size_t)(runs->width + 7) / 8;
    if (value_bytes > left)
        return false;
    runs->value = (uint32_t)load(runs->from.at, runs->from.at + value_bytes);
    runs->from.at += value_bytes;
    runs->num_repeated = count;
    return true;
}

bool runs_next(struct runs *runs, uint32_t *value) {
    uint64_t bits;
    while (runs->num_repeated == 0 && runs->num_packed == 0)
        if (!next_run(runs))
            return false;
    if (runs->num_repeated > 0) {
        runs->num_repeated--;
        *value = runs->value;
        return true;
    }
    runs->num_packed--;
    if (!take_bits(&runs->packed, &runs->bit, runs->width, &bits))
        return false;
    *value = (uint32_t)bits;
    return true;
}

/* --- differences --- */

static uint64_t unzigzag(uint64_t value) {
    return (value >> 1) ^ (0 - (value & 1));
}

bool deltas_start(struct deltas *deltas, struct bytes from) {
    enum { MAX_BLOCK = 1 << 24 };
    uint64_t block, parts, total, first;
    *deltas = (struct deltas){.from = from, .is_first = true};
    if (!bytes_varint(&deltas->from, &block) || !bytes_varint(&deltas->from, &parts) ||
        !bytes_varint(&deltas->from, &total) || !bytes_varint(&deltas->from, &first))
        return false;
    if (block == 0 || block > MAX_BLOCK || parts == 0 || block % parts != 0 || (block / parts) % 8 != 0)
        return false;
    deltas->num_left = total;
    deltas->last = unzigzag(first);
    deltas->per_part = block / parts;
    deltas->num_parts = deltas->part = parts;
    return true;
}

/* next_part - the head of a block before its first one. */
static bool next_part(struct deltas *deltas) {
    if (deltas->part == deltas->num_parts) {
        uint64_t smallest;
        if (!bytes_varint(&deltas->from, &smallest) || bytes_left(&deltas->from) < deltas->num_parts)
            return false;
        deltas->smallest = unzigzag(smallest);
        deltas->widths = deltas->from.at;
        deltas->from.at += deltas->num_parts;
        deltas->part = 0;
    }
    deltas->width = deltas->widths[deltas->part++];
    uint64_t length = deltas->per_part / 8 * (uint64_t)deltas->width;
    if (deltas->width > 64 || length > bytes_left(&deltas->from))
        return false;
    deltas->packed = (struct bytes){deltas->from.at, deltas->from.at + length};
    deltas->from.at += length;
    deltas->num_in_part = deltas->per_part;
    deltas->bit = 0;
    return true;
}

bool deltas_next(struct deltas *deltas, int64_t *value) {
    uint64_t difference = 0;
    if (deltas->num_left == 0)
        return false;
    if (!deltas->is_first) {
        if (deltas->num_in_part == 0 && !next_part(deltas))
            return false;
        if (!take_bits(&deltas->packed, &deltas->bit, deltas->width, &difference))
            return false;
        deltas->num_in_part--;
        deltas->last += deltas->smallest + difference;
    }
    deltas->is_first = false;
    deltas->num_left--;
    *value = (int64_t)deltas->last;
    return true;
}

/* Whole parts are stepped over; each block takes bytes, so hostile counts end. */
const unsigned char *deltas_end(const struct deltas *deltas) {
    struct deltas copy = *deltas;
    uint64_t left = copy.num_left - (copy.is_first && copy.num_left > 0);
    left -= left < copy.num_in_part ? left : copy.num_in_part;
    while (left > 0) {
        if (!next_part(&copy))
            return NULL;
        left -= left < copy.per_part ? left : copy.per_part;
    }
    return copy.from.at;
}
