/* convert.h - a published set of questions, as JSON Lines, an array of JSON or a table, into the items of items.h. */
#pragma once

#include <stdio.h>

#include "data/tasks/kinds.h"

struct task_conversion {
    int64_t num_items, num_left_out; /* left out: records that are no question with choices */
};

/* task_convert - the records of a file in their order, an item a line to out; its id is the record's
 * number.  Returns 0, or -1 with err set: not readable, a field that is missing or of another kind, an answer that is none of
 * the choices (file and place are named), no items.  Whether all was written, ferror and fclose of out say. */
int task_convert(const struct task_kind *kind, const char *path, FILE *out, struct task_conversion *done,
                 struct err *err);
