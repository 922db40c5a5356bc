/* config_help.c - `atelier help config`: the table of keys as a page. */
#include "configs/schema/config_effect.h"
#include "configs/schema/help_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* print_key - the last word of its name, range, default and class on one line, the help below. */
static void print_key(FILE *out, const struct config_key *key, const char *word, int indent,
                      const char *class) {
    char *range = config_range_text(key);
    fprintf(out, "%*s%-*s %s", indent, "", 26 - indent, word, range);
    if (key->unit)
        fprintf(out, " [%s]", key->unit);
    if (key->type != KEY_LIST && key->fallback && key->fallback[0])
        fprintf(out, ", default %s", key->fallback);
    char *condition = key->needs.key ? config_condition_text(&key->needs) : NULL;
    fprintf(out, "%s%s\n", class ? ", " : "", class ? class : "");
    help_text_print(out, key->help, indent + 4, 0);
    if (condition)
        fprintf(out, "%*sread only %s\n", indent + 4, "", condition);
    free(condition);
    free(range);
    if (key->type == KEY_LIST)
        for (int i = 0; i < key->element->num_keys; i++)
            print_key(out, &key->element->keys[i], key->element->keys[i].name, indent + 4, NULL);
}

static const char INTRODUCTION[] =
    "A run file is YAML: sections, and below each its keys. A file holds only what its command needs: 'prepare:' for 'atelier prepare', "
    "the other sections for 'atelier train'. On the command line '--set section.key=value' takes precedence over the file ('=null': the "
    "default). A key left empty is refused. Paths are relative to the working folder.\n"
    "\nWhat happens when a key was changed and the run goes on from a checkpoint is the last word of its line:\n"
    "  fixed   refused, it would be another run: choose another run.folder. Where of the fixed keys only\n"
    "          data.*, run.seed, train.batch_sequences or model.save_dtype changed, checkpoint.from can\n"
    "          begin there at a checkpoint of this one\n"
    "  course  the training takes another course; said, before and after\n"
    "  free    what is learnt stays the same; said in one line\n"
    "Base model, tokenizer and token files are compared by what they hold: they may be renamed and moved.\n"
    "\nSome keys are read only where another key has a certain value, which their last line says; elsewhere they are refused, unless "
    "they have their default.";

/* A section's line is printed where the words before the last one change: the table is in the order of the
 * sections. */
void config_print_help(FILE *out) {
    const struct config_table *table = config_table();
    size_t last_length = 0;
    const char *last_section = "";
    help_text_print(out, INTRODUCTION, 0, 0);
    for (int i = 0; i < table->num_keys; i++) {
        const char *name = table->keys[i].name, *word = strrchr(name, '.') + 1;
        size_t length = (size_t)(word - name);
        if (length != last_length || strncmp(name, last_section, length) != 0)
            fprintf(out, "\n%.*s:\n", (int)length - 1, name);
        last_section = name;
        last_length = length;
        print_key(out, &table->keys[i], word, 2, config_class_name(table->keys[i].class));
    }
}
