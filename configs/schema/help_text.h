/* help_text.h - texts of the help, in lines of a terminal's width. */
#pragma once

#include <stdio.h>

enum { HELP_WIDTH = 100 };

/* help_text_print - a text in lines of at most HELP_WIDTH columns, each after indent spaces; the first begins at column 'at',
 * where something stands already. */
void help_text_print(FILE *out, const char *text, int indent, int at);
