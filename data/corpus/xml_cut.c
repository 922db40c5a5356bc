/* xml_cut.c - a byte at a time within marks; blocks may end anywhere. */
#include "data/corpus/xml_cut.h"

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* match_name - the next byte of a tag's name; a file may hold NUL, with which the name does not end. */
static void match_name(struct xml_cut *cut, char c) {
    bool is_equal = c != '\0' && cut->num_matched != SIZE_MAX && cut->name[cut->num_matched] == c;
    cut->num_matched = is_equal ? cut->num_matched + 1 : SIZE_MAX;
}

static bool is_named(const struct xml_cut *cut) {
    return cut->num_matched != SIZE_MAX && cut->name[cut->num_matched] == '\0';
}

/* end_start_tag - is_empty: the tag is its element's end, too. */
static enum xml_cut_event end_start_tag(struct xml_cut *cut) {
    bool is_empty = cut->last == '/', was_outside = cut->inside == 0;
    cut->state = CUT_TEXT;
    cut->depth += !is_empty;
    if (is_named(cut))
        cut->inside += !is_empty;
    if (is_named(cut) && was_outside && is_empty)
        return XML_CUT_ELEMENT;
    return cut->inside == 0 ? XML_CUT_DROP : XML_CUT_MORE;
}

static enum xml_cut_event end_end_tag(struct xml_cut *cut) {
    bool ends = is_named(cut) && cut->inside == 1;
    cut->state = CUT_TEXT;
    cut->depth--;
    if (is_named(cut) && cut->inside > 0)
        cut->inside--;
    return ends ? XML_CUT_ELEMENT : cut->inside == 0 ? XML_CUT_DROP : XML_CUT_MORE;
}

/* end_other - of a comment and the like. */
static enum xml_cut_event end_other(struct xml_cut *cut) {
    cut->state = CUT_TEXT;
    return cut->inside == 0 ? XML_CUT_DROP : XML_CUT_MORE;
}

/* begin_mark - the first byte after '<' says what it is. */
static void begin_mark(struct xml_cut *cut, char c) {
    cut->num_matched = 0;
    cut->quote = cut->last = cut->before = 0;
    cut->state = c == '!' ? CUT_BANG : c == '?' ? CUT_INSTRUCTION : c == '/' ? CUT_END_NAME : CUT_START_NAME;
    if (cut->state == CUT_START_NAME)
        match_name(cut, c);
    if (cut->state == CUT_START_NAME && cut->inside == 0)
        cut->at_line = cut->num_lines + 1;
}

/* begin_bang - after "<!": a comment's second hyphen, CDATA's bracket, or a letter. */
static enum xml_cut_event begin_bang(struct xml_cut *cut, char c) {
    if (c == '[')
        cut->state = CUT_CDATA;
    else if (c == '-' && cut->last == '-')
        cut->state = CUT_COMMENT;
    else if (c != '-')
        cut->state = CUT_TYPE;
    cut->before = 0;
    cut->last = cut->state == CUT_BANG ? c : 0;
    return XML_CUT_MORE;
}

/* in_start_tag - after the name: attributes, whose values may hold '>'. */
static enum xml_cut_event in_start_tag(struct xml_cut *cut, char c) {
    if (cut->quote) {
        cut->quote = c == cut->quote ? 0 : cut->quote;
    } else if (c == '"' || c == '\'') {
        cut->quote = c;
    } else if (c == '>') {
        return end_start_tag(cut);
    }
    cut->last = c;
    return XML_CUT_MORE;
}

/* in_type - a DOCTYPE: names and quoted texts, nothing in brackets. */
static enum xml_cut_event in_type(struct xml_cut *cut, char c, struct err *err) {
    if (cut->quote) {
        cut->quote = c == cut->quote ? 0 : cut->quote;
        return XML_CUT_MORE;
    }
    if (c == '"' || c == '\'')
        cut->quote = c;
    if (c == '[') {
        err_set(err, "line %lld: its DOCTYPE has declarations of its own, which are not read: take it out",
                (long long)cut->num_lines + 1);
        return XML_CUT_FAULT;
    }
    return c == '>' ? end_other(cut) : XML_CUT_MORE;
}

/* in_span - of what ends with two bytes and '>': "--", "]]", or '?' alone. */
static enum xml_cut_event in_span(struct xml_cut *cut, char c) {
    char closing = cut->state == CUT_COMMENT ? '-' : cut->state == CUT_CDATA ? ']' : '?';
    bool ends = c == '>' && cut->last == closing && (closing == '?' || cut->before == closing);
    cut->before = cut->last;
    cut->last = c;
    return ends ? end_other(cut) : XML_CUT_MORE;
}

/* take_byte - inside of a mark. */
static enum xml_cut_event take_byte(struct xml_cut *cut, char c, struct err *err) {
    bool ends_name = is_space(c) || c == '/' || c == '>';
    switch (cut->state) {
    case CUT_OPENED:
        begin_mark(cut, c);
        return XML_CUT_MORE;
    case CUT_START_NAME:
        if (!ends_name) {
            match_name(cut, c);
            return XML_CUT_MORE;
        }
        cut->state = CUT_START_TAG;
        return in_start_tag(cut, c);
    case CUT_START_TAG:
        return in_start_tag(cut, c);
    case CUT_END_NAME:
        if (!ends_name)
            match_name(cut, c);
        else
            cut->state = CUT_END_TAG;
        return c == '>' ? end_end_tag(cut) : XML_CUT_MORE;
    case CUT_END_TAG:
        return c == '>' ? end_end_tag(cut) : XML_CUT_MORE;
    case CUT_BANG:
        return begin_bang(cut, c);
    case CUT_TYPE:
        return in_type(cut, c, err);
    case CUT_TEXT:
    case CUT_COMMENT:
    case CUT_CDATA:
    case CUT_INSTRUCTION:
        break;
    }
    return in_span(cut, c);
}

/* skip_text - from byte i on up to the next '<' or the end. */
static size_t skip_text(struct xml_cut *cut, struct text_span block, size_t i) {
    const char *at = block.bytes + i, *mark = memchr(at, '<', block.length_bytes - i);
    const char *end = mark ? mark : block.bytes + block.length_bytes;
    for (; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        cut->num_lines++;
    return (size_t)(end - block.bytes);
}

enum xml_cut_event xml_cut_step(struct xml_cut *cut, struct text_span block, size_t *taken, struct err *err) {
    for (size_t i = 0; i < block.length_bytes; i++) {
        enum xml_cut_event event = XML_CUT_MORE;
        if (cut->state == CUT_TEXT && (i = skip_text(cut, block, i)) == block.length_bytes)
            break;
        char c = block.bytes[i];
        if (cut->state == CUT_TEXT && cut->inside == 0 &&
            i > 0) { /* looked at again, as the first of a block */
            *taken = i;
            return XML_CUT_KEEP;
        }
        if (cut->state == CUT_TEXT)
            cut->state = CUT_OPENED;
        else
            event = take_byte(cut, c, err);
        cut->num_lines += c == '\n';
        if (event != XML_CUT_MORE) {
            *taken = i + 1;
            return event;
        }
    }
    *taken = block.length_bytes;
    return XML_CUT_MORE;
}
