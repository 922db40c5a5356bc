/* conformance_sm89.cu - the probe of kernels/cuda/dev_sm89.h: codes of 8 bits, by the instruction and by integers, beside the nearest of all
 * numbers that the format has; see conformance.h.  GPUs before sm_89 have integers for both. */
#include "kernels/cuda/dev_sm89.h"

#include <algorithm>

#include "conformance.h"

namespace {

enum { NUM_PATTERNS = 1 << 16 };

/* pattern - every exponent, sign and fraction of bf16, with bits after it that decide a tie, or do not. */
__host__ __device__ inline uint32_t pattern(uint32_t i) {
    const uint32_t after[] = {0, 1, 0x8000, 0xffff};
    return i << 16 | after[i / 7 % 4];
}
__host__ __device__ inline uint32_t other_pattern(uint32_t i) {
    return pattern(i * 40503u % NUM_PATTERNS);
}

/* number_or_nan - codes of two, those of a NaN as one of them: which it is does not matter. */
__host__ __device__ inline uint32_t number_or_nan(uint32_t codes, uint32_t last) {
    const uint32_t lo = codes & 0xffu, hi = codes >> 8;
    return ((lo & 0x7fu) > last ? 0x7fu : lo) | ((hi & 0x7fu) > last ? 0x7fu : hi) << 8;
}

enum { LAST_E4M3 = 0x7e, LAST_E5M2 = 0x7b };

__global__ void codes_kernel(uint32_t *out) {
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    const float lo = bits_float(pattern(i)), hi = bits_float(other_pattern(i));
    out[2 * i] = number_or_nan(pack2_e4m3(lo, hi), LAST_E4M3) | number_or_nan(pack2_e5m2(lo, hi), LAST_E5M2)
                                                                    << 16;
    out[2 * i + 1] = number_or_nan(e4m3_by_integers(lo) | e4m3_by_integers(hi) << 8, LAST_E4M3) |
                     number_or_nan(e5m2_by_integers(lo) | e5m2_by_integers(hi) << 8, LAST_E5M2) << 16;
}

/* numbers_of - a format's from 0 to the largest, in f64, by the definition: bits of the fraction, and the exponents' bias. */
std::vector<double> numbers_of(int fraction, int bias, int last) {
    std::vector<double> numbers;
    for (int code = 0; code <= last; code++) {
        const int exponent = code >> fraction, places = code & ((1 << fraction) - 1);
        numbers.push_back(exponent ? ldexp((1 << fraction) + places, exponent - bias - fraction)
                                   : ldexp(places, 1 - bias - fraction));
    }
    return numbers;
}

/* nearest - its code, of two as near the even one. */
uint32_t nearest(const std::vector<double> &numbers, float x) {
    const double size = fabs((double)x);
    const size_t above = std::lower_bound(numbers.begin(), numbers.end(), size) - numbers.begin();
    const uint32_t sign = signbit(x) ? 0x80 : 0;
    if (isnan(x))
        return 0x7f;
    if (above == 0 || above == numbers.size())
        return (uint32_t)(above == 0 ? above : above - 1) | sign;
    const double up = numbers[above] - size, down = size - numbers[above - 1];
    return (uint32_t)(up < down || (up == down && above % 2 == 0) ? above : above - 1) | sign;
}

} // namespace

void probe_sm89(conformance *run) {
    const std::vector<double> e4m3 = numbers_of(3, 7, LAST_E4M3), e5m2 = numbers_of(2, 15, LAST_E5M2);
    words out(2 * NUM_PATTERNS);
    std::vector<uint32_t> want;
    LAUNCH(codes_kernel, NUM_PATTERNS / 256, 256, 0, 0, out.data);
    for (uint32_t i = 0; i < NUM_PATTERNS; i++) {
        const float lo = float_of(pattern(i)), hi = float_of(other_pattern(i));
        want.insert(want.end(), 2,
                    nearest(e4m3, lo) | nearest(e4m3, hi) << 8 | nearest(e5m2, lo) << 16 |
                        nearest(e5m2, hi) << 24);
    }
    expect_words(run, "pack2_e4m3 pack2_e5m2 _by_integers", out, want);
}
