/* format.h - the formats of a corpus's files, a row of a table each.  A format cuts a file into records, one after
 * another and in bounded memory, on the thread that reads; what is inside of them is read by the workers.  A format of
 * fields has records that are JSON objects; any other has one record for a file, which is its text. */
#pragma once

#include "data/corpus/prepare.h"
#include "data/corpus/reader.h"
#include "kernels/units.h"

enum { DOCUMENT_MAX_BYTES = 256 * MIB }; /* a longer record is refused by name */

/* A record as it is in its file. */
struct raw_record {
    const char *bytes; /* borrowed until the next one */
    size_t length_bytes;
    int64_t number; /* counted from 1 in the unit of the format; 0: the record is the file */
};

struct format;

/* A file of a source. */
struct corpus_file {
    int source;
    char *path;
    const struct format *format; /* NULL: an archive, whose members have theirs */
    void *header;                /* what its format found at its beginning; NULL: nothing */
    int64_t size_bytes;
    const char *packed_by; /* of a compressed archive it is a member of: "gzip"; NULL: of none */
};

/* A file that is being read. */
struct record_stream {
    const struct corpus_file *file;      /* borrowed */
    const struct prepare_source *source; /* borrowed */
    struct reader *reader;               /* NULL for formats with an open of their own */
    int num_readers;     /* threads for a format that can use more; 0, 1: the caller's alone */
    int64_t num_records; /* that were handed out */
    struct text record;  /* of formats that put their records together: the last one */
    int64_t state;       /* the format's own: how far it is; 0 at the beginning */
    void *own; /* the format's own, NULL at the beginning: ended by its close, or freed where it has none */
};

struct format {
    enum source_format id;
    const char *name;           /* in a run file */
    const char *unit;           /* what the number of a record counts: "line" */
    const char *const *endings; /* of the names of such files, under .gz and .zst; ends with NULL */
    bool has_fields;            /* records are JSON objects, or append_json makes such of them */
    bool has_text_cells; /* all values of these are texts: null, true and numbers as they are written */
    /* open - of a file that is no stream of text; returns 0, or -1 with err set, close either way.  hash - the SHA-256 of the
     * file, once it has ended; returns 0, or -1 with err set.  consumed_bytes - as far as it is read.  NULL, all four: the
     * reader's. */
    int (*open)(struct record_stream *stream, struct err *err);
    void (*close)(struct record_stream *stream);
    int (*hash)(struct record_stream *stream, char hex[SHA256_HEX_ROOM], struct err *err);
    int64_t (*consumed_bytes)(const struct record_stream *stream);
    /* look - at the beginning of a file, before any is read; *header is what all of its records need, given back by release,
     * also after an error.  Returns 0, or -1 with err set: the file is something else.  NULL: nothing to see. */
    int (*look)(struct record_stream *stream, void **header, struct err *err);
    void (*release)(void *header);
    /* next - the next record.  Returns 1, 0 where the file has ended, or -1 with err set and the place in it. */
    int (*next)(struct record_stream *stream, struct raw_record *record, struct err *err);
    /* append_json - a record as a JSON object, to the end of out; by workers, several at a time.  Returns 0, or -1 with err
     * set.  NULL: it is one. */
    int (*append_json)(const void *header, struct text_span record, struct text *out, struct err *err);
    /* place - of a record by its number, for messages; malloc'ed.  NULL: the unit and the number. */
    char *(*place)(const void *header, int64_t number);
};

/* format_of - the row of an id other than SOURCE_AUTO.  format_of_name - by the ending of a name, in any case; NULL where
 * it says nothing. */
const struct format *format_of(enum source_format id);
const struct format *format_of_name(const char *path);

/* record_stream_open - of a file of a source.  Returns 0, or -1 with err set (reader_open_text, or open of the format).  record_stream_close - also of
 * a stream of zeros, which was not opened. */
int record_stream_open(struct record_stream *stream, const struct corpus_file *file,
                       const struct prepare_source *source, struct err *err);
/* record_stream_open_part - the same of a part of something that is open (reader_open_part), which is looked at (record_stream_look), and the stream
 * stands at its beginning. */
int record_stream_open_part(struct record_stream *stream, struct corpus_file *file,
                            const struct prepare_source *source, struct reader_part part, struct err *err);
void record_stream_close(struct record_stream *stream);

/* record_stream_is_open - false of zeros.  record_stream_hash, record_stream_consumed_bytes - as those of the format. */
bool record_stream_is_open(const struct record_stream *stream);
int record_stream_hash(struct record_stream *stream, char hex[SHA256_HEX_ROOM], struct err *err);
int64_t record_stream_consumed_bytes(const struct record_stream *stream);

/* record_stream_look - that it is no page of HTML under another name, and look of the format, where it has one; file is the one that was
 * opened.  Returns 0, or -1 with err set.  Its header is given back by corpus_file_release, with the path. */
int record_stream_look(struct record_stream *stream, struct corpus_file *file, struct err *err);
void corpus_file_release(struct corpus_file *file);

/* record_stream_next - as next of the format.  A record that was large leaves no memory behind it once
 * record_stream_trim was called, which ends what was borrowed. */
int record_stream_next(struct record_stream *stream, struct raw_record *record, struct err *err);
void record_stream_trim(struct record_stream *stream);
