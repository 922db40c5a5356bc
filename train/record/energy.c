/* energy.c - counters of NVML and RAPL, opened, read, and added up over their wrap.  NVML:
 * nvmlDeviceGetTotalEnergyConsumption, millijoules since the driver was loaded, Volta and later, no privileges
 * needed; declared here in the few words that are used, since its library belongs to the driver and is absent where
 * there is no GPU.  RAPL: /sys/class/powercap, microjoules; many sites let only root read it. */
#include "train/record/energy.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char RAPL_FOLDER[] = "/sys/class/powercap";
enum { MAX_PACKAGES = 16 };

/* One processor package. */
struct package {
    char path[300];
    double last, range; /* joules */
};

struct energy_meter {
    void *nvml; /* the library; NULL: no GPU is counted */
    void *gpu;  /* its handle */
    int (*total_energy)(void *gpu, unsigned long long *millijoules);
    int (*shutdown)(void);
    double gpu_start, gpu_joules;
    struct package packages[MAX_PACKAGES];
    int num_packages;
    double host_joules;
};

/* --- GPU --- */

/* read_gpu - joules since the driver was loaded. */
static bool read_gpu(const struct energy_meter *meter, double *joules) {
    unsigned long long millijoules = 0;
    if (meter->total_energy(meter->gpu, &millijoules) != 0)
        return false;
    *joules = 1e-3 * (double)millijoules;
    return true;
}

/* find - a function of the library; data and function pointers are told apart by C, not by dlsym. */
static bool find(void *library, const char *name, void *function) {
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

/* open_nvml - by UUID: NVML numbers all boards of the host, whatever CUDA_VISIBLE_DEVICES shows. */
static bool open_nvml(struct energy_meter *meter, const char *uuid) {
    int (*init)(void), (*by_uuid)(const char *, void **);
    return find(meter->nvml, "nvmlInit_v2", &init) && find(meter->nvml, "nvmlShutdown", &meter->shutdown) &&
           find(meter->nvml, "nvmlDeviceGetHandleByUUID", &by_uuid) &&
           find(meter->nvml, "nvmlDeviceGetTotalEnergyConsumption", &meter->total_energy) && init() == 0 &&
           by_uuid(uuid, &meter->gpu) == 0 && read_gpu(meter, &meter->gpu_start);
}

/* open_gpu - a GPU without the counter is not counted, which the ledger says. */
static void open_gpu(struct energy_meter *meter, const char *uuid) {
    meter->nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (meter->nvml && !open_nvml(meter, uuid)) {
        dlclose(meter->nvml);
        meter->nvml = NULL;
    }
}

/* --- processors --- */

/* read_number - a file of microjoules, in joules. */
static bool read_number(const char *folder, const char *name, double *joules) {
    char path[600];
    unsigned long long microjoules = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    bool good = file && fscanf(file, "%llu", &microjoules) == 1;
    if (file)
        fclose(file);
    *joules = 1e-6 * (double)microjoules;
    return good;
}

/* is_package - "intel-rapl:0", not its parts "intel-rapl:0:0" (cores, memory), which it contains. */
static bool is_package(const char *name) {
    const char *colon = strchr(name, ':');
    return strncmp(name, "intel-rapl:", 11) == 0 && !strchr(colon + 1, ':');
}

/* open_host - the packages that may be read; a job in a part of a node counts all of it, as the processors do. */
static void open_host(struct energy_meter *meter) {
    DIR *folder = opendir(RAPL_FOLDER);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)) && meter->num_packages < MAX_PACKAGES) {
        struct package *package = &meter->packages[meter->num_packages];
        snprintf(package->path, sizeof package->path, "%s/%s", RAPL_FOLDER, entry->d_name);
        if (is_package(entry->d_name) && read_number(package->path, "energy_uj", &package->last) &&
            read_number(package->path, "max_energy_range_uj", &package->range))
            meter->num_packages++;
    }
    if (folder)
        closedir(folder);
}

/* counter_step - joules between two readings of a counter that starts again at 0 beyond range. */
static double counter_step(double before, double now, double range) {
    return now >= before ? now - before : now + range - before;
}

/* read_host - at least once in the time that a counter takes to wrap, which is minutes: accounts_update does. */
static void read_host(struct energy_meter *meter) {
    for (int i = 0; i < meter->num_packages; i++) {
        struct package *package = &meter->packages[i];
        double now;
        if (!read_number(package->path, "energy_uj", &now))
            continue;
        meter->host_joules += counter_step(package->last, now, package->range);
        package->last = now;
    }
}

/* --- both --- */

struct energy_meter *energy_open(const char *gpu_uuid, bool counts_host) {
    struct energy_meter *meter = xcalloc(1, sizeof *meter);
    if (gpu_uuid)
        open_gpu(meter, gpu_uuid);
    if (counts_host)
        open_host(meter);
    return meter;
}

void energy_close(struct energy_meter *meter) {
    if (meter && meter->nvml) {
        meter->shutdown();
        dlclose(meter->nvml);
    }
    free(meter);
}

struct energy_reading energy_read(struct energy_meter *meter) {
    double now;
    if (meter->nvml && read_gpu(meter, &now))
        meter->gpu_joules = now - meter->gpu_start;
    read_host(meter);
    return (struct energy_reading){.gpu_joules = meter->gpu_joules,
                                   .host_joules = meter->host_joules,
                                   .has_gpu = meter->nvml != NULL,
                                   .has_host = meter->num_packages > 0};
}
