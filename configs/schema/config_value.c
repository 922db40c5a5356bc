/* config_value.c - what a key of the table means for the bytes of a struct: writing a value as text, ranges
 * in words, freeing, finding names.  Reading values from a file is in config.c. */
#include "configs/schema/config_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config_path.h"
#include "configs/schema/nearest.h"

int config_key_index(const struct config_table *table, const char *name) {
    for (int i = 0; i < table->num_keys; i++)
        if (strcmp(table->keys[i].name, name) == 0)
            return i;
    return -1;
}

static const char *last_word(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* nearest_in - of the keys that begin with the first section_bytes of name, the one whose last word is close.
 */
static const char *nearest_in(const struct config_table *table, const char *name, size_t section_bytes) {
    const char **words = xcalloc((size_t)table->num_keys, sizeof *words);
    for (int i = 0; i < table->num_keys; i++)
        if (strncmp(table->keys[i].name, name, section_bytes) == 0)
            words[i] = last_word(table->keys[i].name);
    const char *word = nearest_word(last_word(name), words, table->num_keys), *nearest = NULL;
    for (int i = 0; word && !nearest && i < table->num_keys; i++)
        if (words[i] == word)
            nearest = table->keys[i].name;
    free(words);
    return nearest;
}

const char *config_nearest_key(const struct config_table *table, const char *name) {
    /* The right word in the wrong section is the commonest slip, and far away when letters are counted. */
    for (int i = 0; i < table->num_keys; i++)
        if (strcmp(last_word(table->keys[i].name), last_word(name)) == 0)
            return table->keys[i].name;
    size_t section = (size_t)(last_word(name) - name);
    const char *nearest = nearest_in(table, name, section);
    return nearest || section == 0 ? nearest : nearest_in(table, name, 0);
}

bool config_key_is_set(const struct config_key *key, const void *values) {
    const char *base = values;
    if (key->type == KEY_TEXT || key->type == KEY_PATH)
        return *(char *const *)(const void *)(base + key->offset) != NULL;
    if (key->type == KEY_REAL)
        return !isnan(*(const double *)(const void *)(base + key->offset));
    if (key->type == KEY_LIST)
        return *(const int *)(const void *)(base + key->count_offset) > 0;
    return true;
}

/* choice_name - a struct that was filled by this table holds nothing else. */
static const char *choice_name(const struct config_key *key, int value) {
    for (const struct config_choice *choice = key->choices; choice->name; choice++)
        if (choice->value == value)
            return choice->name;
    die("key '%s' holds %d, which is not one of its choices", key->name, value);
}

/* quoted_text - in double quotes with YAML's escapes, so that any text comes back as it was. */
static char *quoted_text(const char *text) {
    char *out = xmalloc(strlen(text) * 4 + 3), *end = out;
    *end++ = '"';
    for (const char *at = text; *at; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte == '"' || byte == '\\')
            *end++ = '\\', *end++ = *at;
        else if (byte < 0x20 || byte == 0x7f)
            end += sprintf(end, "\\x%02x", byte);
        else
            *end++ = *at;
    }
    *end++ = '"';
    *end = '\0';
    return out;
}

/* shortest_real - the fewest digits that read back as the same number; whole numbers as people write them: 60, never 6e+01. */
static char *shortest_real(double value, int most_digits) {
    static const double LARGEST_PLAIN = 1e15; /* below 2^53: each whole number is itself */
    if (fabs(value) < LARGEST_PLAIN && value == floor(value))
        return xasprintf("%.0f", value);
    for (int digits = 1; digits < most_digits; digits++) {
        char *text = xasprintf("%.*g", digits, value);
        double back = strtod(text, NULL);
        if (most_digits == 9 ? (float)back == (float)value : back == value)
            return text;
        free(text);
    }
    return xasprintf("%.*g", most_digits, value);
}

char *config_value_text(const struct config_key *key, const void *values) {
    const void *place = (const char *)values + key->offset;
    switch (key->type) {
    case KEY_TEXT: {
        const char *text = *(char *const *)place;
        return text ? quoted_text(text) : xstrdup("null");
    }
    case KEY_PATH: { /* read again it is the same path: its dollar signs are not variables */
        const char *path = *(char *const *)place;
        char *escaped = path ? config_path_escape(path) : NULL;
        char *text = escaped ? quoted_text(escaped) : xstrdup("null");
        free(escaped);
        return text;
    }
    case KEY_INT:
        for (const struct config_choice *word = key->choices; word && word->name; word++)
            if (word->value == *(const int64_t *)place)
                return xstrdup(word->name);
        return xasprintf("%lld", (long long)*(const int64_t *)place);
    case KEY_INT32:
        return xasprintf("%d", *(const int *)place);
    case KEY_REAL:
        return shortest_real(*(const double *)place, 17);
    case KEY_REAL32:
        return shortest_real((double)*(const float *)place, 9);
    case KEY_BOOL:
        return xstrdup(*(const bool *)place ? "true" : "false");
    case KEY_CHOICE:
        return xstrdup(choice_name(key, *(const int *)place));
    case KEY_LIST:
        return xstrdup("");
    }
    die("key '%s' has no type", key->name);
}

/* Leaves NULL and 0, so that it can be called again. */
void config_values_free(const struct config_table *table, void *values) {
    for (int i = 0; i < table->num_keys; i++) {
        const struct config_key *key = &table->keys[i];
        void *place = (char *)values + key->offset;
        if (key->type != KEY_TEXT && key->type != KEY_PATH && key->type != KEY_LIST)
            continue;
        char *memory = *(char **)place;
        if (key->type == KEY_LIST) {
            int *count = (int *)(void *)((char *)values + key->count_offset);
            for (int e = 0; e < *count; e++)
                config_values_free(key->element, memory + (size_t)e * key->element->struct_bytes);
            *count = 0;
        }
        free(memory);
        *(char **)place = NULL;
    }
}

const char *config_class_name(enum key_class class) {
    static const char *const names[] = {[KEY_FIXED] = "fixed", [KEY_COURSE] = "course", [KEY_FREE] = "free"};
    return names[class];
}

/* For messages and help: what is written after "expected". */
char *config_range_text(const struct config_key *key) {
    switch (key->type) {
    case KEY_INT:
    case KEY_INT32:
        return xasprintf("an integer from %.0f to %.0f%s%s", key->min, key->max, key->choices ? ", or " : "",
                         key->choices ? key->choices->name : "");
    case KEY_REAL:
    case KEY_REAL32:
        return xasprintf("a number from %g to %g", key->min, key->max);
    case KEY_BOOL:
        return xstrdup("true or false");
    case KEY_LIST:
        return xstrdup(key->shape == LIST_MAPPING ? "a mapping of names to values" : "a list");
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_CHOICE:
        break;
    }
    char *text = xstrdup(key->choices ? "" : key->type == KEY_PATH ? "a path" : "text");
    for (const struct config_choice *choice = key->choices; choice && choice->name; choice++) {
        char *longer = xasprintf("%s%s%s", text, text[0] ? " | " : "", choice->name);
        free(text);
        text = longer;
    }
    if (!key->choices || key->type != KEY_PATH)
        return text;
    char *with_path = xasprintf("%s | a path (with a '/' or a '.')", text);
    free(text);
    return with_path;
}
