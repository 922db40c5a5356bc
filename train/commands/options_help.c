/* options_help.c - a table of options as a usage line and as lines of help. */
#include "train/commands/options.h"

#include <string.h>

#include "configs/schema/help_text.h"

enum { HELP_COLUMN = 22, TEXT_ROOM = 128 };

/* repeats - what follows the text of a row that may be given again. */
static const char *repeats(const struct option *option) {
    return option->kind == OPTION_LIST || option->kind == OPTION_REST ? "..." : "";
}

/* In the order of the table, which is the order of the arguments on the line; what may be left out in brackets. */
void options_print_usage(FILE *out, int at, const struct option *options, int num_options) {
    enum { INDENT = 8 };
    char typed[TEXT_ROOM], item[TEXT_ROOM + 8];
    for (int i = 0; i < num_options; i++) {
        option_text(&options[i], typed, sizeof typed);
        int length = options[i].is_required
                         ? snprintf(item, sizeof item, "%s", typed)
                         : snprintf(item, sizeof item, "[%s]%s", typed, repeats(&options[i]));
        if (at + 1 + length > HELP_WIDTH)
            at = fprintf(out, "\n%*s", INDENT - 1, "") - 1;
        at += fprintf(out, " %s", item);
    }
    fputc('\n', out);
}

void options_print_help(FILE *out, const struct option *options, int num_options) {
    char typed[TEXT_ROOM], help[1024];
    for (int i = 0; i < num_options; i++) {
        const struct option *option = &options[i];
        int at = fprintf(out, "  %s%s", option_text(option, typed, sizeof typed), repeats(option));
        snprintf(help, sizeof help, "%s%s%s", option->help, option->fallback ? "; default: " : "",
                 option->fallback ? option->fallback : "");
        if (at >= HELP_COLUMN)
            at = fprintf(out, "\n") - 1;
        at += fprintf(out, "%*s", HELP_COLUMN - at, "");
        help_text_print(out, help, HELP_COLUMN, at);
    }
}
