/* xml_text.c - what each element does to the text around it, by its name.  Sources: the schema of Publication (service-public.fr)
 * as its files use it, and XHTML 1.0. */
#include "data/corpus/xml_text.h"

#include <strings.h>

enum role { ROLE_BLOCK, ROLE_INLINE, ROLE_HEADING, ROLE_ITEM, ROLE_ROW, ROLE_CELL, ROLE_BREAK };

static const struct {
    enum role role;
    const char *const *names;
} ROLES[] = {
    {ROLE_INLINE,
     (const char *const[]){"LienInterne", "LienIntra", "LienExterne", "Valeur", "MiseEnEvidence", "Exposant",
                           "Indice", "Expression", "Citation", "TermeEtranger", NULL}},
    {ROLE_INLINE,
     (const char *const[]){"a",    "abbr",   "acronym", "b",   "big", "cite", "code", "del",  "dfn",
                           "em",   "font",   "i",       "ins", "kbd", "q",    "s",    "samp", "small",
                           "span", "strike", "strong",  "sub", "sup", "tt",   "u",    "var",  NULL}},
    {ROLE_HEADING, (const char *const[]){"Titre", "h1", "h2", "h3", "h4", "h5", "h6", NULL}},
    {ROLE_ITEM, (const char *const[]){"Item", "li", NULL}},
    {ROLE_ROW, (const char *const[]){"Rang\xC3\xA9"
                                     "e",
                                     "tr", NULL}},
    {ROLE_CELL, (const char *const[]){"Cellule", "td", "th", NULL}},
    {ROLE_BREAK, (const char *const[]){"br", NULL}},
};

/* role_of - by the name alone, in any case: older files of Légifrance have their XHTML in capitals. */
static enum role role_of(const char *name) {
    for (size_t i = 0; i < sizeof ROLES / sizeof *ROLES; i++)
        for (const char *const *at = ROLES[i].names; *at; at++)
            if (strcasecmp(name, *at) == 0)
                return ROLES[i].role;
    return ROLE_BLOCK;
}

/* end_block - the next one is of this kind, unless the present one is still without text: a paragraph inside of an item is the
 * item's text. */
static void end_block(struct xml_text *text, enum xml_block next) {
    bool is_kept = !text->is_open && next == XML_PARAGRAPH && text->next != XML_LINE;
    text->is_open = text->has_space = false;
    if (!is_kept)
        text->next = next;
}

static void open_in_row(struct xml_text *text, enum role role) {
    text->row_depth += role == ROLE_ROW;
    if (role == ROLE_CELL && text->row_depth == 1) {
        text->num_gaps += text->num_cells > 0;
        text->num_cells++;
    }
    text->has_space = true;
}

void xml_text_open(struct xml_text *text, const char *name) {
    enum role role = role_of(name);
    if (role == ROLE_INLINE)
        return;
    if (text->row_depth > 0) {
        open_in_row(text, role);
        return;
    }
    if (role == ROLE_BREAK) {
        if (text->is_open)
            end_block(text, XML_LINE);
        return;
    }
    end_block(text, role == ROLE_HEADING ? XML_HEADING
                    : role == ROLE_ITEM  ? XML_ITEM
                    : role == ROLE_ROW   ? XML_ROW
                                         : XML_PARAGRAPH);
    if (role == ROLE_ROW) {
        text->row_depth = 1;
        text->num_cells = text->num_gaps = 0;
    }
}

/* write_gaps - the ends of cells, those of empty ones too. */
static void write_gaps(struct xml_text *text, bool at_start) {
    for (; text->num_gaps > 0; text->num_gaps--, at_start = false)
        text_append(&text->out, at_start ? "|" : " |", at_start ? 1 : 2);
}

void xml_text_close(struct xml_text *text, const char *name) {
    enum role role = role_of(name);
    if (role == ROLE_INLINE || role == ROLE_BREAK)
        return;
    if (text->row_depth > 0) {
        text->row_depth -= role == ROLE_ROW;
        text->has_space = true;
        if (text->row_depth > 0)
            return;
        if (text->is_open)
            write_gaps(text, false);
        text->num_gaps = 0;
    }
    end_block(text, XML_PARAGRAPH);
    if (role != ROLE_BLOCK)
        text->next = XML_PARAGRAPH; /* also where the item had no text */
}

/* begin_block - what separates it from the one before, and its mark. */
static void begin_block(struct xml_text *text) {
    enum xml_block kind = text->next;
    bool is_line = kind == XML_ITEM || kind == XML_LINE || (kind == XML_ROW && text->last == XML_ROW);
    const char *between = kind == XML_JOINED ? text->joint : is_line ? "\n" : "\n\n";
    const char *mark = kind == XML_HEADING ? "## " : kind == XML_ITEM ? "- " : "";
    if (text->out.length_bytes > 0)
        text_append(&text->out, between, strlen(between));
    text_append(&text->out, mark, strlen(mark));
    bool has_gaps = text->num_gaps > 0;
    write_gaps(text, true);
    if (has_gaps)
        text_append(&text->out, " ", 1);
    text->last = kind;
    text->next = XML_PARAGRAPH;
    text->is_open = true;
}

/* add_word - characters without white space. */
static void add_word(struct xml_text *text, struct text_span word) {
    if (!text->is_open)
        begin_block(text);
    else if (text->num_gaps > 0 || text->has_space) {
        write_gaps(text, false);
        text_append(&text->out, " ", 1);
    }
    text->has_space = false;
    text_append(&text->out, word.bytes, word.length_bytes);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void xml_text_add(struct xml_text *text, struct text_span characters) {
    for (size_t at = 0, end; at < characters.length_bytes; at = end) {
        bool is_word = !is_space(characters.bytes[at]);
        for (end = at + 1; end < characters.length_bytes && is_space(characters.bytes[end]) != is_word; end++)
            ;
        if (is_word)
            add_word(text, (struct text_span){characters.bytes + at, end - at});
        else
            text->has_space = true;
    }
}

void xml_text_join(struct xml_text *text, const char *joint) {
    text->is_open = text->has_space = false;
    text->next = XML_JOINED;
    text->joint = joint;
}

void xml_text_part(struct xml_text *text) {
    text->is_open = text->has_space = false;
    text->next = XML_PARAGRAPH;
}

void xml_text_clear(struct xml_text *text) {
    struct text out = text->out;
    out.length_bytes = 0;
    *text = (struct xml_text){.out = out};
}
