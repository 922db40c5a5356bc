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

typedef uint32x4_t words;

struct halves {
    uint32x4_t abcd, efgh;
};

TARGET static inline words next_words(words w0, words w1, words w2, words w3) {
    return vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3);
}

TARGET static inline struct halves four_rounds(struct halves h, words w, const uint32_t constants[4]) {
    uint32x4_t sum = vaddq_u32(w, vld1q_u32(constants));
    return (struct halves){vsha256hq_u32(h.abcd, h.efgh, sum), vsha256h2q_u32(h.efgh, h.abcd, sum)};
}

TARGET static inline words load_words(const unsigned char *bytes) {
    return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(bytes)));
}

TARGET static inline struct halves add_halves(struct halves a, struct halves b) {
    return (struct halves){vaddq_u32(a.abcd, b.abcd), vaddq_u32(a.efgh, b.efgh)};
}

#include "data/sha256_rounds.inc"

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
