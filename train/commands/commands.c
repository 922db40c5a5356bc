/* commands.c - what a row of the table of commands is good for: reading its words, its help. */
#include "train/commands/commands.h"

#include <string.h>

#include "configs/schema/help_text.h"

int command_read(const struct command *command, void *words, int argc, char **argv, struct err *err) {
    struct err why = {""};
    memset(words, 0, command->words_bytes);
    if (options_read(command->options, command->num_options, words, argc, argv, &why) != 0)
        return err_set(err, "%.3900s; see 'atelier %s --help'", why.text, command->name);
    return command->check ? command->check(words, err) : 0;
}

bool command_words(const struct command *command, void *words, int argc, char **argv) {
    struct err err = {""};
    if (command_read(command, words, argc, argv, &err) == 0)
        return true;
    fprintf(stderr, "error: %s\n", err.text);
    return false;
}

void command_print_usage(FILE *out, const char *before, const struct command *command) {
    int at = fprintf(out, "%satelier %s", before, command->name);
    options_print_usage(out, at, command->options, command->num_options);
}

void command_print_help(FILE *out, const struct command *command) {
    command_print_usage(out, "usage: ", command);
    fputc('\n', out);
    help_text_print(out, command->text, 0, 0);
    fputc('\n', out);
    options_print_help(out, command->options, command->num_options);
}
