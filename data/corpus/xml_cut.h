/* xml_cut.h - elements of one name cut out of a document of XML that streams by, outermost ones where they are nested.  Only tags,
 * comments, CDATA and processing instructions are told apart here (XML 1.0, sections 2.5 to 2.7 and 3.1); what is inside of an element
 * is for who reads it.  A document whose DOCTYPE has declarations of its own is refused. */
#pragma once

#include "data/corpus/text.h"

enum xml_cut_state {
    CUT_TEXT,
    CUT_OPENED, /* after '<' */
    CUT_START_NAME,
    CUT_START_TAG,
    CUT_END_NAME,
    CUT_END_TAG,
    CUT_BANG, /* after "<!" */
    CUT_COMMENT,
    CUT_CDATA,
    CUT_TYPE, /* a DOCTYPE */
    CUT_INSTRUCTION
};

/* Start from {.name = ...}. */
struct xml_cut {
    const char *name; /* borrowed */
    enum xml_cut_state state;
    char quote;         /* that is open in a tag or DOCTYPE, or 0 */
    char last, before;  /* the two bytes before this one, of the same mark */
    size_t num_matched; /* of the name; SIZE_MAX: another name */
    int64_t depth;      /* of elements that are open */
    int64_t inside;     /* of elements of the name, from the outermost one on; 0: outside */
    int64_t num_lines;  /* line feeds so far */
    int64_t at_line;    /* where the element began, from 1 */
};

/* What stands after a step. */
enum xml_cut_event {
    XML_CUT_FAULT = -1, /* err says the line */
    XML_CUT_MORE,       /* the block is used up */
    XML_CUT_DROP,       /* what was kept so far does not belong to an element */
    XML_CUT_KEEP,       /* from this byte on it may: a mark begins here */
    XML_CUT_ELEMENT     /* one ends with the last byte taken */
};

/* xml_cut_step - up to the next event; *taken of the block's bytes.  Of XML_CUT_KEEP the byte is not among them. */
enum xml_cut_event xml_cut_step(struct xml_cut *cut, struct text_span block, size_t *taken, struct err *err);
