/* jinja_text.c - what filters and methods do to strings; every byte keeps its origin.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

#include <utf8proc.h>

/* Characters start with any byte but 10xxxxxx: texts are valid UTF-8 when they come here. */
int64_t text_num_characters(const struct jinja_value *text) {
    int64_t count = 0;
    for (size_t i = 0; i < text->count; i++)
        count += ((unsigned char)text->bytes[i] & 0xC0) != 0x80;
    return count;
}

size_t text_character_at(const struct jinja_value *text, int64_t i) {
    size_t at = 0;
    for (; at < text->count; at++)
        if (((unsigned char)text->bytes[at] & 0xC0) != 0x80 && i-- == 0)
            break;
    return at;
}

/* --- upper and lower case --- */

/* is_letter - of two cases, which is what makes a word for str.title(). */
static bool is_letter(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
        return true;
    default:
        return false;
    }
}

/* has_simple_case - a letter of one other case alone; capitals that become several letters, a sigma that looks at
 * its place, and letters of a title's own case are not done here.  Beyond Latin, Greek and Cyrillic only characters
 * that have no case at all are taken. */
static bool has_simple_case(uint32_t c) {
    if (c < 0x80)
        return true;
    bool is_latin1 = c < 0x100 && c != 0xB5; /* µ */
    bool is_latin = c >= 0x100 && c < 0x180 && c != 0x130 && c != 0x131 && c != 0x149 && c != 0x17F;
    bool is_greek = c >= 0x391 && c < 0x3CA && c != 0x3A3 && c != 0x3C2 && c != 0x3B0 && c != 0x390;
    bool is_cyrillic = c >= 0x400 && c < 0x482;
    int category = utf8proc_category((utf8proc_int32_t)c);
    bool has_none = category != UTF8PROC_CATEGORY_LU && category != UTF8PROC_CATEGORY_LL &&
                    category != UTF8PROC_CATEGORY_LT && category != UTF8PROC_CATEGORY_MN &&
                    utf8proc_toupper((utf8proc_int32_t)c) == (utf8proc_int32_t)c &&
                    utf8proc_tolower((utf8proc_int32_t)c) == (utf8proc_int32_t)c;
    return is_latin1 || is_latin || is_greek || is_cyrillic || has_none;
}

/* starts_word - after this character a letter is the first of a word: for Jinja's filter 'title' one of its
 * own list, for Python's method whatever is not a letter. */
static bool starts_word(enum letter_case wanted, uint32_t before) {
    if (wanted == CASE_TITLE_METHOD)
        return !is_letter(before);
    return wanted == CASE_TITLE_FILTER &&
           (text_is_space(before) || (before && before < 0x80 && strchr("-({[<", (int)before)));
}

/* add_character - after what is there, with the origin of the one that it was. */
static void add_character(struct jinja_value *to, uint32_t c, uint16_t origin) {
    size_t bytes = text_encode_char((char *)(uintptr_t)to->bytes + to->count, c);
    for (size_t i = 0; to->origins && i < bytes; i++)
        ((uint16_t *)(uintptr_t)to->origins)[to->count + i] = origin;
    to->count += bytes;
}

/* Letter by letter, so that each new one gets the origin of the old one. */
int text_change_case(struct jinja_run *run, enum letter_case wanted, const struct jinja_value *source,
                     struct jinja_value *result) {
    const struct jinja_value copy = *source, *text = &copy; /* result may be source */
    const char *end = text->bytes + text->count;
    enum { SHARP_S = 0xDF };
    size_t room = 3 * text->count + 4; /* a letter of one byte never becomes one of more than three */
    bool at_start = wanted != CASE_LOWER;
    *result = *text;
    result->bytes = pool_take(&run->pool, room);
    result->origins = text->origins ? pool_take(&run->pool, room * sizeof *text->origins) : NULL;
    result->count = 0;
    for (const char *at = text->bytes; at < end;) {
        uint16_t origin = text->origins ? text->origins[at - text->bytes] : text->origin;
        uint32_t c = text_next_char(&at);
        if (!has_simple_case(c))
            return err_set(run->err, "changing the case of the character U+%04X is not supported", c);
        bool is_upper = wanted == CASE_UPPER || at_start;
        if (c == SHARP_S && is_upper) { /* has no capital of one letter */
            add_character(result, 'S', origin);
            add_character(result, wanted == CASE_UPPER || wanted == CASE_TITLE_FILTER ? 'S' : 's', origin);
            at_start = starts_word(wanted, c);
            continue;
        }
        add_character(result,
                      (uint32_t)(is_upper ? utf8proc_toupper((utf8proc_int32_t)c)
                                          : utf8proc_tolower((utf8proc_int32_t)c)),
                      origin);
        at_start = starts_word(wanted, c);
    }
    return jinja_count_step(run);
}

