/* experts_router.cuh - what the kernels of routers share: a row's softmax.  One warp per row; element e of the row is lane e % 32's alone. */
#pragma once

#include <math.h>

#include "kernels/cuda/experts.cuh"

enum { ROUTE_WARPS = 4 };

/* row_softmax - of a row, into shared memory (p, 4 n bytes); returns logsumexp.  NaN everywhere where z has one (warp). */
DEV float row_softmax(uint32_t p, const float *z, int n) {
    float largest = -INFINITY, sum = 0;
    for (int e = (int)threadIdx.x; e < n; e += 32)
        largest = max_nan(largest, z[e]);
    largest = warp_max(largest);
    for (int e = (int)threadIdx.x; e < n; e += 32) {
        float x = expf(z[e] - largest);
        shared_store_f32(p + (uint32_t)e * 4, x);
        sum += x;
    }
    sum = warp_sum(sum);
    for (int e = (int)threadIdx.x; e < n; e += 32)
        shared_store_f32(p + (uint32_t)e * 4, shared_load_f32(p + (uint32_t)e * 4) / sum);
    return largest + logf(sum);
}
