/* sha256_x86.c - SHA-256 by the instructions that x86 processors have for it since Goldmont, Zen and Ice Lake.  What each does
 * is said in Intel's "SHA Extensions" (July 2013): sha256rnds2 makes two rounds, sha256msg1 and sha256msg2 are the two
 * halves of the message schedule, four words at a time.  Compiled for these processors whatever the rest is compiled for, and
 * called only after the processor was asked. */
#include "data/sha256_blocks.h"

/* gcc 11 is the first whose __builtin_cpu_supports knows the name; clang 14 does not. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#include <immintrin.h>

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))

/* The state in the order that sha256rnds2 wants, lowest word first. */
struct halves {
    __m128i feba, hgdc;
};

TARGET static inline struct halves pack(const uint32_t state[8]) {
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0xB1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), 0x1B);
    return (struct halves){_mm_alignr_epi8(badc, hgfe, 8), _mm_blend_epi16(hgfe, badc, 0xF0)};
}

TARGET static inline void unpack(struct halves halves, uint32_t state[8]) {
    __m128i abef = _mm_shuffle_epi32(halves.feba, 0x1B);
    __m128i ghcd = _mm_shuffle_epi32(halves.hgdc, 0xB1);
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(abef, ghcd, 0xF0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(ghcd, abef, 8));
}

/* next_words - w[t .. t + 3] of the message schedule from the 16 before, oldest first. */
TARGET static inline __m128i next_words(__m128i w0, __m128i w1, __m128i w2, __m128i w3) {
    __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
    return _mm_sha256msg2_epu32(sum, w3);
}

/* four_rounds - with the words of the message and their constants added. */
TARGET static inline struct halves four_rounds(struct halves h, __m128i w, const uint32_t constants[4]) {
    __m128i sum = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)(const void *)constants));
    h.hgdc = _mm_sha256rnds2_epu32(h.hgdc, h.feba, sum);
    h.feba = _mm_sha256rnds2_epu32(h.feba, h.hgdc, _mm_shuffle_epi32(sum, 0x0E));
    return h;
}

TARGET static inline struct halves hash_block(struct halves h, const unsigned char *block) {
    /* the message's words are big-endian */
    const __m128i swap = _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203);
    const struct halves before = h;
    __m128i w[4];
    for (int t = 0; t < 4; t++) {
        w[t] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(block + 16 * t)), swap);
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
    return (struct halves){_mm_add_epi32(h.feba, before.feba), _mm_add_epi32(h.hgdc, before.hgdc)};
}

TARGET static void hash_blocks(uint32_t state[8], const unsigned char *blocks, size_t count) {
    struct halves halves = pack(state);
    for (; count > 0; count--, blocks += 64)
        halves = hash_block(halves, blocks);
    unpack(halves, state);
}

sha256_blocks_fn *sha256_blocks_x86(void) {
    bool is_known = __builtin_cpu_supports("sha") && __builtin_cpu_supports("sse4.1");
    return is_known ? hash_blocks : NULL;
}
#else
sha256_blocks_fn *sha256_blocks_x86(void) {
    return NULL;
}
#endif
