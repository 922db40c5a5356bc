/* xml_path.h - where a field of a record stands in a document of XML: names of elements below its root, '/' between them.  The
 * last may be an attribute, @name; '//' skips any number of elements, none too; '|' separates several such places. */
#pragma once

#include "data/corpus/text.h"

struct xml_path;

/* xml_path_create - NULL with err set: an empty name, '@' elsewhere, '//' twice.  xml_path_free - NULL is fine. */
struct xml_path *xml_path_create(const char *path, struct err *err);
void xml_path_free(struct xml_path *path);

/* xml_path_matches - the elements that are open, depth of them, the one below the root first: the place of the last is the path's.
 * Returns true with *attribute the attribute's name, NULL where the element itself is meant. */
bool xml_path_matches(const struct xml_path *path, const char *const *names, int depth,
                      const char **attribute);
