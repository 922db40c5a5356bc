/* conformance_sm80.cu - one probe for each wrapper of kernels/cuda/dev.h; see conformance.h. */
#include "conformance.h"

#include <utility>

namespace {

/* --- Conversions. */

/* Every kind of f32: signed zeros, subnormals, ties, overflow, infinities, NaNs, then a spread of bits. */
std::vector<float> special_values() {
    const uint32_t bits[] = {
        0,          0x80000000, 1,          0x007fffff, 0x00800000, 0x3f800000, 0x3f808000, 0x3f818000,
        0x3f808001, 0x3f801000, 0x3f803000, 0x3f801001, 0x33000000, 0x33000001, 0x33800000, 0x387fe000,
        0x387fefff, 0x387ff000, 0x38800000, 0x477fe000, 0x477fefff, 0x477ff000, 0x7f7f7fff, 0x7f7f8000,
        0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7fffffff, 0xffffffff, 0x7f800001, 0xff812345};
    std::vector<float> values;
    for (uint32_t word : bits)
        values.push_back(float_of(word));
    for (uint32_t i = 0; values.size() < 512; i++)
        values.push_back(float_of(i * 2654435761u + 12345));
    return values;
}

/* Round x to a format of that many fraction bits and least exponent, to nearest even, by arithmetic in f64;
 * then put sign, exponent and fraction together. */
uint16_t round_to_16_bits(float x, int fraction_bits, int min_exponent, int max_exponent) {
    uint16_t sign = (uint16_t)(signbit(x) ? 0x8000 : 0);
    int infinity = (max_exponent - min_exponent + 2) << fraction_bits;
    if (isnan(x))
        return 0x7fff;
    int exponent = min_exponent;
    if (x != 0 && !isinf(x) && ilogbf(x) > min_exponent)
        exponent = ilogbf(x);
    double unit = ldexp(1.0, exponent - fraction_bits);
    double steps = isinf(x) ? INFINITY : nearbyint(fabs((double)x) / unit);
    if (steps * unit >= ldexp(1.0, max_exponent + 1))
        return (uint16_t)(sign | infinity);
    /* A subnormal has exponent field 0 and no hidden one; a carry moves on to the next exponent by itself. */
    return (uint16_t)(sign | (((exponent - min_exponent) << fraction_bits) + (int)steps));
}
uint16_t expected_half(bf16_t, float x) {
    return round_to_16_bits(x, 7, -126, 127);
}
uint16_t expected_half(f16_t, float x) {
    return round_to_16_bits(x, 10, -14, 15);
}

/* The value of 16 bits, by the definition of the format. */
float expected_wide(uint16_t bits, int fraction_bits, int bias) {
    int exponent = (bits & 0x7fff) >> fraction_bits, fraction = bits & ((1 << fraction_bits) - 1);
    int largest = (0x7fff >> fraction_bits);
    double magnitude = exponent == largest ? (fraction ? NAN : INFINITY)
                       : exponent ? ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits)
                                  : ldexp(fraction, 1 - bias - fraction_bits);
    return (float)copysign(magnitude, bits & 0x8000 ? -1.0 : 1.0);
}
float expected_float(bf16_t x) {
    return expected_wide(x.bits, 7, 127);
}
float expected_float(f16_t x) {
    return expected_wide(x.bits, 10, 15);
}

template <class T> __global__ void convert_kernel(uint32_t *out, const float *x, int count) {
    int i = (int)threadIdx.x;
    T narrow = from_f32<T>(x[i]);
    out[i] = narrow.bits;
    out[count + i] = pack2<T>(x[i], x[count - 1 - i]);
}

template <class T> void probe_narrow(conformance *run, const char *name) {
    std::vector<float> values = special_values();
    size_t count = values.size();
    device_array<float> x(values);
    words out(2 * count);
    LAUNCH((convert_kernel<T>), 1, (unsigned)count, 0, 0, out.data, x.data, (int)count);
    std::vector<uint32_t> want(2 * count);
    for (size_t i = 0; i < count; i++) {
        want[i] = expected_half(T(), values[i]);
        want[count + i] = want[i] | (uint32_t)expected_half(T(), values[count - 1 - i]) << 16;
    }
    expect_words(run, name, out, want);
}

template <class T> __global__ void widen_kernel(uint32_t *out) {
    uint32_t pair = threadIdx.x + blockIdx.x * blockDim.x;
    float lo, hi;
    unpack2<T>(pair * 2 | (pair * 2 + 1) << 16, &lo, &hi);
    out[2 * pair] = float_bits(lo);
    out[2 * pair + 1] = float_bits(to_f32(T{(uint16_t)(pair * 2 + 1)}));
    if (float_bits(hi) != out[2 * pair + 1])
        out[2 * pair] = 0xdeadbeef;
}

