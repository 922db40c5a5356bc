/* tool_records.c - `tool_records FILE FORMAT [DELIMITER]`: the records of a file as prepare reads them, for programs that
 * compare them with another reader; of XML the third word is the source's field, and after
 * a '#' its element.  JSON and a NUL byte each; for one that cannot be read "fault: " and why.  Exit code 1 with the
 * reason on stderr where the file cannot be read on; with COUNT as fourth word only the number of records and bytes and the
 * processor's seconds that cutting them off took are written, with PARSE the same of cutting them off and making JSON of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/corpus/format.h"

/* make_json - of a record, into json.  Returns 0, or -1 with err set. */
static int make_json(const struct corpus_file *file, const struct raw_record *record, struct text *json,
                     struct err *err) {
    const struct text_span span = {record->bytes, record->length_bytes};
    json->length_bytes = 0;
    if (file->format->append_json)
        return file->format->append_json(file->header, span, json, err);
    text_append(json, span.bytes, span.length_bytes);
    return 0;
}

/* print - a record. */
static void print(const struct corpus_file *file, const struct raw_record *record) {
    struct text json = {0};
    struct err err;
    if (make_json(file, record, &json, &err) != 0)
        printf("fault: %s", err.text);
    else
        fwrite(json.bytes, 1, json.length_bytes, stdout);
    putchar('\0');
    text_release(&json);
}

/* read_all - returns 0, or -1 with err set. */
static int read_all(struct corpus_file *file, const struct prepare_source *source, const char *only_count,
                    struct err *err) {
    struct record_stream stream;
    struct raw_record record;
    struct text json = {0};
    int64_t num_bytes = 0;
    bool parses = only_count && strcmp(only_count, "PARSE") == 0;
    if (record_stream_open(&stream, file, source, err) != 0)
        return -1;
    int status = record_stream_look(&stream, file, err);
    record_stream_close(&stream);
    if (status != 0 || record_stream_open(&stream, file, source, err) != 0)
        return -1;
    clock_t start = clock();
    while ((status = record_stream_next(&stream, &record, err)) > 0) {
        num_bytes += (int64_t)record.length_bytes;
        if (!only_count)
            print(file, &record);
        else if (parses && make_json(file, &record, &json, err) != 0)
            break;
        record_stream_trim(&stream);
    }
    if (only_count)
        printf("%lld %lld %.4f\n", (long long)stream.num_records, (long long)num_bytes,
               (double)(clock() - start) / CLOCKS_PER_SEC);
    record_stream_close(&stream);
    text_release(&json);
    return status;
}

int main(int argc, char **argv) {
    static const char *const words[] = {"", "text", "jsonl", "json", "csv", "xml"};
    struct err err;
    int id = 0;
    if (argc < 3 || argc > 5)
        return fprintf(stderr, "tool_records FILE FORMAT [DELIMITER [COUNT|PARSE]]\n"), 2;
    for (int i = SOURCE_TEXT; i <= SOURCE_XML; i++)
        id = strcmp(argv[2], words[i]) == 0 ? i : id;
    CHECK(id, "no format '%s'", argv[2]);
    char *word = argc > 3 ? argv[3] : NULL, *mark = word && id == SOURCE_XML ? strchr(word, '#') : NULL;
    if (mark)
        *mark = '\0';
    const struct prepare_source source = {.path = argv[1],
                                          .delimiter = id == SOURCE_CSV ? word : NULL,
                                          .field = id == SOURCE_XML ? word : NULL,
                                          .element = mark ? mark + 1 : NULL};
    struct corpus_file file = {.path = xstrdup(argv[1]), .format = format_of((enum source_format)id)};
    int status = read_all(&file, &source, argc > 4 ? argv[4] : NULL, &err);
    if (status != 0)
        fprintf(stderr, "%s\n", err.text);
    corpus_file_release(&file);
    return status != 0;
}
