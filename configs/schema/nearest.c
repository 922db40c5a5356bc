/* nearest.c - the distance between two words, and the nearest of a list. */
#include "configs/schema/nearest.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { LONGEST_WORD = 127 };

static int smallest(int a, int b) {
    return a < b ? a : b;
}

/* Damerau-Levenshtein, in the variant that edits no part twice (optimal string alignment): a letter more, less, or
 * another, and two that were swapped, count one each. */
int nearest_distance(const char *a, const char *b) {
    int num_a = (int)strnlen(a, LONGEST_WORD + 1), num_b = (int)strnlen(b, LONGEST_WORD + 1);
    if (num_a > LONGEST_WORD || num_b > LONGEST_WORD)
        return LONGEST_WORD;
    /* Three rows of the usual table are enough: the swap looks back two rows. */
    int rows[3][LONGEST_WORD + 1];
    for (int j = 0; j <= num_b; j++)
        rows[0][j] = j;
    for (int i = 1; i <= num_a; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= num_b; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = smallest(best, smallest(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = smallest(best, above2[j - 2] + 1);
            row[j] = best;
        }
    }
    return rows[num_a % 3][num_b];
}

/* begins - whether the longer word goes on where the shorter one ends: gpus, gpus_per_node; evaluate, eval.
 */
static bool begins(const char *word, const char *other) {
    size_t num_word = strnlen(word, LONGEST_WORD), num_other = strnlen(other, LONGEST_WORD);
    size_t shorter = num_word < num_other ? num_word : num_other;
    return shorter >= 4 && strncmp(word, other, shorter) == 0;
}

/* One slip in three letters is allowed: more, and any short word would be near to any other. */
const char *nearest_word(const char *word, const char *const *words, int num_words) {
    const char *nearest = NULL;
    int allowed = (int)(strnlen(word, LONGEST_WORD) / 3);
    int best = (allowed < 1 ? 1 : allowed) + 1;
    for (int i = 0; i < num_words; i++) {
        int distance = words[i] ? nearest_distance(word, words[i]) : LONGEST_WORD;
        if (distance < best) {
            best = distance;
            nearest = words[i];
        }
    }
    for (int i = 0; i < num_words && !nearest; i++)
        if (words[i] && begins(word, words[i]))
            nearest = words[i];
    return nearest;
}
