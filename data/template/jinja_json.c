/* jinja_json.c - the filter 'tojson' with the settings of transformers: Python's json.dumps(value,
 * ensure_ascii=False, indent=..., separators=..., sort_keys=...).  See jinja_parts.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/template/jinja_parts.h"

enum { DEEPEST = 50, WIDEST_INDENT = 16, PART_BYTES = 16 };

struct writer {
    struct jinja_run *run;
    struct jinja_value out; /* what is written so far */
    int indent;             /* -1: all on one line */
    int depth;
    struct jinja_value item_end, key_end; /* between items, and after a name */
    bool sorts, is_ascii;                 /* names in order; characters beyond ASCII as escapes */
};

static int write_value(struct writer *w, const struct jinja_value *value);

static int put(struct writer *w, const struct jinja_value *text) {
    return value_append(w->run, &w->out, text);
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

/* escape - how a character of a string is written; NULL: as it is.  As json.dumps: with ensure_ascii a character
 * beyond 0xFFFF is two escapes, its surrogates of UTF-16. */
static const char *escape(const struct writer *w, uint32_t c, char room[PART_BYTES]) {
    static const char letters[] = "\"\\\n\r\t\b\f", written[] = "\"\\nrtbf";
    const char *letter = c && c < 0x80 ? strchr(letters, (int)c) : NULL;
    if (letter)
        snprintf(room, PART_BYTES, "\\%c", written[letter - letters]);
    else if (c >= 0x10000 && w->is_ascii)
        snprintf(room, PART_BYTES, "\\u%04x\\u%04x", 0xD800 + (c - 0x10000) / 0x400,
                 0xDC00 + (c - 0x10000) % 0x400);
    else if (c < 0x20 || (w->is_ascii && c >= 0x7F))
        snprintf(room, PART_BYTES, "\\u%04x", c);
    else
        return NULL;
    return room;
}

/* write_string - an escape comes from where its character does: it is the message's text, which must not become a
 * token of the template nor be left out of what is learnt. */
static int write_string(struct writer *w, const struct jinja_value *text) {
    char room[PART_BYTES];
    size_t plain = 0;
    if (put_text(w, "\"") != 0)
        return -1;
    for (size_t at = 0, end; at <= text->count; at = end) {
        const char *next = text->bytes + at;
        const char *escaped = at < text->count ? escape(w, text_next_char(&next), room) : NULL;
        end = at < text->count ? (size_t)(next - text->bytes) : at + 1;
        if (!escaped && at < text->count)
            continue;
        struct jinja_value part = value_part(text, plain, at);
        plain = end;
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

/* write_list - an empty one stays on its line, also with an indent, as json.dumps writes it. */
static int write_list(struct writer *w, const struct jinja_value *list) {
    if (list->count == 0)
        return put_text(w, "[]");
    w->depth++;
    for (size_t i = 0; i < list->count; i++)
        if ((i == 0 ? put_text(w, "[") : put(w, &w->item_end)) != 0 || new_line(w) != 0 ||
            write_value(w, &list->list[i]) != 0)
            return -1;
    w->depth--;
    return new_line(w) != 0 ? -1 : put_text(w, "]");
}

/* by_name - in the order of code points, which is that of UTF-8. */
static int by_name(const void *a, const void *b) {
    const struct jinja_value *x = a, *y = b;
    return strcmp(x->list[0].bytes, y->list[0].bytes);
}

/* write_dict - sorted by name where the filter asks for it, else in the dictionary's order. */
static int write_dict(struct writer *w, const struct jinja_dict *dict) {
    if (!dict->first)
        return put_text(w, "{}");
    struct jinja_value pairs = value_pairs(w->run, dict);
    if (w->sorts)
        qsort(pairs.list, pairs.count, sizeof *pairs.list, by_name);
    w->depth++;
    for (size_t i = 0; i < pairs.count; i++) {
        const struct jinja_value *pair = pairs.list[i].list;
        if ((i == 0 ? put_text(w, "{") : put(w, &w->item_end)) != 0 || new_line(w) != 0 ||
            write_string(w, &pair[0]) != 0 || put(w, &w->key_end) != 0 || write_value(w, &pair[1]) != 0)
            return -1;
    }
    w->depth--;
    return new_line(w) != 0 ? -1 : put_text(w, "}");
}

/* write_number - as Python writes it; what is not finite has names of its own. */
static int write_number(struct writer *w, const struct jinja_value *value) {
    struct jinja_value text;
    if (value->kind == JINJA_FLOAT && !isfinite(value->real))
        return put_text(w, isnan(value->real) ? "NaN" : value->real < 0 ? "-Infinity" : "Infinity");
    return value_to_string(w->run, value, &text) != 0 ? -1 : put(w, &text);
}

/* write_value - the depth bounds the recursion.  What json.dumps has no word for (undefined, a range, a macro) is
 * refused, as it raises there. */
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
    if (text.kind == JINJA_INT || text.kind == JINJA_FLOAT)
        return write_number(w, &text);
    return jinja_wrong(w->run, "the filter", "tojson", value);
}

/* set_ends - what stands between items and after names: Python's, or two texts of the template. */
static int set_ends(struct writer *w, const struct jinja_value *ends) {
    w->item_end = value_string(w->indent < 0 ? ", " : ",");
    w->key_end = value_string(": ");
    if (!ends || ends->kind == JINJA_NONE)
        return 0;
    if (ends->kind != JINJA_LIST || ends->count != 2 || ends->list[0].kind != JINJA_STRING ||
        ends->list[1].kind != JINJA_STRING)
        return jinja_wrong(w->run, "the filter with these separators", "tojson", ends);
    w->item_end = ends->list[0];
    w->key_end = ends->list[1];
    value_flatten(w->run, &w->item_end);
    value_flatten(w->run, &w->key_end);
    return 0;
}

int jinja_to_json(struct jinja_run *run, const struct jinja_value *value,
                  const struct jinja_value *const *given, struct jinja_value *result) {
    const struct jinja_value *indent = given[1];
    struct writer w = {.run = run,
                       .out = value_string(""),
                       .indent = -1,
                       .is_ascii = given[0] && value_is_true(given[0]),
                       .sorts = given[3] && value_is_true(given[3])};
    if (indent && indent->kind == JINJA_INT && indent->number >= 0 && indent->number <= WIDEST_INDENT)
        w.indent = (int)indent->number;
    else if (indent && indent->kind != JINJA_NONE)
        return jinja_wrong(run, "the filter with this indent", "tojson", value);
    if (set_ends(&w, given[2]) != 0 || write_value(&w, value) != 0)
        return -1;
    *result = w.out;
    value_flatten(run, result);
    return 0;
}
