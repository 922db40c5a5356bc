/* energy.h - what the hardware of this rank has used, by its own counters: the GPU's (NVML, loaded when it is
 * there), and for the first rank of a host the processors' (RAPL, where the host lets one read it).  What
 * cannot be read is missing, and told as missing; nothing is guessed. */
#pragma once

#include "kernels/tensor.h"

struct energy_meter;

/* energy_open - start counting.  gpu_uuid: of this rank's GPU, or NULL; counts_host: this rank speaks for its
 * host. Never fails: a meter without any counter counts nothing.  energy_close frees it. */
struct energy_meter *energy_open(const char *gpu_uuid, bool counts_host);
void energy_close(struct energy_meter *meter);

/* Since energy_open. */
struct energy_reading {
    double gpu_joules, host_joules;
    bool has_gpu, has_host; /* whether there is a counter */
};

/* energy_read - RAPL counters wrap after some minutes at full power: to be called at least once a minute. */
struct energy_reading energy_read(struct energy_meter *meter);
