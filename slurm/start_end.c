/* start_end.c - how a start of a chain ended, whether a node is to blame, and which nodes the next one leaves out. */
#include "slurm/start_end.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/file.h"
#include "kernels/units.h"
#include "slurm/subprocess.h"

static const double LIST_TIMEOUT_S = 10;
enum { LOG_READ_BYTES = MIB };

/* log_path - as submit_script.c names it; all starts of a job write into one log, each after the other. */
static char *log_path(const char *run_folder, const char *job_name, const char *job_id) {
    return xasprintf("%s/logs/%s-%s.out", run_folder, job_name, job_id);
}

/* Asked at the beginning of a start: what stands in the log by then is of earlier ones, and is not read at its
 * end. */
int64_t start_log_bytes(const char *run_folder, const char *job_name, const char *job_id) {
    char *path = log_path(run_folder, job_name, job_id);
    int64_t length_bytes = file_size(path, NULL);
    free(path);
    return length_bytes > 0 ? length_bytes : 0;
}

/* read_log - malloc'ed, NULL where it cannot be read, or is shorter than it was. */
static char *read_log(const char *path, int64_t from_bytes) {
    int64_t length_bytes = 0;
    char *text = NULL;
    int fd = file_open_read(path, &length_bytes, NULL);
    if (fd < 0)
        return NULL;
    if (length_bytes - from_bytes > LOG_READ_BYTES)
        from_bytes = length_bytes - LOG_READ_BYTES;
    if (from_bytes >= 0 && from_bytes <= length_bytes) {
        text = xcalloc((size_t)(length_bytes - from_bytes) + 1, 1);
        if (file_read_at(fd, path, text, (size_t)(length_bytes - from_bytes), from_bytes, NULL) != 0)
            text[0] = '\0';
    }
    close(fd);
    return text;
}

/* has_failed - a state of sinfo: "down", "down*", "idle*", "drained", "draining", "fail", "failing". */
static bool has_failed(const char *state) {
    return strncmp(state, "down", 4) == 0 || strncmp(state, "drain", 5) == 0 ||
           strncmp(state, "fail", 4) == 0 || strchr(state, '*');
}

struct log_end start_nodes_read(const char *text) {
    struct log_end end = {.verdict = LOG_SILENT};
    while (*text) {
        char node[NODE_NAME_ROOM], state[32], reason[64] = "";
        int num_fields = sscanf(text, "%63[^|\n]|%31[^|\n]|%63[^\n]", node, state, reason);
        if (num_fields >= 2 && has_failed(state)) {
            end.verdict = LOG_NODE;
            memcpy(end.node, node, sizeof end.node);
            snprintf(end.why, sizeof end.why, "Slurm has it as '%s'%s%s", state,
                     reason[0] && strcmp(reason, "none") != 0 ? ": " : "",
                     strcmp(reason, "none") != 0 ? reason : "");
            return end;
        }
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    return end;
}

/* ask_nodes - of a start that left no word: a node that is lost with its job cannot write one. */
static struct log_end ask_nodes(const char *nodes) {
    const char *const argv[] = {"sinfo", "-h", "-N", "-n", nodes, "-o", "%N|%T|%E", NULL};
    char *answer = nodes[0] ? subprocess_ask(argv, LIST_TIMEOUT_S, NULL) : NULL;
    struct log_end end = answer ? start_nodes_read(answer) : (struct log_end){.verdict = LOG_SILENT};
    free(answer);
    return end;
}

/* Names are compared up to their first '.', as logs have full host names where Slurm has short ones. */
bool start_has_node(char *name, const char *hosts) {
    name[strcspn(name, ".")] = '\0';
    size_t length = strlen(name);
    for (const char *at = hosts; *at && length > 0;) {
        size_t here = strcspn(at, "\n");
        if (here == length && strncmp(at, name, length) == 0)
            return true;
        at += here + (at[here] == '\n');
    }
    return false;
}

/* is_of_job - a name that a log gave, among the nodes of the job. */
static bool is_of_job(char *name, const char *nodes) {
    const char *const argv[] = {"scontrol", "show", "hostnames", nodes, NULL};
    char *hosts = nodes[0] ? subprocess_ask(argv, LIST_TIMEOUT_S, NULL) : NULL;
    bool is = hosts && start_has_node(name, hosts);
    free(hosts);
    return is;
}

/* A log may hold anything, also a user's own messages: a node that it blames is only believed where it is the
 * job's. */
struct log_end start_end_look(const char *run_folder, const char *job_name, const struct chain_job *job) {
    char *path = log_path(run_folder, job_name, job->id), *text = read_log(path, job->log_bytes);
    struct log_end end = text ? job_log_read(text) : (struct log_end){.verdict = LOG_SILENT};
    if (end.verdict == LOG_SILENT)
        end = ask_nodes(job->nodes);
    else if (end.verdict == LOG_NODE && !is_of_job(end.node, job->nodes))
        end = (struct log_end){.verdict = LOG_OTHER};
    free(text);
    free(path);
    return end;
}
