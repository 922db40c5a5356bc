/* fuzz_xml.c - libFuzzer target of documents of XML: any bytes of UTF-8 give a record, which is an object of JSON, or a fault that
 * says its line, without a crash or a leak.  The first byte chooses what the source asks for. */
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json_line.h"
#include "data/corpus/xml.h"
#include "data/corpus/xml_path.h"
#include "data/corpus/xml_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

/* check_path - the bytes as a path: none, or one that takes any names. */
static void check_path(const char *text) {
    static const char *const names[] = {"A", "B", "A", "C"};
    const char *attribute;
    struct err err;
    struct xml_path *path = xml_path_create(text, &err);
    for (int depth = 0; path && depth <= 4; depth++)
        xml_path_matches(path, names, depth, &attribute);
    xml_path_free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    static char deep[] = "//a", body[] = "A/B|T", attribute[] = "A/@k";
    char *const fields[] = {NULL, deep, body, attribute};
    const struct prepare_source source = {.field = fields[size_bytes > 0 ? data[0] & 3 : 0]};
    struct text json = {0};
    struct json_line found;
    struct err err = {{0}};
    xml_library_init();
    if (size_bytes < 1 || text_valid_bytes((const char *)data + 1, size_bytes - 1) != size_bytes - 1)
        return 0;
    char *bytes = text_copy((const char *)data + 1, size_bytes - 1);
    if (data[0] & 4)
        check_path(bytes);
    else if (xml_record_append(&source, (struct text_span){bytes, size_bytes - 1}, &json, &err) != 0)
        CHECK(strncmp(err.text, "line ", 5) == 0 || strstr(err.text, "none whose fields are known"),
              "an error without a place: %s", err.text);
    else
        CHECK(json_line_scan((struct text_span){json.bytes, json.length_bytes}, "text", &found, &err) == 0,
              "a record is not JSON: %s", err.text);
    text_release(&json);
    free(bytes);
    return 0;
}
