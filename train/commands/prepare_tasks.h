/* prepare_tasks.h - `atelier prepare FILE --eval SET --output FILE.jsonl`: a published set of questions as items. */
#pragma once

#include "kernels/error.h"

struct prepare_tasks_words {
    const char *kind, *path, *output;
    bool as_json;
};

/* prepare_tasks - writes the items, a new file or none, and says how many; returns the exit code, with err set where it is not
 * EXIT_DONE. */
int prepare_tasks(const struct prepare_tasks_words *words, struct err *err);
