/* slurm_options.c - the table, from `man sbatch` and `man srun` of Slurm 22.05 to 25.05.  A new option of Slurm is a row. */
#include "slurm/slurm_options.h"

#include <stddef.h>
#include <string.h>

#define SET_BY(key) "that is set by " key
/* Reasons that several rows share; NULL: it may be given. */
static const char MAY[] = "";
static const char JOBS[] = "it belongs to the job, not to its steps: use slurm.options or a key of slurm";
static const char PRINTS[] = "it prints something, and nothing is started";
static const char CORES[] = "it takes cores that the plan gave to the ranks (slurm.cpus_per_rank)";
static const char ORDER[] = "the ranks of a node must follow each other, one group on each node";
static const char PLACE[] = "the program and its libraries are used where they lie";
static const char WHOLE[] =
    "the job is started with the script that was written, as its owner, on this cluster";
static const char ENVIRONMENT[] = "the script counts on its environment; slurm.environment adds to it";
static const char LOGS[] = "logs go to run.folder/logs, where status looks for them";
static const char PER_NODE[] = SET_BY("slurm.gpus_per_node");
static const char RANKS[] = SET_BY("slurm.ranks_per_node");
static const char CPUS[] = SET_BY("slurm.cpus_per_rank");
static const char SCRIPT[] = "that is set by the script";

