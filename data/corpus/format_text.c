/* format_text.c - text, where a file is a document, and JSON lines, where a line is a record. */
#include "data/corpus/format_rows.h"

#include "data/corpus/content_kind.h"

/* check_markup - a saved page that is called text: its tags would be learnt.  Who says "format: text" means them. */
static int check_markup(const struct record_stream *stream, const struct raw_record *record,
                        struct err *err) {
    const struct content_kind *kind =
        stream->source->format == SOURCE_AUTO
            ? content_kind_of_markup((struct text_span){record->bytes, record->length_bytes})
            : NULL;
    return kind ? err_set(err, "'%s' is %s; %s", stream->file->path, kind->name, kind->advice) : 0;
}

static int next_text(struct record_stream *stream, struct raw_record *record, struct err *err) {
    char *bytes;
    *record = (struct raw_record){.number = 0};
    if (stream->num_records > 0)
        return 0;
    if (reader_rest(stream->reader, DOCUMENT_MAX_BYTES, &bytes, &record->length_bytes, err) != 0)
        return -1;
    record->bytes = bytes;
    return check_markup(stream, record, err) == 0 ? 1 : -1;
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
