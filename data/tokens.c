/* tokens.c - reading token files: everything is checked when the file is opened, then tokens are read with
 * pread at the dataset's offset (2 microseconds for a window, a third of what H5Dread takes, and free of
 * HDF5's global lock). The offsets of all documents and their sources are held in memory: 12 bytes per
 * document.  Writing: tokens_writer.c. */
#include "data/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/h5.h"

enum { MAX_SOURCES = 1 << 20, MAX_STRINGS_BYTES = 64 << 20 };

struct token_file {
    char *path;
    int fd;
    char *tokenizer_hash;
    int64_t vocab_size, num_documents, num_sources;
    struct h5_dataset tokens, mask;
    bool has_mask;
    uint64_t *offsets;            /* [num_documents + 1] */
    uint32_t *document_source;    /* [num_documents] */
    struct token_source *sources; /* [num_sources] */
};

/* read_at - exactly size_bytes at offset_bytes. */
static int read_at(const struct token_file *file, void *buffer, size_t size_bytes, int64_t offset_bytes,
                   struct err *err) {
    char *to = buffer;
    while (size_bytes > 0) {
        ssize_t got = pread(file->fd, to, size_bytes, offset_bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, "cannot read token file '%s': %s", file->path,
                           got < 0 ? strerror(errno) : "it ended early; was it replaced while in use?");
        to += got;
        size_bytes -= (size_t)got;
        offset_bytes += got;
    }
    return 0;
}

/* read_dataset - a whole dataset of one type; malloc'ed, NULL with err set.  Its size was checked against the
 * file's, so a lying count cannot ask for more memory than there are bytes on disk. */
static void *read_dataset(const struct token_file *file, const struct h5_file *h5, const char *name,
                          enum h5_type type, int64_t *count, struct err *err) {
    struct h5_dataset found;
    if (h5_find(h5, name, &found, err) != 0)
        return NULL;
    if (found.type != type) {
        err_set(err, "dataset '%s' in '%s' has elements of %zu bytes where %zu belong", name, file->path,
                h5_type_bytes(found.type), h5_type_bytes(type));
        return NULL;
    }
    size_t size_bytes = (size_t)found.count * h5_type_bytes(type);
    void *values = xmalloc(size_bytes);
    if (read_at(file, values, size_bytes, found.offset_bytes, err) != 0) {
        free(values);
        return NULL;
    }
    *count = found.count;
    return values;
}

/* read_header - the attributes. */
static int read_header(struct token_file *file, const struct h5_file *h5, struct err *err) {
    char *format = h5_read_text(h5, "format", err);
    if (!format)
        return err_prefix(err, "'%s' is not a token file", file->path);
    bool is_known = strcmp(format, "atelier-tokens 1") == 0;
    if (!is_known)
        err_set(err, "'%s' has format '%.40s'; this version reads 'atelier-tokens 1'", file->path, format);
    free(format);
    if (!is_known)
        return -1;
    file->tokenizer_hash = h5_read_text(h5, "tokenizer_hash", err);
    if (!file->tokenizer_hash || h5_read_number(h5, "vocab_size", &file->vocab_size, err) != 0)
        return -1;
    if (file->vocab_size < 1 || file->vocab_size > INT32_MAX)
        return err_set(err, "token file '%s' has a vocabulary of %lld entries", file->path,
                       (long long)file->vocab_size);
    return 0;
}

/* find_tokens - where tokens and mask lie. */
static int find_tokens(struct token_file *file, const struct h5_file *h5, struct err *err) {
    if (h5_find(h5, "tokens", &file->tokens, err) != 0)
        return -1;
    if (file->tokens.type != H5_UINT16 && file->tokens.type != H5_UINT32)
        return err_set(err, "dataset 'tokens' in '%s' has elements of %zu bytes where 2 or 4 belong",
                       file->path, h5_type_bytes(file->tokens.type));
    file->has_mask = h5_has(h5, "loss_mask");
    if (!file->has_mask)
        return 0;
    if (h5_find(h5, "loss_mask", &file->mask, err) != 0)
        return -1;
    if (file->mask.type != H5_UINT8 || file->mask.count != file->tokens.count)
        return err_set(err, "dataset 'loss_mask' in '%s' does not have one byte for each token", file->path);
    return 0;
}

