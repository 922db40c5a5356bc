/* clock.c - seconds of the monotonic clock. */
#include "kernels/clock.h"

#include <stdio.h>
#include <time.h>

#include "kernels/units.h"

/* Not the time of day, which may be set while a run measures. */
double clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* VmHWM of proc(5), the most that was resident at once; 0 where it is not told. */
int64_t peak_memory_bytes(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long long peak_kib = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lld kB", &peak_kib) == 1)
            break;
    if (file)
        fclose(file);
    return (int64_t)peak_kib * KIB;
}
