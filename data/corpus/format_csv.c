/* format_csv.c - tables as text (csv.h): a row is a record, by the line on which it begins. */
#include "data/corpus/csv.h"

#include <stdlib.h>

#include "data/corpus/format_rows.h"
#include "data/corpus/prepare_wanted.h"
#include "data/file.h"

/* count_lines - line feeds. */
static int64_t count_lines(const char *bytes, size_t length_bytes) {
    int64_t count = 0;
    const char *end = bytes + length_bytes;
    for (const char *at = bytes; at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        count++;
    return count;
}

/* never_closed - a quote that swallows the rest of the file; the line where it was opened is what has to be looked at. */
static int never_closed(const struct record_stream *stream, const struct csv_cut *cut, const char *how,
                        struct err *err) {
    int64_t line = stream->state + 1 + count_lines(stream->record.bytes, cut->quote_at);
    return err_set(
        err,
        "'%s' line %lld: a quote is opened and never closed: %s; a quote inside of a quoted field is written "
        "twice",
        stream->file->path, (long long)line, how);
}

/* grow - a row of several blocks is put together. */
static int grow(struct record_stream *stream, const struct csv_cut *cut, struct text_span part,
                struct err *err) {
    if (stream->record.length_bytes + part.length_bytes > DOCUMENT_MAX_BYTES) {
        text_append(&stream->record, part.bytes, DOCUMENT_MAX_BYTES - stream->record.length_bytes);
        return cut->in_quotes ? never_closed(stream, cut, "the row is longer than 256 MiB", err)
                              : err_set(err, "'%s' line %lld: the row is longer than %d bytes (256 MiB)",
                                        stream->file->path, (long long)stream->state + 1, DOCUMENT_MAX_BYTES);
    }
    text_append(&stream->record, part.bytes, part.length_bytes);
    return 0;
}

/* read_row - as next_row, empty lines and the header included; a row inside of a block is not copied. */
static int read_row(struct record_stream *stream, struct raw_record *record, struct err *err) {
    const struct csv_header *header = stream->file->header;
    struct csv_cut cut = {.delimiter = header->delimiter};
    struct text_span block;
    bool has_ended = false, has_started = false;
    int status;
    stream->record.length_bytes = 0;
    while (!has_ended && (status = reader_peek(stream->reader, &block, err)) != 0) {
        if (status < 0)
            return -1;
        size_t part = csv_cut_row(&cut, block, &has_ended);
        *record = (struct raw_record){block.bytes, part, stream->state + 1};
        if ((!has_ended || has_started) &&
            grow(stream, &cut, (struct text_span){block.bytes, part}, err) != 0)
            return -1;
        reader_skip(stream->reader, part + has_ended);
        has_started = true;
    }
    if (!has_started)
        return 0;
    if (cut.in_quotes)
        return never_closed(stream, &cut, "the file ends in it", err);
    if (stream->record.length_bytes > 0) {
        record->bytes = stream->record.bytes;
        record->length_bytes = stream->record.length_bytes;
    }
    stream->state += 1 + count_lines(record->bytes, record->length_bytes);
    return 1;
}

/* read_line - the next row that is not an empty line. */
static int read_line(struct record_stream *stream, struct raw_record *record, struct err *err) {
    int status;
    do
        status = read_row(stream, record, err);
    while (status > 0 && csv_is_blank((struct text_span){record->bytes, record->length_bytes}));
    return status;
}

/* next_row - the first one is the header, which was read before. */
static int next_row(struct record_stream *stream, struct raw_record *record, struct err *err) {
    bool is_first = stream->state == 0;
    int status = read_line(stream, record, err);
    return status > 0 && is_first ? read_line(stream, record, err) : status;
}

/* delimiter_of - what the source says, or the name; 0: it has to be found. */
static char delimiter_of(const struct record_stream *stream) {
    const char *said = stream->source->delimiter, *path = stream->file->path;
    if (said && strcmp(said, "auto") != 0)
        return strcmp(said, "tab") == 0 ? '\t' : said[0];
    return name_ends_under_coding(path, ".tsv") ? '\t' : 0;
}

/* check_where - a column that the table has not would leave out every row. */
static int check_where(const struct prepare_source *source, const struct csv_header *header,
                       struct err *err) {
    struct text columns = {0};
    csv_append_empty(header, &columns);
    int status = source_check_where(source, (struct text_span){columns.bytes, columns.length_bytes}, err);
    text_release(&columns);
    return status;
}

/* look - at the names of the columns, which all rows need. */
static int look(struct record_stream *stream, void **header, struct err *err) {
    enum { SAMPLE_BYTES = 64 * KIB };
    struct text_span block;
    struct err why;
    int status = 1;
    struct csv_header *found = xcalloc(1, sizeof *found);
    *header = found;
    stream->record.length_bytes = 0;
    while (stream->record.length_bytes < SAMPLE_BYTES &&
           (status = reader_peek(stream->reader, &block, err)) > 0) {
        size_t room = SAMPLE_BYTES - stream->record.length_bytes;
        size_t part = block.length_bytes < room ? block.length_bytes : room;
        text_append(&stream->record, block.bytes, part);
        reader_skip(stream->reader, part);
    }
    if (status < 0)
        return -1;
    struct text_span sample = {stream->record.bytes, stream->record.length_bytes};
    if (csv_header_read(found, sample, status == 0 ? CSV_WHOLE : CSV_BEGINNING, delimiter_of(stream), &why) ==
            0 &&
        check_where(stream->source, found, &why) == 0)
        return 0;
    return err_set(err, "'%s': %s", stream->file->path, why.text);
}

static void release(void *header) {
    if (header)
        csv_header_release(header);
    free(header);
}

static int append_json(const void *header, struct text_span record, struct text *out, struct err *err) {
    return csv_append_json(header, record, out, err);
}

static const char *const ENDINGS[] = {".csv", ".tsv", NULL};
const struct format FORMAT_CSV = {.id = SOURCE_CSV,
                                  .name = "csv",
                                  .unit = "line",
                                  .endings = ENDINGS,
                                  .has_fields = true,
                                  .has_text_cells = true,
                                  .look = look,
                                  .release = release,
                                  .next = next_row,
                                  .append_json = append_json};
