/* submit_values.c - what the user writes for the script, word by word: anything that Slurm would not take,
 * that another key sets, or that could end a line of the script, is refused. */
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config_path.h"
#include "slurm/slurm_options.h"
#include "slurm/slurm_text.h"
#include "slurm/srun_option.h"
#include "slurm/submit_rules.h"

static int refuse_text(struct diagnostics *diagnostics, const char *key, const char *value) {
    return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                          "'%s' holds a line break or another control character: '%.60s'", key, value);
}

/* check_option - of slurm.options, or of a profile's 'options'.  Options that a key of slurm sets are refused: of
 * two that contradict each other sbatch takes one, and the plan would be of the other. */
static int check_option(const char *key, const char *option, struct diagnostics *diagnostics) {
    const char *name, *reason = slurm_option_reason(SLURM_SBATCH, option, &name);
    if (!is_one_line(option))
        return refuse_text(diagnostics, key, option);
    if (reason)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'%s' holds '%.60s': %s", key, option, reason);
    if (strncmp(option, "--", 2) != 0)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'%s' holds '%.60s': write options as --name=value", key, option);
    return 0;
}

/* steers_srun - a variable that changes how many ranks srun starts, where, or what they are given: it means the same as an
 * option of slurm_options.c that is refused.  Names and beginnings of names. */
static bool steers_srun(const char *name) {
    static const char *const names[] = {
        "SLURM_NTASKS",     "SLURM_NPROCS",    "SLURM_NNODES",     "SLURM_GPUS",        "SLURM_JOB_",
        "SLURM_TASKS_PER_", "SLURM_GRES",      "SLURM_STEP_",      "SRUN_CPUS_PER_",    "SLURM_CPUS_PER_",
        "SLURM_TRES",       "SLURM_DISTRIB",   "SLURM_EXPORT_ENV", "SRUN_EXPORT_ENV",   "SLURM_HINT",
        "SLURM_THREAD",     "SLURM_CORE_SPEC", "SLURM_MPI_TYPE",   "SLURM_OVERCOMMIT",  "SLURM_OVERLAP",
        "SLURM_MEM_PER_",   "SLURM_TIMELIMIT", "SLURM_KILL_BAD",   "SLURM_NO_KILL",     "SLURM_STDOUTMODE",
        "SLURM_STDERRMODE", "SLURM_CONTAINER", "SRUN_CONTAINER",   "SLURM_WORKING_DIR", "SLURM_BCAST"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(name, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* check_variable - what is given to the program must not change what was planned for it. */
static int check_variable(const struct variable *variable, struct diagnostics *diagnostics) {
    if (!is_variable_name(variable->name))
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.environment' holds '%.60s', which is not a variable's name",
                              variable->name);
    if (steers_srun(variable->name))
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'slurm.environment' holds '%.60s', which changes what srun starts: use the key of slurm that says it, such as "
            "slurm.nodes, slurm.ranks_per_node, slurm.gpus_per_node or slurm.cpus_per_rank",
            variable->name);
    return is_one_line(variable->value) ? 0 : refuse_text(diagnostics, "slurm.environment", variable->name);
}

/* The nearer wins, whole: words of two launchers do not make a third. */
const struct text_entry *submit_launcher(const struct job_request *request, int *count) {
    const struct slurm_config *asked = &request->config->slurm;
    if (asked->num_launcher > 0) {
        *count = asked->num_launcher;
        return asked->launcher;
    }
    bool is_partitions = request->partition->num_launcher > 0;
    *count = is_partitions ? request->partition->num_launcher : request->site->num_launcher;
    return is_partitions ? request->partition->launcher : request->site->launcher;
}

/* check_expansion - environment variables in words that are expanded when the job is submitted. */
static int check_expansion(const char *key, const struct text_entry *words, int count,
                           struct diagnostics *diagnostics) {
    int status = 0;
    for (int i = 0; i < count; i++) {
        struct err err = {""};
        char *value = config_path_expand(words[i].text, &err);
        if (!value)
            status |= diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'%s' holds '%.100s': %s", key,
                                     words[i].text, err.text);
        else if (!is_one_line(value) && is_one_line(words[i].text)) /* else it was said */
            status |= refuse_text(diagnostics, key, value);
        free(value);
    }
    return status;
}

