/* tokens_writer.c - writing token files.  A contiguous dataset needs its length when it is created, and the
 * length is known only at the end: documents go to side files first (path.partial.tokens and so on), which
 * are then copied once into the HDF5 file.  Memory stays bounded whatever the corpus; the disk holds the
 * tokens twice for a moment.
 *
 * The loss mask gets its side file when the first token that does not count appears. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/file.h"
#include "data/tokens/tokens_seal.h"
#include "kernels/units.h"

#ifndef ATELIER_VERSION
#define ATELIER_VERSION "unversioned"
#endif

enum { COPY_BYTES = MIB, WIDEST_UINT16 = 65536, NARROW_ROOM = 1 << 14 };

/* Suffixes of the side files, one for each dataset that grows. */
static const char *const SUFFIXES[NUM_PARTS] = {"tokens", "offsets", "sources", "mask",
                                                "sides",  "records", "files"};

struct side_file {
    char *path;
    FILE *stream; /* NULL: not there */
};

struct token_writer {
    char *path, *partial_path;
    bool is_ours; /* what lies under partial_path and its sides is this writer's */
    char *tokenizer_hash;
    int64_t vocab_size;
    struct side_file sides[NUM_PARTS];
    uint16_t narrow[NARROW_ROOM]; /* scratch */
    int64_t num_tokens, num_documents, num_sides, num_sources;
    int64_t num_records, files_bytes;
    char *last_file, *last_unit; /* of the document before, where places are written */
    struct token_source *sources;
    struct token_chat chat;
};

/* open_side - what is written goes to the end that the file has then: after another process made it shorter, a write at a place of
 * our own would leave zeros before it, and the size would be right. */
static int open_side(struct token_writer *writer, enum token_part side, struct err *err) {
    struct side_file *file = &writer->sides[side];
    file->stream = file_create_stream(file->path, err);
    if (file->stream && fcntl(fileno(file->stream), F_SETFL, O_APPEND) != 0)
        return err_set(err, "cannot write '%s': %s", file->path, strerror(errno));
    return file->stream ? 0 : -1;
}

