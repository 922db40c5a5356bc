/* calibration.h - what `atelier doctor --calibrate FILE` measured on a node, for `atelier plan`: a small JSON
 * file.
 *
 * It is looked for in $ATELIER_CALIBRATION (a file), then beside the site's profile, in
 * calibrations/SITE-PARTITION.json.  Only figures above 0 are taken; the others stay as the profile has them.
 */
#pragma once

#include "train/plan/machine.h"

struct calibration {
    char kind[96];      /* of what was measured: "NVIDIA H200", "AMD EPYC 9354" */
    char partition[64]; /* SLURM_JOB_PARTITION; "" outside Slurm */
    char host[64], date[32];
    bool on_gpu;
    double flops_16, flops_32; /* flop/s of large products; of one GPU, or of the whole processor */
    double copy_bytes_per_s;   /* memory: read plus written */
    double link_bytes_per_s,
        node_bytes_per_s; /* between ranks of a node, of a node to others; 0: not measured */
};

/* calibration_write - in place of the file at once.  calibration_read - returns 0, or -1 with err set:
 * unreadable, not a calibration, figures that cannot be. */
int calibration_write(const struct calibration *calibration, const char *path, struct err *err);
int calibration_read(struct calibration *calibration, const char *path, struct err *err);

/* calibration_path - the file for that partition (NULL: none), malloc'ed; NULL where there is none. */
char *calibration_path(const struct site *site, const struct site_partition *partition);

/* calibration_apply - its rates in place of a machine's; ranks_per_node share a processor, a GPU belongs to
 * one. */
void calibration_apply(struct machine *machine, const struct calibration *calibration, enum dtype compute,
                       int ranks_per_node);
