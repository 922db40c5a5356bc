/* tokens.c - reading token files: everything is checked when the file is opened, then tokens are read with
 * pread at the dataset's offset (2 microseconds for a window, a third of what H5Dread takes, and free of
 * HDF5's global lock). The offsets of all documents and their sources are held in memory: 12 bytes per
 * document.  What the file holds and where is known from its seal (tokens_seal.h), or from HDF5 where it has
 * none (tokens_h5.h).  Writing: tokens_writer.c. */
#include "data/tokens/tokens.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/file.h"
#include "data/tokens/tokens_h5.h"
#include "data/tokens/tokens_seal.h"

enum { SAMPLED_BLOCKS = 8 };

struct token_file {
    char *path;
    int fd;
    int64_t size_bytes;
    struct token_facts facts;
    bool has_seal;
    struct token_seal seal;
    int64_t num_documents;
    uint64_t *offsets;         /* [num_documents + 1] */
    uint32_t *document_source; /* [num_documents] */
    uint8_t *sides;            /* [num_documents], enum token_side; NULL: all are plain */
    enum token_preference preference;
};

/* read_part - a whole dataset; malloc'ed, NULL with err set.  Its size was checked against the file's, so a
 * lying count cannot ask for more memory than there are bytes on disk. */
static void *read_part(const struct token_file *file, enum token_part part, struct err *err) {
    size_t size_bytes = (size_t)token_part_bytes(&file->facts, part);
    void *values = xmalloc(size_bytes + 1);
    if (file_read_at(file->fd, file->path, values, size_bytes, file->facts.parts[part].offset_bytes, err) ==
        0)
        return values;
    free(values);
    return NULL;
}

/* check_offsets - from 0, never decreasing, up to the number of tokens. */
static int check_offsets(const struct token_file *file, struct err *err) {
    int64_t num_tokens = token_file_num_tokens(file);
    if (file->offsets[0] != 0)
        return err_set(err, "the first document of '%s' does not start at token 0", file->path);
    for (int64_t i = 0; i < file->num_documents; i++)
        if (file->offsets[i] > file->offsets[i + 1])
            return err_set(err, "document %lld of '%s' ends before it starts", (long long)i, file->path);
    if (file->offsets[file->num_documents] != (uint64_t)num_tokens)
        return err_set(err, "the documents of '%s' end at token %llu, but it holds %lld tokens", file->path,
                       (unsigned long long)file->offsets[file->num_documents], (long long)num_tokens);
    return 0;
}

/* read_documents - where each document begins and which source it is of, checked once here: reading relies on
 * both. */
/* is_pair - two documents whose sides belong together. */
static bool is_pair(uint8_t first, uint8_t second) {
    return first == SIDE_CHOSEN
               ? second == SIDE_REJECTED
               : (first == SIDE_DESIRABLE || first == SIDE_UNDESIRABLE) && second == SIDE_MISMATCHED;
}

/* read_sides - each pair is whole, and all are of one kind: whoever takes two documents at once need not look. */
static int read_sides(struct token_file *file, struct err *err) {
    if (!file->facts.has_sides)
        return 0;
    file->sides = read_part(file, PART_SIDES, err);
    if (!file->sides)
        return -1;
    const uint8_t *sides = file->sides;
    for (int64_t i = 0; i < file->num_documents; i++)
        if (file->offsets[i] == file->offsets[i + 1])
            return err_set(err, "document %lld of '%s' is one of a pair and has no tokens", (long long)i,
                           file->path);
    for (int64_t i = 0; i < file->num_documents; i += 2)
        if (i + 1 == file->num_documents || !is_pair(sides[i], sides[i + 1]) ||
            (sides[i] == SIDE_CHOSEN) != (sides[0] == SIDE_CHOSEN))
            return err_set(err, "document %lld of '%s' has side %u, which makes no pair with the next one",
                           (long long)i, file->path, sides[i]);
    if (file->num_documents > 0)
        file->preference = sides[0] == SIDE_CHOSEN ? PREFERENCE_PAIRS : PREFERENCE_LABELS;
    return 0;
}

static int read_documents(struct token_file *file, struct err *err) {
    file->num_documents = file->facts.parts[PART_SOURCES].count;
    file->offsets = read_part(file, PART_OFFSETS, err);
    if (!file->offsets || check_offsets(file, err) != 0)
        return -1;
    file->document_source = read_part(file, PART_SOURCES, err);
    if (!file->document_source)
        return -1;
    for (int64_t i = 0; i < file->num_documents; i++)
        if (file->document_source[i] >= file->facts.num_sources)
            return err_set(err, "document %lld of '%s' names source %u of %lld", (long long)i, file->path,
                           file->document_source[i], (long long)file->facts.num_sources);
    return read_sides(file, err);
}

/* --- checksums --- */

static int check_block(const struct token_file *file, enum token_part part, int64_t block, struct err *err) {
    return token_seal_check_block(file->fd, file->path, &file->seal, &file->facts, part, block, err);
}

