/* fake_sysfs.h - folders like those of /sys for nodes that are not here: GPUs, network links, sockets. */
#pragma once

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/error.h"
#include "tests/check.h"

/* fake_folder - root/path with all above it. */
static inline void fake_folder(const char *root, const char *path) {
    mkdir(root, 0755);
    char *full = xasprintf("%s/%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(full, 0755);
        *at = '/';
    }
    mkdir(full, 0755);
    free(full);
}

/* fake_file - root/folder/name with this text. */
static inline void fake_file(const char *root, const char *folder, const char *name, const char *text) {
    fake_folder(root, folder);
    char *full = xasprintf("%s/%s/%s", root, folder, name);
    FILE *file = fopen(full, "w");
    CHECK(file, "cannot write '%s'", full);
    fputs(text, file);
    fclose(file);
    free(full);
}

/* fake_leads_to - root/path is a link to root/target, as the kernel has them: relative. */
static inline void fake_leads_to(const char *root, const char *path, const char *target) {
    char up[256] = "", *full = xasprintf("%s/%s", root, path);
    for (const char *at = path; (at = strchr(at, '/')); at++)
        strcat(up, "../");
    char *to = xasprintf("%s%s", up, target);
    CHECK(symlink(to, full) == 0, "cannot make the link '%s'", full);
    free(to);
    free(full);
}

/* fake_device - a PCI device below those bridges, "pci0000:40/0000:40:01.1/0000:41:00.0". */
static inline void fake_device(const char *root, const char *pci_path, int numa) {
    char *folder = xasprintf("devices/%s", pci_path), text[16];
    snprintf(text, sizeof text, "%d\n", numa);
    fake_file(root, folder, "numa_node", text);
    fake_folder(root, "bus/pci/devices");
    char *bus = xasprintf("bus/pci/devices/%s", strrchr(pci_path, '/') + 1);
    fake_leads_to(root, bus, folder);
    free(bus);
    free(folder);
}

struct fake_link {
    const char *name, *pci_path;
    int numa;
    const char *state, *rate, *layer;
};

static inline void fake_network_link(const char *root, const struct fake_link *link) {
    fake_device(root, link->pci_path, link->numa);
    char *own = xasprintf("devices/%s/infiniband/%s", link->pci_path, link->name);
    char *port = xasprintf("%s/ports/1", own), *class = xasprintf("class/infiniband/%s", link->name);
    char *device = xasprintf("%s/device", own), *parent = xasprintf("devices/%s", link->pci_path);
    fake_file(root, port, "state", link->state);
    fake_file(root, port, "rate", link->rate);
    fake_file(root, port, "link_layer", link->layer);
    fake_leads_to(root, device, parent);
    fake_folder(root, "class/infiniband");
    fake_leads_to(root, class, own);
    free(parent);
    free(device);
    free(class);
    free(port);
    free(own);
}

/* fake_numa - a node of memory with these processors, in a socket with those. */
static inline void fake_numa(const char *root, int numa, const char *cpus, const char *socket_cpus) {
    char folder[96];
    snprintf(folder, sizeof folder, "devices/system/node/node%d", numa);
    fake_file(root, folder, "cpulist", cpus);
    snprintf(folder, sizeof folder, "devices/system/cpu/cpu%d/topology", atoi(cpus));
    fake_file(root, folder, "package_cpus_list", socket_cpus);
}

/* --- whole nodes --- */

