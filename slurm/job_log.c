/* job_log.c - see job_log.h.  The phrases are those of Slurm 22.05 to 24.11 and of our own messages. */
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

/* read_task - "srun: error: NODE: task 3: Killed", "srun: error: NODE: tasks 0-1: Exited with exit code 1". */
static struct log_end read_task(const char *line) {
    static const char ERROR[] = "srun: error: ";
    const char *node = line + sizeof ERROR - 1, *task = strstr(line, ": task");
    if (!starts_with(line, ERROR) || !task || task < node || memchr(node, ' ', (size_t)(task - node)))
        return verdict(LOG_SILENT);
    const char *how = strstr(task + 2, ": ");
    if (!how)
        return verdict(LOG_SILENT);
    bool is_nodes = starts_with(how, ": Killed") || starts_with(how, ": Bus error");
    return is_nodes ? node_failed(node, task + 2) : verdict(LOG_OTHER);
}

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

/* read_slurm - a line of srun or slurmstepd. */
static struct log_end read_slurm(const char *line) {
    struct log_end end = read_node_words(line);
    if (end.verdict != LOG_SILENT)
        return end;
    if (strstr(line, "DUE TO PREEMPTION"))
        return verdict(LOG_PREEMPTED);
    if (strstr(line, "DUE TO NODE FAILURE")) /* which one, another line may say */
        return verdict(LOG_NODE);
    if (strstr(line, "CANCELLED AT") || strstr(line, "_step_signal: Terminating"))
        return verdict(LOG_OTHER);
    return read_task(line);
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

static bool tells_out_of_memory(const char *line) {
    return is_of_slurm(line) && (strstr(line, "oom_kill") || strstr(line, "oom-kill") ||
                                 strstr(line, "OOM Killed") || strstr(line, "Out Of Memory"));
}

struct log_end job_log_read(const char *text) {
    struct log_end end = verdict(LOG_SILENT);
    bool has_no_memory = false;
    while (*text) {
        char line[1024];
        size_t length = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(length < sizeof line ? length : sizeof line - 1), text);
        text += length + (text[length] == '\n');
        struct log_end rank = read_rank(line);
        if (rank.verdict ==
            LOG_NODE) /* it knows best; srun may be quicker with its line, but only says that it ended */
            return rank;
        has_no_memory |= tells_out_of_memory(line);
        if (end.verdict == LOG_SILENT && is_of_slurm(line)) /* the first one ended the others */
            end = read_slurm(line);
        else if (end.verdict == LOG_NODE && !end.node[0] && read_node_words(line).verdict == LOG_NODE)
            end = read_node_words(line);
    }
    if (end.verdict == LOG_NODE && !end.node[0])
        return verdict(LOG_SILENT);
    return has_no_memory && end.verdict == LOG_NODE ? verdict(LOG_OTHER) : end;
}
