/* xml_period.h - titles that were in force one after another and stand beside each other, each with its first day and the day after its
 * last (debut and fin of LEGI): which of them goes with a document that was in force until a day.  Days are as DILA writes them,
 * 2010-05-08; one that has no end ends on 2999-01-01, and what never came into force begins then. */
#pragma once

#include <stdbool.h>

#include "data/corpus/text.h"

#define XML_NO_END "2999-01-01"
#define XML_FROM "debut"
#define XML_TO "fin"

struct xml_period {
    bool is_in_force, has_begun; /* on the day before the document's end */
    char from[sizeof XML_NO_END];
    char wrong
        [64]; /* the beginning of the first of its days that is not one: nothing follows from the others; else empty */
};

/* xml_period_of - empty days are before, and after, all others. */
struct xml_period xml_period_of(struct text_span from, struct text_span to, struct text_span end);

/* xml_period_is_before - whether the title of b goes with the document rather than that of a: the one in force, then one that has
 * begun, then the later one. */
bool xml_period_is_before(const struct xml_period *a, const struct xml_period *b);