#define HFI(number, path, node)                                                                              \
    { "hfi1_" #number, path, node, "4: ACTIVE\n", "100 Gb/sec (4X EDR)\n", "InfiniBand\n" }

/* fake_a100_node - eight GPUs in pairs, each pair below a switch of its own with an Omni-Path link; two sockets of four nodes of
 * memory, a pair beside every second one.  down: the number of a link that is down, or -1. */
static inline char *fake_a100_node(const char *name, int down) {
    char *root = test_folder(name), path[160], link_name[16];
    for (int i = 0; i < 4; i++) {
        int bus = 0x40 * i;
        for (int g = 0; g < 2; g++) {
            snprintf(path, sizeof path,
                     "pci0000:%02x/0000:%02x:01.1/0000:%02x:00.0/0000:%02x:0%d.0/0000:%02x:00.0", bus, bus,
                     bus + 1, bus + 2, g, bus + 3 + g);
            fake_device(root, path, 2 * i);
        }
        snprintf(path, sizeof path,
                 "pci0000:%02x/0000:%02x:01.1/0000:%02x:00.0/0000:%02x:04.0/0000:%02x:00.0", bus, bus,
                 bus + 1, bus + 2, bus + 7);
        snprintf(link_name, sizeof link_name, "hfi1_%d", i);
        const struct fake_link link = {
            link_name,     path, 2 * i, i == down ? "1: DOWN\n" : "4: ACTIVE\n", "100 Gb/sec (4X EDR)\n",
            "InfiniBand\n"};
        fake_network_link(root, &link);
    }
    fake_file(root, "devices/system/node", "online", "0-7\n");
    for (int i = 0; i < 8; i++) {
        char cpus[32];
        snprintf(cpus, sizeof cpus, "%d-%d,%d-%d\n", 8 * i, 8 * i + 7, 64 + 8 * i, 64 + 8 * i + 7);
        fake_numa(root, i, cpus, i < 4 ? "0-31,64-95\n" : "32-63,96-127\n");
    }
    return root;
}

/* fake_a100_bus - of its GPU, as CUDA writes it. */
static inline const char *fake_a100_bus(int gpu) {
    static const char *const buses[] = {"0000:03:00.0", "0000:04:00.0", "0000:43:00.0", "0000:44:00.0",
                                        "0000:83:00.0", "0000:84:00.0", "0000:C3:00.0", "0000:C4:00.0"};
    return buses[gpu];
}

/* fake_h100_node - four GPUs, each below a switch with an InfiniBand link, which are numbered against the order of the GPUs;
 * further an Ethernet bond for storage. */
static inline char *fake_h100_node(const char *name) {
    static const int roots[] = {0x17, 0x37, 0x97, 0xb7};
    char *root = test_folder(name), path[160], link_name[16];
    for (int i = 0; i < 4; i++) {
        int bus = roots[i];
        snprintf(path, sizeof path,
                 "pci0000:%02x/0000:%02x:01.0/0000:%02x:00.0/0000:%02x:00.0/0000:%02x:00.0", bus, bus,
                 bus + 1, bus + 2, bus + 3);
        fake_device(root, path, i / 2);
        snprintf(path, sizeof path,
                 "pci0000:%02x/0000:%02x:01.0/0000:%02x:00.0/0000:%02x:01.0/0000:%02x:00.0", bus, bus,
                 bus + 1, bus + 2, bus + 4);
        snprintf(link_name, sizeof link_name, "mlx5_%d", 10 - 3 * i);
        const struct fake_link link = {link_name,     path, i / 2, "4: ACTIVE\n", "400 Gb/sec (4X NDR)\n",
                                       "InfiniBand\n"};
        fake_network_link(root, &link);
    }
    static const struct fake_link bond = {
        "mlx5_bond_0", "pci0000:17/0000:17:05.0/0000:27:00.0", 0, "4: ACTIVE\n", "100 Gb/sec (4X EDR)\n",
        "Ethernet\n"};
    fake_network_link(root, &bond);
    fake_file(root, "devices/system/node", "online", "0-1\n");
    fake_numa(root, 0, "0-47\n", "0-47\n");
    fake_numa(root, 1, "48-95\n", "48-95\n");
    return root;
}

static inline const char *fake_h100_bus(int gpu) {
    static const char *const buses[] = {"0000:1A:00.0", "0000:3A:00.0", "0000:9A:00.0", "0000:BA:00.0"};
    return buses[gpu];
}

/* fake_v100_node - four GPUs and four links, two of each at either socket, at bridges of their own: equally near. */
static inline char *fake_v100_node(const char *name) {
    static const char *const gpus[] = {
        "pci0000:14/0000:14:02.0/0000:1a:00.0", "pci0000:15/0000:15:02.0/0000:1c:00.0",
        "pci0000:85/0000:85:02.0/0000:88:00.0", "pci0000:86/0000:86:02.0/0000:8a:00.0"};
    static const struct fake_link links[] = {
        HFI(0, "pci0000:3a/0000:3a:00.0/0000:3b:00.0", 0), HFI(1, "pci0000:5d/0000:5d:00.0/0000:5e:00.0", 0),
        HFI(2, "pci0000:ae/0000:ae:00.0/0000:af:00.0", 1), HFI(3, "pci0000:d7/0000:d7:00.0/0000:d8:00.0", 1)};
    char *root = test_folder(name);
    for (int i = 0; i < 4; i++) {
        fake_device(root, gpus[i], i / 2);
        fake_network_link(root, &links[i]);
    }
    fake_file(root, "devices/system/node", "online", "0-1\n");
    fake_numa(root, 0, "0-19,40-59\n", "0-19,40-59\n");
    fake_numa(root, 1, "20-39,60-79\n", "20-39,60-79\n");
    return root;
}

static inline const char *fake_v100_bus(int gpu) {
    static const char *const buses[] = {"0000:1A:00.0", "0000:1C:00.0", "0000:88:00.0", "0000:8A:00.0"};
    return buses[gpu];
}