/* All 65536 values; NaNs are compared as NaNs. */
template <class T> void probe_wide(conformance *run, const char *name) {
    words out(65536);
    LAUNCH((widen_kernel<T>), 128, 256, 0, 0, out.data);
    std::vector<float> want(65536);
    for (size_t i = 0; i < want.size(); i++)
        want[i] = expected_float(T{(uint16_t)i});
    expect_floats(run, name, out, want, 0);
}

/* --- Arithmetic. */

__global__ void approximation_kernel(uint32_t *out, const float *x, int count) {
    int i = (int)threadIdx.x;
    out[i] = float_bits(exp2_approx(x[i]));
    out[count + i] = float_bits(rsqrt_approx(x[i]));
    out[2 * count + i] = float_bits(reciprocal_approx(x[i]));
}

/* The hardware's relative error is below 2^-22.5: up to 3 units in the last place. */
void probe_approximations(conformance *run) {
    std::vector<float> values = special_values(), want;
    size_t count = values.size();
    for (size_t i = 0; i < 256; i++) /* the range of a softmax */
        values[256 + i] = -0.37f * (float)i;
    auto flushed = [](float v) { return fabsf(v) < 0x1p-126f ? copysignf(0.0f, v) : v; };
    for (float v : values)
        want.push_back(flushed((float)exp2((double)flushed(v))));
    for (float v : values)
        want.push_back((float)(1.0 / sqrt((double)flushed(v))));
    for (float v : values)
        want.push_back(flushed((float)(1.0 / (double)flushed(v))));
    device_array<float> x(values);
    words out(3 * count);
    LAUNCH(approximation_kernel, 1, (unsigned)count, 0, 0, out.data, x.data, (int)count);
    expect_floats(run, "exp2_approx rsqrt_approx reciprocal_approx (3 ulp)", out, want, 3);
}

__global__ void max_kernel(uint32_t *out, const float *x, int count) {
    int i = (int)threadIdx.x;
    out[i] = float_bits(max_nan(x[i], x[count - 1 - i]));
    out[count + i] = float_bits(bits_float(float_bits(x[i]) ^ 0x80000000u));
}

void probe_max(conformance *run) {
    std::vector<float> values = special_values();
    size_t count = values.size();
    std::vector<uint32_t> want(2 * count);
    for (size_t i = 0; i < count; i++) {
        float a = values[i], b = values[count - 1 - i];
        want[i] = isnan(a) || isnan(b) ? 0x7fffffff : word_of(a > b || (a == b && !signbit(a)) ? a : b);
        want[count + i] = word_of(a) ^ 0x80000000u;
    }
    device_array<float> x(values);
    words out(2 * count);
    LAUNCH(max_kernel, 1, (unsigned)count, 0, 0, out.data, x.data, (int)count);
    expect_words(run, "max_nan float_bits bits_float", out, want);
}

/* Of 1 + i 2^-12 squared, less that square rounded, a fused multiply-add leaves what was rounded away: here it must be 0. */
__global__ void mul_kernel(uint32_t *out) {
    float x = 1 + (float)threadIdx.x * 0x1p-12f, square = mul_rounded(x, x);
    out[threadIdx.x] = float_bits(mul_rounded(x, x) - square);
    out[64 + threadIdx.x] = float_bits(square);
}

void probe_mul(conformance *run) {
    std::vector<uint32_t> want(128);
    for (int i = 0; i < 64; i++)
        want[64 + i] = word_of((float)((1 + i * 0x1p-12) * (1 + i * 0x1p-12)));
    words out(128);
    LAUNCH(mul_kernel, 1, 64, 0, 0, out.data);
    expect_words(run, "mul_rounded", out, want);
}

/* --- Memory. */

__global__ void global_kernel(vec16 *out, const vec16 *in, uint32_t *counter) {
    unsigned i = threadIdx.x;
    store16(&out[i], load16(&in[i]));
    store16_stream(&out[64 + i], load16_stream(&in[64 + i]));
    for (unsigned half = 0; half < 2; half++) { /* the two halves change places */
        const uint32_t *from = in[128 + i].w + 2 * half;
        store8(out[128 + i].w + 2 * (1 - half), load8(from));
    }
    global_fence();
    atomic_add(counter, i);
    atomic_max(counter + 1, 0x80000000u + i * 37 % 64);
}

