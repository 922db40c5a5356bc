/* packed.cu - codes and scales into values.
 *
 *                       bytes per element (T of 2 bytes)             bound
 *   nf4                 codes 1/2, scales 1/16, write y      2.56    memory
 *   fp8, int8           codes 1, scales 1/32, write y        3.03    memory
 *
 * A pack of values has its codes in one word, and one scale, wherever it begins at a multiple of its width in a blob: blocks
 * are multiples of that.  The 16 quantiles of NF4 lie in shared memory, where 32 lanes read any of them at once. */
#include "kernels/cuda/vector.cuh"

enum { NF4_CODES = 16 };

/* KIND: the form, so that its sizes are constants. */
template <class T, int KIND> struct dequantise_op {
    enum { WIDTH = VECTOR<T>, BATCH = 2 };
    enum {
        IS_NF4 = KIND == PACKED_NF4 || KIND == PACKED_NF4_DOUBLE,
        BLOCK = IS_NF4 ? PACKED_NF4_BLOCK : PACKED_BYTE_BLOCK
    };
    T *y;
    const uint8_t *blobs;
    int64_t blob_count, blob_bytes, scales_at, nested_at; /* of a blob */
    int64_t first;
    const float *nested_map;
    float nested_offset;
    uint32_t table; /* the quantiles, in shared memory; set in the kernel */
};

/* scale_at - of value `at` of a blob. */
template <class T, int KIND>
DEV float scale_at(const dequantise_op<T, KIND> &op, const uint8_t *blob, int64_t at) {
    int64_t index = at / op.BLOCK;
    if constexpr (KIND == PACKED_NF4_DOUBLE) {
        float nested = ((const float *)(blob + op.nested_at))[index / PACKED_NESTED_BLOCK];
        return mul_rounded(op.nested_map[blob[op.scales_at + index]], nested) + op.nested_offset;
    } else {
        return ((const float *)(blob + op.scales_at))[index];
    }
}

/* value_of - a code of eight bits, or of four, less its scale.  E4M3 is the upper half of an f32 whose exponent lies 120 too low:
 * the product puts it right, subnormal values included. */
template <class T, int KIND> DEV float value_of(const dequantise_op<T, KIND> &op, uint32_t code) {
    if constexpr (dequantise_op<T, KIND>::IS_NF4)
        return shared_load_f32(op.table + code * 4);
    else if constexpr (KIND == PACKED_FP8)
        return bits_float((code & 0x80u) << 24 | (code & 0x7fu) << 20) * 0x1p120f;
    else
        return (float)(int)(int8_t)code;
}

/* code_at - of value `at` of a blob, alone. */
template <class T, int KIND>
DEV uint32_t code_at(const dequantise_op<T, KIND> &, const uint8_t *blob, int64_t at) {
    if constexpr (dequantise_op<T, KIND>::IS_NF4)
        return at % 2 ? blob[at / 2] & 15u : blob[at / 2] >> 4;
    else
        return blob[at];
}

/* codes_of - N codes that begin at a multiple of N, lowest byte first. */
template <class T, int KIND, int N>
DEV void codes_of(const dequantise_op<T, KIND> &op, uint32_t (&codes)[N], const uint8_t *blob, int64_t at) {
    if constexpr (N == 1) {
        codes[0] = code_at(op, blob, at);
    } else if constexpr (dequantise_op<T, KIND>::IS_NF4) {
        uint32_t word = N == 8 ? *(const uint32_t *)(blob + at / 2) : *(const uint16_t *)(blob + at / 2);
        for (int i = 0; i < N; i++)
            codes[i] = word >> (i / 2 * 8 + (i % 2 ? 0 : 4)) & 15u;
    } else {
        for (int w = 0; w < N / 4; w++) {
            uint32_t word = *(const uint32_t *)(blob + at + w * 4);
            for (int i = 0; i < 4; i++)
                codes[w * 4 + i] = word >> (i * 8) & 255u;
        }
    }
}

/* values_at - N values from `place` on, through all blobs. */
template <class T, int KIND, int N>
DEV void values_at(const dequantise_op<T, KIND> &op, float (&values)[N], int64_t place) {
    int64_t blob_index = place / op.blob_count, at = place - blob_index * op.blob_count;
    const uint8_t *blob = op.blobs + blob_index * op.blob_bytes;
    if (at % N == 0) {
        uint32_t codes[N];
        codes_of(op, codes, blob, at);
        float scale = scale_at(op, blob, at);
        for (int i = 0; i < N; i++)
            values[i] = value_of(op, codes[i]) * scale;
        return;
    }
    for (int i = 0; i < N; i++) {
        values[i] = value_of(op, code_at(op, blob, at)) * scale_at(op, blob, at);
        if (++at == op.blob_count) {
            at = 0;
            blob += op.blob_bytes;
        }
    }
}

template <class T, int KIND, int N, int B>
DEV void flat_run(const dequantise_op<T, KIND> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
#pragma unroll
    for (int k = 0; k < B; k++) {
        float values[N];
        values_at(op, values, op.first + first + k * stride);
        pack_store(op.y + first + k * stride, pack_of<T>(values));
    }
}

/* The quantiles by the bits of the index: from the host, as arguments of the kernel. */
struct nf4_map {
    float values[NF4_CODES];
};

template <class T, int KIND>
static __global__ void __launch_bounds__(FLAT_THREADS, 4)
    dequantise_kernel(dequantise_op<T, KIND> op, flat_range range, nf4_map map) {
    DYN_SHARED(table);
    op.table = shared_address(table);
    if constexpr (dequantise_op<T, KIND>::IS_NF4) {
#pragma unroll
        for (int i = 0; i < NF4_CODES && threadIdx.x == 0;
             i++) /* an index by thread would put the arguments on the stack */
            shared_store_f32(op.table + i * 4, map.values[i]);
        block_barrier();
    }
    flat_tile(op, range, blockIdx.x);
}

template <class T, int KIND> static void launch(struct device *dev, struct tensor y, const struct packed *x) {
    struct packed_places places = packed_places_of(x->kind, x->blob_count);
    dequantise_op<T, KIND> op = {(T *)y.data,
                                 (const uint8_t *)x->blobs,
                                 x->blob_count,
                                 (int64_t)places.total,
                                 (int64_t)places.scales,
                                 (int64_t)places.nested,
                                 x->first,
                                 x->nested_map,
                                 x->nested_offset,
                                 0};
    flat_operand operands[] = {{y.data, sizeof(T)}};
    flat_range range = flat_range_of(tensor_count(y), op.WIDTH, operands, 1);
    nf4_map map;
    for (int i = 0; i < NF4_CODES; i++)
        map.values[i] = packed_nf4_map[i];
    if (range.count)
        LAUNCH((dequantise_kernel<T, KIND>), dim3((unsigned)flat_num_tiles<dequantise_op<T, KIND>>(range)),
               dim3(FLAT_THREADS), sizeof map, cuda_stream(dev), op, range, map);
}

template <class T> static void dequantise(struct device *dev, struct tensor y, const struct packed *x) {
    switch (x->kind) {
    case PACKED_NF4:
        return launch<T, PACKED_NF4>(dev, y, x);
    case PACKED_NF4_DOUBLE:
        return launch<T, PACKED_NF4_DOUBLE>(dev, y, x);
    case PACKED_FP8:
        return launch<T, PACKED_FP8>(dev, y, x);
    default:
        return launch<T, PACKED_INT8>(dev, y, x);
    }
}

extern "C" void cuda_dequantise(struct device *dev, struct tensor y, const struct packed *x) {
    BY_TYPE(y.dtype, dequantise, dev, y, x);
}
