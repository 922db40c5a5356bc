/* options.h - the words of a command line, read by a table: arguments in their order, and options as "--name",
 * "--name VALUE" or "--name=VALUE" anywhere between them.  The same table makes the usage line and the help. */
#pragma once

#include <stdio.h>

#include "kernels/error.h"

/* What a row stores, and where: a field of the command's own struct. */
enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_TEXT,   /* const char *, borrowed from argv; NULL: not given */
    OPTION_CHOICE, /* const char *, one of the words of 'value' */
    OPTION_INT,    /* int64_t from min to max */
    OPTION_REAL,   /* double from min to max */
    OPTION_LIST,   /* struct option_list: may be given again and again */
    OPTION_REST, /* struct option_list: every word that no other row takes, once the required arguments are there */
};

enum { OPTIONS_MAX = 24, OPTION_LIST_MAX = 256 }; /* rows of a table; words of a list */

struct option_list {
    const char *words[OPTION_LIST_MAX]; /* borrowed from argv */
    int count;
};

struct option {
    const char *name;  /* "--seed"; of an argument its name in capitals, "MODEL": a text or a choice */
    const char *value; /* what the help calls the value: "N", "PATH"; of a choice its words: "hf|gguf" */
    const char *help;  /* one sentence, without the default, which is added */
    enum option_kind kind;
    size_t at;            /* offsetof the field */
    const char *fallback; /* the value where it is not given; NULL: zero, false, NULL */
    double min, max;
    bool is_required;
    bool
        takes_dash; /* of a path: "-" is standard input or output, as the help says; without it "-" is refused */
    const char *older; /* a name that it had in an earlier version, taken without a word; or NULL */
};

/* options_read - fill words, a zeroed struct, from the command line.  An argument that is a choice and is not required is
 * passed over where the word is not one of its choices.  Returns 0, or -1 with err set: unknown option (the nearest is
 * named), an option given twice, without its value or with one it does not take, not a number, out of range, not one of
 * the choices, one argument too many, a required one that is missing. */
int options_read(const struct option *options, int num_options, void *words, int argc, char **argv,
                 struct err *err);

/* options_refuse - the message for a word that no row takes.  Returns -1. */
int options_refuse(const struct option *options, int num_options, const char *word, struct err *err);

/* option_text - "--output PATH", "CONFIG": a row as it is typed; at most room_bytes.  option_is_argument - a row that has its place
 * on the line and no name of its own.  option_is_path - a row whose value is a file or a folder. */
const char *option_text(const struct option *option, char *text, size_t room_bytes);
bool option_is_argument(const struct option *option);
bool option_is_path(const struct option *option);

/* options_print_usage - " CONFIG [--ranks N] [--set KEY=VALUE]...", from column 'at' on.  options_print_help - a line or
 * more for each row. */
void options_print_usage(FILE *out, int at, const struct option *options, int num_options);
void options_print_help(FILE *out, const struct option *options, int num_options);

/* The rows that commands share.  OPTION_CONFIG, OPTION_BASE, OPTION_DEVICE, OPTION_TYPE: const char *; OPTION_SET: struct option_list. */
#define OPTION_BASE(field)                                                                                   \
    {                                                                                                        \
        .name = "--base", .value = "MODEL",                                                                  \
        .help = "of an adapter, the model that it belongs to; left out: where it says", .kind = OPTION_TEXT, \
        .at = (field)                                                                                        \
    }
#define OPTION_DEVICE(field)                                                                                 \
    {                                                                                                        \
        .name = "--device", .value = "cpu|cuda", .help = "what computes: processors, or the first GPU",      \
        .kind = OPTION_CHOICE, .at = (field), .fallback = "cpu"                                              \
    }
#define OPTION_TYPE(field, usual)                                                                            \
    {                                                                                                        \
        .name = "--type", .value = "stored|f32|bf16|f16",                                                    \
        .help = "what it computes in; stored: in f32 with matrices where the files have them, in their own " \
                "types; left out: " usual " on processors, f32 on a GPU",                                    \
        .kind = OPTION_CHOICE, .at = (field)                                                                 \
    }
#define OPTION_CONFIG(field)                                                                                 \
    { .name = "CONFIG", .help = "the run file", .kind = OPTION_TEXT, .at = (field), .is_required = true }
#define OPTION_SET(field)                                                                                    \
    {                                                                                                        \
        .name = "--set", .value = "KEY=VALUE",                                                               \
        .help = "takes precedence over the run file; may be repeated", .kind = OPTION_LIST, .at = (field)    \
    }
