/* sha256.h - SHA-256 of a stream of bytes (FIPS 180-4): checksums in manifests, identity of tokenizers and
 * files. */
#pragma once

#include "kernels/error.h"

enum { SHA256_BYTES = 32, SHA256_HEX_ROOM = 65 };

/* The caller's; sha256_init, any number of sha256_update, one sha256_finish. */
struct sha256 {
    uint32_t state[8];
    uint64_t length_bytes;
    unsigned char block[64];
};
void sha256_init(struct sha256 *sha);
void sha256_update(struct sha256 *sha, const void *bytes, size_t length_bytes);
/* sha256_finish - the digest as 64 lower-case hexadecimal characters and a NUL. */
void sha256_finish(struct sha256 *sha, char hex[SHA256_HEX_ROOM]);