/* letter: of the short form that sbatch knows; 0: none, or not worth a word.  MAY for what may be given. */
static const struct slurm_option {
    const char *name;
    char letter;
    const char *sbatch, *srun;
} OPTIONS[] = {
    {"accel-bind", 0, MAY, MAY},
    {"account", 'A', SET_BY("slurm.account"), JOBS},
    {"acctg-freq", 0, MAY, MAY},
    {"array", 'a', "that is set by slurm.chain: the elements of an array would train in one folder at once",
     JOBS},
    {"batch", 0, MAY, JOBS},
    {"bb", 0, MAY, JOBS},
    {"bbf", 0, MAY, JOBS},
    {"bcast", 0, PLACE, PLACE},
    {"bcast-exclude", 0, PLACE, PLACE},
    {"begin", 0, MAY, JOBS},
    {"chdir", 'D', SET_BY("the folder where you call atelier"), SET_BY("the folder where you call atelier")},
    {"cluster-constraint", 0, WHOLE, JOBS},
    {"clusters", 'M', WHOLE, JOBS},
    {"comment", 0, MAY, MAY},
    {"compress", 0, PLACE, PLACE},
    {"consolidate-segments", 0, MAY, JOBS},
    {"constraint", 'C', SET_BY("slurm.constraint"), JOBS},
    {"container", 0, SET_BY("slurm.launcher"), SET_BY("slurm.launcher")},
    {"container-id", 0, SET_BY("slurm.launcher"), SET_BY("slurm.launcher")},
    {"contiguous", 0, MAY, JOBS},
    {"core-spec", 'S', CORES, CORES},
    {"cores-per-socket", 0, MAY, JOBS},
    {"cpu-bind", 0, MAY, MAY},
    {"cpu-freq", 0, MAY, MAY},
    {"cpus-per-gpu", 0, CPUS, CPUS},
    {"cpus-per-task", 'c', CPUS, CPUS},
    {"deadline", 0, MAY, JOBS},
    {"delay-boot", 0, MAY, JOBS},
    {"dependency", 'd', "that is set by slurm.after and slurm.chain", JOBS},
    {"disable-status", 0, MAY, MAY},
    {"distribution", 'm', ORDER, ORDER},
    {"epilog", 0, MAY, MAY},
    {"error", 'e', LOGS, LOGS},
    {"exact", 0, MAY, MAY},
    {"exclude", 'x', SET_BY("slurm.exclude"), SET_BY("slurm.exclude")},
    {"exclusive", 0, MAY, MAY},
    {"export", 0, ENVIRONMENT, ENVIRONMENT},
    {"export-file", 0, ENVIRONMENT, ENVIRONMENT},
    {"external-launcher", 0, MAY, SCRIPT},
    {"extra", 0, MAY, MAY},
    {"extra-node-info", 'B', "it sets how many threads of a core are used, as the profile's hint does", JOBS},
    {"get-user-env", 0, ENVIRONMENT, JOBS},
    {"gid", 0, WHOLE, WHOLE},
    {"gpu-bind", 0, MAY, MAY},
    {"gpu-freq", 0, MAY, MAY},
    {"gpus", 'G', PER_NODE, PER_NODE},
    {"gpus-per-node", 0, PER_NODE, PER_NODE},
    {"gpus-per-socket", 0, PER_NODE, PER_NODE},
    {"gpus-per-task", 0, SET_BY("slurm.gpus_per_node and slurm.ranks_per_node"),
     SET_BY("slurm.gpus_per_node and slurm.ranks_per_node")},
    {"gres", 0, PER_NODE, PER_NODE},
    {"gres-flags", 0, MAY, MAY},
    {"help", 'h', PRINTS, PRINTS},
    {"het-group", 0, SCRIPT, SCRIPT},
    {"hint", 0, SET_BY("the profile's hint"), SET_BY("the profile's hint")},
    {"hold", 0, MAY, JOBS},
    {"ignore-pbs", 0, MAY, JOBS},
    {"immediate", 0, MAY, MAY},
    {"input", 0, MAY, MAY},
    {"interactive", 0, SCRIPT, SCRIPT},
    {"job-name", 'J', SET_BY("slurm.job_name"), SET_BY("slurm.job_name")},
    {"jobid", 0, SCRIPT, SCRIPT},
    {"kill-on-bad-exit", 0, SCRIPT, SCRIPT},
    {"kill-on-invalid-dep", 0, SET_BY("slurm.after"), JOBS},
    {"label", 0, MAY, MAY},
    {"licenses", 0, MAY, JOBS},
    {"mail-type", 0, MAY, JOBS},
    {"mail-user", 0, SET_BY("slurm.mail"), JOBS},
    {"mcs-label", 0, MAY, JOBS},
    {"mem", 0, MAY, SET_BY("slurm.mem")},
    {"mem-bind", 0, MAY, MAY},
    {"mem-per-cpu", 0, MAY, SET_BY("slurm.mem")},
    {"mem-per-gpu", 0, MAY, SET_BY("slurm.mem")},
    {"mincpus", 0, MAY, JOBS},
    {"mpi", 0, SET_BY("slurm.mpi"), SET_BY("slurm.mpi")},
    {"msg-timeout", 0, MAY, MAY},
    {"multi-prog", 0, SCRIPT, SCRIPT},
    {"network", 0, MAY, MAY},
    {"nice", 0, MAY, JOBS},
    {"no-allocate", 0, SCRIPT, SCRIPT},
    {"no-kill", 0, "a job that lost a node must end, so that its chain goes on from the last checkpoint",
     SCRIPT},
    {"no-requeue", 0, SET_BY("slurm.requeue"), JOBS},
    {"nodefile", 0, MAY, SCRIPT},
    {"nodelist", 0, MAY, SET_BY("slurm.exclude")},
    {"nodes", 'N', SET_BY("slurm.nodes"), SET_BY("slurm.nodes")},
    {"ntasks", 'n', SET_BY("slurm.nodes and slurm.ranks_per_node"), RANKS},
    {"ntasks-per-core", 0, RANKS, RANKS},
    {"ntasks-per-gpu", 0, RANKS, RANKS},
    {"ntasks-per-node", 0, RANKS, RANKS},
    {"ntasks-per-socket", 0, RANKS, RANKS},
    {"oom-kill-step", 0, MAY, MAY},
    {"open-mode", 0, "that is set by nothing: a log goes on where the job is started again", SCRIPT},
    {"output", 'o', "that is set by run.folder: logs go to run.folder/logs", LOGS},
    {"overcommit", 'O', RANKS, RANKS},
    {"overlap", 0, SCRIPT, SCRIPT},
    {"oversubscribe", 0, MAY, MAY},
    {"parsable", 0, "that is set by nothing: it is given already", PRINTS},
    {"partition", 'p', SET_BY("slurm.partition"), JOBS},
    {"power", 0, MAY, JOBS},
    {"prefer", 0, MAY, JOBS},
    {"preserve-env", 0, SCRIPT, SCRIPT},
    {"priority", 0, MAY, JOBS},
    {"profile", 0, MAY, MAY},
    {"prolog", 0, MAY, MAY},
    {"propagate", 0, MAY, MAY},
    {"pty", 0, SCRIPT, SCRIPT},
    {"qos", 'q', SET_BY("slurm.qos"), JOBS},
    {"quiet", 0, MAY, MAY},
    {"quit-on-interrupt", 0, MAY, MAY},
    {"reboot", 0, MAY, JOBS},
    {"relative", 0, SCRIPT, SCRIPT},
    {"requeue", 0, SET_BY("slurm.requeue"), JOBS},
    {"reservation", 0, MAY, JOBS},
    {"resources", 0, MAY, MAY},
    {"resv-ports", 0, MAY, MAY},
    {"segment", 0, MAY, JOBS},
    {"send-libs", 0, PLACE, PLACE},
    {"signal", 0, SET_BY("slurm.signal_lead_s"), SET_BY("slurm.signal_lead_s")},
    {"slurmd-debug", 0, MAY, MAY},
    {"sockets-per-node", 0, MAY, JOBS},
    {"spread-job", 0, MAY, JOBS},
    {"stepmgr", 0, MAY, JOBS},
    {"switches", 0, MAY, JOBS},
    {"task-epilog", 0, MAY, MAY},
    {"task-prolog", 0, MAY, MAY},
    {"test-only", 0, SET_BY("'atelier submit --dry-run'"), PRINTS},
    {"thread-spec", 0, CORES, CORES},
    {"threads", 0, MAY, MAY},
    {"threads-per-core", 0, "it sets how many threads of a core are used, as the profile's hint does",
     "it sets how many threads of a core are used, as the profile's hint does"},
    {"time", 't', SET_BY("slurm.time"), SET_BY("slurm.time")},
    {"time-min", 0, "Slurm would shorten the time that was planned with: use slurm.time", JOBS},
    {"tmp", 0, MAY, JOBS},
    {"treewidth", 0, MAY, MAY},
    {"tres-bind", 0, MAY, MAY},
    {"tres-per-task", 0, SET_BY("slurm.gpus_per_node and slurm.cpus_per_rank"), PER_NODE},
    {"uid", 0, WHOLE, WHOLE},
    {"unbuffered", 0, MAY, MAY},
    {"usage", 0, PRINTS, PRINTS},
    {"use-min-nodes", 0, MAY, JOBS},
    {"verbose", 0, MAY, MAY},
    {"version", 'V', PRINTS, PRINTS},
    {"wait", 'W', "that is set by nothing: 'atelier submit' does not wait for the job", SCRIPT},
    {"wait-all-nodes", 0, MAY, JOBS},
    {"wckey", 0, MAY, JOBS},
    {"wrap", 0, "that is set by nothing: the script is atelier's", PRINTS},
    {"x11", 0, "the program opens no window and no socket of its own",
     "the program opens no window and no socket of its own"},
};
enum { NUM_OPTIONS = sizeof OPTIONS / sizeof OPTIONS[0] };

