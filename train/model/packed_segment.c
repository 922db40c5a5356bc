/* packed_segment.c - a segment in fewer bits.  A chunk of values at a time is encoded on the host: once, when a run begins. */
#include "train/model/packed_segment.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_COUNT = 4 << 20 }; /* a multiple of the align of every form */

/* Values on their way into a chunk. */
struct filling {
    packed_read read;
    void *user;
    float *values; /* [CHUNK_COUNT] */
};

/* read_piece - the parts of a tensor that a chunk holds, row by row. */
static int read_piece(void *user, const struct piece *piece) {
    struct filling *filling = user;
    int status = 0;
    for (int64_t row = 0; row < piece->num_rows && status == 0; row++)
        status = filling->read(filling->user, piece->tensor, piece->whole_first + row * piece->stride,
                               piece->count, filling->values + piece->at + row * piece->count);
    return status;
}

/* upload - bytes of the host into this rank's shard; both are whole words. */
static void upload(struct params *params, const struct segment *segment, size_t at_bytes, const void *from,
                   size_t size_bytes) {
    char *to = (char *)params_value_shard(params, segment) + at_bytes;
    device_upload(params->dev, tensor_1d(to, DTYPE_I32, (int64_t)(size_bytes / sizeof(int32_t))), from);
}

/* fill_chunk - values [at, at + count) of the shard; what is between tensors is zeros. */
static int fill_chunk(struct params *params, struct segment *segment, struct filling *filling, int64_t at,
                      int64_t count) {
    enum packed_kind kind = params->setup.quantised;
    int64_t num_blocks = count / packed_block(kind), first_block = at / packed_block(kind);
    memset(filling->values, 0, (size_t)count * sizeof *filling->values);
    int status = params_each_piece(segment, segment->shards.index * segment->shard_count + at, count,
                                   read_piece, filling);
    if (status != 0)
        return status;
    size_t codes_bytes = packed_codes_bytes(kind, count);
    uint8_t *codes = xmalloc(codes_bytes);
    float *scales = xmalloc((size_t)num_blocks * sizeof *scales);
    packed_encode(kind, filling->values, count, codes, scales);
    upload(params, segment, packed_codes_bytes(kind, at), codes, codes_bytes);
    size_t scales_bytes = (size_t)num_blocks * sizeof *scales;
    if (segment->pending_scales)
        memcpy(segment->pending_scales + first_block, scales, scales_bytes);
    else
        upload(params, segment,
               packed_places_of(kind, segment->shard_count).scales + (size_t)first_block * sizeof *scales,
               scales, scales_bytes);
    free(scales);
    free(codes);
    return 0;
}

int packed_segment_fill(struct params *params, struct segment *segment, packed_read read, void *user) {
    struct filling filling = {read, user, xmalloc(CHUNK_COUNT * sizeof(float))};
    int status = 0;
    if (params->setup.quantised == PACKED_NF4_DOUBLE && !segment->pending_scales)
        segment->pending_scales = xcalloc((size_t)(segment->shard_count / PACKED_NF4_BLOCK), sizeof(float));
    for (int64_t at = 0; at < segment->shard_count && status == 0; at += CHUNK_COUNT) {
        int64_t left = segment->shard_count - at;
        status = fill_chunk(params, segment, &filling, at, left < CHUNK_COUNT ? left : CHUNK_COUNT);
    }
    free(filling.values);
    return status;
}

/* all_scales - of all ranks' shards, malloc'ed.  They pass through memory of the device, as all transfers do. */
static float *all_scales(struct params *params, struct transport *link, const struct segment *segment) {
    int64_t shard = segment->shard_count / PACKED_NF4_BLOCK, count = shard * segment->shards.size;
    size_t bytes = (size_t)count * sizeof(float);
    float *scales = xmalloc(bytes), *whole = device_allocate(params->dev, bytes);
    CHECK(whole, "no memory for %lld scales", (long long)count);
    struct tensor own = tensor_1d(whole + segment->shards.index * shard, DTYPE_F32, shard);
    device_upload(params->dev, own, segment->pending_scales);
    if (segment->shards.size > 1) {
        struct transfer transfer = {0};
        transport_all_gather_start(link, whole, own.data, (size_t)shard * sizeof(float), &transfer);
        transport_wait(link, &transfer);
    }
    device_download(params->dev, scales, tensor_1d(whole, DTYPE_F32, count));
    device_release(params->dev, whole, bytes);
    return scales;
}

/* Scales of one shard in eight bits, in host memory. */
struct nested {
    uint8_t *codes;            /* [num_blocks] */
    float *largest;            /* [num_blocks / PACKED_NESTED_BLOCK] */
    int64_t first, num_blocks; /* of the shard, among all blocks */
};

/* encode_tensor - those of a tensor's scales that are of this shard; whole groups, for both begin at multiples of one. */
static void encode_tensor(const struct nested *nested, struct unit_tensor *tensor, const float *scales) {
    int64_t begin = tensor->stored_first / PACKED_NF4_BLOCK,
            end = begin + (tensor->count + PACKED_NF4_BLOCK - 1) / PACKED_NF4_BLOCK;
    tensor->nested_offset = packed_nested_mean(scales + begin, end - begin);
    int64_t own_end = nested->first + nested->num_blocks;
    begin = begin > nested->first ? begin : nested->first;
    end = end < own_end ? end : own_end;
    if (begin < end)
        packed_nested_encode(scales + begin, end - begin, tensor->nested_offset,
                             nested->codes + (begin - nested->first),
                             nested->largest + (begin - nested->first) / PACKED_NESTED_BLOCK);
}

void packed_segment_finish(struct params *params, struct transport *link, struct segment *segment) {
    float *scales = all_scales(params, params_link(params, link, segment), segment);
    int64_t num_blocks = segment->shard_count / PACKED_NF4_BLOCK,
            num_groups = num_blocks / PACKED_NESTED_BLOCK;
    struct packed_places places = packed_places_of(PACKED_NF4_DOUBLE, segment->shard_count);
    struct nested nested = {.codes = xcalloc((size_t)num_blocks, 1),
                            .largest = xcalloc((size_t)num_groups, sizeof(float)),
                            .first = segment->shards.index * num_blocks,
                            .num_blocks = num_blocks};
    for (int i = 0; i < segment->num_tensors; i++)
        encode_tensor(&nested, &segment->tensors[i], scales);
    upload(params, segment, places.scales, nested.codes, (size_t)num_blocks);
    upload(params, segment, places.nested, nested.largest, (size_t)num_groups * sizeof(float));
    free(nested.codes);
    free(nested.largest);
    free(scales);
    free(segment->pending_scales);
    segment->pending_scales = NULL;
}

void packed_segment_restore(struct params *params, const struct segment *segment,
                            const struct unit_slot *slot) {
    const char *gathered = (const char *)slot->packed + segment->packed_first;
    struct packed packed = {.kind = params->setup.quantised,
                            .blobs = params->setup.zero_stage == 3 ? gathered : segment->full,
                            .blob_count = segment->shard_count,
                            .nested_map = params->nested_map};
    for (int i = 0; i < segment->num_tensors; i++) {
        const struct unit_tensor *tensor = &segment->tensors[i];
        char *to =
            (char *)slot->data + (size_t)(segment->first + tensor->offset) * dtype_bytes(segment->compute);
        packed.first = tensor->stored_first;
        packed.nested_offset = tensor->nested_offset;
        op_dequantise(params->dev, tensor_1d(to, segment->compute, tensor->count), &packed);
    }
}
