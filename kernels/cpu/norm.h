/* norm.h - rows of a norm on the CPU, for the ops that normalise; private to kernels/cpu/.  The weight's gradient is summed over
 * rows in DW_BLOCKS runs of them, each by one thread, which are then added in order: its bits do not depend on the threads. */
#pragma once

#include "kernels/cpu/cpu.h"

/* Enough blocks to occupy 32 threads; each costs one row of scratch. */
enum { DW_BLOCKS = 32 };

/* A row's own numbers; mean 0 of RMS. */
struct row_stats {
    float rstd, mean;
};

/* A norm whose values are open as f32. */
struct open_norm {
    enum norm_kind kind;
    float eps;
    int64_t width;
    const float *w, *bias; /* [width]: w + offset; bias NULL: none */
};

/* norm_open - buffer: room for two rows, in use as long as what is returned. */
struct open_norm norm_open(const struct norm *norm, float *buffer);

/* norm_forward_row - y = norm(x) of one row; dtype: what the normalised value is rounded to where the kind says so. */
struct row_stats norm_forward_row(float *y, const float *x, const struct open_norm *norm, enum dtype dtype);

/* rms_backward_row - dx += and dw += what one row of an RMSNorm adds.  No two of the pointers may be the same. */
void rms_backward_row(float *dx, float *dw, const float *dy, const float *x, float rstd,
                      const struct open_norm *norm);

/* norm_add_blocks - dw += the sums of the blocks, partial [DW_BLOCKS, width]; dw without data: nothing. */
void norm_add_blocks(struct tensor dw, const float *partial, int64_t width);
