/* bench.h - what the parts of the GPU's benchmark share: a device, its measured ceilings, random data,
 * timing, and the tables they print as Markdown. */
#pragma once

#include <stdio.h>

#include "kernels/ops.h"

enum { BENCH_MAX_TENSORS = 32 };

struct bench {
    struct device dev;
    bool smoke;        /* tiny sizes, each thing once, no figures: proves that all of it runs */
    FILE *results;     /* one line of JSON per step, for the comparison with PyTorch; NULL: none */
    const char *shape; /* the only shape whose steps are wanted, and the only sequence; NULL, 0: all */
    int64_t sequence;
    double copy_bytes_per_s, product_flops; /* ceilings, measured at the start; 0 in a smoke run */
    double peak_flops; /* bf16, by the data sheet: what MFU is a share of; 0: unknown GPU */

    struct tensor tensors[BENCH_MAX_TENSORS]; /* of the case at hand */
    int num_tensors;
};

/* bench_random - a tensor of normal numbers times size, in fresh device memory; bench_release frees all of
 * them. The numbers repeat after a million: timing needs data that is random, not data that is new. */
struct tensor bench_random(struct bench *b, struct tensor shape, float size);
/* bench_ids - i32 values in [0, limit).  bench_zero - zeros. */
struct tensor bench_ids(struct bench *b, int64_t count, int64_t limit);
struct tensor bench_zero(struct bench *b, struct tensor shape);
void bench_release(struct bench *b);

/* bench_median_s - seconds of one call of the work on the GPU: events around batches of calls that follow
 * each other without a wait, the median of several batches after a warm-up.  Each call must touch several
 * times as much memory as the L2 cache holds, or it measures the cache. */
typedef void (*bench_work)(void *user);
double bench_median_s(struct bench *b, bench_work work, void *user);

/* What is known of a case besides its time: either flops or bytes are what bounds it.  target: flop/s,
 * bytes/s, or with target_s seconds, that kernels like it should reach on an H200; 0: none. */
struct bench_facts {
    double flops, bytes, target, target_s;
};

/* bench_head, bench_row - a table with time, rate, the bound (what this GPU was measured to copy or to
 * multiply at the start) and the share of it, target and share of it.  Each row is written out at once. */
void bench_head(struct bench *b, const char *title);
void bench_row(struct bench *b, const char *name, double seconds, struct bench_facts facts);

/* bench_kernels - every family of operations.  bench_experts - those of experts.  bench_steps - whole training steps: false when no such shape
 * or sequence is known.  bench_plan - what bench_steps would choose here and how much memory that takes, with
 * nothing allocated: false when a shape does not fit. */
void bench_kernels(struct bench *b);
void bench_experts(struct bench *b);
bool bench_steps(struct bench *b);
bool bench_plan(struct bench *b);

/* bench_check_memory - trains a small model for some steps: returns true when the device's free memory did
 * not change after the first, and says what it was. */
bool bench_check_memory(struct bench *b);
