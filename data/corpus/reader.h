/* reader.h - a file of text as a stream, whatever it is compressed with: plain, gzip, zstd, told by its first
 * bytes.  Memory stays bounded: fixed buffers, and one line or document whose limit the caller sets. */
#pragma once

#include "data/corpus/encoding.h"
#include "data/sha256.h"

struct reader;

/* reader_open - returns NULL with err set: not a readable regular file.  reader_close - NULL is fine. */
struct reader *reader_open(const char *path, struct err *err);
void reader_close(struct reader *reader);

/* reader_open_text - the same for what must be text in this encoding; reads its first block.  Also NULL with
 * err set: what the file is instead of text, or that it is not compressed as its name says, and what to do. */
struct reader *reader_open_text(const char *path, enum text_encoding encoding, struct err *err);

/* What a reader reads where it does not have a file of its own: fills bytes, at most room_bytes of them, and returns how many, 0 at the end, or -1
 * with err set. */
struct reader_part {
    int64_t (*read)(void *user, char *bytes, size_t room_bytes, struct err *err);
    void *user;
    int64_t size_bytes;
};

/* reader_open_part - as reader_open_text, of a part of something that is open itself; name stands for its path.  Its SHA-256 is not
 * made.  reader_rewind - back to its beginning, as long as little of it was read.  Returns 0, or -1 with err set: too much was. */
struct reader *reader_open_part(const char *name, struct reader_part part, enum text_encoding encoding,
                                struct err *err);
int reader_rewind(struct reader *reader, struct err *err);

/* reader_open_binary - as reader_open, of what is no text: compressed as its name says, or NULL with err set. */
struct reader *reader_open_binary(const char *path, struct err *err);

/* reader_line - the next line without its line feed; borrowed until the next call, writable, NUL-terminated.
 * Returns 1, 0 at the end, or -1 with err set: I/O error, damaged or truncated
 * compressed data, or a line longer than max_bytes (it is named). */
int reader_line(struct reader *reader, size_t max_bytes, char **line, size_t *length_bytes, struct err *err);

/* reader_rest - everything up to the end, like a line.  Returns 0 or -1. */
int reader_rest(struct reader *reader, size_t max_bytes, char **bytes, size_t *length_bytes, struct err *err);

/* reader_peek - text that is ready, a byte of it at least; borrowed until anything else is asked of the reader.  Returns 1, 0
 * at the end, or -1 with err set, as reader_line.  reader_skip - step over so much of it. */
int reader_peek(struct reader *reader, struct text_span *ready, struct err *err);
void reader_skip(struct reader *reader, size_t length_bytes);

/* reader_named_coding - "gzip" or "zstd", the program whose file it is by its name (.gz, .tgz, .zst); NULL: neither. */
const char *reader_named_coding(const char *path);

/* reader_unnamed_coding - "gzip" or "zstd" where the file is compressed and its name does not end in .gz or .zst, else
 * NULL. */
const char *reader_unnamed_coding(const struct reader *reader);

/* reader_is_converted - the text comes in another encoding than the file has. */
bool reader_is_converted(const struct reader *reader);

/* reader_trim - give back the memory of a line or document that was large; what was borrowed is gone. */
void reader_trim(struct reader *reader);

/* reader_line_number - of the line last returned, from 1. */
int64_t reader_line_number(const struct reader *reader);
/* reader_consumed_bytes - taken from the file so far, as stored: what a progress bar needs. */
int64_t reader_consumed_bytes(const struct reader *reader);
/* reader_sha256 - of the file as stored, once everything has been read. */
void reader_sha256(struct reader *reader, char hex[SHA256_HEX_ROOM]);
