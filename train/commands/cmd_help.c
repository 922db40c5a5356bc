/* cmd_help.c - `atelier help [COMMAND | config]`: the commands, what one takes, the keys of a run file. */
#include <string.h>

#include "configs/schema/config.h"
#include "train/commands/commands.h"

struct help_words {
    const char *topic;
};

static const struct option OPTIONS[] = {
    {.name = "COMMAND",
     .help = "one of the commands; or 'config': every key of a run file; left out: the list of commands",
     .kind = OPTION_TEXT,
     .at = offsetof(struct help_words, topic)},
};

static int run(int argc, char **argv) {
    struct help_words words;
    if (!command_words(&COMMAND_help, &words, argc, argv))
        return EXIT_USAGE;
    const struct command *command = words.topic ? command_find(words.topic) : NULL;
    if (!words.topic)
        commands_print(stdout);
    else if (strcmp(words.topic, "config") == 0)
        config_print_help();
    else if (command)
        command_print_help(stdout, command);
    else
        return command_unknown(words.topic);
    return EXIT_DONE;
}

const struct command COMMAND_help = {
    .name = "help",
    .summary = "what a command takes, every key of a run file",
    .text = "What a command takes, and every key of a run file.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct help_words),
    .run = run,
};
