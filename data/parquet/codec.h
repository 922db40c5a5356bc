/* codec.h - the codecs of Parquet's pages.  Source: apache/parquet-format, Compression.md. */
#pragma once

#include "data/corpus/text.h"

enum { CODEC_NONE };

/* codec_check - 0 for a codec that can be read, else -1 with err set: which it is. */
int codec_check(int codec, struct err *err);

/* codec_unpack - all of packed into exactly plain_bytes.  Returns 0, or -1 with err set: damaged, or of another length. */
int codec_unpack(int codec, struct text_span packed, char *plain, size_t plain_bytes, struct err *err);
