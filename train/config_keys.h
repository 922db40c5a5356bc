/* config_keys.h - how a line of a table of keys is written: one constructor per type, so that it holds only
 * what matters for it.  For the files that define tables: config_table.c, site_table.c. */
#pragma once

#include "train/config_table.h"

#define TEXT(name, place, fallback, help)                                                                    \
    { name, KEY_TEXT, place, fallback, 0, 0, NULL, NULL, 0, NULL, help }
#define INT(name, place, fallback, min, max, unit, help)                                                     \
    { name, KEY_INT, place, fallback, min, max, NULL, NULL, 0, unit, help }
/* INT_OR - an integer, or one of the words of choices, which stand for integers outside the range. */
#define INT_OR(name, place, fallback, min, max, unit, choices, help)                                         \
    { name, KEY_INT, place, fallback, min, max, choices, NULL, 0, unit, help }
#define INT32(name, place, fallback, min, max, unit, help)                                                   \
    { name, KEY_INT32, place, fallback, min, max, NULL, NULL, 0, unit, help }
#define REAL(name, place, fallback, min, max, unit, help)                                                    \
    { name, KEY_REAL, place, fallback, min, max, NULL, NULL, 0, unit, help }
#define REAL32(name, place, fallback, min, max, unit, help)                                                  \
    { name, KEY_REAL32, place, fallback, min, max, NULL, NULL, 0, unit, help }
#define BOOL(name, place, fallback, help)                                                                    \
    { name, KEY_BOOL, place, fallback, 0, 0, NULL, NULL, 0, NULL, help }
#define CHOICE(name, place, fallback, choices, help)                                                         \
    { name, KEY_CHOICE, place, fallback, 0, 0, choices, NULL, 0, NULL, help }
#define LIST(name, place, count_place, element, help)                                                        \
    { name, KEY_LIST, place, NULL, 0, 0, NULL, element, count_place, NULL, help }