/* --- parts --- */

int64_t text_at(const struct jinja_value *text, const struct jinja_value *part, size_t from) {
    if (part->count == 0)
        return from <= text->count ? (int64_t)from : -1;
    const char *found =
        from < text->count ? memmem(text->bytes + from, text->count - from, part->bytes, part->count) : NULL;
    return found ? found - text->bytes : -1;
}

/* Bytes may be compared without regard to characters: in UTF-8 none of them is found inside another. */
int64_t text_last_at(const struct jinja_value *text, const struct jinja_value *part, size_t end) {
    if (part->count == 0)
        return (int64_t)end;
    size_t before = part->count - 1; /* its last byte is looked for, and then what stands before that */
    while (end > before) {
        const char *found = memrchr(text->bytes + before, part->bytes[before], end - before);
        if (!found)
            return -1;
        size_t at = (size_t)(found - text->bytes) - before;
        if (memcmp(text->bytes + at, part->bytes, before) == 0)
            return (int64_t)at;
        end = at + before;
    }
    return -1;
}

/* A string that is being made. */
struct making {
    char *bytes;
    uint16_t *origins; /* NULL: all of it is of one origin */
    size_t count;
};

/* put_part - after what is there already; it has the room. */
static void put_part(struct making *to, const struct jinja_value *part) {
    if (part->count == 0)
        return;
    memcpy(to->bytes + to->count, part->bytes, part->count);
    if (to->origins)
        value_copy_origins(to->origins + to->count, part);
    to->count += part->count;
}

/* Found twice: once to count them and take the memory at once, once to copy.  An empty 'old' stands between all
 * characters in Python: refused. */
int text_replace(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *old,
                 const struct jinja_value *with, int64_t most, struct jinja_value *result) {
    if (old->count == 0)
        return err_set(run->err, "'replace' of an empty text is not supported");
    size_t num_found = 0, from = 0;
    jinja_count_bytes(run, text->count);
    for (int64_t at; (most < 0 || (int64_t)num_found < most) && (at = text_at(text, old, from)) >= 0;
         from = (size_t)at + old->count)
        num_found++;
    *result = *text;
    if (num_found == 0)
        return 0;
    if (with->count > run->max_bytes / num_found)
        return err_set(run->err, "the template takes too much memory");
    size_t room = text->count + num_found * with->count;
    bool is_one = !text->origins && (with->count == 0 || (!with->origins && text->origin == with->origin));
    struct making to = {.bytes = pool_take(&run->pool, room),
                        .origins = is_one ? NULL : pool_take(&run->pool, room * sizeof(uint16_t))};
    from = 0;
    for (size_t i = 0; i < num_found; i++) {
        size_t at = (size_t)text_at(text, old, from);
        struct jinja_value gap = value_part(text, from, at);
        put_part(&to, &gap);
        put_part(&to, with);
        from = at + old->count;
    }
    struct jinja_value rest = value_part(text, from, text->count);
    put_part(&to, &rest);
    result->bytes = to.bytes;
    result->origins = to.origins;
    result->count = to.count;
    return 0;
}

