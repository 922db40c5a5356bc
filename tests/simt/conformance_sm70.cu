/* conformance_sm70.cu - the probes of what sm_70 has of its own: mma.m8n8k4, and what stands for the instructions that it
 * lacks; see conformance.h.  Where elements of mma lie, by CuTe's strides (SM70_QuadPair, SM70_8x4_Row, SM70_8x4_Col,
 * SM70_8x8_32b of cute/atom/mma_traits_sm70.hpp), while the host twin follows the formulas of the PTX ISA. */
#include "conformance.h"

#include "kernels/cuda/dev_sm70.h"

namespace {

/* Of lane l of a warp: the group of eight that it belongs to, and its number there. */
DEV int group_of(int lane) {
    return lane % 16 / 4;
}
DEV int number_of(int lane) {
    return lane % 4 + lane / 16 * 4;
}

/* a [4][8, 4], b [4][4, 8], c [4][8, 8]: a product for each group, gathered and scattered. */
template <bool ROWS> __global__ void mma_kernel(float *c, const float *a, const float *b) {
    const int lane = (int)threadIdx.x, t = number_of(lane);
    a += group_of(lane) * 32;
    b += group_of(lane) * 32;
    c += group_of(lane) * 64;
    float fragment_a[4], fragment_b[4], fragment_c[8];
    for (int v = 0; v < 4; v++) {
        fragment_a[v] = a[t * 4 + v];
        const int n = t / 4 * 4 + v, k = t % 4; /* ((4, 2), 4) : ((8, 4), 1) */
        fragment_b[v] = ROWS ? b[k * 8 + n] : b[v * 8 + t];
    }
    int at[8];
    for (int v = 0; v < 8; v++) { /* ((2, 2, 2), (2, 2, 2)) : ((1, 16, 4), (8, 2, 32)), m fastest */
        const int mn = t % 2 + t / 2 % 2 * 16 + t / 4 * 4 + v % 2 * 8 + v / 2 % 2 * 2 + v / 4 * 32;
        at[v] = mn % 8 * 8 + mn / 8;
        fragment_c[v] = c[at[v]];
    }
    uint32_t words_a[2], words_b[2];
    for (int i = 0; i < 2; i++) {
        words_a[i] = pack2<f16_t>(fragment_a[2 * i], fragment_a[2 * i + 1]);
        words_b[i] = pack2<f16_t>(fragment_b[2 * i], fragment_b[2 * i + 1]);
    }
    if (ROWS)
        mma_8x8x4_rows(fragment_c, fragment_c + 4, words_a, words_b);
    else
        mma_8x8x4_columns(fragment_c, fragment_c + 4, words_a, words_b);
    for (int v = 0; v < 8; v++)
        c[at[v]] = fragment_c[v];
}

template <bool ROWS> void probe_mma(conformance *run, const char *name) {
    std::vector<float> a(4 * 32), b(4 * 32), c(4 * 64);
    for (size_t i = 0; i < a.size(); i++) {
        a[i] = small_integer(i, i / 32);
        b[i] = small_integer(i + 5, i / 32 + 1);
    }
    for (size_t i = 0; i < c.size(); i++)
        c[i] = (float)i;
    device_array<float> device_a(a), device_b(b);
    words out(words_of(c));
    LAUNCH((mma_kernel<ROWS>), 1, 32, 0, 0, (float *)out.data, device_a.data, device_b.data);
    for (size_t at = 0; at < c.size(); at++) {
        const size_t group = at / 64, m = at / 8 % 8, n = at % 8;
        for (size_t k = 0; k < 4; k++)
            c[at] += a[group * 32 + m * 4 + k] * b[group * 32 + k * 8 + n];
    }
    expect_words(run, name, out, words_of(c));
}

/* --- What stands for cvt to bf16 and for max.NaN, beside the instructions or their twin (dev.h). */

enum { NUM_PATTERNS = 1 << 16 };

/* pattern - every exponent and sign with all kinds of fractions near a tie. */
DEV uint32_t pattern(uint32_t i) {
    const uint32_t fractions[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x12345, 0x7fffff};
    return i << 16 ^ fractions[i % 8];
}

__global__ void narrow_kernel(uint32_t *out) {
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x, x = pattern(i), y = pattern(i * 2654435761u);
    const float larger = max_or_nan(bits_float(x), bits_float(y)),
                max = max_nan(bits_float(x), bits_float(y));
    out[i] = (bf16_of_bits(x) != from_f32<bf16_t>(bits_float(x)).bits) |
             (uint32_t)(float_bits(larger) != float_bits(max) && larger != max) << 1 |
             (uint32_t)(pair_of_halves((uint16_t)x, (uint16_t)y) != (y << 16 | (x & 0xffffu))) << 2;
}

void probe_narrow(conformance *run) {
    words out(NUM_PATTERNS);
    LAUNCH(narrow_kernel, NUM_PATTERNS / 256, 256, 0, 0, out.data);
    expect_words(run, "bf16_of_bits max_or_nan pair_of_halves", out, std::vector<uint32_t>(NUM_PATTERNS, 0));
}

} // namespace

void probe_sm70(conformance *run) {
    probe_mma<false>(run, "mma_8x8x4_columns");
    probe_mma<true>(run, "mma_8x8x4_rows");
    probe_narrow(run);
}
