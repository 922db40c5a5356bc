/* sysfs.h - what the kernel says of devices and processors, in small texts under /sys.  Whatever lies there instead is
 * survived: a FIFO, a folder, a file without end and a link in a circle read as nothing. */
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

enum { SYSFS_TEXT_ROOM = 4096 /* the kernel gives a page at most */, SYSFS_PATH_ROOM = 256 };

/* Where a device is. */
struct sysfs_place {
    char path
        [SYSFS_PATH_ROOM]; /* "devices/pci0000:40/0000:40:01.1/0000:41:00.0", without links; "" not known */
    int numa;              /* node of the host's memory that is nearest; -1: not known */
};

/* sysfs_root - "/sys", or ATELIER_SYSFS: a container may have the host's elsewhere. */
const char *sysfs_root(void);

/* sysfs_text - the first line of root/path, without its end; at most SYSFS_TEXT_ROOM - 1 bytes.  False where there is no such
 * file: text is "" then.  sysfs_number - the number that it begins with, or fallback. */
bool sysfs_text(const char *root, const char *path, char text[SYSFS_TEXT_ROOM]);
int sysfs_number(const char *root, const char *path, int fallback);

/* sysfs_cpus - a list of processors, "0-31,64-95", or of nodes; those past CPU_SETSIZE, and all after what is not a list, are
 * left out.  False where nothing is named. */
bool sysfs_cpus(const char *root, const char *path, cpu_set_t *cpus);

/* sysfs_device - root/path, a folder or a link to it.  sysfs_pci_device - the PCI device "0000:5E:00.0", in any case. */
void sysfs_device(const char *root, const char *path, struct sysfs_place *place);
void sysfs_pci_device(const char *root, const char *bus, struct sysfs_place *place);

/* sysfs_shared_steps - how many PCI bridges, from the processor on, lie above both; 0: they meet in a processor, or nothing
 * is known of one. */
int sysfs_shared_steps(const struct sysfs_place *a, const struct sysfs_place *b);
