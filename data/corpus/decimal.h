/* decimal.h - numbers as they are written, compared by their value and without rounding: an identifier of twenty digits is no other. */
#pragma once

#include <stdbool.h>

#include "data/corpus/text.h"

/* decimal_equal - both are numbers of JSON's grammar (1, 1.0, 10e-1; a leading + or zeros are taken too) with the same value;
 * false where one is not a number. */
bool decimal_equal(struct text_span a, struct text_span b);