bool slurm_option_row(int i, const char **name) {
    if (i < 0 || i >= NUM_OPTIONS)
        return false;
    *name = OPTIONS[i].name;
    return true;
}

/* reason_of - NULL: it may be given. */
static const char *reason_of(const struct slurm_option *row, enum slurm_command command) {
    const char *reason = command == SLURM_SRUN ? row->srun : row->sbatch;
    return reason[0] ? reason : NULL;
}

/* is_all - of --export, the value that changes nothing. */
static bool is_all(const struct slurm_option *row, const char *value) {
    return strcmp(row->name, "export") == 0 && strcmp(value, "=ALL") == 0;
}

/* Slurm's programs take a beginning of a long name for the whole (getopt_long).  A whole name decides; of a
 * beginning the first refused option counts that it may mean, lest '--ntask=4' pass as unknown. */
const char *slurm_option_reason(enum slurm_command command, const char *option, const char **name) {
    bool is_long = strncmp(option, "--", 2) == 0;
    size_t length = is_long ? strcspn(option + 2, "= ") : 0;
    const struct slurm_option *found = NULL;
    for (int i = 0; i < NUM_OPTIONS; i++) {
        const struct slurm_option *row = &OPTIONS[i];
        bool begins = is_long && length > 0 && strncmp(option + 2, row->name, length) == 0;
        bool is_whole = begins && row->name[length] == '\0';
        bool is_letter = !is_long && option[0] == '-' && option[1] && option[1] == row->letter;
        if (is_whole || is_letter || (begins && !found && reason_of(row, command)))
            found = row;
        if (is_whole || is_letter)
            break;
    }
    if (!found || (is_long && is_all(found, option + 2 + length)))
        return NULL;
    *name = found->name;
    return reason_of(found, command);
}
