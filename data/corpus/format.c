/* format.c - the table of formats, and files read by it. */
#include "data/corpus/format_rows.h"

#include <stdlib.h>
#include <string.h>

#include "data/file.h"

static const struct format *const ROWS[] = {&FORMAT_TEXT, &FORMAT_JSONL, &FORMAT_JSON, &FORMAT_CSV};
enum { NUM_ROWS = sizeof ROWS / sizeof *ROWS };

const struct format *format_of(enum source_format id) {
    for (int i = 0; i < NUM_ROWS; i++)
        if (ROWS[i]->id == id)
            return ROWS[i];
    die("a source of format %d, which has no row", (int)id);
}

/* has_ending - one of a row's. */
static bool has_ending(const struct format *format, const char *name) {
    for (const char *const *ending = format->endings; *ending; ending++)
        if (name_ends_with(name, *ending))
            return true;
    return false;
}

const struct format *format_of_name(const char *path) {
    char *name = xstrdup(path);
    size_t length = strlen(name);
    const struct format *format = NULL;
    if (name_ends_with(name, ".gz"))
        name[length - 3] = '\0';
    else if (name_ends_with(name, ".zst"))
        name[length - 4] = '\0';
    for (int i = 0; i < NUM_ROWS && !format; i++)
        if (has_ending(ROWS[i], name))
            format = ROWS[i];
    free(name);
    return format;
}

int record_stream_open(struct record_stream *stream, const struct corpus_file *file,
                       const struct prepare_source *source, struct err *err) {
    *stream = (struct record_stream){.file = file, .source = source};
    stream->reader = reader_open_text(file->path, source->encoding, err);
    return stream->reader ? 0 : -1;
}

void record_stream_close(struct record_stream *stream) {
    reader_close(stream->reader);
    text_release(&stream->record);
    *stream = (struct record_stream){0};
}

int record_stream_look(struct record_stream *stream, struct corpus_file *file, struct err *err) {
    return file->format->look ? file->format->look(stream, &file->header, err) : 0;
}

void corpus_file_release(struct corpus_file *file) {
    if (file->format && file->format->release)
        file->format->release(file->header);
    free(file->path);
}

int record_stream_next(struct record_stream *stream, struct raw_record *record, struct err *err) {
    int status = stream->file->format->next(stream, record, err);
    stream->num_records += status > 0;
    return status;
}

void record_stream_trim(struct record_stream *stream) {
    enum { KEPT_BYTES = 4 * MIB };
    reader_trim(stream->reader);
    if (stream->record.room_bytes > KEPT_BYTES)
        text_release(&stream->record);
}
