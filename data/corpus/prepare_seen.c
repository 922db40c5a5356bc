/* prepare_seen.c - a set of hashes, 16 bytes each.  See prepare_seen.h. */
#include "data/corpus/prepare_seen.h"

#include <stdbool.h>
#include <stdlib.h>

#include "kernels/error.h"

static bool is_free(XXH128_hash_t slot) {
    return slot.low64 == 0 && slot.high64 == 0;
}

/* slot_of - where a hash is, or the free slot that it would take. */
static uint64_t slot_of(const struct hash_set *set, XXH128_hash_t hash) {
    uint64_t slot = hash.low64 & (set->num_slots - 1);
    while (!is_free(set->slots[slot]) && !XXH128_isEqual(set->slots[slot], hash))
        slot = (slot + 1) & (set->num_slots - 1);
    return slot;
}

/* grow - to twice the slots, when two thirds are used; every hash is placed anew, since its slot depends on the
 * size. */
static void grow(struct hash_set *set) {
    struct hash_set larger = {.num_slots = set->num_slots ? 2 * set->num_slots : 1024,
                              .num_used = set->num_used};
    larger.slots = xcalloc(larger.num_slots, sizeof *larger.slots);
    for (uint64_t i = 0; i < set->num_slots; i++)
        if (!is_free(set->slots[i]))
            larger.slots[slot_of(&larger, set->slots[i])] = set->slots[i];
    free(set->slots);
    *set = larger;
}

/* 128 bits: among 10^12 documents two different ones share a hash with a probability below 10^-14. */
enum hash_news hashes_add(struct hash_set *set, XXH128_hash_t hash) {
    if (is_free(hash))
        hash.low64 = 1; /* zero marks free slots */
    if (3 * (set->num_used + 1) > 2 * set->num_slots)
        grow(set);
    uint64_t slot = slot_of(set, hash);
    if (!is_free(set->slots[slot]))
        return HASH_KNOWN;
    set->slots[slot] = hash;
    set->num_used++;
    return HASH_NEW;
}

bool hashes_have_any(const struct hash_set *set, const XXH128_hash_t *hashes, int count) {
    for (int i = 0; i < count && set->num_slots > 0; i++)
        if (!is_free(set->slots[slot_of(set, hashes[i])]))
            return true;
    return false;
}

void hashes_release(struct hash_set *set) {
    free(set->slots);
    *set = (struct hash_set){0};
}
