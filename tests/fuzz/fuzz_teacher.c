/* fuzz_teacher.c - any bytes as a teacher's file: refused with a message, or every row is either that or says what a model can.  The
 * checksums of the rows are made right where the input's last byte is odd, or a fuzzer would never get past them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "data/tokens/teacher.h"

enum { HEADER = 4096, MOST_ROWS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes);

/* seal - the checksum of every row. */
static void seal(uint8_t *bytes, const struct teacher_facts *facts) {
    size_t row_bytes = (size_t)facts->top_k * 8 + 4;
    for (int64_t i = 0; i < facts->num_tokens; i++) {
        uint8_t *row = bytes + HEADER + (size_t)i * row_bytes;
        uint32_t sum = (uint32_t)XXH3_64bits_withSeed(row, row_bytes - 4, (uint64_t)i);
        memcpy(row + row_bytes - 4, &sum, sizeof sum);
    }
}

/* read_rows - each by itself; what is read is what the header promises. */
static void read_rows(const struct teacher *teacher) {
    const struct teacher_facts *facts = teacher_facts(teacher);
    int32_t ids[TEACHER_MOST_IDS];
    float logps[TEACHER_MOST_IDS];
    const uint8_t wanted = 1;
    for (int64_t i = 0; i < facts->num_tokens && i < MOST_ROWS; i++) {
        struct err err = {""};
        struct teacher_range range = {i, 1, &wanted};
        if (teacher_read(teacher, &range, facts->top_k, ids, logps, &err) != 0) {
            CHECK(err.text[0], "refused without a message");
            continue;
        }
        for (int64_t j = 0; j < facts->top_k; j++)
            CHECK(ids[j] >= 0 && ids[j] < facts->vocab_size && isfinite(logps[j]), "row %lld", (long long)i);
    }
}

static int write_memory(const uint8_t *bytes, size_t length_bytes, char path[64]) {
    int fd = memfd_create("fuzz", 0);
    CHECK(fd >= 0 && write(fd, bytes, length_bytes) == (ssize_t)length_bytes, "no memory file");
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes) {
    char path[64];
    struct err err = {""};
    int fd = write_memory(bytes, length_bytes, path);
    struct teacher *teacher = teacher_open(path, &err);
    CHECK(teacher || err.text[0], "refused without a message");
    if (teacher && length_bytes > 0 && bytes[length_bytes - 1] % 2) {
        uint8_t *copy = xmalloc(length_bytes);
        memcpy(copy, bytes, length_bytes);
        seal(copy, teacher_facts(teacher));
        CHECK(pwrite(fd, copy, length_bytes, 0) == (ssize_t)length_bytes, "no memory file");
        free(copy);
    }
    if (teacher)
        read_rows(teacher);
    teacher_close(teacher);
    close(fd);
    return 0;
}
