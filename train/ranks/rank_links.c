/* rank_links.c - distances of a rank's GPU, or of its processors, to the links of its host. */
#include "train/ranks/rank_links.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/error.h"
#include "train/ranks/link_words.h"

/* cpus_of_numa - of a node of memory. */
static bool cpus_of_numa(const char *root, int numa, cpu_set_t *cpus) {
    char path[64];
    snprintf(path, sizeof path, "devices/system/node/node%d/cpulist", numa);
    return numa >= 0 && sysfs_cpus(root, path, cpus);
}

/* numa_of_cpus - the node that has all of them; -1: they lie in several, or in none that is known. */
static int numa_of_cpus(const char *root, const cpu_set_t *cpus) {
    cpu_set_t nodes, own, both;
    if (!sysfs_cpus(root, "devices/system/node/online", &nodes))
        return -1;
    for (int numa = 0; numa < SCHAR_MAX; numa++)
        if (CPU_ISSET((size_t)numa, &nodes) && cpus_of_numa(root, numa, &own)) {
            CPU_AND(&both, cpus, &own);
            if (CPU_COUNT(&both) > 0)
                return CPU_EQUAL(&both, cpus) ? numa : -1;
        }
    return -1;
}

/* is_apart - a socket may have several nodes of memory, between which the way is short: sockets are compared, nodes where the
 * kernel does not tell them. */
static bool is_apart(const char *root, int gpu_numa, const cpu_set_t *cpus) {
    cpu_set_t near, both;
    char path[96];
    if (!cpus_of_numa(root, gpu_numa, &near))
        return false;
    size_t first = 0;
    while (!CPU_ISSET(first, &near))
        first++;
    cpu_set_t socket;
    snprintf(path, sizeof path, "devices/system/cpu/cpu%zu/topology/package_cpus_list", first);
    bool is_told = sysfs_cpus(root, path, &socket);
    if (!is_told) { /* before Linux 5.6 */
        snprintf(path, sizeof path, "devices/system/cpu/cpu%zu/topology/core_siblings_list", first);
        is_told = sysfs_cpus(root, path, &socket);
    }
    CPU_AND(&both, cpus, is_told ? &socket : &near);
    return CPU_COUNT(&both) == 0;
}

static void take_link(struct rank_links *mine, const struct node_link *from, const struct sysfs_place *own,
                      bool uses_nccl) {
    struct rank_link *link = &mine->links[mine->num_links++];
    const char *against = link_word_against(from->name, uses_nccl);
    bool same_numa = own->numa >= 0 && own->numa == from->place.numa;
    int nearness = 2 * sysfs_shared_steps(own, &from->place) + same_numa;
    memcpy(link->name, from->name, sizeof link->name);
    link->gbit_s = from->gbit_s;
    link->numa = (signed char)(from->place.numa < SCHAR_MAX ? from->place.numa : -1);
    link->nearness = (unsigned char)(nearness < UCHAR_MAX ? nearness : UCHAR_MAX);
    link->is_active = from->is_active;
    link->is_ethernet = from->is_ethernet;
    link->is_allowed = !against;
    if (against && !mine->against[0]) {
        snprintf(mine->against, sizeof mine->against, "%s=%s", against, getenv(against));
        text_clean(mine->against);
    }
}

/* Every byte is set: the record is sent as it lies. */
void rank_links_read(struct rank_links *mine, const struct rank_seat *seat) {
    struct node_link links[MAX_NODE_LINKS];
    struct sysfs_place own;
    memset(mine, 0, sizeof *mine);
    sysfs_pci_device(seat->root, seat->gpu_bus, &own);
    mine->on_gpu = seat->gpu_bus[0] != '\0';
    if (mine->on_gpu)
        mine->is_apart = is_apart(seat->root, own.numa, seat->cpus);
    else
        own.numa = numa_of_cpus(seat->root, seat->cpus);
    mine->numa = own.numa;
    int count = node_links_read(seat->root, links);
    for (int i = 0; i < count; i++)
        take_link(mine, &links[i], &own, seat->uses_nccl);
}
