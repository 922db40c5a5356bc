/* prepare_where.c - see prepare_where.h. */
#include "data/corpus/prepare_where.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/corpus/decimal.h"

static bool is_same_text(struct text_span a, struct text_span b) {
    return a.length_bytes == b.length_bytes &&
           (a.length_bytes == 0 || memcmp(a.bytes, b.bytes, a.length_bytes) == 0);
}

/* is_same_flag - true and false, which Python and YAML write True and False as well. */
static bool is_same_flag(struct text_span flag, struct text_span asked) {
    return flag.length_bytes == asked.length_bytes &&
           strncasecmp(flag.bytes, asked.bytes, asked.length_bytes) == 0;
}

/* is_value - a value of JSON, whose text scratch may hold, is one of a filter's: texts as they are, all else by its value. */
static bool is_value(const struct prepare_filter *filter, struct text_span value, struct text *scratch) {
    char first = value.bytes[0];
    if (first == '"') {
        scratch->length_bytes = 0;
        json_line_unescape(value, scratch);
        value = (struct text_span){scratch->bytes, scratch->length_bytes};
    }
    for (int i = 0; i < filter->num_values; i++) {
        const char *text = filter->values[i].text;
        const struct text_span asked = {text, strlen(text)};
        if (first == '"'                   ? is_same_text(value, asked)
            : first == 't' || first == 'f' ? is_same_flag(value, asked)
                                           : decimal_equal(value, asked))
            return true;
    }
    return false;
}

enum where_answer where_matches(const struct prepare_source *source, struct text_span line,
                                struct text *scratch, struct where_reason *reason, struct err *err) {
    for (int i = 0; i < source->num_filters; i++) {
        const struct prepare_filter *filter = &source->where[i];
        struct json_line found;
        if (json_line_scan(line, filter->field, &found, err) != 0)
            return WHERE_FAULT;
        *reason = (struct where_reason){.filter = i, .is_absent = !found.value.bytes};
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

void where_counts_init(struct where_counts *counts, const struct prepare_config *config) {
    counts->num_sources = config->num_sources;
    counts->of = xcalloc((size_t)config->num_sources, sizeof *counts->of);
    for (int i = 0; i < config->num_sources; i++)
        counts->of[i] = xcalloc((size_t)config->sources[i].num_filters + 1, sizeof **counts->of);
}

void where_counts_release(struct where_counts *counts) {
    for (int i = 0; i < counts->num_sources; i++)
        free(counts->of[i]);
    free(counts->of);
}

void where_counts_add(struct where_counts *counts, const struct batch_document *document) {
    struct where_count *count = &counts->of[document->source][document->where.filter];
    count->num_left++;
    count->num_absent += document->where.is_absent;
}

void where_tell(const struct where_counts *counts, const struct prepare_config *config, int source,
                const char *name) {
    const struct prepare_filter *filters = config->sources[source].where;
    const struct where_count *of = counts->of[source];
    int most = 0;
    for (int i = 1; i < config->sources[source].num_filters; i++)
        most = of[i].num_left > of[most].num_left ? i : most;
    long long num_left = of[most].num_left, num_absent = of[most].num_absent;
    if (num_left > 0 && num_absent == num_left)
        warn(
            "no document comes from '%s': none of the %lld records that its where asked for the field '%s' has it",
            name, num_left, filters[most].field);
    else
        warn(
            "no document comes from '%s': its where left out %lld records by the field '%s', of which %lld do not have it and "
            "the others have another value",
            name, num_left, filters[most].field, num_absent);
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