/* check_sample - at most SAMPLED_BLOCKS of a dataset, the first and the last among them. */
static int check_sample(const struct token_file *file, enum token_part part, struct err *err) {
    int64_t count = file->seal.num_blocks[part];
    int64_t taken = count < SAMPLED_BLOCKS ? count : SAMPLED_BLOCKS;
    for (int64_t i = 0; i < taken; i++)
        if (check_block(file, part, taken > 1 ? i * (count - 1) / (taken - 1) : 0, err) != 0)
            return -1;
    return 0;
}

/* check_opened - the structure, and all of what is held in memory; of the rest a sample. */
static int check_opened(const struct token_file *file, struct err *err) {
    if (token_seal_check_structure(file->fd, file->path, &file->seal, &file->facts, err) != 0)
        return -1;
    for (int64_t b = 0; b < file->seal.num_blocks[PART_OFFSETS]; b++)
        if (check_block(file, PART_OFFSETS, b, err) != 0)
            return -1;
    for (int64_t b = 0; b < file->seal.num_blocks[PART_SOURCES]; b++)
        if (check_block(file, PART_SOURCES, b, err) != 0)
            return -1;
    for (int64_t b = 0; b < file->seal.num_blocks[PART_SIDES]; b++)
        if (check_block(file, PART_SIDES, b, err) != 0)
            return -1;
    return check_sample(file, PART_TOKENS, err) == 0 ? check_sample(file, PART_MASK, err) : -1;
}

bool token_file_has_checksums(const struct token_file *file) {
    return file->has_seal;
}

int token_file_verify(const struct token_file *file, int64_t share, int64_t num_shares, struct err *err) {
    CHECK(share >= 0 && share < num_shares, "share %lld of %lld", (long long)share, (long long)num_shares);
    if (!file->has_seal)
        return err_set(err,
                       "cannot verify token file '%s': it holds no checksums, an older version or another "
                       "program wrote it; prepare it again",
                       file->path);
    int64_t number = 0;
    for (int part = 0; part < file->seal.num_parts; part++)
        for (int64_t b = 0; b < file->seal.num_blocks[part]; b++)
            if (number++ % num_shares == share && check_block(file, (enum token_part)part, b, err) != 0)
                return -1;
    return 0;
}

/* Of a file without seal the checksums are made for this: the whole file is read. */
int token_file_content_hash(const struct token_file *file, char hex[TOKEN_CONTENT_ROOM], struct err *err) {
    if (file->has_seal) {
        token_seal_identity(&file->seal, &file->facts, hex);
        return 0;
    }
    struct token_seal made;
    if (token_seal_make(file->fd, file->path, 0, &file->facts, &made, err) != 0)
        return -1;
    token_seal_identity(&made, &file->facts, hex);
    token_seal_release(&made);
    return 0;
}

/* --- places --- */

bool token_file_has_places(const struct token_file *file) {
    return file->facts.has_places;
}

int token_file_read_records(const struct token_file *file, int64_t first, int64_t count, uint64_t *records,
                            struct err *err) {
    CHECK(file->facts.has_places && first >= 0 && count >= 0 && first + count <= file->num_documents,
          "places of documents %lld and %lld after it", (long long)first, (long long)count);
    return file_read_at(file->fd, file->path, records, (size_t)count * sizeof *records,
                        file->facts.parts[PART_RECORDS].offset_bytes + first * (int64_t)sizeof *records, err);
}

char *token_file_read_files(const struct token_file *file, size_t *size_bytes, struct err *err) {
    *size_bytes = (size_t)token_part_bytes(&file->facts, PART_FILES);
    char *text = xmalloc(*size_bytes + 1);
    text[*size_bytes] = '\0';
    if (file_read_at(file->fd, file->path, text, *size_bytes, file->facts.parts[PART_FILES].offset_bytes,
                     err) == 0)
        return text;
    free(text);
    return NULL;
}

/* --- opening --- */

/* check_whole - before HDF5's own words: that it is of HDF5, and as long as its first block says.  Source: HDF5 File Format
 * Specification, "Disk Format: Level 0A": the signature, the version in byte 8, and where the file ends, in 8 bytes as we write. */
static int check_whole(const struct token_file *file, struct err *err) {
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    unsigned char start[48];
    uint64_t end;
    bool is_short = file->size_bytes < (int64_t)sizeof start;
    if (!is_short && file_read_at(file->fd, file->path, start, sizeof start, 0, err) != 0)
        return -1;
    if (is_short || memcmp(start, signature, sizeof signature) != 0)
        return err_set(err, "'%s' is not a token file (%s): 'atelier prepare' makes one of texts", file->path,
                       file->size_bytes == 0 ? "it is empty" : "it does not begin as one of HDF5");
    if (start[8] == 1) /* of a library of before 2003, with the same in another place */
        return 0;
    memcpy(&end, start + (start[8] == 0 ? 40 : 28), sizeof end);
    if (end <= INT64_MAX && (int64_t)end > file->size_bytes)
        return err_set(
            err, "token file '%s' is cut: it has %lld of %lld bytes; copy it again, or prepare it again",
            file->path, (long long)file->size_bytes, (long long)end);
    return 0;
}

