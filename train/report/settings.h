/* settings.h - a run file as a list of keys and values, to compare runs by: "optimizer.learning_rate" "0.001".  Reads what
 * atelier writes (a key and its value on a line, two blanks for each level, lists with "- "); it compares, and decides nothing. */
#pragma once

#include "kernels/error.h"

struct setting {
    char *key, *value;
};

struct settings {
    struct setting *rows; /* in the order of the file */
    int count;
};

/* settings_read - of a run file's text; NULL: none.  settings_free - harmless on a zeroed struct. */
struct settings settings_read(const char *text);
void settings_free(struct settings *settings);

/* settings_find - a key's value, NULL where it has none. */
const char *settings_find(const struct settings *settings, const char *key);