/* '&' first: the names that the others become begin with it.  The names are Markup's. */
int text_html(struct jinja_run *run, struct jinja_value *text) {
    static const char *const names[][2] = {
        {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct jinja_value old = value_string(names[i][0]), with = value_string(names[i][1]), before = *text;
        if (text_replace(run, &before, &old, &with, -1, text) != 0)
            return -1;
    }
    return 0;
}

/* --- a text cut into parts --- */

static void add_part(struct jinja_value *list, const struct jinja_value *text, size_t from, size_t to) {
    list->list[list->count++] = value_part(text, from, to);
}

/* split_right - from the end on; the parts come in their order all the same. */
static void split_right(const struct jinja_value *text, const struct jinja_value *by, int64_t most,
                        struct jinja_value *list) {
    size_t end = text->count;
    for (int64_t at; (most < 0 || (int64_t)list->count < most) && (at = text_last_at(text, by, end)) >= 0;
         end = (size_t)at)
        add_part(list, text, (size_t)at + by->count, end);
    add_part(list, text, 0, end);
    for (size_t i = 0; i < list->count / 2; i++) {
        struct jinja_value other = list->list[i];
        list->list[i] = list->list[list->count - 1 - i];
        list->list[list->count - 1 - i] = other;
    }
}

/* The list has room for as many parts as separators fit into the text, so that it never grows. */
int text_split(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *by,
               int64_t most, bool from_right, struct jinja_value *result) {
    if (by->count == 0)
        return err_set(run->err, "'split' by an empty text is not supported");
    jinja_count_bytes(run, text->count);
    if (text->count / by->count > run->max_bytes / sizeof *text)
        return err_set(run->err, "the template takes too much memory");
    *result = value_list(run, text->count / by->count + 1);
    if (from_right) {
        jinja_count_bytes(run, text->count * (by->count + JINJA_PLACE_BYTES));
        if (jinja_count_step(run) != 0)
            return -1;
        split_right(text, by, most, result);
        return 0;
    }
    size_t from = 0;
    for (int64_t at; (most < 0 || (int64_t)result->count < most) && (at = text_at(text, by, from)) >= 0;
         from = (size_t)at + by->count)
        add_part(result, text, from, (size_t)at);
    add_part(result, text, from, text->count);
    return 0;
}

/* As str.split() without a separator: no empty parts, and the rest after the last cut keeps its white space at the
 * end.  Words and the spaces between them take two bytes at least, which bounds the list. */
int text_words(struct jinja_run *run, const struct jinja_value *text, int64_t most,
               struct jinja_value *result) {
    const char *at = text->bytes, *end = text->bytes + text->count;
    if (text->count > 2 * (run->max_bytes / sizeof *text))
        return err_set(run->err, "the template takes too much memory");
    *result = value_list(run, text->count / 2 + 1);
    while (at < end) {
        const char *next = at, *start = at;
        if (text_is_space(text_next_char(&next))) {
            at = next;
            continue;
        }
        if (most >= 0 && (int64_t)result->count == most) {
            add_part(result, text, (size_t)(start - text->bytes), text->count);
            return 0;
        }
        for (at = next; at < end; at = next)
            if (text_is_space(text_next_char(&next)))
                break;
        add_part(result, text, (size_t)(start - text->bytes), (size_t)(at - text->bytes));
    }
    return jinja_count_step(run);
}

/* ends_line - as Python's str.splitlines() sees it. */
static bool ends_line(uint32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

/* '\r\n' ends one line; a text that ends with an end of line has no empty line after it. */
int text_lines(struct jinja_run *run, const struct jinja_value *text, bool keep_ends,
               struct jinja_value *result) {
    const char *at = text->bytes, *end = text->bytes + text->count, *start = at;
    if (text->count > run->max_bytes / sizeof *text)
        return err_set(run->err, "the template takes too much memory");
    *result = value_list(run, text->count + 1);
    while (at < end) {
        const char *before = at;
        uint32_t c = text_next_char(&at);
        if (!ends_line(c))
            continue;
        at += c == '\r' && at < end && *at == '\n';
        add_part(result, text, (size_t)(start - text->bytes),
                 (size_t)((keep_ends ? at : before) - text->bytes));
        start = at;
    }
    if (start < end)
        add_part(result, text, (size_t)(start - text->bytes), text->count);
    return jinja_count_step(run);
}
