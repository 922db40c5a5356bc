/* tool_parquet.c - `tool_parquet FILE [FIELD,... [COUNT]]`: the records of a Parquet table, for programs that compare them with
 * another reader's: JSON and a NUL byte each, of all fields or of those that are named.  Exit code 1 with the reason on stderr
 * where the table cannot be read on; with COUNT as third word the number of records, of bytes, the processor's seconds and the
 * bytes read from the file are written instead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/parquet/table.h"

static bool is_named(const void *user, struct text_span name) {
    const char *list = user;
    while (list && *list) {
        size_t length = strcspn(list, ",");
        if (length == name.length_bytes && memcmp(list, name.bytes, length) == 0)
            return true;
        list += length + (list[length] == ',');
    }
    return !list;
}

/* bytes_read - by this process so far, as the kernel counts them. */
static long long bytes_read(void) {
    long long count = -1;
    FILE *file = fopen("/proc/self/io", "r");
    if (file && fscanf(file, "rchar: %lld", &count) != 1)
        count = -1;
    if (file)
        fclose(file);
    return count;
}

int main(int argc, char **argv) {
    enum { MAX_BYTES = 256 << 20 };
    struct err err;
    struct text record = {0};
    long long num_records = 0, num_bytes = 0, before = bytes_read();
    clock_t start = clock();
    int status = 1;
    if (argc < 2 || argc > 4)
        return fprintf(stderr, "tool_parquet FILE [FIELD,... [COUNT]]\n"), 2;
    struct table *table = table_open(argv[1], &err);
    if (!table || table_choose(table, is_named, argc > 2 ? argv[2] : NULL, &err) != 0)
        status = -1;
    while (status > 0 && (status = table_next(table, MAX_BYTES, &record, &err)) > 0) {
        num_records++;
        num_bytes += (long long)record.length_bytes;
        if (argc < 4) {
            fwrite(record.bytes, 1, record.length_bytes, stdout);
            putchar('\0');
        }
        record.length_bytes = 0;
    }
    if (argc == 4)
        printf("%lld %lld %.4f %lld\n", num_records, num_bytes, (double)(clock() - start) / CLOCKS_PER_SEC,
               bytes_read() - before);
    if (status != 0)
        fprintf(stderr, "%s\n", err.text);
    table_close(table);
    text_release(&record);
    return status != 0;
}
