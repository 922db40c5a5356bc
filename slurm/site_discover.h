/* site_discover.h - what a cluster says of itself: sinfo and sacctmgr, read into partitions. */
#pragma once

#include "slurm/site.h"

/* One line of the cluster for each group of equal nodes of a partition, merged by partition. */
struct cluster_partition {
    char *name;
    bool is_default;
    int64_t max_s, num_nodes, cores_per_node,
        gpus_per_node; /* max_s: -1 unlimited; nodes: the smallest of each */
    double memory_gb;
    char *features; /* of all its nodes, separated by commas */
};

/* A quality of service, as sacctmgr tells it. */
struct cluster_qos {
    char *name;
    int64_t max_s, max_submitted; /* -1: no limit */
};

/* All that was read; start from {0}. */
struct cluster {
    struct cluster_partition *partitions;
    struct cluster_qos *qos;
    int num_partitions, num_qos;
    bool has_qos; /* sacctmgr answered */
};

/* cluster_read_sinfo - lines "partition|time limit|nodes|sockets|cores of each|memory in MB|features|gres" as
 * `sinfo -a -h -o '%P|%l|%D|%X|%Y|%m|%f|%G'` writes them.  Lines of another form are left out. */
void cluster_read_sinfo(struct cluster *cluster, const char *text);

/* cluster_read_qos - lines "name|time limit|jobs" of `sacctmgr -nP show qos
 * format=Name,MaxWall,MaxSubmitJobsPerUser`; empty fields: no limit. */
void cluster_read_qos(struct cluster *cluster, const char *text);

/* cluster_partition - by its name, or NULL; borrowed.  cluster_release - what was read. */
void cluster_release(struct cluster *cluster);
const struct cluster_partition *cluster_partition(const struct cluster *cluster, const char *name);

/* cluster_ask - both, from the programs, each within a few seconds.  Returns 0, or -1 with err set: no sinfo.
 * A cluster without accounting has no QoS; that is not a failure. */
int cluster_ask(struct cluster *cluster, struct err *err);

/* site_discover - fill the partitions of a profile with 'discover' from the cluster.  Returns 0, or -1 with
 * err set. */
int site_discover(struct site *site, struct err *err);

/* site_take_cluster - the pure part of it. */
void site_take_cluster(struct site *site, const struct cluster *cluster);
