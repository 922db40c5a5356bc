/* quantise.cu - values into codes of 8 bits, with what rounding lost before.
 *
 *                       bytes per element                              bound
 *   quantise            read x 4, lost 4, write codes 1, lost 4        memory
 *
 * A warp has a block of 128 values, four in a row for each lane: the codes of a lane are one word, the first lane writes the
 * scale. */
#include "kernels/cuda/vector.cuh"

enum { QUANTISE_WARPS = 8, LANE_VALUES = PACKED_BYTE_BLOCK / 32 };

/* A number of less than 2^22 plus this one is rounded to the nearest integer, ties to even, whose lowest bits are those of the sum. */
#define TO_INTEGER 0x1.8p23f

/* The scale of a block that has an infinity or a NaN. */
#define NO_NUMBER 0x7fc00000u

struct quantise_rows {
    uint8_t *blobs;
    const float *x;
    float *lost; /* or NULL */
    int64_t num_blocks, row_blocks;
    int64_t blob_bytes, scales_at;
};

/* load_block - v = x + lost. */
DEV void load_block(float (&v)[LANE_VALUES], const quantise_rows &rows, int64_t at) {
    pack_values(v, pack_load<float, LANE_VALUES>(rows.x + at));
    if (!rows.lost)
        return;
    float lost[LANE_VALUES];
    pack_values(lost, pack_load<float, LANE_VALUES>(rows.lost + at));
    for (int i = 0; i < LANE_VALUES; i++)
        v[i] += lost[i];
}

/* scale_of - NaN where the block has an infinity or a NaN. */
DEV float scale_of(const float (&v)[LANE_VALUES]) {
    float largest = 0;
    for (int i = 0; i < LANE_VALUES; i++)
        largest = max_nan(largest, fabsf(v[i]));
    largest = warp_max(largest);
    return largest < INFINITY ? fmaxf(largest / 127.0f, 0x1p-126f) : bits_float(NO_NUMBER);
}

static __global__ void __launch_bounds__(QUANTISE_WARPS * 32) quantise_kernel(quantise_rows rows) {
    int64_t block = (int64_t)blockIdx.x * QUANTISE_WARPS + threadIdx.x / 32;
    if (block >= rows.num_blocks) /* a whole warp: nothing is waited for after it */
        return;
    int64_t in_row = block % rows.row_blocks;
    int lane = threadIdx.x % 32;
    uint8_t *blob = rows.blobs + block / rows.row_blocks * rows.blob_bytes;
    int64_t at = block * PACKED_BYTE_BLOCK + lane * LANE_VALUES;
    float v[LANE_VALUES];
    load_block(v, rows, at);
    float scale = scale_of(v);
    bool is_number = float_bits(scale) != NO_NUMBER;
    uint32_t codes = 0;
    for (int i = 0; i < LANE_VALUES; i++) {
        float shifted = is_number ? v[i] / scale + TO_INTEGER : TO_INTEGER;
        codes |= (float_bits(shifted) & 255u) << (8 * i);
        v[i] = is_number ? v[i] - mul_rounded(shifted - TO_INTEGER, scale) : 0;
    }
    *(uint32_t *)(blob + in_row * PACKED_BYTE_BLOCK + lane * LANE_VALUES) = codes;
    if (lane == 0)
        ((float *)(blob + rows.scales_at))[in_row] = scale;
    if (rows.lost)
        pack_store(rows.lost + at, pack_of<float>(v));
}

extern "C" void cuda_quantise(struct device *dev, void *blobs, struct tensor x, struct tensor lost) {
    struct packed_places places = packed_places_of(PACKED_INT8, x.dims[1]);
    quantise_rows rows = {(uint8_t *)blobs,
                          (const float *)x.data,
                          (float *)lost.data,
                          tensor_count(x) / PACKED_BYTE_BLOCK,
                          x.dims[1] / PACKED_BYTE_BLOCK,
                          (int64_t)places.total,
                          (int64_t)places.scales};
    int64_t tiles = (rows.num_blocks + QUANTISE_WARPS - 1) / QUANTISE_WARPS;
    if (tiles > 0)
        LAUNCH(quantise_kernel, dim3((unsigned)tiles), dim3(QUANTISE_WARPS * 32), 0, cuda_stream(dev), rows);
}
