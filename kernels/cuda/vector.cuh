/* vector.cuh - what the kernels bound by memory share: packs of elements moved in one access, sums over a
 * team of warps, and the driver of the ops that work element by element.
 *
 * A kernel is written once for packs of N elements; N = 1 is the path for odd widths and odd addresses. Loads
 * of a batch come before the first use of any, so that several are in flight per thread. */
#pragma once

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/dev.h"

/* Elements of one 16-byte access. */
template <class T> constexpr int VECTOR = 16 / (int)sizeof(T);

/* N elements as they lie in memory; N sizeof(T) is 16, 8, or the size of one element. */
template <class T, int N> struct pack {
    using element = T;
    static constexpr int BYTES = N * (int)sizeof(T);
    static constexpr int WORDS = BYTES < 4 ? 1 : BYTES / 4;
    uint32_t words[WORDS];
};

/* pack_filled - every word the same: 0 for zeros, all ones for NaN in any type. */
template <class T, int N> DEV pack<T, N> pack_filled(uint32_t word) {
    pack<T, N> p;
    for (int i = 0; i < p.WORDS; i++)
        p.words[i] = word;
    return p;
}

/* pack_load - N elements from an address that is a multiple of their bytes; pack_store is its inverse. */
template <class T, int N> DEV pack<T, N> pack_load(const T *from) {
    pack<T, N> p;
    if constexpr (pack<T, N>::BYTES == 16) {
        vec16 v = load16(from);
        for (int i = 0; i < 4; i++)
            p.words[i] = v.w[i];
    } else if constexpr (pack<T, N>::BYTES == 8) {
        uint2 v = load8(from);
        p.words[0] = v.x;
        p.words[1] = v.y;
    } else if constexpr (sizeof(T) == 4) {
        p.words[0] = float_bits(*from);
    } else {
        p.words[0] = from->bits;
    }
    return p;
}

/* pack_load_once, pack_store_once - the same for values that nobody reads again soon: first to leave the
 * caches. */
template <class T, int N> DEV pack<T, N> pack_load_once(const T *from) {
    pack<T, N> p;
    if constexpr (pack<T, N>::BYTES == 16) {
        vec16 v = load16_stream(from);
        for (int i = 0; i < 4; i++)
            p.words[i] = v.w[i];
        return p;
    } else {
        return pack_load<T, N>(from);
    }
}

template <class T, int N> DEV void pack_store(T *to, const pack<T, N> &p) {
    if constexpr (pack<T, N>::BYTES == 16)
        store16(to, vec16{{p.words[0], p.words[1], p.words[2], p.words[3]}});
    else if constexpr (pack<T, N>::BYTES == 8)
        store8(to, make_uint2(p.words[0], p.words[1]));
    else if constexpr (sizeof(T) == 4)
        *to = bits_float(p.words[0]);
    else
        to->bits = (uint16_t)p.words[0];
}

template <class T, int N> DEV void pack_store_once(T *to, const pack<T, N> &p) {
    if constexpr (pack<T, N>::BYTES == 16)
        store16_stream(to, vec16{{p.words[0], p.words[1], p.words[2], p.words[3]}});
    else
        pack_store(to, p);
}

/* pack_values - the elements as f32.  pack_of - f32 values rounded to T. */
template <class T, int N> DEV void pack_values(float (&values)[N], const pack<T, N> &p) {
    if constexpr (sizeof(T) == 4) {
        for (int i = 0; i < N; i++)
            values[i] = bits_float(p.words[i]);
    } else if constexpr (N == 1) {
        values[0] = to_f32(T{(uint16_t)p.words[0]});
    } else {
        for (int i = 0; i < N; i += 2)
            unpack2<T>(p.words[i / 2], &values[i], &values[i + 1]);
    }
}

template <class T, int N> DEV pack<T, N> pack_of(const float (&values)[N]) {
    pack<T, N> p;
    if constexpr (sizeof(T) == 4) {
        for (int i = 0; i < N; i++)
            p.words[i] = float_bits(values[i]);
    } else if constexpr (N == 1) {
        p.words[0] = from_f32<T>(values[0]).bits;
    } else {
        for (int i = 0; i < N; i += 2)
            p.words[i / 2] = pack2<T>(values[i], values[i + 1]);
    }
    return p;
}

/* sigmoid_approx - 1 / (1 + e^-z) of four instructions, two of them approximations, where expf and a division are
 * thirty and a subroutine call.  Off by |z| 2^-23 + 2^-21 relative to it: less than 1/100 of what rounding to bf16
 * adds for every z above -87.3; below that e^z is under 2^-126 and the result 0.  NaN stays, infinities have their
 * limits. */
DEV float sigmoid_approx(float z) {
    return reciprocal_approx(1.0f + exp2_approx(z * -1.44269504f)); /* log2(e) */
}

/* A team of threads that share one row: full warps, threadIdx.x counts inside the team. */
struct team {
    int num_warps, barrier; /* barrier: a named barrier of this team alone; 0 for the whole block */
    uint32_t slots;         /* shared memory: one f32 per warp */
};

/* team_sum - the sum over the team, the same bits in every thread.  The slots of a call may still be read
 * when the call returns: the next call of the same team must use others, the one after it may use these
 * again. */
DEV float team_sum(float value, struct team team) {
    value = warp_sum(value);
    if (team.num_warps == 1)
        return value;
    if (threadIdx.x % 32 == 0)
        shared_store_f32(team.slots + threadIdx.x / 32 * 4, value);
    if (team.barrier)
        named_barrier(team.barrier, team.num_warps * 32);
    else
        block_barrier();
    value = shared_load_f32(team.slots);
    for (int warp = 1; warp < team.num_warps; warp++)
        value += shared_load_f32(team.slots + (uint32_t)warp * 4);
    return value;
}

