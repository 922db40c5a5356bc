/* main.c - the only main: finds the command and calls it.  What each takes and does is in train/commands. */
#include <stdio.h>
#include <string.h>

#include "slurm/program.h"
#include "train/commands/commands.h"
#include "train/commands/streams.h"

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        if (is_help(argv[i]))
            return true;
    return false;
}

static int print_version(bool as_json) {
    if (as_json)
        program_print_json(stdout);
    else
        printf("atelier %s\n", ATELIER_VERSION);
    return EXIT_DONE;
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        commands_print(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (is_help(name))
        return COMMAND_help.run(argc - 2, argv + 2);
    if (strcmp(name, "--version") == 0)
        return print_version(argc > 2 && strcmp(argv[2], "--json") == 0);
    const struct command *command = command_find(name);
    if (!command)
        return command_unknown(name);
    if (asks_for_help(argc - 2, argv + 2)) {
        command_print_help(stdout, command);
        return EXIT_DONE;
    }
    return command->run(argc - 2, argv + 2);
}

int main(int argc, char **argv) {
    streams_open();
    return streams_close(run(argc, argv));
}
