/* fuzz_formats.c - libFuzzer target of the formats that cut a file into records: any bytes, as a table or an array of JSON, give
 * records or an error that names the file, without a crash or a leak.  A row of a table is cut off at the same byte wherever
 * blocks end, and what is written of it is JSON.  The first byte chooses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/corpus/csv.h"
#include "data/corpus/format.h"
#include "data/corpus/json_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

/* check_row - what is written of a row of UTF-8 is an object of JSON; its bytes are those of the row, cut off at once. */
static void check_row(const struct corpus_file *file, const struct raw_record *record) {
    const struct csv_header *header = file->header;
    const struct text_span row = {record->bytes, record->length_bytes};
    struct text json = {0};
    struct json_line found;
    struct err err;
    struct csv_cut cut = {.delimiter = header->delimiter};
    bool has_ended;
    size_t length = 0;
    for (size_t part = 1; length < row.length_bytes; part = part * 2 + 1) {
        size_t room = row.length_bytes - length < part ? row.length_bytes - length : part;
        length += csv_cut_row(&cut, (struct text_span){row.bytes + length, room}, &has_ended);
        CHECK(!has_ended, "a row of %zu bytes ends after %zu", row.length_bytes, length);
    }
    CHECK(!cut.in_quotes, "a row ends inside of quotes");
    if (csv_append_json(header, row, &json, &err) == 0 && !memchr(row.bytes, 0, row.length_bytes) &&
        text_valid_bytes(row.bytes, row.length_bytes) == row.length_bytes)
        CHECK(json_line_scan((struct text_span){json.bytes, json.length_bytes}, "\x01", &found, &err) == 0,
              "a row is not JSON: %s", err.text);
    text_release(&json);
}

/* read_all - as prepare does. */
static void read_all(struct corpus_file *file, const struct prepare_source *source) {
    struct record_stream stream;
    struct raw_record record;
    struct err err;
    int status = record_stream_open(&stream, file, source, &err);
    if (status == 0)
        status = record_stream_look(&stream, file, &err);
    record_stream_close(&stream);
    if (status == 0)
        status = record_stream_open(&stream, file, source, &err);
    int64_t last = 0;
    while (status >= 0 && (status = record_stream_next(&stream, &record, &err)) > 0) {
        CHECK(record.number > last, "record %lld after %lld", (long long)record.number, (long long)last);
        last = record.number;
        if (file->format->id == SOURCE_CSV)
            check_row(file, &record);
        record_stream_trim(&stream);
    }
    CHECK(status == 0 || memchr(err.text, '\'', sizeof err.text), "an error without a place: %s", err.text);
    record_stream_close(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    static char semicolon[] = ";", tab[] = "tab";
    char *const delimiters[] = {NULL, semicolon, tab, NULL};
    int choice = size_bytes > 0 ? data[0] : 0, fd = memfd_create("fuzz", 0);
    CHECK(fd >= 0 && (size_bytes < 2 || write(fd, data + 1, size_bytes - 1) == (ssize_t)size_bytes - 1),
          "cannot write to memory");
    struct corpus_file file = {.path = xasprintf("/proc/self/fd/%d", fd),
                               .format = format_of(choice & 1 ? SOURCE_JSON : SOURCE_CSV)};
    const struct prepare_source source = {
        .path = file.path,
        .delimiter = delimiters[(choice >> 1) & 3],
        .encoding = (choice & 0x70) == 0x70   ? ENCODING_UTF16LE
                    : (choice & 0x70) == 0x60 ? ENCODING_WINDOWS_1252
                                              : ENCODING_UTF8,
    };
    read_all(&file, &source);
    corpus_file_release(&file);
    close(fd);
    return 0;
}
