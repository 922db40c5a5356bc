/* personal_table.h - personal data that prepare has met, source by source: for people and for programs. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "data/corpus/prepare.h"

/* personal_print - a table of what the documents that were kept hold, [num_sources].  personal_json - the same as a list of
 * objects. */
void personal_print(FILE *out, const struct prepare_config *config, const struct personal_counts *found);
json_t *personal_json(const struct prepare_config *config, const struct personal_counts *found);
