/* machine.h - what a rank computes with, as rates: of the site's profile (the maker's peaks, of which a share
 * is counted on), of a calibration measured on such a node, or of this processor.  Where a rate comes from
 * goes with it, so that a reader can judge. */
#pragma once

#include "slurm/site.h"
#include "train/plan/gpu_rates.h"

/* Rates are sustained ones. */
struct machine {
    char name[96];
    char basis[240];    /* where the rates come from, in words */
    double flops_per_s; /* of a rank: matrix products in the run's compute type, of large matrices */
    double half_width, attention_64_flops_per_s,
        attention_128_flops_per_s;         /* see gpu_rates.h; 0: all products alike, and attention */
    double launches_s, beside, uneven;     /* the same; 0: nothing is lost */
    double experts_flops_per_s;            /* the same, in 16 bits; 0: as other products */
    double bytes_per_s;                    /* of a rank: memory */
    double link_bytes_per_s;               /* bus bandwidth of a rank to the others of its node */
    double node_bytes_per_s;               /* of a whole node to the other nodes */
    double link_latency_s, node_latency_s; /* of an exchange over them, before its first byte */
    double watts;                          /* of a rank with its part of the host; 0: not known */
    bool engines; /* gathers inside a node take nothing of `beside`: see parallel.gathers */
    bool on_gpu;
    int gpu_arch;  /* gpu_codes.h, of its kind; 0: not known, or no GPU */
    bool measured; /* a calibration; else assumed from data sheets, or this processor for a moment */
    bool link_measured, node_measured; /* the same of the links inside a node, and between nodes */
    bool guessed;                      /* nobody knows its rates */
    size_t memory_bytes;               /* of the device; 0: not known */
    size_t host_bytes;                 /* beside a GPU: a rank's share of the node's memory; 0: not known */
};

/* machine_of_partition - a GPU of this partition computing in that type, or a rank of ranks_per_node on a
 * node without GPUs; constraint: the feature the job asks for (NULL: none), which may have other memory.
 * Rates that the profile does not know are those of a machine nobody knows. */
struct machine machine_of_partition(const struct site_partition *partition, const char *constraint,
                                    enum dtype compute, int ranks_per_node);

/* machine_unknown - round figures that only serve to compare layouts with each other. */
struct machine machine_unknown(bool on_gpu, size_t memory_bytes);

/* machine_of_processor - this computer shared by ranks_per_node ranks: measured for a fifth of a second. */
struct machine machine_of_processor(enum dtype compute, int ranks_per_node);
