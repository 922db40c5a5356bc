/* gpu_rates.h - what kinds of GPUs keep up of their makers' peaks, product by product: the cost model of `atelier plan`.
 *
 * Predictions, until atelier has run on such a GPU: products as others measured them, attention as kernels/cuda/NOTES.md estimates
 * it, gaps by the launches of a layer.  A calibration (`atelier doctor --calibrate`) replaces the rates of products and memory. */
#pragma once

/* Products as large as this, in each direction, reach what `products` says. */
enum { GPU_FULL_SIZE = 8192 };

/* Rows of an expert that a GPU multiplies together (kernels/cuda/experts_tiles.cu). */
enum { GPU_EXPERT_TILE = 128 };

struct gpu_rates {
    const char *kind;  /* a word in a profile's `gpu` */
    double products;   /* share of the peak in 16 bits, of products of GPU_FULL_SIZE and larger */
    double half_width; /* side of a matrix at which half of the rate without end is reached; 0: all have it */
    /* Share of the peak of forward and backward together, 14 flops a score and width: heads narrower than 96, and others. */
    double attention_64, attention_128;
    double memory;     /* share of the peak bandwidth: norms, gates, updates */
    double launches_s; /* gaps between the kernels of a layer, forward and backward, of one micro-batch */
    double beside;     /* share of the products' rate that is lost to each transfer that runs beside them */
    double uneven; /* share of the speed that each doubling of the GPUs costs, as all wait for the slowest */
    double
        experts; /* share of the peak in 16 bits, of products of experts whose tiles are full; 0: as other products */
};

/* gpu_rates_of - of the kind that is named in a profile's `gpu` ("H100 SXM5"; NULL: not known); else one share for all. */
const struct gpu_rates *gpu_rates_of(const char *gpu);

/* gpu_usual_uneven - the largest `uneven` of the kinds of which something was published: of the others nothing better is known. */
double gpu_usual_uneven(void);

/* gpu_slowest_share - of the speed of so many GPUs that go in step, what the slowest of them leaves; 1 for one. */
double gpu_slowest_share(double uneven, int num_gpus);
