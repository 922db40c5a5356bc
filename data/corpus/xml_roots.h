/* xml_roots.h - documents of XML whose fields have names here. */
#pragma once

/* How the texts of several places become one: paragraphs one after another; the last of them alone; of titles beside each other the one
 * that was in force at the document's end (xml_period.h); such a one of each level, with " > " between the levels. */
enum xml_several { XML_PARTS, XML_LAST, XML_IN_FORCE, XML_CHAIN };

struct xml_named_field {
    const char *name, *path;
    enum xml_several several;
};

struct xml_root {
    const char *name;
    const struct xml_named_field *fields; /* ends with a name of NULL */
    const char *const *left_out;          /* elements without which the fields are read; ends with NULL */
    const char
        *end; /* the field with the day on which the document's force ends; it stands before the titles */
};

/* xml_root_of - by number, from 0; NULL after the last. */
const struct xml_root *xml_root_of(int number);
