/* format.c - the table of formats, and files read by it. */
#include "data/corpus/format_rows.h"

#include <stdlib.h>
#include <string.h>

#include "data/file.h"

static const struct format *const ROWS[] = {&FORMAT_TEXT, &FORMAT_JSONL, &FORMAT_JSON, &FORMAT_CSV,
                                            &FORMAT_XML};
enum { NUM_ROWS = sizeof ROWS / sizeof *ROWS };

const struct format *format_of(enum source_format id) {
    for (int i = 0; i < NUM_ROWS; i++)
        if (ROWS[i]->id == id)
            return ROWS[i];
    die("a source of format %d, which has no row", (int)id);
}

const struct format *format_of_name(const char *path) {
    for (int i = 0; i < NUM_ROWS; i++)
        for (const char *const *ending = ROWS[i]->endings; *ending; ending++)
            if (name_ends_under_coding(path, *ending))
                return ROWS[i];
    return NULL;
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
