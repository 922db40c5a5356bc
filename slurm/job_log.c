/* job_log.c - why a job's start ended, by what its log says.  The phrases are those of Slurm 22.05 to 24.11 and of our
 * own messages. */
#include "slurm/job_log.h"

#include <stdio.h>
#include <string.h>

static bool starts_with(const char *line, const char *phrase) {
    return strncmp(line, phrase, strlen(phrase)) == 0;
}

static bool is_of_slurm(const char *line) {
    return starts_with(line, "srun: ") || starts_with(line, "slurmstepd");
}

static struct log_end verdict(enum log_verdict what) {
    return (struct log_end){.verdict = what};
}

/* node_failed - the verdict, where what stands at name is the name of a node. */
static struct log_end node_failed(const char *name, const char *why) {
    struct log_end end = {.verdict = LOG_NODE};
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    if (length == 0 || length >= sizeof end.node || name[0] == '-')
        return verdict(LOG_OTHER);
    snprintf(end.node, sizeof end.node, "%.*s", (int)length, name);
    snprintf(end.why, sizeof end.why, "%s", why);
    return end;
}

/* What the lines of one start have said so far. */
struct scan {
    struct log_end named; /* a node that Slurm blames, or a rank */
    struct log_end
        killed;           /* the node of tasks that ended by SIGKILL or SIGBUS; LOG_OTHER: of several nodes */
    bool is_killed_first; /* nothing had ended or cancelled them before */
    /* Before any task ended by itself the step was cancelled without a reason, or a task wrote to one that is not there
     * (SIGPIPE): MPI has noticed that a rank is gone. */
    bool is_noticed_first;
    bool has_begun; /* a task ended, or the step was cancelled */
    bool is_preempted;
    bool is_node_failure; /* of a node that may not be named */
    bool is_other;        /* a reason that is not a node's */
};

/* read_node_words - lines in which Slurm blames a node. */
static struct log_end read_node_words(const char *line) {
    static const char *const phrases[] = {"Node failure on ", " failed on node "};
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++) {
        const char *at = strstr(line, phrases[i]);
        if (at && starts_with(line, "srun: error: "))
            return node_failed(at + strlen(phrases[i]), line + strlen("srun: error: "));
    }
    return verdict(LOG_SILENT);
}

/* read_task - "srun: error: NODE: task 3: Killed", "srun: error: NODE: tasks 0-1: Exited with exit code 1". */
static void read_task(struct scan *scan, const char *line) {
    static const char ERROR[] = "srun: error: ";
    const char *node = line + sizeof ERROR - 1, *task = strstr(line, ": task");
    if (!starts_with(line, ERROR) || !task || task < node || memchr(node, ' ', (size_t)(task - node)))
        return;
    const char *how = strstr(task + 2, ": ");
    if (!how)
        return;
    if (starts_with(how, ": Killed") || starts_with(how, ": Bus error")) {
        struct log_end killed = node_failed(node, task + 2);
        bool is_another = scan->killed.verdict != LOG_SILENT && strcmp(scan->killed.node, killed.node) != 0;
        if (is_another && !scan->is_killed_first)
            scan->killed = verdict(LOG_OTHER);
        else if (!is_another)
            scan->killed = killed;
        scan->is_killed_first |= !scan->has_begun;
    } else if (starts_with(how, ": Broken pipe")) {
        scan->is_noticed_first |= !scan->has_begun;
    } else if (!starts_with(how, ": Exited with") && !starts_with(how, ": Terminated")) {
        scan->is_other = true; /* another signal, or out of memory: the program's */
    }
    scan->has_begun = true;
}

/* read_slurm - a line of srun or slurmstepd. */
static void read_slurm(struct scan *scan, const char *line) {
    struct log_end named = read_node_words(line);
    bool is_out_of_memory = strstr(line, "oom_kill") || strstr(line, "oom-kill") ||
                            strstr(line, "OOM Killed") || strstr(line, "Out Of Memory");
    if (named.verdict != LOG_SILENT) {
        scan->named = named;
    } else if (is_out_of_memory) {
        scan->is_other = true;
    } else if (strstr(line, "DUE TO PREEMPTION")) {
        scan->is_preempted = true;
    } else if (strstr(line, "DUE TO NODE FAILURE")) {
        scan->is_node_failure = true;
    } else if (strstr(line, "CANCELLED AT")) {
        scan->is_other |= strstr(line, "DUE TO") || strstr(line, "*** JOB ");
        scan->is_noticed_first |= !scan->has_begun;
        scan->has_begun = true;
    } else if (strstr(line, "Terminating StepId")) {
        scan->has_begun = true;
    } else {
        read_task(scan, line);
    }
}

/* read_rank - "[rank 3/16 NODE gpu 1 step 12] fatal: CUDA: ... (cudaErrorECCUncorrectable) ...", or a line that ends in
 * the advice to do without a node.  Errors that a wrong kernel makes as well are not among them. */
static struct log_end read_rank(const char *line) {
    static const char ADVICE[] = "to do without the node: slurm.exclude=";
    static const char *const hardware[] = {"ErrorECCUncorrectable",    "ErrorNvlinkUncorrectable",
                                           "ErrorContained",           "ErrorHardwareStackError",
                                           "ErrorDevicesUnavailable",  "ErrorSystemNotReady",
                                           "ErrorSystemDriverMismatch"};
    const char *advice = strstr(line, ADVICE),
               *host = starts_with(line, "[rank ") ? strchr(line + 6, ' ') : NULL;
    if (advice)
        return node_failed(advice + sizeof ADVICE - 1, "its GPUs are not those that Slurm allocated");
    for (size_t i = 0; host && i < sizeof hardware / sizeof hardware[0]; i++)
        if (strstr(line, "fatal: ") && strstr(line, hardware[i])) {
            char why[NODE_WHY_ROOM];
            snprintf(why, sizeof why, "a GPU failed: cuda%s", hardware[i]);
            return node_failed(host + 1, why);
        }
    return verdict(LOG_SILENT);
}

/* conclude - the reasons that Slurm gives come before what the ends of the tasks look like. */
static struct log_end conclude(const struct scan *scan) {
    if (scan->named.verdict != LOG_SILENT)
        return scan->named;
    if (scan->is_preempted)
        return verdict(LOG_PREEMPTED);
    if (scan->is_node_failure)
        return verdict(LOG_SILENT);
    bool is_killed = scan->killed.verdict != LOG_SILENT && (scan->is_killed_first || scan->is_noticed_first);
    if (is_killed && !scan->is_other)
        return scan->killed;
    return verdict(scan->has_begun || scan->is_other ? LOG_OTHER : LOG_SILENT);
}

struct log_end job_log_read(const char *text) {
    struct scan scan = {.is_other = false};
    while (*text) {
        char line[1024];
        size_t length = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(length < sizeof line ? length : sizeof line - 1), text);
        text += length + (text[length] == '\n');
        struct log_end rank = read_rank(line);
        if (rank.verdict == LOG_NODE) /* it knows best; srun only says that it ended */
            return rank;
        if (is_of_slurm(line))
            read_slurm(&scan, line);
        else
            scan.is_other |= starts_with(line, "[rank ") && strstr(line, "fatal: ");
    }
    return conclude(&scan);
}
