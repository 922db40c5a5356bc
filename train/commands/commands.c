/* commands.c - the table of commands: finding one, reading its words, its help. */
#include "train/commands/commands.h"

#include <string.h>

#include "configs/schema/foreign_words.h"
#include "configs/schema/nearest.h"

#define ROW(name) &COMMAND_##name,
static const struct command *const COMMANDS[] = {EACH_COMMAND(ROW)};
#undef ROW

enum { NUM_COMMANDS = sizeof COMMANDS / sizeof COMMANDS[0] };

const struct command *command_at(int index) {
    return index < NUM_COMMANDS ? COMMANDS[index] : NULL;
}

const struct command *command_find(const char *name) {
    for (int i = 0; i < NUM_COMMANDS; i++)
        if (strcmp(COMMANDS[i]->name, name) == 0)
            return COMMANDS[i];
    return NULL;
}

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

void command_print_help(FILE *out, const struct command *command) {
    int at = fprintf(out, "usage: atelier %s", command->name);
    options_print_usage(out, at, command->options, command->num_options);
    fputc('\n', out);
    text_print(out, command->text, 0, 0);
    fputc('\n', out);
    options_print_help(out, command->options, command->num_options);
}

void commands_print(FILE *out) {
    fprintf(out, "atelier %s - trains and fine-tunes language models on MPI ranks\n\n", ATELIER_VERSION);
    for (int i = 0; i < NUM_COMMANDS; i++)
        fprintf(out, "  atelier %-9s %s\n", COMMANDS[i]->name, COMMANDS[i]->summary);
    fprintf(out, "\n  atelier help COMMAND         what a command takes; so does 'atelier COMMAND --help'\n"
                 "  atelier help config          every key of a run file\n"
                 "  atelier --version [--json]   with --json also the GPUs it was built for\n\n"
                 "MODEL is a Hugging Face folder, a GGUF file or a checkpoint.\n"
                 "Exit codes: 0 done, 1 fault, 2 usage or configuration, 75 stopped after a checkpoint: "
                 "start again.\n");
}

int command_unknown(const char *name) {
    const char *names[NUM_COMMANDS];
    const struct foreign_word *foreign = foreign_command(name);
    if (foreign) {
        fprintf(stderr, "error: unknown command '%s' (", name);
        if (foreign->here)
            fprintf(stderr, "did you mean '%s'?%s", foreign->here, foreign->note ? " " : "");
        fprintf(stderr, "%s)\n", foreign->note ? foreign->note : "");
        return EXIT_USAGE;
    }
    for (int i = 0; i < NUM_COMMANDS; i++)
        names[i] = COMMANDS[i]->name;
    const char *nearest = nearest_word(name, names, NUM_COMMANDS);
    if (nearest)
        fprintf(stderr, "error: unknown command '%s' (did you mean '%s'?)\n", name, nearest);
    else
        fprintf(stderr, "error: unknown command '%s' ('atelier help' lists them)\n", name);
    return EXIT_USAGE;
}