/* is_alone - the open side is locked by this writer, and still the file of its name. */
static bool is_alone(const struct side_file *side) {
    struct stat opened, named;
    int fd = fileno(side->stream);
    bool is_busy = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    return !is_busy && fstat(fd, &opened) == 0 && stat(side->path, &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/* claim - the tokens' side, locked while it is open: two that write one file would each remove what the other one has written.
 * What an earlier one left behind nobody has locked, and it is replaced.  Where the file system has no locks there is none. */
static int claim(struct token_writer *writer, struct err *err) {
    struct side_file *side = &writer->sides[PART_TOKENS];
    int there = open(side->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool is_busy = there >= 0 && flock(there, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    int status = is_busy ? 0 : open_side(writer, PART_TOKENS, err);
    if (side->stream && !is_alone(side)) {
        fclose(side->stream); /* what is under its name is the other one's */
        side->stream = NULL;
        is_busy = true;
    }
    if (there >= 0)
        close(there);
    writer->is_ours = side->stream != NULL;
    return is_busy
               ? err_set(
                     err,
                     "'%s' is being written by another process: wait for it, end it, or name another output",
                     writer->path)
               : status;
}

/* append - items at the end of a side file. */
static int append(struct token_writer *writer, enum token_part side, const void *items, size_t size_bytes,
                  struct err *err) {
    struct side_file *file = &writer->sides[side];
    if (size_bytes > 0 && fwrite(items, 1, size_bytes, file->stream) != size_bytes)
        return err_set(err, "cannot write '%s': %s", file->path, strerror(errno));
    return 0;
}

/* The first offset, 0, is there from the beginning; each document then adds its end. */
struct token_writer *token_writer_create(const char *path, const char *tokenizer_hash, int64_t vocab_size,
                                         struct err *err) {
    CHECK(vocab_size > 0 && vocab_size <= INT32_MAX, "vocabulary of %lld", (long long)vocab_size);
    struct token_writer *writer = xcalloc(1, sizeof *writer);
    const uint64_t first_offset = 0;
    writer->path = xstrdup(path);
    writer->partial_path = xasprintf("%s.partial", path);
    writer->tokenizer_hash = xstrdup(tokenizer_hash);
    writer->vocab_size = vocab_size;
    for (int side = 0; side < NUM_PARTS; side++)
        writer->sides[side].path = xasprintf("%s.%s", writer->partial_path, SUFFIXES[side]);
    if (file_check_regular(path, err) != 0 || claim(writer, err) != 0 ||
        open_side(writer, PART_OFFSETS, err) != 0 || open_side(writer, PART_SOURCES, err) != 0 ||
        append(writer, PART_OFFSETS, &first_offset, sizeof first_offset, err) != 0) {
        token_writer_abandon(writer);
        return NULL;
    }
    return writer;
}

int64_t token_writer_add_source(struct token_writer *writer, const char *name, const char *licence,
                                const char *url) {
    int64_t row = writer->num_sources++;
    writer->sources = xrealloc(writer->sources, (size_t)writer->num_sources * sizeof *writer->sources);
    writer->sources[row] = (struct token_source){.name = xstrdup(name ? name : ""),
                                                 .licence = xstrdup(licence ? licence : ""),
                                                 .url = xstrdup(url ? url : ""),
                                                 .sha256 = xstrdup("")};
    return row;
}

struct token_chat *token_writer_chat(struct token_writer *writer) {
    return &writer->chat;
}

struct token_source *token_writer_source(struct token_writer *writer, int64_t source) {
    CHECK(source >= 0 && source < writer->num_sources, "source %lld of %lld", (long long)source,
          (long long)writer->num_sources);
    return &writer->sources[source];
}

/* append_tokens - narrowed to 16 bits where the vocabulary allows it. */
static int append_tokens(struct token_writer *writer, const int32_t *tokens, int64_t count, struct err *err) {
    for (int64_t i = 0; i < count; i++)
        CHECK(tokens[i] >= 0 && tokens[i] < writer->vocab_size, "token id %d outside the vocabulary of %lld",
              tokens[i], (long long)writer->vocab_size);
    if (writer->vocab_size > WIDEST_UINT16)
        return append(writer, PART_TOKENS, tokens, (size_t)count * sizeof *tokens, err);
    for (int64_t done = 0; done < count; done += NARROW_ROOM) {
        int64_t piece = count - done < NARROW_ROOM ? count - done : NARROW_ROOM;
        for (int64_t i = 0; i < piece; i++)
            writer->narrow[i] = (uint16_t)tokens[done + i];
        if (append(writer, PART_TOKENS, writer->narrow, (size_t)piece * sizeof *writer->narrow, err) != 0)
            return -1;
    }
    return 0;
}

/* append_ones - count bytes of 1 to the mask. */
static int append_ones(struct token_writer *writer, int64_t count, struct err *err) {
    uint8_t ones[4096];
    memset(ones, 1, sizeof ones);
    for (int64_t done = 0; done < count; done += (int64_t)sizeof ones) {
        int64_t left = count - done;
        if (append(writer, PART_MASK, ones, left < (int64_t)sizeof ones ? (size_t)left : sizeof ones, err) !=
            0)
            return -1;
    }
    return 0;
}

/* append_mask - most corpora have none, and their file then costs no byte per token for it. */
static int append_mask(struct token_writer *writer, const uint8_t *mask, int64_t count, struct err *err) {
    bool has_zero = mask && memchr(mask, 0, (size_t)count) != NULL;
    if (!writer->sides[PART_MASK].stream) {
        if (!has_zero)
            return 0;
        if (open_side(writer, PART_MASK, err) != 0 || append_ones(writer, writer->num_tokens, err) != 0)
            return -1;
    }
    if (!mask)
        return append_ones(writer, count, err);
    return append(writer, PART_MASK, mask, (size_t)count, err);
}

/* The mask first: its side file may begin here, and then wants the ones of all tokens before. */
int token_writer_append(struct token_writer *writer, int64_t source, const int32_t *tokens,
                        const uint8_t *mask, int64_t count, struct err *err) {
    struct token_source *facts = token_writer_source(writer, source);
    uint32_t row = (uint32_t)source;
    if (append_mask(writer, mask, count, err) != 0 || append_tokens(writer, tokens, count, err) != 0)
        return -1;
    writer->num_tokens += count;
    uint64_t end = (uint64_t)writer->num_tokens;
    if (append(writer, PART_OFFSETS, &end, sizeof end, err) != 0 ||
        append(writer, PART_SOURCES, &row, sizeof row, err) != 0)
        return -1;
    writer->num_documents++;
    facts->num_documents++;
    facts->num_tokens += count;
    return 0;
}

int token_writer_append_side(struct token_writer *writer, enum token_side side, struct err *err) {
    uint8_t value = (uint8_t)side;
    if (!writer->sides[PART_SIDES].stream && open_side(writer, PART_SIDES, err) != 0)
        return -1;
    writer->num_sides++;
    return append(writer, PART_SIDES, &value, sizeof value, err);
}

/* append_file - the text of doc_files: where documents of another file begin. */
static int append_file(struct token_writer *writer, const struct token_place *place, struct err *err) {
    char *line = xasprintf("%lld\t%s\t%s", (long long)writer->num_records, place->unit, place->file);
    size_t size_bytes = strlen(line) + 1; /* a NUL ends it: no name holds one */
    int status = append(writer, PART_FILES, line, size_bytes, err);
    writer->files_bytes += (int64_t)size_bytes;
    free(line);
    free(writer->last_file);
    free(writer->last_unit);
    writer->last_file = xstrdup(place->file);
    writer->last_unit = xstrdup(place->unit);
    return status;
}

int token_writer_append_place(struct token_writer *writer, const struct token_place *place, struct err *err) {
    uint64_t number = (uint64_t)place->number;
    if (!writer->sides[PART_RECORDS].stream &&
        (open_side(writer, PART_RECORDS, err) != 0 || open_side(writer, PART_FILES, err) != 0))
        return -1;
    bool is_same = writer->last_file && strcmp(writer->last_file, place->file) == 0 &&
                   strcmp(writer->last_unit, place->unit) == 0;
    if (!is_same && append_file(writer, place, err) != 0)
        return -1;
    writer->num_records++;
    return append(writer, PART_RECORDS, &number, sizeof number, err);
}

/* write_chat - for other readers of the file; HDF5 holds no longer attributes. */
static int write_chat(const struct token_writer *writer, struct h5_file *h5, struct err *err) {
    enum { LONGEST_ATTRIBUTE_BYTES = 60000 };
    const struct token_chat *chat = &writer->chat;
    if (h5_write_text(h5, "chat_style", chat->style, err) != 0 ||
        h5_write_number(h5, "chat_end_id", chat->end_id, err) != 0 ||
        (chat->date && h5_write_text(h5, "chat_date", chat->date, err) != 0) ||
        (chat->train_on && h5_write_text(h5, "chat_train_on", chat->train_on, err) != 0))
        return -1;
    return strlen(chat->template_text) <= LONGEST_ATTRIBUTE_BYTES
               ? h5_write_text(h5, "chat_template", chat->template_text, err)
               : 0;
}

/* reserve_datasets - the structure of the file, with space for what the side files hold. */
static int reserve_datasets(struct token_writer *writer, struct h5_file *h5,
                            struct h5_dataset datasets[NUM_PARTS], struct err *err) {
    const enum h5_type types[NUM_PARTS] = {writer->vocab_size > WIDEST_UINT16 ? H5_UINT32 : H5_UINT16,
                                           H5_UINT64,
                                           H5_UINT32,
                                           H5_UINT8,
                                           H5_UINT8,
                                           H5_UINT64,
                                           H5_UINT8};
    const int64_t counts[NUM_PARTS] = {writer->num_tokens, writer->num_documents + 1, writer->num_documents,
                                       writer->num_tokens, writer->num_sides,         writer->num_records,
                                       writer->files_bytes};
    CHECK(writer->num_sides == 0 || writer->num_sides == writer->num_documents,
          "%lld sides of %lld documents", (long long)writer->num_sides, (long long)writer->num_documents);
    CHECK(writer->num_records == 0 || writer->num_records == writer->num_documents,
          "%lld places of %lld documents", (long long)writer->num_records, (long long)writer->num_documents);
    for (int side = 0; side < NUM_PARTS; side++)
        if (writer->sides[side].stream && h5_reserve(h5, token_part_name((enum token_part)side), types[side],
                                                     counts[side], &datasets[side], err) != 0)
            return -1;
    if (h5_write_text(h5, "format", "atelier-tokens 1", err) != 0 ||
        h5_write_text(h5, "tokenizer_hash", writer->tokenizer_hash, err) != 0 ||
        h5_write_number(h5, "vocab_size", writer->vocab_size, err) != 0 ||
        h5_write_number(h5, "sealed", 1, err) != 0 ||
        h5_write_text(h5, "created_by", "atelier " ATELIER_VERSION, err) != 0)
        return -1;
    return writer->chat.style ? write_chat(writer, h5, err) : 0;
}

/* write_text_columns - the strings of /sources. */
static int write_text_columns(struct token_writer *writer, struct h5_file *h5, struct err *err) {
    const size_t places[] = {offsetof(struct token_source, name), offsetof(struct token_source, licence),
                             offsetof(struct token_source, url), offsetof(struct token_source, sha256)};
    const char *const names[] = {"sources/name", "sources/licence", "sources/url", "sources/sha256"};
    const char **column = xcalloc((size_t)writer->num_sources, sizeof *column);
    int status = h5_make_group(h5, "sources", err);
    for (int c = 0; status == 0 && c < 4; c++) {
        for (int64_t i = 0; i < writer->num_sources; i++)
            memcpy(&column[i], (char *)&writer->sources[i] + places[c], sizeof column[i]);
        status = h5_write_strings(h5, names[c], column, writer->num_sources, err);
    }
    free(column);
    return status;
}

/* The counts of /sources: reserved like the large datasets, written with them. */
enum { NUM_COUNTS = 4 };
static const char *const COUNT_NAMES[NUM_COUNTS] = {"sources/documents", "sources/tokens",
                                                    "sources/duplicates", "sources/invalid_utf8"};

static int reserve_counts(struct token_writer *writer, struct h5_file *h5,
                          struct h5_dataset counts[NUM_COUNTS], struct err *err) {
    for (int c = 0; c < NUM_COUNTS; c++)
        if (h5_reserve(h5, COUNT_NAMES[c], H5_UINT64, writer->num_sources, &counts[c], err) != 0)
            return -1;
    return 0;
}

/* write_counts - as plain bytes, like the large datasets: HDF5 was closed when its room was reserved. */
static int write_counts(struct token_writer *writer, int fd, const struct h5_dataset counts[NUM_COUNTS],
                        struct err *err) {
    for (int64_t i = 0; i < writer->num_sources; i++) {
        const struct token_source *s = &writer->sources[i];
        const int64_t values[NUM_COUNTS] = {s->num_documents, s->num_tokens, s->num_duplicates,
                                            s->num_invalid_utf8};
        for (int c = 0; c < NUM_COUNTS; c++)
            if (file_write_at(fd, writer->partial_path, &values[c], sizeof values[c],
                              counts[c].offset_bytes + 8 * i, err) != 0)
                return -1;
    }
    return 0;
}

/* rewind_side - all of it is written, and it is as long as what was written. */
static int rewind_side(const struct side_file *file, int64_t size_bytes, struct err *err) {
    struct stat found;
    if (fflush(file->stream) != 0 || fseeko(file->stream, 0, SEEK_SET) != 0 ||
        fstat(fileno(file->stream), &found) != 0)
        return err_set(err, "cannot write '%s': %s", file->path, strerror(errno));
    return (int64_t)found.st_size == size_bytes
               ? 0
               : err_set(
                     err,
                     "'%s' has %lld bytes, and %lld were written: another process changed it meanwhile; find "
                     "out which, and prepare again",
                     file->path, (long long)found.st_size, (long long)size_bytes);
}

/* copy_side - a whole side file to its dataset. */
static int copy_side(struct token_writer *writer, int fd, enum token_part side,
                     const struct h5_dataset *dataset, struct err *err) {
    struct side_file *file = &writer->sides[side];
    int64_t left = dataset->count * (int64_t)h5_type_bytes(dataset->type),
            offset_bytes = dataset->offset_bytes;
    char *buffer = xmalloc(COPY_BYTES);
    int status = rewind_side(file, left, err);
    while (status == 0 && left > 0) {
        size_t part = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        if (fread(buffer, 1, part, file->stream) != part)
            status = err_set(err, "cannot read back '%s': %s", file->path,
                             ferror(file->stream) ? strerror(errno) : "it became shorter");
        else
            status = file_write_at(fd, writer->partial_path, buffer, part, offset_bytes, err);
        left -= (int64_t)part;
        offset_bytes += (int64_t)part;
    }
    free(buffer);
    return status;
}

/* fill - the data of all datasets. */
static int fill(struct token_writer *writer, int fd, const struct h5_dataset datasets[NUM_PARTS],
                const struct h5_dataset counts[NUM_COUNTS], struct err *err) {
    int status = write_counts(writer, fd, counts, err);
    for (int side = 0; status == 0 && side < NUM_PARTS; side++)
        if (writer->sides[side].stream)
            status = copy_side(writer, fd, (enum token_part)side, &datasets[side], err);
    return status;
}

/* put_seal - checksums of what the file holds now, after its end. */
static int put_seal(struct token_writer *writer, int fd, const struct h5_dataset datasets[NUM_PARTS],
                    struct err *err) {
    struct token_seal seal;
    struct text bytes = {0};
    struct token_facts facts = {.tokenizer_hash = writer->tokenizer_hash,
                                .vocab_size = writer->vocab_size,
                                .has_mask = writer->sides[PART_MASK].stream != NULL,
                                .has_sides = writer->sides[PART_SIDES].stream != NULL,
                                .has_places = writer->sides[PART_RECORDS].stream != NULL,
                                .sources = writer->sources,
                                .num_sources = writer->num_sources,
                                .chat = writer->chat};
    memcpy(facts.parts, datasets, sizeof facts.parts);
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0)
        return err_set(err, "cannot write '%s': %s", writer->partial_path, strerror(errno));
    if (token_seal_make(fd, writer->partial_path, end, &facts, &seal, err) != 0)
        return -1;
    token_seal_encode(&seal, &facts, &bytes);
    token_seal_release(&seal);
    int status = file_write_at(fd, writer->partial_path, bytes.bytes, bytes.length_bytes, end, err);
    text_release(&bytes);
    return status;
}

/* complete - what HDF5 left room for, the seal, and fsync. */
static int complete(struct token_writer *writer, const struct h5_dataset datasets[NUM_PARTS],
                    const struct h5_dataset counts[NUM_COUNTS], struct err *err) {
    int fd = open(writer->partial_path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, "cannot write '%s': %s", writer->partial_path, strerror(errno));
    int status = fill(writer, fd, datasets, counts, err);
    if (status == 0)
        status = put_seal(writer, fd, datasets, err);
    if (status == 0 && fsync(fd) != 0)
        status = err_set(err, "cannot write '%s': %s", writer->partial_path, strerror(errno));
    if (close(fd) != 0 && status == 0)
        status = err_set(err, "cannot write '%s': %s", writer->partial_path, strerror(errno));
    return status;
}

/* assemble - path.partial, complete and on disk. */
static int assemble(struct token_writer *writer, struct err *err) {
    struct h5_dataset datasets[NUM_PARTS] = {{0}}, counts[NUM_COUNTS] = {{0}};
    struct err ignored;
    FILE *fresh = file_create_stream(writer->partial_path, err); /* HDF5 would write through a link */
    struct h5_file *h5 = fresh ? h5_create(writer->partial_path, err) : NULL;
    if (fresh)
        fclose(fresh);
    if (!h5)
        return -1;
    int status = reserve_datasets(writer, h5, datasets, err);
    if (status == 0)
        status = write_text_columns(writer, h5, err);
    if (status == 0)
        status = reserve_counts(writer, h5, counts, err);
    if (h5_close(h5, status == 0 ? err : &ignored) != 0)
        status = -1;
    return status == 0 ? complete(writer, datasets, counts, err) : -1;
}

/* sync_folder - makes the rename itself survive a crash; file systems that cannot are left alone. */
static void sync_folder(const char *path) {
    char *copy = xstrdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

/* The name is given last: a file under it is complete. */
int token_writer_finish(struct token_writer *writer, struct err *err) {
    int status = assemble(writer, err);
    if (status == 0 && rename(writer->partial_path, writer->path) != 0)
        status = err_set(err, "cannot rename '%s' to '%s': %s", writer->partial_path, writer->path,
                         strerror(errno));
    if (status == 0)
        sync_folder(writer->path);
    token_writer_abandon(writer);
    return status;
}

void token_writer_abandon(struct token_writer *writer) {
    if (!writer)
        return;
    for (int side = 0; side < NUM_PARTS; side++) {
        if (writer->sides[side].stream) {
            fclose(writer->sides[side].stream);
            unlink(writer->sides[side].path);
        }
        free(writer->sides[side].path);
    }
    if (writer->is_ours)
        unlink(writer->partial_path); /* gone already after a rename */
    for (int64_t i = 0; i < writer->num_sources; i++) {
        free(writer->sources[i].name);
        free(writer->sources[i].licence);
        free(writer->sources[i].url);
        free(writer->sources[i].sha256);
    }
    free(writer->sources);
    free(writer->last_file);
    free(writer->last_unit);
    free(writer->tokenizer_hash);
    free(writer->chat.style);
    free(writer->chat.template_text);
    free(writer->chat.date);
    free(writer->chat.train_on);
    free(writer->partial_path);
    free(writer->path);
    free(writer);
}
