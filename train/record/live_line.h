/* live_line.h - the one line of a terminal that redraws itself.  It is never wider than the terminal: a line that wraps leaves
 * its first rows behind at the next drawing. */
#pragma once

#include <stddef.h>

/* A piece of the line, in ASCII.  Where there is no room for all, those with the smallest weight are left out first. */
struct live_part {
    const char *text;
    int weight; /* 0: the first to go */
};

enum { LIVE_LINE_ROOM = 400 };

/* live_line_text - the pieces in their order, two spaces between them, those without text passed over; at most `columns` wide
 * (0: all of them), cut where not even the weightiest fits.  Into the caller's LIVE_LINE_ROOM bytes; returns it. */
const char *live_line_text(const struct live_part *parts, int num_parts, int columns, char *text);

/* live_line_columns - of the terminal on standard error; what COLUMNS says, or 80, where it does not tell. */
int live_line_columns(void);

/* live_line_show - draws the line in the place of the one before.  live_line_end - wipes it. */
void live_line_show(const struct live_part *parts, int num_parts);
void live_line_end(void);
