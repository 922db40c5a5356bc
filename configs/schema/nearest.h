/* nearest.h - which of the known words a mistyped one resembles: for keys, choices, options and commands. */
#pragma once

/* nearest_distance - insertions, deletions, replacements and swaps of neighbours that turn a into b.
 * Words longer than 127 characters count as 127 apart.
 * Source: Damerau 1964, in the "optimal string alignment" form. */
int nearest_distance(const char *a, const char *b);

/* nearest_word - the first of the words closest to the given one, or NULL when none is close: more than a
 * third of its letters (at least 2) would have to change.  words may hold NULL entries. */
const char *nearest_word(const char *word, const char *const *words, int num_words);
