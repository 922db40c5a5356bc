/* quant.c - decoding and encoding of each type of block.  In the pictures below d and m are f16, q the packed
 * integers.
 *
 * Files are little-endian, like every machine the program is built for; numbers inside a block are fetched
 * with memcpy because blocks have odd sizes. */
#include "checkpoints/gguf/quant.h"

#include <math.h>
#include <string.h>

#include "checkpoints/e2m1.h"
#include "kernels/half.h"

static float load_f16(const uint8_t *at) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return f32_from_f16(half);
}

static void decode_f32(const uint8_t *block, float *out) {
    memcpy(out, block, sizeof *out);
}

static void decode_f16(const uint8_t *block, float *out) {
    *out = load_f16(block);
}

static void decode_bf16(const uint8_t *block, float *out) {
    uint16_t half;
    memcpy(&half, block, sizeof half);
    *out = f32_from_bf16(half);
}

/* d | q[16]: the low nibbles are values 0..15, the high ones 16..31. */
static void decode_q4_0(const uint8_t *block, float *out) {
    float d = load_f16(block);
    const uint8_t *q = block + 2;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)((q[j] & 15) - 8) * d;
        out[j + 16] = (float)((q[j] >> 4) - 8) * d;
    }
}

/* d | m | q[16] */
static void decode_q4_1(const uint8_t *block, float *out) {
    float d = load_f16(block), m = load_f16(block + 2);
    const uint8_t *q = block + 4;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)(q[j] & 15) * d + m;
        out[j + 16] = (float)(q[j] >> 4) * d + m;
    }
}

/* The fifth bits of 32 values are the bits of one 32-bit number. */
static int fifth_bit(const uint8_t *high, int j) {
    return (high[j / 8] >> (j % 8) & 1) << 4;
}

/* d | high[4] | q[16] */
static void decode_q5_0(const uint8_t *block, float *out) {
    float d = load_f16(block);
    const uint8_t *high = block + 2, *q = block + 6;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)(((q[j] & 15) | fifth_bit(high, j)) - 16) * d;
        out[j + 16] = (float)(((q[j] >> 4) | fifth_bit(high, j + 16)) - 16) * d;
    }
}

/* d | m | high[4] | q[16] */
static void decode_q5_1(const uint8_t *block, float *out) {
    float d = load_f16(block), m = load_f16(block + 2);
    const uint8_t *high = block + 4, *q = block + 8;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)((q[j] & 15) | fifth_bit(high, j)) * d + m;
        out[j + 16] = (float)((q[j] >> 4) | fifth_bit(high, j + 16)) * d + m;
    }
}

/* d | q[32], signed */
static void decode_q8_0(const uint8_t *block, float *out) {
    float d = load_f16(block);
    for (int j = 0; j < 32; j++)
        out[j] = (float)(int8_t)block[2 + j] * d;
}

/* Q4_K and Q5_K pack the 6-bit scale and minimum of eight groups of 32 values into 12 bytes: groups 0..3
 * whole in bytes 0..3 and 4..7, groups 4..7 by their low nibbles in bytes 8..11 and their top two bits above
 * the others. */
static void unpack_scale(const uint8_t *packed, int group, int *scale, int *minimum) {
    if (group < 4) {
        *scale = packed[group] & 63;
        *minimum = packed[group + 4] & 63;
    } else {
        *scale = (packed[group + 4] & 15) | (packed[group - 4] >> 6) << 4;
        *minimum = (packed[group + 4] >> 4) | (packed[group] >> 6) << 4;
    }
}

/* One group of 32 values of Q4_K or Q5_K: nibbles from q (high ones for odd groups), fifth bits from bit
 * `group` of high, which is NULL for Q4_K. */
static void decode_k_group(const uint8_t *block, const uint8_t *q, const uint8_t *high, int group,
                           float *out) {
    int scale, minimum;
    unpack_scale(block + 4, group, &scale, &minimum);
    float d = load_f16(block) * (float)scale, m = load_f16(block + 2) * (float)minimum;
    int shift = group % 2 ? 4 : 0;
    for (int j = 0; j < 32; j++) {
        int value = (q[group / 2 * 32 + j] >> shift) & 15;
        if (high)
            value |= (high[j] >> group & 1) << 4;
        out[j] = d * (float)value - m;
    }
}

/* d | m | scales[12] | q[128] */
static void decode_q4_k(const uint8_t *block, float *out) {
    for (int group = 0; group < 8; group++)
        decode_k_group(block, block + 16, NULL, group, out + 32 * group);
}

/* d | m | scales[12] | high[32] | q[128] */
static void decode_q5_k(const uint8_t *block, float *out) {
    for (int group = 0; group < 8; group++)
        decode_k_group(block, block + 48, block + 16, group, out + 32 * group);
}

/* low[128] | high[64] | scales[16], signed, one per 16 values | d */
static void decode_q6_k(const uint8_t *block, float *out) {
    float d = load_f16(block + 208);
    for (int i = 0; i < QUANT_MAX_BLOCK; i++) {
        int half = i / 128, quarter = i % 128 / 32, j = i % 32;
        int low = block[64 * half + 32 * (quarter % 2) + j] >> (quarter / 2 * 4) & 15;
        int high = block[128 + 32 * half + j] >> (2 * quarter) & 3;
        int8_t scale = (int8_t)block[192 + i / 16];
        out[i] = d * (float)scale * (float)((low | high << 4) - 32);
    }
}

/* half_unit - an E2M1 value in halves, whole numbers; llama.cpp's zero has no sign. */
static float half_unit(int bits) {
    return 2 * E2M1_VALUES[bits] + 0.0f;
}

