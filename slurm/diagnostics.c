/* remarks.c - see remarks.h. */
#include "slurm/diagnostics.h"

#include <stdio.h>
#include <stdlib.h>

int remark(struct remarks *remarks, enum remark_level level, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    remarks->items = xrealloc(remarks->items, (size_t)(remarks->count + 1) * sizeof *remarks->items);
    remarks->items[remarks->count++] = (struct remark){level, xstrdup(text)};
    remarks->num_errors += level == REMARK_ERROR;
    return level == REMARK_ERROR ? -1 : 0;
}

void remarks_print(const struct remarks *remarks) {
    static const char *const names[] = {"note", "warning", "error"};
    for (int i = 0; i < remarks->count; i++)
        fprintf(stderr, "%s: %s\n", names[remarks->items[i].level], remarks->items[i].text);
}

void remarks_release(struct remarks *remarks) {
    for (int i = 0; i < remarks->count; i++)
        free(remarks->items[i].text);
    free(remarks->items);
    *remarks = (struct remarks){NULL, 0, 0};
}
