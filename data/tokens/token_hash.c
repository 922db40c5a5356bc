/* token_hash.c - see token_hash.h. */
#include "data/tokens/token_hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Tokens that are read at once; a longer document is read by itself. */
enum { READ_TOKENS = 1 << 18 };

static void hash_ids(const int32_t *ids, int64_t count, char hex[TOKEN_CONTENT_ROOM]) {
    XXH128_hash_t hash = XXH3_128bits(ids, (size_t)count * sizeof *ids);
    snprintf(hex, TOKEN_CONTENT_ROOM, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

int token_document_hash(const struct token_file *file, int64_t document, char hex[TOKEN_CONTENT_ROOM],
                        struct err *err) {
    const uint64_t *offsets = token_file_offsets(file) + document;
    int64_t count = (int64_t)(offsets[1] - offsets[0]);
    int32_t *ids = xmalloc((size_t)count * sizeof *ids + 1);
    int status = token_file_read(file, (int64_t)offsets[0], count, ids, NULL, err);
    if (status == 0)
        hash_ids(ids, count, hex);
    free(ids);
    return status;
}

/* The documents that were found. */
struct found_documents {
    int64_t *documents, count;
};

/* look - at documents [first, end), whose ids are there. */
static void look(const struct token_file *file, int64_t first, int64_t end, const int32_t *ids,
                 const uint64_t wanted[2], struct found_documents *found) {
    const uint64_t *offsets = token_file_offsets(file);
    for (int64_t d = first; d < end; d++) {
        XXH128_hash_t hash = XXH3_128bits(ids + (offsets[d] - offsets[first]),
                                          (size_t)(offsets[d + 1] - offsets[d]) * sizeof *ids);
        if (hash.high64 != wanted[0] || hash.low64 != wanted[1])
            continue;
        found->documents = xrealloc(found->documents, (size_t)(found->count + 1) * sizeof *found->documents);
        found->documents[found->count++] = d;
    }
}

int64_t token_find_hash(const struct token_file *file, const char *hex, int64_t **documents,
                        struct err *err) {
    const uint64_t *offsets = token_file_offsets(file);
    int64_t num_documents = token_file_num_documents(file), room = READ_TOKENS, end;
    struct found_documents found = {.documents = NULL};
    char half[17] = "";
    memcpy(half, hex, 16);
    const uint64_t wanted[2] = {strtoull(half, NULL, 16), strtoull(hex + 16, NULL, 16)};
    int32_t *ids = xmalloc((size_t)room * sizeof *ids);
    int status = 0;
    for (int64_t first = 0; first < num_documents && status == 0; first = end) {
        for (end = first + 1; end < num_documents && offsets[end + 1] - offsets[first] <= READ_TOKENS;)
            end++;
        int64_t count = (int64_t)(offsets[end] - offsets[first]);
        if (count > room) {
            room = count;
            ids = xrealloc(ids, (size_t)room * sizeof *ids);
        }
        status = token_file_read(file, (int64_t)offsets[first], count, ids, NULL, err);
        if (status == 0)
            look(file, first, end, ids, wanted, &found);
    }
    free(ids);
    *documents = found.documents;
    if (status == 0)
        return found.count;
    free(found.documents);
    *documents = NULL;
    return -1;
}
