/* doctor.c - /proc, cgroups and PATH looked at; products, copies and writes timed. */
#include "train/measure/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/ops.h"
#include "kernels/units.h"

/* Sizes of the measurements: long enough to tell, short enough not to wait. */
enum {
    GEMM_ROWS = 512,
    GEMM_WIDTH = 1024,
    COPY_BYTES = 128 * MIB,
    COPY_BLOCK_BYTES = MIB,
    DISK_BYTES = 64 * MIB,
    DISK_BLOCK_BYTES = 4 * MIB,
};

/* --- facts --- */

/* has_word - a flag of /proc/cpuinfo: "avx512f" is not in "avx512fp16". */
static bool has_word(const char *line, const char *word) {
    size_t length = strlen(word);
    for (const char *at = line; (at = strstr(at, word)); at += length)
        if (at > line && at[-1] == ' ' && (at[length] == ' ' || at[length] == '\n' || !at[length]))
            return true;
    return false;
}

void doctor_processor(char *model, size_t model_room, char *features, size_t features_room) {
    static const char *const wanted[] = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"};
    char *line = NULL;
    size_t room = 0, used = 0;
    bool has_flags = false;
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(model, model_room, "unknown");
    features[0] = '\0';
    while (file && !has_flags && getline(&line, &room, file) > 0) {
        const char *colon = strchr(line, ':');
        if (colon && strncmp(line, "model name", 10) == 0)
            snprintf(model, model_room, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        has_flags = strncmp(line, "flags", 5) == 0; /* the first processor speaks for all */
    }
    for (size_t i = 0; has_flags && i < sizeof wanted / sizeof wanted[0]; i++)
        if (has_word(line, wanted[i]) && used < features_room)
            used +=
                (size_t)snprintf(features + used, features_room - used, "%s%s", used ? " " : "", wanted[i]);
    free(line);
    if (file)
        fclose(file);
}

/* A container's share: the processors that are shown may be more than may be used. */
double doctor_cgroup_cores(void) {
    double quota = 0, period = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!file)
        return 0;
    int num_read = fscanf(file, "%lf %lf", &quota, &period); /* "max 100000" without a limit: reads nothing */
    fclose(file);
    return num_read == 2 && period > 0 ? quota / period : 0;
}

/* Version 2 of cgroups, as for the cores; "max", no limit, is not a number and reads as 0. */
double doctor_cgroup_memory_gb(void) {
    double bytes = 0;
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "r");
    if (!file)
        return 0;
    int num_read = fscanf(file, "%lf", &bytes);
    fclose(file);
    return num_read == 1 ? bytes / GIGA : 0;
}

/* "Available" and not "free": what the kernel keeps as cache it gives back. */
void doctor_memory(double *total_gb, double *available_gb) {
    char line[128];
    long long kib = 0;
    *total_gb = *available_gb = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemTotal: %lld kB", &kib) == 1)
            *total_gb = (double)kib * KIB / GIGA;
        else if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
            *available_gb = (double)kib * KIB / GIGA;
    }
    if (file)
        fclose(file);
}

int doctor_num_threads(void) {
    return omp_get_max_threads();
}

/* --- measurements --- */

double doctor_gemm_gflops(enum dtype dtype, double measure_s) {
    struct device dev;
    size_t x_count = (size_t)GEMM_ROWS * GEMM_WIDTH, w_count = (size_t)GEMM_WIDTH * GEMM_WIDTH;
    /* Zeros would do for the arithmetic, but untouched pages of calloc are all one page: fill them. */
    void *x = xmalloc(x_count * sizeof(float)), *w = xmalloc(w_count * sizeof(float));
    void *y = xmalloc(x_count * sizeof(float));
    memset(x, 0, x_count * sizeof(float));
    memset(w, 0, w_count * sizeof(float));
    memset(y, 0, x_count * sizeof(float));
    device_open_cpu(&dev, 0);
    struct tensor tx = tensor_2d(x, dtype, GEMM_ROWS, GEMM_WIDTH),
                  tw = tensor_2d(w, dtype, GEMM_WIDTH, GEMM_WIDTH);
    struct tensor ty = tensor_2d(y, dtype, GEMM_ROWS, GEMM_WIDTH);
    op_linear_forward(&dev, ty, tx, tw); /* compiles the kernel */
    int num_calls = 0;
    double start_s = clock_s();
    for (; clock_s() - start_s < measure_s; num_calls++)
        op_linear_forward(&dev, ty, tx, tw);
    double seconds = clock_s() - start_s;
    device_close(&dev);
    free(x);
    free(w);
    free(y);
    return 2.0 * GEMM_ROWS * GEMM_WIDTH * GEMM_WIDTH * num_calls / seconds / GIGA;
}

/* Each thread copies blocks that it has written first, which places their pages near it on a host of several
 * sockets. */
double doctor_copy_gb_per_s(double measure_s) {
    char *from = xmalloc(COPY_BYTES), *to = xmalloc(COPY_BYTES);
    double start_s = 0;
    int num_rounds = -1; /* the first round brings the pages in and does not count */
    do {
#pragma omp parallel for schedule(static)
        for (int64_t at = 0; at < COPY_BYTES; at += COPY_BLOCK_BYTES) {
            if (num_rounds < 0)
                memset(from + at, 1, COPY_BLOCK_BYTES);
            memcpy(to + at, from + at, COPY_BLOCK_BYTES);
        }
        if (++num_rounds == 0)
            start_s = clock_s();
    } while (clock_s() - start_s < measure_s);
    double seconds = clock_s() - start_s;
    free(from);
    free(to);
    return num_rounds > 0 ? 2.0 * COPY_BYTES * num_rounds / seconds / GIGA : 0;
}

/* With its fsync, as a checkpoint does: without it memory would be measured. */
double doctor_write_mb_per_s(const char *folder, struct err *err) {
    char *path = xasprintf("%s/.atelier-doctor-XXXXXX", folder), *block = xmalloc(DISK_BLOCK_BYTES);
    double mb_per_s = 0;
    memset(block, 0xa5, DISK_BLOCK_BYTES);
    int fd = mkstemp(path);
    if (fd < 0) {
        err_set(err, "cannot create a file in '%s': %s", folder, strerror(errno));
        goto done;
    }
    unlink(path); /* at once: nothing is left whatever happens */
    double start_s = clock_s();
    for (int64_t at = 0; at < DISK_BYTES; at += DISK_BLOCK_BYTES)
        if (write(fd, block, DISK_BLOCK_BYTES) != DISK_BLOCK_BYTES) {
            err_set(err, "cannot write 64 MiB in '%s': %s", folder,
                    errno ? strerror(errno) : "the disk is full");
            goto close_file;
        }
    if (fsync(fd) != 0) {
        err_set(err, "cannot sync a file in '%s': %s", folder, strerror(errno));
        goto close_file;
    }
    mb_per_s = DISK_BYTES / (clock_s() - start_s) / MEGA;
close_file:
    close(fd);
done:
    free(path);
    free(block);
    return mb_per_s;
}
