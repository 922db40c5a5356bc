/* format.c - the table of formats, and files read by it. */
#include "data/corpus/format_rows.h"

#include <stdlib.h>
#include <string.h>

#include "data/corpus/content_kind.h"
#include "data/file.h"

static const struct format *const ROWS[] = {&FORMAT_TEXT, &FORMAT_JSONL, &FORMAT_JSON,
                                            &FORMAT_CSV,  &FORMAT_XML,   &FORMAT_PARQUET};
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
    if (file->format && file->format->open) {
        int status = file->format->open(stream, err);
        if (status != 0)
            record_stream_close(stream);
        return status;
    }
    stream->reader = reader_open_text(file->path, source->encoding, err);
    return stream->reader ? 0 : -1;
}

int record_stream_open_part(struct record_stream *stream, struct corpus_file *file,
                            const struct prepare_source *source, struct reader_part part, struct err *err) {
    *stream = (struct record_stream){.file = file, .source = source};
    if (file->format->open)
        return err_set(
            err, "'%s' cannot be read inside of an archive, as its format is read from its end on: unpack it",
            file->path);
    stream->reader = reader_open_part(file->path, part, source->encoding, err);
    if (!stream->reader)
        return -1;
    return record_stream_look(stream, file, err) == 0 ? reader_rewind(stream->reader, err) : -1;
}

void record_stream_close(struct record_stream *stream) {
    if (stream->own && stream->file->format->close)
        stream->file->format->close(stream);
    else
        free(stream->own);
    reader_close(stream->reader);
    text_release(&stream->record);
    *stream = (struct record_stream){0};
}

bool record_stream_is_open(const struct record_stream *stream) {
    return stream->file != NULL;
}

int record_stream_hash(struct record_stream *stream, char hex[SHA256_HEX_ROOM], struct err *err) {
    if (!stream->reader)
        return stream->file->format->hash(stream, hex, err);
    reader_sha256(stream->reader, hex);
    return 0;
}

int64_t record_stream_consumed_bytes(const struct record_stream *stream) {
    return stream->reader ? reader_consumed_bytes(stream->reader)
                          : stream->file->format->consumed_bytes(stream);
}

/* check_markup - a saved page of HTML that has the name of something else: its tags would be learnt, or it is the page of an error in
 * the place of a table.  Who says "format: text" means them, and XML tells its roots itself. */
static int check_markup(const struct record_stream *stream, struct err *err) {
    const enum source_format id = stream->file->format->id;
    struct text_span first;
    if (!stream->reader || id == SOURCE_XML || (id == SOURCE_TEXT && stream->source->format == SOURCE_TEXT))
        return 0;
    int status = reader_peek(stream->reader, &first, err);
    const struct content_kind *kind = status > 0 ? content_kind_of_markup(first) : NULL;
    if (kind)
        return err_set(err, "'%s' is %s; %s", stream->file->path, kind->name, kind->advice);
    return status < 0 ? -1 : 0;
}

int record_stream_look(struct record_stream *stream, struct corpus_file *file, struct err *err) {
    if (check_markup(stream, err) != 0)
        return -1;
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
    if (stream->reader)
        reader_trim(stream->reader);
    if (stream->record.room_bytes > KEPT_BYTES)
        text_release(&stream->record);
}
