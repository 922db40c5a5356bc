/* prepare_wanted.c - see prepare_wanted.h.  The lists are those of the files that read the fields. */
#include "data/corpus/prepare_wanted.h"

#include <string.h>

#include "data/corpus/prepare_form.h"
#include "data/corpus/prepare_record.h"

static bool is_name(struct text_span name, const char *text) {
    return strlen(text) == name.length_bytes && memcmp(name.bytes, text, name.length_bytes) == 0;
}

static bool is_listed(struct text_span name, const char *const *list) {
    for (; *list; list++)
        if (is_name(name, *list))
            return true;
    return false;
}

/* is_beside - what a conversation may have beside its messages. */
static bool is_beside(struct text_span name) {
    return is_listed(name, CHAT_REFUSED_FIELDS) || is_listed(name, CHAT_WEIGHT_FIELDS) ||
           is_listed(name, CHAT_INPUT_FIELDS) || is_name(name, CHAT_SYSTEM_FIELD);
}

static bool is_text_field(const struct prepare_source *source, struct text_span name) {
    for (int i = 0; i < source->num_fields; i++)
        if (is_name(name, source->fields[i].text))
            return true;
    return source->num_fields == 0 && is_name(name, source_field(source));
}

bool source_wants(const struct prepare_source *source, struct text_span name) {
    if (source->takes_all)
        return true;
    for (int i = 0; i < source->num_filters; i++)
        if (is_name(name, source->where[i].field))
            return true;
    if (source->record != RECORD_DOCUMENT)
        return is_listed(name, record_columns(source->record)) || (source->chat && is_beside(name));
    if (!source->chat)
        return is_text_field(source, name);
    return is_beside(name) ||
           (source->field ? is_name(name, source->field) : form_has_field(source->form, name));
}

int source_check_where(const struct prepare_source *source, struct text_span sample, struct err *err) {
    struct json_line found;
    for (int i = 0; i < source->num_filters; i++) {
        const char *name = source->where[i].field;
        if (json_line_scan(sample, name, &found, err) != 0 ||
            (!found.value.bytes && source_no_column(&found, name, err) != 0))
            return err_prefix(err, "the source's where");
    }
    return 0;
}

int source_check_sample(const struct prepare_source *source, struct text_span sample, struct err *err) {
    struct json_line found;
    if (source_check_where(source, sample, err) != 0)
        return -1;
    if (source->takes_all)
        return 0;
    if (source->record != RECORD_DOCUMENT)
        return 0;
    if (source->chat)
        return form_check_columns(source, sample, err);
    if (source->num_fields == 0)
        return source_find_field(source, NULL, sample, &found, err);
    for (int i = 0; i < source->num_fields; i++)
        if (source_find_field(source, source->fields[i].text, sample, &found, err) != 0)
            return -1;
    return 0;
}
