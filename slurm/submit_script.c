/* submit_script.c - the text of the batch script.  Readable by the user who finds it in the run folder; every
 * value that is not the program's own is quoted, by sbatch's rules in the #SBATCH lines and by the shell's
 * below. Decisions about the chain are not in the script: it asks `atelier chain` before and after. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config_path.h"
#include "slurm/program.h"
#include "slurm/slurm_text.h"
#include "slurm/submit_modules.h"
#include "slurm/submit_rules.h"

/* --- #SBATCH lines --- */

/* put_option - "#SBATCH --name=value"; nothing where there is no value. */
static void put_option(FILE *out, const char *name, const char *value) {
    if (!value)
        return;
    char *option = xasprintf("--%s=%s", name, value), *quoted = sbatch_quote(option);
    fprintf(out, "#SBATCH %s\n", quoted);
    free(quoted);
    free(option);
}

/* put_count - "#SBATCH --name=value". */
static void put_count(FILE *out, const char *name, int64_t value) {
    fprintf(out, "#SBATCH --%s=%lld\n", name, (long long)value);
}

/* put_flag - an option that is not one of name and value. */
static void put_flag(FILE *out, const char *option) {
    char *quoted = sbatch_quote(option);
    fprintf(out, "#SBATCH %s\n", quoted);
    free(quoted);
}

/* log_path - RUN/logs/NAME-ID.out; '%' is Slurm's in such a path, and doubled where it is the user's. */
static char *log_path(const char *run_folder) {
    char *path = xmalloc(2 * strlen(run_folder) + 32), *end = path;
    for (; *run_folder; run_folder++) {
        if (*run_folder == '%')
            *end++ = '%';
        *end++ = *run_folder;
    }
    snprintf(end, 32, "/logs/%%x-%%j.out");
    return path;
}

/* gives_memory - whether slurm.options say it, in any of its forms. */
static bool gives_memory(const struct slurm_config *asked) {
    for (int i = 0; i < asked->num_options; i++)
        if (strncmp(asked->options[i].text, "--mem", 5) == 0)
            return true;
    return false;
}

/* put_memory - one of three options that exclude each other: the run file's before the profile's. */
static void put_memory(FILE *out, const struct job_request *request) {
    const struct slurm_config *asked = &request->config->slurm;
    const struct site_partition *partition = request->partition;
    if (asked->mem) {
        put_option(out, "mem", asked->mem);
    } else if (!gives_memory(asked)) {
        put_option(out, "mem", partition->mem);
        put_option(out, "mem-per-cpu", partition->mem_per_cpu);
        put_option(out, "mem-per-gpu", partition->mem_per_gpu);
    }
}

/* put_directives - all #SBATCH lines; those that the profile and slurm.options add come last. */
static void put_directives(FILE *out, const struct job_request *request) {
    const struct slurm_config *asked = &request->config->slurm;
    char time[SLURM_TIME_ROOM], *log = log_path(request->facts->run_folder);
    put_option(out, "job-name", request->job_name);
    put_option(out, "account", request->account);
    put_option(out, "partition", request->partition->option);
    put_option(out, "constraint", request->constraint);
    put_option(out, "qos", request->qos ? request->qos->name : asked->qos);
    put_count(out, "nodes", request->nodes);
    put_count(out, "ntasks-per-node", request->ranks_per_node);
    if (request->gpus_per_node > 0)
        fprintf(out, "#SBATCH --gres=%s:%lld\n", request->partition->gres ? request->partition->gres : "gpu",
                (long long)request->gpus_per_node);
    put_memory(out, request);
    put_count(out, "cpus-per-task", request->cpus_per_rank);
    put_option(out, "hint", request->site->hint);
    put_option(out, "time", slurm_time_text(request->time_s, time));
    if (!request->task)
        fprintf(out, "#SBATCH --signal=USR1@%lld\n", (long long)request->signal_lead_s);
    put_flag(out, request->task && !asked->requeue ? "--no-requeue" : "--requeue");
    put_flag(out, "--open-mode=append");
    put_option(out, "output", log);
    put_option(out, "exclude", asked->exclude);
    if (asked->mail) {
        put_flag(out, "--mail-type=END,FAIL");
        put_option(out, "mail-user", asked->mail);
    }
    for (int i = 0; i < request->site->num_options; i++)
        put_flag(out, request->site->options[i].text);
    for (int i = 0; i < asked->num_options; i++)
        put_flag(out, asked->options[i].text);
    free(log);
}

