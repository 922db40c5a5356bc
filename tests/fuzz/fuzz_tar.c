/* fuzz_tar.c - libFuzzer target of tar archives: any bytes, plain or compressed, give members whose names lead nowhere, with as many
 * bytes as they say, or an error that names the archive; the files among them are read as text and as a table, without a crash or a
 * leak.  Bytes are given to the parser in headers that are mended, since no mutation finds a sum: the first byte says whether. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/corpus/format.h"
#include "data/corpus/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { BLOCK = 512 };

/* mend - every block that is not all zeros gets the sum of a header: contents as well, which are none the worse for it. */
static void mend(unsigned char *bytes, size_t size_bytes) {
    for (size_t at = 0; at + BLOCK <= size_bytes; at += BLOCK) {
        unsigned char *block = bytes + at;
        unsigned sum = 0;
        char text[8];
        memset(block + 148, ' ', 8);
        for (int i = 0; i < BLOCK; i++)
            sum += block[i];
        if (sum == 8 * ' ')
            continue;
        snprintf(text, sizeof text, "%06o", sum);
        memcpy(block + 148, text, 7);
    }
}

/* read_member - as text or as a table; what is wrong names the member. */
static void read_member(struct tar *tar, const struct tar_member *member) {
    static int number;
    const struct prepare_source source = {.path = NULL};
    struct corpus_file file = {.path = xasprintf("A:%s", member->name),
                               .format = format_of(number++ % 2 ? SOURCE_CSV : SOURCE_TEXT)};
    const struct reader_part part = {tar_read_member, tar, member->size_bytes};
    struct record_stream stream;
    struct raw_record record;
    struct err err;
    int status = record_stream_open_part(&stream, &file, &source, part, &err);
    int64_t length = 0;
    while (status >= 0 && (status = record_stream_next(&stream, &record, &err)) > 0)
        length += (int64_t)record.length_bytes;
    CHECK(status == 0 || strchr(err.text, '\''), "an error without a place: %s", err.text);
    record_stream_close(&stream);
    corpus_file_release(&file);
}

/* leads_out - written otherwise than in the parser: the name between slashes. */
static bool leads_out(const char *name) {
    char *between = xasprintf("/%s/", name);
    bool leads = name[0] == '/' || strstr(between, "/../") != NULL;
    free(between);
    return leads;
}

static void walk(const char *path) {
    struct tar_member member;
    struct err err = {{0}};
    struct tar *tar = tar_open(path, &err);
    int status = tar ? 1 : -1;
    while (status > 0 && (status = tar_next(tar, &member, &err)) > 0) {
        CHECK(member.size_bytes >= 0 && strlen(member.name) <= 4096 && !leads_out(member.name),
              "a member '%s' of %lld bytes", member.name, (long long)member.size_bytes);
        if (member.is_file)
            read_member(tar, &member);
    }
    CHECK(status == 0 || strchr(err.text, '\''), "an error without a place: %s", err.text);
    tar_close(tar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    char path[64];
    int fd = memfd_create("fuzz", 0);
    if (size_bytes < 1) {
        close(fd);
        return 0;
    }
    unsigned char *bytes = xmalloc(size_bytes);
    memcpy(bytes, data + 1, size_bytes - 1);
    if (data[0] & 1)
        mend(bytes, size_bytes - 1);
    CHECK(fd >= 0 && (size_bytes < 2 || write(fd, bytes, size_bytes - 1) == (ssize_t)size_bytes - 1),
          "cannot write to memory");
    free(bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    walk(path);
    close(fd);
    return 0;
}
