/* page.h - the pages of a column's chunk, one after another, decompressed: their head, and the parts of a data page.
 * Source: apache/parquet-format, README.md ("Data Pages") and parquet.thrift. */
#pragma once

#include "data/parquet/bits.h"
#include "data/parquet/codec.h"
#include "data/parquet/footer.h"

enum page_kind { PAGE_DATA, PAGE_INDEX, PAGE_DICTIONARY, PAGE_DATA_V2 };
enum page_encoding {
    ENCODING_PLAIN = 0,
    ENCODING_PLAIN_DICTIONARY = 2,
    ENCODING_RUNS = 3,
    ENCODING_DELTAS = 5,
    ENCODING_DELTA_LENGTHS = 6,
    ENCODING_DELTA_TEXTS = 7,
    ENCODING_RUNS_DICTIONARY = 8,
    ENCODING_SPLIT_BYTES = 9
};

/* A page; parts are borrowed from the reader of pages until the next one. */
struct page {
    enum page_kind kind;
    int64_t num_values; /* nulls included */
    int64_t encoding;
    struct bytes repetitions, definitions; /* runs; empty where the column has none */
    struct bytes values;
};

/* The file and where in it the chunk is read; start from zeros and set the first part. */
struct pages {
    int fd; /* borrowed, as is path */
    const char *path;
    int codec;
    int64_t at, end; /* of the file */
    bool has_repetitions, has_definitions;
    int64_t page_first; /* where the present page begins, for messages */
    struct codec_context context;
    struct text stored, plain; /* as it lies in the file; decompressed */
};

/* pages_next - a dictionary or data page; pages of an index are stepped over.  Returns 1, 0 at the end of the chunk, or -1
 * with err set, without the place: damaged, cut, larger than 512 MiB, an encoding of levels that is not read. */
int pages_next(struct pages *pages, struct page *page, struct err *err);
void pages_release(struct pages *pages);
