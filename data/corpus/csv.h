/* csv.h - tables as text: rows of fields with a delimiter between them, the first row names them.  Source: RFC 4180; where it
 * is silent, Python's csv module with strict=True: a quote opens a field only as its first byte, elsewhere it is itself; a
 * quoted field may hold delimiters and line feeds, and quotes written twice; nothing follows its closing quote.  A row ends
 * with a line feed, before which one carriage return is left out. */
#pragma once

#include "data/corpus/text.h"

/* Where a row stands that is cut off over several blocks of text.  Start from {.delimiter = ...}; a row ends in {.delimiter}
 * again. */
struct csv_cut {
    char delimiter;
    char previous; /* the last byte of the block before */
    bool in_quotes;
    bool after_quote;    /* the last byte closed a quote, or is the first of two */
    size_t length_bytes; /* of the row, in the blocks before */
    size_t quote_at;     /* from the row's start: the quote that was opened last */
};

/* csv_cut_row - how much of a block belongs to the row, without the line feed that ends it; *has_ended says whether one
 * does. */
size_t csv_cut_row(struct csv_cut *cut, struct text_span block, bool *has_ended);

/* csv_num_fields - of a row; -1 with err set (may be NULL) where it is none. */
int csv_num_fields(struct text_span row, char delimiter, struct err *err);

/* The first row of a file. */
struct csv_header {
    char delimiter;
    int num_columns;
    char **names; /* [num_columns], as strings of JSON with a colon */
};

/* csv_is_blank - a row of no bytes, or of a carriage return: no row at all. */
bool csv_is_blank(struct text_span row);

/* csv_header_read - from the beginning of a file, of which at least a row has to be there; CSV_WHOLE: it is all of it.
 * delimiter 0: one of , ; tab | by which the header and the rows after it have equally many fields, at least two.  Returns 0,
 * or -1 with err set, without the file's name: several would do, the header is none.  csv_header_release in any case. */
enum csv_sample { CSV_BEGINNING, CSV_WHOLE };
int csv_header_read(struct csv_header *header, struct text_span sample, enum csv_sample kind, char delimiter,
                    struct err *err);
void csv_header_release(struct csv_header *header);

/* csv_append_empty - a row of empty fields as an object of JSON: what the columns are called. */
void csv_append_empty(const struct csv_header *header, struct text *out);

/* csv_append_json - a row as an object of JSON, all values strings, to the end of out.  Bytes are not looked at beyond what
 * JSON wants: what is not UTF-8 stays so.  Returns 0, or -1 with err set: not as many fields as the header, what no row may
 * hold. */
int csv_append_json(const struct csv_header *header, struct text_span row, struct text *out, struct err *err);
