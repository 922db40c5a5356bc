/* diagnostics.h - a list of errors, warnings and notes about one thing: all that is wrong is told at once. */
#pragma once

#include "kernels/error.h"

enum diagnostic_level { DIAGNOSTIC_NOTE, DIAGNOSTIC_WARNING, DIAGNOSTIC_ERROR };

struct diagnostic {
    enum diagnostic_level level;
    char *text; /* one line, lower case, no full stop */
};

struct diagnostics {
    struct diagnostic *items;
    int count, num_errors;
};

/* diagnostic_add - add one.  An error returns -1, so that callers can write "return diagnostic_add(..., DIAGNOSTIC_ERROR, ...)";
 * others return 0. */
int diagnostic_add(struct diagnostics *diagnostics, enum diagnostic_level level, const char *fmt, ...)
    ATELIER_PRINTF(3, 4);

/* diagnostics_print - a line each on standard error: "error: ...", "warning: ...", "note: ...".  diagnostics_release - the
 * list is empty afterwards, and may be used again. */
void diagnostics_print(const struct diagnostics *diagnostics);
void diagnostics_release(struct diagnostics *diagnostics);
