/* submit_values.c - what the user writes for the script, word by word: anything that Slurm would not take,
 * that another key sets, or that could end a line of the script, is refused. */
#include <string.h>

#include "train/slurm_text.h"
#include "train/submit_rules.h"

static int refuse_text(struct remarks *remarks, const char *key, const char *value) {
    return remark(remarks, REMARK_ERROR, "'%s' holds a line break or another control character: '%.60s'", key,
                  value);
}

/* check_option - of slurm.options: not one that a key of its own sets, and checks. */
static int check_option(const char *option, struct remarks *remarks) {
    static const struct {
        const char *option, *key;
    } owned[] = {{"account", "slurm.account"},
                 {"partition", "slurm.partition"},
                 {"qos", "slurm.qos"},
                 {"time", "slurm.time"},
                 {"nodes", "slurm.nodes"},
                 {"ntasks", "slurm.ranks_per_node"},
                 {"ntasks-per-node", "slurm.ranks_per_node"},
                 {"gres", "slurm.gpus_per_node"},
                 {"gpus", "slurm.gpus_per_node"},
                 {"gpus-per-node", "slurm.gpus_per_node"},
                 {"cpus-per-task", "slurm.cpus_per_rank"},
                 {"constraint", "slurm.constraint"},
                 {"exclude", "slurm.exclude"},
                 {"signal", "slurm.signal_lead_s"},
                 {"job-name", "slurm.job_name"},
                 {"output", "run.folder"},
                 {"chdir", "the folder where you call atelier"},
                 {"dependency", "slurm.chain"},
                 {"requeue", "slurm.requeue"},
                 {"no-requeue", "slurm.requeue"},
                 {"array", "slurm.chain"},
                 {"wrap", "nothing: the script is atelier's"}};
    if (!is_one_line(option))
        return refuse_text(remarks, "slurm.options", option);
    if (strncmp(option, "--", 2) != 0)
        return remark(remarks, REMARK_ERROR, "'slurm.options' holds '%.60s': write options as --name=value",
                      option);
    size_t length = strcspn(option + 2, "= ");
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        if (strlen(owned[i].option) == length && strncmp(option + 2, owned[i].option, length) == 0)
            return remark(remarks, REMARK_ERROR, "'slurm.options' holds '%.60s': that is set by %s", option,
                          owned[i].key);
    return 0;
}

static int check_lists(const struct job_plan *plan, struct remarks *remarks) {
    const struct slurm_config *asked = &plan->config->slurm;
    int status = 0;
    for (int i = 0; i < asked->num_options; i++)
        status |= check_option(asked->options[i].text, remarks);
    for (int i = 0; i < asked->num_modules; i++)
        if (!is_name(asked->modules[i].text, "_-./+@="))
            status |=
                remark(remarks, REMARK_ERROR, "'slurm.modules' holds '%.60s', which is no module's name",
                       asked->modules[i].text);
    for (int i = 0; i < asked->num_environment; i++) {
        if (!is_variable_name(asked->environment[i].name))
            status |= remark(remarks, REMARK_ERROR,
                             "'slurm.environment' holds '%.60s', which is no variable's name",
                             asked->environment[i].name);
        else if (!is_one_line(asked->environment[i].value))
            status |= refuse_text(remarks, "slurm.environment", asked->environment[i].name);
    }
    return status;
}

int submit_check_values(const struct job_plan *plan, struct remarks *remarks) {
    const struct slurm_config *asked = &plan->config->slurm;
    const struct submit_facts *facts = plan->facts;
    const struct {
        const char *key, *value;
    } lines[] = {{"run.folder", facts->run_folder},
                 {"the working folder", facts->working_folder},
                 {"the program's path", facts->program},
                 {"the run file's name", facts->config_path},
                 {"slurm.mail", asked->mail}};
    int status = 0;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (lines[i].value && !is_one_line(lines[i].value))
            status |= refuse_text(remarks, lines[i].key, lines[i].value);
    /* In the name of a log file a backslash switches Slurm's %x and %j off. */
    if (strchr(facts->run_folder, '\\'))
        status |= remark(remarks, REMARK_ERROR,
                         "'run.folder' is '%.200s': Slurm cannot write logs to a path with '\\'",
                         facts->run_folder);
    if (asked->exclude && !is_name(asked->exclude, "_-.,[]"))
        status |= remark(remarks, REMARK_ERROR, "'slurm.exclude' is '%.60s', which is no list of nodes",
                         asked->exclude);
    if (asked->mpi && !is_name(asked->mpi, "_-."))
        status |=
            remark(remarks, REMARK_ERROR, "'slurm.mpi' is '%.60s', which is no plugin of srun", asked->mpi);
    if (asked->mail && !is_name(asked->mail, "_-.@+,"))
        status |= remark(remarks, REMARK_ERROR, "'slurm.mail' is '%.60s', which is no address", asked->mail);
    return status | check_lists(plan, remarks);
}
