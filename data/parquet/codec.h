/* codec.h - the codecs of Parquet's pages.  Source: apache/parquet-format, Compression.md. */
#pragma once

#include "data/corpus/text.h"

enum { CODEC_NONE };

/* Where a page goes, and how long it is. */
struct plain_bytes {
    char *bytes;
    size_t length_bytes;
};

/* codec_check - 0 for a codec that can be read, else -1 with err set: which it is. */
int codec_check(int codec, struct err *err);

/* What decompression uses again from page to page; start from zeros, codec_release frees. */
struct codec_context {
    void *zstd;
};
void codec_release(struct codec_context *context);

/* codec_unpack - all of packed into exactly the bytes of plain.  Returns 0, or -1 with err set: damaged, or of another length. */
int codec_unpack(struct codec_context *context, int codec, struct text_span packed, struct plain_bytes plain,
                 struct err *err);