void probe_global(conformance *run) {
    std::vector<uint32_t> values(193 * 4);
    for (size_t i = 0; i < values.size(); i++)
        values[i] = (uint32_t)i * 2654435761u;
    words in(values), out(std::vector<uint32_t>(193 * 4));
    LAUNCH(global_kernel, 1, 64, 0, 0, (vec16 *)out.data, (const vec16 *)in.data, out.data + 192 * 4);
    for (size_t i = 128 * 4; i < 192 * 4; i += 4) {
        std::swap(values[i], values[i + 2]);
        std::swap(values[i + 1], values[i + 3]);
    }
    values[192 * 4] = 63 * 64 / 2;
    values[192 * 4 + 1] = 0x8000003f;
    for (size_t i = 2; i < 4; i++)
        values[192 * 4 + i] = 0;
    expect_words(run, "load16 store16 _stream load8 store8 atomic_add atomic_max global_fence", out, values);
}

/* Every width writes its part of shared memory, and reads what another thread wrote by another width. */
__global__ void shared_kernel(uint32_t *out) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), i = threadIdx.x;
    out[0] = base % 1024;
    shared_store16(base + 16 * i, {{i, i + 100, i + 200, i + 300}});
    shared_store8(base + 512 + 8 * i, make_uint2(i + 400, i + 500));
    shared_store4(base + 768 + 4 * i, i + 600);
    shared_store2(base + 896 + 2 * i, (uint16_t)(i + 700));
    shared_store_f32(base + 960 + 4 * i, (float)i);
    block_barrier();
    uint32_t other = 31 - i;
    vec16 v = shared_load16(base + 512 + 16 * (other / 2));
    uint2 pair = shared_load8(base + 16 * other);
    out[1 + i] = v.w[other % 2 * 2] + v.w[other % 2 * 2 + 1];
    out[33 + i] = pair.x + pair.y;
    out[65 + i] = shared_load4(base + 16 * other + 12) + shared_load2(base + 768 + 4 * other);
    out[97 + i] =
        shared_load4(base + 896 + 4 * (other / 2)) + (uint32_t)shared_load_f32(base + 960 + 4 * other);
}

void probe_shared(conformance *run) {
    words out(129);
    LAUNCH(shared_kernel, 1, 32, 960 + 128, 0, out.data);
    std::vector<uint32_t> want(129);
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t other = 31 - i, first = other / 2 * 2;
        want[1 + i] = other + 400 + other + 500;
        want[33 + i] = other + other + 100;
        want[65 + i] = other + 300 + other + 600;
        want[97 + i] = (first + 700) + ((first + 701) << 16) + other;
    }
    expect_words(run, "DYN_SHARED shared_address shared_load shared_store", out, want);
}

/* --- Launch: sizes, arguments of several types, more than 48 KiB of shared memory. */

struct launch_argument {
    int64_t big;
    float f;
};

template <class T>
__global__ void launch_kernel_probe(uint32_t *out, launch_argument a, T t, uint32_t last_byte) {
    DYN_SHARED(memory);
    unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    uint32_t address = shared_address(memory) + last_byte - 4;
    if (thread == 0)
        shared_store4(address, block);
    block_barrier();
    out[block * 24 + thread] =
        shared_load4(address) * 1000 + thread + (uint32_t)(a.big >> 32) + (uint32_t)a.f + t;
}

void probe_launch(conformance *run) {
    words out(2 * 3 * 4 * 24);
    launch_argument a = {(int64_t)7 << 32, 0.5f};
    LAUNCH((launch_kernel_probe<short>), dim3(2, 3, 4), dim3(4, 3, 2), 100 * 1024, 0, out.data, a, 3,
           100 * 1024);
    std::vector<uint32_t> want;
    for (uint32_t block = 0; block < 24; block++)
        for (uint32_t thread = 0; thread < 24; thread++)
            want.push_back(block * 1000 + thread + 7 + 3);
    expect_words(run, "LAUNCH", out, want);
}

/* --- Warp. */

__global__ void warp_kernel(uint32_t *out, const float *x) {
    uint32_t i = threadIdx.x;
    out[i] = shfl(i * 3, (int)(i * 5 % 32));
    out[32 + i] = shfl_xor(i * 3, 5);
    out[64 + i] = shfl_down(i * 3, 3);
    out[96 + i] = shfl_up(i * 3, 3);
    out[128 + i] = float_bits(shfl(x[i], 7) + shfl_xor(x[i], 16) + shfl_down(x[i], 1) + shfl_up(x[i], 2));
    out[160 + i] = ballot(i % 3 == 0);
    out[192 + i] = (uint32_t)warp_any(i == 9) | (uint32_t)warp_any(i == 99) << 1 |
                   (uint32_t)warp_all(i < 32) << 2 | (uint32_t)warp_all(i != 9) << 3;
    warp_barrier();
    out[224 + i] = float_bits(warp_sum(x[i]));
    out[256 + i] = float_bits(warp_max(x[i]));
    out[288 + i] = float_bits(warp_max(i == 20 ? bits_float(0x7fffffff) : x[i]));
}

