/* value_check.c - counting values that are not numbers, by type, and naming the tensor they are in. */
#include "checkpoints/value_check.h"

#include <math.h>

/* f16 rounds 65520 and above to infinity, bf16 what lies half a step above its largest number. */
#define F16_LIMIT 65520.0f
#define BF16_LIMIT 0x1.ffp127f

struct value_type value_type_of(enum dtype dtype) {
    switch (dtype) {
    case DTYPE_F16:
        return (struct value_type){"f16", F16_LIMIT};
    case DTYPE_BF16:
        return (struct value_type){"bf16", BF16_LIMIT};
    default:
        return (struct value_type){"f32", INFINITY};
    }
}

struct value_type value_type_of_ggml(enum ggml_type type) {
    switch (type) {
    case GGML_F16:
        return value_type_of(DTYPE_F16);
    case GGML_BF16:
        return value_type_of(DTYPE_BF16);
    case GGML_Q8_0:
        return (struct value_type){"q8_0", 127.0f * F16_LIMIT};
    default:
        return value_type_of(DTYPE_F32);
    }
}

struct value_type value_type_narrower(struct value_type first, struct value_type second) {
    return second.limit < first.limit ? second : first;
}

bool value_all_fit(struct value_type type, const float *values, int64_t count) {
    int misfits = 0;
    for (int64_t i = 0; i < count; i++) /* no way out of the loop: it becomes vector instructions */
        misfits |= !(fabsf(values[i]) < type.limit);
    return !misfits;
}

/* Of the two kinds the first that is not finite is told, where there is one: it says that the file is damaged. */
void value_scan_add(struct value_scan *scan, const float *values, int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        bool is_finite = isfinite(values[i]) != 0;
        if (is_finite && fabsf(values[i]) < scan->type.limit)
            continue;
        if (is_finite && fabsf(values[i]) > fabsf(scan->largest))
            scan->largest = values[i];
        int64_t *number = is_finite ? &scan->num_too_large : &scan->num_not_finite;
        if ((*number)++ == 0 && (!is_finite || scan->num_not_finite == 0)) {
            scan->first = first + i;
            scan->worst = values[i];
        }
    }
}

int value_scan_fail(const struct value_scan *scan, const char *tensor, struct err *err) {
    if (scan->num_not_finite > 0)
        return err_set(
            err,
            "tensor '%s' holds %lld value%s that %s not finite, the first (%f) at element %lld: the file is "
            "damaged, or the training that made it went wrong; take another copy, or an earlier checkpoint",
            tensor, (long long)scan->num_not_finite, scan->num_not_finite > 1 ? "s" : "",
            scan->num_not_finite > 1 ? "are" : "is", (double)scan->worst, (long long)scan->first);
    if (scan->num_too_large > 0)
        return err_set(
            err,
            "tensor '%s' holds %lld value%s too large for %s, the first (%g) at element %lld, the largest %g: they "
            "would become infinite; take a type with the range of f32, such as bf16",
            tensor, (long long)scan->num_too_large, scan->num_too_large > 1 ? "s" : "", scan->type.name,
            (double)scan->worst, (long long)scan->first, (double)scan->largest);
    return 0;
}

int value_check(const char *tensor, struct value_type type, const float *values, int64_t first, int64_t count,
                struct err *err) {
    if (value_all_fit(type, values, count))
        return 0;
    struct value_scan scan = {.type = type};
    value_scan_add(&scan, values, first, count);
    return value_scan_fail(&scan, tensor, err);
}
