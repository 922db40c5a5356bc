/* card_parts.h - what the files of the model card share: the card under way, values that may be missing,
 * lines. */
#pragma once

#include <stdio.h>

#include "train/record/card_escape.h"
#include "train/record/card_words.h"

struct card {
    FILE *out;
    const struct card_words *words;
    const json_t *root; /* provenance */
    const json_t *base; /* base_model, or NULL for a new model */
};

/* card_text_of - a text that is there and not empty, or NULL.  card_int_of - 0 where it is not known.
 * card_real_of - NaN where it is not known.  Keys are paths. */
const char *card_text_of(const json_t *object, const char *key);
int64_t card_int_of(const json_t *object, const char *key);
double card_real_of(const json_t *object, const char *key);

/* card_put - our own words.  card_number - a value that may be NaN: not known. */
void card_put(const struct card *card, const char *text);
void card_number(const struct card *card, double value);

/* card_text_item, card_count_item - of lists: "- NAME: VALUE".  card_begin_item - leaves the value and the end of the line to
 * the caller. */
void card_begin_item(const struct card *card, const char *name);
void card_text_item(const struct card *card, const char *name, const char *text);
void card_count_item(const struct card *card, const char *name, int64_t value);

/* card_title - of a section.  card_blank - what the author must write, marked. */
void card_title(const struct card *card, const char *text);
void card_blank(const struct card *card, const char *what);

/* card_front_matter - the YAML between two "---" that the Hub reads, and a comment on where the card comes
 * from. */
void card_front_matter(const struct card *card);

/* card_cost - the section on compute, energy and CO2. */
void card_cost(const struct card *card);
