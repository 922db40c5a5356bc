/* reader.c - plain, gzip and zstd files as lines.  Three layers: bytes of the file (hashed as they pass), text
 * after decompression, lines. Compressed files may consist of several members or frames, as parallel compressors
 * write them. */
#include "data/corpus/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "data/corpus/content_kind.h"
#include "data/file.h"
#include "kernels/units.h"

enum { INPUT_BYTES = 128 * KIB, OUTPUT_BYTES = 256 * KIB };

enum coding { CODING_PLAIN, CODING_GZIP, CODING_ZSTD };
static const struct {
    const char *name, *ending;
} CODINGS[] = {
    [CODING_PLAIN] = {NULL, NULL}, [CODING_GZIP] = {"gzip", ".gz"}, [CODING_ZSTD] = {"zstd", ".zst"}};

struct reader {
    char *path;
    int fd; /* -1: a part */
    struct reader_part part;
    enum coding coding;
    int64_t file_bytes, consumed_bytes;
    struct sha256 sha;
    /* the file's bytes: input[input_at .. input_end) are not decoded yet */
    char *input;
    size_t input_at, input_end;
    bool input_ended;
    bool is_rewindable; /* the input buffer holds all that was read of a part */
    bool inside_member; /* compressed: a member or frame has begun and not ended */
    z_stream gzip;
    ZSTD_DStream *zstd;
    /* decoded text: output[output_at .. output_end) is not taken yet */
    char *output;
    size_t output_at, output_end;
    bool output_ended, is_first;
    bool wants_text; /* what is not text is refused */
    bool is_binary;  /* what begins like a byte order mark is none */
    enum text_encoding said_encoding;
    struct encoding_state encoding;
    struct text converted; /* the block that output points into, where the encoding is not UTF-8 */
    char *decoded;         /* OUTPUT_BYTES after decompression */
    /* the line or document last returned */
    char *line;
    size_t line_room;
    int64_t line_number;
};

static int64_t available(struct reader *reader, struct err *err);

/* refill_part - as refill; the buffer is filled whole, so that what is looked at first is in it. */
static int refill_part(struct reader *reader, struct err *err) {
    size_t length = 0;
    int64_t got = 1;
    while (length < INPUT_BYTES && got > 0) {
        got = reader->part.read(reader->part.user, reader->input + length, INPUT_BYTES - length, err);
        if (got < 0)
            return -1;
        length += (size_t)got;
    }
    bool is_first = reader->consumed_bytes == 0;
    if (length == 0 && !is_first) { /* the end: what the buffer holds may be wanted again */
        reader->input_ended = true;
        return 0;
    }
    reader->is_rewindable = is_first;
    reader->consumed_bytes += (int64_t)length;
    reader->input_at = 0;
    reader->input_end = length;
    reader->input_ended = length == 0;
    return 0;
}

/* refill - the next bytes of the file; called when the input buffer is empty. */
static int refill(struct reader *reader, struct err *err) {
    ssize_t got;
    if (reader->fd < 0)
        return refill_part(reader, err);
    do
        got = read(reader->fd, reader->input, INPUT_BYTES);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_set(err, "cannot read '%s': %s", reader->path, strerror(errno));
    sha256_update(&reader->sha, reader->input, (size_t)got);
    reader->consumed_bytes += got;
    reader->input_at = 0;
    reader->input_end = (size_t)got;
    reader->input_ended = got == 0;
    return 0;
}

/* starts_with - the first bytes of the file. */
static bool starts_with(const struct reader *reader, const char *magic, size_t length_bytes) {
    return reader->input_end >= length_bytes && memcmp(reader->input, magic, length_bytes) == 0;
}

/* detect - by the first bytes, not by the name.  Sources: RFC 1952 section 2.3, RFC 8878 section 3.1. */
static int detect(struct reader *reader, struct err *err) {
    bool is_skippable = reader->input_end >= 4 && ((unsigned char)reader->input[0] & 0xF0) == 0x50 &&
                        memcmp(reader->input + 1, "\x2A\x4D\x18", 3) == 0; /* pzstd begins so */
    if (starts_with(reader, "\x1F\x8B", 2)) {
        reader->coding = CODING_GZIP;
        if (inflateInit2(&reader->gzip, 15 + 16) !=
            Z_OK) /* the largest window; a gzip header, not a zlib one */
            return err_set(err, "cannot start zlib for '%s'", reader->path);
    } else if (starts_with(reader, "\x28\xB5\x2F\xFD", 4) || is_skippable) {
        reader->coding = CODING_ZSTD;
        reader->zstd = ZSTD_createDStream();
        CHECK(reader->zstd, "out of memory for a zstd stream");
    }
    return 0;
}

