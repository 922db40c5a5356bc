/* fuzz_xml.c - libFuzzer target of documents of XML: any bytes of UTF-8 give a record, which is an object of JSON, or a fault that
 * says its line, without a crash or a leak; cut into elements it is the same in blocks of any size.  The first byte chooses what is
 * done, and what the source asks for. */
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json_line.h"
#include "data/corpus/xml.h"
#include "data/corpus/xml_cut.h"
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

/* cut_hash - of the elements a that a text in pieces of so many bytes is cut into: their ends, lines and bytes. */
static uint64_t cut_hash(const char *bytes, size_t length_bytes, size_t piece) {
    struct xml_cut cut = {.name = "a"};
    struct err err = {{0}};
    uint64_t hash = 0;
    size_t start = 0;
    for (size_t at = 0, taken = 0; at < length_bytes; at += taken) {
        size_t room = length_bytes - at < piece - at % piece ? length_bytes - at : piece - at % piece;
        enum xml_cut_event event = xml_cut_step(&cut, (struct text_span){bytes + at, room}, &taken, &err);
        CHECK(taken <= room && (taken > 0 || event == XML_CUT_FAULT), "%zu of %zu bytes taken", taken, room);
        if (event == XML_CUT_FAULT)
            return hash + 1;
        if (event == XML_CUT_ELEMENT)
            hash = hash * 1099511628211u + (at + taken) * 31 + (uint64_t)cut.at_line;
        if (event == XML_CUT_ELEMENT || event == XML_CUT_DROP || event == XML_CUT_KEEP ||
            (cut.inside == 0 && cut.state == CUT_TEXT))
            start = at + taken;
        CHECK(cut.inside == 0 || bytes[start] == '<', "an element does not begin with its tag");
    }
    return hash * 1099511628211u + (uint64_t)cut.depth * 7 + cut.state;
}

static void check_cuts(const char *bytes, size_t length_bytes) {
    uint64_t whole = cut_hash(bytes, length_bytes, SIZE_MAX);
    for (size_t piece = 1; piece < 40; piece = piece * 2 + 1)
        CHECK(cut_hash(bytes, length_bytes, piece) == whole, "other elements in pieces of %zu bytes", piece);
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
    if (data[0] & 8)
        check_cuts(bytes, size_bytes - 1);
    else if (data[0] & 4)
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
