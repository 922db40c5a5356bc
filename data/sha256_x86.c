/* sha256_x86.c - SHA-256 by the instructions that x86 processors have for it since Goldmont, Zen and Ice Lake.  What each does
 * is said in Intel's "SHA Extensions" (July 2013): sha256rnds2 makes two rounds, sha256msg1 and sha256msg2 are the two
 * halves of the message schedule, four words at a time.  Compiled for these processors whatever the rest is compiled for, and
 * called only after the processor was asked. */
#include "data/sha256_blocks.h"

/* gcc 11 is the first whose __builtin_cpu_supports knows the name; clang 14 does not. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#include <immintrin.h>

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))

typedef __m128i words;

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

TARGET static inline words next_words(words w0, words w1, words w2, words w3) {
    __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
    return _mm_sha256msg2_epu32(sum, w3);
}

TARGET static inline struct halves four_rounds(struct halves h, words w, const uint32_t constants[4]) {
    __m128i sum = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)(const void *)constants));
    h.hgdc = _mm_sha256rnds2_epu32(h.hgdc, h.feba, sum);
    h.feba = _mm_sha256rnds2_epu32(h.feba, h.hgdc, _mm_shuffle_epi32(sum, 0x0E));
    return h;
}

TARGET static inline words load_words(const unsigned char *bytes) {
    const __m128i swap = _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)bytes), swap);
}

TARGET static inline struct halves add_halves(struct halves a, struct halves b) {
    return (struct halves){_mm_add_epi32(a.feba, b.feba), _mm_add_epi32(a.hgdc, b.hgdc)};
}

#include "data/sha256_rounds.inc"

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