/* create - without a file. */
static struct reader *create(const char *path) {
    struct reader *reader = xcalloc(1, sizeof *reader);
    reader->path = xstrdup(path);
    reader->fd = -1;
    reader->is_first = true;
    reader->input = xmalloc(INPUT_BYTES);
    reader->decoded = reader->output = xmalloc(OUTPUT_BYTES);
    return reader;
}

/* start - the first block, and what it is compressed with.  Takes the reader over; NULL with err set. */
static struct reader *start(struct reader *reader, struct err *err) {
    if (refill(reader, err) == 0 && detect(reader, err) == 0)
        return reader;
    reader_close(reader);
    return NULL;
}

struct reader *reader_open(const char *path, struct err *err) {
    struct reader *reader = create(path);
    sha256_init(&reader->sha);
    reader->fd = file_open_read(path, &reader->file_bytes, err);
    if (reader->fd >= 0)
        return start(reader, err);
    reader_close(reader);
    return NULL;
}

/* coding_of_name - what the name promises. */
static enum coding coding_of_name(const char *path) {
    for (enum coding coding = CODING_GZIP; coding <= CODING_ZSTD; coding++)
        if (strlen(path) > strlen(CODINGS[coding].ending) && name_ends_with(path, CODINGS[coding].ending))
            return coding;
    return name_ends_with(path, ".tgz") ? CODING_GZIP : CODING_PLAIN;
}

const char *reader_named_coding(const char *path) {
    enum coding coding = coding_of_name(path);
    return coding == CODING_PLAIN ? NULL : CODINGS[coding].name;
}

const char *reader_unnamed_coding(const struct reader *reader) {
    return coding_of_name(reader->path) == CODING_PLAIN ? CODINGS[reader->coding].name : NULL;
}

/* check_name - what is not compressed as its name says was damaged, cut or renamed on the way here. */
static int check_name(const struct reader *reader, struct err *err) {
    enum coding named = coding_of_name(reader->path);
    if (named == CODING_PLAIN || named == reader->coding)
        return 0;
    const char *is =
        reader->coding == CODING_PLAIN ? "it does not begin as such data does" : "it is compressed otherwise";
    return err_set(
        err,
        "'%s' is not %s data although its name ends in %s: %s; fetch it again, or give it the name of what "
        "it is",
        reader->path, CODINGS[named].name, CODINGS[named].ending,
        reader->file_bytes == 0 ? "it is empty" : is);
}

/* want_text - the first block is decoded here, so that what is not text is refused before anything else is read.  Takes the reader
 * over; NULL with err set. */
static struct reader *want_text(struct reader *reader, enum text_encoding encoding, struct err *err) {
    if (!reader)
        return NULL;
    reader->wants_text = true;
    reader->said_encoding = reader->encoding.encoding = encoding;
    if (check_name(reader, err) == 0 && available(reader, err) >= 0)
        return reader;
    reader_close(reader);
    return NULL;
}

struct reader *reader_open_text(const char *path, enum text_encoding encoding, struct err *err) {
    return want_text(reader_open(path, err), encoding, err);
}

struct reader *reader_open_part(const char *name, struct reader_part part, enum text_encoding encoding,
                                struct err *err) {
    struct reader *reader = create(name);
    reader->part = part;
    reader->file_bytes = part.size_bytes;
    return want_text(start(reader, err), encoding, err);
}

struct reader *reader_open_binary(const char *path, struct err *err) {
    struct reader *reader = reader_open(path, err);
    if (!reader)
        return NULL;
    reader->is_binary = true;
    if (check_name(reader, err) == 0)
        return reader;
    reader_close(reader);
    return NULL;
}

/* The decoder is made anew: it may be in the middle of a frame. */
int reader_rewind(struct reader *reader, struct err *err) {
    if (!reader->is_rewindable)
        return err_set(
            err,
            "'%s' begins with more than %d bytes that say nothing: it cannot be read inside of an archive",
            reader->path, INPUT_BYTES);
    if (reader->coding == CODING_GZIP)
        inflateReset(&reader->gzip);
    if (reader->coding == CODING_ZSTD)
        ZSTD_initDStream(reader->zstd);
    reader->input_at = 0;
    reader->output = reader->decoded;
    reader->output_at = reader->output_end = 0;
    reader->inside_member = reader->output_ended = false;
    reader->is_first = true;
    reader->encoding = (struct encoding_state){.encoding = reader->said_encoding};
    return available(reader, err) < 0 ? -1 : 0;
}

void reader_close(struct reader *reader) {
    if (!reader)
        return;
    if (reader->coding == CODING_GZIP)
        inflateEnd(&reader->gzip);
    ZSTD_freeDStream(reader->zstd);
    if (reader->fd >= 0)
        close(reader->fd);
    free(reader->input);
    free(reader->decoded);
    text_release(&reader->converted);
    free(reader->line);
    free(reader->path);
    free(reader);
}

