/* fuzz_tokens_h5.c - libFuzzer target of the token file: a good file with some bytes changed opens or is
 * refused, and what opens can be read without a crash.  The input is a byte that says where the changes go, and a
 * list of changes, three bytes each: offset (16 bits) and value; a last odd byte cuts the file.
 *
 *   0  anywhere in the file, as an accident does
 *   1  in the seal, whose own checksum is made right again: hostile facts and tables
 *   2  in the HDF5 part, which is sealed again: hostile tokens, offsets, rows, masks
 *   3  in a file without a seal, which HDF5 reads in a child process: a crash there must stay there (this takes
 *      milliseconds, so only one such input in sixteen is run) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

#include "data/corpus/reader.h"
#include "data/file.h"
#include "data/tokens/token_places.h"
#include "data/tokens/tokens.h"
#include "data/tokens/tokens_seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
const char *__asan_default_options(void);
const char *__lsan_default_suppressions(void);

/* In the child libhdf5 asks for whatever size a damaged file says; it copes with being refused. */
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
    const struct token_place one = {"one.jsonl", "line", 3}, two = {"two.txt", "file", 0};
    bool is_written = token_writer_append(writer, 0, tokens, mask, 3, &err) == 0 &&
                      token_writer_append_place(writer, &one, &err) == 0 &&
                      token_writer_append(writer, 1, tokens + 3, NULL, 0, &err) == 0 &&
                      token_writer_append_place(writer, &two, &err) == 0 &&
                      token_writer_append(writer, 1, tokens + 3, NULL, 5, &err) == 0 &&
                      token_writer_append_place(writer, &two, &err) == 0;
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
        free(token_place_text(file, d));
    }
}

enum place { ANYWHERE, IN_SEAL, IN_DATA, WITHOUT_SEAL, NUM_PLACES };

/* The good file, made once; libFuzzer's process keeps it. */
struct good {
    char *bytes;
    size_t length_bytes, hdf5_bytes;
    struct token_facts facts;
};

static void make_good(struct good *good) {
    struct err err = {{0}};
    struct token_seal seal;
    good->bytes = good_file(&good->length_bytes);
    int fd = memfd_create("good", 0);
    CHECK(write(fd, good->bytes, good->length_bytes) == (ssize_t)good->length_bytes,
          "cannot write to memory");
    CHECK(token_seal_read(fd, "good", (int64_t)good->length_bytes, &seal, &good->facts, &err) == 1, "%s",
          err.text);
    good->hdf5_bytes = (size_t)seal.hdf5_bytes;
    token_seal_release(&seal);
    close(fd);
}

/* disown - the attribute "sealed" becomes 0: the value after its name, its type and its shape. */
static void disown(const struct good *good, char *bytes) {
    enum { NEAR_BYTES = 64 };
    static const char one[8] = {1};
    char *name = memmem(bytes, good->hdf5_bytes, "sealed", 6);
    char *value = name ? memmem(name + 8, NEAR_BYTES, one, sizeof one) : NULL;
    CHECK(value, "the attribute 'sealed' is not where it was");
    *value = 0;
}

/* change - the bytes from first on, up to end. */
static void change(char *bytes, size_t first, size_t end, const uint8_t *data, size_t size_bytes) {
    for (size_t i = 0; i + 3 <= size_bytes; i += 3)
        bytes[first + (size_t)(data[i] << 8 | data[i + 1]) % (end - first)] = (char)data[i + 2];
}

/* fix_seal - the footer's checksum fits the changed seal: bytes of it, hash, magic. */
static void fix_seal(const struct good *good, char *bytes) {
    enum { FOOTER_BYTES = 24 };
    size_t body = good->length_bytes - good->hdf5_bytes - FOOTER_BYTES;
    uint64_t hash = XXH3_64bits(bytes + good->hdf5_bytes, body);
    memcpy(bytes + good->length_bytes - 16, &hash, sizeof hash);
}

/* seal_again - checksums of what the file holds now. */
static void seal_again(const struct good *good, int fd) {
    struct err err;
    struct token_seal seal;
    struct text bytes = {0};
    CHECK(token_seal_make(fd, "good", (int64_t)good->hdf5_bytes, &good->facts, &seal, &err) == 0, "%s",
          err.text);
    token_seal_encode(&seal, &good->facts, &bytes);
    CHECK(pwrite(fd, bytes.bytes, bytes.length_bytes, (off_t)good->hdf5_bytes) == (ssize_t)bytes.length_bytes,
          "cannot write to memory");
    token_seal_release(&seal);
    text_release(&bytes);
}

/* use - open it by its path, verify, read. */
static void use(int fd) {
    struct err err;
    char path[64], hex[TOKEN_CONTENT_ROOM];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct token_file *file = token_file_open(path, &err);
    if (file) {
        token_file_verify(file, 0, 1, &err);
        token_file_content_hash(file, hex, &err);
        read_everything(file);
    }
    token_file_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    static struct good good;
    if (!good.bytes)
        make_good(&good);
    if (size_bytes < 1 || (data[0] % NUM_PLACES == WITHOUT_SEAL && data[0] / NUM_PLACES % 16 != 0))
        return 0;
    enum place place = (enum place)(data[0] % NUM_PLACES);
    size_t length_bytes = place == WITHOUT_SEAL ? good.hdf5_bytes : good.length_bytes;
    char *bytes = xmalloc(good.length_bytes);
    memcpy(bytes, good.bytes, good.length_bytes);
    if (place == WITHOUT_SEAL)
        disown(&good, bytes);
    if (place == IN_SEAL)
        change(bytes, good.hdf5_bytes, good.length_bytes, data + 1, size_bytes - 1);
    else
        change(bytes, 0, place == ANYWHERE ? good.length_bytes : good.hdf5_bytes, data + 1, size_bytes - 1);
    if (place == IN_SEAL)
        fix_seal(&good, bytes);
    if (place == ANYWHERE && size_bytes % 3 == 2)
        length_bytes = length_bytes * data[size_bytes - 1] / 256;
    int fd = memfd_create("fuzz", 0);
    CHECK(fd >= 0 && write(fd, bytes, length_bytes) == (ssize_t)length_bytes, "cannot write to memory");
    if (place == IN_DATA)
        seal_again(&good, fd);
    use(fd);
    close(fd);
    free(bytes);
    return 0;
}
