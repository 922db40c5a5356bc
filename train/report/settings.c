/* settings.c - the lines of a run file. */
#include "train/report/settings.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, MAX_SETTINGS = 2000 };

/* Where the reading stands: the key of each level, and how many items its list has had. */
struct path {
    char *names[DEPTH_MAX];
    int num_items[DEPTH_MAX];
};

/* set_level - a new name there; what was below it is over. */
static void set_level(struct path *path, int depth, char *name) {
    for (int d = depth; d < DEPTH_MAX; d++) {
        free(path->names[d]);
        path->names[d] = NULL;
        path->num_items[d] = 0;
    }
    path->names[depth] = name;
}

/* joined - "data.train.1.path", malloc'ed. */
static char *joined(const struct path *path, int depth) {
    char *whole = xstrdup("");
    for (int d = 0; d <= depth; d++) {
        if (!path->names[d])
            continue;
        char *longer = xasprintf("%s%s%s", whole, whole[0] ? "." : "", path->names[d]);
        free(whole);
        whole = longer;
    }
    return whole;
}

static void add(struct settings *settings, char *key, char *value) {
    if (settings->count == MAX_SETTINGS) {
        free(key);
        free(value);
        return;
    }
    settings->rows = xrealloc(settings->rows, (size_t)(settings->count + 1) * sizeof *settings->rows);
    settings->rows[settings->count++] = (struct setting){key, value};
}

/* take_line - "  key: value", "  key:", "  - key: value", "  - value". */
static void take_line(struct settings *settings, struct path *path, const char *line, size_t length) {
    size_t indent = 0;
    while (indent < length && line[indent] == ' ')
        indent++;
    int depth = (int)(indent / 2);
    if (indent == length || line[indent] == '#' || depth >= DEPTH_MAX - 1)
        return;
    if (length - indent > 2 && line[indent] == '-' && line[indent + 1] == ' ') {
        int item = ++path->num_items[depth];
        set_level(path, depth, xasprintf("%d", item));
        path->num_items[depth] = item;
        depth++;
        indent += 2;
    }
    const char *start = line + indent, *end = line + length, *colon = memchr(start, ':', length - indent);
    if (!colon || (colon + 1 < end && colon[1] != ' ')) { /* an item that is a value alone */
        add(settings, joined(path, depth - 1), xstrndup(start, (size_t)(end - start)));
        return;
    }
    set_level(path, depth, xstrndup(start, (size_t)(colon - start)));
    if (colon + 2 < end)
        add(settings, joined(path, depth), xstrndup(colon + 2, (size_t)(end - colon - 2)));
}

struct settings settings_read(const char *text) {
    struct settings settings = {.count = 0};
    struct path path = {.names = {NULL}};
    while (text && *text) {
        size_t length = strcspn(text, "\n");
        take_line(&settings, &path, text, length);
        text += length + (text[length] == '\n');
    }
    set_level(&path, 0, NULL);
    return settings;
}

void settings_free(struct settings *settings) {
    for (int i = 0; i < settings->count; i++) {
        free(settings->rows[i].key);
        free(settings->rows[i].value);
    }
    free(settings->rows);
    *settings = (struct settings){.count = 0};
}

const char *settings_find(const struct settings *settings, const char *key) {
    for (int i = 0; i < settings->count; i++)
        if (strcmp(settings->rows[i].key, key) == 0)
            return settings->rows[i].value;
    return NULL;
}
