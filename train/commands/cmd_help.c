/* cmd_help.c - `atelier help [COMMAND | config]`: the commands, what one takes, the keys of a run file; and the same as manual
 * pages and as completion for shells.  The table of
 * commands stands here, beside the one that shows it. */
#include <string.h>

#include "configs/schema/config.h"
#include "configs/schema/foreign_words.h"
#include "configs/schema/nearest.h"
#include "train/commands/commands.h"
#include "train/commands/help_pages.h"

#define ROW(name) &COMMAND_##name,
static const struct command *const COMMANDS[] = {EACH_COMMAND(ROW) NULL};
#undef ROW

enum { NUM_COMMANDS = sizeof COMMANDS / sizeof COMMANDS[0] - 1 };

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
    const char *topic, *as;
};

static const struct option OPTIONS[] = {
    {.name = "COMMAND",
     .help = "one of the commands; or 'config': every key of a run file; left out: the list of commands",
     .kind = OPTION_TEXT,
     .at = offsetof(struct help_words, topic)},
    {.name = "--as",
     .value = "text|man|bash|zsh",
     .help =
         "man: a manual page, of all commands or of 'config'; bash, zsh: completion for that shell ('make install' puts them "
         "where they are looked for)",
     .kind = OPTION_CHOICE,
     .fallback = "text",
     .at = offsetof(struct help_words, as)},
};

static bool is(const char *word, const char *text) {
    return word && strcmp(word, text) == 0;
}

static int check(const void *words, struct err *err) {
    const struct help_words *asked = words;
    if (is(asked->as, "text") || !asked->topic || (is(asked->as, "man") && is(asked->topic, "config")))
        return 0;
    return err_set(err, "--as %s has no '%s': one page holds all commands; write 'atelier help --as %s'",
                   asked->as, asked->topic, asked->as);
}

static void print_pages(const struct help_words *words) {
    if (is(words->as, "bash"))
        completion_print_bash(stdout, COMMANDS);
    else if (is(words->as, "zsh"))
        completion_print_zsh(stdout, COMMANDS);
    else if (words->topic)
        man_print_config(stdout);
    else
        man_print_commands(stdout, COMMANDS);
}

static int run(int argc, char **argv) {
    struct help_words words;
    if (!command_words(&COMMAND_help, &words, argc, argv))
        return EXIT_USAGE;
    const struct command *command = words.topic ? command_find(words.topic) : NULL;
    if (!is(words.as, "text"))
        print_pages(&words);
    else if (!words.topic)
        commands_print(stdout);
    else if (is(words.topic, "config"))
        config_print_help(stdout);
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
    .check = check,
    .run = run,
};
