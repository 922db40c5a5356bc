/* codec.c - see codec.h.  The libraries check what they read; here it is checked that they gave what was announced. */
#include "data/parquet/codec.h"

#include <brotli/decode.h>
#include <limits.h>
#include <lz4.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

enum { CODEC_SNAPPY = 1, CODEC_GZIP, CODEC_LZO, CODEC_BROTLI, CODEC_LZ4, CODEC_ZSTD, CODEC_LZ4_RAW };

/* unpack_* - how many bytes came of it, -1: damaged. */
typedef int64_t (*unpacker)(struct codec_context *context, struct text_span packed, struct plain_bytes plain);

static int64_t unpack_snappy(struct codec_context *context, struct text_span packed,
                             struct plain_bytes plain) {
    size_t length = plain.length_bytes;
    (void)context;
    return snappy_uncompress(packed.bytes, packed.length_bytes, plain.bytes, &length) == SNAPPY_OK
               ? (int64_t)length
               : -1;
}

/* Members one after another are one page. */
static int64_t unpack_gzip(struct codec_context *context, struct text_span packed, struct plain_bytes plain) {
    z_stream stream = {.next_in = (unsigned char *)(uintptr_t)packed.bytes,
                       .avail_in = (unsigned)packed.length_bytes,
                       .next_out = (unsigned char *)plain.bytes,
                       .avail_out = (unsigned)plain.length_bytes};
    (void)context;
    if (inflateInit2(&stream, 15 + 32) != Z_OK) /* a header of gzip or of zlib */
        return -1;
    int status = inflate(&stream, Z_FINISH);
    while (status == Z_STREAM_END && stream.avail_in > 0 && inflateReset(&stream) == Z_OK)
        status = inflate(&stream, Z_FINISH);
    int64_t length = status == Z_STREAM_END ? (int64_t)(plain.length_bytes - stream.avail_out) : -1;
    inflateEnd(&stream);
    return length;
}

static int64_t unpack_brotli(struct codec_context *context, struct text_span packed,
                             struct plain_bytes plain) {
    size_t length = plain.length_bytes;
    (void)context;
    BrotliDecoderResult result = BrotliDecoderDecompress(
        packed.length_bytes, (const unsigned char *)packed.bytes, &length, (unsigned char *)plain.bytes);
    return result == BROTLI_DECODER_RESULT_SUCCESS ? (int64_t)length : -1;
}

static int64_t unpack_zstd(struct codec_context *context, struct text_span packed, struct plain_bytes plain) {
    if (!context->zstd)
        context->zstd = ZSTD_createDCtx();
    CHECK(context->zstd, "out of memory for a zstd context");
    size_t length = ZSTD_decompressDCtx(context->zstd, plain.bytes, plain.length_bytes, packed.bytes,
                                        packed.length_bytes);
    return ZSTD_isError(length) ? -1 : (int64_t)length;
}

static int64_t unpack_lz4(struct codec_context *context, struct text_span packed, struct plain_bytes plain) {
    (void)context;
    return LZ4_decompress_safe(packed.bytes, plain.bytes, (int)packed.length_bytes, (int)plain.length_bytes);
}

void codec_release(struct codec_context *context) {
    ZSTD_freeDCtx(context->zstd);
    context->zstd = NULL;
}

static const struct {
    const char *name;
    unpacker unpack; /* NULL: not read */
} CODECS[] = {[CODEC_NONE] = {"uncompressed", NULL},      [CODEC_SNAPPY] = {"Snappy", unpack_snappy},
              [CODEC_GZIP] = {"gzip", unpack_gzip},       [CODEC_LZO] = {"LZO", NULL},
              [CODEC_BROTLI] = {"Brotli", unpack_brotli}, [CODEC_LZ4] = {"LZ4 as Hadoop frames it", NULL},
              [CODEC_ZSTD] = {"zstd", unpack_zstd},       [CODEC_LZ4_RAW] = {"LZ4", unpack_lz4}};
enum { NUM_CODECS = sizeof CODECS / sizeof *CODECS };

int codec_check(int codec, struct err *err) {
    if (codec < 0 || codec >= NUM_CODECS)
        return err_set(err, "it is compressed with codec %d, which is not known", codec);
    if (codec != CODEC_NONE && !CODECS[codec].unpack)
        return err_set(err, "it is compressed with %s, which is not read: write it again with zstd",
                       CODECS[codec].name);
    return 0;
}

int codec_unpack(struct codec_context *context, int codec, struct text_span packed, struct plain_bytes plain,
                 struct err *err) {
    if (packed.length_bytes > INT_MAX || plain.length_bytes > INT_MAX)
        return err_set(err, "a page of more than 2 GiB");
    int64_t length = CODECS[codec].unpack(context, packed, plain);
    if (length < 0)
        return err_set(err, "a page cannot be decompressed (%s): it is damaged", CODECS[codec].name);
    if ((uint64_t)length != plain.length_bytes)
        return err_set(err, "a page has %lld bytes after decompression, %zu were announced: it is damaged",
                       (long long)length, plain.length_bytes);
    return 0;
}
