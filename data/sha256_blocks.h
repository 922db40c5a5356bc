/* sha256_blocks.h - the inner part of SHA-256 in the versions that processors run; only for the sha256 files and their test. */
#pragma once

#include "data/sha256.h"

/* The 64 words of FIPS 180-4, section 4.2.2. */
extern const uint32_t SHA256_ROUND_CONSTANTS[64];

/* sha256_blocks_portable - count blocks of 64 bytes, which may lie at any address, into the state; on every processor. */
void sha256_blocks_portable(uint32_t state[8], const unsigned char *blocks, size_t count);

/* sha256_blocks_x86, sha256_blocks_arm - the same by the processor's own instructions (SHA-NI, ARMv8's SHA2); NULL where it has none,
 * or is of another kind. */
sha256_blocks_fn *sha256_blocks_x86(void);
sha256_blocks_fn *sha256_blocks_arm(void);
