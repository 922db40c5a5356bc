/* options.h - words of the command line that are not in a run file: --name VALUE, --name, and plain
 * arguments. */
#pragma once

#include "kernels/error.h"

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_INT, OPTION_REAL };

struct option {
    const char *name; /* "--seed"; an argument's name in capitals: "MODEL" (always text, in order) */
    enum option_kind kind;
    void *value;     /* bool *, const char **, int64_t * or double * */
    double min, max; /* of a number */
    const char *help;
};

/* options_parse - fill the values from the words.  Texts are borrowed from argv.  Returns 0, or -1 with err
 * set: unknown option (the nearest is named), missing value, not a number, out of range, too many arguments.
 */
int options_parse(const struct option *options, int num_options, int argc, char **argv, struct err *err);