/* ---- Ops that work element by element, whatever the shape ----
 *
 * Such an op is a struct with its pointers, WIDTH (elements per access) and BATCH (accesses in flight), and a
 * function
 *     flat_run(op, first, stride, flat_extent<N, B>())
 * that handles B packs of N elements at first, first + stride, ...  One block takes one tile of
 * FLAT_THREADS WIDTH BATCH elements.  When all pointers reach a 16-byte boundary after the same number of
 * elements, what lies before is tile 0 and goes one by one. */

enum { FLAT_THREADS = 256 };

template <int N, int B> struct flat_extent {};

struct flat_range {
    int64_t count;
    int64_t head; /* elements before the first that is aligned in every tensor */
    bool aligned; /* false: there is none, all go one by one */
};

template <class Op> constexpr int64_t FLAT_TILE = (int64_t)FLAT_THREADS *Op::WIDTH *Op::BATCH;

/* flat_tile - what one block does with one tile. */
template <class Op> DEV void flat_tile(Op &op, const struct flat_range &range, int64_t tile) {
    constexpr int N = Op::WIDTH;
    int64_t begin = range.head + (tile - (range.head > 0 ? 1 : 0)) * FLAT_TILE<Op>,
            end = begin + FLAT_TILE<Op>;
    int64_t thread = threadIdx.x;
    if (range.aligned && begin >= 0 && end <= range.count) {
        flat_run(op, begin + thread * N, FLAT_THREADS * N, flat_extent<N, Op::BATCH>());
        return;
    }
    begin = begin < 0 ? 0 : begin;
    end = end < range.count ? end : range.count;
    int64_t wide_end = range.aligned ? begin + (end - begin) / N * N : begin;
    for (int64_t i = begin + thread * N; i < wide_end; i += FLAT_THREADS * N)
        flat_run(op, i, 0, flat_extent<N, 1>());
    for (int64_t i = wide_end + thread; i < end; i += FLAT_THREADS)
        flat_run(op, i, 0, flat_extent<1, 1>());
}

template <class Op>
static __global__ void __launch_bounds__(FLAT_THREADS, 4) flat_kernel(Op op, flat_range range) {
    flat_tile(op, range, blockIdx.x);
}

/* One tensor of a flat op, for the search of a common boundary. */
struct flat_operand {
    const void *data;
    size_t element_bytes;
};

/* flat_range_of - where packs of `width` elements may begin.  Views of arenas begin anywhere, but those of
 * one op usually at the same place of theirs. */
inline flat_range flat_range_of(int64_t count, int width, const flat_operand *operands, int num_operands) {
    for (int head = 0; head < width && head < count; head++) {
        bool good = true;
        for (int i = 0; i < num_operands; i++) {
            size_t bytes = operands[i].element_bytes;
            good =
                good && ((uintptr_t)operands[i].data + (size_t)head * bytes) % ((size_t)width * bytes) == 0;
        }
        if (good)
            return {count, head, true};
    }
    return {count, 0, false};
}

template <class Op> int64_t flat_num_tiles(const flat_range &range) {
    return (range.head > 0 ? 1 : 0) + (range.count - range.head + FLAT_TILE<Op> - 1) / FLAT_TILE<Op>;
}

template <class Op> void flat_launch(struct device *dev, const Op &op, const flat_range &range) {
    if (range.count)
        LAUNCH(flat_kernel<Op>, dim3((unsigned)flat_num_tiles<Op>(range)), dim3(FLAT_THREADS), 0,
               cuda_stream(dev), op, range);
}

/* ---- Host side of the launchers ---- */

/* is_aligned - rows of `width` elements that start at data can be moved by 16 bytes. */
template <class T> bool is_aligned(const void *data, int64_t width) {
    return (uintptr_t)data % 16 == 0 && width % VECTOR<T> == 0;
}

inline int64_t divide_up(int64_t count, int64_t by) {
    return (count + by - 1) / by;
}

/* whole_warps - threads for `wanted` pieces of work: a multiple of 32, at most `most`. */
inline int whole_warps(int64_t wanted, int most) {
    int64_t threads = divide_up(wanted, 32) * 32;
    return (int)(threads < 32 ? 32 : threads < most ? threads : most);
}

/* BY_TYPE - call function<T>(...) for the type of activations. */
#define BY_TYPE(dtype, function, ...)                                                                        \
    do {                                                                                                     \
        switch (dtype) {                                                                                     \
        case DTYPE_F32:                                                                                      \
            function<float>(__VA_ARGS__);                                                                    \
            break;                                                                                           \
        case DTYPE_BF16:                                                                                     \
            function<bf16_t>(__VA_ARGS__);                                                                   \
            break;                                                                                           \
        case DTYPE_F16:                                                                                      \
            function<f16_t>(__VA_ARGS__);                                                                    \
            break;                                                                                           \
        default:                                                                                             \
            die("%s: type %s", #function, dtype_name(dtype));                                                \
        }                                                                                                    \
    } while (0)

/* expect_same_type - the CUDA kernels take one type where the CPU mixes them: no model does. */
inline void expect_same_type(const char *op, struct tensor a, struct tensor b) {
    CHECK(a.dtype == b.dtype, "%s: %s beside %s is not supported on cuda", op, dtype_name(a.dtype),
          dtype_name(b.dtype));
}