void probe_warp(conformance *run) {
    std::vector<float> x;
    for (size_t i = 0; i < 32; i++)
        x.push_back(small_integer(i, 1));
    float sum = 0;
    for (float v : x)
        sum += v;
    std::vector<uint32_t> want(320);
    for (uint32_t i = 0; i < 32; i++) {
        want[i] = i * 5 % 32 * 3;
        want[32 + i] = (i ^ 5) * 3;
        want[64 + i] = (i + 3 < 32 ? i + 3 : i) * 3;
        want[96 + i] = (i >= 3 ? i - 3 : i) * 3;
        want[128 + i] = word_of(x[7] + x[i ^ 16] + x[i < 31 ? i + 1 : i] + x[i >= 2 ? i - 2 : i]);
        want[160 + i] = 0x49249249;
        want[192 + i] = 1 | 4;
        want[224 + i] = word_of(sum);
        want[256 + i] = word_of(4.0f);
        want[288 + i] = 0x7fffffff;
    }
    device_array<float> input(x);
    words out(320);
    LAUNCH(warp_kernel, 1, 32, 0, 0, out.data, input.data);
    expect_words(run, "shfl ballot warp_any warp_all warp_barrier warp_sum warp_max", out, want);
}

/* --- Block barriers: warps 0 and 1 hand data to 2 and 3, which hand it back. */

__global__ void barrier_kernel(uint32_t *out) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), i = threadIdx.x;
    if (i < 64) {
        shared_store4(base + 4 * i, i * i);
        named_barrier_arrive(1, 128);
        named_barrier(2, 128);
        out[i] = shared_load4(base + 256 + 4 * (63 - i));
    } else {
        named_barrier(1, 128);
        shared_store4(base + 256 + 4 * (i - 64), shared_load4(base + 4 * (127 - i)) + 1);
        named_barrier_arrive(2, 128);
        named_barrier(3, 64);
    }
    block_barrier();
    out[i] += shared_load4(base + 4 * (i ^ 127) % 512);
}

void probe_barriers(conformance *run) {
    words out(std::vector<uint32_t>(128));
    LAUNCH(barrier_kernel, 1, 128, 512, 0, out.data);
    std::vector<uint32_t> want(128);
    auto stored = [](uint32_t i) { return i < 64 ? i * i : (127 - i) * (127 - i) + 1; };
    for (uint32_t i = 0; i < 128; i++)
        want[i] = (i < 64 ? i * i + 1 : 0) + stored(i ^ 127);
    expect_words(run, "block_barrier named_barrier named_barrier_arrive", out, want);
}

/* --- cp.async: three groups, waited for one by one; odd threads copy zeros. */

__global__ void copy_kernel(vec16 *out, const vec16 *in) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), i = threadIdx.x;
    for (uint32_t group = 0; group < 3; group++) {
        cp_async16(base + 16 * (32 * group + i), &in[32 * group + i], (i + group) % 2 == 0);
        cp_async_commit();
    }
    cp_async_wait<2>();
    out[i] = shared_load16(base + 16 * i);
    cp_async_wait<1>();
    block_barrier();
    out[32 + i] = shared_load16(base + 16 * (32 + 31 - i));
    cp_async_wait<0>();
    out[64 + i] = shared_load16(base + 16 * (64 + i));
}

void probe_copies(conformance *run) {
    std::vector<uint32_t> values(96 * 4), want(96 * 4);
    for (size_t i = 0; i < values.size(); i++)
        values[i] = (uint32_t)i * 2654435761u;
    for (size_t i = 0; i < 96; i++) {
        size_t group = i / 32, from = group == 1 ? 95 - i : i;
        for (size_t w = 0; w < 4; w++)
            want[4 * i + w] = (from + group) % 2 == 0 ? values[4 * from + w] : 0;
    }
    words in(values), out(want.size());
    LAUNCH(copy_kernel, 1, 32, 96 * 16, 0, (vec16 *)out.data, (const vec16 *)in.data);
    expect_words(run, "cp_async16 cp_async_commit cp_async_wait", out, want);
}

/* --- Matrices. */

