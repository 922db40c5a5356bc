/* packed.c - sizes of blobs, and values into codes: the host's part, done once when weights are loaded. */
#include "kernels/packed.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/half.h"

enum { BLOB_ALIGN_BYTES = 256 };

/* Quantiles of a normal distribution, scaled to [-1, 1], with an exact zero. */
const float packed_nf4_map[16] = {-1.0f,
                                  -0.6961928009986877f,
                                  -0.5250730514526367f,
                                  -0.39491748809814453f,
                                  -0.28444138169288635f,
                                  -0.18477343022823334f,
                                  -0.09105003625154495f,
                                  0.0f,
                                  0.07958029955625534f,
                                  0.16093020141124725f,
                                  0.24611230194568634f,
                                  0.33791524171829224f,
                                  0.44070982933044434f,
                                  0.5626170039176941f,
                                  0.7229568362236023f,
                                  1.0f};

/* One row per form. */
static const struct {
    const char *name;
    int64_t block, align;
    int codes_per_byte;
    float largest; /* code, or 1 where codes index a map: what the largest magnitude of a block becomes */
} forms[PACKED_KINDS] = {
    [PACKED_NF4] = {"nf4", PACKED_NF4_BLOCK, PACKED_NF4_BLOCK, 2, 1},
    [PACKED_NF4_DOUBLE] = {"nf4 with scales in 8 bits", PACKED_NF4_BLOCK,
                           PACKED_NF4_BLOCK *PACKED_NESTED_BLOCK, 2, 1},
    [PACKED_FP8] = {"fp8", PACKED_BYTE_BLOCK, PACKED_BYTE_BLOCK, 1, 448},
    [PACKED_INT8] = {"int8", PACKED_BYTE_BLOCK, PACKED_BYTE_BLOCK, 1, 127},
};

const char *packed_name(enum packed_kind kind) {
    return forms[kind].name;
}

int64_t packed_block(enum packed_kind kind) {
    return forms[kind].block;
}

int64_t packed_align(enum packed_kind kind) {
    return forms[kind].align;
}

size_t packed_codes_bytes(enum packed_kind kind, int64_t count) {
    return (size_t)(count / forms[kind].codes_per_byte);
}

struct packed_places packed_places_of(enum packed_kind kind, int64_t count) {
    CHECK(count % forms[kind].align == 0, "a blob of %lld values in %s", (long long)count, forms[kind].name);
    size_t num_blocks = (size_t)(count / forms[kind].block);
    struct packed_places places = {.scales = packed_codes_bytes(kind, count)};
    bool is_double = kind == PACKED_NF4_DOUBLE;
    places.nested = places.scales + num_blocks * (is_double ? 1 : sizeof(float));
    size_t end = places.nested + (is_double ? num_blocks / PACKED_NESTED_BLOCK * sizeof(float) : 0);
    places.total = (end + BLOB_ALIGN_BYTES - 1) / BLOB_ALIGN_BYTES * BLOB_ALIGN_BYTES;
    return places;
}

/* place_of - how many of the middles between neighbours of a map lie below: the nearest entry, of two the lower. */
static int place_of(const float *map, int count, float value) {
    int low = 0, high = count - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (value > (map[middle] + map[middle + 1]) / 2)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static float largest_of(const float *values, int64_t count) {
    float largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(values[i]));
    return largest;
}

/* inverse_of - what scales a block to [-1, 1]; of zeros any will do that is a number. */
static float inverse_of(float largest) {
    return 1 / fmaxf(largest, 1e-38f);
}

static float clamp(float value) {
    return fminf(fmaxf(value, -1), 1);
}

/* encode_nf4 - the first value of each two in the high half of the byte. */
static void encode_nf4(const float *values, float largest, uint8_t *codes) {
    float inverse = inverse_of(largest);
    for (int i = 0; i < PACKED_NF4_BLOCK; i += 2) {
        int high = place_of(packed_nf4_map, 16, clamp(values[i] * inverse)),
            low = place_of(packed_nf4_map, 16, clamp(values[i + 1] * inverse));
        codes[i / 2] = (uint8_t)(high << 4 | low);
    }
}

static void encode_bytes(enum packed_kind kind, const float *values, float scale, uint8_t *codes) {
    for (int i = 0; i < PACKED_BYTE_BLOCK; i++) {
        float code = values[i] / scale;
        codes[i] =
            kind == PACKED_FP8 ? e4m3_from_f32(code) : (uint8_t)(int8_t)rintf(fminf(fmaxf(code, -127), 127));
    }
}

void packed_encode(enum packed_kind kind, const float *values, int64_t count, uint8_t *codes, float *scales) {
    int64_t block = forms[kind].block;
    for (int64_t b = 0; b < count / block; b++) {
        float largest = largest_of(values + b * block, block);
        uint8_t *to = codes + packed_codes_bytes(kind, b * block);
        scales[b] = forms[kind].largest == 1 ? largest : fmaxf(largest / forms[kind].largest, 0x1p-126f);
        if (forms[kind].largest == 1)
            encode_nf4(values + b * block, largest, to);
        else
            encode_bytes(kind, values + b * block, scales[b], to);
    }
}

/* ascending - for qsort. */
static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* end_of_part - i of `parts` equal parts of [0.1, 1], counted from whichever end is nearer, with one rounding: as torch.linspace
 * has them, and every model that was stored with such a map. */
static float end_of_part(int i, int parts) {
    float step = (1.0f - 0.1f) / (float)parts;
    return i < (parts + 1) / 2 ? fmaf(step, (float)i, 0.1f) : fmaf(-step, (float)(parts - i), 1);
}

/* Seven decades below 1, each with twice as many values as the one below: the middles of equal parts of [0.1, 1] of it, with both
 * signs; 0, and 1. */
void packed_nested_map(float map[PACKED_NESTED_CODES]) {
    int count = 0;
    for (int decade = 0; decade < 7; decade++)
        for (int i = 0, parts = 1 << decade; i < parts; i++) {
            float middle = (end_of_part(i, parts) + end_of_part(i + 1, parts)) / 2;
            map[count++] = middle * (float)pow(10, decade - 6);
            map[count] = -map[count - 1];
            count++;
        }
    map[count++] = 0;
    map[count++] = 1;
    qsort(map, (size_t)count, sizeof *map, ascending);
}

float packed_nested_mean(const float *scales, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)scales[i];
    return (float)(sum / (double)count);
}

void packed_nested_encode(const float *scales, int64_t count, float offset, uint8_t *codes, float *nested) {
    float map[PACKED_NESTED_CODES], less[PACKED_NESTED_BLOCK];
    packed_nested_map(map);
    for (int64_t first = 0; first < count; first += PACKED_NESTED_BLOCK) {
        int64_t now = count - first < PACKED_NESTED_BLOCK ? count - first : PACKED_NESTED_BLOCK;
        for (int64_t i = 0; i < now; i++)
            less[i] = scales[first + i] - offset;
        float largest = largest_of(less, now), inverse = inverse_of(largest);
        nested[first / PACKED_NESTED_BLOCK] = largest;
        for (int64_t i = 0; i < now; i++)
            codes[first + i] = (uint8_t)place_of(map, PACKED_NESTED_CODES, clamp(less[i] * inverse));
    }
}
