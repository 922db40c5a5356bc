/* prepare_where.c - see prepare_where.h. */
#include "data/corpus/prepare_where.h"

#include <string.h>

/* is_value - a value of JSON as text, which scratch may hold, is one of a filter's. */
static bool is_value(const struct prepare_filter *filter, struct text_span value, struct text *scratch) {
    if (value.bytes[0] == '"') {
        scratch->length_bytes = 0;
        json_line_unescape(value, scratch);
        value = (struct text_span){scratch->bytes, scratch->length_bytes};
    }
    for (int i = 0; i < filter->num_values; i++)
        if (strlen(filter->values[i].text) == value.length_bytes &&
            (value.length_bytes == 0 || memcmp(filter->values[i].text, value.bytes, value.length_bytes) == 0))
            return true;
    return false;
}

enum where_answer where_matches(const struct prepare_source *source, struct text_span line,
                                struct text *scratch, struct err *err) {
    for (int i = 0; i < source->num_filters; i++) {
        const struct prepare_filter *filter = &source->where[i];
        struct json_line found;
        if (json_line_scan(line, filter->field, &found, err) != 0)
            return WHERE_FAULT;
        if (!found.value.bytes || found.value.bytes[0] == 'n')
            return WHERE_NO;
        if (found.value.bytes[0] == '[' || found.value.bytes[0] == '{') {
            err_set(err, "the field '%s' is %s, which the source's where cannot compare with a text",
                    filter->field, found.value.bytes[0] == '[' ? "a list" : "an object");
            return WHERE_FAULT;
        }
        if (!is_value(filter, found.value, scratch))
            return WHERE_NO;
    }
    return WHERE_YES;
}

int fields_join(const struct prepare_source *source, struct text_span line, struct text *out,
                struct err *err) {
    const char *separator = source->separator ? source->separator : "\n\n";
    out->length_bytes = 0;
    text_append(out, "\"", 1);
    for (int i = 0; i < source->num_fields; i++) {
        struct json_line found;
        const char *name = source->fields[i].text;
        if (json_line_scan(line, name, &found, err) != 0)
            return -1;
        if (found.value.bytes && found.value.bytes[0] == 'n')
            continue;
        if (source_find_field(source, name, line, &found, err) != 0)
            return -1;
        if (found.value.length_bytes == 2)
            continue;
        if (out->length_bytes > 1)
            json_line_escape(out, separator, strlen(separator));
        text_append(out, found.value.bytes + 1, found.value.length_bytes - 2);
    }
    text_append(out, "\"", 1);
    return 0;
}
