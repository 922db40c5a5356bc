/* help_man.c - manual pages from the tables of commands and of keys. */
#include "train/commands/help_pages.h"

#include <stdlib.h>
#include <string.h>

#include "configs/schema/config.h"
#include "configs/schema/help_text.h"
#include "train/commands/commands.h"

enum { TYPED_ROOM = 128 };

/* print_roff - a text of one line in which nothing is a command of roff: backslashes and hyphens are written as such, and a point
 * or an apostrophe at its beginning has a character of no width before it. */
static void print_roff(FILE *out, const char *text, size_t length) {
    if (length > 0 && (*text == '.' || *text == '\''))
        fputs("\\&", out);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\')
            fputs("\\e", out);
        else if (text[i] == '-')
            fputs("\\-", out);
        else
            fputc(text[i], out);
    }
}

static void print_word(FILE *out, const char *text) {
    print_roff(out, text, strlen(text));
}

/* print_lines - a text whose lines stay lines, each as far in as it is; what is too long for the terminal goes on below its own
 * beginning. */
static void print_lines(FILE *out, const char *text) {
    enum { MARGIN = 7 }; /* of the macros */
    while (*text) {
        int indent = (int)strspn(text, " ");
        size_t length = strcspn(text, "\n");
        if (length == 0)
            fputs(".sp", out);
        else
            fprintf(out, ".br\n.in %dn\n", MARGIN + indent);
        print_roff(out, text + (length ? indent : 0), length ? length - (size_t)indent : 0);
        fputc('\n', out);
        text += length + (text[length] == '\n');
    }
    fprintf(out, ".br\n.in %dn\n", MARGIN);
}

/* unwrap - joins the lines that help_text_print broke at its width, in place: the pager has a width of its own.  A line was broken
 * where the first word of the next one, as far in, had no room on it. */
static void unwrap(char *text) {
    char *out = text;
    size_t last = 0, last_indent = 0; /* of the line before, as it stands in text; 0: an empty one */
    while (*text) {
        size_t length = strcspn(text, "\n"), indent = strspn(text, " ");
        size_t word = strcspn(text + indent, " \n");
        bool goes_on = last > 0 && length > 0 && indent == last_indent && last <= HELP_WIDTH &&
                       last + 1 + word > HELP_WIDTH;
        size_t from = goes_on ? indent : 0;
        if (goes_on)
            out[-1] = ' '; /* the line feed */
        memmove(out, text + from, length - from);
        out += length - from;
        text += length;
        if (*text)
            *out++ = *text++;
        last = length;
        last_indent = indent;
    }
    *out = '\0';
}

/* print_option - what is typed in bold, with what it stands for after it. */
static void print_option(FILE *out, const struct option *option) {
    char typed[TYPED_ROOM];
    fputs(".TP\n.B ", out);
    print_word(out, option_text(option, typed, sizeof typed));
    fputc('\n', out);
    print_word(out, option->help);
    if (option->fallback) {
        fputs("; default: ", out);
        print_word(out, option->fallback);
    }
    fputc('\n', out);
}

/* A command's text has lines of its own, examples among them: they stay as they are. */
static void print_command(FILE *out, const struct command *command) {
    char *usage = NULL;
    size_t usage_bytes;
    FILE *memory = open_memstream(&usage, &usage_bytes);
    CHECK(memory, "out of memory");
    command_print_usage(memory, "", command);
    fclose(memory);
    fprintf(out, ".SS %s\n", command->name);
    print_lines(out, usage);
    free(usage);
    fputs(".PP\n", out);
    print_lines(out, command->text);
    for (int i = 0; i < command->num_options; i++)
        print_option(out, &command->options[i]);
}

void man_print_commands(FILE *out, const struct command *const *commands) {
    const struct command *command;
    fprintf(out, ".TH ATELIER 1 \"\" \"atelier %s\" \"User Commands\"\n.nh\n.ad l\n", ATELIER_VERSION);
    fputs(
        ".SH NAME\natelier \\- trains and fine\\-tunes language models on MPI ranks\n.SH SYNOPSIS\n"
        ".B atelier\n.I COMMAND\n[words of the command]\n.PP\n.B mpirun \\-n\n.I N\n.B atelier train\n.I CONFIG\n"
        ".SH DESCRIPTION\n.nf\n",
        out);
    for (int i = 0; (command = commands[i]); i++) {
        fprintf(out, "\\fB%-9s\\fR ", command->name);
        print_word(out, command->summary);
        fputc('\n', out);
    }
    fputs(".fi\n.PP\nMODEL is a Hugging Face folder, a GGUF file or a checkpoint.\n.SH COMMANDS\n", out);
    for (int i = 0; (command = commands[i]); i++)
        print_command(out, command);
    fputs(
        ".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 1\nfault\n.TP\n.B 2\nusage or configuration\n.TP\n.B 75\n"
        "stopped after a checkpoint: start again\n.SH SEE ALSO\n.BR atelier.yaml (5),\n.BR mpirun (1),\n.BR sbatch (1)\n",
        out);
}

void man_print_config(FILE *out) {
    char *page = NULL;
    size_t page_bytes;
    FILE *memory = open_memstream(&page, &page_bytes);
    CHECK(memory, "out of memory");
    config_print_help(memory);
    fclose(memory);
    fprintf(out, ".TH ATELIER.YAML 5 \"\" \"atelier %s\" \"File Formats\"\n.nh\n.ad l\n", ATELIER_VERSION);
    fputs(".SH NAME\natelier.yaml \\- the run file of atelier: every key\n.SH DESCRIPTION\n", out);
    unwrap(page);
    print_lines(out, page);
    fputs(".SH SEE ALSO\n.BR atelier (1)\n", out);
    free(page);
}