/* --- the body --- */

/* put_quoted - "before'value'after". */
static void put_quoted(FILE *out, const char *before, const char *value, const char *after) {
    char *quoted = shell_quote(value);
    fprintf(out, "%s%s%s", before, quoted, after);
    free(quoted);
}

/* put_expanded - the same with environment variables expanded, as in the paths of a run file (config_path.h).  Where that
 * is refused (submit_values.c) the script is only shown. */
static void put_expanded(FILE *out, const char *before, const char *text, const char *after) {
    char *value = config_path_expand(text, NULL);
    put_quoted(out, before, value ? value : text, after);
    free(value);
}

/* put_init_files - 'module' may be a stub over an empty MODULEPATH: what counts is that a module can be
 * found. A shell that no login shell started (ssh HOST 'sbatch ...') has none: a login shell is then asked.
 */
static void put_init_files(FILE *out, const struct site *site) {
    if (site->num_module_init > 0) {
        fputs("for init in", out);
        for (int i = 0; i < site->num_module_init; i++)
            put_expanded(out, " ", site->module_init[i].text, "");
        fputs("; do\n"
              "    # shellcheck disable=SC1090\n"
              "    if ! can_load && [ -r \"$init\" ]; then . \"$init\"; fi\n"
              "done\n",
              out);
    }
    for (int i = 0; i < site->num_module_path; i++) {
        put_expanded(out, "if ! can_load; then export MODULEPATH=\"${MODULEPATH:+$MODULEPATH:}\"",
                     site->module_path[i].text, "; fi\n");
    }
    fputs("if ! can_load; then # the shell of a batch job may know less than a login shell\n"
          "    path=$(bash -lc 'printf \"%s\" \"${MODULEPATH:-}\"' </dev/null 2>/dev/null | tail -n 1)\n"
          "    export MODULEPATH=\"${MODULEPATH:+$MODULEPATH:}$path\"\n"
          "fi\n",
          out);
}

/* put_module_init - a 'module' of Tcl modules 3 ends with 0 where it finds nothing: its words count too. */
static void put_module_init(FILE *out, const struct site *site, const char *first) {
    put_quoted(out,
               "can_load() {\n"
               "    type module >/dev/null 2>&1 && told=$(module show ",
               first,
               " 2>&1) || return 1\n"
               "    case $told in *'Unable to locate a modulefile'* | *:ERROR:*) return 1 ;; esac\n"
               "}\n");
    put_init_files(out, site);
    fputs("if ! type module >/dev/null 2>&1; then\n"
          "    fail \"the command 'module' is not known on $(hostname): set module_init in the site's "
          "profile\"\n"
          "fi\n"
          "if ! can_load; then\n",
          out);
    put_quoted(out, "    fail \"no module '\"", first,
               "\"' can be found on $(hostname), with MODULEPATH '${MODULEPATH:-}': set module_init or "
               "module_path in the site's profile, or slurm.modules\"\n"
               "fi\n");
}

/* put_modules - one by one: a module that cannot be loaded is named, and the job ends before it costs anything. */
static void put_modules(FILE *out, const struct job_request *request) {
    const char *modules[MAX_JOB_MODULES];
    int count = submit_modules(request, modules);
    if (count == 0)
        return;
    fputs("\nset +eu # the scripts behind 'module' are not made for it\n", out);
    put_module_init(out, request->site, modules[0]);
    if (request->site->purge_modules)
        fputs("module purge\n", out);
    fputs(
        "# An older 'module load' ends with 0 where it loaded nothing: LOADEDMODULES says what is loaded.\n"
        "load() {\n"
        "    before=${LOADEDMODULES:-} base=${1%%[@=]*}\n"
        "    module load \"$1\" || fail \"module '$1' could not be loaded on $(hostname)\"\n"
        "    case \":${LOADEDMODULES:-}:\" in *\":$base:\"* | *\":$base/\"* | *\":$base.\"*) return ;; esac\n"
        "    if [ \"${LOADEDMODULES:-}\" = \"$before\" ]; then\n"
        "        fail \"module '$1' could not be loaded on $(hostname): 'module load' ended with 0, but LOADEDMODULES does "
        "not hold it\"\n"
        "    fi\n"
        "}\n",
        out);
    for (int i = 0; i < count; i++)
        put_quoted(out, "load ", modules[i], "\n");
    fputs("set -eu\n", out);
}

