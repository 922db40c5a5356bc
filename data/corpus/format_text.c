/* format_text.c - text, where a file is a document, and JSON lines, where a line is a record. */
#include "data/corpus/format_rows.h"

static int next_text(struct record_stream *stream, struct raw_record *record, struct err *err) {
    char *bytes;
    *record = (struct raw_record){.number = 0};
    if (stream->num_records > 0)
        return 0;
    if (reader_rest(stream->reader, DOCUMENT_MAX_BYTES, &bytes, &record->length_bytes, err) != 0)
        return -1;
    record->bytes = bytes;
    return 1;
}

static int next_line(struct record_stream *stream, struct raw_record *record, struct err *err) {
    char *bytes;
    int status = reader_line(stream->reader, DOCUMENT_MAX_BYTES, &bytes, &record->length_bytes, err);
    record->bytes = bytes;
    record->number = reader_line_number(stream->reader);
    return status;
}

static const char *const TEXT_ENDINGS[] = {".txt", ".text", ".md", NULL};
const struct format FORMAT_TEXT = {
    .id = SOURCE_TEXT, .name = "text", .unit = "file", .endings = TEXT_ENDINGS, .next = next_text};

static const char *const JSONL_ENDINGS[] = {".jsonl", ".ndjson", NULL};
const struct format FORMAT_JSONL = {.id = SOURCE_JSONL,
                                    .name = "jsonl",
                                    .unit = "line",
                                    .endings = JSONL_ENDINGS,
                                    .has_fields = true,
                                    .next = next_line};
