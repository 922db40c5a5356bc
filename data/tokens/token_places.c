/* token_places.c - see token_places.h.  The list of files is searched in memory, the numbers are read one by one.  Files are hostile:
 * what is not as the writer makes it says nothing. */
#include "data/tokens/token_places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Documents of one file, from the first on. */
struct stretch {
    int64_t first;
    const char *unit, *path; /* in text */
};

struct token_places {
    const struct token_file *file;
    char *text;
    struct stretch *stretches; /* ascending */
    int64_t count;
};

/* take_stretch - one entry, which ends with a NUL; false where it is none, or does not come after the one before. */
static bool take_stretch(struct token_places *places, char *entry) {
    char *unit = strchr(entry, '\t'), *path = unit ? strchr(unit + 1, '\t') : NULL, *end = NULL;
    if (!path)
        return false;
    *unit++ = *path++ = '\0';
    int64_t first = strtoll(entry, &end, 10);
    int64_t before = places->count > 0 ? places->stretches[places->count - 1].first : -1;
    if (end == entry || *end || first <= before || (places->count == 0 && first != 0))
        return false;
    places->stretches[places->count++] = (struct stretch){first, unit, path};
    return true;
}

struct token_places *token_places_open(const struct token_file *file, struct err *err) {
    size_t size_bytes = 0, room = 1;
    err->text[0] = '\0';
    char *text = token_file_has_places(file) ? token_file_read_files(file, &size_bytes, err) : NULL;
    if (!text)
        return NULL;
    struct token_places *places = xcalloc(1, sizeof *places);
    for (size_t i = 0; i < size_bytes; i++)
        room += text[i] == '\0';
    *places = (struct token_places){file, text, xcalloc(room, sizeof(struct stretch)), 0};
    for (size_t at = 0, length; at < size_bytes; at += length + 1) {
        length = strlen(text + at);
        if (!take_stretch(places, text + at))
            break;
    }
    return places;
}

void token_places_close(struct token_places *places) {
    if (!places)
        return;
    free(places->stretches);
    free(places->text);
    free(places);
}

/* stretch_of - the last one that begins at or before the document; NULL: none. */
static const struct stretch *stretch_of(const struct token_places *places, int64_t document) {
    int64_t low = 0, high = places->count;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (places->stretches[middle].first <= document)
            low = middle;
        else
            high = middle;
    }
    return places->count > 0 ? &places->stretches[low] : NULL;
}

char *token_places_text(const struct token_places *places, int64_t document) {
    uint64_t number;
    struct err ignored;
    const struct stretch *stretch = places ? stretch_of(places, document) : NULL;
    if (!stretch || token_file_read_records(places->file, document, 1, &number, &ignored) != 0)
        return NULL;
    return number > 0 ? xasprintf("'%s' %s %llu", stretch->path, stretch->unit, (unsigned long long)number)
                      : xasprintf("'%s'", stretch->path);
}

char *token_place_text(const struct token_file *file, int64_t document) {
    struct err ignored;
    struct token_places *places = token_places_open(file, &ignored);
    char *text = token_places_text(places, document);
    token_places_close(places);
    return text;
}

const char *token_place_note(const char *place, char note[TOKEN_PLACE_ROOM]) {
    enum { MOST = TOKEN_PLACE_ROOM - 10 };
    size_t length = place ? strlen(place) : 0;
    note[0] = '\0';
    if (length > MOST)
        snprintf(note, TOKEN_PLACE_ROOM, " (...%s)", place + length - MOST);
    else if (length > 0)
        snprintf(note, TOKEN_PLACE_ROOM, " (%s)", place);
    return note;
}