/* check_offsets - from 0, never decreasing, up to the number of tokens. */
static int check_offsets(const struct token_file *file, struct err *err) {
    if (file->offsets[0] != 0)
        return err_set(err, "the first document of '%s' does not start at token 0", file->path);
    for (int64_t i = 0; i < file->num_documents; i++)
        if (file->offsets[i] > file->offsets[i + 1])
            return err_set(err, "document %lld of '%s' ends before it starts", (long long)i, file->path);
    if (file->offsets[file->num_documents] != (uint64_t)file->tokens.count)
        return err_set(err, "the documents of '%s' end at token %llu, but it holds %lld tokens", file->path,
                       (unsigned long long)file->offsets[file->num_documents], (long long)file->tokens.count);
    return 0;
}

static int read_documents(struct token_file *file, const struct h5_file *h5, struct err *err) {
    int64_t num_offsets = 0, num_rows = 0;
    file->offsets = read_dataset(file, h5, "doc_offsets", H5_UINT64, &num_offsets, err);
    if (!file->offsets)
        return -1;
    if (num_offsets < 1)
        return err_set(err, "dataset 'doc_offsets' in '%s' is empty", file->path);
    file->num_documents = num_offsets - 1;
    if (check_offsets(file, err) != 0)
        return -1;
    file->document_source = read_dataset(file, h5, "doc_source", H5_UINT32, &num_rows, err);
    if (!file->document_source)
        return -1;
    if (num_rows != file->num_documents)
        return err_set(err, "dataset 'doc_source' in '%s' has %lld rows for %lld documents", file->path,
                       (long long)num_rows, (long long)file->num_documents);
    for (int64_t i = 0; i < num_rows; i++)
        if (file->document_source[i] >= file->num_sources)
            return err_set(err, "document %lld of '%s' names source %u of %lld", (long long)i, file->path,
                           file->document_source[i], (long long)file->num_sources);
    return 0;
}

/* The columns of /sources, with the place of each in struct token_source. */
static const struct {
    const char *name;
    size_t place;
} TEXT_COLUMNS[] = {{"sources/name", offsetof(struct token_source, name)},
                    {"sources/licence", offsetof(struct token_source, licence)},
                    {"sources/url", offsetof(struct token_source, url)},
                    {"sources/sha256", offsetof(struct token_source, sha256)}},
  COUNT_COLUMNS[] = {{"sources/documents", offsetof(struct token_source, num_documents)},
                     {"sources/tokens", offsetof(struct token_source, num_tokens)},
                     {"sources/duplicates", offsetof(struct token_source, num_duplicates)},
                     {"sources/invalid_utf8", offsetof(struct token_source, num_invalid_utf8)}};

/* read_text_column - one string per source; the first column read says how many sources there are. */
static int read_text_column(struct token_file *file, const struct h5_file *h5, int column, struct err *err) {
    char **strings = NULL;
    int64_t count = h5_read_strings(h5, TEXT_COLUMNS[column].name, MAX_STRINGS_BYTES, &strings, err);
    if (count < 0)
        return -1;
    bool is_first = !file->sources;
    if (is_first && count <= MAX_SOURCES) {
        file->num_sources = count;
        file->sources = xcalloc((size_t)count, sizeof *file->sources);
    }
    bool fits = file->sources && count == file->num_sources;
    for (int64_t i = 0; i < count; i++) {
        if (fits)
            memcpy((char *)&file->sources[i] + TEXT_COLUMNS[column].place, &strings[i], sizeof strings[i]);
        else
            free(strings[i]);
    }
    free(strings);
    if (!fits)
        return err_set(err, "dataset '%s' in '%s' has %lld rows, expected %lld", TEXT_COLUMNS[column].name,
                       file->path, (long long)count, (long long)file->num_sources);
    return 0;
}

static int read_count_column(struct token_file *file, const struct h5_file *h5, int column, struct err *err) {
    int64_t count = 0;
    uint64_t *values = read_dataset(file, h5, COUNT_COLUMNS[column].name, H5_UINT64, &count, err);
    if (!values)
        return -1;
    bool fits = count == file->num_sources;
    for (int64_t i = 0; fits && i < count; i++)
        memcpy((char *)&file->sources[i] + COUNT_COLUMNS[column].place, &values[i], sizeof values[i]);
    free(values);
    if (!fits)
        return err_set(err, "dataset '%s' in '%s' has %lld rows, expected %lld", COUNT_COLUMNS[column].name,
                       file->path, (long long)count, (long long)file->num_sources);
    return 0;
}

static int read_sources(struct token_file *file, const struct h5_file *h5, struct err *err) {
    for (int c = 0; c < (int)(sizeof TEXT_COLUMNS / sizeof TEXT_COLUMNS[0]); c++)
        if (read_text_column(file, h5, c, err) != 0)
            return -1;
    for (int c = 0; c < (int)(sizeof COUNT_COLUMNS / sizeof COUNT_COLUMNS[0]); c++)
        if (read_count_column(file, h5, c, err) != 0)
            return -1;
    return 0;
}

