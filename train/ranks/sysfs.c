/* sysfs.c - short reads of /sys, and paths of PCI devices. */
#include "train/ranks/sysfs.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/file.h"

const char *sysfs_root(void) {
    const char *root = getenv("ATELIER_SYSFS");
    return root && root[0] ? root : "/sys";
}

/* One read: what the kernel shows here comes whole, and a file without end gives no more than that. */
bool sysfs_text(const char *root, const char *path, char text[SYSFS_TEXT_ROOM]) {
    char full[PATH_MAX];
    text[0] = '\0';
    if (snprintf(full, sizeof full, "%s/%s", root, path) >= (int)sizeof full)
        return false;
    int fd = file_open_read(full, NULL, NULL);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, SYSFS_TEXT_ROOM - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return length > 0;
}

int sysfs_number(const char *root, const char *path, int fallback) {
    char text[SYSFS_TEXT_ROOM], *end;
    if (!sysfs_text(root, path, text))
        return fallback;
    long value = strtol(text, &end, 10);
    return end != text && value >= INT_MIN && value <= INT_MAX ? (int)value : fallback;
}

/* number_at - moves *at past the digits there; -1: there are none, or it is too large to be one of a processor. */
static long number_at(const char **at) {
    char *end;
    if (!isdigit((unsigned char)**at))
        return -1;
    long value = strtol(*at, &end, 10);
    *at = end;
    return value < INT_MAX ? value : -1;
}

bool sysfs_cpus(const char *root, const char *path, cpu_set_t *cpus) {
    char text[SYSFS_TEXT_ROOM];
    const char *at = text;
    CPU_ZERO(cpus);
    sysfs_text(root, path, text);
    while (*at) {
        long first = number_at(&at), last = first;
        if (*at == '-') {
            at++;
            last = number_at(&at);
        }
        if (first < 0 || last < first)
            break;
        for (long i = first; i <= last && i < CPU_SETSIZE; i++)
            CPU_SET((size_t)i, cpus);
        if (*at != ',')
            break;
        at++;
    }
    return CPU_COUNT(cpus) > 0;
}

void sysfs_device(const char *root, const char *path, struct sysfs_place *place) {
    char full[PATH_MAX], real[PATH_MAX], real_root[PATH_MAX];
    place->path[0] = '\0';
    snprintf(full, sizeof full, "%s/numa_node", path);
    place->numa = sysfs_number(root, full, -1);
    if (place->numa < 0)
        place->numa = -1;
    if (snprintf(full, sizeof full, "%s/%s", root, path) >= (int)sizeof full || !realpath(full, real) ||
        !realpath(root, real_root))
        return;
    size_t length = strlen(real_root);
    bool is_inside = strncmp(real, real_root, length) == 0 && real[length] == '/';
    if (is_inside && strlen(real + length + 1) < sizeof place->path)
        memcpy(place->path, real + length + 1, strlen(real + length + 1) + 1);
}

/* CUDA writes the letters of an address large, the kernel small. */
void sysfs_pci_device(const char *root, const char *bus, struct sysfs_place *place) {
    char path[64] = "bus/pci/devices/";
    size_t used = strlen(path);
    *place = (struct sysfs_place){.numa = -1};
    if (!bus[0])
        return;
    for (size_t i = 0; bus[i] && used + 1 < sizeof path; i++) {
        if (!isxdigit((unsigned char)bus[i]) && bus[i] != ':' && bus[i] != '.')
            return;
        path[used++] = (char)tolower((unsigned char)bus[i]);
    }
    path[used] = '\0';
    sysfs_device(root, path, place);
}

/* Steps count from the root of PCI on ("pci0000:40"), which hangs at a processor: what lies before it, all devices share. */
int sysfs_shared_steps(const struct sysfs_place *a, const struct sysfs_place *b) {
    const char *left = a->path, *right = b->path;
    int steps = 0;
    bool in_pci = false;
    while (*left && *right) {
        size_t length = strcspn(left, "/");
        if (length != strcspn(right, "/") || strncmp(left, right, length) != 0)
            break;
        in_pci = in_pci || strncmp(left, "pci", 3) == 0;
        steps += in_pci;
        left += length + (left[length] == '/');
        right += length + (right[length] == '/');
    }
    return steps;
}
