/* prepare_fixture.h - what the tests of prepare work with: corpora written in each compression, a job with one source,
 * and the documents of its output as text. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "data/corpus/prepare.h"
#include "data/tokens/tokens.h"
#include "tests/check.h"
#include "tests/tiny_tokenizer.h"

/* Both made by main. */
static char *folder;
static struct tokenizer *tok;

static inline char *path_of(const char *name) {
    return xasprintf("%s/%s", folder, name);
}

static inline void write_bytes(const char *name, const void *bytes, size_t length_bytes) {
    char *path = path_of(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length_bytes, file), length_bytes);
    fclose(file);
    free(path);
}

static inline void write_text(const char *name, const char *text) {
    write_bytes(name, text, strlen(text));
}

static inline void write_gzip(const char *name, const char *text, int num_members) {
    char *path = path_of(name);
    size_t n = strlen(text);
    for (int m = 0; m < num_members; m++) { /* members one after another are one text */
        gzFile file = gzopen(path, m ? "ab" : "wb");
        size_t from = n * (size_t)m / (size_t)num_members, to = n * (size_t)(m + 1) / (size_t)num_members;
        assert_int_equal(gzwrite(file, text + from, (unsigned)(to - from)), (int)(to - from));
        gzclose(file);
    }
    free(path);
}

/* write_zstd - in frames; cut_bytes at the end are left out. */
static inline void write_zstd(const char *name, const char *text, int num_frames, size_t cut_bytes) {
    size_t n = strlen(text), room = ZSTD_compressBound(n) + 1000, used = 0;
    char *bytes = xmalloc(room);
    for (int f = 0; f < num_frames; f++) {
        size_t from = n * (size_t)f / (size_t)num_frames, to = n * (size_t)(f + 1) / (size_t)num_frames;
        used += ZSTD_compress(bytes + used, room - used, text + from, to - from, 3);
    }
    write_bytes(name, bytes, used - cut_bytes);
    free(bytes);
}

/* outputs - files of the folder whose names start with "out". */
static inline int outputs(void) {
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += strncmp(entry->d_name, "out", 3) == 0;
    closedir(dir);
    return count;
}

/* a job with one source; what differs is set by the caller. */
struct job {
    struct prepare_config config;
    struct prepare_source source;
    struct prepare_totals totals;
    char *output;
    struct err err;
};

static inline struct job job_for(const char *input) {
    struct job job = {.source = {.path = path_of(input)}};
    static char name[] = "source", tokenizer[] = "tiny";
    job.source.name = name;
    job.output = path_of("out.h5");
    job.config = (struct prepare_config){.tokenizer = tokenizer,
                                         .output = job.output,
                                         .num_sources = 1,
                                         .num_threads = 2,
                                         .deduplicate = true};
    return job;
}

static inline int run(struct job *job) {
    job->config.sources = &job->source;
    return prepare_run(&job->config, tok, NULL, NULL, &job->totals, &job->err);
}

static inline void run_well(struct job *job) {
    if (run(job) != 0)
        fail_msg("%s", job->err.text);
}

static inline void release(struct job *job) {
    unlink(job->output);
    free(job->output);
    free(job->source.path);
}

/* fails - the job ends with these in its message, and no output, complete or partial. */
static inline void fails(struct job *job, const char *a, const char *b) {
    assert_int_equal(run(job), -1);
    if (!strstr(job->err.text, a) || !strstr(job->err.text, b))
        fail_msg("expected '%s' and '%s' in '%s'", a, b, job->err.text);
    assert_int_equal(outputs(), 0);
    release(job);
}

/* document_text - one document of the output as text, special tokens included. */
static inline char *document_text(const char *path, int64_t document) {
    struct err err = {{0}};
    struct token_file *file = token_file_open(path, &err);
    if (!file)
        fail_msg("%s", err.text);
    const uint64_t *offsets = token_file_offsets(file);
    int64_t count = (int64_t)(offsets[document + 1] - offsets[document]);
    int32_t *ids = xcalloc((size_t)count, sizeof *ids);
    assert_int_equal(token_file_read(file, (int64_t)offsets[document], count, ids, NULL, &err), 0);
    char *text = tokenizer_decode(tok, ids, count, false, NULL);
    free(ids);
    token_file_close(file);
    return text;
}

static inline void check_document(const char *path, int64_t document, const char *want) {
    char *text = document_text(path, document);
    assert_string_equal(text, want);
    free(text);
}
