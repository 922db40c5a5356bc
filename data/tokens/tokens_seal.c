/* tokens_seal.c - checksums of a token file: made, written after it, read and compared. */
#include "data/tokens/tokens_seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "data/file.h"
#include "kernels/units.h"

enum {
    BLOCK_BYTES = MIB,
    VERSION_PLAIN = 1,
    VERSION_SIDES = 2,
    VERSION_PLACES = 3,
    FOOTER_BYTES = 24,
    HEAD_NUMBERS = 4
};
static const char MAGIC[8] = {'\x89', 'A', 'T', 'L', 'S', 'E', 'A', 'L'};

void token_seal_release(struct token_seal *seal) {
    for (int part = 0; part < NUM_PARTS; part++)
        free(seal->blocks[part]);
    *seal = (struct token_seal){0};
}

static int64_t blocks_of(const struct token_facts *facts, enum token_part part) {
    return (token_part_bytes(facts, part) + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

/* --- hashing the file --- */

/* hash_block - one block, whose place follows from its number: a window of tokens can be checked without the rest. */
static int hash_block(int fd, const char *path, const struct token_facts *facts, enum token_part part,
                      int64_t block, uint64_t *hash, struct err *err) {
    int64_t first = block * BLOCK_BYTES, left = token_part_bytes(facts, part) - first;
    size_t size_bytes = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
    char *bytes = xmalloc(size_bytes);
    int status = file_read_at(fd, path, bytes, size_bytes, facts->parts[part].offset_bytes + first, err);
    if (status == 0)
        *hash = XXH3_64bits(bytes, size_bytes);
    free(bytes);
    return status;
}

static int compare_places(const void *a, const void *b) {
    const struct h5_dataset *x = a, *y = b;
    return x->offset_bytes < y->offset_bytes ? -1 : x->offset_bytes > y->offset_bytes;
}

/* hash_range - add the bytes from first up to end to a hash. */
static int hash_range(int fd, const char *path, int64_t first, int64_t end, XXH3_state_t *state,
                      struct err *err) {
    char *bytes = xmalloc(BLOCK_BYTES);
    int status = 0;
    while (status == 0 && first < end) {
        size_t piece = end - first < BLOCK_BYTES ? (size_t)(end - first) : BLOCK_BYTES;
        status = file_read_at(fd, path, bytes, piece, first, err);
        if (status == 0)
            XXH3_64bits_update(state, bytes, piece);
        first += (int64_t)piece;
    }
    free(bytes);
    return status;
}

/* hash_structure - HDF5's own bytes: where a dataset stands, and of what type, must not change unnoticed.  That is:
 * everything up to hdf5_bytes that is not in one of the large datasets. */
static int hash_structure(int fd, const char *path, int64_t hdf5_bytes, const struct token_facts *facts,
                          uint64_t *hash, struct err *err) {
    struct h5_dataset places[NUM_PARTS];
    XXH3_state_t *state = XXH3_createState();
    CHECK(state, "out of memory for a hash");
    XXH3_64bits_reset(state);
    memcpy(places, facts->parts, sizeof places);
    qsort(places, NUM_PARTS, sizeof places[0], compare_places);
    int64_t at = 0;
    int status = 0;
    for (int i = 0; status == 0 && i < NUM_PARTS; i++) {
        if (places[i].count == 0)
            continue;
        if (places[i].offset_bytes < at)
            status = err_set(err, "cannot use token file '%s': its datasets overlap", path);
        else
            status = hash_range(fd, path, at, places[i].offset_bytes, state, err);
        at = places[i].offset_bytes + places[i].count * (int64_t)h5_type_bytes(places[i].type);
    }
    if (status == 0)
        status = hash_range(fd, path, at, hdf5_bytes, state, err);
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return status;
}

/* --- checking --- */

/* damaged - always with a way out: nothing in a token file can be repaired. */
static int damaged(const char *path, const char *what, struct err *err) {
    return err_set(err,
                   "token file '%s' is damaged: %s not as it was written (checksum); copy it again, or "
                   "prepare it again",
                   path, what);
}

int token_seal_check_structure(int fd, const char *path, const struct token_seal *seal,
                               const struct token_facts *facts, struct err *err) {
    uint64_t found = 0;
    if (hash_structure(fd, path, seal->hdf5_bytes, facts, &found, err) != 0)
        return -1;
    return found == seal->structure ? 0 : damaged(path, "its structure is", err);
}

/* One block of one dataset: a MiB, so that opening a file costs little and a whole check can be shared out. */
int token_seal_check_block(int fd, const char *path, const struct token_seal *seal,
                           const struct token_facts *facts, enum token_part part, int64_t block,
                           struct err *err) {
    uint64_t found = 0;
    char what[128];
    CHECK(block >= 0 && block < seal->num_blocks[part], "block %lld", (long long)block);
    if (hash_block(fd, path, facts, part, block, &found, err) != 0)
        return -1;
    if (found == seal->blocks[part][block])
        return 0;
    snprintf(what, sizeof what, "block %lld of %lld of dataset '%s' is", (long long)block + 1,
             (long long)seal->num_blocks[part], token_part_name(part));
    return damaged(path, what, err);
}

/* --- making --- */

/* Reads the whole file: it is asked for once, when a file is written, or of one without a seal. */
int token_seal_make(int fd, const char *path, int64_t hdf5_bytes, const struct token_facts *facts,
                    struct token_seal *seal, struct err *err) {
    *seal = (struct token_seal){.num_parts = token_facts_num_parts(facts), .hdf5_bytes = hdf5_bytes};
    int status = hash_structure(fd, path, hdf5_bytes, facts, &seal->structure, err);
    for (int p = 0; p < seal->num_parts; p++) {
        enum token_part part = (enum token_part)p;
        seal->num_blocks[part] = blocks_of(facts, part);
        seal->blocks[part] = xcalloc((size_t)seal->num_blocks[part] + 1, sizeof(uint64_t));
        for (int64_t b = 0; status == 0 && b < seal->num_blocks[part]; b++)
            status = hash_block(fd, path, facts, part, b, &seal->blocks[part][b], err);
    }
    if (status != 0)
        token_seal_release(seal);
    return status;
}

/* version_of - files that lack what newer ones have are as those of older versions, which read them. */
static int64_t version_of(const struct token_facts *facts) {
    if (facts->has_places)
        return VERSION_PLACES;
    return facts->has_sides ? VERSION_SIDES : VERSION_PLAIN;
}

/* The length and the magic number stand last: the seal is found from the end of the file, whatever HDF5 wrote before. */
void token_seal_encode(const struct token_seal *seal, const struct token_facts *facts, struct text *bytes) {
    const int64_t head[HEAD_NUMBERS] = {version_of(facts), seal->hdf5_bytes, (int64_t)seal->structure,
                                        BLOCK_BYTES};
    struct text body = {0};
    text_append(&body, head, sizeof head);
    for (int part = 0; part < seal->num_parts; part++) {
        text_append(&body, &seal->num_blocks[part], sizeof seal->num_blocks[part]);
        text_append(&body, seal->blocks[part], (size_t)seal->num_blocks[part] * sizeof(uint64_t));
    }
    token_facts_encode(facts, &body);
    const uint64_t footer[2] = {body.length_bytes, XXH3_64bits(body.bytes, body.length_bytes)};
    text_append(bytes, body.bytes, body.length_bytes);
    text_append(bytes, footer, sizeof footer);
    text_append(bytes, MAGIC, sizeof MAGIC);
    text_release(&body);
}

/* --- reading --- */

/* take_blocks - the lists of hashes; a count is believed as far as there are bytes for it. */
static bool take_blocks(struct text_span *from, struct token_seal *seal) {
    for (int part = 0; part < seal->num_parts; part++) {
        int64_t count = 0;
        if (!text_take(from, &count, sizeof count) || count < 0 ||
            (uint64_t)count > from->length_bytes / sizeof(uint64_t))
            return false;
        seal->num_blocks[part] = count;
        seal->blocks[part] = xcalloc((size_t)count + 1, sizeof(uint64_t));
        text_take(from, seal->blocks[part], (size_t)count * sizeof(uint64_t));
    }
    return true;
}

/* decode - a seal whose own hash is right. */
static int decode(struct text_span from, const char *path, int64_t seal_offset, struct token_seal *seal,
                  struct token_facts *facts, struct err *err) {
    int64_t head[HEAD_NUMBERS] = {0};
    bool is_whole = text_take(&from, head, sizeof head);
    static const int num_parts[] = {
        [VERSION_PLAIN] = PART_SIDES, [VERSION_SIDES] = PART_SIDES + 1, [VERSION_PLACES] = NUM_PARTS};
    bool is_known = head[0] >= VERSION_PLAIN && head[0] <= VERSION_PLACES;
    if (is_whole && (!is_known || head[3] != BLOCK_BYTES))
        return err_set(err, "token file '%s' has checksums of version %lld; this program reads %d to %d",
                       path, (long long)head[0], VERSION_PLAIN, VERSION_PLACES);
    *seal = (struct token_seal){.num_parts = is_known ? num_parts[head[0]] : 0,
                                .hdf5_bytes = head[1],
                                .structure = (uint64_t)head[2]};
    if (!is_whole || seal->hdf5_bytes != seal_offset || !take_blocks(&from, seal))
        return damaged(path, "its table of checksums is", err);
    if (token_facts_decode(facts, from, seal->hdf5_bytes, path, err) != 0)
        return -1;
    if (token_facts_num_parts(facts) != seal->num_parts)
        return damaged(path, "its table of checksums is", err);
    for (int part = 0; part < seal->num_parts; part++)
        if (seal->num_blocks[part] != blocks_of(facts, (enum token_part)part))
            return damaged(path, "its table of checksums is", err);
    return 1;
}

/* read_body - the seal's bytes, malloc'ed; NULL with err set. */
static char *read_body(int fd, const char *path, int64_t file_bytes, const uint64_t footer[2],
                       struct err *err) {
    if (footer[0] > (uint64_t)(file_bytes - FOOTER_BYTES)) {
        damaged(path, "its table of checksums is", err);
        return NULL;
    }
    char *body = xmalloc(footer[0] + 1);
    int status = file_read_at(fd, path, body, footer[0], file_bytes - FOOTER_BYTES - (int64_t)footer[0], err);
    if (status == 0 && XXH3_64bits(body, footer[0]) != footer[1])
        status = damaged(path, "its table of checksums is", err);
    if (status == 0)
        return body;
    free(body);
    return NULL;
}

/* 1: there is a seal; 0: the file does not end in one, as those of older versions and other programs; -1: it ends
 * in one that is damaged, which no file may pass for one without. */
int token_seal_read(int fd, const char *path, int64_t file_bytes, struct token_seal *seal,
                    struct token_facts *facts, struct err *err) {
    char bytes[FOOTER_BYTES];
    uint64_t footer[2];
    *seal = (struct token_seal){0};
    *facts = (struct token_facts){0};
    if (file_bytes < FOOTER_BYTES)
        return 0;
    if (file_read_at(fd, path, bytes, sizeof bytes, file_bytes - FOOTER_BYTES, err) != 0)
        return -1;
    if (memcmp(bytes + sizeof footer, MAGIC, sizeof MAGIC) != 0)
        return 0;
    memcpy(footer, bytes, sizeof footer);
    char *body = read_body(fd, path, file_bytes, footer, err);
    if (!body)
        return -1;
    int status = decode((struct text_span){body, footer[0]}, path,
                        file_bytes - FOOTER_BYTES - (int64_t)footer[0], seal, facts, err);
    free(body);
    if (status < 0) {
        token_seal_release(seal);
        token_facts_release(facts);
    }
    return status;
}

/* Of the datasets and the tokenizer alone: the same corpus has the same identity whichever version wrote the file. */
void token_seal_identity(const struct token_seal *seal, const struct token_facts *facts,
                         char hex[TOKEN_CONTENT_ROOM]) {
    XXH3_state_t *state = XXH3_createState();
    CHECK(state, "out of memory for a hash");
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, facts->tokenizer_hash, strlen(facts->tokenizer_hash));
    XXH3_128bits_update(state, &facts->vocab_size, sizeof facts->vocab_size);
    for (int part = 0; part < token_facts_num_learnt(facts); part++) {
        XXH3_128bits_update(state, &facts->parts[part].count, sizeof facts->parts[part].count);
        XXH3_128bits_update(state, seal->blocks[part], (size_t)seal->num_blocks[part] * sizeof(uint64_t));
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(hex, TOKEN_CONTENT_ROOM, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}
