/* jinja_text.c - what filters and methods do to strings; every byte keeps its origin.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

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

/* is_ascii - upper and lower case are only known for these. */
static bool is_ascii(const struct jinja_value *text) {
    for (size_t i = 0; i < text->count; i++)
        if ((unsigned char)text->bytes[i] >= 0x80)
            return false;
    return true;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* starts_word - after this character a letter is the first of a word: for Jinja's filter 'title' one of its
 * own list, for Python's method whatever is not a letter. */
static bool starts_word(enum letter_case wanted, char before) {
    if (wanted == CASE_TITLE_METHOD)
        return !is_letter(before);
    return wanted == CASE_TITLE_FILTER &&
           (text_is_space((unsigned char)before) || (before && strchr("-({[<", before)));
}

int text_change_case(struct jinja_run *run, enum letter_case wanted, const struct jinja_value *text,
                     struct jinja_value *result) {
    if (!is_ascii(text))
        return err_set(run->err, "changing the case of text beyond ASCII is not supported");
    char *bytes = pool_take(&run->pool, text->count + 1);
    bool at_start = wanted != CASE_LOWER;
    for (size_t i = 0; i < text->count; i++) {
        char c = text->bytes[i];
        bytes[i] = !is_letter(c) ? c : (char)(wanted == CASE_UPPER || at_start ? c & ~0x20 : c | 0x20);
        at_start = starts_word(wanted, c);
    }
    *result = *text;
    result->bytes = bytes;
    return 0;
}

/* --- parts --- */

/* text_at - where part, which is not empty, is found in text at or after from, or -1. */
static int64_t text_at(const struct jinja_value *text, const struct jinja_value *part, size_t from) {
    const char *found =
        from < text->count ? memmem(text->bytes + from, text->count - from, part->bytes, part->count) : NULL;
    return found ? found - text->bytes : -1;
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

int text_replace(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *old,
                 const struct jinja_value *with, struct jinja_value *result) {
    if (old->count == 0)
        return err_set(run->err, "'replace' of an empty text is not supported");
    size_t num_found = 0, from = 0;
    for (int64_t at; (at = text_at(text, old, from)) >= 0; from = (size_t)at + old->count)
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
    for (int64_t at; (at = text_at(text, old, from)) >= 0; from = (size_t)at + old->count) {
        struct jinja_value gap = value_part(text, from, (size_t)at);
        put_part(&to, &gap);
        put_part(&to, with);
    }
    struct jinja_value rest = value_part(text, from, text->count);
    put_part(&to, &rest);
    result->bytes = to.bytes;
    result->origins = to.origins;
    result->count = to.count;
    return 0;
}

int text_split(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *by,
               struct jinja_value *result) {
    if (by->count == 0)
        return err_set(run->err, "'split' by an empty text is not supported");
    *result = value_list(run, text->count / by->count + 1);
    size_t from = 0;
    for (int64_t at; (at = text_at(text, by, from)) >= 0; from = (size_t)at + by->count)
        result->list[result->count++] = value_part(text, from, (size_t)at);
    result->list[result->count++] = value_part(text, from, text->count);
    return 0;
}
