/* xml.h - a document of XML as events, one after another, by libxml2's reader.  Nothing beside the document is read: no DTD, no
 * entity of the document's own, no network; libxml2's limits on depth (256) and lengths of nodes (10 MB) hold. */
#pragma once

#include "data/corpus/text.h"

struct xml;

enum xml_event {
    XML_EVENT_FAULT = -1,
    XML_EVENT_END, /* of the document */
    XML_EVENT_OPEN,
    XML_EVENT_TEXT, /* characters, white space and CDATA alike */
    XML_EVENT_CLOSE /* of an element; also of an empty one */
};

/* xml_library_init - once, before any thread opens a document. */
void xml_library_init(void);

/* xml_open - a document of valid UTF-8, whatever its prolog says of encodings; borrowed until xml_close, which also takes NULL. */
struct xml *xml_open(struct text_span document);
void xml_close(struct xml *xml);

/* xml_next - the next event; on a fault err says the line and why. */
enum xml_event xml_next(struct xml *xml, struct err *err);

/* xml_name - of the element that was opened, as it is written (dc:title); valid until xml_close.  xml_text - of the characters;
 * borrowed until the next event. */
const char *xml_name(const struct xml *xml);
struct text_span xml_text(const struct xml *xml);

/* xml_attribute - of the element that was opened, appended to out.  Returns false where it has none of that name. */
bool xml_attribute(const struct xml *xml, const char *name, struct text *out);
