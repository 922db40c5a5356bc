/* help_completion.c - completion for shells from the tables of commands and of keys.  Names and choices are words of letters,
 * digits, hyphens, points and underscores: nothing in them means anything to a shell. */
#include "train/commands/help_pages.h"

#include <string.h>

#include "configs/schema/config_table.h"
#include "train/commands/commands.h"

/* print_choices - "a|b|c" as words. */
static void print_choices(FILE *out, const char *choices) {
    for (; *choices; choices++)
        fputc(*choices == '|' ? ' ' : *choices, out);
}

static void print_commands(FILE *out, const struct command *const *commands) {
    const struct command *command;
    for (int i = 0; (command = commands[i]); i++)
        fprintf(out, "%s ", command->name);
}

/* print_names - the options that a command takes, and the words of its argument where they are known. */
static void print_names(FILE *out, const struct command *const *commands, const struct command *command) {
    fputs("--help", out);
    if (strcmp(command->name, "help") == 0) {
        fputs(" config ", out);
        print_commands(out, commands);
    }
    for (int i = 0; i < command->num_options; i++) {
        const struct option *option = &command->options[i];
        if (!option_is_argument(option))
            fprintf(out, " %s", option->name);
        else if (option->kind == OPTION_CHOICE) {
            fputc(' ', out);
            print_choices(out, option->value);
        }
    }
}

/* A row for each option whose value is one of a few words: "COMMAND OPTION". */
static void print_values(FILE *out, const struct command *const *commands) {
    const struct command *command;
    for (int c = 0; (command = commands[c]); c++)
        for (int i = 0; i < command->num_options; i++) {
            const struct option *option = &command->options[i];
            if (option->kind != OPTION_CHOICE || option_is_argument(option))
                continue;
            fprintf(out, "        '%s %s') words='", command->name, option->name);
            print_choices(out, option->value);
            fputs("' ;;\n", out);
        }
}

static void print_keys(FILE *out) {
    const struct config_table *table = config_table();
    for (int i = 0; i < table->num_keys; i++)
        fprintf(out, "%s%s=", i ? " " : "", table->keys[i].name);
}

/* Files are what is left where a word fits nothing else.  A key ends with '=', after which no blank is set. */
static void print_function(FILE *out, const struct command *const *commands) {
    const struct command *command;
    fputs(
        "_atelier_words() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]:-} words=\n"
        "    COMPREPLY=()\n"
        "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words='",
        out);
    print_commands(out, commands);
    fputs(
        "--version'\n    elif [ \"$before\" = --set ]; then\n        compopt -o nospace 2>/dev/null\n        words='",
        out);
    print_keys(out);
    fputs("'\n    else\n        case \"$command $before\" in\n", out);
    print_values(out, commands);
    fputs("        *)\n            case $command in\n", out);
    for (int i = 0; (command = commands[i]); i++) {
        fprintf(out, "            %s) words='", command->name);
        print_names(out, commands, command);
        fputs("' ;;\n", out);
    }
    fputs("            esac\n            case $word in -*) ;; *) compopt -o default 2>/dev/null ;; esac\n"
          "            ;;\n        esac\n    fi\n"
          "    while IFS= read -r word; do COMPREPLY+=(\"$word\"); done < <(compgen -W \"$words\" -- "
          "\"${COMP_WORDS[COMP_CWORD]}\")\n}\n"
          "complete -F _atelier_words atelier\n",
          out);
}

void completion_print_bash(FILE *out, const struct command *const *commands) {
    fprintf(out, "# atelier %s: completion for bash, made by 'atelier help --as bash'\n", ATELIER_VERSION);
    print_function(out, commands);
}

void completion_print_zsh(FILE *out, const struct command *const *commands) {
    fprintf(out, "#compdef atelier\n# atelier %s: completion for zsh, made by 'atelier help --as zsh'\n",
            ATELIER_VERSION);
    fputs("autoload -U +X bashcompinit && bashcompinit\n", out);
    print_function(out, commands);
    fputs("_bash_complete -F _atelier_words\n",
          out); /* zsh calls this file for the first word that is completed */
}
