/* loader_fixture.h - token files whose ids say where they come from: file * 2^20 + document * 2^9 + place in the document. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokens/loader.h"
#include "kernels/rng.h"
#include "tests/check.h"

enum { T = 32, NUM_DOCUMENTS = 150, VOCAB = 1 << 23, MAX_LENGTH = 100 };

static char *folder; /* made by the test */

static inline int32_t token_at(int file, int64_t document, int64_t place) {
    return (int32_t)(file << 20 | document << 9 | place);
}

/* length_of - documents of no token, one, exactly T, T + 1, and others up to MAX_LENGTH. */
static inline int64_t length_of(int file, int64_t document) {
    const int64_t special[] = {0, 1, T, T + 1, 0, 0, 1};
    if (document < 7)
        return special[document];
    return (int64_t)rng_below(7, rng_stream(RNG_TEST, (uint64_t)file), (uint64_t)document, MAX_LENGTH + 1);
}

/* counts_in_loss - the mask of every third file-0 document has holes. */
static inline bool counts_in_loss(int file, int64_t document, int64_t place) {
    return file != 0 || document % 3 != 0 || place % 4 != 2;
}

/* write_file - returns its path, freed with free(). */
static inline char *write_file(const char *name, int file, int64_t vocab, const char *hash) {
    struct err err = {{0}};
    char *path = xasprintf("%s/%s", folder, name);
    struct token_writer *writer = token_writer_create(path, hash, vocab, &err);
    int32_t tokens[MAX_LENGTH];
    uint8_t mask[MAX_LENGTH];
    token_writer_add_source(writer, "even", NULL, NULL);
    token_writer_add_source(writer, "odd", NULL, NULL);
    for (int64_t d = 0; d < NUM_DOCUMENTS; d++) {
        for (int64_t i = 0; i < length_of(file, d); i++) {
            tokens[i] = token_at(file, d, i);
            mask[i] = counts_in_loss(file, d, i);
        }
        assert_int_equal(token_writer_append(writer, d % 2, tokens, mask, length_of(file, d), &err), 0);
    }
    assert_int_equal(token_writer_finish(writer, &err), 0);
    return path;
}

static inline int64_t total_tokens(int file) {
    int64_t sum = 0;
    for (int64_t d = 0; d < NUM_DOCUMENTS; d++)
        sum += length_of(file, d);
    return sum;
}

static inline struct loader *open_files(int num_files, const double *weights, int64_t seed,
                                        enum packing packing) {
    struct err err = {{0}};
    struct loader_file files[3];
    char *paths[3];
    for (int i = 0; i < num_files; i++) {
        char name[32];
        snprintf(name, sizeof name, "file%d.h5", i);
        paths[i] = write_file(name, i, VOCAB, "same");
        files[i] = (struct loader_file){paths[i], weights ? weights[i] : 1};
    }
    struct loader_config config = {.files = files,
                                   .num_files = num_files,
                                   .sequence_tokens = T,
                                   .seed = seed,
                                   .packing = packing,
                                   .vocab_size = VOCAB};
    struct loader *loader = loader_open(&config, &err);
    if (!loader)
        fail_msg("%s", err.text);
    for (int i = 0; i < num_files; i++)
        free(paths[i]);
    return loader;
}
