/* sha256.h - SHA-256 of a stream of bytes (FIPS 180-4): checksums in manifests, identity of tokenizers and
 * files. */
#pragma once

#include "kernels/error.h"

enum { SHA256_BYTES = 32, SHA256_HEX_ROOM = 65 };

/* Hashes count blocks of 64 bytes into a state. */
typedef void sha256_blocks_fn(uint32_t state[8], const unsigned char *blocks, size_t count);

/* The caller's; sha256_init, any number of sha256_update, one sha256_finish. */
struct sha256 {
    uint32_t state[8];
    uint64_t length_bytes;
    unsigned char block[64];
    sha256_blocks_fn *hash_blocks; /* the fastest that this processor runs */
};
void sha256_init(struct sha256 *sha);
void sha256_update(struct sha256 *sha, const void *bytes, size_t length_bytes);
/* sha256_finish - the digest as 64 lower-case hexadecimal characters and a NUL. */
void sha256_finish(struct sha256 *sha, char hex[SHA256_HEX_ROOM]);
