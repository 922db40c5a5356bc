/* remarks.h - a list of errors, warnings and notes about one thing: all that is wrong is told at once. */
#pragma once

#include "kernels/error.h"

enum remark_level { REMARK_NOTE, REMARK_WARNING, REMARK_ERROR };

struct remark {
    enum remark_level level;
    char *text; /* one line, lower case, no full stop */
};

struct remarks {
    struct remark *items;
    int count, num_errors;
};

/* remark - add one.  An error returns -1, so that callers can write "return remark(..., REMARK_ERROR, ...)";
 * others return 0. */
int remark(struct remarks *remarks, enum remark_level level, const char *fmt, ...) ATELIER_PRINTF(3, 4);

/* remarks_print - a line each on standard error: "error: ...", "warning: ...", "note: ...". */
void remarks_print(const struct remarks *remarks);
void remarks_release(struct remarks *remarks);
