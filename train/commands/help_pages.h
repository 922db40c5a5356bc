/* help_pages.h - the table of commands in the forms that an installed program has: manual pages, and completion for shells.
 * commands: the rows, with NULL after the last. */
#pragma once

#include "train/commands/commands.h"

/* man_print_commands - atelier(1), in the macros of man(7): every command with its options.  man_print_config -
 * atelier.yaml(5): the page of 'atelier help config' as it is. */
void man_print_commands(FILE *out, const struct command *const *commands);
void man_print_config(FILE *out);

/* completion_print_bash - a script for bash: commands, their options, the choices of these, the keys after --set, and files.
 * completion_print_zsh - the same for zsh, by its own reading of such scripts. */
void completion_print_bash(FILE *out, const struct command *const *commands);
void completion_print_zsh(FILE *out, const struct command *const *commands);
