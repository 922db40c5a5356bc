/* node_links.c - class/infiniband and the ports of each device in it. */
#include "train/ranks/node_links.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/error.h"

/* Devices have one port or two.  A folder of so many devices is not one of a host (virtual functions come in hundreds at most). */
enum { MAX_PORTS = 4, MAX_NAMES = 1024, PORT_ACTIVE = 4 };

static const char CLASS[] = "class/infiniband";

/* is_link_name - what drivers call devices; anything else would go into messages. */
static bool is_link_name(const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("_-.", name[i]))
            return false;
    return length > 0 && length < LINK_NAME_ROOM && name[0] != '.';
}

static int by_number(const void *a, const void *b) {
    return strverscmp(a, b);
}

/* read_names - all of them, sorted; malloc'ed. */
static char (*read_names(const char *root, int *count))[LINK_NAME_ROOM] {
    char(*names)[LINK_NAME_ROOM] = xcalloc(MAX_NAMES, sizeof *names);
    char path[PATH_MAX];
    *count = 0;
    snprintf(path, sizeof path, "%s/%s", root, CLASS);
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && *count < MAX_NAMES && (entry = readdir(folder)))
        if (is_link_name(entry->d_name))
            snprintf(names[(*count)++], LINK_NAME_ROOM, "%s", entry->d_name);
    if (folder)
        closedir(folder);
    qsort(names, (size_t)*count, sizeof *names, by_number);
    return names;
}

/* add_port - "4: ACTIVE", "100 Gb/sec (4X EDR)", "InfiniBand".  False: there is no such port. */
static bool add_port(struct node_link *link, const char *root, int port) {
    char path[128], text[SYSFS_TEXT_ROOM];
    snprintf(path, sizeof path, "%s/%s/ports/%d/state", CLASS, link->name, port);
    if (!sysfs_text(root, path, text))
        return false;
    bool is_active = strtol(text, NULL, 10) == PORT_ACTIVE;
    snprintf(path, sizeof path, "%s/%s/ports/%d/rate", CLASS, link->name, port);
    sysfs_text(root, path, text);
    float rate = strtof(text, NULL);
    rate = isfinite(rate) && rate > 0 ? rate : 0;
    if (is_active == link->is_active)
        link->gbit_s = rate > link->gbit_s ? rate : link->gbit_s;
    else if (is_active)
        link->gbit_s = rate;
    link->is_active = link->is_active || is_active;
    snprintf(path, sizeof path, "%s/%s/ports/%d/link_layer", CLASS, link->name, port);
    sysfs_text(root, path, text);
    link->is_ethernet = link->is_ethernet || strcmp(text, "Ethernet") == 0;
    return true;
}

int node_links_read(const char *root, struct node_link links[MAX_NODE_LINKS]) {
    int num_names, count = 0;
    char(*names)[LINK_NAME_ROOM] = read_names(root, &num_names);
    for (int i = 0; i < num_names && count < MAX_NODE_LINKS; i++) {
        struct node_link *link = &links[count];
        char path[128];
        *link = (struct node_link){.is_active = false};
        memcpy(link->name, names[i], sizeof link->name);
        int num_ports = 0;
        while (num_ports < MAX_PORTS && add_port(link, root, num_ports + 1))
            num_ports++;
        snprintf(path, sizeof path, "%s/%s/device", CLASS, link->name);
        sysfs_device(root, path, &link->place);
        count += num_ports > 0;
    }
    free(names);
    return count;
}
