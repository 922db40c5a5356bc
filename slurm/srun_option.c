/* srun_option.c - the forms in which options, memory and a launcher are written. */
#include "slurm/srun_option.h"

#include <string.h>

#include "slurm/slurm_options.h"
#include "slurm/slurm_text.h"

/* "--name value" would be two words to srun, the second one the program: refused with its own reason. */
int srun_option_check(const char *option, struct err *err) {
    if (!is_one_line(option))
        return err_set(err, "an option of srun holds a line break or another control character: '%.60s'",
                       option);
    if (strncmp(option, "--", 2) != 0 || !option[2])
        return err_set(err, "'%.60s' is not an option of srun: write it as --name=value", option);
    size_t length = strcspn(option + 2, "= ");
    if (option[2 + length] == ' ')
        return err_set(err, "'%.60s' is not one option of srun: write --name=value, each as an entry",
                       option);
    const char *name, *reason = slurm_option_reason(SLURM_SRUN, option, &name);
    return reason ? err_set(err, "'%.60s': '--%s' of srun: %s", option, name, reason) : 0;
}

int memory_check(const char *text, struct err *err) {
    size_t digits = strspn(text, "0123456789");
    bool has_unit = text[digits] && strchr("KMGT", text[digits]);
    if (digits == 0 || digits > 15 || text[digits + has_unit])
        return err_set(err,
                       "'%.60s' is not an amount of memory as Slurm takes it: 0 (all of a node), 400G, 4000M",
                       text);
    return 0;
}

/* Only the first word has to be a program: those after it are its own, and may be options or hold blanks. */
int launcher_word_check(const char *word, int index, struct err *err) {
    if (!word[0] || !is_one_line(word))
        return err_set(err, "a word of 'launcher' is empty, or holds a line break: '%.60s'", word);
    if (index == 0 && (word[0] == '-' || strchr(word, ' ')))
        return err_set(
            err,
            "'launcher' begins with '%.60s', which is not a program: write a list of words, such as "
            "[apptainer, exec, --nv, IMAGE]",
            word);
    return 0;
}