static size_t copy_plain(struct reader *reader) {
    size_t part = reader->input_end - reader->input_at;
    memcpy(reader->decoded, reader->input + reader->input_at, part); /* OUTPUT_BYTES >= INPUT_BYTES */
    reader->input_at = reader->input_end;
    return part;
}

/* inflate_some - gzip members one after another; zero bytes between or after them are padding. */
static int64_t inflate_some(struct reader *reader, struct err *err) {
    z_stream *z = &reader->gzip;
    if (!reader->inside_member) {
        while (reader->input_at < reader->input_end && reader->input[reader->input_at] == '\0')
            reader->input_at++;
        if (reader->input_at == reader->input_end)
            return 0;
        reader->inside_member = true;
    }
    z->next_in = (Bytef *)reader->input + reader->input_at;
    z->avail_in = (uInt)(reader->input_end - reader->input_at);
    z->next_out = (Bytef *)reader->decoded;
    z->avail_out = OUTPUT_BYTES;
    int status = inflate(z, Z_NO_FLUSH);
    reader->input_at = reader->input_end - z->avail_in;
    if (status == Z_STREAM_END) {
        reader->inside_member = false;
        status = inflateReset(z);
    }
    if (status != Z_OK && status != Z_BUF_ERROR)
        return err_set(err, "cannot decompress '%s' near byte %lld: %s", reader->path,
                       (long long)(reader->consumed_bytes - (int64_t)z->avail_in),
                       z->msg ? z->msg : "damaged gzip data");
    return OUTPUT_BYTES - (int64_t)z->avail_out;
}

/* unzstd_some - frames one after another; a status of 0 says that one has ended and all of it was given. */
static int64_t unzstd_some(struct reader *reader, struct err *err) {
    ZSTD_inBuffer in = {reader->input, reader->input_end, reader->input_at};
    ZSTD_outBuffer out = {reader->decoded, OUTPUT_BYTES, 0};
    size_t status = ZSTD_decompressStream(reader->zstd, &out, &in);
    reader->input_at = in.pos;
    if (ZSTD_isError(status))
        return err_set(err, "cannot decompress '%s' near byte %lld: %s", reader->path,
                       (long long)(reader->consumed_bytes - (int64_t)(in.size - in.pos)),
                       ZSTD_getErrorName(status));
    reader->inside_member = status != 0;
    return (int64_t)out.pos;
}

/* check_first - the first block of what must be text. */
static int check_first(struct reader *reader, size_t length_bytes, struct err *err) {
    struct text_span first = {reader->decoded, length_bytes};
    if (!reader->wants_text || !reader->is_first)
        return 0;
    if (reader->encoding.encoding == ENCODING_UTF8 && encoding_is_utf16(first))
        reader->encoding.encoding = ENCODING_UTF16;
    bool is_utf16 = reader->encoding.encoding >= ENCODING_UTF16;
    const struct content_kind *kind = is_utf16 ? NULL : content_kind_find(first);
    if (kind)
        return err_set(err, "'%s' is %s; %s", reader->path, kind->name, kind->advice);
    return encoding_start(&reader->encoding, first, reader->path, err);
}

/* convert - the decoded block as UTF-8; *length_bytes changes with it. */
static int convert(struct reader *reader, size_t *length_bytes, struct err *err) {
    if (check_first(reader, *length_bytes, err) != 0)
        return -1;
    if (reader->encoding.encoding == ENCODING_UTF8)
        return 0;
    reader->converted.length_bytes = 0;
    encoding_append(&reader->encoding, (struct text_span){reader->decoded, *length_bytes},
                    &reader->converted);
    if (*length_bytes == 0)
        encoding_end(&reader->encoding, &reader->converted);
    reader->output = reader->converted.bytes;
    *length_bytes = reader->converted.length_bytes;
    return 0;
}

/* decode - fill the empty output buffer with at least one byte, or mark the end. */
static int decode(struct reader *reader, struct err *err) {
    int64_t got = 0;
    while (got == 0 && !reader->output_ended) {
        if (reader->input_at == reader->input_end && !reader->input_ended && refill(reader, err) != 0)
            return -1;
        bool is_dry = reader->input_at == reader->input_end;
        if (reader->coding == CODING_PLAIN)
            got = (int64_t)copy_plain(reader);
        else if (!is_dry || reader->inside_member) /* a decoder may keep text back */
            got = reader->coding == CODING_GZIP ? inflate_some(reader, err) : unzstd_some(reader, err);
        if (got < 0)
            return -1;
        if (got == 0 && is_dry && reader->input_ended) {
            if (reader->inside_member)
                return err_set(err, "cannot decompress '%s': it is truncated; fetch it again", reader->path);
            reader->output_ended = true;
        }
    }
    size_t length_bytes = (size_t)got;
    if (convert(reader, &length_bytes, err) != 0)
        return -1;
    bool has_mark = reader->is_first && !reader->is_binary && length_bytes >= 3 &&
                    memcmp(reader->output, "\xEF\xBB\xBF", 3) == 0;
    reader->output_at = has_mark ? 3 : 0; /* a byte order mark is not text */
    reader->output_end = length_bytes;
    reader->is_first = false;
    return 0;
}

