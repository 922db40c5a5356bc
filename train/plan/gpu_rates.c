/* gpu_rates.c - the table, and where its numbers come from:
 *
 *   products    cuBLAS on one H100 with random numbers, of 8192^3, 6144^3 and 4096^3: 798, 741 and 716 of 989 TFLOP/s
 *               (pranjalssh/fast.cu, README), and no shape of many more than 795 (stas00/ml-engineering, compute/accelerator,
 *               table of bf16).  An H200 has the same cores and power.  An A100's best is 271 of 312 (the same table).
 *   half_width  fitted to the first and the last of those three, beside the 512 rows that product_rates.c counts with; the one between
 *               comes out 4 % high.  No such series of A100 was found: the same.
 *   attention   kernels/cuda/NOTES.md, "What a step should take".
 *   memory      copies reach 87 to 90 % of the peak (kernels of one pass), ours 90 to 95 % of that by their counts.
 *   launches    29 of a layer, 3 us apart, by the same notes.
 *   beside      12 of 132 or 108 multiprocessors belong to a transfer, and as many to one along another axis: each has a transport of
 *               its own.  Those between replicas have as many as NCCL likes; the same is counted of them.
 *   uneven      published losses from more GPUs: of H100, llm-foundry 9 % (7B) and 12 % (1B) from 8 to 512, torchtitan 2 % from 8
 *               to 128; of H200, KempnerForge 7 % from 1 to 4.  That is 0.6 to 3.5 % for each doubling, exchanges that were waited
 *               for included.
 *   experts     tests/gpu/model.py --experts: a prediction from the kernels' machine code. */
#include "train/plan/gpu_rates.h"

#include <math.h>
#include <stddef.h>

#include "slurm/gpu_codes.h"

static const struct gpu_rates TABLE[] = {
    {"H200", 0.80, 420, 0.335, 0.435, 0.85, 87e-6, 0.09, 0.02, 0.39},
    {"H100", 0.80, 420, 0.335, 0.435, 0.85, 87e-6, 0.09, 0.02, 0.38},
    {"A100", 0.87, 420, 0.40, 0.45, 0.85, 87e-6, 0.11, 0.02, 0.68},
};

/* Any other kind: what long runs that were published reach of the peak of A100 and H100 is 40 to 64 %. */
static const struct gpu_rates ANY = {"", 0.55, 0, 0.55, 0.55, 0.85, 0, 0, 0, 0};

const struct gpu_rates *gpu_rates_of(const char *gpu) {
    for (size_t i = 0; gpu && i < sizeof TABLE / sizeof *TABLE; i++)
        if (gpu_name_has(gpu, TABLE[i].kind))
            return &TABLE[i];
    return &ANY;
}

double gpu_usual_uneven(void) {
    double most = 0;
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++)
        most = fmax(most, TABLE[i].uneven);
    return most;
}

double gpu_slowest_share(double uneven, int num_gpus) {
    return pow(1 - uneven, log2((double)num_gpus));
}