/* 32 rows of 8 elements, element e of row r being 8 r + e; lane l names row (5 l + 3) % 32. */
__global__ void ldmatrix_kernel(uint32_t *out) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), lane = threadIdx.x, r[12];
    for (uint32_t e = 0; e < 8; e++)
        shared_store2(base + 16 * lane + 2 * e, (uint16_t)(8 * lane + e));
    block_barrier();
    uint32_t address = base + 16 * ((5 * lane + 3) % 32);
    ldmatrix4(r, address);
    ldmatrix4_trans(r + 4, address);
    ldmatrix2(r + 8, address);
    ldmatrix2_trans(r + 10, address);
    for (uint32_t i = 0; i < 12; i++)
        out[12 * lane + i] = r[i];
}

void probe_ldmatrix(conformance *run) {
    std::vector<uint32_t> want(32 * 12);
    for (uint32_t lane = 0; lane < 32; lane++)
        for (uint32_t i = 0; i < 12; i++) {
            uint32_t matrix = i < 8 ? i % 4 : i % 2;
            bool trans = (i >= 4 && i < 8) || i >= 10;
            auto element = [&](uint32_t row, uint32_t column) {
                uint32_t names = (5 * (8 * matrix + row) + 3) % 32;
                return 8 * names + column;
            };
            uint32_t row = lane / 4, column = lane % 4 * 2;
            want[12 * lane + i] = trans ? element(column, row) | element(column + 1, row) << 16
                                        : element(row, column) | element(row, column + 1) << 16;
        }
    words out(want.size());
    LAUNCH(ldmatrix_kernel, 1, 32, 512, 0, out.data);
    expect_words(run, "ldmatrix4 ldmatrix2 _trans", out, want);
}

/* a [16,16], b [16,8], c [16,8] in global memory, gathered and scattered as dev.h says the registers lie. */
template <class T> __global__ void mma_kernel(float *c, const float *a, const float *b) {
    int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4 * 2;
    uint32_t fragment_a[4], fragment_b[2];
    float fragment_c[4];
    for (int i = 0; i < 4; i++) {
        const float *pair = a + (g + i % 2 * 8) * 16 + t + i / 2 * 8;
        fragment_a[i] = pack2<T>(pair[0], pair[1]);
    }
    for (int i = 0; i < 2; i++)
        fragment_b[i] = pack2<T>(b[(t + i * 8) * 8 + g], b[(t + i * 8 + 1) * 8 + g]);
    for (int i = 0; i < 4; i++)
        fragment_c[i] = c[(g + i / 2 * 8) * 8 + t + i % 2];
    mma_16x8x16<T>(fragment_c, fragment_a, fragment_b);
    for (int i = 0; i < 4; i++)
        c[(g + i / 2 * 8) * 8 + t + i % 2] = fragment_c[i];
}

template <class T> void probe_mma(conformance *run, const char *name) {
    std::vector<float> a(16 * 16), b(16 * 8), c(16 * 8);
    for (size_t i = 0; i < 16; i++)
        for (size_t k = 0; k < 16; k++)
            a[i * 16 + k] = small_integer(i, k);
    for (size_t k = 0; k < 16; k++)
        for (size_t j = 0; j < 8; j++)
            b[k * 8 + j] = small_integer(j + 20, k);
    for (size_t i = 0; i < c.size(); i++)
        c[i] = (float)i;
    device_array<float> device_a(a), device_b(b);
    words out(words_of(c));
    LAUNCH((mma_kernel<T>), 1, 32, 0, 0, (float *)out.data, device_a.data, device_b.data);
    for (size_t i = 0; i < 16; i++)
        for (size_t j = 0; j < 8; j++)
            for (size_t k = 0; k < 16; k++)
                c[i * 8 + j] += a[i * 16 + k] * b[k * 8 + j];
    expect_words(run, name, out, words_of(c));
}

} // namespace

void probe_sm80(conformance *run) {
    probe_narrow<bf16_t>(run, "from_f32<bf16_t> pack2<bf16_t>");
    probe_narrow<f16_t>(run, "from_f32<f16_t> pack2<f16_t>");
    probe_wide<bf16_t>(run, "to_f32(bf16_t) unpack2<bf16_t>");
    probe_wide<f16_t>(run, "to_f32(f16_t) unpack2<f16_t>");
    probe_approximations(run);
    probe_max(run);
    probe_mul(run);
    probe_global(run);
    probe_shared(run);
    probe_launch(run);
    probe_warp(run);
    probe_barriers(run);
    probe_copies(run);
    probe_ldmatrix(run);
    probe_mma<bf16_t>(run, "mma_16x8x16<bf16_t>");
    probe_mma<f16_t>(run, "mma_16x8x16<f16_t>");
}
