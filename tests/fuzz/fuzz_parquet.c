/* fuzz_parquet.c - libFuzzer target of Parquet tables: any bytes give records or an error that names the file, without a crash or
 * a leak; a record whose bytes are UTF-8 is JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/corpus/json_line.h"
#include "data/parquet/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static bool is_wanted(const void *user, struct text_span name) {
    (void)user;
    (void)name;
    return true;
}

/* check_record - whatever the values are, what is around them is JSON. */
static void check_record(const struct text *record) {
    struct json_line found;
    struct err err;
    bool is_utf8 = text_valid_bytes(record->bytes, record->length_bytes) == record->length_bytes;
    if (is_utf8 &&
        json_line_scan((struct text_span){record->bytes, record->length_bytes}, "\x01", &found, &err) != 0)
        CHECK(strstr(err.text, "twice"), "a record is not JSON: %s", err.text);
}

/* A small file may hold any number of rows: a page of nulls takes a few bytes.  The first ones will do. */
static void read_all(const char *path) {
    enum { MAX_BYTES = 1 << 16, MAX_RECORDS = 2000 };
    struct text record = {0};
    struct err err;
    int status = 1;
    struct table *table = table_open(path, &err);
    if (!table || table_choose(table, is_wanted, NULL, &err) != 0)
        status = -1;
    for (int i = 0; i < MAX_RECORDS && status > 0; i++) {
        record.length_bytes = 0;
        status = table_next(table, MAX_BYTES, &record, &err);
        if (status > 0)
            check_record(&record);
    }
    CHECK(status >= 0 || strstr(err.text, path), "an error without a place: %s", err.text);
    table_close(table);
    text_release(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    int fd = memfd_create("fuzz", 0);
    CHECK(fd >= 0 && write(fd, data, size_bytes) == (ssize_t)size_bytes, "cannot write to memory");
    char *path = xasprintf("/proc/self/fd/%d", fd);
    read_all(path);
    free(path);
    close(fd);
    return 0;
}
