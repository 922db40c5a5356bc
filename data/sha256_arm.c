/* sha256_arm.c - SHA-256 by the instructions of ARMv8's cryptographic extension (Grace, Graviton, Ampere), which a processor may
 * lack.  What each does is said in Arm's Architecture Reference Manual (DDI 0487, C7.2): sha256h and sha256h2 make four rounds of the
 * two halves of the state, sha256su0 and sha256su1 are the two halves of the message schedule, four words at a time.  Compiled
 * for these processors whatever the rest is compiled for, and called only after the system was asked. */
#include "data/sha256_blocks.h"

/* clang 14 has these intrinsics only where all of the file is compiled for them. */
#if defined(__aarch64__) && !defined(__AARCH64EB__) && defined(__linux__) && defined(__GNUC__) &&            \
    !defined(__clang__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>

#define TARGET __attribute__((target("+crypto")))

struct halves {
    uint32x4_t abcd, efgh;
};

/* next_words - w[t .. t + 3] of the message schedule from the 16 before, oldest first. */
TARGET static inline uint32x4_t next_words(uint32x4_t w0, uint32x4_t w1, uint32x4_t w2, uint32x4_t w3) {
    return vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3);
}

/* four_rounds - with the words of the message and their constants added. */
TARGET static inline struct halves four_rounds(struct halves h, uint32x4_t w, const uint32_t constants[4]) {
    uint32x4_t sum = vaddq_u32(w, vld1q_u32(constants));
    return (struct halves){vsha256hq_u32(h.abcd, h.efgh, sum), vsha256h2q_u32(h.efgh, h.abcd, sum)};
}

TARGET static inline struct halves hash_block(struct halves h, const unsigned char *block) {
    const struct halves before = h;
    uint32x4_t w[4];
    for (int t = 0; t < 4; t++) { /* the message's words are big-endian */
        w[t] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(block + 16 * t)));
        h = four_rounds(h, w[t], SHA256_ROUND_CONSTANTS + 4 * t);
    }
    for (int t = 4; t < 16; t += 4) {
        w[0] = next_words(w[0], w[1], w[2], w[3]);
        h = four_rounds(h, w[0], SHA256_ROUND_CONSTANTS + 4 * t);
        w[1] = next_words(w[1], w[2], w[3], w[0]);
        h = four_rounds(h, w[1], SHA256_ROUND_CONSTANTS + 4 * t + 4);
        w[2] = next_words(w[2], w[3], w[0], w[1]);
        h = four_rounds(h, w[2], SHA256_ROUND_CONSTANTS + 4 * t + 8);
        w[3] = next_words(w[3], w[0], w[1], w[2]);
        h = four_rounds(h, w[3], SHA256_ROUND_CONSTANTS + 4 * t + 12);
    }
    return (struct halves){vaddq_u32(h.abcd, before.abcd), vaddq_u32(h.efgh, before.efgh)};
}

TARGET static void hash_blocks(uint32_t state[8], const unsigned char *blocks, size_t count) {
    struct halves halves = {vld1q_u32(state), vld1q_u32(state + 4)};
    for (; count > 0; count--, blocks += 64)
        halves = hash_block(halves, blocks);
    vst1q_u32(state, halves.abcd);
    vst1q_u32(state + 4, halves.efgh);
}

sha256_blocks_fn *sha256_blocks_arm(void) {
    return getauxval(AT_HWCAP) & HWCAP_SHA2 ? hash_blocks : NULL;
}
#else
sha256_blocks_fn *sha256_blocks_arm(void) {
    return NULL;
}
#endif
