/* xml.c - libxml2's reader (xmlreader.h), which pulls: a tree is never made.  Entities are not replaced (no XML_PARSE_NOENT), so
 * that neither a file of this machine nor an expansion without end can come in by them; a document that declares some is
 * refused at once, since attributes are expanded where they are asked for. */
#include "data/corpus/xml.h"

#include <libxml/xmlreader.h>
#include <stdlib.h>

struct xml {
    xmlTextReaderPtr reader;
    size_t length_bytes; /* of the document */
    const char *name;
    struct text_span text;
    bool was_empty;  /* the element that was opened is closed by the next event */
    bool has_looked; /* at the document's type */
    int fault_line;  /* of the first fault that libxml2 told */
    struct err fault;
};

void xml_library_init(void) {
    xmlInitParser();
}

/* limit_of - a limit of libxml2 that a document exceeds, in other words than its own, which are for whoever calls it and differ by
 * version; NULL: it is another fault. */
static const char *limit_of(const char *message) {
    static const char *const lengths[] = {"huge", "Huge", "HUGE", "too long", "too big", "limit"};
    if (strstr(message, "depth"))
        return "elements lie more than 256 deep in one another, which is as deep as is read: leave out some of the levels";
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        if (strstr(message, lengths[i]))
            return "a text, comment or value of an attribute has more than 10 MB, or a name more than 50,000 bytes, which is "
                   "as much as is read: divide it among several elements";
    return NULL;
}

/* note_fault - libxml2 tells the first fault of a document first; others follow from it. */
static void note_fault(void *user, const char *message, xmlParserSeverities severity,
                       xmlTextReaderLocatorPtr locator) {
    struct xml *xml = user;
    bool is_error = severity == XML_PARSER_SEVERITY_ERROR || severity == XML_PARSER_SEVERITY_VALIDITY_ERROR;
    if (!is_error || xml->fault_line)
        return;
    (void)locator; /* which says the line of the element that is open */
    int line = xmlTextReaderGetParserLineNumber(xml->reader);
    const char *limit = limit_of(message), *text = limit ? limit : message;
    size_t length = strcspn(text, "\n");
    xml->fault_line = line > 0 ? line : 1;
    err_set(&xml->fault, "%.*s", (int)(length < 400 ? length : 400), text);
}

struct xml *xml_open(struct text_span document) {
    enum { OPTIONS = XML_PARSE_NONET | XML_PARSE_IGNORE_ENC | XML_PARSE_COMPACT };
    struct xml *xml = xcalloc(1, sizeof *xml);
    xml->reader = xmlReaderForMemory(document.length_bytes ? document.bytes : "", (int)document.length_bytes,
                                     NULL, "UTF-8", OPTIONS);
    CHECK(xml->reader, "out of memory for a reader of XML");
    xml->length_bytes = document.length_bytes;
    xmlTextReaderSetErrorHandler(xml->reader, note_fault, xml);
    return xml;
}

void xml_close(struct xml *xml) {
    if (!xml)
        return;
    xmlFreeTextReader(xml->reader);
    free(xml);
}

/* fail - a document that libxml2 has read to its end while elements were open is told as such: its own words are of what it missed. */
static enum xml_event fail(const struct xml *xml, struct err *err) {
    const char *why = xml->fault_line ? xml->fault.text : "it is not XML";
    long read_bytes = xmlTextReaderByteConsumed(xml->reader);
    bool is_cut =
        read_bytes >= 0 && (size_t)read_bytes == xml->length_bytes && xmlTextReaderDepth(xml->reader) > 0;
    err_set(err, "line %d: %s%s%s", xml->fault_line ? xml->fault_line : 1,
            is_cut ? "the file ends in an open element: it was cut (" : "", why, is_cut ? ")" : "");
    return XML_EVENT_FAULT;
}

/* check_type - a DOCTYPE may name a DTD, which is not read, and declare elements; entities it may not. */
static int check_type(struct xml *xml, struct err *err) {
    const xmlNode *root =
        xmlTextReaderCurrentNode(xml->reader); /* CurrentDoc would hand the document over to us */
    const xmlDtd *type = root && root->doc ? root->doc->intSubset : NULL;
    if (!type || (!type->entities && !type->pentities))
        return 0;
    return err_set(
        err,
        "line 1: its DOCTYPE declares entities of its own, which are not read: write what they stand for, for "
        "example with xmllint --noent --dropdtd FILE");
}

/* unknown_entity - &name; that is none of XML's five, and no DTD was read that could declare it. */
static enum xml_event unknown_entity(struct xml *xml, struct err *err) {
    err_set(err, "line %d: the entity '&%.80s;' is not one of XML's own",
            xmlTextReaderGetParserLineNumber(xml->reader), (const char *)xmlTextReaderConstName(xml->reader));
    return XML_EVENT_FAULT;
}

/* open_element - and remember what libxml2 does not tell again. */
static enum xml_event open_element(struct xml *xml) {
    xml->name = (const char *)xmlTextReaderConstName(xml->reader);
    xml->was_empty = xmlTextReaderIsEmptyElement(xml->reader) == 1;
    return XML_EVENT_OPEN;
}

enum xml_event xml_next(struct xml *xml, struct err *err) {
    if (xml->was_empty) {
        xml->was_empty = false;
        return XML_EVENT_CLOSE;
    }
    for (;;) {
        int status = xmlTextReaderRead(xml->reader);
        if (status < 0)
            return fail(xml, err);
        if (status == 0)
            return XML_EVENT_END;
        int type = xmlTextReaderNodeType(xml->reader);
        if (type == XML_READER_TYPE_ELEMENT) {
            if (!xml->has_looked && check_type(xml, err) != 0)
                return XML_EVENT_FAULT;
            xml->has_looked = true;
            return open_element(xml);
        }
        if (type == XML_READER_TYPE_END_ELEMENT)
            return XML_EVENT_CLOSE;
        if (type == XML_READER_TYPE_ENTITY_REFERENCE)
            return unknown_entity(xml, err);
        if (type == XML_READER_TYPE_TEXT || type == XML_READER_TYPE_CDATA ||
            type == XML_READER_TYPE_WHITESPACE || type == XML_READER_TYPE_SIGNIFICANT_WHITESPACE) {
            const char *text = (const char *)xmlTextReaderConstValue(xml->reader);
            xml->text = (struct text_span){text, text ? strlen(text) : 0};
            return XML_EVENT_TEXT;
        }
    }
}

const char *xml_name(const struct xml *xml) {
    return xml->name;
}

struct text_span xml_text(const struct xml *xml) {
    return xml->text;
}

bool xml_attribute(const struct xml *xml, const char *name, struct text *out) {
    xmlChar *value = xmlTextReaderGetAttribute(xml->reader, (const xmlChar *)name);
    if (!value)
        return false;
    text_append(out, value, strlen((const char *)value));
    xmlFree(value);
    return true;
}