/* put_exports - variables of the profile or the run file. */
static void put_exports(FILE *out, const struct variable *variables, int count) {
    for (int i = 0; i < count; i++) {
        fprintf(out, "export %s=", variables[i].name);
        put_quoted(out, "", variables[i].value, "\n");
    }
}

/* put_kept - a bundle drops what other MPIs have left in the environment; what is written here is meant. */
static void put_kept(FILE *out, const struct variable *variables, int count) {
    for (int i = 0; i < count; i++)
        if (strncmp(variables[i].name, "OMPI_", 5) == 0 || strncmp(variables[i].name, "PMIX_", 5) == 0 ||
            strncmp(variables[i].name, "PRTE_", 5) == 0)
            fprintf(out, "ATELIER_KEEP=\"${ATELIER_KEEP:+$ATELIER_KEEP }%s\"; export ATELIER_KEEP\n",
                    variables[i].name);
}

/* put_environment - the site's, the partition's, the run file's: the later ones win. */
static void put_environment(FILE *out, const struct job_request *request) {
    fputs("\n", out);
    put_exports(out, request->site->environment, request->site->num_environment);
    put_exports(out, request->partition->environment, request->partition->num_environment);
    put_exports(out, request->config->slurm.environment, request->config->slurm.num_environment);
    if (request->facts->build && request->facts->build->is_bundle) {
        put_kept(out, request->site->environment, request->site->num_environment);
        put_kept(out, request->partition->environment, request->partition->num_environment);
        put_kept(out, request->config->slurm.environment, request->config->slurm.num_environment);
    }
    if (request->gpus_per_node > 0) {
        fprintf(out,
                "# What was asked for: ranks that see other GPUs end at once.\n"
                "export ATELIER_GPUS_PER_NODE=%lld\n",
                (long long)request->gpus_per_node);
        put_quoted(out, "export ATELIER_GPU=", request->partition->gpu ? request->partition->gpu : "", "\n");
    }
    fputs("# srun does not take this over from sbatch since Slurm 22.05\n"
          "export SRUN_CPUS_PER_TASK=\"${SLURM_CPUS_PER_TASK:-1}\"\n",
          out);
}

/* put_guard - from here to the start of the training every end of the script is told to the chain. */
static void put_guard(FILE *out) {
    fputs("\n"
          "# What fails before the training is a start of the chain like any other: 'atelier status' tells "
          "it, and "
          "the\n"
          "# chain goes on or ends.  Where not even the program can be started, RUN/prologue.txt tells it.\n"
          "reason=''\n"
          "fail() { reason=$1; echo \"error: $1\" >&2; exit 1; }\n"
          "guard() {\n"
          "    trap - EXIT\n"
          "    reason=${reason:-the script ended with code $1 before the training on $(hostname)}\n"
          "    echo \"${SLURM_JOB_ID:-none} $(date +%s) $reason\" >\"$run/prologue.txt\"\n"
          "    \"$atelier\" chain \"$run\" fail \"$reason\"\n"
          "    exit\n"
          "}\n"
          "trap 'guard $?' EXIT\n",
          out);
}

/* put_words - each in quotes. */
static void put_words(FILE *out, const struct text_entry *words, int count) {
    for (int i = 0; i < count; i++)
        put_quoted(out, " ", words[i].text, "");
}

static void put_launcher(FILE *out, const struct job_request *request) {
    int count;
    const struct text_entry *words = submit_launcher(request, &count);
    for (int i = 0; i < count; i++)
        put_expanded(out, " ", words[i].text, "");
}

/* put_start - the chain is asked, the training runs, the chain is told how it ended.
 *
 * Left alone, Slurm gives the ranks of a node cores of one socket and of the other in turns (cyclic), while GPUs are numbered socket
 * after socket: every second rank would drive a GPU, and the link beside it, from the far side. */
