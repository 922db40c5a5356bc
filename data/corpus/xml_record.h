/* xml_record.h - a document of XML as a record: a JSON object of texts.  "element" is the name of its root.  The fields of a root
 * that is known (xml_roots.c) have names of their own, and are there also where they are empty; any other name that the source asks
 * for is a path below the root (xml_path.h), which is there where the document has it. */
#pragma once

#include "data/corpus/prepare.h"
#include "data/corpus/text.h"

#define XML_ROOT_FIELD "element"

/* xml_record_check - what a source asks for: field, fields, where.  Returns 0, or -1 with err set: one that is no path. */
int xml_record_check(const struct prepare_source *source, struct err *err);

/* xml_record_append - the object, at the end of out; several threads at a time.  Returns 0, or -1 with err set: the line and what is
 * wrong, or a root of which neither a field is known nor one was named. */
int xml_record_append(const struct prepare_source *source, struct text_span document, struct text *out,
                      struct err *err);
