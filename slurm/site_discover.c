/* site_discover.c - partitions from sinfo's lines, QoS from sacctmgr's.  The texts come from other programs: lines
 * that do not fit are left out, numbers that do not parse count as unknown. */
#include "slurm/site_discover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"
#include "slurm/slurm_text.h"
#include "slurm/subprocess.h"

enum { MAX_FIELDS = 8 };
static const double ASK_TIMEOUT_S = 20;

/* split_line - cut text at its '|' in place; returns the number of fields. */
static int split_line(char *line, char *fields[MAX_FIELDS]) {
    int count = 0;
    for (char *at = line; count < MAX_FIELDS; at++) {
        fields[count++] = at;
        at += strcspn(at, "|");
        if (!*at)
            return count;
        *at = '\0';
    }
    return MAX_FIELDS + 1;
}

/* number - the digits at the start ("4+" is at least 4); 0 without any. */
static int64_t number(const char *text) {
    int64_t value = 0;
    for (int i = 0; i < 15 && text[i] >= '0' && text[i] <= '9'; i++)
        value = 10 * value + (text[i] - '0');
    return value;
}

/* time_limit - seconds, or -1 for none. */
static int64_t time_limit(const char *text) {
    int64_t seconds;
    return slurm_time_parse(text, &seconds, NULL) == 0 ? seconds : -1;
}

/* gpus_of - "gpu:h100:4(S:0-1),shard:8" gives 4. */
static int64_t gpus_of(const char *gres) {
    int64_t count = 0;
    while (gres && *gres) {
        size_t length = strcspn(gres, ","), paren = strcspn(gres, "(,");
        if (strncmp(gres, "gpu:", 4) == 0) {
            const char *last = gres + 4;
            for (const char *at = last; at < gres + paren; at++)
                if (*at == ':')
                    last = at + 1;
            count += number(last);
        }
        gres += length + (gres[length] == ',');
    }
    return count;
}