static void put_start(FILE *out, const struct job_request *request) {
    const char *mpi = request->config->slurm.mpi;
    if (!mpi)
        mpi = request->site->mpi ? request->site->mpi : request->facts->mpi;
    fputs("\n"
          "# Is there still something to do, and budget for it?  0: work; 3: no, and the reason is told.\n"
          "# In a chain this also queues the follow-up job, so that it can wait while this one works.\n"
          "code=0\n"
          "\"$atelier\" chain \"$run\" begin || code=$?\n"
          "if [ \"$code\" -ge 126 ]; then fail \"'$atelier' cannot be started on $(hostname)\"; fi\n"
          "trap - EXIT\n"
          "if [ \"$code\" -eq 3 ]; then exit 0; fi\n"
          "if [ \"$code\" -ne 0 ]; then exit \"$code\"; fi\n"
          "\n"
          "# 0: the last step is done; 75: saved and stopped before the time limit; else a fault.\n",
          out);
    fputs("srun", out);
    if (mpi && mpi[0])
        put_quoted(out, " --mpi=", mpi, "");
    if (request->site->hint)
        put_quoted(out, " --hint=", request->site->hint, "");
    if (request->gpus_per_node > 0 && request->ranks_per_node > 1)
        fputs(" --distribution=block:block", out);
    put_words(out, request->site->srun_options, request->site->num_srun_options);
    put_words(out, request->partition->srun_options, request->partition->num_srun_options);
    put_words(out, request->config->slurm.srun_options, request->config->slurm.num_srun_options);
    fputs(" --kill-on-bad-exit=1 --wait=60", out);
    put_launcher(out, request);
    fputs(" \"$atelier\" train \"$run/run.yaml\" || code=$?\n"
          "\n"
          "# Requeues this job, or lets the follow-up job start, or ends the chain and says why.\n"
          "exec \"$atelier\" chain \"$run\" end \"$code\"\n",
          out);
}

/* put_outcome - how the job ended, for 'atelier status'. A job that is killed leaves none. */
static void put_outcome(FILE *out, const struct job_request *request) {
    fprintf(
        out,
        "\n"
        "# 'atelier status' reads there how the job ended.\n"
        "outcome=\"$run/job-%s.end\"\n"
        "fail() { echo \"error: $1\" >&2; exit 1; }\n"
        "ended() { trap - EXIT; echo \"${SLURM_JOB_ID:-0} $1 $(date +%%s)\" >\"$outcome\"; exit \"$1\"; }\n"
        "trap 'ended $?' EXIT\n"
        "rm -f \"$outcome\"\n",
        request->task);
}

/* put_task - the command itself. */
static void put_task(FILE *out, const struct job_request *request) {
    fputs("\ncommand", out); /* without a launcher the line begins as well as with one */
    put_launcher(out, request);
    fprintf(out, " \"$atelier\" %s", request->task);
    if (strcmp(request->task, "prepare") == 0)
        fputs(" \"$run/job-prepare.yaml\"", out);
    for (int i = 0; i < request->num_words; i++)
        put_quoted(out, " ", request->words[i], "");
    fputs("\n", out);
}

/* put_header - what the script is, for who finds it. */
static void put_header(FILE *out, const struct job_request *request) {
    fputs("#!/bin/bash\n"
          "# shellcheck disable=SC2016 # single quotes: a '$' in a value is a '$'\n",
          out);
    fprintf(out, "# Written by atelier %s for site '%s', partition '%s': ", ATELIER_VERSION,
            request->site->name, request->partition->name);
    if (request->task)
        fputs(request->task, out);
    else
        fprintf(out, "%lld x %lld ranks", (long long)request->nodes, (long long)request->ranks_per_node);
    if (request->gpus_per_node > 0)
        fprintf(out, ", %lld GPUs", (long long)(request->nodes * request->gpus_per_node));
    fprintf(out, ".\n# Made from '%s'; 'atelier submit%s%s' writes it anew.\n", request->facts->config_path,
            request->task ? " " : "", request->task ? request->task : "");
}

char *submit_script(const struct job_request *request) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    CHECK(out, "out of memory for the batch script");
    put_header(out, request);
    put_directives(out, request);
    fputs("set -eu\n\n", out);
    put_quoted(out, "atelier=", request->facts->program, "\n");
    put_quoted(out, "run=", request->facts->run_folder, "\n");
    if (request->task)
        put_outcome(out, request);
    else
        put_guard(out);
    put_quoted(out, "cd ", request->facts->working_folder, "\n");
    put_modules(out, request);
    put_environment(out, request);
    if (request->task)
        put_task(out, request);
    else
        put_start(out, request);
    CHECK(fclose(out) == 0, "out of memory for the batch script");
    return text;
}
