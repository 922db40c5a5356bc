/* sha256.c - SHA-256 of bytes as they come: pieces into blocks, and the padding after the last one (FIPS 180-4, section 5). */
#include "data/sha256_blocks.h"

#include <string.h>

/* fastest - of the versions that this processor runs. */
static sha256_blocks_fn *fastest(void) {
    sha256_blocks_fn *own = sha256_blocks_x86();
    if (!own)
        own = sha256_blocks_arm();
    return own ? own : sha256_blocks_portable;
}

/* The state that a digest begins with: section 5.3.3. */
void sha256_init(struct sha256 *sha) {
    *sha = (struct sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                                     0x1f83d9ab, 0x5be0cd19},
                           .hash_blocks = fastest()};
}

/* Whole blocks are hashed where they lie; only what does not fill one is copied, until more comes. */
void sha256_update(struct sha256 *sha, const void *bytes, size_t length_bytes) {
    const unsigned char *p = bytes;
    size_t held_bytes = sha->length_bytes % 64;
    sha->length_bytes += length_bytes;
    if (held_bytes > 0) { /* fill the block that was begun */
        size_t taken_bytes = length_bytes < 64 - held_bytes ? length_bytes : 64 - held_bytes;
        if (taken_bytes > 0)
            memcpy(sha->block + held_bytes, p, taken_bytes);
        p += taken_bytes;
        length_bytes -= taken_bytes;
        if (held_bytes + taken_bytes < 64)
            return;
        sha->hash_blocks(sha->state, sha->block, 1);
    }
    size_t rest_bytes = length_bytes % 64;
    sha->hash_blocks(sha->state, p, length_bytes / 64);
    if (rest_bytes > 0)
        memcpy(sha->block, p + length_bytes - rest_bytes, rest_bytes);
}

void sha256_finish(struct sha256 *sha, char hex[SHA256_HEX_ROOM]) {
    /* Padding: one bit, zeros, and the length in bits as a big-endian 64-bit number at the end of a block. */
    uint64_t length_bits = sha->length_bytes * 8;
    unsigned char padding[72] = {0x80};
    size_t zeros_bytes = (sha->length_bytes % 64 < 56 ? 56 : 120) - sha->length_bytes % 64;
    for (int i = 0; i < 8; i++)
        padding[zeros_bytes + (size_t)i] = (unsigned char)(length_bits >> (56 - 8 * i));
    sha256_update(sha, padding, zeros_bytes + 8);
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < SHA256_BYTES; i++) {
        unsigned byte = sha->state[i / 4] >> (24 - 8 * (i % 4)) & 0xFF;
        hex[2 * i] = digits[byte >> 4];
        hex[2 * i + 1] = digits[byte & 15];
    }
    hex[64] = 0;
}