/* e | q[16]: E2M1 values, doubled here, times 2^(e - 128); the low nibbles are values 0..15, the high ones 16..31. */
static void decode_mxfp4(const uint8_t *block, float *out) {
    float d = ldexpf(1, block[0] - 128);
    for (int j = 0; j < 16; j++) {
        out[j] = half_unit(block[1 + j] & 15) * d;
        out[j + 16] = half_unit(block[1 + j] >> 4) * d;
    }
}

struct codec {
    struct quant_format format;
    void (*decode)(const uint8_t *block, float *out); /* NULL: recognised only */
};

/* Indexed by the number in the file. */
static const struct codec codecs[] = {
    [GGML_F32] = {{"F32", 1, 4}, decode_f32},
    [GGML_F16] = {{"F16", 1, 2}, decode_f16},
    [GGML_Q4_0] = {{"Q4_0", 32, 18}, decode_q4_0},
    [GGML_Q4_1] = {{"Q4_1", 32, 20}, decode_q4_1},
    [GGML_Q5_0] = {{"Q5_0", 32, 22}, decode_q5_0},
    [GGML_Q5_1] = {{"Q5_1", 32, 24}, decode_q5_1},
    [GGML_Q8_0] = {{"Q8_0", 32, 34}, decode_q8_0},
    [9] = {{"Q8_1", 0, 0}, NULL},
    [10] = {{"Q2_K", 0, 0}, NULL},
    [11] = {{"Q3_K", 0, 0}, NULL},
    [GGML_Q4_K] = {{"Q4_K", 256, 144}, decode_q4_k},
    [GGML_Q5_K] = {{"Q5_K", 256, 176}, decode_q5_k},
    [GGML_Q6_K] = {{"Q6_K", 256, 210}, decode_q6_k},
    [15] = {{"Q8_K", 0, 0}, NULL},
    [16] = {{"IQ2_XXS", 0, 0}, NULL},
    [17] = {{"IQ2_XS", 0, 0}, NULL},
    [18] = {{"IQ3_XXS", 0, 0}, NULL},
    [19] = {{"IQ1_S", 0, 0}, NULL},
    [20] = {{"IQ4_NL", 0, 0}, NULL},
    [21] = {{"IQ3_S", 0, 0}, NULL},
    [22] = {{"IQ2_S", 0, 0}, NULL},
    [23] = {{"IQ4_XS", 0, 0}, NULL},
    [24] = {{"I8", 0, 0}, NULL},
    [25] = {{"I16", 0, 0}, NULL},
    [26] = {{"I32", 0, 0}, NULL},
    [27] = {{"I64", 0, 0}, NULL},
    [28] = {{"F64", 0, 0}, NULL},
    [29] = {{"IQ1_M", 0, 0}, NULL},
    [GGML_BF16] = {{"BF16", 1, 2}, decode_bf16},
    [34] = {{"TQ1_0", 0, 0}, NULL},
    [35] = {{"TQ2_0", 0, 0}, NULL},
    [GGML_MXFP4] = {{"MXFP4", 32, 17}, decode_mxfp4},
};
enum { NUM_CODECS = (int)(sizeof codecs / sizeof *codecs) };

const struct quant_format *quant_format(int type) {
    return type >= 0 && type < NUM_CODECS && codecs[type].decode ? &codecs[type].format : NULL;
}

const char *quant_type_name(int type) {
    return type >= 0 && type < NUM_CODECS && codecs[type].format.name ? codecs[type].format.name : "?";
}

/* F32 in one copy: the largest files are of it, and there is nothing to decode. */
void quant_decode(int type, const uint8_t *blocks, int64_t num_blocks, float *out) {
    const struct quant_format *format = quant_format(type);
    CHECK(format, "cannot decode tensor type %d", type);
    if (type == GGML_F32) {
        memcpy(out, blocks, (size_t)num_blocks * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < num_blocks; i++)
        codecs[type].decode(blocks + (size_t)i * format->block_bytes, out + i * format->block_count);
}

/* encode_q8_0 - 32 values.  The scale divides before it is rounded to f16, and halves round away from zero:
 * both are what the reference does, and both show in the bits. */
static void encode_q8_0(const float *values, uint8_t *block) {
    float largest = 0;
    for (int j = 0; j < 32; j++) {
        float magnitude = fabsf(values[j]);
        largest = magnitude > largest ? magnitude : largest;
    }
    float d = largest / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
    if (isinf(inverse)) /* d is so small that it is 0 as f16 */
        inverse = 0;
    uint16_t half = f16_from_f32(d);
    memcpy(block, &half, sizeof half);
    for (int j = 0; j < 32; j++)
        block[2 + j] = (uint8_t)(int8_t)roundf(values[j] * inverse);
}

void quant_encode(int type, const float *values, int64_t count, uint8_t *blocks) {
    switch (type) {
    case GGML_F32:
        memcpy(blocks, values, (size_t)count * sizeof *values);
        break;
    case GGML_F16:
    case GGML_BF16:
        for (int64_t i = 0; i < count; i++) {
            uint16_t half = type == GGML_F16 ? f16_from_f32(values[i]) : bf16_from_f32(values[i]);
            memcpy(blocks + 2 * i, &half, sizeof half);
        }
        break;
    case GGML_Q8_0:
        CHECK(count % 32 == 0, "Q8_0 packs 32 values at a time, not %lld", (long long)count);
        for (int64_t i = 0; i < count / 32; i++)
            encode_q8_0(values + 32 * i, blocks + 34 * i);
        break;
    default:
        die("cannot encode tensor type %d", type);
    }
}
