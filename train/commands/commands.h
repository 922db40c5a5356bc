/* commands.h - the commands of atelier.  A command is one file, cmd_NAME.c, which defines COMMAND_NAME, and one row here:
 * its line in 'atelier help', its usage, its help and its errors all come from that definition. */
#pragma once

#include "train/commands/options.h"

/* Exit codes of all commands; some have further ones, which their help tells. */
enum { EXIT_DONE = 0, EXIT_FAULT = 1, EXIT_USAGE = 2, EXIT_SAVED = 75 };

struct command {
    const char *name;
    const char *summary; /* its line in 'atelier help' */
    const char *text;    /* what its help says before the options */
    const struct option *options;
    int num_options;
    size_t words_bytes;                               /* of the struct that the options fill */
    int (*check)(const void *words, struct err *err); /* what the options must be together; NULL: anything */
    int (*run)(int argc, char **argv);                /* the words after the name; returns the exit code */
};

/* In the order of 'atelier help'. */
#define EACH_COMMAND(X)                                                                                      \
    X(prepare)                                                                                               \
    X(train)                                                                                                 \
    X(plan)                                                                                                  \
    X(submit)                                                                                                \
    X(status)                                                                                                \
    X(stop)                                                                                                  \
    X(chain)                                                                                                 \
    X(export)                                                                                                \
    X(card)                                                                                                  \
    X(report)                                                                                                \
    X(generate)                                                                                              \
    X(chat)                                                                                                  \
    X(eval)                                                                                                  \
    X(verify)                                                                                                \
    X(inspect)                                                                                               \
    X(doctor)                                                                                                \
    X(help)

#define DECLARE_COMMAND(name) extern const struct command COMMAND_##name;
EACH_COMMAND(DECLARE_COMMAND)
#undef DECLARE_COMMAND

/* command_at (cmd_help.c) - of the table's rows; NULL after the last.  command_find - by name; NULL: there is none. */
const struct command *command_at(int index);
const struct command *command_find(const char *name);

/* command_read - options_read and the command's check, into words, which is zeroed first.  Returns 0, or -1 with err set.
 * command_words - the same for a command of one process: false after the message, EXIT_USAGE is the code. */
int command_read(const struct command *command, void *words, int argc, char **argv, struct err *err);
bool command_words(const struct command *command, void *words, int argc, char **argv);

/* command_print_usage - one line or more, after a word such as "usage: ".  command_print_help - usage, text, options.
 * commands_print - the list of all. */
void command_print_usage(FILE *out, const char *before, const struct command *command);
void command_print_help(FILE *out, const struct command *command);
void commands_print(FILE *out);

/* command_unknown - one line on standard error: what was meant, as far as it can be guessed.  Returns EXIT_USAGE. */
int command_unknown(const char *name);
