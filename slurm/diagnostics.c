/* diagnostics.c - the list, and how it is printed. */
#include "slurm/diagnostics.h"

#include <stdio.h>
#include <stdlib.h>

/* Texts of users and of Slurm come in here: control characters are taken out, so that one line stays one line. */
int diagnostic_add(struct diagnostics *diagnostics, enum diagnostic_level level, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    text_clean(text);
    diagnostics->items =
        xrealloc(diagnostics->items, (size_t)(diagnostics->count + 1) * sizeof *diagnostics->items);
    diagnostics->items[diagnostics->count++] = (struct diagnostic){level, xstrdup(text)};
    diagnostics->num_errors += level == DIAGNOSTIC_ERROR;
    return level == DIAGNOSTIC_ERROR ? -1 : 0;
}

void diagnostics_print(const struct diagnostics *diagnostics) {
    static const char *const names[] = {"note", "warning", "error"};
    for (int i = 0; i < diagnostics->count; i++)
        fprintf(stderr, "%s: %s\n", names[diagnostics->items[i].level], diagnostics->items[i].text);
}

void diagnostics_release(struct diagnostics *diagnostics) {
    for (int i = 0; i < diagnostics->count; i++)
        free(diagnostics->items[i].text);
    free(diagnostics->items);
    *diagnostics = (struct diagnostics){NULL, 0, 0};
}