/* tell_dollar - what is not expanded is passed as it is, and said: a path that begins with '$SCRATCH' helps nobody. */
static void tell_dollar(const char *key, const char *value, struct diagnostics *diagnostics) {
    for (const char *at = value; (at = strchr(at, '$')); at++)
        if (at[1] == '{' || is_name((char[]){at[1], '\0'}, "_")) {
            diagnostic_add(
                diagnostics, DIAGNOSTIC_WARNING,
                "'%s' holds '%.100s': the '$' stays as it is; variables are expanded in paths of the run "
                "file, launcher, module_path and module_init alone",
                key, value);
            return;
        }
}

static void tell_dollars(const char *key, const struct variable *variables, int count,
                         struct diagnostics *diagnostics) {
    for (int i = 0; i < count; i++)
        tell_dollar(key, variables[i].value, diagnostics);
}

int submit_check_variables(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct slurm_config *asked = &request->config->slurm;
    const struct site *site = request->site;
    int count;
    const struct text_entry *words = submit_launcher(request, &count);
    tell_dollars("slurm.environment", asked->environment, asked->num_environment, diagnostics);
    tell_dollars("environment of the site's profile", site->environment, site->num_environment, diagnostics);
    tell_dollars("environment of the partition", request->partition->environment,
                 request->partition->num_environment, diagnostics);
    for (int i = 0; i < asked->num_options; i++)
        tell_dollar("slurm.options", asked->options[i].text, diagnostics);
    for (int i = 0; i < asked->num_srun_options; i++)
        tell_dollar("slurm.srun_options", asked->srun_options[i].text, diagnostics);
    return check_expansion("launcher", words, count, diagnostics) |
           check_expansion("module_path", site->module_path, site->num_module_path, diagnostics) |
           check_expansion("module_init", site->module_init, site->num_module_init, diagnostics);
}

/* check_lists - to the end, whatever was found: all that is wrong is told at once. */
static int check_lists(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct slurm_config *asked = &request->config->slurm;
    struct err err = {""};
    int status = 0;
    for (int i = 0; i < asked->num_options; i++)
        status |= check_option("slurm.options", asked->options[i].text, diagnostics);
    for (int i = 0; i < request->site->num_options; i++)
        status |= check_option("options of the site's profile", request->site->options[i].text, diagnostics);
    for (int i = 0; i < asked->num_srun_options; i++)
        if (srun_option_check(asked->srun_options[i].text, &err) != 0)
            status |= diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'slurm.srun_options': %s", err.text);
    for (int i = 0; i < asked->num_launcher; i++)
        if (launcher_word_check(asked->launcher[i].text, i, &err) != 0)
            status |= diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'slurm.launcher': %s", err.text);
    if (asked->mem && memory_check(asked->mem, &err) != 0)
        status |= diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'slurm.mem': %s", err.text);
    for (int i = 0; i < asked->num_modules; i++)
        if (!is_name(asked->modules[i].text, "_-./+@="))
            status |= diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                                     "'slurm.modules' holds '%.60s', which is not a module's name",
                                     asked->modules[i].text);
    for (int i = 0; i < asked->num_environment; i++) {
        status |= check_variable(&asked->environment[i], diagnostics);
        for (int earlier = 0; earlier < i; earlier++)
            if (strcmp(asked->environment[earlier].name, asked->environment[i].name) == 0)
                status |=
                    diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'slurm.environment' sets '%.60s' twice",
                                   asked->environment[i].name);
    }
    return status;
}

int submit_check_values(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct slurm_config *asked = &request->config->slurm;
    const struct submit_facts *facts = request->facts;
    const struct {
        const char *key, *value;
    } lines[] = {{"run.folder", facts->run_folder},
                 {"the working folder", facts->working_folder},
                 {"the program's path", facts->program},
                 {"the run file's name", facts->config_path}};
    int status = 0;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (lines[i].value && !is_one_line(lines[i].value))
            status |= refuse_text(diagnostics, lines[i].key, lines[i].value);
    /* In the name of a log file a backslash switches Slurm's %x and %j off. */
    if (strchr(facts->run_folder, '\\'))
        status |= diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                                 "'run.folder' is '%.200s': Slurm cannot write logs to a path with '\\'",
                                 facts->run_folder);
    if (asked->exclude && !is_name(asked->exclude, "_-.,[]"))
        status |= diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                                 "'slurm.exclude' is '%.60s', which is not a list of nodes", asked->exclude);
    if (asked->mpi && !is_name(asked->mpi, "_-."))
        status |= diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                                 "'slurm.mpi' is '%.60s', which is not a plugin of srun", asked->mpi);
    if (asked->mail && !is_name(asked->mail, "_-.@+,"))
        status |= diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                                 "'slurm.mail' is '%.60s', which is not an address", asked->mail);
    return status | check_lists(request, diagnostics);
}
