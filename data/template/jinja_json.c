/* jinja_json.c - the filter 'tojson' with the settings of transformers: Python's json.dumps(value,
 * ensure_ascii=False, indent=...).  See jinja_parts.h. */
#include <stdio.h>

#include "data/template/jinja_parts.h"

enum { DEEPEST = 50, WIDEST_INDENT = 16, PART_BYTES = 8 };

struct writer {
    struct jinja_run *run;
    struct jinja_value out; /* what is written so far */
    int indent;             /* -1: all on one line */
    int depth;
};

static int write_value(struct writer *w, const struct jinja_value *value);

static int put(struct writer *w, const struct jinja_value *text) {
    if (w->out.count + text->count > w->run->max_bytes)
        return err_set(w->run->err, "the template takes too much memory");
    w->out = value_join(w->run, &w->out, text);
    return jinja_count_step(w->run);
}

static int put_text(struct writer *w, const char *bytes) {
    struct jinja_value text = value_string(bytes);
    return put(w, &text);
}

/* new_line - where values stand on lines of their own. */
static int new_line(struct writer *w) {
    if (w->indent < 0)
        return 0;
    size_t count = 1 + (size_t)(w->indent * w->depth);
    char *blanks = pool_take(&w->run->pool, count + 1);
    memset(blanks, ' ', count);
    blanks[0] = '\n';
    return put_text(w, blanks);
}

/* escape - how a character of a string is written; NULL: as it is. */
static const char *escape(unsigned char c, char room[PART_BYTES]) {
    static const char letters[] = "\"\\\n\r\t\b\f", written[] = "\"\\nrtbf";
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter)
        snprintf(room, PART_BYTES, "\\%c", written[letter - letters]);
    else if (c < 0x20)
        snprintf(room, PART_BYTES, "\\u%04x", c);
    return letter || c < 0x20 ? room : NULL;
}

/* write_string - an escape comes from where its character does. */
static int write_string(struct writer *w, const struct jinja_value *text) {
    char room[PART_BYTES];
    size_t plain = 0;
    if (put_text(w, "\"") != 0)
        return -1;
    for (size_t at = 0; at <= text->count; at++) {
        const char *escaped = at < text->count ? escape((unsigned char)text->bytes[at], room) : NULL;
        if (!escaped && at < text->count)
            continue;
        struct jinja_value part = value_part(text, plain, at);
        plain = at + 1;
        if (part.count > 0 && put(w, &part) != 0)
            return -1;
        if (!escaped)
            break;
        size_t length = strlen(room);
        char *kept = pool_take(&w->run->pool, length + 1);
        memcpy(kept, room, length);
        struct jinja_value written = value_string(kept);
        written.origin = text->origins ? text->origins[at] : text->origin;
        if (put(w, &written) != 0)
            return -1;
    }
    return put_text(w, "\"");
}

static int write_list(struct writer *w, const struct jinja_value *list) {
    if (list->count == 0)
        return put_text(w, "[]");
    w->depth++;
    for (size_t i = 0; i < list->count; i++)
        if (put_text(w, i == 0          ? "["
                        : w->indent < 0 ? ", "
                                        : ",") != 0 ||
            new_line(w) != 0 || write_value(w, &list->list[i]) != 0)
            return -1;
    w->depth--;
    return new_line(w) != 0 ? -1 : put_text(w, "]");
}

static int write_dict(struct writer *w, const struct jinja_dict *dict) {
    if (!dict->first)
        return put_text(w, "{}");
    w->depth++;
    for (const struct jinja_entry *entry = dict->first; entry; entry = entry->next) {
        struct jinja_value name = value_string(entry->name);
        if (put_text(w, entry == dict->first ? "{"
                        : w->indent < 0      ? ", "
                                             : ",") != 0 ||
            new_line(w) != 0 || write_string(w, &name) != 0 || put_text(w, ": ") != 0 ||
            write_value(w, &entry->value) != 0)
            return -1;
    }
    w->depth--;
    return new_line(w) != 0 ? -1 : put_text(w, "}");
}

static int write_value(struct writer *w, const struct jinja_value *value) {
    struct jinja_value text = *value;
    if (w->depth > DEEPEST)
        return err_set(w->run->err, "'tojson' of more than %d levels is not supported", DEEPEST);
    value_flatten(w->run, &text);
    if (text.kind == JINJA_STRING)
        return write_string(w, &text);
    if (text.kind == JINJA_LIST && text.sequence != SEQUENCE_RANGE)
        return write_list(w, &text);
    if (text.kind == JINJA_DICT && text.dict->has_order)
        return write_dict(w, text.dict);
    if (text.kind == JINJA_NONE)
        return put_text(w, "null");
    if (text.kind == JINJA_BOOL)
        return put_text(w, text.number ? "true" : "false");
    if (text.kind != JINJA_INT || value_to_string(w->run, &text, &text) != 0)
        return jinja_wrong(w->run, "the filter", "tojson", value);
    return put(w, &text);
}

int jinja_to_json(struct jinja_run *run, const struct jinja_value *value, const struct jinja_value *indent,
                  struct jinja_value *result) {
    struct writer w = {.run = run, .out = value_string(""), .indent = -1};
    if (indent && indent->kind == JINJA_INT && indent->number >= 0 && indent->number <= WIDEST_INDENT)
        w.indent = (int)indent->number;
    else if (indent && indent->kind != JINJA_NONE)
        return jinja_wrong(run, "the filter with this indent", "tojson", value);
    if (write_value(&w, value) != 0)
        return -1;
    *result = w.out;
    value_flatten(run, result);
    return 0;
}