/* available - bytes of text ready to be taken; decodes when there are none.  0 at the end, -1 with err set.
 */
static int64_t available(struct reader *reader, struct err *err) {
    while (reader->output_at == reader->output_end && !reader->output_ended)
        if (decode(reader, err) != 0)
            return -1;
    return (int64_t)(reader->output_end - reader->output_at);
}

/* keep - append text to the line buffer, one byte of room for the NUL included. */
static int keep(struct reader *reader, size_t *length, size_t part, size_t max_bytes, struct err *err) {
    if (part > max_bytes || *length > max_bytes - part)
        return err_set(err, "line %lld of '%s' is longer than %zu bytes", (long long)reader->line_number,
                       reader->path, max_bytes);
    if (*length + part + 1 > reader->line_room) {
        reader->line_room = 2 * (*length + part + 1);
        reader->line = xrealloc(reader->line, reader->line_room);
    }
    memcpy(reader->line + *length, reader->output + reader->output_at, part);
    reader->output_at += part;
    *length += part;
    return 0;
}

/* finish - hand the line buffer out. */
static void finish(struct reader *reader, size_t length, char **line, size_t *length_bytes) {
    if (reader->line_room == 0) {
        reader->line_room = 64;
        reader->line = xmalloc(reader->line_room);
    }
    reader->line[length] = '\0';
    *line = reader->line;
    *length_bytes = length;
}

/* A last line without a line feed is a line as well. */
int reader_line(struct reader *reader, size_t max_bytes, char **line, size_t *length_bytes, struct err *err) {
    size_t length = 0;
    bool has_started = false;
    for (;;) {
        int64_t ready = available(reader, err);
        if (ready < 0)
            return -1;
        if (ready == 0 && !has_started)
            return 0;
        if (!has_started)
            reader->line_number++;
        has_started = true;
        if (ready == 0)
            break;
        const char *from = reader->output + reader->output_at;
        const char *feed = memchr(from, '\n', (size_t)ready);
        if (keep(reader, &length, feed ? (size_t)(feed - from) : (size_t)ready, max_bytes, err) != 0)
            return -1;
        if (feed) {
            reader->output_at++;
            break;
        }
    }
    finish(reader, length, line, length_bytes);
    return 1;
}

int reader_rest(struct reader *reader, size_t max_bytes, char **bytes, size_t *length_bytes,
                struct err *err) {
    size_t length = 0;
    for (;;) {
        int64_t ready = available(reader, err);
        if (ready < 0)
            return -1;
        if (ready == 0)
            break;
        if (keep(reader, &length, (size_t)ready, max_bytes, NULL) != 0)
            return err_set(err, "document '%s' is longer than %zu bytes", reader->path, max_bytes);
    }
    finish(reader, length, bytes, length_bytes);
    return 0;
}

int reader_peek(struct reader *reader, struct text_span *ready, struct err *err) {
    int64_t length_bytes = available(reader, err);
    if (length_bytes <= 0)
        return (int)length_bytes;
    *ready = (struct text_span){reader->output + reader->output_at, (size_t)length_bytes};
    return 1;
}

void reader_skip(struct reader *reader, size_t length_bytes) {
    CHECK(length_bytes <= reader->output_end - reader->output_at,
          "%zu bytes are skipped, more than are there", length_bytes);
    reader->output_at += length_bytes;
}

bool reader_is_converted(const struct reader *reader) {
    return reader->encoding.encoding != ENCODING_UTF8;
}

void reader_trim(struct reader *reader) {
    enum { KEPT_BYTES = 4 * MIB };
    if (reader->line_room <= KEPT_BYTES)
        return;
    free(reader->line);
    reader->line = NULL;
    reader->line_room = 0;
}

int64_t reader_line_number(const struct reader *reader) {
    return reader->line_number;
}

int64_t reader_consumed_bytes(const struct reader *reader) {
    return reader->consumed_bytes;
}

/* Of a copy: the state itself goes on. */
void reader_sha256(struct reader *reader, char hex[SHA256_HEX_ROOM]) {
    struct sha256 copy = reader->sha;
    sha256_finish(&copy, hex);
}
