/* fuzz_tokens_h5.c - libFuzzer target of the token file: a good file with some bytes changed opens or is
 * refused, and what opens can be read without a crash.  The input is a list of changes, three bytes each:
 * offset (16 bits) and value; a last odd byte cuts the file.
 *
 * Most of what runs here is libhdf5, which is not instrumented and has crashes of its own for damaged files:
 * a crash whose stack ends in libhdf5 is HDF5's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/reader.h"
#include "data/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
const char *__asan_default_options(void);
const char *__lsan_default_suppressions(void);

/* libhdf5 asks for whatever size a damaged file says; it copes with being refused. */
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1:max_allocation_size_mb=512";
}

/* ... and forgets some of its own blocks on its error paths. */
const char *__lsan_default_suppressions(void) {
    return "leak:libhdf5";
}

/* good_file - the bytes of a token file with two sources and three documents. */
static char *good_file(size_t *length_bytes) {
    const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const uint8_t mask[] = {1, 0, 1, 0, 1, 1, 1, 1};
    struct err err = {{0}};
    char path[] = "/tmp/fuzz_tokens_XXXXXX", *bytes;
    int fd = mkstemp(path);
    CHECK(fd >= 0, "cannot make a file in /tmp");
    close(fd);
    struct token_writer *writer = token_writer_create(path, "0123456789abcdef", 100, &err);
    CHECK(writer, "%s", err.text);
    token_writer_add_source(writer, "one", "licence", "https://example.org");
    token_writer_add_source(writer, "two", NULL, NULL);
    bool is_written = token_writer_append(writer, 0, tokens, mask, 3, &err) == 0 &&
                      token_writer_append(writer, 1, tokens + 3, NULL, 0, &err) == 0 &&
                      token_writer_append(writer, 1, tokens + 3, NULL, 5, &err) == 0;
    CHECK(token_writer_finish(writer, &err) == 0 && is_written, "%s", err.text);
    struct reader *reader = reader_open(path, &err);
    CHECK(reader && reader_rest(reader, 1 << 20, &bytes, length_bytes, &err) == 0, "%s", err.text);
    char *copy = xmalloc(*length_bytes);
    memcpy(copy, bytes, *length_bytes);
    reader_close(reader);
    unlink(path);
    return copy;
}

/* read_everything - every document by itself; ids outside the vocabulary are an error, not a crash. */
static void read_everything(const struct token_file *file) {
    const uint64_t *offsets = token_file_offsets(file);
    for (int64_t d = 0; d < token_file_num_documents(file); d++) {
        struct err err;
        int64_t count = (int64_t)(offsets[d + 1] - offsets[d]);
        int32_t *tokens = xcalloc((size_t)count, sizeof *tokens);
        uint8_t *mask = xcalloc((size_t)count, 1);
        if (token_file_read(file, (int64_t)offsets[d], count, tokens, mask, &err) == 0)
            for (int64_t i = 0; i < count; i++)
                CHECK(tokens[i] >= 0 && tokens[i] < token_file_vocab_size(file) && mask[i] <= 1,
                      "a bad token");
        CHECK(token_file_source(file, token_file_document_source(file, d))->name, "a source without a name");
        free(tokens);
        free(mask);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    static char *good; /* made once; libFuzzer's process keeps it */
    static size_t good_bytes;
    struct err err;
    char path[64];
    if (!good)
        good = good_file(&good_bytes);
    size_t length_bytes = good_bytes;
    char *bytes = xmalloc(good_bytes);
    memcpy(bytes, good, good_bytes);
    for (size_t i = 0; i + 3 <= size_bytes; i += 3)
        bytes[(size_t)(data[i] << 8 | data[i + 1]) % good_bytes] = (char)data[i + 2];
    if (size_bytes % 3 == 1)
        length_bytes = good_bytes * data[size_bytes - 1] / 256;
    int fd = memfd_create("fuzz", 0);
    CHECK(fd >= 0 && write(fd, bytes, length_bytes) == (ssize_t)length_bytes, "cannot write to memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct token_file *file = token_file_open(path, &err);
    if (file)
        read_everything(file);
    token_file_close(file);
    close(fd);
    free(bytes);
    return 0;
}
