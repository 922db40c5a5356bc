/* config_keys.h - how a line of a table of keys is written: one constructor per type, so that it holds only
 * what matters for it.  For the files that define tables: config_table.c, site_table.c.
 * The last arguments are the help text and, in the run file's table, the class of the key: FREE or COURSE;
 * left out, it is fixed: whoever forgets it gets a refusal on resume, never a silent change.  NEEDS comes last: the key
 * is read only where another one has one of these values; NEEDS_OTHER, where it has none of them. */
#pragma once

#include "configs/schema/config_table.h"

#define FREE KEY_FREE
#define COURSE KEY_COURSE
#define NEEDS(other, words) .needs = {other, words, false}
#define NEEDS_OTHER(other, words) .needs = {other, words, true}

#define TEXT(key, place, fallback, ...)                                                                      \
    { .name = key, KEY_TEXT, place, fallback, 0, 0, NULL, NULL, 0, NULL, __VA_ARGS__ }
/* PATH - of a file or folder: environment variables in it are replaced. */
#define PATH(key, place, fallback, ...)                                                                      \
    { .name = key, KEY_PATH, place, fallback, 0, 0, NULL, NULL, 0, NULL, __VA_ARGS__ }
#define INT(key, place, fallback, min, max, unit, ...)                                                       \
    { .name = key, KEY_INT, place, fallback, min, max, NULL, NULL, 0, unit, __VA_ARGS__ }
/* INT_OR - an integer, or one of the words of choices, which stand for integers outside the range. */
#define INT_OR(key, place, fallback, min, max, unit, choices, ...)                                           \
    { .name = key, KEY_INT, place, fallback, min, max, choices, NULL, 0, unit, __VA_ARGS__ }
#define INT32(key, place, fallback, min, max, unit, ...)                                                     \
    { .name = key, KEY_INT32, place, fallback, min, max, NULL, NULL, 0, unit, __VA_ARGS__ }
#define REAL(key, place, fallback, min, max, unit, ...)                                                      \
    { .name = key, KEY_REAL, place, fallback, min, max, NULL, NULL, 0, unit, __VA_ARGS__ }
#define REAL32(key, place, fallback, min, max, unit, ...)                                                    \
    { .name = key, KEY_REAL32, place, fallback, min, max, NULL, NULL, 0, unit, __VA_ARGS__ }
#define BOOL(key, place, fallback, ...)                                                                      \
    { .name = key, KEY_BOOL, place, fallback, 0, 0, NULL, NULL, 0, NULL, __VA_ARGS__ }
#define CHOICE(key, place, fallback, choices, ...)                                                           \
    { .name = key, KEY_CHOICE, place, fallback, 0, 0, choices, NULL, 0, NULL, __VA_ARGS__ }
#define LIST(key, place, count_place, element, ...)                                                          \
    { .name = key, KEY_LIST, place, NULL, 0, 0, NULL, element, count_place, NULL, __VA_ARGS__ }
/* MAPPING - a list that is written as a mapping of names to values (LIST_MAPPING). */
#define MAPPING(key, place, count_place, element, ...)                                                       \
    {                                                                                                        \
        .name = key, KEY_LIST, place, NULL, 0, 0, NULL, element, count_place, NULL, __VA_ARGS__,             \
        .shape = LIST_MAPPING                                                                                \
    }
