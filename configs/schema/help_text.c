/* help_text.c - texts of the help, in lines of a terminal's width. */
#include "configs/schema/help_text.h"

#include <stdbool.h>
#include <string.h>

/* Words go to the next line where they would pass column HELP_WIDTH.  A newline of the text ends a line, and blanks
 * after it are kept: that is how examples are set in. */
void help_text_print(FILE *out, const char *text, int indent, int at) {
    bool starts_line = true; /* the spaces there are the text's own: an example, set in */
    at += fprintf(out, "%*s", indent > at ? indent - at : 0, "");
    for (;;) {
        int gap = (int)strspn(text, " "), length = (int)strcspn(text + gap, " \n");
        bool breaks = text[gap] == '\n';
        if (text[gap] == '\0')
            break;
        if (breaks || (!starts_line && at + gap + length > HELP_WIDTH)) {
            at = fprintf(out, "\n%*s", indent, "") - 1;
            text += gap + breaks;
            starts_line = true;
            continue;
        }
        at += fprintf(out, "%*s%.*s", gap, "", length, text + gap);
        text += gap + length;
        starts_line = false;
    }
    fputc('\n', out);
}
