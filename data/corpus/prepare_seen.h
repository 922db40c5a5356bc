/* prepare_seen.h - which documents prepare has met: a set of 128-bit hashes of their texts.  Two different texts of
 * the same hash would be a one in 10^20 event for a billion documents. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <xxhash.h>

/* Start from {0}; hashes_release frees. */
struct hash_set {
    XXH128_hash_t *slots; /* [num_slots] open addressing, at most two thirds full; all zero: free */
    uint64_t num_slots, num_used;
};
enum hash_news { HASH_NEW, HASH_KNOWN };

/* hashes_add - whether it was there already; it is afterwards. */
enum hash_news hashes_add(struct hash_set *set, XXH128_hash_t hash);

/* hashes_have_any - whether one of count hashes is there; none is added. */
bool hashes_have_any(const struct hash_set *set, const XXH128_hash_t *hashes, int count);
void hashes_release(struct hash_set *set);
