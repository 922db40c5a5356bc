/* xml_text.h - the text of elements of XML, as a person would write it down: XHTML, and the elements of DILA's sheets.
 *
 *   white space (space, tab, line ends) is one space, and none at the ends of a paragraph
 *   elements within a line (a, b, LienInterne, Exposant, ...) leave no mark; all others are a paragraph of their own
 *   paragraphs are separated by a blank line; <br/> is a line end
 *   headings (Titre, h1 to h6) begin with "## ", items of lists (Item, li) on a line of their own with "- "
 *   a row of a table (Rangée, tr) is a line, its cells (Cellule, td, th) separated by " | " */
#pragma once

#include "data/corpus/text.h"

/* What begins with the next characters. */
enum xml_block { XML_PARAGRAPH, XML_HEADING, XML_ITEM, XML_ROW, XML_LINE, XML_JOINED };

/* Start from {0}. */
struct xml_text {
    struct text out;
    enum xml_block next, last;
    bool is_open;      /* a block has begun */
    bool has_space;    /* white space since its last character */
    int row_depth;     /* rows that are open; one inside of another is a part of it */
    int num_cells;     /* of the row */
    int num_gaps;      /* ends of cells since the row's last character */
    const char *joint; /* before an XML_JOINED block */
};

/* xml_text_open, xml_text_close - an element of this name begins, ends.  xml_text_add - characters.  xml_text_join - what comes
 * next follows after `joint`, borrowed, where there is text before.  xml_text_part - what comes next is a paragraph. */
void xml_text_open(struct xml_text *text, const char *name);
void xml_text_close(struct xml_text *text, const char *name);
void xml_text_add(struct xml_text *text, struct text_span characters);
void xml_text_join(struct xml_text *text, const char *joint);
void xml_text_part(struct xml_text *text);

/* xml_text_clear - begin again, and keep the memory. */
void xml_text_clear(struct xml_text *text);
