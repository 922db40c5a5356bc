/* xml_path.c - paths are taken apart once, for all documents of a source. */
#include "data/corpus/xml_path.h"

#include <stdlib.h>

enum { MAX_NAMES = 32 };

/* One of the places. */
struct place {
    const char *names[MAX_NAMES];
    int num_names;
    int skip_at; /* before this name any number of elements; -1: nowhere */
    const char *attribute;
};

struct xml_path {
    char *text; /* cut into the names */
    struct place *places;
    int num_places;
};

/* read_place - cuts text, "A//B/@c", into names.  Returns 0, or -1 with why. */
static int read_place(char *text, struct place *place, const char **why) {
    *place = (struct place){.skip_at = -1};
    for (char *at = text; at;) {
        char *slash = strchr(at, '/'), *end = slash ? slash : at + strlen(at);
        bool is_first = at == text && at[0] == '/' && at[1] == '/';
        if (place->skip_at < 0 && slash == at && (is_first || at != text)) { /* the second of two slashes */
            place->skip_at = place->num_names;
            at += is_first ? 2 : 1;
            continue;
        }
        *why = end == at                       ? "a name in it is empty"
               : place->num_names == MAX_NAMES ? "it has more than 32 names"
                                               : NULL;
        if (*why)
            return -1;
        if (*at == '@') {
            place->attribute = at + 1;
            *why = slash || !at[1] ? "'@' begins the last name alone" : NULL;
            return *why ? -1 : 0;
        }
        place->names[place->num_names++] = at;
        *end = '\0';
        at = slash ? slash + 1 : NULL;
    }
    return 0;
}

struct xml_path *xml_path_create(const char *text, struct err *err) {
    struct xml_path *path = xcalloc(1, sizeof *path);
    const char *why = NULL;
    path->text = xstrdup(text);
    for (char *at = path->text; at && !why;) {
        char *bar = strchr(at, '|');
        if (bar)
            *bar = '\0';
        path->places = xrealloc(path->places, (size_t)(path->num_places + 1) * sizeof *path->places);
        if (read_place(at, &path->places[path->num_places++], &why) != 0)
            break;
        at = bar ? bar + 1 : NULL;
    }
    if (!why)
        return path;
    err_set(
        err,
        "the field '%.200s' is not a path in XML: %s; names of elements below the root, as in META/TITRE or @ID",
        text, why);
    xml_path_free(path);
    return NULL;
}

void xml_path_free(struct xml_path *path) {
    if (!path)
        return;
    free(path->places);
    free(path->text);
    free(path);
}

/* are_equal - count names of a place and of the document. */
static bool are_equal(const char *const *a, const char *const *b, int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return true;
}

static bool place_matches(const struct place *place, const char *const *names, int depth) {
    int count = place->num_names, before = place->skip_at < 0 ? count : place->skip_at;
    if (place->skip_at < 0 ? depth != count : depth < count)
        return false;
    return are_equal(place->names, names, before) &&
           are_equal(place->names + before, names + depth - (count - before), count - before);
}

bool xml_path_matches(const struct xml_path *path, const char *const *names, int depth,
                      const char **attribute) {
    for (int i = 0; i < path->num_places; i++)
        if (place_matches(&path->places[i], names, depth)) {
            *attribute = path->places[i].attribute;
            return true;
        }
    return false;
}
