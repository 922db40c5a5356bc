/* cmd_help.c - `atelier help [COMMAND | config]`: the commands, what one takes, the keys of a run file.  The table of
 * commands stands here, beside the one that shows it. */
#include <string.h>

#include "configs/schema/config.h"
#include "configs/schema/foreign_words.h"
#include "configs/schema/nearest.h"
#include "train/commands/commands.h"

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

/* Words of other programs first ("finetune", "perplexity"): the nearest word by letters would be a wrong guess
 * there. */
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

/* --- the command --- */

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
