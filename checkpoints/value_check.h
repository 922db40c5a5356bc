/* value_check.h - no file of this program holds a value that is not a number, or one that its type turned into
 * infinity; and weights that are damaged so are named when they are read.  All writers and readers of weights
 * go through here. */
#pragma once

#include "checkpoints/gguf/quant.h"
#include "kernels/tensor.h"

/* What a type can hold: values of this size and above would be rounded to infinity. */
struct value_type {
    const char *name; /* "f16" */
    float limit;      /* INFINITY: every finite f32 fits */
};

/* value_type_of - of f32, bf16 or f16: the limit is where rounding to nearest would give infinity. */
struct value_type value_type_of(enum dtype dtype);
/* value_type_of_ggml - F32, F16, BF16 and Q8_0, whose f16 scale is the largest value of a block divided by
 * 127. */
struct value_type value_type_of_ggml(enum ggml_type type);

/* value_type_narrower - the one that holds less; first where they hold the same. */
struct value_type value_type_narrower(struct value_type first, struct value_type second);

/* value_all_fit - finite, and below the limit.  Fast: for every value of a model. */
bool value_all_fit(struct value_type type, const float *values, int64_t count);

/* What was found in one tensor, given piece by piece. */
struct value_scan {
    struct value_type type;
    int64_t num_not_finite, num_too_large;
    int64_t first; /* element of the tensor, row-major; of the kind that comes first in the order above */
    float worst;   /* its value */
    float largest; /* of the finite ones that are too large, the one furthest from 0 */
};

/* value_scan_add - values are elements [first, first + count) of the tensor. */
void value_scan_add(struct value_scan *scan, const float *values, int64_t first, int64_t count);
/* value_scan_fail - how many there are, of which kind, the first and the largest one, what to do.  Returns -1 with err set; 0
 * when there are none. */
int value_scan_fail(const struct value_scan *scan, const char *tensor, struct err *err);

/* value_check - both at once for values at hand: what every writer calls.  Returns 0, or -1 with err set. */
int value_check(const char *tensor, struct value_type type, const float *values, int64_t first, int64_t count,
                struct err *err);