struct token_file *token_file_open(const char *path, struct err *err) {
    struct token_file *file = xcalloc(1, sizeof *file);
    struct h5_file *h5 = NULL;
    file->path = xstrdup(path);
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0) {
        err_set(err, "cannot open token file '%s': %s", path, strerror(errno));
        goto fail;
    }
    h5 = h5_open(path, err);
    if (!h5)
        goto fail;
    if (read_header(file, h5, err) != 0 || find_tokens(file, h5, err) != 0 ||
        read_sources(file, h5, err) != 0 || read_documents(file, h5, err) != 0)
        goto fail;
    h5_close(h5, NULL);
    return file;
fail:
    h5_close(h5, NULL);
    token_file_close(file);
    return NULL;
}

void token_file_close(struct token_file *file) {
    if (!file)
        return;
    for (int64_t i = 0; i < file->num_sources; i++) {
        free(file->sources[i].name);
        free(file->sources[i].licence);
        free(file->sources[i].url);
        free(file->sources[i].sha256);
    }
    if (file->fd >= 0)
        close(file->fd);
    free(file->sources);
    free(file->document_source);
    free(file->offsets);
    free(file->tokenizer_hash);
    free(file->path);
    free(file);
}

const char *token_file_path(const struct token_file *file) {
    return file->path;
}
const char *token_file_tokenizer_hash(const struct token_file *file) {
    return file->tokenizer_hash;
}
int64_t token_file_vocab_size(const struct token_file *file) {
    return file->vocab_size;
}
int64_t token_file_num_tokens(const struct token_file *file) {
    return file->tokens.count;
}
int64_t token_file_num_documents(const struct token_file *file) {
    return file->num_documents;
}
bool token_file_has_mask(const struct token_file *file) {
    return file->has_mask;
}
int64_t token_file_num_sources(const struct token_file *file) {
    return file->num_sources;
}
const struct token_source *token_file_source(const struct token_file *file, int64_t source) {
    CHECK(source >= 0 && source < file->num_sources, "source %lld of %lld", (long long)source,
          (long long)file->num_sources);
    return &file->sources[source];
}
const uint64_t *token_file_offsets(const struct token_file *file) {
    return file->offsets;
}
int64_t token_file_document_source(const struct token_file *file, int64_t document) {
    CHECK(document >= 0 && document < file->num_documents, "document %lld of %lld", (long long)document,
          (long long)file->num_documents);
    return file->document_source[document];
}

/* widen - uint16 values that fill the second half of the buffer become int32 in place: element i is written
 * at bytes 4i .. 4i+3 and elements after it are read from 2 count + 2i + 2 on, which is never to the left. */
static void widen(int32_t *tokens, int64_t count) {
    const char *narrow = (const char *)tokens + 2 * count;
    for (int64_t i = 0; i < count; i++) {
        uint16_t value;
        memcpy(&value, narrow + 2 * i, sizeof value);
        tokens[i] = value;
    }
}

/* document_of - the document that holds this token: binary search for the last offset not above it. */
static int64_t document_of(const struct token_file *file, int64_t token) {
    int64_t low = 0, high = file->num_documents;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (file->offsets[middle] <= (uint64_t)token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int token_file_read(const struct token_file *file, int64_t first, int64_t count, int32_t *tokens,
                    uint8_t *mask, struct err *err) {
    CHECK(first >= 0 && count >= 0 && count <= file->tokens.count - first, "tokens %lld + %lld of %lld",
          (long long)first, (long long)count, (long long)file->tokens.count);
    int64_t width = (int64_t)h5_type_bytes(file->tokens.type);
    char *to = (char *)tokens + (4 - width) * count;
    if (read_at(file, to, (size_t)(count * width), file->tokens.offset_bytes + first * width, err) != 0)
        return -1;
    if (width == 2)
        widen(tokens, count);
    for (int64_t i = 0; i < count; i++)
        if ((uint32_t)tokens[i] >= (uint32_t)file->vocab_size)
            return err_set(err, "token id %u in document %lld of '%s' is outside the vocabulary of %lld",
                           (uint32_t)tokens[i], (long long)document_of(file, first + i), file->path,
                           (long long)file->vocab_size);
    if (!mask)
        return 0;
    if (!file->has_mask) {
        memset(mask, 1, (size_t)count);
        return 0;
    }
    if (read_at(file, mask, (size_t)count, file->mask.offset_bytes + first, err) != 0)
        return -1;
    for (int64_t i = 0; i < count; i++) /* whatever a foreign writer put there, the loader multiplies by it */
        mask[i] = mask[i] != 0;
    return 0;
}