/* find_facts - from the seal, or from HDF5. */
static int find_facts(struct token_file *file, struct err *err) {
    int found = token_seal_read(file->fd, file->path, file->size_bytes, &file->seal, &file->facts, err);
    file->has_seal = found == 1;
    if (found == 0 && check_whole(file, err) != 0)
        return -1;
    if (found == 0)
        return token_facts_of_hdf5(file->path, file->size_bytes, &file->facts, err);
    return found < 0 ? -1 : check_opened(file, err);
}

/* The seal before HDF5: a file that has one needs neither the library's parser nor a second process. */
struct token_file *token_file_open(const char *path, struct err *err) {
    struct token_file *file = xcalloc(1, sizeof *file);
    file->path = xstrdup(path);
    file->fd = file_open_read(path, &file->size_bytes, err);
    if (file->fd >= 0 && find_facts(file, err) == 0 && read_documents(file, err) == 0)
        return file;
    token_file_close(file);
    return NULL;
}

void token_file_close(struct token_file *file) {
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    token_seal_release(&file->seal);
    token_facts_release(&file->facts);
    free(file->document_source);
    free(file->sides);
    free(file->offsets);
    free(file->path);
    free(file);
}

const char *token_file_path(const struct token_file *file) {
    return file->path;
}
const char *token_file_tokenizer_hash(const struct token_file *file) {
    return file->facts.tokenizer_hash;
}
int64_t token_file_vocab_size(const struct token_file *file) {
    return file->facts.vocab_size;
}
int64_t token_file_num_tokens(const struct token_file *file) {
    return file->facts.parts[PART_TOKENS].count;
}
int64_t token_file_num_documents(const struct token_file *file) {
    return file->num_documents;
}
bool token_file_has_mask(const struct token_file *file) {
    return file->facts.has_mask;
}
int64_t token_file_num_sources(const struct token_file *file) {
    return file->facts.num_sources;
}
const struct token_source *token_file_source(const struct token_file *file, int64_t source) {
    CHECK(source >= 0 && source < file->facts.num_sources, "source %lld of %lld", (long long)source,
          (long long)file->facts.num_sources);
    return &file->facts.sources[source];
}
const struct token_chat *token_file_chat(const struct token_file *file) {
    return &file->facts.chat;
}
const uint64_t *token_file_offsets(const struct token_file *file) {
    return file->offsets;
}
int64_t token_file_document_source(const struct token_file *file, int64_t document) {
    CHECK(document >= 0 && document < file->num_documents, "document %lld of %lld", (long long)document,
          (long long)file->num_documents);
    return file->document_source[document];
}

enum token_preference token_file_preference(const struct token_file *file) {
    return file->preference;
}
enum token_side token_file_side(const struct token_file *file, int64_t document) {
    CHECK(document >= 0 && document < file->num_documents, "document %lld of %lld", (long long)document,
          (long long)file->num_documents);
    return file->sides ? (enum token_side)file->sides[document] : SIDE_PLAIN;
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

int64_t token_last_not_above(const uint64_t *starts, int64_t count, uint64_t position) {
    int64_t low = 0, high = count;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (starts[middle] <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* document_of - the document that holds this token. */
static int64_t document_of(const struct token_file *file, int64_t token) {
    return token_last_not_above(file->offsets, file->num_documents, (uint64_t)token);
}

/* Ids are read to the end of the caller's buffer and widened from there in place: no second buffer, and 16-bit
 * files cost half the reading.  Every id is compared with the vocabulary: one beyond it would read other memory as
 * an embedding. */
int token_file_read(const struct token_file *file, int64_t first, int64_t count, int32_t *tokens,
                    uint8_t *mask, struct err *err) {
    const struct h5_dataset *place = &file->facts.parts[PART_TOKENS];
    CHECK(first >= 0 && count >= 0 && count <= place->count - first, "tokens %lld + %lld of %lld",
          (long long)first, (long long)count, (long long)place->count);
    int64_t width = (int64_t)h5_type_bytes(place->type);
    char *to = (char *)tokens + (4 - width) * count;
    if (file_read_at(file->fd, file->path, to, (size_t)(count * width), place->offset_bytes + first * width,
                     err) != 0)
        return -1;
    if (width == 2)
        widen(tokens, count);
    for (int64_t i = 0; i < count; i++)
        if ((uint32_t)tokens[i] >= (uint32_t)file->facts.vocab_size)
            return err_set(err, "token id %u in document %lld of '%s' is outside the vocabulary of %lld",
                           (uint32_t)tokens[i], (long long)document_of(file, first + i), file->path,
                           (long long)file->facts.vocab_size);
    if (!mask)
        return 0;
    if (!file->facts.has_mask) {
        memset(mask, 1, (size_t)count);
        return 0;
    }
    if (file_read_at(file->fd, file->path, mask, (size_t)count,
                     file->facts.parts[PART_MASK].offset_bytes + first, err) != 0)
        return -1;
    for (int64_t i = 0; i < count; i++) /* whatever a foreign writer put there, the loader multiplies by it */
        mask[i] = mask[i] != 0;
    return 0;
}
