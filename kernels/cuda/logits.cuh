/* logits.cuh - what becomes of a logit before a loss sees it (struct loss_args); for the kernels of losses. */
#pragma once

#include "kernels/cuda/vector.cuh"

/* grad_scale_of - what multiplies the gradient. */
DEV float grad_scale_of(const loss_args &args) {
    return args.grad_scale_at ? args.grad_scale * *args.grad_scale_at : args.grad_scale;
}

/* of - z from a logit.  slope - dz / dx, from z. */
struct logits_shape {
    float scale, cap, inverse;
    DEV explicit logits_shape(const loss_args &args)
        : scale(args.logit_scale), cap(args.softcap), inverse(args.softcap > 0 ? 1 / args.softcap : 0) {
    }
    DEV float of(float x) const {
        return cap > 0 ? cap * tanhf(scale * x * inverse) : scale * x;
    }
    DEV float slope(float z) const {
        return scale * (1 - z * inverse * (z * inverse));
    }
};