const struct cluster_partition *cluster_partition(const struct cluster *cluster, const char *name) {
    for (int i = 0; i < cluster->num_partitions; i++)
        if (strcmp(cluster->partitions[i].name, name) == 0)
            return &cluster->partitions[i];
    return NULL;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* add_group - a line of sinfo: new, or joined to the partition it belongs to.  sinfo writes a line for each kind of node;
 * what is planned must fit all of them, so the smallest counts. */
static void add_group(struct cluster *cluster, const struct cluster_partition *group) {
    for (int i = 0; i < cluster->num_partitions; i++) {
        struct cluster_partition *known = &cluster->partitions[i];
        if (strcmp(known->name, group->name) != 0)
            continue;
        known->num_nodes += group->num_nodes;
        known->cores_per_node = smaller(known->cores_per_node, group->cores_per_node);
        known->gpus_per_node = smaller(known->gpus_per_node, group->gpus_per_node);
        known->memory_gb = known->memory_gb < group->memory_gb ? known->memory_gb : group->memory_gb;
        char *both = xasprintf("%s,%s", known->features, group->features);
        free(known->features);
        known->features = both;
        return;
    }
    struct cluster_partition copy = *group;
    copy.name = xstrdup(group->name);
    copy.features = xstrdup(group->features);
    cluster->partitions =
        xrealloc(cluster->partitions, (size_t)(cluster->num_partitions + 1) * sizeof *cluster->partitions);
    cluster->partitions[cluster->num_partitions++] = copy;
}

/* Eight fields, as cluster_ask orders them: partition, time limit, nodes, sockets, cores of a socket, memory in MB,
 * features, gres. */
void cluster_read_sinfo(struct cluster *cluster, const char *text) {
    while (*text) {
        size_t length = strcspn(text, "\n");
        char *line = xstrndup(text, length), *fields[MAX_FIELDS];
        if (split_line(line, fields) == 8 && fields[0][0]) {
            size_t end = strlen(fields[0]) - 1;
            struct cluster_partition group = {.is_default = fields[0][end] == '*',
                                              .max_s = time_limit(fields[1]),
                                              .num_nodes = number(fields[2]),
                                              .cores_per_node = number(fields[3]) * number(fields[4]),
                                              .memory_gb = (double)number(fields[5]) / 1000,
                                              .gpus_per_node = gpus_of(fields[7])};
            if (group.is_default)
                fields[0][end] = '\0'; /* sinfo marks it so */
            group.name = fields[0];
            group.features = strcmp(fields[6], "(null)") == 0 ? (char[]){""} : fields[6];
            if (fields[0][0])
                add_group(cluster, &group);
        }
        free(line);
        text += length + (text[length] == '\n');
    }
}

/* Three fields: name, longest time, submitted jobs of a user; an empty one is no limit. */
void cluster_read_qos(struct cluster *cluster, const char *text) {
    while (*text) {
        size_t length = strcspn(text, "\n");
        char *line = xstrndup(text, length), *fields[MAX_FIELDS];
        if (split_line(line, fields) == 3 && fields[0][0]) {
            cluster->qos = xrealloc(cluster->qos, (size_t)(cluster->num_qos + 1) * sizeof *cluster->qos);
            cluster->qos[cluster->num_qos++] =
                (struct cluster_qos){.name = xstrdup(fields[0]),
                                     .max_s = time_limit(fields[1]),
                                     .max_submitted = fields[2][0] ? number(fields[2]) : -1};
        }
        free(line);
        text += length + (text[length] == '\n');
    }
}

void cluster_release(struct cluster *cluster) {
    for (int i = 0; i < cluster->num_partitions; i++) {
        free(cluster->partitions[i].name);
        free(cluster->partitions[i].features);
    }
    for (int i = 0; i < cluster->num_qos; i++)
        free(cluster->qos[i].name);
    free(cluster->partitions);
    free(cluster->qos);
    memset(cluster, 0, sizeof *cluster);
}

int cluster_ask(struct cluster *cluster, struct err *err) {
    static const char *const sinfo[] = {"sinfo", "-a", "-h", "-o", "%P|%l|%D|%X|%Y|%m|%f|%G", NULL};
    static const char *const sacctmgr[] = {
        "sacctmgr", "-nP", "show", "qos", "format=Name,MaxWall,MaxSubmitJobsPerUser", NULL};
    memset(cluster, 0, sizeof *cluster);
    char *text = subprocess_ask(sinfo, ASK_TIMEOUT_S, err);
    if (!text)
        return -1;
    cluster_read_sinfo(cluster, text);
    free(text);
    /* Without a database for accounts there are no QoS: no failure. */
    text = subprocess_ask(sacctmgr, ASK_TIMEOUT_S, NULL);
    cluster->has_qos = text != NULL;
    if (text)
        cluster_read_qos(cluster, text);
    free(text);
    return 0;
}

/* sinfo does not say what a GPU can do nor what is billed: bf16 and a bill are assumed. */
void site_take_cluster(struct site *site, const struct cluster *cluster) {
    site->partitions = xrealloc(site->partitions, (size_t)(site->num_partitions + cluster->num_partitions) *
                                                      sizeof *site->partitions);
    for (int i = 0; i < cluster->num_partitions; i++) {
        const struct cluster_partition *found = &cluster->partitions[i];
        site->partitions[site->num_partitions++] = (struct site_partition){
            .name = xstrdup(found->name),
            .option = xstrdup(found->name),
            .gpu = found->gpus_per_node > 0 ? xstrdup("as the node has") : NULL,
            .max_hours = found->max_s > 0 ? (double)found->max_s / HOUR_S : 0,
            .num_nodes = found->num_nodes,
            .gpus_per_node = found->gpus_per_node,
            .cores_per_node = found->cores_per_node,
            .cores_per_gpu = found->gpus_per_node > 0 ? found->cores_per_node / found->gpus_per_node : 0,
            .memory_gb = found->memory_gb,
            .bf16 = true,
            .billed = true,
        };
        if (found->is_default && !site->default_partition)
            site->default_partition = xstrdup(found->name);
    }
}

int site_discover(struct site *site, struct err *err) {
    struct cluster cluster;
    struct err cause = {""};
    if (cluster_ask(&cluster, &cause) != 0)
        return err_set(
            err,
            "site '%s' is read from Slurm: %s; where no Slurm answers, name a profile (slurm.site: jeanzay, or a file)",
            site->name, cause.text);
    site_take_cluster(site, &cluster);
    int status = site->num_partitions > 0
                     ? 0
                     : err_set(err, "site '%s' is read from Slurm, and sinfo names no partition", site->name);
    cluster_release(&cluster);
    return status;
}
