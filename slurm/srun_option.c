/* srun_option.c - the lists of what is allowed, abbreviations included, and the reason of each refusal. */
#include "slurm/srun_option.h"

#include <string.h>

#include "slurm/slurm_text.h"

/* What belongs to the plan: given beside it, the job would run otherwise than was planned and billed. */
static const struct {
    const char *option, *owner;
} OWNED[] = {{"mpi", "slurm.mpi"},
             {"hint", "the profile's hint"},
             {"ntasks", "slurm.ranks_per_node"},
             {"ntasks-per-node", "slurm.ranks_per_node"},
             {"ntasks-per-core", "slurm.ranks_per_node"},
             {"ntasks-per-socket", "slurm.ranks_per_node"},
             {"ntasks-per-gpu", "slurm.ranks_per_node"},
             {"nodes", "slurm.nodes"},
             {"cpus-per-task", "slurm.cpus_per_rank"},
             {"cpus-per-gpu", "slurm.cpus_per_rank"},
             {"gres", "slurm.gpus_per_node"},
             {"gpus", "slurm.gpus_per_node"},
             {"gpus-per-node", "slurm.gpus_per_node"},
             {"gpus-per-task", "slurm.gpus_per_node"},
             {"tres-per-task", "slurm.gpus_per_node"},
             {"exclude", "slurm.exclude"},
             {"nodelist", "slurm.exclude"},
             {"relative", "the script"},
             {"multi-prog", "the script"},
             {"preserve-env", "the script"},
             {"kill-on-bad-exit", "the script"},
             {"no-kill", "the script"},
             {"wait", "the script"},
             {"jobid", "the script"},
             {"het-group", "the script"},
             {"overlap", "the script"},
             {"time", "slurm.time"},
             {"chdir", "the folder where you call atelier"},
             {"output", "the script: logs go to run.folder/logs"},
             {"error", "the script: logs go to run.folder/logs"},
             {"signal", "slurm.signal_lead_s"}};

/* is_abbreviation - Slurm takes the beginning of an option's name for the option. */
static bool is_abbreviation(const char *name, size_t length, const char *option) {
    return length >= 2 && length <= strlen(option) && strncmp(name, option, length) == 0;
}

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
    for (size_t i = 0; i < sizeof OWNED / sizeof OWNED[0]; i++)
        if (is_abbreviation(option + 2, length, OWNED[i].option))
            return err_set(err, "'%.60s': '--%s' of srun is set by %s", option, OWNED[i].option,
                           OWNED[i].owner);
    return 0;
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
